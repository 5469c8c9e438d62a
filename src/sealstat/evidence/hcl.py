"""Azure's HCL report: how an SNP or TDX report vouches for the attestation key of a confidential VM's virtual TPM.

The report data of the hardware report begins with the SHA-256 of JSON runtime data, in which ``HCLAkPub`` is the AK.
Source: Microsoft, Azure confidential VMs guest attestation, "HCL report" (attestation report structure).
"""

import base64
import hmac
import json
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from cryptography.hazmat.primitives.asymmetric import rsa

from sealstat.evidence import tpm
from sealstat.evidence._fields import Reader
from sealstat.evidence.errors import EvidenceError, UnsupportedError, refused
from sealstat.evidence.result import Claims, within_limits

_HARDWARE_BYTES = 0x4A0
_TYPES: dict[int, Literal["snp", "tdx"]] = {2: "snp", 4: "tdx"}
_SHA256 = 1
_AK = "HCLAkPub"


@dataclass(frozen=True, slots=True)
class HclReport:
    """The parts of an HCL report. ``hardware`` is 1184 bytes: for SNP the report itself, for TDX a TD report in it."""

    kind: Literal["snp", "tdx"]
    hardware: bytes
    runtime_data: bytes


@refused("the HCL report does not have its form")
def parse_hcl(data: bytes) -> HclReport:
    """Cut an HCL report by its fields.

    Raises:
        UnsupportedError: another hardware or hash than SNP or TDX, SHA-256.
        EvidenceError: no HCL report.
    """
    within_limits(data)
    reader = Reader(data, "little")
    if reader.take(0x20)[:4] != b"HCLA":
        raise EvidenceError("expected an HCL report")
    hardware = reader.take(_HARDWARE_BYTES)
    _, _, report_type, hash_type, size = (reader.number(4) for _ in range(5))
    runtime_data = reader.take(size)
    if reader.rest().strip(b"\0"):
        raise EvidenceError("bytes other than zero stand behind the HCL report")
    kind = _TYPES.get(report_type)
    if kind is None or hash_type != _SHA256:
        raise UnsupportedError(f"HCL reports of type {report_type} with hash {hash_type} cannot be judged")
    return HclReport(kind, hardware, runtime_data)


@refused("the HCL report's runtime data does not have its form")
def check_binding(report: HclReport, *, ak: bytes, hardware_evidence: bytes, hardware: Claims) -> None:
    """Check that hardware evidence vouches for an AK (PEM) by way of an HCL report.

    ``hardware`` are the claims in ``hardware_evidence``. Left to the caller: that this evidence verifies.

    Raises:
        EvidenceError: the evidence is another machine's, or vouches for another key.
    """
    if hardware.kind != report.kind:
        raise EvidenceError(
            f"the HCL report is for {report.kind.upper()}, the hardware evidence is {hardware.kind.upper()}"
        )
    if report.kind == "snp" and not hmac.compare_digest(report.hardware, hardware_evidence):
        raise EvidenceError("the HCL report carries another hardware report than the hardware evidence")
    data = hardware.report_data or b""
    if not hmac.compare_digest(data[:32], sha256(report.runtime_data).digest()):
        raise EvidenceError("the hardware evidence is not over the HCL report's runtime data")
    keys = [key for key in json.loads(report.runtime_data)["keys"] if key["kid"] == _AK]
    given = tpm.load_key(ak)
    if len(keys) != 1 or keys[0]["kty"] != "RSA" or not isinstance(given, rsa.RSAPublicKey):
        raise EvidenceError("expected one RSA attestation key in the runtime data")
    n, e = (int.from_bytes(base64.urlsafe_b64decode(keys[0][part] + "=="), "big") for part in ("n", "e"))
    if given.public_numbers() != rsa.RSAPublicNumbers(e, n):
        raise EvidenceError("the hardware evidence vouches for another attestation key")
