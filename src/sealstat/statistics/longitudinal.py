"""The longitudinal statistic of mobile network data: usual environments and their links (longitudinal.md, 1-11).

In whole numbers throughout: presence in units of the agreement's resolution, a threshold as an exact fraction, weights
in units of 2^-40. So nothing depends on order, threads or engine. The engine adds; what follows from the sums is in
``longitudinal_tables``. Numbered comments are the spec's steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from sealstat.statistics.longitudinal_days import STATEFUL
from sealstat.statistics.longitudinal_quality import quality
from sealstat.statistics.longitudinal_state import KEY, USER, kept, merged, split_key, summed, users
from sealstat.statistics.longitudinal_tables import (
    Aggregates,
    Anchors,
    Areas,
    Census,
    LinkSums,
    TileSums,
    anchors,
    areas_of,
    census_of,
    finish,
    tie_rank,
)
from sealstat.statistics.longitudinal_terms import OUTPUTS, VALUES, Parameters, day_rows
from sealstat.statistics.registry import Statistic
from sealstat.tables.numbers import Scale
from sealstat.tables.schemas import INNER_BYTES

# --- the report --------------------------------------------------------------------------------------------------


def report(
    con: Any, state: Any, areas: Areas, census: Census | None, parameters: Parameters, *, secret: bytes
) -> dict[str, pa.Table]:
    """All tables but ``quality`` (steps 5-11), without any output rule of the agreement applied.

    Args:
        con: an Ibis backend; ``state``: its table of ``STATE``'s columns, each (user, tile) once.
        census: needed if ``parameters.calibrate``.
        secret: 32 bytes that decide exact ties of top tiles.
    Raises:
        ValueError: calibration without a census.
    """
    return finish(aggregates(con, state, areas, census, parameters, secret=secret), areas, parameters)


def aggregates(
    con: Any, state: Any, areas: Areas, census: Census | None, parameters: Parameters, *, secret: bytes
) -> Aggregates:
    """The exact sums that ``finish`` wants; see ``report``."""
    import ibis

    if parameters.calibrate and census is None:
        raise ValueError("calibration needs the input census")
    usual = kept(con, _usual(state, parameters))
    top = kept(con, _top(con, usual, secret))
    found = _anchors(con, top, census if parameters.calibrate else None, parameters)
    weights = ibis.memtable(pa.table({"tile": found.tile, "high": found.high, "low": found.low}))
    weighted = top.join(weights, "tile").select(*USER, "high", "low")
    marked = kept(con, usual.join(weighted, USER).select(*USER, "tile", "b1", "b2", "b3", "high", "low"))
    return Aggregates(
        users=users(con, state),
        anchors=found,
        tiles=_tile_sums(con, marked),
        links=_link_sums(con, marked, areas),
    )


def _usual(state: Any, parameters: Parameters) -> Any:
    """Y: each user's usual tiles and their sub-periods (step 5); v_i / v0 >= phi without a division."""
    import ibis

    phi = parameters.phi_exact
    usual = split_key(state).filter(state.v0 >= parameters.psi_units)
    v0, *subs = (usual[v].cast("int64") for v in VALUES)
    enough = {f"b{i}": v * phi.denominator >= v0 * phi.numerator for i, v in enumerate(subs, 1)}
    return usual.select(*KEY, "user", "tile", "v0", "v1", other=ibis.greatest(usual.v1, usual.v2, usual.v3), **enough)


def _top(con: Any, usual: Any, secret: bytes) -> Any:
    """The top tile of every user with a usual environment (steps 6, 7)."""
    import ibis

    best_first = ibis.window(group_by=USER, order_by=[ibis.desc(usual.v0), ibis.desc(usual.other), ibis.desc(usual.v1)])
    best = usual.mutate(place=ibis.rank().over(best_first))
    best = best.filter(best.place == 0).select(*KEY, "user", "tile")
    several = best.mutate(candidates=best.count().over(ibis.window(group_by=USER)))
    tied = con.to_pyarrow(several.filter(several.candidates > 1).select(*KEY))
    if not len(tied):
        return best
    return best.anti_join(ibis.memtable(_losers(tied, secret)), KEY)


def _losers(tied: pa.Table, secret: bytes) -> pa.Table:
    """Of each user's tied tiles all but that of the greatest HMAC-SHA-256(secret, hi || lo), both as 8 bytes."""
    rows = list(zip(*(_array(tied, name, np.uint64).tolist() for name in KEY), strict=True))
    winners: dict[tuple[int, int], tuple[bytes, int]] = {}
    for hi, lo in rows:
        user, rank = (hi, lo >> 32), (tie_rank(secret, hi, lo), lo)
        winners[user] = max(rank, winners.get(user, rank))
    lost = [(hi, lo) for hi, lo in rows if winners[hi, lo >> 32][1] != lo]
    columns = {name: pa.array([key[place] for key in lost], pa.uint64()) for place, name in enumerate(KEY)}
    return pa.table(columns)


