"""Pictures of a longitudinal result: who is where at which time, what belongs to a city, users against the census.

Three kinds of squares are not coloured by a number and never look alike: hidden by the agreement's rules (hatched),
zero (grey; fewer than xi, or in a sub-period nobody who reaches phi), and no row at all (white; nobody, or too few to
be told).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import pyarrow as pa

from sealstat.reports.drawing import (
    GREEN,
    GREY,
    HIDDEN,
    INK,
    MARK,
    SOFT,
    WARM,
    Picture,
    drawing,
    number,
    share,
    to_svg,
)
from sealstat.reports.maps import Floats, Ints, Tiles, Window, frame, keys, outline, paint

_TIMES = ("whole day", "sub-period 1", "sub-period 2", "sub-period 3")
_AREAS_SHOWN = 6
_LEVELS = (0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.25, 0.5, 1)
_COMMUTING = 0.15
_MANY_POINTS = 2_000
_MAP = "viridis_r"  # read without colour vision, and in grey; the most is the darkest


def pictures(
    tables: Mapping[str, pa.Table],
    parameters: Mapping[str, Any],
    *,
    census: pa.Table | None = None,
    areas: pa.Table | None = None,
) -> Iterator[Picture]:
    """All pictures that these tables allow; a table that is not there or has no rows is passed over.

    Args:
        tables: by name, as the agreement released them.
        parameters: the statistic's, as JSON has them.
        census: (tile_e, tile_n, residents), the reader's own; None if it has none.
        areas: (area_id, tile_e, tile_n), likewise: the tiles of the reference areas.
    """
    having = {name: table for name, table in tables.items() if table.num_rows}
    bounds = tuple(f"{name} = {parameters[name]}" if name in parameters else name for name in ("xi", "phi"))
    for name, of in (("fingerprint", "users"), ("calibrated_fingerprint", "weighted users")):
        if name in having:
            yield by_time(having[name], of, *bounds)
    if "fingerprint" in having:
        yield parts_of_day(having["fingerprint"], *bounds)
    for name, of in (
        ("functional_urban_fingerprint", "users"),
        ("calibrated_functional_urban_fingerprint", "weighted users"),
    ):
        if name in having:
            yield urban_areas(having[name], having.get("fingerprint"), of, areas)
    if "top_anchors" in having:
        yield homes(having["top_anchors"], census)
        if census is not None:
            yield against_census(having["top_anchors"], census, Clamp.of(parameters))
    if census is None and {"fingerprint", "calibrated_fingerprint"} <= having.keys():
        yield against_uncalibrated(having["fingerprint"], having["calibrated_fingerprint"], Clamp.of(parameters))


# -- time of day -------------------------------------------------------------------------------------------------


def by_time(table: pa.Table, of: str, xi: str, phi: str) -> Picture:
    """Four maps on one logarithmic scale: the whole day and its three sub-periods.

    Args:
        of: what is counted; ``xi``, ``phi``: as in "xi = 1".
    """
    panels = [_tiles(table, f"value_{i}") for i in range(4)]
    window, norm = Window.over(panels[0].e, panels[0].n), _log_scale(panels)
    with drawing() as figure_class:
        figure, axes = _panels(figure_class, window, 4)
        for place, tiles, time in zip(axes, panels, _TIMES, strict=True):
            paint(place, window, tiles, norm, cmap=_MAP)
            place.set_title(_headed(time, tiles), fontsize=9, loc="left")
        frame(axes, [window] * 4)
        _bar(figure, norm, f"{of} of a tile (1 km²), logarithmic", axes)
        zero = _zero(of, xi, phi) if any((t.value == 0).any() for t in panels) else None
        _legend(figure, keys(zero=zero, hidden=any(t.hidden.any() for t in panels)))
        alt = f"Four maps of {len(table):,} tiles, {of}, in the whole day and three sub-periods. " + " ".join(
            f"{time.capitalize()}: {_told(tiles)}." for time, tiles in zip(_TIMES, panels, strict=True)
        )
        svg = to_svg(figure, alt)
    title = "Where people are, by time of day" + (", weighted by the census" if "weighted" in of else "")
    sub_periods = (
        f"On the map of a sub-period are not all who are there then, but the tile's users with at least {phi} of their "
        "presence on the tile in that sub-period, over all days. A user may count in several sub-periods, or in none."
    )
    notes = (
        "A user counts in every tile of the usual environment, so tiles must not be added up.",
        sub_periods,
        "The sub-periods of the day are those of the operator's day files.",
        *_white(window),
    )
    return Picture(title, alt, svg, notes)


def parts_of_day(table: pa.Table, xi: str, phi: str) -> Picture:
    """Three maps: which part of a tile's users is there above all in a sub-period; what sets homes apart from work."""
    from matplotlib.colors import Normalize

    whole = _tiles(table, "value_0")
    with np.errstate(invalid="ignore", divide="ignore"):
        # where the whole day's value is 0, all are: there is nothing to divide, and nothing that the rules hid
        panels = [
            Tiles(t.e, t.n, np.where(whole.value == 0, 0, t.value / whole.value))
            for t in (_tiles(table, f"value_{i}") for i in (1, 2, 3))
        ]
    window, norm = Window.over(whole.e, whole.n), Normalize(0, 1, clip=True)
    with drawing() as figure_class:
        figure, axes = _panels(figure_class, window, 3)
        for place, tiles, time in zip(axes, panels, _TIMES[1:], strict=True):
            paint(place, window, tiles, norm, cmap=_MAP)
            place.set_title(_headed(time, tiles), fontsize=9, loc="left")
        frame(axes, [window] * 3)
        bar = _bar(
            figure,
            norm,
            f"part of the tile's users with at least {phi}\nof their presence on it in the sub-period",
            axes,
        )
        bar.set_ticks([0, 0.25, 0.5, 0.75, 1], labels=["0 %", "25 %", "50 %", "75 %", "100 %"])
        zero = _zero("users", xi, phi) if any((t.value == 0).any() for t in panels) else None
        _legend(figure, keys(zero=zero, hidden=any(t.hidden.any() for t in panels)))
        alt = (
            f"Three maps of the part of each tile's users with at least {phi} of their presence in a sub-period. "
            + " ".join(
                f"{time.capitalize()}: median {share(float(np.median(told)), 1)} of {len(told):,} tiles."
                if len(told := tiles.value[~tiles.hidden])
                else f"{time.capitalize()}: all tiles are {HIDDEN}."
                for time, tiles in zip(_TIMES[1:], panels, strict=True)
            )
        )
        svg = to_svg(figure, alt)
    notes = (
        "value_1, value_2 and value_3, each over value_0 (not weighted).",
        "A user may count in several sub-periods, or in none, so the three do not add up to 100 %.",
        *_white(window),
    )
    return Picture("When they are there", alt, svg, notes)


