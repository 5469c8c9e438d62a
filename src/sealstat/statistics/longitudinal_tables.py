"""The end of the longitudinal statistic: from exact sums to finished tables, for every engine the same code.

Whatever computes the sums (Ibis, sorted arrays) hands over whole numbers that depend on no order. From there each
figure is one correctly rounded operation, so the tables are the same to the bit.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from functools import lru_cache
from math import ceil
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sealstat.statistics.longitudinal_terms import HALF_BITS, OUTPUTS, WEIGHT_BITS, Parameters
from sealstat.tables.schemas import RESIDENTS_BITS

Ints = npt.NDArray[np.int64]
Tiles = npt.NDArray[np.uint32]

_ONE = 1 << WEIGHT_BITS
_LOW = (1 << HALF_BITS) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Areas:
    """The reference areas: pairs of an area's number and a tile (tile_e << 16 | tile_n), in any order.

    ``area``: (n,), int64; ``tile``: (n,), uint32.
    """

    area: Ints
    tile: Tiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """Residents by tile, each tile once: ``tile``: (n,), uint32; ``residents``: (n,), int64, in units of 2^-32."""

    tile: Tiles
    residents: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchors:
    """P: the users of each top tile, and the weight of each of them.

    ``tile``: (n,), uint32, each once; ``users``: (n,), int64, at least 1; ``high``, ``low``: (n,), int64, the halves of
    the weight.
    """

    tile: Tiles
    users: Ints
    high: Ints
    low: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class TileSums:
    """D before suppression: who has each tile in the usual environment, for the whole day and three sub-periods.

    ``tile``: (n,), uint32, each once, any order; ``users``: (n, 4), int64; ``high``, ``low``: (n, 4), int64, sums of
    the halves of the users' weights.
    """

    tile: Tiles
    users: Ints
    high: Ints
    low: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSums:
    """The numerators of C: users of a tile who have a usual tile in an area. Pairs without such users may be left out;
    pairs whose tile lies in the area may be there and are left out of the tables.

    ``area``: (n,), int64; ``tile``: (n,), uint32; pairs each once, any order; ``users``, ``high``, ``low``: (n,),
    int64.
    """

    area: Ints
    tile: Tiles
    users: Ints
    high: Ints
    low: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregates:
    """All that the tables are made of. ``users``: how many users have any valid row (are in S)."""

    users: int
    anchors: Anchors
    tiles: TileSums
    links: LinkSums


# --- weights -----------------------------------------------------------------------------------------------------


def areas_of(table: pa.Table) -> Areas:
    """Reference areas from their delivered table; a row that stands twice counts once."""
    code = np.unique(_array(table, "area_id", np.int64) << 32 | _tiles_of(table).astype(np.int64))
    return Areas(area=code >> 32, tile=(code & 0xFFFFFFFF).astype(np.uint32))


def census_of(table: pa.Table) -> Census:
    """A census from its delivered table."""
    return Census(tile=_tiles_of(table), residents=_array(table, "residents", np.int64))


def _tiles_of(table: pa.Table) -> Any:
    return _array(table, "tile_e", np.uint32) << np.uint32(16) | _array(table, "tile_n", np.uint32)


def _array(table: pa.Table, name: str, kind: Any) -> Any:
    return table[name].to_numpy().astype(kind)


def weight(residents: int, users: int, parameters: Parameters) -> int:
    """The weight of each user of a top tile (step 9), in units of 2^-40, rounded half-even from the exact ratio.

    Args:
        residents: of the tile, in units of 2^-32; 0 if the census does not list it.
        users: whose top tile it is, at least 1.
    """
    if max(residents, users << RESIDENTS_BITS) < parameters.small_count << RESIDENTS_BITS:
        return _ONE
    ratio = Fraction(residents, users << RESIDENTS_BITS)
    clamped = min(max(ratio, Fraction(parameters.clamp_low)), Fraction(parameters.clamp_high))
    return round(clamped * _ONE)


def anchors(tile: Tiles, users: Ints, census: Census | None, parameters: Parameters) -> Anchors:
    """The top tiles with their weights; without a census every weight is 1.

    Args:
        tile: (n,), each once. users: (n,), at least 1.
    """
    if census is None:
        whole = np.full(len(tile), _ONE, np.int64)
    else:
        residents = dict(zip(census.tile.tolist(), census.residents.tolist(), strict=True))
        known = lru_cache(maxsize=None)(lambda r, n: weight(r, n, parameters))
        found = [known(residents.get(t, 0), n) for t, n in zip(tile.tolist(), users.tolist(), strict=True)]
        whole = np.array(found, np.int64)
    return Anchors(tile=tile, users=users, high=whole >> HALF_BITS, low=whole & _LOW)


# --- ties -----------------------------------------------------------------------------------------------------------


def tie_rank(secret: bytes, hi: int, lo: int) -> bytes:
    """What decides between tiles of one user that are equal in all else: the greatest wins."""
    return hmac.digest(secret, hi.to_bytes(8, "big") + lo.to_bytes(8, "big"), "sha256")


# --- tables ------------------------------------------------------------------------------------------------------


def finish(aggregates: Aggregates, areas: Areas, parameters: Parameters) -> dict[str, pa.Table]:
    """All tables but ``quality``, rows sorted by their dimensions; calibrated ones are empty without calibration.

    Suppression by xi comes last and feeds nothing (spec, section 3); the agreement's own rules are yet to be applied.
    """
    tiles = _taken(aggregates.tiles, np.argsort(aggregates.tiles.tile))
    links = _outside(aggregates.links, areas)
    plain_tiles, plain_links = _unweighted(tiles), _unweighted(links)
    tables = {
        "fingerprint": _fingerprint("fingerprint", plain_tiles, parameters),
        "functional_urban_fingerprint": _urban("functional_urban_fingerprint", plain_tiles, plain_links, parameters),
        "top_anchors": _top_anchors(aggregates.anchors, parameters),
        "statistics": _statistics(aggregates),
    }
    names = "calibrated_fingerprint", "calibrated_functional_urban_fingerprint"
    if not parameters.calibrate:
        return tables | {name: OUTPUTS[name].schema.empty_table() for name in names}
    return tables | {
        names[0]: _fingerprint(names[0], tiles, parameters),
        names[1]: _urban(names[1], tiles, links, parameters),
    }


def _unweighted(sums: Any) -> Any:
    """The same users, each of weight 1, which is exact in the upper half alone."""
    return replace(sums, high=sums.users << (WEIGHT_BITS - HALF_BITS), low=np.zeros_like(sums.low))


def _fingerprint(name: str, tiles: TileSums, parameters: Parameters) -> pa.Table:
    told = _reaches(tiles.high, tiles.low, tiles.users, parameters)
    value = np.where(told, _real(tiles.high, tiles.low), 0.0)
    users = np.where(told, tiles.users, 0)  # a hidden value is not to be read off its count
    return _table(name, *_split(tiles.tile), *value.T, *users.T)


def _urban(name: str, tiles: TileSums, links: LinkSums, parameters: Parameters) -> pa.Table:
    told = _reaches(links.high, links.low, links.users, parameters) & (links.users > 0)
    area, tile, users = links.area[told], links.tile[told], links.users[told]
    place = np.searchsorted(tiles.tile, tile)
    den = _real(tiles.high[place, 0], tiles.low[place, 0])
    strength = _real(links.high[told], links.low[told]) / den
    return _table(name, area, *_split(tile), strength, tiles.users[place, 0], users)


def _top_anchors(found: Anchors, parameters: Parameters) -> pa.Table:
    order = np.argsort(found.tile)
    kept = order[found.users[order] >= ceil(parameters.xi_exact)]
    return _table("top_anchors", *_split(found.tile[kept]), found.users[kept])


def _statistics(aggregates: Aggregates) -> pa.Table:
    found = aggregates.anchors
    observed = int(found.users.sum())
    adjusted = _real(found.users @ found.high, found.users @ found.low)
    return _table("statistics", [aggregates.users - observed], [observed], [adjusted])


def _outside(links: LinkSums, areas: Areas) -> LinkSums:
    """Links sorted by area and tile, without those of tiles inside the area."""
    code = links.area << 32 | links.tile.astype(np.int64)
    order = np.argsort(code)
    order = order[~np.isin(code[order], areas.area << 32 | areas.tile.astype(np.int64))]
    return cast("LinkSums", _taken(links, order))


def _taken(sums: Any, order: Ints) -> Any:
    """The same columns with the rows of these places."""
    return replace(sums, **{field.name: getattr(sums, field.name)[order] for field in fields(sums)})


def _reaches(high: Ints, low: Ints, users: Ints, parameters: Parameters) -> npt.NDArray[np.bool_]:
    """Whether a weighted sum is at least xi.

    Each user's weight was rounded by up to half a unit of 2^-40, so that ten weights of 1/5 add up to a little less
    than 2. A sum counts as xi if the exact one, within that rounding, may be xi.
    """
    bound = ceil(parameters.xi_exact * _ONE)
    low = low + (users + 1) // 2
    high, low = high + (low >> HALF_BITS), low & _LOW
    reached: npt.NDArray[np.bool_] = (high > bound >> HALF_BITS) | (
        (high == bound >> HALF_BITS) & (low >= bound & _LOW)
    )
    return reached


def _real(high: Any, low: Any) -> Any:
    """The sum as float64, correctly rounded: both halves are exact below 2^53, and are added once."""
    return high * 2.0 ** (HALF_BITS - WEIGHT_BITS) + low * 2.0**-WEIGHT_BITS


def _split(tile: Tiles) -> tuple[Tiles, Tiles]:
    return tile >> np.uint32(16), tile & np.uint32(0xFFFF)


def _table(name: str, *columns: Any) -> pa.Table:
    schema: Any = OUTPUTS[name].schema
    return pa.table([pa.array(c, field.type) for c, field in zip(columns, schema, strict=True)], schema=schema)
