"""Period pseudonyms: a subscriber has one inner id for years, and a new pseudonym each period (protocol.md section 5).

An identifier is one AES-256 block under the operator's own inner key, cut to 12 bytes: the *inner id*, which nobody
outside the operator and the enclave sees. Inner id and 4 zero bytes are one AES-256 block under the period's key: the
*period pseudonym*, which the enclave opens again. Whole columns are one call of the cipher; nothing runs row by row.

Why a block cipher may stand for a keyed hash: every identifier has a block of its own, and a permutation looks like a
random function until about 2^64 blocks (after q blocks: advantage at most q^2 / 2^129, and less where it is cut;
Bellare and Rogaway, The security of triple encryption, EUROCRYPT 2006, lemma 1; Hall, Wagner, Kelsey and Schneier,
Building PRFs from PRPs, CRYPTO 1998). Why zero bytes are an authenticator: redundancy under a permutation that looks
random (Bellare and Rogaway, Encode-then-encipher encryption, ASIACRYPT 2000): a block made without the key opens to
the zeros with probability 2^-32. The same pseudonym for the same subscriber within a period is meant, so there is no
nonce to repeat.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from sealstat.crypto.derive import subkey
from sealstat.tables.schemas import INNER_BYTES, PSEUDONYM_BYTES

Kind = Literal["imsi", "number", "hex"]
"""What an identifier is: 15 ASCII digits; 1 to 15 of them (MSISDN, E.164); or 24 lower-case hexadecimal digits."""

KINDS: tuple[Kind, ...] = get_args(Kind)

_BLOCK = 16
_HEX_DIGITS, _HEX_MARK = 24, 1
Bytes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]

_NIBBLES = np.full(256, 255, np.uint8)
_NIBBLES[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16, dtype=np.uint8)
_HEX = np.array([f"{byte:02x}".encode() for byte in range(256)]).view(np.uint16)


def well_formed(identifiers: pa.Array[Any], kind: Kind) -> Flags:
    """Which identifiers are of their kind's form: (rows,) bool. A null is none; only ASCII digits are digits."""
    return _blocks(identifiers, kind)[1]


def inner_ids(identifiers: pa.Array[Any], key: bytes, kind: Kind = "imsi") -> pa.Array[Any]:
    """The operator's own stable ids: AES-256 of each identifier's block under the inner key, cut to 12 bytes.

    Two of n identifiers share an id with probability at most n^2 / 2^97: 2^-37 for a milliard (10^9).

    Args:
        identifiers: text or binary, each of the form that ``kind`` says.
        key: the operator's inner key, 16 bytes or more; used through HKDF.
    Returns:
        fixed_size_binary[12], as long as ``identifiers``.
    Raises:
        ValueError: an identifier is missing or not of its kind's form; the message holds none.
    """
    blocks, good = _blocks(identifiers, kind)
    if not good.all():
        raise ValueError(f"an identifier is missing or no {kind}: drop such rows before inner ids are made")
    return _column(np.ascontiguousarray(_enciphered(blocks, subkey(key, "inner id"))[:, :INNER_BYTES]))


def period_pseudonyms(inner: pa.Array[Any], period_key: bytes) -> pa.Array[Any]:
    """The pseudonyms of a period: AES-256 of ``inner id || 4 zero bytes`` under the period's key.

    Args:
        inner: fixed_size_binary[12], no nulls.
        period_key: 16 bytes or more; used through HKDF.
    Returns:
        fixed_size_binary[16]; equal for equal ids, different for different ones, always.
    Raises:
        ValueError: another type, or a null.
    """
    blocks = np.zeros((len(inner), _BLOCK), np.uint8)
    blocks[:, :INNER_BYTES] = _matrix(inner, INNER_BYTES)
    return _column(_enciphered(blocks, subkey(period_key, "period pseudonym")))


def opened(
    pseudonyms: pa.Array[Any], period_key: bytes
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint32], Flags]:
    """The inner ids behind pseudonyms, and which of them are genuine.

    A block that was not made under this period's key is good with probability 2^-32, so of a million forged rows one
    passes once in 4,300 tries. That a good one belongs to a subscriber who exists only its maker knows.

    Args:
        pseudonyms: fixed_size_binary[16], no nulls.
    Returns:
        high: (rows,) uint64, the first 8 bytes of the inner id read big-endian, so that numbers sort as ids do;
        low: (rows,) uint32, its last 4; good: (rows,) bool. Where ``good`` is False the numbers mean nothing.
    Raises:
        ValueError: another type, or a null.
    """
    blocks = np.ascontiguousarray(_matrix(pseudonyms, PSEUDONYM_BYTES))
    plain = _ciphered(blocks, subkey(period_key, "period pseudonym"), decrypt=True)
    words = plain.view(">u4")
    return plain.view(">u8")[:, 0].astype(np.uint64), words[:, 2].astype(np.uint32), words[:, 3] == 0