def _zero(of: str, xi: str, phi: str) -> str:
    """What a value of 0 means: a whole day's only the second."""
    return f"0: no user reaches {phi}, or fewer than {xi} {of}"


# -- functional urban areas --------------------------------------------------------------------------------------


def urban_areas(table: pa.Table, fingerprint: pa.Table | None, of: str, areas: pa.Table | None) -> Picture:
    """A map for each reference area: how strongly each tile is linked to it, and where that is 15 % or more."""
    from matplotlib.colors import BoundaryNorm

    numbers, every = _column(table, "reference_area"), _tiles(table, "strength")
    present = [int(each) for each in np.unique(numbers)]
    shown = present[:_AREAS_SHOWN]
    used = _tiles(fingerprint, "value_0") if fingerprint is not None else every
    norm, panels, windows, inside = BoundaryNorm(_LEVELS, 256), [], [], None
    for area in shown:
        chosen = numbers == area
        panels.append(Tiles(every.e[chosen], every.n[chosen], every.value[chosen]))
        windows.append(_around(panels[-1], used))
    with drawing() as figure_class:
        figure, axes = _panels(figure_class, windows[0], len(shown), apart=True)
        for place, window, tiles, area in zip(axes, windows, panels, shown, strict=True):
            unlinked = window.mask(used.e, used.n) & ~window.mask(tiles.e, tiles.n)
            paint(place, window, tiles, norm, cmap=_MAP, others=unlinked)
            strong = tiles.value >= _COMMUTING
            outline(place, window, window.mask(tiles.e[strong], tiles.n[strong]), colour=WARM)
            if areas is not None:
                inside = _column(areas, "area_id") == area
                e, n = _column(areas, "tile_e")[inside], _column(areas, "tile_n")[inside]
                outline(place, window, window.mask(e, n), colour=INK, width=1.3)
            place.set_title(_headed(f"reference area {area}", tiles), fontsize=9, loc="left")
        frame(axes, windows)
        bar = _bar(figure, norm, f"strength: part of the tile's {of} linked to the area", axes)
        bar.set_ticks(_LEVELS, labels=[f"{100 * level:.0f} %" for level in _LEVELS])
        other = "no strength told: in the area itself, or linked to it by fewer than xi"
        entries = keys(hidden=any(t.hidden.any() for t in panels), others=other if fingerprint is not None else None)
        _legend(
            figure, [*entries, *_lines(("15 % or more", WARM), *([("the area", INK)] if areas is not None else []))]
        )
        alt = f"{len(shown)} maps of the strength of the link of tiles to reference areas. " + " ".join(
            f"Area {area}: {_told(tiles, per_cent=True)}; at 15 % or more {int((tiles.value >= _COMMUTING).sum()):,}."
            for area, tiles in zip(shown, panels, strict=True)
        )
        svg = to_svg(figure, alt)
    white = (
        "nobody, or too few to be told"
        if fingerprint is not None
        else "in the area, linked by fewer than xi, or too few to be told"
    )
    return Picture(_urban_title(of), alt, svg, (*_urban_notes(present, shown, areas, of), *_white(windows[0], white)))


