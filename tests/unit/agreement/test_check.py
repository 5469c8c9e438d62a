"""Agreements of the right form that must still be refused, one reason at a time."""

from collections.abc import Collection, Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

import builders
from sealstat.agreement import check
from sealstat.agreement.check import UnsoundAgreementError, check_body, problems
from sealstat.agreement.model import Agreement
from sealstat.crypto.cards import b64
from sealstat.log.note import Cosigner
from sealstat.statistics.catalogue import Catalogue


def places(value: dict[str, Any]) -> dict[str, str]:
    return dict(problems(Agreement.model_validate(value), Catalogue()))


def changed(path: str, new: Any) -> dict[str, Any]:
    """The valid agreement with one value replaced (None: removed); parts of the path are joined by dots."""
    value = builders.agreement_json()
    target: Any = value
    *parents, last = path.split(".")
    for parent in parents:
        target = target[int(parent) if isinstance(target, list) else parent]
    if new is None:
        del target[last]
    else:
        target[int(last) if isinstance(target, list) else last] = new
    return value


def test_a_sound_agreement_has_no_problem():
    assert problems(builders.agreement(), Catalogue()) == []
    check_body(builders.agreement(), Catalogue())


TASK = "tasks.visitors"


@pytest.mark.parametrize(
    ("path", "new", "place", "word"),
    [
        pytest.param("witnesses.quorum", 1, "witnesses.quorum", "too few", id="2k <= n"),
        pytest.param("witnesses.quorum", 4, "witnesses.quorum", "never", id="quorum above n"),
        pytest.param("roles.recovery.quorum", 5, "roles.recovery.quorum", "never", id="recovery quorum above n"),
        pytest.param(
            f"{TASK}.holders.of",
            ["operator-a", "regulator", "ministry"],
            f"{TASK}.holders.of",
            "operator-b",
            id="a provider is no holder",
        ),
        pytest.param(f"{TASK}.holders.threshold", 1, f"{TASK}.holders.threshold", "alone", id="threshold 1"),
        pytest.param(f"{TASK}.holders.threshold", 4, f"{TASK}.holders.threshold", "never", id="threshold above n"),
        pytest.param(
            f"{TASK}.holders",
            {"of": ["operator-a", "operator-b", "regulator", "ministry"], "threshold": 2},
            f"{TASK}.holders.threshold",
            "majority",
            id="threshold of one half",
        ),
        pytest.param(f"{TASK}.holders.of.2", "operator-a", f"{TASK}.holders.of.2", "twice", id="a holder twice"),
        pytest.param(
            "host.operated_by", "ministry", f"{TASK}.keepers", "outside", id="no keeper outside the host's house"
        ),
        pytest.param(
            "roles.approvers",
            ["operator-a", "ministry"],
            "roles.approvers",
            "operator-b",
            id="a provider does not approve",
        ),
        pytest.param(
            "roles.approvers.0", "nobody", "roles.approvers.0", "not among the parties", id="unknown approver"
        ),
        pytest.param("roles.auditors.0", "nobody", "roles.auditors.0", "not among the parties", id="unknown auditor"),
        pytest.param(
            "roles.recovery.approvers.0",
            "nobody",
            "roles.recovery.approvers.0",
            "not among",
            id="unknown recovery approver",
        ),
        pytest.param(
            "datasets.roamers-a.provider", "nobody", "datasets.roamers-a.provider", "not among", id="unknown provider"
        ),
        pytest.param(f"{TASK}.runners.0", "nobody", f"{TASK}.runners.0", "not among the parties", id="unknown runner"),
        pytest.param(f"{TASK}.keepers.0", "nobody", f"{TASK}.keepers.0", "not among the parties", id="unknown keeper"),
        pytest.param(
            f"{TASK}.releases.all.to.0", "nobody", f"{TASK}.releases.all.to.0", "not among", id="unknown consumer"
        ),
        pytest.param(
            f"{TASK}.releases.all.to.1", "ministry", f"{TASK}.releases.all.to.1", "twice", id="a consumer twice"
        ),
        pytest.param(f"{TASK}.inputs.b", "roamers-c", f"{TASK}.inputs.b", "no dataset", id="unknown dataset"),
        pytest.param(f"{TASK}.inputs.b", "roamers-a", f"{TASK}.inputs.b", "already", id="a dataset twice"),
        pytest.param(f"{TASK}.inputs", {"a": "roamers-a"}, f"{TASK}.inputs", "b is missing", id="an input missing"),
        pytest.param(
            f"{TASK}.inputs", {"a": "roamers-a", "c": "roamers-b"}, f"{TASK}.inputs.c", "no input c", id="unknown input"
        ),
        pytest.param("datasets.roamers-b.period", "day", f"{TASK}.inputs.b", "one period", id="periods of two kinds"),
        pytest.param(
            "datasets.roamers-b.schema", "trips", "datasets.roamers-b.schema", "no schema", id="unknown schema"
        ),
        pytest.param(
            "datasets.roamers-b.pseudonym",
            "others",
            "datasets.roamers-b.pseudonym",
            "describe it",
            id="unknown pseudonym",
        ),
        pytest.param(
            "pseudonyms.roamers.shared_by",
            ["operator-a"],
            "datasets.roamers-b.pseudonym",
            "operator-b",
            id="a provider without the linkage key",
        ),
        pytest.param(
            "pseudonyms.roamers.shared_by",
            ["operator-a", "operator-b", "ministry"],
            "pseudonyms.roamers.shared_by.2",
            "leave it out",
            id="a linkage key without need",
        ),
        pytest.param(f"{TASK}.statistic", "visits", f"{TASK}.statistic", "no statistic", id="unknown statistic"),
        pytest.param(
            f"{TASK}.parameters.domestic_country",
            "Indonesia",
            f"{TASK}.parameters.domestic_country",
            "domestic_country",
            id="a parameter out of range",
        ),
        pytest.param(
            f"{TASK}.parameters.domestic_country",
            None,
            f"{TASK}.parameters",
            "domestic_country",
            id="a parameter missing",
        ),
        pytest.param(f"{TASK}.open_parameters", ["areas"], f"{TASK}.open_parameters", "at once", id="open and fixed"),
        pytest.param(
            f"{TASK}.releases.lists",
            {"to": ["ministry"], "minimum": 10},
            f"{TASK}.releases.lists",
            "no table",
            id="unknown table",
        ),
        pytest.param(
            f"{TASK}.releases.all.minimum_part",
            11,
            f"{TASK}.releases.all.minimum_part",
            "above",
            id="a part's minimum above the whole's",
        ),
        pytest.param(
            f"{TASK}.releases.all",
            {"to": ["ministry"], "minimum": 1, "complementary": True},
            f"{TASK}.releases.all.complementary",
            "nothing",
            id="complementary to nothing",
        ),
        pytest.param(
            f"{TASK}.challenge_lapses",
            "0s",
            f"{TASK}.challenge_lapses",
            "more than",
            id="a challenge that lapses at once",
        ),
        pytest.param("datasets.roamers-a.keep", "0d", "datasets.roamers-a.keep", "more than", id="a key of no life"),
        pytest.param("version", 2, "version", "supersedes", id="a later version of nothing"),
        pytest.param("supersedes", "ab" * 32, "supersedes", "version 1", id="a first version of something"),
        pytest.param(
            "valid.to", "2029-01-01", "parties.ministry.card", "before the agreement", id="cards end too early"
        ),
        pytest.param("valid.from", "2025-01-01", "witnesses.cards.0", "after the agreement", id="cards begin too late"),
        pytest.param("title", "Visitors\u202edetnuoc", "title", "reading order", id="text that reads backwards"),
        pytest.param("title", "Visitors\x1b[2J", "title", "control character", id="a command to the terminal"),
    ],
)
def test_an_unsound_agreement_is_refused(path, new, place, word):
    value = changed(path, new)
    assert word in places(value)[place]
    with pytest.raises(UnsoundAgreementError, match="the agreement is refused") as refusal:
        check_body(Agreement.model_validate(value), Catalogue())
    assert place in dict(refusal.value.findings)


