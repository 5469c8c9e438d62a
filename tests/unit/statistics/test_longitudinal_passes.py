"""The report in two passes over arrays: the same to the bit as its twin in Ibis, and equal to others' results."""

import csv
import itertools
import json
import math
import tracemalloc
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealstat.statistics import longitudinal, longitudinal_arrays, longitudinal_passes
from sealstat.statistics.longitudinal_arrays import merge
from sealstat.statistics.longitudinal_passes import report
from sealstat.statistics.longitudinal_tables import Areas, Census
from sealstat.statistics.longitudinal_terms import STATE, Parameters
from sealstat.tables.errors import DataError

Row = tuple[int, int, int, int, int, int]
SECRET = bytes(range(32))
UNITS = Parameters(psi="3", phi="0.5", xi="0", resolution_bits=0)


def state_of(rows: list[Row]) -> pa.Table:
    columns = list(zip(*sorted(rows), strict=True)) or [()] * 6
    arrays = [pa.array(column, field.type) for column, field in zip(columns, STATE, strict=True)]
    return pa.Table.from_arrays(arrays, schema=STATE)


def areas_of(pairs: list[tuple[int, int]]) -> Areas:
    area, tile = zip(*pairs, strict=True) if pairs else ((), ())
    return Areas(area=np.array(area, np.int64), tile=np.array(tile, np.uint32))


def census_of(residents: dict[int, int]) -> Census:
    return Census(tile=np.array(list(residents), np.uint32), residents=np.array(list(residents.values()), np.int64))


def report_of(state: pa.Table, areas: Areas, census: Census | None, parameters: Parameters, **how: Any) -> Any:
    batch, threads = how.get("batch", 1000), how.get("threads", 1)
    return report(lambda: state.to_batches(batch), areas, census, parameters, secret=SECRET, threads=threads)


def same(some: dict[str, pa.Table], others: dict[str, pa.Table]) -> bool:
    """Equal to the last bit: NaN would differ from itself, -0.0 not from 0.0, and neither must be there."""
    return some.keys() == others.keys() and all(some[name].equals(others[name], check_metadata=True) for name in some)


# few tiles and values, so that users meet on tiles and tie; blocks of 256 tiles begin and end between them
_TILES = [0, 255, 256, 257, 1 << 16, 77 << 16 | 300, 2**32 - 1]
_USERS = st.tuples(st.sampled_from([0, 5, 2**64 - 1]), st.sampled_from([0, 1, 2**32 - 1]))
_KEYS = st.tuples(_USERS, st.sampled_from(_TILES)).map(lambda key: (key[0][0], key[0][1] << 32 | key[1]))
_VALUES = st.tuples(*[st.integers(0, 6) | st.sampled_from([2**32 - 1, 2**32 - 2])] * 4)
STATES = st.dictionaries(_KEYS, _VALUES.filter(any), max_size=40).map(
    lambda rows: state_of([(*key, *values) for key, values in rows.items()])
)
AREAS = st.lists(
    st.tuples(st.sampled_from([0, 1, 2, 63, 64, 65, 127]), st.sampled_from([*_TILES, 9])), unique=True
).map(areas_of)
CENSUSES = st.dictionaries(st.sampled_from([*_TILES, 9]), st.integers(0, 60 << 32)).map(census_of)
PARAMETERS = st.builds(
    Parameters,
    psi=st.sampled_from(["0.000001", "1", "3", "4.5"]),
    phi=st.sampled_from(["0", "0.5", "0.333333", "0.7", "1", "999.999999"]),
    xi=st.sampled_from(["0", "1", "2", "2.5"]),
    calibrate=st.booleans(),
    small_count=st.sampled_from([0, 2, 10]),
    clamp_low=st.sampled_from(["0.1", "0.2", "0.333333"]),
    resolution_bits=st.sampled_from([0, 1]),
)


@pytest.fixture(scope="module")
def con() -> Any:
    return ibis.duckdb.connect()


@settings(max_examples=60)
@given(
    STATES, AREAS, CENSUSES, PARAMETERS,
    st.integers(1, 9), st.integers(1, 12), st.sampled_from([1, 2, 3]), st.sampled_from([1, 200, 2**30])
)  # fmt: skip
def test_arrays_and_ibis_give_the_same_tables(con, state, areas, census, parameters, batch, chunk, threads, links):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(longitudinal_passes, "_LINK_BYTES", links)
        patch.setattr(longitudinal_arrays, "CHUNK_ROWS", chunk)
        found = report_of(state, areas, census, parameters, batch=batch, threads=threads)
    expected = longitudinal.report(con, ibis.memtable(state), areas, census, parameters, secret=SECRET)
    assert same(found, expected)


