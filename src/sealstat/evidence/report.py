"""What every kind of evidence signs: a digest over the instance, its request and all it was challenged with."""

from hashlib import sha256, sha512

from sealstat.agreement.statements import EnclaveEvidence
from sealstat.crypto.canonical import encode
from sealstat.crypto.cards import InstanceCard

_LABEL = b"sealstat-evidence-v1"


def report_data(*, request: str, card: InstanceCard, checkpoint: str, challenges: list[str], kind: str) -> bytes:
    """The 64 bytes that bind evidence to one instance and its challenges (protocol.md section 6.3)."""
    claims = {
        "card": card.to_json(),
        "challenges": challenges,
        "checkpoint": checkpoint,
        "kind": kind,
        "request": request,
    }
    message = encode(claims)
    return sha512(_LABEL + len(message).to_bytes(8, "big") + message).digest()


def report_data_of(evidence: EnclaveEvidence) -> bytes:
    """The report data that a statement's evidence must carry, recomputed from the statement."""
    return report_data(
        request=evidence.request,
        card=evidence.card,
        checkpoint=evidence.checkpoint,
        challenges=evidence.challenges,
        kind=evidence.kind,
    )


def to_fit(kind: str, data: bytes) -> bytes:
    """What stands in the evidence for 64 bytes of report data: a TPM's field is too small for them."""
    return sha256(data).digest() if kind == "tpm" else data
