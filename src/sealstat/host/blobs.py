"""Ciphertext as files, each under its own digest: written beside, fsynced, renamed; never changed after."""

import os
import secrets
import shutil
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from sealstat.host.errors import RefusedError, disk_full

CHUNK_BYTES = 1 << 20


class Blobs:
    """The files of one host: a folder for each agreement, below it one for each first byte of a digest.

    Args:
        root: created if it does not exist; what uploads left unfinished in it is removed.
        floor_bytes: free space that an upload must leave.
    """

    def __init__(self, root: Path, *, floor_bytes: int) -> None:
        self._root, self._incoming, self._floor_bytes = root, root / "incoming", floor_bytes
        shutil.rmtree(self._incoming, ignore_errors=True)
        self._incoming.mkdir(parents=True, exist_ok=True, mode=0o700)

    def path(self, agreement: str, digest: str) -> Path:
        """Where a blob is if it is there. Both names must have been checked to be hex digests."""
        return self._root / agreement / digest[:2] / digest

    def has(self, agreement: str, digest: str, size: int) -> bool:
        """Whether the file is there with its size."""
        try:
            return self.path(agreement, digest).stat().st_size == size
        except FileNotFoundError:
            return False

    def receive(self, agreement: str, digest: str, size: int) -> "Upload":
        """Begin an upload of a known size.

        Raises:
            RefusedError: the disk has no room for it.
        """
        if shutil.disk_usage(self._incoming).free < size + self._floor_bytes:
            raise disk_full()
        return Upload(self._incoming / secrets.token_hex(8), self.path(agreement, digest), digest, size)

    def remove(self, agreement: str, digest: str) -> None:
        """Delete a blob; nothing if it is gone."""
        self.path(agreement, digest).unlink(missing_ok=True)

    def files(self) -> Iterator[tuple[str, str, int]]:
        """(agreement, digest, size) of every file there is."""
        for agreement in self._root.iterdir():
            if agreement != self._incoming and agreement.is_dir():
                for file in agreement.glob("??/*"):
                    yield agreement.name, file.name, file.stat().st_size


class Upload:
    """One blob on its way in; as a context manager it leaves either the whole file or none.

    Not thread-safe, but may be used from one thread after another.
    """

    def __init__(self, temporary: Path, final: Path, digest: str, size: int) -> None:
        self._temporary, self._final, self._digest, self._size = temporary, final, digest, size
        self._hash, self._written = sha256(), 0
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        self._file = os.fdopen(os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    def write(self, chunk: bytes) -> None:
        """Add bytes.

        Raises:
            RefusedError: more than announced.
            OSError: the disk is full, or broken.
        """
        assert self._file is not None
        self._written += len(chunk)
        if self._written > self._size:
            raise RefusedError(400, "wrong-length", f"the body is longer than the {self._size} bytes announced")
        self._hash.update(chunk)
        view = memoryview(chunk)
        while view:  # unbuffered: a full disk shows here, as a short write and then an error
            view = view[self._file.write(view) :]

    def finish(self) -> None:
        """Make the blob durable under its digest.

        Raises:
            RefusedError: the bytes are fewer, or not those of the digest; nothing stays.
        """
        assert self._file is not None
        if self._written != self._size:
            message = f"the body has {self._written} of the {self._size} bytes announced: send it again"
            raise RefusedError(400, "truncated", message)
        if self._hash.hexdigest() != self._digest:
            raise RefusedError(400, "wrong-digest", "the body is not what its digest says: send it again")
        os.fsync(self._file.fileno())
        _make_folder(self._final.parent)
        self._temporary.rename(self._final)
        _sync(self._final.parent)


def _make_folder(folder: Path) -> None:
    """Make a folder and the one above it, durably."""
    if not folder.exists():
        if not folder.parent.exists():
            folder.parent.mkdir(exist_ok=True, mode=0o700)
            _sync(folder.parent.parent)
        folder.mkdir(exist_ok=True, mode=0o700)
        _sync(folder.parent)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
