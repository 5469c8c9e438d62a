"""Reading a log that nobody trusts, from its static files. Pure over ``fetch``.

Everything handed out was proven against a verified checkpoint: entries by recomputing the root from their bytes,
growth by a consistency proof. ``fetch(path)`` gets a path below the log's prefix, returns the file's bytes and
raises ``MissingTileError`` if there is no such file; whatever else it raises passes through. It should stop
reading beyond ``tiles.MAX_BUNDLE_BYTES``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sealstat.log.checkpoint import Checkpoint, VerifiedCheckpoint
from sealstat.log.errors import MalformedError, MissingTileError, ProofError, Rollback, SplitView, TreeMismatchError
from sealstat.log.merkle import (
    HASH_BYTES,
    Frontier,
    consistency_ranges,
    inclusion_ranges,
    leaf_hash,
    node_hash,
    range_hash,
    root,
    split,
    verify_consistency,
    verify_inclusion,
)
from sealstat.log.tiles import (
    TILE_HEIGHT,
    TILE_WIDTH,
    Tile,
    decode_bundle,
    encode_bundle,
    split_hashes,
    tile_at,
)

Fetch = Callable[[str], bytes]

MAX_ENTRIES_AT_ONCE = 65_536
_CACHED_TILES = 256

__all__ = ["CheckedLog", "Fetch", "Frontier", "LogReader", "TileTree"]


class TileTree:
    """A tree of one size over hash tiles; its hashes are as true as the tiles."""

    def __init__(self, tile: Callable[[Tile], list[bytes]], size: int) -> None:
        self._tile, self.size = tile, size

    def subtree(self, height: int, index: int) -> bytes:
        """Root of the complete subtree over D[index*2^height : (index+1)*2^height]."""
        level, rest = divmod(height, TILE_HEIGHT)
        first = index << rest
        hashes = self._tile(tile_at(level, first // TILE_WIDTH, self.size))
        start = first % TILE_WIDTH
        return root(hashes[start : start + (1 << rest)])

    def range_hash(self, lo: int, hi: int) -> bytes:
        """MTH(D[lo:hi]) for a range that occurs in a tree."""
        return range_hash(lo, hi, self.subtree)

    def root(self, size: int) -> bytes:
        """Root of the tree's first ``size`` leaves."""
        return self.range_hash(0, size)

    def inclusion_proof(self, index: int, size: int | None = None) -> list[bytes]:
        """Proof of the leaf at ``index`` in the tree of the first ``size`` leaves (default: all)."""
        return [self.range_hash(lo, hi) for lo, hi in inclusion_ranges(index, self._within(size))]

    def consistency_proof(self, old: int, new: int | None = None) -> list[bytes]:
        """Proof that the first ``old`` leaves are a prefix of the first ``new`` (default: all)."""
        return [self.range_hash(lo, hi) for lo, hi in consistency_ranges(old, self._within(new))]

    def _within(self, size: int | None) -> int:
        if size is not None and not 0 <= size <= self.size:
            raise ProofError(f"the log has {self.size} leaves, not {size}")
        return self.size if size is None else size


@dataclass(frozen=True, slots=True)
class CheckedLog:
    """What ``check_whole_log`` found true.

    Attributes:
        size: entries read and hashed.
        files: tiles and bundles compared, each down to its last byte.
    """

    size: int
    files: int


