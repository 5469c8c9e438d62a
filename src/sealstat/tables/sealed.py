"""Sealed tables: the one encrypted form of deliveries, state and results (protocol.md section 5).

A part's plaintext is ``u32 big-endian length || Arrow IPC stream || zeros`` of a padded length (Padmé). It is encrypted
under the table's own key with its index as nonce, and bound to agreement, place, index and whether it is the last:
so nothing can be cut, swapped, mixed, repeated or appended. A key seals one table once: whoever must seal a part again
draws a new key, or a nonce would repeat.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sealstat.crypto import canonical
from sealstat.crypto.derive import mac, subkey
from sealstat.crypto.errors import MalformedError, SealError
from sealstat.tables.ahead import ahead
from sealstat.tables.arrow_stream import MAX_ROWS, read_stream, supported, write_stream
from sealstat.tables.errors import DataError

MAX_PLAINTEXT_BYTES = 32 * 1024 * 1024
MAX_CIPHERTEXT_BYTES = MAX_PLAINTEXT_BYTES + 16
MAX_PARTS = 100_000
MAX_LIST_BYTES = 16 * 1024 * 1024
# Below the limit by more than Padmé (3 % at this size) and Arrow's own framing add.
_PART_BYTES = 28 * 1024 * 1024
_LENGTH_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedPart:
    """One encrypted part; ``true_size`` is its length in bytes before padding and encryption (not public)."""

    index: int
    last: bool
    ciphertext: bytes = field(repr=False)
    true_size: int


@dataclass(frozen=True, slots=True)
class ListedPart:
    """A part's ciphertext as the list of parts names it: length in bytes, SHA-256 in hex."""

    size: int
    sha256: str


def padded(size: int) -> int:
    """Padmé: the length that hides all but O(log log size) bits of ``size``; at most 12 % more.

    >>> padded(9), padded(1000), padded(1_000_000)
    (10, 1024, 1015808)

    Source: Nikitin et al., Reducing Metadata Leakage from Encrypted Files (PoPETs 2019), algorithm 1.
    """
    if size < 2:
        return size
    exponent = size.bit_length() - 1
    mask = (1 << (exponent - exponent.bit_length())) - 1
    return (size + mask) & ~mask


def seal_table(
    batches: Iterable[pa.RecordBatch], *, key: bytes, agreement: str, place: Mapping[str, Any], schema: pa.Schema
) -> Iterator[SealedPart]:
    """The parts of a table, in order, as they become ready; a table without rows is one part.

    Memory stays at a few parts, however long the table. Encoding runs beside the caller's own work on the next batch.

    Args:
        batches: rows of exactly ``schema``, in batches of any length.
        key: 32 fresh random bytes, never used for another table, nor for this one again.
        agreement: id of the agreement.
        place: {dataset, period} of a delivery; {task, c, table} of a result.
        schema: flat columns of fixed types (``arrow_stream.supported``).
    Raises:
        ValueError: a key of another length, a type that cannot be sealed, a batch of another schema, or a row that
            alone is too large for a part.
    """
    if len(key) != 32:
        raise ValueError("a table is sealed under a key of 32 bytes")
    if not supported(schema):
        raise ValueError("a sealed table has flat columns of numbers, text, bytes, booleans, days or times only")
    cipher = AESGCM(subkey(key, "part"))

    def encrypt(index: int, last: bool, stream: bytes) -> SealedPart:
        if index >= MAX_PARTS:
            raise ValueError(f"a sealed table has at most {MAX_PARTS} parts: deliver it in shorter periods")
        context = _context(agreement, place, index, last)
        ciphertext = cipher.encrypt(_nonce(index), _framed(stream), context)
        return SealedPart(index=index, last=last, ciphertext=ciphertext, true_size=len(stream))

    # whether a part is the last is known one part later
    held: bytes | None = None
    index = 0
    for stream in ahead(partial(write_stream, schema=schema), _in_parts(batches, schema), workers=2, name="seal"):
        if held is not None:
            yield encrypt(index, False, held)
            index += 1
        held = stream
    yield encrypt(index, True, held if held is not None else write_stream(schema.empty_table(), schema))


def open_part(
    ciphertext: bytes,
    *,
    key: bytes,
    agreement: str,
    place: Mapping[str, Any],
    index: int,
    last: bool,
    schema: pa.Schema,
) -> list[pa.RecordBatch]:
    """The rows of one part, authenticated, then decoded within limits and validated in full.

    What a column may hold is not judged here: see ``check_delivered``.

    Raises:
        SealError: another key, agreement, place, index or ``last``; or a changed byte.
        DataError: what was sealed is not one padded Arrow stream of exactly this schema, or breaks a limit.
    """
    if len(ciphertext) > MAX_CIPHERTEXT_BYTES:
        raise SealError(f"a part has more than {MAX_CIPHERTEXT_BYTES} bytes")
    try:
        plaintext = AESGCM(subkey(key, "part")).decrypt(
            _nonce(index), ciphertext, _context(agreement, place, index, last)
        )
    except InvalidTag:
        raise SealError(
            f"part {index} does not open: it was changed, or sealed under another key or for another place"
        ) from None
    return [read_stream(_unframed(plaintext), schema, limit=MAX_PLAINTEXT_BYTES)]


