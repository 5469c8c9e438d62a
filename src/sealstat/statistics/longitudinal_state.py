"""The state of the longitudinal statistic, and a day added to it, in Ibis (longitudinal.md, steps 2 to 4)."""

from __future__ import annotations

from typing import Any

from sealstat.statistics.longitudinal_terms import VALUES

KEY = ["hi", "lo"]
"""A user on a tile."""

USER = ["hi", "user"]
"""A user, once ``split_key`` has taken ``lo`` apart."""


def merged(day: Any) -> Any:
    """A day's rows, each (user, tile) once: the maximum of each column of its valid rows (steps 2, 3).

    Args:
        day: Ibis table of the columns of ``DAY``, in any order; rows without any presence are left out. Further
            columns, such as a day's number, are keys too.
    """
    keys = [name for name in day.columns if name not in VALUES]
    present = day.filter((day.v0 > 0) | (day.v1 > 0) | (day.v2 > 0) | (day.v3 > 0))
    return present.group_by(keys).agg(**{v: present[v].max() for v in VALUES})


def added(state: Any, day: Any) -> Any:
    """The state with a merged day added (step 4): Ibis tables of ``STATE`` in, one of ``STATE``'s columns out.

    No sum leaves uint32: deliveries are checked against ``MAX_UNITS_PER_DAY``, and a state has ``MAX_DAYS`` at most.
    """
    return summed(state.select(*KEY, *VALUES).union(day.select(*KEY, *VALUES)))


def summed(rows: Any) -> Any:
    """The sums of merged rows of any days by (user, tile): ``STATE``'s columns."""
    return rows.group_by(KEY).agg(**{v: rows[v].cast("int64").sum().cast("uint32") for v in VALUES})


def kept(con: Any, expression: Any) -> Any:
    """The rows of an expression computed once, in a temporary table that ends with the connection.

    Not ``cache()``: Ibis 12 with the sqlglot of today cannot drop what that makes.
    """
    from ibis.util import gen_name

    return con.create_table(gen_name("longitudinal"), expression, temp=True)


def split_key(table: Any) -> Any:
    """``lo`` taken apart: the rest of the user's identifier, and the tile."""
    import ibis

    bits = ibis.literal(32, "uint64")
    return table.mutate(user=(table.lo >> bits).cast("uint32"), tile=(table.lo & 0xFFFFFFFF).cast("uint32"))


def users(con: Any, state: Any) -> int:
    """How many users have rows."""
    return int(con.to_pyarrow(split_key(state).select(*USER).distinct().count()).as_py())