def _urban_title(of: str) -> str:
    return "The functional urban area of each reference area" + (", weighted by the census" if "weighted" in of else "")


def _urban_notes(present: list[int], shown: list[int], areas: pa.Table | None, of: str) -> Iterator[str]:
    yield (
        f"Strength: of the {of} who have the tile in their usual environment, the part with a usual tile in the "
        "reference area. It is not told for the area's own tiles."
    )
    yield (
        "The orange line is a help for the eye, at 15 %: the share of commuters from which the EU–OECD definition "
        "counts a place to a city's commuting zone (Dijkstra, Poelman and Veneri, OECD Regional Development Working "
        "Papers 2019/11). "
        "Users are not commuters, so what it encloses is not an official functional urban area."
    )
    if areas is None:
        yield "Where the reference area lies is not among these tables: `sealstat fetch --areas FILE` outlines it."
    if len(present) > len(shown):
        yield f"Shown are the first {len(shown)} of {len(present)} reference areas; the table has them all."


def _around(tiles: Tiles, used: Tiles) -> Window:
    """The part of the map where the links of an area are; all tiles if none is strong."""
    strong = tiles.value >= _LEVELS[3]
    if not strong.any():
        return Window.over(used.e, used.n)
    # the middle 99 %, so that a single tile far away does not make a city a dot
    west, east = np.quantile(tiles.e[strong], (0.005, 0.995)).astype(np.int64)
    south, north = np.quantile(tiles.n[strong], (0.005, 0.995)).astype(np.int64)
    side = max(east - west, north - south, 20)
    more_e, more_n = (side - (east - west)) // 2 + side // 5, (side - (north - south)) // 2 + side // 5
    return Window.over(np.array([west - more_e, east + more_e]), np.array([south - more_n, north + more_n]))


# -- homes and the census ----------------------------------------------------------------------------------------


