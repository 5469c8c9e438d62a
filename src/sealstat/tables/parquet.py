"""Reading a provider's Parquet file within limits, as text columns.

Three bombs are known. Pages that unpack to far more than they are: every page header is read, and its claim checked,
before any page is (Arrow allocates what the header claims). A dictionary with one huge value that every row repeats:
text stays dictionary-encoded until its length has been judged. A row count that means work for years: limited.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from sealstat.tables.checking import check_columns
from sealstat.tables.errors import BadFile
from sealstat.tables.page_headers import check_pages
from sealstat.tables.schemas import MAX_FILE_ROWS, TableSchema

pc: Any = pyarrow.compute  # its stubs know fewer argument types than its functions

MAX_FOOTER_BYTES = 16 * 1024 * 1024
MAX_ROW_GROUPS = 100_000
MAX_ROW_GROUP_BYTES = 512 * 1024 * 1024
MAX_TEXT_BYTES = 256

_BATCH_ROWS = 128 * 1024
_REWRITE = "write the file again with smaller row groups, for example 1,000,000 rows each"


def parquet_batches(file: BinaryIO, size: int, schema: TableSchema) -> Iterator[pa.RecordBatch]:
    """The columns of the schema as text; nulls where nothing stands or what stands has no text form.

    Text longer than ``MAX_TEXT_BYTES`` counts as nothing (no rule allows it); a moment that is no midnight likewise.

    Raises:
        BadFile: not Parquet, damaged, other columns or types, above a limit.
    """
    _check_footer(file, size)
    try:
        parquet = pq.ParquetFile(
            file,
            read_dictionary=schema.names,
            pre_buffer=False,
            thrift_string_size_limit=MAX_FOOTER_BYTES,
            thrift_container_size_limit=MAX_ROW_GROUPS,
            page_checksum_verification=True,
        )
        _check_schema(parquet.schema_arrow, schema)
        _check_sizes(parquet.metadata, file, size)
        for batch in parquet.iter_batches(batch_size=_BATCH_ROWS, columns=schema.names):
            yield _as_text(batch, schema)
    # Arrow's words can quote what is in the file.
    except (pa.ArrowException, OSError, ValueError, MemoryError, OverflowError):
        raise BadFile("the Parquet file is damaged or of a kind that is not read: write it again") from None


def _check_footer(file: BinaryIO, size: int) -> None:
    file.seek(max(0, size - 8))
    end = file.read(8)
    footer = int.from_bytes(end[:4], "little")
    if size < 12 or end[4:] != b"PAR1" or not 0 < footer <= size - 12:
        raise BadFile("the Parquet file is cut off or damaged, or its footer is encrypted")
    if footer > MAX_FOOTER_BYTES:
        raise BadFile(f"the Parquet file has a footer of more than {MAX_FOOTER_BYTES} bytes: {_REWRITE}")
    file.seek(0)


def _check_schema(found: pa.Schema, schema: TableSchema) -> None:
    check_columns(found.names, schema)
    for column in schema.columns:
        kind = _plain(found.field(column.name).type)
        if column.kind == "day":
            well = pa.types.is_date(kind) or _is_text(kind) or (pa.types.is_timestamp(kind) and kind.tz is None)
            if not well:
                raise BadFile(f"column {column.name} must be a date, text like 2026-10-31, or a time without a zone")
        elif pa.types.is_integer(kind):
            raise BadFile(f"column {column.name} is a number, which loses leading zeros: write it as text")
        elif not _is_text(kind):
            raise BadFile(f"column {column.name} must be text")


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_text(kind: pa.DataType) -> bool:
    return any((pa.types.is_string(kind), pa.types.is_large_string(kind), pa.types.is_string_view(kind)))


def _check_sizes(metadata: pq.FileMetaData, file: BinaryIO, size: int) -> None:
    if metadata.num_rows > MAX_FILE_ROWS or metadata.num_row_groups > MAX_ROW_GROUPS:
        raise BadFile(f"the Parquet file has more than {MAX_FILE_ROWS} rows or {MAX_ROW_GROUPS} row groups")
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        chunks = [group.column(column) for column in range(group.num_columns)]
        if sum(max(chunk.total_uncompressed_size, 0) for chunk in chunks) > MAX_ROW_GROUP_BYTES:
            raise BadFile(f"a row group unpacks to more than {MAX_ROW_GROUP_BYTES} bytes: {_REWRITE}")
        check_pages(file, size, chunks, limit=MAX_ROW_GROUP_BYTES)


def _as_text(batch: pa.RecordBatch, schema: TableSchema) -> pa.RecordBatch:
    arrays = [_text(batch.column(name)) for name in schema.names]
    return pa.RecordBatch.from_arrays(arrays, names=schema.names)


def _text(column: Any) -> Any:
    kind = column.type
    if pa.types.is_dictionary(kind):
        values = column.dictionary
        short = pc.less_equal(pc.binary_length(values), MAX_TEXT_BYTES)
        # Nulls first, while the long ones are still stored once each.
        kept = pc.if_else(short, values, pa.scalar(None, values.type)).cast(pa.string())
        _check_utf8(kept)
        return kept.take(column.indices)
    if pa.types.is_date(kind):
        return column.cast(pa.date32()).cast(pa.string())
    if pa.types.is_timestamp(kind):
        day = column.cast(pa.date32(), safe=False)
        midnight = pc.equal(day.cast(kind), column)
        return pc.if_else(midnight, day.cast(pa.string()), pa.scalar(None, pa.string()))
    raise BadFile("a column of the Parquet file is of a type that is not read")


def _check_utf8(values: pa.Array[Any]) -> None:
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        raise BadFile("the Parquet file holds text that is not UTF-8") from None
