"""A story's log as a host serves it to one reader, who may be lied to."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sealstat.log.errors import MissingTileError
from sealstat.log.merkle import leaf_hash, root
from sealstat.log.tiles import encode_bundle, new_tiles
from sealstat.wire.errors import WireError
from story import FOREIGN_LEAF, Story


class Served:
    """The host as one reader sees it, in place of a ``HostClient``.

    Attributes:
        leaves: in place of the story's, if not None.
        missing: ids of statements that are not given.
        down: nothing answers.
        age_s: how old the cosignatures are.
    """

    def __init__(self, story: Story) -> None:
        self.story = story
        self.leaves: Sequence[bytes] | None = None
        self.missing: set[str] = set()
        self.down = False
        self.age_s = 0
        self.signer: Any = None
        self.fingerprint = ""
        self._files: dict[str, bytes] = {}

    def connect(self, *_: Any) -> Any:
        return self

    def log_file(self, path: str) -> bytes:
        """The checkpoint, signed and cosigned as it is asked for, or a tile of the same tree."""
        if self.down:
            raise WireError("the host cannot be reached: is it running?")
        if path == "checkpoint":
            entries = list(self.story.leaves if self.leaves is None else self.leaves)
            self._files = files(entries)
            return self.story.note(leaves=entries, at=self.story.now - timedelta(seconds=self.age_s))
        try:
            return self._files[path]
        except KeyError:
            raise MissingTileError(path) from None

    def statements(self, ids: list[str]) -> list[bytes | None]:
        return [None if id in self.missing else self.story.statements[id].to_bytes() for id in ids]


def files(entries: list[bytes]) -> dict[str, bytes]:
    hashes = [leaf_hash(entry) for entry in entries]
    made = {}
    for tile in new_tiles(0, len(entries)):
        first = tile.index * 256
        if tile.level == "entries":
            made[tile.path] = encode_bundle(entries[first : first + tile.width])
        else:
            step = 256**tile.level
            parts = [hashes[(first + n) * step : (first + n + 1) * step] for n in range(tile.width)]
            made[tile.path] = b"".join(root(part) for part in parts)
    return made


# --- lies: other leaves in place of the story's ---------------------------------------------------------------------


def forked(leaves: list[bytes]) -> list[bytes]:
    """Another last leaf: a split view of one size."""
    return [*leaves[:-1], FOREIGN_LEAF]


def forked_longer(leaves: list[bytes]) -> list[bytes]:
    """Another last leaf, and one more: a split view of another size."""
    return [*leaves[:-1], FOREIGN_LEAF, FOREIGN_LEAF]


def truncated(leaves: list[bytes]) -> list[bytes]:
    """Without the last leaf."""
    return leaves[:-1]
