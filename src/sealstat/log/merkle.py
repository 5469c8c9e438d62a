"""The Merkle tree of RFC 6962: hashes, roots, proofs, and the right edge that grows.

Hashes are SHA-256, 32 bytes. D[lo:hi] names the leaves lo .. hi-1; MTH is the RFC's Merkle tree hash.
Sizes and indexes are below 2^64. Everything here is pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sealstat.log._text import MAX_SIZE, decode_hash, encode_base64
from sealstat.log.errors import MalformedError, ProofError

HASH_BYTES = 32
MAX_PROOF_HASHES = 64

EMPTY_ROOT = hashlib.sha256(b"").digest()
"""Root of the tree without leaves (not the hash of an empty leaf)."""

Subtree = Callable[[int, int], bytes]
"""(height h, index i) -> MTH(D[i*2^h : (i+1)*2^h]), the root of a complete subtree."""


def leaf_hash(entry: bytes) -> bytes:
    """Hash of a leaf. Leaves and nodes get different prefixes, so that a node cannot pass for a leaf."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(hashes: Sequence[bytes]) -> bytes:
    """MTH over leaf hashes (or over the roots of equally high complete subtrees).

    Works level by level: a node without a right neighbour moves up unchanged, which is the RFC's split at the
    largest power of two below n.
    """
    if not hashes:
        return EMPTY_ROOT
    level = list(hashes)
    while len(level) > 1:
        odd = level[-1:] if len(level) % 2 else []
        level = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)] + odd
    return level[0]


def split(width: int) -> int:
    """The largest power of two smaller than ``width`` (> 1)."""
    return 1 << (width - 1).bit_length() - 1


# --- building proofs: which ranges, then their hashes -------------------------------------------------------


def inclusion_ranges(index: int, size: int) -> list[tuple[int, int]]:
    """The (lo, hi) of each hash in PATH(index, D[size]), the leaf's sibling first.

    Raises:
        ProofError: there is no such leaf.
    Source: RFC 6962 section 2.1.1.
    """
    if not 0 <= index < size <= MAX_SIZE:
        raise ProofError(f"no leaf {index} in a tree of {size} leaves")
    lo, hi = 0, size
    path = []
    while hi - lo > 1:
        middle = lo + split(hi - lo)
        if index < middle:
            path.append((middle, hi))
            hi = middle
        else:
            path.append((lo, middle))
            lo = middle
    return path[::-1]


def consistency_ranges(old: int, new: int) -> list[tuple[int, int]]:
    """The (lo, hi) of each hash in PROOF(old, D[new]); empty for old = 0 and old = new.

    Raises:
        ProofError: old > new.
    Source: RFC 6962 section 2.1.2.
    """
    if not 0 <= old <= new <= MAX_SIZE:
        raise ProofError(f"no consistency proof from size {old} to size {new}: a log only grows")
    if old == 0:
        return []
    lo, hi = 0, new
    path = []
    while hi != old:
        middle = lo + split(hi - lo)
        if old <= middle:
            path.append((middle, hi))
            hi = middle
        else:
            path.append((lo, middle))
            lo = middle
    if lo > 0:  # otherwise the verifier has this hash: it is the old root
        path.append((lo, hi))
    return path[::-1]


def range_hash(lo: int, hi: int, subtree: Subtree) -> bytes:
    """MTH(D[lo:hi]) from complete subtrees, where lo is a multiple of a power of two >= hi - lo."""
    pieces = []
    for height in reversed(range((hi - lo).bit_length())):
        if (hi - lo) >> height & 1:
            pieces.append(subtree(height, lo >> height))
            lo += 1 << height
    return _fold(pieces)


def _fold(pieces: Sequence[bytes]) -> bytes:
    """Root over complete subtrees of falling height, from the right."""
    if not pieces:
        return EMPTY_ROOT
    result = pieces[-1]
    for piece in reversed(pieces[:-1]):
        result = node_hash(piece, result)
    return result


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """PATH(index, D) over leaf hashes that are all at hand."""
    return [root(leaves[lo:hi]) for lo, hi in inclusion_ranges(index, len(leaves))]


def consistency_proof(leaves: Sequence[bytes], old: int) -> list[bytes]:
    """PROOF(old, D) over leaf hashes that are all at hand."""
    return [root(leaves[lo:hi]) for lo, hi in consistency_ranges(old, len(leaves))]


