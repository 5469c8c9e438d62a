"""TPM 2.0 quotes: a TPMS_ATTEST over selected PCRs, signed by an attestation key (AK) that the caller vouches for.

TPMs have no file format for a quote with its PCR values; the wrapper read here is JSON with the hex of ``message``
(TPMS_ATTEST), ``signature`` (``signature_format``: "tpmt" for a TPMT_SIGNATURE, "raw-rsassa-sha256" for bare bytes)
and ``pcrs``: bank -> index -> value.
Source: TCG, TPM 2.0 Library, part 2: Structures (TPMS_ATTEST, TPMT_SIGNATURE).
"""

import hashlib
import hmac
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic import Field

from sealstat.crypto.cards import Strict
from sealstat.evidence._fields import Reader
from sealstat.evidence._x509 import key_digest
from sealstat.evidence.errors import EvidenceError, UnsupportedError, refused
from sealstat.evidence.result import Claims, Required, Verified, bind, within_limits

KIND = "tpm"
Key = rsa.RSAPublicKey | ec.EllipticCurvePublicKey
_MAGIC = bytes.fromhex("ff544347")  # TPM_GENERATED_VALUE
_QUOTE = 0x8018  # TPM_ST_ATTEST_QUOTE
_RSASSA, _ECDSA = 0x14, 0x18
_SHA1 = 0x04
_HASHES: dict[int, hashes.HashAlgorithm] = {0x0B: hashes.SHA256(), 0x0C: hashes.SHA384(), 0x0D: hashes.SHA512()}
_BANKS = {0x04: "sha1", 0x0B: "sha256", 0x0C: "sha384", 0x0D: "sha512"}
_PCRS = 32
ALONE = (
    "nothing here vouches for the attestation key: that it is a TPM's, and which machine's, is the caller's knowledge"
)

Hex = Annotated[str, Field(pattern=r"^([0-9a-f]{2})*$", max_length=8192)]


class _Wrapper(Strict):
    format: Literal["tpms-attest"]
    message: Hex
    signature: Hex
    signature_format: Literal["tpmt", "raw-rsassa-sha256"]
    pcrs: dict[Literal["sha1", "sha256", "sha384", "sha512"], dict[str, Hex]]


@dataclass(frozen=True, slots=True)
class _Signature:
    scheme: int
    hash: int
    value: bytes  # as `cryptography` takes it


def parse(evidence: bytes) -> Claims:
    """What a TPM quote says, unverified.

    Raises:
        UnsupportedError: a signature scheme or hash that cannot be judged.
        EvidenceError: no quote, or PCR values that are not the quoted ones.
    """
    wrapper = _parse_wrapper(evidence)
    return _claims(bytes.fromhex(wrapper.message), wrapper.pcrs, _parse_signature(wrapper))


@refused("the TPM quote or its key does not have its form")
def verify(
    evidence: bytes, *, collateral: tuple[bytes, ...], roots: Sequence[bytes], required: Required, at: datetime
) -> Verified:
    """Verify a TPM quote. Collateral: the attestation key (PEM), which is the anchor; there are no roots and no dates.

    For an AK that an SNP or TDX report vouches for, see `hcl.check_binding`.

    Raises:
        UnsupportedError: it cannot be judged.
        UnboundError: authentic, over another nonce.
        EvidenceError: not authentic, or the PCR values are not the quoted ones.
    """
    del roots, at
    within_limits(evidence, collateral)
    wrapper = _parse_wrapper(evidence)
    if len(collateral) != 1:
        raise EvidenceError("expected the attestation key (PEM) as collateral")
    key = load_key(collateral[0])
    message, signature = bytes.fromhex(wrapper.message), _parse_signature(wrapper)
    _check_signature(key, signature, message)
    claims = _claims(message, wrapper.pcrs, signature)
    return bind(Verified(claims=claims, tcb=None, anchor=key_digest(key), caveats=(ALONE,)), required)


def load_key(pem: bytes) -> Key:
    """An attestation key.

    Raises:
        EvidenceError: no RSA key of at least 2048 bits, and no elliptic-curve key.
    """
    with refused("expected a public key in PEM"):
        key = load_pem_public_key(pem)
    if isinstance(key, ec.EllipticCurvePublicKey) or (isinstance(key, rsa.RSAPublicKey) and key.key_size >= 2048):
        return key
    raise EvidenceError("expected an RSA key of at least 2048 bits, or an elliptic-curve key")


def _parse_wrapper(evidence: bytes) -> _Wrapper:
    within_limits(evidence)
    with refused("the TPM quote is not in the JSON form that is read here"):
        return _Wrapper.model_validate(json.loads(evidence, object_pairs_hook=_no_duplicates))


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one JSON object")
    return found


