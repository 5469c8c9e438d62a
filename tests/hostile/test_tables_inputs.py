"""Files and sealed tables made to break the reader end in a typed refusal, in bounded memory, showing nothing."""

import gzip
import os
import resource
import struct
import subprocess
import sys
import zipfile
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sealstat.crypto.canonical import encode
from sealstat.crypto.derive import subkey
from sealstat.crypto.errors import SealError
from sealstat.tables import arrow_stream, parquet_claims
from sealstat.tables.arrow_stream import write_stream
from sealstat.tables.errors import BadFile, DataError
from sealstat.tables.reading import prepare
from sealstat.tables.schemas import get
from sealstat.tables.sealed import open_part, padded, seal_table

TABLE = get("roamers")
SCHEMA = TABLE.delivered
IMSI = "510101234567890"
HEADER = b"imsi,border_area,date\n"
ROW = f"{IMSI},BATAM,2026-10-31\n".encode()


@pytest.fixture
def read(tmp_path):
    def _read(content):
        path = tmp_path / "roamers.csv"
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, Path):
            path = content
        else:
            pq.write_table(content, path)
        prepared = prepare(
            path,
            schema=TABLE,
            period="2026-10",
            allowed={"border_area": ["BATAM"]},
            pseudonymise=None,
            rejects_file=tmp_path / "rejects.csv",
        )
        rows = sum(len(batch) for batch in prepared)
        return rows, prepared.tally

    return _read


def refused(read, content, words, folder):
    """The file is refused in these words, without a row of it in message or cause, and leaves no rejects file."""
    with pytest.raises(BadFile, match=words) as error:
        read(content)
    seen = f"{error.value!r} {error.value.__cause__!r}"
    assert IMSI not in seen
    assert "secret" not in seen
    assert not (folder / "rejects.csv").exists()


# --- CSV -------------------------------------------------------------------------------------------------------------

BAD_FIRST = b"unknown,BATAM,2026-10-31\n"  # so that a rejects file was begun


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\xef\xbb\xbf", "missing"),
        (b"\n\n", "missing"),
        (ROW, "imsi, border_area, date missing; 3 more"),
        (b"imsi,border_area\n1,2\n", "date missing"),
        (b"imsi,border_area,date,secret\n1,2,3,4\n", "1 more than asked for"),
        (b"imsi,border_area,date,imsi\n1,2,3,4\n", "imsi there twice"),
        (b"IMSI,border_area,date\n", "imsi missing"),
        (HEADER.replace(b",", b";") + ROW, "separated by commas"),
        (b"," * 5000, "first line is longer"),
        (b'"imsi,border_area,date\n' + ROW, "not CSV"),
        (b"imsi,border_area,dat\xe9\n", "UTF-8"),
        (b"imsi,border_area,date\0\n", "NUL"),
        ((HEADER + ROW).decode().encode("utf-16"), "UTF-16"),
        ((HEADER + ROW).decode().encode("utf-16-le"), "NUL"),
        (HEADER + ROW + f"{IMSI},B\xe9,2026-10-31\n".encode("latin-1"), "not UTF-8"),
        (HEADER + BAD_FIRST * 400_000 + f"{IMSI},B\xe9,2026-10-31\n".encode("latin-1"), "not UTF-8"),
        (HEADER + ROW + b"\0", "NUL"),
        (HEADER + BAD_FIRST * 400_000 + b"51010\0,BATAM,2026-10-31\n", "NUL"),
        (HEADER + ROW + b'"' + ROW * 300_000, "quotation mark"),
        (HEADER + ROW + b'"' + ROW * 100, "over the end of its line"),
        (HEADER + b'"5101,BATAM,2026-10-31\n5101",BATAM,2026-10-31\n' + ROW, "over the end of its line"),
        (HEADER + b'"5101\r1",BATAM,2026-10-31\n' + ROW, "over the end of its line"),
        (HEADER + BAD_FIRST + b'"1\n",2\n', "over the end of its line"),
        (HEADER + ROW + b"\xc3", "not UTF-8"),
        (HEADER + ROW + IMSI.encode() + b"x" * (5 << 20), "longer than 4194304"),
        (HEADER + BAD_FIRST * 400_000 + b"," * (9 << 20), "longer than 4194304"),
        (HEADER + b"\xff" + ROW, "not UTF-8"),
        (HEADER + b"\xff,1\n" + ROW, "not UTF-8"),
    ],
    ids=lambda value: None if isinstance(value, bytes) else value,
)
def test_a_csv_file_in_doubt_is_refused_as_a_whole(read, content, words, tmp_path):
    refused(read, content, words, tmp_path)


