"""A day's key at its provider, shares that do not open, and what a keeper keeps of states."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from days import DAYS, KEYS, REPORT, TASK, Days
from desk import Desk, home
from sealstat.agreement import contexts
from sealstat.crypto.cards import b64, fingerprint
from sealstat.crypto.identity import Opener
from sealstat.crypto.sealing import seal
from sealstat.crypto.statement import Statement
from sealstat.party import duties
from sealstat.party.period_keys import CLOSED, KEY, keep_period_key, period_key_ref
from sealstat.tables.sealed import parts_list
from story import Instance

DAY = DAYS[0]
DRAWN = bytes(range(32))


def noted(desk: Desk, what: str) -> list[str]:
    """The acts of the agent that begin so."""
    return [act[2] for act in desk.home.ledger.acts() if act[2].startswith(what)]


class Drawing:
    """Operator A's agent has challenged the request that the key of a day be drawn."""

    def __init__(self, path: Path) -> None:
        self.story = Days()
        self.desk = Desk(self.story, home(path, "operator-a"))
        self.ledger = self.desk.home.ledger
        self.ref = period_key_ref(self.story.id, "days", DAY)
        request = self.story.ask(KEYS, "key", DAY)
        self.desk.read()
        duties.challenge_requests(self.desk)
        asked = {"operator-a": self.desk.log("challenge")}
        asked |= {name: self.story.challenge(name, request) for name in ("operator-b", "regulator")}
        (ref,) = self.ledger.secret_refs("seal-to")
        secret = self.ledger.secret("seal-to", ref)
        assert secret is not None
        self.opener = self.story.openers[asked["operator-a"].id] = Opener.from_secret(secret)
        self.instance = self.story.instance(request, asked)
        self.story.attest(self.instance)

    def record(self, **where: Any) -> Statement:
        """The record that draws the key, sealed to the provider's challenge; ``where`` changes what it is bound to."""
        story, made = self.story, self.instance
        bound = {"task": KEYS, "c": 0, "dataset": "days", "period": DAY, **where}
        provider = fingerprint(story.card("operator-a"))
        context = contexts.period_key(story.id, instance=made.id, provider=provider, **bound)
        key = {"dataset": "days", "sealed": seal(self.opener.public(), context, DRAWN)}
        shared = {"task": KEYS, "c": 0, "dataset": "days", "period": DAY}
        key["shares"] = story._split(made, story.terms.tasks[KEYS].holders, contexts.period_key_share, **shared)
        record = story.leave(made, story.give_all(made), key=key)
        self.desk.read()
        return record


@pytest.fixture
def drawing(tmp_path: Path) -> Drawing:
    return Drawing(tmp_path)


def test_the_provider_takes_the_days_key_once(drawing: Drawing) -> None:
    record = drawing.record()
    duties.take_shares(drawing.desk)
    assert drawing.ledger.secret(KEY, drawing.ref) == {"key": b64(DRAWN)}
    assert drawing.ledger.secret_refs("key-share") == [record.id]
    assert drawing.ledger.secret_refs("seal-to") == []  # what was sealed to it is dead from here on
    duties.take_shares(drawing.desk)
    assert noted(drawing.desk, "took the key") == [f"took the key of the pseudonyms of days for {DAY}"]


def test_a_closed_day_takes_no_key_and_its_holder_still_keeps_the_share(drawing: Drawing) -> None:
    record = drawing.record()
    drawing.ledger.note_fact(CLOSED, drawing.ref, True)
    duties.take_shares(drawing.desk)
    assert drawing.ledger.secret(KEY, drawing.ref) is None
    assert noted(drawing.desk, "took the key") == []
    assert drawing.ledger.secret_refs("key-share") == [record.id]


def test_a_key_that_was_destroyed_is_not_taken_again(drawing: Drawing) -> None:
    drawing.record()
    duties.take_shares(drawing.desk)
    drawing.ledger.note_fact(CLOSED, drawing.ref, True)
    drawing.ledger.destroy_secret(KEY, drawing.ref)
    drawing.ledger.note_fact("taken", f"{drawing.story.id}/{KEYS}", 0)  # as an agent cut before it noted its place
    duties.take_shares(drawing.desk)
    assert drawing.ledger.secret(KEY, drawing.ref) is None


