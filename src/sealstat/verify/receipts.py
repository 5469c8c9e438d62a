"""Whether a host kept the promise of a receipt: the log itself decides, up to one cosigned checkpoint."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from sealstat.crypto.receipt import Receipt
from sealstat.log.checkpoint import VerifiedCheckpoint
from sealstat.log.errors import CheckpointError, QuorumError


class Promise(StrEnum):
    """What became of a promise, as far as a checkpoint shows."""

    KEPT = "kept"
    """The leaf is in the log."""
    BROKEN = "broken"
    """It is not, and the witnesses saw this log as the largest one after the promised time: proven to anybody."""
    DUE = "due"
    """It is not, and the promised time had not come when the witnesses cosigned."""
    UNDATED = "undated"
    """It is not, and too few trusted witnesses say when that was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromiseVerdict:
    """The outcome for one receipt.

    Attributes:
        index: of the leaf, if it is there.
        size: of the log that was searched.
        at: when the witnesses saw that log, if a quorum of them did; UTC.
    """

    promise: Promise
    receipt: Receipt
    size: int
    index: int | None = None
    at: datetime | None = None


def verify_promise(
    receipt: Receipt, checkpoint: VerifiedCheckpoint, entries: Iterable[bytes], *, quorum: int
) -> PromiseVerdict:
    """Hold a receipt against a whole log.

    Args:
        checkpoint: verified under the log key on the same host's card.
        entries: all the entries of its tree, in order and proven (``LogReader.stream``).
        quorum: how many trusted witnesses date a checkpoint; at least 1.
    Raises:
        CheckpointError: the checkpoint is another log's, or the entries are not all.
    """
    if checkpoint.checkpoint.origin != receipt.origin:
        raise CheckpointError("receipt and checkpoint are of two logs")
    size, found, read = checkpoint.checkpoint.size, None, 0
    for index, entry in enumerate(entries):
        read = index + 1
        if entry == receipt.leaf:
            found = index
            break
    if found is None and read != size:
        raise CheckpointError("the log was not read to its end, so that nothing is known to be missing")
    try:
        at = datetime.fromtimestamp(checkpoint.clock(quorum), UTC)
    except QuorumError:
        at = None
    if found is not None:
        promise = Promise.KEPT
    elif at is None:
        promise = Promise.UNDATED
    else:
        promise = Promise.BROKEN if at > receipt.merge_by else Promise.DUE
    return PromiseVerdict(promise=promise, receipt=receipt, size=size, index=found, at=at)


def render_promise(verdict: PromiseVerdict) -> str:
    """The verdict as a sentence or two for people."""
    receipt = verdict.receipt
    what = f"statement {receipt.id[:16]}…, promised for {receipt.merge_by:%Y-%m-%d %H:%M:%S} UTC"
    seen = f" as witnesses cosigned it at {verdict.at:%Y-%m-%d %H:%M:%S} UTC" if verdict.at else ""
    where = f"the log of {receipt.origin} with its {verdict.size:,} entries{seen}"
    match verdict.promise:
        case Promise.KEPT:
            return f"KEPT: {what}, is entry {verdict.index:,} of {where}"
        case Promise.BROKEN:
            return f"BROKEN: the host broke its promise: {what}, is not in {where}"
        case Promise.DUE:
            return f"NOT YET DUE: {what}, is not in {where}: ask again with a checkpoint after that time"
        case _:
            return (
                f"MISSING: {what}, is not in {where}; too few trusted witnesses say when that was, so this proves "
                "nothing to others: give the witnesses' cards with --trust"
            )


def promise_to_json(verdict: PromiseVerdict) -> dict[str, object]:
    """The verdict as a JSON value."""
    return {
        "promise": str(verdict.promise),
        "statement": verdict.receipt.id,
        "origin": verdict.receipt.origin,
        "merge_by": verdict.receipt.merge_by.isoformat(),
        "size": verdict.size,
        "index": verdict.index,
        "cosigned_at": verdict.at.isoformat() if verdict.at else None,
    }
