"""Request signatures: RFC 9421 with a card's Ed25519 key, over method, target URI and the body's digest.

What a signature proves is that the holder of the card sent this body to this address about this time. That it is
not sent twice is the receiver's memory of nonces; who may do what is not decided here.
"""

import base64
import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from http_message_signatures import (
    HTTPMessageSignaturesException,
    HTTPMessageSigner,
    HTTPMessageVerifier,
    HTTPSignatureKeyResolver,
    algorithms,
)

from sealstat.crypto.errors import SignatureError

TAG = "sealstat-v1"
COMPONENTS = ("@method", "@target-uri", "content-digest")
WINDOW_S = 300
SKEW_S = 5
_FIELD_LIMIT = 1024
_SIGNED_FIELDS = ("content-digest", "signature", "signature-input")
_NONCE = re.compile(r"[A-Za-z0-9+/=_-]{16,64}")
_KEYID = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):")

KeyOf = Callable[[str], Ed25519PublicKey | None]


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """What a good signature says.

    Attributes:
        fingerprint: of the card whose key signed.
        nonce: to be seen once within the window.
        created: POSIX seconds, by the sender's clock, within the window.
        body_sha256: what the body must hash to, 32 bytes; comparing is left to whoever reads the body.
    """

    fingerprint: str
    nonce: str
    created: int
    body_sha256: bytes


def sign_request(
    method: str,
    url: str,
    *,
    body_sha256: bytes,
    key: Ed25519PrivateKey,
    fingerprint: str,
    now: datetime,
    nonce: str | None = None,
) -> dict[str, str]:
    """The header fields that sign one request; they hold for this method, address and body alone.

    Args:
        url: absolute, as the host knows itself, with its query.
        body_sha256: SHA-256 of the body, 32 bytes; of the empty body, too.
        nonce: 16 to 64 characters of base64; by default 18 random bytes.
    """
    message = _Message(method, url, [("Content-Digest", content_digest(body_sha256))])
    signer = HTTPMessageSigner(signature_algorithm=algorithms.ED25519, key_resolver=_Signing(key))
    signer.sign(
        message,
        key_id=fingerprint,
        created=now,
        nonce=nonce or base64.b64encode(secrets.token_bytes(18)).decode(),
        label="sealstat",
        tag=TAG,
        include_alg=False,
        covered_component_ids=COMPONENTS,
        use_existing_digest=True,
    )
    return dict(message.headers.items())


def verify_request(
    method: str, url: str, fields: Iterable[tuple[str, str]], *, key_of: KeyOf, now: datetime
) -> SignedRequest:
    """Check a request's signature before its body is read.

    Left to the caller: that the nonce is new, that the body has this digest, that the card may do this.

    Args:
        url: the receiver's own address with the path and query as received, never from a header.
        fields: all header fields in order, repeats included.
        key_of: the Ed25519 key of a card, or None if the card is unknown.
    Raises:
        SignatureError: one sentence that says what is missing or wrong.
    """
    message = _Message(method, url, fields)
    for name in _SIGNED_FIELDS:
        lines = [value for field, value in message.headers.items() if field.lower() == name]
        if len(lines) != 1 or len(lines[0]) > _FIELD_LIMIT:
            raise SignatureError(f"the request must have one {name} field of at most {_FIELD_LIMIT} characters")
        if name == "content-digest":
            digest = _DIGEST.fullmatch(lines[0].strip(" \t"))
    if digest is None:
        raise SignatureError("the request's content-digest must be one sha-256 value")
    parameters, covered = check_signature(
        message,
        key_of=lambda keyid: key_of(keyid) if _KEYID.fullmatch(keyid) else None,
        now=now,
        require=COMPONENTS,
        tag=TAG,
        max_age_s=WINDOW_S,
    )
    keyid, nonce = parameters["keyid"], parameters.get("nonce")
    if len(covered) != len(COMPONENTS):
        raise SignatureError(f"the signature must cover {', '.join(COMPONENTS)} and nothing else")
    if not isinstance(nonce, str) or not _NONCE.fullmatch(nonce):
        raise SignatureError("the signature needs a nonce of 16 to 64 characters of base64")
    return SignedRequest(keyid, nonce, parameters["created"], base64.b64decode(digest[1]))


def content_digest(body_sha256: bytes) -> str:
    """The Content-Digest field (RFC 9530) of a body with this SHA-256.

    >>> content_digest(sha256(b"").digest())
    'sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:'
    """
    if len(body_sha256) != sha256().digest_size:
        raise ValueError("expected a SHA-256 of 32 bytes")
    return f"sha-256=:{base64.b64encode(body_sha256).decode()}:"