def hexadecimal(ids: pa.Array[Any]) -> pa.Array[Any]:
    """Ids or pseudonyms as text of lower-case hexadecimal digits, two a byte."""
    digits: Any = np.ascontiguousarray(hex_digits(ids))
    offsets: Any = np.arange(0, digits.size + 1, digits.shape[1], dtype=np.int64)
    return pa.LargeStringArray.from_buffers(len(ids), pa.py_buffer(offsets), pa.py_buffer(digits)).cast(pa.string())


def hex_digits(ids: pa.Array[Any]) -> Bytes:
    """Ids or pseudonyms as ASCII hexadecimal digits: (rows, 2 x bytes) uint8."""
    return _HEX[_matrix(ids, ids.type.byte_width)].view(np.uint8)


def _blocks(identifiers: pa.Array[Any], kind: Kind) -> tuple[Bytes, Flags]:
    """One block for each identifier, no two alike, and which are well formed: (rows, 16) uint8, (rows,) bool.

    Digits stand first and zero bytes behind them, at least one; behind 12 bytes read from hexadecimal digits the last
    byte is 1. So a block says what it was made of, whatever kinds an operator mixes under one key.
    """
    most = _HEX_DIGITS if kind == "hex" else 15
    least = 1 if kind == "number" else most
    text, length = _padded(identifiers, most)
    good = (length >= least) & (length <= most)
    blocks = np.zeros((len(text), _BLOCK), np.uint8)
    if kind == "hex":
        nibbles = _NIBBLES[text]
        good &= (nibbles < 16).all(axis=1)
        blocks[:, :INNER_BYTES] = nibbles[:, 0::2] << 4 | nibbles[:, 1::2]
        blocks[:, -1] = _HEX_MARK
        return blocks, good
    blocks[:, :most] = text
    digits = (text - np.uint8(ord("0"))) < 10  # below "0" wraps to above 9
    if least < most:
        digits |= np.arange(most) >= length[:, None]
    return blocks, good & digits.all(axis=1)


def _padded(column: pa.Array[Any], width: int) -> tuple[Bytes, npt.NDArray[np.int64]]:
    """The first ``width`` bytes of each value, zeros behind shorter ones, and the lengths; a null has length 0."""
    if not len(column):
        return np.empty((0, width), np.uint8), np.empty(0, np.int64)
    values = column.cast(pa.large_binary())
    buffers: list[Any] = values.buffers()
    offsets = np.frombuffer(buffers[1], np.int64, len(values) + 1, values.offset * 8)
    length = np.diff(offsets)
    if column.null_count:
        length[column.is_null().to_numpy(zero_copy_only=False)] = 0
    # the bytes of all values, and some beyond the last one, so that every window lies inside
    data = np.zeros(int(offsets[-1]) + width, np.uint8)
    if offsets[-1]:
        data[: int(offsets[-1])] = np.frombuffer(buffers[2], np.uint8, int(offsets[-1]))
    if (length == width).all():
        return data[int(offsets[0]) : int(offsets[-1])].reshape(-1, width), length
    text = np.lib.stride_tricks.sliding_window_view(data, width)[offsets[:-1]]
    return np.where(np.arange(width) < length[:, None], text, np.uint8(0)), length


def _matrix(column: pa.Array[Any], width: int) -> Bytes:
    """Values of one width as (rows, width) bytes, without a copy."""
    if column.type != pa.binary(width) or column.null_count:
        raise ValueError(f"expected values of {width} bytes each and no nulls, got {column.type}")
    if not len(column):
        return np.empty((0, width), np.uint8)
    buffers: list[Any] = column.buffers()
    found: Bytes = np.frombuffer(buffers[1], np.uint8, len(column) * width, column.offset * width)
    return found.reshape(-1, width)


def _column(values: Bytes) -> pa.Array[Any]:
    data: Any = values
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(values.shape[1]), len(values), [None, pa.py_buffer(data)])


def _enciphered(blocks: Bytes, key: bytes) -> Bytes:
    return _ciphered(blocks, key, decrypt=False)


def _ciphered(blocks: Bytes, key: bytes, *, decrypt: bool) -> Bytes:
    """AES-256 (FIPS 197) of each block by itself."""
    cipher = Cipher(algorithms.AES256(key), modes.ECB())  # noqa: S305 - single blocks; that equal ones stay equal is meant
    work = cipher.decryptor() if decrypt else cipher.encryptor()
    room = np.empty(blocks.size + _BLOCK - 1, np.uint8)  # the library asks for one block less a byte beyond
    if blocks.size:
        work.update_into(blocks.reshape(-1).data, room.data)
    return room[: blocks.size].reshape(-1, _BLOCK)
