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
from sealstat.tables.parquet_claims import MAX_FOOTER_BYTES, MAX_ROW_GROUPS, check_claims
from sealstat.tables.period_pseudonyms import hexadecimal
from sealstat.tables.schemas import NUMBERS, PSEUDONYM_BYTES, TableSchema

pc: Any = pyarrow.compute  # its stubs know fewer argument types than its functions

MAX_TEXT_BYTES = 256

_BATCH_ROWS = 128 * 1024


def parquet_batches(file: BinaryIO, size: int, schema: TableSchema) -> Iterator[pa.RecordBatch]:
    """The columns of the schema as text; nulls where nothing stands or what stands has no text form.

    Numbers become the shortest text that is the same number, pseudonyms of 16 bytes their hexadecimal digits. Text
    longer than ``MAX_TEXT_BYTES`` counts as nothing (no rule allows it); a moment that is no midnight likewise.

    Raises:
        BadFile: not Parquet, damaged, other columns or types, above a limit.
    """
    check_claims(file, size)
    file.seek(0)
    try:
        footer = pq.ParquetFile(
            file, thrift_string_size_limit=MAX_FOOTER_BYTES, thrift_container_size_limit=MAX_ROW_GROUPS
        )
        _check_schema(footer.schema_arrow, schema)
        parquet = pq.ParquetFile(
            file,
            metadata=footer.metadata,
            read_dictionary=schema.names,
            pre_buffer=False,
            page_checksum_verification=True,
        )
        for batch in parquet.iter_batches(
            batch_size=_BATCH_ROWS,
            columns=schema.names,
            use_threads=False,  # no thread that outlives a refusal
        ):
            yield _as_text(batch, schema)
    # Arrow's words can quote what is in the file.
    except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError, OverflowError):
        raise BadFile("the Parquet file is damaged or of a kind that is not read: write it again") from None


def identified_batches(file: BinaryIO, size: int, identifier: str) -> Iterator[pa.RecordBatch]:
    """All columns of a Parquet file as they are, but for the identifier, which comes as text; the first batch is empty.

    For an owner's own file on its way to another one: only the identifier is judged.

    Raises:
        BadFile: not Parquet, damaged, above a limit, or without that column as text.
    """
    check_claims(file, size)
    file.seek(0)
    try:
        parquet = pq.ParquetFile(
            file,
            thrift_string_size_limit=MAX_FOOTER_BYTES,
            thrift_container_size_limit=MAX_ROW_GROUPS,
            read_dictionary=[identifier],
            pre_buffer=False,
            page_checksum_verification=True,
        )
        found = parquet.schema_arrow
        place = found.get_field_index(identifier)
        if place < 0:
            raise BadFile(f"expected one column {identifier} with the identifiers: name it with --column")
        if not _is_text(_plain(found.field(place).type)):
            raise BadFile(f"column {identifier} must be text: a number loses leading zeros")
        schema = pa.schema(found.set(place, pa.field(identifier, pa.string())), metadata={})
        yield pa.RecordBatch.from_pylist([], schema)
        for batch in parquet.iter_batches(batch_size=_BATCH_ROWS, use_threads=False):
            arrays = [_text(array) if n == place else array for n, array in enumerate(batch.columns)]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)
    # Arrow's words can quote what is in the file.
    except (pa.ArrowException, OSError, ValueError, KeyError, MemoryError, OverflowError):
        raise BadFile("the Parquet file is damaged or of a kind that is not read: write it again") from None


def _check_schema(found: pa.Schema, schema: TableSchema) -> None:
    check_columns(found.names, schema)
    for column in schema.columns:
        kind = _plain(found.field(column.name).type)
        if column.kind == "day":
            well = pa.types.is_date(kind) or _is_text(kind) or (pa.types.is_timestamp(kind) and kind.tz is None)
            if not well:
                raise BadFile(f"column {column.name} must be a date, text like 2026-10-31, or a time without a zone")
        elif column.kind == "pseudonym":
            if not (_is_text(kind) or kind == pa.binary(PSEUDONYM_BYTES)):
                raise BadFile(
                    f"column {column.name} must be {PSEUDONYM_BYTES} bytes (fixed_size_binary) or text of hexadecimal "
                    "digits, as `sealstat pseudonymise` writes it"
                )
        elif column.kind in NUMBERS:
            if not (_is_text(kind) or _is_number(kind)):
                raise BadFile(f"column {column.name} must be a number, or text of one")
        elif pa.types.is_integer(kind):
            raise BadFile(f"column {column.name} is a number, which loses leading zeros: write it as text")
        elif not _is_text(kind):
            raise BadFile(f"column {column.name} must be text")


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_text(kind: pa.DataType) -> bool:
    return any((pa.types.is_string(kind), pa.types.is_large_string(kind), pa.types.is_string_view(kind)))


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or kind in (pa.float32(), pa.float64())


def _as_text(batch: pa.RecordBatch, schema: TableSchema) -> pa.RecordBatch:
    arrays = [_text(batch.column(name)) for name in schema.names]
    return pa.RecordBatch.from_arrays(arrays, names=schema.names)


def _text(column: Any) -> Any:
    kind = column.type
    if pa.types.is_dictionary(kind):
        values = column.dictionary
        if _is_number(values.type):
            return _text(values).take(column.indices)
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
    if _is_number(kind):  # float32 by way of float64: its own shortest text is another number
        return (column.cast(pa.float64()) if kind == pa.float32() else column).cast(pa.string())
    if kind == pa.binary(PSEUDONYM_BYTES):
        there = column.is_valid()
        return pc.if_else(
            there, hexadecimal(pc.fill_null(column, bytes(PSEUDONYM_BYTES))), pa.scalar(None, pa.string())
        )
    raise BadFile("a column of the Parquet file is of a type that is not read")


def _check_utf8(values: pa.Array[Any]) -> None:
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        raise BadFile("the Parquet file holds text that is not UTF-8") from None
