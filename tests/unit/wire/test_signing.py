"""Request signatures: what is signed is what is verified, and nothing less is accepted."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealstat.crypto.errors import SignatureError
from sealstat.wire.signing import SKEW_S, WINDOW_S, SignedRequest, content_digest, sign_request, verify_request

KEY, FINGERPRINT = Ed25519PrivateKey.generate(), "ab" * 32
URL = "https://host.example/v1/wait?size=3&seconds=25"
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
EMPTY = sha256(b"").digest()


def signed(method: str = "GET", url: str = URL, *, at: datetime = NOW, nonce: str | None = None) -> dict[str, str]:
    return sign_request(
        method, url, body_sha256=EMPTY, key=KEY, fingerprint=FINGERPRINT, now=at, nonce=nonce or "n" * 24
    )


def verified(
    headers: dict[str, str] | list[tuple[str, str]], method: str = "GET", url: str = URL, *, now: datetime = NOW
) -> SignedRequest:
    fields = headers if isinstance(headers, list) else list(headers.items())
    known = {FINGERPRINT: KEY.public_key(), "no-fingerprint": KEY.public_key()}
    return verify_request(method, url, fields, key_of=known.get, now=now)


def test_what_was_signed_is_verified() -> None:
    found = verified(signed())
    assert found == SignedRequest(FINGERPRINT, "n" * 24, int(NOW.timestamp()), EMPTY)


def test_two_signatures_have_two_nonces() -> None:
    one, two = (
        sign_request("GET", URL, body_sha256=EMPTY, key=KEY, fingerprint=FINGERPRINT, now=NOW) for _ in range(2)
    )
    assert verified(one).nonce != verified(two).nonce


@pytest.mark.parametrize(
    "age_s", [-SKEW_S, 0, WINDOW_S, WINDOW_S + SKEW_S], ids=["clock ahead", "now", "oldest", "oldest and behind"]
)
def test_a_signature_within_the_window_is_taken(age_s: int) -> None:
    verified(signed(), now=NOW + timedelta(seconds=age_s))


@pytest.mark.parametrize("age_s", [-SKEW_S - 1, WINDOW_S + SKEW_S + 1], ids=["from the future", "too old"])
def test_a_signature_outside_the_window_is_refused(age_s: int) -> None:
    with pytest.raises(SignatureError):
        verified(signed(), now=NOW + timedelta(seconds=age_s))


@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("HEAD", URL),
        ("GET", URL.replace("https", "http")),
        ("GET", URL.replace("host.example", "host.example:8443")),
        ("GET", URL.replace("wait", "Wait")),
        ("GET", URL.replace("size=3", "size=4")),
        ("GET", URL.partition("?")[0]),
    ],
)
def test_a_signature_holds_for_its_method_and_address_alone(method: str, url: str) -> None:
    with pytest.raises(SignatureError):
        verified(signed(), method, url)


@pytest.mark.parametrize("name", ["Signature", "Signature-Input", "Content-Digest"])
def test_a_missing_or_doubled_field_is_refused(name: str) -> None:
    headers = signed()
    with pytest.raises(SignatureError, match=name.lower()):
        verified([line for line in headers.items() if line[0] != name])
    with pytest.raises(SignatureError, match=name.lower()):
        verified([*headers.items(), (name.upper(), headers[name])])


@pytest.mark.parametrize(
    "change",
    [
        ("Content-Digest", content_digest(EMPTY), content_digest(sha256(b"x").digest())),
        ("Content-Digest", "sha-256", "sha-512"),
        ("Content-Digest", content_digest(EMPTY), "sha-256=:AAAA:"),
        ("Signature-Input", "sealstat-v1", "sealstat-v2"),
        ("Signature-Input", "sealstat-v1", "other"),
        ("Signature-Input", ' "content-digest"', ""),
        ("Signature-Input", FINGERPRINT, "cd" * 32),
        ("Signature-Input", FINGERPRINT, "no-fingerprint"),
        ("Signature-Input", "n" * 24, "m" * 24),
        ("Signature-Input", ";created=", ";expires="),
        ("Signature-Input", "sealstat=(", "sealstat=(("),
        ("Signature", "sealstat=:", "another=:"),
        ("Signature", "=:", "=:" + "A" * 2000),
    ],
)
def test_a_changed_field_is_refused(change: tuple[str, str, str]) -> None:
    name, old, new = change
    headers = signed()
    assert old in headers[name]
    headers[name] = headers[name].replace(old, new)
    with pytest.raises(SignatureError):
        verified(headers)


def test_a_nonce_that_is_too_short_to_be_random_is_refused() -> None:
    with pytest.raises(SignatureError, match="nonce"):
        verified(signed(nonce="short"))


def test_a_signature_by_another_key_is_refused() -> None:
    other = Ed25519PrivateKey.generate()
    headers = sign_request("GET", URL, body_sha256=EMPTY, key=other, fingerprint=FINGERPRINT, now=NOW)
    with pytest.raises(SignatureError):
        verified(headers)


def test_a_digest_must_be_of_32_bytes() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        content_digest(b"short")
