"""Receipts: the host's signed word that a statement will be in the log, so that leaving it out is provable."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sealstat.crypto import canonical
from sealstat.crypto.cards import b64
from sealstat.crypto.identity import Signer
from sealstat.crypto.receipt import PAYLOAD_TYPE
from sealstat.crypto.statement import pae


def make_receipt(signer: Signer, *, origin: str, leaf: bytes, received: datetime, merge_delay_s: int) -> bytes:
    """A DSSE envelope over {origin, leaf, received, merge_by}, canonical JSON.

    Args:
        signer: of the host's card.
        leaf: the log entry as it is appended.
        merge_delay_s: as the agreement allows.
    """
    payload = canonical.encode(
        {
            "origin": origin,
            "leaf": canonical.decode(leaf, limit=1024),
            "received": utc(received),
            "merge_by": utc(received + timedelta(seconds=merge_delay_s)),
        }
    )
    signatures = signer.sign(pae(PAYLOAD_TYPE, payload))
    envelope: dict[str, Any] = {
        "payload": b64(payload),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": name, "sig": b64(signatures[name])} for name in sorted(signatures)],
    }
    return canonical.encode(envelope)


def utc(moment: datetime) -> str:
    """A time as it stands in JSON, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
