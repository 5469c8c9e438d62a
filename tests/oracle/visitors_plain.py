"""C04 a second time, in plain Python over sets: shares no line and no idea with the engine's way of counting."""

from collections import defaultdict
from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import Any

Row = tuple[str, str, str]  # imsi, border_area, date


def count(a: Iterable[Row], b: Iterable[Row], *, domestic: str, mcc_country: dict[str, str]) -> dict[str, Any]:
    """Blocks by (table, cell) before any rule of release."""
    cells: dict[tuple[str, str, str], tuple[set[str], set[str], set[tuple[str, str]]]] = defaultdict(
        lambda: (set(), set(), set())
    )
    for operator, rows in enumerate((a, b)):
        for imsi, area, day in rows:
            country = mcc_country.get(imsi[:3], "ZZ")
            if country == domestic:
                continue
            for cell in (
                ("all", "", ""),
                ("by_country", country, ""),
                ("by_area", "", area),
                ("by_country_area", country, area),
            ):
                cells[cell][operator].add(imsi)
                cells[cell][2].add((imsi, day))
    return {cell: _block(*found) for cell, found in cells.items()}


def _block(a: set[str], b: set[str], days: set[tuple[str, str]]) -> dict[str, Any]:
    stays: dict[str, int] = defaultdict(int)
    for imsi, _ in days:
        stays[imsi] += 1
    union = len(a | b)
    return {
        "a": len(a),
        "b": len(b),
        "intersection": len(a & b),
        "union": union,
        "share_a": _ratio(len(a), union),
        "share_b": _ratio(len(b), union),
        "overlap": _ratio(len(a & b), union),
        "multiplier_a": _ratio(union, len(a)),
        "visitor_days": len(days),
        "mean_stay_days": _ratio(len(days), union),
        "multi_day_visitors": sum(stay >= 2 for stay in stays.values()),
    }


def _ratio(top: int, bottom: int) -> Decimal | None:
    if bottom == 0:
        return None
    exact = Fraction(top, bottom) * 10_000
    whole = Decimal(exact.numerator) / Decimal(exact.denominator)
    return whole.quantize(Decimal(1), ROUND_HALF_EVEN) / 10_000
