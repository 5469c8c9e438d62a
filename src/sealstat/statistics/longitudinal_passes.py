"""The report of the longitudinal statistic in two passes over the sorted state: its twin in Ibis is ``longitudinal``.

The first pass finds every user's top tile and so the weight of each top tile, the second adds the weights up. Rows come
in chunks of whole users, computed in threads and added as whole numbers: order, threads and batches leave no trace.
Links to very many areas on very many tiles take further passes, so that their sums fit memory.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sealstat.statistics import longitudinal_arrays
from sealstat.statistics.longitudinal_arrays import (
    Columns,
    first_where,
    joined,
    key_at,
    rows_before,
    rows_of,
    strictly_sorted,
)
from sealstat.statistics.longitudinal_tables import (
    Aggregates,
    Areas,
    Census,
    Ints,
    LinkSums,
    Tiles,
    TileSums,
    anchors,
    finish,
    tie_rank,
)
from sealstat.statistics.longitudinal_terms import Parameters
from sealstat.tables.ahead import ahead

ReadState = Callable[[], Iterable[pa.RecordBatch]]

_BLOCK_BITS = 8
_WORD_BITS = 6
_LINK_BYTES = 2**30  # for the sums of links in one pass
_CELL_BYTES = 24
_HELD_TILES = 2**20
_PATTERNS = 8  # b1, b2, b3 as the bits of a number
# which of the values 0 to 3 a row of each pattern counts for: b0 is always 1
_COUNTS_FOR: Ints = np.array([[1, p & 1, p >> 1 & 1, p >> 2 & 1] for p in range(_PATTERNS)])


def report(
    read_state: ReadState,
    areas: Areas,
    census: Census | None,
    parameters: Parameters,
    *,
    secret: bytes,
    threads: int = 2,
) -> dict[str, pa.Table]:
    """All tables but ``quality`` (steps 5-11), without any output rule of the agreement applied.

    Memory is a few chunks for each thread, or the user with the most tiles; some 300 bytes for each tile that is usual
    to someone; and for links 1 GiB, or 24 bytes for each such tile.

    Args:
        read_state: gives the same batches of ``STATE`` each time, keys strictly increasing; called twice, and once more
            for each further group of areas whose links do not fit.
        census: needed if ``parameters.calibrate``.
        secret: 32 bytes that decide exact ties of top tiles.
        threads: how many chunks are computed at once.
    Raises:
        DataError: the state is not sorted.
        ValueError: calibration without a census.
    """
    sums = aggregates(read_state, areas, census, parameters, secret=secret, threads=threads)
    return finish(sums, areas, parameters)


def aggregates(
    read_state: ReadState,
    areas: Areas,
    census: Census | None,
    parameters: Parameters,
    *,
    secret: bytes,
    threads: int = 2,
) -> Aggregates:
    """The exact sums that ``finish`` wants; see ``report``."""
    if parameters.calibrate and census is None:
        raise ValueError("calibration needs the input census")

    def tops(parts: list[Columns]) -> tuple[int, Tiles, Tiles]:
        users, usual = _usual(parts, parameters.psi_units)
        return users, np.unique(usual.tile), usual.tile[_top(usual, secret)]

    # the first pass: P (steps 5-8)
    users, occurring, anchored = 0, _TileCounts(), _TileCounts()
    for seen, tiles, top in ahead(tops, _whole_users(strictly_sorted(read_state())), workers=threads, name="pass-1"):
        users += seen
        occurring.add(tiles)
        anchored.add(top)

    # step 9
    numbers = _TileNumbers(occurring.sums()[0])
    found = anchors(*anchored.sums(), census if parameters.calibrate else None, parameters)
    weight = np.zeros((2, len(numbers.tiles)), np.int64)
    weight[:, numbers.of(found.tile)] = found.high, found.low

    # the second pass: D and the numerators of C (steps 10, 11); further ones for areas whose links do not fit in it
    sums = _Sums(_PATTERNS * len(numbers.tiles), weight)
    linked = []
    for group, some in enumerate(_groups(areas, len(numbers.tiles))):
        links = _LinkedSums(some, numbers, weight)

        def add(parts: list[Columns], links: _LinkedSums = links, first: bool = group == 0) -> None:
            _, usual = _usual(parts, parameters.psi_units)
            number = numbers.of(usual.tile)
            # The top tiles once more: kept from the first pass they would be 4 bytes for every user there is.
            anchor = number[_top(usual, secret)][usual.user]
            if first:
                sums.add(number * _PATTERNS + _pattern(usual, parameters), anchor)
            links.add_all(number, usual, anchor)

        for _ in ahead(add, _whole_users(strictly_sorted(read_state())), workers=threads, name=f"pass-{group + 2}"):
            pass
        linked.append(links.sums())
    return Aggregates(users=users, anchors=found, tiles=_tile_sums(sums, numbers.tiles), links=_all_links(linked))


# --- users -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Usual:
    """Y: rows of usual tiles. ``user``: numbers of their users in this chunk; ``start``: the first row of each user."""

    hi: npt.NDArray[np.uint64]
    lo: npt.NDArray[np.uint64]
    tile: Tiles
    values: tuple[npt.NDArray[np.uint32], ...]
    user: Ints
    start: Ints


def _whole_users(parts: Iterable[Columns]) -> Iterator[list[Columns]]:
    """The pieces of a state gathered so that no user is in two lists; of ``CHUNK_ROWS`` rows or some more."""
    held: list[Columns] = []
    rows = 0
    for part in parts:
        hi, lo = key_at(part, -1)
        start = rows_before(part, (hi, lo >> 32 << 32))  # of the last user, who may go on
        begins = bool(start) or (bool(held) and not _one_user(held[-1], part))
        if begins and rows + start >= longitudinal_arrays.CHUNK_ROWS:
            yield [*held, rows_of(part, slice(start))] if start else held
            held, rows = [rows_of(part, slice(start, None))], -start
        else:
            held.append(part)
        rows += len(part[0])
    if held:
        yield held


def _one_user(before: Columns, after: Columns) -> bool:
    """Whether the last row of one piece and the first of another are of the same user."""
    (hi, lo), (next_hi, next_lo) = key_at(before, -1), key_at(after, 0)
    return (hi, lo >> 32) == (next_hi, next_lo >> 32)


def _user_starts(hi: npt.NDArray[np.uint64], lo: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Whether each row but the first begins another user."""
    rest = lo >> np.uint64(32)
    begins: npt.NDArray[np.bool_] = hi[1:] != hi[:-1]
    begins |= rest[1:] != rest[:-1]
    return begins


