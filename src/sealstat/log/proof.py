"""tlog-proof files (C2SP tlog-proof@v1): one entry's place in a log, to be checked offline. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sealstat.log._text import decode_base64, decode_hash, encode_base64, parse_decimal
from sealstat.log.checkpoint import VerifiedCheckpoint, verify_checkpoint
from sealstat.log.errors import MalformedError
from sealstat.log.merkle import HASH_BYTES, leaf_hash, verify_inclusion
from sealstat.log.note import MAX_NOTE_BYTES, VerifierKey, parse_note

MAX_HASHES = 63
MAX_EXTRA_BYTES = 64 * 1024
MAX_PROOF_BYTES = 2 * MAX_EXTRA_BYTES + MAX_NOTE_BYTES

_HEADER = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True, slots=True)
class LogProof:
    """A proof file taken apart; nothing verified.

    Attributes:
        index: the entry's claimed place.
        hashes: the inclusion proof, the leaf's sibling first.
        note: the checkpoint note, verbatim.
        extra: opaque bytes that nothing authenticates, or None.
    """

    index: int
    hashes: tuple[bytes, ...]
    note: bytes
    extra: bytes | None = None

    def __post_init__(self) -> None:
        if len(self.hashes) > MAX_HASHES or any(len(value) != HASH_BYTES for value in self.hashes):
            raise MalformedError(f"a log proof has at most {MAX_HASHES} hashes of {HASH_BYTES} bytes")
        if self.extra is not None and len(self.extra) > MAX_EXTRA_BYTES:
            raise MalformedError(f"a log proof's extra data has at most {MAX_EXTRA_BYTES} bytes")

    def serialise(self) -> bytes:
        """The file's bytes."""
        lines = [_HEADER]
        if self.extra is not None:
            lines.append(f"extra {encode_base64(self.extra)}")
        lines += [f"index {self.index}", *(encode_base64(value) for value in self.hashes), "", ""]
        return "\n".join(lines).encode() + self.note


def parse_proof(data: bytes) -> LogProof:
    """Take a proof file apart.

    Raises:
        MalformedError: anything but the one form of tlog-proof@v1.
    """
    if len(data) > MAX_PROOF_BYTES:
        raise MalformedError(f"a log proof has at most {MAX_PROOF_BYTES} bytes")
    head, separator, note = data.partition(b"\n\n")
    if not separator:
        raise MalformedError("a log proof needs an empty line before its checkpoint")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise MalformedError("the head of a log proof must be ASCII") from error
    if lines.pop(0) != _HEADER:
        raise MalformedError(f"a log proof must begin with {_HEADER}")
    extra = None
    if lines and lines[0].startswith("extra "):
        extra = decode_base64(lines.pop(0).removeprefix("extra "), "a log proof's extra data")
    if not lines or not lines[0].startswith("index "):
        raise MalformedError("a log proof needs an index line")
    index = parse_decimal(lines.pop(0).removeprefix("index "), "a log proof's index")
    parse_note(note)
    return LogProof(index, tuple(decode_hash(line, "a log proof's hash") for line in lines), note, extra)


def verify_proof(
    proof: LogProof,
    entry: bytes,
    *,
    log_key: VerifierKey,
    witnesses: Collection[VerifierKey],
    quorum: int,
    origin: str | None = None,
) -> VerifiedCheckpoint:
    """Check that the log held exactly this entry at the proof's index when it signed the proof's checkpoint.

    Raises:
        LogError: as ``verify_checkpoint`` and ``verify_inclusion``.
    """
    verified = verify_checkpoint(proof.note, log_key=log_key, witnesses=witnesses, quorum=quorum, origin=origin)
    tree = verified.checkpoint
    verify_inclusion(proof.index, tree.size, leaf_hash(entry), proof.hashes, tree.root)
    return verified
