"""An operator's keys for pseudonyms, and files written anew."""

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from desk import PASSPHRASE, Desk, home
from sealstat.party.deliver import Progress
from sealstat.party.errors import PartyError
from sealstat.party.home import Home
from sealstat.party.ledger import Ledger
from sealstat.party.period_keys import is_closed, keep_period_key, period_key_ref
from sealstat.party.pseudonymiser import Pseudonymiser, pseudonymise_file, pseudonymiser
from sealstat.tables.errors import BadFile
from sealstat.tables.period_pseudonyms import hexadecimal, inner_ids, opened, period_pseudonyms
from sealstat.tables.reading import prepare
from sealstat.tables.schemas import get
from story import Story

DAY, KEY, OTHER = "2026-10", bytes(range(32)), bytes(32)  # in the story's agreement a period is a month
IMSIS = [f"51010{n:010d}" for n in range(1000)]
WEIGHTS = ("weight_day", "weight_sub1", "weight_sub2", "weight_sub3")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(Story(), home(tmp_path / "home", "operator-a"))


@pytest.fixture
def made(desk: Desk) -> Pseudonymiser:
    assert keep_period_key(desk.home.ledger, desk.id, "roamers-a", DAY, KEY)
    return pseudonymiser(desk, "roamers-a", DAY)


def ids_of(values: list[str], made: Pseudonymiser) -> list[bytes]:
    found: list[bytes] = period_pseudonyms(inner_ids(pa.array(values), made.inner_key()), KEY).to_pylist()
    return found


# --- keys -------------------------------------------------------------------------------------------------------


def test_the_inner_key_is_drawn_once_and_stays_over_periods_and_agreements(made: Pseudonymiser, tmp_path: Path) -> None:
    key = made.inner_key()
    assert len(key) == 32
    reopened = Home(tmp_path / "home", PASSPHRASE)
    assert Pseudonymiser(reopened, "another agreement", "roamers-a", "2026-11").inner_key() == key
    assert Pseudonymiser(reopened, made.agreement, "other-days", DAY).inner_key() != key


def test_two_processes_that_draw_the_inner_key_at_once_have_the_same(made: Pseudonymiser, tmp_path: Path) -> None:
    other = Pseudonymiser(Home(tmp_path / "home", PASSPHRASE), made.agreement, made.dataset, made.period)
    first_time = made.home.ledger.secret

    def late(kind: str, ref: str) -> dict[str, Any] | None:
        made.home.ledger.secret = first_time  # type: ignore[method-assign]
        other.inner_key()
        return None

    made.home.ledger.secret = late  # type: ignore[method-assign]
    assert made.inner_key() == other.inner_key()


def test_the_first_period_key_stays(made: Pseudonymiser) -> None:
    assert not keep_period_key(made.home.ledger, made.agreement, made.dataset, DAY, OTHER)
    assert made.period_key() == KEY


def test_a_place_in_the_ledger_belongs_to_one_agreement_dataset_and_period() -> None:
    refs = {period_key_ref(*each) for each in (("a", "b", "c"), ("b", "a", "c"), ("a", "bc", ""), ("ab", "", "c"))}
    assert len(refs) == 4


def test_without_a_key_it_is_said_how_one_comes(desk: Desk) -> None:
    with pytest.raises(PartyError, match=r"sealstat run .* TASK --period 2026-10.*sealstat party serve"):
        pseudonymiser(desk, "roamers-a", DAY).period_key()


@pytest.mark.parametrize(
    ("dataset", "period", "words"),
    [
        ("roamers-b", DAY, "provided by operator-b"),
        ("nothing", DAY, "no dataset nothing: it has roamers-a, roamers-b"),
        ("roamers-a", "2026-10-31", "by month, and 2026-10-31 is a day"),
        ("roamers-a", "yesterday", "expected a period like"),
    ],
)
def test_only_ones_own_dataset_and_its_periods(desk: Desk, dataset: str, period: str, words: str) -> None:
    with pytest.raises(PartyError, match=words):
        pseudonymiser(desk, dataset, period)


def test_closing_destroys_the_key_for_good(made: Pseudonymiser, tmp_path: Path) -> None:
    assert made.close()
    ledger = made.home.ledger
    assert ledger.secret_refs("period-key") == []
    with pytest.raises(PartyError, match="is closed: its key was destroyed"):
        made.pseudonyms(pa.array(IMSIS), "imsi")
    assert not keep_period_key(ledger, made.agreement, made.dataset, DAY, KEY)
    assert ledger.secret_refs("period-key") == []
    assert not made.close()
    reopened = Home(tmp_path / "home", PASSPHRASE)
    with pytest.raises(PartyError, match="is closed"):
        Pseudonymiser(reopened, made.agreement, made.dataset, DAY).period_key()


