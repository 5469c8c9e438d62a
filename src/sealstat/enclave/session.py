"""One run, from challenge to record: protocol.md section 6, as the enclave instance sees it.

An instance is one process with fresh keys, started for one request and one counter, and ends with it. What the host
passed at launch is trusted for nothing; every check is made here again on what the log says.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

import pyarrow as pa

from sealstat import statistics
from sealstat.agreement import contexts
from sealstat.agreement.check import check_body
from sealstat.agreement.model import Agreement, Task
from sealstat.agreement.replay import Entry, InactiveError, Instance, Void
from sealstat.agreement.statements import Challenge, KeyRelease, RunRequest, SealedShare
from sealstat.crypto import canonical, shares
from sealstat.crypto.cards import InstanceCard, PartyCard, b64, fingerprint
from sealstat.crypto.derive import commitment, mac, mac_matches, subkey
from sealstat.crypto.errors import CryptoError
from sealstat.crypto.identity import Opener, Signer
from sealstat.crypto.sealing import seal, unseal
from sealstat.crypto.statement import Statement, sign
from sealstat.enclave.deliveries import OpenDelivery, OpenedDay, ReleasedKey
from sealstat.enclave.engine import Engine, engine
from sealstat.enclave.errors import Refused, SessionOver
from sealstat.enclave.memory import ENGINE_PART
from sealstat.enclave.states import OpenState, SealedState, open_state, seal_state
from sealstat.evidence.attester import Attester
from sealstat.evidence.report import report_data
from sealstat.log.errors import LogError
from sealstat.release import rules
from sealstat.release.commitment import content
from sealstat.statistics import Stateful
from sealstat.statistics.catalogue import Catalogue
from sealstat.tables.about import seal_about
from sealstat.tables.errors import DataError, Unsorted
from sealstat.tables.sealed import parts_list, seal_table
from sealstat.wire.client import HostClient
from sealstat.wire.follow import Follower, StaleError, fetch_chain

_POLL_S = 20.0
_TOLD_BYTES = 1024
_GRACE_S = 2.0  # for holders beyond the threshold, so that their shares get forward secrecy too


@dataclass(frozen=True, slots=True)
class Launch:
    """What the host passes. None of it is trusted: the request is read from the log, its agreement with it."""

    host: str
    agreement: str
    request: str
    door: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Settings:
    """The machine's share for one session, and how long it waits for people and their agents."""

    memory_bytes: int
    scratch: Path | None = None
    patience_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class Left:
    """What a run leaves behind; its record says it."""

    outputs: list[dict[str, Any]] = field(default_factory=list)
    result_key: bytes = field(default=b"", repr=False)
    state: SealedState | None = None
    key: dict[str, Any] | None = None
    told: dict[str, dict[str, Any]] = field(default_factory=dict)  # by party, for it alone


