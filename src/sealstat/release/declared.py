"""What output rules must know: of a table as its statistic declares it, and of a rule as the agreement has it.

Both are told by shape, so that this room knows neither statistics nor agreements.
"""

from collections.abc import Sequence
from typing import Protocol


class Part(Protocol):
    """A number of contributors that a cell tells: a column, or that column less another."""

    @property
    def column(self) -> str: ...
    @property
    def minus(self) -> str | None: ...


class PartGroup(Protocol):
    """Parts that are hidden together: if one of them is small, all columns of ``hides`` go."""

    @property
    def name(self) -> str: ...
    @property
    def parts(self) -> Sequence[Part]: ...
    @property
    def hides(self) -> Sequence[str]: ...


class Declared(Protocol):
    """A table of one row a cell: dimensions name it, measures tell of it, one of them counts its contributors."""

    @property
    def dimensions(self) -> Sequence[str]: ...
    @property
    def measures(self) -> Sequence[str]: ...
    @property
    def contributors(self) -> str | None: ...
    @property
    def part_groups(self) -> Sequence[PartGroup]: ...
    @property
    def sparse(self) -> bool: ...


class Rule(Protocol):
    """What the parties agreed for a table.

    ``minimum`` contributors a cell; where given, ``minimum_part`` contributors for each of its parts, or none at
    all; ``complementary``: no cell hidden alone in its line (suppression.py).
    """

    @property
    def minimum(self) -> int: ...
    @property
    def minimum_part(self) -> int | None: ...
    @property
    def complementary(self) -> bool: ...