def homes(table: pa.Table, census: pa.Table | None) -> Picture:
    """A map of the users by their top tile, beside one of the residents if the census is at hand."""
    panels, titles = [_tiles(table, "value")], ["users by top tile"]
    if census is not None:
        panels.append(_tiles(census, "residents"))
        titles.append("residents (census)")
    window, norm = Window.over(*(np.concatenate([getattr(t, a) for t in panels]) for a in "en")), _log_scale(panels)
    with drawing() as figure_class:
        figure, axes = _panels(figure_class, window, len(panels))
        for place, tiles, title in zip(axes, panels, titles, strict=True):
            paint(place, window, tiles, norm, cmap=_MAP)
            place.set_title(_headed(title, tiles), fontsize=9, loc="left")
        frame(axes, [window] * len(panels))
        _bar(figure, norm, "persons of a tile (1 km²), logarithmic", axes)
        zero = "0" if any((tiles.value == 0).any() for tiles in panels) else None
        _legend(figure, keys(zero=zero, hidden=bool(panels[0].hidden.any())))
        alt = " ".join(f"Map of {title}: {_told(tiles)}." for title, tiles in zip(titles, panels, strict=True))
        svg = to_svg(figure, alt)
    notes = ("Each user is in one tile only: the one with the most presence.",)
    white = "no user's top tile, or that of fewer users than xi" + ("; or not in the census" if len(panels) > 1 else "")
    return Picture("Where people live: home tiles", alt, svg, (*notes, *_white(window, white)))


@dataclass(frozen=True, slots=True)
class Clamp:
    """The bounds of a weight, and below how many residents and users it is 1."""

    low: float
    high: float
    small: int
    used: bool

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> "Clamp":
        """From the statistic's parameters, with its defaults where one is not given."""
        return cls(
            low=float(parameters.get("clamp_low", "0.2")),
            high=float(parameters.get("clamp_high", "10")),
            small=int(parameters.get("small_count", 10)),
            used=bool(parameters.get("calibrate", False)),
        )


def against_census(table: pa.Table, census: pa.Table, clamp: Clamp) -> Picture:
    """The calibration plot: residents against users of each home tile, with the bounds of a user's weight."""
    anchors, people = _tiles(table, "value"), _tiles(census, "residents")
    residents = _looked_up(anchors, people)
    told = ~anchors.hidden & (anchors.value > 0)
    users, unlisted = anchors.value[told], int((residents[told] <= 0).sum())
    x, y = users[residents[told] > 0], residents[told][residents[told] > 0]
    ratio = y / x
    small = np.maximum(x, y) < clamp.small
    classes = (
        ("weight r / n", ~small & (ratio > clamp.low) & (ratio < clamp.high), MARK),
        (f"weight {clamp.high:g}", ~small & (ratio >= clamp.high), WARM),
        (f"weight {clamp.low:g}", ~small & (ratio <= clamp.low), GREEN),
        (f"weight 1: fewer than {clamp.small} of both", small, GREY),
    )
    alt = (
        f"Scatter plot of residents (r) against users (n) of {len(x):,} home tiles, both logarithmic. "
        + " ".join(f"{label.capitalize()}: {int(which.sum()):,} tiles." for label, which, _ in classes)
        + (f" Residents per user: median {number(float(np.median(ratio)))}." if len(x) else "")
    )
    svg = _scatter(x, y, classes, clamp, "users whose top tile it is (n)", "residents, census (r)", alt)
    return Picture(
        "Home tiles against the census", alt, svg, tuple(_census_notes(x, y, anchors, people, unlisted, clamp))
    )


