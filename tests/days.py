"""The story of a task with state, in memory: keys drawn, days taken in, reports; each act a method (see story.py)."""

import secrets
from hashlib import sha256
from typing import Any

import builders
from sealstat.agreement import contexts
from sealstat.agreement.model import Agreement, Holders
from sealstat.crypto import canonical, shares
from sealstat.crypto.cards import b64, fingerprint
from sealstat.crypto.derive import mac, subkey
from sealstat.crypto.sealing import seal
from sealstat.crypto.statement import Statement
from story import Instance, Story, _changed, digest_of

TASK, KEYS = "usual", "keys"
REPORT = "2026-10-01/2026-10-04"
DAYS = ("2026-10-01", "2026-10-02", "2026-10-03", "2026-10-04")


def terms(**task: Any) -> Agreement:
    """Operator-a delivers days under drawn pseudonyms, operator-b plays the office; 2 of 3 hold, the ministry keeps."""
    value = builders.agreement_json()
    value["pseudonyms"] = {
        "subscribers": {
            "of": "user_id",
            "keep_prefix": 0,
            "shared_by": ["operator-a"],
            "new_key": "each period",
            "drawn_by": KEYS,
        }
    }
    value["datasets"] = {
        "days": {
            "provider": "operator-a",
            "schema": "presence",
            "period": "day",
            "pseudonym": "subscribers",
            "keep": "40d",
        },
        "areas": {"provider": "operator-b", "schema": "reference_areas", "period": "range", "keep": "40d"},
        "census": {"provider": "operator-b", "schema": "census", "period": "range", "keep": "40d"},
    }
    common = {
        "protection": "enclave",
        "runners": ["ministry"],
        "release_delay": "0s",
        "holders": {"of": ["operator-a", "operator-b", "regulator"], "threshold": 2},
        "keepers": ["ministry"],
    }
    value["tasks"] = {
        KEYS: {"statistic": "period_keys", "inputs": {"days": "days"}, **common},
        TASK: {
            "statistic": "longitudinal",
            "inputs": {"days": "days", "reference_areas": "areas", "census": "census"},
            "report": REPORT,
            "parameters": {"psi": "2", "calibrate": "true"},
            "releases": {"fingerprint": {"to": ["ministry"], "minimum": 10, "minimum_part": 3}},
            **common,
            **task,
        },
    }
    # as it is read from its statement: the order of inputs is the order of deliveries in a request
    return Agreement.model_validate(canonical.decode(canonical.encode(value), limit=1 << 20))


