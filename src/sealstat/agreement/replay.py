"""What a log of statements means: read leaf by leaf, the same for enclave, agents, verifier and host.

Everything here is decided from the log alone (protocol.md sections 3 to 8): no clock, no network, no data. So
all who read the same leaves come to the same counter, the same live instance and the same record that counts,
also when one has read further than another. Clocks come in only where the protocol says so, as arguments.
"""

import builtins
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import ClassVar, Generic, TypeVar

from pydantic import ValidationError

from sealstat.agreement import statements as body
from sealstat.agreement.model import Agreement, Holders, Task
from sealstat.agreement.periods import days, kind_of, report_of, seconds
from sealstat.crypto import canonical
from sealstat.crypto import statement as envelopes
from sealstat.crypto.cards import PartyCard, SigningKeys, Strict, fingerprint
from sealstat.crypto.errors import CryptoError, MalformedError
from sealstat.crypto.statement import Statement
from sealstat.log.checkpoint import VerifiedCheckpoint, verify_checkpoint
from sealstat.log.errors import LogError
from sealstat.log.note import parse_verifier_key

T = TypeVar("T")
B_co = TypeVar("B_co", bound=Strict, covariant=True)
HOST = "(host)"  # no party can have this name: what the host signs must never pass for a party's word


class ReplayError(Exception):
    """The log cannot be read to its end: a body is missing or of an unknown kind. Nothing may be concluded."""


class Void(Exception):  # noqa: N818 - "void" is the protocol's word
    """A statement that is there and wrong: it is reported, means nothing, and blocks nothing."""


class InactiveError(Exception):
    """The agreement does not hold: approvals are missing, it was withdrawn or superseded, or its time is not now."""


@dataclass(frozen=True, slots=True)
class Entry(Generic[B_co]):
    """A statement that has its place in the log, with its body typed."""

    index: int
    id: str
    agreement: str
    by: str  # name of the party, HOST, or an instance's fingerprint
    body: B_co


@dataclass(slots=True)
class Instance:
    """What the log says of one enclave instance."""

    fingerprint: str
    evidence: Entry[body.EnclaveEvidence]
    request: Entry[body.RunRequest]
    c: int
    releases: dict[str, Entry[body.KeyRelease]] = field(default_factory=dict)  # by owners: by delivery, or consent
    shares: dict[str, dict[str, Entry[body.KeyRelease]]] = field(default_factory=dict)  # by holders, of what: by name
    record: Entry[body.RunRecord] | None = None
    over: bool = False

    @property
    def task(self) -> str:
        """The name of the task it works for."""
        return self.request.body.task

    @property
    def first_release(self) -> int | None:
        """The leaf of the first key-release to it, which decides who is live."""
        return min((entry.index for entry in self.all_releases), default=None)

    @property
    def all_releases(self) -> list[Entry[body.KeyRelease]]:
        """What owners and holders gave it, in no order."""
        return [*self.releases.values(), *(entry for given in self.shares.values() for entry in given.values())]


@dataclass(slots=True)
class TaskState:
    """Counter, records and state of one task; they go on over versions of the agreement."""

    counter: int = 0
    counting: list[str] = field(default_factory=list)  # ids of the records that count, by c
    state: str | None = None  # the record that left the newest; none before the first day, after a report or a cancel
    ingested: list[str] = field(default_factory=list)  # the days that are in it, in the order they came
    forgotten: set[str] = field(default_factory=set)  # the holders who said that their share of its key is gone
    reported: dict[str, list[str]] = field(default_factory=dict)  # by record of a report: the days it was made of


@dataclass(slots=True)
class DeliveryState:
    """A delivery and what became of it."""

    entry: Entry[body.Delivery]
    named: bool = False  # a run-request has named it: from then on it cannot be replaced
    replaced: bool = False
    expired: bool = False

    @property
    def place(self) -> tuple[str, str, str]:
        """What it is the delivery of: agreement, dataset, period."""
        return self.entry.agreement, self.entry.body.dataset, self.entry.body.period


@dataclass(slots=True)
class Recovery:
    """A new card that recovery approvers would give a party which lost all its keys, until it is final or vetoed."""

    party: str
    new: PartyCard
    by: set[str] = field(default_factory=set)
    agreed_at: int | None = None  # the leaf from which on they are enough


