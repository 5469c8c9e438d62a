"""The whole demo on a software TPM: it runs, verifies, and says everywhere that nothing protects it."""

import subprocess
import sys
from pathlib import Path

import pytest

from sealstat.agreement.enclaves import SOFTWARE_TPM
from sealstat.lab import software_tpm

pytestmark = pytest.mark.slow


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "sealstat.cli", *arguments], capture_output=True, text=True, timeout=280
    )


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    if absent := software_tpm.missing():
        pytest.skip(f"{', '.join(absent)}: Debian's swtpm, swtpm-tools and tpm2-tools are not installed")
    out = tmp_path_factory.mktemp("demo") / "out"
    done = run("demo", "--attester", "tpm", "--rows", "2000", "--out", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    return out, done.stdout


def test_the_demo_says_what_it_is_worth(played: tuple[Path, str]) -> None:
    out, said = played
    assert "SIMULATED" not in said
    assert said.count(SOFTWARE_TPM) >= 4
    for operator in ("operator-a", "operator-b"):
        assert f"{operator}     checked that the attestation key lives in a TPM whose maker it trusts" in said
    for page in ("report.html", "certificate.html"):
        assert SOFTWARE_TPM in (out / page).read_text(encoding="utf-8")
    assert SOFTWARE_TPM in " ".join((out / "agreement.txt").read_text(encoding="utf-8").split())
    assert SOFTWARE_TPM in (out / "tables" / "about.json").read_text(encoding="utf-8")


def test_its_proof_verifies_and_does_not_claim_hardware(played: tuple[Path, str]) -> None:
    out, _ = played
    done = run("verify", str(out / "proof.json"), "--trust", str(out / "cards"), "--results", str(out / "tables"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[1] == "NOT PROTECTED BY HARDWARE"
    assert f"[not proved]  {SOFTWARE_TPM}; what ran, and where, is only claimed" in done.stdout