class Blobs:
    """A host that keeps blobs by digest, and gives what a test puts in their place."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}

    def put_blob(self, _: str, data: bytes) -> str:
        digest = sha256(data).hexdigest()
        self.blobs[digest] = data
        return digest

    def get_blob(self, _: str, digest: str, *, limit: int | None = None) -> bytes:
        return self.blobs[digest]


class Days(Story):
    """A log in which days are taken in."""

    def __init__(self, agreed: Agreement | None = None) -> None:
        super().__init__(agreed or terms())
        self.approve_all()
        self.state_keys: dict[str, bytes] = {}  # by record: of the state it left

    # -- asking --------------------------------------------------------------------------------------------------

    def ask(self, task: str, action: str, period: str, **changes: Any) -> Statement:
        """A run-request over the deliveries in force."""
        view = self.view()
        wanted = [view.in_force(*place) for place in self.terms.wanted(task, action, period)]  # type: ignore[arg-type]
        named = [self.statements[each.entry.id] for each in wanted if each is not None]
        return self.request(named, **{"task": task, "action": action, "period": period, **changes})

    def instance_for(self, request: Statement) -> Instance:
        """An attested instance that all holders challenged, at the counter of now."""
        c = self.view().counter(request.body["task"])
        holders = self.terms.tasks[request.body["task"]].holders.of
        instance = self.instance(request, {name: self.challenge(name, request, c) for name in holders}, c)
        self.attest(instance)
        return instance

    def give(self, by: str, instance: Instance, of: str, kind: str, **changes: Any) -> Statement:
        """A holder's share of a state's key (``kind`` state) or of a period key."""
        context = contexts.share_release(
            self.id,
            holder=fingerprint(self.card(by)),
            instance=instance.id,
            request=instance.request.id,
            task=instance.request.body["task"],
            c=instance.c,
            of=of,
        )
        body = {
            "request": instance.request.id,
            "c": instance.c,
            "instance": instance.id,
            kind: of,
            "sealed": seal(instance.card.sealing, context, secrets.token_bytes(32)),
        }
        return self.tell(by, "key-release", _changed(body, changes))

    def give_all(self, instance: Instance) -> list[Statement]:
        """What the run needs: deliveries' keys, consent, shares of two holders."""
        view, given = self.view(), []
        request = view.requests[instance.request.id]
        if request.body.action == "key":
            bound = {"request": request.id, "c": instance.c, "instance": instance.id}
            given.append(self.tell("operator-a", "key-release", bound))
        given += [self.release(self.statements[id], instance) for id in request.body.deliveries]
        for of, holders in view.needed_shares(request).items():
            kind = "period_key" if of in view.records else "state"
            given += [self.give(name, instance, of, kind) for name in holders.of[: holders.threshold]]
        return given

    # -- records -------------------------------------------------------------------------------------------------

    def leave(self, instance: Instance, given: list[Statement], **changes: Any) -> Statement:
        """The record of an honest instance, whatever its action leaves."""
        request, task = instance.request.body, self.terms.tasks[instance.request.body["task"]]
        assert instance.evidence is not None
        body: dict[str, Any] = {
            "request": instance.request.id,
            "c": instance.c,
            "deliveries": request["deliveries"],
            "evidence": instance.evidence.id,
            "releases": sorted(each.id for each in given),
            "measurement": builders.SOURCE,
            "statistic": task.statistic,
            "version": 1,
            "parameters": dict(task.parameters),
            "rules": {name: release.to_json() for name, release in task.releases.items()},
            "outputs": [],
            "shares": {},
        }
        match request["action"]:
            case "ingest":
                body["state"] = self._state(instance, task.holders)
            case "finish":
                made, _ = self._outputs(instance)
                body |= made
            case "key":
                where = {"task": KEYS, "c": instance.c, "dataset": "days", "period": request["period"]}
                body["key"] = {"dataset": "days", "sealed": b64(b"x" * 64)}
                body["key"]["shares"] = self._split(instance, task.holders, contexts.period_key_share, **where)
        return self.tell(instance, "run-record", _changed(body, changes))

    def _outputs(self, instance: Instance) -> tuple[dict[str, Any], Any]:
        task = self.terms.tasks[TASK]
        outputs = [
            {
                "table": table,
                "parts": {"count": 1, "digest": digest_of(f"result {table} {instance.id}")},
                "about": digest_of(f"about {table} {instance.id}"),
                "commitment": digest_of(f"commitment {table}"),
                "keys": {name: b64(b"k" * 48) for name in release.to},
            }
            for table, release in sorted(task.releases.items())
        ]
        where = {"task": TASK, "c": instance.c, "outputs": contexts.outputs_digest(outputs)}
        return {"outputs": outputs, "shares": self._split(instance, task.holders, contexts.result_share, **where)}, None

    def _state(self, instance: Instance, holders: Holders) -> dict[str, Any]:
        from sealstat.agreement.statements import State

        named = {
            "parts": {"count": 1, "digest": digest_of(f"state of {instance.id}")},
            "about": digest_of(f"about the state of {instance.id}"),
        }
        digest = State.model_validate({**named, "shares": {}}).digest
        where = {"task": TASK, "c": instance.c + 1, "digest": digest}
        return {**named, "shares": self._split(instance, holders, contexts.state_share, **where)}

    def _split(self, instance: Instance, holders: Holders, bound: Any, **where: Any) -> dict[str, dict[str, str]]:
        sealed, key = {}, secrets.token_bytes(32)
        pieces = shares.split(key, threshold=holders.threshold, holders=len(holders.of))
        for name, share in zip(holders.of, pieces, strict=True):
            card, asked = self.card(name), instance.challenges.get(name)
            to = self.openers[asked.id].public() if asked else card.sealing
            context = bound(self.id, instance=instance.id, holder=fingerprint(card), **where)
            sealed[name] = {"sealed": seal(to, context, share), "mac": mac(subkey(share, "share"), context)}
        return sealed

    # -- whole acts ----------------------------------------------------------------------------------------------

    def do(self, task: str, action: str, period: str) -> Statement:
        """A whole run that counts; its record."""
        instance = self.instance_for(self.ask(task, action, period))
        record = self.leave(instance, self.give_all(instance))
        if record.body["outputs"] or record.body.get("state"):
            self.keep(record)
        return record

    def draw(self, day: str) -> Statement:
        return self.do(KEYS, "key", day)

    def bring(self, day: str) -> Statement:
        """The key of a day is drawn, and the day delivered."""
        self.draw(day)
        return self.deliver("days", period=day, schema="presence", linkage_check=None)

    def take_in(self, *days: str) -> list[Statement]:
        records = []
        for day in days:
            self.bring(day)
            records.append(self.do(TASK, "ingest", day))
        return records

    def deliver_tables(self) -> None:
        for dataset, schema in (("areas", "reference_areas"), ("census", "census")):
            self.deliver(dataset, period=REPORT, schema=schema, linkage_check=None)

    def finish_report(self) -> Statement:
        self.deliver_tables()
        return self.do(TASK, "finish", REPORT)

    def state(self) -> str:
        """The digest of the newest state."""
        left = self.view().state_record(TASK)
        assert left is not None
        assert left.body.state is not None
        return left.body.state.digest
