"""One order for all statements: checked, written down with their place, then appended to the log.

The database row comes first and carries the leaf index; the log follows. So a kill between the two loses nothing:
at the next start (or the next append, after a full disk) the rows beyond the log's end are appended as they stand.
What the replaying parties would choke on (a body that is unsigned, or by nobody's card) never becomes a leaf: the
same ``View`` that they use judges every statement here, in the same order.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Connection, Row, delete, insert, select, update

from sealstat.agreement.model import Agreement
from sealstat.agreement.periods import seconds
from sealstat.agreement.replay import ReplayError, View
from sealstat.agreement.statements import Replacement, parse_body
from sealstat.crypto import canonical
from sealstat.crypto import statement as envelopes
from sealstat.crypto.cards import PartyCard, fingerprint
from sealstat.crypto.errors import CryptoError
from sealstat.crypto.statement import Statement
from sealstat.host import store as tables
from sealstat.host.errors import HostError, RefusedError, not_found
from sealstat.host.receipts import make_receipt, utc
from sealstat.host.settings import Settings
from sealstat.host.setup import HostKeys
from sealstat.host.store import Store, add_usage, next_index, used
from sealstat.log.store import MAX_BATCH_ENTRIES, TileLog

INSTANCE_TYPES = frozenset({"enclave-evidence", "run-record", "refusal"})
_CHECKED_LEAVES = 4096
_MAX_CHAIN = 64

T = TypeVar("T")

_log = logging.getLogger("sealstat.host")


class Sequencer:
    """Accepts statements. Its views live in the store's writing thread alone.

    Args:
        log: open for writing; the store's journal decides what stands in it.
        on_append: called from the writing thread whenever the log has grown.
    Raises:
        HostError: database and log do not fit together.
    """

    def __init__(
        self, store: Store, log: TileLog, keys: HostKeys, settings: Settings, *, on_append: Callable[[], None]
    ) -> None:
        self._store, self._log, self._keys, self._settings = store, log, keys, settings
        self._on_append = on_append
        self._views: dict[str, View] = {}
        store.on_rollback = self._views.clear
        self._repair()

    # -- accepting -------------------------------------------------------------------------------------------

    def accept(self, statement: Statement, *, caller: str, now: datetime) -> Future[bytes]:
        """Take a statement whose form was parsed; the receipt comes when it is stored and in the log.

        Args:
            caller: fingerprint that signed the request; it may hand in what somebody else signed.
        Raises:
            RefusedError: (in the future) who may not say this here, or what would stop a replay.
        """
        return self._store.submit(lambda connection: self._accept(connection, statement, caller, now), after=self.flush)

    def inspect(self, look: Callable[[Connection, Iterable[View]], T]) -> Future[T]:
        """Have the writing thread look at the views of all agreements, or write beside them."""
        return self._store.submit(lambda connection: look(connection, self._all_views(connection)))

    def _accept(self, connection: Connection, statement: Statement, caller: str, now: datetime) -> bytes:
        agreement = statement.frame.agreement or statement.id
        terms = self._check_caller(connection, statement, agreement, caller)
        known = connection.execute(
            select(tables.statements.c.receipt).where(tables.statements.c.id == statement.id)
        ).scalar_one_or_none()
        if known is not None:
            return bytes(known)
        envelope = statement.to_bytes()
        self._check_quota(connection, agreement, statement.by, len(envelope))
        try:
            if terms is not None:
                self._propose(connection, statement, terms)
            return self._store_statement(connection, statement, agreement, envelope, now)
        except BaseException:
            # views may have read ahead of what the savepoint now takes back: they are made anew from the journal
            self._views.clear()
            raise

    def _store_statement(
        self, connection: Connection, statement: Statement, agreement: str, envelope: bytes, now: datetime
    ) -> bytes:
        views = self._views_reading(connection, agreement)
        if statement.type == "run-request":
            self._check_open_requests(views[0], statement.by)
        index = next_index(connection)
        delay = select(tables.agreements.c.merge_delay_s).where(tables.agreements.c.id == agreement)
        receipt = make_receipt(
            self._keys.signer,
            origin=self._keys.card.origin,
            leaf=statement.leaf,
            received=now,
            merge_delay_s=connection.execute(delay).scalar_one(),
        )
        connection.execute(
            insert(tables.statements).values(
                id=statement.id,
                leaf_index=index,
                agreement=agreement,
                type=statement.type,
                by=statement.by,
                envelope=envelope,
                size=len(envelope),
                received=utc(now),
                receipt=receipt,
            )
        )
        add_usage(connection, agreement, statement.by, statement_bytes=len(envelope))
        try:
            views[0].authentic(envelope)
            for view in views:
                _read_leaf(view, index, statement.id, statement.type, envelope)
        except (CryptoError, ReplayError) as error:
            raise RefusedError(403, "not-authentic", f"the statement does not stand: {error}") from error
        if statement.id in views[0].void and introduced(statement) is not None:
            raise RefusedError(403, "void", f"the replacement means nothing here: {views[0].void[statement.id][1]}")
        if statement.type in ("replacement", "replacement-final"):
            self._follow_cards(connection, views[0])
        return receipt

    def _check_caller(
        self, connection: Connection, statement: Statement, agreement: str, caller: str
    ) -> Agreement | None:
        """Whether the caller may hand this in; for an agreement, its terms."""
        if statement.type == "deleted" and caller != self._keys.fingerprint:
            raise RefusedError(403, "not-yours", "only the host itself says that it deleted something")
        if statement.type == "agreement":
            terms = parse_body(statement)
            assert isinstance(terms, Agreement)
            parties = {fingerprint(party.card) for party in terms.parties.values()}
            if caller not in {statement.by, *parties}:
                raise RefusedError(403, "not-yours", "an agreement is handed in by one of its parties")
            return terms
        leaving = statement.type == "approval" and is_left(connection, agreement, caller)
        if not (caller == self._keys.fingerprint or leaving or is_member(connection, agreement, caller)):
            card = introduced(statement)
            if card is None or fingerprint(card) != caller or not self._is_authentic(connection, statement, agreement):
                raise not_found()
        signer = _kind(connection, agreement, statement.by)
        if (signer == "instance") != (statement.type in INSTANCE_TYPES) and (signer, statement.type) != (
            "party",
            "refusal",
        ):
            who = f"an {signer}" if signer == "instance" else f"a {signer or 'stranger'}"
            raise RefusedError(403, "wrong-role", f"a statement of this type is not for {who} to make")
        return None

    def _is_authentic(self, connection: Connection, statement: Statement, agreement: str) -> bool:
        """Whether a card or a recovery key of the agreement signed it: what a stranger hands in changes no view."""
        try:
            self._view(connection, agreement).authentic(statement.to_bytes())
        except (CryptoError, ReplayError):
            return False
        return True

    def _check_quota(self, connection: Connection, agreement: str, by: str, size: int) -> None:
        stored, _ = used(connection, agreement, by)
        if stored + size > self._settings.limits.statement_quota_bytes:
            raise RefusedError(413, "quota", "this card has no room left for statements under this agreement")

    def _check_open_requests(self, view: View, by: str) -> None:
        name = view.who(by)
        count = sum(request.by == name and view.counting_record(id) is None for id, request in view.requests.items())
        if count >= self._settings.limits.open_requests:
            raise RefusedError(429, "open-requests", "too many run-requests of this party wait: abandon or await some")

    def _propose(self, connection: Connection, statement: Statement, terms: Agreement) -> None:
        """Open a new agreement: its view, and the cards of its parties."""
        if not is_admitted(connection, statement.by):
            raise RefusedError(403, "not-admitted", "the host's operator has not admitted this card")
        parties = {name: party.card for name, party in terms.parties.items()}
        if statement.by not in {fingerprint(card) for card in parties.values()}:
            raise RefusedError(403, "not-yours", "an agreement is proposed by one of its parties")
        if fingerprint(terms.host.card) != self._keys.fingerprint:
            raise RefusedError(400, "another-host", "the agreement names another host's card")
        reachable = {address.card.cosigner for address in self._settings.witnesses}
        if sum(card.cosigner in reachable for card in terms.witnesses.cards) < terms.witnesses.quorum:
            message = "this host does not reach as many of the agreement's witnesses as their quorum asks"
            raise RefusedError(400, "witnesses", message)
        chain = [statement, *self._predecessors(connection, terms.supersedes)]
        # whoever is in a proposed version may read the ones before
        if terms.supersedes is not None and not is_member(connection, terms.supersedes, statement.by):
            raise RefusedError(403, "not-yours", "a new version is proposed by a party of the version before")
        connection.execute(
            insert(tables.agreements).values(
                id=statement.id,
                supersedes=terms.supersedes,
                merge_delay_s=seconds(terms.host.merge_delay),
            )
        )
        for name, card in parties.items():
            _insert_card(connection, statement.id, name, "party", fingerprint(card), canonical.encode(card.to_json()))
        view = View(chain)
        self._catch_up(connection, view)
        self._views[statement.id] = view

    def _follow_cards(self, connection: Connection, view: View) -> None:
        """Let in the cards that are in force by the agreement's log, and their predecessors no more."""
        for name, card in view.cards[view.id].items():
            new, data = fingerprint(card), canonical.encode(card.to_json())
            if is_member(connection, view.id, new):
                continue
            table = tables.cards.c
            mine = (table.agreement == view.id) & (table.name == name) & (table.kind == "party") & table.in_force
            old = connection.execute(select(table.fingerprint).where(mine)).scalar_one()
            connection.execute(update(tables.cards).where(mine).values(in_force=False))
            _insert_card(connection, view.id, name, "party", new, data)
            admitted = tables.admitted.c.fingerprint
            if connection.execute(delete(tables.admitted).where(admitted == old)).rowcount:
                # the operator admitted whoever holds this card, and the log says which card that is now
                connection.execute(delete(tables.admitted).where(admitted == new))
                connection.execute(insert(tables.admitted).values(fingerprint=new, card=data))

    # -- the log ---------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Append what the journal has beyond the log's end.

        Raises:
            OSError: the disk failed; the next flush goes on from what is there.
        """
        with self._store.reading() as connection:
            while True:
                entries = [_leaf(row) for row in _journal(connection, self._log.size, MAX_BATCH_ENTRIES)]
                if not entries:
                    return
                self._log.append(entries)
                self._on_append()

    def _repair(self) -> None:
        with self._store.reading() as connection:
            count, size = next_index(connection), self._log.size
            if size > count:
                raise HostError(
                    f"the log has {size} leaves and the database {count} statements: restore the database, "
                    "or parties could not read what the log fixes"
                )
            first = max(0, size - _CHECKED_LEAVES)
            expected = [_leaf(row) for row in _journal(connection, first, size - first)]
            if self._log.entries(first, size) != expected:
                raise HostError("the log's last leaves are not the database's statements: restore both from one moment")
        self.flush()

    # -- views -----------------------------------------------------------------------------------------------

    def _views_reading(self, connection: Connection, agreement: str) -> list[View]:
        """The agreement's own view, and those of every later version that reads its statements, too."""
        ids = [agreement]
        for id in ids:
            later = select(tables.agreements.c.id).where(tables.agreements.c.supersedes == id)
            ids += connection.execute(later).scalars()
        return [self._view(connection, id) for id in ids]

    def _all_views(self, connection: Connection) -> Iterator[View]:
        for id in connection.execute(select(tables.agreements.c.id)).scalars().all():
            try:
                yield self._view(connection, id)
            except ReplayError as error:  # written by another version, say: the other agreements go on
                _log.error("an agreement's statements cannot be read: %s", error)

    def _view(self, connection: Connection, agreement: str) -> View:
        if agreement not in self._views:
            view = View(self._predecessors(connection, agreement))
            self._catch_up(connection, view)
            self._views[agreement] = view
        return self._views[agreement]

    def _catch_up(self, connection: Connection, view: View) -> None:
        table = tables.statements.c
        rows = connection.execute(
            select(table.leaf_index, table.id, table.type, table.envelope)
            .where(table.agreement.in_(list(view.chain)))
            .order_by(table.leaf_index)
        )
        for row in rows:
            _read_leaf(view, row.leaf_index, row.id, row.type, bytes(row.envelope))

    def _predecessors(self, connection: Connection, agreement: str | None) -> list[Statement]:
        """The statements of an agreement and those it supersedes, newest first."""
        chain: list[Statement] = []
        while agreement is not None:
            mine = tables.statements.c.id == agreement
            envelope = connection.execute(select(tables.statements.c.envelope).where(mine)).scalar_one_or_none()
            if envelope is None or len(chain) == _MAX_CHAIN:
                raise RefusedError(400, "unknown-predecessor", "the agreement supersedes one that is not at this host")
            statement = envelopes.parse(bytes(envelope))
            terms = parse_body(statement)
            if not isinstance(terms, Agreement):
                raise RefusedError(400, "unknown-predecessor", "the agreement supersedes something that is none")
            chain.append(statement)
            agreement = terms.supersedes
        return chain