def _census_notes(x: Floats, y: Floats, anchors: Tiles, people: Tiles, unlisted: int, clamp: Clamp) -> Iterator[str]:
    if len(x):
        low, middle, high = np.quantile(y / x, (0.25, 0.5, 0.75))
        yield (
            f"In these {len(x):,} tiles {number(float(y.sum()))} residents and {number(float(x.sum()))} users, "
            f"{number(float(y.sum() / x.sum()))} residents for each user; of half of the tiles {number(float(low))} to "
            f"{number(float(high))}, median {number(float(middle))}."
        )
    hidden = int(anchors.hidden.sum())
    if hidden:
        yield f"Not drawn: {hidden:,} of {len(anchors.e):,} home tiles ({share(hidden, len(anchors.e))}), {HIDDEN}."
    if unlisted:
        yield f"Not drawn: {unlisted:,} tiles with users where the census has no residents."
    empty = np.isnan(_looked_up(people, anchors, missing=np.nan))
    if empty.any():
        yield (
            f"{number(float(people.value[empty].sum()))} of {number(float(people.value.sum()))} residents live in "
            f"{int(empty.sum()):,} tiles whose users are hidden or not in the table."
        )
    if not clamp.used:
        yield "This run did not calibrate: the lines show what the weights would have been."


def against_uncalibrated(plain: pa.Table, weighted: pa.Table, clamp: Clamp) -> Picture:
    """Without a census: what the weights did to each tile of the fingerprint."""
    one, other = _tiles(plain, "value_0"), _tiles(weighted, "value_0")
    matched = _looked_up(one, other, missing=np.nan)
    told = (one.value > 0) & (matched > 0)
    x, y = one.value[told], matched[told]
    lost = len(one.e) - len(x)
    alt = f"Scatter plot of weighted against counted users of {len(x):,} tiles, whole day, both logarithmic." + (
        f" Weighted users per user: median {number(float(np.median(y / x)))}." if len(x) else ""
    )
    classes = (("a tile", np.ones(len(x), np.bool_), MARK),)
    svg = _scatter(x, y, classes, clamp, "users of the tile, counted", "users of the tile, weighted by the census", alt)
    notes = (
        "The census is not among these tables, so this is the calibrated against the uncalibrated fingerprint.",
        "`sealstat fetch --census FILE` draws home tiles against residents instead.",
        *((f"Not drawn: {lost:,} of {len(one.e):,} tiles, hidden or zero in one of the tables.",) if lost else ()),
    )
    return Picture("What the calibration does", alt, svg, notes)


def _scatter(x: Floats, y: Floats, classes: Any, clamp: Clamp, across: str, up: str, alt: str) -> str:
    with drawing() as figure_class:
        figure = figure_class(figsize=(8.2, 5.6), layout="constrained", dpi=160)
        axes = figure.add_subplot()
        low, high = (min(x.min(), y.min()) / 1.5, max(x.max(), y.max()) * 1.5) if len(x) else (1, 1000)
        many = len(x) > _MANY_POINTS
        for label, which, colour in classes:
            if which.any():
                axes.scatter(
                    x[which],
                    y[which],
                    s=7 if many else 14,
                    color=colour,
                    alpha=0.35 if many else 0.6,
                    linewidths=0,
                    rasterized=many,  # a point each would make a heavy file
                    label=f"{label}: {int(which.sum()):,} tiles",
                )
        lines = ((1, "1 for each user", "-"), (clamp.high, f"{clamp.high:g} for each user", "--"))
        for slope, label, style in (*lines, (clamp.low, f"{clamp.low:g} for each user", ":")):
            axes.plot([low, high], [slope * low, slope * high], style, color=INK, linewidth=1, label=label)
        axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high), xlabel=across, ylabel=up)
        axes.set_aspect("equal")
        _plain_ticks(axes.xaxis, axes.yaxis)
        axes.grid(alpha=0.25, linewidth=0.5)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        if not len(x):
            axes.text(0.5, 0.5, "no tile can be drawn", transform=axes.transAxes, ha="center", color=SOFT)
        legend = axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False, fontsize=8.5)
        for handle in legend.legend_handles:
            handle.set_alpha(1)
        return to_svg(figure, alt)


# -- parts of pictures -------------------------------------------------------------------------------------------


def _column(table: pa.Table, name: str) -> Ints:
    found: Ints = table[name].to_numpy().astype(np.int64)
    return found


