"""The one byte form of a JSON value (RFC 8785), and a reader that accepts no other.

Digests and signatures are over these bytes; a second spelling of the same value would be a second statement.
"""

import json
from hashlib import sha256
from typing import Any, NoReturn

import rfc8785

from sealstat.crypto.errors import MalformedError

_MAX_DEPTH = 64


def encode(value: Any) -> bytes:
    """RFC 8785 bytes of a JSON value made of dicts, lists, text, whole numbers, booleans and None.

    Raises:
        MalformedError: the value holds a float, a whole number beyond 2^53 or another type.
    """
    _refuse_floats(value, 0)
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise MalformedError("the value has no canonical JSON form: use text, whole numbers, lists, objects") from error


def decode(data: bytes, *, limit: int) -> Any:
    """The value of canonical JSON bytes of at most ``limit`` bytes.

    Raises:
        MalformedError: too long, not UTF-8, not JSON, a key twice, a float, or not in canonical form.
    """
    if len(data) > limit:
        raise MalformedError(f"expected at most {limit} bytes of JSON, got {len(data)}")
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_no_duplicates,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
    except MalformedError:
        raise
    except (ValueError, RecursionError) as error:
        raise MalformedError("expected UTF-8 JSON, got something else") from error
    if encode(value) != data:
        raise MalformedError("the JSON is not in canonical form (RFC 8785)")
    return value


def digest(value: Any) -> str:
    """H(JCS(value)): SHA-256 of the canonical bytes, as 64 lower-case hex digits."""
    return sha256(encode(value)).hexdigest()


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise MalformedError("a key stands twice in one JSON object")
    return found


def _refuse_number(_: str) -> NoReturn:
    raise MalformedError("a number with a fraction or exponent stands in the JSON: exact values are text")


def _refuse_floats(value: Any, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise MalformedError(f"the JSON is nested deeper than {_MAX_DEPTH}")
    if isinstance(value, float):
        raise MalformedError("a floating-point number stands in the JSON: exact values are text")
    if isinstance(value, dict):
        for item in value.values():
            _refuse_floats(item, depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_floats(item, depth + 1)
