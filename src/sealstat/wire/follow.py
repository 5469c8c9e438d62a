"""Following a log: every leaf since the last checkpoint, every statement of one agreement among them.

This is the *replay* of protocol.md section 3, for parties and enclave instances alike. What the leaves mean is
decided in agreement/replay.py; here is only how they are fetched, and what is checked before any of it counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sealstat.agreement import statements as bodies
from sealstat.agreement.model import Agreement
from sealstat.agreement.periods import seconds
from sealstat.agreement.replay import ReplayError, View
from sealstat.crypto import statement as envelopes
from sealstat.crypto.errors import CryptoError
from sealstat.crypto.statement import Statement
from sealstat.log.checkpoint import Checkpoint, VerifiedCheckpoint, verify_checkpoint
from sealstat.log.errors import LogError
from sealstat.log.merkle import Frontier, leaf_hash, verify_consistency
from sealstat.log.note import VerifierKey, parse_verifier_key
from sealstat.log.reader import LogReader
from sealstat.wire.client import MAX_READ, HostClient

_MAX_VERSIONS = 64
_STEP = 32_768


class StaleError(Exception):
    """The newest checkpoint is not fresh enough for a caller with a clock: host or witnesses are silent."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What a follower must remember to go on where it stopped: its place in the log and the note it trusts."""

    note: bytes
    frontier: Frontier


class Memory(Protocol):
    """Where a follower keeps what it read; a party's on disk, an instance's nowhere."""

    def load(self, agreement: str) -> tuple[Progress | None, list[tuple[int, str, str, bytes]]]:
        """The place reached, and the statements read so far: (leaf, id, type, envelope)."""

    def save(self, agreement: str, progress: Progress, read: list[tuple[int, str, str, bytes]]) -> None:
        """Add statements and move the place, in one step."""


def fetch_chain(client: HostClient, agreement: str) -> list[Statement]:
    """An agreement's statement and those it supersedes, newest first, each the one its id names.

    Raises:
        MissingError: the host does not give one of them.
        CryptoError: one is not what its id says.
    """
    chain: list[Statement] = []
    wanted: str | None = agreement
    while wanted is not None:
        statement = envelopes.parse(client.statement(wanted))
        body = bodies.parse_body(statement)
        if statement.id != wanted or not isinstance(body, Agreement) or len(chain) >= _MAX_VERSIONS:
            raise ReplayError(f"the host gave something else than agreement {wanted[:16]}…")
        chain.append(statement)
        wanted = body.supersedes
    return chain


