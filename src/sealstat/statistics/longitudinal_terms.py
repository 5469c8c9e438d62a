"""What the longitudinal statistic is told and gives: parameters, rows, limits and tables, without the computing.

Numbers that decide anything are exact. Presence is counted in units of 2^-``resolution_bits``, weights of users in
units of 2^-40, residents in units of 2^-32; thresholds are decimals, written as text, since agreements hold no floats.
"""

from __future__ import annotations

import re
from fractions import Fraction
from math import ceil
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from sealstat.statistics.tables import Column, OutputTable, Part, PartGroup, by_name
from sealstat.tables.schemas import MAX_DAYS, MAX_WEIGHT

# --- rows --------------------------------------------------------------------------------------------------------

VALUES = ("v0", "v1", "v2", "v3")
"""Presence in the whole day and in its three sub-periods, in units of 2^-resolution_bits."""

DAY: pa.Schema = pa.schema(
    [pa.field(name, pa.uint64(), nullable=False) for name in ("hi", "lo")]
    + [pa.field(name, pa.uint32(), nullable=False) for name in VALUES]
)
"""A row of a day whose pseudonyms are opened: one user on one tile.

``hi``: the first 8 bytes of the identifier as a big-endian number; ``lo``: its last 4 bytes << 32 | tile_e << 16 |
tile_n. So numbers sort by (hi, lo) like (identifier, tile).
"""

STATE: pa.Schema = DAY
"""A row of the state S: the sums of a user's days on one tile, each (user, tile) once, sorted by (hi, lo)."""


def day_rows(delivered: pa.RecordBatch, high: Any, low: Any) -> pa.RecordBatch:
    """Rows of ``DAY`` from a delivered batch and its opened pseudonyms.

    Args:
        high, low: (n,), uint64 and uint32: the first 8 and the last 4 bytes of each identifier.
    """
    east, north = (delivered.column(name).to_numpy().astype(np.uint64) for name in ("tile_e", "tile_n"))
    lo = low.astype(np.uint64) << np.uint64(32) | east << np.uint64(16) | north
    columns = [pa.array(high), pa.array(lo), *(delivered.column(name) for name in VALUES)]
    return pa.RecordBatch.from_arrays(columns, schema=DAY)


# --- limits ------------------------------------------------------------------------------------------------------

MAX_UNITS_PER_DAY = MAX_WEIGHT
"""Most presence in one row of a day, so that the sum of a year's days fits uint32."""

TILE_MAX = 2**16 - 1
"""Eastings and northings are 16 bits; an agreement names the rectangle it expects."""

WEIGHT_BITS = 40
HALF_BITS = 22
"""A user's weight is a whole number of 2^-40, kept as two halves of 22 bits: sums of a half over 2^31 users stay below
2^53, so that they are exact in 64-bit integers and in floating point alike."""

# --- parameters --------------------------------------------------------------------------------------------------


_SHARE, _AMOUNT = r"^(0|[1-9][0-9]{0,2})(\.[0-9]{1,6})?$", r"^(0|[1-9][0-9]{0,6})(\.[0-9]{1,6})?$"


def _decimal(pattern: str, below: str) -> BeforeValidator:
    """An exact decimal as text; a whole number may be written as one."""

    def read(value: Any) -> str:
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if not isinstance(text, str) or not re.fullmatch(pattern, text):
            raise ValueError(
                f"expected a decimal from 0 to below {below}, like 0.5, with at most 6 digits after the point"
            )
        return text

    return BeforeValidator(read)


Share = Annotated[str, _decimal(_SHARE, "1,000"), Field(pattern=_SHARE)]
Amount = Annotated[str, _decimal(_AMOUNT, "10,000,000"), Field(pattern=_AMOUNT)]


def _number(value: object) -> object:
    """An agreement in YAML, and a command line, give numbers and truth as text."""
    if isinstance(value, str) and re.fullmatch(r"0|[1-9][0-9]{0,9}", value):
        return int(value)
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


Whole = Annotated[int, BeforeValidator(_number)]
Flag = Annotated[bool, BeforeValidator(_number)]


