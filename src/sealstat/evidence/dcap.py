"""What SGX and TDX quotes share: Intel DCAP, ECDSA P-256 (SGX quote v3; TDX quote v4 and v5).

The bytes are cut here by their length fields, since the library takes no notice of a tail nor of the outer
certification type; every signature, chain, revocation and TCB level is the library's work (dcap-qvl).
Source: Intel TDX DCAP Quoting Library API, appendix A; Intel SGX ECDSA QuoteLibReference, appendix A.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256

import dcap_qvl
from cryptography import x509
from pydantic import JsonValue

from sealstat.evidence._fields import Reader
from sealstat.evidence._x509 import load_root, under_any
from sealstat.evidence.errors import EvidenceError, UnsupportedError, refused
from sealstat.evidence.result import Claims, Required, Tcb, Verified, bind, within_limits

SGX, TDX = 0x00, 0x81
_INTEL = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
_ECDSA_P256 = 2
_PCK_CHAIN, _QE_REPORT = 5, 6
# (quote version, TEE type, v5 body type) -> bytes of body
_BODIES = {(3, SGX, None): 384, (4, TDX, None): 584, (5, TDX, 2): 584, (5, TDX, 3): 648}
# What the library says of quotes that passed every other check, and which it has no switch for.
_DEBUG = "Verification failed: Debug mode is enabled"
_ATTRIBUTE_RULES = {
    "Verification failed: SEPT_VE_DISABLE is not enabled": "a TD without SEPT_VE_DISABLE",
    "Verification failed: Invalid MR service TD": "a TD with a service TD",
}

# Every status but Revoked, in Intel's spelling.
_STATUSES = (
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
)


@dataclass(frozen=True, slots=True)
class Quote:
    """A quote without the padding behind it. ``body`` is the SGX report or the TD report."""

    version: int
    tee: int
    header: bytes
    body: bytes
    whole: bytes

    def header_fields(self) -> dict[str, JsonValue]:
        """The header's fields, as they are named in docs/evidence.md."""
        return {
            "version": self.version,
            "tee": "sgx" if self.tee == SGX else "tdx",
            "qe_svn": int.from_bytes(self.header[8:10], "little"),
            "pce_svn": int.from_bytes(self.header[10:12], "little"),
            "qe_vendor_id": self.header[12:28].hex(),
            "user_data": self.header[28:48].hex(),
        }


@refused("the quote does not have its form")
def parse_quote(evidence: bytes, tee: int) -> Quote:
    """Cut a quote of one TEE by its length fields; zero bytes behind it are padding, anything else is refused.

    Raises:
        UnsupportedError: a version, key type, body type or certification data that cannot be judged offline.
        EvidenceError: not a quote of this TEE.
    """
    within_limits(evidence)
    reader = Reader(evidence, "little")
    header = reader.take(48)
    version, key_type = (int.from_bytes(header[at : at + 2], "little") for at in (0, 2))
    said = int.from_bytes(header[4:8], "little")
    if header[12:28] != _INTEL:
        raise EvidenceError("expected a quote that names Intel as the maker of the quoting enclave")
    if version not in (3, 4, 5):
        raise UnsupportedError(f"quotes of version {version} cannot be judged: expected 3 for SGX, 4 or 5 for TDX")
    if said != tee:
        raise EvidenceError(f"the quote's TEE type is {said:#x}, expected {tee:#x}")
    if key_type != _ECDSA_P256:
        raise UnsupportedError(
            f"quotes with attestation keys of type {key_type} cannot be judged: expected ECDSA P-256"
        )
    body_type = reader.number(2) if version == 5 else None
    size = _BODIES.get((version, tee, body_type))
    if size is None or (version == 5 and reader.number(4) != size):
        raise UnsupportedError(f"a quote of version {version} with this TEE type, body type and size cannot be judged")
    body = reader.take(size)
    data = reader.take(reader.number(4))
    padding = reader.rest()
    if padding.strip(b"\0"):
        raise EvidenceError("bytes other than zero stand behind the quote")
    _check_signature_data(data, version)
    return Quote(version, tee, header, body, evidence[: len(evidence) - len(padding)])