class Follower:
    """One reader's view of one agreement, kept in step with the log."""

    def __init__(self, client: HostClient, chain: list[Statement], memory: Memory | None = None) -> None:
        self.client = client
        self.view = View(chain)
        self.checkpoint: VerifiedCheckpoint | None = None
        self._memory = memory
        self._frontier = Frontier()
        self._reader = LogReader(client.log_file)
        self._read: list[tuple[int, str, str, bytes]] = []
        if memory is not None:
            self._remember(memory)

    @property
    def log_key(self) -> VerifierKey:
        """The key that signs the log's checkpoints."""
        return parse_verifier_key(self.view.agreement.host.card.log_key)

    def verify_note(self, note: bytes) -> VerifiedCheckpoint:
        """A checkpoint with the log's signature and the agreement's quorum of witnesses.

        Raises:
            LogError: anything else.
        """
        agreement = self.view.agreement
        return verify_checkpoint(
            note,
            log_key=self.log_key,
            witnesses=[parse_verifier_key(card.cosigner) for card in agreement.witnesses.cards],
            quorum=agreement.witnesses.quorum,
            origin=agreement.host.card.origin,
        )

    def update(self, *, now: datetime | None = None, at_least: int = 0) -> bool:
        """Read on to the newest checkpoint; whether there was anything new.

        Args:
            now: the caller's clock, if it has one: a checkpoint then counts only while a quorum of its
                cosignatures is younger than the agreement's checkpoint age.
            at_least: a size that the checkpoint must have reached.
        Raises:
            LogError: the log forked, shrank, or gives other leaves than its checkpoint says.
            ReplayError: a statement is missing or of unknown type.
            StaleError: the checkpoint is too old or too small.
        """
        newest = self.verify_note(self.client.log_file("checkpoint"))
        if now is not None:
            age_s = seconds(self.view.agreement.witnesses.checkpoint_age)
            fresh = newest.younger_than(age_s, now=int(now.timestamp()))
            if fresh < self.view.agreement.witnesses.quorum:
                raise StaleError(f"the newest checkpoint is older than {age_s} s: the host or its witnesses are silent")
        if self.checkpoint is not None:
            self._check_grown(self.checkpoint, newest)
        size = self.view.size
        self._read_to(newest)
        if newest.checkpoint.size < at_least:
            raise StaleError(f"the log has {newest.checkpoint.size} entries, others have seen {at_least}")
        return self.view.size > size

    def consistent(self, note: bytes) -> VerifiedCheckpoint:
        """Somebody else's checkpoint, verified and consistent with what was read here.

        Raises:
            LogError: it is not; somebody was shown another log.
        """
        theirs = self.verify_note(note)
        assert self.checkpoint is not None
        if theirs.checkpoint.size > self.checkpoint.checkpoint.size:
            raise StaleError("the checkpoint is newer than what was read here")
        self._reader.consistency(theirs, self.checkpoint)
        return theirs

    def inclusion(self, index: int, leaf: bytes) -> list[bytes]:
        """A verified inclusion proof of a leaf hash in the newest checkpoint."""
        assert self.checkpoint is not None
        return self._reader.inclusion_proof(index, leaf, self.checkpoint.checkpoint)

    def consistency_proof(self, old: Checkpoint) -> list[bytes]:
        """A verified proof that the newest checkpoint is an older one grown."""
        assert self.checkpoint is not None
        newest = self.checkpoint.checkpoint
        proof = self._reader.tree(newest.size).consistency_proof(old.size)
        verify_consistency(old.size, newest.size, old.root, newest.root, proof)
        return proof

    def _check_grown(self, old: VerifiedCheckpoint, new: VerifiedCheckpoint) -> None:
        if new.checkpoint.size <= old.checkpoint.size:  # rollback and split view; growth is proven by the leaves
            self._reader.consistency(old, new)

    def _read_to(self, newest: VerifiedCheckpoint) -> None:
        """(1) All leaves, proven by the root; (2) only then their statements, in order, nothing skipped."""
        target, frontier = newest.checkpoint, self._frontier
        entries: list[bytes] = []
        if target.size - frontier.size <= _STEP:
            try:
                entries, after = self._reader.replay(frontier, target)
            except LogError:
                if self.checkpoint is not None:
                    self._reader.consistency(self.checkpoint, newest)  # says so if the log itself forked
                raise
        else:  # a long way: in pieces, each proven by hash tiles
            for piece in self._reader.stream(frontier.size, target, chunk=4096):
                entries += piece
            after = frontier.append(leaf_hash(entry) for entry in entries)
            if after.root() != target.root:
                raise LogError("the log's leaves do not lead from what was read before to its checkpoint")
        self.checkpoint = newest
        try:
            for start in range(0, len(entries), MAX_READ):
                piece = entries[start : start + MAX_READ]
                wanted = [found[0] for entry in piece if (found := self.view.concerns(entry))]
                given = dict(zip(wanted, self.client.statements(wanted), strict=True))
                for entry in piece:
                    self._take(entry, given)
                    self._frontier = self._frontier.append([leaf_hash(entry)])
        finally:
            if self._memory is not None:
                self._memory.save(self.view.id, Progress(newest.note, self._frontier), self._read)
            self._read = []

    def _take(self, entry: bytes, given: Mapping[str, bytes | None]) -> None:
        found = self.view.concerns(entry)
        if found is None:
            self.view.skip()
            return
        id, type = found
        index = self.view.size
        envelope = given[id]
        if envelope is not None and _of_another_leaf(envelope, id, entry):
            envelope = None  # a body under another leaf does not count (section 2)
        self.view.add(id, type, envelope)
        if envelope is not None:
            self._read.append((index, id, type, envelope))

    def _remember(self, memory: Memory) -> None:
        progress, read = memory.load(self.view.id)
        if progress is None:
            return
        for index, id, type, envelope in read:
            self.view.size = index
            self.view.add(id, type, envelope)
        self.view.size = progress.frontier.size
        self._frontier = progress.frontier
        self.checkpoint = self.verify_note(progress.note)


def _of_another_leaf(envelope: bytes, id: str, entry: bytes) -> bool:
    """Whether this is the statement that was asked for, logged under another agreement or type than its own."""
    try:
        statement = envelopes.parse(envelope)
    except CryptoError:
        return False  # the view says what is wrong with it
    return statement.id == id and statement.leaf != entry
