"""A host that lies to one role and tells the others the truth, and parties that help it: they open nothing.

All roles are real processes; between them and the real host stands a proxy (lying.py). When the lie has ended, the
same run ends in the right table, wherever the protocol lets it go on.
"""

import json
import os
import secrets
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from lying import Answer, Call, Lie, LyingHost, Truth
from sealstat.agreement.replay import View
from sealstat.host.launcher import instance_command
from sealstat.lab import demo
from sealstat.lab.stage import Stage, free_port
from sealstat.party.home import Home
from sealstat.party.member import Member

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]
DELAY_S, AGE_S = 3, 5
CHECKPOINT = "/log/checkpoint"
BLOBS = "/v1/agreements/[0-9a-f]+/blobs/[0-9a-f]+"


@dataclass
class Play:
    """A stage whose host is reached through the proxy; each test starts the instances it is about."""

    stage: Stage
    lies: LyingHost
    agreement: str
    truths: dict[str, Any] = field(default_factory=dict)  # by run
    homes: dict[str, Home] = field(default_factory=dict)

    def deliver(self, period: str) -> None:
        self.truths[period] = demo.generate(self.stage, 1_000, period, seed=3)
        demo.deliver(self.stage, self.agreement, period)

    def ask(self, period: str) -> str:
        words = ("run", self.agreement, "visitors", "--period", period, "--purpose", demo.PURPOSE, "--detach")
        run: str = self.stage.json("ministry", *words)["run"]
        self.truths[run] = self.truths[period]
        return run

    def shown(self, run: str) -> dict[str, Any]:
        return dict(json.loads(self.stage.try_call("ministry", "run", "show", run, "--json").stdout))

    def said(self, role: str, words: str) -> bool:
        return words in (self.stage.folder / "logs" / f"{role}.log").read_text()

    def check(self, run: str, out: Path) -> None:
        """The ministry's table is the planted truth."""
        self.stage.call("ministry", "fetch", run, "--out", str(out))
        (row,) = pyarrow.parquet.read_table(out / "all.parquet").to_pylist()
        planted = self.truths[run]["all"]
        assert {name: row[name] for name in planted} == planted

    def member(self, role: str) -> Member:
        """A party in this process, as a dishonest one may run other programs over its own home."""
        if role not in self.homes:
            passphrase = (self.stage.folder / "passphrases" / role).read_text().strip()
            self.homes[role] = Home(self.stage.home(role), passphrase)
        member = Member(self.homes[role], self.agreement, self.stage.url)
        member.update()
        return member

    def view(self) -> View:
        """What the log says to one who is not lied to."""
        return self.member("ministry").view

    @contextmanager
    def instance(self, run: str, name: str) -> Iterator["subprocess.Popen[str]"]:
        """An enclave of the agreed code, started by the host's house as often as it likes."""
        door, now = secrets.token_urlsafe(32), time.time()
        with closing(sqlite3.connect(self.stage.home("host") / "host.db", timeout=10, isolation_level=None)) as db:
            db.execute(
                "INSERT INTO launches (door, agreement, request, started, lease_until) VALUES (?, ?, ?, ?, ?)",
                (sha256(door.encode()).hexdigest(), self.agreement, run, now, now + 600),
            )
        command = instance_command(
            attester="simulated", simulated_root=self.stage.folder / "enclave" / "simulated.root"
        )
        launch = {"host": self.stage.url, "agreement": self.agreement, "request": run, "door": door}
        with (self.stage.folder / "logs" / f"{name}.log").open("w") as log:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, text=True)
        assert process.stdin is not None
        process.stdin.write(json.dumps(launch) + "\n")
        process.stdin.close()
        try:
            yield process
        finally:
            process.kill()
            process.wait(10)

    def finish(self, run: str, out: Path) -> None:
        """The same run goes on, with an honest instance, to the right table."""
        with self.instance(run, "finishing"):
            await_(lambda: released(self.view(), run))
        self.check(run, out)


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Play]:
    with Stage(tmp_path_factory.mktemp("lying") / "stage") as stage:
        stage.set_up()
        stage.start_witnesses()
        real = free_port()
        with LyingHost(stage.ports["host"], f"http://127.0.0.1:{real}", stage.folder / "cards") as lies:
            stage.start_host("--port", str(real), "--url", stage.url, "--recosign", "1")
            for party in stage.parties:
                stage.start_agent(party)
            yield Play(stage, lies, demo.agree(stage, release_delay=f"{DELAY_S}s"))


def another_agreement(play: Play, title: str, *changes: tuple[str, str]) -> Play:
    """The same parties under terms of their own."""

    def change(text: str) -> str:
        for old, new in (("operators A and B\n", f"operators A and B, {title}\n"), *changes):
            assert old in text
            text = text.replace(old, new)
        return text

    return replace(play, agreement=demo.agree(play.stage, release_delay=f"{DELAY_S}s", change=change))


def await_(condition: Callable[[], object], *, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)


def released(view: View, run: str) -> bool:
    record = view.counting_record(run)
    return record is not None and len(view.result_releases.get(record.id, {})) >= 2


