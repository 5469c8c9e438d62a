"""What an output table holds, told so that output rules need no knowledge of the statistic."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import pyarrow as pa

_TYPES: dict[str, Any] = {
    "text": pa.string(),
    "index": pa.int64(),
    "count": pa.int64(),
    # 4 decimals; 14 digits before the point, so that no count of ours overflows it
    "ratio": pa.decimal128(18, 4),
    "real": pa.float64(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column: ``text``, an ``index`` (int64, a number that names), a ``count`` (int64), a ``ratio`` (decimal128 with
    4 decimals, rounded half-even) or a ``real`` (float64, finite, made so that it is the same on every machine)."""

    name: str
    type: Literal["text", "index", "count", "ratio", "real"]
    unit: str
    description: str


@dataclass(frozen=True, slots=True)
class Part:
    """A number of contributors that a cell tells: a column, or the difference of two."""

    column: str
    minus: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartGroup:
    """Parts that are hidden together, and the columns that tell them.

    When one of ``parts`` is small, all of ``hides`` must go: each of those columns gives it away with the others.
    """

    name: str
    parts: tuple[Part, ...]
    hides: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputTable:
    """One row a cell. ``dimensions`` name the cell, every other column is measured.

    Attributes:
        contributors: the column that counts, unweighted, the persons behind a cell; None if no column does.
        part_groups: what a cell tells of fewer persons than all of its contributors.
        sparse: its rows are the cells where somebody is, so that a row is there tells something: a hidden one is left
            out.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    dimensions: tuple[str, ...] = ()
    contributors: str | None
    part_groups: tuple[PartGroup, ...] = ()
    sparse: bool = False

    def __post_init__(self) -> None:
        known = {column.name for column in self.columns}
        counted = {name for group in self.part_groups for part in group.parts for name in (part.column, part.minus)}
        used = {*self.dimensions, self.contributors, *counted, *(n for g in self.part_groups for n in g.hides)}
        if missing := used - known - {None}:
            raise ValueError(f"the table {self.name} has no column {', '.join(sorted(map(str, missing)))}")

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema: dimensions are always filled, a measure is null where hidden or undefined."""
        return pa.schema(
            [pa.field(c.name, _TYPES[c.type], nullable=c.name not in self.dimensions) for c in self.columns]
        )

    @property
    def measures(self) -> tuple[str, ...]:
        """The names of all columns but the dimensions."""
        return tuple(column.name for column in self.columns if column.name not in self.dimensions)


def by_name(*tables: OutputTable) -> Mapping[str, OutputTable]:
    """The tables by their names, read only."""
    return MappingProxyType({table.name: table for table in tables})
