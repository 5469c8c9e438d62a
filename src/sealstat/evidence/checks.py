"""Verified evidence held against a policy, check by check."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Literal

from sealstat.agreement.enclaves import IDENTITIES, Policy
from sealstat.evidence.errors import PolicyError
from sealstat.evidence.result import OUTDATED, Verified
from sealstat.evidence.roots import KNOWN


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: whether it holds (None: nothing was asked, or nothing is told), and a sentence for people."""

    name: Literal["root", "debug", "tcb", "vmpl", "platform", "measurement"]
    holds: bool | None
    sentence: str


def findings(verified: Verified, policy: Policy | None, *, at: datetime) -> tuple[Finding, ...]:
    """Every check of authentic evidence against a policy; without one: no debug, no outdated TCB.

    ``at`` is the zone-aware time at which tolerations must still run.

    Raises:
        PolicyError: the policy is for another kind.
    """
    if policy is not None and policy.kind != verified.claims.kind:
        raise PolicyError(f"the policy is for evidence of kind {policy.kind}, this is {verified.claims.kind}")
    found = [_root(verified, policy), _debug(verified, policy), _tcb(verified, policy, at)]
    if verified.claims.kind == "snp":
        found.append(_vmpl(verified, policy))
    if policy is not None and policy.platforms:
        found.append(_platform(verified, policy))
    return (*found, _measurement(verified, policy))


def appraise_verified(verified: Verified, policy: Policy | None, *, at: datetime) -> None:
    """Accept authentic evidence, or say why not.

    Raises:
        PolicyError: a check of `findings` does not hold.
    """
    for finding in findings(verified, policy, at=at):
        if finding.holds is False:
            raise PolicyError(finding.sentence)


def _root(verified: Verified, policy: Policy | None) -> Finding:
    name = KNOWN.get(verified.anchor, f"sha256:{verified.anchor}")
    if policy is None or not policy.roots:
        return Finding("root", None, f"vouched for by the root or key that was given: {name}")
    if verified.anchor in policy.roots:
        return Finding("root", True, f"vouched for by a root or key that the policy names: {name}")
    return Finding("root", False, f"vouched for by {name}, which the policy does not name")


def _debug(verified: Verified, policy: Policy | None) -> Finding:
    if not verified.claims.debug:
        return Finding("debug", True, "not in debug mode")
    if policy is not None and policy.debug:
        return Finding(
            "debug", True, "in debug mode, which the policy accepts: whoever runs the machine can look inside"
        )
    return Finding("debug", False, "in debug mode: whoever runs the machine can look inside")


def _tcb(verified: Verified, policy: Policy | None, at: datetime) -> Finding:
    tcb = verified.tcb
    if tcb is None:
        asked = policy is not None and (policy.minimum_tcb or policy.tcb_statuses)
        if asked and not verified.claims.debug:
            return Finding("tcb", False, "the policy asks for a TCB status or version, and this evidence tells none")
        return Finding("tcb", None, "this evidence tells nothing of the TCB")
    said = ", ".join(f"{name} {version}" for name, version in tcb.versions.items())
    shown = f"TCB {tcb.status or 'versions'}" + (f" ({said})" if said else "")
    if policy is None:
        listed = f", with the advisories {', '.join(tcb.advisories)}" if tcb.advisories else ""
        if tcb.status in OUTDATED:
            return Finding("tcb", False, f"{shown}: the machine lacks published updates{listed}")
        return Finding("tcb", None if tcb.status is None else True, f"{shown}{listed}")
    if tcb.status is not None and tcb.status not in (policy.tcb_statuses or ["UpToDate"]):
        return Finding("tcb", False, f"{shown} is not a status that the policy accepts")
    today = at.astimezone(UTC).date()
    tolerated = {entry.id for entry in policy.advisories if today <= date.fromisoformat(entry.until)}
    open_advisories = [id for id in tcb.advisories if id not in tolerated]
    if open_advisories:
        return Finding(
            "tcb", False, f"{shown}: the policy does not, or no longer, tolerate {', '.join(open_advisories)}"
        )
    for name, least in policy.minimum_tcb.items():
        if tcb.versions.get(name, -1) < least:
            have = tcb.versions.get(name, "not told")
            return Finding("tcb", False, f"the TCB's {name} is {have}, the policy asks for {least}")
    return Finding("tcb", True, f"{shown}, as the policy accepts")


def _vmpl(verified: Verified, policy: Policy | None) -> Finding:
    level, highest = verified.claims.fields["vmpl"], (policy and policy.highest_vmpl) or 0
    if policy is None:
        return Finding("vmpl", None, f"asked for from VMPL {level}")
    if isinstance(level, int) and level <= highest:
        return Finding("vmpl", True, f"asked for from VMPL {level}, the policy accepts up to {highest}")
    return Finding("vmpl", False, f"asked for from VMPL {level}, the policy accepts up to {highest}")


def _platform(verified: Verified, policy: Policy) -> Finding:
    if verified.claims.fields.get("signing_key") == "vlek":  # its report says a chip, but no certificate does
        return Finding("platform", False, "signed with a key that a cloud loads into many machines: it names none")
    told = [verified.claims.fields.get(name) for name in IDENTITIES.get(verified.claims.kind, ())]
    for platform in policy.platforms:
        if platform.id in told:
            return Finding("platform", True, f"on the machine {platform.name}, which the policy names")
    return Finding("platform", False, "the machine is none of those that the policy names")


def _measurement(verified: Verified, policy: Policy | None) -> Finding:
    has = verified.claims.measurements
    if policy is None:
        name, value = next(iter(has.items()))
        return Finding("measurement", None, f"no policy was given: compare {name} {value} with the code you expect")
    for reference in policy.measurements:
        if all(has.get(register) == value for register, value in reference.registers.items()):
            return Finding("measurement", True, f"runs {reference.name}")
    names = ", ".join(reference.name for reference in policy.measurements)
    return Finding("measurement", False, f"runs none of what the policy accepts: {names}")
