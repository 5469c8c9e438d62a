"""Everything is a signed statement: a DSSE envelope over canonical JSON (protocol.md section 2; DSSE v1.0.2)."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from typing import Annotated, Any

from pydantic import Field, ValidationError

from sealstat.crypto import canonical
from sealstat.crypto.cards import Base64, Digest, SigningKeys, Strict, UtcTime, b64, first_problem, unb64
from sealstat.crypto.errors import MalformedError
from sealstat.crypto.identity import Signer

STATEMENT_LIMIT_BYTES = 256 * 1024
_ENVELOPE_LIMIT_BYTES = 2 * STATEMENT_LIMIT_BYTES


class Frame(Strict):
    """What every statement says before its body."""

    agreement: Digest | None
    at: UtcTime  # what the signer claims; never trusted
    by: Digest
    type: Annotated[str, Field(pattern=r"^[a-z-]{1,32}$")]
    body: dict[str, Any]


class _Signature(Strict):
    keyid: Annotated[str, Field(max_length=32)]
    sig: Base64


class _Envelope(Strict):
    payload: Base64
    payload_type: Annotated[str, Field(alias="payloadType", max_length=128)]
    signatures: Annotated[list[_Signature], Field(min_length=1, max_length=4)]


def payload_type(statement_type: str) -> str:
    """The DSSE payloadType of a statement type."""
    return f"application/vnd.sealstat.{statement_type}.v1+json"


def pae(kind: str, body: bytes) -> bytes:
    """DSSE's pre-authentication encoding: lengths before contents, so that no two pairs give the same bytes."""
    name = kind.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(body), body)


@dataclass(frozen=True)
class Statement:
    """An envelope as received, its form checked. Its signatures count only after :meth:`verify`."""

    frame: Frame
    payload: bytes = field(repr=False)
    signatures: dict[str, bytes] = field(repr=False)

    @cached_property
    def id(self) -> str:
        """H(PAE(payloadType, payload)): signatures are not part of it."""
        return sha256(self._signed_bytes).hexdigest()

    @cached_property
    def _signed_bytes(self) -> bytes:
        return pae(payload_type(self.frame.type), self.payload)

    @property
    def type(self) -> str:
        return self.frame.type

    @property
    def by(self) -> str:
        return self.frame.by

    @property
    def body(self) -> dict[str, Any]:
        return self.frame.body

    def verify(self, keys: SigningKeys) -> None:
        """Check a signature by every key of the card that is said to have signed.

        Raises:
            SignatureError: one is missing or wrong.
        """
        keys.verify(self._signed_bytes, self.signatures)

    @cached_property
    def leaf(self) -> bytes:
        """The log entry that fixes this statement: JCS of {agreement, id, type}."""
        agreement = self.id if self.type == "agreement" else self.frame.agreement
        return canonical.encode({"agreement": agreement, "id": self.id, "type": self.type})

    def to_bytes(self) -> bytes:
        """The envelope as canonical JSON."""
        return canonical.encode(
            {
                "payload": b64(self.payload),
                "payloadType": payload_type(self.frame.type),
                "signatures": [{"keyid": name, "sig": b64(self.signatures[name])} for name in sorted(self.signatures)],
            }
        )


def sign(signer: Signer, *, type: str, by: str, agreement: str | None, body: dict[str, Any], at: datetime) -> Statement:
    """A statement signed by every key of the signer.

    Raises:
        MalformedError: the body has no canonical form, or the statement would be too large.
    """
    stamp = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    frame = Frame(agreement=agreement, at=stamp, by=by, type=type, body=body)
    payload = canonical.encode({"agreement": agreement, "at": stamp, "body": body, "by": by, "type": type})
    if len(payload) > STATEMENT_LIMIT_BYTES:
        raise MalformedError(f"the statement has {len(payload)} bytes, the limit is {STATEMENT_LIMIT_BYTES}")
    return Statement(frame, payload, signer.sign(pae(payload_type(type), payload)))


def unpack(data: bytes) -> tuple[str, bytes, dict[str, bytes]]:
    """The payload type, payload and signatures by algorithm of a DSSE envelope; nothing is verified.

    Raises:
        MalformedError: too large, not canonical, or not one envelope.
    """
    if len(data) > _ENVELOPE_LIMIT_BYTES:
        raise MalformedError(f"expected an envelope of at most {_ENVELOPE_LIMIT_BYTES} bytes, got {len(data)}")
    try:
        envelope = _Envelope.model_validate(canonical.decode(data, limit=_ENVELOPE_LIMIT_BYTES))
    except ValidationError as error:
        raise MalformedError(f"not a DSSE envelope: {first_problem(error)}") from error
    signatures = {signature.keyid: unb64(signature.sig) for signature in envelope.signatures}
    if len(signatures) != len(envelope.signatures) or list(signatures) != sorted(signatures):
        raise MalformedError("the envelope's signatures are not in canonical order, each once")
    return envelope.payload_type, unb64(envelope.payload), signatures


def parse(data: bytes) -> Statement:
    """A statement from an envelope's bytes: size and form, then canonical payload and frame; no signature yet.

    Raises:
        MalformedError: anything else than one canonical envelope over one canonical statement.
    """
    kind, payload, signatures = unpack(data)
    try:
        frame = Frame.model_validate(canonical.decode(payload, limit=STATEMENT_LIMIT_BYTES))
    except ValidationError as error:
        raise MalformedError(f"not a statement: {first_problem(error)}") from error
    if kind != payload_type(frame.type):
        raise MalformedError("the envelope's payloadType is not that of the statement in it")
    if (frame.agreement is None) != (frame.type == "agreement"):
        raise MalformedError("a statement names its agreement, and only the agreement itself names none")
    return Statement(frame, payload, signatures)


def parse_leaf(entry: bytes) -> tuple[str, str, str]:
    """(agreement, id, type) of a log entry.

    Raises:
        MalformedError: the entry is no leaf of this kind of log.
    """
    value = canonical.decode(entry, limit=1024)
    if not isinstance(value, dict) or sorted(value) != ["agreement", "id", "type"]:
        raise MalformedError("a log entry is not {agreement, id, type}")
    if not all(isinstance(part, str) for part in value.values()):
        raise MalformedError("a log entry holds something else than text")
    return value["agreement"], value["id"], value["type"]


__all__ = ["Frame", "Statement", "pae", "parse", "parse_leaf", "payload_type", "sign", "unpack"]
