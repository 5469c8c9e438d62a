"""The body of every statement type. What one means is replay.py's work; here is only its form."""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from sealstat.agreement.model import Action, Agreement, Identifier
from sealstat.agreement.periods import Period
from sealstat.crypto import canonical
from sealstat.crypto.cards import (
    Base64,
    Digest,
    InstanceCard,
    Name,
    PartyCard,
    SealingKey,
    SigningKeys,
    Strict,
    first_problem,
)
from sealstat.crypto.errors import MalformedError
from sealstat.crypto.statement import Statement

Why = Annotated[str, Field(min_length=1, max_length=1000)]
Nonce = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$")]  # 32 random bytes
Note = Annotated[str, Field(max_length=16 * 1024)]
Counter = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=0, le=2**53 - 1)]


class Approval(Strict):
    """An approver has read this text of the agreement: anyone can render it again and compare."""

    language: Annotated[str, Field(pattern=r"^[a-z]{2}$")]
    renderer: Annotated[str, Field(max_length=64)]
    explained: Digest


class Successor(Strict):
    """Said under the old agreement: another one takes its place."""

    new: Digest


class Withdrawal(Strict):
    """An approver ends the agreement."""

    why: Why


class Replacement(Strict):
    """From its leaf on, a party's card is another one; said by a recovery approver, it is one voice for that."""

    old: Digest
    new: PartyCard
    recovery: SigningKeys | None = None  # where the recovery key signs: a card holds but its digest
    rehearsal: bool = False


class ReplacementFinal(Strict):
    """Enough recovery approvers gave a party a new card, and the agreement's delay has passed.

    Two cosigned checkpoints show how long it was: one that holds their words, and a later one.
    """

    new: Digest
    since: Note
    until: Note


class Veto(Strict):
    """A recovery key that is not lost at all: the recovery approvers must not give its party this card."""

    new: Digest
    recovery: SigningKeys
    rehearsal: bool = False


class LinkageShare(Strict):
    """One provider's contribution to the key under which a group makes its pseudonyms for a period."""

    group: Name
    period: Period
    commitment: Digest
    sealed: dict[Name, Base64]


class Parts(Strict):
    """A sealed table's ciphertext: how many parts, and the digest of the blob that lists their sizes and digests."""

    count: Annotated[int, Field(ge=1, le=100_000)]
    digest: Digest


class Delivery(Strict):
    """A sealed table is with the host; its key stays with the provider."""

    dataset: Name
    period: Period
    table: Annotated[Identifier, Field(alias="schema")]
    parts: Parts
    key_check: Digest
    linkage_check: Digest | None = None
    rows: Count | None = None
    size: Count | None = None


class Expiry(Strict):
    """The owner destroyed the key of a delivery; or a holder its share of the key of a task's newest state."""

    delivery: Digest | None = None
    state: Digest | None = None
    task: Name | None = None  # whose state it is

    @model_validator(mode="after")
    def _of_one_thing(self) -> "Expiry":
        if (self.delivery is None) == (self.state is None) or (self.state is None) != (self.task is None):
            raise ValueError("an expiry is of one delivery, or of the state of one task")
        return self


class Deleted(Strict):
    """The host deleted the ciphertext of a delivery, or of a state that another one followed."""

    delivery: Digest | None = None
    record: Digest | None = None  # that left the state

    @model_validator(mode="after")
    def _of_one_thing(self) -> "Deleted":
        if (self.delivery is None) == (self.record is None):
            raise ValueError("a deletion is of one delivery, or of the state of one record")
        return self


class RunRequest(Strict):
    """A runner asks for one run of a task over named deliveries.

    With state, ``ingest`` takes in a day, ``finish`` reports over a whole report period and forgets, ``cancel``
    forgets; ``key`` draws the key of a day's pseudonyms.
    """

    task: Name
    period: Period
    purpose: Name
    action: Action = "run"
    deliveries: Annotated[list[Digest], Field(max_length=64)]
    parameters: dict[Identifier, Any] = {}
    nonce: Nonce


class Challenge(Strict):
    """An owner or holder will answer evidence that names this nonce, for counter c of the request's task."""

    request: Digest
    c: Counter
    nonce: Nonce
    checkpoint: Note
    seal_to: SealingKey | None = None


class EnclaveEvidence(Strict):
    """An instance shows what it is: evidence over its card, its request, what it has read and who challenged it."""

    request: Digest
    card: InstanceCard
    checkpoint: Note
    challenges: Annotated[list[Digest], Field(min_length=1, max_length=64)]
    kind: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,32}$")]
    evidence: Base64
    collateral: Base64


