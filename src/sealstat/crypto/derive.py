"""One key, one purpose: every key is used through HKDF-SHA256 under a word that names its use (RFC 5869)."""

import hmac
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sealstat.crypto.canonical import encode


def subkey(key: bytes, purpose: str, *, length: int = 32) -> bytes:
    """The key for one purpose under a secret key (bytes of any length >= 16)."""
    return HKDF(SHA256(), length, salt=None, info=b"sealstat-v1 " + purpose.encode()).derive(key)


def mac(key: bytes, message: Any) -> str:
    """HMAC-SHA256 of a value's canonical bytes, as hex."""
    return hmac.new(key, encode(message), sha256).hexdigest()


def mac_matches(key: bytes, message: Any, expected: str) -> bool:
    """Whether ``expected`` is the MAC of the value, compared in constant time."""
    return hmac.compare_digest(mac(key, message), expected)


def commitment(salt: bytes, plaintext: bytes) -> str:
    """A salted commitment to bytes: SHA-256(salt[32] || plaintext), as hex; hides while the salt is secret."""
    if len(salt) != 32:
        raise ValueError("a commitment needs a salt of 32 bytes")
    return sha256(salt + plaintext).hexdigest()