def introduced(statement: Statement) -> PartyCard | None:
    """The new card in a recovery key's replacement: its holder has no other card that it could call with."""
    said = parse_body(statement) if statement.type == "replacement" else None
    return said.new if isinstance(said, Replacement) and said.recovery is not None else None


def is_member(connection: Connection, agreement: str, caller: str) -> bool:
    """Whether a card in force, or a registered instance, belongs to an agreement."""
    table = tables.cards.c
    mine = (table.agreement == agreement) & (table.fingerprint == caller) & table.in_force
    return connection.execute(select(table.name).where(mine)).first() is not None


def is_left(connection: Connection, agreement: str, caller: str) -> bool:
    """Whether a card belongs to the version before: its approvers read and approve the new one, though not in it."""
    mine = tables.agreements.c.id == agreement
    older = connection.execute(select(tables.agreements.c.supersedes).where(mine)).scalar_one_or_none()
    return older is not None and is_member(connection, older, caller)


def may_read(connection: Connection, agreement: str, caller: str) -> bool:
    """Whether a card belongs to an agreement, or to a later version, whose parties read the earlier ones."""
    ids = [agreement]
    for id in ids:
        if is_member(connection, id, caller):
            return True
        ids += connection.execute(select(tables.agreements.c.id).where(tables.agreements.c.supersedes == id)).scalars()
    return False