def _check_signature_data(data: bytes, version: int) -> None:
    reader = Reader(data, "little")
    reader.take(64 + 64)  # signature, attestation key
    if version > 3:
        if reader.number(2) != _QE_REPORT:
            raise EvidenceError("expected the QE report's certification data (type 6) around the rest")
        inner = reader.take(reader.number(4))
        reader.end("quote's signature data")
        reader = Reader(inner, "little")
    reader.take(384 + 64)  # QE report, its signature
    reader.take(reader.number(2))  # QE authentication data
    kind = reader.number(2)
    reader.take(reader.number(4))
    reader.end("quote's certification data")
    if kind != _PCK_CHAIN:
        raise UnsupportedError(
            f"certification data of type {kind} has no PCK certificate chain: not verifiable offline"
        )


def verify_quote(
    quote: Quote,
    claims: Claims,
    collateral: tuple[bytes, ...],
    roots: Sequence[bytes],
    required: Required,
    at: datetime,
) -> Verified:
    """Verify a quote under one of the pinned roots with its collateral (one JSON file in the library's shape).

    Raises:
        UnsupportedError: authentic as far as looked at, but with attributes that the library cannot judge.
        EvidenceError: anything else wrong.
    """
    within_limits(b"", collateral)
    if len(collateral) != 1:
        raise EvidenceError("expected one file of collateral: TCB info, QE identity, CRLs and their chains as JSON")
    return bind(under_any(roots, lambda root: _verify_under(root, quote, claims, collateral[0], at)), required)


def _verify_under(root: bytes, quote: Quote, claims: Claims, collateral: bytes, at: datetime) -> Verified:
    load_root(root, at)
    now = int(at.timestamp())
    with refused("the collateral does not have its form"):
        parsed = dcap_qvl.QuoteCollateralV3.from_json(collateral.decode())
        for crl in (parsed.root_ca_crl, parsed.pck_crl):
            # the library checks signature, issuer and end, but not that a CRL is not of a later day
            if x509.load_der_x509_crl(bytes(crl)).last_update_utc > at:
                raise EvidenceError("a CRL in the collateral was issued after the time of the check")
    anchor = sha256(root).hexdigest()
    try:
        verifier = dcap_qvl.QuoteVerifier(root)
        found = verifier.verify_with_policy(quote.whole, parsed, now, dcap_qvl.QuotePolicy.claims_only(now))
        said = json.loads(found.to_json())
    except ValueError as error:
        reason = str(error)
        if reason == _DEBUG and claims.debug:
            caveat = "no TCB status is told for a quote in debug mode"
            return Verified(claims=claims, tcb=None, anchor=anchor, caveats=(caveat,))
        if reason in _ATTRIBUTE_RULES:
            raise UnsupportedError(f"{_ATTRIBUTE_RULES[reason]} cannot be judged by this version") from error
        if "root CA CRL" in reason:
            raise EvidenceError("the collateral's root CRL is not one of the pinned root") from error
        raise EvidenceError(f"the quote does not verify: {_one_line(reason)}") from error
    with refused("the verification library's answer was not understood"):
        tcb = Tcb(
            status=said["tcb"]["status"],
            advisories=tuple(said["tcb"]["advisory_ids"]),
            versions={"tcb_evaluation_data_number": said["tcb"]["eval_data_number"]},
        )
        if tcb.status not in _STATUSES:
            raise EvidenceError(f"the platform's TCB status is {tcb.status}")
        pck = said["platform"]["pck"]
        platform: dict[str, JsonValue] = {
            "tcb_status": tcb.status,
            "advisory_ids": list(tcb.advisories),
            "tcb_date": said["platform"]["tcb_level"]["tcbDate"],
            "fmspc": bytes(pck["fmspc"]).hex(),
            "ppid": bytes(pck["ppid"]).hex(),
            "platform_instance_id": bytes(pck["platform_instance_id"]).hex() if pck["platform_instance_id"] else None,
            "pce_id": bytes(pck["pce_id"]).hex(),
            "smt_enabled": pck["smt_enabled"],
            "dynamic_platform": pck["dynamic_platform"],
            "cached_keys": pck["cached_keys"],
        }
    return Verified(claims=replace(claims, fields={**claims.fields, **platform}), tcb=tcb, anchor=anchor)


def _one_line(text: str) -> str:
    return " ".join(text.removeprefix("Verification failed:").split())[:300]
