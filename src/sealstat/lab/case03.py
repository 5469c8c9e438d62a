"""Case 3: Eurostat's usual environments from many days of one operator, in an enclave (cases.md, C03).

Every role is a process. A period key is drawn for each day, the operator makes pseudonyms under it, destroys it and
delivers; the enclave takes in day after day and reports. One day is never delivered, one comes late, one holds too many
forged pseudonyms and is refused, and the enclave's machine is cut off in the middle. The report must equal the same
statistic in the clear over the days that were taken in.

Holds if fewer holders than the threshold collude, and the enclave's hardware holds (simulated: it does not protect).
Breaks if the operator pools its inner key with whoever has its days in the clear.
"""

import queue
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from sealstat import statistics
from sealstat.lab.clear import compute
from sealstat.lab.stage import Stage, StageError, stopped_at_the_end
from sealstat.release import rules
from sealstat.synthetic import dayfiles
from sealstat.synthetic.population import Plan

TITLE = "Eurostat: usual environments over many days of one operator's subscribers (enclave with state)"
SUBSCRIBERS = {"ci": 10_000, "full": 1_000_000}
PURPOSE = "population-statistics"
TASK = "usual-environment"
FIRST, DAYS = date(2026, 10, 1), 10
_GAP, _LATE, _FAILED, _CUT = 3, 1, 6, 4  # days from the first: missing, coming last, refused, after which power fails
_PARAMETERS: dict[str, Any] = {"psi": "2", "phi": "0.5", "calibrate": True}
_MINIMUM, _PART = 10, 3
# what a tie between two top tiles cannot change: it is broken under a key that nobody outside the enclave has
_WITHOUT_TIES = ("fingerprint", "functional_urban_fingerprint")
_FORGED_SHARE = 0.2


