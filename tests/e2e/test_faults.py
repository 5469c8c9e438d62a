"""kill -9 of any role at random moments of a run: nothing is lost, nothing is released twice, the run can always go on.

One stage plays all of it: an agreement that allows many runs of one period, each run disturbed at another moment.
"""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from model import conformance
from sealstat.lab import demo
from sealstat.lab.stage import Stage

PERIOD = "2026-10"
ROLES = ("host", "enclave", "operator-a", "ministry")
PATIENCE_S = 150.0
SILENCE_S = 6.0


@dataclass
class Played:
    stage: Stage
    agreement: str
    truth: dict[str, Any]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    with Stage(tmp_path_factory.mktemp("faults") / "stage") as stage:
        stage.set_up()
        stage.start_all()
        many = demo.agree(
            stage, release_delay="1s", change=lambda text: text.replace("runs_per_period: 1 ", "runs_per_period: 99 ")
        )
        truth = demo.generate(stage, 2_000, PERIOD, seed=7)
        demo.deliver(stage, many, PERIOD)
        yield Played(stage, many, truth)


def ask(played: Played) -> str:
    words = ("run", played.agreement, "visitors", "--period", PERIOD, "--purpose", demo.PURPOSE, "--detach")
    run: str = played.stage.json("ministry", *words)["run"]
    return run


def restart(stage: Stage, role: str) -> None:
    stage.stop(role, kill=True)
    if role == "host":
        stage.start_host()
    elif role == "enclave":
        stage.start_enclave()
    else:
        stage.start_agent(role)


def finish(played: Played, run: str) -> None:
    """Wait for the run as a person would: an enclave that stays silent is given up."""
    deadline, last, since = time.monotonic() + PATIENCE_S, "", time.monotonic()
    while time.monotonic() < deadline:
        shown = played.stage.json("ministry", "run", "show", run)
        if shown["ended"]:
            assert not shown["refused"], shown["sentence"]
            return
        if shown["sentence"] != last:
            last, since = shown["sentence"], time.monotonic()
        elif shown["stage"] in {"attested", "computing"} and time.monotonic() > since + SILENCE_S:
            played.stage.try_call("ministry", "run", "abandon", run)
            since = time.monotonic()
        time.sleep(0.5)
    raise AssertionError(f"the run did not end: {last}")


def check_result(played: Played, run: str, out: Path) -> None:
    played.stage.call("ministry", "fetch", run, "--out", str(out))
    (row,) = pyarrow.parquet.read_table(out / "all.parquet").to_pylist()
    assert {name: row[name] for name in played.truth["all"]} == played.truth["all"]
    proof = played.stage.folder / f"{run[:12]}.json"
    played.stage.call("ministry", "proof", run, "--out", str(proof))
    played.stage.call("auditor", "verify", str(proof), "--trust", str(played.stage.folder / "cards"))


def disturb(played: Played, role: str, moment_s: float, out: Path) -> None:
    run = ask(played)
    time.sleep(moment_s)
    restart(played.stage, role)
    finish(played, run)
    check_result(played, run, out)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("role", "moment_s"), [("host", 0.6), ("operator-a", 1.2)])
def test_a_killed_role_comes_back_and_the_run_goes_on(
    played: Played, role: str, moment_s: float, tmp_path: Path
) -> None:
    disturb(played, role, moment_s, tmp_path / "out")


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("number", range(20))
def test_any_role_may_be_killed_at_any_moment(played: Played, number: int, tmp_path: Path) -> None:
    drawn = random.Random(number)
    disturb(played, ROLES[number % len(ROLES)], drawn.uniform(0.0, 4.0), tmp_path / "out")


@pytest.mark.timeout(600)
def test_the_log_of_all_this_means_what_the_model_says(played: Played) -> None:
    """With every abandon, and every release that was sent again after a crash."""
    disturb(played, "enclave", 1.0, played.stage.folder / "out")
    model = conformance.check_log(
        played.stage.home("operator-a"), played.agreement, "visitors", honest=played.stage.parties
    )
    assert model.facts.counter >= 1
