"""Bars: a count by any dimension, and the shares of a market of two operators."""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from sealstat.reports.drawing import GREEN, GREY, HIDDEN, MARK, WARM, Picture, drawing, number, to_svg

_MOST_NAMED = 40


def pictures(tables: Mapping[str, pa.Table], described: Mapping[str, Mapping[str, Any]]) -> Iterator[Picture]:
    """Bars of the contributors of every table whose rows are named by text; a table without rows is passed over.

    Args:
        described: of each table its title, dimensions, contributors and columns, as ``statistics.describe`` has them.
    """
    for name, table in tables.items():
        told = described[name]
        types = {column["name"]: column["type"] for column in told["columns"]}
        dimensions, measure = told["dimensions"], told["contributors"]
        if measure and dimensions and table.num_rows and all(types[each] == "text" for each in dimensions):
            unit = next(column["unit"] for column in told["columns"] if column["name"] == measure)
            yield by_dimension(table, dimensions, measure, title=told["title"], unit=unit)


def by_dimension(
    table: pa.Table, dimensions: list[str], measure: str, *, title: str, unit: str, most: int = 12
) -> Picture:
    """Bars of a measure, the most first; hidden rows are named below, not drawn as zero."""
    rows = [(" · ".join(str(row[each]) for each in dimensions), row[measure]) for row in table.to_pylist()]
    told = sorted(((name, value) for name, value in rows if value is not None), key=lambda row: (-row[1], row[0]))
    hidden = sorted(name for name, value in rows if value is None)
    shown = told[:most]
    words = ", ".join(f"{name} {number(value)}" for name, value in shown) or "none is told"
    alt = f"Bars: {title}, {unit}: {words}; {len(hidden)} of {len(rows)} rows are {HIDDEN}."
    notes = []
    if len(told) > len(shown):
        notes.append(f"Shown are the {len(shown)} largest of {len(told)}.")
    if hidden:
        more = ", …" if len(hidden) > _MOST_NAMED else ""
        notes.append(f"{HIDDEN.capitalize()}, not zero: {', '.join(hidden[:_MOST_NAMED])}{more} ({len(hidden)}).")
    with drawing() as figure_class:
        figure, axes = _figure(figure_class, height=0.32 * len(shown) + 1.1)
        places = range(len(shown))  # by place: two rows may have one name
        bars = axes.barh(places, [value for _, value in shown], color=GREEN, height=0.7)
        axes.set_yticks(places, labels=[name if len(name) <= 40 else f"{name[:39]}…" for name, _ in shown])
        axes.bar_label(bars, labels=[number(value) for _, value in shown], padding=4, fontsize=9)
        axes.invert_yaxis()
        axes.set_xlabel(unit)
        axes.margins(x=0.14)
        if not shown:
            axes.text(0.5, 0.5, f"every row is {HIDDEN}", transform=axes.transAxes, ha="center", va="center")
        return Picture(title, alt, to_svg(figure, alt), tuple(notes))


def market_shares(table: pa.Table) -> Picture:
    """One bar of all visitors: seen by A alone, by both, by B alone."""
    row, title = table.to_pylist()[0], "Shares of the roaming market"
    with drawing() as figure_class:
        figure, axes = _figure(figure_class, height=1.5)
        if row["a"] is None or row["union"] is None:
            alt = f"The shares of the roaming market are {HIDDEN}."
            figure.text(0.02, 0.5, f"the shares are {HIDDEN}", fontsize=10)
            axes.set_axis_off()
            return Picture(title, alt, to_svg(figure, alt))
        both, union = row["intersection"], row["union"]
        only_a, only_b = row["a"] - both, row["b"] - both
        parts = (("operator A only", only_a, MARK), ("both", both, GREY), ("operator B only", only_b, WARM))
        left, words = 0, []
        for name, value, colour in parts:
            words.append(f"{name}: {value:,} ({100 * value / max(union, 1):.1f} %)")
            axes.barh([""], [value], left=left, color=colour, label=words[-1])
            left += value
        axes.set_xlim(0, max(union, 1))
        axes.set_xlabel(f"all {union:,} visitors, each counted once")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False, fontsize=9)
        alt = f"{title}: {', '.join(words)}."
        return Picture(title, alt, to_svg(figure, alt))


def _figure(figure_class: Any, *, height: float) -> Any:
    figure = figure_class(figsize=(8, height), layout="constrained")
    axes = figure.add_subplot()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes
