"""A host that lies, an enclave that is another one, owners who say no: nothing is released, and somebody says why."""

import json
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import sealstat
from enclaves import await_
from sealstat.evidence.attester import create_simulated_root
from sealstat.host.launcher import Launcher, instance_command
from sealstat.lab import demo
from sealstat.lab.stage import Stage

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]
DELAY_S = 12


@dataclass
class Played:
    stage: Stage
    agreement: str

    def deliver(self, period: str) -> None:
        demo.generate(self.stage, 1_000, period, seed=3)
        demo.deliver(self.stage, self.agreement, period)

    def ask(self, period: str) -> str:
        words = ("run", self.agreement, "visitors", "--period", period, "--purpose", demo.PURPOSE, "--detach")
        run: str = self.stage.json("ministry", *words)["run"]
        return run

    def shown(self, run: str) -> dict[str, Any]:
        done = self.stage.try_call("ministry", "run", "show", run, "--json")
        return dict(json.loads(done.stdout))

    def log(self, role: str) -> str:
        return (self.stage.folder / "logs" / f"{role}.log").read_text()

    def fetch(self, role: str, run: str, out: Path) -> "subprocess.CompletedProcess[str]":
        return self.stage.try_call(role, "fetch", run, "--out", str(out))


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    """All roles but the enclave: each test starts the one it is about."""
    with Stage(tmp_path_factory.mktemp("hostile") / "stage") as stage:
        stage.set_up()
        stage.start_witnesses()
        stage.start_host()
        for party in stage.parties:
            stage.start_agent(party)
        yield Played(stage, demo.agree(stage, release_delay=f"{DELAY_S}s"))