def run(*, scale: str, seed: int, say: Callable[[str], None]) -> tuple[float, dict[str, Any], list[tuple[str, bool]]]:
    """Play all days with every role, compare with the clear; seconds, the answer, the checks."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sealstat-case03-") as name:
        folder = Path(name)
        stage = Stage(folder / "stage", parties=("operator", "office", "regulator"))
        with stopped_at_the_end(stage):
            say("setting up every role")
            stage.set_up()
            stage.start_all()
            agreement = agree(stage)
            plan = Plan(subscribers=SUBSCRIBERS[scale], days=DAYS, first=FIRST, seed=seed, gaps=frozenset({_day(_GAP)}))
            say(f"agreement {agreement[:12]} is active; generating {SUBSCRIBERS[scale]:,} subscribers on {DAYS} days")
            dayfiles.write(plan, folder / "made", format="csv")
            with ThreadPoolExecutor(1) as beside:
                tables = beside.submit(deliver_tables, stage, agreement, folder / "made")
                refused = play_days(stage, agreement, folder / "made", say)
                tables.result()
            say("all days are in but the missing and the refused one: making the report")
            asked = stage.json("office", "run", agreement, TASK, "--period", report(), "--purpose", PURPOSE, "--finish")
            stage.call("office", "fetch", asked["run"], "--out", str(folder / "out"), "--no-report")
            again = stage.try_call("office", *_run(agreement, TASK, _day(0)))
            proof = folder / "proof.json"
            stage.call("office", "proof", asked["run"], "--out", str(proof))
            verified = stage.try_call("regulator", "verify", str(proof), "--trust", str(stage.folder / "cards"))
            if verified.returncode:
                say(f"the proof does not verify: {(verified.stderr or verified.stdout).strip().splitlines()[0]}")
        about = (folder / "out" / "about.json").read_text()
        secure = {path.stem: pa.parquet.read_table(path) for path in sorted((folder / "out").glob("*.parquet"))}
        plain = plain_tables(folder, [day for day in _order() if day not in (_day(_GAP), _day(_FAILED))])
    checks = [
        *((f"table {name}: as in the clear, cell by cell", _same(secure[name], plain[name])) for name in _WITHOUT_TIES),
        ("the totals are as in the clear", _totals(secure) == _totals(plain)),
        ("the day with forged pseudonyms was refused, and nothing of it is in the report", refused),
        ("the report says which days are in it, which failed, which are missing", _told(about)),
        ("after the report its days are not taken in again", again.returncode == 1),
        ("the proof of the report verifies offline", verified.returncode == 0),
        ("5 to 20 % of subscribers are nomadic", 0.05 <= _nomadic(plain) <= 0.2),
    ]
    return time.monotonic() - start, _answer(secure), checks


# -- the steps ---------------------------------------------------------------------------------------------------


def agree(stage: Stage, *, change: Callable[[str], str] = lambda text: text, **terms: Any) -> str:
    """Write the agreement as a person would, check it, approve it by both; its id.

    Args:
        change: edits the YAML before it is checked.
        terms: go to the template (agreement/template.py).
    """
    folder = stage.folder / "agreement"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(stage.folder / "cards", folder / "cards", dirs_exist_ok=True)
    terms = {"report": report(), "psi": _PARAMETERS["psi"], "release_delay": "1s"} | terms
    file = folder / "agreement.yaml"
    file.write_text(change(stage.draft("longitudinal", **terms)), encoding="utf-8")
    stage.call("operator", "agreement", "check", str(file))
    for party in ("operator", "office"):
        agreement: str = stage.json(party, "agreement", "approve", str(file))["id"]
    return agreement


def deliver_tables(stage: Stage, agreement: str, made: Path) -> None:
    """The office delivers its reference areas and the census, once for the report."""
    for dataset, name in (("areas", "reference_areas"), ("census", "census")):
        stage.call("office", "deliver", agreement, dataset, str(made / f"{name}.csv"), "--period", report())


def play_days(stage: Stage, agreement: str, made: Path, say: Callable[[str], None]) -> bool:
    """Keys, deliveries and days taken in, three lines of work side by side; whether the forged day was refused."""
    drawn: queue.Queue[date | None] = queue.Queue()
    delivered: queue.Queue[date | None] = queue.Queue()
    troubles: list[Exception] = []

    def line(work: Callable[[], None], after: "queue.Queue[date | None]") -> threading.Thread:
        def guarded() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - raised again below, where somebody waits
                troubles.append(error)
            after.put(None)

        thread = threading.Thread(target=guarded, daemon=True)
        thread.start()
        return thread

    def draw() -> None:
        for day in draw_keys(stage, agreement):
            drawn.put(day)

    def deliver() -> None:
        for day in iter(drawn.get, None):
            deliver_day(stage, agreement, made, day)
            delivered.put(day)

    lines = [line(draw, drawn), line(deliver, delivered)]
    refused = False
    for day in iter(delivered.get, None):
        done = stage.try_call("office", *_run(agreement, TASK, day))
        if done.returncode and day == _day(_FAILED):
            refused = "not as agreed" in done.stderr
            say(f"{day} was refused, as it should be")
        elif done.returncode:
            raise StageError(f"{day}: {(done.stderr or done.stdout).strip().splitlines()[-1]}")
        else:
            say(f"{day} is taken in")
        if day == _day(_CUT):
            stage.stop("enclave", kill=True)
            stage.start_enclave()
            say("the enclave's machine was cut off and started again")
    for each in lines:
        each.join()
    if troubles:
        raise troubles[0]
    return refused


def draw_keys(stage: Stage, agreement: str) -> Iterator[date]:
    """Have the key of every day drawn; the days in the order of their delivery, each as soon as it has its key."""
    waiting, known = list(_order()), set()
    for said in stage.lines("operator", "run", agreement, "keys", "--period", report(), "--purpose", PURPOSE):
        if found := re.search(r"the key of the pseudonyms of (\S+) is drawn", said):
            known.add(found[1])
        while waiting and str(waiting[0]) in known:
            yield waiting.pop(0)


def deliver_day(stage: Stage, agreement: str, made: Path, day: date) -> None:
    """At the operator: identifiers out, pseudonyms in, the day's key destroyed, the day delivered."""
    file, period = stage.home("operator") / f"day-{day}.csv", ["--period", day.isoformat()]
    given = made / "operator-1" / f"day-{day}.csv"
    named = ["--column", "user_id", "--kind", "hex", "--out", str(file), "--close"]
    stage.call("operator", "pseudonymise", "file", agreement, "days", str(given), *period, *named)
    if day == _day(_FAILED):
        forge(file)
    stage.call("operator", "deliver", agreement, "days", str(file), *period)
    file.unlink()


