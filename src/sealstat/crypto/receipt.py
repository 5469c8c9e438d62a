"""Receipts: what a host promised of a statement, signed, to be held against its log (protocol.md section 2)."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

from pydantic import Field, ValidationError

from sealstat.crypto import canonical
from sealstat.crypto.cards import Digest, HostCard, Strict, UtcTime, first_problem
from sealstat.crypto.errors import MalformedError
from sealstat.crypto.statement import pae, unpack

PAYLOAD_TYPE = "application/vnd.sealstat.receipt.v1+json"
_LIMIT_BYTES = 4096


class _Leaf(Strict):
    agreement: Digest
    id: Digest
    type: Annotated[str, Field(pattern=r"^[a-z-]{1,32}$")]


class _Promise(Strict):
    origin: Annotated[str, Field(min_length=1, max_length=256)]
    leaf: _Leaf
    received: UtcTime
    merge_by: UtcTime


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A promise whose signature was verified.

    Attributes:
        origin: of the log.
        leaf: the entry promised, to the byte.
        id: of the statement.
        received, merge_by: UTC; the leaf is promised to be in the log by ``merge_by``.
        envelope: as signed, canonical.
    """

    origin: str
    leaf: bytes
    id: str
    received: datetime
    merge_by: datetime
    envelope: bytes = field(repr=False)


def parse_receipt(data: bytes, host: HostCard) -> Receipt:
    """Verify a receipt under a host's card.

    Args:
        data: the envelope, canonical JSON.
    Raises:
        MalformedError: it is no receipt, or of another log than the host's.
        SignatureError: the host did not sign it.
    """
    kind, payload, signatures = unpack(data.strip())
    if kind != PAYLOAD_TYPE:
        raise MalformedError("not a receipt: its payloadType is another one")
    host.keys.verify(pae(kind, payload), signatures)
    try:
        promise = _Promise.model_validate(canonical.decode(payload, limit=_LIMIT_BYTES))
    except ValidationError as error:
        raise MalformedError(f"not a receipt: {first_problem(error)}") from error
    if promise.origin != host.origin:
        raise MalformedError("the receipt is of another log than the one on the host's card")
    return Receipt(
        origin=promise.origin,
        leaf=canonical.encode(promise.leaf.to_json()),
        id=promise.leaf.id,
        received=datetime.fromisoformat(promise.received),
        merge_by=datetime.fromisoformat(promise.merge_by),
        envelope=data.strip(),
    )
