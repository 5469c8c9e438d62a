"""`sealstat statistic` over small files: what it computes, and what it says of the rows it read."""

import json
import shlex
from pathlib import Path

import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from sealstat.cli.statistic import app
from sealstat.cli.synthetic import app as synthetic

HEADER = "user_id,tile_e,tile_n,weight_day,weight_sub1,weight_sub2,weight_sub3\n"
USER = "0123456789abcdef01234567"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "day-2026-10-01.csv").write_text(HEADER + f"{USER},1,1,0.3,0,0,0\n{USER},1,1,-1,0,0,0\n")
    (tmp_path / "areas.csv").write_text("area_id,tile_e,tile_n\n0,2,2\n")
    (tmp_path / "parameters.json").write_text('{"psi": 0.2}')
    return tmp_path


def run(folder: Path, *more: str) -> str:
    given = ["--input", f"days={folder}", "--input", f"reference_areas={folder / 'areas.csv'}"]
    settings = ["--parameters", str(folder / "parameters.json"), "--out", str(folder / "out")]
    return CliRunner().invoke(app, ["run", "longitudinal", *given, *settings, *more], catch_exceptions=False).stdout


def test_the_description_says_what_a_file_must_hold() -> None:
    shown = CliRunner().invoke(app, ["describe", "longitudinal"]).stdout
    assert "schema presence: a row is dropped and counted unless every column is\n" in shown
    assert "  tile_e: a whole number of km inside the agreement's rectangle\n" in shown
    assert "  and the row has: one value for each column; at least one weight above 0\n" in shown
    assert "schema census: a row refuses the file unless every column is\n" in shown


def test_what_was_read_is_said(folder: Path) -> None:
    for day in ("2026-09-30", "2026-10-31"):
        (folder / f"day-{day}.csv").write_text("")
    shown = run(folder)
    assert "days: 3 days read: 2026-09-30 to 2026-10-01, 2026-10-31\n" in shown
    assert "days: rejected 1 weight_day\n" in shown
    assert "days: 1 numbers were rounded to the resolution\n" in shown


def test_what_was_read_is_said_to_programs(folder: Path) -> None:
    shown = json.loads(run(folder, "--json"))
    assert shown["rejects"] == {"days": {"weight_day": 1}, "reference_areas": {}}
    assert shown["days"] == {"days": ["2026-10-01"]}
    assert shown["rounded"] == {"days": 1, "reference_areas": 0}


@pytest.mark.parametrize(("days", "nomads"), [(1, False), (10, True)])
def test_the_statistic_runs_over_a_made_up_population_by_the_command_that_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int, nomads: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    made = ["population", "--subscribers", "500", "--days", str(days), "--out", "made up"]
    shown = CliRunner().invoke(synthetic, made, catch_exceptions=False).stdout.splitlines()[-1]
    program, command, *words = shlex.split(shown)
    assert (program, command) == ("sealstat", "statistic")
    read = json.loads(CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False).stdout)
    assert set(map(str, read["rejects"].values())) == {"{}"}
    (totals,) = pyarrow.parquet.read_table(tmp_path / "clear" / "statistics.parquet").to_pylist()
    assert totals["observed_total_users"] > 5 * totals["highly_nomadic_users"]
    assert (totals["highly_nomadic_users"] > 0) == nomads
