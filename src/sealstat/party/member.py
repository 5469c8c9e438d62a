"""One party in one agreement: what it has read, what it has said, and how it says more."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from sealstat.agreement.check import UnsoundAgreementError, check_body
from sealstat.agreement.model import Agreement
from sealstat.agreement.replay import ReplayError, View
from sealstat.crypto.errors import CryptoError
from sealstat.crypto.statement import Statement, parse_leaf, sign
from sealstat.log.checkpoint import parse_checkpoint
from sealstat.log.note import parse_note
from sealstat.log.reader import LogReader
from sealstat.party.errors import NotInIt, PartyError, WaitingTooLong
from sealstat.party.home import Home, Identity
from sealstat.statistics.catalogue import Catalogue
from sealstat.wire.client import HostClient
from sealstat.wire.errors import HostRefusal, MissingError, WireError
from sealstat.wire.follow import Follower, StaleError, fetch_chain

Clock = Callable[[], datetime]
# What counts for its sender at once, logged or not; all else acts from its leaf on (sections 3 and 6). A release and
# a stop count whatever the host said to them: it may give them a leaf later all the same.
_ALWAYS = frozenset({"key-release", "withdrawal", "refusal", "veto"})
_WHILE_PENDING = frozenset({"linkage-share", "delivery", "expiry", "challenge", "result-release"})


def utc_now() -> datetime:
    """This party's clock."""
    return datetime.now(UTC)


class Member:
    """A party's place in one agreement."""

    def __init__(self, home: Home, agreement: str, host: str | None = None, *, clock: Clock = utc_now) -> None:
        """Open what is known of the agreement, fetching it from ``host`` if it is new.

        Raises:
            PartyError: the agreement is unknown, or does not name this party.
            WireError: the host cannot be asked.
        """
        self.home, self.clock = home, clock
        chain = home.ledger.chain(agreement)
        if not chain:
            if host is None:
                raise PartyError("the agreement is not known here yet: name its host with --host or SEALSTAT_HOST")
            chain = fetch_chain(HostClient(host, home.identity.signer, home.fingerprint), agreement)
        address = host or View(chain).agreement.host.url
        self.client = HostClient(address, home.identity.signer, home.fingerprint)
        self.follower = Follower(self.client, chain, home.ledger)
        if not any(card.name == home.name for card in self.view.cards[self.view.id].values()):
            raise NotInIt(f"the agreement does not name {home.name} as a party")
        # an unsound agreement binds nobody here, whoever signed it
        check_body(self.agreement, Catalogue())
        home.ledger.save_chain(agreement, chain)
        with suppress(PartyError):  # of a recovered party: its card comes into force further on in the log
            self.speak_as(self.identity)

    @property
    def view(self) -> View:
        """What the log says, as far as it was read."""
        return self.follower.view

    @property
    def id(self) -> str:
        """The agreement's id."""
        return self.view.id

    @property
    def agreement(self) -> Agreement:
        return self.view.agreement

    @property
    def identity(self) -> Identity:
        """This party's keys as the agreement has them now."""
        return self.home.identity_in(self.view)

    @property
    def name(self) -> str:
        """What the agreement calls this party."""
        name = self.view.who(self.identity.fingerprint)
        assert name is not None
        return name

    def update(self) -> bool:
        """Read the log on by this party's clock; whether there was anything new."""
        try:
            grown = self.follower.update(now=self.clock())
        except (HostRefusal, ReplayError):
            self.home.refresh()  # a person may have taken a new card beside this process
            if self.client.fingerprint == self.home.fingerprint:
                raise
            # the log has a replacement that was not read here yet: the host knows the new card alone
            self.speak_as(self.home.identity)
            grown = self.follower.update(now=self.clock())
        for statement in self.home.ledger.pending(self.id):
            if statement.id in self.view.entries or statement.id in self.view.void:
                self.home.ledger.settle(statement.id)
        if self.client.fingerprint != self.home.fingerprint:
            self.speak_as(self.identity)
        return grown

    def judged(self) -> View:
        """The log as if what this party has said, acts at once and has no leaf here yet stood at its end (section 6).

        Not among it is what only its leaf makes true: with an `abandon` or `kept` that the host holds back, an instance
        that is still live would be taken for over, and a second one be released to.
        """
        unread = self.home.ledger.unread(self.id, self.view.entries.keys() | self.view.void.keys())
        ahead = [said for said, pending in unread if said.type in _ALWAYS or (pending and said.type in _WHILE_PENDING)]
        return self.view.foresee(ahead) if ahead else self.view

    def say(self, type: str, body: dict[str, Any], *, before: Callable[[str], None] | None = None) -> Statement:
        """Sign a statement, write it down, send it. If the host is away it is sent again later.

        Args:
            before: called with the statement's id when it is signed, before anyone else hears of it.
        Raises:
            PartyError: the host refuses it.
        """
        statement = sign(
            self.identity.signer,
            type=type,
            by=self.identity.fingerprint,
            agreement=self.id,
            body=body,
            at=self.clock(),
        )
        if before is not None:
            before(statement.id)
        self.home.ledger.post(statement)
        self.send(statement)
        return statement

    def send(self, statement: Statement) -> None:
        """Send a statement that was written down; silence of the host is no error, a refusal is."""
        try:
            receipt = self.client.send(statement)
        except HostRefusal as error:
            if error.status == 429 or error.status >= 500:
                return  # too busy, not unwilling
            if statement.type not in _ALWAYS:
                self.home.ledger.settle(statement.id)  # it will never have a leaf through us
            raise PartyError(str(error)) from error
        except WireError:
            return
        self.home.ledger.note_fact("receipt", statement.id, receipt)

    def until(self, what: str, *, patience_s: float) -> Iterator[View]:
        """Read on and yield what is known, until the caller breaks off.

        Raises:
            WaitingTooLong: patience ended first.
        """
        deadline = monotonic() + patience_s
        while True:
            try:
                self.update()
                yield self.view
            except StaleError:
                pass  # witnesses may be slow for a moment; patience bounds it
            if monotonic() > deadline:
                raise WaitingTooLong(f"gave up waiting for {what} after {patience_s:.0f} s: ask again to go on waiting")
            self.client.wait(self.view.size, min(5.0, max(1.0, deadline - monotonic())))

    def await_leaf(self, statement: Statement, *, patience_s: float = 60.0) -> None:
        """Wait until a statement stands in a cosigned log, and means what it should.

        Raises:
            PartyError: the log's readers hold it for void.
            WaitingTooLong: it has no leaf after the patience.
        """
        self.await_entry(statement.id, patience_s=patience_s)

    def await_entry(self, id: str, *, patience_s: float = 60.0) -> None:
        """As :meth:`await_leaf`, of a statement that somebody sent."""
        for view in self.until("the statement to be cosigned", patience_s=patience_s):
            if id in view.void:
                raise PartyError(f"the statement means nothing to those who read the log: {view.void[id][1]}")
            if id in view.entries:
                return

    def speak_as(self, identity: Identity) -> None:
        """Sign requests to the host with these keys: it knows one card of a party at a time."""
        self.client.signer, self.client.fingerprint = identity.signer, identity.fingerprint


