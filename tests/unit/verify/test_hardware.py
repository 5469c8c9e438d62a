"""Proofs of runs on machines that prove more, or no more, than the simulated kind."""

from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest

import attesting
import builders
import story as telling
from sealstat.agreement.enclaves import SOFTWARE_TPM, extended
from sealstat.agreement.model import Agreement
from sealstat.crypto.cards import b64
from sealstat.crypto.statement import Statement
from sealstat.evidence import collateral
from sealstat.evidence._x509 import key_digest
from sealstat.evidence.report import report_data, to_fit
from sealstat.evidence.tpm import load_key
from sealstat.verify import Trust, Verdict, render, verify_bundle
from sealstat.verify.certificate import make_certificate
from story import Instance, Story

PCRS = {15: bytes.fromhex(extended(builders.SOURCE))}


class HardwareStory(Story):
    """A story whose instances run on machines of attesting.py."""

    def __init__(self, kind: str, **terms: Any) -> None:
        self.kind = kind
        case = self.made()
        root = key_digest(load_key(case.collateral[0])) if kind == "tpm" else sha256(case.roots[0]).hexdigest()
        registers = {"pcr15": extended(builders.SOURCE)} if kind == "tpm" else {"measurement": attesting.CODE.hex()}
        entry: dict[str, Any] = {
            "kind": kind,
            "tier": "software" if kind == "tpm" else "extractable",
            "source": builders.SOURCE,
            "roots": [root],
            "measurements": [{"name": "the October image", "registers": registers}],
            "minimum_tcb": {} if kind == "tpm" else {"snp": 24},
        }
        accept = {"enclave": {"accept": [entry | terms]}}
        super().__init__(Agreement.model_validate(builders.agreement_json() | accept))

    def made(self) -> attesting.Case:
        if self.kind == "tpm":
            return attesting.tpm(pcrs=PCRS, nonce=to_fit("tpm", attesting.REPORT_DATA))
        return attesting.snp(label="amd of the story")

    def attest(self, instance: Instance, **_: Any) -> Statement:
        claims: dict[str, Any] = {
            "request": instance.request.id,
            "card": instance.card,
            "checkpoint": self.note().decode(),
            "challenges": sorted(challenge.id for challenge in instance.challenges.values()),
            "kind": self.kind,
        }
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(attesting, "REPORT_DATA", report_data(**claims))
            case = self.made()
        beside = collateral.pack(case.collateral, case.roots)
        body = {**claims, "card": instance.card.to_json(), "evidence": b64(case.evidence), "collateral": b64(beside)}
        instance.evidence = self.tell(instance, "enclave-evidence", body)
        return instance.evidence


@pytest.fixture(autouse=True)
def certificates_of_the_storys_days(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attesting, "AT", telling.START)


def proof(story: Story) -> tuple[bytes, Verdict]:
    story.approve_all()
    data = story.bundle(story.whole_run()).to_bytes()
    return data, verify_bundle(data, trust=Trust(), now=story.now + timedelta(minutes=1))


def test_hardware_is_proved_and_what_stays_open_with_it_is_said() -> None:
    data, verdict = proof(HardwareStory("snp"))
    assert verdict.ok, verdict.failure
    assert verdict.hardware
    said = {line.key: (line.status, line.sentence) for line in verdict.lines}
    assert said["code"][0] == "proved"
    assert said["evidence.kind"][0] == "proved"
    assert "snp, runs the October image" in said["evidence.kind"][1]
    assert said["evidence.keys"][0] == "not proved"
    assert "NOT PROTECTED" not in render(verdict)
    assert "NOT PROTECTED" not in make_certificate(data, verdict, now=telling.START)


def test_a_software_tpm_is_never_hardware() -> None:
    data, verdict = proof(HardwareStory("tpm"))
    assert verdict.ok, verdict.failure
    assert not verdict.hardware
    text = render(verdict)
    assert text.splitlines()[1] == "NOT PROTECTED BY HARDWARE"
    assert f"[not proved]  {SOFTWARE_TPM}; what ran, and where, is only claimed" in text
    assert f"<strong>{SOFTWARE_TPM}</strong>" in make_certificate(data, verdict, now=telling.START)


def test_evidence_that_the_agreement_does_not_accept_ends_the_proof() -> None:
    _, verdict = proof(HardwareStory("snp", minimum_tcb={"snp": 25}))
    assert not verdict.ok
    assert not verdict.hardware
    assert verdict.failure == "the TCB's snp is 24, the policy asks for 25"
