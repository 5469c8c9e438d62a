"""Every command: documented with an example, one sentence for a mistake, exit codes as promised, no heavy start."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from sealstat.cli.app import app

ROOT_COMMANDS_WITHOUT_EXAMPLE: set[str] = set()


def sealstat(*arguments: str, home: Path | None = None, **environment: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SEALSTAT_")}
    if home is not None:
        kept["SEALSTAT_HOME"] = str(home)
    return subprocess.run(
        [sys.executable, "-m", "sealstat.cli", *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=kept | environment,
        timeout=120,
    )


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


ALL = dict(commands(typer.main.get_command(app)))


def test_every_command_of_the_contract_exists() -> None:
    expected = """demo; party create; party card; party serve; party rotate; party forget; party allow; party refuse;
        agreement new; agreement check; agreement explain; agreement approve; agreement withdraw; agreement show;
        host serve; host admit; enclave serve; witness serve; measure; deliver; run start; run show; run abandon; fetch;
        evidence verify; evidence show;
        proof; verify;
        log check; log export; log compare; log checkpoint; log prove; log receipt; log monitor;
        statistic list; statistic describe; statistic run; synthetic population;
        pseudonymise file; pseudonymise serve; pseudonymise close;
        case list; case run"""
    assert {" ".join(name.split()) for name in expected.split(";")} <= ALL.keys()


@pytest.mark.parametrize("name", sorted(ALL))
def test_every_command_says_what_it_does_with_an_example(name: str) -> None:
    command = ALL[name]
    assert command.help, "what does it do?"
    assert "Example:" in (command.epilog or ""), "the help shows no example"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        pytest.param(["bogus"], 2, "No such command", id="unknown command"),
        pytest.param(["deliver", "x"], 2, "Missing", id="missing argument"),
        pytest.param(["party", "card"], 1, "make one with", id="no party here"),
        pytest.param(["agreement", "new", "bogus"], 1, "expected visitors", id="no such draft"),
        pytest.param(["agreement", "check", "nowhere.yaml"], 1, "mistakes in", id="no such file"),
        pytest.param(["statistic", "describe", "bogus"], 1, "one of longitudinal, visitors", id="no such statistic"),
        pytest.param(["case", "run", "99"], 1, "not built yet", id="no such case"),
        pytest.param(["verify", "nowhere.json"], 1, "cannot use nowhere.json", id="no such proof"),
        pytest.param(["party", "create", "Bad Name", "--recovery", "r"], 1, "no name for a party", id="bad name"),
        pytest.param(["log", "check", "http://127.0.0.1:9"], 1, "cannot be reached", id="no host"),
    ],
)
def test_a_mistake_is_one_sentence_and_no_traceback(
    arguments: list[str], code: int, words: str, tmp_path: Path
) -> None:
    secret = tmp_path / "passphrase"
    secret.write_text("long enough to pass\n")
    secret.chmod(0o600)
    done = sealstat(*arguments, home=tmp_path / "home", SEALSTAT_PASSPHRASE_FILE=str(secret), COLUMNS="200")
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_loose_passphrase_file_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "passphrase"
    secret.write_text("long enough to pass\n")
    secret.chmod(0o644)
    done = sealstat(
        "party",
        "create",
        "a",
        "--recovery",
        str(tmp_path / "r"),
        home=tmp_path / "a",
        SEALSTAT_PASSPHRASE_FILE=str(secret),
    )
    assert done.returncode == 1
    assert "others may read it" in done.stderr
    assert not (tmp_path / "a").exists()


def test_a_party_is_created_once_and_shows_its_card(tmp_path: Path) -> None:
    secret = tmp_path / "passphrase"
    secret.write_text("long enough to pass\n")
    secret.chmod(0o600)
    named = {"home": tmp_path / "a", "SEALSTAT_PASSPHRASE_FILE": str(secret)}
    made = sealstat("party", "create", "operator-a", "--recovery", str(tmp_path / "r"), "--json", **named)  # type: ignore[arg-type]
    shown = sealstat("party", "card", "--json", **named)  # type: ignore[arg-type]
    again = sealstat("party", "create", "operator-a", "--recovery", str(tmp_path / "r2"), **named)  # type: ignore[arg-type]
    assert json.loads(made.stdout)["fingerprint"] == json.loads(shown.stdout)["fingerprint"]
    assert again.returncode == 1
    assert "holds a party already" in again.stderr
    private = [path for path in (tmp_path / "a").rglob("*") if path.is_file() and path.stat().st_mode & 0o077]
    assert not private, "files of a party's home may be read by others"


def test_a_witness_is_created_with_either_kind_of_key(tmp_path: Path) -> None:
    for options, length in (([], 33), (["--post-quantum"], 1313)):
        home = tmp_path / f"w{length}"
        done = sealstat("witness", "create", "w", "--home", str(home), *options)
        assert done.returncode == 0, done.stderr
        key = json.loads((home / "card.json").read_text())["cosigner"]
        assert len(base64.b64decode(key.split("+", 2)[2])) == length


def test_help_starts_without_the_heavy_libraries() -> None:
    code = (
        "import sys, sealstat.cli.app\n"
        "heavy = {'duckdb', 'ibis', 'pyarrow', 'fastapi', 'sqlalchemy', 'matplotlib', 'cryptography', 'pydantic'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_measurement_is_that_of_a_checkout() -> None:
    here = Path(__file__).resolve().parents[3]
    assert sealstat("measure").stdout == sealstat("measure", str(here)).stdout
