"""A provider's file becomes good rows, counted rejects and a local file of them."""

import csv
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sealstat.tables.pseudonyms import linkage_key, pseudonymise
from sealstat.tables.reading import prepare
from sealstat.tables.schemas import get

SCHEMA = get("roamers")
HEADER = b"imsi,border_area,date\n"
ROW = b"510101234567890,BATAM,2026-10-31\n"
KEY = linkage_key([b"a" * 32])
MIDNIGHT = datetime(2026, 10, 31)  # noqa: DTZ001 - a time without a zone is meant


@pytest.fixture
def read(tmp_path):
    def _read(content, *, pseudonyms=None, progress=None):
        path = tmp_path / "roamers"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            pq.write_table(content, path)
        prepared = prepare(
            path,
            schema=SCHEMA,
            period="2026-10",
            allowed={"border_area": ["BATAM", "BINTAN"]},
            pseudonymise=pseudonyms,
            rejects_file=tmp_path / "rejects.csv",
            progress=progress,
        )
        return [row for batch in prepared for row in batch.to_pylist()], prepared.tally

    return _read


def rejected(folder: Path):
    with (folder / "rejects.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


GOOD = {"imsi": "510101234567890", "border_area": "BATAM", "date": date(2026, 10, 31)}


@pytest.mark.parametrize(
    "content",
    [
        HEADER + ROW,
        HEADER + ROW[:-1],
        b"\xef\xbb\xbf" + HEADER + ROW,
        (HEADER + ROW).replace(b"\n", b"\r\n"),
        (HEADER + ROW).replace(b"\n", b"\r"),
        HEADER + b"\n" + ROW + b"\n\n",
        b'"imsi","border_area","date"\n"510101234567890","BATAM","2026-10-31"\n',
        b"date,imsi,border_area\n2026-10-31,510101234567890,BATAM\n",
    ],
    ids=["plain", "no end of line", "byte order mark", "CRLF", "CR", "blank lines", "quoted", "another order"],
)
def test_csv_as_people_write_it_is_read(read, content, tmp_path):
    rows, tally = read(content)
    assert rows == [GOOD]
    assert (tally.rows, tally.rejects, tally.size_bytes) == (1, {}, len(content))
    assert not (tmp_path / "rejects.csv").exists()


def test_a_header_alone_is_a_table_without_rows(read):
    for content in (HEADER, HEADER[:-1], HEADER + b"\n\n"):
        rows, tally = read(content)
        assert (rows, tally.rows, tally.rejected) == ([], 0, 0)


def test_bad_rows_are_counted_by_reason_and_kept_locally(read, tmp_path):
    bad = b'unknown,BATAM,2026-10-31\n510101234567890,"A ""B"", C",2026-10-31\n1,2\n1,2,3,4\n' + ROW
    rows, tally = read(HEADER + bad)
    assert rows == [GOOD]
    assert tally.rejects == {"imsi": 1, "border_area": 1, "columns": 2}
    found = rejected(tmp_path)
    assert sorted(row["reason"] for row in found) == ["border_area", "columns", "columns", "imsi"]
    assert {row["line"] for row in found if row["reason"] == "columns"} == {"1,2", "1,2,3,4"}
    assert [row["border_area"] for row in found if row["reason"] == "border_area"] == ['A "B", C']


def test_the_rejects_file_is_for_its_owner_alone_and_replaces_an_older_one(read, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (tmp_path / "rejects.csv").symlink_to(victim)
    read(HEADER + b"unknown,BATAM,2026-10-31\n")
    assert (tmp_path / "rejects.csv").stat().st_mode & 0o777 == 0o600
    assert victim.read_text() == "untouched"
    assert len(rejected(tmp_path)) == 1
    read(HEADER + ROW)
    assert not (tmp_path / "rejects.csv").exists()


def test_lines_of_the_wrong_length_alone_are_counted(read):
    rows, tally = read(HEADER + b"1,2\n" * 3)
    assert (rows, tally.rejects) == ([], {"columns": 3})


def test_with_pseudonyms_the_batches_have_the_sealed_schema(read):
    rows, _ = read(HEADER + ROW, pseudonyms=partial(pseudonymise, prefix_len=6, key=KEY))
    expected = pseudonymise(pa.array([GOOD["imsi"]]), 6, KEY)[0].as_py()
    assert rows == [{**GOOD, "imsi": expected}]


def test_progress_ends_at_the_size_of_the_file(read):
    seen = []
    content = HEADER + ROW * 400_000
    _, tally = read(content, progress=lambda *now: seen.append(now))
    assert len(seen) > 2
    assert seen[-1] == (400_000, len(content), len(content))
    assert tally.rows == 400_000


def parquet(**columns):
    base = {"imsi": [GOOD["imsi"]], "border_area": ["BATAM"], "date": [GOOD["date"]]}
    return pa.table({**base, **columns})


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"date": ["2026-10-31"]},
        {"date": pa.array([MIDNIGHT], pa.timestamp("us"))},
        {"date": pa.array([MIDNIGHT], pa.date64())},
        {"imsi": pa.array([GOOD["imsi"]], pa.large_string())},
        {"border_area": pa.array(["BATAM"]).dictionary_encode()},
    ],
    ids=["date", "text date", "midnight", "date64", "large text", "dictionary"],
)
def test_parquet_as_tools_write_it_is_read(read, columns):
    rows, tally = read(parquet(**columns))
    assert (rows, tally.rejected) == ([GOOD], 0)


def test_parquet_rows_without_a_value_or_off_midnight_are_rejects(read):
    table = pa.table(
        {
            "date": pa.array([MIDNIGHT + timedelta(hours=1), MIDNIGHT, None], pa.timestamp("ns")),
            "imsi": [GOOD["imsi"], None, GOOD["imsi"]],
            "border_area": ["BATAM"] * 3,
        }
    )
    rows, tally = read(table)
    assert (rows, tally.rejects) == ([], {"imsi": 1, "date": 2})


def test_parquet_of_many_row_groups_is_read_in_order(read, tmp_path):
    imsis = [f"51010{n:010d}" for n in range(5000)]
    table = parquet(imsi=imsis, border_area=["BATAM"] * 5000, date=[GOOD["date"]] * 5000)
    pq.write_table(table, tmp_path / "many", row_group_size=700, compression="zstd")
    rows, _ = read((tmp_path / "many").read_bytes())
    assert [row["imsi"] for row in rows] == imsis