def test_the_quorum_rule_at_its_edges():
    cards = [builders.witness(f"edge-{n}").card.to_json() for n in range(4)]
    for n, k, sound in [(1, 1, True), (2, 1, False), (2, 2, True), (3, 2, True), (4, 2, False), (4, 3, True)]:
        value = changed("witnesses", {"cards": cards[:n], "quorum": k})
        assert ("witnesses.quorum" not in places(value)) == sound, (n, k)


def test_two_holders_must_both_open():
    value = changed("tasks.visitors.holders", {"of": ["operator-a", "operator-b"], "threshold": 2})
    assert places(value) == {}


def test_an_open_parameter_may_be_missing():
    value = changed("tasks.visitors.parameters.domestic_country", None)
    value["tasks"]["visitors"]["open_parameters"] = ["domestic_country"]
    assert places(value) == {}


def test_a_card_made_on_the_first_day_is_early_enough():
    assert places(changed("valid.from", "2026-01-01")) == {}
    assert "parties.ministry.card" in places(changed("valid.from", "2025-12-31"))


def test_pseudonyms_of_two_groups_cannot_be_linked():
    value = builders.agreement_json()
    group = value["pseudonyms"]["roamers"]
    value["pseudonyms"] = {"one": group | {"shared_by": ["operator-a"]}, "two": group | {"shared_by": ["operator-b"]}}
    value["datasets"]["roamers-a"]["pseudonym"], value["datasets"]["roamers-b"]["pseudonym"] = "one", "two"
    assert "never be linked" in places(value)["tasks.visitors.inputs.b"]


