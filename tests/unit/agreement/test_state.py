"""What a log means for a task with state: days, keys drawn, shares, reports (protocol.md sections 5 to 8)."""

from collections.abc import Callable
from typing import Any

import pytest

from days import DAYS, KEYS, REPORT, TASK, Days, terms
from sealstat.agreement.check import problems
from sealstat.agreement.model import Agreement
from sealstat.agreement.replay import Void
from sealstat.crypto import canonical
from sealstat.crypto.cards import b64
from sealstat.crypto.statement import Statement
from sealstat.statistics.catalogue import Catalogue
from story import Instance, digest_of


def void(story: Days, said: Statement, why: str) -> None:
    found = story.why_void(said)
    assert found is not None, "it means something"
    assert why in found


def monthly(**task: Any) -> Agreement:
    """Reports by month, so that two can be mixed up."""
    value = terms(report="month", **task).to_json()
    for name in ("areas", "census"):
        value["datasets"][name]["period"] = "month"
    return Agreement.model_validate(value)


def ready(story: Days, day: str = DAYS[1]) -> tuple[Instance, list[Statement]]:
    """An instance with all that it needs to take in a day."""
    story.bring(day)
    instance = story.instance_for(story.ask(TASK, "ingest", day))
    return instance, story.give_all(instance)


def turn(story: Days, action: str, period: str) -> None:
    story.view().check_turn(story.id, TASK, action, period)


# --- days and reports --------------------------------------------------------------------------------------------


def test_days_come_in_any_order_and_the_report_uses_them_up() -> None:
    story = Days()
    story.take_in(DAYS[2], DAYS[0])
    assert story.view().ingested(TASK) == [DAYS[2], DAYS[0]]
    assert story.view().counter(TASK) == 2
    report = story.finish_report()
    view = story.view()
    assert view.counts(report.id)
    assert (view.ingested(TASK), view.state_record(TASK), view.counter(TASK)) == ([], None, 3)
    with pytest.raises(Void, match="was made already"):
        turn(story, "ingest", DAYS[1])


def test_a_day_is_taken_in_once_ever_also_after_a_cancel() -> None:
    story = Days()
    story.take_in(DAYS[0])
    again = story.ask(TASK, "ingest", DAYS[0])
    with pytest.raises(Void, match="the day was taken in already"):
        story.view().check_request(again.id)
    cancel = story.do(TASK, "cancel", REPORT)
    assert story.view().counts(cancel.id)
    assert (story.view().ingested(TASK), story.view().state_record(TASK)) == ([], None)
    with pytest.raises(Void, match="the day was taken in already"):
        turn(story, "ingest", DAYS[0])
    story.take_in(DAYS[1])
    assert story.view().ingested(TASK) == [DAYS[1]]


def test_a_day_outside_the_report_is_no_request() -> None:
    story = Days()
    asked = story.request([], task=TASK, action="ingest", period="2026-10-05")
    void(story, asked, "is no day of the report")


@pytest.mark.parametrize("action", ["finish", "cancel"])
def test_a_report_or_a_cancel_needs_a_day(action: str) -> None:
    story = Days()
    story.deliver_tables()
    asked = story.ask(TASK, action, REPORT)
    with pytest.raises(Void, match="no day was taken in yet"):
        story.view().check_request(asked.id)


@pytest.mark.parametrize("action", ["run", "key"])
def test_a_task_with_state_does_nothing_else(action: str) -> None:
    story = Days()
    void(story, story.request([], task=TASK, action=action, period=DAYS[0]), "something that the task does not do")


def test_two_reports_are_not_mixed() -> None:
    story = Days(monthly())
    story.take_in("2026-10-31")
    with pytest.raises(Void, match="another report is not finished"):
        turn(story, "ingest", "2026-11-01")
    for action in ("finish", "cancel"):
        with pytest.raises(Void, match="the days taken in are of the report of 2026-10"):
            turn(story, action, "2026-11")
    story.do(TASK, "cancel", "2026-10")
    turn(story, "ingest", "2026-11-01")