class LogReader:
    """Proven reading of one log.

    Args:
        fetch: see the module's text.
    """

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._tiles: OrderedDict[Tile, list[bytes]] = OrderedDict()

    # --- growth ---

    def consistency(self, old: VerifiedCheckpoint, new: VerifiedCheckpoint) -> None:
        """Check that ``new`` is ``old`` grown (or unchanged); store ``new`` only after this.

        Raises:
            Rollback: ``new`` is smaller.
            SplitView: no append-only log has both; proven by the log's own tiles.
            TreeMismatchError: the served tiles do not give the new root, so nothing is proven either way.
        """
        a, b = old.checkpoint, new.checkpoint
        notes = {"old_note": old.note, "new_note": new.note}
        if a.origin != b.origin:
            raise ValueError("consistency is a matter of two checkpoints of one log")
        if b.size < a.size:
            raise Rollback(f"the log shrank from size {a.size} to {b.size}: keep both notes", **notes)
        if a.size == b.size or a.size == 0:
            if a.size == b.size and a.root != b.root:
                raise SplitView(f"the log signed two roots for size {a.size}: keep both notes", **notes)
            return
        tree = self.tree(b.size)
        try:
            claimed, proof = tree.root(a.size), tree.consistency_proof(a.size)
            # What the tiles say the old root was, proven under the new root. Only then does a difference
            # from the old note accuse the log, and not whoever served the tiles.
            verify_consistency(a.size, b.size, claimed, b.root, proof)
        except (ProofError, MalformedError) as error:
            raise self._mismatch(b.size) from error
        if claimed != a.root:
            raise SplitView(f"sizes {a.size} and {b.size} are of two different logs: keep both notes", **notes)

    # --- entries ---

    def entries(self, start: int, end: int, checkpoint: Checkpoint) -> list[bytes]:
        """The entries start .. end-1, proven to be in the checkpoint's tree at these places.

        Args:
            end: at most 65,536 above ``start``.
            checkpoint: of a verified note.
        Raises:
            TreeMismatchError: what the log serves does not give the checkpoint's root.
            MissingTileError: it does not serve a file it should.
        """
        if not 0 <= start <= end <= checkpoint.size:
            raise ValueError(f"entries {start} to {end} do not lie in a log of size {checkpoint.size}")
        if end - start > MAX_ENTRIES_AT_ONCE:
            raise ValueError(f"at most {MAX_ENTRIES_AT_ONCE} entries at once")
        if start == end:
            return []
        result = self._read(start, end, checkpoint.size)
        leaves = [leaf_hash(entry) for entry in result]
        tree = self.tree(checkpoint.size)

        def mth(lo: int, hi: int) -> bytes:
            """MTH(D[lo:hi]): from the entries where they are, from hash tiles beside them."""
            if hi <= start or end <= lo:
                return tree.range_hash(lo, hi)
            if start <= lo and hi <= end:
                return root(leaves[lo - start : hi - start])
            middle = lo + split(hi - lo)
            return node_hash(mth(lo, middle), mth(middle, hi))

        try:
            computed = mth(0, checkpoint.size)
        except MalformedError as error:
            raise self._mismatch(checkpoint.size) from error
        if computed != checkpoint.root:
            raise self._mismatch(checkpoint.size)
        return result

    def replay(self, frontier: Frontier, checkpoint: Checkpoint) -> tuple[list[bytes], Frontier]:
        """The entries behind ``frontier`` up to the checkpoint, and the frontier after them.

        Fetches no hash tile: the root over all that was read so far must be the checkpoint's. At most 65,536
        entries at once; read longer logs with ``stream`` and append to the frontier.

        Raises:
            TreeMismatchError: what was read before and these entries do not give the root. ``consistency`` tells
                whether the log is at fault.
        """
        if checkpoint.size < frontier.size:
            raise TreeMismatchError(f"{frontier.size} entries were read, the checkpoint has {checkpoint.size} only")
        if checkpoint.size - frontier.size > MAX_ENTRIES_AT_ONCE:
            raise ValueError(f"at most {MAX_ENTRIES_AT_ONCE} entries at once")
        entries = self._read(frontier.size, checkpoint.size, checkpoint.size)
        after = frontier.append(leaf_hash(entry) for entry in entries)
        if after.root() != checkpoint.root:
            raise self._mismatch(checkpoint.size)
        return entries, after

    def stream(self, start: int, checkpoint: Checkpoint, *, chunk: int = 4096) -> Iterator[list[bytes]]:
        """The entries from ``start`` to the checkpoint's end in proven pieces of at most ``chunk``."""
        while start < checkpoint.size:
            end = min(checkpoint.size, start - start % chunk + chunk)
            yield self.entries(start, end, checkpoint)
            start = end

    def inclusion_proof(self, index: int, leaf: bytes, checkpoint: Checkpoint) -> list[bytes]:
        """A verified inclusion proof of a leaf hash, as others want to see it.

        Raises:
            ProofError: there is no such index.
            TreeMismatchError: the tiles give no proof of this leaf.
        """
        inclusion_ranges(index, checkpoint.size)
        try:
            proof = self.tree(checkpoint.size).inclusion_proof(index)
            verify_inclusion(index, checkpoint.size, leaf, proof, checkpoint.root)
        except (ProofError, MalformedError) as error:
            raise self._mismatch(checkpoint.size) from error
        return proof

    # --- audit ---

    def check_whole_log(
        self, checkpoint: Checkpoint, *, progress: Callable[[int, int], None] = lambda _done, _size: None
    ) -> CheckedLog:
        """Recompute the whole tree from the entry bundles and compare every hash tile on the way.

        Memory: one bundle and, for each level, one tile.

        Args:
            progress: called with (entries done, size) after each bundle.
        Raises:
            TreeMismatchError: the first tile that differs, or the root.
            MissingTileError: a file the checkpoint needs is not there.
        """
        size, files = checkpoint.size, 0
        edge: list[list[bytes]] = [[]]
        whole = Frontier()

        def compare(level: int, index: int) -> None:
            nonlocal files
            tile = tile_at(level, index, size)
            if self.file(tile) != b"".join(edge[level]):
                raise TreeMismatchError(f"tile {tile.path} is not what its entries hash to: report the log")
            files += 1

        for number in range(-(-size // TILE_WIDTH)):
            bundle = tile_at("entries", number, size)
            leaves = [leaf_hash(entry) for entry in self._bundle(bundle)]
            files += 1
            whole = whole.append(leaves)
            edge[0] = leaves
            level, index = 0, number
            while len(edge[level]) == TILE_WIDTH:
                compare(level, index)
                if len(edge) == level + 1:
                    edge.append([])
                edge[level + 1].append(root(edge[level]))
                edge[level] = []
                level, index = level + 1, index // TILE_WIDTH
            progress(min(size, (number + 1) * TILE_WIDTH), size)
        for level, hashes in enumerate(edge):
            if hashes:
                compare(level, (size >> TILE_HEIGHT * level) // TILE_WIDTH)
        if whole.root() != checkpoint.root:
            raise TreeMismatchError("the entries do not give the checkpoint's root: report the log")
        return CheckedLog(size, files)

    # --- files ---

    def tree(self, size: int) -> TileTree:
        """The log's tree of this size as its tiles have it: unproven, for making proofs that others verify."""
        return TileTree(self._hashes, size)

    def _hashes(self, tile: Tile) -> list[bytes]:
        if tile in self._tiles:
            self._tiles.move_to_end(tile)
            return self._tiles[tile]
        hashes = split_hashes(self.file(tile), tile.width)
        self._tiles[tile] = hashes
        if len(self._tiles) > _CACHED_TILES:
            self._tiles.popitem(last=False)
        return hashes

    def file(self, tile: Tile) -> bytes:
        """A tile's or bundle's bytes as served, unproven; the full one's beginning when the partial is gone.

        Raises:
            MissingTileError: there is neither.
            MalformedError: a full bundle is none.
        """
        try:
            return self._fetch(tile.path)
        except MissingTileError:
            if tile == tile.full:
                raise
            full = self._fetch(tile.full.path)
        if tile.level == "entries":
            return encode_bundle(decode_bundle(full, TILE_WIDTH)[: tile.width])
        return full[: tile.width * HASH_BYTES]

    def _bundle(self, tile: Tile) -> list[bytes]:
        try:
            return decode_bundle(self.file(tile), tile.width)
        except MalformedError as error:
            raise TreeMismatchError(f"{tile.path} is no bundle of {tile.width} entries: report the log") from error

    def _read(self, start: int, end: int, size: int) -> list[bytes]:
        result: list[bytes] = []
        for index in range(start // TILE_WIDTH, -(-end // TILE_WIDTH)):
            first = index * TILE_WIDTH
            entries = self._bundle(tile_at("entries", index, size))
            result += entries[max(0, start - first) : end - first]
        return result

    def _mismatch(self, size: int) -> TreeMismatchError:
        # What was cached may be what is wrong: the next attempt asks afresh.
        self._tiles.clear()
        return TreeMismatchError(f"the served files do not give the root of the checkpoint of size {size}: ask again")