def _parse_signature(wrapper: _Wrapper) -> _Signature:
    data = bytes.fromhex(wrapper.signature)
    if wrapper.signature_format == "raw-rsassa-sha256":
        return _Signature(_RSASSA, 0x0B, data)
    reader = Reader(data, "big")
    scheme, hashed = reader.number(2), reader.number(2)
    if scheme not in (_RSASSA, _ECDSA):
        raise UnsupportedError(f"the TPM's signature scheme {scheme:#x} is neither RSASSA nor ECDSA")
    if hashed not in _HASHES:
        raise UnsupportedError(f"the TPM's signature hash {hashed:#x} is not SHA-256, SHA-384 or SHA-512")
    parts = [reader.take(reader.number(2)) for _ in range(1 if scheme == _RSASSA else 2)]
    reader.end("TPM's signature")
    if scheme == _RSASSA:
        return _Signature(scheme, hashed, parts[0])
    r, s = (int.from_bytes(part, "big") for part in parts)
    return _Signature(scheme, hashed, encode_dss_signature(r, s))


def _check_signature(key: Key, signature: _Signature, message: bytes) -> None:
    hashed = _HASHES[signature.hash]
    try:
        if isinstance(key, rsa.RSAPublicKey) and signature.scheme == _RSASSA:
            key.verify(signature.value, message, padding.PKCS1v15(), hashed)
        elif isinstance(key, ec.EllipticCurvePublicKey) and signature.scheme == _ECDSA:
            key.verify(signature.value, message, ec.ECDSA(hashed))
        else:
            raise EvidenceError("the signature scheme does not fit the attestation key")
    except InvalidSignature as error:
        raise EvidenceError("the quote is not signed by the attestation key") from error


@refused("the TPM quote does not have its form")
def _claims(message: bytes, supplied: Mapping[Any, Mapping[str, str]], signature: _Signature) -> Claims:
    reader = Reader(message, "big")
    if reader.take(4) != _MAGIC:
        raise EvidenceError("the message was not made by a TPM: its magic is another")
    kind = reader.number(2)
    if kind != _QUOTE:
        raise EvidenceError(f"the TPM signed an attestation of type {kind:#x}, expected a quote")
    signer, nonce = (reader.take(reader.number(2)) for _ in range(2))
    clock, resets, restarts, safe, firmware = struct.unpack(">QIIB8s", reader.take(25))
    count = reader.number(4)
    if count != 1:
        raise EvidenceError(f"expected a quote over one bank of PCRs, got {count}")
    bank_id, bitmap = reader.number(2), reader.take(reader.number(1))
    digest = reader.take(reader.number(2))
    reader.end("quote")
    bank = _BANKS.get(bank_id)
    if bank is None or bank_id == _SHA1:
        raise EvidenceError(f"the quoted bank {bank_id:#x} is not SHA-256, SHA-384 or SHA-512")
    bits = int.from_bytes(bitmap, "little")  # bit i of byte j is PCR 8j + i
    selected = [index for index in range(bits.bit_length()) if bits >> index & 1]
    if not selected or selected[-1] >= _PCRS:
        raise EvidenceError("expected a quote over some of the PCRs 0 to 31")
    values = supplied.get(bank, {})
    if len(supplied) != 1 or values.keys() != {str(index) for index in selected}:
        raise EvidenceError("expected the values of exactly the quoted PCRs: others are not covered by the signature")
    texts = {str(index): values[str(index)] for index in selected}
    pcrs = [bytes.fromhex(text) for text in texts.values()]
    size = hashlib.new(bank).digest_size
    if any(len(value) != size for value in pcrs):
        raise EvidenceError(f"a PCR value has not the size of {bank}")
    # The digest is by the hash of the signature scheme, whatever the bank (part 3, TPM2_Quote).
    if not hmac.compare_digest(hashlib.new(_HASHES[signature.hash].name, b"".join(pcrs)).digest(), digest):
        raise EvidenceError("the PCR values are not the quoted ones")
    return Claims(
        kind=KIND,
        debug=False,
        nonce=nonce,
        report_data=nonce,
        measurements={f"pcr{index}": value for index, value in texts.items()},
        fields={
            "qualified_signer": signer.hex(),
            "nonce": nonce.hex(),
            "clock": clock,
            "reset_count": resets,
            "restart_count": restarts,
            "safe": safe,
            "firmware_version": firmware.hex(),
            "pcr_digest": digest.hex(),
            "pcr_bank": bank,
            "pcr_index": [*selected],
            "measurement": dict(texts),
            "report_data": nonce.hex(),
            "debug": False,
        },
    )