def test_a_purpose_has_one_meaning():
    value = builders.agreement_json()
    value["purpose"] *= 2
    assert "twice" in places(value)["purpose.1.id"]


# -- cards --


def test_a_card_must_bear_the_partys_name():
    value = changed("parties.ministry.card", builders.party("other")[0].to_json())
    assert "not of ministry" in places(value)["parties.ministry.card"]


def test_no_key_counts_for_two_parties():
    other = builders.party("operator-a")[0].to_json() | {"name": "operator-b"}
    assert "same key" in places(changed("parties.operator-b.card", other))["parties.operator-b.card"]


@pytest.mark.parametrize("shared_part", ["keys", "sealing", "recovery"])
def test_no_part_of_a_card_is_another_partys(shared_part):
    other = builders.party("operator-b")[0].to_json()
    other[shared_part] = builders.party("operator-a")[0].to_json()[shared_part]
    assert "same key" in places(changed("parties.operator-b.card", other))["parties.operator-b.card"]


def test_one_witness_key_under_two_names_counts_once():
    key = builders.witness("witness-1").cosigner
    twin = builders.witness("witness-2").card.to_json() | {
        "cosigner": builders.verifier_key("another.example", b"\x04", key)
    }
    assert "same key" in places(changed("witnesses.cards.1", twin))["witnesses.cards.1"]
    again = builders.witness("witness-2").card.to_json() | {"name": "witness-1"}
    assert "twice" in places(changed("witnesses.cards.1", again))["witnesses.cards.1"]


def test_a_witness_may_cosign_with_mldsa():
    key = str(Cosigner("pq.example", MLDSA44PrivateKey.generate()).verifier)
    card = builders.witness("witness-2").card.to_json() | {"cosigner": key}
    assert places(changed("witnesses.cards.1", card)) == {}


def test_a_witness_is_not_the_log_itself():
    key = builders.verifier_key("w.example", b"\x04", builders.host().log_key)
    twin = builders.witness("witness-2").card.to_json() | {"cosigner": key}
    assert "same key" in places(changed("witnesses.cards.1", twin))["witnesses.cards.1"]


def test_a_log_key_signs_nothing_else():
    host = builders.host()
    key = builders.verifier_key(host.card.origin, b"\x01", host.signer.ed25519)
    assert "two purposes" in places(changed("host.card", host.card.to_json() | {"log_key": key}))["host.card"]


def test_a_daily_key_is_no_recovery_key():
    card, signer, _ = builders.party("operator-a")
    own = card.to_json() | {"recovery": builders.recovery_digest(signer)}
    assert "recovery key" in places(changed("parties.operator-a.card", own))["parties.operator-a.card"]


