"""A whole history in memory: all parties, instances, witnesses and a log, each act a method.

Tests tell the story in another order, leave acts out, or forge them: every act takes ``by`` (who signs it) and
changes to its body as keywords. What is said gets its leaf at once; ``say`` alone signs without logging.
"""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import builders
from sealstat.agreement import contexts
from sealstat.agreement.model import Agreement
from sealstat.agreement.replay import View
from sealstat.crypto import canonical, shares, statement
from sealstat.crypto.cards import InstanceCard, PartyCard, b64, fingerprint
from sealstat.crypto.derive import commitment, mac, subkey
from sealstat.crypto.identity import Opener, Signer
from sealstat.crypto.sealing import seal, unseal
from sealstat.crypto.statement import Statement
from sealstat.evidence import simulated
from sealstat.evidence.report import report_data
from sealstat.log.checkpoint import Checkpoint, VerifiedCheckpoint, verify_checkpoint
from sealstat.log.merkle import consistency_proof, inclusion_proof, leaf_hash, root
from sealstat.log.note import Cosigner, LogSigner, add_signatures, parse_verifier_key, sign_note
from sealstat.verify import Bundle, make_bundle

START = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)
PERIOD = "2026-10"
FOREIGN_LEAF = canonical.encode({"agreement": "f" * 64, "id": "e" * 64, "type": "approval"})


def digest_of(text: str) -> str:
    """A digest that stands for something a test does not care about."""
    return sha256(text.encode()).hexdigest()


@dataclass
class Instance:
    """An enclave instance: its keys, and what it works on."""

    signer: Signer
    opener: Opener
    card: InstanceCard
    request: Statement
    c: int
    challenges: dict[str, Statement]
    evidence: Statement | None = None
    releases: dict[str, Statement] = field(default_factory=dict)  # by delivery

    @property
    def id(self) -> str:
        return fingerprint(self.card)


