"""Whatever is done to a sealed part, it opens as it was or not at all."""

import contextlib
from datetime import date

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealstat.crypto.errors import SealError
from sealstat.tables.arrow_stream import read_stream, write_stream
from sealstat.tables.errors import DataError
from sealstat.tables.schemas import get
from sealstat.tables.sealed import open_part, padded, seal_table

SCHEMA = get("roamers").delivered
KEY, AGREEMENT, PLACE = b"k" * 32, "a" * 64, {"dataset": "roamers-a", "period": "2026-10"}
WHERE = {"key": KEY, "agreement": AGREEMENT, "place": PLACE, "schema": SCHEMA}
ROWS = pa.Table.from_pylist(
    [{"imsi": b"510101" + bytes([n] * 16), "border_area": "BATAM", "date": date(2026, 10, 1)} for n in range(200)],
    SCHEMA,
)
(PART,) = seal_table(ROWS.to_batches(), **WHERE)
STREAM = write_stream(ROWS, SCHEMA)


@given(st.integers(0, len(PART.ciphertext) * 8 - 1))
def test_a_flipped_bit_anywhere_is_refused(bit):
    changed = bytearray(PART.ciphertext)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SealError):
        open_part(bytes(changed), index=0, last=True, **WHERE)


@given(st.integers(0, len(PART.ciphertext) - 1))
def test_a_part_cut_anywhere_is_refused(length):
    with pytest.raises(SealError):
        open_part(PART.ciphertext[:length], index=0, last=True, **WHERE)


@settings(max_examples=1500, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(STREAM) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_changed_stream_decodes_to_valid_rows_or_is_refused(changes):
    changed = bytearray(STREAM)
    for at, byte in changes:
        changed[at] = byte
    try:
        batch = read_stream(bytes(changed), SCHEMA, limit=1 << 20)
    except DataError:
        return
    batch.validate(full=True)
    assert batch.schema.equals(SCHEMA)
    assert batch.nbytes <= 1 << 20
    with contextlib.suppress(OverflowError):  # a day beyond Python's calendar: its value is check_delivered's to refuse
        batch.to_pydict()


@settings(deadline=None)
@given(st.binary(max_size=2000))
def test_bytes_that_are_no_stream_are_refused(data):
    with pytest.raises(DataError):
        read_stream(data, SCHEMA, limit=1 << 20)


@settings(deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.none() | st.text(max_size=20), st.none() | st.integers(-(2**63), 2**63 - 1)), max_size=9),
        max_size=6,
    )
)
def test_what_is_sealed_is_what_is_opened(batches):
    schema = pa.schema([("text", pa.string()), ("number", pa.int64())])
    given_batches = [
        pa.RecordBatch.from_pylist([{"text": text, "number": number} for text, number in rows], schema)
        for rows in batches
    ]
    where = {**WHERE, "schema": schema}
    parts = list(seal_table(given_batches, **where))
    found = [batch for part in parts for batch in open_part(part.ciphertext, index=part.index, last=part.last, **where)]
    assert pa.Table.from_batches(found, schema).to_pylist() == pa.Table.from_batches(given_batches, schema).to_pylist()


@given(st.integers(0, 1 << 40))
def test_padding_costs_at_most_twelve_per_cent_and_is_stable(size):
    assert size <= padded(size) <= size + max(size * 12 // 100, 1)
    assert padded(padded(size)) == padded(size)


def test_mistakes_of_any_reader_of_the_stream_do_not_show_rows():
    with pytest.raises(DataError) as refused:
        read_stream(STREAM.replace(b"BATAM", b"\xff\xfe\xfd\xfc\xfb"), SCHEMA, limit=1)
    assert refused.value.__cause__ is None
    assert "510101" not in str(refused.value)
