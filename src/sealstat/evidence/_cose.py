"""COSE_Sign1 (RFC 9052, 4.2) with ECDSA, and CBOR read strictly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, NoReturn

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from sealstat.evidence.errors import EvidenceError, refused

_ALG, _CRIT = 1, 2
# RFC 9053, table 1, with the curve that each is used with here
_ALGORITHMS: dict[int, tuple[type[ec.EllipticCurve], hashes.HashAlgorithm, int]] = {
    -7: (ec.SECP256R1, hashes.SHA256(), 32),
    -35: (ec.SECP384R1, hashes.SHA384(), 48),
    -36: (ec.SECP521R1, hashes.SHA512(), 66),
}


def _refuse_tag(*_: object) -> NoReturn:
    raise ValueError("tag")


# The tags that cbor2 turns into values: none stands in evidence, and some make a few bytes into much work.
_NO_TAGS = dict.fromkeys(
    (0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799), _refuse_tag
)


def decode(data: bytes) -> Any:
    """The one CBOR value in the bytes; no key twice in a map, no tag but those that the caller looks at.

    Raises:
        EvidenceError: not so, or bytes are left over.
    """
    with refused("the evidence is not well-formed CBOR"):
        stream = BytesIO(data)
        value = cbor2.CBORDecoder(
            stream, semantic_decoders=_NO_TAGS, max_depth=16, allow_duplicate_keys=False, read_size=1
        ).decode()
    if stream.tell() != len(data):
        raise EvidenceError(f"{len(data) - stream.tell():,} bytes stand behind the CBOR value")
    return value


@dataclass(frozen=True, slots=True)
class Sign1:
    """A COSE_Sign1 as received: ``protected`` and ``payload`` are the bytes that were signed."""

    protected: bytes
    unprotected: Mapping[Any, Any]
    payload: bytes
    signature: bytes


def parse_sign1(value: Any) -> Sign1:
    """The four parts, by shape alone.

    Raises:
        EvidenceError: another shape.
    """
    if not isinstance(value, Sequence) or len(value) != 4:
        raise EvidenceError("expected a COSE_Sign1 of four parts")
    protected, unprotected, payload, signature = value
    parts = (protected, payload, signature)
    if not all(isinstance(part, bytes) for part in parts) or not isinstance(unprotected, Mapping):
        raise EvidenceError("expected a COSE_Sign1 of header, map, payload and signature")
    return Sign1(protected, unprotected, payload, signature)


def verify_sign1(signed: Sign1, key: ec.EllipticCurvePublicKey) -> None:
    """Check the signature over the bytes as received (Sig_structure, RFC 9052, 4.4).

    The protected header must hold the algorithm, which must fit the key, and nothing critical.

    Raises:
        EvidenceError: it is not the key's.
    """
    header = decode(signed.protected)
    if not isinstance(header, Mapping) or _CRIT in header or {_ALG, _CRIT} & signed.unprotected.keys():
        raise EvidenceError("expected the algorithm in the protected header alone, and nothing critical")
    algorithm = header.get(_ALG)
    if not isinstance(algorithm, int) or algorithm not in _ALGORITHMS:
        raise EvidenceError("expected the algorithm ES256, ES384 or ES512 in the protected header")
    curve, hashed, size = _ALGORITHMS[algorithm]
    if not isinstance(key.curve, curve) or len(signed.signature) != 2 * size:
        raise EvidenceError("the signature's algorithm does not fit its key")
    r, s = (int.from_bytes(signed.signature[at : at + size], "big") for at in (0, size))
    message = cbor2.dumps(["Signature1", signed.protected, b"", signed.payload])
    try:
        key.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashed))
    except InvalidSignature as error:
        raise EvidenceError("the COSE signature is not made by the key it should be") from error
