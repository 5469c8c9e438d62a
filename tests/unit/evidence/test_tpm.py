import json
from typing import Any

import pytest

import attesting
from attesting import NONCE, PCRS, Case, tpm
from sealstat.evidence.errors import EvidenceError, UnboundError, UnsupportedError
from sealstat.evidence.result import Required


def refusal(case: Case, **changes: Any) -> str:
    with pytest.raises(EvidenceError) as caught:
        case.verify(**changes)
    return str(caught.value)


@pytest.mark.parametrize("how", [{}, {"ak": "rsa"}, {"ak": "rsa", "raw": True}], ids=["ECDSA", "RSASSA", "bare RSASSA"])
def test_a_good_quote(how: dict[str, Any]) -> None:
    found = tpm(**how).verify()
    assert (found.verdict, found.bound, found.tcb) == ("valid", True, None)
    assert found.claims.measurements == {f"pcr{index}": value.hex() for index, value in PCRS.items()}
    assert "vouches" in found.caveats[0]


def test_some_pcrs_are_a_quote_too() -> None:
    some = {index: PCRS[index] for index in (1, 7)}
    assert tpm(pcrs=some).verify().claims.fields["pcr_index"] == [1, 7]


def test_the_digest_is_by_the_hash_of_the_signature_whatever_the_bank() -> None:
    """Part 3 of the specification, TPM2_Quote: a quote of the SHA-384 bank signed with SHA-256."""
    pcrs = {index: value + value[:16] for index, value in PCRS.items()}
    values = {"sha384": {str(index): value.hex() for index, value in pcrs.items()}}
    assert tpm(pcrs=pcrs, bank=0x0C, supplied=values).verify().verdict == "valid"


@pytest.mark.parametrize("nonce", [b"", NONCE[:31], bytes(32)])
def test_another_nonce_is_refused_as_unbound(nonce: bytes) -> None:
    with pytest.raises(UnboundError):
        tpm().verify(required=Required(nonce=nonce))


VALUES = {str(index): value.hex() for index, value in PCRS.items()}


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        pytest.param({"magic": b"\xff\x54\x43\x46"}, "magic", id="not made by a TPM"),
        pytest.param({"kind": 0x8017}, "type 0x8017", id="a certify, correctly signed"),
        pytest.param({"tail": b"\0"}, "too many", id="bytes behind"),
        pytest.param({"banks": 2}, "one bank", id="two banks"),
        pytest.param({"banks": 0}, "one bank", id="no bank"),
        pytest.param({"bank": 0x04}, "0x4", id="SHA-1 bank"),
        pytest.param({"bank": 0x12}, "0x12", id="a bank not known"),
        pytest.param({"pcrs": {}}, "some of the PCRs", id="an empty selection"),
        pytest.param({"digest": bytes(32)}, "not the quoted ones", id="another digest"),
        pytest.param({"supplied": {"sha256": VALUES | {"4": "00" * 32}}}, "not the quoted ones", id="another value"),
        pytest.param({"supplied": {"sha256": VALUES | {"9": "00" * 32}}}, "exactly", id="a value that is not quoted"),
        pytest.param({"supplied": {"sha256": {}}}, "exactly", id="no values"),
        pytest.param({"supplied": {}}, "exactly", id="no bank supplied"),
        pytest.param({"supplied": {"sha384": VALUES}}, "exactly", id="values called another bank's"),
        pytest.param({"supplied": {"sha256": VALUES, "sha1": {}}}, "exactly", id="a second bank supplied"),
        pytest.param({"supplied": {"sha256": VALUES | {"7": "00"}}}, "size", id="a short value"),
        pytest.param({"scheme": 0x14}, "TPM's signature", id="a scheme that does not fit"),
        pytest.param({"supplied": {"md5": VALUES}}, "JSON form", id="a bank that there is not"),
    ],
)
def test_a_quote_that_is_not_so_is_refused(how: dict[str, Any], sentence: str) -> None:
    assert sentence in refusal(tpm(**how))


@pytest.mark.parametrize("how", [{"hash_id": 0x04}, {"scheme": 0x16}, {"scheme": 0x05}], ids=["SHA-1", "PSS", "HMAC"])
def test_a_scheme_that_cannot_be_judged_is_not_called_forged(how: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError):
        tpm(**how).verify()


def test_another_key_is_refused() -> None:
    other = attesting.public_pem(attesting.key("another AK"))
    assert "not signed by the attestation key" in refusal(tpm(), collateral=(other,))
    assert "does not fit" in refusal(tpm(), collateral=tpm(ak="rsa").collateral)
    weak = attesting.public_pem(attesting.rsa_key("weak", 1024))
    assert "2048" in refusal(tpm(ak="rsa"), collateral=(weak,))
    for collateral in ((), (b"",), tpm().collateral * 2, (b"x" * 300_000,)):
        refusal(tpm(), collateral=collateral)


def test_the_signature_is_looked_at_before_anything_else() -> None:
    case = tpm(magic=b"none")
    wrapper = json.loads(case.evidence)
    wrapper["signature"] = wrapper["signature"][:-2] + "00"
    assert "not signed" in refusal(case, evidence=json.dumps(wrapper).encode())


@pytest.mark.parametrize("name", ["message", "signature"])
def test_truncated_parts_are_refused(name: str) -> None:
    case = tpm()
    wrapper = json.loads(case.evidence)
    for size in range(0, len(wrapper[name]), 6):
        refusal(case, evidence=json.dumps({**wrapper, name: wrapper[name][:size]}).encode())


@pytest.mark.parametrize(
    "evidence",
    [
        b"",
        b"[]",
        b"[" * 60_000,
        b'{"format":"tpms-attest","format":"tpms-attest"}',
        b'{"format":' + b"9" * 60_000 + b"}",
        b" " * 70_000,
        b"\xff\xfe",
    ],
)
def test_other_json_is_refused(evidence: bytes) -> None:
    refusal(tpm(), evidence=evidence)


def test_unknown_fields_of_the_wrapper_are_refused() -> None:
    wrapper = json.loads(tpm().evidence)
    assert "JSON form" in refusal(tpm(), evidence=json.dumps({**wrapper, "more": 1}).encode())
