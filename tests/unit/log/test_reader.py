"""Reading from a log that lies."""

import pytest

from sealstat.log.checkpoint import Checkpoint
from sealstat.log.errors import MissingTileError, ProofError, Rollback, SplitView, TreeMismatchError
from sealstat.log.merkle import Frontier, leaf_hash, verify_inclusion
from sealstat.log.note import LogSigner, sign_note
from sealstat.log.reader import LogReader

from .conftest import ORIGIN, private


def flip(log, path, position=0):
    data = bytearray(log.files[path])
    data[position] ^= 1
    log.files[path] = bytes(data)


def test_entries_are_proven_at_their_places(make_log):
    log = make_log(700)
    reader = LogReader(log.fetch)
    for start, end in ((0, 1), (0, 700), (255, 257), (511, 513), (699, 700), (300, 300)):
        assert reader.entries(start, end, log.checkpoint()) == log.entries[start:end]


@pytest.mark.parametrize(("start", "end"), [(-1, 1), (2, 1), (0, 701)])
def test_entries_outside_the_log_are_refused(make_log, start, end):
    log = make_log(700)
    with pytest.raises(ValueError, match="do not lie"):
        LogReader(log.fetch).entries(start, end, log.checkpoint())


def test_too_many_entries_at_once_are_refused(make_log):
    log = make_log(1)
    huge = Checkpoint(ORIGIN, 70_000, bytes(32))
    with pytest.raises(ValueError, match="at most 65536"):
        LogReader(log.fetch).entries(0, 70_000, huge)
    with pytest.raises(ValueError, match="at most 65536"):
        LogReader(log.fetch).replay(Frontier(), huge)


def test_only_files_of_the_checkpoints_size_are_asked_for(make_log):
    log = make_log(700)
    LogReader(log.fetch).entries(600, 601, log.checkpoint())
    assert set(log.fetched) <= {"tile/entries/002.p/188", "tile/0/002.p/188", "tile/1/000.p/2"}


@pytest.mark.parametrize("path", ["tile/entries/000", "tile/entries/002.p/188", "tile/1/000.p/2"])
def test_a_changed_byte_is_found(make_log, path):
    log = make_log(700)
    flip(log, path, 3)
    start = 0 if path == "tile/entries/000" else 512
    with pytest.raises(TreeMismatchError):
        LogReader(log.fetch).entries(start, start + 50, log.checkpoint())


@pytest.mark.parametrize("path", ["tile/entries/001", "tile/1/000.p/2"])
def test_a_file_of_the_wrong_length_is_found(make_log, path):
    log = make_log(700)
    log.files[path] += b"x"
    with pytest.raises(TreeMismatchError):
        LogReader(log.fetch).entries(300 if "entries" in path else 600, 601, log.checkpoint())


def test_reordered_entries_are_found(make_log):
    log = make_log(700)
    lie = make_log([*log.entries[:5], log.entries[6], log.entries[5], *log.entries[7:]])
    with pytest.raises(TreeMismatchError):
        LogReader(lie.fetch).entries(0, 10, log.checkpoint())


def test_a_vanished_partial_tile_is_read_from_the_full_one(make_log):
    log, grown = make_log(300), make_log(600)
    checkpoint = log.checkpoint()
    # Level 1 is not full yet, so its older partial must still be there; those of level 0 have gone.
    grown.files["tile/1/000.p/1"] = log.files["tile/1/000.p/1"]
    reader = LogReader(grown.fetch)
    assert reader.entries(290, 300, checkpoint) == log.entries[290:]
    assert reader.check_whole_log(checkpoint).size == 300


def test_a_missing_file_has_its_own_error(make_log):
    log = make_log(300)
    del log.files["tile/entries/000"]
    with pytest.raises(MissingTileError) as refusal:
        LogReader(log.fetch).entries(0, 300, log.checkpoint())
    assert refusal.value.path == "tile/entries/000"
    del log.files["tile/0/001.p/44"]
    with pytest.raises(MissingTileError):
        LogReader(log.fetch).entries(0, 256, log.checkpoint())


def test_a_reader_recovers_when_the_log_serves_the_truth_again(make_log):
    log = make_log(700)
    honest = dict(log.files)
    flip(log, "tile/1/000.p/2")
    reader = LogReader(log.fetch)
    with pytest.raises(TreeMismatchError):
        reader.entries(600, 601, log.checkpoint())
    log.files = honest
    assert reader.entries(600, 601, log.checkpoint()) == log.entries[600:601]


def test_replay_goes_on_from_a_frontier_without_hash_tiles(make_log):
    log = make_log(700)
    reader = LogReader(log.fetch)
    first, frontier = reader.replay(Frontier(), log.checkpoint(300))
    rest, frontier = reader.replay(Frontier.from_json(frontier.to_json()), log.checkpoint())
    assert first + rest == log.entries
    assert frontier.root() == log.checkpoint().root
    assert reader.replay(frontier, log.checkpoint()) == ([], frontier)
    assert all(path.startswith("tile/entries/") for path in log.fetched)


