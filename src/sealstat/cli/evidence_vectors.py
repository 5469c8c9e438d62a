"""Runs a set of evidence vectors: a manifest.json beside its files, each entry one check with an expected verdict."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sealstat.evidence import hcl, kinds
from sealstat.evidence.errors import EvidenceError, UnsupportedError
from sealstat.evidence.result import Claims, Required


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One entry: the verdict found, and which of the fields that both name differ. Unsupported counts as invalid."""

    id: str
    expect: str
    verdict: str
    reason: str | None
    differing: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether verdict and fields are the expected ones."""
        return self.verdict == self.expect and not self.differing

    @property
    def explained(self) -> str:
        """What else to say on the entry's line."""
        expected = "" if self.verdict == self.expect else f", expected {self.expect}"
        fields = f", other {', '.join(self.differing)}" if self.differing else ""
        return f"{expected}{fields}{f' ({self.reason})' if self.reason else ''}"

    def to_json(self) -> dict[str, Any]:
        """The outcome as a JSON value."""
        return {
            "id": self.id,
            "expect": self.expect,
            "verdict": self.verdict,
            "agrees": self.agrees,
            "reason": self.reason,
            "differing_fields": list(self.differing),
        }


def run(manifest: Path) -> list[Outcome]:
    """Judge every entry of a manifest.

    Raises:
        EvidenceError: the file is no manifest.
    """
    try:
        entries = json.loads(manifest.read_text(encoding="utf-8"))
        return [_judge(entry, manifest.parent) for entry in entries]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise EvidenceError(f"{manifest} is no manifest of evidence vectors: see docs/evidence.md") from error


def _judge(entry: dict[str, Any], folder: Path) -> Outcome:
    kind, evidence = entry["kind"], (folder / entry["file"]).read_bytes()
    claims, verdict, reason = None, "invalid", None
    try:
        claims, verdict = _verify(entry, folder, kind, evidence)
    except EvidenceError as error:
        reason = f"unsupported: {error}" if isinstance(error, UnsupportedError) else str(error)
        claims = _parsed(kind, evidence)
    expected = entry.get("fields") or {}
    fields = claims.fields if claims is not None else {}
    differing = tuple(name for name in expected if name in fields and not _same(expected[name], fields[name]))
    return Outcome(id=entry["id"], expect=entry["expect"], verdict=verdict, reason=reason, differing=differing)


def _verify(entry: dict[str, Any], folder: Path, kind: str, evidence: bytes) -> tuple[Claims, str]:
    collateral = [(folder / name).read_bytes() for name in entry.get("collateral") or []]
    root, require, binds = entry.get("trust_root"), entry.get("require") or {}, entry.get("binds")
    nonce, report_data = require.get("nonce", require.get("challenge")), require.get("report_data")
    verified = kinds.verify(
        kind,
        evidence,
        collateral=collateral,
        roots=[(folder / root).read_bytes()] if root else [],
        required=Required(
            nonce=None if nonce is None else bytes.fromhex(nonce),
            report_data=None if report_data is None else bytes.fromhex(report_data),
        ),
        at=datetime.fromisoformat(entry["verify_at"]),
    )
    if binds:  # whether the hardware evidence verifies is another entry's check
        report = hcl.parse_hcl((folder / binds["hcl_report"]).read_bytes())
        hardware = (folder / binds["hardware_evidence"]).read_bytes()
        claims = kinds.parse(report.kind, hardware)
        hcl.check_binding(report, ak=collateral[0], hardware_evidence=hardware, hardware=claims)
    return verified.claims, verified.verdict


def _parsed(kind: str, evidence: bytes) -> Claims | None:
    try:
        return kinds.parse(kind, evidence)
    except EvidenceError:
        return None


def _same(expected: Any, found: Any) -> bool:
    """Equal, where a map of registers need not name them all."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return expected.items() <= found.items()
    return bool(expected == found)
