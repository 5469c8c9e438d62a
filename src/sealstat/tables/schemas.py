"""The tables that providers deliver: what stands in them at home, and what is sealed.

At home a table is a CSV or Parquet file with the columns named here, in any order and no others.
Sealed is the delivered schema and no other: identifiers are pseudonyms by then, so it cannot hold one.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

Kind = Literal["identifier", "choice", "day", "pseudonym", "tile", "weight", "area", "residents"]


NUMBERS = frozenset[str]({"tile", "weight", "area", "residents"})
"""The kinds of columns that may be numbers in Parquet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column as the owner has it.

    ``kind`` says how it is checked: an ``identifier`` becomes a pseudonym, a ``choice`` comes from the closed
    list that the agreement gives, a ``day`` lies in the period; a ``pseudonym`` was made before; a ``tile`` is an
    easting or northing in the agreement's rectangle, a ``weight`` or ``residents`` a decimal that is delivered in fixed
    point, an ``area`` the number of a reference area. ``rule`` is the same for a person.
    """

    name: str
    kind: Kind
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSchema:
    """A table by name: its columns at home, its rules, and the Arrow schema that is sealed, column by column.

    ``keep_prefix`` digits of an identifier of ``identifier_digits`` ASCII digits stay readable in the pseudonym:
    an agreement over this table must say the same. ``whole``: a table that means nothing with rows left out, so that a
    bad row refuses the file, as does what ``tables.whole`` finds. ``file_a_day``: the rows of a file are one day's.
    """

    name: str
    columns: tuple[Column, ...]
    identifier_digits: int = 0
    keep_prefix: int = 0
    whole: bool = False
    file_a_day: bool = False
    delivered: pa.Schema = field(compare=False)

    @property
    def names(self) -> list[str]:
        """The column names, in the order of the sealed table."""
        return [column.name for column in self.columns]

    @property
    def reasons(self) -> tuple[str, ...]:
        """The closed list of reasons for which a row is dropped.

        ``columns``: not one value per column; a column's name: the value breaks the column's rule; ``period``: a day
        outside the period; ``empty``: no weight above 0. A row that breaks several rules counts under the first.
        """
        more = (("period", "day"), ("empty", "weight"))
        kinds = {column.kind for column in self.columns}
        return ("columns", *self.names, *(reason for reason, kind in more if kind in kinds))

    def rule(self, reason: str) -> str:
        """What a row that was dropped for this reason should have, for a person."""
        of_rows = {
            "columns": "one value for each column",
            "period": "a day of the period",
            "empty": "at least one weight above 0",
        }
        return {column.name: column.rule for column in self.columns}.get(reason) or of_rows[reason]


PSEUDONYM_BYTES = 16
INNER_BYTES = 12
"""Bytes of an inner id: what a period pseudonym opens to, and what stands for a user in the clear."""

MAX_FILE_ROWS = 1_000_000_000
"""Most rows in a file that is delivered, so that a small file cannot claim work for years."""


def _filled(**types: Any) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in types.items()])


_ROAMERS = TableSchema(
    name="roamers",
    columns=(
        Column(name="imsi", kind="identifier", rule="15 ASCII digits, leading zeros included"),
        Column(name="border_area", kind="choice", rule="a name in the agreement's list of areas"),
        Column(name="date", kind="day", rule="a day of the period, written like 2026-10-31"),
    ),
    identifier_digits=15,
    keep_prefix=6,
    delivered=_filled(imsi=pa.binary(6 + PSEUDONYM_BYTES), border_area=pa.string(), date=pa.date32()),
)

MAX_AREAS = 128
MAX_WHOLE_ROWS = 1_000_000
"""Most rows in a table that is refused or taken whole."""

MAX_DAYS = 366
MAX_WEIGHT = (2**32 - 1) // MAX_DAYS
"""Most of a weight, in units of its resolution: a year's sum fits 32 bits."""

RESIDENTS_BITS = 32
MAX_RESIDENTS = 10_000_000
"""Most residents of one square kilometre: about a hundred times the densest in the world."""

_TILE_RULE = "a whole number of km inside the agreement's rectangle"
_TILE = (
    Column(name="tile_e", kind="tile", rule=_TILE_RULE),
    Column(name="tile_n", kind="tile", rule=_TILE_RULE),
)
_WEIGHT_RULE = f"a decimal of at least 0 and, in units of the agreement's resolution, at most {MAX_WEIGHT}"

_PRESENCE = TableSchema(
    name="presence",
    columns=(
        Column(
            name="user_id",
            kind="pseudonym",
            rule="a period's pseudonym: 32 hexadecimal digits (in the clear the inner code: 24)",
        ),
        *_TILE,
        *(
            Column(name=name, kind="weight", rule=_WEIGHT_RULE)
            for name in ("weight_day", "weight_sub1", "weight_sub2", "weight_sub3")
        ),
    ),
    file_a_day=True,
    delivered=_filled(
        pseudonym=pa.binary(PSEUDONYM_BYTES),
        tile_e=pa.uint16(),
        tile_n=pa.uint16(),
        v0=pa.uint32(),
        v1=pa.uint32(),
        v2=pa.uint32(),
        v3=pa.uint32(),
    ),
)

_REFERENCE_AREAS = TableSchema(
    name="reference_areas",
    columns=(Column(name="area_id", kind="area", rule=f"a whole number from 0 to {MAX_AREAS - 1}"), *_TILE),
    whole=True,
    delivered=_filled(area_id=pa.uint8(), tile_e=pa.uint16(), tile_n=pa.uint16()),
)

_CENSUS = TableSchema(
    name="census",
    columns=(*_TILE, Column(name="residents", kind="residents", rule=f"a decimal from 0 to {MAX_RESIDENTS}")),
    whole=True,
    delivered=_filled(tile_e=pa.uint16(), tile_n=pa.uint16(), residents=pa.int64()),
)

_TABLES = {table.name: table for table in (_ROAMERS, _PRESENCE, _REFERENCE_AREAS, _CENSUS)}


def get(name: str) -> TableSchema:
    """The table of that name.

    Raises:
        ValueError: there is none; the message lists those there are.
    """
    try:
        return _TABLES[name]
    except KeyError:
        raise ValueError(f"no table is called so: expected one of {', '.join(names())}") from None


def names() -> list[str]:
    """The names of all tables, sorted."""
    return sorted(_TABLES)
