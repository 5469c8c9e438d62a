"""Two operators' foreign roamers, made up, with the truth known.

Every subscriber comes from abroad for a few days, and the phone picks networks: 44 % are seen by
operator A alone, 30 % by B alone and 26 % by both, on different days and in different areas. So the
overlap is 0.26 and A must multiply its own count by 1.43: what a ministry cannot know from either list.
Home countries are as skewed as border tourism is, with a few so rare that a threshold hides them.
Also in the lists, as in real ones: duplicate rows, subscribers of domestic networks, home networks
that no table knows, and a few IMSIs that are none.

Subscribers are made in chunks and no subscriber crosses one, so memory does not grow with the rows
and the truth, a sum over chunks, is exact. The same seed gives the same files.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sealstat.agreement.periods import days as days_of
from sealstat.synthetic.mcc import BORDER_AREAS, MCC_COUNTRY

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

DOMESTIC_COUNTRY = "ID"
UNKNOWN_COUNTRY = "ZZ"

MAX_ROWS = 200_000_000
"""Most rows an operator: beyond this the million million subscriber numbers would run short."""

_COLUMNS: dict[str, Any] = {"imsi": pa.string(), "border_area": pa.string(), "date": pa.date32()}
SCHEMA = pa.schema(_COLUMNS)

# Weight of each home network among the subscribers, by MCC. 510 is domestic, 901 and 999 are in no table.
_HOME = {
    **dict.fromkeys(("274", "295", "541", "278"), 0.1),  # a handful even among millions
    **dict.fromkeys(("724", "655", "420", "470", "228"), 1.0),
    **dict.fromkeys(("242", "530", "250", "452", "528", "454", "466", "204", "208", "262"), 5.0),
    **dict.fromkeys(("234", "310", "520", "515"), 13.0),
    **dict.fromkeys(("440", "450", "505", "404"), 25.0),
    "525": 330.0,
    "502": 280.0,
    "514": 60.0,
    "460": 55.0,
    "537": 35.0,
    "510": 25.0,
    "901": 6.0,
    "999": 4.0,
}
_MCC = tuple(_HOME)

# How visitors spread over the areas: most go to the islands; neighbours by land use their own crossing.
_AREA_WEIGHTS = (50.0, 22.0, 6.0, 8.0, 5.0, 5.0, 4.0)
_AREA_WEIGHTS_OF = {
    "502": (30.0, 8.0, 6.0, 34.0, 20.0, 1.0, 1.0),
    "528": (10.0, 4.0, 1.0, 60.0, 23.0, 1.0, 1.0),
    "514": (2.0, 1.0, 1.0, 1.0, 1.0, 93.0, 1.0),
    "537": (2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 93.0),
}

_A, _B = 0, 1
_ONLY_A, _ONLY_B = 0.44, 0.30
_PRESENT_IF_BOTH = (0.30, 1.00)  # the chance a day of a two-network subscriber shows on A, on B
_MOVES, _INVALID = 0.15, 0.005
_DUPLICATE = (0.01, 0.03)  # B repeats itself more often; so both lists grow alike
_CHUNK_SUBSCRIBERS = 150_000
_ROWS_PER_SUBSCRIBER = 1.45  # of either operator, low on purpose: a last small chunk is cheaper than a cut one

_NO_IMSI = ("", "52501012345678", "5250101234567890", "52501O123456789", "５２５０１０１２３４５６７８９", "unknown")


@dataclass(frozen=True, slots=True)
class Chunk:
    """The rows of both operators for some subscribers, and the counts that are true of them.

    ``a`` and ``b`` are tables of ``SCHEMA``; ``truth`` maps (MCC, area or None) to the counts of
    ``_COUNTS`` in that order; ``invalid`` counts the rows without a valid IMSI per operator.
    """

    a: pa.Table = field(repr=False)
    b: pa.Table = field(repr=False)
    truth: dict[tuple[str, str | None], Ints] = field(repr=False)
    invalid: tuple[int, int]


_COUNTS = ("a", "b", "intersection", "union", "visitor_days", "multi_day_visitors")


def chunks(rows: int, period: str, seed: int, *, numbers: int = 10**9) -> Iterator[Chunk]:
    """Both operators' lists, some subscribers at a time, until each has exactly ``rows`` rows.

    Args:
        rows: rows of each operator, 1 to ``MAX_ROWS``.
        period: the days the rows fall on, a day, a month or a range (agreement/periods.py), at most 366 days.
        seed: >= 0; the same arguments give the same rows.
        numbers: how many subscriber numbers a home network has (10**6: one number block, for attacks).
    Raises:
        ValueError: an argument out of its range.
    """
    first, last = days_of(period)
    days = (last - first).days + 1
    if not 1 <= rows <= MAX_ROWS or seed < 0 or days > 366 or not 10**6 <= numbers <= 10**9:
        raise ValueError(f"rows 1 to {MAX_ROWS}, a seed >= 0, at most 366 days and 10**6 to 10**9 numbers")
    left = [rows, rows]
    made = 0
    for index in count():
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, index])))
        wanted = max(1, min(_CHUNK_SUBSCRIBERS, int(max(left) / _ROWS_PER_SUBSCRIBER)))
        chunk = _chunk(rng, wanted, made, first, days, left, numbers, seed)
        made += wanted
        left[_A] -= chunk.a.num_rows
        left[_B] -= chunk.b.num_rows
        yield chunk
        if left == [0, 0]:
            return


def _chunk(
    rng: np.random.Generator, size: int, made: int, first: date, days: int, left: list[int], numbers: int, seed: int
) -> Chunk:
    home = rng.choice(len(_MCC), size, p=_shares(tuple(_HOME.values())))
    imsi = _imsis(np.arange(made, made + size), home, numbers, seed)
    on = _networks(rng, size)
    start = rng.integers(0, days, size)
    stay = np.minimum(rng.geometric(0.45, size), days - start)

    # One entry per subscriber and day, then a second one where the visitor moves on that day.
    subscriber = np.repeat(np.arange(size), stay)
    day = start[subscriber] + np.arange(len(subscriber)) - np.repeat(np.cumsum(stay) - stay, stay)
    area = _areas(rng, home)[subscriber]
    moves = np.flatnonzero(rng.random(len(subscriber)) < _MOVES)
    elsewhere = (area[moves] + rng.integers(1, len(BORDER_AREAS), len(moves))) % len(BORDER_AREAS)
    subscriber, day = np.append(subscriber, subscriber[moves]), np.append(day, day[moves])
    area = np.append(area, elsewhere)

    seen = [_seen(rng, subscriber, on, operator, size) for operator in (_A, _B)]
    rows = [_list(rng, indices, left[operator], _DUPLICATE[operator]) for operator, indices in enumerate(seen)]
    tables = [
        _table(rng, imsi, subscriber[picked], area[picked], day[picked], first, broken) for picked, broken in rows
    ]
    truth = _truth(home, [(subscriber[picked], area[picked], day[picked]) for picked, _ in rows])
    return Chunk(a=tables[_A], b=tables[_B], truth=truth, invalid=(rows[_A][1], rows[_B][1]))


def _shares(weights: tuple[float, ...]) -> npt.NDArray[np.float64]:
    shares: npt.NDArray[np.float64] = np.array(weights) / sum(weights)
    return shares


def _imsis(numbered: Ints, home: Ints, numbers: int, seed: int) -> Ints:
    """IMSI as a number: MCC, one of a few networks with a digit of its numbers, then nine digits.

    Multiplying by an odd number that 5 does not divide permutes the numbers below a power of ten:
    no two of the first ``numbers`` subscribers share an IMSI, though neighbours look unrelated.
    """
    mixed = (numbered * 387_420_489 + 618_033_989 * (seed % 1000 + 1)) % numbers
    network = (numbered * 7 % 3) * 100 + 10 + numbered % 10
    country: Ints = np.array([int(mcc) for mcc in _MCC])[home]
    return country * 10**12 + network * 10**9 + mixed


def _networks(rng: np.random.Generator, size: int) -> Bools:
    """Which operators see each subscriber: (2, size). Even steps, not draws: small data must show the truth as well."""
    place = (rng.permutation(size) + rng.random()) / size
    return np.stack([(place < _ONLY_A) | (place >= _ONLY_A + _ONLY_B), place >= _ONLY_A])


def _areas(rng: np.random.Generator, home: Ints) -> Ints:
    cumulated = np.array([np.cumsum(_shares(_AREA_WEIGHTS_OF.get(mcc, _AREA_WEIGHTS))) for mcc in _MCC])
    chosen: Ints = (rng.random(len(home))[:, None] >= cumulated[home]).sum(axis=1)
    return chosen.clip(max=len(BORDER_AREAS) - 1)  # a sum of shares may end just below one


def _seen(rng: np.random.Generator, subscriber: Ints, on: Bools, operator: int, size: int) -> Ints:
    """Indices of the entries that an operator sees: all of its own subscribers', some of the shared ones'."""
    both = on[_A] & on[_B]
    seen = on[operator][subscriber] & ~(both[subscriber] & (rng.random(len(subscriber)) >= _PRESENT_IF_BOTH[operator]))
    missed = on[operator] & (np.bincount(subscriber[seen], minlength=size) == 0)
    seen[np.unique(subscriber, return_index=True)[1][missed]] = True  # a shared subscriber is seen at least once
    return np.flatnonzero(seen)


def _list(rng: np.random.Generator, indices: Ints, left: int, repeats: float) -> tuple[Ints, int]:
    """The entries listed, shuffled with duplicates and cut to ``left``; and how many rows more are broken."""
    duplicates = rng.choice(indices, int(rng.binomial(len(indices), repeats)))
    listed = rng.permutation(np.append(indices, duplicates))
    broken = min(int(rng.binomial(len(indices), _INVALID)), left)
    return listed[: left - broken], broken


def _table(
    rng: np.random.Generator, imsi: Ints, subscriber: Ints, area: Ints, day: Ints, first: date, broken: int
) -> pa.Table:
    digits = _decimal_text(imsi[subscriber])
    if broken and len(area):
        bad = pa.array(_NO_IMSI).take(rng.integers(0, len(_NO_IMSI), broken))
        like = rng.integers(0, len(area), broken)
        order = rng.permutation(len(area) + broken)
        digits = pa.concat_arrays([digits, bad]).take(order)
        area, day = np.append(area, area[like])[order], np.append(day, day[like])[order]
    epoch_day = (day + (first - date(1970, 1, 1)).days).astype(np.int32)
    names = pa.array(BORDER_AREAS).take(area)
    return pa.table([digits, names, pa.array(epoch_day).cast(pa.date32())], schema=SCHEMA)


def _decimal_text(numbers: Ints) -> pa.StringArray:
    """15-digit text of each number, straight into the text column's own buffers: five times as fast as a cast."""
    characters: Any = np.empty((len(numbers), 15), np.uint8)
    rest = numbers
    for position in range(14, -1, -1):
        rest, digit = np.divmod(rest, 10)
        characters[:, position] = digit + ord("0")
    offsets: Any = np.arange(0, 15 * len(numbers) + 1, 15, dtype=np.int32)
    return pa.StringArray.from_buffers(len(numbers), pa.py_buffer(offsets), pa.py_buffer(characters))


