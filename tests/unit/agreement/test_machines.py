"""What agreements accept besides the simulated kind: mistakes are found, and each choice is explained."""

from typing import Any

import pytest

import builders
from sealstat.agreement.check import problems
from sealstat.agreement.enclaves import extended
from sealstat.agreement.explain import explain
from sealstat.agreement.model import Agreement
from sealstat.statistics.catalogue import Catalogue

SOURCE = builders.SOURCE
SNP = {
    "kind": "snp",
    "tier": "extractable",
    "source": SOURCE,
    "roots": ["69" * 32],
    "measurements": [{"name": "the October image", "registers": {"measurement": "ab" * 48}}],
    "minimum_tcb": {"snp": 8},
    "platforms": [{"name": "rack 4", "id": "0c" * 64}],
}
TPM = {
    "kind": "tpm",
    "tier": "software",
    "source": SOURCE,
    "roots": ["42" * 32],
    "measurements": [{"name": "the enclave", "registers": {"pcr0": "00" * 32, "pcr15": extended(SOURCE)}}],
}
SGX = {
    "kind": "sgx",
    "tier": "extractable",
    "source": SOURCE,
    "roots": ["44" * 32],
    "measurements": [{"name": "the October image", "registers": {"mrenclave": "ab" * 32}}],
    "advisories": [{"id": "INTEL-SA-00615", "until": "2026-12-31", "because": "no stale data is left"}],
}


def agreement(*entries: dict[str, Any]) -> Agreement:
    return Agreement.model_validate(builders.agreement_json() | {"enclave": {"accept": list(entries)}})


def flat(*entries: dict[str, Any]) -> str:
    return " ".join(explain(agreement(*entries), None).split())


@pytest.mark.parametrize("entry", [SNP, TPM, SGX], ids=lambda entry: entry["kind"])
def test_a_sound_entry_has_no_problem(entry: dict[str, Any]) -> None:
    assert problems(agreement(entry), Catalogue()) == []


def registers(**values: str) -> list[dict[str, Any]]:
    return [{"name": "the enclave", "registers": values}]


@pytest.mark.parametrize(
    ("entry", "change", "place", "word"),
    [
        pytest.param(SNP, {"tier": "hardware"}, ".tier", "extractable", id="a tier above what the kind is worth"),
        pytest.param(TPM, {"tier": "hardware"}, ".tier", "boot or software", id="a TPM does not protect memory"),
        pytest.param(SNP, {"roots": []}, "", "pinned", id="no root"),
        pytest.param(SNP, {"minimum_tcb": {}}, "", "least versions", id="no least firmware"),
        pytest.param(SNP, {"minimum_tcb": {"bios": 1}}, ".minimum_tcb.bios", "boot_loader", id="unknown version"),
        pytest.param(TPM, {"minimum_tcb": {"snp": 1}}, "", "TPM alone", id="TCB of a TPM"),
        pytest.param(SNP, {"platforms": [{"name": "x", "id": "0c"}]}, ".platforms.0.id", "64", id="short chip id"),
        pytest.param(
            SNP, {"measurements": registers(mrenclave="ab" * 32)}, ".measurements.0.registers", "any code", id="no main"
        ),
        pytest.param(
            {**SGX, "kind": "tdx"},
            {"measurements": registers(mr_td="ab" * 48)},
            ".measurements.0.registers",
            "firmware",
            id="nothing but the firmware of a TD",
        ),
        pytest.param(
            SNP,
            {"measurements": registers(measurement="ab" * 32)},
            ".measurements.0.registers.measurement",
            "48",
            id="short measurement",
        ),
        pytest.param(
            SGX,
            {"measurements": registers(mrenclave="00" * 32)},
            ".measurements.0.registers.mrenclave",
            "debug",
            id="0",
        ),
        pytest.param(
            TPM,
            {"measurements": registers(pcr15="00" * 32)},
            ".measurements.0.registers",
            "source digest",
            id="no PCR with the code",
        ),
        pytest.param(
            TPM,
            {"measurements": registers(pcr23=extended(SOURCE))},
            ".measurements.0.registers.pcr23",
            "set back",
            id="a PCR that can be reset",
        ),
        pytest.param(
            SGX,
            {"advisories": [{"id": "INTEL-SA-00615", "until": "2020-01-01", "because": "x"}]},
            ".advisories.0.until",
            "over before",
            id="tolerated until the past",
        ),
    ],
)
def test_mistakes_are_found(entry: dict[str, Any], change: dict[str, Any], place: str, word: str) -> None:
    found = dict(problems(agreement(entry | change), Catalogue()))
    assert word in found[f"enclave.accept.0{place}"]


def test_kinds_whose_keys_were_taken_out_say_so() -> None:
    text = flat(SNP)
    assert "taken the signing key out" in text
    assert "Only these machines may answer: rack 4" in text
    assert "NOT PROTECTED BY HARDWARE" not in text
    assert "ANY MACHINE of this kind may answer" in flat(SGX)


def test_tolerated_advisories_are_named_with_their_day_and_reason() -> None:
    assert "INTEL-SA-00615 is lived with until 2026-12-31, because: no stale data is left" in flat(SGX)


def test_a_software_tpm_is_named_in_capitals() -> None:
    text = flat(TPM)
    assert "SOFTWARE TPM: NOT PROTECTED BY HARDWARE" in text
    assert "NOT PROTECTED BY HARDWARE: a software TPM is accepted" in text


def test_a_tpm_alone_protects_no_memory() -> None:
    assert "TPM ALONE: ITS MEMORY IS NOT PROTECTED BY HARDWARE" in flat(TPM | {"tier": "boot"})


def test_debug_mode_is_named_in_capitals() -> None:
    assert "DEBUG MODE IS ACCEPTED" in flat(SGX | {"debug": True})


def test_an_agreement_is_as_loud_as_its_weakest_entry() -> None:
    assert agreement(SNP).enclave.warnings == []
    assert agreement(SNP, TPM).enclave.warnings == ["SOFTWARE TPM: NOT PROTECTED BY HARDWARE"]
