"""The checklist for people, and its JSON."""

import json
import subprocess
import sys
from datetime import timedelta

import pytest

import builders
from sealstat import verify
from sealstat.verify import Line, Trust, Verdict, render, to_json, verify_bundle
from story import Story


@pytest.fixture(scope="module")
def verdict() -> Verdict:
    story = Story()
    record = story.whole_run()
    return verify_bundle(story.bundle(record).to_bytes(), trust=Trust(), now=story.now + timedelta(minutes=1))


def test_the_checklist_has_a_section_for_each_question(verdict: Verdict) -> None:
    text = render(verdict)
    wanted = [
        "The agreement, and who approved it",
        "The code",
        "Where it ran: the evidence and its kind",
        "Inputs",
        "Rules",
        "Outputs",
        "Position in the log",
        "Witnesses",
        "What is not proved",
    ]
    places = [text.index(f"\n{title}\n") for title in wanted]
    assert places == sorted(places)
    assert all(line.sentence in text for line in verdict.lines)


def test_the_simulated_kind_is_named_loudly_at_the_top(verdict: Verdict) -> None:
    first, second = render(verdict).splitlines()[:2]
    assert first.startswith("VERIFIED")
    assert second == "NOT PROTECTED BY HARDWARE"


def test_a_failure_stands_at_the_top_with_its_reason() -> None:
    failed = Verdict((Line("form", "proved", "well formed"), Line("witnesses", "failed", "too few")))
    assert render(failed).startswith("NOT VERIFIED: too few\n")
    assert not failed.ok
    assert not Verdict(()).ok


def test_what_stands_in_a_file_cannot_draw_on_the_terminal() -> None:
    sneaky = Verdict((Line("agreement.text", "failed", "title\x1b[2J\nVERIFIED \u202eall good"),))
    text = render(sneaky)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\nVERIFIED" not in text


def test_the_json_holds_every_line(verdict: Verdict) -> None:
    value = json.loads(json.dumps(to_json(verdict)))
    assert value["ok"] is True
    assert value["hardware"] is False
    assert value["failure"] is None
    assert len(value["lines"]) == len(verdict.lines)


def test_trust_that_cannot_be_meant_is_refused() -> None:
    witness = builders.witness().card
    with pytest.raises(ValueError, match="counts once"):
        Trust.of_cards([witness, witness])
    with pytest.raises(ValueError, match="quorum"):
        Trust.of_cards([witness], quorum=2)
    with pytest.raises(ValueError, match="several hosts"):
        Trust.of_cards([builders.host().card, builders.host("another").card])


def test_the_room_offers_what_its_all_names() -> None:
    assert all(hasattr(verify, name) for name in verify.__all__)


def test_the_verifier_loads_no_engine_and_no_network() -> None:
    heavy = "{'duckdb', 'ibis', 'httpx', 'pyarrow', 'sqlalchemy', 'fastapi', 'typer'}"
    code = f"import sys, sealstat.verify; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
