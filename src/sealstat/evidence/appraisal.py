"""Is this evidence authentic, about this instance, and of code and kind that the agreement accepts?"""

import hmac
from dataclasses import dataclass
from datetime import datetime

from sealstat.agreement.model import Enclave, SimulatedEnclave
from sealstat.agreement.statements import EnclaveEvidence
from sealstat.crypto.cards import unb64
from sealstat.evidence import simulated
from sealstat.evidence.errors import EvidenceError, UnsupportedError
from sealstat.evidence.report import report_data_of

EVIDENCE_LIMIT_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Appraised:
    """Evidence that was accepted, and what it says."""

    kind: str
    measurement: str
    source: str  # the digest that `sealstat measure` recomputes
    hardware: bool
    label: str


def appraise(statement: EnclaveEvidence, accepted: Enclave, *, now: datetime) -> Appraised:
    """Judge an instance's evidence against what the agreement accepts, at the caller's clock.

    The clock decides about collateral, of which the simulated kind has none. Left to the caller: that the
    challenges are its own and unlapsed, that the checkpoint is good.

    Raises:
        UnsupportedError: a kind this version cannot verify.
        EvidenceError: not authentic, in debug mode, about another instance, or other code than accepted.
    """
    del now
    if len(unb64(statement.evidence)) + len(unb64(statement.collateral)) > EVIDENCE_LIMIT_BYTES:
        raise EvidenceError(f"evidence and collateral have more than {EVIDENCE_LIMIT_BYTES} bytes")
    if statement.kind != simulated.KIND:
        raise UnsupportedError(f"evidence of kind {statement.kind} cannot be verified by this version")
    entries = [entry for entry in accepted.accept if entry.kind == statement.kind]
    if not entries:
        raise EvidenceError(f"the agreement does not accept evidence of kind {statement.kind}")
    return _appraise_simulated(statement, entries)


def _appraise_simulated(statement: EnclaveEvidence, entries: list[SimulatedEnclave]) -> Appraised:
    problem = EvidenceError("no entry of the agreement fits the simulated evidence")
    for entry in entries:
        try:
            report = simulated.verify_report(unb64(statement.evidence), root=entry.root)
        except EvidenceError as error:
            problem = error
            continue
        if report.debug:
            raise EvidenceError("the enclave runs in debug mode, which the agreement does not accept")
        if not hmac.compare_digest(unb64(report.report_data), report_data_of(statement)):
            raise EvidenceError("the evidence is bound to another instance, request, challenge or checkpoint")
        if report.measurement == entry.source:
            return Appraised(
                kind=statement.kind,
                measurement=report.measurement,
                source=entry.source,
                hardware=False,
                label=simulated.LABEL,
            )
        problem = EvidenceError(
            f"the enclave runs code {report.measurement[:16]}…, the agreement accepts {entry.source[:16]}…: "
            "compare with `sealstat measure`"
        )
    raise problem