class KeyRelease(Strict):
    """An owner gives a delivery's key to one instance; a holder its share of a state's key, or of a period key.

    A provider for whom a key is drawn has nothing to give but its consent: its release names none of the three.
    """

    request: Digest
    c: Counter
    instance: Digest
    delivery: Digest | None = None
    state: Digest | None = None  # of the state's ciphertext
    period_key: Digest | None = None  # the record that drew it
    sealed: Base64 | None = None

    @model_validator(mode="after")
    def _of_one_thing(self) -> "KeyRelease":
        given = [thing for thing in (self.delivery, self.state, self.period_key) if thing is not None]
        if len(given) > 1 or (self.sealed is None) != (not given):
            raise ValueError("a key-release gives one thing, sealed, or is a consent and gives nothing")
        return self

    @property
    def of(self) -> str:
        """What it gives access to; of a consent, the request."""
        return self.delivery or self.state or self.period_key or self.request


class Output(Strict):
    """One released table: its ciphertext, a salted commitment to its plaintext, its key parts for its consumers."""

    table: Identifier
    parts: Parts
    about: Digest  # of the sealed note beside it: salt of the commitment, what the rules did
    commitment: Digest
    keys: dict[Name, Base64]


class SealedShare(Strict):
    """A holder's share of a key, and a MAC under the share, so that a bad one names its giver."""

    sealed: Base64
    mac: Digest


class State(Strict):
    """A task's new state: its ciphertext, the sealed note beside it, and the shares of its key."""

    parts: Parts
    about: Digest
    shares: dict[Name, SealedShare]

    @property
    def digest(self) -> str:
        """Of its ciphertext: what the shares of its key are bound to."""
        return canonical.digest([self.parts.digest, self.about])


class DrawnKey(Strict):
    """The key of a day's pseudonyms, for its provider; and shares of it, for later instances."""

    dataset: Name
    sealed: Base64
    shares: dict[Name, SealedShare]


class RunRecord(Strict):
    """What an instance did. Nothing in it is derived from data."""

    request: Digest
    c: Counter
    deliveries: list[Digest]
    evidence: Digest
    releases: list[Digest]
    measurement: Digest
    statistic: Identifier
    version: Annotated[int, Field(ge=1)]
    parameters: dict[Identifier, Any]
    rules: dict[Identifier, dict[str, Any]]
    outputs: Annotated[list[Output], Field(max_length=64)]
    shares: dict[Name, SealedShare]  # of the result key
    state: State | None = None
    key: DrawnKey | None = None
    told: dict[Name, Base64] = {}  # what became of a delivery, for its provider alone


class Refusal(Strict):
    """No: of a request by its instance, of a record or contribution by a party; never with a value from data.

    The reasons are a closed list: ``agreement`` not active; ``request``, ``deliveries`` not in order; ``evidence``
    cannot be shown; ``linkage``: a contribution does not open; ``data``: the only one once a delivery was opened;
    ``owner``: a person stopped the release.
    """

    of: Digest
    reason: Literal["agreement", "request", "deliveries", "evidence", "linkage", "data", "owner"]
    giver: Name | None = None  # of a contribution that does not open
    why: Why | None = None  # a person's cause
    sealed: dict[Name, Base64] = {}  # detail for the owner of a delivery at fault


class Abandon(Strict):
    """An instance has gone silent: it is over."""

    instance: Digest


class Kept(Strict):
    """A keeper has all ciphertexts a record names on its own disk."""

    record: Digest


class ResultRelease(Strict):
    """A holder gives its share of a result key to the consumers."""

    record: Digest
    shares: dict[Name, Base64]


class Acknowledgement(Strict):
    """A consumer has opened the results and found them as committed."""

    record: Digest


BODIES: dict[str, type[Strict]] = {
    "agreement": Agreement,
    "approval": Approval,
    "successor": Successor,
    "withdrawal": Withdrawal,
    "replacement": Replacement,
    "replacement-final": ReplacementFinal,
    "veto": Veto,
    "linkage-share": LinkageShare,
    "delivery": Delivery,
    "expiry": Expiry,
    "deleted": Deleted,
    "run-request": RunRequest,
    "challenge": Challenge,
    "enclave-evidence": EnclaveEvidence,
    "key-release": KeyRelease,
    "run-record": RunRecord,
    "refusal": Refusal,
    "abandon": Abandon,
    "kept": Kept,
    "result-release": ResultRelease,
    "acknowledgement": Acknowledgement,
}


def parse_body(statement: Statement) -> Strict:
    """The body of a statement by its type's model.

    Raises:
        MalformedError: unknown type or field, wrong type, out of range.
    """
    model = BODIES.get(statement.type)
    if model is None:
        raise MalformedError(f"unknown statement type {statement.type}")
    try:
        return model.model_validate(statement.body, by_alias=True, by_name=False)
    except ValidationError as error:
        raise MalformedError(f"not a {statement.type}: {first_problem(error)}") from error
