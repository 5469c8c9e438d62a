"""C04's output rules: nothing below the minimum, no small part, no cell that subtraction gives back."""

from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealstat import statistics
from sealstat.release import UncoveredTableError, apply
from sealstat.release.commitment import content

DECLARED = statistics.get("visitors").outputs
MEASURES = ("a", "b", "intersection", "share_a", "share_b", "overlap", "multiplier_a")


def block(only_a: int, both: int, only_b: int, multi: int) -> dict[str, Any]:
    union = only_a + both + only_b
    found: dict[str, Any] = dict.fromkeys(DECLARED["all"].schema.names)
    return found | {
        "a": only_a + both,
        "b": only_b + both,
        "intersection": both,
        "union": union,
        "visitor_days": union + multi,
        "multi_day_visitors": min(multi, union),
    }


BLOCKS = st.builds(block, *[st.integers(0, 14)] * 4)


def rule(**terms: Any) -> Any:
    return SimpleNamespace(**({"minimum": 10, "minimum_part": 3, "complementary": True} | terms))


def released(name: str, rows: list[dict[str, Any]], **terms: Any) -> list[dict[str, Any]]:
    table = pa.Table.from_pylist(rows, schema=DECLARED[name].schema)
    tables, _ = apply({name: table}, DECLARED, {name: rule(**terms)})
    return tables[name].to_pylist()


def grid(blocks: list[dict[str, Any]], width: int) -> list[dict[str, Any]]:
    return [each | {"country": f"C{n // width}", "border_area": f"A{n % width}"} for n, each in enumerate(blocks)]


@given(BLOCKS)
def test_a_total_below_the_minimum_or_with_a_small_part_does_not_leave(given_block: dict[str, Any]) -> None:
    (row,) = released("all", [given_block])
    if given_block["union"] < 10:
        assert all(value is None for value in row.values())
        return
    assert row["union"] == given_block["union"]
    both = given_block["intersection"]
    parts = (both, given_block["a"] - both, given_block["b"] - both)
    hidden = any(1 <= part <= 2 for part in parts)
    assert (row["a"] is None) == hidden
    assert all((row[name] is None) for name in MEASURES) if hidden else True
    assert (row["multi_day_visitors"] is None) == (1 <= given_block["multi_day_visitors"] <= 2)


@settings(deadline=None)
@given(st.lists(BLOCKS, min_size=9, max_size=16), st.integers(3, 4))
def test_no_line_of_the_grid_has_one_hidden_cell_alone(blocks: list[dict[str, Any]], width: int) -> None:
    rows = released("by_country_area", grid(blocks, width))
    for dimension in ("country", "border_area"):
        for line in {row[dimension] for row in rows}:
            cells = [row for row in rows if row[dimension] == line]
            hidden = [row for row in cells if row["union"] is None]
            assert len(hidden) != 1 or len(cells) == 1
            shown = [row for row in cells if row["union"] is not None]
            without_parts = [row for row in shown if row["a"] is None]
            assert len(without_parts) + len(hidden) != 1 or len(cells) == 1


@settings(deadline=None)
@given(st.lists(BLOCKS, min_size=4, max_size=12))
def test_applying_the_rules_again_changes_nothing(blocks: list[dict[str, Any]]) -> None:
    rows = [each | {"country": f"C{n:02d}"} for n, each in enumerate(blocks)]
    once = released("by_country", rows, complementary=False)
    shown = [row for row in once if row["union"] is not None]
    assert all(row["union"] >= 10 for row in shown)
    known = {row["country"]: row for row in rows}
    for row in shown:
        for name, value in row.items():
            assert value is None or value == known[row["country"]][name], "a figure was changed, not hidden"


def test_a_table_without_a_rule_does_not_leave() -> None:
    table = pa.Table.from_pylist([block(20, 20, 20, 5)], schema=DECLARED["all"].schema)
    tables, effects = apply({"all": table}, DECLARED, {})
    assert (tables, effects) == ({}, {})


def test_a_rule_for_an_unknown_table_is_refused() -> None:
    with pytest.raises(UncoveredTableError, match="no such table"):
        apply({}, DECLARED, {"lists": rule()})


def test_the_content_of_a_table_does_not_depend_on_how_it_lies_in_memory() -> None:
    table = pa.table({"country": ["MY", "SG"], "union": pa.array([12, None], pa.int64())})
    chunked = pa.concat_tables([table.slice(0, 1), table.slice(1, 1)])
    assert content("by_country", table) == content("by_country", chunked)
