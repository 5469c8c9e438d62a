"""Who is calling: request signatures, nonces seen, and how often anyone may call. Who may what is the sequencer's."""

import threading
import time
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.exc import IntegrityError

from sealstat.crypto.cards import InstanceCard, PartyCard, parse_card, unb64
from sealstat.host import store as tables
from sealstat.host.errors import RefusedError
from sealstat.host.store import Store
from sealstat.wire.signing import SKEW_S, WINDOW_S

_FORGET_EVERY_S = 60
_MAX_BUCKETS = 100_000


class Cards:
    """The cards the host knows: admitted ones, and those in force in an agreement."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def key_of(self, fingerprint: str) -> Ed25519PublicKey | None:
        """The Ed25519 key of a card that is known and valid now."""
        with self._store.reading() as connection:
            data = _known_card(connection, fingerprint)
        if data is None:
            return None
        card = parse_card(data)
        if isinstance(card, PartyCard) and not card.valid.covers(datetime.now(UTC)):
            return None
        if not isinstance(card, PartyCard | InstanceCard):
            return None
        return signing_key(card)


def signing_key(card: PartyCard | InstanceCard) -> Ed25519PublicKey:
    """The key that signs a card's requests."""
    return Ed25519PublicKey.from_public_bytes(unb64(card.keys.ed25519))


def _known_card(connection: Connection, fingerprint: str) -> bytes | None:
    cards, admitted = tables.cards.c, tables.admitted.c
    found = connection.execute(
        select(cards.card).where(cards.fingerprint == fingerprint, cards.in_force).limit(1)
    ).scalar_one_or_none()
    if found is None:
        found = connection.execute(
            select(admitted.card).where(admitted.fingerprint == fingerprint)
        ).scalar_one_or_none()
    return None if found is None else bytes(found)


class Nonces:
    """Remembers the nonces of good signatures for as long as the window accepts them, over restarts."""

    def __init__(self, store: Store) -> None:
        self._store, self._lock, self._next_forgetting = store, threading.Lock(), 0.0
        table = tables.nonces.c
        with store.reading() as connection:
            rows = connection.execute(select(table.fingerprint, table.nonce, table.until))
            self._seen = {(row.fingerprint, row.nonce): int(row.until) for row in rows}

    def spend(self, fingerprint: str, nonce: str, created: int) -> Future[None]:
        """Note a nonce; the future is done when it is on disk.

        A request that changes something waits for that. One that only reads need not: who repeats it after a
        crash within these milliseconds must already see its answer pass by.

        Raises:
            RefusedError: the nonce was spent before.
        """
        until = created + WINDOW_S + 2 * SKEW_S
        key = (fingerprint, nonce)
        with self._lock:
            if key in self._seen:
                raise RefusedError(401, "replayed", "this request was sent before: sign it afresh")
            self._seen[key] = until
        return self._store.submit(lambda connection: self._write(connection, key, until))

    def _write(self, connection: Connection, key: tuple[str, str], until: int) -> None:
        now = time.time()
        if now > self._next_forgetting:
            self._next_forgetting = now + _FORGET_EVERY_S
            connection.execute(delete(tables.nonces).where(tables.nonces.c.until < int(now)))
            with self._lock:
                self._seen = {key: end for key, end in self._seen.items() if end >= now}
        try:
            connection.execute(insert(tables.nonces).values(fingerprint=key[0], nonce=key[1], until=until))
        except IntegrityError as error:
            raise RefusedError(401, "replayed", "this request was sent before: sign it afresh") from error


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float
    open: int = 0


class Rates:
    """Token buckets by card or address; not thread-safe, for the event loop alone."""

    def __init__(self, *, per_s: float, burst: int, open_calls: int) -> None:
        self._per_s, self._burst, self._open_calls = per_s, burst, open_calls
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, who: str, *, now: float) -> None:
        """Count one request.

        Raises:
            RefusedError: too many.
        """
        bucket = self._bucket(who, now)
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.at) * self._per_s)
        bucket.at = now
        if bucket.tokens < 1:
            raise RefusedError(429, "too-many", "too many requests: wait a second")
        bucket.tokens -= 1

    def enter(self, who: str, *, now: float) -> None:
        """Count one request as being answered.

        Raises:
            RefusedError: too many at once.
        """
        bucket = self._bucket(who, now)
        if bucket.open >= self._open_calls:
            raise RefusedError(429, "too-many", "too many requests of this card are open: await some")
        bucket.open += 1

    def leave(self, who: str) -> None:
        """The request is answered."""
        if who in self._buckets:
            self._buckets[who].open -= 1

    def _bucket(self, who: str, now: float) -> _Bucket:
        bucket = self._buckets.get(who)
        if bucket is None:
            if len(self._buckets) >= _MAX_BUCKETS:
                self._drop_idle()
            bucket = self._buckets[who] = _Bucket(self._burst, now)
        self._buckets.move_to_end(who)
        return bucket

    def _drop_idle(self) -> None:
        for who, bucket in self._buckets.items():
            if bucket.open == 0:
                del self._buckets[who]
                return


__all__ = ["Cards", "Nonces", "Rates", "signing_key"]