def agreements_in_log(client: HostClient, start: int = 0) -> tuple[list[str], int]:
    """The ids of agreements among a log's leaves from ``start`` on, and how far the log reaches.

    A hint only, since nothing is proven here: an agreement is checked by its id, and read from the proven log, later.
    """
    checkpoint = parse_checkpoint(parse_note(client.log_file("checkpoint")).text)
    found = []
    for piece in LogReader(client.log_file).stream(min(start, checkpoint.size), checkpoint):
        for entry in piece:
            try:
                agreement, _, type = parse_leaf(entry)
            except CryptoError:
                continue  # a leaf of no agreement
            if type == "agreement":
                found.append(agreement)
    return found, checkpoint.size


def discover(home: Home, host: str) -> list[str]:
    """The agreements on a host that name this party's card and are not known here yet."""
    client = HostClient(host, home.identity.signer, home.fingerprint)
    ids, size = agreements_in_log(client, home.ledger.fact("discovered", host) or 0)
    found = []
    for id in ids:
        if id in home.ledger.agreements():
            continue
        try:
            Member(home, id, host)
        except (MissingError, PartyError, CryptoError, ReplayError, UnsoundAgreementError):
            continue  # not ours, or no agreement that could bind anybody: it must not hide those after it
        found.append(id)
    home.ledger.note_fact("discovered", host, size)
    client.close()
    return found


def identified(start: str, ids: list[str], what: str) -> str:
    """The one id that begins so.

    Raises:
        PartyError: none does, or several do.
    """
    found = [id for id in ids if id.startswith(start.removeprefix("sha256:"))]
    if len(found) == 1:
        return found[0]
    if not found:
        raise PartyError(f"no {what} begins with {start}")
    raise PartyError(f"{len(found)} {what}s begin with {start}: give more of the id")
