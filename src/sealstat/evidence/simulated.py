"""The simulated kind: NOT PROTECTED BY HARDWARE.

A root key that anybody may have made signs what the process says of itself. It proves the protocol and nothing
about the machine: whoever has the root's file can say anything. It counts only where an agreement names its root.
"""

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import ValidationError

from sealstat.agreement.enclaves import SIMULATED
from sealstat.crypto import canonical
from sealstat.crypto.cards import Base64, Digest, Strict, b64, unb64
from sealstat.crypto.errors import MalformedError
from sealstat.evidence.errors import EvidenceError, refused
from sealstat.evidence.result import Claims, Required, Verified, bind

KIND = "simulated"
LABEL = SIMULATED
_LIMIT_BYTES = 8 * 1024
_PREFIX = b"sealstat simulated evidence v1\n"


class Report(Strict):
    """What the pretended hardware says."""

    kind: Literal["simulated"]
    measurement: Digest
    debug: bool
    report_data: Base64


class _Evidence(Strict):
    report: Report
    root: Base64
    signature: Base64


def attest(root: Ed25519PrivateKey, *, measurement: str, report_data: bytes, debug: bool = False) -> bytes:
    """Simulated evidence over 64 bytes of report data."""
    report = Report(kind="simulated", measurement=measurement, debug=debug, report_data=b64(report_data))
    signature = root.sign(_PREFIX + canonical.encode(report.to_json()))
    public = b64(root.public_key().public_bytes_raw())
    return canonical.encode({"report": report.to_json(), "root": public, "signature": b64(signature)})


def verify_report(evidence: bytes, *, root: str) -> Report:
    """The report in simulated evidence signed by the root (base64 of an Ed25519 public key).

    Raises:
        EvidenceError: malformed, or signed by another root.
    """
    try:
        parsed = _Evidence.model_validate(canonical.decode(evidence, limit=_LIMIT_BYTES))
        key = Ed25519PublicKey.from_public_bytes(unb64(root))
        key.verify(unb64(parsed.signature), _PREFIX + canonical.encode(parsed.report.to_json()))
    except InvalidSignature as error:
        raise EvidenceError("the simulated evidence is not signed by the root that the agreement names") from error
    except (MalformedError, ValidationError, ValueError) as error:
        raise EvidenceError("the simulated evidence does not have its form") from error
    return parsed.report


def parse(evidence: bytes) -> Claims:
    """What simulated evidence says, unverified.

    Raises:
        EvidenceError: no simulated evidence.
    """
    with refused("the simulated evidence does not have its form"):
        return _claims(_Evidence.model_validate(canonical.decode(evidence, limit=_LIMIT_BYTES)).report)


def verify(
    evidence: bytes, *, collateral: tuple[bytes, ...], roots: Sequence[bytes], required: Required, at: datetime
) -> Verified:
    """Verify simulated evidence under one root: the base64 text of its public key, as agreements name it.

    Raises:
        UnboundError: signed by the root, over other report data.
        EvidenceError: not signed by it, or malformed.
    """
    del collateral, at
    with refused("expected one root: the base64 text of a public key"):
        (root,) = (text.decode().strip() for text in roots)
        key = unb64(root)
    claims = _claims(verify_report(evidence, root=root))
    return bind(Verified(claims=claims, tcb=None, anchor=sha256(key).hexdigest(), caveats=(LABEL,)), required)


def _claims(report: Report) -> Claims:
    data = unb64(report.report_data)
    return Claims(
        kind=KIND,
        debug=report.debug,
        nonce=data,
        report_data=data,
        measurements={"measurement": report.measurement},
        fields={"measurement": report.measurement, "debug": report.debug, "report_data": data.hex()},
    )
