from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sealstat.log.merkle import Frontier, leaf_hash
from sealstat.party.errors import PartyError
from sealstat.party.ledger import Ledger
from sealstat.wire.follow import Progress
from story import Story

MASTER, CANARY, AGREEMENT = bytes(range(32)), "canary-1f9a7c3e5d0b", "a" * 64


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "party.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    opened = Ledger(path, MASTER)
    yield opened
    opened.close()


def on_disk(path: Path) -> bytes:
    return b"".join(each.read_bytes() for each in sorted(path.parent.glob(f"{path.name}*")))


def progress(size: int) -> Progress:
    return Progress(b"note %d" % size, Frontier().append(leaf_hash(b"%d" % i) for i in range(size)))


def test_a_secret_comes_back_and_is_never_on_disk_in_the_clear(ledger: Ledger, path: Path) -> None:
    ledger.keep_secret("delivery-key", "one", {"key": CANARY})
    assert ledger.secret("delivery-key", "one") == {"key": CANARY}
    assert CANARY.encode() not in on_disk(path)


def test_a_destroyed_secret_leaves_not_even_its_ciphertext(ledger: Ledger, path: Path) -> None:
    ledger.keep_secret("seal-to", "one", {"key": CANARY})
    ((sealed,),) = ledger._rows("SELECT sealed FROM secret")
    assert sealed in on_disk(path)
    assert ledger.destroy_secret("seal-to", "one")
    assert sealed[12:44] not in on_disk(path)
    assert ledger.secret("seal-to", "one") is None
    assert not ledger.destroy_secret("seal-to", "one")


def test_a_secret_opens_in_its_own_place_alone(ledger: Ledger, path: Path) -> None:
    ledger.keep_secret("seal-to", "one", {"key": CANARY})
    with ledger._writing() as db:
        db.execute("UPDATE secret SET ref = 'two'")
    with pytest.raises(PartyError, match="does not open"):
        ledger.secret("seal-to", "two")


def test_another_master_key_opens_nothing(ledger: Ledger, path: Path) -> None:
    ledger.keep_secret("seal-to", "one", {"key": CANARY})
    other = Ledger(path, bytes(32))
    with pytest.raises(PartyError, match="does not open"):
        other.secret("seal-to", "one")
    other.close()


def test_the_place_in_the_log_moves_forward_only(ledger: Ledger, path: Path) -> None:
    other = Ledger(path, MASTER)  # a command beside the agent
    ledger.save(AGREEMENT, progress(5), [(1, "b" * 64, "approval", b"one")])
    other.save(AGREEMENT, progress(3), [(0, "c" * 64, "agreement", b"zero")])
    found, read = ledger.load(AGREEMENT)
    assert found == progress(5)
    assert read == [(0, "c" * 64, "agreement", b"zero"), (1, "b" * 64, "approval", b"one")]
    other.close()


def test_what_lies_beyond_the_place_is_not_handed_out(ledger: Ledger) -> None:
    ledger.save(AGREEMENT, progress(2), [(0, "b" * 64, "agreement", b"zero"), (3, "c" * 64, "approval", b"three")])
    assert [row[0] for row in ledger.load(AGREEMENT)[1]] == [0]


def test_what_was_written_down_is_pending_until_settled_also_after_a_restart(ledger: Ledger, path: Path) -> None:
    story = Story()
    first, second = (
        story.say("operator-a", "withdrawal", {"why": "x"}),
        story.say("ministry", "withdrawal", {"why": "y"}),
    )
    for said in (first, second, first):
        ledger.post(said)
    again = Ledger(path, MASTER)
    assert [said.id for said in again.pending(story.id)] == [first.id, second.id]
    again.settle(first.id)
    assert [said.id for said in ledger.pending(story.id)] == [second.id]
    ledger.post(first)
    assert [said.id for said in ledger.pending(story.id)] == [second.id]
    assert [(said.id, pending) for said, pending in ledger.unread(story.id, {second.id})] == [(first.id, False)]
    again.close()


def test_a_failed_write_leaves_nothing_half_done(ledger: Ledger) -> None:
    with pytest.raises(RuntimeError), ledger._writing() as db:  # noqa: PT012
        db.execute("INSERT INTO fact VALUES ('k', 'r', '1')")
        raise RuntimeError("cut")
    assert ledger.fact("k", "r") is None
    ledger.note_fact("k", "r", 2)
    assert ledger.fact("k", "r") == 2


def test_the_first_time_stays_the_first(ledger: Ledger) -> None:
    now = datetime(2026, 11, 2, tzinfo=UTC)
    assert ledger.first_time("counting", "one", now) == now
    assert ledger.first_time("counting", "one", now + timedelta(days=1)) == now


def test_several_threads_and_processes_write_without_loss(ledger: Ledger, path: Path) -> None:
    other = Ledger(path, MASTER)
    with ThreadPoolExecutor(4) as workers:
        list(workers.map(lambda n: (ledger if n % 2 else other).act("did", str(n)), range(60)))
    assert len(ledger.acts()) == 60
    other.close()


def test_nobody_else_may_read_the_files(ledger: Ledger, path: Path) -> None:
    ledger.note_fact("k", "r", 1)
    assert all(each.stat().st_mode & 0o077 == 0 for each in path.parent.glob("party.db*"))
