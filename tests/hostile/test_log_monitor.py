"""`sealstat log` against a real host with real witnesses, whose operator puts an older copy of its home back."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import builders
import desk
import hosting
from hosting import HostProcess, Witnesses
from sealstat.cli.app import app
from sealstat.crypto import canonical
from sealstat.log.witness import origin_hash
from sealstat.party.agreements import propose
from sealstat.party.home import Home
from sealstat.party.member import Member

ME = "operator-a"


@pytest.fixture
def around(tmp_path: Path) -> Iterator[Witnesses]:
    with hosting.witnesses(tmp_path) as running:
        yield running


@pytest.fixture
def running(tmp_path: Path, around: Witnesses) -> Iterator[HostProcess]:
    with hosting.host(tmp_path, around) as host:
        yield host


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Operator A's home, as the commands find it."""
    opened = desk.home(tmp_path / "mine", ME)
    (opened.path / "card.json").write_bytes(canonical.encode(builders.party(ME)[0].to_json()))
    secret = tmp_path / "passphrase"
    secret.write_text(desk.PASSPHRASE)
    secret.chmod(0o600)
    monkeypatch.setenv("SEALSTAT_PASSPHRASE_FILE", str(secret))
    monkeypatch.setenv("SEALSTAT_HOME", str(opened.path))
    return opened


def sealstat(*arguments: Any) -> Result:
    return CliRunner().invoke(app, ["log", *map(str, arguments)])


def monitor() -> tuple[int, list[str]]:
    """The exit code of one look, and the kinds of its alarms."""
    done = sealstat("monitor", "--once", "--json", "--grace", "0")
    return done.exit_code, [alarm["kind"] for alarm in json.loads(done.stdout)["alarms"]]


@pytest.mark.slow
def test_a_host_that_puts_an_older_home_back_is_found_by_monitor_and_comparison(
    running: HostProcess, around: Witnesses, mine: Home, tmp_path: Path
) -> None:
    agreement = propose(mine, running.agreement(), running.url)
    member = Member(mine, agreement, running.url)
    hosting.wait_cosigned(running, 1)
    member.update()
    assert mine.ledger.fact("receipt", agreement) is not None
    assert monitor() == (0, [])

    running.stop()
    shutil.copytree(running.home, tmp_path / "older")
    running.start()
    member.await_leaf(member.say("withdrawal", {"why": "enough"}))
    assert monitor() == (0, [])
    exported = sealstat("export", running.url, tmp_path / "copy", "--key", running.card.log_key)
    assert exported.exit_code == 0, exported.output
    assert sealstat("check", tmp_path / "copy").exit_code == 0
    from_home = sealstat("export", running.home, tmp_path / "second")
    assert (from_home.exit_code, "2 new files" in from_home.stdout) == (0, True), from_home.output
    same = sealstat("compare", mine.path, tmp_path / "copy")
    assert (same.exit_code, "the same" in same.stdout) == (0, True), same.output

    remembered = f"{around.url}/witness-1/{origin_hash(running.card.origin)}"
    agreed = sealstat("compare", remembered, running.url)
    assert (agreed.exit_code, "the same" in agreed.stdout) == (0, True), agreed.output

    stranger = hosting.approval(agreement, ME)
    running.client(ME).send(stranger)  # with this party's key, and not by its software
    hosting.wait_cosigned(running, 3)
    assert monitor() == (3, ["own-key"])

    running.stop()
    shutil.rmtree(running.home)
    shutil.copytree(tmp_path / "older", running.home)
    running.start()
    code, kinds = monitor()
    assert (code, kinds) == (3, ["rollback"])
    (kept,) = (mine.path / "evidence").glob("rollback-*")
    assert {path.name for path in kept.iterdir()} == {"old.checkpoint", "new.checkpoint"}
    found = sealstat("compare", mine.path, running.url)
    assert (found.exit_code, "ROLLBACK" in found.stdout) == (3, True), found.output
    by_witness = sealstat("compare", running.url, remembered)
    assert (by_witness.exit_code, "ROLLBACK" in by_witness.stdout) == (3, True), by_witness.output
    back = sealstat("export", running.url, tmp_path / "copy", "--key", running.card.log_key)
    assert back.exit_code == 1

    (running.home.parent / "cards").mkdir()
    for card in (running.card, *(builders.witness(name).card for name in builders.WITNESSES)):
        (running.home.parent / "cards" / f"{card.name}.json").write_bytes(canonical.encode(card.to_json()))
    (withdrawal,) = [said.id for said, _ in mine.ledger.unread(agreement, ()) if said.type == "withdrawal"]
    receipt = tmp_path / "receipt.json"
    assert sealstat("receipt", withdrawal[:12], "--out", receipt).exit_code == 0
    checked = ["verify", str(receipt), "--log", running.url, "--trust", str(running.home.parent / "cards")]
    verdict = CliRunner().invoke(app, checked)
    assert (verdict.exit_code, verdict.stdout.startswith("NOT YET DUE")) == (1, True), verdict.output

    running.stop()
    assert monitor() == (1, ["unreachable"])


def test_a_further_log_is_followed_beside_the_agreements(running: HostProcess, mine: Home, tmp_path: Path) -> None:
    running.propose()
    hosting.wait_cosigned(running, 1)
    words = sealstat("monitor", running.url, "--once")
    assert words.exit_code == 0, words.output
    assert f"{running.url}: 1 entries verified" in words.stdout
    away = sealstat("monitor", "http://127.0.0.1:9", running.url, "--once")
    assert (away.exit_code, "WARNING unreachable" in away.stdout, "1 entries" in away.stdout) == (1, True, True)
    nothing = sealstat("monitor", "--once")
    assert (nothing.exit_code, "nothing to follow" in str(nothing.exception)) == (1, True)
