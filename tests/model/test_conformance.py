"""View and model read the same logs alike: an honest history, and the same leaves in other orders."""

from collections.abc import Iterator
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from days import DAYS, KEYS, REPORT, TASK, Days
from model import log
from model.conformance import Drifted, check_moves, compare
from sealstat.crypto.statement import Statement
from story import Instance, Story


@cache
def pool() -> tuple[list[Statement], tuple[Statement, ...], tuple[Statement, ...]]:
    """The chain, the leaves that everything stands on, and those of runs that get in one another's way.

    Two requests; of the first, two instances at counter 0, of the second one at 0 and one at 1.
    """
    story = Story()
    first = story.begin()
    second = story.request([story.statements[id] for id in first.body["deliveries"]])
    instances: list[Instance] = []
    for request, c in ((first, 0), (first, 0), (second, 0), (second, 1)):
        challenges = story.challenge_all(request, c)
        instances.append(story.instance(request, challenges, c))
    ground = len(story.leaves)
    for instance in instances:
        story.attest(instance)
        story.release_all(instance)
        record = story.record(instance)
        story.keep(record)
        story.keep(record, by="regulator")  # no keeper: it means nothing
        story.release_result("operator-a", record, instance)
        story.refuse("operator-b", record.id, "owner")
        story.abandon(instance, by="regulator")
    story.refuse(instances[1], first.id)
    story.withdraw("ministry")
    said = tuple(story.statements.values())
    return story.chain, said[:ground], said[ground:]


def history(*places: int) -> list[Statement]:
    """The ground, and of the pool the leaves with these places.

    Without what an instance says ahead of its evidence: nobody can check that, so it would end every replay (section
    3), and no host that wants to be read logs it.
    """
    _, ground, rest = pool()
    said, shown = [*ground], set()
    instances = {statement.by for statement in rest if statement.type == "enclave-evidence"}
    for statement in (rest[place] for place in places):
        if statement.type == "enclave-evidence":
            shown.add(statement.by)
        if statement.by not in instances or statement.by in shown:
            said.append(statement)
    return said


ENDS = {"abandon", "withdrawal", "refusal"}


@st.composite
def shuffled(draw: st.DrawFn) -> list[int]:
    """Places of the pool, some moved and some left out; few of those that end things, so that much can happen."""
    _, _, rest = pool()
    kept = [place for place, said in enumerate(rest) if said.type not in ENDS or draw(st.integers(0, 5)) == 0]
    for _ in range(draw(st.integers(0, 12))):
        place = draw(st.integers(0, len(kept) - 1))
        kept.insert(draw(st.integers(0, len(kept) - 1)), kept.pop(place))
    gone = draw(st.sets(st.integers(0, len(kept) - 1), max_size=6))
    return [place for at, place in enumerate(kept) if at not in gone]


@pytest.fixture(scope="module", autouse=True)
def _verified_once() -> Iterator[None]:
    """The story's own signatures are good; to check them again for each order of leaves takes most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Statement, "verify", lambda self, keys: None)
        yield


@given(shuffled())
@settings(max_examples=80)
def test_view_and_model_say_the_same_of_any_order_of_leaves(places: list[int]) -> None:
    compare(pool()[0], history(*places), "visitors")


@given(st.permutations(range(40)))
@settings(max_examples=30)
def test_view_and_model_say_the_same_of_a_heap_of_leaves(places: list[int]) -> None:
    compare(pool()[0], history(*(place for place in places if place < len(pool()[2]))), "visitors")


def test_the_pool_has_two_runs_that_count_one_after_the_other() -> None:
    _, _, rest = pool()
    places = [place for place, said in enumerate(rest) if said.type not in ENDS]
    model = compare(pool()[0], history(*places), "visitors")
    assert model.facts.counter == 2


def test_what_an_honest_history_says_could_be_said_in_the_model() -> None:
    story = Story()
    story.whole_run()
    model = compare(story.chain, story.statements.values(), "visitors")
    assert check_moves(model, story.terms.parties) == 2 + 1 + 1 + 3  # keys, record, kept, shares of the result


def test_a_release_to_a_second_instance_could_not_be_said() -> None:
    story = Story()
    request = story.begin()
    first, second = story.start(request), story.start(request)
    delivery = story.statements[request.body["deliveries"][0]]
    story.release(delivery, first)
    story.release(delivery, second)
    with pytest.raises(Drifted, match="could not be said"):
        check_moves(compare(story.chain, story.statements.values(), "visitors"), {"operator-a"})


def test_a_model_that_reads_otherwise_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story()
    _, record = story.run(story.begin())
    story.keep(record)
    monkeypatch.setattr(log, "_settle", lambda terms, facts, instance: facts)
    log.read.cache_clear()
    try:
        with pytest.raises(Drifted, match="counter"):
            compare(story.chain, story.statements.values(), "visitors")
    finally:
        log.read.cache_clear()


@cache
def days_pool() -> tuple[list[Statement], tuple[Statement, ...]]:
    """A key drawn for each of two days, both days taken in, then all of it forgotten."""
    story = Days()
    story.take_in(*DAYS[:2])
    story.do(TASK, "cancel", REPORT)
    return story.chain, tuple(story.statements.values())


@pytest.mark.parametrize(("task", "counter"), [(TASK, 3), (KEYS, 2)])
def test_view_and_model_say_the_same_of_a_task_with_state(task: str, counter: int) -> None:
    chain, said = days_pool()
    model = compare(chain, said, task)
    assert model.facts.counter == counter
    assert check_moves(model, {"operator-a", "operator-b", "regulator", "ministry"}) > counter


@pytest.mark.parametrize("task", [TASK, KEYS])
@given(data=st.data())
@settings(max_examples=40)
def test_view_and_model_say_the_same_of_state_whatever_is_held_back(task: str, data: st.DataObject) -> None:
    """Releases, shares, records and `kept` that the host logs later, or not at all."""
    chain, said = days_pool()
    order = list(range(len(said)))
    held = [at for at in order if said[at].type in ("key-release", "run-record", "kept")]
    for _ in range(data.draw(st.integers(1, 4))):
        place = order.index(data.draw(st.sampled_from(held)))
        moved = order.pop(place)
        later = data.draw(st.integers(0, 8))
        if later:
            order.insert(place + later, moved)
        held = [at for at in held if at in order]
    compare(chain, [said[at] for at in order], task)
