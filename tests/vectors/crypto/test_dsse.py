"""DSSE's own vectors: the pre-authentication encoding byte for byte, and envelopes that our stricter reader must take.

Our envelopes are narrower than DSSE's (canonical JSON, standard base64, keyids that name the algorithm), so of the
recorded envelopes only the signing rule is held against ours: Ed25519 over the encoding of type and decoded payload.
"""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from sealstat.crypto import canonical, statement
from sealstat.crypto.errors import MalformedError


@pytest.fixture
def vectors(shared: Path) -> dict[str, Any]:
    return json.loads((shared / "vectors" / "dsse.json").read_text(encoding="utf-8"))


def test_the_encoding_before_signing_is_dsses_byte_for_byte(vectors: dict[str, Any]) -> None:
    assert len(vectors["pae"]) > 3
    for vector in vectors["pae"]:
        encoded = statement.pae(vector["type"], base64.b64decode(vector["body_b64"]))
        assert encoded == base64.b64decode(vector["pae_b64"]), vector["id"]


def _verifying_keys(vector: dict[str, Any]) -> set[str]:
    found, envelope = set(), vector["envelope"]
    try:
        payload = base64.b64decode(envelope["payload"].translate(str.maketrans("-_", "+/")), validate=True)
        message = statement.pae(envelope["payloadType"], payload)
        signatures = [
            base64.b64decode(each["sig"].translate(str.maketrans("-_", "+/"))) for each in envelope["signatures"]
        ]
    except (KeyError, ValueError):
        return found
    for key in set(vector["keys_hex"]):
        for signature in signatures:
            try:
                Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(signature, message)
            except InvalidSignature:
                continue
            found.add(key)
    return found


def test_signatures_over_our_encoding_are_good_exactly_where_the_vectors_say(vectors: dict[str, Any]) -> None:
    for vector in vectors["envelopes"]:
        assert (len(_verifying_keys(vector)) >= vector["threshold"]) == vector["valid"], vector["id"]


def test_no_foreign_envelope_is_taken_for_a_statement(vectors: dict[str, Any]) -> None:
    for vector in vectors["envelopes"]:
        with pytest.raises(MalformedError):
            statement.parse(canonical.encode(vector["envelope"]))
