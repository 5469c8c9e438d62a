"""Agreements with days and drawn keys that must still be refused, one reason at a time; and the draft that need not."""

import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import builders
from days import KEYS, REPORT, TASK, terms
from sealstat.agreement.check import UnsoundAgreementError, check_body, problems
from sealstat.agreement.draft import Draft, parse
from sealstat.agreement.explain import explain
from sealstat.agreement.model import Agreement
from sealstat.agreement.template import render
from sealstat.crypto import canonical
from sealstat.crypto.cards import b64
from sealstat.statistics.catalogue import Catalogue

DRAWN, USUAL, DRAWING = "pseudonyms.subscribers", f"tasks.{TASK}", f"tasks.{KEYS}"
RULE = {"to": ["ministry"], "minimum": 10}


def changed(changes: dict[str, Any]) -> Agreement:
    """The sound agreement with values replaced (None: removed), by dotted path."""
    value: dict[str, Any] = terms().to_json()
    for path, new in changes.items():
        *parents, last = path.split(".")
        target = value
        for parent in parents:
            target = target[parent]
        if new is None:
            del target[last]
        else:
            target[last] = new
    return Agreement.model_validate(value)


def test_a_sound_agreement_with_state_has_no_problem() -> None:
    assert problems(changed({}), Catalogue()) == []


@pytest.mark.parametrize("report", ["month", REPORT])
def test_a_report_is_of_a_month_or_of_a_range_of_days(report: str) -> None:
    period = "month" if report == "month" else "range"
    changes = {f"{USUAL}.report": report, "datasets.areas.period": period, "datasets.census.period": period}
    assert problems(changed(changes), Catalogue()) == []


@pytest.mark.parametrize(
    ("changes", "place", "word"),
    [
        pytest.param({f"{DRAWN}.drawn_by": "others"}, f"{DRAWN}.drawn_by", "there is no task others", id="no task"),
        pytest.param(
            {f"{DRAWN}.drawn_by": TASK}, f"{DRAWN}.drawn_by", "that computes period_keys", id="drawn by another task"
        ),
        pytest.param(
            {f"{DRAWING}.inputs": {"days": "areas"}},
            f"{DRAWN}.drawn_by",
            "must have days as its one input",
            id="drawn for another dataset",
        ),
        pytest.param(
            {f"{DRAWN}.shared_by": ["operator-a", "operator-b"]},
            f"{DRAWN}.shared_by",
            "one provider",
            id="drawn for two providers",
        ),
        pytest.param(
            {"datasets.days.period": "month"}, "datasets.days.period", "deliver by day", id="drawn for months"
        ),
        pytest.param(
            {f"{DRAWING}.inputs": {"days": "days", "areas": "areas"}},
            f"{DRAWING}.inputs",
            "for one dataset",
            id="keys for two datasets",
        ),
        pytest.param({f"{DRAWN}.drawn_by": None}, DRAWING, "nobody needs its keys", id="keys that nobody needs"),
        pytest.param(
            {f"{DRAWING}.parameters": {"psi": "2"}}, f"{DRAWING}.parameters", "no parameters", id="keys by parameters"
        ),
        pytest.param({f"{DRAWING}.releases": {"key": RULE}}, f"{DRAWING}.releases", "no releases", id="keys released"),
        pytest.param(
            {f"{DRAWING}.open_parameters": ["psi"]},
            f"{DRAWING}.open_parameters",
            "no open_parameters",
            id="keys by open parameters",
        ),
        pytest.param({f"{DRAWING}.report": REPORT}, f"{DRAWING}.report", "no report", id="a report of keys"),
        pytest.param({f"{USUAL}.releases": {}}, f"{USUAL}.releases", "nobody receives", id="a report for nobody"),
        pytest.param({f"{USUAL}.runs_per_period": 2}, f"{USUAL}.runs_per_period", "write 1", id="a report twice"),
        pytest.param(
            {"datasets.census.period": "month"},
            f"{USUAL}.inputs.census",
            "expected day, or range",
            id="a month's table for a range",
        ),
        pytest.param(
            {f"{USUAL}.report": "month"},
            f"{USUAL}.inputs.reference_areas",
            "expected day, or month",
            id="a range's table for a month",
        ),
        pytest.param({f"{USUAL}.report": None}, USUAL, "say report: month", id="days without a report"),
        pytest.param(
            {"datasets.areas.period": "day"}, f"{USUAL}.inputs", "and no other, must be", id="another input by day"
        ),
        pytest.param(
            {"datasets.days.period": "range"},
            f"{USUAL}.inputs",
            "must be a dataset that comes by day",
            id="no input by day",
        ),
        pytest.param(
            {f"{DRAWN}.drawn_by": None}, DRAWN, "an enclave draws: say drawn_by", id="a schema of drawn pseudonyms"
        ),
        pytest.param(
            {f"{DRAWN}.keep_prefix": 6}, DRAWN, "write {of: user_id, keep_prefix: 0}", id="pseudonyms of another form"
        ),
        pytest.param(
            {"datasets.days.pseudonym": None},
            "datasets.days.pseudonym",
            "would not be replaced",
            id="plain identifiers",
        ),
        pytest.param({f"{USUAL}.parameters.psi": "0"}, f"{USUAL}.parameters", "above 0", id="psi of nothing"),
    ],
)
def test_an_unsound_agreement_with_state_is_refused(changes: dict[str, Any], place: str, word: str) -> None:
    agreement = changed(changes)
    found = problems(agreement, Catalogue())
    assert any(at == place and word in sentence for at, sentence in found), found
    with pytest.raises(UnsoundAgreementError, match="the agreement is refused"):
        check_body(agreement, Catalogue())


