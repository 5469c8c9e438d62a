"""Every kind of evidence by its name. Modules are imported when needed: an instance makes evidence and judges none."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from importlib import import_module
from typing import Protocol, cast

from sealstat.evidence.errors import EvidenceError, UnsupportedError, refused
from sealstat.evidence.result import Claims, Required, Verified

KINDS = ("sgx", "tdx", "snp", "nitro", "tpm", "cca", "simulated")


class _Kind(Protocol):
    def parse(self, evidence: bytes) -> Claims: ...

    def verify(
        self,
        evidence: bytes,
        *,
        collateral: tuple[bytes, ...],
        roots: Sequence[bytes],
        required: Required,
        at: datetime,
    ) -> Verified: ...


@cache
def _module(kind: str) -> _Kind:
    if kind not in KINDS:
        raise UnsupportedError(f"evidence of kind {kind} cannot be judged: expected one of {', '.join(KINDS)}")
    return cast("_Kind", import_module(f"sealstat.evidence.{kind}"))


def parse(kind: str, evidence: bytes) -> Claims:
    """What evidence of a kind says, unverified.

    Raises:
        UnsupportedError: a kind, or evidence of it, that cannot be judged.
        EvidenceError: not of this kind.
    """
    with refused("the evidence does not have its form"):
        return _module(kind).parse(evidence)


def verify(
    kind: str,
    evidence: bytes,
    *,
    collateral: Sequence[bytes] = (),
    roots: Sequence[bytes] = (),
    required: Required,
    at: datetime,
) -> Verified:
    """Verify evidence of a kind at a time, with no network, clock or file.

    Args:
        collateral: what the kind needs beside the evidence, in the order of docs/evidence.md.
        roots: DER of the roots that are trusted; none for tpm and cca, whose anchor is the key in the collateral.
        required: what the evidence must be bound to.
        at: zone-aware; certificates, CRLs and collateral must be good then.
    Raises:
        UnsupportedError: it cannot be judged: neither good nor forged.
        UnboundError: authentic, but over another challenge.
        EvidenceError: not authentic, out of date in time, or malformed.
        ValueError: ``at`` has no zone.
    """
    if at.tzinfo is None:
        raise ValueError("the time of a check must have a zone")
    with refused("the evidence does not verify: it does not have its form"):
        return _module(kind).verify(
            evidence, collateral=tuple(collateral), roots=tuple(roots), required=required, at=at
        )


def guess(evidence: bytes) -> Claims:
    """What evidence of any kind says, unverified; the kinds differ enough that their parsers tell.

    Raises:
        UnsupportedError: it looks like a kind, in a form that cannot be judged.
        EvidenceError: it is of no kind known here.
    """
    unsupported: UnsupportedError | None = None
    for kind in KINDS:
        try:
            return parse(kind, evidence)
        except UnsupportedError as error:
            unsupported = unsupported or error
        except EvidenceError:
            continue
    raise unsupported or EvidenceError("the evidence is of no kind known here, or damaged: name its kind to see why")
