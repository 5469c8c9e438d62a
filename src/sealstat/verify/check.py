"""Checking a proof bundle: the procedure of protocol.md section 9, in its order, from one file and trusted keys.

Roles, order and what counts are decided by the same ``View`` that enclave and agents use, fed with the bundle's
statements at their places in the log. A bundle shows what it holds: that nothing else stands in the log (another
instance, a withdrawal) is attested by those who replay all of it.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, TypeVar

from sealstat.agreement import statements as body
from sealstat.agreement.check import problems
from sealstat.agreement.model import Agreement
from sealstat.agreement.replay import Entry, InactiveError, ReplayError, TaskState, View
from sealstat.crypto.cards import Strict, fingerprint, spoken, unb64
from sealstat.crypto.derive import commitment
from sealstat.crypto.errors import CryptoError
from sealstat.crypto.statement import Statement
from sealstat.evidence.appraisal import Appraised, appraise
from sealstat.evidence.errors import EvidenceError
from sealstat.log.checkpoint import FUTURE_TOLERANCE_S, VerifiedCheckpoint, verify_checkpoint
from sealstat.log.errors import LogError
from sealstat.log.merkle import leaf_hash, verify_consistency, verify_inclusion
from sealstat.log.note import VerifierKey, parse_note, parse_verifier_key
from sealstat.verify.bundle import (
    Bundle,
    Placed,
    Run,
    expiries,
    ids_to_show,
    named_keys,
    parse_bundle,
    record_before,
    run_of,
)
from sealstat.verify.errors import BundleError
from sealstat.verify.trust import Trust
from sealstat.verify.verdict import Line, Status, Verdict

B = TypeVar("B", bound=Strict)

SHOWN_TYPES = frozenset(
    {
        "agreement",
        "approval",
        "successor",
        "replacement",
        "replacement-final",
        "veto",
        "delivery",
        "expiry",  # of a state
        "run-request",
        "challenge",
        "enclave-evidence",
        "key-release",
        "run-record",
        "kept",
        "result-release",
    }
)

_LIMITS = {
    "others": "that nothing else stands in the log (a withdrawal, an expiry, another instance): a proof shows what it "
    "holds; parties and monitors who replay the whole log attest the rest",
    "signing": "when each statement was signed: its leaf fixes the text, not the moment of the signature",
    "inputs": "that the inputs are true, or chosen in good faith: a provider may learn from results by what it gives",
    "channels": "that the processor has no side channels, and that sizes and times of messages tell nothing",
    "confinement": "that a hostile table cannot harm the code that decodes it: this version decodes in one process",
    "sums": "what this result gives away together with those of other agreements",
}


def verify_bundle(
    bundle_bytes: bytes,
    *,
    trust: Trust,
    now: datetime,
    results: Mapping[str, tuple[bytes, bytes]] | None = None,
) -> Verdict:
    """Check a proof; never raises for what is in it.

    Args:
        bundle_bytes: the file.
        trust: see there.
        now: the verifier's clock, zone-aware: what was cosigned after it is refused.
        results: by table, salt (32 bytes) and content bytes, to be compared with the record's commitments.
    Returns:
        the lines established; if the last one failed, its sentence is the reason, and nothing follows from the rest.
    """
    check = _Check(trust=trust, now=now, results=dict(results or {}))
    try:
        check.run(bundle_bytes)
    except _FailedError as error:
        check.say(error.key, "failed", str(error))
    return Verdict(tuple(check.lines), hardware=check.hardware)


class _FailedError(Exception):
    def __init__(self, key: str, sentence: str) -> None:
        self.key = key
        super().__init__(sentence)


def _require(condition: object, key: str, otherwise: str) -> None:
    if not condition:
        raise _FailedError(key, otherwise)


@dataclass
class _Check:
    """One verification; each step leaves behind what the next ones need."""

    trust: Trust
    now: datetime
    results: dict[str, tuple[bytes, bytes]]
    lines: list[Line] = field(default_factory=list)
    hardware: bool = False

    bundle: Bundle = field(init=False)
    placed: dict[str, Placed] = field(init=False)
    statements: dict[str, Statement] = field(init=False)  # by id, in the log's order
    chain: list[Statement] = field(init=False)  # agreements, newest first
    versions: dict[str, Agreement] = field(init=False)
    agreement: Agreement = field(init=False)
    checkpoint: VerifiedCheckpoint = field(init=False)
    named: dict[str, VerifiedCheckpoint] = field(init=False)  # by challenge or evidence
    view: View = field(init=False)
    answer: Run = field(init=False)
    before: Run | None = field(init=False, default=None)
    appraised: Appraised = field(init=False)

    def say(self, key: str, status: Status, sentence: str) -> None:
        self.lines.append(Line(key, status, sentence))

    def run(self, data: bytes) -> None:
        """Protocol.md section 9, "Order"."""
        self._form(data)  # (1)
        self._cards()  # (2)
        self._checkpoint()  # (3)
        self._inclusion()  # (4)
        self._signatures_and_roles()  # (5)
        self._log_order()  # (6)
        self._active()  # (7)
        self._evidence()  # (8)
        self._bindings()  # (9)
        self._rules()  # (10)
        self._results()  # (11)
        for key, sentence in _LIMITS.items():
            self.say(f"limits.{key}", "not proved", sentence)

    # -- (1) sizes and form ------------------------------------------------------------------------------------------

    def _form(self, data: bytes) -> None:
        try:
            self.bundle = parse_bundle(data)
            parsed = [(placed, placed.statement()) for placed in self.bundle.statements]
        except (BundleError, CryptoError) as error:
            raise _FailedError("form", str(error)) from error
        self.placed = {statement.id: placed for placed, statement in parsed}
        self.statements = {statement.id: statement for _, statement in parsed}
        _require(len(self.statements) == len(parsed), "form", "the file holds a statement twice")
        alien = [statement.type for _, statement in parsed if statement.type not in SHOWN_TYPES]
        _require(not alien, "form", f"the file holds a {(alien or [''])[0]}, which is no part of a proof")
        self.say("form", "proved", f"the file is one proof over {len(parsed)} statements, in the one form it may have")

    # -- (2) cards ---------------------------------------------------------------------------------------------------

    def _cards(self) -> None:
        self.chain = list(self._versions(self.bundle.agreement))
        try:
            bodies = [self._body(statement, Agreement) for statement in self.chain]
        except CryptoError as error:
            raise _FailedError("agreement", str(error)) from error
        # without a catalogue: statistics are part of the attested code, not of the verifier
        for place, sentence in problems(bodies[0], None)[:1]:
            raise _FailedError("agreement", f"the agreement is unsound at {place or 'its top'}: {sentence}")
        self.agreement = bodies[0]
        self.versions = {statement.id: terms for statement, terms in zip(self.chain, bodies, strict=True)}
        shown = {fingerprint(party.card) for agreement in bodies for party in agreement.parties.values()}
        shown |= {fingerprint(said.new) for _, said in self._of("replacement", body.Replacement)}
        for card in sorted(self.trust.parties - shown):
            raise _FailedError("agreement.trust", f"a card you trust ({spoken(card)}) is no party of this agreement")
        id, version = self.chain[0].id, self.agreement.version
        self.say("agreement.text", "proved", f"agreement {id}, version {version}: {self.agreement.title}")

    def _versions(self, wanted: str | None) -> Iterable[Statement]:
        seen = 0
        while wanted is not None:
            statement = self.statements.get(wanted)
            if statement is None or statement.type != "agreement":
                raise _FailedError("agreement", "the agreement, or one it supersedes, is not in the file")
            yield statement
            wanted, seen = statement.body.get("supersedes"), seen + 1
        _require(
            seen == sum(statement.type == "agreement" for statement in self.statements.values()),
            "agreement",
            "the file holds an agreement that has nothing to do with the record's",
        )

    def _terms(self, statement: Statement) -> Agreement:
        """The version of the agreement under which something is said."""
        terms = self.versions.get(statement.frame.agreement or statement.id)
        if terms is None:
            raise _FailedError("agreement", f"the file holds a {statement.type} under another agreement")
        return terms

    def _body(self, statement: Statement, model: type[B]) -> B:
        parsed = body.parse_body(statement)
        assert isinstance(parsed, model)
        return parsed

    def _of(self, type: str, model: type[B]) -> list[tuple[str, B]]:
        """(id, body) of the bundle's statements of a type."""
        found = [(id, statement) for id, statement in self.statements.items() if statement.type == type]
        try:
            return [(id, self._body(statement, model)) for id, statement in found]
        except CryptoError as error:
            raise _FailedError("form", str(error)) from error

    # -- (3) the checkpoint ------------------------------------------------------------------------------------------

    def _checkpoint(self) -> None:
        note = self.bundle.checkpoint.encode()
        try:
            known = named_keys(self.agreement)
            known |= {(key.name, key.key_id): key for key in self.trust.witnesses}
            lines = [(line.name, line.key_id) for line in parse_note(note).signatures]
            strange = [line for line in lines if line not in known and line != self._log_line()]
            _require(not strange, "log.checkpoint", "the checkpoint has a signature by a key that nobody here names")
            _require(
                len(lines) == len(set(lines)), "witnesses", "a key has signed the checkpoint twice: it counts once"
            )
            # every line must be right, also by a witness that the verifier did not choose: no byte is idle
            others = [key for key in known.values() if key.type != self._log_key().type]
            verify_checkpoint(note, log_key=self._log_key(), witnesses=others, quorum=0, origin=self._origin())
            self.checkpoint = self._verified(self.bundle.checkpoint, self.agreement)
            clock = self._clock(self.checkpoint, self.agreement)
        except (LogError, ValueError) as error:
            raise _FailedError("log.checkpoint", str(error)) from error
        latest = self.now + timedelta(seconds=FUTURE_TOLERANCE_S)
        _require(clock <= latest, "witnesses", "the checkpoint was cosigned after the time you gave")
        what = self.checkpoint.checkpoint
        whose = "as you know it" if self.trust.log_key else "as the agreement names it, not chosen by you"
        self.say(
            "log.checkpoint",
            "proved",
            f"the checkpoint of {what.origin} over {what.size} leaves is signed by the log's key, {whose}",
        )
        self._say_witnesses()

    def _say_witnesses(self) -> None:
        chosen = bool(self.trust.witnesses)
        for key in self._witnesses(self.agreement):
            if (at := self.checkpoint.cosigned_at.get(key.public)) is not None:
                self.say(f"witnesses.{key.name}", "proved", f"{key.name} cosigned it at {_iso(_moment(at))}")
        found, needed = len(self.checkpoint.cosigned_at), self._quorum(self.agreement)
        if chosen:
            sentence = f"{found} of the witnesses you chose cosigned the checkpoint, {needed} are needed"
            self.say("witnesses", "proved", sentence)
        else:
            sentence = f"{found} witnesses cosigned, {needed} are needed: witnesses as the agreement names them, "
            self.say("witnesses", "attested", sentence + "not chosen by you")

    def _log_key(self) -> VerifierKey:
        return self.trust.log_key or parse_verifier_key(self.agreement.host.card.log_key)

    def _log_line(self) -> tuple[str, bytes]:
        return self._log_key().name, self._log_key().key_id

    def _origin(self) -> str:
        return self.agreement.host.card.origin

    def _witnesses(self, terms: Agreement) -> Collection[VerifierKey]:
        named = [parse_verifier_key(card.cosigner) for card in terms.witnesses.cards]
        return self.trust.witnesses or tuple(named)

    def _quorum(self, terms: Agreement) -> int:
        if self.trust.quorum is not None:
            return self.trust.quorum
        # how many of the verifier's own witnesses are enough is not for the bundle to say
        return len(self.trust.witnesses) // 2 + 1 if self.trust.witnesses else terms.witnesses.quorum

    def _verified(self, note: str, terms: Agreement) -> VerifiedCheckpoint:
        witnesses, quorum = self._witnesses(terms), self._quorum(terms)
        return verify_checkpoint(
            note.encode(), log_key=self._log_key(), witnesses=witnesses, quorum=quorum, origin=self._origin()
        )

    def _clock(self, checkpoint: VerifiedCheckpoint, terms: Agreement) -> datetime:
        return _moment(checkpoint.clock(self._quorum(terms)))

    # -- (4) inclusion and consistency -------------------------------------------------------------------------------

    def _inclusion(self) -> None:
        tree = self.checkpoint.checkpoint
        for id, statement in self.statements.items():
            placed = self.placed[id]
            proof = [unb64(value) for value in placed.inclusion]
            try:
                verify_inclusion(placed.index, tree.size, leaf_hash(statement.leaf), proof, tree.root)
            except LogError as error:
                raise _FailedError("log.inclusion", f"a {statement.type} is not in the log: {error}") from error
        first, last = self.bundle.statements[0].index, self.bundle.statements[-1].index
        self.say("log.inclusion", "proved", f"every statement has its leaf in the log, from {first} to {last}")
        self._consistency()

    def _consistency(self) -> None:
        notes = [(id, said.checkpoint) for id, said in self._of("challenge", body.Challenge)]
        notes += [(id, said.checkpoint) for id, said in self._of("enclave-evidence", body.EnclaveEvidence)]
        finals = self._of("replacement-final", body.ReplacementFinal)
        notes += [(id, note) for id, said in finals for note in (said.since, said.until)]
        tree, growth = self.checkpoint.checkpoint, {proof.size: proof for proof in self.bundle.growth}
        self.named, used = {}, set()
        for id, note in notes:
            statement = self.statements[id]
            try:
                self.named[id] = self._verified(note, self._terms(statement))
                old = self.named[id].checkpoint
                used.add(old.size)
                _require(old.size in growth, "log.consistency", f"the proof of growth from size {old.size} is missing")
                proof = [unb64(value) for value in growth[old.size].consistency]
                verify_consistency(old.size, tree.size, old.root, tree.root, proof)
            except LogError as error:
                sentence = f"the checkpoint that a {statement.type} names is not of this log's past: {error}"
                raise _FailedError("log.consistency", sentence) from error
        _require(used == growth.keys(), "log.consistency", "the file holds a proof of growth that nothing asks for")
        sentence = f"the log only grew since each of the {len(notes)} checkpoints that challenges and evidence name"
        if finals:
            sentence = sentence.removesuffix("name") + "and replacements name"
        self.say("log.consistency", "proved", sentence)

    # -- (5) signatures and roles ------------------------------------------------------------------------------------

    def _signatures_and_roles(self) -> None:
        record = self._record()
        self.view = View(self.chain, partial=True)
        # How many records counted before the earliest shown is not in the bundle; the releases' owners replayed it.
        earlier = record.c - 1 if record.c else 0
        self.view.tasks[self._task_of(record)] = TaskState(counter=earlier)
        for id, statement in self.statements.items():
            self.view.size = self.placed[id].index
            try:
                self.view.add(id, statement.type, statement.to_bytes())
            except ReplayError as error:
                raise _FailedError("log.signatures", str(error)) from error
            if id in self.view.void:
                raise _FailedError("log.roles", f"a {statement.type} means nothing: {self.view.void[id][1]}")
            algorithms = {"ed25519"} if statement.by in self.view.instances else {"ed25519", "mldsa65"}
            strange = statement.signatures.keys() - algorithms
            _require(not strange, "log.signatures", f"a {statement.type} has a signature that no key of its card made")
        self.say("log.signatures", "proved", "every statement is signed by all keys of a card that may say it")
        self._replaced_cards()
        self._approvals()

    def _replaced_cards(self) -> None:
        """Whose word a party's new card rests on, if it is not the old card's."""
        by_new: dict[str, list[Entry[Strict]]] = {}
        for id, said in self._of("replacement", body.Replacement):
            if said.rehearsal:
                continue
            entry = self.view.entries[id]
            by_new.setdefault(fingerprint(said.new), []).append(entry)
            if said.recovery is not None:
                sentence = f"{entry.by} has a new card from leaf {entry.index} on, by its recovery key"
                self.say(f"agreement.cards.{entry.by}", "proved", sentence)
        for id, final in self._of("replacement-final", body.ReplacementFinal):
            words = by_new[final.new]
            name, approvers = self._body(self.statements[words[0].id], body.Replacement).new.name, {e.by for e in words}
            sentence = (
                f"{name} has a new card from leaf {self.view.entries[id].index} on, which no key of its own signed: "
            )
            sentence += f"{', '.join(sorted(approvers))} gave it, as the agreement lets them, after its delay"
            self.say(f"agreement.cards.{name}", "attested", sentence)

    def _record(self) -> body.RunRecord:
        for id, said in self._of("run-record", body.RunRecord):
            if id == self.bundle.record:
                return said
        raise _FailedError("form", "the run-record that the file is about is not in it")

    def _task_of(self, record: body.RunRecord) -> str:
        for id, said in self._of("run-request", body.RunRequest):
            if id == record.request:
                return said.task
        raise _FailedError("form", "the run-request that the record answers is not in the file")

    def _approvals(self) -> None:
        missing = self.view.missing_approvals()
        _require(not missing, "agreement.approval", f"the agreement lacks the approval of {', '.join(missing)}")
        for id, said in self._of("approval", body.Approval):
            entry = self.view.entries[id]
            if entry.agreement != self.view.id:
                continue
            terms = self.agreement if entry.by in self.agreement.parties else self.versions[self.chain[1].id]
            # a card that took another's place did so by that one's own signature
            own = {fingerprint(terms.parties[entry.by].card), self.statements[id].by}
            text = f"{entry.by} approved it at leaf {entry.index}, shown the {said.language} text {said.explained}"
            if own & self.trust.parties:
                self.say(f"agreement.approval.{entry.by}", "proved", f"{text}; you trust its card")
            elif self._knows_by_name(entry.by):
                raise _FailedError("agreement.trust", f"{entry.by} approved by another card than the one you trust")
            else:
                card = f"its card {spoken(self.statements[id].by)} is not among those you trust"
                self.say(f"agreement.approval.{entry.by}", "attested", f"{text}; {card}")

    def _knows_by_name(self, name: str) -> bool:
        """Whether the verifier trusts a card that the party of this name has in some version shown."""
        cards = [terms.parties[name].card for terms in self.versions.values() if name in terms.parties]
        cards += [said.new for _, said in self._of("replacement", body.Replacement) if said.new.name == name]
        return any(fingerprint(card) in self.trust.parties for card in cards)

    # -- (6) the log's order -----------------------------------------------------------------------------------------

    def _log_order(self) -> None:
        _require(self.view.counts(self.bundle.record), "log.order", self._why_not())
        before = record_before(self.view, self.bundle.record)
        c = self._record().c
        _require((before is not None) == (c > 0), "log.order", f"the record before this one (number {c}) is missing")
        try:
            self.answer = run_of(self.view, self.bundle.record)
            self.before = run_of(self.view, before) if before else None
        except BundleError as error:
            raise _FailedError("log.order", str(error)) from error
        agreed = [id for id, said in self._of("approval", body.Approval) if self._under(id) == self.view.id]
        agreed += [id for id, said in self._of("successor", body.Successor) if said.new == self.view.id]
        run = self.answer
        steps: list[tuple[str, list[int]]] = [
            ("approvals", [self.placed[id].index for id in agreed]),
            ("run-request", [run.request.index]),
            ("challenges", [entry.index for entry in run.challenges]),
            ("evidence", [run.evidence.index]),
            ("key-releases", [entry.index for entry in run.released]),
            ("run-record", [run.record.index]),
            ("kept", [entry.index for entry in run.kept]),
            ("result-releases", [entry.index for entry in run.results]),
        ]
        steps = [(what, places) for what, places in steps if places]
        for (earlier, first), (later, second) in pairwise(steps):
            _require(max(first) < min(second), "log.order", f"in the log, {later} stand before the last of {earlier}")
        order = ", ".join(what for what, _ in steps)
        self.say("log.order", "proved", f"in the log's order: {order}; the record, number {c} of its task, counts")
        if self.before:
            sentence = (
                f"the record before, number {c - 1}, counts as well; earlier ones are attested by who replayed them"
            )
            self.say("log.before", "proved", sentence)

    def _read_at(self, run: Run) -> datetime:
        """The clock of the checkpoint up to which a run's instance had read when it was attested."""
        return self._clock(self.named[run.evidence.id], self.view.terms(run.evidence))

    def _under(self, id: str) -> str:
        return self.view.entries[id].agreement

    def _why_not(self) -> str:
        entry, instance = self.view.records[self.bundle.record]
        needed = self.view.terms(entry).needed_keepers(instance.task)
        missing = sorted(set(needed) - self.view.kept.get(entry.id, set()))
        if missing:
            return f"the record does not count: {', '.join(missing)} has not said kept"
        return "the record does not count: its instance was over, or the agreement ended before"

    # -- (7) the agreement's time ------------------------------------------------------------------------------------

    def _active(self) -> None:
        shown, ended = self._read_at(self.answer), self._clock(self.checkpoint, self.agreement)
        try:
            self.view.check_active(shown)
        except InactiveError as error:
            raise _FailedError("agreement.active", f"when the instance was attested, {error}") from error
        valid = self.agreement.valid
        self.say(
            "agreement.active",
            "proved",
            f"as far as the file shows, it was in force (all approvals, {valid.from_} to {valid.to}) at {_iso(shown)}",
        )
        if ended > valid.end:
            sentence = "it has ended since; that the result was released before is attested by those who released it"
            self.say("agreement.ended", "attested", sentence)

    # -- (8) evidence, at the clock of its checkpoint ----------------------------------------------------------------

    def _evidence(self) -> None:
        entry = self.answer.evidence
        clock = self._read_at(self.answer)
        try:
            self.appraised = appraise(entry.body, self.agreement.enclave, now=clock)
        except (EvidenceError, CryptoError) as error:
            raise _FailedError("evidence", str(error)) from error
        if self.before is not None:
            earlier = self.before.evidence
            accepted = self.view.terms(earlier).enclave
            try:
                appraise(earlier.body, accepted, now=self._read_at(self.before))
            except (EvidenceError, CryptoError) as error:
                raise _FailedError("evidence", f"of the record before: {error}") from error
        self.hardware = self.appraised.hardware
        said: Status = "proved" if self.hardware else "attested"
        self.say("code", said, f"it ran the code with source digest {self.appraised.source}, which the agreement names")
        if self.hardware:
            self.say("evidence.kind", "proved", f"evidence of kind {self.appraised.label}, good at {_iso(clock)}")
            if self.appraised.extractable:
                sentence = "that nobody took the machine's signing key out: people who held such machines in hands have"
                self.say("evidence.keys", "not proved", sentence)
        else:
            self.say("evidence.kind", "not proved", f"{self.appraised.label}; what ran, and where, is only claimed")
        self.say("evidence.bound", "proved", "the evidence is about this request, instance, checkpoint and challenges")

    # -- (9) bindings: every id named is the one present -------------------------------------------------------------

    def _bindings(self) -> None:
        for run in (self.answer, *([self.before] if self.before else [])):
            self._check_run(run)
        shown = ids_to_show(self.view, self.bundle.record, self.checkpoint.checkpoint.size)
        extra = [self.statements[id].type for id in self.statements.keys() - shown]
        _require(not extra, "form", f"the file holds a {(extra or [''])[0]} that is no part of this proof")
        task = self.answer.request.body.task
        names = {dataset: name for name, dataset in self.agreement.tasks[task].inputs.items()}
        for entry in self.answer.deliveries:
            name = names[entry.body.dataset]
            sentence = (
                f"{name}: {entry.body.dataset} for {entry.body.period}, delivered by {entry.by} at leaf {entry.index}"
            )
            self.say(f"inputs.{name}", "proved", f"{sentence}, whose key its owner gave to this instance")
        request = self.answer.request
        self._say_state(request.body.action)
        what = {"run": task, "ingest": f"a day to be taken in by {task}", "finish": f"the report of {task}"}
        what |= {"cancel": f"the days of {task} to be forgotten", "key": f"a key to be drawn by {task}"}
        asked = f"{request.by} asked for {what[request.body.action]}, {request.body.period}"
        asked += f", for the purpose {request.body.purpose}"
        self.say("inputs.request", "proved", asked)

    def _say_state(self, action: str) -> None:
        """Which state a run went on from, by whose shares; and which it left."""
        shares = [entry for entry in self.answer.released if entry.body.state is not None]
        before = self.before.record.body.state if self.before else None
        if shares:
            who, what = ", ".join(sorted(entry.by for entry in shares)), shares[0].body.state
            fits = before is not None and all(entry.body.state == before.digest for entry in shares)
            _require(fits, "state", "the run went on from another state than the record before left")
            sentence = f"it went on from state {what}, which the record before left; {who} gave their shares of its key"
            self.say("state.before", "proved", sentence)
        elif before is not None and self.before is not None:
            said = [each for each in expiries(self.view, self.before.record) if each.index < self.answer.record.index]
            gone, holders = sorted({each.by for each in said}), self.view.task(self.answer.request).holders
            forgotten = len(holders.of) - len(set(holders.of) & set(gone)) < holders.threshold
            _require(forgotten, "state", "the record before left a state, and no holder gave a share of its key")
            sentence = f"it began anew: {', '.join(gone)} said that their shares of the state before are gone"
            self.say("state.before", "proved", sentence)
        left = self.answer.record.body.state
        if left is not None:
            days = (
                "that the day was not in the state before: those who gave their shares replayed the log and attest it"
            )
            self.say("state.after", "proved", f"it left state {left.digest}, whose key is split among the holders")
            self.say("limits.days", "not proved", days)
        elif action in ("finish", "cancel"):
            _require(shares, "state", f"a {action} without the share of any holder: there was no state")
            self.say("state.after", "proved", "it left no state: from here on there is no share by which to go on")
            days = "which days were in the state: those who gave their shares replayed the log and attest it"
            self.say("limits.days", "not proved", days)

    def _check_run(self, run: Run) -> None:
        """What the replay leaves to those who release: challenges, measurement, and the record's own words."""
        record, request, evidence = run.record.body, run.request.body, run.evidence
        terms = self.view.terms(run.record)
        task = terms.tasks[request.task]
        base = self.named[evidence.id].checkpoint.size
        challengers = [entry.by for entry in run.challenges]
        owners, holders = self.view.owners(run.request), [name for name in challengers if name in task.holders.of]
        _require(len(challengers) == len(set(challengers)), "evidence", "one party challenged an instance twice")
        _require(set(owners) <= set(challengers), "evidence", "the evidence answers no challenge of an owner")
        enough = len(holders) >= task.holders.threshold
        _require(enough, "evidence", "the evidence answers the challenges of too few holders")
        for entry in run.challenges:
            seen = self.named[entry.id].checkpoint.size <= base and entry.index < base
            _require(seen, "evidence", "the instance had not read the log as far as its challenges")
        for delivery in run.deliveries:
            self._check_key_shares(run, delivery)
        appraised = self.appraised if run is self.answer else None
        if appraised is not None:
            fits = record.measurement == appraised.measurement
            _require(fits, "code", "the record names other code than the evidence")
        parameters: dict[str, Any] = {**task.parameters, **request.parameters}
        _require(record.statistic == task.statistic, "code", "the record names another statistic than the agreement")
        _require(record.parameters == parameters, "code", "the record names other parameters than were agreed")
        shared = [("result", record.shares)] if record.outputs else []
        shared += [("state", record.state.shares)] if record.state else []
        shared += [("drawn", record.key.shares)] if record.key else []
        for what, shares in shared:
            fits = set(shares) == set(task.holders.of)
            _require(fits, "outputs", f"the {what} key is not shared among the holders that the agreement names")

    def _check_key_shares(self, run: Run, delivery: Entry[body.Delivery]) -> None:
        """Where an enclave drew the key of the pseudonyms, enough holders gave shares of one; which, they attest."""
        terms = self.view.terms(run.record)
        drawing = terms.drawing_task(delivery.body.dataset)
        if drawing is None:
            return
        holders, givers = terms.tasks[drawing].holders, dict[str, set[str]]()
        for entry in run.released:
            if entry.body.period_key is not None and entry.by in holders.of:
                givers.setdefault(entry.body.period_key, set()).add(entry.by)
        enough = any(len(names) >= holders.threshold for names in givers.values())
        _require(enough, "state", "too few holders gave their shares of the key of the pseudonyms")

    # -- (10) release rules ------------------------------------------------------------------------------------------

    def _rules(self) -> None:
        run, record = self.answer, self.answer.record.body
        task = self.agreement.tasks[run.request.body.task]
        agreed = {name: release.to_json() for name, release in task.releases.items()}
        _require(record.rules == agreed, "rules", "the record names other release rules than the agreement")
        tables = [output.table for output in record.outputs]
        listed = sorted(agreed) if run.request.body.action in ("run", "finish") else []
        _require(sorted(tables) == listed, "outputs", "the record's tables are not those the agreement releases")
        self.say("rules.statistic", "proved", f"the agreed statistic, {record.statistic} (version {record.version})")
        for output in record.outputs:
            release = task.releases[output.table]
            whom = sorted(output.keys) == sorted(release.to)
            _require(whom, "outputs", f"the key of table {output.table} is sealed to others than its consumers")
            how = f"at least {release.minimum} contributors"
            how += f", each part at least {release.minimum_part}" if release.minimum_part else ""
            how += ", complementary suppression" if release.complementary else ""
            self.say(f"rules.{output.table}", "attested", f"{output.table}: {how}, applied by the code named above")
            sentence = f"{output.table} goes to {', '.join(release.to)} only; ciphertext list {output.parts.digest}"
            self.say(f"outputs.{output.table}", "proved", sentence)
        for entry in run.kept:
            self.say(f"outputs.kept.{entry.by}", "attested", f"{entry.by} says it keeps all ciphertexts of the record")
        self._say_releases()

    def _say_releases(self) -> None:
        task = self.agreement.tasks[self.answer.request.body.task]
        for entry in self.answer.results:
            sentence = f"{entry.by} released its share of the key at leaf {entry.index}, for this record of number "
            sentence += f"{self.answer.record.body.c} and no other"
            self.say(f"outputs.release.{entry.by}", "attested", sentence)
        if not self.answer.record.body.outputs:
            return
        if len(self.answer.results) < task.holders.threshold:
            sentence = (
                f"that anybody could open the result: {len(self.answer.results)} of {task.holders.threshold} needed "
            )
            self.say("limits.release", "not proved", sentence + "holders have released it in what is shown")
        else:
            sentence = "that this is the only release, beyond the word of the holders named above"
            self.say("limits.release", "not proved", sentence)

    # -- (11) results, if given --------------------------------------------------------------------------------------

    def _results(self) -> None:
        outputs = {output.table: output for output in self.answer.record.body.outputs}
        for table, (salt, content) in self.results.items():
            _require(table in outputs, "outputs.result", "a result was given for a table that the record does not have")
            try:
                fits = commitment(salt, content) == outputs[table].commitment
            except ValueError as error:
                raise _FailedError(f"outputs.result.{table}", str(error)) from error
            _require(fits, f"outputs.result.{table}", f"the table {table} is not the one that the record commits to")
            self.say(f"outputs.result.{table}", "proved", f"the table {table} you have is the one that the run made")
        if rest := sorted(outputs.keys() - self.results.keys()):
            self.say("limits.results", "not proved", f"what stands in {', '.join(rest)}: not given to the verifier")


def _moment(posix_s: int) -> datetime:
    try:
        return datetime.fromtimestamp(posix_s, UTC)
    except (OverflowError, OSError, ValueError) as error:
        raise _FailedError("witnesses", "a cosignature has a time that no clock can show") from error


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
