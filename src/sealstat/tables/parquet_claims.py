"""What a Parquet file claims of itself, in its footer and page headers, read without decoding a page.

Arrow allocates what these claim. They are read here in plain Python, since Arrow's own view of a column chunk ends the
process when its statistics do not fit one another (pyarrow 26: an exception that nobody catches).
Only as much of the format as that needs: Thrift's compact protocol and a few fields by number.
Source: https://github.com/apache/parquet-format (parquet.thrift), Thrift compact protocol specification.
"""

from typing import Any, BinaryIO

from sealstat.tables.errors import BadFile
from sealstat.tables.schemas import MAX_FILE_ROWS

MAX_FOOTER_BYTES = 4 * 1024 * 1024
MAX_ROW_GROUPS = 100_000
MAX_ROW_GROUP_BYTES = 512 * 1024 * 1024
MAX_PAGE_BYTES = 64 * 1024 * 1024
"""Most that one page may unpack to; writers make pages of 1 MiB, dictionary pages included."""

_MAX_PAGE_HEADER_BYTES = 64 * 1024  # statistics of long values stand in it
_MAX_DEPTH = 12
_DAMAGED = "the Parquet file is damaged: write it again"
_REWRITE = "write the file again with row groups of, for example, 1,000,000 rows"


def check_claims(file: BinaryIO, size: int) -> None:
    """Refuse a file of ``size`` bytes that claims to unpack to more than its reader has room for.

    Raises:
        BadFile: a limit is exceeded, a column chunk lies outside the file, or footer or page headers cannot be read.
    """
    footer = _footer(file, size)
    groups = _list(footer, 4)
    if (
        len(groups) > MAX_ROW_GROUPS
        or max(_number(footer, 3), sum(_number(group, 3) for group in groups)) > MAX_FILE_ROWS
    ):
        raise BadFile(f"the Parquet file has more than {MAX_FILE_ROWS} rows or {MAX_ROW_GROUPS} row groups")
    for group in groups:
        chunks = [_struct(chunk, 3) for chunk in _list(group, 1)]
        claimed = sum(_number(chunk, 6) for chunk in chunks)
        unpacked = sum(_unpacked(file, size, chunk) for chunk in chunks)
        if max(claimed, unpacked) > MAX_ROW_GROUP_BYTES:
            raise BadFile(
                f"a row group of the Parquet file unpacks to more than {MAX_ROW_GROUP_BYTES} bytes: {_REWRITE}"
            )


def _footer(file: BinaryIO, size: int) -> dict[int, Any]:
    """FileMetaData."""
    file.seek(max(0, size - 8))
    end = file.read(8)
    length = int.from_bytes(end[:4], "little")
    if size < 12 or end[4:] != b"PAR1" or not 0 < length <= size - 12:
        raise BadFile("the Parquet file is cut off or damaged, or its footer is encrypted")
    if length > MAX_FOOTER_BYTES:
        raise BadFile(f"the Parquet file has a footer of more than {MAX_FOOTER_BYTES} bytes: {_REWRITE}")
    file.seek(size - 8 - length)
    try:
        return _Compact(file.read(length)).struct()
    except IndexError:
        raise BadFile(_DAMAGED) from None


def _unpacked(file: BinaryIO, size: int, chunk: dict[int, Any]) -> int:
    """How many bytes the pages of a column chunk (ColumnMetaData) claim to unpack to."""
    at, dictionary = _number(chunk, 9), _number(chunk, 11)
    if 0 < dictionary < at:  # as Arrow does: a dictionary page stands before the data pages
        at = dictionary
    end = at + _number(chunk, 7)
    if not 0 < at <= end <= size:
        raise BadFile("the Parquet file has a column outside the file")
    unpacked = 0
    while at < end:
        header, length = _page_header(file, at, end)
        page = _number(header, 2)
        if page > MAX_PAGE_BYTES:
            raise BadFile(f"a page of the Parquet file unpacks to more than {MAX_PAGE_BYTES} bytes: {_REWRITE}")
        unpacked += page
        at += length + _number(header, 3)
    return unpacked


def _page_header(file: BinaryIO, start: int, end: int) -> tuple[dict[int, Any], int]:
    """PageHeader, and how many bytes it takes."""
    for room in (512, _MAX_PAGE_HEADER_BYTES):
        file.seek(start)
        reader = _Compact(file.read(min(room, end - start)))
        try:
            return reader.struct(), reader.at
        except IndexError:
            continue
    raise BadFile(_DAMAGED)


def _number(fields: dict[int, Any], field: int) -> int:
    value = fields.get(field, 0)
    if not isinstance(value, int) or value < 0:
        raise BadFile(_DAMAGED)
    return value


def _struct(fields: dict[int, Any], field: int) -> dict[int, Any]:
    value = fields.get(field)
    if not isinstance(value, dict):
        raise BadFile(_DAMAGED)
    return value


def _list(fields: dict[int, Any], field: int) -> list[dict[int, Any]]:
    value = fields.get(field, [])
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise BadFile(_DAMAGED)
    return value


class _Compact:
    """Thrift's compact protocol: whole numbers, structs and lists as values; all else is skipped and None.

    Running off the bytes is an IndexError.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self.at = data, 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """The fields of a struct by their ids; of one that is there twice, the last, as Thrift's own readers do."""
        if depth > _MAX_DEPTH:
            raise BadFile(_DAMAGED)
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            delta, kind = head >> 4, head & 15
            number = number + delta if delta else self._zigzag()
            # A boolean field is its own value; in a list it takes a byte.
            fields[number] = None if kind in (1, 2) else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (4, 5, 6):
            return self._zigzag()
        if kind in (9, 10):
            return self._list(depth + 1)
        if kind == 12:
            return self.struct(depth + 1)
        if kind in (1, 2, 3):
            self.at += 1
        elif kind == 7:
            self.at += 8
        elif kind == 8:
            length = self._varint()
            self.at += length
        else:  # a map, or no kind at all: Parquet has none
            raise BadFile(_DAMAGED)
        return None

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        count = head >> 4 if head >> 4 != 15 else self._varint()
        if depth > _MAX_DEPTH or count > len(self._data):
            raise BadFile(_DAMAGED)
        return [self._value(head & 15, depth) for _ in range(count)]

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
