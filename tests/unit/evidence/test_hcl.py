"""An attestation key that hardware evidence vouches for, as on Azure."""

import hashlib
import json
import struct
from typing import Any

import pytest

import attesting
from sealstat.evidence import hcl, kinds
from sealstat.evidence.errors import EvidenceError, UnsupportedError

AK = attesting.rsa_key("ak", 2048)
DATA = attesting.runtime_data(AK)


def snp_over(data: bytes) -> bytes:
    def edit(report: bytearray) -> None:
        report[0x50:0x90] = hashlib.sha256(data).digest().ljust(64, b"\0")

    return attesting.snp(edit=edit).evidence


def check(data: bytes = DATA, *, ak: Any = AK, hardware: bytes | None = None, **how: Any) -> None:
    evidence = snp_over(data)
    report = hcl.parse_hcl(attesting.hcl_report(evidence if hardware is None else hardware, data, **how))
    claims = kinds.parse("snp", evidence)
    hcl.check_binding(report, ak=attesting.public_pem(ak), hardware_evidence=evidence, hardware=claims)


def test_the_key_in_the_runtime_data_is_vouched_for() -> None:
    check()


def test_a_tdx_quote_vouches_as_well() -> None:
    quote = bytearray(attesting.tdx().evidence)
    quote[48 + 520 : 48 + 552] = hashlib.sha256(DATA).digest()
    report = hcl.parse_hcl(attesting.hcl_report(b"a TD report", DATA, report_type=4))
    claims = kinds.parse("tdx", bytes(quote))
    hcl.check_binding(report, ak=attesting.public_pem(AK), hardware_evidence=bytes(quote), hardware=claims)
    with pytest.raises(EvidenceError, match="for TDX"):
        hcl.check_binding(report, ak=b"", hardware_evidence=b"", hardware=kinds.parse("snp", snp_over(DATA)))


def test_another_key_is_refused() -> None:
    with pytest.raises(EvidenceError, match="another attestation key"):
        check(ak=attesting.rsa_key("other", 2048))
    with pytest.raises(EvidenceError, match="one RSA attestation key"):
        check(ak=attesting.key("ak"))


def test_another_machines_report_is_refused() -> None:
    with pytest.raises(EvidenceError, match="another hardware report"):
        check(hardware=snp_over(b"other"))


def test_other_runtime_data_than_the_reports_is_refused() -> None:
    evidence = snp_over(b"other")
    report = hcl.parse_hcl(attesting.hcl_report(evidence, DATA))
    with pytest.raises(EvidenceError, match="runtime data"):
        hcl.check_binding(
            report,
            ak=attesting.public_pem(AK),
            hardware_evidence=evidence,
            hardware=kinds.parse("snp", evidence),
        )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys":[]}',
        b'{"keys":[{}]}',
        b"[" * 50_000,
        json.dumps({"keys": json.loads(DATA)["keys"] * 2}).encode(),
        DATA.replace(b"RSA", b"EC"),
    ],
)
def test_runtime_data_without_one_such_key_is_refused(data: bytes) -> None:
    with pytest.raises(EvidenceError):
        check(data)


def test_reports_of_other_hardware_or_hash_are_not_called_forged() -> None:
    for how in ({"report_type": 3}, {"hash_type": 2}):
        with pytest.raises(UnsupportedError):
            check(**how)


def test_reports_of_another_form_are_refused() -> None:
    good = attesting.hcl_report(snp_over(DATA), DATA)
    huge = good[:0x4D0] + struct.pack("<I", 0xFFFFFFFF) + good[0x4D4:]
    for data in (b"", b"HCLB" + good[4:], good[:0x4D4], good + b"\1", huge, good.ljust(70_000, b"\0")):
        with pytest.raises(EvidenceError):
            hcl.parse_hcl(data)
