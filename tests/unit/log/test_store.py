"""The log's files: what is kept, what is refused, and what a crash at any moment leaves."""

import json
import os
import random
import signal
import time

import pytest

from sealstat.log import store
from sealstat.log.checkpoint import Checkpoint, verify_checkpoint
from sealstat.log.errors import LogError, MalformedError, MissingTileError, ProofError, StoreError
from sealstat.log.merkle import EMPTY_ROOT, leaf_hash, root, verify_consistency, verify_inclusion
from sealstat.log.note import Cosigner, LogSigner, add_signatures, sign_note
from sealstat.log.reader import LogReader
from sealstat.log.store import TileLog

from .conftest import ORIGIN, private


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "log"


def open_log(folder, origin=ORIGIN):
    return TileLog(folder, origin, private("log"))


def some(start, count):
    return [b"entry %d" % i for i in range(start, start + count)]


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def check(log):
    """The committed tree is what its entries say, down to every tile."""
    assert log.entries(max(0, log.size - 300), log.size) == some(max(0, log.size - 300), min(300, log.size))
    LogReader(log.read).check_whole_log(log.committed)


def test_a_log_grows_over_batches_and_restarts(folder):
    size = 0
    for count in (0, 1, 2, 252, 1, 1, 255, 0, 256, 1000, 70):
        with open_log(folder) as log:
            assert log.append(some(size, count)) == size
            size += count
            assert log.size == size
            assert log.committed.root == root([leaf_hash(entry) for entry in some(0, size)])
            check(log)


def test_a_log_reaches_the_third_level(folder):
    with open_log(folder) as log:
        log.append(some(0, 65_530))
        log.append(some(65_530, 10))
        check(log)
        assert (folder / "tile/2/000.p/1").exists()
        assert not (folder / "tile/1/000.p").exists(), "outgrown partial tiles go"
    with open_log(folder) as log:
        check(log)


def test_partial_tiles_stay_until_the_full_tile_is_there(folder):
    with open_log(folder) as log:
        log.append(some(0, 3))
        log.append(some(3, 2))
        assert {"tile/0/000.p/3", "tile/0/000.p/5", "tile/entries/000.p/3"} <= files(folder)
        log.append(some(5, 260))
        assert files(folder) == {
            *("lock", "state.json", "tile/0/000", "tile/0/001.p/9", "tile/1/000.p/1"),
            *("tile/entries/000", "tile/entries/001.p/9"),
        }


