"""A made-up population: the same for a seed whatever is made first, as skewed as a real one, and its truth is true."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
import pytest

from sealstat.synthetic import population
from sealstat.synthetic.dayfiles import DIRT, SCHEMA, WEIGHTS, make_block, write
from sealstat.synthetic.grid import CENTRE_E, CENTRE_N, make_country
from sealstat.synthetic.population import PERIOD_UNITS, UNITS, Kind, Plan, PopulationError, make_people, user_ids

FIRST = date(2026, 10, 1)
PLAN = Plan(subscribers=20_000, days=4, first=FIRST, seed=7)


def day_files(folder: Path, operator: int = 1) -> dict[str, pa.Table]:
    paths = sorted((folder / f"operator-{operator}").iterdir())
    return {path.stem.removeprefix("day-"): _read(path) for path in paths}


def _read(path: Path) -> pa.Table:
    if path.suffix == ".parquet":
        return pa.parquet.read_table(path)
    # As text first: an empty field is a bad id and not a missing one.
    options = pa.csv.ConvertOptions(column_types=dict(zip(SCHEMA.names, SCHEMA.types, strict=True)))
    return pa.csv.read_csv(path, convert_options=options, read_options=pa.csv.ReadOptions(use_threads=False))


def clean(table: pa.Table) -> pa.Table:
    """The rows that a careful reader keeps, sorted: step 2 and 3 of the statistic, told anew."""
    good = pc.match_substring_regex(table["user_id"], "^[0-9a-f]{24}$")
    for name in WEIGHTS:
        good = pc.and_(good, pc.and_(pc.is_finite(table[name]), pc.greater_equal(table[name], 0)))
    positive = pc.greater(pc.max_element_wise(*(table[name] for name in WEIGHTS)), 0)
    kept = table.filter(pc.and_(good, positive))
    merged = kept.group_by(["user_id", "tile_e", "tile_n"]).aggregate([(name, "max") for name in WEIGHTS])
    return merged.sort_by([(name, "ascending") for name in ("user_id", "tile_e", "tile_n")])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("population") / "out"
    return folder, write(PLAN, folder)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(population, "BLOCK", 4096)


@pytest.mark.usefixtures("small_blocks")
def test_any_block_of_any_day_can_be_made_alone_and_in_any_order(tmp_path: Path) -> None:
    write(PLAN, tmp_path / "out")
    whole = day_files(tmp_path / "out")
    country = PLAN.country()
    assert len(PLAN.blocks) == 5
    for day in reversed(PLAN.calendar):
        alone = {block: make_block(PLAN, country, block, day).tables[0] for block in (3, 0, 1, 4, 2)}
        assert pa.concat_tables([alone[block] for block in range(5)]).equals(whole[day.isoformat()])


@pytest.mark.parametrize("plan", [PLAN, replace(PLAN, operators=2, dirty=0.05)], ids=["plain", "two operators, dirty"])
def test_the_same_plan_gives_the_same_files_and_another_seed_others(plan: Plan, tmp_path: Path) -> None:
    for name, one in (("one", plan), ("again", plan), ("other", replace(plan, seed=8))):
        write(one, tmp_path / name)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert len(files) == 5 + 4 * plan.operators
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "again" / file).read_bytes()
        same = (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()
        assert same == (file.name == "parameters.json")  # a country of the same size


def test_a_gap_changes_no_other_day(made: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    truth = write(replace(PLAN, gaps=frozenset({date(2026, 10, 2)})), tmp_path / "out")
    whole, gapped = day_files(made[0]), day_files(tmp_path / "out")
    assert list(gapped) == ["2026-10-01", "2026-10-03", "2026-10-04"]
    assert all(gapped[day].equals(whole[day]) for day in gapped)
    assert truth["plan"]["gaps"] == ["2026-10-02"]


def test_csv_and_parquet_hold_the_same_rows(made: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    write(PLAN, tmp_path / "out", format="csv")
    first = (tmp_path / "out" / "operator-1" / "day-2026-10-01.csv").read_text().splitlines()
    assert first[0] == "user_id,tile_e,tile_n,weight_day,weight_sub1,weight_sub2,weight_sub3"
    assert '"' not in first[1]
    assert {day: table.to_pylist() for day, table in day_files(tmp_path / "out").items()} == {
        day: table.to_pylist() for day, table in day_files(made[0]).items()
    }


@pytest.mark.parametrize("residents", [25_000, 2_500_000])
def test_people_live_where_few_tiles_hold_most_of_them(residents: int) -> None:
    country = make_country(np.random.Generator(np.random.PCG64(1)), residents)
    tiles = np.sort(country.residents[country.residents > 0])[::-1]
    assert tiles.sum() == residents
    land = max(2_500, residents // 100)
    assert tiles[: land // 10].sum() > 0.6 * residents
    assert np.median(tiles) < 0.02 * tiles[0]
    assert 0.2 * land < len(tiles) < 0.8 * land, "much of the land is empty"
    east, north = country.coordinates(np.flatnonzero(country.residents))
    assert abs(east.mean() - CENTRE_E) < land**0.5
    assert abs(north.mean() - CENTRE_N) < land**0.5


def test_towns_follow_the_rank_size_rule() -> None:
    country = make_country(np.random.Generator(np.random.PCG64(1)), 10_000_000)
    rows, columns = np.divmod(np.arange(len(country.residents)), country.width)
    sizes = []
    for town in country.towns[:8]:
        near = (rows - town // country.width) ** 2 + (columns - town % country.width) ** 2 <= 15**2
        sizes.append(country.residents[near].sum())
    assert sizes[0] > 1.4 * sizes[1] > 1.5 * sizes[5], "the capital is twice the second, the second thrice the sixth"


def test_a_phone_is_in_about_five_tiles_a_day(made: tuple[Path, dict[str, Any]]) -> None:
    for table in day_files(made[0]).values():
        assert 4.5 < len(table) / pc.count_distinct(table["user_id"]).as_py() < 5.5
        assert len(table) == len(table.group_by(["user_id", "tile_e", "tile_n"]).aggregate([])), "a tile comes once"


def test_weights_are_parts_of_a_day_in_exact_units(made: tuple[Path, dict[str, Any]]) -> None:
    for table in day_files(made[0]).values():
        day, *periods = (table[name].to_numpy() * UNITS for name in WEIGHTS)
        assert all((column == np.round(column)).all() for column in (day, *periods))
        assert (day == sum(periods)).all()
        assert day.min() >= 1
        per_person = table.group_by("user_id").aggregate([(name, "sum") for name in WEIGHTS])
        for name, most in zip(WEIGHTS, (UNITS, *PERIOD_UNITS), strict=True):
            assert per_person[f"{name}_sum"].to_numpy().max() * UNITS <= most


def test_the_truth_is_what_the_files_hold(made: tuple[Path, dict[str, Any]]) -> None:
    folder, truth = made
    assert truth == json.loads((folder / "truth.json").read_text())
    kind_of, home_of = _people(PLAN)
    ever: set[str] = set()
    for stated, table in zip(truth["operators"]["operator-1"]["days"], day_files(folder).values(), strict=True):
        seen = set(table["user_id"].to_pylist())
        ever |= seen
        assert stated["rows"] == stated["clean_rows"] == len(table)
        assert stated["subscribers"] == len(seen)
        assert (stated["residents"], stated["nomads"], stated["roamers"]) == _by_kind(seen, kind_of)
    whole = truth["operators"]["operator-1"]
    assert whole["subscribers"] == truth["seen"] == len(ever)
    assert (whole["residents"], whole["nomads"], whole["roamers"]) == _by_kind(ever, kind_of)

    homes = pa.csv.read_csv(folder / "truth_homes.csv").to_pylist()
    counted: dict[tuple[int, int], list[int]] = {}
    for user in ever:
        if kind_of[user] != Kind.NOMAD:
            counted.setdefault(home_of[user], [0, 0])[kind_of[user] == Kind.ROAMER] += 1
    assert {(row["tile_e"], row["tile_n"]): [row["residents"], row["roamers"]] for row in homes} == counted


def _people(plan: Plan) -> tuple[dict[str, int], dict[str, tuple[int, int]]]:
    country = plan.country()
    people = make_people(plan, country, 0)
    users = [bytes(one).decode() for one in user_ids(plan.seed, plan.blocks[0])]
    homes = zip(*(column.tolist() for column in country.coordinates(people.home)), strict=True)
    return dict(zip(users, people.kind.tolist(), strict=True)), dict(zip(users, homes, strict=True))


def _by_kind(users: set[str], kind_of: dict[str, int]) -> tuple[int, ...]:
    return tuple(sum(kind_of[user] == kind for user in users) for kind in Kind)


def test_the_statistic_finds_the_planted_homes_and_nomads(tmp_path: Path) -> None:
    truth = write(replace(PLAN, days=10), tmp_path / "out")["operators"]["operator-1"]
    rows = pa.concat_tables(day_files(tmp_path / "out").values())
    state = rows.group_by(["user_id", "tile_e", "tile_n"]).aggregate([("weight_day", "sum")])
    best = state.group_by("user_id").aggregate([("weight_day_sum", "max")])
    usual = best.filter(pc.greater_equal(best["weight_day_sum_max"], 1.0))
    nomadic = len(best) - len(usual)
    assert truth["nomads"] * 0.95 < nomadic < truth["nomads"] + truth["roamers"]
    _, home_of = _people(replace(PLAN, days=10))
    tops = state.join(usual, "user_id").filter(pc.field("weight_day_sum") == pc.field("weight_day_sum_max"))
    at_home = sum(home_of[row["user_id"]] == (row["tile_e"], row["tile_n"]) for row in tops.to_pylist())
    assert at_home > 0.95 * len(usual)


def test_census_and_areas_are_of_the_same_country(made: tuple[Path, dict[str, Any]]) -> None:
    folder, truth = made
    census = pa.csv.read_csv(folder / "census.csv")
    assert pc.sum(census["residents"]).as_py() == truth["residents"] == 50_000
    assert len(census) == truth["inhabited_tiles"]
    tiles = set(zip(census["tile_e"].to_pylist(), census["tile_n"].to_pylist(), strict=True))
    areas = pa.csv.read_csv(folder / "reference_areas.csv").to_pylist()
    assert {row["area_id"] for row in areas} == {0, 1}
    assert all((row["tile_e"], row["tile_n"]) in tiles for row in areas)


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_dirty_rows_are_as_many_as_planted_and_change_no_result(
    format: Any, made: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    truth = write(replace(PLAN, dirty=0.03), tmp_path / "out", format=format)
    pure = day_files(made[0])
    for stated in truth["operators"]["operator-1"]["days"]:
        table = day_files(tmp_path / "out")[stated["date"]]
        assert len(table) == stated["rows"] == stated["clean_rows"] + sum(stated["dirty"].values())
        assert 0.02 * stated["clean_rows"] < sum(stated["dirty"].values()) < 0.04 * stated["clean_rows"]
        weights = np.stack([table[name].to_numpy() for name in WEIGHTS])
        good_id = pc.match_substring_regex(table["user_id"], "^[0-9a-f]{24}$").to_numpy()
        found = {
            "nan": np.isnan(weights).any(axis=0).sum(),
            "infinite": np.isinf(weights).any(axis=0).sum(),
            "negative": (np.isfinite(weights).all(axis=0) & (weights < 0).any(axis=0)).sum(),
            "zero": (weights == 0).all(axis=0).sum(),
            "bad_id": (~good_id).sum(),
        }
        assert {name: int(count) for name, count in found.items()} | {
            "duplicate": stated["dirty"]["duplicate"]
        } == stated["dirty"]
        assert clean(table).equals(clean(pure[stated["date"]]))
    assert set(DIRT) == set(stated["dirty"])


def test_people_on_two_networks_are_seen_by_both_in_part(made: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    plan = replace(PLAN, operators=3, overlap=0.2)
    truth = write(plan, tmp_path / "out")
    seen = [
        set(pa.concat_tables(day_files(tmp_path / "out", one).values())["user_id"].to_pylist()) for one in (1, 2, 3)
    ]
    assert truth["seen"] == len(set.union(*seen))
    assert truth["seen_by_several"] == sum(map(len, seen)) - len(set.union(*seen))
    assert 0.17 < truth["seen_by_several"] / truth["seen"] < 0.23
    assert all(len(larger) > len(smaller) for larger, smaller in pairwise(seen)), "market shares fall"
    several = next(iter(sorted(seen[0] & seen[1])))
    rows = [
        {(row["tile_e"], row["tile_n"], row["weight_day"]) for row in table.to_pylist() if row["user_id"] == several}
        for table in (pa.concat_tables(day_files(tmp_path / "out", one).values()) for one in (1, 2))
    ]
    assert rows[0] != rows[1]
    union = pa.concat_tables([day_files(tmp_path / "out", one)["2026-10-01"] for one in (1, 2, 3)])
    assert len(clean(union)) > 0.95 * len(day_files(made[0])["2026-10-01"]), "no row is lost between networks"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"subscribers": 0}, "subscribers is 0", id="nobody"),
        pytest.param({"days": 367}, "days is 367", id="too long"),
        pytest.param({"operators": 10}, "operators is 10", id="too many networks"),
        pytest.param({"dirty": 1.5}, "dirty is 1.5", id="no share"),
        pytest.param({"active": float("nan")}, "active is nan", id="not a number"),
        pytest.param({"nomads": 0.6, "roamers": 0.6}, "more than all", id="shares beyond all"),
        pytest.param({"seed": -1}, "the seed is -1", id="negative seed"),
        pytest.param({"first": date(1969, 12, 31)}, "the first day", id="before the epoch"),
        pytest.param({"gaps": frozenset({date(2026, 11, 1)})}, "is not between", id="gap outside"),
        pytest.param({"gaps": frozenset(PLAN.calendar)}, "every day is a gap", id="nothing left"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(PopulationError, match=words):
        replace(PLAN, **change)


@pytest.mark.parametrize(
    "change",
    [
        {"subscribers": 1},
        {"active": 0.0},
        {"nomads": 1.0, "roamers": 0.0},
        {"nomads": 0.0, "roamers": 1.0},
        {"dirty": 1.0},
    ],
    ids=str,
)
def test_an_extreme_plan_is_made_as_any_other(change: dict[str, Any], tmp_path: Path) -> None:
    truth = write(replace(PLAN, **({"subscribers": 500, "operators": 9, "days": 2} | change)), tmp_path / "out")
    for number, operator in enumerate(truth["operators"].values(), 1):
        for stated, table in zip(operator["days"], day_files(tmp_path / "out", number).values(), strict=True):
            assert len(table) == stated["rows"]
            assert len(clean(table)) == stated["clean_rows"]


def test_more_than_the_disk_holds_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(PopulationError, match="MiB left"):
        write(replace(PLAN, subscribers=10**9, days=366), tmp_path / "out", format="csv")
    assert list(tmp_path.iterdir()) == []


def sealstat(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "sealstat.cli", "synthetic", "population", *arguments]


def test_the_command_makes_a_population_and_refuses_to_overwrite_it(tmp_path: Path) -> None:
    options = ["--subscribers", "3000", "--days", "3", "--first", "2026-12-30", "--operators", "2", "--dirty", "0.01"]
    options += [
        "--gaps",
        "2026-12-31",
        "--nomads",
        "0.2",
        "--seed",
        "3",
        "--format",
        "csv",
        "--out",
        str(tmp_path / "x"),
    ]
    (tmp_path / "x").mkdir()  # empty: fine
    done = subprocess.run(sealstat(*options, "--json"), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    truth = json.loads(done.stdout)
    assert "rows/s" in done.stderr
    assert [day["date"] for day in truth["operators"]["operator-2"]["days"]] == ["2026-12-30", "2027-01-01"]
    for number, operator in enumerate(truth["operators"].values(), 1):
        rows = [len(table) for table in day_files(tmp_path / "x", number).values()]
        assert rows == [day["rows"] for day in operator["days"]]
    again = subprocess.run(sealstat(*options), capture_output=True, text=True, timeout=120)
    assert again.returncode == 1
    assert "is not empty" in again.stderr
    wrong = subprocess.run(sealstat(*options, "--gaps", "tomorrow"), capture_output=True, text=True, timeout=120)
    assert wrong.returncode == 2


def test_an_interrupted_command_leaves_nothing(tmp_path: Path) -> None:
    options = ["--subscribers", "3000000", "--days", "30", "--out", str(tmp_path / "x")]
    process = subprocess.Popen(
        sealstat(*options),
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - a background job ignores it
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".x.part-*/operator-1/*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert list(tmp_path.iterdir()) == []
