"""Pictures of a visitors result: bars by country, shares of the market. SVG as text, to stand in one HTML file."""

import io
import re
from typing import Any

import pyarrow as pa

_A_ONLY, _BOTH, _B_ONLY, _UNION = "#0a5c8f", "#7a8794", "#c96a1b", "#2c7a4b"


def visitors_by_country(table: pa.Table, *, most: int = 12) -> str:
    """Bars of visitors by home country, the most first; hidden countries are named below, not drawn as zero."""
    rows = table.to_pylist()
    shown = sorted((row for row in rows if row["union"] is not None), key=lambda row: -row["union"])[:most]
    hidden = sorted(row["country"] for row in rows if row["union"] is None)
    figure, axes = _figure(height=0.32 * len(shown) + 1.3)
    names, values = [row["country"] for row in shown], [row["union"] for row in shown]
    bars = axes.barh(names, values, color=_UNION, height=0.7)
    axes.bar_label(bars, labels=[f"{value:,}" for value in values], padding=4, fontsize=9)
    axes.invert_yaxis()
    below = f"\nhidden by the agreement's rules, not zero: {', '.join(hidden)}" if hidden else ""
    axes.set_xlabel(f"visitors, each counted once{below}")
    axes.margins(x=0.14)
    return _svg(figure, "Visitors by home country")


def market_shares(table: pa.Table) -> str:
    """One bar of all visitors: seen by A alone, by both, by B alone."""
    row = table.to_pylist()[0]
    figure, axes = _figure(height=1.5)
    if row["a"] is None:
        figure.text(0.02, 0.5, "the shares are hidden by the agreement's rules", fontsize=10)
        axes.set_axis_off()
        return _svg(figure, "Shares of the roaming market")
    parts = (
        ("operator A only", row["a"] - row["intersection"], _A_ONLY),
        ("both", row["intersection"], _BOTH),
        ("operator B only", row["b"] - row["intersection"], _B_ONLY),
    )
    left = 0
    for name, value, colour in parts:
        axes.barh(
            [""], [value], left=left, color=colour, label=f"{name}: {value:,} ({100 * value / row['union']:.1f} %)"
        )
        left += value
    axes.set_xlim(0, row["union"])
    axes.set_xlabel(f"all {row['union']:,} visitors, each counted once")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False, fontsize=9)
    return _svg(figure, "Shares of the roaming market")


def _figure(*, height: float) -> Any:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.fonttype"] = "none"  # text stays text: legible, searchable, small
    mpl.rcParams["svg.hashsalt"] = "sealstat"
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, height), layout="constrained")
    axes = figure.add_subplot()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _svg(figure: Any, title: str) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Title": title})
    svg = out.getvalue()
    start = svg.index("<svg")
    return re.sub(r"<svg ", f'<svg role="img" aria-label="{title}" ', svg[start:], count=1)