def test_closing_one_period_leaves_the_others_and_the_inner_key(made: Pseudonymiser) -> None:
    ledger, key = made.home.ledger, made.inner_key()
    keep_period_key(ledger, made.agreement, made.dataset, "2026-11", OTHER)
    made.close()
    assert Pseudonymiser(made.home, made.agreement, made.dataset, "2026-11").period_key() == OTHER
    assert made.inner_key() == key


def test_a_period_without_a_key_cannot_be_closed_by_mistake(desk: Desk) -> None:
    with pytest.raises(PartyError, match="is not here"):
        pseudonymiser(desk, "roamers-a", DAY).close()
    assert keep_period_key(desk.home.ledger, desk.id, "roamers-a", DAY, KEY)


def test_a_close_that_was_cut_off_is_finished_by_the_next_one(made: Pseudonymiser) -> None:
    def cut(kind: str, ref: str) -> bool:
        raise PartyError("another program reads this party's ledger")

    whole, made.home.ledger.destroy_secret = made.home.ledger.destroy_secret, cut  # type: ignore[method-assign]
    with pytest.raises(PartyError, match="another program"):
        made.close()
    made.home.ledger.destroy_secret = whole  # type: ignore[method-assign]
    assert is_closed(made.home.ledger, made.ref)
    made.close()
    assert made.home.ledger.secret_refs("period-key") == []


def test_a_key_that_arrives_while_the_period_is_closed_does_not_stay(made: Pseudonymiser, tmp_path: Path) -> None:
    class Slow(Ledger):
        """Between looking and storing, another process closes the period."""

        def __init__(self) -> None:
            self.__dict__.update(Home(tmp_path / "home", PASSPHRASE).ledger.__dict__)

        def keep_first_secret(self, kind: str, ref: str, value: dict[str, Any]) -> bool:
            made.close()
            return super().keep_first_secret(kind, ref, value)

    assert not keep_period_key(Slow(), made.agreement, made.dataset, DAY, OTHER)
    assert made.home.ledger.secret_refs("period-key") == []


# --- files ------------------------------------------------------------------------------------------------------


def csv_file(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_csv_file_keeps_its_other_columns_to_the_letter(made: Pseudonymiser, tmp_path: Path) -> None:
    lines = ["tile_e,imsi,note"] + [f"00{n},{imsi},0.{n}0" for n, imsi in enumerate(IMSIS)]
    done = pseudonymise_file(made, csv_file(tmp_path / "day.csv", lines), tmp_path / "out.csv")
    expected = [f"00{n},{id.hex()},0.{n}0" for n, id in enumerate(ids_of(IMSIS, made))]
    assert (tmp_path / "out.csv").read_text().splitlines() == ["tile_e,user_id,note", *expected]
    assert (done.rows, done.rejects) == (1000, {})
    assert not done.rejects_file.exists()
    assert (tmp_path / "out.csv").stat().st_mode & 0o777 == 0o600


def test_values_with_commas_and_quotation_marks_survive(made: Pseudonymiser, tmp_path: Path) -> None:
    lines = ["imsi,note", f'{IMSIS[0]},"a, b"', f'{IMSIS[1]},"say ""x"""']
    pseudonymise_file(made, csv_file(tmp_path / "day.csv", lines), tmp_path / "out.csv")
    read = pyarrow.csv.read_csv(tmp_path / "out.csv")
    assert read["note"].to_pylist() == ["a, b", 'say "x"']
    assert read["user_id"].to_pylist() == [id.hex() for id in ids_of(IMSIS[:2], made)]


def test_bad_identifiers_are_dropped_counted_and_kept_at_home(made: Pseudonymiser, tmp_path: Path) -> None:
    lines = ["imsi,tile_e", f"{IMSIS[0]},1", ",2", "unknown,3", f"{IMSIS[1]},4,5", f"{IMSIS[2]}1,6", f"{IMSIS[1]},7"]
    done = pseudonymise_file(made, csv_file(tmp_path / "day.csv", lines), tmp_path / "out.csv")
    assert (done.rows, done.rejects) == (2, {"columns": 1, "missing": 1, "form": 2})
    kept = pyarrow.csv.read_csv(
        done.rejects_file,
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(("reason", "imsi", "tile_e", "line"), pa.string()), strings_can_be_null=True
        ),
    )
    rows = sorted((row["reason"], row["imsi"], row["tile_e"], row["line"]) for row in kept.to_pylist())
    assert [row[0] for row in rows] == ["columns", "form", "form", "missing"]
    assert rows[0][3] == f"{IMSIS[1]},4,5"
    assert {row[1:3] for row in rows[1:3]} == {("unknown", "3"), (f"{IMSIS[2]}1", "6")}
    assert done.rejects_file.stat().st_mode & 0o777 == 0o600
    assert "unknown" not in (tmp_path / "out.csv").read_text()


