"""A running host behind its doors: who called, what is taken in, what is given out."""

import asyncio
import contextlib
import json
import logging
import time
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any, TypeVar

import httpx
from sqlalchemy import Connection, delete, insert, select
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from sealstat.agreement.statements import parse_body
from sealstat.crypto import statement as envelopes
from sealstat.crypto.cards import InstanceCard, PartyCard, fingerprint
from sealstat.crypto.errors import CryptoError, SignatureError
from sealstat.host import expiry, launches
from sealstat.host import store as tables
from sealstat.host.access import Cards, Nonces, Rates, signing_key
from sealstat.host.bell import Bell
from sealstat.host.blobs import CHUNK_BYTES, Blobs
from sealstat.host.bodies import announced_length, chunks
from sealstat.host.cosigning import Cosigning
from sealstat.host.errors import RefusedError, disk_full, means_disk_full, not_found
from sealstat.host.receipts import utc
from sealstat.host.sequencer import Sequencer, is_member, may_read
from sealstat.host.settings import Settings
from sealstat.host.setup import HostKeys
from sealstat.host.store import Store, add_usage, sqlite_url, used
from sealstat.log.errors import LogError
from sealstat.log.store import TileLog
from sealstat.wire.signing import KeyOf, SignedRequest, verify_request

T = TypeVar("T")

_LAUNCH_LOOK_S = 1.0

_log = logging.getLogger("sealstat.host")


