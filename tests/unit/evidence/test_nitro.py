from datetime import timedelta
from typing import Any

import cbor2
import pytest

import attesting
from attesting import AT, Case, nitro
from sealstat.evidence import nitro as module
from sealstat.evidence.errors import EvidenceError, UnboundError
from sealstat.evidence.result import Required


def refusal(case: Case, **changes: Any) -> str:
    with pytest.raises(EvidenceError) as caught:
        case.verify(**changes)
    return str(caught.value)


def test_a_good_document() -> None:
    found = nitro().verify()
    assert (found.verdict, found.bound, found.tcb) == ("valid", True, None)
    assert found.claims.measurements["pcr0"] == attesting.CODE.hex()
    assert found.claims.report_data == attesting.REPORT_DATA
    assert found.verdict == nitro().verify(required=Required(report_data=attesting.REPORT_DATA)).verdict


def test_zeros_in_the_first_pcrs_are_debug_mode() -> None:
    assert nitro(debug=True).verify().verdict == "valid-but-debug"


def test_an_indefinite_map_is_read_as_any_other() -> None:
    signed = cbor2.loads(nitro().evidence)
    payload = b"\xbf" + signed[2][1:] + b"\xff"
    key = attesting.key("awsleaf", attesting.ec.SECP384R1)
    message = cbor2.dumps(["Signature1", signed[0], b"", payload])
    evidence = cbor2.dumps([signed[0], {}, payload, attesting.raw_signature(key, message)])
    assert nitro().verify(evidence=evidence).verdict == "valid"


@pytest.mark.parametrize("nonce", [b"", b"a nonc", b"a nonce\0", b"another"])
def test_another_nonce_is_refused_as_unbound(nonce: bytes) -> None:
    with pytest.raises(UnboundError):
        nitro().verify(required=Required(nonce=nonce))
    with pytest.raises(UnboundError):
        nitro(changes={"nonce": None}).verify(required=Required(nonce=nonce))


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        pytest.param({"leaf_ca_ok": False}, "not a certificate authority", id="a leaf as issuer"),
        pytest.param({"other_key": True}, "is not made by the key", id="another key than the leaf's"),
        pytest.param({"algorithm": -7}, "expected the header ES384", id="ES256"),
        pytest.param({"algorithm": -36}, "expected the header ES384", id="ES512"),
        pytest.param({"unprotected": {1: -35}}, "expected the header ES384", id="algorithm in the unprotected header"),
        pytest.param({"leaf_days": (-2, -1)}, "is not valid at", id="leaf expired"),
        pytest.param({"leaf_days": (1, 2)}, "is not valid at", id="leaf not yet valid"),
        pytest.param({"changes": {"digest": "SHA256"}}, "digest SHA384", id="another digest"),
        pytest.param({"changes": {"timestamp": 0}}, "a time", id="no time"),
        pytest.param({"changes": {"timestamp": "now"}}, "timestamp", id="a time that is text"),
        pytest.param({"changes": {"module_id": ""}}, "module id", id="no module"),
        pytest.param({"changes": {"pcrs": {}}}, "PCRs 0, 1 and 2", id="no PCRs"),
        pytest.param({"changes": {"pcrs": {0: b"x" * 48, 1: b"x" * 48, 32: b"x" * 48}}}, "PCRs 0 to 31", id="PCR 32"),
        pytest.param({"changes": {"pcrs": {0: b"x", 1: b"x" * 48, 2: b"x" * 48}}}, "32, 48 or 64", id="short PCR"),
        pytest.param({"changes": {"pcrs": {False: b"x" * 48, 1: b"x" * 48, 2: b"x" * 48}}}, "PCRs", id="PCR false"),
        pytest.param({"changes": {"nonce": b"n" * 513}}, "at most 512", id="long nonce"),
        pytest.param({"changes": {"user_data": "text"}}, "at most 512", id="text for bytes"),
        pytest.param({"changes": {"certificate": b""}}, "certificates", id="no leaf"),
        pytest.param({"changes": {"certificate": b"c" * 1025}}, "certificates", id="long leaf"),
        pytest.param({"bundle": []}, "certificates", id="no bundle"),
        pytest.param({"bundle": [b"c"] * 17}, "certificates", id="long bundle"),
    ],
)
def test_a_document_that_is_not_so_is_refused(how: dict[str, Any], sentence: str) -> None:
    assert sentence in refusal(nitro(**how))


def test_a_longer_chain_than_a_certificate_allows_is_refused() -> None:
    case = nitro()
    root, middle = cbor2.loads(cbor2.loads(case.evidence)[2])["cabundle"]
    assert "longer than it allows" in refusal(nitro(bundle=[root, middle, middle]))
    ca = attesting.key("awsmiddle", attesting.ec.SECP384R1)
    extra = attesting.certificate("zonal", ca.public_key(), "zonal", ca, ca=True)
    assert "longer than it allows" in refusal(nitro(bundle=[root, middle, attesting.der(extra)]))


def test_the_pinned_root_must_stand_first() -> None:
    foreign = nitro(label="foreign")
    assert "pinned root" in refusal(foreign, roots=nitro().roots)
    assert "no root is pinned" in refusal(nitro(), roots=())
    root, middle = cbor2.loads(cbor2.loads(nitro().evidence)[2])["cabundle"]
    assert "pinned root" in refusal(nitro(bundle=[middle, root]))
    assert "is not issued by" in refusal(nitro(bundle=[root]))


def test_the_whole_chain_must_be_valid_at_the_time() -> None:
    for days in (-40, 40):
        refusal(nitro(leaf_days=(-50, 50)), at=AT + timedelta(days=days))


@pytest.mark.parametrize("tag", [18, 98, 399])
def test_a_tag_is_refused(tag: int) -> None:
    assert "untagged" in refusal(nitro(), evidence=cbor2.dumps(cbor2.CBORTag(tag, cbor2.loads(nitro().evidence))))


def test_tails_truncations_and_sizes_are_refused() -> None:
    case = nitro()
    assert "stand behind" in refusal(case, evidence=case.evidence + b"\0")
    assert "at most 16,384 bytes" in refusal(case, evidence=case.evidence.ljust(16_385, b"\0"))
    for size in range(0, len(case.evidence), 29):
        refusal(case, evidence=case.evidence[:size])


@pytest.mark.parametrize(
    "evidence",
    [
        pytest.param(b"\x81" * 16_000, id="deep"),
        pytest.param(bytes.fromhex("9b00000000ffffffff"), id="four thousand million items"),
        pytest.param(bytes.fromhex("c5821b0fffffffffffffff01"), id="an immense number"),
        pytest.param(bytes.fromhex("d81c81d81d00"), id="a list in itself"),
        pytest.param(bytes.fromhex("d82366") + b"(a+)+$", id="a regular expression"),
        pytest.param(bytes.fromhex("84a0a0a0a0"), id="maps for bytes"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_hostile_cbor_is_refused(evidence: bytes) -> None:
    refusal(nitro(), evidence=evidence)


def test_a_key_that_stands_twice_is_refused() -> None:
    signed = cbor2.loads(nitro().evidence)
    payload = bytes([signed[2][0] + 1]) + signed[2][1:] + cbor2.dumps("nonce") + cbor2.dumps(b"another")
    with pytest.raises(EvidenceError, match="well-formed"):
        module.parse(cbor2.dumps([signed[0], {}, payload, signed[3]]))


def test_collateral_is_refused_where_none_is_read() -> None:
    assert "takes no collateral" in refusal(nitro(), collateral=(b"x",))