def _truth(home: Ints, seen: list[tuple[Ints, Ints, Ints]]) -> dict[tuple[str, str | None], Ints]:
    """Counts by MCC and by (MCC, area), of sorted arrays: nothing in common with how the statistic counts."""
    width = len(BORDER_AREAS)
    truth: dict[tuple[str, str | None], Ints] = {}
    for per_area in (False, True):
        keys = [subscriber * width + area if per_area else subscriber * width for subscriber, area, _ in seen]
        days = [key * 512 + day for key, (_, _, day) in zip(keys, seen, strict=True)]
        person_days = _distinct(np.concatenate(days)) // 512
        union = _distinct(person_days)
        stay = np.diff(np.searchsorted(person_days, union), append=len(person_days))
        in_a, in_b = (_within(union, key) for key in keys)
        cell = home[union // width] * width + union % width
        counts = [in_a, in_b, in_a & in_b, np.ones(len(union)), stay, stay > 1]
        sums = np.stack([np.bincount(cell, one, len(_MCC) * width) for one in counts], axis=1).astype(np.int64)
        for index in np.flatnonzero(sums[:, 3]):
            mcc, area = divmod(int(index), width)
            truth[_MCC[mcc], BORDER_AREAS[area] if per_area else None] = sums[index]
    return truth


def _distinct(keys: Ints) -> Ints:
    """The distinct keys in order. (``np.unique`` hashes first, which took ten times as long here.)"""
    ordered = np.sort(keys)
    distinct: Ints = ordered[np.diff(ordered, prepend=-1) != 0]
    return distinct


def _within(ordered: Ints, keys: Ints) -> Bools:
    """Which of the distinct ``ordered`` keys occur in ``keys``, which holds no others."""
    found = np.zeros(len(ordered), np.bool_)
    found[np.searchsorted(ordered, keys)] = True
    return found


class Truth:
    """Adds up what is true of the chunks: counts per block, without ratios and before any output rule."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str | None], Ints] = {}
        self._invalid = [0, 0]
        self._rows = [0, 0]

    def add(self, chunk: Chunk) -> None:
        """Take a chunk in."""
        for key, counts in chunk.truth.items():
            self._counts[key] = self._counts.get(key, np.zeros(len(_COUNTS), np.int64)) + counts
        for operator, table in enumerate((chunk.a, chunk.b)):
            self._invalid[operator] += chunk.invalid[operator]
            self._rows[operator] += table.num_rows

    def blocks(self) -> dict[str, Any]:
        """``{rows, rejected, all, by_country, by_area, by_country_area}``, without the domestic home country."""
        sums: dict[tuple[str, str], Ints] = {}
        for (mcc, area), counts in self._counts.items():
            country = MCC_COUNTRY.get(mcc, UNKNOWN_COUNTRY)
            if country == DOMESTIC_COUNTRY:
                continue
            homes = [("all", ""), ("by_country", country)]
            for cell in homes if area is None else [("by_area", area), ("by_country_area", f"{country}|{area}")]:
                sums[cell] = sums.get(cell, np.zeros(len(_COUNTS), np.int64)) + counts
        tables: dict[str, Any] = {"all": {}, "by_country": {}, "by_area": {}, "by_country_area": {}}
        for (table, name), counts in sorted(sums.items()):
            block = dict(zip(_COUNTS, counts.tolist(), strict=True))
            tables[table] = block if table == "all" else tables[table] | {name: block}
        operators = ("mno_a", "mno_b")
        return {
            "rows": dict(zip(operators, self._rows, strict=True)),
            "rejected": dict(zip(operators, self._invalid, strict=True)),
            **tables,
        }


def write(
    folder: Path,
    rows: int,
    period: str,
    seed: int,
    *,
    format: Literal["csv", "parquet"] = "csv",
) -> dict[str, Any]:
    """Write ``mno_a``, ``mno_b`` (CSV or Parquet) and ``truth.json`` into a folder; returns the truth.

    Args:
        folder: made if it is not there; files of these names are replaced.
        rows, period, seed: as in ``chunks``.
        format: ``csv`` (a header, UTF-8, ISO dates) or ``parquet`` (zstd).
    Raises:
        ValueError: an argument out of its range.
    """
    folder.mkdir(parents=True, exist_ok=True)
    truth = Truth()
    paths = [folder / f"{name}.{format}" for name in ("mno_a", "mno_b")]
    partial = [path.with_name(path.name + ".part") for path in paths]
    with ExitStack() as stack:
        writers = [_writer(stack, path, format) for path in partial]
        for chunk in chunks(rows, period, seed):
            writers[_A](chunk.a)
            writers[_B](chunk.b)
            truth.add(chunk)
    for ready, path in zip(partial, paths, strict=True):
        os.replace(ready, path)
    blocks = {"period": period, "seed": seed, **truth.blocks()}
    (folder / "truth.json").write_text(json.dumps(blocks, indent=1) + "\n", encoding="utf-8")
    return blocks


def _writer(stack: ExitStack, path: Path, format: str) -> Callable[[pa.Table], None]:
    if format == "csv":
        import pyarrow.csv

        csv = stack.enter_context(pyarrow.csv.CSVWriter(path, SCHEMA))
        return csv.write_table
    if format == "parquet":
        import pyarrow.parquet

        parquet = stack.enter_context(pyarrow.parquet.ParquetWriter(path, SCHEMA, compression="zstd"))
        return parquet.write_table
    raise ValueError(f"no format {format!r}: csv or parquet")
