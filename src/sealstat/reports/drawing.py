"""What every picture shares: how it looks, and how it becomes text that stands in one HTML file.

Text stays text, so that it is legible at any size and found by a search; rasters are PNG inside the SVG. Nothing is
loaded from elsewhere, and no script is in it. Matplotlib is imported when something is drawn, not before.
"""

import html
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

INK, SOFT, LINE = "#1b2430", "#55616e", "#d8dee6"
MARK, WARM, GREEN, GREY = "#0a5c8f", "#c96a1b", "#2c7a4b", "#7a8794"

HIDDEN = "hidden by the rules of the agreement"
"""What a null is called, everywhere: it is not zero."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawn picture: ``svg`` has ``alt`` as its label; ``notes`` are sentences that stand below it."""

    title: str
    alt: str
    svg: str
    notes: tuple[str, ...] = ()


@contextmanager
def drawing() -> Iterator[Any]:
    """Matplotlib's settings for a picture; gives the class Figure."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    settings: Any = {
        "font.size": 9,
        "axes.edgecolor": SOFT,
        "axes.labelcolor": INK,
        "xtick.color": SOFT,
        "ytick.color": SOFT,
        "text.color": INK,
        "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    }
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the browser has the reader's own fonts
        yield Figure


def to_svg(figure: Any, alt: str) -> str:
    """The figure as an SVG element with a label for those who do not see it."""
    import matplotlib as mpl

    out = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    # The salt makes ids that elements refer to: two pictures of one page must not share any.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": alt}):
        figure.savefig(out, format="svg", metadata=nothing, bbox_inches="tight", pad_inches=0.05)
    svg = out.getvalue()
    svg = re.sub(r'<g id="[^"]*"', "<g", svg[svg.index("<svg") :])  # nothing refers to groups
    return svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(alt)}" ', 1)


def number(value: float) -> str:
    """A number for people: 12,345 or 0.25."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:,.3g}"


def share(part: float, whole: float) -> str:
    """A part in per cent: 12.3 %, never 100.0 % or 0.0 % of something that is not all or nothing."""
    if part == 0 or whole == 0:
        return "0 %"
    if part == whole:
        return "100 %"
    return f"{min(max(100 * part / whole, 0.1), 99.9):.1f} %"
