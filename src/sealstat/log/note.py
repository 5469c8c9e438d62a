"""Signed notes (C2SP signed-note) and the three kinds of signature this project uses on them. Pure.

A note is a text, an empty line, and signature lines ``— <name> base64(key id || signature)``. A line belongs to a
key if name and id match; lines of unknown keys are ignored, a line of a known key must verify.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

from sealstat.log._text import decode_base64, decode_hash, encode_base64, parse_decimal
from sealstat.log.errors import MalformedError, SignatureError

MAX_NOTE_BYTES = 64 * 1024
MAX_SIGNATURES = 100
MAX_TIMESTAMP = 2**63 - 1

ED25519 = 0x01
"""Type of a log's own signature: over the note's text."""
COSIGNATURE = 0x04
"""Type of a witness's Ed25519 cosignature/v1: over a timestamp and the note's text."""
COSIGNATURE_MLDSA44 = 0x06
"""Type of a witness's ML-DSA-44 cosignature: over its name, a timestamp, and the checkpoint's origin, size and root."""
COSIGNATURES = frozenset({COSIGNATURE, COSIGNATURE_MLDSA44})

_DASH = "— "  # U+2014 and one space
_ED25519_KEY_BYTES, _ED25519_SIGNATURE_BYTES = 32, 64
_MLDSA44_KEY_BYTES, _MLDSA44_SIGNATURE_BYTES = 1312, 2420
_MAX_NAME = 256


@dataclass(frozen=True, slots=True)
class SignatureLine:
    """One signature line as it stands in a note; nothing verified.

    Attributes:
        name: the key's name.
        key_id: 4 bytes.
        signature: what follows the id: 64 bytes (type 0x01), 8 + 64 (0x04), 8 + 2,420 (0x06), or anything.
    """

    name: str
    key_id: bytes
    signature: bytes = b""

    def serialise(self) -> str:
        """The line with its line feed."""
        return f"{_DASH}{self.name} {encode_base64(self.key_id + self.signature)}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A note taken apart; nothing verified.

    Attributes:
        text: ends in a line feed; its UTF-8 bytes are what is signed.
        signatures: in the note's order, repeats included.
    """

    text: str
    signatures: tuple[SignatureLine, ...]

    def serialise(self) -> bytes:
        """The note's bytes, the same that were parsed."""
        return (self.text + "\n" + "".join(line.serialise() for line in self.signatures)).encode()


def parse_note(data: bytes) -> Note:
    """Take a note apart.

    Raises:
        MalformedError: too long, not UTF-8, control characters, no empty line, or a bad or missing signature line.
    """
    if len(data) > MAX_NOTE_BYTES:
        raise MalformedError(f"a note has at most {MAX_NOTE_BYTES} bytes")
    try:
        content = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedError("a note must be UTF-8") from error
    check_text(content)
    # The last empty line: the text itself may hold empty lines.
    text, separator, tail = content.rpartition("\n\n")
    if not separator or not text:
        raise MalformedError("a note needs a text, an empty line and signature lines")
    return Note(text + "\n", parse_signature_lines(tail))


def check_text(text: str) -> None:
    """Refuse a text that cannot stand in a note: it must end in a line feed and hold no other control character."""
    if any(character < " " and character != "\n" for character in text):
        raise MalformedError("a note must not hold control characters but line feeds")
    if not text.endswith("\n"):
        raise MalformedError("a note must end in a line feed")


def parse_signature_lines(tail: str) -> tuple[SignatureLine, ...]:
    """Parse 1 to 100 signature lines, each ended by a line feed."""
    lines = tail.split("\n")
    if lines.pop() or not lines:
        raise MalformedError("signature lines must each end in a line feed")
    if len(lines) > MAX_SIGNATURES:
        raise MalformedError(f"a note has at most {MAX_SIGNATURES} signature lines")
    return tuple(_parse_signature_line(line) for line in lines)


def _parse_signature_line(line: str) -> SignatureLine:
    if not line.startswith(_DASH):
        raise MalformedError("a signature line must begin with an em dash and a space")
    name, _, encoded = line[len(_DASH) :].partition(" ")
    check_name(name)
    data = decode_base64(encoded, "a note's signature")
    if len(data) < 5:
        raise MalformedError("a note's signature must hold a key id and a signature")
    return SignatureLine(name, data[:4], data[4:])


def check_name(name: str) -> None:
    """Refuse a key name that is empty, too long, or holds a space, a control character or a plus sign."""
    if not name or len(name) > _MAX_NAME or "+" in name or any(c.isspace() or c < " " for c in name):
        raise MalformedError("a key's name must be 1 to 256 characters without space and plus sign")