@dataclass
class Held:
    """A lie that lets the first call wait until ``let_go``; all others pass."""

    calls: list[Call] = field(default_factory=list)
    free: threading.Event = field(default_factory=threading.Event)

    def __call__(self, call: Call, _: Truth) -> None:
        if not self.calls:
            self.calls.append(call)
            self.free.wait(120)

    def let_go(self) -> None:
        self.free.set()


def always(body: bytes) -> Lie:
    return lambda *_: Answer(body)


# -- two instances on one request ----------------------------------------------------------------------------------


def test_an_instance_frozen_with_its_record_in_hand_opens_nothing_when_it_is_thawed(play: Play, tmp_path: Path) -> None:
    play.deliver("2026-01")
    run, held = play.ask("2026-01"), Held()
    with (
        play.lies.lying(held, to="instance", when=lambda call: call.says("run-record")),
        play.instance(run, "frozen") as frozen,
    ):
        await_(lambda: held.calls)
        os.kill(frozen.pid, signal.SIGSTOP)
        with play.instance(run, "second"):
            for owner in ("operator-a", "operator-b"):
                await_(lambda owner=owner: play.said(owner, "another instance is live for this task"))
        play.stage.call("ministry", "run", "abandon", run)
        play.finish(run, tmp_path / "before")
        os.kill(frozen.pid, signal.SIGCONT)
        held.let_go()
        assert frozen.wait(90) == 75
    assert play.said("frozen", "the record means nothing to those who read the log")
    assert held.calls[0].said is not None
    late = held.calls[0].said.id
    time.sleep(DELAY_S + 2)
    view = play.view()
    assert view.void[late][1] == "a run-record of an instance that is not live"
    (opened,) = [id for id, (record, _) in view.records.items() if record.body.request == run]
    assert opened != late and view.result_releases.keys() & {late, opened} == {opened}
    for holder in ("operator-a", "operator-b", "regulator"):
        assert play.member(holder).home.ledger.secret("result-share", late) is None
    play.check(run, tmp_path / "after")


# -- old checkpoints -------------------------------------------------------------------------------------------------


def test_an_agent_does_nothing_for_a_log_that_has_shrunk(play: Play, tmp_path: Path) -> None:
    old = play.lies.log_file("checkpoint")
    play.deliver("2026-02")
    with play.lies.lying(always(old), path=CHECKPOINT, to="operator-a"):
        await_(lambda: play.said("operator-a", "the log shrank from size"))
        run = play.ask("2026-02")
        await_(lambda: "waiting for the agent of operator-a" in play.shown(run)["sentence"])
        time.sleep(2)
        assert not [
            each for each in play.view().challenges.values() if (each.by, each.body.request) == ("operator-a", run)
        ]
    play.finish(run, tmp_path / "out")
    assert play.said("operator-a", "all well again")


def test_a_withdrawal_hidden_from_the_enclave_keeps_its_record_from_counting(play: Play, tmp_path: Path) -> None:
    play = another_agreement(play, "withdrawn")
    play.deliver("2026-03")
    run, held = play.ask("2026-03"), Held()
    with (
        play.lies.lying(held, path=BLOBS, to="instance", when=lambda call: call.method == "GET"),
        play.instance(run, "misled"),
    ):
        await_(lambda: held.calls)  # it has its keys and asks for the deliveries
        with play.lies.lying(always(play.lies.log_file("checkpoint")), path=CHECKPOINT, to="instance"):
            play.stage.call("operator-a", "agreement", "withdraw", play.agreement, "--why", "the basis has ended")
            held.let_go()
            await_(lambda: play.view().records)
            time.sleep(DELAY_S + 2)
    view = play.view()
    assert view.records and not view.result_releases
    assert not any(map(view.counts, view.records))
    shown = play.shown(run)
    assert (shown["stage"], shown["refused"]) == ("stopped", True)
    assert "operator-a withdrew" in shown["sentence"]
    assert play.stage.try_call("ministry", "fetch", run, "--out", str(tmp_path / "out")).returncode == 1


def test_agents_that_are_shown_old_checkpoints_alone_release_nothing(play: Play, tmp_path: Path) -> None:
    """So an owner's refusal that the host hides from the other holders holds all the same."""
    delay_s = 2 * AGE_S + 2
    play = another_agreement(
        play,
        "short of age",
        ("checkpoint_age: 10m", f"checkpoint_age: {AGE_S}s"),
        (f"release_delay: {DELAY_S}s", f"release_delay: {delay_s}s"),
    )
    play.deliver("2026-04")
    run = play.ask("2026-04")
    with play.instance(run, "computing"):
        await_(lambda: play.view().counting_record(run))
    with play.lies.lying(always(play.lies.log_file("checkpoint")), path=CHECKPOINT, to="operator-a regulator"):
        play.stage.call("operator-b", "party", "refuse", run, "--why", "the list was cut wrongly")
        for holder in ("operator-a", "regulator"):
            await_(lambda holder=holder: play.said(holder, f"older than {AGE_S} s"))
        time.sleep(delay_s)
        assert not play.view().result_releases
    time.sleep(AGE_S)
    assert not play.view().result_releases
    shown = play.shown(run)
    assert (shown["stage"], shown["refused"]) == ("stopped", True)
    assert play.stage.try_call("ministry", "fetch", run, "--out", str(tmp_path / "out")).returncode == 1
