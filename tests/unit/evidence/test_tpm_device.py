"""The TPM of this machine: Debian's swtpm where it is installed, and tools that fail in every way."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sealstat.agreement.enclaves import extended
from sealstat.crypto.cards import b64, unb64
from sealstat.evidence import collateral, kinds, tpm_device, tpm_key
from sealstat.evidence._tpm_tools import Tools
from sealstat.evidence.collateral import root_der
from sealstat.evidence.errors import EvidenceError
from sealstat.evidence.report import to_fit
from sealstat.evidence.result import Required
from sealstat.evidence.tpm_device import TpmAttester
from sealstat.lab import software_tpm
from sealstat.lab.stage import Stage

SOURCE, DATA = "ab" * 32, b"report data".ljust(64)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    if absent := software_tpm.missing():
        pytest.skip(f"{', '.join(absent)}: Debian's swtpm, swtpm-tools and tpm2-tools are not installed")
    with Stage(tmp_path_factory.mktemp("tpm")) as found:
        software_tpm.set_up(found, ("operator-a",))
        yield found


@pytest.fixture
def tcti(stage: Stage) -> str:
    assert stage.tcti is not None
    return stage.tcti


def authorities(stage: Stage) -> tuple[list[bytes], list[bytes]]:
    ca = stage.home("tpm") / "ca"
    return [root_der((ca / "swtpm-localca-rootca-cert.pem").read_bytes())], [(ca / "issuer.pem").read_bytes()]


def test_the_quote_verifies_and_carries_the_code(stage: Stage, tcti: str) -> None:
    attester = TpmAttester(SOURCE, device=tcti)
    for _ in range(2):  # the second finds the PCR extended, and leaves it
        evidence, beside = attester.attest(DATA)
        pieces, _ = collateral.unpack(beside, pinned=[], limit=1 << 17)
        required = Required(report_data=to_fit("tpm", DATA))
        found = kinds.verify("tpm", evidence, collateral=pieces, required=required, at=datetime.now(UTC))
        assert found.bound
        assert found.claims.measurements["pcr15"] == extended(SOURCE)
        assert found.anchor in (stage.accept or "")


def test_other_code_is_not_measured_over_it(tcti: str) -> None:
    TpmAttester(SOURCE, device=tcti).attest(DATA)
    with pytest.raises(EvidenceError, match=r"PCR 15 holds .* not this code"):
        TpmAttester("ac" * 32, device=tcti).attest(DATA)


def test_enrolling_again_shows_the_same_key(tcti: str) -> None:
    assert tpm_device.enrol(tcti) == tpm_device.enrol(tcti)


def test_the_secret_comes_back_from_this_tpm_alone(stage: Stage, tcti: str) -> None:
    roots, chain = authorities(stage)
    shown = tpm_key.parse_enrolment(tpm_device.enrol(tcti))
    credential, pending = tpm_key.challenge(shown, roots=roots, chain=chain, at=datetime.now(UTC))
    assert tpm_key.vouch(pending, tpm_device.activate(credential, tcti)) in (stage.accept or "")
    with pytest.raises(EvidenceError, match="tpm2_activatecredential failed"):
        tpm_device.activate(credential[:-1] + bytes([credential[-1] ^ 1]), tcti)


def test_a_key_that_is_not_in_the_tpm_gets_no_secret(stage: Stage, tcti: str) -> None:
    roots, chain = authorities(stage)
    shown = tpm_key.parse_enrolment(tpm_device.enrol(tcti))
    area = bytearray(unb64(shown.ak))
    area[9] ^= 4  # stClear: another name, a key that the TPM does not hold
    other = shown.model_copy(update={"ak": b64(bytes(area))})
    credential, _ = tpm_key.challenge(other, roots=roots, chain=chain, at=datetime.now(UTC))
    with pytest.raises(EvidenceError, match="tpm2_activatecredential failed"):
        tpm_device.activate(credential, tcti)


# --- without a TPM ----------------------------------------------------------------------------------------------


def tool(folder: Path, name: str, script: str) -> None:
    path = folder / f"tpm2_{name}"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def test_a_tool_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EvidenceError, match="tpm2_nvread is not installed: install Debian's tpm2-tools"):
        tpm_device.enrol("none")


def test_a_tool_that_fails_says_why_in_one_line(tools: Path) -> None:
    tool(
        tools,
        "nvread",
        "echo page after page >&2; echo 'ERROR: no such index' >&2; echo 'ERROR: Unable to run' >&2; exit 1",
    )
    with pytest.raises(EvidenceError, match=r"^tpm2_nvread failed: ERROR: no such index$"):
        tpm_device.enrol("none")


def test_a_tool_that_leaves_no_file(tools: Path) -> None:
    tool(tools, "readpublic", "exit 0")
    with pytest.raises(EvidenceError, match=r"left no file ak\.read"):
        TpmAttester(SOURCE, device="none").attest(DATA)


def test_a_tpm_without_a_key_names_the_command(tools: Path) -> None:
    tool(tools, "readpublic", "echo 'ERROR: handle' >&2; exit 1")
    with pytest.raises(EvidenceError, match="run `sealstat enclave enrol`"):
        TpmAttester(SOURCE, device="none").attest(DATA)


def test_tools_are_told_which_tpm_and_see_no_other_environment(tools: Path, tmp_path: Path) -> None:
    tool(tools, "getcap", 'echo "$@"; env')
    said = Tools("swtpm:port=1", tmp_path).run("getcap", "handles-persistent").splitlines()
    assert said[0] == "-T swtpm:port=1 handles-persistent"
    names = {line.partition("=")[0] for line in said[1:]} - {"PWD", "SHLVL", "_", "OLDPWD"}
    assert names == {"PATH", "TSS2_LOG"}


@pytest.mark.parametrize("pcr", [10, 16, 23, 24, -1])
def test_a_pcr_that_keeps_no_history_is_refused(pcr: int) -> None:
    with pytest.raises(EvidenceError, match="a restart alone sets back"):
        TpmAttester(SOURCE, pcr=pcr)
