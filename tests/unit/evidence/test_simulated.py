from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import builders
from sealstat.agreement.statements import EnclaveEvidence
from sealstat.crypto.cards import b64
from sealstat.evidence.appraisal import EVIDENCE_LIMIT_BYTES, Appraised, appraise
from sealstat.evidence.errors import EvidenceError, UnsupportedError
from story import START, Instance, Story, digest_of


class Scene:
    def __init__(self) -> None:
        self.story = Story()
        request = self.story.begin()
        self.challenges = self.story.challenge_all(request)
        self.instance = self.story.instance(request, self.challenges)

    def other(self) -> Instance:
        return self.story.instance(self.instance.request, self.challenges)

    def appraise(self, **changes: Any) -> Appraised:
        said = EnclaveEvidence.model_validate(self.story.attest(self.instance, **changes).body)
        return appraise(said, self.story.terms.enclave, now=START)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_good_evidence_is_accepted_and_never_called_hardware(scene: Scene) -> None:
    found = scene.appraise()
    assert (found.measurement, found.hardware) == (builders.SOURCE, False)
    assert "NOT PROTECTED BY HARDWARE" in found.label


def test_another_root_is_refused(scene: Scene) -> None:
    with pytest.raises(EvidenceError, match="not signed by the root"):
        scene.appraise(root=Ed25519PrivateKey.generate())


def test_debug_is_refused(scene: Scene) -> None:
    with pytest.raises(EvidenceError, match="debug mode"):
        scene.appraise(debug=True)


def test_other_code_is_refused(scene: Scene) -> None:
    with pytest.raises(EvidenceError, match="compare with `sealstat measure`"):
        scene.appraise(measurement=digest_of("other code"))


def test_evidence_bound_to_anything_else_is_refused(scene: Scene) -> None:
    claims: list[dict[str, Any]] = [
        {"card": scene.other().card},
        {"request": digest_of("another request")},
        {"challenges": [digest_of("another challenge")]},
        {"checkpoint": "another checkpoint"},
        {"kind": "another"},
    ]
    for claim in claims:
        with pytest.raises(EvidenceError, match="bound to another"):
            scene.appraise(claims=claim)


def test_a_kind_that_cannot_be_verified_is_neither_good_nor_forged(scene: Scene) -> None:
    with pytest.raises(UnsupportedError):
        scene.appraise(kind="sev-es")


@pytest.mark.parametrize("evidence", ["", b64(b"{}"), b64(b"garbage"), b64(b"[" * 9000)])
def test_bytes_of_another_form_are_refused(scene: Scene, evidence: str) -> None:
    with pytest.raises(EvidenceError, match="does not have its form"):
        scene.appraise(evidence=evidence)


def test_too_much_is_refused_before_it_is_read(scene: Scene) -> None:
    with pytest.raises(EvidenceError, match="more than"):
        scene.appraise(collateral=b64(bytes(EVIDENCE_LIMIT_BYTES)))
