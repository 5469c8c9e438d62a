"""Minimum frequencies: which cells are too small to be told, and which tell of too small a part.

Contributors are counted unweighted. A value that is None is hidden already and stays so.
"""

from collections.abc import Mapping
from typing import Any

from sealstat.release.declared import Part, PartGroup

Cell = Mapping[str, Any]


def below_minimum(contributors: int | None, minimum: int) -> bool:
    """Whether a cell must be hidden whole: fewer contributors than the minimum.

    >>> below_minimum(9, 10), below_minimum(10, 10), below_minimum(None, 10)
    (True, False, True)
    """
    return contributors is None or contributors < minimum


def tells_small_part(cell: Cell, group: PartGroup, minimum_part: int) -> bool:
    """Whether a cell tells of 1 to ``minimum_part`` - 1 contributors. None at all is nobody's secret.

    Source: cases.md C04: |A n B|, |A \\ B|, |B \\ A| and the visitors of several days, m = 3.
    """
    sizes = [_size(cell, part) for part in group.parts]
    return any(size is None or 0 < size < minimum_part for size in sizes)


def _size(cell: Cell, part: Part) -> int | None:
    column = cell[part.column]
    minus = 0 if part.minus is None else cell[part.minus]
    return None if column is None or minus is None else column - minus