@contextmanager
def launched(stage: Stage, command: list[str]) -> Iterator[None]:
    """A launcher of the host's house that starts what it likes."""
    launcher = Launcher(stage.url, stage.home("host") / "launcher.token", command)
    thread = threading.Thread(target=launcher.serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        launcher.stopped.set()
        for process in list(launcher._running.values()):
            process.kill()
        thread.join(30)


def honest(stage: Stage, *options: str, root: Path | None = None) -> list[str]:
    return instance_command(
        attester="simulated", simulated_root=root or stage.folder / "enclave" / "simulated.root", options=options
    )


def other_code(stage: Stage, folder: Path) -> list[str]:
    """The same program with one comment more."""
    package = folder / "sealstat"
    shutil.copytree(Path(sealstat.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    with (package / "enclave" / "session.py").open("a") as file:
        file.write("# one comment more\n")
    start = (
        f"import sys; sys.path.insert(0, {str(folder)!r}); from sealstat.enclave.__main__ import main; sys.exit(main())"
    )
    command = honest(stage)
    module = command.index("-m")
    return [*command[:module], "-c", start, *command[module + 2 :]]


@pytest.mark.parametrize(
    ("kind", "period", "words"),
    [
        ("other code", "2026-01", "the enclave runs code"),
        ("debug", "2026-02", "debug mode"),
        ("other root", "2026-03", "not signed by the root"),
    ],
)
def test_an_enclave_that_is_not_the_agreed_one_gets_no_key(
    played: Played, kind: str, period: str, words: str, tmp_path: Path
) -> None:
    played.deliver(period)
    if kind == "other code":
        command = other_code(played.stage, tmp_path)
    elif kind == "debug":
        command = honest(played.stage, "--debug")
    else:
        create_simulated_root(tmp_path / "other.root")
        command = honest(played.stage, root=tmp_path / "other.root")
    with launched(played.stage, command):
        run = played.ask(period)
        await_(lambda: words in played.log("operator-a") and words in played.log("operator-b"))
        assert played.shown(run)["stage"] == "attested"
        assert "waiting for the key of operator-a, operator-b" in played.shown(run)["sentence"]
        for owner in ("operator-a", "operator-b"):
            assert f"for run {run[:12]}" not in played.log(owner).partition(words)[2], "a key was released"
    # nothing is lost: given up, the same run goes on with the enclave that was agreed
    played.stage.call("ministry", "run", "abandon", run)
    with launched(played.stage, honest(played.stage)):
        await_(lambda: bool(played.shown(run)["ended"]), seconds=120)
    assert played.fetch("ministry", run, tmp_path / "out").returncode == 0


def database(stage: Stage) -> sqlite3.Connection:
    return sqlite3.connect(stage.home("host") / "host.db", timeout=10, isolation_level=None)


@pytest.mark.parametrize("lie", ["flipped", "another", "dropped"])
def test_a_reader_stops_at_a_statement_that_the_host_changed(played: Played, tmp_path: Path, lie: str) -> None:
    stage = played.stage
    home = tmp_path / "fresh"  # the regulator's keys, and no memory of the log
    shutil.copytree(stage.home("regulator"), home, ignore=shutil.ignore_patterns("ledger*", "*.db*", "*.sqlite*"))
    with closing(database(stage)) as db:
        (id, envelope), (_, other) = db.execute(
            "SELECT id, envelope FROM statements WHERE type = 'approval' ORDER BY leaf_index LIMIT 2"
        ).fetchall()
        place = len(envelope) // 2
        lies = {"flipped": envelope[:place] + bytes([envelope[place] ^ 1]) + envelope[place + 1 :], "another": other}
        wrong = "0" * 64
        if lie == "dropped":
            db.execute("UPDATE statements SET id = ? WHERE id = ?", (wrong, id))
        else:
            db.execute("UPDATE statements SET envelope = ? WHERE id = ?", (lies[lie], id))
        try:
            words = ("agreement", "show", played.agreement, "--host", stage.url, "--home", str(home))
            done = stage.try_call("regulator", *words)
        finally:
            db.execute("UPDATE statements SET id = ?, envelope = ? WHERE id IN (?, ?)", (id, envelope, id, wrong))
    assert done.returncode == 1, done.stdout
    (sentence,) = done.stderr.strip().splitlines()
    if lie != "dropped":
        assert "is not what the log says" in sentence
    assert "Traceback" not in done.stderr


def test_a_changed_byte_in_a_delivery_ends_the_instance_without_a_record(played: Played) -> None:
    # under an agreement of its own: an instance that has keys stays live for its task until it is given up
    spoilt = demo.agree(
        played.stage, change=lambda text: text.replace("operators A and B", "operators A and B, spoilt")
    )
    played = Played(played.stage, spoilt)
    before = set(played.stage.home("host").rglob("*"))
    played.deliver("2026-04")
    stored = [path for path in set(played.stage.home("host").rglob("*")) - before if path.is_file()]
    largest = sorted((path for path in stored if len(path.name) == 64), key=lambda path: path.stat().st_size)[-2:]
    for path in largest:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.chmod(0o600)
        path.write_bytes(data)
    stage = played.stage
    stage.start_enclave()
    try:
        run = played.ask("2026-04")
        await_(lambda: "gave something else than blob" in played.log("enclave"))
        assert not played.shown(run)["ended"]
        assert played.shown(run)["stage"] in {"attested", "computing", "challenged", "requested"}
    finally:
        stage.stop("enclave")


def test_only_those_the_agreement_names_receive_a_table(played: Played, tmp_path: Path) -> None:
    played.deliver("2026-05")
    with launched(played.stage, honest(played.stage)):
        run = played.ask("2026-05")
        await_(lambda: bool(played.shown(run)["ended"]), seconds=120)
    assert played.fetch("ministry", run, tmp_path / "ministry").returncode == 0
    assert played.fetch("operator-a", run, tmp_path / "a").returncode == 0
    assert [path.stem for path in (tmp_path / "a").glob("*.csv")] == ["all"]
    refused = played.fetch("regulator", run, tmp_path / "regulator")
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "regulator").exists()


def test_an_owners_refusal_with_cause_keeps_the_result_closed(played: Played, tmp_path: Path) -> None:
    played.deliver("2026-06")
    with launched(played.stage, honest(played.stage)):
        run = played.ask("2026-06")
        await_(lambda: played.shown(run)["stage"] == "counted", seconds=120)
        played.stage.call("operator-b", "party", "refuse", run, "--why", "the list was cut wrongly")
    time.sleep(DELAY_S + 4)
    shown = played.shown(run)
    assert (shown["stage"], shown["refused"]) == ("stopped", True)
    assert "the list was cut wrongly" in shown["sentence"]
    refused = played.fetch("ministry", run, tmp_path / "out")
    assert refused.returncode == 1
    assert not (tmp_path / "out").exists()


def test_a_withdrawal_before_the_release_stops_it_and_everything_after(played: Played, tmp_path: Path) -> None:
    """The last one: the agreement is over afterwards."""
    played.deliver("2026-07")
    with launched(played.stage, honest(played.stage)):
        run = played.ask("2026-07")
        await_(lambda: played.shown(run)["stage"] == "counted", seconds=120)
        played.stage.call("operator-a", "agreement", "withdraw", played.agreement, "--why", "the basis has ended")
    time.sleep(DELAY_S + 4)
    shown = played.shown(run)
    assert (shown["stage"], shown["refused"]) == ("stopped", True)
    assert "operator-a withdrew" in shown["sentence"]
    assert played.fetch("ministry", run, tmp_path / "out").returncode == 1
    again = played.stage.try_call(
        "ministry", "run", played.agreement, "visitors", "--period", "2026-07", "--purpose", demo.PURPOSE
    )
    assert again.returncode == 1
    assert "withdrawn by operator-a" in again.stderr
