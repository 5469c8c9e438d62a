"""What a monitor warns of, against a host in memory that serves a story's log and can lie."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import builders
from desk import home
from sealstat.crypto import canonical
from sealstat.crypto.receipt import parse_receipt
from sealstat.crypto.statement import Statement, parse
from sealstat.host.receipts import make_receipt
from sealstat.party.monitor import AgreementWatch, Alarm, Kind, LogWatch, Look, take
from sealstat.wire.follow import Follower
from serving import Served, forked, forked_longer, truncated
from story import FOREIGN_LEAF, Story

ME = "operator-a"


class Watched:
    """Operator A, its home, its agent's reading, and a monitor beside it."""

    def __init__(self, path: Path) -> None:
        self.story = Story()
        self.home = home(path, ME)
        self.home.ledger.save_chain(self.story.id, self.story.chain)
        self.served = Served(self.story)
        self.agent_sees = Served(self.story)
        for said in self.story.statements.values():
            self.own(said)
        self.watch = self.again()

    def again(self) -> AgreementWatch:
        """A monitor as a new process finds it."""
        return AgreementWatch(self.home, self.story.id, clock=lambda: self.story.now, connect=self.served.connect)

    def own(self, said: Statement) -> Statement:
        """What this party said is in its ledger."""
        if said.by in self.home.identities:
            self.home.ledger.post(said)
        return said

    def approve(self) -> None:
        for said in self.story.approve_all():
            self.own(said)

    def agent_reads(self) -> None:
        Follower(self.agent_sees, self.home.ledger.chain(self.story.id), self.home.ledger).update()  # type: ignore[arg-type]

    def look(self) -> Look:
        return self.watch.look()

    def kinds(self) -> list[Kind]:
        return [alarm.kind for alarm in self.look().alarms]

    def promise(self, said: Statement, *, leaf: bytes | None = None, delay_s: int = 60) -> None:
        """The host's receipt for a statement, as the agent stores it."""
        receipt = make_receipt(
            builders.host().signer,
            origin=builders.host().card.origin,
            leaf=leaf or said.leaf,
            received=self.story.now,
            merge_delay_s=delay_s,
        )
        self.home.ledger.note_fact("receipt", said.id, {"receipt": canonical.decode(receipt, limit=1 << 16)})


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_an_honest_log_raises_no_alarm_however_often_it_is_looked_at(watched: Watched) -> None:
    watched.approve()
    watched.story.noise(300)
    said = watched.own(watched.story.withdraw(ME))
    watched.promise(said)
    watched.agent_reads()
    for _ in range(2):
        found = watched.look()
        assert found.alarms == ()
        assert (found.size, found.statements) == (len(watched.story.leaves), len(watched.story.statements))
    watched.watch = watched.again()
    assert watched.look().alarms == ()


def test_a_monitor_goes_on_where_it_stopped(watched: Watched) -> None:
    watched.approve()
    watched.look()
    read: list[str] = []
    plain = watched.served.statements
    watched.served.statements = lambda ids: (read.extend(ids), plain(ids))[1]  # type: ignore[method-assign]
    withdrawn = watched.own(watched.story.withdraw(ME))
    watched.watch = watched.again()
    assert watched.look().statements == len(watched.story.statements)
    assert read == [withdrawn.id]
    assert watched.home.ledger.load(watched.story.id) == (None, []), "the agent's memory is its own"


# --- what the party did not expect --------------------------------------------------------------------------------


def test_a_run_that_nothing_here_knew_of_is_told_once_after_a_while(watched: Watched) -> None:
    watched.approve()
    request = watched.story.request(watched.story.deliver_all())
    for said in watched.story.statements.values():
        watched.own(said)
    (alarm,) = watched.look().alarms
    assert (alarm.kind, alarm.about) == (Kind.UNKNOWN_RUN, request.id)
    now = watched.story.now
    assert take(watched.home, alarm, now=now, grace_s=60) == (False, None), "the agent may be about to read it"
    assert take(watched.home, alarm, now=now + timedelta(seconds=60), grace_s=60) == (True, None)
    assert take(watched.home, alarm, now=now + timedelta(seconds=99), grace_s=60) == (False, None)
    assert watched.home.ledger.acts()[0][2] == "the monitor warns"
    watched.agent_reads()
    assert watched.kinds() == []


