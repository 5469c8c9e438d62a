"""Is this evidence authentic, about this instance, and of code and kind that the agreement accepts?"""

import hmac
from dataclasses import dataclass
from datetime import datetime

from sealstat.agreement.enclaves import AttestedEnclave, Enclave, SimulatedEnclave
from sealstat.agreement.statements import EnclaveEvidence
from sealstat.crypto.cards import unb64
from sealstat.evidence import collateral, kinds, simulated
from sealstat.evidence.checks import findings
from sealstat.evidence.errors import EvidenceError, UnboundError, UnsupportedError
from sealstat.evidence.report import report_data_of, to_fit
from sealstat.evidence.result import Required

EVIDENCE_LIMIT_BYTES = 128 * 1024  # with collateral, of which a TDX quote needs most
_UNBOUND = "the evidence is bound to another instance, request, challenge or checkpoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Appraised:
    """Evidence that was accepted, and what it says."""

    kind: str
    measurement: str
    source: str  # the digest that `sealstat measure` recomputes
    hardware: bool  # whether hardware protects the memory of what ran
    label: str
    extractable: bool = False  # signed with a key of a kind that has been taken out of machines


def appraise(statement: EnclaveEvidence, accepted: Enclave, *, now: datetime) -> Appraised:
    """Judge an instance's evidence against what the agreement accepts, at the caller's clock.

    The clock decides about certificates, collateral and what is tolerated until a day. Left to the caller: that the
    challenges are its own and unlapsed, that the checkpoint is good.

    Raises:
        UnsupportedError: a kind this version cannot verify.
        EvidenceError: not authentic, in debug mode, about another instance, or other code than accepted.
    """
    evidence, beside = unb64(statement.evidence), unb64(statement.collateral)
    if len(evidence) + len(beside) > EVIDENCE_LIMIT_BYTES:
        raise EvidenceError(f"evidence and collateral have more than {EVIDENCE_LIMIT_BYTES} bytes")
    if statement.kind not in kinds.KINDS:
        raise UnsupportedError(f"evidence of kind {statement.kind} cannot be verified by this version")
    entries = [entry for entry in accepted.accept if entry.kind == statement.kind]
    problem = EvidenceError(f"the agreement does not accept evidence of kind {statement.kind}")
    bound = report_data_of(statement)
    for entry in entries:
        try:
            if isinstance(entry, SimulatedEnclave):
                return _appraise_simulated(evidence, entry, bound)
            return _appraise_attested(evidence, beside, entry, bound, now)
        except EvidenceError as error:
            problem = error
    raise problem


def _appraise_simulated(evidence: bytes, entry: SimulatedEnclave, bound: bytes) -> Appraised:
    report = simulated.verify_report(evidence, root=entry.root)
    if report.debug:
        raise EvidenceError("the enclave runs in debug mode, which the agreement does not accept")
    if not hmac.compare_digest(unb64(report.report_data), bound):
        raise EvidenceError(_UNBOUND)
    if report.measurement != entry.source:
        raise EvidenceError(
            f"the enclave runs code {report.measurement[:16]}…, the agreement accepts {entry.source[:16]}…: "
            "compare with `sealstat measure`"
        )
    return Appraised(
        kind=simulated.KIND, measurement=entry.source, source=entry.source, hardware=False, label=entry.warning
    )


def _appraise_attested(
    evidence: bytes, beside: bytes, entry: AttestedEnclave, bound: bytes, now: datetime
) -> Appraised:
    pieces, roots = collateral.unpack(beside, pinned=entry.roots, limit=EVIDENCE_LIMIT_BYTES)
    required = Required(report_data=to_fit(entry.kind, bound))
    try:
        verified = kinds.verify(entry.kind, evidence, collateral=pieces, roots=roots, required=required, at=now)
    except UnboundError as error:
        raise EvidenceError(_UNBOUND) from error
    found = findings(verified, entry, at=now)
    for finding in found:
        if (finding.holds is not True and finding.name in ("root", "debug", "measurement")) or finding.holds is False:
            raise EvidenceError(finding.sentence)
    runs = "; ".join(finding.sentence for finding in found if finding.name in ("measurement", "platform"))
    warning = "DEBUG MODE: NOT PROTECTED BY HARDWARE" if verified.claims.debug else entry.warning
    protected = entry.tier in ("hardware", "extractable") and not verified.claims.debug
    return Appraised(
        kind=entry.kind,
        measurement=entry.source,
        source=entry.source,
        hardware=protected,
        label=f"{entry.kind}, {runs}" if protected else str(warning),
        extractable=entry.tier == "extractable",
    )
