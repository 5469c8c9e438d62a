"""Signing, merging and judging checkpoints; forms are in the vectors."""

import pytest

from sealstat.log.checkpoint import Checkpoint, parse_checkpoint, verify_checkpoint
from sealstat.log.errors import CheckpointError, MalformedError, QuorumError, SignatureError
from sealstat.log.merkle import EMPTY_ROOT
from sealstat.log.note import (
    Cosigner,
    LogSigner,
    SignatureLine,
    VerifierKey,
    add_signatures,
    parse_note,
    sign_note,
    verify_note,
)

from .conftest import ORIGIN, private

LOG = LogSigner(ORIGIN, private("log"))
W0, W1 = (Cosigner(f"w{i}.example", private(f"w{i}")) for i in range(2))
TEXT = Checkpoint(ORIGIN, 0, EMPTY_ROOT).serialise()
NOTE = sign_note(TEXT, LOG)


def cosigned(*lines):
    return add_signatures(NOTE, lines, [W0.verifier, W1.verifier])


def test_a_quorum_is_counted_and_missing_witnesses_are_named_in_numbers():
    note = cosigned(W0.sign(TEXT, timestamp=5))
    trust = {"log_key": LOG.verifier, "witnesses": [W0.verifier, W1.verifier]}
    assert verify_checkpoint(note, quorum=1, **trust).cosigned_at == {W0.verifier.public: 5}
    with pytest.raises(QuorumError) as refusal:
        verify_checkpoint(note, quorum=2, **trust)
    assert (refusal.value.needed, refusal.value.found) == (2, 1)


def test_of_two_cosignatures_by_one_witness_the_newer_time_counts():
    note = cosigned(W0.sign(TEXT, timestamp=9), W0.sign(TEXT, timestamp=5))
    verified = verify_checkpoint(note, log_key=LOG.verifier, witnesses=[W0.verifier], quorum=1)
    assert verified.cosigned_at == {W0.verifier.public: 9}


def test_the_note_is_kept_as_received():
    assert verify_checkpoint(NOTE, log_key=LOG.verifier, witnesses=[], quorum=0).note == NOTE


def test_a_checkpoint_of_another_origin_is_refused():
    with pytest.raises(CheckpointError, match="another log"):
        verify_checkpoint(NOTE, log_key=LOG.verifier, witnesses=[], quorum=0, origin="other.example/log")


def test_an_empty_tree_with_a_false_root_is_refused():
    note = sign_note(Checkpoint(ORIGIN, 0, bytes(32)).serialise(), LOG)
    with pytest.raises(CheckpointError, match="empty tree"):
        verify_checkpoint(note, log_key=LOG.verifier, witnesses=[], quorum=0)


def test_a_note_that_only_witnesses_signed_is_refused():
    note = add_signatures(NOTE, [W0.sign(TEXT, timestamp=1)], [W0.verifier])
    other = LogSigner(ORIGIN, private("other"))
    with pytest.raises(SignatureError, match="did not sign"):
        verify_checkpoint(note, log_key=other.verifier, witnesses=[W0.verifier], quorum=1)


@pytest.mark.parametrize(
    "trust",
    [
        pytest.param({"log_key": W0.verifier, "witnesses": []}, id="a witness's key as the log's"),
        pytest.param({"log_key": LOG.verifier, "witnesses": [LOG.verifier]}, id="a log's key as a witness's"),
        pytest.param(
            {"log_key": LOG.verifier, "witnesses": [Cosigner("w", private("log")).verifier]},
            id="the log as its own witness",
        ),
    ],
)
def test_keys_in_the_wrong_role_are_refused(trust):
    with pytest.raises(ValueError, match="check the trusted keys"):
        verify_checkpoint(NOTE, quorum=0, **trust)


def test_two_keys_with_one_name_and_id_are_refused(monkeypatch):
    keys = [LOG.verifier, LogSigner(ORIGIN, private("other")).verifier]
    monkeypatch.setattr(VerifierKey, "key_id", bytes(4))
    with pytest.raises(ValueError, match="share one name and id"):
        verify_note(parse_note(NOTE), keys)


def test_age_counts_distinct_witnesses_and_no_far_future(make_log):
    verified = make_log(1).verified(times=[100, 200, 300])
    assert verified.younger_than(100, now=299) == 2
    assert verified.younger_than(100, now=300) == 1, "exactly as old as the limit is too old"
    assert verified.younger_than(1000, now=300) == 3
    assert verified.younger_than(1000, now=240) == 3
    assert verified.younger_than(1000, now=239) == 2, "more than a minute ahead of the reader"


@pytest.mark.parametrize(
    ("k", "clock"),
    [
        pytest.param(1, 40, id="the newest"),
        pytest.param(2, 40, id="of a middle pair the later"),
        pytest.param(3, 30, id="median"),
        pytest.param(4, 30, id="of four the third"),
    ],
)
def test_the_clock_is_the_median_of_the_newest(make_log, k, clock):
    assert make_log(1).verified(times=[30, 10, 40, 20]).clock(k) == clock


def test_no_clock_from_too_few_witnesses(make_log):
    with pytest.raises(QuorumError):
        make_log(1).verified(times=[30]).clock(2)
    with pytest.raises(ValueError, match="at least one"):
        make_log(1).verified(times=[30]).clock(0)


def test_lines_of_unknown_keys_are_not_merged_and_bad_ones_refused():
    assert cosigned(W0.sign(TEXT, timestamp=1), SignatureLine("stranger.example", b"abcd", b"x")) == cosigned(
        W0.sign(TEXT, timestamp=1)
    )
    with pytest.raises(SignatureError):
        cosigned(SignatureLine("stranger.example", b"abcd", b"x"))
    with pytest.raises(SignatureError):
        cosigned(W0.sign(TEXT + "more\n", timestamp=1))


def test_a_line_is_verified_under_its_own_key_only():
    with pytest.raises(SignatureError, match="another key"):
        W0.verifier.verify(TEXT, W1.sign(TEXT, timestamp=1))


@pytest.mark.parametrize("time", [0, -1, 2**63])
def test_a_cosignature_needs_a_time(time):
    with pytest.raises(ValueError, match="positive"):
        W0.sign(TEXT, timestamp=time)


@pytest.mark.parametrize("origin", ["", "two\nlines", "tab\there"])
def test_an_origin_that_is_no_line_is_refused(origin):
    with pytest.raises(MalformedError):
        Checkpoint(origin, 0, EMPTY_ROOT).serialise()


def test_extension_lines_are_kept():
    checkpoint = Checkpoint(ORIGIN, 7, bytes(32), ("one", "two words"))
    assert parse_checkpoint(checkpoint.serialise()) == checkpoint


@pytest.mark.parametrize("text", ["no line feed", "a\tb\n", ""])
def test_a_text_that_no_note_can_hold_is_not_signed(text):
    with pytest.raises(MalformedError):
        sign_note(text, LOG)
