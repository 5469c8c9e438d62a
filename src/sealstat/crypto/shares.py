"""A key split among n holders, any t of whom can put it together; fewer learn nothing.

Shamir's scheme over GF(2^128) from PyCryptodome (A. Shamir, How to share a secret, CACM 1979), on the two
halves of the key; where all are needed (t = n), plain xor, which has no arithmetic to get wrong.
"""

import secrets
from collections.abc import Mapping
from functools import reduce

from Crypto.Protocol.SecretSharing import Shamir

KEY_BYTES = 32
_HALF = KEY_BYTES // 2


def split(key: bytes, *, threshold: int, holders: int) -> list[bytes]:
    """Shares of a 32-byte key, 32 bytes each; the share of holder i (from 1) is at position i - 1."""
    if len(key) != KEY_BYTES:
        raise ValueError(f"expected a key of {KEY_BYTES} bytes, got {len(key)}")
    if not 2 <= threshold <= holders <= 255:
        raise ValueError(f"expected 2 <= threshold <= holders <= 255, got {threshold} of {holders}")
    if threshold == holders:
        masks = [secrets.token_bytes(KEY_BYTES) for _ in range(holders - 1)]
        return [*masks, reduce(_xor, masks, key)]
    left = Shamir.split(threshold, holders, key[:_HALF])
    right = Shamir.split(threshold, holders, key[_HALF:])
    return [a + b for (_, a), (_, b) in zip(left, right, strict=True)]


def combine(shares: Mapping[int, bytes], *, threshold: int, holders: int) -> bytes:
    """The key from the shares of at least ``threshold`` holders, by holder number from 1.

    A wrong share gives a wrong key, not an error: shares travel with a MAC that names a bad giver.

    Raises:
        ValueError: too few shares, a number out of range, or a share of the wrong length.
    """
    if len(shares) < threshold:
        raise ValueError(f"expected shares of {threshold} holders, got {len(shares)}")
    if not all(1 <= number <= holders and len(share) == KEY_BYTES for number, share in shares.items()):
        raise ValueError("a share has the wrong length or belongs to no holder")
    if threshold == holders:
        return reduce(_xor, shares.values())
    chosen = sorted(shares.items())[:threshold]
    left = Shamir.combine([(number, share[:_HALF]) for number, share in chosen])
    right = Shamir.combine([(number, share[_HALF:]) for number, share in chosen])
    return bytes(left) + bytes(right)


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))
