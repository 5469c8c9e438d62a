"""Watching logs on a party's behalf, beside its agent and with a memory of its own.

What a monitor adds to an agent that replays the same log: it says what nobody here expected. It reads every statement
of the party's agreements again, from the first leaf, and holds them against what the party's ledger knows: what the
party itself said, which receipts it holds, how far its agent has read, and under which checkpoint.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any

from sealstat.agreement.periods import seconds
from sealstat.agreement.replay import ReplayError, View
from sealstat.crypto import canonical
from sealstat.crypto.cards import HostCard
from sealstat.crypto.errors import CryptoError
from sealstat.crypto.keystore import write_private
from sealstat.crypto.receipt import Receipt, parse_receipt
from sealstat.crypto.statement import Statement
from sealstat.crypto.statement import parse as parse_statement
from sealstat.log.checkpoint import VerifiedCheckpoint, verify_checkpoint
from sealstat.log.compare import Relation, compare, render_comparison
from sealstat.log.errors import LogError, QuorumError, Rollback, SplitView
from sealstat.log.merkle import Frontier, leaf_hash
from sealstat.log.note import parse_verifier_key
from sealstat.log.reader import Fetch, LogReader
from sealstat.party.errors import PartyError
from sealstat.party.home import Home
from sealstat.party.ledger import Ledger
from sealstat.wire.client import HostClient
from sealstat.wire.errors import HostRefusal, WireError
from sealstat.wire.follow import Follower, Progress, StaleError

GRACE_S = 60
"""How long the party's own agent may take to read a run before the monitor finds that nobody here knows of it."""


class Kind(StrEnum):
    """What a monitor warns of."""

    SPLIT_VIEW = "split-view"
    ROLLBACK = "rollback"
    UNVERIFIABLE = "unverifiable"
    WITHHELD = "withheld"
    BROKEN_PROMISE = "broken-promise"
    BAD_RECEIPT = "bad-receipt"
    OWN_KEY = "own-key"
    UNKNOWN_RUN = "unknown-run"
    VOID = "void-statement"
    STALE = "stale"
    UNREACHABLE = "unreachable"


ONCE = frozenset({Kind.UNKNOWN_RUN, Kind.VOID})
"""Said once: what has been seen is known from then on. All else is said until it is no longer so."""
BLIND = frozenset({Kind.STALE, Kind.UNREACHABLE})
"""The monitor could not see: no fault of anybody's is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """One thing that the party did not expect.

    Attributes:
        where: id of the agreement, or the place of a log that is followed for its own sake.
        about: id of the statement, or empty.
        sentence: for people.
        evidence: files by name, to be kept and shown to others.
    """

    kind: Kind
    where: str
    sentence: str
    about: str = ""
    evidence: dict[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def ref(self) -> str:
        """The same for the same thing, whenever it is found."""
        return f"{self.kind}:{self.where}:{self.about}"

    def to_json(self) -> dict[str, str]:
        """As a JSON value, without the evidence."""
        return {"kind": self.kind.value, "where": self.where, "about": self.about, "sentence": self.sentence}


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the party's ledger has of one agreement and those before it.

    Attributes:
        said: statements that this party signed and wrote down, by id.
        read: ids of those that its agent has read.
        receipts: the host's promises as they were stored, by statement id; anything the host sent.
        keys: fingerprints of this party's cards, old ones included, and the digest of its recovery key.
    """

    said: dict[str, Statement]
    read: frozenset[str]
    receipts: dict[str, Any]
    keys: frozenset[str]


# --- what was not expected: pure ------------------------------------------------------------------------------------


