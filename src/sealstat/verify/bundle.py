"""The proof bundle: statements with their places in the log, under one cosigned checkpoint (protocol.md section 9).

Cards stand in the agreement and in the evidence, by value, so that nothing else is needed to read a bundle.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

from pydantic import Field, ValidationError

from sealstat.agreement import statements as body
from sealstat.agreement.model import Agreement
from sealstat.agreement.replay import Entry, View
from sealstat.crypto import canonical, statement
from sealstat.crypto.cards import Digest, Strict, first_problem
from sealstat.crypto.errors import MalformedError
from sealstat.crypto.statement import Statement
from sealstat.log.note import MAX_NOTE_BYTES, VerifierKey, parse_verifier_key
from sealstat.verify.errors import BundleError

BUNDLE_LIMIT_BYTES = 16 * 1024 * 1024
STATEMENTS_LIMIT = 1024

Hash = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$")]  # 32 bytes, base64
Proof = Annotated[list[Hash], Field(max_length=64)]
Size = Annotated[int, Field(ge=0, le=2**53 - 1)]


class Placed(Strict):
    """A statement, and the proof that its leaf stands at this index of the checkpoint's tree.

    The envelope stands as the JSON object it is: its canonical bytes are those that were logged.
    """

    index: Size
    inclusion: Proof
    envelope: dict[str, Any]

    def statement(self) -> Statement:
        """The statement in the envelope; no signature checked.

        Raises:
            MalformedError: it is no envelope over a statement.
        """
        return statement.parse(canonical.encode(self.envelope))


class Growth(Strict):
    """The proof that the log, when it had this size, was the beginning of the checkpoint's."""

    size: Size
    consistency: Proof


class Bundle(Strict):
    """All that shows how one run-record came to count."""

    proof: Literal[1]
    agreement: Digest
    record: Digest
    checkpoint: Annotated[str, Field(max_length=MAX_NOTE_BYTES)]
    growth: Annotated[list[Growth], Field(max_length=STATEMENTS_LIMIT)]
    statements: Annotated[list[Placed], Field(max_length=STATEMENTS_LIMIT)]

    def to_bytes(self) -> bytes:
        """The bundle as canonical JSON, the one form that a verifier accepts."""
        data = canonical.encode(self.to_json())
        if len(data) > BUNDLE_LIMIT_BYTES:
            raise BundleError(f"the proof would have {len(data)} bytes, the limit is {BUNDLE_LIMIT_BYTES}")
        return data


def parse_bundle(data: bytes) -> Bundle:
    """A bundle from a file's bytes: size and form; nothing verified.

    Raises:
        BundleError: not canonical JSON of this form, or its lists are not in order.
    """
    try:
        bundle = Bundle.model_validate(canonical.decode(data, limit=BUNDLE_LIMIT_BYTES))
    except ValidationError as error:
        raise BundleError(f"the file is no proof: {first_problem(error)}") from error
    except MalformedError as error:
        raise BundleError(f"the file is no proof: {error}") from error
    for what, places in (
        ("statements", [placed.index for placed in bundle.statements]),
        ("growth proofs", [growth.size for growth in bundle.growth]),
    ):
        if places != sorted(set(places)):
            raise BundleError(f"the file is no proof: its {what} are not in the log's order, each once")
    return bundle


# --- which statements belong in a bundle ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Run:
    """The statements of one run, by what they do in it.

    Attributes:
        kept: of the keepers whose word is needed.
        released: the key-releases that the record names, of owners and holders.
        results: result-releases; empty for the run before the one in question.
    """

    record: Entry[body.RunRecord]
    request: Entry[body.RunRequest]
    deliveries: list[Entry[body.Delivery]]
    challenges: list[Entry[body.Challenge]]
    evidence: Entry[body.EnclaveEvidence]
    released: list[Entry[body.KeyRelease]]
    kept: list[Entry[body.Kept]]
    results: list[Entry[body.ResultRelease]]

    def ids(self) -> set[str]:
        """The ids of all of them."""
        several = (self.deliveries, self.challenges, self.released, self.kept, self.results)
        return {self.record.id, self.request.id, self.evidence.id, *(entry.id for part in several for entry in part)}


