"""The few strict text forms that all C2SP documents share."""

from __future__ import annotations

import base64
import binascii
import re

from sealstat.log.errors import MalformedError

MAX_SIZE = 2**64 - 1

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,19}", re.ASCII)


def parse_decimal(text: str, what: str) -> int:
    """A canonical decimal in 0 .. 2^64-1: no sign, no leading zero; anything else is malformed."""
    if not _DECIMAL.fullmatch(text) or (value := int(text)) > MAX_SIZE:
        raise MalformedError(f"{what} must be a plain decimal below 2^64")
    return value


def encode_base64(data: bytes) -> str:
    """RFC 4648 section 4, padded."""
    return base64.b64encode(data).decode("ascii")


def decode_base64(text: str, what: str) -> bytes:
    """Padded standard base64 in its one canonical form: unused bits set would make two texts of one value."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedError(f"{what} must be padded base64") from error
    if encode_base64(data) != text:
        raise MalformedError(f"{what} must be canonical base64")
    return data


def decode_hash(text: str, what: str) -> bytes:
    """Base64 of exactly 32 bytes."""
    data = decode_base64(text, what) if len(text) == 44 else b""
    if len(data) != 32:
        raise MalformedError(f"{what} must be the base64 of 32 bytes")
    return data