# --- keys ---------------------------------------------------------------------------------------------------


class _Scheme(Protocol):
    def __call__(self, key: VerifierKey, text: str, signature: bytes) -> int | None: ...


def _verify_ed25519(key: VerifierKey, text: str, signature: bytes) -> None:
    if len(signature) != _ED25519_SIGNATURE_BYTES:
        raise InvalidSignature
    Ed25519PublicKey.from_public_bytes(key.public).verify(signature, text.encode())


def _verify_cosignature(key: VerifierKey, text: str, signature: bytes) -> int:
    timestamp = _timestamp(signature, _ED25519_SIGNATURE_BYTES)
    Ed25519PublicKey.from_public_bytes(key.public).verify(signature[8:], _cosigned_message(text, timestamp))
    return timestamp


def _verify_mldsa44(key: VerifierKey, text: str, signature: bytes) -> int:
    timestamp = _timestamp(signature, _MLDSA44_SIGNATURE_BYTES)
    message = _cosigned_subtree(key.name, text, timestamp)
    MLDSA44PublicKey.from_public_bytes(key.public).verify(signature[8:], message)
    return timestamp


def _timestamp(signature: bytes, length: int) -> int:
    """POSIX seconds before a signature of this length; 0 says nothing of the largest tree, so it is no cosignature."""
    timestamp = int.from_bytes(signature[:8], "big")
    if len(signature) != 8 + length or not 0 < timestamp <= MAX_TIMESTAMP:
        raise InvalidSignature
    return timestamp


def _cosigned_message(text: str, timestamp: int) -> bytes:
    return f"cosignature/v1\ntime {timestamp}\n{text}".encode()


def _cosigned_subtree(name: str, text: str, timestamp: int) -> bytes:
    """What an ML-DSA-44 cosigner signs of a checkpoint: the struct ``cosigned_message`` with start 0.

    Unlike the Ed25519 message it names the cosigner, and leaves extension lines out.

    Raises:
        MalformedError: the text is no checkpoint's, or a name is too long for the struct.
    Source: C2SP tlog-cosignature, "ML-DSA-44 signed message".
    """
    origin, size, root = [*text.split("\n"), "", "", ""][:3]
    cosigner, log = name.encode(), origin.encode()
    if not 0 < len(cosigner) <= 255 or not 0 < len(log) <= 255:
        raise MalformedError("an ML-DSA-44 cosignature takes names of 1 to 255 bytes")
    return b"".join(
        (
            b"subtree/v1\n\0",
            bytes([len(cosigner)]) + cosigner,
            timestamp.to_bytes(8, "big"),
            bytes([len(log)]) + log,
            bytes(8),
            parse_decimal(size, "a checkpoint's size").to_bytes(8, "big"),
            decode_hash(root, "a checkpoint's root"),
        )
    )


# A new kind of signature is one more line here: type -> (bytes of its public key, verification).
_SCHEMES: dict[int, tuple[int, _Scheme]] = {
    ED25519: (_ED25519_KEY_BYTES, _verify_ed25519),
    COSIGNATURE: (_ED25519_KEY_BYTES, _verify_cosignature),
    COSIGNATURE_MLDSA44: (_MLDSA44_KEY_BYTES, _verify_mldsa44),
}


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key with its name and the type of signatures it makes.

    Attributes:
        name: as in signature lines; a log key's name is the log's origin.
        type: ``ED25519``, ``COSIGNATURE`` or ``COSIGNATURE_MLDSA44``.
        public: raw public key, 32 bytes (1,312 of ML-DSA-44).
    """

    name: str
    type: int
    public: bytes

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.type not in _SCHEMES:
            raise MalformedError("a verifier key of an unknown type: expected 01, 04 or 06")
        if len(self.public) != _SCHEMES[self.type][0]:
            raise MalformedError("a verifier key's public key has the wrong length")

    @property
    def key_id(self) -> bytes:
        """4 bytes that depend on name, type and key."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.type]) + self.public).digest()[:4]

    def __str__(self) -> str:
        """The C2SP form ``<name>+<id>+<base64 of type and key>``."""
        return f"{self.name}+{self.key_id.hex()}+{encode_base64(bytes([self.type]) + self.public)}"

    def verify(self, text: str, line: SignatureLine) -> int | None:
        """Verify one signature line over a text.

        Returns:
            the time of a cosignature, POSIX seconds; None for a plain signature.
        Raises:
            SignatureError: it is not a signature by this key over this text.
        """
        if (line.name, line.key_id) != (self.name, self.key_id):
            raise SignatureError("the signature line is by another key")
        try:
            return _SCHEMES[self.type][1](self, text, line.signature)
        except (InvalidSignature, ValueError) as error:
            raise SignatureError("a signature by a known key does not verify: the note was changed") from error