def test_a_task_without_days_has_no_report() -> None:
    value = builders.agreement_json()
    value["tasks"]["visitors"]["report"] = "month"
    found = dict(problems(Agreement.model_validate(value), Catalogue()))
    assert "takes in no days" in found["tasks.visitors.report"]


def test_pseudonyms_that_providers_make_are_not_drawn() -> None:
    value = builders.agreement_json()
    value["pseudonyms"]["roamers"]["drawn_by"] = KEYS
    found = problems(Agreement.model_validate(value), Catalogue())
    assert (
        "pseudonyms.roamers",
        "the schema roamers has pseudonyms under a key that the providers make: leave drawn_by out",
    ) in found


def test_without_its_report_a_tasks_inputs_are_of_one_period() -> None:
    found = dict(problems(changed({f"{USUAL}.report": None}), None))
    assert "one run is for one period" in found[f"{USUAL}.inputs.days"]


# --- the draft ---------------------------------------------------------------------------------------------------


def filled_in(folder: Path, report: str) -> Draft:
    """The draft with fresh cards in its folder."""
    (folder / "cards").mkdir()
    cards = [builders.party(name)[0] for name in ("operator", "office", "regulator")]
    for card in (*cards, builders.host().card, *(builders.witness(name).card for name in builders.WITNESSES)):
        (folder / "cards" / f"{card.name}.json").write_bytes(canonical.encode(card.to_json()))
    text = render(
        "longitudinal",
        valid_from=date(2026, 10, 1),
        valid_to=date(2027, 9, 30),
        host_url="https://stats.example:8700",
        source=builders.SOURCE,
        simulated_root=b64(builders.simulated_root().public_key().public_bytes_raw()),
        witnesses=builders.WITNESSES,
        report=report,
        psi="3",
    )
    return parse(text.encode(), folder, Catalogue())


@pytest.mark.parametrize("report", ["month", REPORT])
def test_the_draft_is_sound(tmp_path: Path, report: str) -> None:
    draft = filled_in(tmp_path, report)
    assert draft.problems == ()
    assert draft.agreement is not None
    task = draft.agreement.tasks["usual-environment"]
    assert (task.report, task.parameters["psi"], task.actions) == (report, "3", ("ingest", "finish", "cancel"))
    assert draft.agreement.drawing_task("days") == "keys"
    rectangle = {name: task.parameters[name] for name in task.parameters if name.startswith("tile_")}
    assert rectangle == {"tile_e_min": "0", "tile_e_max": "65535", "tile_n_min": "0", "tile_n_max": "65535"}


def test_the_draft_is_explained_with_its_state(tmp_path: Path) -> None:
    agreement = filled_in(tmp_path, "month").agreement
    assert agreement is not None
    text = re.sub(r"\s+", " ", explain(agreement, None))
    for sentence in (
        # who can open the state
        "any two of these three are needed, and enough, to open anything",
        "any two of these three CAN OPEN THE STATE",
        "The state holds rows about single subscribers",
        # days
        "takes in day after day into an encrypted state, each day once and in any order",
        "makes one report for each month. With the report, or when it is cancelled, the state is forgotten",
        "Once for each day and once for the report of a month can count",
        # what the enclave links, and who draws
        "An enclave draws each day's key, by the task keys, and seals it to operator",
        "which destroys it when the day's pseudonyms are made. It is never drawn twice",
        "give their shares to an enclave that takes in that day, and destroy them when that counts",
        "an approved enclave, and only that, sees that pseudonyms of two days are one subscriber's",
    ):
        assert sentence in text, sentence


def test_a_range_is_named_where_the_report_is_explained(tmp_path: Path) -> None:
    agreement = filled_in(tmp_path, REPORT).agreement
    assert agreement is not None
    text = re.sub(r"\s+", " ", explain(agreement, None))
    assert f"makes one report for {REPORT}." in text
    assert f"Once for each day and once for the report of {REPORT} can count" in text
