"""The host's database: one schema for SQLite and PostgreSQL, and one thread that writes.

Everything that must survive goes through ``Store.submit``. The writing thread commits what has gathered in one
transaction, so that a hundred callers share the price of one fsync, and answers them only when it is on disk.
"""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Engine,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    func,
    insert,
    select,
    update,
)

from sealstat.host.errors import HostError

T = TypeVar("T")

SCHEMA_VERSION = "1"
_BATCH = 256
_ID = String(64)

metadata = MetaData()

meta = Table("meta", metadata, Column("key", String(64), primary_key=True), Column("value", String(512)))

admitted = Table(
    "admitted",
    metadata,
    Column("fingerprint", _ID, primary_key=True),
    Column("card", LargeBinary, nullable=False),
)
"""Cards whose holders may propose agreements, as the operator decided."""

agreements = Table(
    "agreements",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("supersedes", _ID, nullable=True),
    Column("merge_delay_s", Integer, nullable=False),
)

cards = Table(
    "cards",
    metadata,
    Column("agreement", _ID, primary_key=True),
    Column("fingerprint", _ID, primary_key=True, index=True),
    Column("kind", String(16), nullable=False),
    Column("name", _ID, nullable=False),
    Column("card", LargeBinary, nullable=False),
    Column("in_force", Boolean, nullable=False),
)
"""Who belongs to an agreement: its parties by the cards in force, its instances since they registered."""

statements = Table(
    "statements",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("leaf_index", BigInteger, nullable=False, unique=True),
    Column("agreement", _ID, nullable=False),
    Column("type", String(32), nullable=False),
    Column("by", _ID, nullable=False),
    Column("envelope", LargeBinary, nullable=False),
    Column("size", Integer, nullable=False),
    Column("received", String(20), nullable=False),
    Column("receipt", LargeBinary, nullable=False),
)
"""Statements in the order of the log: a row is written before its leaf, so it is also the log's journal."""

Index("statements_by_agreement", statements.c.agreement, statements.c.leaf_index)

usage = Table(
    "usage",
    metadata,
    Column("agreement", _ID, primary_key=True),
    Column("fingerprint", _ID, primary_key=True),
    Column("statement_bytes", BigInteger, nullable=False),
    Column("blob_bytes", BigInteger, nullable=False),
)

