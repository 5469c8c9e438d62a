"""A host that lies, and machines that are not what was agreed: each ends with a reason, and nothing is released."""

import contextlib
import shutil
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sealstat.evidence.attester import create_simulated_root
from sealstat.host.launcher import Launcher, instance_command
from sealstat.lab import demo
from sealstat.lab.stage import Stage

PERIOD = "2026-10"
OWNERS = ("operator-a", "operator-b")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@dataclass
class Agreed:
    stage: Stage
    agreement: str

    def ask(self) -> str:
        words = ("run", self.agreement, "visitors", "--period", PERIOD, "--purpose", demo.PURPOSE, "--detach")
        run: str = self.stage.json("ministry", *words)["run"]
        return run

    def word(self, run: str) -> str:
        done = self.stage.try_call("ministry", "run", "show", run)
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def agreed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agreed]:
    """An agreement over many runs with everything delivered, and no enclave yet."""
    with Stage(tmp_path_factory.mktemp("hostile") / "stage") as stage:
        stage.set_up()
        stage.start_witnesses()
        stage.start_host()
        for party in stage.parties:
            stage.start_agent(party)
        agreement = demo.agree(
            stage, release_delay="20s", change=lambda text: text.replace("runs_per_period: 1 ", "runs_per_period: 9 ")
        )
        demo.generate(stage, 1_500, PERIOD, seed=3)
        demo.deliver(stage, agreement, PERIOD)
        yield Agreed(stage, agreement)


@contextlib.contextmanager
def launched(stage: Stage, command: list[str]) -> Iterator[None]:
    """The host's launcher, starting something of its own choice."""
    launcher = Launcher(stage.url, stage.home("host") / "launcher.token", command)
    thread = threading.Thread(target=launcher.serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        launcher.stopped.set()
        thread.join(30)


def await_true(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.3)


def log_of(stage: Stage, party: str) -> str:
    return (stage.folder / "logs" / f"{party}.log").read_text(errors="replace")


def root_file(stage: Stage) -> Path:
    stage.simulated_root()
    return stage.folder / "enclave" / "simulated.root"


def in_debug_mode(stage: Stage, folder: Path) -> list[str]:
    return instance_command(attester="simulated", simulated_root=root_file(stage), options=["--debug"])


def of_a_foreign_root(stage: Stage, folder: Path) -> list[str]:
    create_simulated_root(folder / "foreign.root")
    return instance_command(attester="simulated", simulated_root=folder / "foreign.root")


def of_changed_code(stage: Stage, folder: Path) -> list[str]:
    import sealstat

    copy = folder / "sealstat"
    shutil.copytree(Path(sealstat.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    with (copy / "enclave" / "session.py").open("a") as file:
        file.write("# one comment more\n")
    start = f"import runpy, sys; sys.path.insert(0, {str(folder)!r}); runpy.run_module('sealstat.enclave', "
    start += "run_name='__main__', alter_sys=True)"
    return [sys.executable, "-I", "-c", start, "--attester", "simulated", "--simulated-root", str(root_file(stage))]


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        pytest.param(in_debug_mode, "debug mode", id="debug evidence"),
        pytest.param(of_a_foreign_root, "not signed by the root", id="another root"),
        pytest.param(of_changed_code, "the enclave runs code", id="changed code"),
    ],
)
def test_owners_give_no_key_to_a_machine_that_was_not_agreed(
    agreed: Agreed, tmp_path: Path, command: Callable[[Stage, Path], list[str]], reason: str
) -> None:
    stage, run = agreed.stage, agreed.ask()
    with launched(stage, command(stage, tmp_path)):
        await_true(lambda: all(reason in log_of(stage, owner) for owner in OWNERS))
        assert "waiting for the key of operator-a, operator-b" in agreed.word(run)
    assert "released the key" not in log_of(stage, "operator-a") + log_of(stage, "operator-b")


def database(stage: Stage) -> sqlite3.Connection:
    return sqlite3.connect(stage.home("host") / "host.db", timeout=10, isolation_level=None)


@pytest.mark.parametrize("lie", ["flipped", "another", "dropped"])
def test_a_reader_stops_at_a_statement_that_the_host_changed(agreed: Agreed, tmp_path: Path, lie: str) -> None:
    stage = agreed.stage
    home = tmp_path / "fresh"  # the regulator's keys, and no memory of the log
    shutil.copytree(stage.home("regulator"), home, ignore=shutil.ignore_patterns("ledger*", "*.db*", "*.sqlite*"))
    with contextlib.closing(database(stage)) as db:
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
            words = ("agreement", "show", agreed.agreement, "--host", stage.url, "--home", str(home))
            done = stage.try_call("regulator", *words)
        finally:
            db.execute("UPDATE statements SET id = ?, envelope = ? WHERE id IN (?, ?)", (id, envelope, id, wrong))
    assert done.returncode == 1, done.stdout
    (sentence,) = done.stderr.strip().splitlines()
    if lie != "dropped":
        assert "is not what the log says" in sentence
    assert "Traceback" not in done.stderr
