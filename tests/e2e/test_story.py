"""The whole story through the real command line: right results, right refusals, and nothing for the host to see."""

import json
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from canaries import canary_forms
from model import conformance
from sealstat.lab import demo
from sealstat.lab.stage import Stage

PERIOD = "2026-10"
TABLES = {"all", "by_country", "by_area", "by_country_area", "quality"}
HOST_SIDE = ("host", "enclave", "witness-uni", "witness-press", "witness-ngo")


@dataclass
class Story:
    stage: Stage
    agreement: str
    truth: dict[str, Any]
    run: str
    tables: Path
    proof: Path
    imsis: set[bytes]
    canary: bytes
    said: list[str] = field(default_factory=list)

    def refused(self, role: str, *words: str) -> str:
        """The one sentence with which a command is refused; its exit code is 1."""
        done = self.try_call(role, *words)
        assert done.returncode == 1, done.stdout + done.stderr
        (sentence,) = done.stderr.strip().splitlines()
        return sentence

    def try_call(self, role: str, *words: str) -> "subprocess.CompletedProcess[str]":
        done = self.stage.try_call(role, *words)
        self.said += [done.stdout, done.stderr]
        return done


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("story")
    with Stage(folder / "stage") as stage:
        stage.set_up()
        stage.start_all()
        agreement = demo.agree(stage)
        truth = demo.generate(stage, 3_000, PERIOD, seed=11)
        canary = secrets.token_bytes(16)
        list_a = stage.home("operator-a") / "roamers.csv"
        with list_a.open("a", encoding="utf-8") as file:  # a closed list lets no 128 bits through: the row is rejected
            file.write(f"525019876543210,{canary.hex()},{PERIOD}-03\n")
        imsis = set(re.findall(rb"(?m)^\d{15}(?=,)", list_a.read_bytes()))
        demo.deliver(stage, agreement, PERIOD)
        words = ("run", agreement, "visitors", "--period", PERIOD, "--purpose", demo.PURPOSE)
        run = stage.json("ministry", *words, timeout_s=200)["run"]
        stage.call("ministry", "fetch", run, "--out", str(folder / "tables"))
        stage.call("ministry", "proof", run, "--out", str(folder / "proof.json"))
        yield Story(stage, agreement, truth, run, folder / "tables", folder / "proof.json", imsis, canary)


def test_the_result_is_the_planted_truth_within_the_rules(story: Story) -> None:
    (total,) = pyarrow.parquet.read_table(story.tables / "all.parquet").to_pylist()
    assert {name: total[name] for name in story.truth["all"]} == story.truth["all"]
    for name, key in (("by_country", ("country",)), ("by_area", ("border_area",)), ("by_country_area", None)):
        rows = pyarrow.parquet.read_table(story.tables / f"{name}.parquet").to_pylist()
        planted = story.truth[name]
        shown = 0
        for row in rows:
            place = "|".join(row[word] for word in key or ("country", "border_area"))
            for column in ("a", "b", "intersection", "union", "visitor_days"):
                if row[column] is not None:
                    assert row[column] == planted[place][column], (name, place, column)
                    shown += column == "union"
            assert row["union"] is None or row["union"] >= 10
        assert shown


def test_fetch_writes_every_table_twice_and_says_what_they_are(story: Story) -> None:
    expected = {f"{name}.{form}" for name in TABLES for form in ("parquet", "csv")} | {"about.json", "report.html"}
    assert {path.name for path in story.tables.iterdir()} == expected
    about = json.loads((story.tables / "about.json").read_text())
    assert about["run"] == story.run
    assert about["tables"].keys() == TABLES
    assert "NOT PROTECTED BY HARDWARE" in about["protection"]
    assert about["parameters"]["domestic_country"]["value"] == "ID"
    report = (story.tables / "report.html").read_text(encoding="utf-8")
    assert story.run in report
    assert report.count("<svg ") == 5, "the market, and bars of four tables"
    assert 'role="note">SIMULATED ENCLAVE: NOT PROTECTED BY HARDWARE' in report


def test_the_proof_verifies_and_a_flipped_byte_or_foreign_trust_does_not(story: Story, tmp_path: Path) -> None:
    cards = str(story.stage.folder / "cards")
    good = story.try_call("auditor", "verify", str(story.proof), "--trust", cards, "--results", str(story.tables))
    assert good.returncode == 0, good.stdout
    assert "NOT PROTECTED BY HARDWARE" in good.stdout
    data = bytearray(story.proof.read_bytes())
    place = data.find(b"payload") + 200
    data[place] = ord("A") if data[place] != ord("A") else ord("B")
    (tmp_path / "flipped.json").write_bytes(data)
    assert story.try_call("auditor", "verify", str(tmp_path / "flipped.json"), "--trust", cards).returncode == 1
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    shutil.copy(story.stage.card("host"), foreign)
    for name in story.stage.witnesses:  # the same names, other keys
        story.stage.call("stranger", "witness", "create", name, "--home", str(tmp_path / name))
        shutil.copy(tmp_path / name / "card.json", foreign / f"{name}.json")
    assert story.try_call("auditor", "verify", str(story.proof), "--trust", str(foreign)).returncode == 1


