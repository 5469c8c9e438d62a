"""Checkpoints (C2SP tlog-checkpoint): a log's size and root, signed by the log and cosigned by witnesses. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from sealstat.log._text import MAX_SIZE, decode_hash, encode_base64, parse_decimal
from sealstat.log.errors import CheckpointError, MalformedError, QuorumError, SignatureError
from sealstat.log.merkle import EMPTY_ROOT, HASH_BYTES
from sealstat.log.note import COSIGNATURES, ED25519, VerifierKey, check_text, parse_note, verify_note

FUTURE_TOLERANCE_S = 60
"""How far a witness's clock may be ahead of the reader's."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log says about itself.

    Attributes:
        origin: the log's name, compared byte for byte.
        size: number of leaves.
        root: 32 bytes.
        extensions: further lines, signed but without meaning here.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        lines = (self.origin, *self.extensions)
        if not all(lines) or any("\n" in line for line in lines):
            raise MalformedError("a checkpoint's origin and extensions must be non-empty lines")
        if not 0 <= self.size <= MAX_SIZE or len(self.root) != HASH_BYTES:
            raise MalformedError("a checkpoint needs a size from 0 and a root of 32 bytes")

    def serialise(self) -> str:
        """The note's text."""
        lines = (self.origin, str(self.size), encode_base64(self.root), *self.extensions)
        text = "".join(line + "\n" for line in lines)
        check_text(text)
        return text


def parse_checkpoint(text: str) -> Checkpoint:
    """Read a note's text; verify its signatures first.

    Raises:
        MalformedError: it has not at least three lines, an empty one, or a bad size or root.
    """
    lines = text.split("\n")
    if lines.pop() or len(lines) < 3 or not all(lines):
        raise MalformedError("a checkpoint has three or more non-empty lines")
    return Checkpoint(
        lines[0],
        parse_decimal(lines[1], "a checkpoint's size"),
        decode_hash(lines[2], "a checkpoint's root"),
        tuple(lines[3:]),
    )


@dataclass(frozen=True, slots=True)
class VerifiedCheckpoint:
    """A checkpoint whose log signature and quorum of cosignatures were verified.

    Attributes:
        checkpoint: what was signed.
        note: the note as received.
        cosigned_at: for each witness's public key the newest time it cosigned, POSIX seconds.
    """

    checkpoint: Checkpoint
    note: bytes
    cosigned_at: Mapping[bytes, int]

    def younger_than(self, max_age_s: int, *, now: int, tolerance_s: int = FUTURE_TOLERANCE_S) -> int:
        """How many distinct witnesses cosigned less than ``max_age_s`` seconds before ``now``.

        A time more than ``tolerance_s`` after ``now`` does not count: it would stay young as long as it likes.
        """
        return sum(now - max_age_s < at <= now + tolerance_s for at in self.cosigned_at.values())

    def clock(self, k: int) -> int:
        """Median of the k newest cosignature times, POSIX seconds; of a middle pair, the later.

        Raises:
            QuorumError: fewer than k witnesses cosigned.
        Source: protocol.md section 3, the enclave's clock.
        """
        if k < 1:
            raise ValueError("the clock needs at least one cosignature")
        if len(self.cosigned_at) < k:
            raise QuorumError(needed=k, found=len(self.cosigned_at))
        newest = sorted(self.cosigned_at.values(), reverse=True)[:k]
        return sorted(newest)[k // 2]

    def surely_not_before(self, liars: int) -> int:
        """A time at or after which an honest witness cosigned, POSIX seconds, if at most so many of them lie."""
        return sorted(self.cosigned_at.values())[liars]

    def surely_not_after(self, liars: int) -> int:
        """A time at or before which an honest witness cosigned, POSIX seconds, if at most so many of them lie."""
        return sorted(self.cosigned_at.values(), reverse=True)[liars]


def verify_checkpoint(
    note: bytes,
    *,
    log_key: VerifierKey,
    witnesses: Collection[VerifierKey],
    quorum: int,
    origin: str | None = None,
) -> VerifiedCheckpoint:
    """Verify a checkpoint note against what the reader trusts; steps 1 to 4 of log.md section 9.

    Left to the caller: that it is consistent with the last one trusted (``LogReader.consistency``), its age.

    Args:
        note: as received.
        log_key: of type ED25519.
        witnesses: of a type in COSIGNATURES; a public key under two names counts once.
        quorum: how many distinct witness keys must have cosigned; 0 for none.
        origin: the log's; by default the log key's name.
    Raises:
        MalformedError: note or text have not the form.
        SignatureError: the log did not sign, or a known line does not verify.
        CheckpointError: another log's, or an impossible one.
        QuorumError: too few witnesses.
        ValueError: the trusted keys themselves cannot be right.
    """
    if log_key.type != ED25519 or any(key.type not in COSIGNATURES for key in witnesses):
        raise ValueError("a log key signs with type 01, witnesses with 04 or 06: check the trusted keys")
    if any(key.public == log_key.public for key in witnesses):
        raise ValueError("the log's own key is no witness: check the trusted keys")
    # (1) form, (2) signatures; the text is read only after that.
    parsed = parse_note(note)
    verified = verify_note(parsed, [log_key, *witnesses])
    if all(signature.key != log_key for signature in verified):
        raise SignatureError("the log's key did not sign the checkpoint")
    # (3) what was signed
    checkpoint = parse_checkpoint(parsed.text)
    if checkpoint.origin != (log_key.name if origin is None else origin):
        raise CheckpointError("the checkpoint is of another log than expected")
    if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:
        raise CheckpointError("the root of the empty tree is wrong")
    # (4) quorum over keys, not names: a witness's name is not signed
    cosigned_at: dict[bytes, int] = {}
    for signature in verified:
        if signature.timestamp is not None:
            public = signature.key.public
            cosigned_at[public] = max(signature.timestamp, cosigned_at.get(public, 0))
    if len(cosigned_at) < quorum:
        raise QuorumError(needed=quorum, found=len(cosigned_at))
    return VerifiedCheckpoint(checkpoint, note, MappingProxyType(cosigned_at))
