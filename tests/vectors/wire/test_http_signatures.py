"""Every published and own vector of RFC 9421 signatures gets its verdict."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from sealstat.crypto.errors import SignatureError
from sealstat.wire import signing

IDS = (
    "rfc9421-b.2.6",
    "method-changed",
    "path-changed",
    "authority-changed",
    "date-changed",
    "created-changed",
    "keyid-unknown",
    "component-dropped-from-list",
    "components-reordered",
    "parameters-reordered",
    "component-repeated",
    "covered-header-missing",
    "signature-bit-flipped",
    "signature-truncated",
    "signature-label-mismatch",
    "alg-parameter-added",
    "signature-headers-missing",
    "query-changed",
    "body-and-digest-changed",
    "same-with-content-digest-required",
    "own-digest-covered",
    "own-body-changed",
    "own-digest-header-changed",
    "own-query-changed",
    "own-expired",
    "own-created-in-future",
)


@pytest.fixture(scope="module")
def vectors(shared: Path) -> dict[str, Any]:
    return json.loads((shared / "vectors" / "http-signatures.json").read_text())


def test_every_vector_is_listed(vectors: dict[str, Any]) -> None:
    assert tuple(case["id"] for case in vectors["cases"]) == IDS


@pytest.mark.parametrize("name", IDS)
def test_a_vector_gets_its_verdict(vectors: dict[str, Any], name: str) -> None:
    case = next(case for case in vectors["cases"] if case["id"] == name)
    key: Any = load_pem_public_key(vectors["public_key_pem"].encode())
    request = case["request"]
    message = signing._Message(request["method"], request["url"], [tuple(line) for line in request["headers"]])

    def check() -> None:
        signing.check_signature(
            message,
            key_of={"test-key-ed25519": key}.get,
            now=datetime.fromtimestamp(case["now"], UTC) if "now" in case else None,
            require=case.get("require", ()),
            tag="sealstat-test" if name.startswith("own-") else None,
            body=request["body"].encode() if case.get("check_body") else None,
        )

    if case["valid"]:
        check()
    else:
        with pytest.raises(SignatureError):
            check()
