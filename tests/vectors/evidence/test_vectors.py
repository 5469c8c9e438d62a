"""Real evidence of six kinds and hostile variants of it, read in place: every entry of its manifest is one check."""

import json
from pathlib import Path
from typing import Any

import pytest

from sealstat.cli.evidence_vectors import Outcome, run
from sealstat.evidence.roots import KNOWN

MANIFEST = Path(__file__).resolve().parents[4] / "shared" / "vectors" / "attestation" / "manifest.json"
IDS = [entry["id"] for entry in json.loads(MANIFEST.read_text())] if MANIFEST.exists() else ["none"]


@pytest.fixture(scope="module")
def outcomes(shared: Path) -> dict[str, Outcome]:
    return {outcome.id: outcome for outcome in run(shared / "vectors/attestation/manifest.json")}


@pytest.mark.parametrize("id", IDS)
def test_an_entry_gets_the_verdict_it_expects(outcomes: dict[str, Outcome], id: str) -> None:
    assert outcomes[id].agrees, outcomes[id].explained


def test_every_entry_is_judged_once(outcomes: dict[str, Outcome]) -> None:
    assert sorted(outcomes) == sorted(IDS)


def test_the_makers_roots_are_those_we_know_by_name(shared: Path) -> None:
    from hashlib import sha256

    folder = shared / "vectors/attestation"
    entries: list[dict[str, Any]] = json.loads((folder / "manifest.json").read_text())
    pinned = {entry["trust_root"] for entry in entries if entry.get("trust_root")}
    real = [name for name in pinned if "test_" not in name]
    assert {sha256((folder / name).read_bytes()).hexdigest() for name in real} == KNOWN.keys()
