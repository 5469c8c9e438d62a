"""A picture of how the days' data look: users by day, and of each day what part of them is in each class."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from sealstat.reports.drawing import LINE, MARK, WARM, Picture, drawing, number, share, to_svg
from sealstat.reports.maps import Floats, Tiles, Window, keys, paint

_EPOCH = date(1970, 1, 1)
_MAP = "viridis_r"
_USERS = (("unique_users_h", "seen on the day", MARK), ("unique_users_new_s", "in the state after it", WARM))
_CLASSES = (
    ("records_per_user_h", "", "records (tiles) of a user\non the day"),
    ("distance_h_to_old_s", "0", "km between a user's mean place\non the day and in the state before"),
)


@dataclass(frozen=True, slots=True)
class Classes:
    """One indicator. ``part``: (bins, days), float64, of the day's told users, NaN if hidden or without figures."""

    label: str
    edges: Sequence[str]
    part: Floats


def by_day(table: pa.Table, k: int, least: int, days: Mapping[str, Sequence[str]]) -> Picture:
    """Users seen and in the state, and below, on the same days, users by records and by distance.

    Args:
        table: ``quality`` of the longitudinal statistic, as released; at least a row.
        k: below so many users a figure is hidden.
        least: users that a day must have, for any of its figures to be told.
        days: what became of the report's days, as about.json has it; {} if unknown.
    """
    rows = table.to_pylist()
    told = {_EPOCH + timedelta(row["day"]) for row in rows}
    known = told | {date.fromisoformat(day) for each in days.values() for day in each}
    first, count = min(known), (max(known) - min(known)).days + 1
    every = [first + timedelta(step) for step in range(count)]
    lacking = [day for day in every if day not in told]
    users = {name: _users(rows, name, first, count) for name, *_ in _USERS}
    classes = [_classes(rows, *named, first, count) for named in _CLASSES]
    alt = _alt(users, classes, every, len(lacking))
    with drawing() as figure_class:
        from matplotlib.colors import Normalize

        figure = figure_class(figsize=(9.6, 8.2), layout="constrained", dpi=160)
        top, *below = figure.subplots(1 + len(classes), 1, sharex=True, height_ratios=(1.1, 1.25, 1.25))
        _draw_users(top, users, every)
        norm = Normalize(0, max((float(np.nanmax(each.part)) for each in classes if not _empty(each)), default=1))
        for axes, each in zip(below, classes, strict=True):
            _draw_classes(axes, each, told, every, norm)
        for axes in (top, *below):
            for day in lacking:
                axes.axvspan(_at(day), _at(day) + 1, color=LINE, linewidth=0.5)
            axes.tick_params(labelsize=8)
        _frame(below[-1], every)
        _bar(figure, norm, below)
        columns = [(day - first).days for day in told]
        hidden = any(np.isnan(each.part[:, columns]).any() for each in classes)
        _legend(figure, k, hidden=hidden, lacking=bool(lacking))
        svg = to_svg(figure, alt)
    return Picture("How the days' data look", alt, svg, tuple(_notes(least, days, lacking)))


# -- reading the table -------------------------------------------------------------------------------------------


def _users(rows: list[dict[str, Any]], indicator: str, first: date, count: int) -> Floats:
    """(days,): users of a figure without bins."""
    found = np.full(count, np.nan)
    for row in rows:
        if row["indicator"] == indicator and row["users"] is not None:
            found[row["day"] - _at(first)] = row["users"]
    return found


def _classes(rows: list[dict[str, Any]], indicator: str, sub: str, label: str, first: date, count: int) -> Classes:
    mine = [row for row in rows if (row["indicator"], row["sub_period"]) == (indicator, sub)]
    bins = [name for name in dict.fromkeys(row["bin"] for row in mine) if name]
    if not sub:
        bins = bins[1:]  # below 1 record is nobody
    users = np.full((len(bins), count), np.nan)
    for row in mine:
        if row["bin"] in bins and row["users"] is not None:
            users[bins.index(row["bin"]), row["day"] - _at(first)] = row["users"]
    with np.errstate(invalid="ignore"):
        part = users / np.nansum(users, axis=0)
    return Classes(label, bins, part)


def _at(day: date) -> int:
    return (day - _EPOCH).days


def _empty(classes: Classes) -> bool:
    return bool(np.isnan(classes.part).all())


# -- drawing -----------------------------------------------------------------------------------------------------


