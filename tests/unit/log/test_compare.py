"""What two who show each other their checkpoints find out."""

import pytest

from sealstat.log.checkpoint import Checkpoint, verify_checkpoint
from sealstat.log.compare import Relation, compare, comparison_to_json, render_comparison
from sealstat.log.errors import CheckpointError, TreeMismatchError
from sealstat.log.merkle import verify_consistency
from sealstat.log.note import LogSigner, sign_note
from sealstat.log.reader import LogReader

from .conftest import private


@pytest.fixture
def log(make_log):
    return make_log(700)


@pytest.fixture
def fork(make_log):
    return make_log([*(b"entry %d" % i for i in range(299)), b"another", *(b"entry %d" % i for i in range(300, 700))])


def test_two_who_hold_the_same_need_no_log(log):
    assert compare(log.verified(), log.verified()).relation is Relation.SAME


@pytest.mark.parametrize("old", [0, 1, 255, 256, 511, 699])
def test_growth_is_proven_from_the_logs_tiles_in_either_order(log, old):
    reader = LogReader(log.fetch)
    for pair in ((log.verified(old), log.verified()), (log.verified(), log.verified(old))):
        found = compare(*pair, reader)
        assert (found.relation, found.fault) == (Relation.GROWN, False)
        assert found.smaller.checkpoint.size == old
        if old:
            assert found.smaller_root is not None
            verify_consistency(old, 700, found.smaller_root, log.checkpoint().root, found.proof)


def test_two_roots_for_one_size_are_a_split_view_without_any_log(log, fork):
    found = compare(log.verified(), fork.verified())
    assert found.relation is Relation.SPLIT
    assert found.fault


@pytest.mark.parametrize("size", [300, 512, 699])
def test_a_fork_of_another_size_is_a_split_view_by_either_tree(log, fork, size):
    found = compare(fork.verified(size), log.verified(), LogReader(log.fetch))
    assert found.relation is Relation.SPLIT
    assert found.smaller_root == log.checkpoint(size).root != fork.checkpoint(size).root
    assert compare(log.verified(size), fork.verified(), LogReader(fork.fetch)).relation is Relation.SPLIT


def test_before_the_fork_the_two_agree(log, fork):
    assert compare(fork.verified(299), log.verified(), LogReader(log.fetch)).relation is Relation.GROWN


def test_two_sizes_without_tiles_prove_nothing(log, fork):
    assert compare(fork.verified(600), log.verified()).relation is Relation.UNPROVEN
    short = fork.__class__(log.entries[:600], log.signer)
    assert compare(log.verified(600), log.verified(), LogReader(short.fetch)).relation is Relation.UNPROVEN


def test_tiles_of_another_tree_accuse_nobody(log, fork):
    with pytest.raises(TreeMismatchError):
        compare(log.verified(600), log.verified(), LogReader(fork.fetch))


def test_a_witness_that_went_back_is_named(log):
    old, new = log.verified(600, times=(200, 100)), log.verified(times=(150, 150))
    found = compare(old, new, LogReader(log.fetch))
    assert len(found.cosigned_back) == 1
    assert found.fault
    assert not compare(log.verified(600, times=(150,)), new, LogReader(log.fetch)).cosigned_back


def test_a_log_that_answers_with_less_than_it_signed_rolls_back(log):
    held, now = log.verified(), log.verified(600)
    for reader in (None, LogReader(log.fetch)):
        assert compare(held, now, reader, current=now).relation is Relation.ROLLBACK
        assert compare(held, now, reader, current=held).relation is not Relation.ROLLBACK


def test_what_was_found_can_be_shown(log, fork):
    for found, words in (
        (compare(log.verified(), log.verified()), "the same"),
        (compare(log.verified(600), log.verified(), LogReader(log.fetch)), "consistent"),
        (compare(log.verified(600), log.verified()), "not comparable"),
        (compare(fork.verified(600), log.verified(), LogReader(log.fetch)), "SPLIT VIEW"),
        (compare(log.verified(600, times=(9,)), log.verified(times=(5,))), "WENT BACK"),
    ):
        assert words in render_comparison(found)
        assert comparison_to_json(found)["notes"] == [found.smaller.note.decode(), found.larger.note.decode()]


def test_two_logs_are_not_compared(log):
    signer = LogSigner("other.example/log", private("other"))
    note = sign_note(Checkpoint(signer.name, 700, log.checkpoint().root).serialise(), signer)
    with pytest.raises(CheckpointError):
        compare(log.verified(), verify_checkpoint(note, log_key=signer.verifier, witnesses=[], quorum=0))
