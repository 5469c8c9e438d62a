"""Columns of numbers: from text as the owner wrote it to the fixed point that is delivered.

Text is read by our own rules, not by what an engine lets pass as a number: digits, a point, an exponent, a sign. A
decimal becomes the nearest float64 and that is rounded half-even to whole units, which are powers of two: of these two
roundings the first is far below the second. A weight above 0 is at least one unit: who was there has not been nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from sealstat.tables.schemas import (
    INNER_BYTES,
    MAX_AREAS,
    MAX_RESIDENTS,
    MAX_WEIGHT,
    PSEUDONYM_BYTES,
    RESIDENTS_BITS,
    Column,
)

pc: Any = pyarrow.compute  # its stubs know fewer argument types than its functions
Flags = npt.NDArray[np.bool_]

_DECIMAL = r"^[+-]?([0-9]{1,20}(\.[0-9]{0,40})?|\.[0-9]{1,40})([eE][+-]?[0-9]{1,3})?$"
_WHOLE = r"^[0-9]{1,5}$"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What an agreement says of numbers, by a task's parameters.

    ``resolution_bits``: a weight is a whole number of 2^-this. ``tile_e``, ``tile_n``: the least and greatest easting
    and northing in km. ``plain_ids``: whether in the place of a pseudonym stands the identifier itself, 24 hexadecimal
    digits: only for one's own data in the clear.
    """

    resolution_bits: int = 10
    tile_e: tuple[int, int] = (0, 2**16 - 1)
    tile_n: tuple[int, int] = (0, 2**16 - 1)
    plain_ids: bool = False


def read(column: Column, values: Any, scale: Scale) -> tuple[Any, Flags, int]:
    """A column of text in its delivered type, which of its rows are good (others hold anything), and how many good
    ones had to be rounded."""
    if column.kind == "pseudonym":
        return *_pseudonyms(values, scale), 0
    if column.kind in ("tile", "area"):
        least, most = _bounds(column, scale)
        good = _flags(pc.match_substring_regex(values, _WHOLE))
        numbers = pc.if_else(pa.array(good), values, "0").cast(pa.int32()).to_numpy()
        good &= (least <= numbers) & (numbers <= most)
        kind: Any = pa.uint16() if column.kind == "tile" else pa.uint8()
        return pa.array(np.where(good, numbers, 0)).cast(kind), good, 0
    return _fixed_point(column, values, scale)


def delivered_well(column: Column, values: Any, scale: Scale) -> bool:
    """Whether a delivered column holds only what ``read`` gives; no row may be empty."""
    if column.kind == "pseudonym":
        return True  # any 16 bytes may be one: opening it tells
    least, most = _bounds(column, scale)
    span = pc.min_max(values).as_py()
    return bool(least <= span["min"] and span["max"] <= most)


def _bounds(column: Column, scale: Scale) -> tuple[int, int]:
    if column.kind == "tile":
        return scale.tile_e if column.name == "tile_e" else scale.tile_n
    return 0, {"area": MAX_AREAS - 1, "weight": MAX_WEIGHT, "residents": MAX_RESIDENTS << RESIDENTS_BITS}[column.kind]


def _fixed_point(column: Column, values: Any, scale: Scale) -> tuple[Any, Flags, int]:
    weight = column.kind == "weight"
    good = _flags(pc.match_substring_regex(values, _DECIMAL))
    numbers = pc.if_else(pa.array(good), values, "0").cast(pa.float64()).to_numpy()
    with np.errstate(over="ignore"):
        exact = numbers * 2.0 ** (scale.resolution_bits if weight else RESIDENTS_BITS)
    units = np.rint(exact)
    if weight:
        units = np.where((exact > 0) & (units == 0), 1, units)
    good &= (numbers >= 0) & (units <= _bounds(column, scale)[1])
    kind: Any = pa.uint32() if weight else pa.int64()
    whole = np.where(good, units, 0).astype(np.int64)
    return pa.array(whole).cast(kind), good, int(np.count_nonzero(good & (units != exact)))


def _pseudonyms(values: Any, scale: Scale) -> tuple[Any, Flags]:
    """Hexadecimal digits as bytes; a plain identifier is followed by zeros."""
    size = INNER_BYTES if scale.plain_ids else PSEUDONYM_BYTES
    good = _flags(pc.match_substring_regex(values, rf"^[0-9a-fA-F]{{{2 * size}}}$"))
    padded = pc.binary_join_element_wise(values, "00" * (PSEUDONYM_BYTES - size), "")
    filled: Any = pc.if_else(pa.array(good), padded, "00" * PSEUDONYM_BYTES)
    digits = bytes.fromhex("".join(filled.to_pylist()))
    buffers: Any = [None, pa.py_buffer(digits)]
    return pa.Array.from_buffers(pa.binary(PSEUDONYM_BYTES), len(values), buffers), good


def _flags(values: Any) -> Flags:
    flags: Flags = pc.fill_null(values, False).to_numpy(zero_copy_only=False)
    return flags.copy()  # Arrow's may be read-only
