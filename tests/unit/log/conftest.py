"""A small log with its keys, for the tests of this room."""

import hashlib
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealstat.log.checkpoint import Checkpoint, verify_checkpoint
from sealstat.log.errors import MissingTileError
from sealstat.log.merkle import leaf_hash, root
from sealstat.log.note import Cosigner, LogSigner, add_signatures, sign_note
from sealstat.log.tiles import encode_bundle, new_tiles

ORIGIN = "unit.example/log"


def private(what):
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(what.encode()).digest())


@dataclass
class MemoryLog:
    """An in-memory log that can lie: its files are a dict that a test may change."""

    entries: list
    signer: LogSigner

    def __post_init__(self):
        self.files = {}
        self.fetched = []
        leaves = [leaf_hash(entry) for entry in self.entries]
        for tile in new_tiles(0, len(self.entries)):
            if tile.level == "entries":
                span = slice(tile.index * 256, tile.index * 256 + tile.width)
                self.files[tile.path] = encode_bundle(self.entries[span])
            else:
                step = 256**tile.level
                first = tile.index * 256
                self.files[tile.path] = b"".join(
                    root(leaves[(first + i) * step : (first + i + 1) * step]) for i in range(tile.width)
                )

    def fetch(self, path):
        self.fetched.append(path)
        if path not in self.files:
            raise MissingTileError(path)
        return self.files[path]

    def checkpoint(self, size=None):
        taken = self.entries[:size]
        return Checkpoint(ORIGIN, len(taken), root([leaf_hash(entry) for entry in taken]))

    def verified(self, size=None, times=()):
        return self.verify(sign_note(self.checkpoint(size).serialise(), self.signer), times)

    def verify(self, note, times=()):
        text = note.decode().rpartition("\n\n")[0] + "\n"
        cosigners = [Cosigner(f"w{i}.example", private(f"w{i}")) for i in range(len(times))]
        for cosigner, time in zip(cosigners, times, strict=True):
            note = add_signatures(note, [cosigner.sign(text, timestamp=time)], [cosigner.verifier])
        return verify_checkpoint(
            note,
            log_key=self.signer.verifier,
            witnesses=[cosigner.verifier for cosigner in cosigners],
            quorum=len(times),
        )


@pytest.fixture
def make_log():
    """A function from entries (or their number) to a ``MemoryLog``; all share one key."""

    def make(entries):
        if isinstance(entries, int):
            entries = [b"entry %d" % i for i in range(entries)]
        return MemoryLog(entries, LogSigner(ORIGIN, private("log")))

    return make
