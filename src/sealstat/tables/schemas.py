"""The tables that providers deliver: what stands in them at home, and what is sealed.

At home a table is a CSV or Parquet file with the columns named here, in any order and no others.
Sealed is the delivered schema and no other: identifiers are pseudonyms by then, so it cannot hold one.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column as the owner has it.

    ``kind`` says how it is checked: an ``identifier`` becomes a pseudonym, a ``choice`` comes from the closed
    list that the agreement gives, a ``day`` lies in the period. ``rule`` is the same for a person.
    """

    name: str
    kind: Literal["identifier", "choice", "day"]
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSchema:
    """A table by name: its columns at home, its rules, and the Arrow schema that is sealed.

    ``keep_prefix`` digits of an identifier of ``identifier_digits`` ASCII digits stay readable in the pseudonym:
    an agreement over this table must say the same.
    """

    name: str
    columns: tuple[Column, ...]
    identifier_digits: int
    keep_prefix: int
    delivered: pa.Schema = field(compare=False)

    @property
    def names(self) -> list[str]:
        """The column names, in the order of the sealed table."""
        return [column.name for column in self.columns]

    @property
    def reasons(self) -> tuple[str, ...]:
        """The closed list of reasons for which a row is dropped.

        ``columns``: not one value per column; a column's name: the value breaks the column's rule; ``period``: a day
        outside the period. A row that breaks several rules counts under the first.
        """
        return ("columns", *self.names, "period")


PSEUDONYM_BYTES = 16

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

_TABLES = {table.name: table for table in (_ROAMERS,)}


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