@pytest.mark.parametrize(
    ("path", "new"),
    [
        ("parties.ministry.card.keys.ed25519", b64(b"short")),
        ("parties.ministry.card.keys.mldsa65", b64(b"short")),
        ("parties.ministry.card.sealing.mlkem768", b64(b"\xff" * 1184)),
        ("parties.ministry.card.sealing.x25519", b64(b"short")),
        ("host.card.keys.ed25519", b64(b"short")),
        ("host.card.log_key", "nothing"),
        ("host.card.log_key", builders.verifier_key("other.example/log", b"\x01", builders.host().log_key)),
        ("witnesses.cards.0.cosigner", builders.verifier_key("w", b"\x01", builders.witness("witness-1").cosigner)),
        ("witnesses.cards.0.cosigner", "w+00000000+AAAA"),
    ],
    # without the values: some are keys drawn at the start, which differ between the workers of one run
    ids=["ed25519", "mldsa65", "mlkem768", "x25519", "host", "no log key", "another log's", "no cosigner", "wrong id"],
)
def test_a_broken_key_is_found_before_anyone_needs_it(path, new):
    place = path.split(".card.")[0] + ".card" if ".card." in path else "witnesses.cards.0"
    assert "broken" in places(changed(path, new))[place]


# -- size and form --


def test_an_agreement_fits_into_a_statement():
    rows = [{"border_area": f"AREA {n}"} for n in range(20_000)]
    assert "limit" in places(changed("tasks.visitors.parameters.areas", rows))[""]


def test_a_parameter_has_a_canonical_form():
    findings = dict(problems(Agreement.model_validate(changed("tasks.visitors.parameters.areas", [0.5])), None))
    assert "canonical" in findings[""]


def test_control_characters_hide_nowhere():
    rows = [{"border_area": "BATAM\x07"}]
    assert (
        "control"
        in places(changed("tasks.visitors.parameters.areas", rows))["tasks.visitors.parameters.areas.0.border_area"]
    )


class _NoContributors:
    """A statistic with a table whose contributors nobody counts."""

    version = 1
    day = None
    inputs = {"a": "roamers", "b": "roamers"}
    tables: dict[str, str | None] = {"all": None}

    def missing_inputs(self, given: Collection[str], parameters: Mapping[str, Any]) -> list[str]:
        return []

    def parameter_problems(self, parameters: dict[str, Any]) -> list[str]:
        return []


class _Fake:
    def statistic(self, name: str) -> check.Statistic | None:
        return _NoContributors()

    def schema_names(self) -> list[str]:
        return ["roamers", "trips"]

    def identifier(self, schema: str) -> tuple[str, int] | None:
        return ("imsi", 6)

    def by_period_key(self, schema: str) -> bool:
        return False


def test_a_table_without_contributors_cannot_be_protected():
    value = builders.agreement_json()
    value["tasks"]["visitors"]["releases"] = {"all": {"to": ["ministry"], "minimum": 10}}
    assert "no minimum" in dict(problems(Agreement.model_validate(value), _Fake()))["tasks.visitors.releases.all"]


def test_an_input_wants_its_schema():
    value = changed("datasets.roamers-b.schema", "trips")
    value["tasks"]["visitors"]["releases"] = {"all": {"to": ["ministry"], "minimum": 10}}
    assert "roamers" in dict(problems(Agreement.model_validate(value), _Fake()))["tasks.visitors.inputs.b"]


@pytest.mark.parametrize(
    ("where", "value", "place", "said"),
    [
        ("pseudonyms.roamers.keep_prefix", 8, "pseudonyms.roamers", "keeps 6 digits of imsi"),
        ("pseudonyms.roamers.of", "msisdn", "pseudonyms.roamers", "of: imsi"),
        ("datasets.roamers-a.pseudonym", None, "datasets.roamers-a.pseudonym", "imsi would not be replaced"),
    ],
)
def test_what_is_signed_about_pseudonyms_is_what_the_schema_does(where: str, value: object, place: str, said: str):
    assert said in places(changed(where, value))[place]
