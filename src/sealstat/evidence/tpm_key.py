"""What a party checks once of a TPM's attestation key (AK): it is one, and its TPM has a maker's certificate.

The maker certifies an endorsement key (EK) that can decrypt and not sign. So a party seals a secret to the EK and the
AK's name together (a credential): only the TPM that holds both gives the secret back. That takes a question and an
answer, so it happens once, when an enclave is set up; the agreement then pins the AK.
Source: TCG, TPM 2.0 Library, part 1: Architecture, 24 (credentials); part 2: Structures, 12.2.4 (public area).
"""

import hmac
import secrets
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import ValidationError

from sealstat.crypto import canonical
from sealstat.crypto.cards import Base64, Digest, Strict, b64, unb64
from sealstat.crypto.errors import MalformedError
from sealstat.evidence._fields import Reader
from sealstat.evidence._tpm_tools import Tools
from sealstat.evidence._x509 import check_chain, key_digest, load_certificates, load_root, under_any
from sealstat.evidence.errors import EvidenceError, refused

_LIMIT_BYTES = 64 * 1024
_HASHES = ("sha256", "sha384", "sha512")
_EK_USE = x509.ObjectIdentifier("2.23.133.8.1")  # tcg-kp-EKCertificate
_ECC, _SHA256, _NULL, _ECDSA, _P256 = 0x0023, 0x000B, 0x0010, 0x0018, 0x0003
# fixedTPM, fixedParent, sensitiveDataOrigin, restricted, sign; decrypt must be off
_NEEDED, _FORBIDDEN = 0x00000002 | 0x00000010 | 0x00000020 | 0x00010000 | 0x00040000, 0x00020000


class Enrolment(Strict):
    """What a machine shows of its TPM: the EK's certificate (DER) and the AK's public area (TPM2B_PUBLIC)."""

    kind: Literal["tpm-enrolment"]
    ek_certificate: Base64
    ak: Base64


class Pending(Strict):
    """What a party keeps between its question and the answer."""

    kind: Literal["tpm-pending"]
    ak: Digest
    secret: Base64


@dataclass(frozen=True, slots=True)
class AttestationKey:
    """A key that signs nothing but what its TPM made itself."""

    key: ec.EllipticCurvePublicKey
    name: bytes

    @property
    def pem(self) -> bytes:
        """The key as evidence carries it."""
        return self.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @property
    def digest(self) -> str:
        """How agreements pin it."""
        return key_digest(self.key)


@refused("the attestation key's public area does not have its form")
def parse_ak(public: bytes) -> AttestationKey:
    """The key in a TPM2B_PUBLIC.

    Raises:
        EvidenceError: no restricted P-256 signing key that was born in its TPM and cannot leave it.
    """
    outer = Reader(public, "big")
    area = outer.take(outer.number(2))
    outer.end("attestation key's public area")
    reader = Reader(area, "big")
    kind, hashed, attributes = reader.number(2), reader.number(2), reader.number(4)
    reader.take(reader.number(2))  # authPolicy
    if (kind, hashed) != (_ECC, _SHA256):
        raise EvidenceError("expected an attestation key on P-256 with SHA-256")
    if attributes & _NEEDED != _NEEDED or attributes & _FORBIDDEN:
        raise EvidenceError("the key is no attestation key: it could sign what its TPM did not make, or leave it")
    symmetric, scheme, scheme_hash, curve, kdf = (reader.number(2) for _ in range(5))
    if (symmetric, scheme, scheme_hash, curve, kdf) != (_NULL, _ECDSA, _SHA256, _P256, _NULL):
        raise EvidenceError("expected an attestation key on P-256 that signs with ECDSA and SHA-256")
    x, y = (int.from_bytes(reader.take(reader.number(2)), "big") for _ in range(2))
    reader.end("attestation key's public area")
    key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    return AttestationKey(key, hashed.to_bytes(2, "big") + sha256(area).digest())


def parse_enrolment(data: bytes) -> Enrolment:
    """An enrolment file.

    Raises:
        EvidenceError: malformed.
    """
    try:
        return Enrolment.model_validate(canonical.decode(data.strip(), limit=_LIMIT_BYTES))
    except (MalformedError, ValidationError, ValueError) as error:
        raise EvidenceError("expected a TPM's enrolment, as `sealstat enclave enrol` writes it") from error


@refused("the endorsement key's certificate does not have its form")
def check_ek(
    certificate: bytes, *, roots: Sequence[bytes], chain: Sequence[bytes] = (), at: datetime
) -> rsa.RSAPublicKey:
    """The endorsement key that a TPM's maker vouches for.

    Args:
        roots: certificates of makers that the party trusts, DER.
        chain: certificates between, from the EK's up, DER or PEM.
    Raises:
        EvidenceError: the certificate does not lead to a root, or is for another use.
    """
    (leaf,) = load_certificates(certificate)
    between = [found for piece in chain for found in load_certificates(piece)]

    def chained(root: bytes) -> None:
        check_chain([leaf, *between, load_root(root, at)], at, hash_name=_HASHES, use="key_encipherment")

    under_any(roots, chained)
    for extension in (each.value for each in leaf.extensions):
        another = isinstance(extension, x509.ExtendedKeyUsage) and _EK_USE not in extension
        if another or (isinstance(extension, x509.BasicConstraints) and extension.ca):
            raise EvidenceError("the maker's certificate is for another key than a TPM's endorsement key")
    key = leaf.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < 2048:
        raise EvidenceError("expected an endorsement key of RSA, of at least 2048 bits")
    return key


def challenge(
    enrolment: Enrolment, *, roots: Sequence[bytes], chain: Sequence[bytes] = (), at: datetime
) -> tuple[bytes, bytes]:
    """The question to a TPM and what to keep for its answer: a credential file, and a secret.

    Raises:
        EvidenceError: the EK's certificate or the AK is not good.
    """
    endorsement = check_ek(unb64(enrolment.ek_certificate), roots=roots, chain=chain, at=at)
    ak = parse_ak(unb64(enrolment.ak))
    secret = secrets.token_bytes(32)
    with tempfile.TemporaryDirectory(prefix="sealstat-tpm-") as folder:
        tools = Tools("none", Path(folder))
        (tools.folder / "ek.pem").write_bytes(endorsement.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        (tools.folder / "secret").write_bytes(secret)
        tools.run(
            "makecredential", "-G", "rsa", "-u", "ek.pem", "-s", "secret", "-n", ak.name.hex(), "-o", "credential"
        )
        credential = tools.read("credential")
    return credential, canonical.encode({"kind": "tpm-pending", "ak": ak.digest, "secret": b64(secret)})


def vouch(pending: bytes, answer: bytes) -> str:
    """The digest of an AK whose TPM has answered, for the agreement to pin.

    Raises:
        EvidenceError: another answer than the secret.
    """
    try:
        kept = Pending.model_validate(canonical.decode(pending.strip(), limit=_LIMIT_BYTES))
    except (MalformedError, ValidationError, ValueError) as error:
        raise EvidenceError("expected what `sealstat evidence challenge` keeps for the answer") from error
    if not hmac.compare_digest(unb64(kept.secret), answer):
        raise EvidenceError("the answer is not the secret that was sealed: this attestation key is not in that TPM")
    return kept.ak