def test_proofs_hold_for_every_smaller_size(folder):
    leaves = [leaf_hash(entry) for entry in some(0, 600)]
    with open_log(folder) as log:
        log.append(some(0, 600))
        for size in (1, 2, 255, 256, 257, 511, 513, 600):
            for index in {0, size // 2, size - 1}:
                proof = log.inclusion_proof(index, size)
                verify_inclusion(index, size, leaves[index], proof, root(leaves[:size]))
            proof = log.consistency_proof(size)
            verify_consistency(size, 600, root(leaves[:size]), root(leaves), proof)
            verify_consistency(1, size, leaves[0], root(leaves[:size]), log.consistency_proof(1, size))
        with pytest.raises(ProofError):
            log.inclusion_proof(600)
        with pytest.raises(ProofError):
            log.inclusion_proof(0, 601)
        with pytest.raises(ProofError):
            log.consistency_proof(601)


def test_equal_entries_get_their_own_places(folder):
    with open_log(folder) as log:
        assert (log.append([b"x", b"x"]), log.append([b"x"])) == (0, 2)


def test_entries_and_batches_beyond_the_limits_are_refused_whole(folder):
    with open_log(folder) as log:
        with pytest.raises(MalformedError):
            log.append([b"ok", bytes(65_536)])
        with pytest.raises(ValueError, match="65536"):
            log.append([b""] * 65_537)
        assert log.size == 0
        log.append([bytes(65_535)])


def test_files_are_read_by_their_paths_only(folder):
    with open_log(folder) as log:
        log.append(some(0, 3))
        assert len(log.read("tile/0/000.p/3")) == 96
        for path in ("state.json", "lock", "../log/lock", "tile/0/000.p/003", "/etc/passwd"):
            with pytest.raises(MalformedError):
                log.read(path)
        for path in ("tile/0/000", "tile/0/000.p/4", "tile/0/x001/000", "checkpoint"):
            with pytest.raises(MissingTileError):
                log.read(path)


# --- publishing ---


def test_a_cosigned_checkpoint_is_published(folder):
    witness = Cosigner("w.example", private("w"))
    with open_log(folder) as log:
        assert log.published() is None
        log.append(some(0, 5))
        note = log.sign_checkpoint()
        text = log.committed.serialise()
        note = add_signatures(note, [witness.sign(text, timestamp=7)], [witness.verifier])
        log.publish(note)
        assert log.read("checkpoint") == log.published() == note
        verify_checkpoint(note, log_key=log.verifier, witnesses=[witness.verifier], quorum=1)
        log.append(some(5, 5))
        log.publish(note)  # still true, and perhaps cosigned afresh
    with open_log(folder) as log:
        assert log.published() == note


def test_a_checkpoint_that_is_not_the_logs_is_not_published(folder):
    with open_log(folder) as log:
        log.append(some(0, 5))
        old = log.sign_checkpoint()
        log.append(some(5, 5))
        log.publish(log.sign_checkpoint())
        signer = LogSigner(ORIGIN, private("log"))
        for note in (
            old,
            b"no note",
            sign_note(log.committed.serialise(), LogSigner(ORIGIN, private("other"))),
            sign_note(Checkpoint(ORIGIN, 11, bytes(32)).serialise(), signer),
            sign_note(Checkpoint(ORIGIN, 10, bytes(32)).serialise(), signer),
        ):
            before = log.published()
            with pytest.raises(LogError):
                log.publish(note)
            assert log.published() == before


# --- refusing at start-up ---


def damaged(folder, damage):
    with open_log(folder) as log:
        log.append(some(0, 300))
        log.publish(log.sign_checkpoint())
    damage()
    before = files(folder)
    with pytest.raises(StoreError) as refusal:
        open_log(folder)
    assert files(folder) == before, "a refusal changes nothing"
    return str(refusal.value)


def test_a_second_process_is_refused(folder):
    with open_log(folder), pytest.raises(StoreError, match="open"):
        open_log(folder)
    open_log(folder).close()


def test_another_origin_is_refused(folder):
    open_log(folder).close()
    with pytest.raises(StoreError, match="another origin"):
        open_log(folder, "other.example/log")


def test_a_lost_state_is_refused(folder):
    assert "gone" in damaged(folder, (folder / "state.json").unlink)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"origin":1,"size":"1","root":""}', "\x00"])
def test_a_damaged_state_is_refused(folder, text):
    assert "damaged" in damaged(folder, lambda: (folder / "state.json").write_text(text))


@pytest.mark.parametrize("path", ["tile/0/001.p/44", "tile/entries/001.p/44", "tile/1/000.p/1"])
def test_a_lost_or_cut_right_edge_is_refused(folder, path):
    assert "lost or cut" in damaged(folder, (folder / path).unlink)
    (folder / path).write_bytes(b"cut")
    with pytest.raises(StoreError, match="lost or cut"):
        open_log(folder)


def test_a_changed_right_edge_is_refused(folder):
    assert "committed root" in damaged(folder, lambda: (folder / "tile/1/000.p/1").write_bytes(bytes(32)))


def test_changed_last_entries_are_refused(folder):
    path = folder / "tile/entries/001.p/44"
    assert "last entries" in damaged(folder, lambda: path.write_bytes(path.read_bytes()[:-1] + b"x"))


