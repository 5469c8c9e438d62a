"""Parties, host, witnesses and a valid agreement for tests; keys are fresh, and kept for the life of the process.

Making ML-DSA and ML-KEM keys takes milliseconds, so the same name gives the same keys within a process.
"""

import base64
import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealstat.agreement.model import Agreement
from sealstat.crypto import canonical
from sealstat.crypto.cards import HostCard, PartyCard, SigningKeys, Validity, WitnessCard, b64, fingerprint
from sealstat.crypto.identity import Opener, Signer
from sealstat.crypto.statement import Statement, sign

VALID = {"from": "2026-01-01T00:00:00Z", "to": "2028-12-31T23:59:59Z"}
SOURCE = sha256(b"the source of a test enclave").hexdigest()

_ED25519, _COSIGNATURE_V1 = b"\x01", b"\x04"  # signature types of log.md section 3


@dataclass(frozen=True)
class HostKeys:
    """A host's private keys, and its card."""

    card: HostCard
    signer: Signer
    log_key: Ed25519PrivateKey


@dataclass(frozen=True)
class WitnessKeys:
    """A witness' private key, and its card."""

    card: WitnessCard
    cosigner: Ed25519PrivateKey


def verifier_key(name: str, kind: bytes, key: Ed25519PrivateKey) -> str:
    """The verifier key of a signed note: ``<name>+<key id>+B64(type || public key)``."""
    public = key.public_key().public_bytes_raw()
    key_id = sha256(name.encode() + b"\n" + kind + public).digest()[:4]
    return f"{name}+{key_id.hex()}+{base64.b64encode(kind + public).decode()}"


def recovery_digest(signer: Signer) -> str:
    """H(JCS(SigningKeys)) of an offline recovery key, as it stands in a party's card."""
    return canonical.digest(signer.public().to_json())


@cache
def recovery(name: str) -> Signer:
    """The offline recovery key of a party."""
    return Signer.generate(post_quantum=True)


@cache
def party(name: str, generation: int = 0) -> tuple[PartyCard, Signer, Opener]:
    """A party's card and private keys; another generation has other keys under the same name and recovery key.

    One below 0 has another recovery key, too, as a party has that lost both.
    """
    signer, opener = Signer.generate(post_quantum=True), Opener.generate()
    card = PartyCard(
        kind="party",
        name=name,
        keys=signer.public(),
        sealing=opener.public(),
        recovery=recovery_digest(recovery(name if generation >= 0 else f"{name} anew")),
        valid=Validity.model_validate(VALID),
    )
    return card, signer, opener


@cache
def host(name: str = "host") -> HostKeys:
    """A host's card and private keys; its log's origin is ``<name>.example/log``."""
    signer, log_key = Signer.generate(post_quantum=False), Ed25519PrivateKey.generate()
    origin = f"{name}.example/log"
    card = HostCard(
        kind="host",
        name=name,
        keys=SigningKeys(ed25519=signer.public().ed25519),
        log_key=verifier_key(origin, _ED25519, log_key),
        origin=origin,
        valid=Validity.model_validate(VALID),
    )
    return HostKeys(card, signer, log_key)


@cache
def witness(name: str = "witness-1") -> WitnessKeys:
    """A witness' card and cosigner key."""
    key = Ed25519PrivateKey.generate()
    card = WitnessCard(
        kind="witness",
        name=name,
        cosigner=verifier_key(f"{name}.example", _COSIGNATURE_V1, key),
        valid=Validity.model_validate(VALID),
    )
    return WitnessKeys(card, key)


@cache
def simulated_root() -> Ed25519PrivateKey:
    """The key of the pretended maker of simulated enclaves."""
    return Ed25519PrivateKey.generate()


PARTIES = ("operator-a", "operator-b", "ministry", "regulator")
WITNESSES = ("witness-1", "witness-2", "witness-3")
_RULE = {"to": ["ministry"], "minimum": 10, "minimum_part": 3}


def agreement_json() -> dict[str, Any]:
    """The JSON of a valid agreement over visitors, 2 of 3 holders and 2 of 3 witnesses; a fresh copy to change."""
    return copy.deepcopy(_agreement_json())