def run_of(view: View, record: str) -> Run:
    """The run behind a record that counts.

    Raises:
        BundleError: it does not count, as far as the view has read.
    """
    if record not in view.records or not view.counts(record):
        raise BundleError("there is no such run-record that counts: wait until the needed keepers have said kept")
    entry, instance = view.records[record]
    named = entry.body.outputs or entry.body.state
    needed = view.terms(entry).needed_keepers(instance.task) if named else []
    kept: dict[str, Entry[body.Kept]] = {}
    for said in view.entries.values():
        if isinstance(said.body, body.Kept) and said.body.record == record and said.by in needed:
            kept.setdefault(said.by, cast("Entry[body.Kept]", said))
    return Run(
        record=entry,
        request=instance.request,
        deliveries=[view.deliveries[id].entry for id in entry.body.deliveries],
        challenges=[view.challenges[id] for id in instance.evidence.body.challenges],
        evidence=instance.evidence,
        released=[each for each in instance.all_releases if each.id in entry.body.releases],
        kept=list(kept.values()),
        results=list(view.result_releases.get(record, {}).values()),
    )


def record_before(view: View, record: str) -> str | None:
    """The id of the record of the same task that counted before this one, if the view knows one."""
    counting = view.tasks[view.records[record][1].task].counting
    place = counting.index(record)
    return counting[place - 1] if place else None


def expiries(view: View, record: Entry[body.RunRecord]) -> list[Entry[body.Expiry]]:
    """What holders said of their shares of the state that a record left: that they are gone."""
    state = record.body.state
    return [
        cast("Entry[body.Expiry]", entry)
        for entry in view.entries.values()
        if state and isinstance(entry.body, body.Expiry) and entry.body.state == state.digest
    ]


def ids_to_show(view: View, record: str, size: int) -> set[str]:
    """The ids of all statements that a proof of this record shows: no more, so that a reader meets nothing unknown.

    Args:
        size: of the checkpoint; what has its leaf behind it is left out where a proof can do without.
    Raises:
        BundleError: it does not count, as far as the view has read.
    """
    run, before = run_of(view, record), record_before(view, record)
    ids = run.ids() - {entry.id for entry in run.results if entry.index >= size}
    if before is not None:
        earlier = run_of(view, before)
        ids |= earlier.ids() - {entry.id for entry in earlier.results}
        # a state whose holders said that it is gone needs no shares: without their words the record would have no form
        ids |= {entry.id for entry in expiries(view, earlier.record) if entry.index < run.record.index}
    chain = list(view.chain)
    shown = chain[chain.index(run.record.agreement) :]
    seen: set[tuple[str, str, str]] = set()
    for id, entry in view.entries.items():
        if entry.agreement not in shown or entry.index >= size:
            continue
        said, once = entry.body, (entry.agreement, view.statements[id].type, entry.by)
        newer = shown[shown.index(entry.agreement) - 1] if entry.agreement != shown[0] else None
        changes_cards = isinstance(said, body.Replacement | body.Veto) and not said.rehearsal
        if isinstance(said, Agreement | body.ReplacementFinal) or changes_cards:
            ids.add(id)
        elif once not in seen and (
            isinstance(said, body.Approval) or (isinstance(said, body.Successor) and said.new == newer)
        ):
            seen.add(once)  # who approves or names the successor twice has said it the first time
            ids.add(id)
    return ids


def named_keys(agreement: Agreement) -> dict[tuple[str, bytes], VerifierKey]:
    """The log's and the witnesses' keys as the agreement names them, by name and id of their signature lines."""
    texts = [agreement.host.card.log_key, *(card.cosigner for card in agreement.witnesses.cards)]
    return {(key.name, key.key_id): key for key in map(parse_verifier_key, texts)}
