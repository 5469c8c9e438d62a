"""A proof bundle is made by a party and checked by anybody: offline, from one file and the cards they trust."""

from sealstat.verify.bundle import Bundle, parse_bundle
from sealstat.verify.certificate import PAGE_LIMIT_BYTES, make_certificate, proof_in
from sealstat.verify.check import verify_bundle
from sealstat.verify.errors import BundleError
from sealstat.verify.make import make_bundle
from sealstat.verify.render import render, to_json
from sealstat.verify.trust import Trust
from sealstat.verify.verdict import Line, Status, Verdict

__all__ = [
    "PAGE_LIMIT_BYTES",
    "Bundle",
    "BundleError",
    "Line",
    "Status",
    "Trust",
    "Verdict",
    "make_bundle",
    "make_certificate",
    "parse_bundle",
    "proof_in",
    "render",
    "to_json",
    "verify_bundle",
]
