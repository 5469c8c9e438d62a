"""Tiles: the static files a log consists of (C2SP tlog-tiles). Pure.

A tile of level l and index n holds up to 256 hashes, each the root of 256^l leaves; an entry bundle holds the
entries below a tile of level 0. A full tile is 256 wide; a partial one stands only at the right edge.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from sealstat.log._text import MAX_SIZE
from sealstat.log.errors import MalformedError
from sealstat.log.merkle import HASH_BYTES, root

TILE_WIDTH = 256
TILE_HEIGHT = 8
MAX_LEVEL = 63
MAX_ENTRY_BYTES = 65_535
MAX_BUNDLE_BYTES = TILE_WIDTH * (2 + MAX_ENTRY_BYTES)

Level = int | Literal["entries"]

_PATH = re.compile(
    r"tile/(?P<level>0|[1-9][0-9]?|entries)/(?P<index>(?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Tile:
    """Coordinates of one tile or entry bundle.

    Attributes:
        level: 0 .. 63, or ``"entries"`` for the entries of the tile at level 0 with the same index.
        index: 0 is the leftmost of its level.
        width: number of hashes or entries, 1 .. 256.
    """

    level: Level
    index: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        if self.level != "entries" and not (isinstance(self.level, int) and 0 <= self.level <= MAX_LEVEL):
            raise MalformedError(f"a tile's level is 0 to {MAX_LEVEL} or entries")
        if not 0 <= self.index <= MAX_SIZE or not 1 <= self.width <= TILE_WIDTH:
            raise MalformedError(f"a tile has an index from 0 and a width of 1 to {TILE_WIDTH}")

    @property
    def path(self) -> str:
        """Path below the log's prefix, as ``tile/0/x001/067.p/3``."""
        groups = [f"{self.index % 1000:03d}"]
        rest = self.index // 1000
        while rest:
            groups.append(f"x{rest % 1000:03d}")
            rest //= 1000
        partial = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"tile/{self.level}/{'/'.join(reversed(groups))}{partial}"

    @property
    def full(self) -> Tile:
        """The full tile that replaces this one when the log has grown."""
        return Tile(self.level, self.index)


def parse_tile_path(path: str) -> Tile:
    """The tile that a path names; one tile has exactly one path.

    Raises:
        MalformedError: no path of a tile, or not in its canonical form.
    """
    match = _PATH.fullmatch(path)
    if match is None:
        raise MalformedError("not the path of a tile: expected tile/<level>/<index>[.p/<width>]")
    level: Level = "entries" if match["level"] == "entries" else int(match["level"])
    tile = Tile(level, int(re.sub("[x/]", "", match["index"])), int(match["width"] or TILE_WIDTH))
    if tile.path != path:
        raise MalformedError("not the canonical path of a tile")
    return tile


def tile_at(level: Level, index: int, size: int) -> Tile:
    """Tile ``index`` of a level as it stands in a tree of ``size`` leaves.

    Raises:
        MalformedError: a tree of this size has no such tile.
    """
    count = size >> TILE_HEIGHT * (0 if level == "entries" else level)
    return Tile(level, index, min(TILE_WIDTH, count - index * TILE_WIDTH))


def new_tiles(old: int, new: int) -> list[Tile]:
    """The hash tiles and entry bundles that a tree of ``new`` leaves needs beyond those of ``old`` leaves.

    Bundles first, then level by level, left to right. ``new_tiles(0, size)`` is every file of a log.
    """
    tiles: list[Tile] = []
    levels: list[Level] = ["entries", *range(MAX_LEVEL + 1)]
    for level in levels:
        shift = 0 if level == "entries" else TILE_HEIGHT * level
        before, after = old >> shift, new >> shift
        if after == 0:
            break
        if after > before:
            last = (after - 1) // TILE_WIDTH
            tiles += [tile_at(level, n, new) for n in range(before // TILE_WIDTH, last + 1)]
    return tiles


def split_hashes(data: bytes, width: int) -> list[bytes]:
    """The hashes of a tile, which must have exactly this width."""
    if len(data) != width * HASH_BYTES:
        raise MalformedError(f"a tile of width {width} must have {width * HASH_BYTES} bytes")
    return [data[i : i + HASH_BYTES] for i in range(0, len(data), HASH_BYTES)]


def encode_bundle(entries: Iterable[bytes]) -> bytes:
    """An entry bundle: each entry behind its length as two bytes.

    Raises:
        MalformedError: an entry is longer than 65,535 bytes.
    """
    parts: list[bytes] = []
    for entry in entries:
        check_entry(entry)
        parts += (len(entry).to_bytes(2, "big"), entry)
    return b"".join(parts)


def check_entry(entry: bytes) -> None:
    """Refuse an entry that no bundle can hold."""
    if len(entry) > MAX_ENTRY_BYTES:
        raise MalformedError(f"an entry has at most {MAX_ENTRY_BYTES} bytes")


def decode_bundle(data: bytes, width: int) -> list[bytes]:
    """The entries of a bundle, which must hold exactly ``width`` of them and nothing after."""
    entries: list[bytes] = []
    position = 0
    for _ in range(width):
        end = position + 2 + int.from_bytes(data[position : position + 2], "big")
        if position + 2 > len(data) or end > len(data):
            raise MalformedError("an entry bundle ends inside an entry")
        entries.append(data[position + 2 : end])
        position = end
    if position != len(data):
        raise MalformedError("an entry bundle holds more than its entries")
    return entries


def frontier_hashes(edge: Sequence[Sequence[bytes]]) -> tuple[bytes, ...]:
    """The frontier's hashes from the partial tiles of a tree's right edge.

    Args:
        edge: for each level, from 0, the hashes of its partial tile (0 to 255 of them).
    """
    result: list[bytes] = []
    for hashes in reversed(edge):
        position = 0
        for height in reversed(range(TILE_HEIGHT)):
            if len(hashes) >> height & 1:
                result.append(root(hashes[position : position + (1 << height)]))
                position += 1 << height
    return tuple(result)
