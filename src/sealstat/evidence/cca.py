"""Arm CCA attestation tokens: a platform token and a realm token, each a COSE_Sign1.

Source: Arm, Realm Management Monitor specification (DEN0137), "Realm attestation"; draft-ffm-rats-cca-token.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic import JsonValue

from sealstat.evidence._cose import Sign1, decode, parse_sign1, verify_sign1
from sealstat.evidence._x509 import key_digest
from sealstat.evidence.errors import EvidenceError, UnsupportedError, refused
from sealstat.evidence.result import Claims, Required, Verified, bind, within_limits

KIND = "cca"
_COLLECTION, _SIGN1 = 399, 18
_PLATFORM, _REALM = 44234, 44241
_CHALLENGE, _INSTANCE, _PROFILE = 10, 256, 265
_LIFECYCLE, _IMPLEMENTATION, _COMPONENTS, _SERVICE, _CONFIG, _HASH = 2395, 2396, 2399, 2400, 2401, 2402
_PERSONALISATION, _MEASURED_BY, _KEY, _INITIAL, _EXTENSIBLE, _KEY_HASHED_BY = 44235, 44236, 44237, 44238, 44239, 44240
_HASHES = {"sha-256": "sha256", "sha-384": "sha384", "sha-512": "sha512"}
_POINTS: dict[int, type[ec.EllipticCurve]] = {65: ec.SECP256R1, 97: ec.SECP384R1, 133: ec.SECP521R1}
_KTY, _EC2, _CRV, _X, _Y = 1, 2, -1, -2, -3  # COSE_Key, RFC 9053, 7.1
_CURVES: dict[int, type[ec.EllipticCurve]] = {1: ec.SECP256R1, 2: ec.SECP384R1, 3: ec.SECP521R1}
_SECURED, _DEBUG = (0x30,), (0x40, 0x50)  # high byte of the lifecycle
ANCHOR = "the platform key is the anchor: that it is the one of this machine's maker is the caller's knowledge"


def parse(evidence: bytes) -> Claims:
    """What a CCA token says, unverified.

    Raises:
        UnsupportedError: a hash that cannot be judged.
        EvidenceError: no CCA token.
    """
    platform, realm = _tokens(evidence)
    return _claims(_map(platform), _map(realm))


@refused("the CCA token or its key does not have its form")
def verify(
    evidence: bytes, *, collateral: tuple[bytes, ...], roots: Sequence[bytes], required: Required, at: datetime
) -> Verified:
    """Verify a CCA token. Collateral: the platform key (CPAK, PEM) of its instance id, which is the anchor; no roots.

    Raises:
        UnsupportedError: it cannot be judged.
        UnboundError: authentic, over another challenge.
        EvidenceError: not authentic, or a platform that is neither secured nor in debug.
    """
    del roots, at
    within_limits(evidence, collateral)
    platform, realm = _tokens(evidence)
    if len(collateral) != 1:
        raise EvidenceError("expected the platform key (PEM) as collateral")
    key = load_pem_public_key(collateral[0])
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise EvidenceError("expected an elliptic-curve platform key")
    # (1) the platform token, (2) the realm token with the key inside it
    verify_sign1(platform, key)
    platform_claims, realm_claims = _map(platform), _map(realm)
    verify_sign1(realm, _realm_key(realm_claims[_KEY]))
    claims = _claims(platform_claims, realm_claims)
    # (3) Without this a genuine platform token could be glued to any realm token.
    digest = hashlib.new(_hash(realm_claims[_KEY_HASHED_BY]), realm_claims[_KEY]).digest()
    if not hmac.compare_digest(digest, platform_claims[_CHALLENGE]):
        raise EvidenceError("the platform token does not vouch for the realm token's key")
    # (4) the lifecycle
    lifecycle = platform_claims[_LIFECYCLE]
    if lifecycle >> 8 not in _SECURED + _DEBUG:
        raise EvidenceError(f"the platform is in the lifecycle state {lifecycle:#06x}, neither secured nor debug")
    return bind(Verified(claims=claims, tcb=None, anchor=key_digest(key), caveats=(ANCHOR,)), required)


@refused("the CCA token does not have its form")
def _tokens(evidence: bytes) -> tuple[Sign1, Sign1]:
    within_limits(evidence)
    token = decode(evidence)
    if not isinstance(token, cbor2.CBORTag) or token.tag != _COLLECTION or not isinstance(token.value, Mapping):
        raise EvidenceError("expected a CCA token: a map under the tag 399")
    if token.value.keys() != {_PLATFORM, _REALM}:
        raise EvidenceError("expected a platform token and a realm token in the CCA token")
    signed = [decode(token.value[name]) for name in (_PLATFORM, _REALM)]
    if not all(isinstance(part, cbor2.CBORTag) and part.tag == _SIGN1 for part in signed):
        raise EvidenceError("expected a COSE_Sign1 (tag 18) as platform and as realm token")
    platform, realm = (parse_sign1(part.value) for part in signed)
    return platform, realm


def _map(token: Sign1) -> Mapping[Any, Any]:
    claims = decode(token.payload)
    if not isinstance(claims, Mapping):
        raise EvidenceError("expected a map of claims in the token")
    return claims


def _hash(name: object) -> str:
    if name not in _HASHES:
        raise UnsupportedError(
            "a CCA token that hashes with another function than SHA-256, 384 or 512 cannot be judged"
        )
    return _HASHES[str(name)]


def _realm_key(data: bytes) -> ec.EllipticCurvePublicKey:
    """The realm attestation key: a raw uncompressed point, or a COSE_Key."""
    if len(data) in _POINTS and data[:1] == b"\x04":
        return ec.EllipticCurvePublicKey.from_encoded_point(_POINTS[len(data)](), data)
    key = decode(data)
    if key[_KTY] != _EC2:
        raise EvidenceError("expected an elliptic-curve realm key")
    x, y = (int.from_bytes(key[part], "big") for part in (_X, _Y))
    return ec.EllipticCurvePublicNumbers(x, y, _CURVES[key[_CRV]]()).public_key()


@refused("a claim in the CCA token is missing or not of its type")
def _claims(platform: Mapping[Any, Any], realm: Mapping[Any, Any]) -> Claims:
    challenge, initial = _bytes(realm[_CHALLENGE], 64), _bytes(realm[_INITIAL], 32, 48, 64)
    extensible = [_bytes(value, 32, 48, 64).hex() for value in realm[_EXTENSIBLE]]
    if len(extensible) != 4:
        raise EvidenceError("expected four extensible measurements in the realm token")
    _bytes(platform[_CHALLENGE], 32, 48, 64)
    _bytes(realm[_KEY], *range(1, 1025))
    _hash(realm[_KEY_HASHED_BY])
    lifecycle = platform[_LIFECYCLE]
    if type(lifecycle) is not int or not 0 <= lifecycle <= 0xFFFF:
        raise EvidenceError("expected a lifecycle state of two bytes")
    debug = lifecycle >> 8 in _DEBUG
    fields: dict[str, JsonValue] = {
        "platform_profile": _text(platform.get(_PROFILE)),
        "realm_profile": _text(realm.get(_PROFILE)),
        "implementation_id": _bytes(platform[_IMPLEMENTATION], 32).hex(),
        "instance_id": _bytes(platform[_INSTANCE], 33).hex(),
        "lifecycle": lifecycle,
        "config": _bytes(platform[_CONFIG], *range(1025)).hex(),
        "platform_hash": _text(platform.get(_HASH)),
        "verification_service": _text(platform.get(_SERVICE)),
        "sw_components": len(platform[_COMPONENTS]),
        "components": [_component(component) for component in platform[_COMPONENTS]],
        "realm_challenge": challenge.hex(),
        "report_data": challenge.hex(),
        "measurement": initial.hex(),
        "rem": list(extensible),
        "personalization": _bytes(realm[_PERSONALISATION], 64).hex(),
        "realm_hash": _text(realm[_MEASURED_BY]),
        "realm_key": realm[_KEY].hex(),
        "realm_key_hash": _text(realm[_KEY_HASHED_BY]),
        "debug": debug,
    }
    return Claims(
        kind=KIND,
        debug=debug,
        nonce=challenge,
        report_data=challenge,
        measurements={"rim": initial.hex(), **{f"rem{index}": value for index, value in enumerate(extensible)}},
        fields=fields,
    )


def _component(component: Mapping[Any, Any]) -> JsonValue:
    """One piece of the platform's firmware: its name, version, measurement and signer."""
    return {
        "name": _text(component.get(1)),
        "version": _text(component.get(4)),
        "measurement": _bytes(component[2], 32, 48, 64).hex(),
        "signer": _bytes(component[5], 32, 48, 64).hex(),
    }


def _bytes(value: object, *sizes: int) -> bytes:
    if not isinstance(value, bytes) or len(value) not in sizes:
        raise ValueError("expected bytes of a fixed size")
    return value


def _text(value: object) -> str | None:
    if value is not None and not (isinstance(value, str) and len(value) <= 1024):
        raise ValueError("expected text")
    return value
