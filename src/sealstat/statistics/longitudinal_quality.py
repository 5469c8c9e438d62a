"""How a day's data look beside the state (longitudinal.md, section 10), masked as its section 11.6 asks.

Fixes of the original log: distances have bins for kilometres; what is told counts users, never records, since one user
may have thousands; it is hidden below k users and else rounded down to a multiple of k; nothing cumulative is told, and
there is no free text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from math import ceil
from operator import add
from typing import Any

import pyarrow as pa

from sealstat.statistics.longitudinal_state import USER, added, kept, merged, split_key, users
from sealstat.statistics.longitudinal_terms import OUTPUTS, VALUES, Parameters

COUNT_EDGES = tuple(Fraction(2**n) for n in range(9))
"""Records or tiles a user: below 1, below 2, ... 256 and more."""

WEIGHT_EDGES = tuple(Fraction(2) ** n for n in range(-8, 8))
"""Presence in its own unit: below 1/256, ... 128 and more."""

KM_EDGES = tuple(Fraction(2**n) for n in range(10))
"""Distances and diagonals: below 1 km, ... 512 km and more."""

PATTERNS = tuple(f"{n:04b}" for n in range(16))
"""Which of v0, v1, v2, v3 are above 0."""

RECORD_TOTALS = ("records_h", "records_old_s", "records_new_s")
"""Counted, to be compared with the original log, and not told."""


@dataclass(frozen=True, slots=True)
class Counted:
    """An unmasked figure of one day: ``count`` records or users, and how many different ``users`` are behind it."""

    indicator: str
    sub_period: str
    bin: str
    count: int
    users: int


def labels(edges: Sequence[Fraction]) -> tuple[str, ...]:
    """The names of the bins: one more than edges; a bound belongs to the higher bin."""
    return (*(f"<{edge}" for edge in edges), f">={edges[-1]}")


# --- masking, the same for every engine --------------------------------------------------------------------------


def quality(con: Any, number: int, day: Any, old: Any, parameters: Parameters) -> pa.Table:
    """The quality table of one day.

    Args:
        number: the day, counted from 1970-01-01.
        day: Ibis table of ``DAY``'s columns, as it came (rows twice and all); ``old``: the state before it.
    """
    # all of them are in the new state too
    if users(con, merged(day)) < 1000 * parameters.quality_minimum:
        return OUTPUTS["quality"].schema.empty_table()
    return masked(number, list(counted(con, day, old, parameters)), parameters)


def masked(number: int, figures: Sequence[Counted], parameters: Parameters) -> pa.Table:
    """What of a day's figures may be told, in their order; nothing if the day or the state has too few users.

    Told is the number of users behind a figure, rounded down to a multiple of k, and null if that is 0: so the
    agreement's minimum, which is held against what is told, holds of the true number too. Totals of records are not
    told, as one user may make up any part of them; the histograms of records per user say how many there are.

    So all that is told, of all days, depends on a user only by which bins it is in on which day. Whatever its rows
    are, each figure differs by at most k from what it were without the user (null being 0); but of a day of exactly
    1000 k users nothing is told without one of them. Who knows all others exactly learns whether the user is in a bin
    where they are one short of a multiple of k: by chance in one figure of k, so over many days most bins in which it
    stays. A bin tells a value to a factor of two, or which parts of a day have presence, and never where. This is no
    differential privacy.
    """
    k = parameters.quality_minimum
    totals = {figure.indicator: figure.users for figure in figures if not figure.bin}
    if min(totals["unique_users_h"], totals["unique_users_new_s"]) < 1000 * k:
        return OUTPUTS["quality"].schema.empty_table()
    rows = [
        (number, f.indicator, f.sub_period, f.bin, f.users // k * k or None)
        for f in figures
        if f.indicator not in RECORD_TOTALS
    ]
    schema: Any = OUTPUTS["quality"].schema
    return pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema=schema)


# --- counting, in the engine -------------------------------------------------------------------------------------


def counted(
    con: Any,
    day: Any,
    old: Any,
    parameters: Parameters,
    *,
    km_edges: tuple[Sequence[Fraction], Sequence[Fraction]] = (KM_EDGES, KM_EDGES),
) -> Iterator[Counted]:
    """All figures of a day, unmasked; see ``quality``. ``km_edges``: of distances, of diagonals."""
    h = kept(con, split_key(merged(day)))
    new = split_key(added(old, h))
    old = split_key(old)
    by_user = {"h": _by_user(con, h), "old_s": _by_user(con, old), "new_s": _by_user(con, new)}
    yield _duplicates(con, day)
    for name, table in by_user.items():
        people, records = _one(con, table.aggregate(users=table.count(), records=_whole(table.records.sum())))
        yield Counted(f"unique_users_{name}", "", "", people, people)
        yield Counted(f"records_{name}", "", "", records, people)
        yield from _of_users(con, f"records_per_user_{name}", "", table.records, COUNT_EDGES)
    yield from _patterns(con, h)
    distance_edges, box_edges = ([edge**2 for edge in edges] for edges in km_edges)
    box_labels = labels(km_edges[1])
    both = kept(con, by_user["h"].join(by_user["old_s"], USER, rname="{name}_old"))
    moved = kept(con, by_user["old_s"].join(by_user["new_s"], USER, rname="{name}_new"))
    for i, v in enumerate(VALUES):
        sub = str(i)
        users_h, users_old = by_user["h"], by_user["old_s"]
        here, before = users_h.filter(users_h[f"tiles_{i}"] > 0), users_old.filter(users_old[f"tiles_{i}"] > 0)
        yield from _of_users(con, "h_tiles_with_presence_per_user", sub, here[f"tiles_{i}"], COUNT_EDGES)
        for name, table in (("h", h), ("old_s", old)):
            yield from _of_records(con, f"weight_values_{name}", sub, table, v, parameters)
        seen = both.filter((both[f"sum_{i}"] > 0) & (both[f"sum_{i}_old"] > 0))
        yield from _of_users(con, "distance_h_to_old_s", sub, _distance2(seen, i), distance_edges, labels(km_edges[0]))
        for name, table in (("h", here), ("old_s", before)):
            yield from _of_users(con, f"bounding_box_{name}", sub, _diagonal2(table, i), box_edges, box_labels)
        had = moved.filter(moved[f"tiles_{i}"] > 0)
        change = (_diagonal2(had, i).cast("float64").sqrt() - _diagonal2(had, i, "_new").cast("float64").sqrt()).abs()
        yield from _of_users(con, "bounding_box_change", sub, change, km_edges[1])


def _by_user(con: Any, rows: Any) -> Any:
    """Each user's records, and for each sub-period the tiles with presence: how many, their weights and extent."""
    import ibis

    bits = ibis.literal(16, "uint32")
    rows = rows.mutate(e=(rows.tile >> bits).cast("int64"), n=(rows.tile & 0xFFFF).cast("int64"))
    wanted = {"records": rows.count()}
    for i, v in enumerate(VALUES):
        value, there = rows[v].cast("int64"), rows[v] > 0
        wanted |= {f"tiles_{i}": rows.count(where=there), f"sum_{i}": _whole(value.sum())}
        for axis in ("e", "n"):
            wanted[f"sum_{axis}_{i}"] = _whole((value * rows[axis]).sum())
            wanted[f"{axis}_min_{i}"] = rows[axis].min(where=there)
            wanted[f"{axis}_max_{i}"] = rows[axis].max(where=there)
    return kept(con, rows.group_by(USER).agg(**wanted))


