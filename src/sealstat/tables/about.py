"""The sealed note beside a result: the salt of its commitment, and what the rules of release did.

It is derived from data, so it travels under the result's own key and nowhere else.
"""

from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sealstat.crypto import canonical
from sealstat.crypto.derive import subkey
from sealstat.crypto.errors import MalformedError, SealError
from sealstat.tables.sealed import padded

_LIMIT_BYTES = 8 * 1024 * 1024  # a year of days' figures beside a state; beside a result it is far less
_LENGTH_BYTES = 4
_NONCE = bytes(12)  # the key is fresh for each result and this purpose uses it once


def seal_about(about: Mapping[str, Any], *, key: bytes, agreement: str, place: Mapping[str, Any]) -> bytes:
    """The note as ciphertext, padded to a size class, bound to the result's place."""
    note = canonical.encode(dict(about))
    size = _LENGTH_BYTES + len(note)
    if padded(size) > _LIMIT_BYTES:
        raise ValueError(f"the note beside a result has at most {_LIMIT_BYTES} bytes")
    frame = len(note).to_bytes(_LENGTH_BYTES, "big") + note + bytes(padded(size) - size)
    return AESGCM(subkey(key, "about")).encrypt(_NONCE, frame, _context(agreement, place))


def open_about(ciphertext: bytes, *, key: bytes, agreement: str, place: Mapping[str, Any]) -> dict[str, Any]:
    """The note beside a result.

    Raises:
        SealError: another key or place, or a changed byte.
        MalformedError: what was sealed is no note.
    """
    if len(ciphertext) > _LIMIT_BYTES + 16:
        raise SealError(f"the note beside a result has more than {_LIMIT_BYTES} bytes")
    try:
        frame = AESGCM(subkey(key, "about")).decrypt(_NONCE, ciphertext, _context(agreement, place))
    except InvalidTag:
        raise SealError("the note beside a result does not open: changed, or sealed under another key") from None
    end = _LENGTH_BYTES + int.from_bytes(frame[:_LENGTH_BYTES], "big")
    if len(frame) != padded(end) or frame[end:] != bytes(len(frame) - end):
        raise MalformedError("the note beside a result is not padded as such notes are")
    note = canonical.decode(frame[_LENGTH_BYTES:end], limit=_LIMIT_BYTES)
    if not isinstance(note, dict):
        raise MalformedError("the note beside a result is not an object")
    return note


def _context(agreement: str, place: Mapping[str, Any]) -> bytes:
    return canonical.encode({"use": "about", "agreement": agreement, "place": dict(place)})
