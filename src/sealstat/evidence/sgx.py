"""Intel SGX quotes, version 3 (DCAP, ECDSA P-256)."""

from collections.abc import Sequence
from datetime import datetime

from sealstat.evidence import dcap
from sealstat.evidence.errors import refused
from sealstat.evidence.result import Claims, Required, Verified

KIND = "sgx"


def parse(evidence: bytes) -> Claims:
    """What an SGX quote says, unverified.

    Raises:
        UnsupportedError: a quote of a form that cannot be judged.
        EvidenceError: no SGX quote.
    """
    return _claims(dcap.parse_quote(evidence, dcap.SGX))


def verify(
    evidence: bytes, *, collateral: tuple[bytes, ...], roots: Sequence[bytes], required: Required, at: datetime
) -> Verified:
    """Verify an SGX quote; for the collateral see `dcap.verify_quote`.

    Raises:
        UnsupportedError: it cannot be judged.
        UnboundError: authentic, over other report data.
        EvidenceError: not authentic.
    """
    quote = dcap.parse_quote(evidence, dcap.SGX)
    return dcap.verify_quote(quote, _claims(quote), collateral, roots, required, at)


@refused("the SGX report does not have its form")
def _claims(quote: dcap.Quote) -> Claims:
    # offsets of the report body: Intel SDM volume 3D, table "REPORT"
    body = quote.body
    enclave, signer, report_data = body[64:96].hex(), body[128:160].hex(), body[320:384]
    product, svn = (int.from_bytes(body[at : at + 2], "little") for at in (256, 258))
    debug = bool(body[48] & 0x02)
    return Claims(
        kind=KIND,
        debug=debug,
        nonce=report_data,
        report_data=report_data,
        measurements={"mrenclave": enclave, "mrsigner": signer, "isv_prod_id": f"{product:04x}"},
        fields={
            **quote.header_fields(),
            "cpu_svn": body[:16].hex(),
            "misc_select": body[16:20].hex(),
            "attributes": body[48:64].hex(),
            "mrenclave": enclave,
            "mrsigner": signer,
            "isv_prod_id": product,
            "isv_svn": svn,
            "report_data": report_data.hex(),
            "debug": debug,
        },
    )
