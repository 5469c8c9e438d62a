"""What a statement carries beside the evidence: the kind's own pieces, and roots that agreements name by digest."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Annotated

from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import Field, ValidationError

from sealstat.crypto import canonical
from sealstat.crypto.cards import Base64, Strict, b64, unb64
from sealstat.crypto.errors import MalformedError
from sealstat.evidence._x509 import load_certificates
from sealstat.evidence.errors import EvidenceError


class _Collateral(Strict):
    pieces: Annotated[list[Base64], Field(max_length=8)]
    roots: Annotated[list[Base64], Field(max_length=4)]


def pack(pieces: Sequence[bytes], roots: Sequence[bytes] = ()) -> bytes:
    """The bytes that a statement carries; ``roots`` are whole certificates in DER."""
    return canonical.encode({"pieces": [b64(piece) for piece in pieces], "roots": [b64(root) for root in roots]})


def root_der(data: bytes) -> bytes:
    """A root certificate in DER or PEM as its DER, as roots are pinned.

    Raises:
        EvidenceError: not one certificate.
    """
    certificates = load_certificates(data)
    if len(certificates) != 1:
        raise EvidenceError("expected one certificate in each pinned root")
    return certificates[0].public_bytes(Encoding.DER)


def unpack(collateral: bytes, *, pinned: Sequence[str], limit: int) -> tuple[list[bytes], list[bytes]]:
    """The pieces, and those roots whose SHA-256 the caller has pinned: any other one that came along is dropped.

    Raises:
        EvidenceError: malformed.
    """
    try:
        parsed = _Collateral.model_validate(canonical.decode(collateral, limit=limit))
    except (MalformedError, ValidationError, ValueError) as error:
        raise EvidenceError("the collateral does not have its form") from error
    roots = [unb64(root) for root in parsed.roots]
    return [unb64(piece) for piece in parsed.pieces], [root for root in roots if sha256(root).hexdigest() in pinned]
