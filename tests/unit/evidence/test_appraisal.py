"""Evidence of every kind, held against what an agreement accepts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key

import attesting
import builders
from attesting import AT, Case
from sealstat.agreement.enclaves import SOFTWARE_TPM, AttestedEnclave, Enclave, extended
from sealstat.agreement.statements import EnclaveEvidence
from sealstat.crypto.cards import InstanceCard, b64
from sealstat.crypto.identity import Opener, Signer
from sealstat.evidence import collateral
from sealstat.evidence._x509 import key_digest
from sealstat.evidence.appraisal import appraise
from sealstat.evidence.errors import EvidenceError, UnsupportedError
from sealstat.evidence.report import report_data, to_fit

SOURCE = builders.SOURCE
PCRS = {0: bytes(32), 15: bytes.fromhex(extended(SOURCE))}
CODE = attesting.CODE.hex()


@dataclass(frozen=True)
class Instance:
    """What a statement of evidence says, but for the evidence."""

    claims: dict[str, Any]

    def statement(self, case: Case, *, roots: Sequence[bytes] | None = None, **changes: Any) -> EnclaveEvidence:
        beside = collateral.pack(case.collateral, case.roots if roots is None else roots)
        claims = {**self.claims, "kind": case.kind, "evidence": b64(case.evidence), "collateral": b64(beside)}
        return EnclaveEvidence.model_validate({**claims, **changes})


@pytest.fixture
def instance(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Instance]:
    """An instance whose report data is what attesting.py's machines sign from then on."""
    card = InstanceCard(
        kind="instance", keys=Signer.generate(post_quantum=False).public(), sealing=Opener.generate().public()
    )

    def of_kind(kind: str) -> Instance:
        claims: dict[str, Any] = {"request": "11" * 32, "checkpoint": "a note", "challenges": ["22" * 32]}
        monkeypatch.setattr(attesting, "REPORT_DATA", report_data(card=card, kind=kind, **claims))
        return Instance({**claims, "card": card})

    return of_kind


def made(kind: str) -> Case:
    """Evidence of a kind over the report data of the moment."""
    if kind == "tpm":
        return attesting.tpm(pcrs=PCRS, nonce=to_fit("tpm", attesting.REPORT_DATA))
    return {"sgx": attesting.sgx, "tdx": attesting.tdx, "snp": attesting.snp, "nitro": attesting.nitro}[kind]()


def entry(case: Case, **changes: Any) -> AttestedEnclave:
    """The entry of an agreement that fits the case."""
    registers = {
        "sgx": {"mrenclave": CODE[:64]},
        "tdx": {"mr_td": CODE},
        "snp": {"measurement": CODE},
        "nitro": {"pcr0": CODE},
        "tpm": {"pcr15": extended(SOURCE)},
    }[case.kind]
    root = key_digest(load_pem_public_key(case.collateral[0])) if case.kind == "tpm" else ""  # type: ignore[arg-type]
    terms: dict[str, Any] = {
        "kind": case.kind,
        "tier": {"nitro": "hardware", "tpm": "software"}.get(case.kind, "extractable"),
        "source": SOURCE,
        "roots": [root or sha256(case.roots[0]).hexdigest()],
        "measurements": [{"name": "the October image", "registers": registers}],
    }
    return AttestedEnclave.model_validate(terms | changes)


def measured(case: Case) -> AttestedEnclave:
    """The same, with the values that attesting.py's machines really measure."""
    has = case.verify(required=attesting.Required()).claims.measurements
    name = {"sgx": "mrenclave", "tdx": "mr_td", "snp": "measurement", "nitro": "pcr0", "tpm": "pcr15"}[case.kind]
    return entry(case, measurements=[{"name": "the October image", "registers": {name: has[name]}}])


@pytest.mark.parametrize("kind", ["sgx", "tdx", "snp", "nitro", "tpm"])
def test_what_the_agreement_accepts_is_accepted(kind: str, instance: Callable[[str], Instance]) -> None:
    found_by = instance(kind)
    case = made(kind)
    found = appraise(found_by.statement(case), Enclave(accept=[measured(case)]), now=AT)
    assert (found.kind, found.source, found.measurement) == (kind, SOURCE, SOURCE)
    assert found.hardware is (kind != "tpm")
    assert found.extractable is (kind in ("sgx", "tdx", "snp"))
    assert found.label == (SOFTWARE_TPM if kind == "tpm" else f"{kind}, runs the October image")


@pytest.mark.parametrize("kind", ["sgx", "tdx", "snp", "nitro", "tpm"])
def test_evidence_of_another_instance_is_refused(kind: str, instance: Callable[[str], Instance]) -> None:
    found_by = instance(kind)
    case = made(kind)
    statement = found_by.statement(case, challenges=["33" * 32])
    with pytest.raises(EvidenceError, match="bound to another instance"):
        appraise(statement, Enclave(accept=[measured(case)]), now=AT)


@pytest.mark.parametrize("kind", ["sgx", "tdx", "snp", "nitro", "tpm"])
def test_other_code_is_refused(kind: str, instance: Callable[[str], Instance]) -> None:
    found_by = instance(kind)
    case = made(kind)
    (reference,) = measured(case).measurements
    (register,) = reference.registers
    other = entry(case, measurements=[{"name": "another", "registers": {register: "ee" * 32}}])
    with pytest.raises(EvidenceError, match="runs none of what the policy accepts: another"):
        appraise(found_by.statement(case), Enclave(accept=[other]), now=AT)


