"""The host deletes the states that were followed, once, and never the newest."""

from days import DAYS, REPORT, TASK, Days
from sealstat.crypto.statement import Statement
from sealstat.host.expiry import dead_ciphertexts


def gone(story: Days) -> list[str]:
    return [each.of["record"] for each in dead_ciphertexts([story.view()])]


def tell_deleted(story: Days, record: Statement) -> None:
    story.tell("host", "deleted", {"record": record.id})


def test_a_state_that_was_followed_is_deleted_and_that_is_said_once() -> None:
    story = Days()
    first, second, _ = story.take_in(*DAYS[:3])
    assert gone(story) == [first.id, second.id]
    tell_deleted(story, first)
    assert gone(story) == [second.id]
    (found,) = dead_ciphertexts([story.view()])
    state = second.body["state"]
    assert (found.parts, found.beside, found.by) == (
        state["parts"]["digest"],
        (state["about"],),
        frozenset({second.by}),
    )


def test_the_newest_state_stays_until_a_cancel_counts() -> None:
    story = Days()
    (first,) = story.take_in(DAYS[0])
    assert gone(story) == []
    instance = story.instance_for(story.ask(TASK, "ingest", DAYS[0]))
    story.abandon(instance)
    assert gone(story) == []
    story.do(TASK, "cancel", REPORT)
    assert gone(story) == [first.id]


def test_a_record_that_does_not_count_yet_leaves_the_state_before() -> None:
    story = Days()
    story.take_in(DAYS[0])
    story.bring(DAYS[1])
    instance = story.instance_for(story.ask(TASK, "ingest", DAYS[1]))
    record = story.leave(instance, story.give_all(instance))
    assert gone(story) == []
    story.keep(record)
    assert len(gone(story)) == 1


def test_a_state_that_its_holders_forgot_is_deleted() -> None:
    story = Days()
    (first,) = story.take_in(DAYS[0])
    story.tell("regulator", "expiry", {"state": story.state(), "task": TASK})
    assert gone(story) == []
    story.tell("operator-b", "expiry", {"state": story.state(), "task": TASK})
    assert gone(story) == [first.id]
