"""The page of a result: legible whatever the tables hold, self-contained, and nothing from outside is markup."""

import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pages import LABEL, Page, about, check_self_contained
from sealstat import statistics
from sealstat.reports import longitudinal, render
from sealstat.reports.maps import Tiles, Window


def table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=statistics.get("longitudinal").outputs[name].schema)


def fingerprint_row(e: int, n: int, values: tuple[float | None, ...]) -> dict[str, Any]:
    counts = {f"users_{i}": None if value is None else int(value) for i, value in enumerate(values)}
    return {"tile_e": e, "tile_n": n, **{f"value_{i}": value for i, value in enumerate(values)}, **counts}


def country(side: int) -> dict[str, pa.Table]:
    """A square country of ``side`` km: a city in its middle, thin land whose tiles are partly hidden."""
    rng = np.random.default_rng(5)
    rows, anchors, links = [], [], []
    for e in range(side):
        for n in range(side):
            far = np.hypot(e - side / 2, n - side / 2)
            users = int(3000 * np.exp(-far / 2) + rng.integers(0, 30))
            place = {"tile_e": 4300 + e, "tile_n": 3200 + n}
            told = users >= 10
            parts = (users, users // 2, users // 3 if users > 9 else None, 0)
            rows.append(fingerprint_row(*place.values(), parts if told else (None,) * 4))
            anchors.append({**place, "value": users if told else None})
            if far >= 3:
                strength = {"strength": float(np.exp(-far / 6)), "users": users, "linked_users": users // 4}
                links.append({"reference_area": 0, **place, **(strength if told else dict.fromkeys(strength))})
    weighted = [row | {f"value_{i}": (row[f"value_{i}"] or 0) * 2.5 for i in range(4)} for row in rows]
    total = {"highly_nomadic_users": 812, "observed_total_users": 123456, "adjusted_total_users": 300000.5}
    return {
        "fingerprint": table("fingerprint", rows),
        "calibrated_fingerprint": table("calibrated_fingerprint", weighted),
        "functional_urban_fingerprint": table("functional_urban_fingerprint", links),
        "top_anchors": table("top_anchors", anchors),
        "statistics": table("statistics", [total]),
    }


def census_of(side: int) -> pa.Table:
    e, n = (each.ravel() + start for each, start in zip(np.mgrid[:side, :side], (4300, 3200), strict=True))
    return pa.table({"tile_e": e, "tile_n": n, "residents": 40.0 + 3 * (e % 7)})


def test_a_longitudinal_page_has_its_maps_and_says_what_is_hidden() -> None:
    tables = country(30)
    hidden = tables["fingerprint"]["value_0"].null_count
    assert 0 < hidden < 900
    html = render(tables, about("longitudinal", tables))
    check_self_contained(html)
    labels = Page(html).labels
    assert [label.split()[0] for label in labels] == ["Four", "Four", "Three", "1", "Map", "Scatter"]
    assert f"Whole day: 900 tiles, {hidden} of them hidden by the rules of the agreement" in labels[0]
    assert f"900 tiles, {hidden} hidden ({100 * hidden / 900:.1f} %)" in html
    assert "hidden by the rules of the agreement" in html
    assert f'<p class="warn" role="note">{LABEL}</p>' in html
    assert "<strong>123,456</strong>" in html
    assert "<strong>812</strong>" in html
    assert "The census is not among these tables" in html


def test_a_sub_periods_map_is_said_to_be_of_those_who_reach_phi() -> None:
    tables = {"fingerprint": country(30)["fingerprint"]}
    told = about("longitudinal", tables)
    told["parameters"] |= {"phi": {"value": "0.4", "description": ""}, "xi": {"value": "2", "description": ""}}
    html = render(tables, told)
    assert html.count("0: no user reaches phi = 0.4, or fewer than xi = 2 users") == 2
    assert "at least phi = 0.4 of their presence on the tile" in html
    assert "with at least phi = 0.4 of their presence in a sub-period" in Page(html).labels[1]
    assert "who are there in" not in html
    assert "0: nobody" not in html


def test_with_a_census_home_tiles_are_drawn_against_residents() -> None:
    tables = country(30)
    areas = pa.table({"area_id": [0], "tile_e": [4315], "tile_n": [3215]})
    html = render(tables, about("longitudinal", tables), census=census_of(30), areas=areas)
    labels = Page(html).labels
    assert "Map of residents (census): 900 tiles" in labels[-2]
    assert labels[-1].startswith("Scatter plot of residents (r) against users (n)")
    assert "The census is not among these tables" not in html
    assert "outlines it" not in html


def test_every_tile_of_the_calibration_plot_is_in_one_class() -> None:
    rows = [(4300 + i, users) for i, users in enumerate((5, 1000, 20, 100, 50))]
    anchors = table("top_anchors", [{"tile_e": e, "tile_n": 3200, "value": users} for e, users in rows])
    residents = (6.0, 100.0, 400.0, 130.0, 0.0)
    census = pa.table({"tile_e": [e for e, _ in rows], "tile_n": [3200] * 5, "residents": residents})
    picture = longitudinal.against_census(anchors, census, longitudinal.Clamp.of({"calibrate": True}))
    assert "Weight r / n: 1 tiles. Weight 10: 1 tiles. Weight 0.2: 1 tiles. Weight 1: fewer than 10 of both: 1" in (
        picture.alt
    )
    assert any("1 tiles with users where the census has no residents" in note for note in picture.notes)


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([], id="no tile"),
        pytest.param([fingerprint_row(4300, 3200, (25, 20, 0, 10))], id="a single tile"),
        pytest.param([fingerprint_row(4300, 3200, (None,) * 4)], id="a single tile, hidden"),
        pytest.param([fingerprint_row(4300 + i, 3200, (None,) * 4) for i in range(50)], id="all hidden"),
        pytest.param([fingerprint_row(4300 + i, 3200, (0, 0, 0, 0)) for i in range(50)], id="all zero"),
        pytest.param([fingerprint_row(i, -i, (12, 1, 2, None)) for i in range(-40, 40)], id="west and south of zero"),
        pytest.param([fingerprint_row(0, 0, (12,) * 4), fingerprint_row(65535, 65535, (99,) * 4)], id="all the grid"),
    ],
)
def test_a_page_is_legible_whatever_the_table_holds(rows: list[dict[str, Any]]) -> None:
    tables = {
        "fingerprint": table("fingerprint", rows),
        "calibrated_fingerprint": table("calibrated_fingerprint", rows),
    }
    html = render(tables, about("longitudinal", tables))
    check_self_contained(html)
    assert len(Page(html).labels) == (4 if rows else 0)
    assert ("There is nothing to draw" in html) == (not rows)
    assert len(html) < 1_000_000


