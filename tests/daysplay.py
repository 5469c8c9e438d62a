"""Days on a stage: the roles of case 3 (lab/case03.py) as real programs, reached through a host that may lie."""

import contextlib
import csv
import json
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from enclaves import await_, enclave
from lying import LyingHost, behind_lies
from sealstat.agreement.replay import View
from sealstat.lab import case03
from sealstat.lab.case03 import PURPOSE, TASK
from sealstat.lab.stage import Stage
from sealstat.party import runs
from sealstat.party.home import Home
from sealstat.party.member import Member
from sealstat.party.period_keys import KEY, period_key_ref
from sealstat.synthetic import dayfiles
from sealstat.synthetic.population import Plan

PARTIES = ("operator", "office", "regulator")
HOLDERS = PARTIES
KEYS = "keys"
PSI, MINIMUM, SUBSCRIBERS = "0.5", 3, 400
FIRST = date(2026, 10, 1)
# what a tie between two top tiles cannot change (lab/case03.py)
WITHOUT_TIES = ("fingerprint", "functional_urban_fingerprint")
BLOBS = "/v1/agreements/[0-9a-f]+/blobs/"


@dataclass
class Play:
    """One agreement on a stage. ``made`` has days of subscribers with IMSIs; ``report`` is its range of days."""

    stage: Stage
    made: Path
    host_options: tuple[str, ...]
    lies: LyingHost = field(repr=False)
    agreement: str = ""
    report: str = ""
    members: dict[tuple[str, str], Member] = field(default_factory=dict, repr=False)

    def under(self, report: str, change: Callable[[str], str] = lambda text: text) -> "Play":
        """The same roles under an agreement of its own."""
        terms = {"report": report, "psi": PSI, "minimum": MINIMUM}
        return replace(self, agreement=case03.agree(self.stage, change=change, **terms), report=report)

    def next_version(self, *changes: tuple[str, str]) -> "Play":
        """The next version of this agreement, approved and followed by both."""
        folder = self.stage.folder / "agreement"
        text = (folder / "agreement.yaml").read_text(encoding="utf-8")
        for old, new in (("version: 1 ", f"version: 2\nsupersedes: {self.agreement} "), *changes):
            assert old in text, old
            text = text.replace(old, new)
        (folder / "later.yaml").write_text(text, encoding="utf-8")
        for party in ("operator", "office"):
            id = self.stage.json(party, "agreement", "approve", str(folder / "later.yaml"))["id"]
        return replace(self, agreement=id)

    # -- what each role does -------------------------------------------------------------------------------------

    def words(self, task: str, period: str, *options: str) -> list[str]:
        return ["run", self.agreement, task, "--period", period, "--purpose", PURPOSE, *options]

    def bring(self, day: str, *, change: Callable[[Path], None] = lambda _: None) -> None:
        """The key of a day is drawn, the day pseudonymised, its key destroyed at the operator's, the day delivered."""
        self.stage.call("operator", *self.words(KEYS, day))
        self.deliver_day(day, change=change)

    def deliver_day(self, day: str, *, change: Callable[[Path], None] = lambda _: None) -> None:
        ref = period_key_ref(self.agreement, "days", day)
        await_(
            lambda: self.member("operator").home.ledger.secret(KEY, ref)
        )  # its agent takes it when the record counts
        file, period = self.stage.home("operator") / f"day-{day}.csv", ["--period", day]
        named = ["--column", "imsi", "--kind", "imsi", "--out", str(file), "--close"]
        given = str(self.made / f"imsi-{day}.csv")
        self.stage.call("operator", "pseudonymise", "file", self.agreement, "days", given, *period, *named)
        change(file)
        self.stage.call("operator", "deliver", self.agreement, "days", str(file), *period)
        file.unlink()

    def bring_tables(self) -> None:
        for dataset, name in (("areas", "reference_areas"), ("census", "census")):
            words = ("deliver", self.agreement, dataset, str(self.made / f"{name}.csv"), "--period", self.report)
            self.stage.call("office", *words)

    def take_in(self, day: str, *, task: str = TASK) -> str:
        run: str = self.stage.json("office", *self.words(task, day))["run"]
        return run

    def ask(self, period: str, *options: str, task: str = TASK) -> str:
        run: str = self.stage.json("office", *self.words(task, period, "--detach", *options))["run"]
        return run

    def refused(self, role: str, *words: str) -> str:
        """The one sentence with which a command is refused; its exit code is 1."""
        done = self.stage.try_call(role, *words)
        assert done.returncode == 1, done.stdout + done.stderr
        return done.stderr.strip().splitlines()[-1]

    # -- who sees what -------------------------------------------------------------------------------------------

    def member(self, role: str) -> Member:
        """A party in this process, as a dishonest one may run other programs over its own home."""
        key = role, self.agreement
        if key not in self.members:
            passphrase = (self.stage.folder / "passphrases" / role).read_text().strip()
            self.members[key] = Member(Home(self.stage.home(role), passphrase), self.agreement, self.stage.url)
        self.members[key].update()
        return self.members[key]

    def view(self) -> View:
        """What the log says to one who is not lied to."""
        return self.member("office").view

    def said(self, role: str, words: str) -> bool:
        """Whether a role has said something that fits the pattern."""
        return re.search(words, (self.stage.folder / "logs" / f"{role}.log").read_text()) is not None

    def has_share(self, holder: str, record: str) -> bool:
        """Whether a holder has its share of the state that a record left."""
        return self.member(holder).home.ledger.secret("state-share", record) is not None

    def settled(self) -> bool:
        """Whether every holder has its share of the newest state, and of no other."""
        view = self.view()
        newest = view.state_record(TASK)
        wanted = [newest.id] if newest is not None else []
        mine = {id for id, (_, instance) in view.records.items() if instance.task == TASK}
        ledgers = [self.member(holder).home.ledger for holder in HOLDERS]
        return all([id for id in ledger.secret_refs("state-share") if id in mine] == wanted for ledger in ledgers)

    def await_end(self, run: str, *, seconds: float = 120.0) -> runs.Stage:
        """Wait until a run ends."""
        await_(lambda: runs.stage(self.view(), run, "office").ended, seconds=seconds)
        return runs.stage(self.view(), run, "office")

    # -- enclaves by hand ----------------------------------------------------------------------------------------

    def instance(self, run: str, name: str) -> AbstractContextManager["subprocess.Popen[str]"]:
        """An enclave of the agreed code, started by the host's house when it likes."""
        return enclave(self.stage, self.agreement, run, name)

    @contextmanager
    def by_hand(self) -> Iterator[None]:
        """No launcher while the block runs: the test starts the enclaves it is about."""
        self.stage.stop("enclave")
        try:
            yield
        finally:
            self.stage.start_enclave()

    def kill(self, role: str) -> None:
        """kill -9, and a new start. Of the enclave's machine: the instances, or the launcher while none is at work."""
        stage = self.stage
        if role == "enclave" and len(children(launcher := stage.roles["enclave"].process)) > 1:  # one is ahead
            for pid in children(launcher):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return
        stage.stop(role, kill=True)
        if role == "host":
            stage.start_host(*self.host_options)
        elif role == "enclave":
            stage.start_enclave()
        else:
            stage.start_agent(role)

    # -- results -------------------------------------------------------------------------------------------------

    def check(self, run: str, days: Sequence[str], out: Path) -> dict[str, Any]:
        """The tables of a report are those of the days in the clear; its about.json."""
        self.stage.call("office", "fetch", run, "--out", str(out))
        plain = self.plain(days)
        shown = {path.stem: pa.parquet.read_table(path) for path in out.glob("*.parquet")}
        assert shown["fingerprint"].num_rows > 0
        for name in WITHOUT_TIES:
            assert rows(shown[name]) == rows(plain[name]), name
        assert totals(shown) == totals(plain)
        return dict(json.loads((out / "about.json").read_text()))

    def plain(self, days: Sequence[str]) -> dict[str, pa.Table]:
        with tempfile.TemporaryDirectory() as name:
            (Path(name) / "made").symlink_to(self.made)
            wanted = [date.fromisoformat(day) for day in days]
            return case03.plain_tables(Path(name), wanted, psi=PSI, minimum=MINIMUM)


