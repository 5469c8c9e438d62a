"""Every figure of the visitors statistic equals the plain count, on any small lists and on the generated ones."""

from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import ibis
import pyarrow as pa
import pyarrow.csv
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oracle import visitors_plain
from sealstat import statistics
from sealstat.synthetic import roamers
from sealstat.synthetic.mcc import BORDER_AREAS, MCC_COUNTRY
from sealstat.tables import schemas

AREAS = ["BATAM", "BINTAN", "SKOUW"]
COUNTRIES = {"510": "ID", "502": "MY", "525": "SG", "242": "NO"}
_PERSONS = st.sampled_from([f"{mcc}011{n:09d}" for mcc in ("510", "502", "525", "242", "901") for n in range(4)])
_DAYS = st.integers(1, 31).map(lambda day: f"2026-10-{day:02d}")
ROWS = st.lists(st.tuples(_PERSONS, st.sampled_from(AREAS), _DAYS), max_size=40)


def computed(a: list[Any], b: list[Any], parameters: dict[str, Any]) -> dict[str, pa.Table]:
    statistic = statistics.get("visitors")
    connection = duckdb.connect()
    backend = ibis.duckdb.from_connection(connection)
    schema = schemas.get("roamers").delivered
    tables = {}
    for name, rows in (("a", a), ("b", b)):
        columns = [
            pa.array([imsi[:6].encode() + imsi.encode()[-15:].ljust(16, b"\0") for imsi, _, _ in rows], pa.binary(22)),
            pa.array([area for _, area, _ in rows], pa.string()),
            pa.array([date.fromisoformat(day) for _, _, day in rows], pa.date32()),
        ]
        connection.register("incoming", pa.table(columns, schema=schema))
        connection.execute(f"CREATE TABLE {name} AS SELECT * FROM incoming")
        tables[name] = backend.table(name)
    return statistic.compute(backend, tables, statistic.parameters.model_validate(parameters))


def check_equal(found: dict[str, pa.Table], expected: dict[Any, Any]) -> None:
    seen = {}
    for name in ("all", "by_country", "by_area", "by_country_area"):
        for row in found[name].to_pylist():
            cell = (name, row.pop("country", ""), row.pop("border_area", ""))
            seen[cell] = row
    empty = {cell for cell, row in seen.items() if row["union"] == 0}
    assert seen.keys() - empty == expected.keys()
    for cell, block in expected.items():
        assert seen[cell] == block, cell


@settings(deadline=None, max_examples=40)
@given(ROWS, ROWS)
def test_any_small_lists_give_the_plain_count(a: list[Any], b: list[Any]) -> None:
    parameters = {"domestic_country": "ID", "areas": AREAS, "mcc_country": COUNTRIES}
    if not a and not b:
        return  # nothing to count: refused before, as a list below the minimum
    check_equal(computed(a, b, parameters), visitors_plain.count(a, b, domestic="ID", mcc_country=COUNTRIES))


def test_the_generated_lists_give_the_plain_count_and_the_planted_truth(tmp_path: Path) -> None:
    truth = roamers.write(tmp_path, 3_000, "2026-10", 4)
    lists = [_valid(tmp_path / f"{name}.csv") for name in ("mno_a", "mno_b")]
    parameters = {"domestic_country": "ID", "areas": list(BORDER_AREAS), "mcc_country": MCC_COUNTRY}
    found = computed(*lists, parameters)
    check_equal(found, visitors_plain.count(*lists, domestic="ID", mcc_country=MCC_COUNTRY))
    (row,) = found["all"].to_pylist()
    assert {name: row[name] for name in truth["all"]} == truth["all"]
    assert (row["a"] + row["b"]) / row["union"] >= 1.15


def _valid(path: Path) -> list[tuple[str, str, str]]:
    options = pyarrow.csv.ConvertOptions(column_types={name: pa.string() for name in ("imsi", "border_area", "date")})
    rows = pyarrow.csv.read_csv(path, convert_options=options).to_pylist()
    return [
        (row["imsi"], row["border_area"], row["date"])
        for row in rows
        if len(row["imsi"]) == 15 and row["imsi"].isascii() and row["imsi"].isdecimal()
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"domestic_country": "Norway"}, "domestic_country", id="no country code"),
        pytest.param({"areas": []}, "areas", id="no area"),
        pytest.param({"areas": ["BATAM", "BATAM"]}, "listed twice", id="an area twice"),
        pytest.param({"mcc_country": {"5": "ID"}}, "mcc_country", id="a short mcc"),
        pytest.param({"mcc_country": {"502": "MY"}}, "domestic", id="nobody is at home"),
        pytest.param({"weight": "1"}, "weight", id="an unknown parameter"),
    ],
)
def test_parameters_that_make_no_sense_are_named(change: dict[str, Any], words: str) -> None:
    parameters = {"domestic_country": "ID", "areas": AREAS, "mcc_country": COUNTRIES} | change
    assert any(words in problem for problem in statistics.get("visitors").parameter_problems(parameters))


def test_norway_stays_norway() -> None:
    rows = [{"mcc": "242", "country": "NO"}, {"mcc": "510", "country": "ID"}]
    parameters = {"domestic_country": "ID", "areas": [{"border_area": "BATAM"}], "mcc_country": rows}
    found = statistics.get("visitors").parameters.model_validate(parameters)
    assert found.mcc_country["242"] == "NO"  # type: ignore[attr-defined]