def _anchors(con: Any, top: Any, census: Census | None, parameters: Parameters) -> Anchors:
    """P and the weights (steps 8, 9)."""
    found = con.to_pyarrow(top.group_by("tile").agg(users=top.count()))
    return anchors(_array(found, "tile", np.uint32), _array(found, "users", np.int64), census, parameters)


def _tile_sums(con: Any, marked: Any) -> TileSums:
    """D (step 10)."""
    sums = {"users_0": marked.count(), "high_0": _sum(marked.high), "low_0": _sum(marked.low)}
    for i in (1, 2, 3):
        there = marked[f"b{i}"]
        sums[f"users_{i}"] = marked.count(where=there)
        sums[f"high_{i}"] = _sum(marked.high, where=there)
        sums[f"low_{i}"] = _sum(marked.low, where=there)
    found = con.to_pyarrow(marked.group_by("tile").agg(**sums))

    def four(name: str) -> Any:
        return np.stack([_array(found, f"{name}_{i}", np.int64) for i in range(4)], axis=1)

    return TileSums(tile=_array(found, "tile", np.uint32), users=four("users"), high=four("high"), low=four("low"))


def _link_sums(con: Any, marked: Any, areas: Areas) -> LinkSums:
    """The numerators of C (step 11); the denominators are D of the whole day."""
    import ibis

    members = ibis.memtable(pa.table({"area": areas.area, "tile": areas.tile}))
    visits = marked.join(members, "tile").select(*USER, "area").distinct()
    linked = marked.join(visits, USER)
    sums = linked.group_by(["area", "tile"]).agg(users=linked.count(), high=_sum(linked.high), low=_sum(linked.low))
    found = con.to_pyarrow(sums)
    return LinkSums(
        area=_array(found, "area", np.int64),
        tile=_array(found, "tile", np.uint32),
        users=_array(found, "users", np.int64),
        high=_array(found, "high", np.int64),
        low=_array(found, "low", np.int64),
    )


def _sum(column: Any, where: Any = None) -> Any:
    return column.sum(where=where).fill_null(0).cast("int64")


def _array(table: pa.Table, name: str, kind: Any) -> Any:
    return table[name].to_numpy().astype(kind)


# --- over plain tables -------------------------------------------------------------------------------------------


def compute(con: Any, tables: Mapping[str, Any], parameters: Parameters) -> dict[str, pa.Table]:
    """All tables at once, over days in the clear; ties are decided under a key that everyone knows.

    Args:
        con: an Ibis backend.
        tables: its tables ``days`` (``DAY`` and ``day``, the number of each row's day), ``reference_areas`` and, if
            calibrated, ``census``, as they are delivered.
    """
    by_day = merged(tables["days"])
    state = summed(by_day)
    areas = areas_of(con.to_pyarrow(tables["reference_areas"]))
    census = census_of(con.to_pyarrow(tables["census"])) if "census" in tables else None
    made = report(con, state, areas, census, parameters, secret=bytes(32))
    numbers = sorted(con.to_pyarrow(tables["days"].select("day").distinct())["day"].to_pylist())
    found = [
        quality(
            con,
            number,
            tables["days"].filter(tables["days"].day == number).drop("day"),
            summed(by_day.filter(by_day.day < number)),
            parameters,
        )
        for number in numbers
    ]
    return made | {"quality": pa.concat_tables([OUTPUTS["quality"].schema.empty_table(), *found])}


def in_the_clear(batch: pa.RecordBatch, day: int) -> pa.RecordBatch:
    """Delivered rows whose pseudonyms are plain identifiers, as ``compute`` wants them."""
    column: Any = batch.column("pseudonym")
    width = column.type.byte_width
    whole = np.frombuffer(column.buffers()[1], np.uint8, len(batch) * width, column.offset * width)
    bytes_ = whole.reshape(-1, width)
    high = np.ascontiguousarray(bytes_[:, :8]).view(">u8").ravel().astype(np.uint64)
    low = np.ascontiguousarray(bytes_[:, 8:INNER_BYTES]).view(">u4").ravel().astype(np.uint32)
    return day_rows(batch, high, low).append_column("day", pa.array(np.full(len(batch), day, np.int32)))


def _scale(parameters: Parameters) -> Scale:
    return Scale(
        resolution_bits=parameters.resolution_bits,
        tile_e=(parameters.tile_e_min, parameters.tile_e_max),
        tile_n=(parameters.tile_n_min, parameters.tile_n_max),
    )


def _unneeded(parameters: Parameters) -> tuple[str, ...]:
    return () if parameters.calibrate else ("census",)


def _choices(_: Parameters) -> dict[str, list[str]]:
    return {}


STATISTIC = Statistic(
    name="longitudinal",
    version=1,
    title="Usual environments over many days: users of each tile, links to areas, weighted by the census",
    inputs={"days": "presence", "reference_areas": "reference_areas", "census": "census"},
    parameters=Parameters,
    outputs=OUTPUTS,
    compute=compute,
    choices=_choices,
    scale=_scale,
    unneeded=_unneeded,
    in_the_clear=in_the_clear,
    stateful=STATEFUL,
)