@pytest.mark.parametrize("kind", ["sgx", "tdx", "snp", "nitro"])
def test_a_root_that_comes_along_and_is_not_pinned_counts_for_nothing(
    kind: str, instance: Callable[[str], Instance]
) -> None:
    found_by = instance(kind)
    case = made(kind)
    terms = measured(case).model_copy(update={"roots": ["55" * 32]})
    with pytest.raises(EvidenceError, match="no root is pinned"):
        appraise(found_by.statement(case), Enclave(accept=[terms]), now=AT)


def test_another_attestation_key_than_the_pinned_one_is_refused(instance: Callable[[str], Instance]) -> None:
    found_by = instance("tpm")
    case = made("tpm")
    with pytest.raises(EvidenceError, match="which the policy does not name"):
        appraise(found_by.statement(case), Enclave(accept=[entry(case, roots=["55" * 32])]), now=AT)


def test_debug_mode_is_refused_unless_said_and_then_protects_nothing(instance: Callable[[str], Instance]) -> None:
    found_by = instance("snp")
    case = attesting.snp(debug=True)
    terms = measured(case)
    with pytest.raises(EvidenceError, match="in debug mode"):
        appraise(found_by.statement(case), Enclave(accept=[terms]), now=AT)
    found = appraise(found_by.statement(case), Enclave(accept=[terms.model_copy(update={"debug": True})]), now=AT)
    assert (found.hardware, found.label) == (False, "DEBUG MODE: NOT PROTECTED BY HARDWARE")


def test_a_machine_that_is_not_on_the_list_is_refused(instance: Callable[[str], Instance]) -> None:
    found_by = instance("snp")
    case = made("snp")
    chip = str(case.verify().claims.fields["chip_id"])
    listed = AttestedEnclave.model_validate(measured(case).to_json() | {"platforms": [{"name": "rack 4", "id": chip}]})
    found = appraise(found_by.statement(case), Enclave(accept=[listed]), now=AT)
    assert found.label == "snp, on the machine rack 4, which the policy names; runs the October image"
    other = AttestedEnclave.model_validate(
        measured(case).to_json() | {"platforms": [{"name": "rack 5", "id": "0e" * 64}]}
    )
    with pytest.raises(EvidenceError, match="none of those"):
        appraise(found_by.statement(case), Enclave(accept=[other]), now=AT)


def test_a_key_of_many_machines_stands_for_none_of_them(instance: Callable[[str], Instance]) -> None:
    found_by = instance("snp")
    case = attesting.snp(signer="VLEK", edit=lambda report: report.__setitem__(slice(0x1A0, 0x1E0), b"\x0c" * 64))
    listed = AttestedEnclave.model_validate(
        measured(case).to_json() | {"platforms": [{"name": "rack 4", "id": "0c" * 64}]}
    )
    with pytest.raises(EvidenceError, match="a cloud loads into many machines"):
        appraise(found_by.statement(case), Enclave(accept=[listed]), now=AT)


def test_too_old_firmware_is_refused(instance: Callable[[str], Instance]) -> None:
    found_by = instance("snp")
    case = made("snp")
    terms = measured(case).model_copy(update={"minimum_tcb": {"snp": 25}})
    with pytest.raises(EvidenceError, match="snp is 24, the policy asks for 25"):
        appraise(found_by.statement(case), Enclave(accept=[terms]), now=AT)


def test_the_callers_clock_decides(instance: Callable[[str], Instance]) -> None:
    found_by = instance("nitro")
    case = made("nitro")
    with pytest.raises(EvidenceError, match="not valid at"):
        appraise(found_by.statement(case), Enclave(accept=[measured(case)]), now=AT + timedelta(days=2))


def test_any_entry_of_the_kind_will_do(instance: Callable[[str], Instance]) -> None:
    found_by = instance("nitro")
    case = made("nitro")
    other = entry(case, measurements=[{"name": "another", "registers": {"pcr0": "ee" * 48}}])
    assert appraise(found_by.statement(case), Enclave(accept=[other, measured(case)]), now=AT).hardware


def test_a_kind_that_is_not_accepted_or_not_known(instance: Callable[[str], Instance]) -> None:
    found_by = instance("nitro")
    case = made("nitro")
    accepted = Enclave(accept=[measured(case)])
    with pytest.raises(EvidenceError, match="does not accept evidence of kind tdx"):
        appraise(found_by.statement(case, kind="tdx"), accepted, now=AT)
    with pytest.raises(UnsupportedError, match="cannot be verified by this version"):
        appraise(found_by.statement(case, kind="sev-es"), accepted, now=AT)


@pytest.mark.parametrize("beside", [b"", b"{}", b'{"pieces":["!"],"roots":[]}', b"\xff"])
def test_collateral_of_another_form_is_refused(beside: bytes, instance: Callable[[str], Instance]) -> None:
    found_by = instance("nitro")
    case = made("nitro")
    with pytest.raises(EvidenceError, match="collateral does not have its form"):
        appraise(found_by.statement(case, collateral=b64(beside)), Enclave(accept=[measured(case)]), now=AT)