def unexpected(
    view: View, statements: Sequence[Statement], known: Known, checkpoint: VerifiedCheckpoint
) -> Iterator[Alarm]:
    """What a replayed log holds or lacks against what a party knows.

    Args:
        view: of the whole log up to ``checkpoint``.
        statements: all statements of the view's agreements in the log, void ones included.
    """
    for statement in statements:
        if statement.by in known.keys and statement.id not in known.said:
            yield Alarm(
                kind=Kind.OWN_KEY,
                where=view.id,
                about=statement.id,
                sentence=f"this party's key signed a {statement.type} that its ledger does not have "
                f"(statement {statement.id[:16]}…): if nobody here did, the key is stolen: replace the card",
                evidence={"statement.json": statement.to_bytes()},
            )
    for id, request in view.requests.items():
        if id not in known.said and id not in known.read:
            yield Alarm(
                kind=Kind.UNKNOWN_RUN,
                where=view.id,
                about=id,
                sentence=f"{request.by} asked for a run of {request.body.task} over {request.body.period} "
                f"(run {id[:16]}…), which nothing here knew of",
            )
    for id, (leaf, reason) in view.void.items():
        yield Alarm(
            kind=Kind.VOID, where=view.id, about=id, sentence=f"entry {leaf} of the log means nothing: {reason}"
        )
    yield from _promises(view, known, checkpoint)


def _promises(view: View, known: Known, checkpoint: VerifiedCheckpoint) -> Iterator[Alarm]:
    for id, said in known.said.items():
        if id not in known.receipts:
            continue
        agreement = view.chain[said.frame.agreement or id]
        try:
            receipt = _receipt(known.receipts[id], said, agreement.host.card, seconds(agreement.host.merge_delay))
        except CryptoError as error:
            yield Alarm(
                kind=Kind.BAD_RECEIPT,
                where=view.id,
                about=id,
                sentence=f"what the host gave for the {said.type} {id[:16]}… is no receipt that binds it: {error}",
            )
            continue
        if id in view.entries or id in view.void:
            continue
        try:
            at = datetime.fromtimestamp(checkpoint.clock(view.agreement.witnesses.quorum), UTC)
        except QuorumError:  # cannot be: a follower takes no checkpoint without a quorum
            continue
        if at > receipt.merge_by:
            yield Alarm(
                kind=Kind.BROKEN_PROMISE,
                where=view.id,
                about=id,
                sentence=f"the host promised an entry for the {said.type} {id[:16]}… by {receipt.merge_by:%F %T} UTC; "
                f"the log that witnesses cosigned at {at:%F %T} UTC has none: the receipt and that log prove it",
                evidence={"receipt.json": receipt.envelope, "checkpoint": checkpoint.note},
            )


def _receipt(stored: Any, said: Statement, host: HostCard, merge_delay_s: int) -> Receipt:
    """The promise of a statement's leaf within the agreed time.

    Raises:
        CryptoError: what is stored is none.
    """
    try:
        envelope = canonical.encode(stored["receipt"])
    except (KeyError, TypeError) as error:
        raise CryptoError("no receipt came with its answer") from error
    receipt = parse_receipt(envelope, host)
    if receipt.leaf != said.leaf:
        raise CryptoError("it promises another entry")
    if (receipt.merge_by - receipt.received).total_seconds() > merge_delay_s:
        raise CryptoError("it promises the entry later than the agreement allows")
    return receipt


# --- reading the logs -----------------------------------------------------------------------------------------------


class MonitorMemory:
    """What a monitor has read, in the party's ledger but apart from what its agent has read."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def load(self, agreement: str) -> tuple[Progress | None, list[tuple[int, str, str, bytes]]]:
        """As ``wire.follow.Memory``."""
        return self._ledger.load(f"monitor:{agreement}")

    def save(self, agreement: str, progress: Progress, read: list[tuple[int, str, str, bytes]]) -> None:
        """As ``wire.follow.Memory``."""
        self._ledger.save(f"monitor:{agreement}", progress, read)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at one log.

    Attributes:
        where: as of ``Alarm``.
        size: entries verified, as far as this monitor has ever read.
        statements: of this party's agreement among them, each read and judged again.
    """

    where: str
    size: int
    statements: int
    alarms: tuple[Alarm, ...]