def _draw_users(axes: Any, users: Mapping[str, Floats], every: Sequence[date]) -> None:
    from matplotlib.ticker import FuncFormatter

    middle = [_at(day) + 0.5 for day in every]
    size = 3.5 if len(every) < 70 else 1
    for name, label, colour in _USERS:
        axes.plot(middle, users[name], "o-", color=colour, label=label, linewidth=1.4, markersize=size)
    axes.set_ylim(
        0, 1.08 * max((float(np.nanmax(each)) for each in users.values() if not np.isnan(each).all()), default=1)
    )
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_ylabel("users")
    axes.grid(axis="y", alpha=0.25, linewidth=0.5)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, fontsize=8.5, borderpad=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _draw_classes(axes: Any, classes: Classes, told: set[date], every: Sequence[date], norm: Any) -> None:
    window = Window(west=_at(every[0]), south=0, columns=len(every), rows=len(classes.edges))
    places = np.array([(at, row) for at in map(_at, sorted(told)) for row in range(window.rows)], np.int64)
    e, n = places.T
    tiles = Tiles(e, n, classes.part[n, e - window.west])
    hidden, (key,) = tiles.hidden, keys(hidden=True)
    paint(axes, window, Tiles(e[~hidden], n[~hidden], tiles.value[~hidden]), norm, cmap=_MAP)
    # not as on maps: these squares are too long or too narrow for a hatching of pixels
    look = {"facecolor": key.get_facecolor(), "edgecolor": key.get_edgecolor(), "hatch": key.get_hatch()}
    axes.bar(e[hidden], 1, 1, n[hidden], align="edge", linewidth=0, **look)
    axes.set_aspect("auto")
    # a bin is between two ticks
    axes.set_yticks(range(1, window.rows), labels=[name.lstrip("<") for name in classes.edges[:-1]])
    axes.set_ylabel(classes.label)


def _frame(axes: Any, every: Sequence[date]) -> None:
    step = max(1, -(-len(every) // 12))
    shown = every[::step]
    axes.set_xlim(_at(every[0]), _at(every[0]) + max(len(every), 7))
    axes.set_xticks([_at(day) + 0.5 for day in shown], labels=[f"{day:%d %b}" for day in shown])
    axes.set_xlabel(
        f"day, {every[0]:%Y}" if every[0].year == every[-1].year else f"day, {every[0]:%Y} to {every[-1]:%Y}"
    )


def _bar(figure: Any, norm: Any, axes: list[Any]) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.ticker import PercentFormatter

    bar = figure.colorbar(ScalarMappable(norm, _MAP), ax=axes, shrink=0.8, pad=0.02, aspect=32)
    bar.set_label("part of the day's users whose class is told", fontsize=9)
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8)


def _legend(figure: Any, k: int, *, hidden: bool, lacking: bool) -> None:
    from matplotlib.patches import Patch

    entries = keys(hidden=hidden)
    for entry in entries:
        entry.set_label(f"hidden: fewer than {number(k)} users")
    if lacking:
        entries.append(Patch(facecolor=LINE, label="no figures of the day", linewidth=0))
    if entries:
        figure.legend(handles=entries, loc="outside lower center", ncols=len(entries), frameon=False, fontsize=8.5)


# -- words -------------------------------------------------------------------------------------------------------


def _alt(users: Mapping[str, Floats], classes: Sequence[Classes], every: Sequence[date], lacking: int) -> str:
    words = [f"Users by day, {every[0]} to {every[-1]}, {lacking} of {len(every)} without figures."]
    for name, label, _ in _USERS:
        seen = users[name][~np.isnan(users[name])]
        words.append(f"{label.capitalize()}: {number(seen.min())} to {number(seen.max())}." if len(seen) else "")
    for each in classes:
        if not _empty(each):
            place = int(np.nanargmax(np.nan_to_num(each.part).sum(axis=1)))
            mean = float(np.nan_to_num(each.part[place])[~np.isnan(each.part).all(axis=0)].mean())
            what = " ".join(each.label.split())
            words.append(f"{what.capitalize()}: most often {each.edges[place]}, {share(mean, 1)} of a day's users.")
    return " ".join(word for word in words if word)


def _notes(least: int, days: Mapping[str, Sequence[str]], lacking: Sequence[date]) -> Iterator[str]:
    yield (
        "Classes go by doubling: between two marks lie the users from the lower number to below the higher. All "
        "figures are rounded down, so parts are approximate."
    )
    yield "The state after a day holds all users of the day and of those taken in before it, whichever date they have."
    taken = {date.fromisoformat(day) for day in days.get("taken_in", ())}
    small, others = [day for day in lacking if day in taken], [day for day in lacking if day not in taken]
    if small:
        yield f"Days without figures, taken in, but of fewer than {number(least)} users: {_listed(small)}."
    if others:
        yield f"Days without figures, not in the report{'' if taken else ' or too small'}: {_listed(others)}."


def _listed(days: Sequence[date]) -> str:
    return f"{', '.join(map(str, days[:12]))}{', …' if len(days) > 12 else ''} ({len(days)})"
