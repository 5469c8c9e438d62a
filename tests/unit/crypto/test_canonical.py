import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealstat.crypto import canonical
from sealstat.crypto.errors import MalformedError

LIMIT = 10_000
WHOLE = st.integers(-(2**53) + 1, 2**53 - 1)
VALUES = st.recursive(
    st.none() | st.booleans() | WHOLE | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_what_is_written_is_read_as_the_same_value(value: object) -> None:
    assert canonical.decode(canonical.encode(value), limit=LIMIT) == value


@given(st.binary(max_size=60) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_bytes_are_refused_or_are_the_one_form_of_their_value(data: bytes) -> None:
    try:
        value = canonical.decode(data, limit=LIMIT)
    except MalformedError:
        return
    assert canonical.encode(value) == data


@given(VALUES, st.data())
def test_a_changed_byte_is_refused_or_another_value(value: object, data: st.DataObject) -> None:
    right = bytearray(canonical.encode(value))
    right[data.draw(st.integers(0, len(right) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(MalformedError):
        assert canonical.encode(canonical.decode(bytes(right), limit=LIMIT)) != canonical.encode(value)


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1,"a":1}',
        b'{"b":1,"a":1}',
        b'{"a": 1}',
        b"[1.0]",
        b"[1e2]",
        b"[NaN]",
        b"[-0]",
        b"[9007199254740993]",
        b'["\\u0061"]',
        b'["\\ud800"]',
        b'["\xff"]',
        b"\xef\xbb\xbf[]",
        b"[]\n",
        b"",
        b"[" * 100 + b"]" * 100,
    ],
)
def test_another_spelling_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        canonical.decode(data, limit=LIMIT)


def test_one_byte_over_the_limit_is_refused() -> None:
    assert canonical.decode(b"[1,2]", limit=5) == [1, 2]
    with pytest.raises(MalformedError, match="at most 4 bytes"):
        canonical.decode(b"[1,2]", limit=4)