class Host:
    """A running host: its files, its threads, and the checks that every door shares.

    Raises:
        HostError: the home's files do not fit together.
    """

    def __init__(
        self, settings: Settings, keys: HostKeys, client: httpx.AsyncClient, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.settings, self.keys = settings, keys
        limits = settings.limits
        self._loop = loop
        self.log = TileLog(settings.home / "log", keys.card.origin, keys.log_key)
        try:
            self.store = Store(settings.database or sqlite_url(settings.home), identity=keys.fingerprint)
            try:
                self.blobs = Blobs(settings.home / "blobs", floor_bytes=limits.disk_floor_bytes)
                self._repair_blobs()
                self.appended, self._expiring = Bell(), asyncio.Event()
                self.cosigning = Cosigning(self.log, settings, client=client)
                self.sequencer = Sequencer(self.store, self.log, keys, settings, on_append=self._on_append)
                self.cards, self.nonces = Cards(self.store), Nonces(self.store)
            except BaseException:
                self.store.close()
                raise
        except BaseException:
            self.log.close()
            raise
        self.rates = Rates(per_s=limits.requests_per_s, burst=limits.burst, open_calls=limits.open_calls)
        self._expiring.set()

    def close(self) -> None:
        """Finish writing, and release the files."""
        self.store.close()
        self.log.close()

    def stop_waiting(self) -> None:
        """Let long polls answer at once, so that the server can stop."""
        self.cosigning.release_waiters()
        self.appended.close()

    def interrupt(self) -> None:
        """The same, from a signal handler."""
        self._loop.call_soon_threadsafe(self.stop_waiting)

    def _on_append(self) -> None:
        def tell() -> None:
            self.appended.ring()
            self.cosigning.appended()

        with contextlib.suppress(RuntimeError):  # the loop has ended: the next start cosigns
            self._loop.call_soon_threadsafe(tell)

    def _repair_blobs(self) -> None:
        """Make table and files agree: a file without a row was never acknowledged, a row without one is a loss."""
        with self.store.reading() as connection:
            table = tables.blobs.c
            rows = {
                (row.agreement, row.digest): row
                for row in connection.execute(select(table.agreement, table.digest, table.size, table.by))
            }
        whole = set()
        for agreement, digest, size in self.blobs.files():
            row = rows.get((agreement, digest))
            if row is not None and row.size == size:
                whole.add((agreement, digest))
            else:
                self.blobs.remove(agreement, digest)
        lost = [row for key, row in rows.items() if key not in whole]

        def forget(connection: Connection) -> None:
            for row in lost:
                mine = (tables.blobs.c.agreement == row.agreement) & (tables.blobs.c.digest == row.digest)
                connection.execute(delete(tables.blobs).where(mine))
                add_usage(connection, row.agreement, row.by, blob_bytes=-row.size)

        if lost:
            _log.error("%d blobs are lost or damaged: their keepers must give them back", len(lost))
            self.store.submit(forget).result()

    # -- callers ---------------------------------------------------------------------------------------------

    async def authenticate(
        self, request: Request, *, own_card: InstanceCard | PartyCard | None = None
    ) -> SignedRequest:
        """Who signed a request, once.

        Args:
            own_card: of an instance that is about to register, or of a recovered party: known from nowhere else.
        Raises:
            RefusedError: not signed by a card known here, too old, seen before, or too often.
        """
        address = request.client.host if request.client else "-"
        url = self.settings.base + _target(request)
        fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw]
        key_of: KeyOf = self.cards.key_of
        if own_card is not None:
            key_of = {fingerprint(own_card): signing_key(own_card)}.get
        try:
            signed = await run_in_threadpool(
                verify_request, request.method, url, fields, key_of=key_of, now=datetime.now(UTC)
            )
        except SignatureError as error:
            self.rates.take(f"address {address}", now=time.monotonic())
            raise RefusedError(401, "not-signed", str(error)) from error
        self.rates.take(signed.fingerprint, now=time.monotonic())
        spent = self.nonces.spend(signed.fingerprint, signed.nonce, signed.created)
        if request.method not in {"GET", "HEAD"}:
            await done(spent)
        request.scope["sealstat.caller"] = signed.fingerprint[:8]
        return signed

    def check_launcher(self, request: Request) -> None:
        """Whether a request is the launcher's.

        Raises:
            RefusedError: it shows no token, or another.
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not self.keys.is_launcher(token):
            self.rates.take(f"address {request.client.host if request.client else '-'}", now=time.monotonic())
            raise RefusedError(401, "no-launcher", "this door is for the host's own launcher: show its token")

    async def member_only(self, agreement: str, caller: str, *, to_read: bool = False) -> None:
        """Check that a caller belongs to an agreement.

        Raises:
            RefusedError: it does not, or there is no such agreement: the same answer.
        """

        def look() -> bool:
            with self.store.reading() as connection:
                return (may_read if to_read else is_member)(connection, agreement, caller)

        if not await run_in_threadpool(look):
            raise not_found()

    # -- what the doors do -------------------------------------------------------------------------------------

    async def accept(self, data: bytes, caller: str) -> dict[str, Any]:
        """Check, store and log a statement; its receipt."""

        def check() -> envelopes.Statement:
            statement = envelopes.parse(data)
            parse_body(statement)
            return statement

        try:
            statement = await run_in_threadpool(check)
        except CryptoError as error:
            raise RefusedError(400, "malformed", f"the statement was not taken: {error}") from error
        receipt = await done(self.sequencer.accept(statement, caller=caller, now=datetime.now(UTC)))
        if statement.type in ("expiry", "kept", "run-record"):  # each may be what lets an older state go
            self._expiring.set()
        return {"receipt": json.loads(receipt)}

    async def receive_blob(self, request: Request, agreement: str, digest: str, caller: str) -> int:
        """Take a blob in; its size."""
        limits = self.settings.limits
        size = announced_length(request, limits.part_bytes)
        if size is None:
            raise RefusedError(411, "no-length", "a blob needs a content-length")
        if await run_in_threadpool(self.blob_size, agreement, digest) is not None:
            async for _ in chunks(request, size, limits):
                pass  # it is here: what comes is read, so that the connection stays in use
            return size
        with self.store.reading() as connection:
            _, stored = used(connection, agreement, caller)
        if stored + size > limits.blob_quota_bytes:
            raise RefusedError(413, "quota", "this card has no room left for blobs under this agreement")
        upload = self.blobs.receive(agreement, digest, size)
        with upload:
            gathered = bytearray()
            async for chunk in chunks(request, size, limits):
                gathered += chunk
                if len(gathered) >= CHUNK_BYTES:
                    await run_in_threadpool(upload.write, bytes(gathered))
                    gathered.clear()
            await run_in_threadpool(upload.write, bytes(gathered))
            await run_in_threadpool(upload.finish)
        now = utc(datetime.now(UTC))

        def note(connection: Connection) -> None:
            mine = (tables.blobs.c.agreement == agreement) & (tables.blobs.c.digest == digest)
            if connection.execute(select(tables.blobs.c.size).where(mine)).first() is None:
                connection.execute(
                    insert(tables.blobs).values(agreement=agreement, digest=digest, size=size, by=caller, stored=now)
                )
                add_usage(connection, agreement, caller, blob_bytes=size)

        await done(self.store.submit(note))
        return size

    def blob_size(self, agreement: str, digest: str) -> int | None:
        """The size of a blob that is here, row and file, else None."""
        mine = (tables.blobs.c.agreement == agreement) & (tables.blobs.c.digest == digest)
        with self.store.reading() as connection:
            size = connection.execute(select(tables.blobs.c.size).where(mine)).scalar_one_or_none()
        return size if size is not None and self.blobs.has(agreement, digest, size) else None

    def missing_blobs(self, agreement: str, digests: list[str]) -> list[str]:
        """Which of some blobs are not here, in the order asked."""
        found: set[str] = set()
        with self.store.reading() as connection:
            for start in range(0, len(digests), 500):
                some = digests[start : start + 500]
                mine = (tables.blobs.c.agreement == agreement) & tables.blobs.c.digest.in_(some)
                for row in connection.execute(select(tables.blobs.c.digest, tables.blobs.c.size).where(mine)):
                    if self.blobs.has(agreement, row.digest, row.size):
                        found.add(row.digest)
        return [digest for digest in digests if digest not in found]

    async def next_launch(self, seconds: float) -> launches.Launch | None:
        """Wait for a request that needs an instance, at most so long."""
        until = time.monotonic() + seconds
        while True:
            launch = await done(
                self.sequencer.inspect(
                    lambda connection, views: launches.claim(
                        connection, views, now=datetime.now(UTC), lease_s=self.settings.lease_s
                    )
                )
            )
            left = until - time.monotonic()
            if launch is not None or left <= 0 or self.appended.closed:
                return launch
            await self.appended.wait(min(left, _LAUNCH_LOOK_S))  # backoffs and leases end without a ring

    async def delete_expired(self) -> None:
        """Delete the ciphertext of expired deliveries and say so in the log, until cancelled."""
        while True:
            await self._expiring.wait()
            self._expiring.clear()
            try:
                found = await done(self.sequencer.inspect(lambda _, views: expiry.dead_ciphertexts(views)))
                for expired in found:
                    await self._delete(expired)
            except (RefusedError, OSError, LogError) as error:
                _log.warning("a dead ciphertext was not deleted yet: %s", type(error).__name__)
                self._loop.call_later(60.0, self._expiring.set)

    async def _delete(self, expired: expiry.Expired) -> None:
        digests = await run_in_threadpool(expiry.digests_to_delete, self.blobs, expired)
        gone = await done(self.store.submit(lambda connection: expiry.delete_rows(connection, expired, digests)))
        for digest in gone:
            await run_in_threadpool(self.blobs.remove, expired.agreement, digest)
        statement = envelopes.sign(
            self.keys.signer,
            type="deleted",
            by=self.keys.fingerprint,
            agreement=expired.agreement,
            body=dict(expired.of),
            at=datetime.now(UTC),
        )
        await self.accept(statement.to_bytes(), self.keys.fingerprint)


async def done(future: Future[T]) -> T:
    """Await a future of the writing thread; what it stands for goes on if the caller leaves.

    Raises:
        RefusedError: also for a full disk.
    """
    try:
        return await asyncio.shield(asyncio.wrap_future(future))
    except RefusedError:
        raise
    except Exception as error:
        if means_disk_full(error):
            raise disk_full() from error
        raise


def _target(request: Request) -> str:
    """Path and query exactly as they came in."""
    raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    query: bytes = request.scope.get("query_string", b"")
    return (raw + (b"?" + query if query else b"")).decode("latin-1")