def check_signature(
    message: "_Message",
    *,
    key_of: KeyOf,
    now: datetime | None,
    require: Sequence[str] = (),
    tag: str | None = None,
    max_age_s: int | None = None,
    body: bytes | None = None,
) -> tuple[dict[str, Any], frozenset[str]]:
    """RFC 9421 verification under an explicit policy; :func:`verify_request` is this with sealstat's.

    Args:
        now: for created and expires; without it, times are not looked at.
        require: components that must be covered.
        tag: if given, only signatures with this tag are looked at.
        max_age_s: seconds since ``created``, give or take ``SKEW_S``.
        body: if given, must have the covered Content-Digest.
    Returns:
        the signature's parameters, and the identifiers of the covered components.
    Raises:
        SignatureError: there is not exactly one such signature, or it does not verify.
    """
    verifier = _Verifier(now, _Verifying(key_of))
    try:
        results = verifier.verify(
            message,
            max_age=None if max_age_s is None else timedelta(seconds=max_age_s),
            expect_tag=tag,
            require_components=require,
            body=body,
        )
    except HTTPMessageSignaturesException as error:
        raise SignatureError("the request's signature is missing, wrong, too old, or by no card known here") from error
    if len(results) != 1:
        raise SignatureError("the request must have exactly one signature with this tag")
    covered = frozenset(results[0].covered_components) - {'"@signature-params"'}
    return dict(results[0].parameters), covered


class _Fields:
    """Header fields in order with repeats, as the library wants to see them."""

    def __init__(self, lines: Iterable[tuple[str, str]]) -> None:
        self._lines = list(lines)

    def items(self) -> list[tuple[str, str]]:
        return list(self._lines)

    def __iter__(self) -> Any:
        return iter([name for name, _ in self._lines])

    def __contains__(self, name: str) -> bool:
        return any(field.lower() == name.lower() for field, _ in self._lines)

    def __setitem__(self, name: str, value: str) -> None:
        self._lines.append((name, value))

    def __delitem__(self, name: str) -> None:
        self._lines = [(field, value) for field, value in self._lines if field.lower() != name.lower()]


class _Message:
    """A request as the library wants to see it."""

    def __init__(self, method: str, url: str, fields: Iterable[tuple[str, str]]) -> None:
        self.method, self.url, self.headers = method, url, _Fields(fields)


class _Signing(HTTPSignatureKeyResolver):  # type: ignore[misc]
    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    def resolve_private_key(self, key_id: str) -> Ed25519PrivateKey:  # noqa: ARG002
        return self._key


class _Verifying(HTTPSignatureKeyResolver):  # type: ignore[misc]
    def __init__(self, key_of: KeyOf) -> None:
        self._key_of = key_of

    def resolve_public_key(self, key_id: str) -> Ed25519PublicKey | None:
        return self._key_of(key_id)


class _Verifier(HTTPMessageVerifier):  # type: ignore[misc]
    """The library's verifier with the time as an argument."""

    def __init__(self, now: datetime | None, resolver: _Verifying) -> None:
        super().__init__(signature_algorithm=algorithms.ED25519, key_resolver=resolver)
        self._now = now

    def validate_created_and_expires(self, sig_input: Any, max_age: timedelta | None = None) -> None:
        if self._now is None:
            return
        skew = timedelta(seconds=SKEW_S)
        created = self._time(sig_input, "created")
        expires = self._time(sig_input, "expires")
        if created is None or created > self._now + skew:
            raise HTTPMessageSignaturesException("created is missing or lies in the future")
        if max_age is not None and created + max_age < self._now - skew:
            raise HTTPMessageSignaturesException("the signature is too old")
        if expires is not None and expires < self._now - skew:
            raise HTTPMessageSignaturesException("the signature has expired")

    @staticmethod
    def _time(sig_input: Any, name: str) -> datetime | None:
        value = sig_input.params.get(name)
        if value is None:
            return None
        try:
            return datetime.fromtimestamp(value, UTC)
        except (TypeError, ValueError, OverflowError, OSError) as error:
            raise HTTPMessageSignaturesException(f"{name} is no time") from error


__all__ = [
    "COMPONENTS",
    "SKEW_S",
    "TAG",
    "WINDOW_S",
    "SignedRequest",
    "content_digest",
    "sign_request",
    "verify_request",
]
