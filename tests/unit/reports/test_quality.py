"""The picture of the quality figures: hidden ones and days without any are seen, and called what they are."""

from datetime import date, timedelta
from typing import Any

import pyarrow as pa
import pytest

from pages import Page, about, check_self_contained
from sealstat import statistics
from sealstat.reports import render
from sealstat.statistics.longitudinal_quality import COUNT_EDGES, KM_EDGES, Counted, labels, masked
from sealstat.statistics.longitudinal_terms import Parameters

FIRST = date(2026, 10, 1)
EVERY = [f"2026-10-{day:02}" for day in range(1, 10)]


def figures(step: int, *, few: int = 5, users: int = 30_000) -> pa.Table:
    """A day's figures; the highest class of each histogram has only a ``few`` users."""
    found = [Counted(f"unique_users_{name}", "", "", n, n) for name, n in (("h", users), ("new_s", users + 500 * step))]
    for indicator, sub, bins in (
        ("records_per_user_h", "", labels(COUNT_EDGES)),
        ("distance_h_to_old_s", "0", labels(KM_EDGES)),
    ):
        shares = [0 if "records" in indicator else 7_000, 20_000, *[400] * (len(bins) - 3), few]
        found += [Counted(indicator, sub, name, n, n) for name, n in zip(bins, shares, strict=True)]
    return masked((FIRST - date(1970, 1, 1) + timedelta(step)).days, found, Parameters())


def page(*days: pa.Table, minimum: int = 10, **became: list[str]) -> str:
    tables = {"quality": pa.concat_tables(days)}
    told: dict[str, Any] = about("longitudinal", tables)
    told["tables"]["quality"]["rule"] = {"minimum": minimum}
    if became:
        told["days"] = {"taken_in": [], "failed": [], "skipped": [], **became}
    html = render(tables, told)
    check_self_contained(html)
    return html


def test_days_and_figures_that_are_not_told_are_seen_and_named() -> None:
    html = page(
        *(figures(step) for step in (0, 1, 2, 4, 5)),
        taken_in=[*EVERY[:3], *EVERY[4:7]],
        failed=[EVERY[3]],
        skipped=EVERY[7:],
    )
    (label,) = Page(html).labels
    assert "Users by day, 2026-10-01 to 2026-10-09, 4 of 9 without figures." in label
    assert "Seen on the day: 30,000 to 30,000. In the state after it: 30,000 to 32,500." in label
    assert "Records (tiles) of a user on the day: most often &lt;2" in html
    assert "hidden: fewer than 20 users" in html
    assert "no figures of the day" in html
    assert "Days without figures, taken in, but of fewer than 20,000 users: 2026-10-07 (1)." in html
    assert "Days without figures, not in the report: 2026-10-04, 2026-10-08, 2026-10-09 (3)." in html


def test_a_gap_is_seen_also_where_nobody_says_what_became_of_days() -> None:
    html = page(figures(0), figures(3))
    assert "2 of 4 without figures" in Page(html).labels[0]
    assert "Days without figures, not in the report or too small: 2026-10-02, 2026-10-03 (2)." in html


def test_what_hides_nothing_has_no_legend_of_it() -> None:
    html = page(figures(0, few=40), figures(1, few=40))
    assert "hidden: fewer" not in html
    assert "no figures of the day" not in html


def test_the_agreements_minimum_is_named_where_it_is_the_higher() -> None:
    assert "hidden: fewer than 50 users" in page(figures(0), minimum=50)


@pytest.mark.parametrize("days", [1, 366])
def test_any_number_of_days_is_drawn(days: int) -> None:
    assert len(page(*(figures(step) for step in range(days)))) < 1_000_000


def test_a_table_whose_figures_are_all_hidden_is_drawn() -> None:
    schema = statistics.get("longitudinal").outputs["quality"].schema
    rows = [{**row, "users": None} for row in figures(0).to_pylist()]
    html = page(pa.Table.from_pylist(rows, schema=schema), minimum=10**6)
    assert "hidden: fewer than 1,000,000 users" in html


def test_no_figures_at_all_are_no_picture() -> None:
    assert Page(page(figures(0, users=19_000))).labels == []
