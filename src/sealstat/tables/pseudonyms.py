"""Pseudonyms: the same subscriber looks the same in both lists of one period, and like nobody anywhere else.

Only the providers who share the linkage key can make or test a pseudonym; neither host nor enclave gets it
(protocol.md section 5, cases.md C04).
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sealstat.crypto.derive import mac, subkey
from sealstat.tables.schemas import PSEUDONYM_BYTES

CONTRIBUTION_BYTES = 32
_BLOCK_BYTES = 64  # of SHA-256 (FIPS 180-4)


def linkage_key(contributions: Sequence[bytes]) -> bytes:
    """L: the period's key from every provider's contribution, in the agreement's order; 32 bytes.

    One honest contribution makes it unpredictable.

    Raises:
        ValueError: no contribution, or one that is not 32 bytes long (so the concatenation is unambiguous).
    """
    if not contributions or any(len(part) != CONTRIBUTION_BYTES for part in contributions):
        raise ValueError(f"a linkage key is made from contributions of {CONTRIBUTION_BYTES} bytes each, at least one")
    return subkey(b"".join(contributions), "linkage")


def linkage_check(key: bytes, agreement: str, group: str, period: str) -> str:
    """HMAC(L_check, ...): tells, without the key, whether two deliveries were made under the same one; hex."""
    return mac(subkey(key, "check"), {"use": "linkage", "agreement": agreement, "group": group, "period": period})


def pseudonymise(column: pa.Array[Any], prefix_len: int, key: bytes) -> pa.Array[Any]:
    """Each identifier's kept prefix, then the first 16 bytes of HMAC-SHA256(L_pseudonym, the whole identifier).

    Each distinct identifier of the batch is hashed once. That is most of a
    delivery's time, and fast enough without a pool of processes (bench/deliver.py).

    Args:
        column: text of ASCII, no nulls, all of one length >= ``prefix_len``.
        prefix_len: how many leading characters stay readable.
        key: the linkage key L; used through HKDF.
    Returns:
        fixed_size_binary[prefix_len + 16], as long as ``column``.
    Raises:
        ValueError: a null, or identifiers of unequal length or shorter than the prefix.
    """
    width = prefix_len + PSEUDONYM_BYTES
    if column.null_count:
        raise ValueError("an identifier is missing: validate the column before pseudonyms are made")
    if len(column) == 0:
        return pa.array([], pa.binary(width))
    encoded = column.dictionary_encode()
    identifiers = _matrix(encoded.dictionary)
    if identifiers.shape[1] < prefix_len:
        raise ValueError("identifiers are shorter than the prefix that is to be kept")
    found = np.empty((len(identifiers), width), np.uint8)
    found[:, :prefix_len] = identifiers[:, :prefix_len]
    found[:, prefix_len:] = np.frombuffer(_macs(identifiers, subkey(key, "pseudonym")), np.uint8).reshape(-1, 16)
    every: Any = np.take(found, encoded.indices.to_numpy(), axis=0)
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(column), [None, pa.py_buffer(every)])


def _matrix(column: pa.Array[Any]) -> npt.NDArray[np.uint8]:
    """Text of one length as (rows, length) bytes."""
    text = column.cast(pa.binary())
    buffers: list[Any] = text.buffers()
    offsets = np.frombuffer(buffers[1], np.int32, len(text) + 1, text.offset * 4)
    lengths = np.diff(offsets)
    if (lengths != lengths[0]).any():
        raise ValueError("identifiers have unequal lengths: validate the column before pseudonyms are made")
    data = np.frombuffer(buffers[2], np.uint8, int(offsets[-1] - offsets[0]), int(offsets[0]))
    matrix: npt.NDArray[np.uint8] = data.reshape(len(text), int(lengths[0]))
    return matrix


def _macs(identifiers: npt.NDArray[np.uint8], key: bytes) -> bytes:
    """The first 16 bytes of HMAC-SHA256 (RFC 2104) of each row, one after the other.

    Inner and outer state are made once and copied: 1.5 times as fast as copying an ``hmac`` object, 2.5 times
    ``hmac.digest``. A key of at most one block is used as it is, zero-padded.
    """
    block = key.ljust(_BLOCK_BYTES, b"\0")
    inner = sha256(bytes(byte ^ 0x36 for byte in block)).copy
    outer = sha256(bytes(byte ^ 0x5C for byte in block)).copy
    width = identifiers.shape[1]
    rows = identifiers.tobytes()
    found = []
    for start in range(0, len(rows), width):
        first, second = inner(), outer()
        first.update(rows[start : start + width])
        second.update(first.digest())
        found.append(second.digest()[:PSEUDONYM_BYTES])
    return b"".join(found)
