"""A state sealed and opened again; what is another's, old, cut or changed does not open."""

import secrets
from time import sleep
from typing import Any

import pyarrow as pa
import pytest

from days import Blobs
from sealstat.agreement.statements import State
from sealstat.enclave.errors import SessionOver
from sealstat.enclave.states import SealedState, open_state, seal_state
from sealstat.tables.ahead import ahead
from sealstat.tables.sealed import parse_parts_list, parts_list

AGREEMENT, TASK = "a" * 64, "usual"
SCHEMA = pa.schema([pa.field("id", pa.uint64(), nullable=False)])
SECRET = b"s" * 32


def batches(count: int = 3) -> list[pa.RecordBatch]:
    """Random numbers do not compress: a few parts of some size."""
    rows = [secrets.token_bytes(8 * 300_000) for _ in range(count)]
    return [
        pa.record_batch([pa.Array.from_buffers(pa.uint64(), 300_000, [None, pa.py_buffer(each)])], schema=SCHEMA)
        for each in rows
    ]


def sealed(host: Blobs, c: int = 1, given: list[pa.RecordBatch] | None = None) -> SealedState:
    return seal_state(host, AGREEMENT, TASK, c, given or batches(), SCHEMA, SECRET, [])  # type: ignore[arg-type]


def said(state: SealedState, **changes: Any) -> State:
    return State.model_validate({"parts": state.parts, "about": state.about, "shares": {}, **changes})


def opened(host: Blobs, state: SealedState, **changes: Any) -> pa.Table:
    where = {"agreement": AGREEMENT, "task": TASK, "c": 1, "said": said(state), "key": state.key, **changes}
    found = open_state(host, **where)  # type: ignore[arg-type]
    assert found.secret == SECRET
    return pa.Table.from_batches(found.batches(host, SCHEMA), SCHEMA)  # type: ignore[arg-type]


def test_a_state_comes_back_as_it_was_and_can_be_read_twice() -> None:
    host, given = Blobs(), batches()
    state = sealed(host, given=given)
    assert state.rows == 900_000
    assert opened(host, state) == opened(host, state) == pa.Table.from_batches(given)
    assert state.digest == said(state).digest


@pytest.mark.parametrize(
    "other", [{"c": 2}, {"c": 0}, {"task": "another"}, {"agreement": "b" * 64}, {"key": bytes(32)}], ids=str
)
def test_another_place_or_key_does_not_open(other: dict[str, Any]) -> None:
    host = Blobs()
    with pytest.raises(SessionOver, match="does not open with the shares"):
        opened(host, sealed(host), **other)


def relisted(host: Blobs, state: SealedState, order: list[int]) -> State:
    listed = parse_parts_list(host.blobs[state.parts["digest"]])
    assert len(listed) > 2
    chosen = [listed[index] for index in order]
    digest = host.put_blob(AGREEMENT, parts_list([(part.size, part.sha256) for part in chosen]))
    return said(state, parts={"count": len(chosen), "digest": digest})


@pytest.mark.parametrize(
    "order",
    [[1, 0, 2], [0, 1], [0], [0, 0, 2], [0, 1, 1, 2], [2, 1, 0]],
    ids=["swapped", "cut", "one", "repeated", "inserted", "reversed"],
)
def test_parts_in_another_order_do_not_open(order: list[int]) -> None:
    host = Blobs()
    state = sealed(host)
    assert len(parse_parts_list(host.blobs[state.parts["digest"]])) == 3
    with pytest.raises(SessionOver, match="a part of the state does not open"):
        opened(host, state, said=relisted(host, state, order))


def test_parts_of_an_older_state_do_not_open_under_the_newest_note() -> None:
    host = Blobs()
    old, new = sealed(host), sealed(host)
    with pytest.raises(SessionOver, match="a part of the state does not open"):
        opened(host, new, said=said(new, parts=old.parts))


@pytest.mark.parametrize("where", [0, 20, -1])
def test_a_flipped_byte_does_not_open(where: int) -> None:
    host = Blobs()
    state = sealed(host)
    for digest in (parse_parts_list(host.blobs[state.parts["digest"]])[1].sha256, state.about):
        good = host.blobs[digest]
        bad = bytearray(good)
        bad[where] ^= 1
        host.blobs[digest] = bytes(bad)
        with pytest.raises(SessionOver, match="does not open"):
            opened(host, state)
        host.blobs[digest] = good


# --- work ahead ------------------------------------------------------------------------------------------------------


def test_work_ahead_keeps_the_order_and_is_bounded() -> None:
    begun: list[int] = []

    def slow_first(n: int) -> int:
        begun.append(n)
        sleep(0.02 if n == 0 else 0)
        return n

    for taken, found in enumerate(ahead(slow_first, range(20), workers=3, name="test")):
        assert found == taken
        assert len(begun) <= taken + 4
    assert sorted(begun) == list(range(20))


def test_work_ahead_passes_errors_on_in_their_place() -> None:
    def fails_at_two(n: int) -> int:
        if n == 2:
            raise SessionOver("two")
        return n

    found = []
    with pytest.raises(SessionOver, match="two"):
        found += [found.append(n) for n in ahead(fails_at_two, range(9), workers=3, name="test")]
    assert found == [0, 1]
    assert list(ahead(fails_at_two, [], workers=3, name="test")) == []
