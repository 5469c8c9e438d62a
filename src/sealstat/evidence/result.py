"""What verified evidence says, kept apart: authentic, debug, TCB, bound to my challenge, which code."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from pydantic import JsonValue

from sealstat.evidence.errors import EvidenceError, UnboundError

EVIDENCE_LIMIT_BYTES = 64 * 1024
COLLATERAL_LIMIT_BYTES = 256 * 1024

# Intel's words for a platform that needs an update, where the others only ask for settings or software measures.
OUTDATED = ("OutOfDate", "OutOfDateConfigurationNeeded")

Verdict = Literal["valid", "valid-but-debug", "valid-but-outdated-tcb"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What evidence says of itself. Read from bytes alone: nothing in it is proved.

    ``nonce`` and ``report_data`` are what the evidence is bound to, both the same where a kind has one such field.
    ``measurements`` are the registers that say which code runs, as lower-case hex; the first is the kind's main one.
    ``fields`` are all fields as JSON values, bytes as lower-case hex, with the names of docs/evidence.md.
    """

    kind: str
    debug: bool
    nonce: bytes | None
    report_data: bytes | None
    measurements: Mapping[str, str]
    fields: Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tcb:
    """How well kept the machine below the code is: hardware, firmware, microcode.

    ``status`` is the maker's own verdict, None where the maker gives none and only ``versions`` can be compared.
    """

    status: str | None
    advisories: tuple[str, ...] = ()
    versions: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """Evidence whose signatures are good up to the pinned root or key, at the time the caller named.

    ``bound`` is True if the caller asked for a nonce or report data and it is the one in the evidence, False if it
    asked for none: another one is an `UnboundError`. ``tcb`` is None where the kind or its verifier tells nothing.
    ``anchor`` is the SHA-256 of the pinned root's DER or of the pinned key's DER. ``caveats`` are sentences about what
    this does not prove. Left to the caller: debug, TCB and measurements against its policy.
    """

    claims: Claims
    tcb: Tcb | None
    anchor: str
    bound: bool = False
    caveats: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The short verdict without a policy; debug wins over outdated."""
        if self.claims.debug:
            return "valid-but-debug"
        if self.tcb is not None and self.tcb.status in OUTDATED:
            return "valid-but-outdated-tcb"
        return "valid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Required:
    """What the caller put into its challenge; None: not asked for."""

    nonce: bytes | None = None
    report_data: bytes | None = None


def bind(verified: Verified, required: Required) -> Verified:
    """The same result, bound to the caller's challenge if it named one. Whole fields are compared, never a prefix.

    Raises:
        UnboundError: the evidence is over something else.
    """
    wanted = [
        (value, said)
        for value, said in (
            (required.nonce, verified.claims.nonce),
            (required.report_data, verified.claims.report_data),
        )
        if value is not None
    ]
    if not all(said is not None and hmac.compare_digest(value, said) for value, said in wanted):
        raise UnboundError(verified)
    return replace(verified, bound=bool(wanted))


def within_limits(evidence: bytes, collateral: tuple[bytes, ...] = (), *, limit: int = EVIDENCE_LIMIT_BYTES) -> None:
    """Refuse what is too large to be parsed.

    Raises:
        EvidenceError: more than ``limit`` bytes of evidence, or a piece of collateral above 256 KiB.
    """
    if len(evidence) > limit:
        raise EvidenceError(f"expected at most {limit:,} bytes of evidence, got {len(evidence):,}")
    if any(len(piece) > COLLATERAL_LIMIT_BYTES for piece in collateral):
        raise EvidenceError(f"expected at most {COLLATERAL_LIMIT_BYTES:,} bytes in each piece of collateral")