class Parameters(BaseModel):
    """What the agreement fixes. Decimals are text, such as "0.3": they are exact and have a canonical form."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    psi: Amount = Field(
        "10",
        description="least presence of a usual tile, summed over all days, each rounded to the resolution; unit of v0; "
        "above 0",
    )
    phi: Share = Field(
        "0.5", description="least share v_i / v0 for a sub-period to count, both of rounded presence; ratio"
    )
    xi: Amount = Field("1", description="least value that is told: lower cells become 0; users (weighted)")
    calibrate: Flag = Field(False, description="whether users are also weighted by the census of their top tile")
    small_count: Whole = Field(10, ge=0, le=1_000, description="weight 1 below this many residents and users; persons")
    clamp_low: Share = Field("0.2", description="least weight; residents per user")
    clamp_high: Share = Field("10", description="highest weight; residents per user")
    resolution_bits: Whole = Field(
        10, ge=0, le=16, description="presence is rounded to 2^-this, to no less where it is above 0; bits"
    )
    tile_e_min: Whole = Field(0, ge=0, le=TILE_MAX, description="least easting that is delivered; km")
    tile_e_max: Whole = Field(TILE_MAX, ge=0, le=TILE_MAX, description="greatest easting that is delivered; km")
    tile_n_min: Whole = Field(0, ge=0, le=TILE_MAX, description="least northing that is delivered; km")
    tile_n_max: Whole = Field(TILE_MAX, ge=0, le=TILE_MAX, description="greatest northing that is delivered; km")
    quality_minimum: Whole = Field(
        20,
        ge=1,
        le=10_000,
        description="quality figures below it are hidden, others rounded down to its multiples; none of a day "
        "with fewer than 1000 times as many; users",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Parameters:
        # with psi = 0 a tile without presence would be usual, and v_i / v0 a division by nothing
        if Fraction(self.psi) == 0:
            raise ValueError("psi must be above 0")
        if self.psi_units > MAX_UNITS_PER_DAY * MAX_DAYS:
            raise ValueError("psi is above all presence that a year of days can hold")
        if self.tile_e_min > self.tile_e_max or self.tile_n_min > self.tile_n_max:
            raise ValueError("a least easting or northing is above the greatest: no tile would fit")
        if not 0 < Fraction(self.clamp_low) <= 1 <= Fraction(self.clamp_high) <= 10:
            raise ValueError("clamp_low is above 0 and at most 1, clamp_high at least 1 and at most 10")
        return self

    @property
    def psi_units(self) -> int:
        """The least whole number of presence units that reaches psi."""
        units: int = ceil(Fraction(self.psi) * 2**self.resolution_bits)
        return units

    @property
    def phi_exact(self) -> Fraction:
        """phi, its numerator below 10^9 and its denominator at most 10^6."""
        return Fraction(self.phi)

    @property
    def xi_exact(self) -> Fraction:
        """xi as the number that it is."""
        return Fraction(self.xi)


# --- output tables -----------------------------------------------------------------------------------------------


def _tile() -> tuple[Column, Column]:
    return (
        Column(name="tile_e", type="index", unit="km", description="easting of the tile, ETRS89-LAEA"),
        Column(name="tile_n", type="index", unit="km", description="northing of the tile, ETRS89-LAEA"),
    )


def _users(name: str, description: str) -> Column:
    return Column(name=name, type="count", unit="users", description=description)


def _value(name: str, unit: str, description: str) -> Column:
    return Column(name=name, type="real", unit=unit, description=description)


_SUB = ("", *(f" with at least phi of their presence on it in sub-period {i}" for i in (1, 2, 3)))


def _fingerprint(name: str, title: str, unit: str) -> OutputTable:
    return OutputTable(
        name=name,
        title=title,
        columns=(
            *_tile(),
            *(_value(f"value_{i}", unit, f"users of the tile{sub}; 0 below xi") for i, sub in enumerate(_SUB)),
            *(_users(f"users_{i}", f"those behind value_{i}, unweighted; 0 where it is 0") for i in range(4)),
        ),
        sparse=True,
        dimensions=("tile_e", "tile_n"),
        contributors="users_0",
        part_groups=tuple(
            PartGroup(name=f"sub_{i}", parts=(Part(f"users_{i}"),), hides=(f"value_{i}", f"users_{i}"))
            for i in (1, 2, 3)
        ),
    )


def _urban(name: str, title: str) -> OutputTable:
    return OutputTable(
        name=name,
        title=title,
        columns=(
            Column(name="reference_area", type="index", unit="area", description="number of the reference area"),
            *_tile(),
            _value("strength", "share", "part of the tile's users (weighted) with a usual tile in the reference area"),
            _users("users", "users of the tile, unweighted"),
            _users("linked_users", "those with a usual tile in the reference area, unweighted"),
        ),
        sparse=True,
        dimensions=("reference_area", "tile_e", "tile_n"),
        contributors="users",
        part_groups=(
            PartGroup(
                name="linked",
                # who is not linked is told by the difference
                parts=(Part("linked_users"), Part("users", minus="linked_users")),
                hides=("strength", "linked_users"),
            ),
        ),
    )


OUTPUTS = by_name(
    _fingerprint("fingerprint", "Users of each tile in their usual environment", "users"),
    _fingerprint("calibrated_fingerprint", "The same, users weighted by the census", "weighted users"),
    _urban("functional_urban_fingerprint", "Link of each tile to the reference areas"),
    _urban("calibrated_functional_urban_fingerprint", "The same, users weighted by the census"),
    OutputTable(
        name="top_anchors",
        title="Users by their top tile",
        columns=(*_tile(), _users("value", "users whose top tile it is; tiles below xi are left out")),
        sparse=True,
        dimensions=("tile_e", "tile_n"),
        contributors="value",
    ),
    OutputTable(
        name="statistics",
        title="Totals",
        columns=(
            _users("highly_nomadic_users", "users without a usual tile: in no other figure"),
            _users("observed_total_users", "users with a usual tile"),
            _value("adjusted_total_users", "weighted users", "the same, weighted; equal if not calibrated"),
        ),
        contributors="observed_total_users",
        part_groups=(
            PartGroup(name="nomadic", parts=(Part("highly_nomadic_users"),), hides=("highly_nomadic_users",)),
        ),
    ),
    OutputTable(
        name="quality",
        title="How the days' data look, masked",
        columns=(
            Column(name="day", type="index", unit="day", description="days since 1970-01-01"),
            Column(name="indicator", type="text", unit="name", description="what is looked at"),
            Column(name="sub_period", type="text", unit="number", description="0 whole day, 1 to 3; or empty"),
            Column(name="bin", type="text", unit="range", description="its values in the bin; or empty for all users"),
            _users(
                "users",
                "users with such a value or record, rounded down to a multiple of quality_minimum; null below it",
            ),
        ),
        dimensions=("day", "indicator", "sub_period", "bin"),
        contributors="users",
    ),
)
