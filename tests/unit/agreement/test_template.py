"""The draft that a new user starts from: complete but for what only the parties know."""

from datetime import date
from pathlib import Path

import pytest

import builders
from sealstat.agreement.draft import parse
from sealstat.agreement.template import UnknownDraftError, draft_text, render
from sealstat.crypto.cards import b64
from sealstat.statistics.catalogue import Catalogue

ROOT = b64(builders.simulated_root().public_key().public_bytes_raw())


def test_a_fresh_draft_lacks_only_files_and_the_root_key(tmp_path: Path):
    text = draft_text("visitors", today=date(2028, 2, 29), source=builders.SOURCE)
    places = {problem.place for problem in parse(text.encode(), tmp_path, Catalogue()).problems}
    files = {place for place in places if "card" in place} | {
        "tasks.visitors.parameters.areas",
        "tasks.visitors.parameters.mcc_country",
    }
    assert places == files | {"enclave.accept.0.root"}
    assert "valid: {from: 2028-02-29, to: 2029-02-27}" in text


def test_filled_in_it_is_sound(tmp_path: Path):
    builders.write_draft(tmp_path)
    text = render(
        "visitors",
        valid_from=date(2026, 10, 1),
        valid_to=date(2027, 9, 30),
        host_url="https://stats.example:8700",
        source=builders.SOURCE,
        simulated_root=ROOT,
        witnesses=builders.WITNESSES,
        period="range",
        release_delay="2s",
        hold="owner",
    )
    result = parse(text.encode(), tmp_path, Catalogue())
    assert result.problems == ()
    assert result.agreement is not None
    task = result.agreement.tasks["visitors"]
    assert (task.release_delay, task.hold) == ("2s", "owner")
    assert task.parameters["mcc_country"][0] == {"mcc": "242", "country": "NO"}


def test_lines_fit_a_screen_and_every_part_has_a_comment():
    text = draft_text("visitors", today=date(2026, 10, 1), source=builders.SOURCE)
    assert max(map(len, text.splitlines())) <= 120
    for part in ("purpose", "valid", "parties", "host", "pseudonyms", "datasets", "tasks", "enclave"):
        before = text[: text.index(f"\n{part}:")].splitlines()
        assert before[-1].startswith("#"), part


def test_an_unknown_draft_is_refused():
    with pytest.raises(UnknownDraftError, match="visitors"):
        draft_text("trips", today=date(2026, 10, 1), source=builders.SOURCE)