blobs = Table(
    "blobs",
    metadata,
    Column("agreement", _ID, primary_key=True),
    Column("digest", _ID, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("by", _ID, nullable=False),
    Column("stored", String(20), nullable=False),
)
"""A row is written after its file: a file without a row was never acknowledged."""

nonces = Table(
    "nonces",
    metadata,
    Column("fingerprint", _ID, primary_key=True),
    Column("nonce", _ID, primary_key=True),
    Column("until", BigInteger, nullable=False, index=True),
)

launches = Table(
    "launches",
    metadata,
    Column("door", _ID, primary_key=True),  # SHA-256 of the token: who reads the database opens no door
    Column("agreement", _ID, nullable=False),
    Column("request", _ID, nullable=False, index=True),
    Column("started", Float, nullable=False),
    Column("lease_until", Float, nullable=False),
    Column("ended", Float, nullable=True),
    Column("code", Integer, nullable=True),
    Column("instance", _ID, nullable=True),
)


@dataclass(slots=True)
class _Job:
    work: Callable[[Connection], Any]
    after: Callable[[], None] | None
    future: Future[Any]
    result: Any = None


class Store:
    """The database, open for reading by any thread and for writing through :meth:`submit`.

    Args:
        url: SQLAlchemy URL.
        identity: fingerprint of the host's card; a database made for another host is refused.
    """

    def __init__(self, url: str, *, identity: str) -> None:
        self._readers = _engine(url, "BEGIN", pool_size=8, max_overflow=64)
        self._writer = _engine(url, "BEGIN IMMEDIATE", pool_size=1, max_overflow=0)
        self.on_rollback: Callable[[], None] = lambda: None
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        with self._writer.begin() as connection:
            metadata.create_all(connection)
            self._recognise(connection, identity)
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    @staticmethod
    def _recognise(connection: Connection, identity: str) -> None:
        found: dict[str, str] = {row.key: row.value for row in connection.execute(select(meta))}
        if not found:
            rows = [{"key": "schema", "value": SCHEMA_VERSION}, {"key": "host", "value": identity}]
            connection.execute(insert(meta), rows)
        elif found.get("schema") != SCHEMA_VERSION:
            raise HostError("the database was written by another version of the host: use that one, or migrate it")
        elif found.get("host") != identity:
            raise HostError("the database belongs to another host's card: check the home and the database url")

    def reading(self) -> AbstractContextManager[Connection]:
        """A connection to read from, for a ``with`` block."""
        return self._readers.begin()

    def submit(self, work: Callable[[Connection], T], *, after: Callable[[], None] | None = None) -> Future[T]:
        """Have the writing thread do ``work``; the result comes when it is durable.

        Args:
            work: runs in a savepoint of its own; if it raises, only this work is undone.
            after: runs once for the batch behind the commit, before the result is given out; if it raises, so
                does the future, although the work is committed.
        """
        future: Future[T] = Future()
        self._jobs.put(_Job(work, after, future))
        return future

    def close(self) -> None:
        """Finish what was submitted, and close."""
        self._jobs.put(None)
        self._thread.join()
        self._writer.dispose()
        self._readers.dispose()

    def _run(self) -> None:
        while True:
            first = self._jobs.get()
            batch = [first]
            while len(batch) < _BATCH and batch[-1] is not None:
                try:
                    batch.append(self._jobs.get_nowait())
                except queue.Empty:
                    break
            self._commit([job for job in batch if job is not None])
            if batch[-1] is None:
                return

    def _commit(self, batch: list[_Job]) -> None:
        failed: dict[int, BaseException] = {}
        try:
            with self._writer.begin() as connection:
                for number, job in enumerate(batch):
                    try:
                        with connection.begin_nested():
                            job.result = job.work(connection)
                    except Exception as error:  # noqa: BLE001 - it goes to whoever asked
                        failed[number] = error
        except Exception as error:  # noqa: BLE001
            self.on_rollback()
            failed = {number: failed.get(number, error) for number in range(len(batch))}
        behind: dict[Callable[[], None], BaseException | None] = {}
        for number, job in enumerate(batch):
            if job.after is not None and number not in failed:
                if job.after not in behind:
                    behind[job.after] = _outcome(job.after)
                behind_error = behind[job.after]
                if behind_error is not None:
                    failed[number] = behind_error
        for number, job in enumerate(batch):
            if number in failed:
                job.future.set_exception(failed[number])
            else:
                job.future.set_result(job.result)


def _outcome(action: Callable[[], None]) -> BaseException | None:
    try:
        action()
    except Exception as error:  # noqa: BLE001 - it goes to whoever asked
        return error
    return None


def sqlite_url(home: Path) -> str:
    """The default database of a home."""
    return f"sqlite:///{home / 'host.db'}"


def add_usage(
    connection: Connection, agreement: str, fingerprint: str, *, statement_bytes: int = 0, blob_bytes: int = 0
) -> None:
    """Count what a card stored under an agreement."""
    mine = (usage.c.agreement == agreement) & (usage.c.fingerprint == fingerprint)
    changed = connection.execute(
        update(usage)
        .where(mine)
        .values(
            statement_bytes=usage.c.statement_bytes + statement_bytes,
            blob_bytes=usage.c.blob_bytes + blob_bytes,
        )
    )
    if changed.rowcount == 0:
        connection.execute(
            insert(usage).values(
                agreement=agreement,
                fingerprint=fingerprint,
                statement_bytes=statement_bytes,
                blob_bytes=blob_bytes,
            )
        )


def used(connection: Connection, agreement: str, fingerprint: str) -> tuple[int, int]:
    """(statement bytes, blob bytes) that a card stored under an agreement."""
    mine = (usage.c.agreement == agreement) & (usage.c.fingerprint == fingerprint)
    row = connection.execute(select(usage.c.statement_bytes, usage.c.blob_bytes).where(mine)).one_or_none()
    return (0, 0) if row is None else (row[0], row[1])


def next_index(connection: Connection) -> int:
    """The leaf index that the next statement gets."""
    last = connection.execute(select(func.max(statements.c.leaf_index))).scalar_one()
    return 0 if last is None else int(last) + 1


def _engine(url: str, begin: str, **pool: int) -> Engine:
    # no parameters in error messages: they are what parties sent
    engine = create_engine(url, hide_parameters=True, **pool)
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def configure(connection: Any, _: Any) -> None:
            connection.isolation_level = None  # we say BEGIN ourselves, or savepoints would not nest in it
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000", "foreign_keys=ON"):
                connection.execute(f"PRAGMA {pragma}")

        @event.listens_for(engine, "begin")
        def begin_transaction(connection: Connection) -> None:
            connection.exec_driver_sql(begin)

    return engine