def test_a_small_case_by_hand():
    """Tile 1 is the anchor of two users, tile 2 of one who has tile 1 too; one user is nomadic; area 7 is tile 2."""
    rows = [
        (1, 1 << 32 | 1, 4, 2, 0, 0),
        (2, 1, 5, 0, 5, 0),
        (2, 2, 2, 2, 2, 2),
        (3, 1, 3, 0, 0, 1),
        (3, 2, 6, 3, 2, 0),
        (4, 1, 2, 2, 2, 2),
    ]
    census = census_of({1: 40 << 32})  # tile 2 is not listed: weight 1/5
    parameters = Parameters(psi="3", phi="0.5", xi="1", calibrate=True, small_count=1, resolution_bits=0)
    found = report_of(state_of(rows), areas_of([(7, 2)]), census, parameters)
    assert found["statistics"].to_pylist() == [
        {"highly_nomadic_users": 1, "observed_total_users": 3, "adjusted_total_users": pytest.approx(20.2)}
    ]
    assert [tuple(row.values()) for row in found["fingerprint"].to_pylist()] == [
        (0, 1, 3.0, 1.0, 1.0, 0.0, 3, 1, 1, 0),
        (0, 2, 1.0, 1.0, 0.0, 0.0, 1, 1, 0, 0),
    ]
    assert [row["value_0"] for row in found["calibrated_fingerprint"].to_pylist()] == [pytest.approx(20.2), 0.0]
    (link,) = found["functional_urban_fingerprint"].to_pylist()
    assert link == {
        "reference_area": 7, "tile_e": 0, "tile_n": 1, "strength": pytest.approx(1 / 3), "users": 3, "linked_users": 1
    }  # fmt: skip
    assert [tuple(row.values()) for row in found["top_anchors"].to_pylist()] == [(0, 1, 2), (0, 2, 1)]


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        pytest.param((5, 0, 0, 0), (4, 9, 9, 9), id="whole day first"),
        pytest.param((5, 0, 0, 3), (5, 2, 2, 2), id="then the greatest sub-period"),
        pytest.param((5, 1, 0, 3), (5, 0, 3, 3), id="then sub-period 1, not 2"),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_the_top_tile_is_the_best_by_three_ranks(better, worse, first):
    tiles = (1, 2) if first else (2, 1)
    found = report_of(state_of([(1, tiles[0], *better), (1, tiles[1], *worse)]), areas_of([]), None, UNITS)
    assert found["top_anchors"]["tile_n"].to_pylist() == [tiles[0]]


def test_ties_depend_on_the_secret_alone(con):
    state = state_of([(user, tile, 5, 1, 1, 1) for user in range(40) for tile in range(3)])
    outcomes = []
    for secret in (bytes(32), SECRET):
        arrays = report(lambda: [*state.to_batches(7)], areas_of([]), None, UNITS, secret=secret)
        assert same(arrays, longitudinal.report(con, ibis.memtable(state), areas_of([]), None, UNITS, secret=secret))
        outcomes.append(arrays["top_anchors"])
    assert outcomes[0] != outcomes[1]
    assert all(len(outcome) == 3 for outcome in outcomes)  # each tile wins for some user


