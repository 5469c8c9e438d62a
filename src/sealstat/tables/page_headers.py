"""What the page headers of a Parquet file claim, read without decoding a page.

Only as much of the format as that needs: Thrift's compact protocol, and of PageHeader its fields 1 to 3.
Source: https://github.com/apache/parquet-format (parquet.thrift), Thrift compact protocol specification.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow.parquet as pq

from sealstat.tables.errors import BadFile

MAX_PAGE_BYTES = 64 * 1024 * 1024
"""Most that one page may unpack to; writers make pages of 1 MiB, dictionary pages included."""

_MAX_HEADER_BYTES = 64 * 1024  # statistics of long values stand in it
_MAX_DEPTH = 8
_DAMAGED = "the Parquet file has a damaged page"


def check_pages(file: BinaryIO, size: int, chunks: Sequence[pq.ColumnChunkMetaData], *, limit: int) -> None:
    """Refuse column chunks of one row group whose pages claim more than ``limit`` unpacked bytes together.

    Raises:
        BadFile: also if a chunk lies outside the file of ``size`` bytes, or a page header cannot be read.
    """
    claimed = 0
    for chunk in chunks:
        start = chunk.data_page_offset
        # As Arrow does: a dictionary page stands before the data pages.
        if chunk.has_dictionary_page and chunk.dictionary_page_offset and chunk.dictionary_page_offset < start:
            start = chunk.dictionary_page_offset
        end = start + chunk.total_compressed_size
        if not 0 < start <= end <= size:
            raise BadFile("the Parquet file has a column outside the file")
        while start < end:
            header = _header(file, start, end)
            if not 0 <= header.unpacked <= MAX_PAGE_BYTES or header.packed < 0:
                raise BadFile(f"a page of the Parquet file unpacks to more than {MAX_PAGE_BYTES} bytes")
            claimed += header.unpacked
            start += header.length + header.packed
        if claimed > limit:
            raise BadFile(f"a row group of the Parquet file unpacks to more than {limit} bytes")


@dataclass(frozen=True, slots=True)
class _PageHeader:
    length: int
    unpacked: int
    packed: int


def _header(file: BinaryIO, start: int, end: int) -> _PageHeader:
    for room in (512, _MAX_HEADER_BYTES):
        file.seek(start)
        data = file.read(min(room, end - start))
        reader = _Compact(data)
        try:
            fields = reader.struct()
        except IndexError:
            continue
        if 2 not in fields or 3 not in fields:
            break
        return _PageHeader(reader.at, fields[2], fields[3])
    raise BadFile(_DAMAGED)


class _Compact:
    """Thrift's compact protocol, skipping all but whole numbers; running off the bytes is an IndexError."""

    def __init__(self, data: bytes) -> None:
        self._data, self.at = data, 0

    def struct(self, depth: int = 0) -> dict[int, int]:
        """The whole-number fields of a struct by their ids."""
        if depth > _MAX_DEPTH:
            raise BadFile(_DAMAGED)
        fields: dict[int, int] = {}
        number = 0
        while head := self._byte():
            delta, kind = head >> 4, head & 15
            number = number + delta if delta else self._zigzag()
            if kind in (4, 5, 6):
                fields[number] = self._zigzag()
            elif kind not in (1, 2):  # a boolean field is its own value
                self._skip(kind, depth)
        return fields

    def _skip(self, kind: int, depth: int) -> None:
        if kind in (1, 2, 3):
            self.at += 1
        elif kind in (4, 5, 6):
            self._varint()
        elif kind == 7:
            self.at += 8
        elif kind == 8:
            self.at += self._varint()
        elif kind in (9, 10):
            self._skip_list(depth)
        elif kind == 12:
            self.struct(depth + 1)
        else:  # a map: a page header has none
            raise BadFile(_DAMAGED)

    def _skip_list(self, depth: int) -> None:
        head = self._byte()
        count = head >> 4 if head >> 4 != 15 else self._varint()
        if depth >= _MAX_DEPTH or count > _MAX_HEADER_BYTES:
            raise BadFile(_DAMAGED)
        for _ in range(count):
            self._skip(head & 15, depth + 1)

    def _byte(self) -> int:
        self.at += 1
        return self._data[self.at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise BadFile(_DAMAGED)

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