def parts_list(parts: Iterable[tuple[int, str]]) -> bytes:
    """The list of parts as a blob: canonical bytes of [{size, sha256}] in the order of the parts."""
    listed = [{"sha256": digest, "size": size} for size, digest in parts]
    return canonical.encode(listed)


def parse_parts_list(data: bytes) -> list[ListedPart]:
    """The parts that a list names.

    Raises:
        MalformedError: above 16 MiB or 100,000 parts, empty, not canonical, or an entry of another form.
    """
    listed = canonical.decode(data, limit=MAX_LIST_BYTES)
    if not isinstance(listed, list) or not 1 <= len(listed) <= MAX_PARTS:
        raise MalformedError(f"expected a list of 1 to {MAX_PARTS} parts")
    return [_listed_part(entry) for entry in listed]


def key_check(
    key: bytes, agreement: str, dataset: str, period: str, rows: int, rejects: Mapping[str, int], size: int
) -> str:
    """What a delivery says about its sealed key and counts, so that a released key can be no other; hex.

    Args:
        rows, size: of the table as sealed; size in bytes before padding (the sum of ``true_size``).
        rejects: rows dropped at home, by reason.
    """
    said = {"agreement": agreement, "dataset": dataset, "period": period, "rows": rows, "size": size}
    return mac(subkey(key, "check"), {"use": "check", "rejects": dict(rejects), **said})


def _context(agreement: str, place: Mapping[str, Any], index: int, last: bool) -> bytes:
    return canonical.encode({"use": "table", "agreement": agreement, "place": dict(place), "i": index, "last": last})


def _nonce(index: int) -> bytes:
    return index.to_bytes(12, "big")


def _framed(stream: bytes) -> bytes:
    size = _LENGTH_BYTES + len(stream)
    if padded(size) > MAX_PLAINTEXT_BYTES:
        raise ValueError(f"a part of a sealed table has at most {MAX_PLAINTEXT_BYTES} bytes")
    return b"".join((len(stream).to_bytes(_LENGTH_BYTES, "big"), stream, bytes(padded(size) - size)))


def _unframed(plaintext: bytes) -> bytes:
    """The stream in a plaintext of the one padded form; a copy, so that its buffers are aligned as Arrow wants them."""
    end = _LENGTH_BYTES + int.from_bytes(plaintext[:_LENGTH_BYTES], "big")
    if (
        len(plaintext) < _LENGTH_BYTES
        or len(plaintext) != padded(end)
        or plaintext[end:] != bytes(len(plaintext) - end)
    ):
        raise DataError("a part is not padded as sealed tables are")
    return plaintext[_LENGTH_BYTES:end]


def _in_parts(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """The same rows in pieces that fit into a part."""
    held: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        if not batch.schema.equals(schema, check_metadata=True):
            raise ValueError("a batch has another schema than the table that is sealed")
        for piece in _pieces(batch):
            if held and (rows + len(piece) > MAX_ROWS or size + piece.nbytes > _PART_BYTES):
                yield pa.Table.from_batches(held)
                held, rows, size = [], 0, 0
            held.append(piece)
            rows, size = rows + len(piece), size + piece.nbytes
    if held:
        yield pa.Table.from_batches(held)


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    if len(batch) <= MAX_ROWS and batch.nbytes <= _PART_BYTES:
        if len(batch):
            yield batch
        return
    if len(batch) == 1:
        raise ValueError("one row alone is larger than a part of a sealed table may be")
    half = len(batch) // 2
    yield from _pieces(batch.slice(0, half))
    yield from _pieces(batch.slice(half))


_HEX_DIGEST: Callable[[str], Any] = re.compile(r"[0-9a-f]{64}").fullmatch


def _listed_part(entry: Any) -> ListedPart:
    if not isinstance(entry, dict) or entry.keys() != {"size", "sha256"}:
        raise MalformedError("expected a part as its size and sha256")
    size, digest = entry["size"], entry["sha256"]
    if type(size) is not int or not 0 < size <= MAX_CIPHERTEXT_BYTES:
        raise MalformedError(f"expected a part's size from 1 to {MAX_CIPHERTEXT_BYTES} bytes")
    if not isinstance(digest, str) or not _HEX_DIGEST(digest):
        raise MalformedError("expected a part's digest as 64 lower-case hex digits")
    return ListedPart(size, digest)