def test_a_parquet_file_keeps_its_types(made: Pseudonymiser, tmp_path: Path) -> None:
    table = pa.table(
        {
            "imsi": pa.array([*IMSIS, None, "x"]),
            "tile_e": pa.array(range(1002), pa.uint16()),
            "weight_day": pa.array([0.25] * 1002),
        }
    )
    pq.write_table(table, tmp_path / "day.parquet")
    done = pseudonymise_file(made, tmp_path / "day.parquet", tmp_path / "out.parquet")
    read = pq.read_table(tmp_path / "out.parquet")
    assert read.schema.types == [pa.binary(16), pa.uint16(), pa.float64()]
    assert read["user_id"].to_pylist() == ids_of(IMSIS, made)
    assert read["tile_e"].to_pylist() == list(range(1000))
    assert (done.rows, done.rejects) == (1000, {"missing": 1, "form": 1})


def test_either_form_can_be_written_from_either(made: Pseudonymiser, tmp_path: Path) -> None:
    pq.write_table(pa.table({"user_id": pa.array(IMSIS).dictionary_encode(), "w": [0.5] * 1000}), tmp_path / "day")
    pseudonymise_file(made, tmp_path / "day", tmp_path / "out.csv", column="user_id")
    read = pyarrow.csv.read_csv(tmp_path / "out.csv")
    assert read["user_id"].to_pylist() == [id.hex() for id in ids_of(IMSIS, made)]
    csv_file(tmp_path / "day.csv", ["imsi,w", *[f"{imsi},0.5" for imsi in IMSIS]])
    pseudonymise_file(made, tmp_path / "day.csv", tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet")["user_id"].to_pylist() == ids_of(IMSIS, made)


def test_other_kinds_of_identifiers(made: Pseudonymiser, tmp_path: Path) -> None:
    ids = hexadecimal(inner_ids(pa.array(IMSIS), OTHER))
    file = csv_file(tmp_path / "day.csv", ["user_id", *ids.to_pylist()])
    done = pseudonymise_file(made, file, tmp_path / "out.parquet", kind="hex", column="user_id")
    column = pq.read_table(tmp_path / "out.parquet")["user_id"].combine_chunks()
    assert done.rows == 1000
    assert opened(column, KEY)[2].all()


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_file_without_rows_gives_one_with_its_columns(made: Pseudonymiser, tmp_path: Path, form: str) -> None:
    csv_file(tmp_path / "day.csv", ["imsi,tile_e"])
    done = pseudonymise_file(made, tmp_path / "day.csv", tmp_path / f"out.{form}")
    assert done.rows == 0
    read = pyarrow.csv.read_csv if form == "csv" else pq.read_table
    assert read(tmp_path / f"out.{form}").column_names == ["user_id", "tile_e"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"tile_e,w\n1,2\n", "expected one column imsi"),
        (b"imsi,imsi\n1,2\n", "expected one column imsi"),
        (b"imsi,w,w\n1,2,3\n", "stands twice"),
        (b"imsi,user_id\n1,2\n", "a column user_id beside imsi"),
        (b"imsi,w\n510101234567890,\xff\n", "not UTF-8"),
        (b"imsi,w\n510101234567890,\0\n", "NUL"),
        (b'imsi,w\n510101234567890,"a\nb\n', "quotation mark|not CSV"),
        (b"PK\x03\x04", "zip"),
        (b"PAR1 and no more", "damaged|Parquet"),
    ],
)
def test_a_file_that_is_refused_leaves_nothing(made: Pseudonymiser, tmp_path: Path, content: bytes, words: str) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "day.csv").write_bytes(content)
    with pytest.raises(BadFile, match=words):
        pseudonymise_file(made, folder / "day.csv", folder / "out.csv")
    assert os.listdir(folder) == ["day.csv"]
    assert os.listdir(tmp_path / "home" / "rejects") == []


