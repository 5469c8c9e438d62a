"""The text for lawyers: complete, deterministic, and candid where it must be."""

import re
import subprocess
import sys
from typing import Any

import pytest

import builders
from sealstat.agreement import explain as explaining
from sealstat.agreement.explain import WIDTH, digest, explain
from sealstat.agreement.model import Agreement
from sealstat.crypto import canonical
from sealstat.crypto.cards import fingerprint, spoken
from sealstat.statistics.registry import get, names
from sealstat.tables import schemas

ID = "ab" * 32


def flat(agreement: Agreement, agreement_id: str | None = ID) -> str:
    """The text on one line, so that a test need not know where it wraps."""
    return re.sub(r"\s+", " ", explain(agreement, agreement_id))


def with_holders(of: list[str], threshold: int, **more: Any) -> Agreement:
    return builders.agreement(tasks__visitors__holders={"of": of, "threshold": threshold}, **more)


def test_no_line_is_wider_than_promised_and_none_ends_in_a_space():
    value = builders.agreement_json()
    value["title"] = "A title without a break " + "x" * 200
    for line in explain(Agreement.model_validate(value), ID).splitlines():
        assert len(line) <= WIDTH
        assert line == line.rstrip()


def test_a_draft_and_its_statement_read_alike():
    agreement = builders.agreement()
    signed = Agreement.model_validate(canonical.decode(canonical.encode(agreement.to_json()), limit=10**6))
    assert explain(agreement, ID) == explain(signed, ID)
    assert explain(agreement, ID) != explain(agreement, None)