def _duplicates(con: Any, day: Any) -> Counted:
    present = split_key(day.filter((day.v0 > 0) | (day.v1 > 0) | (day.v2 > 0) | (day.v3 > 0)))
    tiles = present.group_by([*USER, "tile"]).agg(more=present.count() - 1)
    people = tiles.group_by(USER).agg(more=_whole(tiles.more.sum()))
    people = people.filter(people.more > 0)
    return Counted(
        "duplicate_records_in_h",
        "",
        "",
        *_one(con, people.aggregate(count=_whole(people.more.sum()), users=people.count())),
    )


def _patterns(con: Any, h: Any) -> Iterator[Counted]:
    pattern = reduce(add, ((h[v] > 0).cast("int64") * 2 ** (3 - i) for i, v in enumerate(VALUES)))
    yield from _counted(con, "h_presence_pattern", "", h.select(*USER, bin=pattern), PATTERNS)


def _of_records(con: Any, indicator: str, sub: str, rows: Any, v: str, parameters: Parameters) -> Iterator[Counted]:
    edges = [ceil(edge * 2**parameters.resolution_bits) for edge in WEIGHT_EDGES]
    yield from _counted(con, indicator, sub, rows.select(*USER, bin=_bin(rows[v], edges)), labels(WEIGHT_EDGES))


def _of_users(
    con: Any, indicator: str, sub: str, value: Any, edges: Sequence[Fraction], names: Sequence[str] = ()
) -> Iterator[Counted]:
    """A histogram of one value a user."""
    binned = _bin(value, [int(edge) for edge in edges]).name("bin").as_table()
    found = con.to_pyarrow(binned.group_by("bin").agg(count=binned.count())).to_pylist()
    counts = {row["bin"]: row["count"] for row in found}
    for place, name in enumerate(names or labels(edges)):
        yield Counted(indicator, sub, name, counts.get(place, 0), counts.get(place, 0))


def _counted(con: Any, indicator: str, sub: str, binned: Any, names: Sequence[str]) -> Iterator[Counted]:
    """A histogram of records, and the users of each bin: of some users several records are in one bin."""
    by_user = binned.group_by([*USER, "bin"]).agg(records=binned.count())
    sums = by_user.group_by("bin").agg(count=_whole(by_user.records.sum()), users=by_user.count())
    found = {row["bin"]: row for row in con.to_pyarrow(sums).to_pylist()}
    for place, name in enumerate(names):
        row = found.get(place, {"count": 0, "users": 0})
        yield Counted(indicator, sub, name, row["count"], row["users"])


def _bin(value: Any, edges: Sequence[int]) -> Any:
    return reduce(add, ((value >= edge).cast("int64") for edge in edges))


def _distance2(table: Any, i: int) -> Any:
    """The square of the distance between a user's mean positions in H and in the state."""

    def mean(axis: str, suffix: str) -> Any:
        return table[f"sum_{axis}_{i}{suffix}"].cast("float64") / table[f"sum_{i}{suffix}"].cast("float64")

    e, n = (mean(axis, "") - mean(axis, "_old") for axis in ("e", "n"))
    return e * e + n * n


def _diagonal2(table: Any, i: int, suffix: str = "") -> Any:
    """The square of the diagonal of the box around a user's tiles."""
    e, n = (table[f"{axis}_max_{i}{suffix}"] - table[f"{axis}_min_{i}{suffix}"] for axis in ("e", "n"))
    return e * e + n * n


def _whole(total: Any) -> Any:
    return total.fill_null(0).cast("int64")


def _one(con: Any, expression: Any) -> tuple[int, ...]:
    (row,) = con.to_pyarrow(expression).to_pylist()
    return tuple(row.values())
