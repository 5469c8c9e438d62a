"""Keys that are lost or stolen, by the real programs: each kind is lost once, and the work goes on.

Between all roles and the host stands a proxy (lying.py), for the host that would rather keep the thief.
"""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from enclaves import await_
from lying import LyingHost, always, behind_lies
from sealstat.crypto.statement import sign
from sealstat.lab import demo
from sealstat.lab.stage import Stage
from sealstat.party.home import Home
from sealstat.party.member import Member

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]
DELAY_S = 4
APPROVERS = ("operator-a", "operator-b", "regulator")


@dataclass
class Play:
    """A stage whose host is reached through the proxy."""

    stage: Stage
    lies: LyingHost
    agreement: str

    def deliver_and_run(self, period: str, out: Path) -> str:
        """A whole period, from the lists to a table that is the planted truth; the run."""
        truth = demo.generate(self.stage, 1_000, period, seed=5)["all"]
        demo.deliver(self.stage, self.agreement, period)
        words = ("run", self.agreement, "visitors", "--period", period, "--purpose", demo.PURPOSE)
        run: str = self.stage.json("ministry", *words, timeout_s=200)["run"]
        self.stage.call("ministry", "fetch", run, "--out", str(out), "--no-report")
        (row,) = pyarrow.parquet.read_table(out / "all.parquet").to_pylist()
        assert {name: row[name] for name in truth} == truth
        return run

    def proved(self, run: str, out: Path) -> str:
        """What a stranger with the cards of the agreement reads in the proof of a run; it holds."""
        self.stage.call("ministry", "proof", run, "--out", str(out))
        return self.stage.call("auditor", "verify", str(out), "--trust", str(self.stage.folder / "cards"))

    def shown(self, role: str = "regulator") -> dict[str, Any]:
        return dict(self.stage.json(role, "agreement", "show", self.agreement))

    def recovery(self, role: str) -> str:
        return str(self.stage.folder / "recovery" / role)

    def lose_home(self, role: str) -> None:
        self.stage.stop(role, kill=True)
        shutil.rmtree(self.stage.home(role))

    def refused(self, role: str, *words: str) -> str:
        done = self.stage.try_call(role, *words)
        assert done.returncode == 1, done.stdout
        return done.stderr.strip()


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Play]:
    with Stage(tmp_path_factory.mktemp("recovery") / "stage") as stage, behind_lies(stage) as (lies, _):
        stage.start_enclave()
        agreement = demo.agree(stage, change=lambda text: text.replace("delay: 7d", f"delay: {DELAY_S}s"))
        yield Play(stage, lies, agreement)


def test_a_lost_daily_key_is_replaced_by_the_recovery_key(play: Play, tmp_path: Path) -> None:
    stage, file = play.stage, play.recovery("operator-a")
    said = stage.call("operator-a", "party", "recover", "--recovery", file, "--rehearse")
    assert "1 agreements have seen it" in said
    before = play.deliver_and_run("2026-07", tmp_path / "before")
    play.lose_home("operator-a")
    words = ("party", "recover", "--recovery", file, "--host", stage.url)
    assert "there is no party in" in play.refused("operator-a", *words)
    said = stage.call("operator-a", *words, "--card", str(stage.card("operator-a")))
    assert "in force in 1 agreements" in said
    stage.start_agent("operator-a")
    run = play.deliver_and_run("2026-08", tmp_path / "after")
    assert "operator-a has a new card from leaf" in play.proved(run, tmp_path / "proof.json")
    play.proved(before, tmp_path / "proof-before.json")
    assert (play.shown()["state"], play.shown()["void"]) == ("active", [])


