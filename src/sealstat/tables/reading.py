"""Reading a provider's own file: CSV or Parquet, row by row judged, in bounded memory.

The file is the owner's, but nobody says where the owner got it: whatever it holds ends in counted rejects or in one
refusal of the whole file. A bad row is dropped and counted; a file whose form is in doubt (encoding, columns, types,
quotation) is refused, since then every row is in doubt. CSV columns are read as text, so nothing is guessed.
"""

from __future__ import annotations

import codecs
import csv
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal, Self

import pyarrow as pa
import pyarrow.csv

from sealstat.tables.checking import Rules, check_columns, rejected_lines
from sealstat.tables.errors import BadFile
from sealstat.tables.numbers import Scale
from sealstat.tables.parquet import parquet_batches
from sealstat.tables.schemas import MAX_FILE_ROWS, TableSchema
from sealstat.tables.whole import check_size, check_whole

_BLOCK_BYTES = 4 * 1024 * 1024  # the longest line; blocks of 16 MiB saved under a tenth of the time
_MAX_HEADER_BYTES = 4096
_UNPACK = "unpack it first and give the CSV or Parquet file itself"
_PACKED = {
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x04\x22\x4d\x18": "lz4",
    b"7z\xbc\xaf": "7z",
}

Pseudonymise = Callable[["pa.Array[Any]"], "pa.Array[Any]"]
Progress = Callable[[int, int, int], None]


@dataclass(slots=True)
class Tally:
    """What became of a file's rows. Final once iteration has ended.

    ``rows``: good rows handed on; ``rejects``: rows dropped, by reason; ``rounded``: numbers that are not exactly what
    was written; ``size_bytes``: of the file.
    """

    rows: int = 0
    rejects: dict[str, int] = field(default_factory=dict)
    rounded: int = 0
    size_bytes: int = 0

    @property
    def rejected(self) -> int:
        """How many rows were dropped."""
        return sum(self.rejects.values())

    def add(self, other: Tally) -> None:
        """Count another file's rows too."""
        self.rows += other.rows
        self.rounded += other.rounded
        self.size_bytes += other.size_bytes
        self._count(other.rejects)

    def _count(self, rejects: Mapping[str, int]) -> None:
        for reason, rows in rejects.items():
            self.rejects[reason] = self.rejects.get(reason, 0) + rows


class Prepared:
    """The iterator that ``prepare`` returns; ``tally`` grows with it."""

    def __init__(self, batches: Callable[[Tally], Iterator[pa.RecordBatch]]) -> None:
        self.tally = Tally()
        self._batches = batches(self.tally)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return self._batches

    def __next__(self) -> pa.RecordBatch:
        return next(self._batches)


