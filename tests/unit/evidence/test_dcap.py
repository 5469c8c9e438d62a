"""What SGX and TDX quotes share: chain, collateral, signatures, TCB, length fields."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

import attesting
from attesting import AT, REPORT_DATA, Case, Intel
from sealstat.evidence.errors import EvidenceError, UnboundError, UnsupportedError
from sealstat.evidence.result import Required

MAKERS: dict[str, Callable[..., Case]] = {
    "sgx v3": attesting.sgx,
    "tdx v4": attesting.tdx,
    "tdx v5, TD 1.0": lambda **how: attesting.tdx(5, body_type=2, **how),
    "tdx v5, TD 1.5": lambda **how: attesting.tdx(5, **how),
}
make = pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)


def refusal(case: Case, **changes: Any) -> str:
    with pytest.raises(EvidenceError) as caught:
        case.verify(**changes)
    return str(caught.value)


@make
def test_a_good_quote_verifies_and_tells_its_tcb(maker: Callable[..., Case]) -> None:
    found = maker().verify()
    assert (found.verdict, found.bound, found.claims.debug) == ("valid", True, False)
    assert found.tcb is not None
    assert (found.tcb.status, found.tcb.versions) == ("UpToDate", {"tcb_evaluation_data_number": 17})
    assert found.claims.report_data == found.claims.nonce == REPORT_DATA
    assert found.claims.fields["fmspc"] == "00a0b0c0d0e0"


@make
def test_without_a_challenge_a_quote_is_authentic_and_not_bound(maker: Callable[..., Case]) -> None:
    assert maker().verify(required=Required()).bound is False


@make
@pytest.mark.parametrize("wanted", [bytes(64), REPORT_DATA[:32], REPORT_DATA + b"\0", b""])
def test_other_report_data_is_refused_as_authentic_but_unbound(maker: Callable[..., Case], wanted: bytes) -> None:
    for required in (Required(report_data=wanted), Required(nonce=wanted)):
        with pytest.raises(UnboundError) as caught:
            maker().verify(required=required)
        assert caught.value.verified.bound is False


@make
@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        ("SWHardeningNeeded", "valid"),
        ("ConfigurationNeeded", "valid"),
        ("ConfigurationAndSWHardeningNeeded", "valid"),
        ("OutOfDate", "valid-but-outdated-tcb"),
        ("OutOfDateConfigurationNeeded", "valid-but-outdated-tcb"),
    ],
)
def test_the_tcb_status_is_told_apart_from_authenticity(maker: Callable[..., Case], status: str, verdict: str) -> None:
    found = maker(status=status, advisories=["INTEL-SA-00001"]).verify()
    assert found.verdict == verdict
    assert found.tcb is not None
    assert (found.tcb.status, found.tcb.advisories) == (status, ("INTEL-SA-00001",))


@make
def test_a_debug_quote_is_authentic_and_debug_whatever_its_tcb(maker: Callable[..., Case]) -> None:
    for status in ("UpToDate", "OutOfDate"):
        found = maker(debug=True, status=status).verify()
        assert (found.verdict, found.tcb) == ("valid-but-debug", None)
        assert found.caveats


@make
def test_a_revoked_tcb_is_refused_in_debug_mode_too(maker: Callable[..., Case]) -> None:
    assert "Revoked" in refusal(maker(status="Revoked"))
    assert "Revoked" in refusal(maker(status="Revoked", debug=True))


@make
def test_a_forged_debug_quote_is_forged(maker: Callable[..., Case]) -> None:
    assert "signature is invalid" in refusal(maker(debug=True, quote={"other_key": True}))


@make
def test_a_quoting_enclave_in_debug_mode_is_no_debug_quote(maker: Callable[..., Case]) -> None:
    assert "QE report" in refusal(maker(quote={"qe_debug": True}))


@make
def test_a_platform_below_every_tcb_level_is_refused(maker: Callable[..., Case]) -> None:
    assert "No matching TCB level" in refusal(maker(least=6))


@make
def test_another_root_is_refused(maker: Callable[..., Case]) -> None:
    foreign = attesting.der(Intel("foreign").root)
    assert "pinned root" in refusal(maker(), roots=(foreign,))
    assert "no root is pinned" in refusal(maker(), roots=())
    assert maker().verify(roots=(foreign, *maker().roots)).verdict == "valid"


@make
def test_a_whole_foreign_certificate_authority_is_refused(maker: Callable[..., Case]) -> None:
    assert "pinned root" in refusal(maker(pki=Intel("foreign")), roots=maker().roots)


@make
@pytest.mark.parametrize(
    "how",
    [
        pytest.param({"days": (-10, -1)}, id="TCB info and QE identity expired"),
        pytest.param({"days": (1, 10)}, id="TCB info and QE identity of a later day"),
        pytest.param({"crl_days": (-10, -1)}, id="CRLs expired"),
        pytest.param({"crl_days": (1, 10)}, id="CRLs of a later day"),
        pytest.param({"revoked": [3]}, id="PCK certificate revoked"),
        pytest.param({"fmspc": bytes(6)}, id="another platform's"),
    ],
)
def test_collateral_that_does_not_fit_is_refused(maker: Callable[..., Case], how: dict[str, Any]) -> None:
    refusal(maker(**how))


@make
def test_a_time_outside_the_certificates_is_refused(maker: Callable[..., Case]) -> None:
    for days in (-60, 60):
        assert "is not valid at" in refusal(maker(), at=AT + timedelta(days=days))


@make
@pytest.mark.parametrize("name", sorted(Intel().collateral("sgx")))
def test_each_part_of_the_collateral_is_needed(maker: Callable[..., Case], name: str) -> None:
    case = maker()
    parts = json.loads(case.collateral[0])
    refusal(case, collateral=(json.dumps({key: value for key, value in parts.items() if key != name}).encode(),))


@make
@pytest.mark.parametrize("name", ["tcb_info", "qe_identity"])
def test_edited_collateral_is_refused(maker: Callable[..., Case], name: str) -> None:
    case = maker(status="OutOfDate")
    parts = json.loads(case.collateral[0])
    parts[name] = parts[name].replace("OutOfDate", "UpToDate").replace('"isvsvn": 1', '"isvsvn": 0')
    assert "Signature is invalid" in refusal(case, collateral=(json.dumps(parts).encode(),))


def test_collateral_of_the_other_tee_is_refused() -> None:
    refusal(attesting.sgx(), collateral=attesting.tdx().collateral)
    refusal(attesting.tdx(), collateral=attesting.sgx().collateral)


@make
@pytest.mark.parametrize("collateral", [(), (b"{}",), (b"", b""), (b"\xff",), (b"[" * 100_000,), (b" " * 300_000,)])
def test_other_things_than_collateral_are_refused(maker: Callable[..., Case], collateral: tuple[bytes, ...]) -> None:
    refusal(maker(), collateral=collateral)


@make
def test_zero_padding_is_taken_off_and_a_tail_is_refused(maker: Callable[..., Case]) -> None:
    case = maker()
    assert case.verify(evidence=case.evidence.ljust(8000, b"\0")).verdict == "valid"
    assert "stand behind the quote" in refusal(case, evidence=case.evidence + b"\0\1")
    assert "at most 65,536 bytes" in refusal(case, evidence=case.evidence.ljust(65_537, b"\0"))


@make
def test_every_truncation_is_refused(maker: Callable[..., Case]) -> None:
    case = maker()
    for size in range(0, len(case.evidence), 37):
        refusal(case, evidence=case.evidence[:size])


@make
def test_every_signed_byte_counts(maker: Callable[..., Case]) -> None:
    case = maker()
    version = case.evidence[0]
    signed = {3: 48 + 384, 4: 48 + 584}.get(version) or 54 + int.from_bytes(case.evidence[50:54], "little")
    for at in range(8, signed, 7):
        changed = bytearray(case.evidence)
        changed[at] ^= 1
        refusal(case, evidence=bytes(changed))


@make
@pytest.mark.parametrize(
    "quote", [{"key_type": 3}, {"chain_type": 1}, {"chain_type": 3}], ids=["P-384 key", "PPID", "encrypted PPID"]
)
def test_what_cannot_be_judged_offline_is_not_called_forged(maker: Callable[..., Case], quote: dict[str, int]) -> None:
    with pytest.raises(UnsupportedError):
        maker(quote=quote).verify()


def test_a_version_not_known_here_is_not_called_forged() -> None:
    quote = bytearray(attesting.sgx().evidence)
    for version in (2, 6):
        quote[0] = version
        with pytest.raises(UnsupportedError, match=f"version {version}"):
            attesting.sgx().verify(evidence=bytes(quote))


def test_lengths_beyond_the_quote_are_refused() -> None:
    case = attesting.sgx()
    for at in (432, 432 + 4 + 128 + 448, 432 + 4 + 128 + 448 + 2 + 32 + 2):  # signature, authentication, certification
        changed = bytearray(case.evidence)
        changed[at : at + 2] = b"\xff\xff"
        refusal(case, evidence=bytes(changed))


def test_s_and_n_minus_s_are_both_signatures() -> None:
    """So that nobody takes a hash of the evidence for a key against replays."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    case = attesting.sgx()
    quote = bytearray(case.evidence)
    s = int.from_bytes(quote[436 + 32 : 436 + 64], "big")
    quote[436 + 32 : 436 + 64] = (order - s).to_bytes(32, "big")
    assert case.verify(evidence=bytes(quote)).verdict == "valid"


def test_a_pinned_root_that_is_none_is_refused() -> None:
    """An intermediate given as root ends the whole process inside dcap-qvl 0.7.0, if it gets there."""
    case = attesting.sgx()
    assert "not signed by itself" in refusal(case, roots=(attesting.der(Intel().ca),))
    for roots in ((b"",), (b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",), (b"\x30" * 100,)):
        refusal(case, roots=roots)


def test_a_time_without_a_zone_is_a_callers_mistake() -> None:
    with pytest.raises(ValueError, match="zone"):
        attesting.sgx().verify(at=AT.replace(tzinfo=None))
    refusal(replace(attesting.sgx(), at=AT.replace(year=1)))
