"""Secondary suppression: a cell hidden alone in a line is found by subtraction, so a second one goes with it.

A line is all cells that differ in one dimension only: the rows and the columns of a grid, or a list as a whole.
Source: cases.md section 0, complementary suppression, and C04's order of steps.

Not guaranteed: that no hidden cell can be bounded or solved for from several lines or tables together. That
takes a solver over all margins; this rule stops the subtraction that needs none.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """The name of a cell, one value a dimension, and how many contributors it has (None: hidden already)."""

    key: Key
    contributors: int | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Hidden:
    """Which cells are hidden, by their place in the table.

    Attributes:
        cells: those hidden whole.
        parts: for each part group those that do not tell it: a cell hidden whole tells no part.
    """

    cells: frozenset[int]
    parts: dict[str, frozenset[int]]


def complemented(cells: Sequence[Cell], primary: Hidden) -> Hidden:
    """``primary`` and what must be hidden with it, so that no line has a single gap where another cell can join.

    Along the last dimension first (in a grid of country by area: along each country's row, then along each
    area's column), again until nothing changes. In a line with exactly one cell hidden, the cell with the fewest
    contributors of the rest is hidden too (of equals, the first by name); else, for each part group that exactly one
    cell does not tell, the smallest cell that tells it stops doing so.
    """
    whole, parts = set(primary.cells), {name: set(lacking) for name, lacking in primary.parts.items()}
    lines = list(_lines(cells))
    changed = True
    while changed:
        changed = False
        for line in lines:
            if (chosen := _companion(cells, line, whole)) is not None:
                whole.add(chosen)
                for lacking in parts.values():
                    lacking.add(chosen)
                changed = True
                continue
            for lacking in parts.values():
                if (chosen := _companion(cells, line, lacking)) is not None:
                    lacking.add(chosen)
                    changed = True
    return Hidden(frozenset(whole), {name: frozenset(lacking) for name, lacking in parts.items()})


def _lines(cells: Sequence[Cell]) -> Iterator[list[int]]:
    """The places of each line's cells: along the last dimension first, lines in order of their names."""
    dimensions = len(cells[0].key) if cells else 0
    for along in reversed(range(dimensions)):
        lines: dict[Key, list[int]] = {}
        for place, cell in enumerate(cells):
            lines.setdefault(cell.key[:along] + cell.key[along + 1 :], []).append(place)
        yield from (lines[name] for name in sorted(lines))


def _companion(cells: Sequence[Cell], line: Sequence[int], hidden: set[int]) -> int | None:
    """The cell to hide beside the only hidden one of a line; None if none or several are, or there is no other."""
    if sum(place in hidden for place in line) != 1:
        return None
    rest = [place for place in line if place not in hidden]
    return min(rest, key=lambda place: (cells[place].contributors or 0, cells[place].key), default=None)
