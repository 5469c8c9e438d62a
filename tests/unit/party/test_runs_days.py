"""Asking for days and reports, and what is said of them: which are due, where a run of one stands, what came of it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from days import DAYS, KEYS, REPORT, TASK, Days, terms
from desk import Desk, home
from sealstat.agreement import contexts
from sealstat.crypto import canonical
from sealstat.crypto.cards import fingerprint
from sealstat.crypto.sealing import seal
from sealstat.crypto.statement import Statement
from sealstat.party import runs
from sealstat.party.errors import PartyError
from story import Instance

PURPOSE = "tourism-statistics"


@pytest.fixture
def log() -> Days:
    return Days()


def desk(log: Days, path: Path, name: str = "ministry") -> Desk:
    found = Desk(log, home(path, name))
    found.read()
    return found


# --- what is due -----------------------------------------------------------------------------------------------------


def test_days_are_due_whose_turn_it_is_and_whose_delivery_is_there(log: Days, tmp_path: Path) -> None:
    log.take_in(DAYS[0])
    log.bring(DAYS[1])
    log.draw(DAYS[2])
    log.bring(DAYS[3])
    ministry = desk(log, tmp_path)
    assert runs.due_days(ministry, TASK, "2026-10") == [DAYS[1], DAYS[3]]
    assert runs.due_days(ministry, TASK, f"{DAYS[2]}/{DAYS[3]}") == [DAYS[3]]


def test_keys_are_due_for_days_that_have_none(log: Days, tmp_path: Path) -> None:
    log.draw(DAYS[1])
    assert runs.due_days(desk(log, tmp_path), KEYS, REPORT) == [DAYS[0], DAYS[2], DAYS[3]]


@pytest.mark.parametrize(
    ("task", "period", "sentence"),
    [
        (TASK, REPORT, f"{TASK} has no day of {REPORT} to take in: none is delivered, or all are done"),
        (TASK, "2026-11", f"{TASK} has no day of 2026-11 to take in"),
        (KEYS, f"{DAYS[0]}/{DAYS[0]}", f"{KEYS} has no day of {DAYS[0]}/{DAYS[0]} to draw a key for"),
    ],
    ids=["not delivered or done", "of another report", "drawn"],
)
def test_no_day_that_is_due_is_a_refusal(log: Days, tmp_path: Path, task: str, period: str, sentence: str) -> None:
    log.take_in(DAYS[0])
    with pytest.raises(PartyError, match=sentence):
        runs.due_days(desk(log, tmp_path), task, period)


def test_a_report_is_due_when_its_last_day_is_in_and_until_it_is_made(log: Days, tmp_path: Path) -> None:
    ministry = desk(log, tmp_path)
    assert runs.due_report(ministry, TASK) is None
    assert runs.due_report(ministry, KEYS) is None
    log.take_in(DAYS[3], DAYS[0], DAYS[2])
    ministry.read()
    assert runs.due_report(ministry, TASK) is None
    log.take_in(DAYS[1])
    ministry.read()
    assert runs.due_report(ministry, TASK) == REPORT
    log.finish_report()
    ministry.read()
    assert runs.due_report(ministry, TASK) is None


def test_a_month_is_due_when_all_its_days_are_in() -> None:
    days = [f"2027-02-{day:02}" for day in range(1, 29)]
    view = SimpleNamespace(ingested=lambda _: days)
    member: Any = SimpleNamespace(agreement=terms(report="month"), view=view)
    assert runs.due_report(member, TASK) == "2027-02"
    days.remove("2027-02-27")
    assert runs.due_report(member, TASK) is None


# --- refusals of a request -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "period", "action", "sentence"),
    [
        (TASK, DAYS[0], None, f"{TASK} cannot take in {DAYS[0]}: the day was taken in already"),
        (TASK, DAYS[1], None, f"days for {DAYS[1]} is missing: operator-a has not delivered it"),
        (TASK, REPORT, None, f"expected a day like 2026-10-31, not {REPORT}"),
        (TASK, "2026-10-05", None, f"2026-10-05 is no day of the report of {TASK}"),
        (TASK, REPORT, "finish", f"census for {REPORT} is missing: operator-b has not delivered it"),
        (TASK, "2026-10", "finish", f"a report of {TASK} is for {REPORT}, not for 2026-10"),
        (TASK, DAYS[0], "cancel", f"a report of {TASK} is for {REPORT}, not for {DAYS[0]}"),
        (KEYS, DAYS[0], None, f"{KEYS} cannot draw a key for {DAYS[0]}: the key of that day was drawn already"),
        (KEYS, REPORT, "finish", f"the task {KEYS} takes in no days: it has nothing to finish"),
    ],
    ids=[
        "taken in",
        "not delivered",
        "no day",
        "of another report",
        "no census",
        "another report",
        "a report of a day",
        "drawn",
        "not by day",
    ],
)
def test_a_request_that_cannot_be_is_refused_before_anything_is_said(
    log: Days, tmp_path: Path, task: str, period: str, action: str | None, sentence: str
) -> None:
    log.take_in(DAYS[0])
    ministry = desk(log, tmp_path)
    with pytest.raises(PartyError) as refusal:
        runs.request(ministry, task, period, PURPOSE, action=action)  # type: ignore[arg-type]
    assert str(refusal.value) == sentence
    assert ministry.host.sent == []


@pytest.mark.parametrize(
    ("action", "sentence"),
    [("finish", "cannot report"), ("cancel", "cannot cancel")],
)
def test_where_no_day_is_in_there_is_nothing_to_report_or_forget(
    log: Days, tmp_path: Path, action: str, sentence: str
) -> None:
    with pytest.raises(PartyError, match=f"{TASK} {sentence} {REPORT}: no day was taken in yet"):
        runs.request(desk(log, tmp_path), TASK, REPORT, PURPOSE, action=action)  # type: ignore[arg-type]


def test_a_day_after_its_report_comes_too_late(log: Days, tmp_path: Path) -> None:
    log.take_in(DAYS[0])
    log.finish_report()
    log.bring(DAYS[1])
    with pytest.raises(PartyError, match=f"the report of {REPORT} was made already"):
        runs.request(desk(log, tmp_path), TASK, DAYS[1], PURPOSE)


# --- where a run stands ----------------------------------------------------------------------------------------------


def stage(log: Days, run: Statement) -> tuple[str, str]:
    now = runs.stage(log.view(), run.id, "ministry")
    assert now.ended == (now.word in ("done", "refused", "stopped"))
    return now.word, now.sentence


def test_a_day_is_told_from_the_request_to_the_state(log: Days) -> None:
    log.take_in(DAYS[0])
    log.bring(DAYS[1])
    run = log.ask(TASK, "ingest", DAYS[1])
    assert stage(log, run) == ("requested", "waiting for the agent of operator-a to answer")
    instance = log.instance(run, {"operator-a": log.challenge("operator-a", run, 1)}, 1)
    assert stage(log, run) == ("requested", "waiting for 1 more holders' agents to answer")
    instance.challenges |= {name: log.challenge(name, run, 1) for name in ("operator-b", "regulator")}
    assert stage(log, run)[0] == "challenged"
    log.attest(instance)
    waited = "the enclave has shown its evidence; waiting for the key of operator-a, operator-b, regulator"
    assert stage(log, run) == ("attested", waited)
    given = log.give_all(instance)
    assert stage(log, run) == ("computing", "all keys are released, the enclave computes")
    record = log.leave(instance, given)
    assert stage(log, run) == ("recorded", "computed; waiting for the keepers to keep the sealed results")
    log.keep(record)
    assert stage(log, run) == ("done", f"{DAYS[1]} is taken in; the state holds 2 days")


def test_a_second_day_waits_for_the_first(log: Days) -> None:
    for day in DAYS[:2]:
        log.bring(day)
    first, second = (log.ask(TASK, "ingest", day) for day in DAYS[:2])
    log.give_all(log.instance_for(first))
    log.instance_for(second)
    other = first.id[:12]
    waiting = f"waiting for run {other} of the same task; if that is stuck: `run abandon {other}`"
    assert stage(log, second) == ("attested", waiting)


def test_what_leaves_no_table_is_done_when_it_counts(log: Days) -> None:
    log.take_in(DAYS[0])
    drawn, cancelled = log.draw(DAYS[1]), log.do(TASK, "cancel", REPORT)
    said = [stage(log, log.statements[record.body["request"]]) for record in (drawn, cancelled)]
    assert said == [
        ("done", f"the key of the pseudonyms of {DAYS[1]} is drawn"),
        ("done", f"the days of {REPORT} are forgotten, without a report"),
    ]


def test_a_request_that_another_made_void_is_refused(log: Days) -> None:
    log.bring(DAYS[0])
    twice = [log.ask(TASK, "ingest", DAYS[0]) for _ in range(2)]
    instance = log.instance_for(twice[0])
    log.keep(log.leave(instance, log.give_all(instance)))
    assert stage(log, twice[1]) == ("refused", "the day was taken in already")


def test_a_day_that_the_enclave_refused_is_refused(log: Days) -> None:
    run = refused_day(log, DAYS[0])
    sentence = (
        "the enclave has refused the run (data): a delivery is not as agreed; its owner was told the detail, sealed"
    )
    assert stage(log, run) == ("refused", sentence)


def refused_day(log: Days, day: str) -> Statement:
    log.bring(day)
    run = log.ask(TASK, "ingest", day)
    instance = log.instance_for(run)
    log.give_all(instance)
    log.refuse(instance, run.id)
    return run


# --- what came of it -------------------------------------------------------------------------------------------------


def test_a_report_over_some_days_says_which_failed_and_which_were_never_tried(log: Days) -> None:
    refused_day(log, DAYS[1])
    log.take_in(DAYS[0], DAYS[2])
    log.deliver_tables()
    asked = log.ask(TASK, "finish", REPORT)
    before = runs.days_of(log.view(), log.view().requests[asked.id])
    instance = log.instance_for(asked)
    log.keep(log.leave(instance, log.give_all(instance)))
    after = runs.days_of(log.view(), log.view().requests[asked.id])
    wanted = {"taken_in": [DAYS[0], DAYS[2]], "failed": [DAYS[1]], "forgotten": [], "skipped": [DAYS[3]]}
    assert before == after == wanted


def test_a_day_that_failed_and_was_made_good_is_taken_in(log: Days) -> None:
    refused_day(log, DAYS[0])
    log.do(TASK, "ingest", DAYS[0])
    asked = log.finish_report().body["request"]
    days = runs.days_of(log.view(), log.view().requests[asked])
    assert (days["taken_in"], days["failed"]) == ([DAYS[0]], [])


def test_days_that_were_cancelled_are_forgotten(log: Days) -> None:
    log.take_in(DAYS[0])
    log.do(TASK, "cancel", REPORT)
    log.take_in(DAYS[1])
    asked = log.finish_report().body["request"]
    days = runs.days_of(log.view(), log.view().requests[asked])
    assert (days["taken_in"], days["forgotten"]) == ([DAYS[1]], [DAYS[0]])


NOTE = {"day": DAYS[0], "rows": 997, "forged": 2, "rejects": {"empty": 1}}


def telling(log: Days, **bound: str) -> Statement:
    """The record of a day that tells its provider alone; ``bound`` changes what the note is bound to."""
    log.bring(DAYS[0])
    instance: Instance = log.instance_for(log.ask(TASK, "ingest", DAYS[0]))
    card = log.card("operator-a")
    where = {"instance": instance.id, "owner": fingerprint(card), "request": instance.request.id, **bound}
    note = seal(card.sealing, contexts.told(log.id, **where), canonical.encode({**NOTE, "pad": "0" * 99}))
    return log.leave(instance, log.give_all(instance), told={"operator-a": note})


def told(log: Days, record: Statement, member: Desk) -> object:
    return runs.told(member, log.view().records[record.id][0])


def test_the_provider_alone_reads_what_became_of_its_day(log: Days, tmp_path: Path) -> None:
    record = telling(log)
    assert told(log, record, desk(log, tmp_path / "a", "operator-a")) == NOTE
    assert told(log, record, desk(log, tmp_path / "b", "operator-b")) is None


def test_a_note_of_another_run_is_not_read(log: Days, tmp_path: Path) -> None:
    record = telling(log, request="0" * 64)
    assert told(log, record, desk(log, tmp_path, "operator-a")) is None
