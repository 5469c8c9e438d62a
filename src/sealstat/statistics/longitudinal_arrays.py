"""Days into the state of the longitudinal statistic, on sorted arrays: steps 2 to 4 for more rows than memory holds.

State and day come sorted by (hi, lo), see ``longitudinal_terms``. Both are cut at the same keys into chunks of some
hundred thousand rows, wherever a user may lie, and each chunk is merged on its own, in threads: numpy lets go of the
interpreter while it sorts and gathers. A chunk is one stable sort of two sorted runs, which takes linear time; keys
are compared as 16 big-endian bytes, so that users whose first 64 bits agree need no path of their own.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from sealstat.statistics.longitudinal_terms import STATE
from sealstat.tables.ahead import ahead
from sealstat.tables.errors import DataError, Unsorted

CHUNK_ROWS = 256 * 1024
"""Rows of each input that are read before a chunk is cut off.

Measured: half as many are slower with threads, twice as many no faster and only larger.
"""

Columns = tuple[np.ndarray[Any, Any], ...]
"""hi, lo: uint64; v0 to v3: uint32; of equal length, sorted by (hi, lo)."""

Key = tuple[int, int]


def check_sorted(batch: pa.RecordBatch, last: Key | None = None) -> Key | None:
    """The last key of a day's batch that is sorted and begins no earlier than ``last``; ``last`` if it has no rows.

    Raises:
        Unsorted: it is not so.
    """
    columns = arrays(batch)
    if not _ascending(columns, last, strict=False):
        raise Unsorted("the rows of a day are not sorted by user and tile")
    return key_at(columns, -1) if len(batch) else last


def merge(
    state: Iterable[pa.RecordBatch], day: Iterable[pa.RecordBatch], *, threads: int = 2
) -> Iterator[pa.RecordBatch]:
    """The state after a day: the sums of both by key.

    Rows of the day with one key count once, with the maximum of each column.

    Memory is a few chunks for each thread, whatever the lengths. The inputs are read as far as the result is.

    Args:
        state: batches of ``STATE``, keys strictly increasing.
        day: batches of ``DAY``, sorted, a key any number of times; rows without presence are left out (step 2).
        threads: how many chunks are merged at once.
    Returns:
        Batches of ``STATE``, none empty, keys strictly increasing; the rows do not depend on ``threads`` or batches.
    Raises:
        Unsorted: the day is not sorted; the batches so far are of no use.
        DataError: the state is not, or a sum does not fit: more days than a state is made for.
    """
    chunks = _cut(strictly_sorted(state), _distinct(day))
    for columns in ahead(_merged, chunks, workers=threads, name="merge"):
        if len(columns[0]):
            yield pa.RecordBatch.from_arrays([pa.array(column) for column in columns], schema=STATE)


def arrays(batch: pa.RecordBatch) -> Columns:
    """The columns of a batch of ``STATE`` or ``DAY`` where they lie, not copied."""
    if not batch.schema.equals(STATE):
        raise ValueError("a batch has another schema than the state and days of the longitudinal statistic")
    return tuple(column.to_numpy(zero_copy_only=True) for column in batch.columns)


def pieces(batches: Iterable[pa.RecordBatch]) -> Iterator[Columns]:
    """The rows of all batches in pieces of 1 to ``CHUNK_ROWS`` rows."""
    for batch in batches:
        for start in range(0, len(batch), CHUNK_ROWS):
            yield arrays(batch.slice(start, CHUNK_ROWS))


def strictly_sorted(state: Iterable[pa.RecordBatch]) -> Iterator[Columns]:
    """The pieces of a state, checked.

    Raises:
        DataError: a key is not above the one before.
    """
    last = None
    for piece in pieces(state):
        if not _ascending(piece, last, strict=True):
            raise DataError("the rows of a state are not sorted by user and tile, each once")
        last = key_at(piece, -1)
        yield piece


def joined(parts: Iterable[Columns]) -> Columns:
    """The rows of the parts, one after the other; at least one part."""
    return tuple(map(np.concatenate, zip(*parts, strict=True)))


# --- order -------------------------------------------------------------------------------------------------------


def key_at(columns: Columns, at: int) -> Key:
    """The key of a row."""
    return int(columns[0][at]), int(columns[1][at])


def rows_of(columns: Columns, rows: Any) -> Columns:
    """Some of the rows: a slice or their numbers."""
    return tuple(column[rows] for column in columns)


def _ascending(columns: Columns, last: Key | None, *, strict: bool) -> bool:
    hi, lo = columns[:2]
    if not len(hi):
        return True
    if last is not None and not (last < key_at(columns, 0) or (not strict and last == key_at(columns, 0))):
        return False
    later = np.greater if strict else np.greater_equal
    within = later(lo[1:], lo[:-1])
    within &= hi[1:] == hi[:-1]
    within |= hi[1:] > hi[:-1]
    return bool(within.all())


def _repeats(columns: Columns) -> np.ndarray[Any, Any]:
    """Which rows but the first have the key of the row before."""
    hi, lo = columns[:2]
    same: np.ndarray[Any, Any] = hi[1:] == hi[:-1]
    same &= lo[1:] == lo[:-1]
    return same


def first_where(differs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Numbers of the rows that begin a group: the first, and each that differs from the one before."""
    return np.flatnonzero(np.concatenate(([True], differs)))


