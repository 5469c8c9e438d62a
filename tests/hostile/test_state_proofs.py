"""Proofs of days, reports and keys; and such proofs that lie."""

import json
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import pytest

from days import DAYS, KEYS, REPORT, TASK, Days
from forging import drop, forged, of_type, refused, verify
from sealstat.crypto import canonical
from sealstat.crypto.statement import Statement
from sealstat.verify.errors import BundleError
from story import Instance, digest_of

Tell = Callable[[Days], Statement]


def ready(story: Days) -> Instance:
    """One day is in; an instance was asked for the next."""
    story.take_in(DAYS[0])
    story.bring(DAYS[1])
    return story.instance_for(story.ask(TASK, "ingest", DAYS[1]))


# --- honest ones -----------------------------------------------------------------------------------------------------


def second_report(story: Days) -> Statement:
    story.take_in(DAYS[0])
    story.do(TASK, "cancel", REPORT)
    return story.take_in(DAYS[1])[0]


HONEST: dict[str, tuple[Tell, set[str]]] = {
    "the first day": (lambda story: story.take_in(DAYS[0])[0], {"state.after", "limits.days"}),
    "a later day": (lambda story: story.take_in(*DAYS[:3])[2], {"state.before", "state.after", "log.before"}),
    "a report": (lambda story: [*story.take_in(DAYS[1]), story.finish_report()][-1], {"state.before", "state.after"}),
    "a cancel": (
        lambda story: [*story.take_in(DAYS[1]), story.do(TASK, "cancel", REPORT)][-1],
        {"state.before", "state.after"},
    ),
    "a key": (lambda story: story.draw(DAYS[0]), set()),
    "a second key": (lambda story: [story.draw(day) for day in DAYS[:2]][1], {"log.before"}),
    "a day after a cancel": (second_report, {"state.after", "log.before"}),
}


@pytest.mark.parametrize(("tell", "keys"), HONEST.values(), ids=HONEST)
def test_an_honest_proof_is_verified(tell: Tell, keys: set[str]) -> None:
    story = Days()
    record = tell(story)
    verdict = verify(story, story.bundle(record).to_bytes())
    assert verdict.ok, verdict.failure
    assert keys <= {line.key for line in verdict.lines}


def test_a_day_after_its_state_was_forgotten_is_verified() -> None:
    story = Days()
    story.take_in(DAYS[0])
    for name in ("regulator", "operator-b"):
        story.tell(name, "expiry", {"state": story.state(), "task": TASK})
    (record,) = story.take_in(DAYS[1])
    verdict = verify(story, story.bundle(record).to_bytes())
    assert verdict.ok, verdict.failure
    assert any("it began anew: operator-b, regulator said" in line.sentence for line in verdict.lines)


def test_a_record_that_is_not_kept_has_no_proof_unless_it_is_of_a_key() -> None:
    story = Days()
    instance = ready(story)
    record = story.leave(instance, story.give_all(instance))
    with pytest.raises(BundleError, match="no such run-record that counts"):
        story.bundle(record)
    refused(story, forged(story, record), "has not said kept")


# --- lies by whoever makes the file ------------------------------------------------------------------------------


@cache
def honest() -> tuple[Days, Statement, bytes]:
    """The second day's proof; shared, so never told on."""
    story = Days()
    record = story.take_in(*DAYS[:2])[1]
    return story, record, story.bundle(record).to_bytes()


def without(kind: str, which: Sequence[int]) -> Callable[[dict[str, Any]], None]:
    """Leave out of the file the releases of a kind to the instance in question."""

    def change(value: dict[str, Any]) -> None:
        story, record, _ = honest()
        named = [story.statements[id] for id in record.body["releases"]]
        gone = [said.id for said in named if kind in said.body]
        assert len(gone) == 2
        for place in which:
            said = story.statements[gone[place]]
            envelope = json.loads(said.to_bytes())
            value["statements"] = [each for each in value["statements"] if each["envelope"] != envelope]

    return change


CUTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no state shares": (without("state", [0, 1]), "names other key-releases"),
    "one state share": (without("state", [0]), "names other key-releases"),
    "no key shares": (without("period_key", [0, 1]), "names other key-releases"),
    "one key share": (without("period_key", [1]), "names other key-releases"),
    "the record before": (drop("run-record", 0), "a kept of something that is no run-record"),
    "the kept before": (drop("kept", 0), "a key-release to an instance that is over"),
}


@pytest.mark.parametrize(("cut", "why"), CUTS.values(), ids=CUTS)
def test_what_is_left_out_is_missed(cut: Callable[[dict[str, Any]], object], why: str) -> None:
    story, _, data = honest()
    value = json.loads(data)
    cut(value)
    refused(story, canonical.encode(value), why)


def test_the_record_before_is_not_exchanged_for_an_earlier_one() -> None:
    """The third day's proof with the first day's run in place of the second's."""
    story = Days()
    first, second, third = story.take_in(*DAYS[:3])
    value, other = (json.loads(story.bundle(record).to_bytes()) for record in (third, first))
    gone = of_type(json.loads(story.bundle(second).to_bytes()), "run-record")[1]
    kept = [each for each in value["statements"] if each != gone]
    assert len(kept) == len(value["statements"]) - 1
    places = {each["index"]: each for each in [*kept, *other["statements"]]}
    value["statements"] = [places[index] for index in sorted(places)]
    note = story.note()
    shown = {story.statements[json.loads(story.leaves[index])["id"]].id for index in places}
    hidden = [said for said in story.statements.values() if said.id not in shown]
    refused(story, forged(story, third, without=hidden, note=note), "means nothing")