def prepare(
    path: Path,
    *,
    schema: TableSchema,
    period: str | None,
    allowed: Mapping[str, Sequence[str]],
    pseudonymise: Pseudonymise | None,
    rejects_file: Path,
    progress: Progress | None = None,
    scale: Scale | None = None,
) -> Prepared:
    """A file's good rows, checked and under pseudonyms, in batches; for ``seal_table``.

    Duplicate rows are kept and do no harm: the statistics count distinct subscribers. Blank CSV lines are skipped.
    The rejects file (CSV, mode 0600, an older one is replaced) is made when the first row is dropped, holds the rows
    as they were written, and is for the owner alone; a refused file leaves none.

    Args:
        period: as ``agreement.periods``; days outside it are rejects. None for a table without days.
        allowed: the closed list of each choice, such as ``{"border_area": [...]}``.
        pseudonymise: from identifiers as text to pseudonyms of the delivered type, such as
            ``partial(pseudonyms.pseudonymise, prefix_len=6, key=L)``; None leaves identifiers as they are, for work
            on one's own data that is not sealed.
        progress: called after each batch with rows handed on, bytes read and bytes in all.
        scale: what the agreement says of numbers.
    Returns:
        An iterator over batches of ``schema.delivered`` (identifiers and choices as text, days as date32 where an
        identifier was left as it is), with ``tally``. Those of a table that is ``whole`` come when all were judged.
    Raises:
        BadFile: at the first step or at any later one; what was handed on before must not be used then.
        ValueError: not a period, or ``allowed`` does not fit the schema.
    """
    rules = Rules(schema, period, allowed, scale)
    as_is = pseudonymise is None and any(column.kind == "identifier" for column in schema.columns)

    def batches(tally: Tally) -> Iterator[pa.RecordBatch]:
        with ExitStack() as stack:
            file = stack.enter_context(open_file(path))
            tally.size_bytes = os.fstat(file.fileno()).st_size
            rejects = stack.enter_context(Rejects(rejects_file))
            for raw, split_badly in _raw(file, tally.size_bytes, schema):
                checked = rules.check(raw)
                if split_badly:
                    tally._count({"columns": len(split_badly)})
                    rejects.write(rejected_lines(schema, split_badly))
                tally._count(checked.rejects)
                rejects.write(checked.rejected)
                tally.rows += len(checked.good)
                tally.rounded += checked.rounded
                if tally.rows + tally.rejected > MAX_FILE_ROWS:
                    raise BadFile(f"the file has more than {MAX_FILE_ROWS} rows: deliver it in shorter periods")
                if len(checked.good):
                    yield checked.good if as_is else _delivered(checked.good, schema, pseudonymise)
                if progress is not None:
                    progress(tally.rows, min(file.tell(), tally.size_bytes), tally.size_bytes)
            rejects.keep()

    def at_once(tally: Tally) -> Iterator[pa.RecordBatch]:
        found: list[pa.RecordBatch] = []
        try:
            for batch in batches(tally):
                check_size(tally.rows, BadFile)
                found.append(batch)
            if tally.rejected:
                reason = min(tally.rejects, key=schema.reasons.index)
                rule = schema.rule(reason)
                raise BadFile(f"{tally.rejected} rows are bad, and no row can be left out: {reason} must be {rule}")
            check_whole(pa.Table.from_batches(found, schema.delivered), schema, BadFile)
        except BadFile:
            rejects_file.unlink(missing_ok=True)
            raise
        yield from found

    return Prepared(at_once if schema.whole else batches)


def _delivered(good: pa.RecordBatch, schema: TableSchema, pseudonymise: Pseudonymise | None) -> pa.RecordBatch:
    arrays = [
        pseudonymise(good.column(column.name))
        if pseudonymise is not None and column.kind == "identifier"
        else good.column(column.name)
        for column in schema.columns
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema.delivered)


def open_file(path: Path) -> BinaryIO:
    """A file of an owner's, for reading.

    Raises:
        BadFile: it cannot be read, or is no regular file.
    """
    try:
        # Not blocking: a named pipe would wait for a writer before it can be seen to be none of ours.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise BadFile(f"cannot read the file: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BadFile("expected a regular file, got a folder, pipe or device")
    return os.fdopen(descriptor, "rb")


def _raw(file: BinaryIO, size: int, schema: TableSchema) -> Iterator[tuple[pa.RecordBatch, list[str]]]:
    """Batches of text columns, each with the lines beside it that do not split into the columns.

    What a file is, its first bytes say: the name may say anything. Without a byte it is a day on which nobody was seen.
    """
    if schema.file_a_day and not size:
        return iter(())
    start = head(file)
    if start.startswith(b"PAR1"):
        return ((batch, []) for batch in parquet_batches(file, size, schema))
    names, begin = header(start)
    check_columns(names, schema)
    file.seek(begin)
    return csv_batches(file, names) if begin < size else iter(())


def head(file: BinaryIO) -> bytes:
    """The first bytes of a file, which say what it is (Parquet begins with PAR1), and the file at its start again.

    Raises:
        BadFile: it is empty, packed, or UTF-16.
    """
    start = file.read(_MAX_HEADER_BYTES)
    file.seek(0)
    if not start:
        raise BadFile("the file is empty: expected at least a line with the names of the columns")
    for magic, kind in _PACKED.items():
        if start.startswith(magic):
            raise BadFile(f"the file is packed ({kind}): {_UNPACK}")
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise BadFile("the file is UTF-16 text: save it as UTF-8")
    return start