@cache
def _agreement_json() -> dict[str, Any]:
    dataset = {
        "schema": "roamers",
        "period": "month",
        "pseudonym": "roamers",
        "keep": "40d",
        "minimum_rows": 100,
        "maximum_rejects": "0.05",
    }
    return {
        "sealstat": 1,
        "title": "Foreign visitors in border areas, operators A and B",
        "version": 1,
        "purpose": [
            {
                "id": "tourism-statistics",
                "text": "Monthly counts of foreign visitors in border areas",
                "legal_basis": "Statistics Act, section 12",
            }
        ],
        "valid": {"from": "2026-10-01", "to": "2027-09-30"},
        "parties": {name: {"card": party(name)[0].to_json()} for name in PARTIES},
        "host": {
            "card": host().card.to_json(),
            "url": "http://127.0.0.1:8700",
            "operated_by": "data-centre",
            "merge_delay": "1m",
        },
        "witnesses": {
            "cards": [witness(name).card.to_json() for name in WITNESSES],
            "quorum": 2,
            "checkpoint_age": "10m",
        },
        "roles": {
            "approvers": ["operator-a", "operator-b", "ministry"],
            "auditors": ["regulator"],
            "recovery": {"approvers": list(PARTIES), "quorum": 3, "delay": "7d"},
        },
        "pseudonyms": {
            "roamers": {
                "of": "imsi",
                "keep_prefix": 6,
                "shared_by": ["operator-a", "operator-b"],
                "new_key": "each period",
            }
        },
        "datasets": {
            "roamers-a": {"provider": "operator-a", **dataset},
            "roamers-b": {"provider": "operator-b", **dataset},
        },
        "tasks": {
            "visitors": {
                "statistic": "visitors",
                "inputs": {"a": "roamers-a", "b": "roamers-b"},
                "parameters": {
                    "domestic_country": "ID",
                    "areas": [{"border_area": "BATAM"}, {"border_area": "BINTAN"}],
                    "mcc_country": [
                        {"mcc": "242", "country": "NO"},
                        {"mcc": "502", "country": "MY"},
                        {"mcc": "510", "country": "ID"},
                    ],
                },
                "protection": "enclave",
                "runners": ["ministry"],
                "runs_per_period": 1,
                "release_delay": "0s",
                "holders": {"of": ["operator-a", "operator-b", "regulator"], "threshold": 2},
                "keepers": ["ministry"],
                "releases": {
                    "all": {"to": ["ministry", "operator-a", "operator-b"], "minimum": 10, "minimum_part": 3},
                    "by_country": {**_RULE, "complementary": True},
                    "by_area": dict(_RULE),
                    "by_country_area": {**_RULE, "complementary": True},
                    "quality": {"to": ["ministry"], "minimum": 10},
                },
            }
        },
        "enclave": {
            "accept": [
                {
                    "kind": "simulated",
                    "root": b64(simulated_root().public_key().public_bytes_raw()),
                    "source": SOURCE,
                }
            ]
        },
    }


def agreement(**overrides: Any) -> Agreement:
    """A valid agreement; each keyword replaces a top-level field (as JSON).

    A keyword with ``__`` in it replaces a field deeper down: ``tasks__visitors__release_delay="1m"``
    (names with a hyphen go through :func:`agreement_json`). The value ``None`` removes the field.
    """
    value = agreement_json()
    for path, new in overrides.items():
        *parents, last = path.split("__")
        target = value
        for parent in parents:
            target = target[parent]
        if new is None:
            del target[last]
        else:
            target[last] = new
    return Agreement.model_validate(value)


def statement(of: Agreement, by: str = "operator-a", at: datetime | None = None) -> Statement:
    """The agreement as a statement signed by a party of it; its id is the agreement's."""
    card, signer, _ = party(by)
    moment = at or datetime(2026, 10, 1, tzinfo=UTC)
    return sign(signer, type="agreement", by=fingerprint(card), agreement=None, body=of.to_json(), at=moment)


def write_draft(folder: Path) -> str:
    """Put the cards and tables of the valid agreement into a folder; the YAML that names them by path."""
    value = agreement_json()
    (folder / "cards").mkdir()
    (folder / "tables").mkdir()

    def stored(card: dict[str, Any]) -> str:
        path = f"cards/{card['name']}.json"
        (folder / path).write_bytes(canonical.encode(card))
        return path

    for terms in (*value["parties"].values(), value["host"]):
        terms["card"] = stored(terms["card"])
    value["witnesses"]["cards"] = [stored(card) for card in value["witnesses"]["cards"]]
    parameters = value["tasks"]["visitors"]["parameters"]
    for name, path in (("areas", "tables/border.csv"), ("mcc_country", "tables/mcc.csv")):
        header, rows = list(parameters[name][0]), [list(row.values()) for row in parameters[name]]
        (folder / path).write_text("\n".join(",".join(line) for line in [header, *rows]) + "\n", encoding="utf-8")
        parameters[name] = path
    return yaml_text(value)


def yaml_text(value: Any) -> str:
    """Block YAML without references, fields in the order given."""
    import yaml

    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    text: str = yaml.dump(value, Dumper=Plain, sort_keys=False, allow_unicode=True, width=1000)
    return text
