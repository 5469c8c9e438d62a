"""Intel TDX quotes, versions 4 and 5 (DCAP, ECDSA P-256)."""

from collections.abc import Sequence
from datetime import datetime

from sealstat.evidence import dcap
from sealstat.evidence._fields import Reader
from sealstat.evidence.errors import refused
from sealstat.evidence.result import Claims, Required, Verified

KIND = "tdx"

# The TD report in order: TDX DCAP Quoting Library API, appendix A (TD report 1.0 and 1.5)
_REPORT_1_0 = {
    "tee_tcb_svn": 16,
    "mr_seam": 48,
    "mr_signer_seam": 48,
    "seam_attributes": 8,
    "td_attributes": 8,
    "xfam": 8,
    "mr_td": 48,
    "mr_config_id": 48,
    "mr_owner": 48,
    "mr_owner_config": 48,
    "rtmr0": 48,
    "rtmr1": 48,
    "rtmr2": 48,
    "rtmr3": 48,
    "report_data": 64,
}
_REPORT_1_5 = _REPORT_1_0 | {"tee_tcb_svn2": 16, "mr_service_td": 48}
_MEASUREMENTS = ("mr_td", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mr_config_id", "mr_owner", "mr_owner_config", "mr_seam")


def parse(evidence: bytes) -> Claims:
    """What a TDX quote says, unverified.

    Raises:
        UnsupportedError: a quote of a form that cannot be judged.
        EvidenceError: no TDX quote.
    """
    return _claims(dcap.parse_quote(evidence, dcap.TDX))


def verify(
    evidence: bytes, *, collateral: tuple[bytes, ...], roots: Sequence[bytes], required: Required, at: datetime
) -> Verified:
    """Verify a TDX quote; for the collateral see `dcap.verify_quote`.

    Raises:
        UnsupportedError: it cannot be judged.
        UnboundError: authentic, over other report data.
        EvidenceError: not authentic.
    """
    quote = dcap.parse_quote(evidence, dcap.TDX)
    return dcap.verify_quote(quote, _claims(quote), collateral, roots, required, at)


@refused("the TD report does not have its form")
def _claims(quote: dcap.Quote) -> Claims:
    reader = Reader(quote.body, "little")
    layout = _REPORT_1_0 if len(quote.body) == sum(_REPORT_1_0.values()) else _REPORT_1_5
    report = {name: reader.take(size) for name, size in layout.items()}
    attributes = report["td_attributes"]
    debug = bool(attributes[0] & 0x01)
    return Claims(
        kind=KIND,
        debug=debug,
        nonce=report["report_data"],
        report_data=report["report_data"],
        measurements={name: report[name].hex() for name in _MEASUREMENTS},
        fields={
            **quote.header_fields(),
            **{name: value.hex() for name, value in report.items()},
            "sept_ve_disable": bool(attributes[3] & 0x10),
            "debug": debug,
        },
    )