def rows(table: pa.Table) -> list[str]:
    return sorted(map(repr, table.to_pylist()))


def totals(tables: dict[str, pa.Table]) -> tuple[Any, ...]:
    (row,) = tables["statistics"].to_pylist()
    return row["highly_nomadic_users"], row["observed_total_users"]


@contextmanager
def days_play(folder: Path, *, days: int, subscribers: int = SUBSCRIBERS) -> Iterator[Play]:
    """Every role started but for the enclave; made-up days; no agreement yet."""
    with pytest.MonkeyPatch.context() as patch:
        (folder / "tmp").mkdir()
        patch.setenv("TMPDIR", str(folder / "tmp"))  # of all that is started
        yield from _started(folder, days, subscribers)


def _started(folder: Path, days: int, subscribers: int) -> Iterator[Play]:
    made = folder / "made"
    dayfiles.write(Plan(subscribers=subscribers, days=days, first=FIRST, seed=5), made, format="csv")
    for file in sorted((made / "operator-1").glob("day-*.csv")):
        _with_imsis(file, made / file.name.replace("day-", "imsi-"))
    with Stage(folder / "stage", parties=PARTIES) as stage, behind_lies(stage) as (lies, options):
        yield Play(stage, made, options, lies)


def imsi(user_id: str) -> str:
    """An IMSI for a made-up subscriber; of some hundreds no two get the same."""
    return f"52501{int(user_id, 16) % 10**10:010d}"


def _with_imsis(file: Path, out: Path) -> None:
    with file.open(newline="") as source, out.open("w", newline="") as target:
        given = csv.reader(source)
        writer = csv.writer(target)
        writer.writerow(["imsi", *next(given)[1:]])
        writer.writerows([imsi(row[0]), *row[1:]] for row in given)


def children(process: "subprocess.Popen[bytes]") -> list[int]:
    """The processes that a program has started."""
    lists = Path(f"/proc/{process.pid}/task").glob("*/children")
    return [int(word) for each in lists for word in each.read_text().split()]
