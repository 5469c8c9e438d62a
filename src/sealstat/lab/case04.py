"""Case 4: Indonesia's Ministry of Tourism counts roamers of two operators in border areas (cases.md, C04).

Three engines: *plain* counts in the clear on one machine, which nobody in the story could do; *secure* is the whole
system with every role a process; *naive* adds the two operators' own counts. Secure must equal plain, figure by figure.

Holds if fewer holders than the threshold collude, the enclave's hardware holds (simulated here: it does not protect),
and the operators deliver true lists. Breaks if both operators pool their lists, or one of them its linkage key with
the host.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from sealstat import statistics
from sealstat.lab import demo
from sealstat.lab.clear import compute
from sealstat.lab.stage import Stage, stopped_at_the_end
from sealstat.release import rules
from sealstat.release.commitment import text
from sealstat.synthetic.mcc import BORDER_AREAS, MCC_COUNTRY

TITLE = "Indonesia, Ministry of Tourism: two operators' roamers in border areas (enclave)"
ROWS = {"ci": 2_000, "full": 1_000_000}  # of each operator
MINIMUM_ROWS = {"ci": 100, "full": 10_000}
PERIOD = "2026-10"
_RULES: dict[str, dict[str, Any]] = {
    "all": {"minimum_part": 3, "complementary": False},
    "by_country": {"minimum_part": 3, "complementary": True},
    "by_area": {"minimum_part": 3, "complementary": False},
    "by_country_area": {"minimum_part": 3, "complementary": True},
    "quality": {"minimum_part": None, "complementary": False},
}


def run(*, scale: str, seed: int, say: Callable[[str], None]) -> tuple[float, dict[str, Any], list[tuple[str, bool]]]:
    """Generate, count plainly and through the whole system, compare; seconds, the answer, the checks."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sealstat-case04-") as folder:
        stage = Stage(Path(folder))
        with stopped_at_the_end(stage):
            say("setting up every role")
            stage.set_up()
            stage.start_all()
            agreement = demo.agree(stage, minimum_rows=MINIMUM_ROWS[scale])
            say(f"agreement {agreement[:12]} is active; generating {ROWS[scale]:,} rows for each operator")
            truth = demo.generate(stage, ROWS[scale], PERIOD, seed)
            plain, rejects = plain_tables(stage)
            delivered = demo.deliver(stage, agreement, PERIOD)
            say("delivered; running")
            purpose = ["--purpose", demo.PURPOSE]
            asked = stage.json("ministry", "run", agreement, "visitors", "--period", PERIOD, *purpose)
            stage.call("ministry", "fetch", asked["run"], "--out", str(stage.folder / "out"))
            secure = read_tables(stage.folder / "out")
            again = stage.try_call("ministry", "run", agreement, "visitors", "--period", PERIOD, *purpose)
    checks = [
        *_equal(secure, plain),
        *_planted(secure, truth),
        ("a second run of the same period is refused (differencing)", again.returncode == 1),
        (
            "rejects are those that were planted, counted at each operator",
            [sum(each["rejects"].values()) for each in delivered] == list(truth["rejected"].values()),
        ),
    ]
    return time.monotonic() - start, answer(secure, rejects), checks


def plain_tables(stage: Stage) -> tuple[dict[str, pa.Table], dict[str, int]]:
    """The oracle: both lists in the clear, the statistic, the same rules; and rejects by operator."""
    statistic = statistics.get("visitors")
    parameters = {"domestic_country": "ID", "areas": list(BORDER_AREAS), "mcc_country": MCC_COUNTRY}
    files = {role: stage.home(f"operator-{role}") / "roamers.csv" for role in ("a", "b")}
    whole, read = compute("visitors", files, parameters, period=PERIOD)
    terms = {name: SimpleNamespace(minimum=10, **more) for name, more in _RULES.items()}
    tables, _ = rules.apply(whole, statistic.outputs, terms)
    return tables, {f"mno_{role}": found.rejected for role, found in read.items()}


def read_tables(folder: Path) -> dict[str, pa.Table]:
    """The tables that `fetch` wrote."""
    return {path.stem: pyarrow.parquet.read_table(path) for path in sorted(folder.glob("*.parquet"))}


def answer(tables: dict[str, pa.Table], rejects: dict[str, int]) -> dict[str, Any]:
    """The case's answer keys: a block for all, each country, each area, each pair of them."""
    found: dict[str, Any] = {"rejected": rejects}
    for name, dimensions in (
        ("all", ()),
        ("by_country", ("country",)),
        ("by_area", ("border_area",)),
        ("by_country_area", ("country", "border_area")),
    ):
        blocks = {
            "|".join(row[each] for each in dimensions): {
                key: text(value) for key, value in row.items() if key not in dimensions
            }
            for row in tables[name].to_pylist()
        }
        found[name] = blocks if dimensions else blocks[""]
    return found


def _equal(secure: dict[str, pa.Table], plain: dict[str, pa.Table]) -> list[tuple[str, bool]]:
    return [
        (f"table {name}: every figure and every hidden cell as in the clear", _rows(secure[name]) == _rows(table))
        for name, table in sorted(plain.items())
    ]


def _rows(table: pa.Table) -> list[tuple[Any, ...]]:
    return sorted(tuple(text(value) or "" for value in row.values()) for row in table.to_pylist())


def _planted(secure: dict[str, pa.Table], truth: dict[str, Any]) -> list[tuple[str, bool]]:
    (row,) = secure["all"].to_pylist()
    over = 100 * (row["a"] + row["b"]) / row["union"] - 100
    blocks = [row, *secure["by_country"].to_pylist(), *secure["by_area"].to_pylist()]
    shown = [each for each in blocks if each["union"] is not None and each["a"] is not None]
    return [
        ("the totals are those that were planted", all(row[name] == value for name, value in truth["all"].items())),
        (f"naive addition overstates by {over:.0f} %, at least 15", over >= 15),
        ("the overlap is 20 to 30 %", 0.2 <= float(row["overlap"]) <= 0.3),
        ("multiplier_a is 1.2 to 1.5", 1.2 <= float(row["multiplier_a"]) <= 1.5),
        (
            "union = a + b - intersection in every published block",
            all(each["union"] == each["a"] + each["b"] - each["intersection"] for each in shown),
        ),
    ]