def test_replay_finds_a_changed_past_and_a_changed_present(make_log):
    log = make_log(700)
    other = make_log([b"another", *log.entries[1:]])
    _, frontier = LogReader(log.fetch).replay(Frontier(), log.checkpoint(300))
    with pytest.raises(TreeMismatchError):
        LogReader(other.fetch).replay(frontier, other.checkpoint())
    with pytest.raises(TreeMismatchError):
        LogReader(other.fetch).replay(Frontier(), log.checkpoint())
    with pytest.raises(TreeMismatchError, match="only"):
        LogReader(log.fetch).replay(frontier, log.checkpoint(299))


def test_stream_hands_out_the_whole_log_in_proven_pieces(make_log):
    log = make_log(700)
    pieces = list(LogReader(log.fetch).stream(10, log.checkpoint(), chunk=256))
    assert [len(piece) for piece in pieces] == [246, 256, 188]
    assert [entry for piece in pieces for entry in piece] == log.entries[10:]


def test_a_proof_for_others_is_verified_first(make_log):
    log = make_log(700)
    reader = LogReader(log.fetch)
    leaf = leaf_hash(log.entries[5])
    proof = reader.inclusion_proof(5, leaf, log.checkpoint())
    verify_inclusion(5, 700, leaf, proof, log.checkpoint().root)
    with pytest.raises(TreeMismatchError):
        reader.inclusion_proof(6, leaf, log.checkpoint())
    with pytest.raises(ProofError, match="no leaf"):
        reader.inclusion_proof(700, leaf, log.checkpoint())


# --- growth ---


@pytest.mark.parametrize(("old", "new"), [(0, 0), (0, 700), (1, 700), (256, 700), (300, 600), (700, 700)])
def test_growth_is_accepted(make_log, old, new):
    log = make_log(new)
    LogReader(log.fetch).consistency(log.verified(old), log.verified())


def test_a_rollback_keeps_both_notes(make_log):
    log = make_log(700)
    old, new = log.verified(), log.verified(699)
    with pytest.raises(Rollback) as refusal:
        LogReader(log.fetch).consistency(old, new)
    assert (refusal.value.old_note, refusal.value.new_note) == (old.note, new.note)


@pytest.mark.parametrize("old", [1, 256, 300, 512, 699])
def test_a_fork_is_a_split_view_with_both_notes(make_log, old):
    log = make_log(700)
    fork = make_log([b"another", *log.entries[1:]])
    before, after = log.verified(old), fork.verified()
    with pytest.raises(SplitView) as refusal:
        LogReader(fork.fetch).consistency(before, after)
    assert (refusal.value.old_note, refusal.value.new_note) == (before.note, after.note)


def test_two_roots_for_one_size_are_a_split_view(make_log):
    log, fork = make_log(5), make_log([b"another"] * 5)
    with pytest.raises(SplitView, match="two roots"):
        LogReader(log.fetch).consistency(log.verified(), fork.verified())


@pytest.mark.parametrize("old", [256, 300])
def test_damaged_tiles_accuse_nobody(make_log, old):
    log = make_log(700)
    for path in ("tile/0/001", "tile/1/000.p/2"):
        flip(log, path)
    with pytest.raises(TreeMismatchError):
        LogReader(log.fetch).consistency(log.verified(old), log.verified())


def test_checkpoints_of_two_logs_are_not_compared(make_log):
    log = make_log(5)
    other = make_log(5)
    other.signer = LogSigner("other.example/log", private("other"))
    note = sign_note(Checkpoint("other.example/log", 5, bytes(32)).serialise(), other.signer)
    with pytest.raises(ValueError, match="one log"):
        LogReader(log.fetch).consistency(log.verified(), other.verify(note))


# --- audit ---


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 512, 700])
def test_a_sound_log_is_checked_whole(make_log, size):
    log = make_log(size)
    steps = []
    checked = LogReader(log.fetch).check_whole_log(log.checkpoint(), progress=lambda *step: steps.append(step))
    assert (checked.size, checked.files) == (size, len(log.files))
    assert sorted(log.fetched) == sorted(log.files), "each file once"
    assert steps == [(min(size, 256 * (i + 1)), size) for i in range(-(-size // 256))]


def test_a_log_with_three_levels_is_checked_whole(make_log):
    log = make_log([b""] * 65_537)
    assert any(path.startswith("tile/2/") for path in log.files)
    assert LogReader(log.fetch).check_whole_log(log.checkpoint()).files == len(log.files)


def test_every_changed_file_is_found_by_the_audit(make_log):
    log = make_log(700)
    for path in list(log.files):
        honest = log.files[path]
        flip(log, path, -1)
        with pytest.raises(TreeMismatchError):
            LogReader(log.fetch).check_whole_log(log.checkpoint())
        log.files[path] = honest + b"x"
        with pytest.raises(TreeMismatchError):
            LogReader(log.fetch).check_whole_log(log.checkpoint())
        log.files[path] = honest


def test_an_audit_compares_the_root_last(make_log):
    log, other = make_log(700), make_log([b"x"] * 700)
    with pytest.raises(TreeMismatchError, match="root"):
        LogReader(log.fetch).check_whole_log(other.checkpoint())