def _usual(parts: list[Columns], psi_units: int) -> tuple[int, _Usual]:
    """How many users there are, and the tiles of their usual environments (steps 5, 6)."""
    hi, lo, *values = joined(parts)
    begins = _user_starts(hi, lo)
    users = 1 + int(np.count_nonzero(begins))
    rows = np.flatnonzero(values[0] >= np.uint32(psi_units))
    if len(rows) < len(hi):
        hi, lo, *values = (column[rows] for column in (hi, lo, *values))
        begins = _user_starts(hi, lo)
    return (
        users,
        _Usual(
            hi=hi,
            lo=lo,
            tile=lo.astype(np.uint32),  # its lower half
            values=tuple(values),
            user=np.cumsum(np.concatenate(([0], begins)))[: len(hi)],
            start=first_where(begins)[: len(hi)],
        ),
    )


def _top(usual: _Usual, secret: bytes) -> Ints:
    """The row of each user's top tile (step 7)."""
    v0, v1, v2, v3 = usual.values
    other = np.maximum(np.maximum(v1, v2), v3)
    rows = _highest(np.arange(len(v0)), usual.user, v0.astype(np.uint64) << np.uint64(32) | other)
    if len(rows) > len(usual.start):
        rows = _highest(rows, usual.user[rows], v1[rows])
    if len(rows) > len(usual.start):
        rows = _untied(rows, usual, secret)
    return rows


def _highest(rows: Ints, user: Ints, rank: npt.NDArray[Any]) -> Ints:
    """Those of the rows in which a user has the highest rank; ``user`` is ascending."""
    if not len(rows):
        return rows
    begins = user[1:] != user[:-1]
    best = np.maximum.reduceat(rank, first_where(begins))
    return rows[np.flatnonzero(rank == best[np.cumsum(np.concatenate(([0], begins)))])]


