"""report.html: a result on one page that loads and runs nothing, and escapes all that came from outside."""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from sealstat.reports import bars, longitudinal, quality
from sealstat.reports.drawing import Picture, number, share

_MOST_ROWS = 20


def render(
    tables: Mapping[str, pa.Table],
    about: Mapping[str, Any],
    *,
    census: pa.Table | None = None,
    areas: pa.Table | None = None,
) -> str:
    """The page of a result.

    Args:
        tables: by name, as they were released.
        about: what about.json holds of them (party/runs.py, ``about_run``).
        census: (tile_e, tile_n, residents), the reader's own, to hold a longitudinal result against.
        areas: (area_id, tile_e, tile_n), the reader's own reference areas, to be outlined.
    """
    totals = [name for name, table in tables.items() if table.num_rows == 1 and not about["tables"][name]["dimensions"]]
    return str(
        _template().render(
            about=about,
            loud="NOT PROTECTED" in about["protection"],
            pictures=list(_pictures(tables, about, census, areas)),
            totals=[_totals(tables[name], about["tables"][name]) for name in totals],
            rules=[_rule(table, about["tables"][name], name) for name, table in tables.items()],
            parameters=[_parameter(name, told) for name, told in about.get("parameters", {}).items()],
            samples=[_sample(table, name) for name, table in tables.items() if name not in totals],
        )
    )


def _pictures(tables: Mapping[str, pa.Table], about: Mapping[str, Any], census: Any, areas: Any) -> Iterator[Picture]:
    statistic = about["statistic"]["name"]
    if statistic == "longitudinal":
        parameters = {name: told["value"] for name, told in about.get("parameters", {}).items()}
        yield from longitudinal.pictures(tables, parameters, census=census, areas=areas)
        if "quality" in tables and tables["quality"].num_rows:
            k = int(parameters.get("quality_minimum", 20))
            minimum = int(about["tables"]["quality"]["rule"]["minimum"])
            yield quality.by_day(tables["quality"], max(k, minimum), 1000 * k, about.get("days", {}))
        return
    if statistic == "visitors" and "all" in tables:
        yield bars.market_shares(tables["all"])
    yield from bars.pictures(tables, about["tables"])


# -- tables ------------------------------------------------------------------------------------------------------


def _totals(table: pa.Table, told: Mapping[str, Any]) -> dict[str, Any]:
    (row,) = table.to_pylist()
    figures = [
        {"value": _figure(row[column["name"]]), "unit": column["unit"], "what": column["description"]}
        for column in told["columns"]
    ]
    return {"title": told["title"], "figures": figures}


def _figure(value: Any) -> str | None:
    return f"{value:,}" if isinstance(value, int) else _cell(value)


def _rule(table: pa.Table, told: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What the agreement's rule is and what is not told because of it, as the table itself shows it."""
    rule, rows = told["rule"], table.num_rows
    terms = [f"at least {rule['minimum']:,} persons a row"]
    if rule.get("minimum_part") is not None:
        terms.append(f"no part of 1 to {rule['minimum_part'] - 1:,}" if rule["minimum_part"] > 1 else "any part")
    if rule.get("complementary"):
        terms.append("no row hidden alone in its line")
    measures = [column["name"] for column in told["columns"] if column["name"] not in told["dimensions"]]
    nulls = {each: table[each].null_count for each in measures}
    # a null may also be a ratio without a denominator, so what is said of columns is "empty", not "hidden"
    contributors = told["contributors"]
    hidden = nulls[contributors] if contributors else 0
    parts = [f"{each} {count - hidden:,}" for each, count in nulls.items() if count > hidden]
    return {
        "table": name,
        "title": told["title"],
        "rule": "; ".join(terms),
        "rows": f"{rows:,}",
        "hidden": f"{hidden:,} ({share(hidden, rows)})",
        "parts": ", ".join(parts) or "none",
        "columns": told["columns"],
    }


def _parameter(name: str, told: Mapping[str, Any]) -> dict[str, str]:
    value = told["value"]
    if isinstance(value, list | tuple | dict):
        value = f"{len(value):,} entries"
    return {"name": name, "value": str(value), "what": str(told["description"])}


def _sample(table: pa.Table, name: str) -> dict[str, Any]:
    rows = [[_cell(value) for value in row.values()] for row in table.slice(0, _MOST_ROWS).to_pylist()]
    return {"name": name, "columns": table.column_names, "rows": rows, "of": f"{table.num_rows:,}"}


def _cell(value: Any) -> str | None:
    """A cell for people; None where it is hidden."""
    if isinstance(value, float):
        return number(value)
    return None if value is None else str(value)


@cache
def _template() -> Any:
    import jinja2

    folder = Path(__file__).parent / "templates"
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    ).get_template("result.html")
