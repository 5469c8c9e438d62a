"""What `sealstat deliver` says, and a party's own census and areas, read for the report of `sealstat fetch`."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from sealstat.cli.data import _own_table, deliver
from sealstat.party.deliver import Delivered
from sealstat.party.errors import PartyError

CENSUS = ("tile_e", "tile_n", "residents")


def test_csv_and_parquet_give_the_same_columns_in_order(tmp_path: Path) -> None:
    csv, parquet = tmp_path / "census.csv", tmp_path / "census.parquet"
    csv.write_text("note,residents,tile_n,tile_e\na,12.5,3200,4300\n")
    pa.parquet.write_table(pa.table({"tile_n": [3200], "residents": [12.5], "tile_e": [4300]}), parquet)
    assert _own_table(csv, CENSUS).to_pylist() == [{"tile_e": 4300, "tile_n": 3200, "residents": 12.5}]
    assert _own_table(csv, CENSUS) == _own_table(parquet, CENSUS)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("tile_e,tile_n\n1,2\n", "expected the columns", id="a column is missing"),
        pytest.param("tile_e,tile_n,residents\n1,2,many\n", "all numbers", id="not a number"),
        pytest.param("tile_e,tile_n,residents\n1,2,\n", "empty cells", id="an empty cell"),
        pytest.param("", "expected the columns", id="an empty file"),
    ],
)
def test_another_file_is_refused_in_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "census.csv"
    file.write_text(text)
    with pytest.raises(PartyError, match=says):
        _own_table(file, CENSUS)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PartyError, match="cannot read"):
        _own_table(tmp_path / "nowhere.csv", CENSUS)


@pytest.mark.parametrize("more", [[], ["--json"]], ids=["aloud", "for programs"])
def test_a_delivery_says_how_many_numbers_were_rounded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    done = Delivered("ab" * 32, 5, {}, Path("rejects.csv"), 1234, 1, 100)
    monkeypatch.setattr("sealstat.cli.shared.open_home", lambda home: None)
    monkeypatch.setattr("sealstat.cli.shared.open_member", lambda *_: None)
    monkeypatch.setattr("sealstat.party.deliver.deliver", lambda *_, **__: done)
    deliver("ab", "days", Path("day.csv"), "2026-10-01", json=bool(more))
    assert ('"rounded": 1234' if more else "1,234 numbers were rounded") in capsys.readouterr().out