def test_threads_and_batches_leave_no_trace(con, monkeypatch):
    random = np.random.default_rng(4)
    rows = {
        (int(user), int(user % 3) << 32 | int(e) << 16 | int(n)): tuple(map(int, values))
        for user, e, n, values in zip(
            random.integers(0, 400, 5000),
            random.integers(4000, 4020, 5000),
            random.integers(3000, 3020, 5000),
            random.integers(0, 9, (5000, 4)),
            strict=True,
        )
    }
    state = state_of([(*key, *values) for key, values in rows.items()])
    areas = areas_of([(area, (4000 + area // 7) << 16 | 3000 + n) for area in range(128) for n in range(area % 5 + 1)])
    census = census_of({e << 16 | n: (e * n % 41) << 31 for e in range(4000, 4020) for n in range(3000, 3018)})
    parameters = Parameters(psi="5", xi="3", calibrate=True, resolution_bits=0)
    expected = longitudinal.report(con, ibis.memtable(state), areas, census, parameters, secret=SECRET)
    for threads, batch, chunk in itertools.product((1, 2, 4), (101, 5000), (60, 10**6)):
        monkeypatch.setattr(longitudinal_arrays, "CHUNK_ROWS", chunk)
        assert same(report_of(state, areas, census, parameters, threads=threads, batch=batch), expected)


def test_users_whose_first_64_bits_agree_stay_apart():
    rows = [(5, user << 32 | tile, 9 - tile, 1, 1, 1) for user in (1, 2) for tile in (1, 2, 3)]
    for batch in range(1, 7):
        found = report_of(state_of(rows), areas_of([]), None, UNITS, batch=batch)
        assert found["statistics"]["observed_total_users"].to_pylist() == [2]
        assert found["top_anchors"].to_pylist() == [{"tile_e": 0, "tile_n": 1, "value": 2}]


def test_threads_that_add_to_the_same_cells_lose_nothing(monkeypatch):
    monkeypatch.setattr(longitudinal_arrays, "CHUNK_ROWS", 20_000)
    hi, lo = np.divmod(np.arange(1_000_000, dtype=np.uint64), np.uint64(2))
    values = pa.array(lo.astype(np.uint32) + np.uint32(5))
    state = pa.Table.from_arrays([pa.array(hi), pa.array(lo), *[values] * 4], schema=STATE)
    found = report_of(state, areas_of([(0, 0)]), None, UNITS, batch=20_000, threads=4)
    assert found["fingerprint"]["users_0"].to_pylist() == [500_000] * 2
    assert found["functional_urban_fingerprint"]["linked_users"].to_pylist() == [500_000]


def test_a_user_of_150000_tiles_counts_once_on_each(monkeypatch):
    monkeypatch.setattr(longitudinal_arrays, "CHUNK_ROWS", 4_000)
    tile = (np.arange(150_000) // 300 << 16 | np.arange(150_000) % 300).astype(np.uint64)
    hi = np.concatenate(([4], np.full(150_000, 5), [6])).astype(np.uint64)
    lo = np.concatenate(([3], tile, [3])).astype(np.uint64)
    ones = np.full(len(hi), 5, np.uint32)
    state = pa.Table.from_arrays([pa.array(column) for column in (hi, lo, *[ones] * 4)], schema=STATE)
    found = report_of(state, areas_of([(0, 3)]), None, UNITS, batch=1_500, threads=2)
    assert found["statistics"]["observed_total_users"].to_pylist() == [3]
    assert found["fingerprint"]["users_0"].to_numpy().sum() == 150_002
    assert found["functional_urban_fingerprint"]["linked_users"].to_pylist() == [1] * 149_999


def test_memory_is_that_of_the_tiles_that_occur(con, monkeypatch):
    """Scattered tiles, each alone in its block, and more areas than sums of links fit at once."""
    monkeypatch.setattr(longitudinal_passes, "_LINK_BYTES", 24 * 30_000 * 8)
    monkeypatch.setattr(longitudinal_passes, "_HELD_TILES", 5_000)
    random = np.random.default_rng(7)
    tile = np.unique(random.integers(0, 2**32, 30_000, np.uint64))
    columns = [pa.array(np.sort(np.arange(len(tile), dtype=np.uint64) // np.uint64(10))), pa.array(tile)]
    columns += [pa.array(np.full(len(tile), 5, np.uint32))] * 4
    state = pa.Table.from_arrays(columns, schema=STATE)
    areas = areas_of([(place // 3, int(tile[place])) for place in range(60)])
    monkeypatch.setattr(longitudinal_arrays, "CHUNK_ROWS", 2_000)
    reads = []
    tracemalloc.start()
    try:
        found = report(lambda: reads.append(1) or state.to_batches(1_000), areas, None, UNITS, secret=SECRET, threads=2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 * 2**20 + 1000 * len(tile)  # the table of blocks, which is hardly touched, and 1 kB a tile
    assert len(reads) == 1 + 3  # 20 areas, 8 at a time
    assert same(found, longitudinal.report(con, ibis.memtable(state), areas, None, UNITS, secret=SECRET))


@pytest.mark.parametrize("rows", [[], [(1, 1, 2, 2, 2, 2)]], ids=["no rows", "one nomadic user"])
def test_a_state_without_usual_tiles_gives_empty_tables(con, rows):
    state = state_of(rows)
    parameters = UNITS.model_copy(update={"calibrate": True})
    found = report_of(state, areas_of([(0, 1)]), census_of({}), parameters)
    assert found["statistics"].to_pylist()[0]["highly_nomadic_users"] == len(rows)
    assert all(len(table) == 0 for name, table in found.items() if name != "statistics")
    assert same(
        found,
        longitudinal.report(con, ibis.memtable(state), areas_of([(0, 1)]), census_of({}), parameters, secret=SECRET),
    )


def test_a_state_out_of_order_is_refused():
    batches = [*state_of([(2, 0, 5, 1, 1, 1)]).to_batches(), *state_of([(1, 0, 5, 1, 1, 1)]).to_batches()]
    with pytest.raises(DataError, match="state"):
        report(lambda: batches, areas_of([]), None, UNITS, secret=SECRET)


def test_calibration_needs_a_census():
    with pytest.raises(ValueError, match="census"):
        report_of(state_of([]), areas_of([]), None, UNITS.model_copy(update={"calibrate": True}))


# --- results of another program, spec/longitudinal.md --------------------------------------------------------------

TABLES = {
    "total-footprint": "fingerprint",
    "calibrated-total-footprint": "calibrated_fingerprint",
    "functional-urban-fingerprint": "functional_urban_fingerprint",
    "calibrated-functional-urban-fingerprint": "calibrated_functional_urban_fingerprint",
    "top-anchor-distribution": "top_anchors",
    "statistics": "statistics",
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["case-01-clean", "case-02-enclave-defaults", "case-03-dirty", "case-04-ties"])
def test_merge_and_report_equal_the_proof_of_concept(shared: Path, name: str, threads: int, monkeypatch):
    monkeypatch.setattr(longitudinal_arrays, "CHUNK_ROWS", 700)
    folder = shared / "oracle/longitudinal" / name
    told = json.loads((folder / "params.json").read_text())
    parameters = Parameters(
        psi=str(told["day_quantisation_threshold_psi"]),
        phi=str(told["sub_period_quantisation_threshold_phi"]),
        xi=str(told["disclosure_threshold_xi"]),
        calibrate=True,
    )
    state = state_of([])
    for day in sorted(folder.glob("day-*.csv")):
        merged = merge(state.to_batches(500), oracle_day(day).to_batches(311), threads=threads)
        state = pa.Table.from_batches(list(merged), schema=STATE)
    assert len(state) == told["facts"]["state_rows"]
    areas = areas_of([(int(row["area_id"]), tile_of(row)) for row in rows_in(folder / "reference_areas.csv")])
    residents: dict[int, int] = {}
    for row in rows_in(folder / "census.csv"):
        residents.setdefault(tile_of(row), round(float(row["residents"]) * 2**32))
    found = report_of(state, areas, census_of(residents), parameters, threads=threads, batch=333)
    alternatives = sorted((folder / "expected").glob("alt-*")) or [folder / "expected"]
    assert any(all(agrees(found, path) for path in outcome.glob("*.csv")) for outcome in alternatives)
    assert all(agrees(found, path) for path in (folder / "expected").glob("*.csv"))


def rows_in(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def tile_of(row: dict[str, str]) -> int:
    return int(row["tile_e"]) << 16 | int(row["tile_n"])


def oracle_day(path: Path) -> pa.Table:
    """The valid rows of a day in units of 2^-10: all finite weights of the cases are multiples of 2^-6."""
    rows = []
    for row in rows_in(path):
        values = [float(row[name]) for name in ("weight_day", "weight_sub1", "weight_sub2", "weight_sub3")]
        if all(math.isfinite(value) and value >= 0 for value in values) and any(values):
            user = int(row["user_id"], 16)
            rows.append(
                (user >> 32, (user & 2**32 - 1) << 32 | tile_of(row), *(int(value * 2**10) for value in values))
            )
    return state_of(rows)


def agrees(found: dict[str, pa.Table], path: Path) -> bool:
    """Whether our table has the keys and, to 1e-9, the values of an expected one."""
    if path.stem not in TABLES:
        return True  # boundary.csv: no cell of these cases is so close to xi
    ours, theirs = found[TABLES[path.stem]].to_pylist(), rows_in(path)
    keys = [name for name in theirs[0] if name in ("reference_area", "tile_e", "tile_n")]
    by_key = {tuple(int(row[key]) for key in keys): row for row in theirs}
    return {tuple(row[key] for key in keys) for row in ours} == set(by_key) and all(
        math.isclose(row[name], float(value), rel_tol=1e-9, abs_tol=1e-9)
        for row in ours
        for name, value in by_key[tuple(row[key] for key in keys)].items()
    )