def forge(file: Path) -> None:
    """Exchange pseudonyms of a fifth of the rows for random ones, as somebody at the data unit might."""
    import secrets

    lines = file.read_text().splitlines()
    step = int(1 / _FORGED_SHARE)
    for place in range(1, len(lines), step):
        lines[place] = secrets.token_hex(16) + lines[place][32:]
    file.write_text("\n".join(lines) + "\n")


def _run(agreement: str, task: str, day: date) -> list[str]:
    return ["run", agreement, task, "--period", day.isoformat(), "--purpose", PURPOSE]


def report() -> str:
    """The report's range of days."""
    return f"{FIRST}/{_day(DAYS - 1)}"


def _day(number: int) -> date:
    return FIRST + timedelta(days=number)


def _order() -> Iterable[date]:
    """Every day but the missing one, in the order of their delivery; the late one comes last but one."""
    days = [_day(number) for number in range(DAYS) if number not in (_GAP, _LATE)]
    return [*days[:-1], _day(_LATE), days[-1]]


# -- comparing ---------------------------------------------------------------------------------------------------


def plain_tables(
    folder: Path, days: Iterable[date], *, psi: str = _PARAMETERS["psi"], minimum: int = _MINIMUM
) -> dict[str, pa.Table]:
    """The oracle: the same days in the clear, the statistic, the same rules."""
    clear = folder / "clear"
    clear.mkdir()
    for day in days:
        shutil.copy(folder / "made" / "operator-1" / f"day-{day}.csv", clear / f"day-{day}.csv")
    inputs = {"days": clear, **{name: folder / "made" / f"{name}.csv" for name in ("reference_areas", "census")}}
    whole, _ = compute("longitudinal", inputs, {**_PARAMETERS, "psi": psi}, period=None)
    terms = {
        name: SimpleNamespace(
            minimum=minimum, minimum_part=None if name == "top_anchors" else _PART, complementary=False
        )
        for name in whole
        if name != "quality"
    }
    declared = statistics.get("longitudinal").outputs
    tables, _ = rules.apply(whole, declared, terms)
    return tables


def _same(one: pa.Table, other: pa.Table) -> bool:
    return sorted(map(repr, one.to_pylist())) == sorted(map(repr, other.to_pylist()))


def _totals(tables: dict[str, pa.Table]) -> tuple[Any, ...]:
    (row,) = tables["statistics"].to_pylist()
    return row["highly_nomadic_users"], row["observed_total_users"]


def _told(about: str) -> bool:
    import json

    days = json.loads(about)["days"]
    return (days["failed"], days["skipped"]) == ([str(_day(_FAILED))], [str(_day(_GAP))]) and len(days["taken_in"]) == 8


def _nomadic(tables: dict[str, pa.Table]) -> float:
    nomadic, observed = _totals(tables)
    return float(nomadic / (nomadic + observed))


def _answer(tables: dict[str, pa.Table]) -> dict[str, Any]:
    """The case's answer keys."""
    nomadic, observed = _totals(tables)
    tiles = {name: _by_tile(tables[name], [f"value_{i}" for i in range(4)]) for name in _FINGERPRINTS}
    anchors = {_key(row): row["value"] for row in tables["top_anchors"].to_pylist()}
    links = {
        f"{row['reference_area']}|{_key(row)}": row["strength"]
        for row in tables["functional_urban_fingerprint"].to_pylist()
    }
    return {
        "users_seen": nomadic + observed,
        "users_nomadic": nomadic,
        "total_footprint": tiles["fingerprint"],
        "calibrated_footprint": tiles["calibrated_fingerprint"],
        "top_anchors": anchors,
        "connection": links,
    }


_FINGERPRINTS = ("fingerprint", "calibrated_fingerprint")


def _by_tile(table: pa.Table, columns: list[str]) -> dict[str, list[Any]]:
    return {_key(row): [row[name] for name in columns] for row in table.to_pylist()}


def _key(row: dict[str, Any]) -> str:
    return f"{row['tile_e']},{row['tile_n']}"
