"""Rules of a table as a whole, for those that are taken or refused whole: at home, and again in the enclave."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from sealstat.tables.errors import TableError
from sealstat.tables.schemas import MAX_AREAS, MAX_WHOLE_ROWS, TableSchema


def check_whole(table: pa.Table, schema: TableSchema, error: type[TableError]) -> None:
    """Refuse a table of good rows that together make no sense.

    Reference areas are numbered 0, 1, 2, ... without a gap, at most ``MAX_AREAS``; their rows may come in any order,
    and a row that stands twice says nothing new. A census names each tile once.

    Args:
        table: of ``schema.delivered``, of a schema that is ``whole``.
        error: what to raise: ``BadFile`` at home, ``DataError`` for a delivery.
    """
    check_size(len(table), error)
    if schema.name == "reference_areas":
        found = np.unique(table["area_id"].to_numpy())
        if len(found) and int(found[-1]) != len(found) - 1:
            raise error(
                f"the reference areas are not numbered 0, 1, 2, ... without a gap (at most {MAX_AREAS}): "
                f"there are {len(found)}, and the highest number is {int(found[-1])}"
            )
    elif schema.name == "census":
        tiles = table["tile_e"].to_numpy().astype(np.uint32) << np.uint32(16) | table["tile_n"].to_numpy()
        twice = len(tiles) - len(np.unique(tiles))
        if twice:
            raise error(f"the census lists {twice} tiles more than once: list each once")


def check_size(rows: int, error: type[TableError]) -> None:
    """Refuse a table that is to be taken whole and is too long for that."""
    if rows > MAX_WHOLE_ROWS:
        raise error(f"the table has more than {MAX_WHOLE_ROWS} rows")