@pytest.mark.parametrize("value", [0.3, None], ids=["told", "hidden"])
def test_an_urban_area_without_a_fingerprint_is_drawn(value: float | None) -> None:
    rows = [
        {"reference_area": area, "tile_e": 4300, "tile_n": 3200, "strength": value, "users": 50, "linked_users": 15}
        for area in range(9)
    ]
    tables = {"functional_urban_fingerprint": table("functional_urban_fingerprint", rows)}
    html = render(tables, about("longitudinal", tables))
    assert "the first 6 of 9 reference areas" in html
    assert "OECD" in html


def test_a_hundred_thousand_tiles_make_a_file_of_a_few_megabytes() -> None:
    rng, side = np.random.default_rng(3), 317
    e, n = (each.ravel() for each in np.mgrid[:side, :side])
    value = np.where(rng.random(side**2) < 0.2, np.nan, rng.pareto(1, side**2) * 10)
    numbers = pa.array(value, from_pandas=True)
    columns = {"tile_e": e, "tile_n": n} | {f"value_{i}": numbers for i in range(4)}
    columns |= {f"users_{i}": numbers.cast(pa.int64(), safe=False) for i in range(4)}
    tables = {name: pa.table(columns) for name in ("fingerprint", "calibrated_fingerprint")}
    assert len(render(tables, about("longitudinal", tables))) < 5_000_000


def test_what_comes_from_outside_is_never_markup() -> None:
    evil = "<script>alert(1)</script> $x^{ & \"'"
    schema = statistics.get("visitors").outputs["by_area"].schema
    row = dict.fromkeys(schema.names, None) | {"border_area": evil, "union": 40}
    tables = {"by_area": pa.Table.from_pylist([row, {**row, "union": None}], schema=schema)}
    more = dict.fromkeys(("title", "period", "purpose", "task", "protection"), evil)
    parameters = {evil: {"value": evil, "description": evil}}
    days = {"taken_in": [evil], "failed": [], "skipped": []}
    html = render(tables, about("visitors", tables, **more, parameters=parameters, days=days))
    check_self_contained(html)
    assert "<script" not in html
    assert evil in Page(html).labels[0]


def test_days_that_failed_and_were_skipped_are_told() -> None:
    tables = {"statistics": country(3)["statistics"]}
    days = {"taken_in": ["2026-10-01"], "failed": ["2026-10-02"], "skipped": ["2026-10-03", "2026-10-04"]}
    html = render(tables, about("longitudinal", tables, days=days))
    assert "2026-10-03, 2026-10-04" in html
    assert '<td class="n">2</td>' in html


def test_real_hardware_is_not_called_unprotected() -> None:
    tables = {"statistics": country(3)["statistics"]}
    html = render(tables, about("longitudinal", tables, protection="Intel TDX"))
    assert '<p class="warn"' not in html


def test_a_hidden_tile_is_not_the_highest_of_its_square() -> None:
    nan = float("nan")
    tiles = Tiles(np.array([0, 1, 5000]), np.array([0, 0, 0]), np.array([3.0, nan, nan]))
    window = Window.over(tiles.e, tiles.n)
    assert window.step > 1
    assert np.nanmax(window.highest(tiles)) == 3.0
    assert window.mask(tiles.e, tiles.n).sum() == 2


def test_matplotlib_is_imported_only_to_draw() -> None:
    code = "import sys, sealstat.cli.app, sealstat.reports; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