# --- what a record leaves ------------------------------------------------------------------------------------------


def state_of(story: Days, instance: Instance) -> dict[str, Any]:
    return story._state(instance, story.terms.tasks[TASK].holders)


WRONG_INGESTS: dict[str, Callable[[Days, Instance], dict[str, Any]]] = {
    "no state": lambda story, instance: {"state": None},
    "tables as well": lambda story, instance: story._outputs(instance)[0],
    "shares of no result": lambda story, instance: {"shares": story._outputs(instance)[0]["shares"]},
    "a key as well": lambda story, instance: {"key": {"dataset": "days", "sealed": b64(b"x"), "shares": {}}},
}


@pytest.mark.parametrize("wrong", WRONG_INGESTS.values(), ids=WRONG_INGESTS)
def test_a_day_leaves_a_state_and_nothing_else(wrong: Callable[[Days, Instance], dict[str, Any]]) -> None:
    story = Days()
    instance, given = ready(story)
    record = story.leave(instance, given, **wrong(story, instance))
    assert story.why_void(record) in (
        "a record of the wrong form",
        "a record with shares of no result, or results without shares",
    )


@pytest.mark.parametrize("action", ["finish", "cancel"])
def test_nothing_leaves_a_state_after_a_report_or_a_cancel(action: str) -> None:
    story = Days()
    story.take_in(DAYS[0])
    story.deliver_tables()
    instance = story.instance_for(story.ask(TASK, action, REPORT))
    record = story.leave(instance, story.give_all(instance), state=state_of(story, instance))
    void(story, record, "a record of the wrong form")


def test_a_key_is_drawn_for_the_tasks_own_dataset() -> None:
    story = Days()
    instance = story.instance_for(story.ask(KEYS, "key", DAYS[0]))
    given = story.give_all(instance)
    record = story.leave(instance, given, key={"dataset": "areas", "sealed": b64(b"x"), "shares": {}})
    void(story, record, "a key that was drawn for another dataset")


# --- keys of pseudonyms --------------------------------------------------------------------------------------------


def test_a_drawn_key_counts_from_its_own_leaf_and_is_the_only_one() -> None:
    story = Days()
    first, second = (story.ask(KEYS, "key", DAYS[0]) for _ in range(2))
    record = story.leave(instance := story.instance_for(first), story.give_all(instance))
    assert story.view().counts(record.id)  # nobody says kept: it names no ciphertext
    assert story.view().period_keys == {("days", DAYS[0]): record.id}
    with pytest.raises(Void, match="the key of that day was drawn already"):
        story.view().check_request(second.id)
    again = story.leave(instance := story.instance_for(second), story.give_all(instance))
    assert story.view().counts(again.id)  # what counts is decided by the log, and the first key stays
    assert story.view().period_keys == {("days", DAYS[0]): record.id}


def test_a_key_needs_its_owners_consent() -> None:
    story = Days()
    instance = story.instance_for(story.ask(KEYS, "key", DAYS[0]))
    bound = {"request": instance.request.id, "c": 0, "instance": instance.id}
    for other in ("operator-b", "ministry"):
        void(story, story.tell(other, "key-release", bound), "by somebody who is not the owner")
    void(story, story.leave(instance, []), "not live")


def test_a_consent_opens_nothing_but_a_key() -> None:
    story = Days()
    story.bring(DAYS[0])
    instance = story.instance_for(story.ask(TASK, "ingest", DAYS[0]))
    bound = {"request": instance.request.id, "c": 0, "instance": instance.id}
    void(story, story.tell("operator-a", "key-release", bound), "a key-release of a delivery not asked for")


def test_a_delivery_ahead_of_its_key_is_void() -> None:
    story = Days()
    void(story, story.deliver("days", period=DAYS[0], linkage_check=None), "whose key was not drawn")
    story.draw(DAYS[0])
    void(story, story.deliver("days", period=DAYS[1], linkage_check=None), "whose key was not drawn")
    assert story.why_void(story.deliver("days", period=DAYS[0], linkage_check=None)) is None


