"""Quality figures: counted as the public code counts, told only where nobody can be singled out."""

import csv
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import duckdb
import ibis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sealstat.lab import clear
from sealstat.statistics import longitudinal
from sealstat.statistics.longitudinal_quality import KM_EDGES, Counted, counted, labels, masked, quality
from sealstat.statistics.longitudinal_state import merged, summed
from sealstat.statistics.longitudinal_terms import OUTPUTS, Parameters, day_rows
from sealstat.tables import schemas

# the bins of the public log, which a country does not fill
THEIR_EDGES = (tuple(Fraction(256 * 2**n) for n in range(9)), tuple(Fraction(1024 * 2**n) for n in range(7)))
DELIVERED = schemas.get("presence").delivered.remove(0)


def backend(table: pa.Table):
    connection = duckdb.connect()
    connection.register("incoming", table)
    connection.execute("CREATE TABLE days AS SELECT * FROM incoming")
    return ibis.duckdb.from_connection(connection)


@pytest.mark.parametrize("case", ["case-01-clean", "case-03-dirty"])
def test_unmasked_counts_equal_the_public_ones(case, shared, monkeypatch):
    folder = shared / "oracle" / "longitudinal" / case
    if not folder.is_dir():
        pytest.skip("../shared has no oracle of the longitudinal statistic")
    expected: dict[int, dict[tuple[str, str, str], int]] = {}
    with (folder / "derived" / "quality.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            key = (row["indicator"], row["sub_period"], row["bin"])
            expected.setdefault(int(row["period"]), {})[key] = int(row["count"])
    found = _days(folder, monkeypatch)
    con = backend(found)
    days = con.table("days")
    for day in list(expected)[-2:]:
        old = summed(merged(days.filter(days.day < day)))
        figures = counted(con, days.filter(days.day == day).drop("day"), old, Parameters(), km_edges=THEIR_EDGES)
        assert {(f.indicator, f.sub_period, f.bin): f.count for f in figures} == expected[day]


def _days(folder: Path, monkeypatch) -> pa.Table:
    """All days as the statistic gets them."""
    seen = {}

    def keep(con, tables, parameters):
        seen["days"] = con.to_pyarrow(tables["days"])
        return {}

    monkeypatch.setattr(clear.statistics, "get", lambda name: _Wrapped(keep))
    given = {"days": folder, "reference_areas": folder / "reference_areas.csv"}
    clear.compute("longitudinal", given, {}, period=None)
    return seen["days"]


class _Wrapped:
    def __init__(self, compute):
        self.compute = compute

    def __getattr__(self, name):
        return getattr(longitudinal.STATISTIC, name)


def rows(*given):
    """(day, user, tile_e, tile_n, v0)"""
    delivered = [
        {"tile_e": tile_e, "tile_n": tile_n, "v0": v0, "v1": v0, "v2": 0, "v3": 0} for _, _, tile_e, tile_n, v0 in given
    ]
    high = np.array([user >> 32 for _, user, *_ in given], np.uint64)
    low = np.array([user % 2**32 for _, user, *_ in given], np.uint32)
    batch = day_rows(pa.RecordBatch.from_pylist(delivered, DELIVERED), high, low)
    return pa.Table.from_batches([batch]).append_column("day", pa.array([day for day, *_ in given], pa.int32()))


def test_a_small_day_counted_by_hand():
    con = backend(
        rows(
            (0, 1, 100, 100, 1024),
            (1, 1, 103, 104, 1024),  # 5 km from where the state has user 1
            (1, 1, 103, 104, 512),  # the same tile again
            (1, 2, 10, 10, 1024),
            (1, 2, 10, 11, 1024),  # box of 1 km
        )
    )
    days = con.table("days")
    old = summed(merged(days.filter(days.day == 0)))
    figures = counted(con, days.filter(days.day == 1).drop("day"), old, Parameters())
    found = {(f.indicator, f.sub_period, f.bin): (f.count, f.users) for f in figures if f.count}
    assert found["duplicate_records_in_h", "", ""] == (1, 1)
    assert found["unique_users_h", "", ""] == (2, 2)
    assert found["records_h", "", ""] == (3, 2)
    assert found["records_new_s", "", ""] == (4, 2)
    assert found["h_presence_pattern", "", "1100"] == (3, 2)
    assert found["weight_values_h", "0", "<2"] == (3, 2)
    assert found["weight_values_h", "2", "<1/256"] == (3, 2)
    assert found["distance_h_to_old_s", "0", "<8"] == (1, 1)
    assert found["bounding_box_h", "0", "<1"] == (1, 1)
    assert found["bounding_box_h", "0", "<2"] == (1, 1)
    assert found["bounding_box_change", "1", "<8"] == (1, 1)
    assert not any(key[0] == "distance_h_to_old_s" and key[1] == "2" for key in found)


def figures(users: int, *more: Counted) -> list[Counted]:
    totals = [Counted(name, "", "", users, users) for name in ("unique_users_h", "unique_users_new_s")]
    return [*totals, *more]


def test_small_figures_are_hidden_and_others_rounded_down():
    many_records_of_few = Counted("weight_values_h", "0", "<2", 5000, 19)
    just_enough = Counted("records_per_user_h", "", "<4", 20, 20)
    between = Counted("weight_values_h", "0", "<4", 1009, 419)
    nobody = Counted("records_per_user_h", "", "<16", 0, 0)
    total = Counted("records_h", "", "", 123_456, 20_003)
    table = masked(7, figures(20_003, many_records_of_few, total, just_enough, between, nobody), Parameters())
    assert table.schema == OUTPUTS["quality"].schema
    assert table["users"].to_pylist() == [20_000, 20_000, None, 20, 400, None]
    assert "records_h" not in table["indicator"].to_pylist()


def test_a_few_more_users_do_not_show():
    """Neither in a total of two days, nor by subtracting told bins from it."""
    first, second = (masked(7, figures(n), Parameters()) for n in (20_000, 20_019))
    assert first == second


RUNS = st.tuples(st.integers(0, 700), st.integers(0, 700), st.sampled_from([0, 1, 1024, 200_000]), st.integers(1, 300))
DAY = st.lists(RUNS, max_size=3)


@settings(max_examples=4, deadline=None)  # the engine takes a second for each
@example(one=([(0, 0, 1024, 300)], [(99, 99, 1024, 300)]), other=([], []), seed=1)
@given(one=st.tuples(DAY, DAY), other=st.tuples(DAY, DAY), seed=st.integers(0, 2**32))
def test_one_users_whole_data_move_each_figure_by_one_step_at_most(one, other, seed):
    """Beside any other users: how many of them are behind each figure is drawn."""
    mine, rng = [_figures(*days) for days in (one, other)], np.random.default_rng(seed)
    for k in (1, 2, 3, 20, 20, 20):
        beside = [int(rng.integers(0, 5 * k)) + 1000 * k * f.indicator.startswith("unique") for f in mine[0]]
        told = []
        for alone in mine:
            with_others = [replace(f, count=f.count + n, users=f.users + n) for f, n in zip(alone, beside, strict=True)]
            table = masked(7, with_others, Parameters(quality_minimum=k))
            told.append([n or 0 for n in table["users"].to_pylist()])
        assert len(told[0]) == len(told[1]) > 100
        assert {abs(a - b) for a, b in zip(*told, strict=True)} <= {0, k}


def _figures(before: list[tuple[int, ...]], today: list[tuple[int, ...]]) -> list[Counted]:
    """The figures of a day with one user alone, who is on runs of tiles."""
    runs = [(day, *run) for day, runs in enumerate((before, today)) for run in runs]
    con = backend(rows(*((day, 1, e + step, n, v) for day, e, n, v, length in runs for step in range(length))))
    days = con.table("days")
    day = days.filter(days.day == 1).drop("day")
    return list(counted(con, day, summed(merged(days.filter(days.day == 0))), Parameters()))


def test_a_day_of_too_few_users_tells_nothing():
    assert len(masked(7, figures(19_999), Parameters())) == 0
    assert len(masked(7, figures(20_000), Parameters())) == 2
    assert len(masked(7, figures(1_000), Parameters(quality_minimum=1))) == 2


def test_the_table_of_a_day_that_is_large_enough():
    con = backend(rows(*((0, n, 10 + n % 3, 10, 1024) for n in range(1000))))
    day = con.table("days").drop("day")
    parameters = Parameters(quality_minimum=1)
    table = quality(con, 3, day, day.filter(day.v0 < 0), parameters)
    assert set(table["day"].to_pylist()) == {3}
    keys = list(zip(*(table[name].to_pylist() for name in OUTPUTS["quality"].dimensions), strict=True))
    assert len(set(keys)) == len(keys)
    assert ("unique_users_h", 1000) in zip(table["indicator"].to_pylist(), table["users"].to_pylist(), strict=True)
    assert len(quality(con, 3, day.limit(999), day.filter(day.v0 < 0), parameters)) == 0


def test_bins_fit_kilometres():
    assert labels(KM_EDGES)[:3] == ("<1", "<2", "<4")
    assert labels(KM_EDGES)[-2:] == ("<512", ">=512")