# --- verifying proofs ---------------------------------------------------------------------------------------


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Check that ``leaf`` is the leaf hash at ``index`` of the tree with this size and root.

    The proof does not bind the size: take size and root from one signed checkpoint.

    Raises:
        ProofError: it is not, or the proof is malformed.
    Source: RFC 9162 section 2.1.3.2.
    """
    if not 0 <= index < size <= MAX_SIZE:
        raise ProofError(f"no leaf {index} in a tree of {size} leaves")
    _check_hashes((leaf, root), proof)
    fn, sn, computed = index, size - 1, leaf
    for p in proof:
        if sn == 0:
            raise ProofError("the inclusion proof has too many hashes")
        if fn & 1 or fn == sn:
            computed = node_hash(p, computed)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            computed = node_hash(computed, p)
        fn, sn = fn >> 1, sn >> 1
    if sn != 0 or computed != root:
        raise ProofError("the inclusion proof does not lead to the checkpoint's root")


def verify_consistency(old: int, new: int, root1: bytes, root2: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree (old, root1) is a prefix of the tree (new, root2).

    Raises:
        ProofError: it is not, or the proof is malformed.
    Source: RFC 9162 section 2.1.4.2; for old = 0, C2SP (the proof is empty: there is nothing to prove).
    """
    if not 0 <= old <= new <= MAX_SIZE:
        raise ProofError(f"no consistency from size {old} to size {new}: a log only grows")
    _check_hashes((root1, root2), proof)
    if old in (0, new):
        if proof:
            raise ProofError("the consistency proof must be empty here")
        if old == 0 and root1 != EMPTY_ROOT:
            raise ProofError("the root of the empty tree is wrong")
        if old == new and root1 != root2:
            raise ProofError("two roots for one size")
        return
    if not proof:
        raise ProofError("the consistency proof is empty")
    path = list(proof) if old & (old - 1) else [root1, *proof]
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for c in path[1:]:
        if sn == 0:
            raise ProofError("the consistency proof has too many hashes")
        if fn & 1 or fn == sn:
            fr, sr = node_hash(c, fr), node_hash(c, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node_hash(sr, c)
        fn, sn = fn >> 1, sn >> 1
    if fr != root1 or sr != root2 or sn != 0:
        raise ProofError("the consistency proof does not connect the two roots")


def _check_hashes(known: Iterable[bytes], proof: Sequence[bytes]) -> None:
    if len(proof) > MAX_PROOF_HASHES:
        raise ProofError(f"the proof has more than {MAX_PROOF_HASHES} hashes")
    if any(len(value) != HASH_BYTES for value in (*known, *proof)):
        raise ProofError(f"every hash of a proof must have {HASH_BYTES} bytes")


# --- the right edge -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Frontier:
    """The right edge of a tree (a compact range): all that is needed to append to it and to know its root.

    Whoever has read every leaf keeps this, and compares ``root()`` after new leaves with the next checkpoint's:
    equality proves both the new leaves and that the old ones are still there, with no other proof.

    Attributes:
        size: number of leaves.
        hashes: roots of the complete subtrees that make up the tree, the largest (leftmost) first.
    """

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.size <= MAX_SIZE or len(self.hashes) != self.size.bit_count():
            raise MalformedError("a frontier has one hash for each binary one of its size")
        if any(len(value) != HASH_BYTES for value in self.hashes):
            raise MalformedError(f"every hash of a frontier must have {HASH_BYTES} bytes")

    def append(self, leaves: Iterable[bytes]) -> Frontier:
        """The frontier after these leaf hashes, in order; amortised one node hash for each."""
        size, stack = self.size, list(self.hashes)
        for leaf in leaves:
            node, position = leaf, size
            while position & 1:
                node = node_hash(stack.pop(), node)
                position >>= 1
            stack.append(node)
            size += 1
        return Frontier(size, tuple(stack))

    def root(self) -> bytes:
        """The tree's root."""
        return _fold(self.hashes)

    def to_json(self) -> dict[str, object]:
        """As a JSON value, for whoever stores it."""
        return {"size": self.size, "hashes": [encode_base64(value) for value in self.hashes]}

    @classmethod
    def from_json(cls, value: object) -> Frontier:
        """Read what ``to_json`` gave.

        Raises:
            MalformedError: it is anything else.
        """
        if not isinstance(value, Mapping) or set(value) != {"size", "hashes"}:
            raise MalformedError("a stored frontier is an object of size and hashes")
        size, hashes = value["size"], value["hashes"]
        if type(size) is not int or not isinstance(hashes, list) or not all(isinstance(h, str) for h in hashes):
            raise MalformedError("a stored frontier has an integer size and a list of hashes")
        return cls(size, tuple(decode_hash(text, "a frontier's hash") for text in hashes))
