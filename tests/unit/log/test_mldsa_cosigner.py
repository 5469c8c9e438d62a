"""ML-DSA-44 cosigners (C2SP type 06): what they sign, to the byte, and what they refuse."""

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from sealstat.log.checkpoint import Checkpoint, verify_checkpoint
from sealstat.log.errors import MalformedError, QuorumError, SignatureError
from sealstat.log.merkle import leaf_hash
from sealstat.log.note import (
    COSIGNATURE_MLDSA44,
    Cosigner,
    LogSigner,
    SignatureLine,
    VerifierKey,
    add_signatures,
    parse_verifier_key,
    sign_note,
)
from sealstat.log.witness import Witness, build_add_checkpoint, parse_response

from .conftest import ORIGIN, private

PRIVATE = MLDSA44PrivateKey.from_seed_bytes(hashlib.sha256(b"w-pq").digest())
W = Cosigner("w.example/pq", PRIVATE)
LOG = LogSigner(ORIGIN, private("log"))
TREE = Checkpoint(ORIGIN, 258, leaf_hash(b"root"))
TEXT = TREE.serialise()


def test_the_signed_bytes_are_the_struct_of_the_specification():
    line = W.sign(TEXT, timestamp=1_700_000_000)
    assert line.signature[:8] == (1_700_000_000).to_bytes(8, "big")
    assert len(line.signature) == 8 + 2420
    message = (
        b"subtree/v1\n\x00"
        b"\x0cw.example/pq"
        + bytes.fromhex("000000006553f100")
        + b"\x10unit.example/log"
        + bytes(8)
        + bytes.fromhex("0000000000000102")
        + leaf_hash(b"root")
    )
    PRIVATE.public_key().verify(line.signature[8:], message)


def test_the_key_id_is_of_the_name_the_type_and_the_1312_bytes():
    raw = PRIVATE.public_key().public_bytes_raw()
    assert len(raw) == 1312
    assert W.verifier.key_id == hashlib.sha256(b"w.example/pq\n\x06" + raw).digest()[:4]
    assert parse_verifier_key(str(W.verifier)) == W.verifier


def test_it_counts_for_a_quorum_beside_an_ed25519_witness():
    ed = Cosigner("w1.example", private("w1"))
    keys = [W.verifier, ed.verifier]
    note = add_signatures(sign_note(TEXT, LOG), [W.sign(TEXT, timestamp=7), ed.sign(TEXT, timestamp=9)], keys)
    verified = verify_checkpoint(note, log_key=LOG.verifier, witnesses=keys, quorum=2)
    assert verified.cosigned_at == {W.verifier.public: 7, ed.verifier.public: 9}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(Checkpoint("other.example/log", TREE.size, TREE.root).serialise(), id="origin"),
        pytest.param(Checkpoint(ORIGIN, 257, TREE.root).serialise(), id="size"),
        pytest.param(Checkpoint(ORIGIN, 258, leaf_hash(b"")).serialise(), id="root"),
        pytest.param("not a checkpoint\n", id="no checkpoint"),
    ],
)
def test_a_cosignature_holds_for_its_tree_alone(text):
    with pytest.raises(SignatureError):
        W.verifier.verify(text, W.sign(TEXT, timestamp=7))


def test_extension_lines_are_not_signed_by_it():
    line = W.sign(TEXT, timestamp=7)
    assert W.verifier.verify(Checkpoint(ORIGIN, 258, TREE.root, ("extension",)).serialise(), line) == 7


def test_its_name_is_signed():
    renamed = VerifierKey("w.example/other", COSIGNATURE_MLDSA44, W.verifier.public)
    line = SignatureLine(renamed.name, renamed.key_id, W.sign(TEXT, timestamp=7).signature)
    with pytest.raises(SignatureError):
        renamed.verify(TEXT, line)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda s: (8).to_bytes(8, "big") + s[8:], id="another time"),
        pytest.param(lambda s: bytes(8) + s[8:], id="no time"),
        pytest.param(lambda s: s[:-1], id="short"),
        pytest.param(lambda s: s[:-1] + bytes([s[-1] ^ 1]), id="changed"),
    ],
)
def test_a_changed_cosignature_is_refused(change):
    line = W.sign(TEXT, timestamp=7)
    with pytest.raises(SignatureError):
        W.verifier.verify(TEXT, SignatureLine(line.name, line.key_id, change(line.signature)))


def test_a_name_that_does_not_fit_the_struct_is_not_signed():
    with pytest.raises(MalformedError, match="255"):
        Cosigner("w" * 256, PRIVATE).sign(TEXT, timestamp=7)


def test_a_witness_with_such_a_key_cosigns_and_refuses_a_rollback(tmp_path, make_log):
    log = make_log(9)
    with Witness(tmp_path / "w.db", W, {ORIGIN: [LOG.verifier]}, create=True) as witness:
        answer = witness.add_checkpoint(build_add_checkpoint(0, (), log.verified().note), now=5)
        note = add_signatures(log.verified().note, parse_response(answer.status, answer.body), [W.verifier])
        assert verify_checkpoint(note, log_key=LOG.verifier, witnesses=[W.verifier], quorum=1).cosigned_at
        assert witness.add_checkpoint(build_add_checkpoint(0, (), log.verified(5).note), now=6).status == 409
    with pytest.raises(QuorumError):
        verify_checkpoint(log.verified().note, log_key=LOG.verifier, witnesses=[W.verifier], quorum=1)