def test_a_run_of_ones_own_is_no_surprise(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.approve()
    deliveries = [watched.own(each) for each in watched.story.deliver_all()]
    watched.own(watched.story.request(deliveries, by=ME))
    assert Kind.UNKNOWN_RUN not in watched.kinds()


def test_a_statement_under_ones_own_key_that_nobody_here_made_is_found(watched: Watched) -> None:
    watched.approve()
    stolen = watched.story.withdraw(ME)
    (alarm,) = watched.look().alarms
    assert (alarm.kind, alarm.about) == (Kind.OWN_KEY, stolen.id)
    due, folder = take(watched.home, alarm, now=watched.story.now)
    assert due
    assert folder is not None
    assert parse((folder / "statement.json").read_bytes()).id == stolen.id
    assert take(watched.home, alarm, now=watched.story.now)[0], "it is said until somebody acts"


def test_an_own_statement_that_is_void_counts_as_well(watched: Watched) -> None:
    void = watched.story.approve(ME)
    again = watched.story.approve(ME, explained="11" * 32)
    watched.own(void)
    assert [alarm.about for alarm in watched.look().alarms if alarm.kind is Kind.OWN_KEY] == [again.id]


def test_a_statement_that_means_nothing_is_reported(watched: Watched) -> None:
    void = watched.story.tell("regulator", "expiry", {"delivery": "ab" * 32})
    (alarm,) = watched.look().alarms
    assert (alarm.kind, alarm.about) == (Kind.VOID, void.id)


def test_a_missing_entry_that_was_promised_is_proven_once_it_is_due(watched: Watched) -> None:
    watched.approve()
    said = watched.own(watched.story.say(ME, "withdrawal", {"why": "enough"}))
    watched.promise(said)
    assert watched.kinds() == []
    watched.story.wait(30)
    assert watched.kinds() == []
    watched.story.wait(60)
    (alarm,) = watched.look().alarms
    assert (alarm.kind, alarm.about) == (Kind.BROKEN_PROMISE, said.id)
    _, folder = take(watched.home, alarm, now=watched.story.now)
    assert folder is not None
    assert parse_receipt((folder / "receipt.json").read_bytes(), builders.host().card).id == said.id
    assert watched.story.checkpoint((folder / "checkpoint").read_bytes()).checkpoint.size == len(watched.story.leaves)
    watched.story.log(said)
    assert watched.kinds() == [], "late, but there: the evidence is kept"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"leaf": FOREIGN_LEAF}, "another entry", id="of another statement"),
        pytest.param({"delay_s": 10**6}, "later than the agreement", id="at the end of time"),
    ],
)
def test_a_receipt_that_does_not_bind_the_host_is_found(watched: Watched, change: dict[str, Any], words: str) -> None:
    said = watched.own(watched.story.approve(ME))
    watched.promise(said, **change)
    (alarm,) = watched.look().alarms
    assert alarm.kind is Kind.BAD_RECEIPT
    assert words in alarm.sentence


@pytest.mark.parametrize("stored", [{}, [], None, {"receipt": 5}, {"receipt": {"payload": "AA=="}}])
def test_what_is_no_receipt_at_all_is_found(watched: Watched, stored: Any) -> None:
    said = watched.own(watched.story.approve(ME))
    watched.home.ledger.note_fact("receipt", said.id, stored)
    assert watched.kinds() == [Kind.BAD_RECEIPT]


# --- a host that lies ---------------------------------------------------------------------------------------------


LIES = [
    pytest.param(forked, Kind.SPLIT_VIEW, id="split view of one size"),
    pytest.param(forked_longer, Kind.SPLIT_VIEW, id="split view of another size"),
    pytest.param(truncated, Kind.ROLLBACK, id="truncation"),
]


@pytest.mark.parametrize(("lie", "kind"), LIES)
def test_a_log_that_is_another_one_than_before_is_found(
    watched: Watched, lie: Callable[[list[bytes]], list[bytes]], kind: Kind
) -> None:
    watched.approve()
    watched.look()
    watched.served.leaves = lie(watched.story.leaves)
    for watch in (watched.watch, watched.again()):
        (alarm,) = watch.look().alarms
        assert alarm.kind is kind
        sizes = [watched.story.checkpoint(note).checkpoint.size for note in alarm.evidence.values()]
        assert sizes == [len(watched.story.leaves), len(watched.served.leaves)]
    watched.served.leaves = None
    assert watched.kinds() == [], "the monitor kept what it trusted"


@pytest.mark.parametrize(("lie", "kind"), LIES)
def test_a_log_shown_to_the_monitor_alone_is_found_by_what_the_agent_was_shown(
    watched: Watched, lie: Callable[[list[bytes]], list[bytes]], kind: Kind
) -> None:
    watched.approve()
    watched.agent_reads()
    watched.served.leaves = lie(watched.story.leaves)
    kinds = watched.kinds()
    assert kind in kinds


def test_a_withheld_statement_is_found(watched: Watched) -> None:
    watched.approve()
    hidden = watched.story.withdraw("operator-b")
    watched.served.missing = {hidden.id}
    (alarm,) = watched.look().alarms
    assert alarm.kind is Kind.WITHHELD
    assert "must produce it" in alarm.sentence


def test_entries_that_do_not_give_the_root_are_found(watched: Watched) -> None:
    watched.approve()
    plain = watched.served.log_file
    watched.served.log_file = lambda path: plain(path).replace(b"approval", b"appr0val")  # type: ignore[method-assign]
    (alarm,) = watched.again().look().alarms
    assert alarm.kind is Kind.UNVERIFIABLE


def test_a_silent_host_leaves_the_monitor_blind(watched: Watched) -> None:
    watched.look()
    watched.served.age_s = 3600
    assert watched.kinds() == [Kind.STALE]
    watched.served.down = True
    assert watched.kinds() == [Kind.UNREACHABLE]


# --- a log for its own sake ---------------------------------------------------------------------------------------


def test_a_further_log_is_followed_under_its_first_key(watched: Watched) -> None:
    watched.approve()
    key = builders.host().card.log_key

    def look(named: str | None = key) -> list[Alarm]:
        watch = LogWatch(watched.home.ledger, "copy", lambda: (watched.served.log_file, named))
        return list(watch.look().alarms)

    assert [alarm.kind for alarm in look(None)] == [Kind.UNVERIFIABLE], "no key is known"
    assert look() == []
    watched.story.noise(600)
    watched.story.withdraw("operator-b")
    assert look(named=builders.host("other").card.log_key) == [], "the first key stays"
    for lie, kind in ((forked, Kind.SPLIT_VIEW), (forked_longer, Kind.SPLIT_VIEW), (truncated, Kind.ROLLBACK)):
        watched.served.leaves = lie(watched.story.leaves)
        assert [alarm.kind for alarm in look()] == [kind]
    watched.served.leaves = None
    assert look() == []
    watched.served.down = True
    assert [alarm.kind for alarm in look()] == [Kind.UNREACHABLE]