class Story:
    """One log, and all who write to it."""

    def __init__(self, terms: Agreement | None = None, *, proposed: bool = True) -> None:
        self.now = START
        self.leaves: list[bytes] = []
        self.statements: dict[str, Statement] = {}
        self.generation: dict[str, int] = {}
        self.results: dict[str, dict[str, tuple[bytes, bytes]]] = {}  # by record and table: salt, content
        self.openers: dict[str, Opener] = {}  # by challenge: of its seal_to
        self.chain: list[Statement] = []  # newest first
        self.terms = terms or builders.agreement()
        if proposed:
            self.propose(self.terms)

    # -- keys, log, time ----------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The id of the agreement in force."""
        return self.chain[0].id

    def card(self, name: str) -> PartyCard:
        return _keys(name, self.generation.get(name, 0))[0]

    def say(self, by: str | Instance, type: str, body: dict[str, Any], *, under: str | None = "") -> Statement:
        """A signed statement without a leaf; ``by`` is a party's name, "host", or an instance."""
        if isinstance(by, Instance):
            signer, who = by.signer, by.id
        elif by == "host":
            signer, who = builders.host().signer, fingerprint(builders.host().card)
        else:
            signer, who = _keys(by, self.generation.get(by, 0))[1], fingerprint(self.card(by))
        agreement = self.id if under == "" else under
        return statement.sign(signer, type=type, by=who, agreement=agreement, body=body, at=self.now)

    def log(self, said: Statement) -> int:
        """Append its leaf; the index."""
        self.statements[said.id] = said
        self.leaves.append(said.leaf)
        return len(self.leaves) - 1

    def tell(self, by: str | Instance, type: str, body: dict[str, Any], *, under: str | None = "") -> Statement:
        """Say and log."""
        said = self.say(by, type, body, under=under)
        self.log(said)
        return said

    def noise(self, count: int = 1) -> None:
        """Leaves of another agreement."""
        self.leaves += [FOREIGN_LEAF] * count

    def wait(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    def note(
        self,
        witnesses: Sequence[str] = builders.WITNESSES,
        *,
        leaves: Sequence[bytes] | None = None,
        log_key: Ed25519PrivateKey | None = None,
        at: datetime | None = None,
    ) -> bytes:
        """A checkpoint of the log as it is (or of other leaves), cosigned now."""
        self.wait(1)
        entries = self.leaves if leaves is None else leaves
        host, stamp = builders.host(), int((at or self.now).timestamp())
        text = Checkpoint(host.card.origin, len(entries), root([leaf_hash(entry) for entry in entries])).serialise()
        note = sign_note(text, LogSigner(host.card.origin, log_key or host.log_key))
        cosigners = [self.cosigner(name) for name in witnesses]
        lines = [cosigner.sign(text, timestamp=stamp) for cosigner in cosigners]
        return add_signatures(note, lines, [cosigner.verifier for cosigner in cosigners]) if lines else note

    def cosigner(self, name: str) -> Cosigner:
        keys = builders.witness(name)
        return Cosigner(parse_verifier_key(keys.card.cosigner).name, keys.cosigner)

    def checkpoint(self, note: bytes | None = None, *, quorum: int = 2) -> VerifiedCheckpoint:
        """The log's newest checkpoint, verified."""
        return verify_checkpoint(
            note or self.note(),
            log_key=parse_verifier_key(builders.host().card.log_key),
            witnesses=[self.cosigner(name).verifier for name in builders.WITNESSES],
            quorum=quorum,
        )

    # -- reading ------------------------------------------------------------------------------------------------

    def view(self, chain: list[Statement] | None = None, *, leaves: Iterable[bytes] | None = None) -> View:
        """What the log says."""
        view = View(chain or self.chain)
        for entry in self.leaves if leaves is None else leaves:
            found = view.concerns(entry)
            if found is None:
                view.skip()
            else:
                said = self.statements.get(found[0])
                view.add(*found, said.to_bytes() if said else None)
        return view

    def why_void(self, said: Statement) -> str | None:
        """Why a statement means nothing, or None if it does."""
        found = self.view().void.get(said.id)
        return found[1] if found else None

    def bundle(self, record: Statement, *, note: bytes | None = None, view: View | None = None) -> Bundle:
        """The proof of a record under a fresh checkpoint."""
        checkpoint = self.checkpoint(note)
        hashes = [leaf_hash(entry) for entry in self.leaves[: checkpoint.checkpoint.size]]
        return make_bundle(
            view or self.view(),
            record.id,
            checkpoint,
            lambda index, _: inclusion_proof(hashes, index),
            lambda old: consistency_proof(hashes, old.size),
        )

    # -- agreement ----------------------------------------------------------------------------------------------

    def propose(self, terms: Agreement, *, by: str = "operator-a") -> Statement:
        """A new agreement, or a new version of the one in force."""
        said = self.tell(by, "agreement", terms.to_json(), under=None)
        self.terms, self.chain = terms, [said, *self.chain] if terms.supersedes else [said]
        return said

    def approve(self, by: str, **changes: Any) -> Statement:
        text = {"language": "en", "renderer": "sealstat-1", "explained": digest_of("the text shown")}
        return self.tell(by, "approval", {**text, **changes})

    def approve_all(self) -> list[Statement]:
        return [self.approve(name) for name in self.terms.roles.approvers]

    def succeed(self, old: str, new: str, *by: str) -> list[Statement]:
        """Approvers of an old version name its successor."""
        return [self.tell(name, "successor", {"new": new}, under=old) for name in by]

    def withdraw(self, by: str, *, under: str | None = "") -> Statement:
        return self.tell(by, "withdrawal", {"why": "the law has changed"}, under=under)

    def rotate(self, name: str, *, rehearsal: bool = False, by: str | None = None) -> Statement:
        """A party takes a new card; from then on it signs with that."""
        generation = self.generation.get(name, 0) + 1
        body = {"old": fingerprint(self.card(name)), "new": _keys(name, generation)[0].to_json()}
        said = self.tell(by or name, "replacement", {**body, "rehearsal": rehearsal})
        if not rehearsal:
            self.generation[name] = generation
        return said

    def recover(
        self, name: str, generation: int = 1, *, key: Signer | None = None, log: bool = True, **changes: Any
    ) -> Statement:
        """A party's recovery key gives it a new card; from then on it signs with that."""
        body = {"old": fingerprint(self.card(name)), "new": _keys(name, generation)[0].to_json(), "rehearsal": False}
        said = self.by_recovery_key(name, "replacement", {**body, **changes}, key=key)
        if log:
            self.log(said)
            self.generation[name] = generation
        return said

    def by_recovery_key(self, name: str, type: str, body: dict[str, Any], *, key: Signer | None = None) -> Statement:
        """What a party's recovery key signs, without a leaf."""
        signer = key or builders.recovery(name)
        shown = {"recovery": signer.public().to_json(), **body}
        who = builders.recovery_digest(signer)
        return statement.sign(signer, type=type, by=who, agreement=self.id, body=shown, at=self.now)

    def vouch(self, by: str, name: str, generation: int = -1, **changes: Any) -> Statement:
        """A recovery approver would give a party that lost all its keys a new card."""
        body = {"old": fingerprint(self.card(name)), "new": _keys(name, generation)[0].to_json(), "rehearsal": False}
        return self.tell(by, "replacement", {**body, **changes})

    def veto(self, name: str, generation: int = -1, *, key: Signer | None = None, **changes: Any) -> Statement:
        """A party's recovery key is there, and refuses the new card."""
        body = {"new": fingerprint(_keys(name, generation)[0]), "rehearsal": False}
        said = self.by_recovery_key(name, "veto", {**body, **changes}, key=key)
        self.log(said)
        return said

    def finalise(self, by: str, name: str, since: bytes, until: bytes, generation: int = -1) -> Statement:
        """The delay is over; from then on the party signs with its new card, if that holds."""
        body = {"new": fingerprint(_keys(name, generation)[0]), "since": since.decode(), "until": until.decode()}
        said = self.tell(by, "replacement-final", body)
        if self.why_void(said) is None:
            self.generation[name] = generation
        return said

    # -- delivery -----------------------------------------------------------------------------------------------

    def share_linkage(self, giver: str, *, period: str = PERIOD, group: str = "roamers", **changes: Any) -> Statement:
        salt, contribution = secrets.token_bytes(32), secrets.token_bytes(32)
        sealed = {}
        for receiver in self.terms.pseudonyms[group].shared_by:
            if receiver != giver:
                giving, card = fingerprint(self.card(giver)), self.card(receiver)
                context = contexts.linkage_share(
                    self.id, giver=giving, receiver=fingerprint(card), group=group, period=period
                )
                sealed[receiver] = seal(card.sealing, context, salt + contribution)
        body = {"group": group, "period": period, "commitment": commitment(salt, contribution), "sealed": sealed}
        return self.tell(giver, "linkage-share", {**body, **changes})

    def deliver(self, dataset: str, *, by: str | None = None, period: str = PERIOD, **changes: Any) -> Statement:
        terms = self.terms.datasets.get(dataset) or next(iter(self.terms.datasets.values()))
        body = {
            "dataset": dataset,
            "period": period,
            "schema": terms.table,
            "parts": {"count": 1, "digest": digest_of(f"parts {dataset} {len(self.leaves)}")},
            "key_check": digest_of(f"key {dataset} {len(self.leaves)}"),
            "linkage_check": digest_of(f"linkage {period}"),
        }
        return self.tell(by or terms.provider, "delivery", _changed(body, changes))

    def deliver_all(self, *, period: str = PERIOD) -> list[Statement]:
        return [self.deliver(dataset, period=period) for dataset in self.terms.datasets]

    def expire(self, delivery: Statement, *, by: str | None = None) -> Statement:
        return self.tell(by or self._provider(delivery), "expiry", {"delivery": delivery.id})

    # -- a run --------------------------------------------------------------------------------------------------

    def request(self, deliveries: Sequence[Statement], /, *, by: str = "ministry", **changes: Any) -> Statement:
        body = {
            "task": "visitors",
            "period": deliveries[0].body["period"] if deliveries else PERIOD,
            "purpose": "tourism-statistics",
            "deliveries": [delivery.id for delivery in deliveries],
            "nonce": b64(secrets.token_bytes(32)),
        }
        return self.tell(by, "run-request", _changed(body, changes))

    def challenge(
        self,
        by: str,
        request: Statement,
        c: int = 0,
        /,
        *,
        note: bytes | None = None,
        under: str | None = "",
        **changes: Any,
    ) -> Statement:
        opener = Opener.generate()
        body = {
            "request": request.id,
            "c": c,
            "nonce": b64(secrets.token_bytes(32)),
            "checkpoint": (note or self.note()).decode(),
            "seal_to": opener.public().to_json(),
        }
        said = self.tell(by, "challenge", _changed(body, changes), under=under)
        self.openers[said.id] = opener
        return said

    def challenge_all(self, request: Statement, c: int = 0) -> dict[str, Statement]:
        return {name: self.challenge(name, request, c) for name in self.terms.tasks["visitors"].holders.of}

    def instance(self, request: Statement, challenges: dict[str, Statement], c: int = 0) -> Instance:
        """A fresh instance that has said nothing yet."""
        signer, opener = Signer.generate(post_quantum=False), Opener.generate()
        card = InstanceCard(kind="instance", keys=signer.public(), sealing=opener.public())
        return Instance(signer, opener, card, request, c, challenges)

    def attest(
        self,
        instance: Instance,
        *,
        measurement: str = builders.SOURCE,
        debug: bool = False,
        root: Ed25519PrivateKey | None = None,
        claims: dict[str, Any] | None = None,
        note: bytes | None = None,
        under: str | None = "",
        **changes: Any,
    ) -> Statement:
        """Its evidence; ``claims`` change what the report data binds, ``changes`` what the statement says."""
        said: dict[str, Any] = {
            "request": instance.request.id,
            "card": instance.card,
            "checkpoint": (note or self.note()).decode(),
            "challenges": sorted(challenge.id for challenge in instance.challenges.values()),
            "kind": "simulated",
        }
        bound = report_data(**{**said, **(claims or {})})
        evidence = simulated.attest(
            root or builders.simulated_root(), measurement=measurement, report_data=bound, debug=debug
        )
        body = {**said, "card": instance.card.to_json(), "evidence": b64(evidence), "collateral": ""}
        instance.evidence = self.tell(instance, "enclave-evidence", _changed(body, changes), under=under)
        return instance.evidence

    def release(
        self,
        delivery: Statement,
        instance: Instance,
        /,
        *,
        by: str | None = None,
        under: str | None = "",
        **changes: Any,
    ) -> Statement:
        """An owner gives the key of a delivery to an instance."""
        owner = by or self._provider(delivery)
        where = {"request": instance.request.id, "delivery": delivery.id}
        sender = fingerprint(self.card(owner))
        context = contexts.delivery_key(self.id, owner=sender, instance=instance.id, **where)
        key = canonical.encode({"key": b64(secrets.token_bytes(32)), "rows": 1000, "rejects": {}, "size": 4096})
        body = {**where, "c": instance.c, "instance": instance.id, "sealed": seal(instance.card.sealing, context, key)}
        said = self.tell(owner, "key-release", _changed(body, changes), under=under)
        instance.releases.setdefault(delivery.id, said)
        return said

    def release_all(self, instance: Instance) -> list[Statement]:
        return [self.release(self.statements[id], instance) for id in instance.request.body["deliveries"]]

    def record_body(self, instance: Instance) -> tuple[dict[str, Any], dict[str, tuple[bytes, bytes]]]:
        """The body of an honest record, and the results behind its commitments: by table, salt and content."""
        request, task = instance.request.body, self.terms.tasks["visitors"]
        outputs: list[dict[str, Any]] = []
        results: dict[str, tuple[bytes, bytes]] = {}
        for table, release in sorted(task.releases.items()):
            salt, content = secrets.token_bytes(32), f"{table}: 42 visitors".encode()
            results[table] = (salt, content)
            keys = {}
            for consumer in release.to:
                card = self.card(consumer)
                context = contexts.output_key(
                    self.id,
                    instance=instance.id,
                    consumer=fingerprint(card),
                    request=instance.request.id,
                    task="visitors",
                    c=instance.c,
                    table=table,
                )
                keys[consumer] = seal(card.sealing, context, secrets.token_bytes(32))
            outputs.append(
                {
                    "table": table,
                    "parts": {"count": 1, "digest": digest_of(f"result {table} {instance.id}")},
                    "about": digest_of(f"about {table} {instance.id}"),
                    "commitment": commitment(salt, content),
                    "keys": keys,
                }
            )
        deliveries = request["deliveries"]
        assert instance.evidence is not None
        return {
            "request": instance.request.id,
            "c": instance.c,
            "deliveries": deliveries,
            "evidence": instance.evidence.id,
            "releases": sorted(instance.releases[id].id for id in deliveries if id in instance.releases),
            "measurement": builders.SOURCE,
            "statistic": task.statistic,
            "version": 1,
            "parameters": {**task.parameters, **request.get("parameters", {})},
            "rules": {name: release.to_json() for name, release in task.releases.items()},
            "outputs": outputs,
            "shares": self._shares(instance, contexts.outputs_digest(outputs)),
        }, results

    def _shares(self, instance: Instance, digest: str) -> dict[str, dict[str, str]]:
        holders, sealed = self.terms.tasks["visitors"].holders, {}
        pieces = shares.split(secrets.token_bytes(32), threshold=holders.threshold, holders=len(holders.of))
        for name, share in zip(holders.of, pieces, strict=True):
            card, asked = self.card(name), instance.challenges.get(name)
            to = self.openers[asked.id].public() if asked else card.sealing
            where = {"task": "visitors", "c": instance.c, "outputs": digest}
            context = contexts.result_share(self.id, instance=instance.id, holder=fingerprint(card), **where)
            sealed[name] = {"sealed": seal(to, context, share), "mac": mac(subkey(share, "share"), context)}
        return sealed

    def record(self, instance: Instance, *, under: str | None = "", **changes: Any) -> Statement:
        body, results = self.record_body(instance)
        said = self.tell(instance, "run-record", _changed(body, changes), under=under)
        self.results[said.id] = results
        return said

    def keep(self, record: Statement, *, by: str = "ministry", under: str | None = "") -> Statement:
        return self.tell(by, "kept", {"record": record.id}, under=under)

    def abandon(self, instance: Instance, *, by: str = "ministry") -> Statement:
        return self.tell(by, "abandon", {"instance": instance.id})

    def refuse(self, by: str | Instance, of: str, reason: str = "data", **more: Any) -> Statement:
        return self.tell(by, "refusal", {"of": of, "reason": reason, **more})

    def release_result(
        self, holder: str, record: Statement, instance: Instance, *, under: str | None = ""
    ) -> Statement:
        """A holder re-seals its share to the consumers."""
        asked, digest = instance.challenges.get(holder), contexts.outputs_digest(record.body["outputs"])
        sealed = {}
        if holder in record.body["shares"] and asked is not None:
            mine = fingerprint(self.card(holder))
            where = {"task": "visitors", "c": instance.c, "outputs": digest}
            context = contexts.result_share(self.id, instance=instance.id, holder=mine, **where)
            share = unseal(self.openers[asked.id], context, record.body["shares"][holder]["sealed"])
            for consumer in self.terms.consumers("visitors"):
                card = self.card(consumer)
                to = contexts.result_release(self.id, holder=mine, consumer=fingerprint(card), record=record.id)
                sealed[consumer] = seal(card.sealing, to, share)
        return self.tell(holder, "result-release", {"record": record.id, "shares": sealed}, under=under)

    def acknowledge(self, by: str, record: Statement) -> Statement:
        return self.tell(by, "acknowledgement", {"record": record.id})

    # -- longer passages ----------------------------------------------------------------------------------------

    def begin(self, *, period: str = PERIOD) -> Statement:
        """Approvals (if they are missing), linkage, deliveries, and a request for a period."""
        if not self.view().approvals[self.id]:
            self.approve_all()
        for provider in self.terms.pseudonyms["roamers"].shared_by:
            self.share_linkage(provider, period=period)
        return self.request(self.deliver_all(period=period))

    def start(self, request: Statement, c: int = 0) -> Instance:
        """An instance that has been challenged and has shown its evidence; no key was released yet."""
        instance = self.instance(request, self.challenge_all(request, c), c)
        self.attest(instance)
        return instance

    def run(self, request: Statement, c: int = 0) -> tuple[Instance, Statement]:
        """From challenges to a record that is not kept yet."""
        instance = self.start(request, c)
        self.release_all(instance)
        return instance, self.record(instance)

    def finish(self, record: Statement, instance: Instance) -> None:
        """Kept, and released by all holders."""
        self.keep(record)
        for holder in self.terms.tasks["visitors"].holders.of:
            self.release_result(holder, record, instance)

    def whole_run(self, *, period: str = PERIOD, c: int = 0) -> Statement:
        """Everything an honest run has; its record."""
        instance, record = self.run(self.begin(period=period), c)
        self.finish(record, instance)
        return record

    def _provider(self, delivery: Statement) -> str:
        return self.terms.datasets[delivery.body["dataset"]].provider


def _keys(name: str, generation: int) -> tuple[PartyCard, Signer, Opener]:
    return builders.party(name, generation) if generation else builders.party(name)  # how it was called is its key


def _changed(body: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The body with changes; None takes a field away."""
    return {name: value for name, value in {**body, **changes}.items() if value is not None}


__all__ = ["FOREIGN_LEAF", "PERIOD", "START", "Instance", "Story", "digest_of"]