def test_a_key_sealed_for_another_day_is_not_taken(drawing: Drawing) -> None:
    drawing.record(period=DAYS[1])
    duties.take_shares(drawing.desk)
    assert drawing.ledger.secret_refs(KEY) == []
    assert noted(drawing.desk, "no key of") == [f"no key of the pseudonyms of {DAY}"]
    assert (
        len(drawing.ledger.secret_refs("seal-to")) == 1
    )  # kept until the next record, so that people can find out why


def test_the_first_key_of_a_period_stays(drawing: Drawing) -> None:
    where = (drawing.ledger, drawing.story.id, "days", DAY)
    assert keep_period_key(*where, DRAWN)
    assert not keep_period_key(*where, bytes(32))
    assert drawing.ledger.secret(KEY, drawing.ref) == {"key": b64(DRAWN)}
    assert keep_period_key(drawing.ledger, drawing.story.id, "days", DAYS[1], bytes(32))


def test_a_period_that_is_closed_while_a_key_is_taken_keeps_none(
    drawing: Drawing, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = drawing.ledger.keep_first_secret

    def closed_in_between(*secret: Any) -> bool:
        drawing.ledger.note_fact(CLOSED, drawing.ref, True)
        return keep(*secret)

    monkeypatch.setattr(drawing.ledger, "keep_first_secret", closed_in_between)
    assert not keep_period_key(drawing.ledger, drawing.story.id, "days", DAY, DRAWN)
    assert drawing.ledger.secret(KEY, drawing.ref) is None


# --- shares ------------------------------------------------------------------------------------------------------


def test_a_share_that_does_not_open_is_noted_once_and_those_after_it_are_taken_up(tmp_path: Path) -> None:
    story = Days()
    desk = Desk(story, home(tmp_path, "regulator"))
    drawn = story.draw(DAY)  # its share is sealed to a challenge that this home did not make
    desk.read()
    for _ in range(2):
        duties.take_shares(desk)
        assert noted(desk, "no key-share") == [f"no key-share of run {drawn.body['request'][:12]}"]
    assert desk.home.ledger.secret_refs("key-share") == []
    assert desk.home.ledger.fact("taken", f"{story.id}/{KEYS}") == 1
    story.draw(DAYS[1])
    desk.read()
    duties.take_shares(desk)
    assert len(noted(desk, "no key-share")) == 2


@pytest.mark.parametrize("action", ["ingest", "refused"])
def test_a_share_of_a_days_key_goes_when_the_day_is_in_and_not_before(tmp_path: Path, action: str) -> None:
    story = Days()
    desk = Desk(story, home(tmp_path, "regulator"))
    drawn = [story.draw(day).id for day in DAYS[:2]]
    for id in drawn:
        desk.home.ledger.keep_secret("key-share", id, {"share": b64(bytes(32))})
    story.deliver("days", period=DAY, schema="presence", linkage_check=None)
    if action == "ingest":
        story.do(TASK, "ingest", DAY)
    else:
        request = story.ask(TASK, "ingest", DAY)
        story.refuse(story.instance_for(request), request.id, sealed={})
    desk.read()
    duties.forget_shares(desk)
    left = drawn[1:] if action == "ingest" else drawn  # a day that was refused may be asked for again
    assert desk.home.ledger.secret_refs("key-share") == sorted(left)
    destroyed = [f"destroyed its key-share of record {drawn[0][:12]}"] if action == "ingest" else []
    assert noted(desk, "destroyed") == destroyed


# --- a keeper ----------------------------------------------------------------------------------------------------


class Keeping(Days):
    """States whose ciphertexts exist: two parts, their list, and a note about the state."""

    def __init__(self) -> None:
        super().__init__()
        self.blobs: dict[str, bytes] = {}

    def put(self, data: bytes) -> str:
        digest = sha256(data).hexdigest()
        self.blobs[digest] = data
        return digest

    def left_by(self, instance: Instance) -> dict[str, Any]:
        from sealstat.agreement.statements import State

        parts = [f"part {n} of {instance.id}".encode() for n in range(2)]
        listed = self.put(parts_list([(len(part), self.put(part)) for part in parts]))
        named = {"parts": {"count": 2, "digest": listed}, "about": self.put(f"about {instance.id}".encode())}
        where = {"task": TASK, "c": instance.c + 1, "digest": State.model_validate({**named, "shares": {}}).digest}
        holders = self.terms.tasks[TASK].holders
        return {**named, "shares": self._split(instance, holders, contexts.state_share, **where)}

    def record_day(self, day: str) -> Statement:
        """The record of a day taken in, before its keeper has kept anything."""
        self.bring(day)
        instance = self.instance_for(self.ask(TASK, "ingest", day))
        return self.leave(instance, self.give_all(instance), state=self.left_by(instance))


class Keeper(Desk):
    """The ministry's agent; the host gives it every ciphertext that the story has."""

    def __init__(self, story: Keeping, path: Path) -> None:
        super().__init__(story, home(path, "ministry"))
        self.host.get_blob = lambda _, digest, **__: story.blobs[digest]  # type: ignore[attr-defined]

    def work(self) -> None:
        """Keep, say so, and read on."""
        self.read()
        before = len(self.said("kept"))
        duties.keep_results(self)
        if len(self.said("kept")) > before:
            self.log("kept")
        duties.drop_states(self)

    def kept(self) -> set[str]:
        folder = duties.kept_folder(self)
        return {path.name for path in folder.iterdir()} if folder.exists() else set()


def test_a_keeper_keeps_a_state_until_a_newer_one_counts(tmp_path: Path) -> None:
    story = Keeping()
    keeper = Keeper(story, tmp_path)
    first = story.record_day(DAYS[0])
    of_first = set(story.blobs)
    keeper.work()
    assert [each.body for each in keeper.said("kept")] == [{"record": first.id}]
    assert keeper.kept() == of_first
    assert len(of_first) == 4
    story.record_day(DAYS[1])
    keeper.read()
    duties.keep_results(keeper)
    duties.drop_states(keeper)
    assert keeper.kept() == set(story.blobs)  # the second does not count yet
    keeper.log("kept")
    duties.drop_states(keeper)
    assert keeper.kept() == set(story.blobs) - of_first
    duties.drop_states(keeper)
    assert keeper.kept() == set(story.blobs) - of_first


def test_a_cancel_leaves_a_keeper_nothing(tmp_path: Path) -> None:
    story = Keeping()
    keeper = Keeper(story, tmp_path)
    story.record_day(DAYS[0])
    keeper.work()
    story.do(TASK, "cancel", REPORT)
    keeper.work()
    assert keeper.kept() == set()
    assert len(keeper.said("kept")) == 1  # a cancel names no ciphertext


def test_a_state_whose_list_is_lost_with_the_disk_is_dropped_without_the_host(tmp_path: Path) -> None:
    story = Keeping()
    keeper = Keeper(story, tmp_path)
    first = story.record_day(DAYS[0])
    keeper.work()
    (duties.kept_folder(keeper) / first.body["state"]["parts"]["digest"]).unlink()
    story.blobs.clear()
    second = story.record_day(DAYS[1])
    keeper.work()
    assert keeper.home.ledger.fact("dropped", first.id)
    assert keeper.home.ledger.fact("dropped", second.id) is None
    assert set(story.blobs) <= keeper.kept()


def test_a_keeper_does_not_say_kept_what_the_host_gives_no_part_of(tmp_path: Path) -> None:
    from sealstat.wire.errors import MissingError

    story = Keeping()
    keeper = Keeper(story, tmp_path)

    def missing(*_: Any, **__: Any) -> bytes:
        raise MissingError("the host has no such blob")

    keeper.host.get_blob = missing  # type: ignore[attr-defined]
    story.record_day(DAYS[0])
    keeper.work()
    keeper.work()
    assert keeper.said("kept") == []
    assert len(noted(keeper, "cannot keep")) == 1
