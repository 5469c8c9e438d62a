"""A sealed table opens whole and in its place, or not at all."""

from hashlib import sha256

import numpy as np
import pyarrow as pa
import pytest

from sealstat.crypto.errors import MalformedError
from sealstat.tables import arrow_stream
from sealstat.tables.schemas import get
from sealstat.tables.sealed import (
    MAX_CIPHERTEXT_BYTES,
    key_check,
    open_part,
    padded,
    parse_parts_list,
    parts_list,
    seal_table,
)

KEY, AGREEMENT = b"k" * 32, "a" * 64
PLACE = {"dataset": "roamers-a", "period": "2026-10"}
SCHEMA = get("roamers").delivered
RESULT = pa.schema([("country", pa.string()), ("union", pa.int64()), ("share_a", pa.float64()), ("known", pa.bool_())])


def sealed(batches, schema, place=PLACE):
    return list(seal_table(batches, key=KEY, agreement=AGREEMENT, place=place, schema=schema))


def opened(parts, schema, place=PLACE):
    batches = []
    for part in parts:
        batches += open_part(
            part.ciphertext, key=KEY, agreement=AGREEMENT, place=place, index=part.index, last=part.last, schema=schema
        )
    return pa.Table.from_batches(batches, schema)


def wide(rows, width):
    schema = pa.schema([("a", pa.binary(width))])
    data = np.random.default_rng(1).integers(0, 256, rows * width, np.uint8).tobytes()
    array = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), rows, [None, pa.py_buffer(data)])
    return schema, pa.RecordBatch.from_arrays([array], schema=schema)


def test_a_result_of_any_flat_schema_comes_back_as_it_was():
    rows = [{"country": "MY", "union": 12, "share_a": 0.5, "known": True}, {"country": None, "union": None}]
    batch = pa.RecordBatch.from_pylist(rows, RESULT)
    place = {"task": "visitors", "c": 0, "table": "by_country"}
    parts = sealed([batch], RESULT, place)
    assert [(part.index, part.last) for part in parts] == [(0, True)]
    assert opened(parts, RESULT, place).equals(pa.Table.from_batches([batch]))


def test_a_table_without_rows_is_one_part():
    for batches in ([], [pa.RecordBatch.from_pylist([], SCHEMA)]):
        parts = sealed(batches, SCHEMA)
        assert [(part.index, part.last) for part in parts] == [(0, True)]
        assert len(opened(parts, SCHEMA)) == 0


def test_many_small_batches_become_few_parts_and_keep_their_order():
    schema = pa.schema([("n", pa.int64())])
    count = arrow_stream.MAX_ROWS + 1000
    batches = pa.table({"n": range(count)}).to_batches(max_chunksize=70_000)
    parts = sealed(batches, schema)
    assert [part.last for part in parts] == [False, True]
    assert opened(parts, schema)["n"].to_pylist() == list(range(count))


def test_incompressible_rows_are_split_so_that_no_part_is_too_large():
    schema, batch = wide(80, 1024 * 1024)
    parts = sealed([batch], schema)
    assert len(parts) > 2
    assert max(len(part.ciphertext) for part in parts) <= MAX_CIPHERTEXT_BYTES
    assert opened(parts, schema).equals(pa.Table.from_batches([batch]).combine_chunks())


def test_a_row_too_large_for_a_part_is_refused():
    schema, batch = wide(1, 40 * 1024 * 1024)
    with pytest.raises(ValueError, match="one row alone"):
        sealed([batch], schema)


def test_sizes_of_parts_are_padded_classes():
    sizes = set()
    for rows in range(1000, 1100):
        schema, batch = wide(rows, 22)
        (part,) = sealed([batch], schema)
        assert len(part.ciphertext) == padded(4 + part.true_size) + 16
        sizes.add(len(part.ciphertext))
    assert len(sizes) <= 4


def test_only_flat_columns_of_known_types_are_sealed():
    for kind in (pa.list_(pa.int8()), pa.dictionary(pa.int8(), pa.string()), pa.null(), pa.string_view()):
        with pytest.raises(ValueError, match="flat columns"):
            sealed([], pa.schema([("a", kind)]))


def test_a_batch_of_another_schema_is_refused():
    with pytest.raises(ValueError, match="another schema"):
        sealed([pa.RecordBatch.from_pylist([{"a": 1}])], SCHEMA)


def test_an_error_of_the_rows_source_reaches_the_caller():
    def rows():
        yield pa.RecordBatch.from_pylist([], SCHEMA)
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        sealed(rows(), SCHEMA)


def test_a_key_of_another_length_is_refused():
    with pytest.raises(ValueError, match="32 bytes"):
        list(seal_table([], key=b"short", agreement=AGREEMENT, place=PLACE, schema=SCHEMA))


def test_the_list_of_parts_comes_back():
    parts = [(17, sha256(b"0").hexdigest()), (33, sha256(b"1").hexdigest())]
    assert [(part.size, part.sha256) for part in parse_parts_list(parts_list(parts))] == parts


@pytest.mark.parametrize(
    "data",
    [
        b"[]",
        b"{}",
        b"[1]",
        b'[{"sha256":"' + b"0" * 64 + b'","size":0}]',
        b'[{"sha256":"' + b"0" * 64 + b'","size":true}]',
        b'[{"sha256":"' + b"0" * 64 + b'","size":99999999}]',
        b'[{"sha256":"' + b"0" * 63 + b'\\n","size":1}]',
        b'[{"sha256":"' + b"A" * 64 + b'","size":1}]',
        b'[{"more":1,"sha256":"' + b"0" * 64 + b'","size":1}]',
        b'[ {"sha256":"' + b"0" * 64 + b'","size":1}]',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_a_list_of_parts_of_another_form_is_refused(data):
    with pytest.raises(MalformedError):
        parse_parts_list(data)


def test_a_list_of_too_many_parts_or_bytes_is_refused(monkeypatch):
    monkeypatch.setattr("sealstat.tables.sealed.MAX_PARTS", 1)
    two = parts_list([(1, "0" * 64)] * 2)
    with pytest.raises(MalformedError, match="1 to 1 parts"):
        parse_parts_list(two)
    monkeypatch.setattr("sealstat.tables.sealed.MAX_LIST_BYTES", 10)
    with pytest.raises(MalformedError, match="at most 10 bytes"):
        parse_parts_list(two)


def test_key_check_depends_on_everything_it_covers():
    base = {"agreement": AGREEMENT, "dataset": "d", "period": "2026-10", "rows": 5, "rejects": {"imsi": 1}, "size": 9}
    others = [{**base, "rows": 6}, {**base, "rejects": {}}, {**base, "size": 8}, {**base, "dataset": "e"}]
    checks = {key_check(KEY, **said) for said in [base, *others]} | {key_check(b"x" * 32, **base)}
    assert len(checks) == 6