def is_admitted(connection: Connection, caller: str) -> bool:
    """Whether the operator admitted a card."""
    table = tables.admitted.c
    return connection.execute(select(table.fingerprint).where(table.fingerprint == caller)).first() is not None


def register_instance(connection: Connection, agreement: str, instance: str, card: bytes) -> None:
    """Let an instance into an agreement."""
    if not is_member(connection, agreement, instance):
        _insert_card(connection, agreement, "instance", "instance", instance, card)


def _kind(connection: Connection, agreement: str, by: str) -> str | None:
    table = tables.cards.c
    mine = (table.agreement == agreement) & (table.fingerprint == by)
    return connection.execute(select(table.kind).where(mine)).scalar_one_or_none()


def _insert_card(connection: Connection, agreement: str, name: str, kind: str, print_: str, card: bytes) -> None:
    connection.execute(
        insert(tables.cards).values(
            agreement=agreement, fingerprint=print_, kind=kind, name=name, card=card, in_force=True
        )
    )


def _journal(connection: Connection, first: int, count: int) -> Iterable[Row[tuple[str, str, str]]]:
    table = tables.statements.c
    return connection.execute(
        select(table.agreement, table.id, table.type)
        .where(table.leaf_index >= first)
        .order_by(table.leaf_index)
        .limit(count)
    )


def _leaf(row: Row[tuple[str, str, str]]) -> bytes:
    return canonical.encode({"agreement": row.agreement, "id": row.id, "type": row.type})


def _read_leaf(view: View, index: int, id: str, type: str, envelope: bytes) -> None:
    while view.size < index:
        view.skip()
    view.add(id, type, envelope)