def header(start: bytes) -> tuple[list[str], int]:
    """Column names in the file's order, and where the rows begin. The first line may be data: it is never quoted.

    Raises:
        BadFile: the first line is too long or no CSV in UTF-8.
    """
    begin = len(codecs.BOM_UTF8) if start.startswith(codecs.BOM_UTF8) else 0
    line_end = re.compile(rb"\r\n|\n|\r").search(start, begin)
    if line_end is None and len(start) == _MAX_HEADER_BYTES:
        raise BadFile(f"the first line is longer than {_MAX_HEADER_BYTES} bytes: expected the names of the columns")
    line = start[begin : line_end.start()] if line_end else start[begin:]
    if b"\0" in line:
        raise BadFile("the file holds NUL bytes: expected CSV in UTF-8, or Parquet")
    try:
        found = next(csv.reader([line.decode("utf-8")], strict=True), [])
    except (UnicodeDecodeError, csv.Error):
        raise BadFile("the first line is not CSV in UTF-8: expected the names of the columns") from None
    return found, line_end.end() if line_end else len(start)


def csv_batches(file: BinaryIO, names: list[str]) -> Iterator[tuple[pa.RecordBatch, list[str]]]:
    """Whole lines at a time, parsed in this thread.

    Arrow's own streaming reader was left: its threads call back into Python, and abort a process that ends just then.
    """
    for lines in _blocks(file):
        split_badly: list[str] = []
        source: Any = pa.BufferReader(lines)
        try:
            table = pa.csv.read_csv(
                source,
                read_options=pa.csv.ReadOptions(
                    column_names=names, block_size=max(len(lines), 1024), use_threads=False
                ),
                parse_options=pa.csv.ParseOptions(
                    newlines_in_values=True, invalid_row_handler=partial(_keep_line, split_badly)
                ),
                convert_options=pa.csv.ConvertOptions(
                    column_types={name: pa.string() for name in names}, check_utf8=False
                ),
            )
        except pa.ArrowInvalid:
            # Arrow's words can quote a row.
            raise BadFile("the file is not CSV: expected commas between values, quotation marks in pairs") from None
        for batch in table.to_batches():
            _refuse_broken_values([column.buffers()[2] for column in batch.columns])
            yield batch, []
        if split_badly:
            _refuse_broken_values([line.encode() for line in split_badly])
            yield pa.RecordBatch.from_pylist([], table.schema), split_badly


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    """The rest of the file in pieces of whole lines, checked to be text."""
    carried = b""
    while data := file.read(_BLOCK_BYTES):
        if b"\0" in data:  # tools differ on what follows one
            raise BadFile("the file holds NUL bytes: expected CSV in UTF-8, or Parquet")
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if end:
            yield _text(carried + data[:end])
            carried = data[end:]
        else:
            carried += data
        if len(carried) > _BLOCK_BYTES:
            raise BadFile(f"a line is longer than {_BLOCK_BYTES} bytes")
    if carried:
        yield _text(carried)


def _text(lines: bytes) -> bytes:
    try:
        str(lines, "utf-8")
    except UnicodeDecodeError:
        raise BadFile("the file is not UTF-8 throughout: save it as UTF-8") from None
    return lines


def _keep_line(lines: list[str], row: Any) -> Literal["skip"]:
    lines.append(row.text)
    return "skip"


def _refuse_broken_values(values: Sequence[Any]) -> None:
    """No rule allows a line break in a value: one quotation mark too few would swallow rows that nobody counts."""
    if any(mark in bytes(value) for value in values if value is not None for mark in (b"\n", b"\r")):
        raise BadFile("a value goes over the end of its line: a quotation mark is missing")


class Rejects:
    """The local file of dropped rows: for the owner's eyes, so mode 0600 from its first moment."""

    def __init__(self, path: Path) -> None:
        self._path, self._kept = path, False
        self._writer: pa.csv.CSVWriter | None = None

    def __enter__(self) -> Self:
        self._path.unlink(missing_ok=True)
        return self

    def write(self, rows: pa.Table) -> None:
        if not len(rows):
            return
        if self._writer is None:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            self._file = os.fdopen(descriptor, "wb")
            self._writer = pa.csv.CSVWriter(self._file, rows.schema)
        self._writer.write_table(rows)

    def keep(self) -> None:
        self._kept = True

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
            self._file.close()
            if not self._kept:
                self._path.unlink(missing_ok=True)
