"""A real festival week through the whole system: every role a process, every figure as the operator published it."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from sealstat.lab import demo
from sealstat.lab.stage import Stage
from sealstat.synthetic import fimu

PRESENT = (23_226, 24_088, 27_468, 27_465, 38_983, 25_688, 23_427)


def play(folder: Path, source: Path) -> dict[str, Any]:
    """The totals and the presence per day, computed by the system over two operators' lists of the week."""
    with Stage(folder / "stage") as stage:
        stage.set_up()
        stage.start_all()
        agreement = demo.agree(stage, period="range", areas=fimu.DAYS, domestic=fimu.DOMESTIC_COUNTRY, minimum_rows=100)
        fimu.split(source, stage.folder / "generated")
        for operator, name in (("operator-a", "mno_a"), ("operator-b", "mno_b")):
            (stage.folder / "generated" / f"{name}.csv").rename(stage.home(operator) / "roamers.csv")
        demo.deliver(stage, agreement, fimu.PERIOD)
        words = ("run", agreement, "visitors", "--period", fimu.PERIOD, "--purpose", demo.PURPOSE)
        run = stage.json("ministry", *words)["run"]
        stage.call("ministry", "fetch", run, "--out", str(folder / "out"))
        stage.call("ministry", "proof", run, "--out", str(folder / "proof.json"))
        checked = stage.json(
            "auditor",
            "verify",
            str(folder / "proof.json"),
            "--trust",
            str(stage.folder / "cards"),
            "--results",
            str(folder / "out"),
        )
    assert checked["ok"]
    (total,) = pyarrow.parquet.read_table(folder / "out" / "all.parquet").to_pylist()
    days = pyarrow.parquet.read_table(folder / "out" / "by_area.parquet").to_pylist()
    return {"total": total, "days": {row["border_area"]: row["union"] for row in days}}


@pytest.mark.timeout(600)
def test_a_real_week_gives_the_operators_own_counts(shared: Path, tmp_path: Path) -> None:
    found = play(tmp_path, shared / "data" / "fimu" / "person_days.csv.gz")
    assert found["total"]["union"] == 88_935
    assert found["total"]["visitor_days"] == 190_345
    assert found["days"] == dict(zip(fimu.DAYS, PRESENT, strict=True))
    print(json.dumps({name: str(value) for name, value in found["total"].items()}))


def test_the_split_is_the_documented_one() -> None:
    people = range(20_000)
    seen = [fimu.networks(person) for person in people]
    shares = [sum(each == which for each in seen) / len(seen) for which in (("mno_a",), ("mno_b",), ("mno_a", "mno_b"))]
    assert shares == pytest.approx([0.60, 0.25, 0.15], abs=0.01)
    numbers = {fimu.imsi(person) for person in people}
    assert len(numbers) == len(people)
    assert all(len(number) == 15 and number.isdecimal() for number in numbers)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_small_week_made_here_gives_its_own_counts(tmp_path: Path) -> None:
    """The same on data that this project makes, so that it stands alone."""
    rows = [(person, 1 + (person * 3 + n) % 7) for person in range(4_000) for n in range(1 + person % 3)]
    source = tmp_path / "person_days.csv.gz"
    with gzip.open(source, "wt", encoding="utf-8") as file:
        file.write("Person ID,Date ID,Visit Duration\n")
        file.writelines(f"{person},{day},Duration 1h\n" for person, day in rows)
    found = play(tmp_path, source)
    assert found["total"]["union"] == len({person for person, _ in rows})
    assert found["total"]["visitor_days"] == len(rows)
    expected = {day: sum(number == n for _, number in rows) for n, day in enumerate(fimu.DAYS, 1)}
    assert found["days"] == expected
