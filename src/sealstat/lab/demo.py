"""The whole story on one machine, played by real processes: agree, deliver, attest, run, release, log, verify."""

import json
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from sealstat.agreement.enclaves import SIMULATED, SOFTWARE_TPM
from sealstat.lab import software_tpm
from sealstat.lab.stage import Follow, Stage, StageError, stopped_at_the_end

PURPOSE = "tourism-statistics"
LOUD = {"simulated": SIMULATED, "tpm": SOFTWARE_TPM}


@dataclass
class Timeline:
    """What happened when; shown live, kept for the report."""

    start: float = field(default_factory=time.monotonic)
    moments: list[tuple[float, str, str]] = field(default_factory=list)
    steps: list[tuple[str, float]] = field(default_factory=list)

    def say(self, who: str, what: str) -> None:
        at = time.monotonic() - self.start
        self.moments.append((at, who, what))
        print(f"{at:6.1f} s  {who:<14} {what}", flush=True)

    def step(self, word: str) -> None:
        at = time.monotonic() - self.start
        self.steps.append((word, at))
        print(f"\n{'':10}── {word} ──", flush=True)


@dataclass(frozen=True, slots=True)
class Played:
    """What a play has produced."""

    out: Path
    agreement: str
    run: str
    truth: dict[str, Any]
    seconds: float


def play(out: Path, *, rows: int, seed: int, attester: str = "simulated") -> Played:
    """Play the demo; tables, proof, certificate, cards and report.html go into ``out``.

    The attester is simulated or tpm.

    Raises:
        StageError: a role failed, in its own words.
    """
    if out.exists() and any(out.iterdir()):
        if not (out / ".sealstat-demo").exists():
            raise StageError(f"{out} exists and is not a demo's: name another folder with --out")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / ".sealstat-demo").touch()
    timeline = Timeline()
    print(f"\n{'':10}sealstat: official statistics from data that nobody has to share")
    print(f"{'':10}{LOUD[attester]} (a trial on one machine)\n")
    with tempfile.TemporaryDirectory(prefix="sealstat-demo-") as folder:
        stage = Stage(Path(folder))
        with stopped_at_the_end(stage), Follow(stage, lambda role, line: _tell(timeline, role, line)):
            return _story(stage, out.resolve(), rows, seed, timeline, attester)


def _story(stage: Stage, out: Path, rows: int, seed: int, timeline: Timeline, attester: str) -> Played:
    period = _last_month(datetime.now(UTC).date())
    timeline.step("keys: every role makes its own, in a home of its own")
    stage.set_up()
    timeline.say("everybody", f"{len(stage.parties)} parties, {len(stage.witnesses)} witnesses, 1 host have keys")
    if attester == "tpm":
        timeline.step("enrol: each owner asks the enclave's TPM, a SOFTWARE TPM, whether its key lives there")
        software_tpm.set_up(stage, ("operator-a", "operator-b"), say=timeline.say)
    stage.start_all()

    timeline.step("agree: a text that lawyers can read, signed by all three")
    agreement = agree(stage, say=timeline.say)
    explained = stage.call("operator-a", "agreement", "explain", agreement)
    (out / "agreement.txt").write_text(explained, encoding="utf-8")

    timeline.step("deliver: identifiers are replaced and tables encrypted on each operator's premises")
    truth = generate(stage, rows, period, seed)
    timeline.say("operators", f"each holds {rows:,} rows of roamers seen in border areas, {period}")
    deliver(stage, agreement, period, say=timeline.say)

    timeline.step("attest, run, release: the ministry asks, the owners check the code and release keys and result")
    run = stage.json("ministry", "run", agreement, "visitors", "--period", period, "--purpose", PURPOSE, timeout_s=300)[
        "run"
    ]
    timeline.say("ministry", f"run {run[:12]} is released")
    stage.call("ministry", "fetch", run, "--out", str(out / "tables"))
    timeline.say("ministry", "opened its tables and held them against the log")

    timeline.step("log, verify: the auditor checks one file, with the cards it trusts and no network")
    stage.call("ministry", "proof", run, "--out", str(out / "proof.json"))
    shutil.copytree(stage.folder / "cards", out / "cards")
    words = ["--trust", str(out / "cards"), "--results", str(out / "tables")]
    words += ["--certificate", str(out / "certificate.html")]
    checked = stage.try_call("auditor", "verify", str(out / "proof.json"), *words)
    print(checked.stdout)
    if checked.returncode != 0:
        raise StageError(f"the proof does not verify: {(checked.stderr or checked.stdout).strip().splitlines()[0]}")
    timeline.say("auditor", "verified the proof offline")
    log = stage.call("auditor", "log", "check", stage.url).splitlines()[0]
    timeline.say("auditor", log)
    _compare(out, truth)
    what = {"agreement": agreement, "run": run, "period": period, "truth": truth, "verdict": checked.stdout}
    write_report(out, stage, timeline, loud=LOUD[attester], **what)
    show_tables(out)
    seconds = time.monotonic() - timeline.start
    print(f"\nlook at      {out / 'report.html'}")
    print(f"file         {out / 'certificate.html'} (one page to print, with the proof in it)")
    print(f"verify again sealstat verify {_short(out / 'proof.json')} --trust {_short(out / 'cards')}")
    print(f"tables in    {_short(out / 'tables')}   ({seconds:.0f} s; {LOUD[attester]})")
    return Played(out, agreement, run, truth, seconds)


