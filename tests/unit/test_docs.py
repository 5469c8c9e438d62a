"""What the pages say is so: their commands exist, their example is accepted, their bytes are the program's."""

import re
import shlex
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import typer.main
import yaml
from pydantic import BaseModel

import builders
from sealstat.agreement import enclaves, model
from sealstat.agreement.check import problems
from sealstat.agreement.draft import parse
from sealstat.cli.app import app
from sealstat.crypto import canonical
from sealstat.crypto.derive import subkey
from sealstat.statistics.catalogue import Catalogue
from sealstat.tables.period_pseudonyms import inner_ids, period_pseudonyms
from sealstat.tables.pseudonyms import linkage_check, linkage_key, pseudonymise
from sealstat.tables.sealed import key_check
from sealstat.verify import Trust, verify_bundle
from story import Story

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "deploy").rglob("*.md"))]
_BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    return [text for kind, text in _BLOCK.findall(page.read_text(encoding="utf-8")) if kind == language]


def shown_commands(page: Path) -> list[str]:
    """The commands in code blocks: a line that begins with sealstat, with or without a prompt before it."""
    lines = "\n".join(blocks(page, "")).replace("\\\n", " ").splitlines()
    return [
        line.strip().removeprefix("$ ") for line in lines if line.strip().removeprefix("$ ").startswith("sealstat ")
    ]


def named_commands(page: Path) -> list[str]:
    """The commands named in running text, which may leave out what a reader has to add."""
    text = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    return re.findall(r"`(sealstat [^`]+)`", text)


def parsed(line: str) -> tuple[Any, list[str]]:
    """The command that a line calls, and the words behind its name, as a shell would give them."""
    words = shlex.split(re.split(r"[>|]", line)[0], comments=True)
    command: Any = typer.main.get_command(app)
    rest = words[1:]
    while hasattr(command, "commands"):
        if not rest or rest[0].startswith("--"):
            return command, rest
        if rest[0] not in command.commands and "start" in command.commands:
            rest.insert(0, "start")  # `run AGREEMENT TASK` needs no word of its own
        assert rest[0] in command.commands, f"there is no such command: {line}"
        command, rest = command.commands[rest[0]], rest[1:]
    return command, rest


SHOWN = [(page.name, line) for page in PAGES for line in shown_commands(page)]
NAMED = [(page.name, line) for page in PAGES for line in named_commands(page)]


def test_the_pages_show_commands() -> None:
    assert {name for name, _ in SHOWN} >= {"agreement.md", "delivery.md", "proofs.md", "operations.md"}


@pytest.mark.parametrize(("page", "line"), SHOWN)
def test_a_command_in_a_block_is_one_that_could_be_called_so(page: str, line: str) -> None:
    command, words = parsed(line)
    assert not hasattr(command, "commands"), "a group alone does nothing"
    command.make_context(command.name, words)  # raises for an unknown option, a missing or superfluous word


@pytest.mark.parametrize(("page", "line"), NAMED)
def test_a_command_named_in_the_text_exists_with_its_options(page: str, line: str) -> None:
    command, words = parsed(line)
    known = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    assert {word for word in words if word.startswith("--")} <= known


def test_every_page_that_is_linked_exists() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_no_page_names_a_place_on_somebodys_machine() -> None:
    for page in PAGES:
        assert not re.search(r"(?<![\w.])/(?:tmp|home|root|work)/", page.read_text(encoding="utf-8")), page.name


# --- agreement.md -----------------------------------------------------------------------------------------------


def test_the_example_of_an_agreement_is_accepted(tmp_path: Path) -> None:
    (text,) = blocks(ROOT / "docs" / "agreement.md", "yaml")
    (tmp_path / "cards").mkdir()
    (tmp_path / "tables").mkdir()
    for name in re.findall(r"cards/([a-z-]+)\.json", text):
        card = builders.host().card if name == "host" else None
        card = card or (builders.witness(name).card if name.startswith("witness") else builders.party(name)[0])
        (tmp_path / "cards" / f"{name}.json").write_bytes(canonical.encode(card.to_json()))
    (tmp_path / "tables" / "border.csv").write_text("border_area\nBATAM\n")
    (tmp_path / "tables" / "mcc.csv").write_text("mcc,country\n510,ID\n525,SG\n")
    assert parse(text.encode(), tmp_path, Catalogue()).problems == ()


def test_every_field_of_an_agreement_is_on_its_page() -> None:
    rows = [line for line in (ROOT / "docs" / "agreement.md").read_text().splitlines() if line.startswith("| `")]
    names = set(re.findall(r"[a-z_]+", " ".join(row.split("|")[1] for row in rows)))
    fields = {
        info.alias or name
        for module in (model, enclaves)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, BaseModel) and value.__module__ == module.__name__
        for name, info in value.model_fields.items()
    }
    assert fields <= names | {"card", "cards"}, "a field is not explained"


def test_the_entries_of_machines_are_sound() -> None:
    (text,) = (block for block in blocks(ROOT / "docs" / "evidence.md", "yaml") if block.startswith("enclave:"))
    (tree,) = yaml.safe_load_all(re.sub(r"sha256:([0-9a-f]{64})", r"\1", text))
    value = builders.agreement_json() | tree
    assert problems(model.Agreement.model_validate(value, strict=False), Catalogue()) == []


# --- delivery.md, proofs.md -------------------------------------------------------------------------------------


def test_the_values_to_check_a_sealed_table_by_are_right() -> None:
    said = (ROOT / "docs" / "delivery.md").read_text(encoding="utf-8")
    key, agreement = bytes(range(32)), "0" * 64
    linkage = linkage_key([b"\1" * 32, b"\2" * 32])
    pseudonym: bytes = pseudonymise(pa.array(["510101234567890"]), 6, linkage)[0].as_py()
    for value in (
        subkey(key, "part").hex(),
        key_check(key, agreement, "roamers-a", "2026-10", 2, {"imsi": 1}, 1000),
        linkage.hex(),
        pseudonym[6:].hex(),
        linkage_check(linkage, agreement, "roamers", "2026-10"),
    ):
        assert value in said


def test_the_values_to_check_pseudonyms_by_are_right() -> None:
    page = (ROOT / "docs" / "pseudonyms.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| ([0-9a-f]+) \| (imsi|number|hex) \| ([0-9a-f]{24}) \| ([0-9a-f]{32}) \|$", page, re.MULTILINE
    )
    assert len(rows) == 3
    for identifier, kind, inner, pseudonym in rows:
        made = inner_ids(pa.array([identifier]), bytes(range(32)), kind)
        assert made[0].as_py().hex() == inner
        assert period_pseudonyms(made, bytes(range(32, 64)))[0].as_py().hex() == pseudonym


def test_the_check_with_other_tools_and_the_verifier_agree(tmp_path: Path) -> None:
    (script,) = [text for text in blocks(ROOT / "docs" / "proofs.md", "python") if "sys.argv" in text]
    story = Story()
    bundle = story.bundle(story.whole_run())
    (tmp_path / "check.py").write_text(script, encoding="utf-8")
    (tmp_path / "proof.json").write_bytes(bundle.to_bytes())
    assert verify_bundle(bundle.to_bytes(), trust=Trust(), now=story.now + timedelta(minutes=1)).ok
    for placed in bundle.statements:
        done = subprocess.run(
            [sys.executable, "check.py", "proof.json", str(placed.index)], cwd=tmp_path, capture_output=True, text=True
        )
        assert f"{placed.statement().type} {placed.statement().id}\nin the tree: True\nsigned by" in done.stdout