# --- shares --------------------------------------------------------------------------------------------------------


def second_day(story: Days) -> Instance:
    """One day is in, and an instance has been asked for the next; nobody has given it anything."""
    story.take_in(DAYS[0])
    story.bring(DAYS[1])
    return story.instance_for(story.ask(TASK, "ingest", DAYS[1]))


def test_only_holders_give_shares() -> None:
    story = Days()
    instance = second_day(story)
    key = story.view().period_keys["days", DAYS[1]]
    for of, kind in ((story.state(), "state"), (key, "period_key")):
        void(story, story.give("ministry", instance, of, kind), "by somebody who does not hold it")
        assert story.why_void(story.give("regulator", instance, of, kind)) is None


def test_a_share_of_an_old_state_or_another_days_key_means_nothing() -> None:
    story = Days()
    story.take_in(DAYS[2])
    old = story.state()
    instance = second_day(story)
    void(story, story.give("regulator", instance, old, "state"), "a key that the run does not need")
    other = story.view().period_keys["days", DAYS[0]]
    void(story, story.give("regulator", instance, other, "period_key"), "a key that the run does not need")


def test_a_share_of_another_tasks_state_means_nothing() -> None:
    value = terms().to_json()
    value["tasks"]["other"] = value["tasks"][TASK]
    story = Days(Agreement.model_validate(value))
    story.take_in(DAYS[0])
    story.bring(DAYS[1])
    instance = story.instance_for(story.ask("other", "ingest", DAYS[1]))
    assert story.state() not in story.view().needed_shares(story.view().requests[instance.request.id])
    void(story, story.give("regulator", instance, story.state(), "state"), "a key that the run does not need")


def test_a_share_given_to_an_instance_that_is_over_means_nothing() -> None:
    story = Days()
    instance = second_day(story)
    story.abandon(instance)
    void(story, story.give("regulator", instance, story.state(), "state"), "an instance that is over")
    other = story.instance_for(instance.request)
    void(story, story.give("regulator", other, story.state(), "state", c=0), "an instance that is over")


def test_a_holders_share_makes_an_instance_live_and_only_one() -> None:
    story = Days()
    first = second_day(story)
    second = story.instance_for(first.request)
    story.give("regulator", second, story.state(), "state")
    story.give("operator-b", first, story.state(), "state")
    live = story.view().live(TASK)
    assert live is not None
    assert live.fingerprint == second.id
    void(story, story.leave(first, story.give_all(first)), "an instance that is not live")


@pytest.mark.parametrize("kind", ["state", "period_key"])
def test_a_record_needs_the_shares_of_enough_holders(kind: str) -> None:
    story = Days()
    instance = second_day(story)
    given = story.give_all(instance)
    shares = [each for each in given if kind in each.body]
    assert len(shares) == 2
    # two gave theirs, and the record names only one of them: that it used both must stand in it
    void(
        story, story.leave(instance, [each for each in given if each is not shares[0]]), "the shares of enough holders"
    )


def test_a_record_names_releases_to_its_own_instance() -> None:
    story = Days()
    instance = second_day(story)
    other = story.instance_for(instance.request)
    given = story.give_all(instance)
    foreign = story.give("regulator", other, story.state(), "state")
    void(story, story.leave(instance, [*given, foreign]), "names other key-releases")


def test_a_record_without_its_owners_key_is_void() -> None:
    story = Days()
    instance = second_day(story)
    (delivery,) = instance.request.body["deliveries"]
    view = story.view()
    given = [
        story.give(name, instance, of, "period_key" if of in view.records else "state")
        for of, holders in view.needed_shares(view.requests[instance.request.id]).items()
        for name in holders.of
    ]
    void(story, story.leave(instance, given), "without the key of every owner")
    assert delivery not in story.view().instances[instance.id].releases


def test_shares_after_the_record_do_not_change_it() -> None:
    story = Days()
    instance = second_day(story)
    record = story.leave(instance, story.give_all(instance))
    story.give("regulator", instance, story.state(), "state")
    story.keep(record)
    assert story.view().counts(record.id)