def test_values_that_look_like_the_wrong_type_are_rejects_not_guesses(read):
    rows, tally = read(HEADER + b"5.10101e14,BATAM,2026-10-31\n,BATAM,\n510101234567890,1,2026-10-31\nNULL,NA,NaN\n")
    assert (rows, tally.rejects) == (0, {"imsi": 3, "border_area": 1})


def test_duplicate_rows_do_no_harm(read):
    assert read(HEADER + ROW * 3)[0] == 3


def test_every_row_bad_is_counted_not_crashed(read, tmp_path):
    rows, tally = read(HEADER + b"secret\n" * 300_000)
    assert (rows, tally.rejects) == (0, {"columns": 300_000})


def test_a_row_count_beyond_the_limit_is_refused(read, tmp_path, monkeypatch):
    monkeypatch.setattr("sealstat.tables.reading.MAX_FILE_ROWS", 10)
    refused(read, HEADER + ROW * 11, "more than 10 rows", tmp_path)


def in_little_memory(path: Path, tmp_path: Path, megabytes: int) -> str:
    """What reading says in a process of its own, that must not take more than this above what its imports took."""
    code = f"""
import resource, sys
from pathlib import Path
from sealstat.tables.reading import prepare
from sealstat.tables.schemas import get
from sealstat.tables.errors import BadFile
prepared = prepare(Path(sys.argv[1]), schema=get("roamers"), period="2026-10", allowed={{"border_area": ["BATAM"]}},
                   pseudonymise=None, rejects_file=Path(sys.argv[2]))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    print("rows", sum(len(batch) for batch in prepared), prepared.tally.rejects)
except BadFile as error:
    print("refused", error)
used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
assert used < {megabytes} * 1024, f"used {{used // 1024}} MB"
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(tmp_path / "rejects.csv")],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("start", [b"", HEADER], ids=["as the first line", "as a row"])
def test_a_line_of_a_gigabyte_is_refused_without_reading_it(start, tmp_path):
    path = tmp_path / "line.csv"
    with path.open("wb") as file:
        file.write(start)
        for _ in range(1024):
            file.write(b"7" * (1 << 20))
    try:
        assert in_little_memory(path, tmp_path, 200).startswith("refused")
    finally:
        path.unlink()


def test_a_sparse_gigabyte_of_nul_is_refused_without_reading_it(tmp_path):
    path = tmp_path / "sparse.csv"
    with path.open("wb") as file:
        file.write(HEADER)
        file.truncate(1 << 30)
    assert "NUL" in in_little_memory(path, tmp_path, 200)


# --- not a file, or a packed one -------------------------------------------------------------------------------------


def test_packed_files_are_refused_unopened(read, tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("roamers.csv", bytes(50 << 20))
    refused(read, tmp_path / "bomb.zip", r"packed \(zip\): unpack it first", tmp_path)
    refused(read, gzip.compress(bytes(1 << 20)), r"packed \(gzip\)", tmp_path)
    refused(read, pa.Codec("zstd").compress(bytes(1 << 20), asbytes=True), r"packed \(zstd\)", tmp_path)


def test_what_is_no_regular_file_is_refused_without_waiting(read, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        refused(read, path, "regular file", tmp_path)
    refused(read, tmp_path / "none", "cannot read", tmp_path)


# --- Parquet ---------------------------------------------------------------------------------------------------------


def rows_of(**columns):
    base = {"imsi": [IMSI], "border_area": ["BATAM"], "date": [date(2026, 10, 31)]}
    return pa.table({**base, **columns})


def parquet_bytes(table, **options):
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (rows_of(imsi=[510101234567890]), "leading zeros"),
        (rows_of(imsi=[b"510101234567890"]), "must be text"),
        (rows_of(border_area=[1.5]), "must be text"),
        (rows_of(border_area=[["BATAM"]]), "must be text"),
        (rows_of(date=[20261031]), "must be a date"),
        (rows_of(date=pa.array([0], pa.timestamp("s", "UTC"))), "without a zone"),
        (rows_of(secret=[1]), "1 more"),
        (rows_of().drop_columns(["date"]), "date missing"),
        (pa.table([["1"], ["2"], ["3"], ["4"]], names=["imsi", "border_area", "date", "date"]), "date there twice"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_parquet_of_other_columns_or_types_is_refused(read, table, words, tmp_path):
    refused(read, parquet_bytes(table), words, tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data[:-1], "cut off"),
        (lambda data: b"PAR1", "cut off"),
        (lambda data: data[: len(data) // 2], "cut off"),
        (lambda data: data[:-8] + struct.pack("<I", 2**31) + b"PAR1", "cut off"),
        (lambda data: data[:-8] + struct.pack("<I", 0) + b"PAR1", "cut off"),
        (lambda data: b"PAR1" + bytes(20 << 20) + struct.pack("<I", 5 << 20) + b"PAR1", "footer of more than"),
        (lambda data: b"PAR1" + b"\xff" * 100 + struct.pack("<I", 100) + b"PAR1", "damaged"),
        (lambda data: data[:4] + b"\xff" * 20 + data[24:], "damaged"),
    ],
    ids=["one byte", "magic alone", "half", "footer too long", "no footer", "footer bomb", "bad footer", "bad page"],
)
def test_damaged_parquet_is_refused(read, change, words, tmp_path):
    refused(read, change(parquet_bytes(rows_of())), words, tmp_path)


def test_any_changed_byte_of_a_parquet_file_ends_in_rows_or_a_refusal(read):
    data = parquet_bytes(rows_of(imsi=[IMSI] * 50, border_area=["BATAM"] * 50, date=["2026-10-31"] * 50))
    for at in range(4, len(data), 3):
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        try:
            rows, tally = read(bytes(changed))
        except BadFile:
            continue
        assert rows + tally.rejected <= 10_000


def test_a_page_that_unpacks_to_gigabytes_is_refused_by_its_header(tmp_path):
    huge = "7" * (70 << 20)
    path = tmp_path / "page.parquet"
    pq.write_table(rows_of(imsi=[huge]), path, compression="zstd", use_dictionary=False, write_statistics=False)
    assert path.stat().st_size < 1 << 20
    assert "a page of the Parquet file unpacks" in in_little_memory(path, tmp_path, 300)


def test_a_row_group_that_unpacks_to_too_much_is_refused(read, tmp_path, monkeypatch):
    rows = 200_000
    table = rows_of(
        imsi=[f"51010{n:010d}" for n in range(rows)], border_area=["BATAM"] * rows, date=["2026-10-31"] * rows
    )
    monkeypatch.setattr(parquet_claims, "MAX_ROW_GROUP_BYTES", 1 << 20)
    refused(read, parquet_bytes(table, compression="zstd"), "row group of the Parquet file unpacks", tmp_path)


def test_page_headers_are_believed_over_a_footer_that_lies(read, tmp_path, monkeypatch):
    rows = 200_000
    table = rows_of(imsi=["5" * 15] * rows, border_area=["BATAM"] * rows, date=["2026-10-31"] * rows)
    data = parquet_bytes(table, compression="zstd", use_dictionary=False)
    path = tmp_path / "lying"
    path.write_bytes(data)
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(0)
    claim = zigzag(chunk.total_uncompressed_size)
    assert data.count(claim) == 1
    small = bytearray(claim)
    small[:-1] = b"\x80" * (len(claim) - 1)  # the same length, a far smaller number
    small[-1] = 1
    monkeypatch.setattr(parquet_claims, "MAX_ROW_GROUP_BYTES", 1_000_000)
    refused(read, data.replace(claim, bytes(small)), "row group of the Parquet file unpacks", tmp_path)


def zigzag(number):
    value, found = number * 2, b""
    while value > 127:
        found += bytes([value & 127 | 128])
        value >>= 7
    return found + bytes([value])


def test_more_rows_than_a_file_may_claim_are_refused(read, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_claims, "MAX_FILE_ROWS", 10)
    many = rows_of(imsi=[IMSI] * 11, border_area=["BATAM"] * 11, date=["2026-10-31"] * 11)
    refused(read, parquet_bytes(many), "more than 10 rows", tmp_path)


def test_a_dictionary_with_one_huge_value_for_every_row_stays_small(tmp_path):
    rows = 300_000
    huge = pa.array(["7" * (1 << 20), IMSI])
    indices = pa.array([0] * (rows - 1) + [1], pa.int32())
    table = pa.table(
        {
            "imsi": pa.DictionaryArray.from_arrays(indices, huge),
            "border_area": pa.array(["BATAM"] * rows),
            "date": pa.array([date(2026, 10, 31)] * rows),
        }
    )
    path = tmp_path / "dictionary.parquet"
    pq.write_table(table, path, compression="zstd")
    assert path.stat().st_size < 1 << 20
    assert in_little_memory(path, tmp_path, 400) == f"rows 1 {{'imsi': {rows - 1}}}\n"


def test_parquet_text_that_is_not_utf8_is_refused(read, tmp_path):
    # Arrow's writer does not look into text: so does a hostile one.
    bad = pa.array([b"\xff" * 15]).view(pa.string())
    refused(read, parquet_bytes(rows_of(imsi=bad)), "not UTF-8", tmp_path)


# --- sealed tables: the postman's games ------------------------------------------------------------------------------

KEY, AGREEMENT = b"k" * 32, "a" * 64
PLACE = {"dataset": "roamers-a", "period": "2026-10"}
WHERE = {"key": KEY, "agreement": AGREEMENT, "place": PLACE, "schema": SCHEMA}


def delivered(rows):
    return pa.RecordBatch.from_pylist(
        [{"imsi": b"510101" + bytes(16), "border_area": "BATAM", "date": date(2026, 10, 31)}] * rows, SCHEMA
    )


@pytest.fixture
def parts(monkeypatch):
    monkeypatch.setattr("sealstat.tables.sealed.MAX_ROWS", 10)
    return list(seal_table([delivered(10)] * 3, **WHERE))


def test_parts_open_in_their_place(parts):
    assert [(part.index, part.last) for part in parts] == [(0, False), (1, False), (2, True)]
    for part in parts:
        assert len(open_part(part.ciphertext, index=part.index, last=part.last, **WHERE)[0]) <= 10


@pytest.mark.parametrize(
    "other",
    [
        {"key": b"x" * 32},
        {"agreement": "b" * 64},
        {"place": {"dataset": "roamers-b", "period": "2026-10"}},
        {"place": {"dataset": "roamers-a", "period": "2026-11"}},
        {"place": {"task": "visitors", "c": 0, "table": "all"}},
        {"index": 1},
        {"index": 0, "last": True},
    ],
    ids=["key", "agreement", "dataset", "period", "a result's place", "swapped or repeated", "cut: made the last"],
)
def test_a_part_opens_nowhere_else(parts, other):
    with pytest.raises(SealError, match="does not open"):
        open_part(parts[0].ciphertext, **{**WHERE, "index": 0, "last": False, **other})


def test_the_last_part_does_not_open_as_one_that_more_follow(parts):
    with pytest.raises(SealError):
        open_part(parts[2].ciphertext, index=2, last=False, **WHERE)


def test_a_part_with_bytes_appended_or_far_too_long_is_refused(parts):
    for ciphertext in (parts[0].ciphertext + b"\0", bytes(40 << 20), b""):
        with pytest.raises(SealError):
            open_part(ciphertext, index=0, last=False, **WHERE)


# --- sealed tables: a lying provider, whose key and tags are right ---------------------------------------------------


def forged(plaintext, schema=SCHEMA):
    """Open what a provider sealed who keeps to no format."""
    context = encode({"use": "table", "agreement": AGREEMENT, "place": PLACE, "i": 0, "last": True})
    ciphertext = AESGCM(subkey(KEY, "part")).encrypt(bytes(12), plaintext, context)
    return open_part(ciphertext, **{**WHERE, "schema": schema}, index=0, last=True)


def framed(stream, *, padding=b"\0"):
    size = 4 + len(stream)
    return len(stream).to_bytes(4, "big") + stream + padding * (padded(size) - size)


STREAM = write_stream(pa.Table.from_batches([delivered(100)]), SCHEMA)


def arrow(batches, schema=None, *, compression="zstd"):
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, schema or batches[0].schema, options=options) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def test_the_honest_form_opens():
    assert len(forged(framed(STREAM))[0]) == 100
    assert len(forged(framed(arrow([delivered(5)], compression=None)))[0]) == 5


@pytest.mark.parametrize(
    "plaintext",
    [
        b"",
        b"\0\0\0",
        framed(STREAM, padding=b"\1"),
        framed(STREAM)[:-1],
        framed(STREAM) + b"\0",
        framed(STREAM)[:-1] + b"\1",
        (2**32 - 1).to_bytes(4, "big") + STREAM,
        (len(STREAM) - 8).to_bytes(4, "big") + STREAM,
        framed(b""),
    ],
)
def test_padding_of_any_other_form_is_refused(plaintext):
    with pytest.raises(DataError):
        forged(plaintext)


def renamed(name):
    return delivered(5).rename_columns(["imsi", name, "date"])


@pytest.mark.parametrize(
    "stream",
    [
        STREAM[:-8],
        STREAM + b"\0" * 8,
        STREAM[:-8] + STREAM,
        arrow([delivered(5), delivered(5)]),
        arrow([], SCHEMA),
        arrow([delivered(5)], compression="lz4"),
        arrow([renamed("area")]),
        arrow([delivered(5).select(["imsi", "date", "border_area"])]),
        arrow([delivered(5).select(["imsi", "border_area"])]),
        arrow([delivered(5).cast(SCHEMA.with_metadata({"a": "b"}))]),
        arrow([delivered(5).cast(pa.schema([field.with_nullable(True) for field in SCHEMA]))]),
        arrow([delivered(5).set_column(1, "border_area", delivered(5)["border_area"].dictionary_encode())]),
        STREAM[: len(STREAM) // 2],
        b"ARROW1\0\0" + STREAM,
        b"\xff\xff\xff\xff\xff\xff\xff\x7f" + STREAM[8:],
    ],
    ids=[
        "no end", "bytes after the end", "a stream after the stream", "two batches", "no batch", "lz4", "column name",
        "column order", "column missing", "metadata", "nullable", "dictionary", "cut", "file format", "huge message",
    ],
)  # fmt: skip
def test_a_stream_of_any_other_form_is_refused(stream):
    with pytest.raises(DataError):
        forged(framed(stream))


def test_metadata_of_megabytes_is_refused():
    schema = SCHEMA.with_metadata({"a": "x" * (1 << 20)})
    with pytest.raises(DataError, match="metadata"):
        forged(framed(arrow([delivered(1).cast(schema)])))


def raw_batch(columns, schema, rows):
    """A batch straight from buffers, of which nothing was checked."""
    arrays = [pa.Array.from_buffers(field.type, rows, buffers) for field, buffers in zip(schema, columns, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


TEXT = pa.schema([pa.field("t", pa.string(), nullable=False)])


def text(offsets, data=b"abcdefgh", rows=2, validity=None):
    return raw_batch(
        [[validity, pa.py_buffer(struct.pack(f"<{len(offsets)}i", *offsets)), pa.py_buffer(data)]], TEXT, rows
    )


@pytest.mark.parametrize(
    "offsets",
    [(0, 4, 2**31 - 1), (0, -4, 8), (0, 6, 3), (-8, 0, 8), (2**30, 2**30, 2**30)],
    ids=["beyond the data", "negative", "backwards", "before the data", "all beyond"],
)
@pytest.mark.parametrize("compression", ["zstd", None])
def test_hostile_offsets_are_refused(offsets, compression):
    # Changed in the bytes, since Arrow's writer looks at offsets; zstd keeps so few bytes as they are.
    stream = arrow([text((0, 4, 8))], compression=compression)
    good, bad = struct.pack("<3i", 0, 4, 8), struct.pack("<3i", *offsets)
    assert stream.count(good) == 1
    forged(framed(stream), TEXT)
    with pytest.raises(DataError):
        forged(framed(stream.replace(good, bad)), TEXT)


def test_text_that_is_not_utf8_is_refused():
    with pytest.raises(DataError):
        forged(framed(arrow([text((0, 4, 8), b"abc\xffdefg")])), TEXT)


def test_nulls_where_none_may_be_are_refused():
    with pytest.raises(DataError, match="empty values"):
        forged(framed(arrow([text((0, 4, 8), validity=pa.py_buffer(b"\1"))])), TEXT)


def bomb(claim, payload):
    """An uncompressed stream, made to say that its buffer is zstd which decodes to ``claim`` bytes."""
    schema = pa.schema([pa.field("n", pa.int64(), nullable=False)])
    rows = arrow_stream.MAX_ROWS
    stream = bytearray(arrow([pa.RecordBatch.from_arrays([pa.array([0] * rows, pa.int64())], schema=schema)]))
    honest = struct.pack("<q", rows * 8)
    at = stream.index(honest + b"\x28\xb5\x2f\xfd")
    stream[at : at + 8] = struct.pack("<q", claim)
    if payload:
        stream[at + 8 : at + 12] = payload
    return bytes(stream), schema


@pytest.mark.parametrize("claim", [2**62, 2**40, (32 << 20) + 1, -2, -(2**63)])
def test_a_zstd_bomb_is_refused_by_its_claim_before_it_is_unpacked(claim):
    stream, schema = bomb(claim, b"")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=r"decodes to more|negative"):
        forged(framed(stream), schema)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


@pytest.mark.parametrize("claim", [0, 8, 1 << 20, 32 << 20])
def test_a_claim_that_is_not_what_comes_out_is_refused(claim):
    stream, schema = bomb(claim, b"")
    with pytest.raises(DataError):
        forged(framed(stream), schema)


def test_more_rows_than_a_part_may_have_are_refused():
    schema = pa.schema([("n", pa.int8())])
    rows = pa.RecordBatch.from_arrays([pa.array(bytes(arrow_stream.MAX_ROWS + 1), pa.uint8()).view(pa.int8())], ["n"])
    with pytest.raises(DataError, match="more rows"):
        forged(framed(arrow([rows], schema)), schema)