# --- steps 2, 3: each key once ---------------------------------------------------------------------------------------


def _distinct(day: Iterable[pa.RecordBatch]) -> Iterator[Columns]:
    """Pieces of the day in which each key is once. A piece is held until the next one, which may begin with its key."""
    held: Columns | None = None
    last = None
    for piece in pieces(day):
        if not _ascending(piece, last, strict=False):
            raise Unsorted("the rows of a day are not sorted by user and tile")
        last = key_at(piece, -1)
        once = _maxima(_present(piece))
        if not len(once[0]):
            continue
        if held is not None:
            if key_at(held, -1) == key_at(once, 0):
                once = _maxima(joined((rows_of(held, slice(-1, None)), once)))
                held = rows_of(held, slice(-1))
            yield held
        held = once
    if held is not None:
        yield held


def _present(columns: Columns) -> Columns:
    """The rows with any presence (step 2): a value of the file may have been rounded to nothing."""
    present = columns[2] | columns[3] | columns[4] | columns[5]
    return columns if present.all() else rows_of(columns, np.flatnonzero(present))


def _maxima(columns: Columns) -> Columns:
    same = _repeats(columns)
    if not same.any():
        return columns
    first = first_where(~same)
    return (*(key[first] for key in columns[:2]), *(np.maximum.reduceat(value, first) for value in columns[2:]))


# --- step 4: sums ------------------------------------------------------------------------------------------------


class _Held:
    """The pieces of an input that are read but not yet cut off."""

    def __init__(self, parts: Iterator[Columns]) -> None:
        self._parts, self._held, self._rows = parts, deque[Columns](), 0
        self.ended = False

    def fill(self) -> None:
        """Read until there are ``CHUNK_ROWS`` rows, or no more."""
        while self._rows < CHUNK_ROWS and not self.ended:
            part = next(self._parts, None)
            if part is None:
                self.ended = True
            elif len(part[0]):
                self._held.append(part)
                self._rows += len(part[0])

    def last(self) -> Key:
        return key_at(self._held[-1], -1)

    def cut(self, limit: Key | None) -> list[Columns]:
        """Take off the rows before a key, or all."""
        taken = []
        while self._held and (limit is None or key_at(self._held[0], 0) < limit):
            part = self._held.popleft()
            if limit is not None and key_at(part, -1) >= limit:
                end = rows_before(part, limit)
                self._held.appendleft(rows_of(part, slice(end, None)))
                part = rows_of(part, slice(end))
            self._rows -= len(part[0])
            taken.append(part)
        return taken


def rows_before(columns: Columns, limit: Key) -> int:
    """How many rows have a key below this one."""
    hi, lo = columns[:2]
    start, end = (int(np.searchsorted(hi, np.uint64(limit[0]), side)) for side in ("left", "right"))
    return start + int(np.searchsorted(lo[start:end], np.uint64(limit[1])))


_Chunk = tuple[list[Columns], list[Columns]]


def _cut(state: Iterator[Columns], day: Iterator[Columns]) -> Iterator[_Chunk]:
    """Both inputs, cut at the same keys: whatever has a key in one part has it in the same part of the other."""
    sides = _Held(state), _Held(day)
    limit: Key | None = (0, 0)
    while limit is not None:
        for side in sides:
            side.fill()
        limit = min((side.last() for side in sides if not side.ended), default=None)
        yield sides[0].cut(limit), sides[1].cut(limit)


def _merged(chunk: _Chunk) -> Columns:
    """The full outer join of two parts without repeats, values of equal keys added."""
    state, day = chunk
    if not state or not day:
        return joined(state or day or [tuple(np.empty(0, field.type.to_pandas_dtype()) for field in STATE)])
    *keys, v0, v1, v2, v3 = joined([*state, *day])
    packed = np.empty((len(keys[0]), 2), ">u8")
    packed[:, 0], packed[:, 1] = keys
    # stable: of two equal keys the state's comes first
    order = np.argsort(packed.view("S16")[:, 0], kind="stable")
    hi, lo = (key[order] for key in keys)
    same = _repeats((hi, lo))
    first, second = first_where(~same), np.flatnonzero(same) + 1
    source, added = order[first], order[second]
    target = second - np.arange(1, len(second) + 1)  # where the sums stand once the second rows are gone
    values = []
    for value in (v0, v1, v2, v3):
        sums, more = value[source], value[added]
        sums[target] += more
        if (sums[target] < more).any():
            raise DataError("a sum of presence exceeds 32 bits: a report has more days than its state can hold")
        values.append(sums)
    return (hi[first], lo[first], *values)