def test_a_parquet_column_of_numbers_is_refused(made: Pseudonymiser, tmp_path: Path) -> None:
    pq.write_table(pa.table({"imsi": [510101234567890]}), tmp_path / "day.parquet")
    with pytest.raises(BadFile, match="must be text: a number loses leading zeros"):
        pseudonymise_file(made, tmp_path / "day.parquet", tmp_path / "out.parquet")


@pytest.mark.parametrize(
    ("out", "words"),
    [("out.txt", r"ends in \.csv or \.parquet"), ("day.csv", "is the file to read"), ("d.csv", "folder")],
)
def test_what_cannot_be_written_is_said_before_anything_is_read(
    made: Pseudonymiser, tmp_path: Path, out: str, words: str
) -> None:
    (tmp_path / "d.csv").mkdir()
    file = csv_file(tmp_path / "day.csv", ["imsi", IMSIS[0]])
    with pytest.raises(PartyError, match=words):
        pseudonymise_file(made, file, tmp_path / out)
    assert file.read_text() == f"imsi\n{IMSIS[0]}\n"


def long_file(path: Path) -> Path:
    return csv_file(path, ["imsi,note", *[f"{imsi},{'x' * 100}" for imsi in IMSIS * 100]])


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_an_interrupted_command_leaves_the_older_file_alone(made: Pseudonymiser, tmp_path: Path, form: str) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    file, out = long_file(folder / "day.csv"), folder / f"out.{form}"
    out.write_text("of yesterday")

    def interrupt(step: Progress) -> None:
        if step.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pseudonymise_file(made, file, out, show=interrupt)
    assert sorted(os.listdir(folder)) == ["day.csv", out.name]
    assert out.read_text() == "of yesterday"


def test_a_period_that_is_closed_meanwhile_ends_the_file(made: Pseudonymiser, tmp_path: Path) -> None:
    closed: list[bool] = []

    def close(step: Progress) -> None:
        if step.done and not closed:
            closed.append(made.close())

    with pytest.raises(PartyError, match="is closed"):
        pseudonymise_file(made, long_file(tmp_path / "day.csv"), tmp_path / "out.csv", show=close)
    assert not (tmp_path / "out.csv").exists()


def test_progress_says_rows_a_second_of_bytes_read(made: Pseudonymiser, tmp_path: Path) -> None:
    steps: list[Progress] = []
    file = long_file(tmp_path / "day.csv")
    pseudonymise_file(made, file, tmp_path / "out.csv", show=steps.append)
    assert steps[-1].done == steps[-1].of == file.stat().st_size
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    assert steps[-1].unit == "rows"
    assert steps[-1].rate > 0


@pytest.mark.parametrize("source", ["csv", "parquet"])
@pytest.mark.parametrize("target", ["csv", "parquet"])
def test_a_file_that_was_written_is_one_that_can_be_delivered(
    made: Pseudonymiser, tmp_path: Path, source: str, target: str
) -> None:
    day = pa.table(
        {"imsi": IMSIS, "tile_e": [4300] * 1000, "tile_n": [3200] * 1000} | {name: [0.5] * 1000 for name in WEIGHTS}
    )
    file, out = tmp_path / f"day.{source}", tmp_path / f"out.{target}"
    write: Any = pa.csv.write_csv if source == "csv" else pq.write_table
    write(day, file)
    pseudonymise_file(made, file, out)
    prepared = prepare(
        out, schema=get("presence"), period=None, allowed={}, pseudonymise=None, rejects_file=tmp_path / "rejects.csv"
    )
    rows = [row for batch in prepared for row in batch.to_pylist()]
    assert [row["pseudonym"] for row in rows] == ids_of(IMSIS, made)
    assert {tuple(row.values())[1:] for row in rows} == {(4300, 3200, 512, 512, 512, 512)}
    assert not prepared.tally.rejects


def test_a_missing_pseudonym_in_parquet_is_a_reject(tmp_path: Path) -> None:
    columns: dict[str, Any] = {
        "user_id": pa.array([bytes(16), None], pa.binary(16)),
        "tile_e": [1, 1],
        "tile_n": [1, 1],
    }
    pq.write_table(pa.table(columns | {name: [1, 1] for name in WEIGHTS}), tmp_path / "day.parquet")
    prepared = prepare(
        tmp_path / "day.parquet",
        schema=get("presence"),
        period=None,
        allowed={},
        pseudonymise=None,
        rejects_file=tmp_path / "rejects.csv",
    )
    assert [len(batch) for batch in prepared] == [1]
    assert prepared.tally.rejects == {"user_id": 1}
