from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

import builders
from sealstat.crypto import canonical, statement
from sealstat.crypto.cards import b64, fingerprint, unb64
from sealstat.crypto.errors import CryptoError, MalformedError, SignatureError

CARD, SIGNER, _ = builders.party("operator-a")
AT = datetime(2026, 11, 2, tzinfo=UTC)
SAID = statement.sign(
    SIGNER, type="withdrawal", by=fingerprint(CARD), agreement="0" * 64, body={"why": "the law"}, at=AT
)


def envelope() -> dict[str, Any]:
    return canonical.decode(SAID.to_bytes(), limit=1 << 20)


def test_a_statement_comes_back_as_it_was_sent() -> None:
    again = statement.parse(SAID.to_bytes())
    again.verify(CARD.keys)
    assert (again.id, again.body, again.to_bytes()) == (SAID.id, {"why": "the law"}, SAID.to_bytes())


def _payload(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], object]:
    def mutate(value: dict[str, Any]) -> None:
        said = canonical.decode(unb64(value["payload"]), limit=1 << 20)
        change(said)
        value["payload"] = b64(canonical.encode(said))

    return mutate


def _flip(index: int) -> Callable[[dict[str, Any]], object]:
    def mutate(value: dict[str, Any]) -> None:
        raw = bytearray(unb64(value["signatures"][index]["sig"]))
        raw[len(raw) // 2] ^= 1
        value["signatures"][index]["sig"] = b64(bytes(raw))

    return mutate


MUTATIONS: dict[str, Callable[[dict[str, Any]], object]] = {
    "body changed": _payload(lambda said: said["body"].update(why="no law")),
    "agreement changed": _payload(lambda said: said.update(agreement="1" * 64)),
    "agreement taken away": _payload(lambda said: said.update(agreement=None)),
    "signer changed": _payload(lambda said: said.update(by="1" * 64)),
    "time changed": _payload(lambda said: said.update(at="2026-11-02T00:00:01Z")),
    "time in another form": _payload(lambda said: said.update(at="2026-11-02T00:00:00+00:00")),
    "type changed inside": _payload(lambda said: said.update(type="approval")),
    "field added inside": _payload(lambda said: said.update(more=1)),
    "type changed outside": lambda value: value.update(payloadType=statement.payload_type("approval")),
    "payload in other base64": lambda value: value.update(payload=value["payload"] + "\n"),
    "field added outside": lambda value: value.update(more=1),
    "no signatures": lambda value: value.update(signatures=[]),
    "signatures gone": lambda value: value.pop("signatures"),
    "first signature stripped": lambda value: value["signatures"].pop(0),
    "second signature stripped": lambda value: value["signatures"].pop(1),
    "signatures in another order": lambda value: value["signatures"].reverse(),
    "a signature twice": lambda value: value["signatures"].append(value["signatures"][1]),
    "keyid changed": lambda value: value["signatures"][0].update(keyid="ed448"),
    "signatures exchanged": lambda value: (
        value["signatures"][0].update(sig=value["signatures"][1]["sig"]),
        value["signatures"][1].update(sig=envelope()["signatures"][0]["sig"]),
    ),
    "Ed25519 bit flipped": _flip(0),
    "ML-DSA bit flipped": _flip(1),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_changed_envelope_is_refused(name: str) -> None:
    value = envelope()
    MUTATIONS[name](value)
    with pytest.raises(CryptoError):
        statement.parse(canonical.encode(value)).verify(CARD.keys)


def test_every_changed_byte_is_refused() -> None:
    right = SAID.to_bytes()
    for index in range(0, len(right), 17):
        wrong = bytearray(right)
        wrong[index] ^= 1
        with pytest.raises(CryptoError):
            statement.parse(bytes(wrong)).verify(CARD.keys)


def test_one_of_two_keys_is_not_enough() -> None:
    only = {name: value for name, value in SAID.signatures.items() if name == "ed25519"}
    with pytest.raises(SignatureError, match="mldsa65 signature is missing"):
        statement.Statement(SAID.frame, SAID.payload, only).verify(CARD.keys)


def test_another_partys_keys_did_not_sign() -> None:
    with pytest.raises(SignatureError):
        SAID.verify(builders.party("operator-b")[0].keys)


def test_signatures_are_no_part_of_the_id() -> None:
    value = envelope()
    _flip(1)(value)
    assert statement.parse(canonical.encode(value)).id == SAID.id


def test_a_statement_over_the_limit_is_neither_made_nor_read() -> None:
    body = {"why": "x" * statement.STATEMENT_LIMIT_BYTES}
    with pytest.raises(MalformedError, match="limit"):
        statement.sign(SIGNER, type="withdrawal", by=fingerprint(CARD), agreement="0" * 64, body=body, at=AT)
    with pytest.raises(MalformedError, match="at most"):
        statement.parse(b"x" * (2 * statement.STATEMENT_LIMIT_BYTES + 1))


@pytest.mark.parametrize("leaf", [b"[]", b"{}", b'{"agreement":1,"id":"a","type":"b"}', b"x" * 2000])
def test_a_leaf_of_another_form_is_refused(leaf: bytes) -> None:
    with pytest.raises(MalformedError):
        statement.parse_leaf(leaf)