class View:
    """All that follows from the leaves read so far about one agreement and those it supersedes."""

    def __init__(self, chain: Iterable[Statement], *, partial: bool = False) -> None:
        """Start at leaf 0 with the agreement and its predecessors, newest first, each already checked by its id.

        Args:
            partial: only some runs' statements will be read, as a proof shows them: what lies before is taken on trust.
        """
        self.partial = partial
        self.chain: dict[str, Agreement] = {}
        for statement in chain:
            agreement = body.parse_body(statement)
            if not isinstance(agreement, Agreement):
                raise MalformedError("the chain of agreements holds something else")
            self.chain[statement.id] = agreement
        self.id = next(iter(self.chain))
        self.agreement = self.chain[self.id]
        self.size = 0
        self.entries: dict[str, Entry[Strict]] = {}
        self.statements: dict[str, Statement] = {}
        self.void: dict[str, tuple[int, str]] = {}  # id: its leaf, what is wrong with it
        self.cards: dict[str, dict[str, PartyCard]] = {}  # by agreement and name, those in force
        self._keys: dict[str, SigningKeys] = {}  # of every card ever in force, by fingerprint
        for id, agreement in self.chain.items():
            self.cards[id] = {name: party.card for name, party in agreement.parties.items()}
            self._keys |= {fingerprint(card): card.keys for card in self.cards[id].values()}
            self._keys[fingerprint(agreement.host.card)] = agreement.host.card.keys
        self._used = {id: {fingerprint(card) for card in cards.values()} for id, cards in self.cards.items()}
        # by agreement and name: the card that is the party's by the agreement, its recovery key or its recovery
        # approvers, and those that followed it by the old card's word alone, as a thief of the old one can make them
        self._lines = {
            id: {name: [fingerprint(card)] for name, card in cards.items()} for id, cards in self.cards.items()
        }
        self._recovery_keys = {card.recovery for cards in self.cards.values() for card in cards.values()}
        self.recoveries: dict[tuple[str, str], Recovery] = {}  # those that wait, by agreement and new card
        self.vetoed: set[tuple[str, str, str]] = set()  # agreement, party, new card
        self.proposed: set[str] = set()
        self.approvals: dict[str, set[str]] = {id: set() for id in self.chain}
        self.successors: dict[str, dict[str, set[str]]] = {id: {} for id in self.chain}
        self.succeeded: dict[str, str] = {}  # by the one that all approvers named first
        self.withdrawals: dict[str, Entry[body.Withdrawal]] = {}
        self.linkage: dict[tuple[str, str, str], dict[str, Entry[body.LinkageShare]]] = {}
        self.deliveries: dict[str, DeliveryState] = {}
        self.requests: dict[str, Entry[body.RunRequest]] = {}
        self.asked_at: dict[str, int] = {}  # by request: the counter of its task at its leaf
        self.challenges: dict[str, Entry[body.Challenge]] = {}
        self.instances: dict[str, Instance] = {}
        self.tasks: dict[str, TaskState] = {}
        self.period_keys: dict[tuple[str, str], str] = {}  # the record that drew it, by dataset and period
        self.records: dict[str, tuple[Entry[body.RunRecord], Instance]] = {}
        self.kept: dict[str, set[str]] = {}
        self.result_releases: dict[str, dict[str, Entry[body.ResultRelease]]] = {}
        self.refusals: dict[str, list[Entry[body.Refusal]]] = {}
        self.acknowledged: dict[str, set[str]] = {}

    # -- reading ---------------------------------------------------------------------------------------------

    def concerns(self, entry: bytes) -> tuple[str, str] | None:
        """(id, type) of a log entry that belongs to this agreement or one it supersedes, else None."""
        try:
            agreement, id, type = envelopes.parse_leaf(entry)
        except MalformedError:
            return None  # a leaf of no agreement binds nobody
        return (id, type) if agreement in self.chain else None

    def skip(self) -> None:
        """Go past a leaf of another agreement."""
        self.size += 1

    def add(self, id: str, type: str, envelope: bytes | None) -> None:
        """Read the next leaf, with the statement's body as somebody delivered it.

        Raises:
            ReplayError: the body is missing (or is another one, or unsigned), or its type is unknown.
        """
        index = self.size
        if id in self.entries or id in self.void:
            self.size += 1  # of equal ids the first leaf counts
            return
        if type not in body.BODIES:
            raise ReplayError(f"leaf {index} has a statement of unknown type {type}: this version cannot judge it")
        if envelope is None:
            raise ReplayError(f"the statement of leaf {index} ({type}) is missing: the host must produce it")
        try:
            statement = self.authentic(envelope)
            if (statement.id, statement.type) != (id, type):
                raise MalformedError("another statement stands in its place")
        except CryptoError as error:
            raise ReplayError(f"the statement of leaf {index} ({type}) is not what the log says: {error}") from error
        self.size += 1
        try:
            self._take(index, statement)
        except (MalformedError, Void) as error:
            self.void[id] = (index, str(error))

    def foresee(self, pending: Iterable[Statement]) -> "View":
        """This view, as if statements that were sent but have no leaf yet stood at its end (section 6)."""
        unchanging = [*self.chain.values(), *self.entries.values(), *self.statements.values()]
        view = deepcopy(self, {builtins.id(value): value for value in unchanging})
        for statement in pending:
            view.add(statement.id, statement.type, statement.to_bytes())
        return view

    def authentic(self, envelope: bytes) -> Statement:
        """The statement in an envelope, signed by every key of a card that is or was in force here.

        Raises:
            CryptoError: its form or a signature is wrong, or its signer has no card here.
        """
        statement = envelopes.parse(envelope)
        if statement.type == "enclave-evidence":  # an instance's card stands in its evidence
            evidence = body.parse_body(statement)
            assert isinstance(evidence, body.EnclaveEvidence)
            if fingerprint(evidence.card) != statement.by:
                raise MalformedError("evidence is signed by another key than the one it shows")
            statement.verify(evidence.card.keys)
            return statement
        if self._is_recovery_key(statement.by):
            statement.verify(_shown_recovery_key(statement))
            return statement
        if statement.by not in self._keys:
            raise MalformedError("its signer has no card here")
        statement.verify(self._keys[statement.by])
        return statement

    def _is_recovery_key(self, by: str) -> bool:
        """Whether the digest of a signer's keys stands in a card here; a card may not so name another's card."""
        return by in self._recovery_keys and by not in self._keys

    def _take(self, index: int, statement: Statement) -> None:
        agreement = statement.frame.agreement or statement.id
        if statement.type == "enclave-evidence":
            # Its signer has a card from here on, also where the evidence means nothing: what that instance goes on to
            # say is then void, too, and does not end the replay as a body without a signer would.
            evidence = body.parse_body(statement)
            assert isinstance(evidence, body.EnclaveEvidence)
            self._keys[statement.by] = evidence.card.keys
        if statement.type == "agreement":
            self.proposed.add(agreement)
        _require(agreement in self.proposed, "a statement ahead of its agreement")
        signer = self._signer(statement, agreement)
        entry = Entry(index, statement.id, agreement, signer, body.parse_body(statement))
        if statement.type in self._MEANING:
            self._MEANING[statement.type](self, entry)
        self.entries[entry.id] = entry
        self.statements[entry.id] = statement

    def _signer(self, statement: Statement, agreement: str) -> str:
        if statement.type == "enclave-evidence" or statement.by in self.instances:
            return statement.by
        if statement.by == fingerprint(self.chain[agreement].host.card):
            return HOST
        if self._is_recovery_key(statement.by):
            _require(statement.type in ("replacement", "veto"), "a recovery key signs nothing else than what recovers")
            owners = [name for name, card in self.cards[agreement].items() if card.recovery == statement.by]
            return _known(next(iter(owners), None), "its signer is the recovery key of no card in force")
        shown = statement.type in ("replacement", "veto") and statement.body.get("recovery") is not None
        _require(not shown, "it shows a recovery key that did not sign it")
        name = self.who(statement.by, agreement)
        if name is None and statement.type == "approval":
            # an approver of the version before must approve this one also when it takes no further part
            for older in self._before(agreement):
                left = self.who(statement.by, older)
                name = left if left not in self.cards[agreement] else None
        return _known(name, "its signer's card is not in force")

    # -- what each statement means -----------------------------------------------------------------------------

    def _on_approval(self, entry: Entry[body.Approval]) -> None:
        _require(entry.by in self.needed_approvers(entry.agreement), "an approval by somebody who is no approver")
        self.approvals[entry.agreement].add(entry.by)

    def _on_successor(self, entry: Entry[body.Successor]) -> None:
        _require(entry.by in self.terms(entry).roles.approvers, "a successor named by somebody who is no approver")
        names = self.successors[entry.agreement].setdefault(entry.body.new, set())
        names.add(entry.by)
        if names >= set(self.terms(entry).roles.approvers):
            self.succeeded.setdefault(entry.agreement, entry.body.new)

    def _on_withdrawal(self, entry: Entry[body.Withdrawal]) -> None:
        _require(entry.by in self.terms(entry).roles.approvers, "a withdrawal by somebody who is no approver")
        self.withdrawals.setdefault(entry.agreement, entry)

    def _on_replacement(self, entry: Entry[body.Replacement]) -> None:
        """By the old card or by its recovery key it holds from here on; by a recovery approver it waits for more."""
        said, new, party = entry.body, entry.body.new, entry.body.new.name
        line = _known(self._lines[entry.agreement].get(party), "a replacement by a card of another name")
        # of two replacements the recovery key's holds: it, and the approvers, may name a card that was rotated since
        _require(said.old in line, "a replacement of a card that is not in force")
        by_old_card = entry.by == party and said.recovery is None
        _require(not by_old_card or said.old == line[-1], "a replacement of a card that is not in force")
        if entry.by == party:
            # or a thief of the old card could make the recovery key worth nothing
            same = new.recovery == self.cards[entry.agreement][party].recovery
            _require(same, "a replacement by a card with another recovery key")
        else:
            self._check_recovery(entry)
        if said.rehearsal:
            return
        # in this agreement: a later version may well have been written with the new card already
        _require(fingerprint(new) not in self._used[entry.agreement], "a replacement by a card that was used before")
        if entry.by != party:
            self._vouch(entry)
        elif said.recovery is None:
            self._put_in_force(entry.agreement, new, [*line, fingerprint(new)])
        else:
            self._put_in_force(entry.agreement, new, [fingerprint(new)])

    def _check_recovery(self, entry: Entry[body.Replacement]) -> None:
        """Whether somebody else may speak for a party's new card."""
        said, recovery = entry.body, self.terms(entry).roles.recovery
        approver = recovery is not None and entry.by in recovery.approvers and said.recovery is None
        _require(approver, "a replacement of somebody else's card by one who is no recovery approver")
        # else who is merely named in somebody's draft could be made to have approved it
        approved = self.needed_approvers(entry.agreement) <= self.approvals[entry.agreement]
        _require(approved, "a recovery under an agreement that is not approved")
        card = (entry.agreement, said.new.name, fingerprint(said.new))
        _require(card not in self.vetoed, "a new card that the recovery key vetoed")
        others = {card.recovery for name, card in self.cards[entry.agreement].items() if name != said.new.name}
        _require(said.new.recovery not in others, "a new card with the recovery key of another party")

    def _vouch(self, entry: Entry[body.Replacement]) -> None:
        recovery, new = self.terms(entry).roles.recovery, entry.body.new
        assert recovery is not None
        waiting = self.recoveries.setdefault((entry.agreement, fingerprint(new)), Recovery(new.name, new))
        _require(entry.by not in waiting.by, "a second word of the same recovery approver")
        waiting.by.add(entry.by)
        if len(waiting.by) == recovery.quorum:
            waiting.agreed_at = entry.index

    def _on_replacement_final(self, entry: Entry[body.ReplacementFinal]) -> None:
        recovery = _known(self.terms(entry).roles.recovery, "a replacement-final where nobody recovers cards")
        _require(entry.by in recovery.approvers, "a replacement-final by somebody who is no recovery approver")
        found = self.recoveries.get((entry.agreement, entry.body.new))
        waiting = _known(found, "a replacement-final of a card that does not wait for one")
        agreed_at = _known(waiting.agreed_at, "a replacement-final without the word of enough recovery approvers")
        since, until = self._checkpoint(entry, entry.body.since), self._checkpoint(entry, entry.body.until)
        _require(since.checkpoint.size > agreed_at, "a replacement-final that counts from before they were enough")
        liars = self.terms(entry).witnesses.liars_borne
        passed_s = until.surely_not_after(liars) - since.surely_not_before(liars)
        _require(passed_s >= seconds(recovery.delay), "a replacement-final before its delay is over")
        self._put_in_force(entry.agreement, waiting.new, [fingerprint(waiting.new)])

    def _checkpoint(self, entry: Entry[Strict], note: str) -> VerifiedCheckpoint:
        terms = self.terms(entry)
        try:
            return verify_checkpoint(
                note.encode(),
                log_key=parse_verifier_key(terms.host.card.log_key),
                witnesses=[parse_verifier_key(card.cosigner) for card in terms.witnesses.cards],
                quorum=terms.witnesses.quorum,
                origin=terms.host.card.origin,
            )
        except (LogError, ValueError) as error:
            raise Void(f"a checkpoint that its witnesses did not cosign: {error}") from error

    def _on_veto(self, entry: Entry[body.Veto]) -> None:
        waiting = self.recoveries.get((entry.agreement, entry.body.new))
        _require(waiting is None or waiting.party == entry.by, "a veto of somebody else's new card")
        if not entry.body.rehearsal:
            self.vetoed.add((entry.agreement, entry.by, entry.body.new))
            self.recoveries.pop((entry.agreement, entry.body.new), None)

    def _put_in_force(self, agreement: str, new: PartyCard, line: list[str]) -> None:
        """A party's card is another one from here on; what waited for a card that nobody can follow now is over."""
        self.cards[agreement][new.name] = new
        self._used[agreement].add(fingerprint(new))
        self._keys[fingerprint(new)] = new.keys
        self._recovery_keys.add(new.recovery)
        self._lines[agreement][new.name] = line
        if len(line) == 1:
            self.recoveries = {
                card: waiting
                for card, waiting in self.recoveries.items()
                if (card[0], waiting.party) != (agreement, new.name)
            }

    def _on_linkage_share(self, entry: Entry[body.LinkageShare]) -> None:
        group = _known(self.terms(entry).pseudonyms.get(entry.body.group), "a linkage share for an unknown group")
        others = sorted(set(group.shared_by) - {entry.by})
        _require(entry.by in group.shared_by, "a linkage share by somebody outside the group")
        _require(sorted(entry.body.sealed) == others, "a linkage share that is not sealed to each other provider")
        # the first in the log is the one: a second contribution would change the key under deliveries already made
        shares = self.linkage.setdefault((entry.agreement, entry.body.group, entry.body.period), {})
        _require(entry.by not in shares, "a second linkage share for the same period")
        shares[entry.by] = entry

    def _on_delivery(self, entry: Entry[body.Delivery]) -> None:
        said = entry.body
        dataset = _known(self.terms(entry).datasets.get(said.dataset), "a delivery of an unknown dataset")
        _require(dataset.provider == entry.by, "a delivery by somebody who is not its provider")
        _require(said.table == dataset.table, "a delivery under another schema than the agreement's")
        _require(kind_of(said.period) == dataset.period, "a delivery for another kind of period")
        linked = self.terms(entry).linkage_group(said.dataset) is not None
        _require((said.linkage_check is not None) == linked, "a delivery with the wrong linkage check")
        drawing = self.terms(entry).drawing_task(said.dataset)
        drawn = drawing is None or (said.dataset, said.period) in self.period_keys
        _require(drawn or self.partial, "a delivery under pseudonyms whose key was not drawn")
        for what, value in (("rows", said.rows), ("size", said.size)):
            _require((value is not None) == (what in dataset.listed), f"a delivery lists {what} against the agreement")
        overlapping = self.overlapping(said.dataset, said.period, entry.agreement)
        _require(overlapping is None, "a delivery for days that another delivery covers")
        # one that has expired, too: its owner may not give the period another table once a request named this one
        place = (entry.agreement, said.dataset, said.period)
        for earlier in [state for state in self.deliveries.values() if state.place == place and not state.replaced]:
            _require(dataset.replaceable and not earlier.named, "a second delivery for the same period")
            earlier.replaced = True
        self.deliveries[entry.id] = DeliveryState(entry)

    def _on_expiry(self, entry: Entry[body.Expiry]) -> None:
        if entry.body.delivery is None:
            self._forget_state(entry)
            return
        delivery = _known(self.deliveries.get(entry.body.delivery), "an expiry of an unknown delivery")
        _same_agreement(entry, delivery.entry)
        _require(delivery.entry.by == entry.by, "an expiry of somebody else's delivery")
        delivery.expired = True

    def _forget_state(self, entry: Entry[body.Expiry]) -> None:
        """A holder's share of a state's key is gone; with too few left, so is the state: the next day begins anew."""
        name = entry.body.task or ""
        _require(self._in_force(entry.agreement), "an expiry of a state under an agreement that is not in force")
        left = _known(self.state_record(name), "an expiry of a state where there is none")
        newest = left.body.state is not None and left.body.state.digest == entry.body.state
        _require(newest, "an expiry of a state that is not the newest")
        holders = self.terms(left).tasks[name].holders  # of the version under which it was split
        _require(entry.by in holders.of, "an expiry of a state by somebody who holds no share of it")
        state = self.tasks[name]
        state.forgotten.add(entry.by)
        if len(holders.of) - len(state.forgotten) < holders.threshold:
            state.state, state.ingested, state.forgotten = None, [], set()
            for instance in self.instances.values():  # one that had its shares would go on from what nobody counts now
                if instance.task == name and instance.c == state.counter:
                    instance.over = True

    def _on_deleted(self, entry: Entry[body.Deleted]) -> None:
        _require(entry.by == HOST, "a deletion that the host did not sign")

    def _on_run_request(self, entry: Entry[body.RunRequest]) -> None:
        said, terms = entry.body, self.terms(entry)
        task = _known(terms.tasks.get(said.task), "a run-request for an unknown task")
        _require(entry.by in task.runners, "a run-request by somebody who is no runner of the task")
        purposes = {purpose.id for purpose in terms.purpose}
        _require(said.purpose in purposes, "a run-request for a purpose that the agreement does not list")
        closed = set(said.parameters) - set(task.open_parameters)
        _require(not closed, "a run-request sets a parameter that the agreement does not leave open")
        _require(said.action in task.actions, "a run-request for something that the task does not do")
        try:
            places = terms.wanted(said.task, said.action, said.period)
        except ValueError as error:
            raise Void(f"a run-request for the wrong period: {error}") from error
        wanted = [self.in_force(dataset, period, entry.agreement) for dataset, period in places]
        found = [delivery for delivery in wanted if delivery is not None]
        complete = len(found) == len(wanted) and said.deliveries == [delivery.entry.id for delivery in found]
        _require(complete, "a run-request that does not name the deliveries in force for its period")
        for delivery in found:
            delivery.named = True
        self.requests[entry.id] = entry
        self.asked_at[entry.id] = self.counter(said.task)

    def _on_challenge(self, entry: Entry[body.Challenge]) -> None:
        request = self._request(entry.body.request)
        _same_agreement(entry, request)
        holder = entry.by in self.task(request).holders.of
        asked = {name for holders in self.needed_shares(request).values() for name in holders.of}
        asked |= set(self.owners(request))
        _require(holder or entry.by in asked or self.partial, "a challenge by a bystander")
        _require(holder == (entry.body.seal_to is not None), "a holder's challenge, and only that, has a sealing key")
        self.challenges[entry.id] = entry

    def _on_evidence(self, entry: Entry[body.EnclaveEvidence]) -> None:
        said, request = entry.body, self._request(entry.body.request)
        _same_agreement(entry, request)
        _require(said.challenges == sorted(set(said.challenges)), "evidence that lists its challenges out of order")
        named = [_known(self.challenges.get(id), "evidence for an unknown challenge") for id in said.challenges]
        _require(all(found.body.request == request.id for found in named), "evidence for another request's challenge")
        counters = {found.body.c for found in named}
        _require(len(counters) == 1, "evidence over challenges for different counters")
        instance = Instance(entry.by, entry, request, counters.pop())
        instance.over = instance.c < self.counter(instance.task)
        _require(entry.by not in self.instances, "a second evidence of the same instance")
        self.instances[entry.by] = instance

    def _on_key_release(self, entry: Entry[body.KeyRelease]) -> None:
        instance = _known(self.instances.get(entry.body.instance), "a key-release ahead of its instance's evidence")
        said, request = entry.body, instance.request
        _same_agreement(entry, request)
        _require(said.request == request.id, "a key-release for another request than the instance's")
        # it is nothing where its c is not the counter at its leaf
        current = said.c == instance.c == self.counter(instance.task)
        _require(current and not instance.over, "a key-release to an instance that is over")
        if said.state is not None or said.period_key is not None:
            holders = self.needed_shares(request).get(said.of)
            known = holders is not None or self.partial
            _require(known, "a share of a key that the run does not need")
            names = (
                holders.of
                if holders
                else {name for task in self.terms(entry).tasks.values() for name in task.holders.of}
            )
            _require(entry.by in names, "a share of a key by somebody who does not hold it")
            instance.shares.setdefault(said.of, {}).setdefault(entry.by, entry)
            return
        _require(said.of in self.needed_releases(request), "a key-release of a delivery not asked for")
        owner = self.deliveries[said.delivery].entry.by if said.delivery else entry.by
        _require(entry.by == owner and owner in self.owners(request), "a key-release by somebody who is not the owner")
        instance.releases.setdefault(said.of, entry)

    def _on_run_record(self, entry: Entry[body.RunRecord]) -> None:
        said, instance = entry.body, _known(self.instances.get(entry.by), "a run-record by no instance")
        _same_agreement(entry, instance.request)
        _require(instance.record is None, "a run-record that is not the first of its instance")
        instance.record = entry
        _require(self.live(instance.task) is instance, "a run-record of an instance that is not live")
        request = instance.request
        needed, shared = self.needed_releases(request), self.needed_shares(request)
        _require(all(of in instance.releases for of in needed), "a run-record without the key of every owner")
        bound = (request.id, instance.c, request.body.deliveries, instance.evidence.id)
        _require((said.request, said.c, said.deliveries, said.evidence) == bound, "a run-record of another run")
        named = set(said.releases)
        owners, released = {instance.releases[of].id for of in needed}, {each.id for each in instance.all_releases}
        listed = owners <= named <= released and said.releases == sorted(named)
        _require(listed, "a run-record that names other key-releases")
        for of, holders in shared.items():
            used = sum(entry.id in named for entry in instance.shares.get(of, {}).values())
            _require(used >= holders.threshold, "a run-record without the shares of enough holders")
        self._check_form(request, said)
        self.records[entry.id] = (entry, instance)
        self._settle(entry.id)

    def _check_form(self, request: Entry[body.RunRequest], said: body.RunRecord) -> None:
        """A record leaves behind what its action leaves: tables, a state, a key, or nothing."""
        left = {"run": {"outputs"}, "ingest": {"state"}, "finish": {"outputs"}, "cancel": set(), "key": {"key"}}
        names = {"outputs": said.outputs, "state": said.state, "key": said.key}
        over = request.body.action in ("finish", "cancel")
        _require(
            not over or self.partial or self.state_record(request.body.task), "a report over a state that is not there"
        )
        _require(
            {name for name, value in names.items() if value} == left[request.body.action], "a record of the wrong form"
        )
        _require(
            bool(said.shares) == bool(said.outputs), "a record with shares of no result, or results without shares"
        )
        if said.key is not None:
            inputs = self.task(request).inputs.values()
            _require(said.key.dataset in inputs, "a key that was drawn for another dataset")

    def _on_refusal(self, entry: Entry[body.Refusal]) -> None:
        instance, of = self.instances.get(entry.by), entry.body.of
        if instance is not None:
            _same_agreement(entry, instance.request)
            _require(of == instance.request.id, "a refusal of another request than the instance's")
            instance.over = True
        elif of in self.records:
            _same_agreement(entry, self.records[of][0])
            owners = self.terms(entry).owners(self.records[of][1].task)
            _require(entry.by in owners, "a refusal of a record by somebody who owns none of its inputs")
        else:
            shares = [share for group in self.linkage.values() for share in group.values() if share.id == of]
            for share in shares:
                _same_agreement(entry, share)
            others = {name for share in shares for name in share.body.sealed}
            _require(entry.by in others, "a refusal of something that is not its signer's to refuse")
        self.refusals.setdefault(of, []).append(entry)

    def _on_abandon(self, entry: Entry[body.Abandon]) -> None:
        instance = _known(self.instances.get(entry.body.instance), "an abandon of an unknown instance")
        _same_agreement(entry, instance.request)
        task, owners = self.task(instance.request), self.terms(entry).owners(instance.task)
        _require(entry.by in {*task.runners, *task.holders.of, *owners}, "an abandon by a bystander")
        instance.over = True  # a record of it that counts stays: no statement undoes that (section 8)

    def _on_kept(self, entry: Entry[body.Kept]) -> None:
        record, instance = _known(self.records.get(entry.body.record), "a kept of something that is no run-record")
        _same_agreement(entry, record)
        _require(entry.by in self.task(instance.request).keepers, "a kept by somebody who is no keeper")
        self.kept.setdefault(entry.body.record, set()).add(entry.by)
        self._settle(entry.body.record)

    def _on_result_release(self, entry: Entry[body.ResultRelease]) -> None:
        record, instance = _known(self.records.get(entry.body.record), "a result-release of no record")
        _same_agreement(entry, record)
        _require(entry.by in self.task(instance.request).holders.of, "a result-release by somebody who is no holder")
        _require(self.counts(entry.body.record), "a result-release of a record that does not count")
        self.result_releases.setdefault(entry.body.record, {}).setdefault(entry.by, entry)

    def _on_acknowledgement(self, entry: Entry[body.Acknowledgement]) -> None:
        record, instance = _known(self.records.get(entry.body.record), "an acknowledgement of no record")
        _same_agreement(entry, record)
        _require(entry.by in self.terms(entry).consumers(instance.task), "an acknowledgement by no consumer")
        self.acknowledged.setdefault(entry.body.record, set()).add(entry.by)

    _MEANING: ClassVar[dict[str, Callable[..., None]]] = {
        "approval": _on_approval,
        "successor": _on_successor,
        "withdrawal": _on_withdrawal,
        "replacement": _on_replacement,
        "replacement-final": _on_replacement_final,
        "veto": _on_veto,
        "linkage-share": _on_linkage_share,
        "delivery": _on_delivery,
        "expiry": _on_expiry,
        "deleted": _on_deleted,
        "run-request": _on_run_request,
        "challenge": _on_challenge,
        "enclave-evidence": _on_evidence,
        "key-release": _on_key_release,
        "run-record": _on_run_record,
        "refusal": _on_refusal,
        "abandon": _on_abandon,
        "kept": _on_kept,
        "result-release": _on_result_release,
        "acknowledgement": _on_acknowledgement,
    }

    def _settle(self, id: str) -> None:
        """Let a record count, if at this leaf it does: kept by all needed, still live, no withdrawal before."""
        record, instance = self.records[id]
        said = instance.request.body
        named = record.body.outputs or record.body.state  # a record that names no ciphertext counts from its own leaf
        needed = set(self.terms(record).needed_keepers(instance.task)) if named else set()
        if needed - self.kept.get(id, set()) or self.live(instance.task) is not instance:
            return
        if record.agreement in self.withdrawals or self.superseded(record.agreement):
            return
        if not self._in_force(record.agreement):
            return
        state = self.tasks.setdefault(instance.task, TaskState())
        state.counter += 1
        state.counting.append(id)
        state.state = id if record.body.state is not None else None
        if said.action == "finish":
            state.reported[id] = state.ingested
        state.ingested = [*state.ingested, said.period] if said.action == "ingest" else []
        state.forgotten = set()
        if record.body.key is not None:
            self.period_keys.setdefault((record.body.key.dataset, said.period), id)
        for other in self.instances.values():
            if other.task == instance.task and other.c < state.counter:
                other.over = True

    # -- questions -----------------------------------------------------------------------------------------------

    def terms(self, entry: Entry[Strict]) -> Agreement:
        """The agreement under which something was said."""
        return self.chain[entry.agreement]

    def task(self, request: Entry[body.RunRequest]) -> Task:
        """The task that a request asks for."""
        return self.terms(request).tasks[request.body.task]

    def who(self, by: str, agreement: str | None = None) -> str | None:
        """The name of the party whose card in force has this fingerprint."""
        for name, card in self.cards[agreement or self.id].items():
            if fingerprint(card) == by:
                return name
        return None

    def cards_ever(self, agreement: str) -> set[str]:
        """The fingerprints of all party cards that are or were in force in an agreement."""
        return set(self._used[agreement])

    def counter(self, task: str) -> int:
        """How many run-records of the task count."""
        return self.tasks[task].counter if task in self.tasks else 0

    def live(self, task: str) -> Instance | None:
        """Of the instances for the current counter that are not over, the one first released to."""
        started = [
            (instance.first_release, instance.fingerprint)
            for instance in self.instances.values()
            if instance.task == task
            and not instance.over
            and instance.c == self.counter(task)
            and instance.first_release is not None
        ]
        return self.instances[min(started)[1]] if started else None

    def counts(self, record: str) -> bool:
        """Whether a run-record counts; once it does it always will."""
        return any(record in state.counting for state in self.tasks.values())

    def counting_record(self, request: str) -> Entry[body.RunRecord] | None:
        """The record that answered a request, if one counts."""
        for id, (entry, _) in self.records.items():
            if entry.body.request == request and self.counts(id):
                return entry
        return None

    def instance_of(self, record: str) -> Instance:
        """The instance that made a record."""
        return self.records[record][1]

    def run_refused(self, request: str) -> Entry[body.Refusal] | None:
        """An instance's refusal of a request, which ends it: the runner may ask anew."""
        return next((entry for entry in self.refusals.get(request, []) if entry.by in self.instances), None)

    def runs_counted(self, task: str, action: str, period: str) -> int:
        """How many records count for a task, action and period."""
        return sum(
            (entry.body.task, entry.body.action, entry.body.period) == (task, action, period)
            and self.counting_record(entry.id) is not None
            for entry in self.requests.values()
        )

    def owners(self, request: Entry[body.RunRequest]) -> list[str]:
        """Whose key or consent a run needs: the providers of its deliveries, or of what a key is drawn for."""
        if request.body.action == "key":
            return self.terms(request).owners(request.body.task)
        return list(dict.fromkeys(self.deliveries[id].entry.by for id in request.body.deliveries))

    def needed_releases(self, request: Entry[body.RunRequest]) -> list[str]:
        """Of what owners must give the key to an instance: each delivery; of a run that draws a key, the request."""
        return [request.id] if request.body.action == "key" else request.body.deliveries

    def needed_shares(self, request: Entry[body.RunRequest]) -> dict[str, Holders]:
        """Of which keys a run needs shares, and who holds them: the newest state, the keys of pseudonyms."""
        needed = {}
        left = self.state_record(request.body.task)
        if left is not None and left.body.state is not None:
            # of the version under which it was split, whoever holds shares under this one
            needed[left.body.state.digest] = self.terms(left).tasks[request.body.task].holders
        for id in request.body.deliveries:
            said = self.deliveries[id].entry.body
            drawing, record = self.terms(request).drawing_task(said.dataset), None
            if drawing is not None:
                record = self.period_keys.get((said.dataset, said.period))
            if drawing is not None and record is not None:
                drew, instance = self.records[record]
                needed[record] = self.terms(drew).tasks[instance.task].holders
        return needed

    def state_record(self, task: str) -> Entry[body.RunRecord] | None:
        """The record that left a task's newest state, if it has one."""
        id = self.tasks[task].state if task in self.tasks else None
        return self.records[id][0] if id is not None else None

    def ingested(self, task: str) -> list[str]:
        """The days in a task's newest state."""
        return self.tasks[task].ingested if task in self.tasks else []

    def data_refusals_left(self, request: Entry[body.RunRequest]) -> int:
        """How many more runs of a task and period may end in a refusal after a delivery was opened."""
        used = [
            refusal
            for entry in self.requests.values()
            if _asks_alike(entry, request)
            for refusal in self.refusals.get(entry.id, [])
            if refusal.body.reason == "data" and self._opened(refusal.by)
        ]
        return self.task(request).data_refusals - len(used)

    def in_force(self, dataset: str, period: str, agreement: str | None = None) -> DeliveryState | None:
        """The delivery that stands for a dataset and period."""
        place = (agreement or self.id, dataset, period)
        for state in self.deliveries.values():
            if state.place == place and not state.replaced and not state.expired:
                return state
        return None

    def overlapping(self, dataset: str, period: str, agreement: str | None = None) -> DeliveryState | None:
        """A delivery for another range that shares days with this one: comparing the two would tell of the rest."""
        first, last = days(period)
        for state in self.deliveries.values():
            where, what, theirs = state.place
            if (where, what) != (agreement or self.id, dataset) or theirs == period or state.replaced:
                continue
            begins, ends = days(theirs)
            if begins <= last and first <= ends:
                return state
        return None

    def check_request(self, id: str) -> Entry[body.RunRequest]:
        """Check that a request may (still) be run: known, its deliveries in force, runs and refusals left.

        Raises:
            Void: with the reason.
        """
        request = self._request(id)
        states = [self.deliveries[delivery] for delivery in request.body.deliveries]
        in_force = not any(state.replaced or state.expired for state in states)
        _require(in_force, "a delivery that the request names was replaced or has expired")
        checks = {state.entry.body.linkage_check for state in states} - {None}
        _require(len(checks) <= 1, "the deliveries were not made under one linkage key")
        self.check_turn(request.agreement, request.body.task, request.body.action, request.body.period)
        moved = self.asked_at[id] != self.counter(request.body.task)
        over = request.body.action in ("finish", "cancel")
        _require(not (over and moved), "the task has gone on since that was asked for: ask again")
        _require(self.data_refusals_left(request) > 0, "too many runs of this period ended in a refusal over the data")
        return request

    def check_turn(self, agreement: str, task: str, action: str, period: str) -> None:
        """Check that it is the turn of an action: a day once and in the report at hand, a report over some day.

        Raises:
            Void: with the reason.
        """
        terms = self.chain[agreement].tasks[task]
        present = self.ingested(task)
        report = report_of(terms.report, present[0]) if terms.report and present else None
        if action == "ingest":
            assert terms.report is not None
            own = report_of(terms.report, period) or ""
            reported = self.runs_counted(task, "finish", own)
            # once, ever: after a report or a cancel its pseudonyms' key is gone with it
            _require(self.runs_counted(task, "ingest", period) == 0, "the day was taken in already")
            _require(not present or report == own, "another report is not finished: finish or cancel it first")
            _require(reported < terms.runs_per_period, f"the report of {own} was made already")
        elif action in ("finish", "cancel"):
            _require(present, "no day was taken in yet")
            # a version may have changed what a report is: then the days can be given up, and nothing else
            mine = report == period or (action == "cancel" and report is None)
            _require(mine, f"the days taken in are of the report of {report}")
        elif action == "key":
            drawn = any((dataset, period) in self.period_keys for dataset in terms.inputs.values())
            _require(not drawn, "the key of that day was drawn already")
        if action in ("run", "finish"):
            left = terms.runs_per_period - self.runs_counted(task, action, period)
            _require(left > 0, "no run is left for this task and period")

    def contributions(self, group: str, period: str) -> dict[str, Entry[body.LinkageShare]]:
        """The linkage shares of a group for a period, by provider."""
        return self.linkage.get((self.id, group, period), {})

    def goes_on(self, agreement: str) -> bool:
        """Whether what was said under a version belongs to this one: it, or one before that all its approvers followed.

        A version that somebody merely proposed follows nothing: what is said under it touches nobody's state.
        """
        versions = list(self.chain)[: list(self.chain).index(agreement) + 1]  # this one first
        followed = all(self.succeeded.get(older) == newer for newer, older in pairwise(versions))
        return followed and (agreement == self.id or not self.missing_approvals())

    def _in_force(self, agreement: str) -> bool:
        """Whether, at this leaf, all have approved a version and the approvers of the one before have named it."""
        approved = self.needed_approvers(agreement) <= self.approvals[agreement]
        return approved and all(self.succeeded.get(older) == agreement for older in self._before(agreement))

    def superseded(self, agreement: str | None = None) -> bool:
        """Whether all approvers of an agreement have named one successor."""
        return (agreement or self.id) in self.succeeded

    def ended(self, now: datetime) -> bool:
        """Whether no run can begin under it any more, whatever is said: it was withdrawn, followed, or is past.

        What counted before it was followed by a newer version may still be released.
        """
        return self.id in self.withdrawals or self.superseded() or now > self.agreement.valid.end

    def missing_approvals(self) -> list[str]:
        """The approvers, of this version and the one before, who have not approved yet."""
        return sorted(self.needed_approvers() - self.approvals[self.id])

    def check_active(self, now: datetime) -> None:
        """Check that the agreement holds at a time of the caller's clock.

        Raises:
            InactiveError: with the reason.
        """
        self.check_stands(now)
        if self.superseded():
            raise InactiveError("the agreement was superseded by a newer version")
        for older in self._before(self.id):
            if self.succeeded.get(older) != self.id:
                raise InactiveError("the version before is in force until its approvers name this one its successor")

    def check_stands(self, now: datetime) -> None:
        """Check that what counted under it may still be released (section 7): a newer version stops no result.

        Raises:
            InactiveError: with the reason.
        """
        valid = self.agreement.valid
        if self.id not in self.proposed:
            raise InactiveError("the agreement is not in the log")
        if self.id in self.withdrawals:
            raise InactiveError(f"the agreement was withdrawn by {self.withdrawals[self.id].by}")
        if self.missing_approvals():
            raise InactiveError(f"the agreement still lacks the approval of {', '.join(self.missing_approvals())}")
        if not valid.start <= now <= valid.end:
            raise InactiveError(f"the agreement is valid from {valid.from_} to {valid.to}, and it is {now:%Y-%m-%d}")

    def needed_approvers(self, agreement: str | None = None) -> set[str]:
        """Who must approve an agreement: its approvers, and those of the version before."""
        wanted = agreement or self.id
        return {name for id in (wanted, *self._before(wanted)) for name in self.chain[id].roles.approvers}

    def _before(self, agreement: str) -> list[str]:
        """The version that an agreement supersedes, if any."""
        ids = list(self.chain)
        return ids[ids.index(agreement) + 1 : ids.index(agreement) + 2]

    def _opened(self, instance: str) -> bool:
        """Whether an instance was given any delivery's key: without one, no run of it can have failed over the data."""
        return instance in self.instances and bool(self.instances[instance].releases)

    def _request(self, id: str) -> Entry[body.RunRequest]:
        return _known(self.requests.get(id), "no such run-request")


def _shown_recovery_key(statement: Statement) -> SigningKeys:
    """The recovery key that signed a statement and stands in it; its digest stands in a card."""
    try:
        keys = SigningKeys.model_validate(statement.body.get("recovery"))
    except ValidationError as error:
        raise MalformedError("it does not show the recovery key that signed it") from error
    if canonical.digest(keys.to_json()) != statement.by:
        raise MalformedError("it shows another recovery key than the one that signed it")
    return keys


def _asks_alike(one: Entry[body.RunRequest], other: Entry[body.RunRequest]) -> bool:
    asks = [(each.body.task, each.body.action, each.body.period) for each in (one, other)]
    return asks[0] == asks[1]


def _same_agreement(entry: Entry[Strict], about: Entry[Strict]) -> None:
    """Names, roles and cards are those of one agreement: what is said under one means nothing to another's run."""
    _require(entry.agreement == about.agreement, "a statement about something of another agreement")


def _require(condition: object, otherwise: str) -> None:
    if not condition:
        raise Void(otherwise)


def _known(value: T | None, otherwise: str) -> T:
    if value is None:
        raise Void(otherwise)
    return value
