"""Whether two checkpoints can be of one log: what two parties find out by showing each other what they hold.

Pure over a ``LogReader`` of the log itself, or of anybody's copy of it; nobody has to trust that copy, since its
tiles must first give the larger checkpoint's root.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

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
    def provable_fault(self) -> bool:
        """Whether the two notes convict somebody: the log of a split view, or a witness of going back."""
        return self.relation is Relation.SPLIT or bool(self.cosigned_back)


def compare(one: VerifiedCheckpoint, other: VerifiedCheckpoint, reader: LogReader | None = None) -> Comparison:
    """Compare two verified checkpoints of one origin.

    Args:
        reader: of tiles that reach to the larger size; without it two sizes cannot be connected.
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
    if a.size == 0:
        return Comparison(Relation.GROWN, smaller, larger, cosigned_back=back)
    if reader is None:
        return Comparison(Relation.UNPROVEN, smaller, larger, cosigned_back=back)
    relation = Relation.GROWN
    try:
        reader.consistency(smaller, larger)
    except SplitView:
        relation = Relation.SPLIT
    except MissingTileError:  # a copy that does not reach so far
        return Comparison(Relation.UNPROVEN, smaller, larger, cosigned_back=back)
    tree = reader.tree(b.size)
    root, proof = tree.root(a.size), tuple(tree.consistency_proof(a.size))
    try:
        verify_consistency(a.size, b.size, root, b.root, proof)
    except ProofError as error:
        raise TreeMismatchError("the log's files changed while they were read: ask again") from error
    return Comparison(relation, smaller, larger, root, proof, back)