# --- lies that stand in the log ----------------------------------------------------------------------------------


def counting(story: Days, instance: Instance, given: list[Statement], **changes: Any) -> Statement:
    record = story.leave(instance, given, **changes)
    story.keep(record)
    return record


def two_days(story: Days) -> tuple[Instance, list[Statement]]:
    instance = ready(story)
    return instance, story.give_all(instance)


def test_shares_of_another_state_do_not_pass() -> None:
    story = Days()
    story.take_in(DAYS[2])
    old = story.state()
    instance = ready(story)
    given = [each for each in story.give_all(instance) if "state" not in each.body]
    given += [story.give(name, instance, old, "state") for name in ("regulator", "operator-b")]
    record = counting(story, instance, given)
    # only the two last days' runs: earlier ones, and those that drew keys, are no part of a proof
    runs = [said for said in story.statements.values() if said.type == "kept" or "request" in said.body]
    hidden = [said for said in runs if _day(story, said) == DAYS[2] or _task_of(story, said) == KEYS]
    refused(story, forged(story, record, without=hidden), "without the shares of enough holders")


@pytest.mark.parametrize("kind", ["state", "period_key"])
def test_shares_of_too_few_holders_do_not_pass(kind: str) -> None:
    story = Days()
    instance, given = two_days(story)
    one = next(each for each in given if kind in each.body)
    record = counting(story, instance, [each for each in given if each is not one])
    value = json.loads(forged(story, record))
    refused(story, canonical.encode(value), "without the shares of enough holders")


@pytest.mark.parametrize("kind", ["state", "period_key"])
def test_a_forger_who_hides_where_a_key_comes_from_does_not_pass(kind: str) -> None:
    """The log's readers void such a record; the file must not make it good by showing less of the log."""
    story = Days()
    instance, given = two_days(story)
    few = [each for each in given if kind not in each.body]
    hidden = [each for each in given if kind in each.body]
    record = counting(story, instance, few)
    drawing = [
        said
        for said in story.statements.values()
        if said.type in ("run-request", "run-record", "challenge", "enclave-evidence", "key-release")
        and _task_of(story, said) == KEYS
    ]
    data = forged(story, record, without=[*hidden, *drawing])
    verdict = verify(story, data)
    assert not verdict.ok
    refused(story, data, "shares")


def _day(story: Days, said: Statement) -> str | None:
    """The day of a run that a statement belongs to."""
    if said.type == "kept":
        return _day(story, story.statements[said.body["record"]])
    asked = story.statements[said.body["request"]] if "request" in said.body else said
    return asked.body.get("period")


def _task_of(story: Days, said: Statement) -> str | None:
    if said.type == "run-request":
        return str(said.body["task"])
    if said.type == "kept":
        return TASK
    return str(story.statements[said.body["request"]].body["task"])


def test_a_state_that_is_exchanged_does_not_pass() -> None:
    """Shares are of the state that the record before left, by its digest: other parts, and they fit no more."""
    story, _, data = honest()
    value = json.loads(data)
    first = of_type(value, "run-record")[0]
    said = next(each for each in story.statements.values() if json.loads(each.to_bytes()) == first["envelope"])
    forged_body = {**said.body, "state": {**said.body["state"], "about": digest_of("another")}}
    instance = next(each for each in story.statements.values() if each.id == said.body["evidence"])
    assert instance.by == said.by
    swapped = story.say("ministry", "run-record", forged_body)
    first["envelope"] = json.loads(swapped.to_bytes())
    refused(story, canonical.encode(value), "is not in the log")


@pytest.mark.parametrize("action", ["finish", "cancel"])
def test_a_record_that_leaves_a_state_after_the_report_does_not_pass(action: str) -> None:
    story = Days()
    story.take_in(DAYS[0])
    story.deliver_tables()
    instance = story.instance_for(story.ask(TASK, action, REPORT))
    state = story._state(instance, story.terms.tasks[TASK].holders)
    record = counting(story, instance, story.give_all(instance), state=state)
    refused(story, forged(story, record), "a record of the wrong form")


@pytest.mark.parametrize("what", ["state", "key"])
def test_a_key_shared_among_too_few_does_not_pass(what: str) -> None:
    story = Days()
    if what == "key":
        instance = story.instance_for(story.ask(KEYS, "key", DAYS[0]))
    else:
        story.bring(DAYS[0])
        instance = story.instance_for(story.ask(TASK, "ingest", DAYS[0]))
    given = story.give_all(instance)
    honest_body = Days.leave  # what an honest instance would say, less one holder
    said = story.say(instance, "run-record", {})
    assert said.by == instance.id
    size = len(story.leaves)
    body = dict(honest_body(story, instance, given).body)
    del story.leaves[size:]
    body[what] = {**body[what], "shares": {k: v for k, v in body[what]["shares"].items() if k != "regulator"}}
    record = story.tell(instance, "run-record", body)
    if what == "state":
        story.keep(record)
    word = {"state": "state", "key": "drawn"}[what]
    refused(story, story.bundle(record).to_bytes(), f"the {word} key is not shared among the holders")
