"""Why evidence is not accepted."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sealstat.evidence.result import Verified


class EvidenceError(Exception):
    """Evidence that is forged, stale, bound to something else, or not what the agreement accepts."""


class UnsupportedError(EvidenceError):
    """Evidence, or a part of it, that this version cannot judge: neither good nor forged."""


class UnboundError(EvidenceError):
    """Authentic evidence over another challenge than the caller's: a replay, or another's."""

    def __init__(self, verified: "Verified") -> None:
        self.verified = verified
        super().__init__("the evidence is authentic, but not over the nonce or report data that was asked for")


class PolicyError(EvidenceError):
    """Authentic evidence of something that the policy does not accept."""


@contextmanager
def refused(sentence: str) -> Iterator[None]:
    """Make any failure inside a refusal that says so: what a parser did not expect must never count as accepted.

    Raises:
        EvidenceError: the block raised anything, save one of ours, which passes as it is.
    """
    try:
        yield
    except EvidenceError:
        raise
    except Exception as error:  # parsers of ASN.1, CBOR and JSON raise far more than a class of their own
        raise EvidenceError(sentence) from error