def test_a_certificate_is_a_proof_as_well_and_a_proof_that_fails_gets_none(story: Story, tmp_path: Path) -> None:
    cards, page = str(story.stage.folder / "cards"), tmp_path / "certificate.html"
    made = story.try_call("auditor", "verify", str(story.proof), "--trust", cards, "--certificate", str(page))
    assert made.returncode == 0, made.stderr
    assert "SIMULATED: NOT PROTECTED BY HARDWARE" in page.read_text(encoding="utf-8")
    again = story.try_call("auditor", "verify", str(page), "--trust", cards)
    assert (again.returncode, again.stdout) == (0, made.stdout)
    assert "what else stands on the page was not looked at" in again.stderr
    page.write_text(page.read_text(encoding="utf-8").replace("base64,\neyJ", "base64,\neyK"), encoding="utf-8")
    forged = story.try_call("auditor", "verify", str(page), "--certificate", str(tmp_path / "forged.html"))
    assert forged.returncode == 1
    assert "base64" in story.refused("auditor", "verify", str(_cut(page, tmp_path)))
    assert not (tmp_path / "forged.html").exists()
    pdf = story.try_call("auditor", "verify", str(story.proof), "--certificate", str(tmp_path / "page.pdf"))
    assert pdf.returncode == 2
    assert "page of HTML" in pdf.stderr


def _cut(page: Path, folder: Path) -> Path:
    cut = folder / "cut.html"
    cut.write_bytes(page.read_bytes()[:20_001])
    return cut


def test_show_says_where_run_and_agreement_stand(story: Story) -> None:
    assert story.stage.json("ministry", "run", "show", story.run[:12])["stage"] == "released"
    shown = story.stage.json("ministry", "agreement", "show", story.agreement[:12])
    assert (shown["state"], shown["missing"], shown["void"]) == ("active", [], [])
    assert {each["dataset"] for each in shown["deliveries"]} == {"roamers-a", "roamers-b"}


@pytest.mark.parametrize(
    ("role", "task", "period", "purpose"),
    [
        pytest.param("ministry", "visitors", PERIOD, demo.PURPOSE, id="a second run of the period"),
        pytest.param("ministry", "visitors", PERIOD, "marketing", id="a purpose that is not listed"),
        pytest.param("operator-a", "visitors", PERIOD, demo.PURPOSE, id="an operator is no runner"),
        pytest.param("ministry", "commuters", PERIOD, demo.PURPOSE, id="a task that is not agreed"),
        pytest.param("ministry", "visitors", "2026-09", demo.PURPOSE, id="a period nobody delivered"),
    ],
)
def test_a_run_outside_the_agreement_is_refused(story: Story, role: str, task: str, period: str, purpose: str) -> None:
    story.refused(role, "run", story.agreement, task, "--period", period, "--purpose", purpose)


def test_an_unknown_dataset_is_refused_with_those_there_are(story: Story) -> None:
    file = str(story.stage.home("operator-a") / "roamers.csv")
    sentence = story.refused("operator-a", "deliver", story.agreement, "events", file, "--period", PERIOD)
    assert "roamers-a" in sentence


def seen_in(paths: list[Path], story: Story) -> list[str]:
    """Which files hold a planted value in any form."""
    watched = sorted(story.imsis)[:: max(1, len(story.imsis) // 30)]
    forms = set().union(*map(canary_forms, [*watched, story.canary, story.canary.hex().encode()]))
    found = []
    for path in paths:
        data = path.read_bytes()
        digits = {data[at.start(1) : at.end(1)] for at in re.finditer(rb"(?=(\d{15}))", data)}
        if digits & story.imsis or any(form in data for form in forms):
            found.append(path.name)
    return found


def test_the_host_has_no_identifier_in_any_form(story: Story) -> None:
    folders = [story.stage.home(role) for role in HOST_SIDE if story.stage.home(role).exists()]
    files = [path for folder in (*folders, story.stage.folder / "logs") for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) > 50_000
    assert seen_in(files, story) == []
    own = story.stage.home("operator-a") / "roamers.csv"
    assert seen_in([own], story) == [own.name]  # the test can fail


def test_the_log_means_what_the_model_says_and_nobody_said_what_it_forbids(story: Story) -> None:
    home, parties = story.stage.home("operator-a"), story.stage.parties
    model = conformance.check_log(home, story.agreement, "visitors", honest=parties)
    assert model.facts.counter == 1


def test_a_delivery_can_be_forgotten_and_its_key_is_gone(story: Story) -> None:
    shown = story.stage.json("operator-a", "agreement", "show", story.agreement)
    (mine,) = [each["id"] for each in shown["deliveries"] if each["by"] == "operator-a"]
    assert "destroyed" in story.stage.call("operator-a", "party", "forget", mine[:12])
    story.stage.call("ministry", "run", "show", story.run)  # what was released stays released
    assert "released" in story.stage.call("ministry", "run", "show", story.run)


def test_a_newer_version_is_in_force_once_the_approver_who_leaves_has_let_go(story: Story) -> None:
    stage = story.stage
    folder = stage.folder / "agreement"
    text = (folder / "agreement.yaml").read_text(encoding="utf-8")
    text = text.replace("version: 1 ", f"version: 2\nsupersedes: {story.agreement} ")
    text = re.sub(r"(?m)^  ministry: .*$", "", text).replace("operator-b, ministry, ", "operator-b, ")
    (folder / "second.yaml").write_text(text.replace("ministry", "regulator"), encoding="utf-8")
    for role in ("operator-a", "operator-b", "regulator"):
        new = stage.json(role, "agreement", "approve", str(folder / "second.yaml"))
    assert new["missing"] == ["ministry"]
    assert "approved" in stage.call("ministry", "agreement", "approve", new["id"], "--host", stage.url)
    assert "already" in story.refused("ministry", "agreement", "approve", new["id"], "--host", stage.url)
    assert stage.json("regulator", "agreement", "show", new["id"])["state"] == "active"
    assert "superseded" in stage.json("ministry", "agreement", "show", story.agreement)["state"]


def test_nobody_said_a_traceback(story: Story) -> None:
    said = [*story.said, *(path.read_text(errors="replace") for path in (story.stage.folder / "logs").glob("*.log"))]
    assert not [text for text in said if "Traceback" in text]
