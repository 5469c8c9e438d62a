"""Maps of 1 km tiles as exact rasters: one square a tile, hidden tiles hatched, never interpolated."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sealstat.reports.drawing import HIDDEN, INK, SOFT

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_MOST_SQUARES = 1_000
"""Of a side. A wider map has squares of several kilometres: a screen would not show more, the file would grow."""

_SHARP_PIXELS = 1_000
_ZERO, _OTHER = (226, 230, 236), (205, 216, 228)
_PAPER = {"boxstyle": "square,pad=0.15", "facecolor": "white", "alpha": 0.85, "linewidth": 0}
_HATCH = ((150, 150, 150), (208, 208, 208))


@dataclass(frozen=True, slots=True)
class Tiles:
    """Tiles and one number of each. ``e``, ``n``: (tiles,), int64, km; ``value``: (tiles,), float64, NaN if hidden."""

    e: Ints
    n: Ints
    value: Floats

    @property
    def hidden(self) -> Mask:
        """Which are hidden by the rules."""
        return np.isnan(self.value)

    @property
    def positive(self) -> Floats:
        """The values above zero."""
        return self.value[self.value > 0]  # a comparison with NaN is false


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What a map shows, in km; ``step``: km of a square's side."""

    west: int
    south: int
    columns: int
    rows: int
    step: int = 1

    @classmethod
    def over(cls, e: Ints, n: Ints) -> "Window":
        """All of these tiles and a margin around them; a window of 10 km if there are none."""
        if not len(e):
            return cls(west=0, south=0, columns=10, rows=10)
        west, south = int(e.min()), int(n.min())
        wide, high = int(e.max()) - west + 1, int(n.max()) - south + 1
        margin = max(max(wide, high) // 30, (10 - min(wide, high)) // 2, 1)
        step = -(-(max(wide, high) + 2 * margin) // _MOST_SQUARES)
        columns, rows = (-(-(side + 2 * margin) // step) for side in (wide, high))
        return cls(west=west - margin, south=south - margin, columns=columns, rows=rows, step=step)

    @property
    def extent(self) -> tuple[int, int, int, int]:
        """West, east, south, north."""
        east, north = self.west + self.columns * self.step, self.south + self.rows * self.step
        return self.west, east, self.south, north

    def places(self, e: Ints, n: Ints) -> tuple[Ints, Mask]:
        """The square of each tile, counted by rows from the south-west, and which tiles lie in the window."""
        column, row = (e - self.west) // self.step, (n - self.south) // self.step
        inside = (column >= 0) & (column < self.columns) & (row >= 0) & (row < self.rows)
        return (row * self.columns + column)[inside], inside

    def mask(self, e: Ints, n: Ints) -> Mask:
        """(rows, columns): where any of these tiles is."""
        found = np.zeros(self.rows * self.columns, np.bool_)
        found[self.places(e, n)[0]] = True
        return found.reshape(self.rows, self.columns)

    def highest(self, tiles: Tiles) -> Floats:
        """(rows, columns): the highest value told in each square, NaN where none is."""
        found = np.full(self.rows * self.columns, -np.inf)
        place, inside = self.places(tiles.e, tiles.n)
        value = tiles.value[inside]
        np.maximum.at(found, place[~np.isnan(value)], value[~np.isnan(value)])
        return np.where(np.isinf(found), np.nan, found).reshape(self.rows, self.columns)


def paint(axes: Any, window: Window, tiles: Tiles, norm: Any, *, cmap: str, others: Mask | None = None) -> None:
    """Draw tiles: coloured by value, grey for zero, hatched where hidden; the rest is white.

    Args:
        others: (rows, columns), squares that exist but have no value of their own; light blue.
    """
    import matplotlib as mpl

    value, hidden = window.highest(tiles), window.mask(tiles.e[tiles.hidden], tiles.n[tiles.hidden])
    image: npt.NDArray[np.uint8] = np.full((window.rows, window.columns, 3), 255, np.uint8)
    if others is not None:
        image[others] = _OTHER
    image[value == 0] = _ZERO
    told = value > 0
    image[told] = mpl.colormaps[cmap](norm(value[told]), bytes=True)[:, :3]
    hidden &= np.isnan(value)
    if hidden.any():  # hatching needs several pixels a tile
        fine = max(1, min(6, _SHARP_PIXELS // max(image.shape)))
        image = image.repeat(fine, 0).repeat(fine, 1)
        y, x = np.nonzero(hidden.repeat(fine, 0).repeat(fine, 1))
        image[y, x] = np.array(_HATCH, np.uint8)[((x + y) // 2 % 3 > 0).astype(np.int8)]
    axes.imshow(image, origin="lower", extent=window.extent, interpolation="none")
    axes.set_aspect("equal")


def outline(axes: Any, window: Window, mask: Mask, *, colour: str, width: float = 0.7) -> None:
    """Draw the border between the squares of a mask and the others, along the squares' sides."""
    from matplotlib.collections import LineCollection

    padded = np.pad(mask, 1).astype(np.int8)
    lines = [((x, y), (x, y + 1)) for y, x in np.argwhere(np.diff(padded[1:-1], axis=1) != 0)]
    lines += [((x, y), (x + 1, y)) for y, x in np.argwhere(np.diff(padded[:, 1:-1], axis=0) != 0)]
    if lines:
        drawn = np.array(lines) * window.step + (window.west, window.south)
        axes.add_collection(LineCollection(list(drawn), colors=colour, linewidths=width, capstyle="round"))


def frame(panels: Sequence[Any], windows: Sequence[Window]) -> None:
    """Axes in km, a scale bar and north in each panel."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator
    from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar  # type: ignore[import-untyped]

    plain = FuncFormatter(lambda value, _: f"{value:.0f}")
    for axes, window in zip(panels, windows, strict=True):
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(4, integer=True))
            axis.set_major_formatter(plain)
        axes.tick_params(labelsize=8)
        west, east, south, north = window.extent
        axes.set_xlim(west, east)
        axes.set_ylim(south, north)
        km = _round_down((east - west) / 4)
        bar = AnchoredSizeBar(
            axes.transData, km, f"{km} km", "lower left", pad=0.3, sep=2, color=INK, frameon=True, size_vertical=0
        )
        bar.patch.set(alpha=0.85, linewidth=0)
        axes.add_artist(bar)
        arrow = {"arrowstyle": "-|>", "color": INK, "shrinkB": 0}
        place = {"xycoords": "axes fraction", "ha": "center", "va": "center", "fontsize": 8, "bbox": _PAPER}
        axes.annotate("N", xy=(0.955, 0.985), xytext=(0.955, 0.86), arrowprops=arrow, **place)
        axes.set_xlabel("easting, km (ETRS89-LAEA)", fontsize=8, color=SOFT)
        axes.set_ylabel("northing, km", fontsize=8, color=SOFT)
        if len(set(windows)) == 1:
            axes.label_outer()


def keys(*, zero: str | None = None, hidden: bool = False, others: str | None = None) -> list[Any]:
    """Legend entries for the squares that have no colour of the scale."""
    from matplotlib.patches import Patch

    def flat(colour: tuple[int, int, int], label: str, **more: Any) -> Any:
        return Patch(facecolor=_hexadecimal(colour), label=label, linewidth=0, **more)

    found = [flat(_ZERO, zero)] if zero else []
    if hidden:
        found.append(flat(_HATCH[1], HIDDEN, hatch="//////", edgecolor=_hexadecimal(_HATCH[0])))
    return found + ([flat(_OTHER, others)] if others else [])


def _hexadecimal(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _round_down(km: float) -> int:
    """1, 2 or 5 times a power of ten, at least 1."""
    power = 10 ** max(int(np.floor(np.log10(max(km, 1)))), 0)
    return int(max(each * power for each in (1, 2, 5) if each * power <= max(km, 1)))