class AgreementWatch:
    """A monitor of one agreement's log."""

    def __init__(
        self,
        home: Home,
        agreement: str,
        *,
        host: str | None = None,
        clock: Callable[[], datetime],
        connect: Callable[..., HostClient] = HostClient,
    ) -> None:
        self._home, self._clock, self._memory = home, clock, MonitorMemory(home.ledger)
        chain = home.ledger.chain(agreement)
        address = host or View(chain).agreement.host.url
        self._client = connect(address, home.identity.signer, home.fingerprint)
        self._follower = Follower(self._client, chain, self._memory)

    def look(self) -> Look:
        """Read on, and judge all that was ever read."""
        alarms = list(self._looked())
        view = self._follower.view
        return Look(
            where=view.id,
            size=view.size,
            statements=len(view.entries) + len(view.void),
            alarms=tuple(alarms),
        )

    def _looked(self) -> Iterator[Alarm]:
        where = self._follower.view.id
        agents, read = self._home.ledger.load(where)  # first: the agent reads on meanwhile
        try:
            self._update()
        except (SplitView, Rollback) as error:
            yield _two_notes(where, error)
            return
        except LogError as error:
            yield Alarm(kind=Kind.UNVERIFIABLE, where=where, sentence=f"the log does not verify: {error}")
            return
        except ReplayError as error:
            yield Alarm(kind=Kind.WITHHELD, where=where, sentence=str(error))
            return
        except StaleError as error:
            yield Alarm(kind=Kind.STALE, where=where, sentence=str(error))
            return
        except WireError as error:
            yield Alarm(kind=Kind.UNREACHABLE, where=where, sentence=str(error))
            return
        checkpoint = self._follower.checkpoint
        assert checkpoint is not None
        if agents is not None:
            yield from self._against(agents.note, checkpoint)
        known = Known(
            said=self._said(),
            read=frozenset(id for _, id, _, _ in read),
            receipts=self._home.ledger.facts("receipt"),
            keys=frozenset({*self._home.identities, self._home.identity.card.recovery}),
        )
        statements = [parse_statement(envelope) for *_, envelope in self._memory.load(where)[1]]
        yield from unexpected(self._follower.view, statements, known, checkpoint)

    def _update(self) -> None:
        """Read the log on; with the newest card, if the host knows that one already."""
        identity = self._home.identity
        with suppress(PartyError):  # none of ours is in force: the host then says so
            identity = self._home.identity_in(self._follower.view)
        self._client.signer, self._client.fingerprint = identity.signer, identity.fingerprint
        try:
            self._follower.update(now=self._clock())
        except (HostRefusal, ReplayError):
            self._home.refresh()
            if self._client.fingerprint == self._home.fingerprint:
                raise
            self._client.signer, self._client.fingerprint = self._home.identity.signer, self._home.fingerprint
            self._follower.update(now=self._clock())

    def _against(self, note: bytes, checkpoint: VerifiedCheckpoint) -> Iterator[Alarm]:
        """The checkpoint that the party's agent was shown, held against the monitor's own."""
        where = self._follower.view.id
        try:
            agents = self._follower.verify_note(note)
            found = compare(agents, checkpoint, LogReader(self._client.log_file), current=checkpoint)
        except LogError as error:
            yield Alarm(kind=Kind.UNVERIFIABLE, where=where, sentence=f"the agent's checkpoint: {error}")
            return
        except WireError as error:
            yield Alarm(kind=Kind.UNREACHABLE, where=where, sentence=str(error))
            return
        if found.fault:
            kind = Kind.ROLLBACK if found.relation is Relation.ROLLBACK else Kind.SPLIT_VIEW
            yield Alarm(
                kind=kind,
                where=where,
                about="agent",
                sentence=f"the agent here was shown another log: {render_comparison(found)}",
                evidence={"smaller.checkpoint": found.smaller.note, "larger.checkpoint": found.larger.note},
            )

    def _said(self) -> dict[str, Statement]:
        chain = self._follower.view.chain
        return {said.id: said for id in chain for said, _ in self._home.ledger.unread(id, ())}


