"""Cards: who somebody is, as public keys that stand by value in agreement and evidence (protocol.md section 2)."""

import base64
import binascii
import re
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519, mldsa
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from sealstat.crypto import canonical
from sealstat.crypto.errors import MalformedError, SignatureError

Name = Annotated[str, Field(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
CARD_LIMIT_BYTES = 16 * 1024
_UTC = re.compile(r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$")


def b64(data: bytes) -> str:
    """Standard base64 with padding, the one form in which bytes stand in JSON."""
    return base64.b64encode(data).decode("ascii")


def unb64(text: str) -> bytes:
    """The bytes of standard base64; any other spelling is refused."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedError("expected base64, got something else") from error
    if b64(data) != text:
        raise MalformedError("the base64 is not in its canonical form")
    return data


def _is_b64(text: str) -> str:
    unb64(text)
    return text


def _is_utc(text: str) -> str:
    if not _UTC.match(text):
        raise ValueError("expected a UTC time like 2026-10-01T00:00:00Z")
    datetime.fromisoformat(text)
    return text


Base64 = Annotated[str, Field(max_length=512 * 1024), AfterValidator(_is_b64)]
UtcTime = Annotated[str, AfterValidator(_is_utc)]


class Strict(BaseModel):
    """A model that refuses unknown fields and wrong types: a term we ignore is a promise we break."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True, serialize_by_alias=True)

    def to_json(self) -> dict[str, Any]:
        """The value as plain JSON; absent optional fields are left out, so there is one form only."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Validity(Strict):
    """From and to, both included, UTC."""

    from_: UtcTime = Field(alias="from")
    to: UtcTime

    @model_validator(mode="after")
    def _ordered(self) -> "Validity":
        if self.from_ > self.to:
            raise ValueError("valid from lies after valid to")
        return self

    def covers(self, now: datetime) -> bool:
        """Whether a zone-aware time lies inside."""
        return datetime.fromisoformat(self.from_) <= now <= datetime.fromisoformat(self.to)


class SigningKeys(Strict):
    """Public signing keys, raw bytes in base64. Every key that stands here must sign."""

    ed25519: Base64
    mldsa65: Base64 | None = None

    def verify(self, message: bytes, signatures: dict[str, bytes]) -> None:
        """Check that each key of this card made its signature over the message.

        Raises:
            SignatureError: a key's signature is missing or wrong.
        """
        for algorithm in self.algorithms():
            if algorithm not in signatures:
                raise SignatureError(f"the {algorithm} signature is missing")
            try:
                _public_key(algorithm, unb64(getattr(self, algorithm))).verify(signatures[algorithm], message)
            except (InvalidSignature, ValueError) as error:
                raise SignatureError(f"the {algorithm} signature is wrong") from error

    def algorithms(self) -> list[str]:
        """The names of the keys that stand here, in order."""
        return [name for name in ("ed25519", "mldsa65") if getattr(self, name) is not None]


class SealingKey(Strict):
    """Public key to seal to: ML-KEM-768 and X25519, raw bytes in base64."""

    mlkem768: Base64
    x25519: Base64


class PartyCard(Strict):
    """A party: signs with both kinds of key, receives sealed messages, can be recovered."""

    kind: Literal["party"]
    name: Name
    keys: SigningKeys
    sealing: SealingKey
    recovery: Digest  # of the offline recovery key: H(JCS(its SigningKeys))
    valid: Validity

    @model_validator(mode="after")
    def _both_keys(self) -> "PartyCard":
        if self.keys.mldsa65 is None:
            raise ValueError("a party's card needs an Ed25519 and an ML-DSA-65 key")
        return self


class HostCard(Strict):
    """A host: its key for receipts, and the key and origin of its log, which signs checkpoints and nothing else."""

    kind: Literal["host"]
    name: Name
    keys: SigningKeys
    log_key: Annotated[str, Field(max_length=512)]  # verifier key of a signed note, log.md section 3
    origin: Annotated[str, Field(min_length=1, max_length=256)]
    valid: Validity


class WitnessCard(Strict):
    """A witness: its cosigner key alone, as the verifier key of a signed note."""

    kind: Literal["witness"]
    name: Name
    cosigner: Annotated[str, Field(max_length=2560)]  # of ML-DSA-44 1,313 bytes in base64 behind a name
    valid: Validity


class InstanceCard(Strict):
    """One enclave instance: fresh keys that live as long as its process."""

    kind: Literal["instance"]
    keys: SigningKeys
    sealing: SealingKey


Card = Annotated[PartyCard | HostCard | WitnessCard | InstanceCard, Field(discriminator="kind")]
_CARD: TypeAdapter[PartyCard | HostCard | WitnessCard | InstanceCard] = TypeAdapter(Card)


def parse_card(data: bytes) -> PartyCard | HostCard | WitnessCard | InstanceCard:
    """The card in a file or message.

    Raises:
        MalformedError: not canonical JSON, or not a card.
    """
    value = canonical.decode(data.strip(), limit=CARD_LIMIT_BYTES)
    try:
        return _CARD.validate_python(value)
    except ValidationError as error:
        raise MalformedError(f"not a card: {first_problem(error)}") from error


@lru_cache(maxsize=4096)  # a replay asks for the same few cards with every statement
def fingerprint(card: BaseModel) -> str:
    """H(JCS(card)), 64 hex digits: the name under which statements refer to a card."""
    return canonical.digest(card.model_dump(mode="json", by_alias=True, exclude_none=True))


def spoken(fingerprint_hex: str) -> str:
    """A fingerprint as 8 groups of 5 digits, to be read aloud.

    >>> spoken("00" * 32)
    '00000 00000 00000 00000 00000 00000 00000 00000'
    """
    data = bytes.fromhex(fingerprint_hex)
    # 32 bits a group, cut to 5 digits: 132 bits of the digest survive, far beyond what anyone can search
    return " ".join(f"{int.from_bytes(data[4 * i : 4 * i + 4]) % 100_000:05d}" for i in range(8))


def first_problem(error: ValidationError) -> str:
    """The first mistake of a model in words: where it is and what was expected, never the value itself."""
    problem = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in problem["loc"]) or "the top"
    return f"at {place}: {problem['msg'].removeprefix('Value error, ').lower()}"


def _public_key(algorithm: str, raw: bytes) -> ed25519.Ed25519PublicKey | mldsa.MLDSA65PublicKey:
    if algorithm == "ed25519":
        return ed25519.Ed25519PublicKey.from_public_bytes(raw)
    return mldsa.MLDSA65PublicKey.from_public_bytes(raw)
