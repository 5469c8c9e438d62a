"""A log's own files: append, sign, publish, and what a crash leaves.

A directory holds the C2SP files (``checkpoint``, ``tile/...``), which may be served as they are, and two of the
log's own: ``state.json``, the committed size and root, and ``lock``. The order of an append is the safety:

1. new tiles and bundles are written and fsynced;
2. ``state.json`` is replaced atomically: from here on the entries are in the log;
3. only a committed tree is ever signed, so "last signed size and root" is on disk before each signature.

A crash before 2 leaves files beyond the committed size. Nothing signed needs them, and opening removes them.
A crash after 2 loses nothing. If the committed tree cannot be read back with its root, opening refuses.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealstat.log._text import decode_hash, encode_base64, parse_decimal
from sealstat.log.checkpoint import Checkpoint, verify_checkpoint
from sealstat.log.errors import LogError, MalformedError, MissingTileError, StoreError
from sealstat.log.merkle import EMPTY_ROOT, Frontier, leaf_hash, root
from sealstat.log.note import LogSigner, VerifierKey, sign_note
from sealstat.log.reader import LogReader, TileTree
from sealstat.log.tiles import (
    MAX_LEVEL,
    TILE_HEIGHT,
    TILE_WIDTH,
    Level,
    Tile,
    check_entry,
    decode_bundle,
    encode_bundle,
    frontier_hashes,
    new_tiles,
    parse_tile_path,
    split_hashes,
    tile_at,
)

MAX_BATCH_ENTRIES = 65_536


class TileLog:
    """The log of one origin, open for writing by this process alone.

    One thread may append or publish while others read. Use as a context manager, or call ``close``.

    Args:
        directory: created if it does not exist.
        origin: the log's name, and the name of its key.
        private: the key that signs checkpoints, and nothing else.
    Raises:
        StoreError: another process has it open, it is another origin's, or its files do not fit together.
    """

    def __init__(self, directory: Path, origin: str, private: Ed25519PrivateKey) -> None:
        self._directory, self._origin = directory, origin
        self._signer = LogSigner(origin, private)
        self._writing = threading.RLock()
        self._sound = False
        self._committed = Checkpoint(origin, 0, EMPTY_ROOT)
        self._edge: list[list[bytes]] = [[]]  # for each level, the hashes of its partial tile
        self._pending: list[bytes] = []  # the entries of the partial bundle
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(directory / "lock")
        try:
            self._load()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Release the directory; the log is durable without it."""
        descriptor, self._lock = self._lock, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def verifier(self) -> VerifierKey:
        """The key that readers of this log must know."""
        return self._signer.verifier

    @property
    def size(self) -> int:
        """Committed entries."""
        return self._committed.size

    @property
    def committed(self) -> Checkpoint:
        """The committed tree, which ``sign_checkpoint`` signs."""
        return self._committed

    # --- writing ---

    def append(self, entries: Sequence[bytes]) -> int:
        """Append a batch; when this returns, it is durable and part of whatever is signed next.

        The price of a batch is a handful of fsyncs and two for each 256 entries, so append in batches.

        Returns:
            the index of the first entry.
        Raises:
            MalformedError: an entry is longer than 65,535 bytes; nothing was appended.
            ValueError: more than 65,536 entries; nothing was appended.
            OSError: the disk failed. Whether the batch is in the log shows in ``size``, which then holds what is
                on disk; a batch is in whole or not at all.
        """
        if len(entries) > MAX_BATCH_ENTRIES:
            raise ValueError(f"a batch has at most {MAX_BATCH_ENTRIES} entries: append it in parts")
        for entry in entries:
            check_entry(entry)
        with self._writing:
            if not self._sound:
                self._load()
            first = self.size
            if not entries:
                return first
            try:
                self._append(entries)
            except BaseException:
                # Memory and disk may differ now; disk decides.
                self._sound = False
                with contextlib.suppress(OSError, LogError):
                    self._load()
                raise
            return first

    def _append(self, entries: Sequence[bytes]) -> None:
        old, new = self.size, self.size + len(entries)
        edge = [list(hashes) for hashes in self._edge]
        edge[0] += [leaf_hash(entry) for entry in entries]
        pending = [*self._pending, *entries]
        wide: list[list[bytes]] = []  # for each level, the hashes from the first tile that changes
        for level in range(MAX_LEVEL + 1):
            if level == len(edge):
                edge.append([])
            wide.append(edge[level])
            full = len(edge[level]) // TILE_WIDTH
            if full == 0:
                break
            if level + 1 == len(edge):
                edge.append([])
            edge[level + 1] = edge[level + 1] + [
                root(edge[level][n * TILE_WIDTH : (n + 1) * TILE_WIDTH]) for n in range(full)
            ]
            edge[level] = edge[level][full * TILE_WIDTH :]
        folders: set[Path] = set()
        outgrown: list[Path] = []
        for tile in new_tiles(old, new):
            before = _count(tile.level, old)
            position = (tile.index - before // TILE_WIDTH) * TILE_WIDTH
            span = slice(position, position + tile.width)
            data = encode_bundle(pending[span]) if tile.level == "entries" else b"".join(wide[tile.level][span])
            _write(self._path(tile), data, folders)
            if tile == tile.full and position == 0 and before % TILE_WIDTH:
                outgrown.append(self._path(Tile(tile.level, tile.index, 1)).parent)
        for folder in folders:
            _sync(folder)
        frontier = Frontier(new, frontier_hashes(edge))
        committed = Checkpoint(self._origin, new, frontier.root())
        self._write_state(committed)
        self._edge, self._pending = edge, pending[len(pending) - len(edge[0]) :]
        self._committed = committed
        for folder in outgrown:  # whoever still wants a partial tile takes the full one's beginning
            shutil.rmtree(folder, ignore_errors=True)

    def sign_checkpoint(self) -> bytes:
        """A note over the committed tree with the log's signature, for witnesses to cosign."""
        with self._writing:
            if not self._sound:
                self._load()
            return sign_note(self._committed.serialise(), self._signer)

    def publish(self, note: bytes) -> None:
        """Make a (cosigned) note the log's ``checkpoint`` file, atomically and durably.

        Raises:
            LogError: it is not this log's, not of this tree, or older than what is published.
        """
        with self._writing:
            checkpoint = self._own(note)
            published = self.published()
            if published is not None and checkpoint.size < self._own(published).size:
                raise StoreError("a larger checkpoint is already published: sign the tree as it is now")
            _replace(self._directory / "checkpoint", note)

    def published(self) -> bytes | None:
        """The note that readers get, or None before the first."""
        try:
            return (self._directory / "checkpoint").read_bytes()
        except FileNotFoundError:
            return None

    # --- reading ---

    def read(self, path: str) -> bytes:
        """A file of the log by its path below the prefix; a ``fetch`` for ``LogReader``.

        Raises:
            MalformedError: no path of this layout.
            MissingTileError: there is no such file.
        """
        if path != "checkpoint":
            parse_tile_path(path)
        try:
            return (self._directory / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise MissingTileError(path) from error

    def entries(self, start: int, end: int) -> list[bytes]:
        """Committed entries start .. end-1."""
        return self._reader().entries(start, end, self._committed)

    def inclusion_proof(self, index: int, size: int | None = None) -> list[bytes]:
        """Proof of a leaf in the tree of ``size`` leaves (default: the committed one)."""
        return self._tree().inclusion_proof(index, size)

    def consistency_proof(self, old: int, new: int | None = None) -> list[bytes]:
        """Proof that the tree of ``old`` leaves is a prefix of that of ``new`` (default: the committed one)."""
        return self._tree().consistency_proof(old, new)

    def _reader(self) -> LogReader:
        # One for each call: readers cache without a lock, and here calls come from many threads.
        return LogReader(self.read)

    def _tree(self) -> TileTree:
        return self._reader().tree(self.size)

    # --- files ---

    def _path(self, tile: Tile) -> Path:
        return self._directory / tile.path

    def _write_state(self, committed: Checkpoint) -> None:
        state = {
            "origin": committed.origin,
            "root": encode_base64(committed.root),
            "size": str(committed.size),
        }
        _replace(self._directory / "state.json", (json.dumps(state) + "\n").encode())

    def _read_state(self) -> Checkpoint:
        try:
            data = (self._directory / "state.json").read_bytes()
        except FileNotFoundError:
            if (self._directory / "tile").exists() or (self._directory / "checkpoint").exists():
                raise StoreError(
                    "the log's state.json is gone but its tiles are there: restore it from a backup"
                ) from None
            fresh = Checkpoint(self._origin, 0, EMPTY_ROOT)
            self._write_state(fresh)
            return fresh
        try:
            state = json.loads(data)
            size = parse_decimal(state["size"], "the committed size")
            committed = Checkpoint(state["origin"], size, decode_hash(state["root"], "the committed root"))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError("the log's state.json is damaged: restore it from a backup") from error
        if committed.origin != self._origin:
            raise StoreError("the directory holds the log of another origin: choose another directory")
        return committed

    def _load(self) -> None:
        """Take the committed tree from disk, check it, and remove what was never committed."""
        self._sound = False
        committed = self._read_state()
        edge, pending = self._read_edge(committed.size)
        if Frontier(committed.size, frontier_hashes(edge)).root() != committed.root:
            raise StoreError("the log's tiles do not give its committed root: restore them from a backup")
        self._committed, self._edge, self._pending = committed, edge, pending
        published = self.published()
        if published is not None:
            try:
                self._own(published)
            except LogError as error:
                raise StoreError(
                    f"the published checkpoint is not of this tree ({error}): restore the files of one moment"
                ) from error
        for level in _levels():
            if _count(level, committed.size) == 0 and not (self._directory / f"tile/{level}").exists():
                break
            self._remove_uncommitted(level)
        self._sound = True

    def _read_edge(self, size: int) -> tuple[list[list[bytes]], list[bytes]]:
        """The hashes of each level's partial tile, and the entries of the partial bundle."""
        edge: list[list[bytes]] = [[]]
        pending: list[bytes] = []
        try:
            for level in _levels():
                count = _count(level, size)
                if count == 0:
                    break
                if level != "entries" and level >= len(edge):
                    edge.append([])
                if count % TILE_WIDTH:
                    tile = tile_at(level, count // TILE_WIDTH, size)
                    data = self._path(tile).read_bytes()
                    if level == "entries":
                        pending = decode_bundle(data, tile.width)
                    else:
                        edge[level] = split_hashes(data, tile.width)
        except (FileNotFoundError, MalformedError) as error:
            raise StoreError("a tile of the log's right edge is lost or cut: restore it from a backup") from error
        if [leaf_hash(entry) for entry in pending] != edge[0]:
            raise StoreError("the last entries do not fit their hashes: restore the log from a backup")
        return edge, pending

    def _remove_uncommitted(self, level: Level) -> None:
        """Remove what a crash left behind the committed size. A gap ends the search: an append truncates what
        it meets, so a file beyond it is untidy, not wrong."""
        index, width = divmod(_count(level, self.size), TILE_WIDTH)
        found = True
        while found:
            whole = self._path(Tile(level, index))
            found = whole.exists()
            whole.unlink(missing_ok=True)
            folder = self._path(Tile(level, index, 1)).parent
            for partial in sorted(folder.iterdir()) if folder.is_dir() else ():
                if not partial.name.isdecimal() or int(partial.name) > width:
                    found = True
                    partial.unlink()
            index, width = index + 1, 0

    def _own(self, note: bytes) -> Checkpoint:
        """The checkpoint of a note that this log signed over its committed tree or an earlier one."""
        checkpoint = verify_checkpoint(
            note, log_key=self.verifier, witnesses=(), quorum=0, origin=self._origin
        ).checkpoint
        if checkpoint.size > self.size:
            raise StoreError(f"the checkpoint has size {checkpoint.size}, the log only {self.size}")
        if self._tree().root(checkpoint.size) != checkpoint.root:
            raise StoreError("the checkpoint has another root than this log")
        return checkpoint


def _levels() -> Iterator[Level]:
    yield "entries"
    yield from range(MAX_LEVEL + 1)


def _count(level: Level, size: int) -> int:
    return size if level == "entries" else size >> TILE_HEIGHT * level


def _lock(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise StoreError("another process has the log open: stop it first") from error
    return descriptor


def _write(path: Path, data: bytes, folders: set[Path]) -> None:
    """Write and fsync a file; note the folders that must be fsynced for its name to last."""
    parent = path.parent
    folders.add(parent)
    while not parent.exists():
        parent = parent.parent
        folders.add(parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _replace(path: Path, data: bytes) -> None:
    """Replace a file atomically and durably."""
    folders: set[Path] = set()
    temporary = path.with_name(path.name + ".tmp")
    _write(temporary, data, folders)
    temporary.replace(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
