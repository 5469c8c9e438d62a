"""What a party remembers: the log it has read, what it has sent, its secrets, what its agent did and why.

One SQLite file in the party's home. Secrets in it are encrypted under the home's master key; destroying one
overwrites its page (secure_delete) and truncates the journal. What a disk keeps of old blocks is out of reach of
any program: put the home on an encrypted disk (docs/operations.md).
"""

import json
import secrets
import sqlite3
import threading
from collections.abc import Container, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sealstat.agreement.model import Agreement
from sealstat.agreement.statements import parse_body
from sealstat.crypto import statement as envelopes
from sealstat.crypto.canonical import encode
from sealstat.crypto.cards import HostCard
from sealstat.crypto.derive import subkey
from sealstat.crypto.statement import Statement
from sealstat.log.merkle import Frontier
from sealstat.party.errors import PartyError
from sealstat.wire.follow import Progress

_BUSY_S = 10.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS place (agreement TEXT PRIMARY KEY, size INTEGER, frontier TEXT, note BLOB);
CREATE TABLE IF NOT EXISTS said (agreement TEXT, leaf INTEGER, id TEXT, type TEXT, envelope BLOB,
    PRIMARY KEY (agreement, leaf));
CREATE TABLE IF NOT EXISTS chain (agreement TEXT, place INTEGER, envelope BLOB, PRIMARY KEY (agreement, place));
CREATE TABLE IF NOT EXISTS secret (kind TEXT, ref TEXT, sealed BLOB, PRIMARY KEY (kind, ref));
CREATE TABLE IF NOT EXISTS outbox (id TEXT PRIMARY KEY, agreement TEXT, envelope BLOB, state TEXT, sent_at TEXT);
CREATE TABLE IF NOT EXISTS act (n INTEGER PRIMARY KEY, at TEXT, agreement TEXT, what TEXT, why TEXT);
CREATE TABLE IF NOT EXISTS fact (kind TEXT, ref TEXT, value TEXT, PRIMARY KEY (kind, ref));
"""


@dataclass(frozen=True, slots=True)
class LogTerms:
    """Whose word counts about a log, by an agreement that a party knows.

    Attributes:
        host: its card, with the log's key and origin.
        cosigners: verifier keys of the witnesses.
    """

    host: HostCard
    cosigners: tuple[str, ...]


def held_checkpoints(home: Path) -> list[tuple[LogTerms, bytes]]:
    """The checkpoints that a party trusts, the largest first, with the terms of their agreements; needs no passphrase.

    Raises:
        PartyError: the ledger cannot be read.
    """
    query = "SELECT envelope, note FROM place JOIN chain USING (agreement) WHERE chain.place = 0 ORDER BY size DESC"
    try:
        with closing(sqlite3.connect(f"{(home / 'party.db').absolute().as_uri()}?mode=ro", uri=True)) as db:
            rows = db.execute(query).fetchall()
    except sqlite3.Error as error:
        raise PartyError(f"the ledger in {home} cannot be read: {error}") from error
    held = []
    for envelope, note in rows:
        terms = parse_body(envelopes.parse(envelope))
        assert isinstance(terms, Agreement)
        cosigners = tuple(card.cosigner for card in terms.witnesses.cards)
        held.append((LogTerms(terms.host.card, cosigners), bytes(note)))
    return held


class Ledger:
    """The party's memory; several processes may use it at once, and one at a time writes."""

    def __init__(self, path: Path, master: bytes) -> None:
        self._cipher = AESGCM(subkey(master, "secrets"))
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
        path.chmod(0o600)
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._db.execute(query, values).fetchall()

    # -- the log, as far as it was read (wire.follow.Memory) -----------------------------------------------------

    def load(self, agreement: str) -> tuple[Progress | None, list[tuple[int, str, str, bytes]]]:
        """The place reached in the log, and the agreement's statements up to there."""
        with self._lock:
            found = self._rows("SELECT size, frontier, note FROM place WHERE agreement = ?", agreement)
            if not found:
                return None, []
            size, frontier, note = found[0]
            read = self._rows(
                "SELECT leaf, id, type, envelope FROM said WHERE agreement = ? AND leaf < ? ORDER BY leaf",
                agreement,
                size,
            )
        return Progress(note, Frontier.from_json(json.loads(frontier))), [tuple(row) for row in read]

    def save(self, agreement: str, progress: Progress, read: list[tuple[int, str, str, bytes]]) -> None:
        """Add statements and move the place, forward only: another process may have read further."""
        with self._writing() as db:
            db.executemany(
                "INSERT OR IGNORE INTO said VALUES (?, ?, ?, ?, ?)", [(agreement, *statement) for statement in read]
            )
            db.execute(
                "INSERT INTO place VALUES (?, ?, ?, ?) ON CONFLICT (agreement) DO UPDATE SET "
                "size = excluded.size, frontier = excluded.frontier, note = excluded.note "
                "WHERE excluded.size >= place.size",
                (agreement, progress.frontier.size, json.dumps(progress.frontier.to_json()), progress.note),
            )

    def chain(self, agreement: str) -> list[Statement]:
        """The agreement and those it supersedes, if they were fetched before."""
        found = self._rows("SELECT envelope FROM chain WHERE agreement = ? ORDER BY place", agreement)
        return [envelopes.parse(envelope) for (envelope,) in found]

    def save_chain(self, agreement: str, chain: list[Statement]) -> None:
        """Remember an agreement and those it supersedes."""
        with self._writing() as db:
            rows = [(agreement, place, statement.to_bytes()) for place, statement in enumerate(chain)]
            db.executemany("INSERT OR IGNORE INTO chain VALUES (?, ?, ?)", rows)

    def agreements(self) -> list[str]:
        """The agreements this party knows, in the order it met them."""
        return [id for (id,) in self._rows("SELECT agreement FROM chain WHERE place = 0 ORDER BY rowid")]

    # -- secrets ------------------------------------------------------------------------------------------------

    def keep_secret(self, kind: str, ref: str, value: dict[str, Any]) -> None:
        """Store a secret, encrypted; on disk when this returns."""
        with self._writing() as db:
            db.execute("INSERT OR REPLACE INTO secret VALUES (?, ?, ?)", (kind, ref, self._seal(kind, ref, value)))

    def keep_first_secret(self, kind: str, ref: str, value: dict[str, Any]) -> bool:
        """Store a secret unless there is one already; whether it was stored. Two processes may try at once."""
        with self._writing() as db:
            row = (kind, ref, self._seal(kind, ref, value))
            return bool(db.execute("INSERT OR IGNORE INTO secret VALUES (?, ?, ?)", row).rowcount)

    def _seal(self, kind: str, ref: str, value: dict[str, Any]) -> bytes:
        nonce = secrets.token_bytes(12)
        return nonce + self._cipher.encrypt(nonce, encode(value), encode([kind, ref]))

    def secret(self, kind: str, ref: str) -> dict[str, Any] | None:
        """A secret, or None if it was never there or was destroyed."""
        found = self._rows("SELECT sealed FROM secret WHERE kind = ? AND ref = ?", kind, ref)
        if not found:
            return None
        try:
            plain = self._cipher.decrypt(found[0][0][:12], found[0][0][12:], encode([kind, ref]))
        except InvalidTag:
            raise PartyError("a secret in the party's ledger does not open: restore the home from a backup") from None
        return dict(json.loads(plain))

    def secret_refs(self, kind: str) -> list[str]:
        """For what there are secrets of a kind."""
        return [ref for (ref,) in self._rows("SELECT ref FROM secret WHERE kind = ? ORDER BY ref", kind)]

    def destroy_secret(self, kind: str, ref: str) -> bool:
        """Overwrite and forget a secret; whether there was one."""
        with self._writing() as db:
            gone = db.execute("DELETE FROM secret WHERE kind = ? AND ref = ?", (kind, ref)).rowcount
        deadline = monotonic() + _BUSY_S
        while True:  # SQLite does not wait by itself where another process copies the journal back just then
            with self._lock:
                busy, *_ = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if not busy:
                return bool(gone)
            if monotonic() > deadline:  # the journal still holds the page as it was
                raise PartyError("another program reads this party's ledger, so a key cannot be destroyed: end it")
            sleep(0.05)

    # -- what was sent ------------------------------------------------------------------------------------------

    def post(self, statement: Statement) -> None:
        """Write a statement down before it is sent."""
        with self._writing() as db:
            row = (statement.id, statement.frame.agreement or statement.id, statement.to_bytes(), "pending", None)
            db.execute("INSERT OR IGNORE INTO outbox VALUES (?, ?, ?, ?, ?)", row)

    def pending(self, agreement: str) -> list[Statement]:
        """What was written down and has, as far as this party has read, no leaf yet; oldest first."""
        found = self._rows(
            "SELECT envelope FROM outbox WHERE agreement = ? AND state = 'pending' ORDER BY rowid", agreement
        )
        return [envelopes.parse(envelope) for (envelope,) in found]

    def unread(self, agreement: str, read: Container[str]) -> list[tuple[Statement, bool]]:
        """What was written down and is not among the ids ``read``, and whether it is pending; oldest first.

        Another process may have read further and settled it: whoever judges by what it has read itself needs this.
        """
        found = self._rows("SELECT id, envelope, state FROM outbox WHERE agreement = ? ORDER BY rowid", agreement)
        return [(envelopes.parse(envelope), state == "pending") for id, envelope, state in found if id not in read]

    def settle(self, id: str) -> None:
        """A statement has its leaf."""
        with self._writing() as db:
            db.execute("UPDATE outbox SET state = 'logged' WHERE id = ?", (id,))

    # -- what was done, and small facts ---------------------------------------------------------------------------

    def act(self, what: str, why: str, *, agreement: str | None = None) -> None:
        """Note what the agent or a person did, and why, for the page. Never a key or a row."""
        with self._writing() as db:
            stamp = datetime.now(UTC).isoformat(timespec="seconds")
            db.execute("INSERT INTO act (at, agreement, what, why) VALUES (?, ?, ?, ?)", (stamp, agreement, what, why))

    def acts(self, limit: int = 200) -> list[tuple[str, str | None, str, str]]:
        """The newest acts first: time, agreement, what, why."""
        rows = self._rows("SELECT at, agreement, what, why FROM act ORDER BY n DESC LIMIT ?", limit)
        return [(at, agreement, what, why) for at, agreement, what, why in rows]

    def acts_since(self, n: int) -> list[tuple[str, str | None, str, str]]:
        """The acts after number n, newest first."""
        rows = self._rows("SELECT at, agreement, what, why FROM act WHERE n > ? ORDER BY n DESC", n)
        return [(at, agreement, what, why) for at, agreement, what, why in rows]

    def last_act(self) -> int:
        """The number of the newest act."""
        return int(self._rows("SELECT coalesce(max(n), 0) FROM act")[0][0])

    def fact(self, kind: str, ref: str) -> Any:
        """A small fact, or None."""
        found = self._rows("SELECT value FROM fact WHERE kind = ? AND ref = ?", kind, ref)
        return json.loads(found[0][0]) if found else None

    def facts(self, kind: str) -> dict[str, Any]:
        """All facts of a kind."""
        return {ref: json.loads(value) for ref, value in self._rows("SELECT ref, value FROM fact WHERE kind = ?", kind)}

    def note_fact(self, kind: str, ref: str, value: Any) -> None:
        """Write or replace a small fact."""
        with self._writing() as db:
            db.execute("INSERT OR REPLACE INTO fact VALUES (?, ?, ?)", (kind, ref, json.dumps(value)))

    def first_time(self, kind: str, ref: str, now: datetime) -> datetime:
        """When something was first noticed, by this party's clock; now, if it is the first time."""
        with self._writing() as db:
            db.execute("INSERT OR IGNORE INTO fact VALUES (?, ?, ?)", (kind, ref, json.dumps(now.isoformat())))
        return datetime.fromisoformat(self.fact(kind, ref))