class Session:
    """The state of one instance: its keys, its view of the log, its clock."""

    def __init__(
        self,
        launch: Launch,
        *,
        attester: Attester,
        measurement: str,
        settings: Settings,
        say: Callable[[str], None],
    ) -> None:
        self.launch, self.attester, self.measurement = launch, attester, measurement
        self.settings, self.say = settings, say
        self.signer, self.opener = Signer.generate(post_quantum=False), Opener.generate()
        self.card = InstanceCard(kind="instance", keys=self.signer.public(), sealing=self.opener.public())
        self.me = fingerprint(self.card)
        self.client = HostClient(launch.host, self.signer, self.me)
        self.follower: Follower
        self.clock = datetime.fromtimestamp(0, UTC)
        self.c = 0
        self.challenges: dict[str, Entry[Challenge]] = {}  # by name of owner or holder
        self.used: list[str] = []  # ids of the key-releases whose content was used

    # -- the run -----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve the request; on return its record or a refusal is in the log.

        Raises:
            SessionOver: nothing more to do here.
            WireError, LogError, ReplayError: the host does not let the run go on honestly.
        """
        self.client.register_instance(self.card, self.launch.door)
        self.follower = Follower(self.client, fetch_chain(self.client, self.launch.agreement))
        check_body(self.agreement, Catalogue())
        self.await_challenges()
        evidence = self.send_evidence()
        try:
            left = self.work(self.await_keys(evidence.id))
        except Refused as refused:
            self.refuse(refused)
            return
        try:
            self.send_record(evidence, left)
        except Refused as refused:  # stopped after a delivery was opened: no reason but `data` may be given then
            raise SessionOver(f"stopped before its record: {refused}") from refused

    def work(self, deliveries: list[OpenDelivery]) -> "Left":
        """Do what the request asks; what its record leaves behind."""
        match self.request.body.action:
            case "ingest":
                return self.ingest(deliveries)
            case "finish":
                return self.seal_results(*self.report(deliveries))
            case "cancel":
                return Left()
            case "key":
                return self.draw_key()
            case _:
                return self.seal_results(*self.compute(deliveries))

    # -- (1) reading the log -----------------------------------------------------------------------------------

    def replay(self, *, at_least: int = 0) -> None:
        """Read on; the clock is the median of the k newest cosignature times, never backwards (section 3)."""
        deadline = monotonic() + self.settings.patience_s
        while True:
            try:
                self.follower.update(at_least=at_least)
                break
            except StaleError:
                if monotonic() > deadline:
                    raise
                self._wait()
        checkpoint = self.follower.checkpoint
        assert checkpoint is not None
        told = datetime.fromtimestamp(checkpoint.clock(self.agreement.witnesses.quorum), UTC)
        self.clock = max(self.clock, told)

    def check_going(self) -> None:
        """Check by the log that this run may go on: agreement active, request in order, this instance not over.

        Raises:
            Refused: the request can never be run as it stands.
            SessionOver: another instance or counter has passed this one by.
        """
        view = self.follower.view
        mine = view.instances.get(self.me)
        if view.counter(self.request.body.task) != self.c or (mine is not None and mine.over):
            raise SessionOver("this instance is over")
        try:
            view.check_active(self.clock)
        except InactiveError as error:
            raise Refused("agreement", str(error)) from error
        try:
            view.check_request(self.request.id)
        except Void as error:
            raise Refused("request", str(error)) from error

    # -- (2) challenges ----------------------------------------------------------------------------------------

    def await_challenges(self) -> None:
        """Wait until all owners and enough holders have challenged this request at the current counter."""
        grace: float | None = None
        for _ in self._until("the owners and holders to answer the request"):
            view = self.follower.view
            if self.launch.request not in view.requests:
                continue
            self.c = view.counter(self.request.body.task)
            if view.counting_record(self.request.id) or view.run_refused(self.request.id):
                raise SessionOver("the request was answered already")
            self.challenges = self._newest_challenges()
            groups = [self.task.holders, *view.needed_shares(self.request).values()]
            answered = [[name for name in group.of if name in self.challenges] for group in groups]
            enough = all(len(each) >= group.threshold for each, group in zip(answered, groups, strict=True))
            if not enough or not set(view.owners(self.request)) <= self.challenges.keys():
                continue
            grace = grace or monotonic() + _GRACE_S
            if all(len(each) == len(group.of) for each, group in zip(answered, groups, strict=True)):
                break
            if monotonic() > grace:
                break
        largest = 0
        for challenge in self.challenges.values():  # up to the largest checkpoint among them, consistent with each
            note = challenge.body.checkpoint.encode()
            largest = max(largest, self.follower.verify_note(note).checkpoint.size)
        self.replay(at_least=largest)
        for challenge in self.challenges.values():
            self.follower.consistent(challenge.body.checkpoint.encode())

    def _newest_challenges(self) -> dict[str, Entry[Challenge]]:
        found: dict[str, Entry[Challenge]] = {}
        for entry in self.follower.view.challenges.values():  # in order of their leaves
            if (entry.body.request, entry.body.c) == (self.request.id, self.c):
                try:
                    self.follower.verify_note(entry.body.checkpoint.encode())
                except LogError:
                    continue  # no checkpoint of this log at all: one holder's garbage must not end everybody's run
                found[entry.by] = entry
        return found

    # -- (3) evidence ------------------------------------------------------------------------------------------

    def send_evidence(self) -> Statement:
        """Evidence over this card, this request, what was read and who challenged it."""
        assert self.follower.checkpoint is not None
        claims: dict[str, Any] = {
            "request": self.request.id,
            "card": self.card,
            "checkpoint": self.follower.checkpoint.note.decode(),
            "challenges": sorted(entry.id for entry in self.challenges.values()),
            "kind": self.attester.kind,
        }
        evidence, collateral = self.attester.attest(report_data(**claims))
        body = {**claims, "card": self.card.to_json(), "evidence": b64(evidence), "collateral": b64(collateral)}
        self.say("evidence sent, waiting for the owners' keys")
        return self._send("enclave-evidence", body)

    # -- (4) keys ----------------------------------------------------------------------------------------------

    def await_keys(self, evidence: str) -> list[OpenDelivery]:
        """Wait until every owner, and enough holders, have released to this instance, and open the deliveries."""
        needed = self.follower.view.needed_releases(self.request)
        for _ in self._until("owners and holders to release their keys"):
            self.check_going()
            if evidence in self.follower.view.void:
                raise SessionOver("the evidence means nothing to those who read the log")
            if self.me not in self.follower.view.instances:
                continue
            if self._newest_challenges() != self.challenges and self._passed_by():
                raise SessionOver("the challenges this evidence answers were replaced by newer ones")
            shared = self.follower.view.needed_shares(self.request)
            enough = all(len(self._good_shares(of)) >= group.threshold for of, group in shared.items())
            if enough and all(of in self._mine().releases for of in needed):
                break
        self.used = [self._mine().releases[of].id for of in needed]
        self.used += [id for of in shared for id, _ in self._good_shares(of).values()]
        opened = [self._open_key(self._mine().releases[id]) for id in self.request.body.deliveries]
        for delivery in opened:
            try:
                delivery.check_counts(self.agreement)
            except DataError as error:
                raise Refused("data", str(error), owner=delivery.entry.by) from error
        return opened

    def _passed_by(self) -> bool:
        """Whether an owner asks anew before it has released to this instance: it will not release to the old ask."""
        released = {entry.by for entry in self._mine().all_releases}
        newest = self._newest_challenges()
        owners = self.follower.view.owners(self.request)
        return any(newest[name] != self.challenges[name] for name in owners if name not in released)

    def _open_key(self, entry: Entry[KeyRelease]) -> OpenDelivery:
        view, said = self.follower.view, entry.body
        assert said.delivery is not None and said.sealed is not None  # noqa: PT018 - the model's own rule
        delivery = view.deliveries[said.delivery].entry
        owner = view.statements[entry.id].by
        where: dict[str, Any] = {"request": said.request, "delivery": said.delivery}
        context = contexts.delivery_key(view.id, owner=owner, instance=self.me, **where)
        try:
            opened = unseal(self.opener, context, said.sealed)
            released = ReleasedKey.model_validate(canonical.decode(opened, limit=64 * 1024))
        except (CryptoError, ValueError) as error:
            raise Refused("data", "the released key does not open", owner=entry.by) from error
        statistic = statistics.get(self.task.statistic)
        parameters = self._parameters()
        allowed, scale = statistic.choices(parameters), statistic.scale(parameters)
        return OpenDelivery(view.id, delivery, released, allowed, scale)

    def _good_shares(self, of: str) -> dict[int, tuple[str, bytes]]:
        """The shares of a key that open, and are those that were sealed for their holders; by holder number."""
        group = self.follower.view.needed_shares(self.request)[of]
        found = {}
        for name, entry in self._mine().shares.get(of, {}).items():
            share = self._open_share(entry)
            if share is not None:  # a wrong one is passed over: the others' must do
                found[group.of.index(name) + 1] = (entry.id, share)
        return found

    def _open_share(self, entry: Entry[KeyRelease]) -> bytes | None:
        view, said = self.follower.view, entry.body
        context = contexts.share_release(
            view.id,
            holder=view.statements[entry.id].by,
            instance=self.me,
            request=self.request.id,
            task=self.request.body.task,
            c=self.c,
            of=said.of,
        )
        try:
            share = unseal(self.opener, context, said.sealed or "")
        except CryptoError:
            return None
        given, macs = self._sealed_for(said, entry.by)
        if given is None or not any(mac_matches(subkey(share, "share"), each, given.mac) for each in macs):
            return None
        return share

    def _sealed_for(self, said: KeyRelease, holder: str) -> tuple[SealedShare | None, list[dict[str, Any]]]:
        """What was sealed for a holder, and what its MAC may be over: the card in force then is one of its cards."""
        view = self.follower.view
        left = view.state_record(self.request.body.task)
        if said.state is not None and left is not None and left.body.state is not None:
            state = left.body.state
            bound: dict[str, Any] = {
                "instance": left.by,
                "task": self.request.body.task,
                "c": left.body.c + 1,
                "digest": state.digest,
            }
            cards = view.cards_ever(left.agreement)
            return state.shares.get(holder), [
                contexts.state_share(left.agreement, holder=card, **bound) for card in cards
            ]
        record, instance = view.records[said.of]
        assert record.body.key is not None
        where: dict[str, Any] = {"task": instance.task, "c": instance.c, "dataset": record.body.key.dataset}
        bound = {"instance": record.by, "period": instance.request.body.period, **where}
        cards = view.cards_ever(record.agreement)
        macs = [contexts.period_key_share(record.agreement, holder=card, **bound) for card in cards]
        return record.body.key.shares.get(holder), macs

    def _combined(self, of: str) -> bytes:
        """The key that the holders' shares are of."""
        group = self.follower.view.needed_shares(self.request)[of]
        found = {number: share for number, (_, share) in self._good_shares(of).items()}
        return shares.combine(found, threshold=group.threshold, holders=len(group.of))

    # -- (5) computing -----------------------------------------------------------------------------------------

    def compute(self, deliveries: list[OpenDelivery]) -> tuple[dict[str, pa.Table], dict[str, Any]]:
        """Open the deliveries, compute the statistic, apply the rules of the agreement; whole tables stay inside."""
        statistic = statistics.get(self.task.statistic)
        parameters = self._parameters()
        with engine(self.settings.scratch, memory_bytes=self.settings.memory_bytes // ENGINE_PART) as sandbox:
            inputs = {}
            for name, delivery in zip(self.task.inputs, deliveries, strict=True):
                self.say(f"opening input {name}")
                try:
                    inputs[name] = sandbox.load(f"input_{name}", delivery.schema, delivery.batches(self.client))
                except DataError as error:
                    raise Refused("data", str(error), owner=delivery.entry.by) from error
            self.say(f"computing {statistic.name}")
            outputs = statistic.compute(sandbox.ibis, inputs, parameters)
        return rules.apply(outputs, statistic.outputs, self.task.releases)

    # -- (5) with state: a day taken in, a report over all ---------------------------------------------------------

    def ingest(self, deliveries: list[OpenDelivery]) -> "Left":
        """Open the day's pseudonyms, sort if need be, merge with the newest state, seal the next."""
        (delivery,), stateful = deliveries, self._stateful()
        state, said = self._state(), delivery.entry.body
        record = self.follower.view.period_keys[said.dataset, said.period]
        opened = OpenedDay(delivery, self._combined(record), stateful)
        self.say(f"taking in {said.period}")
        with engine(self.settings.scratch, memory_bytes=self.settings.memory_bytes // ENGINE_PART) as sandbox:
            try:
                observed = self._observed(state, opened, sandbox)
                try:
                    sealed = self._next_state(state, opened.batches(self.client), observed)
                except Unsorted:
                    self.say("the day came unsorted: sorting it")
                    day = sandbox.sorted("sorting", stateful.schema, opened.batches(self.client), stateful.order)
                    sealed = self._next_state(state, day, observed)
                opened.check(self.agreement)
            except DataError as error:
                raise Refused("data", str(error), owner=delivery.entry.by) from error
        note = {"day": said.period, "rows": opened.rows, "forged": opened.forged, "rejects": delivery.released.rejects}
        return Left(state=sealed, told={delivery.entry.by: note})

    def _observed(self, state: OpenState | None, opened: OpenedDay, sandbox: Engine) -> list[dict[str, Any]]:
        """What the days' data look like, if the agreement releases that: computed only then, as it reads both again."""
        stateful, before = self._stateful(), state.observed if state else []
        if stateful.observed not in self.task.releases:
            return before
        rows = state.batches(self.client, stateful.schema) if state else iter(())
        old = sandbox.load("old", stateful.schema, rows)
        day = sandbox.load("day", stateful.schema, opened.batches(self.client))
        period = opened.delivery.entry.body.period
        found = stateful.observe(sandbox.ibis, period, day, old, self._parameters()).to_pylist()
        sandbox.drop("old", "day")
        return [*before, *found]

    def _next_state(
        self, state: OpenState | None, day: Iterator[pa.RecordBatch], observed: list[dict[str, Any]]
    ) -> SealedState:
        stateful = self._stateful()
        secret = state.secret if state else secrets.token_bytes(32)
        before = state.batches(self.client, stateful.schema) if state else iter(())
        merged = stateful.ingest(before, day, self._parameters())
        where = (self.launch.agreement, self.request.body.task, self.c + 1)
        return seal_state(self.client, *where, merged, stateful.schema, secret, observed)

    def report(self, deliveries: list[OpenDelivery]) -> tuple[dict[str, pa.Table], dict[str, Any]]:
        """The statistic's tables over the newest state, under the rules of the agreement."""
        statistic, stateful, state = statistics.get(self.task.statistic), self._stateful(), self._state()
        if state is None:
            raise Refused("request", "no day was taken in yet")
        names = [name for name in self.task.inputs if name != stateful.day]
        tables = {}
        for name, delivery in zip(names, deliveries, strict=True):
            self.say(f"opening input {name}")
            try:
                tables[name] = pa.Table.from_batches(delivery.batches(self.client), delivery.schema)
            except DataError as error:
                raise Refused("data", str(error), owner=delivery.entry.by) from error
        self.say(f"computing {statistic.name}")
        outputs = stateful.report(
            lambda: state.batches(self.client, stateful.schema), tables, self._parameters(), state.secret
        )
        about_days = statistic.outputs[stateful.observed].schema
        outputs[stateful.observed] = pa.Table.from_pylist(state.observed, schema=about_days)
        return rules.apply(outputs, statistic.outputs, self.task.releases)

    def _state(self) -> OpenState | None:
        left, task = self.follower.view.state_record(self.request.body.task), self.request.body.task
        if left is None or left.body.state is None:
            return None
        key = self._combined(left.body.state.digest)
        return open_state(self.client, left.agreement, task, left.body.c + 1, left.body.state, key)

    def _stateful(self) -> Stateful:
        found = statistics.get(self.task.statistic).stateful
        assert found is not None  # check_body: a task with a report has a statistic with state
        return found

    # -- (5) a key for a day's pseudonyms --------------------------------------------------------------------------

    def draw_key(self) -> "Left":
        """A fresh key, sealed to the provider's challenge, and split among the holders (section 5)."""
        (dataset,) = self.task.inputs.values()
        provider = self.agreement.datasets[dataset].provider
        key, card, asked = secrets.token_bytes(32), self._card(provider), self.challenges[provider]
        where: dict[str, Any] = {
            "task": self.request.body.task,
            "c": self.c,
            "dataset": dataset,
            "period": self.request.body.period,
        }
        context = contexts.period_key(self.launch.agreement, instance=self.me, provider=fingerprint(card), **where)

        def bound(holder: str) -> dict[str, Any]:
            return contexts.period_key_share(self.launch.agreement, instance=self.me, holder=holder, **where)

        sealed = seal(asked.body.seal_to or card.sealing, context, key)
        return Left(key={"dataset": dataset, "sealed": sealed, "shares": self._seal_shares(key, bound)})

    def _parameters(self) -> Any:
        statistic = statistics.get(self.task.statistic)
        return statistic.parameters.model_validate({**self.task.parameters, **self.request.body.parameters})

    # -- (6) the record ----------------------------------------------------------------------------------------

    def seal_results(self, tables: dict[str, pa.Table], effects: dict[str, Any]) -> "Left":
        """Seal and store the results under a key that is split among the holders."""
        key = secrets.token_bytes(32)
        outputs = [self._seal_output(name, tables[name], effects.get(name, {}), key) for name in sorted(tables)]
        return Left(outputs=outputs, result_key=key)

    def send_record(self, evidence: Statement, left: "Left") -> None:
        """Read once more; then say what was done and what it leaves."""
        view = self.follower.view
        self.replay()
        self.check_going()
        if view.live(self.request.body.task) is not self._mine():
            raise SessionOver("another instance is live")
        record: dict[str, Any] = {
            "request": self.request.id,
            "c": self.c,
            "deliveries": self.request.body.deliveries,
            "evidence": evidence.id,
            "releases": sorted(self.used),
            "measurement": self.measurement,
            "statistic": self.task.statistic,
            "version": statistics.version(self.task.statistic),
            "parameters": {**self.task.parameters, **self.request.body.parameters},
            "rules": {name: release.to_json() for name, release in self.task.releases.items()},
            "outputs": left.outputs,
            "shares": {},
        }
        if left.outputs:
            record["shares"] = self._seal_result_shares(left)
        if left.state is not None:
            shared = self._seal_state_shares(left.state)
            record["state"] = {"parts": left.state.parts, "about": left.state.about, "shares": shared}
        if left.key is not None:
            record["key"] = left.key
        if left.told:
            record["told"] = {name: self._seal_told(name, note) for name, note in left.told.items()}
        sent = self._send("run-record", record)
        for _ in self._until("the record to be cosigned"):
            if sent.id in self.follower.view.void:
                raise SessionOver("the record means nothing to those who read the log")
            if sent.id in self.follower.view.entries:
                break
        self.say("the record is in the log")

    def _seal_output(self, name: str, table: pa.Table, effects: dict[str, Any], result_key: bytes) -> dict[str, Any]:
        part_key, salt = secrets.token_bytes(32), secrets.token_bytes(32)
        key = subkey(result_key + part_key, "output")
        place = contexts.result_place(self.request.body.task, self.c, name)
        listed, agreement = [], self.launch.agreement
        parts = seal_table(table.to_batches(), key=key, agreement=agreement, place=place, schema=table.schema)
        listed += [(len(part.ciphertext), self.client.put_blob(agreement, part.ciphertext)) for part in parts]
        about = {"salt": b64(salt), "effects": effects}
        sealed_about = seal_about(about, key=key, agreement=agreement, place=place)
        return {
            "table": name,
            "parts": {"count": len(listed), "digest": self.client.put_blob(agreement, parts_list(listed))},
            "about": self.client.put_blob(agreement, sealed_about),
            "commitment": commitment(salt, content(name, table)),
            "keys": {to: self._seal_part_key(to, part_key, name) for to in self.task.releases[name].to},
        }

    def _seal_part_key(self, consumer: str, part_key: bytes, table: str) -> str:
        card = self._card(consumer)
        context = contexts.output_key(
            self.launch.agreement,
            instance=self.me,
            consumer=fingerprint(card),
            request=self.request.id,
            task=self.request.body.task,
            c=self.c,
            table=table,
        )
        return seal(card.sealing, context, part_key)

    def _seal_result_shares(self, left: "Left") -> dict[str, dict[str, str]]:
        where: dict[str, Any] = {
            "task": self.request.body.task,
            "c": self.c,
            "outputs": contexts.outputs_digest(left.outputs),
        }

        def bound(holder: str) -> dict[str, Any]:
            return contexts.result_share(self.launch.agreement, instance=self.me, holder=holder, **where)

        return self._seal_shares(left.result_key, bound)

    def _seal_state_shares(self, state: SealedState) -> dict[str, dict[str, str]]:
        where: dict[str, Any] = {"task": self.request.body.task, "c": self.c + 1, "digest": state.digest}

        def bound(holder: str) -> dict[str, Any]:
            return contexts.state_share(self.launch.agreement, instance=self.me, holder=holder, **where)

        return self._seal_shares(state.key, bound)

    def _seal_told(self, name: str, note: Mapping[str, Any]) -> str:
        card = self._card(name)
        context = contexts.told(
            self.launch.agreement, instance=self.me, owner=fingerprint(card), request=self.request.id
        )
        size = len(canonical.encode({**note, "pad": ""}))
        padding = "0" * max(0, _TOLD_BYTES - size)  # its length would tell how many digits a count has
        return seal(card.sealing, context, canonical.encode({**note, "pad": padding}))

    def _seal_shares(self, key: bytes, bound: Callable[[str], dict[str, Any]]) -> dict[str, dict[str, str]]:
        """A key split among the task's holders, each share sealed to what its holder's challenge asked for."""
        holders = self.task.holders
        pieces = shares.split(key, threshold=holders.threshold, holders=len(holders.of))
        sealed = {}
        for name, share in zip(holders.of, pieces, strict=True):
            card, asked = self._card(name), self.challenges.get(name)
            to = asked.body.seal_to if asked and asked.body.seal_to else card.sealing
            context = bound(fingerprint(card))
            sealed[name] = {"sealed": seal(to, context, share), "mac": mac(subkey(share, "share"), context)}
        return sealed

    # -- refusing ----------------------------------------------------------------------------------------------

    def refuse(self, refused: Refused) -> None:
        """Say no, with a reason of the closed list; the detail goes sealed to the owner at fault alone."""
        sealed = {}
        if refused.owner is not None:
            card = self._card(refused.owner)
            context = contexts.refusal_detail(
                self.launch.agreement, instance=self.me, owner=fingerprint(card), request=self.request.id
            )
            sealed = {refused.owner: seal(card.sealing, context, str(refused).encode())}
        self.say(f"refused: {refused.reason}")
        self._send("refusal", {"of": self.request.id, "reason": refused.reason, "sealed": sealed})

    # -- plumbing ----------------------------------------------------------------------------------------------

    @property
    def agreement(self) -> Agreement:
        return self.follower.view.agreement

    @property
    def request(self) -> Entry[RunRequest]:
        try:
            return self.follower.view.requests[self.launch.request]
        except KeyError:
            raise SessionOver("the request is not in the log, or is void") from None

    @property
    def task(self) -> Task:
        return self.agreement.tasks[self.request.body.task]

    def _card(self, name: str) -> PartyCard:
        return self.follower.view.cards[self.launch.agreement][name]

    def _mine(self) -> Instance:
        return self.follower.view.instances[self.me]

    def _send(self, type: str, body: dict[str, Any]) -> Statement:
        statement = sign(
            self.signer, type=type, by=self.me, agreement=self.launch.agreement, body=body, at=datetime.now(UTC)
        )
        self.client.send(statement)
        return statement

    def _wait(self) -> None:
        self.client.wait(self.follower.view.size, _POLL_S)

    def _until(self, what: str) -> Iterator[None]:
        """Read on and let the caller look, until it breaks off or patience ends."""
        deadline = monotonic() + self.settings.patience_s
        while True:
            self.replay()
            yield
            if monotonic() > deadline:
                raise SessionOver(f"gave up waiting for {what}")
            self.client.wait(self.follower.view.size, 1.0)