# -- the steps, for other plays, too ---------------------------------------------------------------------------------


def agree(
    stage: Stage,
    *,
    say: Callable[[str, str], None] = lambda *_: None,
    change: Callable[[str], str] = lambda text: text,
    domestic: str = "ID",
    **terms: Any,
) -> str:
    """Write the agreement as a person would, check it, approve it by all three; its id.

    Args:
        change: edits the YAML before it is checked.
        terms: go to the template (agreement/template.py).
    """
    from sealstat.synthetic.mcc import BORDER_AREAS, MCC_COUNTRY

    folder = stage.folder / "agreement"
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    shutil.copytree(stage.folder / "cards", folder / "cards", dirs_exist_ok=True)
    areas = terms.pop("areas", BORDER_AREAS)
    (folder / "tables" / "border.csv").write_text("border_area\n" + "".join(f"{area}\n" for area in areas))
    rows = "".join(f"{mcc},{country}\n" for mcc, country in MCC_COUNTRY.items())
    (folder / "tables" / "mcc.csv").write_text("mcc,country\n" + rows)
    file = folder / "agreement.yaml"
    file.write_text(
        change(stage.draft("visitors", domestic=domestic, **({"release_delay": "2s"} | terms))), encoding="utf-8"
    )
    stage.call("operator-a", "agreement", "check", str(file))
    say("operator-a", f"checked {file.name}: no mistake")
    agreement = ""
    for party in ("operator-a", "operator-b", "ministry"):
        agreement = stage.json(party, "agreement", "approve", str(file))["id"]
        say(party, f"approved agreement {agreement[:12]}")
    return agreement


def generate(stage: Stage, rows: int, period: str, seed: int) -> dict[str, Any]:
    """Each operator's own list, in its home; the truth, which nobody on the stage knows."""
    from sealstat.synthetic import roamers

    folder = stage.folder / "generated"
    truth = roamers.write(folder, rows, period, seed)
    for operator, name in (("operator-a", "mno_a"), ("operator-b", "mno_b")):
        (folder / f"{name}.csv").rename(stage.home(operator) / "roamers.csv")
    return truth


def deliver(
    stage: Stage, agreement: str, period: str, *, say: Callable[[str, str], None] = lambda *_: None
) -> list[dict[str, Any]]:
    """Both operators deliver at the same time, since each waits for the other's linkage share."""

    def one(operator: str) -> dict[str, Any]:
        dataset = f"roamers-{operator[-1]}"
        file = stage.home(operator) / "roamers.csv"
        done: dict[str, Any] = stage.json(operator, "deliver", agreement, dataset, str(file), "--period", period)
        rejected = sum(done["rejects"].values())
        say(operator, f"delivered {done['rows']:,} rows in {done['parts']} sealed parts, {rejected} rejected at home")
        return done

    with ThreadPoolExecutor(2) as workers:
        return list(workers.map(one, ("operator-a", "operator-b")))


