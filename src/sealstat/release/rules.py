"""The rules of an agreement, applied to a statistic's tables: only what they cover leaves, only as they say."""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from sealstat.release.declared import Declared, Rule
from sealstat.release.suppression import Cell, Hidden, complemented
from sealstat.release.thresholds import below_minimum, tells_small_part


class UncoveredTableError(ValueError):
    """A table is listed for release, but its rule cannot be applied to it.

    Attributes:
        table: its name.
    """

    def __init__(self, table: str, sentence: str) -> None:
        self.table = table
        super().__init__(f"the table {table} cannot be released: {sentence}")


def problems(declared: Mapping[str, Declared], rules: Mapping[str, Rule]) -> Iterator[tuple[str, str]]:
    """Why rules cannot be applied to tables, as (table, sentence): to be asked before an agreement is signed."""
    for name, rule in rules.items():
        table = declared.get(name)
        if table is None:
            yield name, f"the statistic has no such table: it has {', '.join(sorted(declared)) or 'none'}"
        elif table.contributors is None:
            yield name, "no column counts its contributors, so no minimum can be applied: leave it out"
        elif rule.minimum < 1 or (rule.minimum_part is not None and rule.minimum_part < 1):
            yield name, "a minimum is 1 or more"
        elif rule.minimum_part is not None and not table.part_groups:
            yield name, "it declares no parts, so minimum_part would do nothing: leave that term out"


def apply(
    outputs: Mapping[str, pa.Table], declared: Mapping[str, Declared], rules: Mapping[str, Rule]
) -> tuple[dict[str, pa.Table], dict[str, dict[str, Any]]]:
    """The tables as they may leave, and what the rules did to each.

    Args:
        outputs: the whole tables, by name.
        declared: what each holds.
        rules: the agreement's. A table without one is not in the result.
    Returns:
        The tables, nulls where cells or parts are hidden, columns as before; a sparse table's hidden rows are left out.
        And by table how many cells it has and how many were hidden, whole or per part group, by the minimum (primary)
        and beside another (secondary): numbers derived from data, which may travel inside the sealed result only.
    Raises:
        UncoveredTableError: a rule names a table that does not exist, counts no contributors, or that it cannot cover.
    """
    for name, sentence in problems(declared, rules):
        raise UncoveredTableError(name, sentence)
    tables: dict[str, pa.Table] = {}
    effects: dict[str, dict[str, Any]] = {}
    for name in sorted(rules):
        if name not in outputs:
            raise UncoveredTableError(name, "the statistic did not make it")
        tables[name], effects[name] = _protected(outputs[name], declared[name], rules[name])
    return tables, effects


def _protected(table: pa.Table, declared: Declared, rule: Rule) -> tuple[pa.Table, dict[str, Any]]:
    rows = table.to_pylist()
    primary = _primary(rows, declared, rule)
    hidden = primary
    if rule.complementary:
        cells = [Cell(tuple(row[d] for d in declared.dimensions), row[str(declared.contributors)]) for row in rows]
        hidden = complemented(cells, primary)
    for place in hidden.cells:
        rows[place].update(dict.fromkeys(declared.measures))
    for group in declared.part_groups:
        for place in hidden.parts.get(group.name, ()):
            rows[place].update(dict.fromkeys(group.hides))
    shown = [row for place, row in enumerate(rows) if not (declared.sparse and place in hidden.cells)]
    return pa.Table.from_pylist(shown, schema=table.schema), _effects(len(rows), primary, hidden)


def _primary(rows: list[dict[str, Any]], declared: Declared, rule: Rule) -> Hidden:
    """What the minimums hide. Without ``minimum_part`` no part group is looked at, so none is listed."""
    small = frozenset(n for n, row in enumerate(rows) if below_minimum(row[str(declared.contributors)], rule.minimum))
    part = rule.minimum_part
    if part is None:
        return Hidden(small, {})
    groups = {
        group.name: small | {n for n, row in enumerate(rows) if tells_small_part(row, group, part)}
        for group in declared.part_groups
    }
    return Hidden(small, groups)


def _effects(cells: int, primary: Hidden, hidden: Hidden) -> dict[str, Any]:
    def counts(first: frozenset[int], all_of_them: frozenset[int]) -> dict[str, int]:
        return {"primary": len(first), "secondary": len(all_of_them - first)}

    parts = {
        name: counts(primary.parts[name] - hidden.cells, lacking - hidden.cells)
        for name, lacking in hidden.parts.items()
    }
    return {"cells": cells, "hidden": counts(primary.cells, hidden.cells), "hidden_parts": parts}
