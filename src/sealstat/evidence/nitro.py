"""AWS Nitro Enclaves attestation documents: an untagged COSE_Sign1 that carries its own certificate chain.

Source: AWS, Nitro Enclaves NSM API, docs/attestation_process.md.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import JsonValue

from sealstat.evidence._cose import Sign1, decode, parse_sign1, verify_sign1
from sealstat.evidence._x509 import check_chain, load_der, load_root
from sealstat.evidence.errors import EvidenceError, refused
from sealstat.evidence.result import Claims, Required, Verified, bind, within_limits

KIND = "nitro"
_LIMIT_BYTES = 16 * 1024
_ES384 = bytes.fromhex("a1013822")  # {1: -35}
_OPTIONAL = {"public_key": 1024, "user_data": 512, "nonce": 512}
_CHAIN = 16


def parse(evidence: bytes) -> Claims:
    """What a Nitro document says, unverified.

    Raises:
        EvidenceError: no Nitro document.
    """
    return _claims(_payload(_signed(evidence)))


@refused("the Nitro document does not have its form")
def verify(
    evidence: bytes, *, collateral: tuple[bytes, ...], roots: Sequence[bytes], required: Required, at: datetime
) -> Verified:
    """Verify a Nitro document; it brings its chain along, so there is no collateral.

    The leaf lives three hours: a stored document is audited at its own ``timestamp``, which says that it was good then.

    Raises:
        UnboundError: authentic, over another nonce or other user data.
        EvidenceError: not authentic.
    """
    signed = _signed(evidence)
    payload = _payload(signed)
    if collateral:
        raise EvidenceError("a Nitro document takes no collateral: its chain is inside")
    if not roots:
        raise EvidenceError("no root is pinned: evidence of this kind needs one")
    # (1) the pinned root stands first; cabundle is root first, a chain is leaf first
    bundle = payload["cabundle"]
    if bundle[0] not in roots:
        raise EvidenceError("the document's first certificate is not the pinned root")
    # (2) the chain
    chain = [load_der(der) for der in (payload["certificate"], *bundle[:0:-1])]
    check_chain([*chain, load_root(bundle[0], at)], at, hash_name="sha384")
    # (3) the signature
    key = chain[0].public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise EvidenceError("expected an elliptic-curve key in the leaf certificate")
    verify_sign1(signed, key)
    # (4) the challenge
    found = Verified(claims=_claims(payload), tcb=None, anchor=sha256(bundle[0]).hexdigest())
    return bind(found, required)


def _signed(evidence: bytes) -> Sign1:
    within_limits(evidence, limit=_LIMIT_BYTES)
    value = decode(evidence)
    if not isinstance(value, list):
        raise EvidenceError("expected an untagged COSE_Sign1")
    signed = parse_sign1(value)
    if signed.protected != _ES384 or signed.unprotected:
        raise EvidenceError("expected the header ES384, and nothing else, on a Nitro document")
    return signed


def _payload(signed: Sign1) -> Mapping[str, Any]:
    payload = decode(signed.payload)
    if not isinstance(payload, Mapping):
        raise EvidenceError("expected a map as the document's payload")
    needed = {
        "module_id": str,
        "digest": str,
        "timestamp": int,
        "pcrs": Mapping,
        "certificate": bytes,
        "cabundle": list,
    }
    for name, kind in needed.items():
        if not isinstance(payload.get(name), kind):
            raise EvidenceError(f"expected the field {name} in the document, of its type")
    for name, limit in _OPTIONAL.items():
        value = payload.get(name)
        if value is not None and not (isinstance(value, bytes) and len(value) <= limit):
            raise EvidenceError(f"expected at most {limit} bytes in the document's {name}")
    bundle, pcrs = payload["cabundle"], payload["pcrs"]
    if not payload["module_id"] or payload["digest"] != "SHA384" or payload["timestamp"] <= 0:
        raise EvidenceError("expected a module id, the digest SHA384 and a time in the document")
    certificates = [payload["certificate"], *bundle]
    if not 1 <= len(bundle) <= _CHAIN or not all(isinstance(c, bytes) and 0 < len(c) <= 1024 for c in certificates):
        raise EvidenceError(f"expected 1 to {_CHAIN} certificates of at most 1024 bytes in the document")
    for index, value in pcrs.items():
        if (
            type(index) is not int
            or not 0 <= index <= 31
            or not isinstance(value, bytes)
            or len(value) not in (32, 48, 64)
        ):
            raise EvidenceError("expected PCRs 0 to 31 of 32, 48 or 64 bytes in the document")
    if not {0, 1, 2} <= pcrs.keys():
        raise EvidenceError("expected at least the PCRs 0, 1 and 2 in the document")
    return payload


def _claims(payload: Mapping[str, Any]) -> Claims:
    pcrs: dict[int, bytes] = dict(sorted(payload["pcrs"].items()))
    debug = not any(any(pcrs[index]) for index in (0, 1, 2))  # an enclave in debug mode measures nothing
    optional = {name: payload.get(name) for name in _OPTIONAL}
    texts: dict[str, JsonValue] = {name: None if value is None else value.hex() for name, value in optional.items()}
    return Claims(
        kind=KIND,
        debug=debug,
        nonce=optional["nonce"],
        report_data=optional["user_data"],
        measurements={f"pcr{index}": value.hex() for index, value in pcrs.items()},
        fields={
            "module_id": payload["module_id"],
            "timestamp_ms": payload["timestamp"],
            "pcrs": {str(index): value.hex() for index, value in pcrs.items()},
            "measurement": pcrs[0].hex(),
            **texts,
            "report_data": texts["user_data"],
            "debug": debug,
        },
    )