def _untied(rows: Ints, usual: _Usual, secret: bytes) -> Ints:
    """One row for each user: row by row, but only for those who have several."""
    user = usual.user[rows]
    again = user[1:] == user[:-1]
    tied = np.concatenate((again, [False])) | np.concatenate(([False], again))
    winners: dict[int, tuple[bytes, int]] = {}
    for row, whose in zip(rows[tied].tolist(), user[tied].tolist(), strict=True):
        rank = tie_rank(secret, int(usual.hi[row]), int(usual.lo[row])), row
        winners[whose] = max(rank, winners.get(whose, rank))
    return np.sort(np.concatenate((rows[~tied], [row for _, row in winners.values()])))


def _pattern(usual: _Usual, parameters: Parameters) -> Ints:
    """b1, b2, b3 as a number of three bits (step 5); v_i / v0 >= phi without division, below 2^62."""
    phi = parameters.phi_exact
    v0, *subs = (value.astype(np.int64) for value in usual.values)
    bound = v0 * phi.numerator
    bits = [(sub * phi.denominator >= bound).astype(np.int64) << i for i, sub in enumerate(subs)]
    return bits[0] | bits[1] | bits[2]


# --- sums --------------------------------------------------------------------------------------------------------


class _TileCounts:
    """How often each tile came by. Memory is that of the tiles that occur, and of some that were not yet added."""

    def __init__(self) -> None:
        self._tile, self._count = np.zeros(0, np.uint32), np.zeros(0, np.int64)
        self._held: list[Tiles] = []
        self._rows = 0

    def add(self, tiles: Tiles) -> None:
        """One more for each of these, which may repeat."""
        self._held.append(tiles)
        self._rows += len(tiles)
        if self._rows > max(_HELD_TILES, len(self._tile)):  # so that the sorting does not grow with the square
            self.sums()

    def sums(self) -> tuple[Tiles, Ints]:
        """The tiles, ascending, and their counts."""
        if self._held:
            new, more = np.unique(np.concatenate(self._held), return_counts=True)
            tile, place = np.unique(np.concatenate((self._tile, new)), return_inverse=True)
            count = np.zeros(len(tile), np.int64)
            count[place[: len(self._tile)]] = self._count
            count[place[len(self._tile) :]] += more
            self._tile, self._count, self._held, self._rows = tile, count, [], 0
        return self._tile, self._count


class _TileNumbers:
    """Numbers for the tiles that occur, in their order, and for no others.

    A tile's number is that of the first of its word of 64 tiles, and how many of the word are before it. This takes a
    few nanoseconds a row, a search among all tiles ten times as much. The table of blocks of 256 tiles has 64 MiB, of
    which only the pages of blocks in use are ever touched.
    """

    def __init__(self, tiles: Tiles) -> None:
        """``tiles``: ascending, each once."""
        self.tiles = tiles
        blocks = np.unique(tiles >> np.uint32(_BLOCK_BITS))
        self._place_of = np.zeros(1 << 32 - _BLOCK_BITS, np.int32)  # from 1; 0 is a block without tiles
        self._place_of[blocks] = np.arange(1, 1 + len(blocks))
        self._word = np.zeros((1 + len(blocks)) << _BLOCK_BITS - _WORD_BITS, np.uint64)
        np.bitwise_or.at(self._word, self._word_of(tiles), _bit(tiles))
        counts = np.bitwise_count(self._word).astype(np.int64)
        self._before = np.cumsum(counts) - counts

    def of(self, tile: Tiles) -> Ints:
        """The numbers of tiles that are known."""
        word = self._word_of(tile)
        numbers: Ints = self._before[word] + np.bitwise_count(self._word[word] & (_bit(tile) - np.uint64(1)))
        return numbers

    def known(self, tile: Tiles) -> npt.NDArray[np.bool_]:
        """Whether they have numbers."""
        found: npt.NDArray[np.bool_] = (self._word[self._word_of(tile)] & _bit(tile)) > 0
        return found

    def _word_of(self, tile: Tiles) -> Ints:
        place = self._place_of[tile >> np.uint32(_BLOCK_BITS)].astype(np.int64) << _BLOCK_BITS - _WORD_BITS
        words: Ints = place | (tile >> np.uint32(_WORD_BITS) & np.uint32((1 << _BLOCK_BITS - _WORD_BITS) - 1))
        return words


