"""The content of a released table as bytes: what its salted commitment in the run-record is made over.

It is text, not Arrow or Parquet, so that whoever holds the table in any form can rebuild it without our software.
"""

from datetime import date, datetime
from math import isfinite
from typing import Any

import pyarrow as pa

from sealstat.crypto import canonical


def text(value: Any) -> str | None:
    """A cell as text, the same in the commitment and in the CSV; None where it is hidden or absent."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, float) and not isfinite(value):
        raise ValueError("a released table holds finite numbers")
    return str(value)  # of a float the shortest text that is the same float64


def content(name: str, table: pa.Table) -> bytes:
    """Canonical JSON of {columns, rows, table}: column names in order, rows of text or null in order.

    >>> content("all", pa.table({"union": [12], "share_a": pa.array([None], pa.int64())})).decode()
    '{"columns":["union","share_a"],"rows":[["12",null]],"table":"all"}'
    """
    columns = [[text(value) for value in column.to_pylist()] for column in table.columns]
    rows = [list(row) for row in zip(*columns, strict=True)]
    return canonical.encode({"columns": table.column_names, "rows": rows, "table": name})
