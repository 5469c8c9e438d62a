"""Certificate chains as AMD and AWS make them.

`cryptography.x509.verification` is no help: it wants an authority key identifier, which their leaves lack.
"""

import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from itertools import pairwise
from typing import Literal, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.utils import CryptographyDeprecationWarning

from sealstat.evidence.errors import EvidenceError, refused

_T = TypeVar("_T")
_CRITICAL = (x509.BasicConstraints, x509.KeyUsage)
Use = Literal["digital_signature", "key_encipherment"]


def load_certificates(data: bytes) -> list[x509.Certificate]:
    """The certificates in PEM, or the one in DER.

    Raises:
        EvidenceError: neither.
    """
    if not data.lstrip().startswith(b"-----BEGIN"):
        return [load_der(data)]
    with refused("expected a certificate in DER or PEM"), _no_warning():
        return x509.load_pem_x509_certificates(data)


def load_der(data: bytes) -> x509.Certificate:
    """The one certificate in DER.

    Raises:
        EvidenceError: it is none.
    """
    with refused("expected a certificate in DER"), _no_warning():
        return x509.load_der_x509_certificate(data)


@contextmanager
def _no_warning() -> Iterator[None]:
    """A VCEK has the serial number 0, of which `cryptography` warns: a later release will refuse it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        yield


def load_root(root: bytes, at: datetime) -> x509.Certificate:
    """The pinned root, self-signed and in its window.

    A damaged root must not reach dcap-qvl: one whose issuer is not its subject ends the process there.

    Raises:
        EvidenceError: not one certificate, not self-signed, or not valid at the time.
    """
    certificate = _self_signed(root)
    _check_window(certificate, at)
    return certificate


@lru_cache(maxsize=16)  # roots are few and stay the same
def _self_signed(root: bytes) -> x509.Certificate:
    certificate = load_der(root)
    with refused("the pinned root is not signed by itself"):
        certificate.verify_directly_issued_by(certificate)
    return certificate


def key_digest(key: PublicKeyTypes) -> str:
    """SHA-256 of a public key's DER, as hex."""
    return sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def under_any(roots: Sequence[bytes], check: Callable[[bytes], _T]) -> _T:
    """The check's value under the first pinned root it holds for.

    Raises:
        EvidenceError: it holds for none; the reason is that of the last.
    """
    problem = EvidenceError("no root is pinned: evidence of this kind needs one")
    for root in roots:
        try:
            return check(root)
        except EvidenceError as error:
            problem = error
    raise problem


def check_chain(
    chain: Sequence[x509.Certificate], at: datetime, *, hash_name: str | Collection[str], use: Use = "digital_signature"
) -> None:
    """Every certificate, leaf first, is issued by the next, by CAs that may, in its window; the last is the root.

    The root is the caller's: that it is the pinned one is not looked at here. An endorsement key (``key_encipherment``)
    has no name but an alternative one, which then must be critical (RFC 5280, 4.1.2.6) and says its TPM's model.

    Raises:
        EvidenceError: a link, a window, a CA flag, a path length, a key usage or a critical extension is not right.
    """
    hash_names = (hash_name,) if isinstance(hash_name, str) else hash_name
    known = _CRITICAL if use == "digital_signature" else (*_CRITICAL, x509.SubjectAlternativeName)
    for certificate in chain:
        _check_window(certificate, at)
        with refused("a certificate's extensions cannot be read"):
            if any(e.critical and not isinstance(e.value, known) for e in certificate.extensions):
                raise EvidenceError(f"the certificate {_name(certificate)} has a critical extension not known here")
    usage = _extension(chain[0], x509.KeyUsage)
    if usage is not None and not getattr(usage, use):
        what = "signatures" if use == "digital_signature" else "encryption"
        raise EvidenceError(f"the key of the certificate {_name(chain[0])} is not one for {what}")
    for below, (certificate, issuer) in enumerate(pairwise(chain)):
        _check_is_ca(issuer, below)
        hashed = certificate.signature_hash_algorithm
        if hashed is None or hashed.name not in hash_names:
            raise EvidenceError(f"the certificate {_name(certificate)} is not signed with {' or '.join(hash_names)}")
        with refused(f"the certificate {_name(certificate)} is not issued by {_name(issuer)}"):
            certificate.verify_directly_issued_by(issuer)


def _check_is_ca(issuer: x509.Certificate, below: int) -> None:
    constraints = _extension(issuer, x509.BasicConstraints)
    usage = _extension(issuer, x509.KeyUsage)
    if constraints is None or not constraints.ca or (usage is not None and not usage.key_cert_sign):
        raise EvidenceError(f"the issuer {_name(issuer)} is not a certificate authority")
    if constraints.path_length is not None and constraints.path_length < below:
        raise EvidenceError(f"the chain below {_name(issuer)} is longer than it allows")


def _check_window(certificate: x509.Certificate, at: datetime) -> None:
    if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
        raise EvidenceError(f"the certificate {_name(certificate)} is not valid at {at:%Y-%m-%dT%H:%M:%SZ}")


def _extension(
    certificate: x509.Certificate, kind: type[x509.extensions.ExtensionTypeVar]
) -> "x509.extensions.ExtensionTypeVar | None":
    with refused("a certificate's extensions cannot be read"):
        try:
            return certificate.extensions.get_extension_for_class(kind).value
        except x509.ExtensionNotFound:
            return None


def _name(certificate: x509.Certificate) -> str:
    with refused("a certificate's name cannot be read"):
        return certificate.subject.rfc4514_string()[:200]