def parse_verifier_key(text: str) -> VerifierKey:
    """Read ``<name>+<id>+<base64>`` and recompute the id.

    Raises:
        MalformedError: the form, the id or the type is wrong.
    """
    name, plus, rest = text.partition("+")
    key_id, plus2, encoded = rest.partition("+")  # the base64 may hold more plus signs
    if not plus or not plus2:
        raise MalformedError("a verifier key has the form name+id+key")
    data = decode_base64(encoded, "a verifier key")
    key = VerifierKey(name, data[0] if data else -1, data[1:])
    if key.key_id.hex() != key_id:
        raise MalformedError("a verifier key's id does not fit its name and key")
    return key


@dataclass(frozen=True, slots=True)
class LogSigner:
    """A log's private key (type 0x01)."""

    name: str
    private: Ed25519PrivateKey

    @property
    def verifier(self) -> VerifierKey:
        """The public half."""
        return VerifierKey(self.name, ED25519, self.private.public_key().public_bytes_raw())

    def sign(self, text: str) -> SignatureLine:
        """Sign a note's text."""
        return SignatureLine(self.name, self.verifier.key_id, self.private.sign(text.encode()))


@dataclass(frozen=True, slots=True)
class Cosigner:
    """A witness's private key: Ed25519 (type 0x04) or ML-DSA-44 (type 0x06)."""

    name: str
    private: Ed25519PrivateKey | MLDSA44PrivateKey

    @property
    def verifier(self) -> VerifierKey:
        """The public half."""
        type = COSIGNATURE if isinstance(self.private, Ed25519PrivateKey) else COSIGNATURE_MLDSA44
        return VerifierKey(self.name, type, self.private.public_key().public_bytes_raw())

    def sign(self, text: str, *, timestamp: int) -> SignatureLine:
        """Cosign a checkpoint's text: at this time (POSIX seconds, > 0) it was the largest seen."""
        if not 0 < timestamp <= MAX_TIMESTAMP:
            raise ValueError("a cosignature's time must be positive POSIX seconds")
        key = self.verifier
        if key.type == COSIGNATURE:
            message = _cosigned_message(text, timestamp)
        else:
            message = _cosigned_subtree(self.name, text, timestamp)
        return SignatureLine(self.name, key.key_id, timestamp.to_bytes(8, "big") + self.private.sign(message))


# --- verifying and building ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class VerifiedSignature:
    """A line that verified, and the key it verified under.

    Attributes:
        timestamp: of a cosignature, POSIX seconds; None for a plain signature.
    """

    key: VerifierKey
    line: SignatureLine
    timestamp: int | None


def verify_note(note: Note, keys: Collection[VerifierKey]) -> tuple[VerifiedSignature, ...]:
    """Verify every line of a known key; identical repeated lines count once.

    Returns:
        the verified signatures in the note's order; at least one.
    Raises:
        SignatureError: a line of a known key does not verify, or no known key signed.
        ValueError: two keys share name and id, so that a line would be ambiguous.
    """
    known = {(key.name, key.key_id): key for key in keys}
    if len(known) != len(set(keys)):
        raise ValueError("two verifier keys share one name and id: rename one")
    verified = []
    for line in dict.fromkeys(note.signatures):
        key = known.get((line.name, line.key_id))
        if key is not None:
            verified.append(VerifiedSignature(key, line, key.verify(note.text, line)))
    if not verified:
        raise SignatureError("no known key signed the note")
    return tuple(verified)


def sign_note(text: str, *signers: LogSigner) -> bytes:
    """A note with this text, signed by each signer.

    Raises:
        MalformedError: the text cannot stand in a note.
    """
    check_text(text)
    return Note(text, tuple(signer.sign(text) for signer in signers)).serialise()


def add_signatures(note: bytes, lines: Iterable[SignatureLine], keys: Collection[VerifierKey]) -> bytes:
    """The note with those of the lines that known keys made; repeats and lines of unknown keys are left out.

    Raises:
        SignatureError: a line of a known key does not verify, or none is by a known key.
    """
    parsed = parse_note(note)
    verified = verify_note(Note(parsed.text, tuple(lines)), keys)
    merged = dict.fromkeys([*parsed.signatures, *(signature.line for signature in verified)])
    return Note(parsed.text, tuple(merged)).serialise()
