from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

import attesting
from attesting import Case, cca
from sealstat.evidence.errors import EvidenceError, UnboundError, UnsupportedError
from sealstat.evidence.result import Required


def refusal(case: Case, **changes: Any) -> str:
    with pytest.raises(EvidenceError) as caught:
        case.verify(**changes)
    return str(caught.value)


@pytest.mark.parametrize("curve", [ec.SECP256R1, ec.SECP384R1, ec.SECP521R1])
@pytest.mark.parametrize("cose_key", [False, True], ids=["raw point", "COSE_Key"])
def test_a_good_token(curve: type[ec.EllipticCurve], cose_key: bool) -> None:
    found = cca(curve=curve, cose_key=cose_key).verify()
    assert (found.verdict, found.bound, found.tcb) == ("valid", True, None)
    assert found.claims.measurements["rim"] == attesting.CODE[:32].hex()
    assert "anchor" in found.caveats[0]


@pytest.mark.parametrize(
    ("lifecycle", "verdict"),
    [(0x3000, "valid"), (0x30FF, "valid"), (0x4000, "valid-but-debug"), (0x50FF, "valid-but-debug")],
)
def test_the_lifecycle_tells_secured_from_debug(lifecycle: int, verdict: str) -> None:
    assert cca(lifecycle=lifecycle).verify().verdict == verdict


@pytest.mark.parametrize("lifecycle", [0, 0x1000, 0x2000, 0x2FFF, 0x3100, 0x6000, 0xFFFF])
def test_every_other_lifecycle_is_refused(lifecycle: int) -> None:
    assert "lifecycle" in refusal(cca(lifecycle=lifecycle))


def test_another_challenge_is_refused_as_unbound() -> None:
    for challenge in (bytes(64), attesting.REPORT_DATA[:32]):
        with pytest.raises(UnboundError):
            cca().verify(required=Required(nonce=challenge))


def test_a_genuine_platform_token_glued_to_another_realm_is_refused() -> None:
    assert "does not vouch" in refusal(cca(bound=False))


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        pytest.param({"other_platform_key": True}, "COSE signature", id="another platform key"),
        pytest.param({"other_realm_key": True}, "COSE signature", id="another realm key"),
        pytest.param({"tag": 400}, "tag 399", id="another tag"),
        pytest.param({"drop": [44234]}, "platform token and a realm token", id="no platform token"),
        pytest.param({"drop": [44241]}, "platform token and a realm token", id="no realm token"),
        pytest.param({"platform_changes": {2395: "3003"}}, "lifecycle", id="a lifecycle that is text"),
        pytest.param({"platform_changes": {2395: True}}, "lifecycle", id="a lifecycle that is a truth value"),
        pytest.param({"platform_changes": {2395: 1 << 40}}, "lifecycle", id="a lifecycle too large"),
        pytest.param({"platform_changes": {256: b"short"}}, "not of its type", id="a short instance id"),
        pytest.param({"platform_changes": {2399: [{}]}}, "not of its type", id="an empty component"),
        pytest.param({"platform_changes": {2399: 7}}, "not of its type", id="components that are a number"),
        pytest.param({"platform_changes": {10: b""}}, "not of its type", id="no platform challenge"),
        pytest.param({"realm_changes": {10: b"short"}}, "not of its type", id="a short realm challenge"),
        pytest.param({"realm_changes": {44239: [bytes(32)] * 3}}, "four", id="three extensible measurements"),
        pytest.param({"realm_changes": {44237: b"\x04" + bytes(96)}}, "form", id="no point of the curve"),
        pytest.param({"realm_changes": {44237: cbor2.dumps({1: 1})}}, "elliptic-curve", id="another key type"),
        pytest.param({"realm_changes": {44237: cbor2.dumps({1: 2, -1: 9})}}, "form", id="another curve"),
    ],
)
def test_a_token_that_is_not_so_is_refused(how: dict[str, Any], sentence: str) -> None:
    assert sentence in refusal(cca(**how))


def test_a_hash_that_is_not_known_is_not_called_forged() -> None:
    with pytest.raises(UnsupportedError):
        cca(realm_changes={44240: "sha3-256"}).verify()


def test_another_anchor_is_refused() -> None:
    other = attesting.public_pem(attesting.key("other", ec.SECP384R1))
    assert "COSE signature" in refusal(cca(), collateral=(other,))
    assert "does not fit" in refusal(cca(), collateral=(attesting.public_pem(attesting.key("p256")),))
    rsa = attesting.public_pem(attesting.rsa_key("ak", 2048))
    for collateral in ((), (b"",), (rsa,), cca().collateral * 2, (b"x" * 300_000,)):
        refusal(cca(), collateral=collateral)


@pytest.mark.parametrize(
    "header",
    [{}, {1: -7}, {1: -257}, {1: True}, {1: -35, 2: [1]}, {1: "ES384"}, [1]],
    ids=["none", "ES256", "RS256", "a truth value", "critical", "text", "a list"],
)
def test_another_header_is_refused(header: Any) -> None:
    token = cbor2.loads(cca().evidence)
    platform = list(cbor2.loads(token.value[44234]).value)
    platform[0] = cbor2.dumps(header)
    changed = {**token.value, 44234: cbor2.dumps(cbor2.CBORTag(18, platform))}
    refusal(cca(), evidence=cbor2.dumps(cbor2.CBORTag(399, changed)))


def test_an_algorithm_outside_the_signed_header_is_refused() -> None:
    token = cbor2.loads(cca().evidence)
    platform = list(cbor2.loads(token.value[44234]).value)
    platform[1] = {1: -35}
    changed = {**token.value, 44234: cbor2.dumps(cbor2.CBORTag(18, platform))}
    assert "protected header" in refusal(cca(), evidence=cbor2.dumps(cbor2.CBORTag(399, changed)))


def test_tails_truncations_sizes_and_doubled_keys_are_refused() -> None:
    case = cca()
    assert "stand behind" in refusal(case, evidence=case.evidence + b"\0")
    assert "at most 65,536 bytes" in refusal(case, evidence=case.evidence.ljust(65_537, b"\0"))
    for size in range(0, len(case.evidence), 13):
        refusal(case, evidence=case.evidence[:size])
    inner = case.evidence[4:]
    refusal(case, evidence=case.evidence[:3] + b"\xa4" + inner + inner)