def _bit(tile: Tiles) -> npt.NDArray[np.uint64]:
    """The bit of a tile in its word."""
    return np.uint64(1) << (tile & np.uint32((1 << _WORD_BITS) - 1)).astype(np.uint64)


class _Sums:
    """Users and the halves of their weights, added up by cell. The arrays take memory where cells are in use."""

    def __init__(self, cells: int, weight: Ints) -> None:
        """``weight``: (2, tiles), the halves by number of the top tile."""
        self._weight = weight
        self._lock = Lock()
        self.users, self.high, self.low = (np.zeros(cells, np.int64) for _ in range(3))

    def add(self, cell: Ints, anchor: Ints) -> None:
        """One user in each of the cells, which may repeat; ``anchor``: the number of the user's top tile."""
        high, low = self._weight[:, anchor]
        with self._lock:  # numpy need not keep other threads from running while it adds
            np.add.at(self.users, cell, 1)
            np.add.at(self.high, cell, high)
            np.add.at(self.low, cell, low)


class _LinkedSums:
    """Sums by (tile, area) over users with a usual tile in the area, without tiles inside it (step 11).

    The areas of a tile, and so those of a user, are bits of 64-bit words.
    """

    def __init__(self, areas: Areas, numbers: _TileNumbers, weight: Ints) -> None:
        self._areas, place = np.unique(areas.area, return_inverse=True)
        self._tiles = numbers.tiles
        self._inside = np.zeros((-(-len(self._areas) // 64), len(self._tiles)), np.uint64)
        known = np.flatnonzero(numbers.known(areas.tile))
        place, number = place[known], numbers.of(areas.tile[known])
        np.bitwise_or.at(self._inside, (place // 64, number), np.uint64(1) << (place % 64).astype(np.uint64))
        self._sums = _Sums(len(self._tiles) * len(self._areas), weight)

    def add_all(self, number: Ints, usual: _Usual, anchor: Ints) -> None:
        """Add the rows of whole users, given the numbers of their tiles and of their users' top tiles."""
        if not len(number):
            return
        for word, inside in enumerate(self._inside):
            own = inside[number]
            linked = np.bitwise_or.reduceat(own, usual.start)[usual.user] & ~own
            rows = np.flatnonzero(linked)
            linked = linked[rows]
            while len(rows):  # as often as one user has areas
                lowest = linked & -linked
                area = 64 * word + np.bitwise_count(lowest - np.uint64(1))
                self._sums.add(number[rows] * len(self._areas) + area, anchor[rows])
                linked ^= lowest
                more = np.flatnonzero(linked)
                rows, linked = rows[more], linked[more]

    def sums(self) -> LinkSums:
        cells = np.flatnonzero(self._sums.users)
        number, area = np.divmod(cells, max(len(self._areas), 1))
        return LinkSums(
            area=self._areas[area],
            tile=self._tiles[number],
            users=self._sums.users[cells],
            high=self._sums.high[cells],
            low=self._sums.low[cells],
        )


def _groups(areas: Areas, tiles: int) -> Iterator[Areas]:
    """The areas, or parts of them whose links take ``_LINK_BYTES``; at least one part, of at least one area."""
    numbers = np.unique(areas.area)
    size = max(1, _LINK_BYTES // (_CELL_BYTES * max(tiles, 1)))
    for start in range(0, max(len(numbers), 1), size):
        members = np.isin(areas.area, numbers[start : start + size])
        yield Areas(area=areas.area[members], tile=areas.tile[members])


def _all_links(parts: list[LinkSums]) -> LinkSums:
    columns = {f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(LinkSums)}
    return LinkSums(**columns)


def _tile_sums(sums: _Sums, tile: Tiles) -> TileSums:
    users, high, low = (each.reshape(-1, _PATTERNS) for each in (sums.users, sums.high, sums.low))
    used = np.flatnonzero(users.any(axis=1))
    users, high, low = (each[used] @ _COUNTS_FOR for each in (users, high, low))
    return TileSums(tile=tile[used], users=users, high=high, low=low)