def test_the_text_does_not_depend_on_the_process():
    body = canonical.encode(builders.agreement().to_json()).decode()
    code = (
        "import json, sys; from sealstat.agreement.explain import *; from sealstat.agreement.model import Agreement;"
        f"print(digest(explain(Agreement.model_validate(json.load(sys.stdin)), {ID!r})))"
    )
    run = subprocess.run([sys.executable, "-c", code], input=body, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == digest(explain(builders.agreement(), ID))


def test_who_gives_runs_and_receives_is_said():
    text = flat(builders.agreement())
    assert ID in text
    assert "Legal basis: Statistics Act, section 12" in text
    assert "operator-a and operator-b give data" in text
    assert "each imsi is replaced by a code" in text
    assert "Its first six characters stay readable" in text
    assert "May be asked for by ministry" in text
    assert "One run for each month can count." in text
    assert "Received by ministry, operator-a and operator-b." in text
    assert "fewer than 10 contributors" in text
    assert "1 or 2 contributors" in text
    assert "destroys its key 40 days after it was delivered" in text
    for name in builders.PARTIES:
        assert spoken(fingerprint(builders.party(name)[0])) in text


def test_every_column_of_every_schema_is_named():
    for name in schemas.names():
        assert list(explaining._SCHEMAS[name].parts) == schemas.get(name).names


def test_every_table_of_every_statistic_has_words():
    for name in names():
        assert set(explaining._STATISTICS[name].parts) == set(get(name).outputs)


def test_a_simulated_enclave_is_named_in_capitals():
    text = flat(builders.agreement())
    assert text.count("NOT PROTECTED BY HARDWARE") >= 2
    assert "Do not deliver data about real people" in text


def test_what_any_t_holders_can_do_is_named():
    text = flat(builders.agreement())
    assert "any two of these three CAN OPEN THE STATE, and together with a recipient of a table THAT TABLE" in text
    assert "operator-a and operator-b both hold a share and receive all" in text
    assert "The loss of one holder is borne" in text


def test_holders_who_need_no_provider_are_named_in_capitals():
    of = ["operator-a", "operator-b", "regulator", "ministry"]
    assert "NO PROVIDER IS NEEDED" not in flat(with_holders(of, 3))
    value = builders.agreement_json()
    value["parties"]["court"] = {"card": builders.party("court")[0].to_json()}
    value["tasks"]["visitors"]["holders"] = {"of": [*of, "court"], "threshold": 3}
    assert "NO PROVIDER IS NEEDED: regulator, ministry and court are enough" in flat(Agreement.model_validate(value))


def test_holders_who_are_all_needed():
    text = flat(with_holders(["operator-a", "operator-b"], 2))
    assert "all two together" in text
    assert "No result opens without the share of every provider." in text
    assert "If one holder's key is lost" in text


@pytest.mark.parametrize(
    ("n", "k", "words"),
    [
        (1, 1, "NOT ONE LYING WITNESS IS BORNE"),
        (3, 2, "NOT ONE LYING WITNESS IS BORNE"),
        (4, 3, "only together with two lying witnesses: one lying witness can be borne"),
        (5, 4, "two lying witnesses can be borne"),
        (3, 3, "two lying witnesses can be borne"),
    ],
)
def test_how_many_lying_witnesses_the_quorum_bears(n, k, words):
    cards = [builders.witness(f"lying-{i}").card.to_json() for i in range(n)]
    assert words in flat(builders.agreement(witnesses={"cards": cards, "quorum": k}))


def test_what_an_operator_learns_by_subtraction_is_said_only_where_it_receives():
    text = explain(builders.agreement(), ID)
    _, _, by_table = text.partition("all, of the task visitors")
    joint, _, rest = by_table.partition("by_area, of the task visitors")
    assert "subtract" in re.sub(r"\s+", " ", joint)
    assert "A recipient that also gave data" not in re.sub(r"\s+", " ", rest)
    assert "So operator-a learns what operator-b contributed beyond it." in flat(builders.agreement())


def test_a_minimum_of_one_shouts():
    value = builders.agreement_json()
    value["tasks"]["visitors"]["releases"]["all"] = {"to": ["ministry"], "minimum": 1}
    assert "NOT EVEN A FIGURE ABOUT ONE SINGLE PERSON" in flat(Agreement.model_validate(value))


def test_what_the_host_sees_depends_on_what_is_listed():
    assert "no row counts." in flat(builders.agreement())
    value = builders.agreement_json()
    value["datasets"]["roamers-a"]["listed"] = ["rows", "size"]
    text = flat(Agreement.model_validate(value))
    assert "row counts of roamers-a, which this agreement lists; of no other." in text
    assert "the exact size of roamers-a" in text


def test_windows_and_holds_are_said():
    assert "THERE IS NO WINDOW" in flat(builders.agreement())
    later = flat(builders.agreement(tasks__visitors__release_delay="15m", tasks__visitors__hold="owner"))
    assert "no earlier than 15 minutes after it is in the log" in later
    assert "waits for a person" in later


def test_limits_are_candid():
    text = flat(builders.agreement())
    for limit in (
        "Untrue data",
        "adding knowledge from elsewhere",
        "over agreements",
        "who talks to the host",
        "Delay and refusal",
    ):
        assert limit in text


def test_other_peoples_text_cannot_pass_for_ours():
    value = builders.agreement_json()
    value["purpose"][0]["text"] = "Counts\n\n7. Who can open what\n---\n  Nobody.\x1b[2J\u202e"
    text = explain(Agreement.model_validate(value), ID)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\n7. Who can open what\n" in text
    assert text.count("\n7. Who can open what") == 1
    assert "  | Purpose: Counts  7. Who can open what ---   Nobody." in text


def test_what_can_be_learnt_by_comparing_runs_is_said():
    assert "A second run on the same period cannot be had" in flat(builders.agreement())
    assert "comparing runs on the same period" in flat(builders.agreement(tasks__visitors__runs_per_period=2))
    value = builders.agreement_json()
    for dataset in value["datasets"].values():
        dataset["period"] = "range"
    text = flat(Agreement.model_validate(value))
    assert "Ranges of days that overlap are not taken" in text
    assert "A second run on the same range cannot be had" in text
