"""Whether two checkpoints can be of one log: what two parties find out by showing each other what they hold.

Pure over a ``LogReader`` of the log itself, or of anybody's copy of it; nobody has to trust that copy, since its
tiles must first give the larger checkpoint's root.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sealstat.log._text import encode_base64
from sealstat.log.checkpoint import VerifiedCheckpoint
from sealstat.log.errors import CheckpointError, MissingTileError, ProofError, SplitView, TreeMismatchError
from sealstat.log.merkle import verify_consistency
from sealstat.log.reader import LogReader


class Relation(StrEnum):
    """How two checkpoints stand to each other."""

    SAME = "same"
    """One size, one root."""
    GROWN = "grown"
    """The larger is the smaller grown: proven."""
    SPLIT = "split-view"
    """No append-only log has both: proven, and the log's key signed both."""
    ROLLBACK = "rollback"
    """The log answers with a smaller tree than its key has signed before."""
    UNPROVEN = "unproven"
    """Two sizes, and no tiles that would connect them."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a comparison found.

    Attributes:
        smaller, larger: the two checkpoints, by size; both notes are the evidence of a split view.
        smaller_root: 32 bytes: the root that the larger tree has at the smaller size, where that was proven.
        proof: consistency proof from ``smaller_root`` to the larger root, for whoever checks this after us.
        cosigned_back: public keys of witnesses that cosigned the smaller tree after the larger one: each said of the
            smaller that it had seen no larger, which was not true.
    """

    relation: Relation
    smaller: VerifiedCheckpoint
    larger: VerifiedCheckpoint
    smaller_root: bytes | None = None
    proof: tuple[bytes, ...] = ()
    cosigned_back: tuple[bytes, ...] = ()

    @property
    def fault(self) -> bool:
        """Whether the log, or one of its witnesses, did what it must not do."""
        return self.relation in {Relation.SPLIT, Relation.ROLLBACK} or bool(self.cosigned_back)


def compare(
    one: VerifiedCheckpoint,
    other: VerifiedCheckpoint,
    reader: LogReader | None = None,
    *,
    current: VerifiedCheckpoint | None = None,
) -> Comparison:
    """Compare two verified checkpoints of one origin.

    Args:
        reader: of tiles that reach to the larger size; without it two sizes cannot be connected.
        current: which of the two, if any, is the log's own answer of this moment: it must not be the smaller.
    Raises:
        CheckpointError: they are of two logs.
        TreeMismatchError: the tiles do not give the larger root, so that nothing is proven either way.
    """
    if one.checkpoint.origin != other.checkpoint.origin:
        raise CheckpointError("the two checkpoints are of two logs: compare those of one origin")
    smaller, larger = sorted((one, other), key=lambda each: each.checkpoint.size)
    a, b = smaller.checkpoint, larger.checkpoint
    if a.size == b.size:
        return Comparison(Relation.SAME if a.root == b.root else Relation.SPLIT, smaller, larger)
    back = tuple(key for key, at in smaller.cosigned_at.items() if at > larger.cosigned_at.get(key, at))
    relation, root, proof = _connect(smaller, larger, reader)
    if smaller is current and relation is not Relation.SPLIT:
        relation = Relation.ROLLBACK
    return Comparison(relation, smaller, larger, root, proof, back)


def _connect(
    smaller: VerifiedCheckpoint, larger: VerifiedCheckpoint, reader: LogReader | None
) -> tuple[Relation, bytes | None, tuple[bytes, ...]]:
    """How two trees of different sizes stand, the smaller root as the tiles prove it, and that proof."""
    a, b = smaller.checkpoint, larger.checkpoint
    if a.size == 0:
        return Relation.GROWN, None, ()
    if reader is None:
        return Relation.UNPROVEN, None, ()
    relation = Relation.GROWN
    try:
        reader.consistency(smaller, larger)
    except SplitView:
        relation = Relation.SPLIT
    except MissingTileError:  # a copy that does not reach so far
        return Relation.UNPROVEN, None, ()
    tree = reader.tree(b.size)
    root, proof = tree.root(a.size), tuple(tree.consistency_proof(a.size))
    try:
        verify_consistency(a.size, b.size, root, b.root, proof)
    except ProofError as error:
        raise TreeMismatchError("the log's files changed while they were read: ask again") from error
    return relation, root, proof


def render_comparison(found: Comparison) -> str:
    """A comparison as a sentence for people."""
    a, b = found.smaller.checkpoint, found.larger.checkpoint
    if found.relation is Relation.SPLIT:
        return (
            f"SPLIT VIEW: the key of {a.origin} signed trees of {a.size:,} and {b.size:,} entries that no one log has; "
            "the two notes prove it: keep them, and show them to the other parties"
        )
    if found.cosigned_back:
        return f"A WITNESS WENT BACK: it cosigned {a.size:,} entries after it had cosigned {b.size:,}: keep both notes"
    match found.relation:
        case Relation.ROLLBACK:
            return f"ROLLBACK: the log of {a.origin} shows {a.size:,} entries, and its key had signed {b.size:,} before"
        case Relation.SAME:
            return f"the same: {a.size:,} entries of {a.origin}, one root"
        case Relation.GROWN:
            return f"consistent: the log of {a.origin} with {b.size:,} entries is the one with {a.size:,} grown; proven"
        case _:
            sizes = f"sizes {a.size:,} and {b.size:,} of {a.origin}"
            return f"not comparable: {sizes}, and no log at hand that reaches so far and connects them"


def comparison_to_json(found: Comparison) -> dict[str, object]:
    """A comparison as a JSON value, with all that another needs to check it."""
    return {
        "relation": str(found.relation),
        "fault": found.fault,
        "origin": found.smaller.checkpoint.origin,
        "sizes": [found.smaller.checkpoint.size, found.larger.checkpoint.size],
        "notes": [found.smaller.note.decode(), found.larger.note.decode()],
        "smaller_root": encode_base64(found.smaller_root) if found.smaller_root else None,
        "proof": [encode_base64(value) for value in found.proof],
        "witnesses_that_went_back": [encode_base64(key) for key in found.cosigned_back],
    }
