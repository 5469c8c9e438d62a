"""Evidence from inside SGX under Gramine, against a folder as Gramine lays it out."""

from pathlib import Path

import pytest

import attesting
from sealstat.evidence import collateral, kinds
from sealstat.evidence.errors import EvidenceError
from sealstat.evidence.gramine import GramineAttester
from sealstat.evidence.result import Required


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "attestation_type").write_text("dcap")
    (tmp_path / "user_report_data").write_bytes(bytes(64))
    (tmp_path / "quote").write_bytes(attesting.sgx().evidence)
    return tmp_path


def test_the_quote_is_over_the_report_data_and_verifies_with_what_came_along(folder: Path) -> None:
    case = attesting.sgx()
    evidence, beside = GramineAttester(case.collateral, case.roots, device=str(folder)).attest(attesting.REPORT_DATA)
    assert (folder / "user_report_data").read_bytes() == attesting.REPORT_DATA
    pieces, roots = collateral.unpack(beside, pinned=[case.verify().anchor], limit=1 << 17)
    required = Required(report_data=attesting.REPORT_DATA)
    assert kinds.verify("sgx", evidence, collateral=pieces, roots=roots, required=required, at=case.at).bound


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        pytest.param("attestation_type", b"none", "remote_attestation", id="attestation is off"),
        pytest.param("quote", b"", "0 bytes", id="no quote"),
        pytest.param("quote", bytes(64 * 1024 + 1), "65,537 bytes", id="too much"),
    ],
)
def test_what_is_no_quote_is_refused(folder: Path, name: str, content: bytes, word: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(EvidenceError, match=word):
        GramineAttester(device=str(folder)).attest(attesting.REPORT_DATA)


def test_outside_of_gramine_one_sentence_says_so(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="is not Gramine's attestation: No such file"):
        GramineAttester(device=str(tmp_path / "none")).attest(attesting.REPORT_DATA)
