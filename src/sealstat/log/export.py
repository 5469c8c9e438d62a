"""A copy of a log in a folder that any static file server can serve (C2SP tlog-tiles).

Every file is proven by the one above it before it is written, from the signed checkpoint down: the partial tiles of
the right edge give the root; a full tile's root stands in the tile above; a bundle's entries hash to its tile of
level 0. A file that is in the folder already is proven as well, and fetched again if it is another log's or damaged; so
a copy that was interrupted goes on where it stopped. Memory holds a few tiles. The checkpoint comes last: a folder with
a checkpoint has all that it needs.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sealstat.log.checkpoint import VerifiedCheckpoint
from sealstat.log.errors import MalformedError, MissingTileError, TreeMismatchError
from sealstat.log.merkle import Frontier, leaf_hash, root
from sealstat.log.reader import Fetch, LogReader
from sealstat.log.tiles import (
    MAX_LEVEL,
    TILE_HEIGHT,
    TILE_WIDTH,
    Tile,
    decode_bundle,
    frontier_hashes,
    parse_tile_path,
    split_hashes,
    tile_at,
)

CHECKPOINT = "checkpoint"
LOG_KEY = "log-key"
"""Beside the log's own files: its verifier key, as a hint. Readers ignore it, and whoever copies could change it."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What a copy did.

    Attributes:
        size: entries of the copied log.
        written: files that were not there before.
        present: files that were there, and are what the checkpoint commits to.
    """

    size: int
    written: int
    present: int


def read_folder(folder: Path) -> Fetch:
    """A ``fetch`` over a log's files in a folder: an export, or the log of a host's home."""

    def fetch(path: str) -> bytes:
        if path != CHECKPOINT:
            parse_tile_path(path)
        try:
            return (folder / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise MissingTileError(path) from error

    return fetch


def export(
    fetch: Fetch,
    checkpoint: VerifiedCheckpoint,
    folder: Path,
    *,
    before: VerifiedCheckpoint | None = None,
    progress: Callable[[int, int], None] = lambda _done, _size: None,
) -> Exported:
    """Copy a log up to a verified checkpoint into a folder, which may hold an earlier or unfinished copy of it.

    Args:
        fetch: as for ``LogReader``.
        before: the folder's own checkpoint, verified, if it has one.
        progress: called with (entries copied, size) after each bundle.
    Raises:
        Rollback, SplitView: the log is not the one of ``before`` grown; nothing was written.
        TreeMismatchError: what is served does not give the checkpoint's root.
        MissingTileError: a file that the checkpoint needs is not served.
        OSError: the folder cannot be written to.
    """
    reader = LogReader(fetch)
    if before is not None:
        reader.consistency(before, checkpoint)
    copy = _Copy(reader, folder, checkpoint.checkpoint.size)
    copy.edge(checkpoint.checkpoint.root)
    for level in reversed(range(MAX_LEVEL + 1)):
        copy.full_tiles(level)
    copy.bundles(progress)
    _put(folder / CHECKPOINT, checkpoint.note)
    for outgrown in folder.glob("tile/**/*.p"):  # the full tile is there: readers of old checkpoints take its beginning
        if outgrown.with_suffix("").exists():
            shutil.rmtree(outgrown)
    return Exported(copy.size, copy.written, copy.present)


class _Copy:
    def __init__(self, reader: LogReader, folder: Path, size: int) -> None:
        self._reader, self._folder, self.size = reader, folder, size
        self._parent: tuple[Tile, list[bytes]] | None = None
        self.written = self.present = 0

    def edge(self, expected: bytes) -> None:
        """The partial hash tiles; together they give the root."""
        edge: list[list[bytes]] = []
        found: list[tuple[Tile, bytes]] = []
        for level in range(MAX_LEVEL + 1):
            count = self._count(level)
            edge.append([])
            if count % TILE_WIDTH:
                tile = tile_at(level, count // TILE_WIDTH, self.size)
                found.append((tile, self._served(tile)))
                edge[level] = _hashes(*found[-1])
        if Frontier(self.size, frontier_hashes(edge)).root() != expected:
            raise TreeMismatchError("the log's right edge does not give its checkpoint's root: ask again, or report it")
        for tile, data in found:
            self._keep(tile, data, there=self._there(tile) == data)

    def full_tiles(self, level: int) -> None:
        """A level's full tiles, each by its hash in the level above, which is there already."""
        for index in range(self._count(level) // TILE_WIDTH):
            tile = Tile(level, index)
            self._obtain(tile, partial(_has_root, self._parent_of(tile)[index % TILE_WIDTH]))

    def bundles(self, progress: Callable[[int, int], None]) -> None:
        """The entries, each bundle by its tile of level 0."""
        for index in range(-(-self.size // TILE_WIDTH)):
            tile, above = tile_at("entries", index, self.size), tile_at(0, index, self.size)
            self._obtain(tile, partial(_has_leaves, _hashes(above, self._path(above).read_bytes())))
            progress(min(self.size, (index + 1) * TILE_WIDTH), self.size)

    def _obtain(self, tile: Tile, proven: Callable[[Tile, bytes], bool]) -> None:
        """Have a file in the folder that is proven, be it one that is there."""
        data = self._there(tile)
        if data is not None:
            with suppress(TreeMismatchError):
                if proven(tile, data):
                    self._keep(tile, data, there=True)
                    return
        data = self._served(tile)
        if not proven(tile, data):
            raise _wrong(tile)
        self._keep(tile, data, there=False)

    def _count(self, level: int) -> int:
        return self.size >> TILE_HEIGHT * level

    def _parent_of(self, tile: Tile) -> list[bytes]:
        assert isinstance(tile.level, int)
        above = tile_at(tile.level + 1, tile.index // TILE_WIDTH, self.size)
        if self._parent is None or self._parent[0] != above:
            self._parent = above, _hashes(above, self._path(above).read_bytes())
        return self._parent[1]

    def _served(self, tile: Tile) -> bytes:
        try:
            return self._reader.file(tile)
        except MalformedError as error:
            raise _wrong(tile) from error

    def _path(self, tile: Tile) -> Path:
        return self._folder / tile.path

    def _there(self, tile: Tile) -> bytes | None:
        try:
            return self._path(tile).read_bytes()
        except FileNotFoundError:
            return None

    def _keep(self, tile: Tile, data: bytes, *, there: bool) -> None:
        if not there:
            _put(self._path(tile), data)
        self.present += there
        self.written += not there


def _hashes(tile: Tile, data: bytes) -> list[bytes]:
    try:
        return split_hashes(data, tile.width)
    except MalformedError as error:
        raise _wrong(tile) from error


def _has_root(expected: bytes, tile: Tile, data: bytes) -> bool:
    return root(_hashes(tile, data)) == expected


def _has_leaves(expected: list[bytes], tile: Tile, data: bytes) -> bool:
    try:
        return [leaf_hash(entry) for entry in decode_bundle(data, tile.width)] == expected
    except MalformedError as error:
        raise _wrong(tile) from error


def _wrong(tile: Tile) -> TreeMismatchError:
    return TreeMismatchError(f"{tile.path} is not what the checkpoint commits to: ask again, or report the log")


def _put(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; a power cut may lose it, and the next export fetches it again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(data)
    os.replace(temporary, path)