class LogWatch:
    """A monitor of a log for its own sake: that it only grows, and that its entries give its roots."""

    def __init__(self, ledger: Ledger, place: str, connect: Callable[[], tuple[Fetch, str | None]]) -> None:
        """Follow a log under the key that was known for this place first.

        Args:
            connect: gives the log's ``fetch`` and, if it is known, the verifier key for a place that is new.
        """
        self._ledger, self._place, self._connect = ledger, place, connect
        self._frontier = Frontier()

    def look(self) -> Look:
        """Read on."""
        alarms: list[Alarm] = []
        try:
            self._read_on()
        except (SplitView, Rollback) as error:
            alarms.append(_two_notes(self._place, error))
        except LogError as error:
            alarms.append(Alarm(kind=Kind.UNVERIFIABLE, where=self._place, sentence=str(error)))
        except (WireError, OSError) as error:
            alarms.append(Alarm(kind=Kind.UNREACHABLE, where=self._place, sentence=str(error)))
        return Look(where=self._place, size=self._frontier.size, statements=0, alarms=tuple(alarms))

    def _read_on(self) -> None:
        known = self._ledger.fact("monitored-log", self._place)
        if known:
            self._frontier = Frontier.from_json(known["frontier"])
        fetch, named = self._connect()
        text = known["key"] if known else named
        if text is None:
            raise LogError(f"{self._place} does not say its log's key: give it with --key")
        key, reader = parse_verifier_key(text), LogReader(fetch)
        newest = verify_checkpoint(fetch("checkpoint"), log_key=key, witnesses=[], quorum=0)
        if known:
            trusted = verify_checkpoint(known["note"].encode(), log_key=key, witnesses=[], quorum=0)
            reader.consistency(trusted, newest)
        frontier = self._frontier
        for piece in reader.stream(frontier.size, newest.checkpoint):
            frontier = frontier.append(leaf_hash(entry) for entry in piece)
        if frontier.root() != newest.checkpoint.root:
            raise LogError("the entries do not lead from what was read before to the checkpoint")
        self._frontier = frontier
        place = {"key": text, "note": newest.note.decode(), "frontier": frontier.to_json()}
        self._ledger.note_fact("monitored-log", self._place, place)


def _two_notes(where: str, error: SplitView | Rollback) -> Alarm:
    return Alarm(
        kind=Kind.SPLIT_VIEW if isinstance(error, SplitView) else Kind.ROLLBACK,
        where=where,
        sentence=str(error),
        evidence={"old.checkpoint": error.old_note, "new.checkpoint": error.new_note},
    )


# --- what becomes of an alarm --------------------------------------------------------------------------------------


def take(home: Home, alarm: Alarm, *, now: datetime, grace_s: int = GRACE_S) -> tuple[bool, Path | None]:
    """Remember an alarm: whether it is to be said now, and where its evidence is kept.

    A run that nobody here knows of is said when it has stayed unknown for ``grace_s`` seconds, so that an agent which
    is about to read it is not taken for blind.
    """
    if alarm.kind is Kind.UNKNOWN_RUN:
        first = home.ledger.first_time("monitor-first", alarm.ref, now)
        if (now - first).total_seconds() < grace_s:
            return False, None
    told = home.ledger.fact("monitor-told", alarm.ref) is not None
    folder = home.path / "evidence" / f"{alarm.kind}-{sha256(alarm.ref.encode()).hexdigest()[:12]}"
    if not told:
        for name, data in alarm.evidence.items():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_private(folder / name, data)
        agreement = alarm.where if len(alarm.where) == 64 else None
        home.ledger.act("the monitor warns", alarm.sentence, agreement=agreement)
        home.ledger.note_fact("monitor-told", alarm.ref, now.isoformat())
    return not (told and alarm.kind in ONCE), folder if alarm.evidence else None