# -- showing -----------------------------------------------------------------------------------------------------------


def _compare(out: Path, truth: dict[str, Any]) -> None:
    """The published totals against the planted truth: the demo must not only run, it must be right."""
    import pyarrow.parquet

    (row,) = pyarrow.parquet.read_table(out / "tables" / "all.parquet").to_pylist()
    for name, value in truth["all"].items():
        if row[name] is not None and row[name] != value:
            raise StageError(f"the result says {name} = {row[name]}, planted were {value}")


def show_tables(out: Path) -> None:
    """The totals and the countries, as the ministry has them."""
    import pyarrow.parquet

    (row,) = pyarrow.parquet.read_table(out / "tables" / "all.parquet").to_pylist()
    print(f"\n{'':10}All visitors, each counted once: {row['union']:,}")
    of_a, of_b = f"{row['a']:,} ({row['share_a']})", f"{row['b']:,} ({row['share_b']})"
    print(f"{'':10}operator A saw {of_a}, operator B saw {of_b}, both {row['overlap']}")
    print(f"{'':10}{row['visitor_days']:,} visitor days, {row['mean_stay_days']} days a visitor\n")
    rows = pyarrow.parquet.read_table(out / "tables" / "by_country.parquet").to_pylist()
    shown = sorted((each for each in rows if each["union"] is not None), key=lambda each: -each["union"])
    widest = shown[0]["union"] if shown else 1
    for each in shown[:10]:
        print(f"{'':10}{each['country']}  {each['union']:>9,}  {'█' * max(1, round(40 * each['union'] / widest))}")
    hidden = sum(each["union"] is None for each in rows)
    print(f"{'':10}{hidden} countries are hidden by the agreement's rules" if hidden else "")


def write_report(
    out: Path,
    stage: Stage,
    timeline: Timeline,
    *,
    loud: str,
    agreement: str,
    run: str,
    period: str,
    truth: dict[str, Any],
    verdict: str,
) -> None:
    """report.html: one file, nothing loaded from elsewhere."""
    import jinja2
    import pyarrow.parquet

    from sealstat.host.seen import summarise
    from sealstat.reports import bars

    tables = {name: pyarrow.parquet.read_table(out / "tables" / f"{name}.parquet") for name in ("all", "by_country")}
    pictures = {
        "countries": bars.by_dimension(
            tables["by_country"],
            ["country"],
            "union",
            title="Visitors by home country",
            unit="visitors, each counted once",
        ),
        "shares": bars.market_shares(tables["all"]),
    }
    for name, picture in pictures.items():
        (out / f"{name}.svg").write_text(picture.svg, encoding="utf-8")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True
    )
    (row,) = tables["all"].to_pylist()
    html = environment.get_template("report.html").render(
        loud=loud,
        period=period,
        agreement=agreement,
        run=run,
        all=row,
        truth=truth,
        naive=(row["a"] or 0) + (row["b"] or 0),
        countries=sorted(tables["by_country"].to_pylist(), key=lambda each: -(each["union"] or -1)),
        pictures=pictures,
        moments=timeline.moments,
        steps=timeline.steps,
        seen=summarise(stage.home("host")),
        verdict=verdict,
        about=json.loads((out / "tables" / "about.json").read_text(encoding="utf-8")),
        explained=(out / "agreement.txt").read_text(encoding="utf-8"),
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )
    (out / "report.html").write_text(html, encoding="utf-8")


def _tell(timeline: Timeline, role: str, line: str) -> None:
    """The lines of a role's log that belong to the story."""
    if role in {"operator-a", "operator-b", "ministry", "regulator"}:
        found = re.match(rf"{role}: \S+ (.*)", line)
        if found and "T" in line.split()[1]:
            timeline.say(role, found[1])
        elif "trouble" in line:
            timeline.say(role, line.partition(": ")[2])
    elif role == "enclave" and line.startswith("enclave: ") and "NOT PROTECTED" not in line:
        timeline.say("enclave", line.removeprefix("enclave: "))


def _last_month(today: date) -> str:
    return (today.replace(day=1) - timedelta(days=1)).strftime("%Y-%m")


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