# --- counter and keeping ---------------------------------------------------------------------------------------------


def test_a_state_is_the_newest_once_it_is_kept() -> None:
    story = Days()
    instance = second_day(story)
    before = story.state()
    record = story.leave(instance, story.give_all(instance))
    assert (story.state(), story.view().ingested(TASK)) == (before, [DAYS[0]])
    story.keep(record)
    assert story.state() != before
    assert story.view().ingested(TASK) == [DAYS[0], DAYS[1]]


def test_an_abandon_ahead_of_the_kept_leaves_the_old_state_and_the_day_to_be_taken_in() -> None:
    story = Days()
    instance = second_day(story)
    before = story.state()
    record = story.leave(instance, story.give_all(instance))
    story.abandon(instance)
    story.keep(record)
    assert not story.view().counts(record.id)
    assert story.state() == before
    story.do(TASK, "ingest", DAYS[1])
    assert story.view().ingested(TASK) == [DAYS[0], DAYS[1]]


# --- states that holders forget --------------------------------------------------------------------------------------


def forget(story: Days, by: str, **changes: Any) -> Statement:
    return story.tell(by, "expiry", {"state": story.state(), "task": TASK, **changes})


def test_below_the_threshold_the_state_is_gone_and_the_next_day_begins_anew() -> None:
    story = Days()
    instance = second_day(story)
    forget(story, "regulator")
    forget(story, "regulator")  # who says so twice has said it once
    assert story.view().ingested(TASK) == [DAYS[0]]
    forget(story, "operator-b")
    view = story.view()
    assert (view.state_record(TASK), view.ingested(TASK), view.counter(TASK)) == (None, [], 1)
    assert view.instances[instance.id].over
    story.do(TASK, "ingest", DAYS[1])
    assert story.view().ingested(TASK) == [DAYS[1]]
    with pytest.raises(Void, match="taken in already"):
        turn(story, "ingest", DAYS[0])


def test_a_record_of_a_state_that_is_gone_counts_no_more() -> None:
    story = Days()
    instance = second_day(story)
    record = story.leave(instance, story.give_all(instance))
    for name in ("regulator", "operator-b"):
        forget(story, name)
    story.keep(record)
    assert not story.view().counts(record.id)


def test_those_who_forgot_an_old_state_hold_the_next_one() -> None:
    story = Days()
    story.take_in(DAYS[0])
    forget(story, "regulator")
    story.take_in(DAYS[1])
    forget(story, "operator-b")
    assert story.view().ingested(TASK) == [DAYS[0], DAYS[1]]


def test_only_holders_forget_and_only_the_newest_state() -> None:
    story = Days()
    void(story, story.tell("regulator", "expiry", {"state": digest_of("x"), "task": TASK}), "where there is none")
    story.take_in(DAYS[0])
    old = story.state()
    void(story, forget(story, "ministry"), "by somebody who holds no share of it")
    void(story, forget(story, "regulator", task="unknown"), "a state where there is none")
    story.take_in(DAYS[1])
    void(story, forget(story, "regulator", state=old), "not the newest")


@pytest.mark.parametrize("body", [{}, {"state": "0" * 64}, {"task": TASK}, {"state": "0" * 64, "delivery": "0" * 64}])
def test_an_expiry_is_of_one_thing(body: dict[str, str]) -> None:
    story = Days()
    assert story.why_void(story.tell("regulator", "expiry", body)) is not None


# --- over versions of the agreement ----------------------------------------------------------------------------------


def renew(story: Days) -> None:
    """A second version, which all approve and name the successor."""
    old, value = story.id, {**story.terms.to_json(), "version": 2, "supersedes": story.id}
    # in canonical order, as it is read from its statement
    new = story.propose(Agreement.model_validate(canonical.decode(canonical.encode(value), limit=1 << 20)))
    story.approve_all()
    story.succeed(old, new.id, *story.terms.roles.approvers)


