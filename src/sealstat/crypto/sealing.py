"""seal(pk, info, m): HPKE base mode, ML-KEM-768+X25519, HKDF-SHA256, AES-256-GCM (RFC 9180; protocol.md).

Base mode proves no sender. So the context always names the use, the agreement, sender and receiver: a ciphertext
copied into another statement does not open there. The contexts stand in agreement/contexts.py.
"""

from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519

from sealstat.crypto.canonical import encode
from sealstat.crypto.cards import SealingKey, b64, unb64
from sealstat.crypto.errors import MalformedError, SealError
from sealstat.crypto.identity import Opener

_SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


def seal(to: SealingKey, context: dict[str, Any], message: bytes) -> str:
    """The message encrypted to a sealing key, bound to its context; base64."""
    try:
        key = hpke.MLKEM768X25519PublicKey(
            mlkem.MLKEM768PublicKey.from_public_bytes(unb64(to.mlkem768)),
            x25519.X25519PublicKey.from_public_bytes(unb64(to.x25519)),
        )
        return b64(_SUITE.encrypt(message, key, info=encode(context)))
    except ValueError as error:
        raise SealError("cannot seal to this card: its sealing key is not ML-KEM-768 with X25519") from error


def unseal(opener: Opener, context: dict[str, Any], sealed: str) -> bytes:
    """The message sealed to this key in this context.

    Raises:
        SealError: sealed to another key, in another context, or changed on the way.
    """
    try:
        return bytes(_SUITE.decrypt(unb64(sealed), opener.hybrid(), info=encode(context)))
    except (InvalidTag, MalformedError, ValueError) as error:
        raise SealError(f"what was sealed for {context.get('use', 'this use')} does not open here") from error