def test_when_both_keys_are_lost_the_approvers_give_a_new_card(play: Play, tmp_path: Path) -> None:
    stage = play.stage
    play.lose_home("ministry")
    Path(play.recovery("ministry")).unlink()
    stage.call("ministry", "party", "create", "ministry", "--recovery", play.recovery("ministry"))
    card = str(stage.home("ministry") / "card.json")
    stage.start_agent("ministry")  # it waits at the door
    for name in APPROVERS:
        vouch = ("party", "vouch", card, "--agreement", play.agreement[:12])
        assert "Nothing has changed" in stage.call(name, *vouch, "--rehearse")
        stage.call(name, *vouch)
    log = stage.folder / "logs" / "ministry.log"
    await_(lambda: re.search(r"all well again", log.read_text()))
    await_(lambda: stage.try_call("ministry", "agreement", "show", play.agreement, "--host", stage.url).returncode == 0)
    assert play.shown()["recoveries"] == []
    run = play.deliver_and_run("2026-09", tmp_path / "after")
    text = play.proved(run, tmp_path / "proof.json")
    assert "operator-a, operator-b, regulator gave it" in text


def test_who_has_the_recovery_key_vetoes_a_card_that_others_would_give(play: Play, tmp_path: Path) -> None:
    stage, file = play.stage, play.recovery("operator-b")
    assert "Nothing has changed" in stage.call("operator-b", "party", "veto", "--recovery", file, "--rehearse")
    assert "nothing to veto" in play.refused("operator-b", "party", "veto", "--recovery", file)
    false = ("--home", str(tmp_path / "false"), "--recovery", str(tmp_path / "false.recovery"))
    stage.call("operator-b", "party", "create", "operator-b", *false)
    vouch = ("party", "vouch", str(tmp_path / "false" / "card.json"), "--agreement", play.agreement[:12])
    for name in ("operator-a", "ministry"):
        stage.call(name, *vouch)
    assert play.shown("operator-b")["recoveries"][0]["by"] == ["ministry", "operator-a"]
    stage.call("operator-b", "party", "veto", "--recovery", file)
    assert "the recovery key vetoed" in play.refused("regulator", *vouch)
    assert play.shown("operator-b")["recoveries"] == []


def test_a_thief_with_the_old_key_and_a_host_on_its_side_lose(play: Play, tmp_path: Path) -> None:
    stage = play.stage
    stage.stop("operator-b")
    thief = tmp_path / "thief"
    shutil.copytree(stage.home("operator-b"), thief)
    stage.start_agent("operator-b")
    stage.call("operator-b", "party", "rotate", "--home", str(thief), "--host", stage.url)
    log = stage.folder / "logs" / "operator-b.log"
    await_(lambda: re.search(r"trouble with agreement", log.read_text()))

    # what the thief signs while its card is in force, and the host would bring out later
    stolen = Home(thief, (stage.folder / "passphrases" / "operator-b").read_text().strip())
    mine, further = stolen.identity, stolen.rotate(now=_now()).card.to_json()
    held = [
        sign(mine.signer, type=type, by=mine.fingerprint, agreement=play.agreement, body=body, at=_now())
        for type, body in (
            ("withdrawal", {"why": "by the thief"}),
            ("replacement", {"old": mine.fingerprint, "new": further}),
        )
    ]

    recover = ("party", "recover", "--recovery", play.recovery("operator-b"), "--host", stage.url)
    refusal = json.dumps({"error": {"code": "not-authentic", "message": "by the thief's friend"}}).encode()
    with play.lies.lying(always(refusal, 403), path="/v1/replacements"):
        assert "by the thief's friend" in play.refused("operator-b", *recover)
    assert "in force in 1 agreements" in stage.call("operator-b", *recover)

    # a party that colludes hands in what the thief holds: it has its leaf, and means nothing
    colluding = Home(stage.home("regulator"), (stage.folder / "passphrases" / "regulator").read_text().strip())
    member = Member(colluding, play.agreement, stage.url)
    for said in held:
        member.client.send(said)
    await_(lambda: [member.update(), {said.id for said in held} <= member.view.void.keys()][-1])
    play.refused("operator-b", "party", "rotate", "--home", str(thief), "--host", stage.url)
    assert play.shown()["state"] == "active"
    run = play.deliver_and_run("2026-10", tmp_path / "after")
    assert "operator-b has a new card from leaf" in play.proved(run, tmp_path / "proof.json")


def _now() -> datetime:
    return datetime.now(UTC)