def _tiles(table: pa.Table, value: str) -> Tiles:
    numbers: Floats = table[value].cast(pa.float64()).to_numpy().astype(np.float64)
    return Tiles(_column(table, "tile_e"), _column(table, "tile_n"), numbers)


def _looked_up(tiles: Tiles, among: Tiles, *, missing: float = 0) -> Floats:
    """The value that ``among`` has for each tile of ``tiles``."""
    known = dict(zip(zip(among.e.tolist(), among.n.tolist(), strict=True), among.value.tolist(), strict=True))
    return np.array([known.get(tile, missing) for tile in zip(tiles.e.tolist(), tiles.n.tolist(), strict=True)], float)


def _log_scale(panels: list[Tiles]) -> Any:
    from matplotlib.colors import LogNorm

    values = np.concatenate([tiles.positive for tiles in panels])
    low, high = (values.min(), values.max()) if len(values) else (1, 10)
    low = 10 ** np.floor(np.log10(low))
    return LogNorm(low, max(high, 10 * low), clip=True)


def _panels(figure_class: Any, window: Window, count: int, *, apart: bool = False) -> tuple[Any, list[Any]]:
    """A figure with so many maps: one or two in a row, three if there are three."""
    across = 3 if count == 3 else min(count, 2)
    down, wide = ceil(count / across), 8.6 / max(across, 1.6)
    high = min(max(wide * window.rows / window.columns, 2.0), 6.5)
    figure = figure_class(figsize=(9.6, down * (high + 0.35) + 1.1), layout="compressed", dpi=160)
    grid = figure.subplots(down, across, sharex=not apart, sharey=not apart, squeeze=False)
    axes = list(grid.flat)
    for unused in axes[count:]:
        unused.set_axis_off()
    return figure, axes[:count]


def _headed(title: str, tiles: Tiles) -> str:
    hidden = int(tiles.hidden.sum())
    return f"{title}\n{len(tiles.e):,} tiles, {hidden:,} hidden ({share(hidden, len(tiles.e))})"


def _told(tiles: Tiles, *, per_cent: bool = False) -> str:
    """The tiles in words."""
    hidden = int(tiles.hidden.sum())
    words = f"{len(tiles.e):,} tiles, {hidden:,} of them {HIDDEN}"
    if not len(tiles.positive):
        return words
    top = int(np.nanargmax(tiles.value))
    value = share(float(tiles.value[top]), 1) if per_cent else number(float(tiles.value[top]))
    return f"{words}; the most is {value} at easting {tiles.e[top]}, northing {tiles.n[top]}"


def _white(window: Window, meaning: str = "nobody, or too few to be told") -> Iterator[str]:
    yield f"White: no row in the table: {meaning}."
    if window.step > 1:
        yield (
            f"The map is so wide that a square is {window.step} km: it shows the highest value of its tiles, and is "
            "hatched where none is told and one is hidden."
        )


def _bar(figure: Any, norm: Any, label: str, axes: list[Any]) -> Any:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm

    bar = figure.colorbar(ScalarMappable(norm, _MAP), ax=axes, shrink=0.8, pad=0.02, aspect=32)
    bar.set_label(label, fontsize=9)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8)
    if isinstance(norm, LogNorm):
        _plain_ticks(bar.ax.yaxis)
    return bar


def _plain_ticks(*axis: Any) -> None:
    """1,000 instead of a power of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for each in axis:
        each.set_major_locator(LogLocator(10, numticks=12))
        each.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.12g}"))
        each.set_minor_formatter(NullFormatter())


def _lines(*named: tuple[str, str]) -> list[Any]:
    from matplotlib.lines import Line2D

    return [Line2D([], [], color=colour, label=label) for label, colour in named]


def _legend(figure: Any, entries: list[Any]) -> None:
    if entries:
        columns = 2 if sum(len(entry.get_label()) for entry in entries) > 90 else len(entries)
        figure.legend(handles=entries, loc="outside lower center", ncols=columns, frameon=False, fontsize=8.5)