def test_a_state_goes_on_under_a_new_version() -> None:
    story = Days()
    story.take_in(DAYS[0])
    state = story.state()
    renew(story)
    assert (story.state(), story.view().ingested(TASK), story.view().counter(TASK)) == (state, [DAYS[0]], 1)
    story.take_in(DAYS[1])
    assert story.view().ingested(TASK) == [DAYS[0], DAYS[1]]
    assert story.view().period_keys.keys() == {("days", DAYS[0]), ("days", DAYS[1])}
    story.deliver_tables()
    asked = story.ask(TASK, "finish", REPORT)
    assert story.why_void(asked) is None
    instance = story.instance_for(asked)
    record = story.leave(instance, story.give_all(instance))
    story.keep(record)
    assert story.why_void(record) is None
    assert story.view().counts(record.id)


def test_a_share_under_the_old_version_means_nothing_to_a_run_of_the_new() -> None:
    story = Days()
    story.take_in(DAYS[0])
    old = story.id
    renew(story)
    story.bring(DAYS[1])
    instance = story.instance_for(story.ask(TASK, "ingest", DAYS[1]))
    body = {
        "request": instance.request.id,
        "c": 1,
        "instance": instance.id,
        "state": story.state(),
        "sealed": b64(b"x"),
    }
    void(story, story.tell("regulator", "key-release", body, under=old), "of another agreement")


# --- what was sent and has no leaf -----------------------------------------------------------------------------------


def test_a_pending_share_makes_its_instance_live_and_leaves_the_view_alone() -> None:
    story = Days()
    first = second_day(story)
    second = story.instance_for(first.request)
    body = {"request": first.request.id, "c": 1, "instance": second.id, "state": story.state(), "sealed": b64(b"x")}
    view = story.view()
    foreseen = view.foresee([story.say("regulator", "key-release", body)])
    live = foreseen.live(TASK)
    assert live is not None
    assert live.fingerprint == second.id
    assert view.live(TASK) is None
    assert view.instances[second.id].shares == {}


def test_a_pending_expiry_is_foreseen() -> None:
    story = Days()
    story.take_in(DAYS[0])
    forget(story, "regulator")
    view = story.view()
    pending = story.say("operator-b", "expiry", {"state": story.state(), "task": TASK})
    assert view.foresee([pending]).state_record(TASK) is None
    assert view.state_record(TASK) is not None
    assert view.tasks[TASK].forgotten == {"regulator"}


def test_the_agreement_of_these_stories_is_sound() -> None:
    assert problems(terms(), Catalogue()) == []
    assert problems(monthly(), Catalogue()) == []


# --- what must not end somebody else's work ------------------------------------------------------------------------


def test_a_report_without_a_state_counts_for_nobody() -> None:
    story = Days()
    story.deliver_tables()
    instance = story.instance_for(story.ask(TASK, "finish", REPORT))
    given = [story.release(story.statements[id], instance) for id in instance.request.body["deliveries"]]
    record = story.leave(instance, given)
    assert "a state that is not there" in (story.why_void(record) or "")
    story.take_in(DAYS[0])  # nothing is used up


def test_a_cancel_that_lay_for_days_does_not_take_what_came_since() -> None:
    story = Days()
    story.take_in(DAYS[0])
    late = story.ask(TASK, "cancel", REPORT)
    story.view().check_request(late.id)
    story.take_in(DAYS[1])
    with pytest.raises(Void, match="has gone on since"):
        story.view().check_request(late.id)


def test_a_version_that_nobody_approved_follows_nothing() -> None:
    story = Days()
    story.take_in(DAYS[0])
    first, digest = story.id, story.state()
    value = terms().to_json() | {"version": 2, "supersedes": first}
    story.propose(Agreement.model_validate(canonical.decode(canonical.encode(value), limit=1 << 20)))
    expiry = story.tell("regulator", "expiry", {"state": digest, "task": TASK})
    assert "not in force" in (story.why_void(expiry) or "")
    assert not story.view().goes_on(first)