def test_a_state_older_than_the_published_checkpoint_is_refused(folder):
    def restore():
        state = {"origin": ORIGIN, "size": "0", "root": store.encode_base64(EMPTY_ROOT)}
        (folder / "state.json").write_text(json.dumps(state))

    assert "published" in damaged(folder, restore)


def test_a_published_checkpoint_of_another_tree_is_refused(folder):
    note = sign_note(Checkpoint(ORIGIN, 300, bytes(32)).serialise(), LogSigner(ORIGIN, private("log")))
    assert "another root" in damaged(folder, lambda: (folder / "checkpoint").write_bytes(note))


def test_what_was_never_committed_is_removed_at_start_up(folder):
    with open_log(folder) as log:
        log.append(some(0, 300))
    sound = files(folder)
    for path in (
        "tile/0/001",
        "tile/0/001.p/45",
        "tile/0/002.p/7",
        "tile/entries/001",
        "tile/1/000.p/2",
        "tile/2/000.p/1",
    ):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(b"torn")
    with open_log(folder) as log:
        assert files(folder) == sound
        log.append(some(300, 500))
        check(log)


# --- faults ---


class Fault:
    """Fails, or kills the process, at the n-th step on the disk."""

    def __init__(self, monkeypatch, at, action):
        self.left, self.action = at, action
        for owner, name in ((os, "fsync"), (store.Path, "replace"), (store.Path, "mkdir"), (store.shutil, "rmtree")):
            monkeypatch.setattr(owner, name, self.wrap(getattr(owner, name)))

    def wrap(self, function):
        def step(*args, **kwargs):
            self.left -= 1
            if self.left == 0:
                self.action()
            return function(*args, **kwargs)

        return step


def fail():
    raise OSError(28, "No space left on device")


def test_a_disk_error_at_any_step_loses_nothing_and_the_log_goes_on(folder, monkeypatch):
    outcomes = set()
    with open_log(folder) as log:
        log.append(some(0, 200))
        for at in range(1, 100):
            before = log.size
            with monkeypatch.context() as patch:
                fault = Fault(patch, at, fail)
                try:
                    log.append(some(before, 70))
                    failed = False
                except OSError:
                    failed = True
            assert log.size in ({before, before + 70} if failed else {before + 70})
            outcomes.add((failed, log.size > before))
            log.append(some(log.size, 1))
            check(log)
            if not failed and fault.left > 0:
                break
        else:
            pytest.fail("the batch has more steps than expected")
    assert {(True, False), (False, True)} <= outcomes


def in_child(function):
    """Run in a forked process; its wait status."""
    child = os.fork()
    if child == 0:
        try:
            function()
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1]


def test_kill_at_any_step_leaves_a_log_that_opens_with_all_or_nothing(folder):
    with open_log(folder) as log:
        log.append(some(0, 200))
        log.publish(log.sign_checkpoint())
    size = 200
    for at in range(1, 100):

        def run(at=at, size=size):
            with pytest.MonkeyPatch.context() as patch, open_log(folder) as log:
                Fault(patch, at, lambda: os.kill(os.getpid(), signal.SIGKILL))
                log.append(some(size, 70))
                log.publish(log.sign_checkpoint())

        status = in_child(run)
        with open_log(folder) as log:
            assert log.size in (size, size + 70)
            check(log)
            size = log.size
        if not os.WIFSIGNALED(status):
            break
    else:
        pytest.fail("the batch has more steps than expected")
    assert size > 200


def test_kill_at_random_moments_loses_no_acknowledged_entry(folder):
    chance = random.Random(7)
    open_log(folder).close()
    for _ in range(12):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            log = open_log(folder)
            while True:
                log.append(some(log.size, 150))
                log.publish(log.sign_checkpoint())
                os.write(writing, log.size.to_bytes(8, "big"))
        os.close(writing)
        time.sleep(chance.uniform(0.01, 0.06))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with os.fdopen(reading, "rb") as pipe:
            told = pipe.read()
        with open_log(folder) as log:
            assert log.size >= int.from_bytes(told[-8:], "big")
            check(log)
