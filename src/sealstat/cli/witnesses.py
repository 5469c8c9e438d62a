"""A witness as a program: its key, its memory, its server."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from sealstat.crypto import canonical
from sealstat.crypto.cards import HostCard, Validity, WitnessCard, b64, parse_card, unb64
from sealstat.crypto.errors import KeystoreError
from sealstat.crypto.keystore import write_private
from sealstat.log.note import COSIGNATURE_MLDSA44, Cosigner, parse_verifier_key
from sealstat.log.witness import Witness, create_app

_KEY, _CARD, _MEMORY = "cosigner.key", "card.json", "witness.db"


def create(home: Path, name: str, *, post_quantum: bool = False) -> WitnessCard:
    """A new witness in a folder: key, empty memory, card.

    Args:
        post_quantum: an ML-DSA-44 key (C2SP type 06), not an Ed25519 one (type 04).
    Raises:
        KeystoreError: there is one already.
    """
    if (home / _KEY).exists():
        raise KeystoreError(f"there is a witness in {home} already: choose another home")
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = MLDSA44PrivateKey.generate() if post_quantum else Ed25519PrivateKey.generate()
    now = datetime.now(UTC).replace(hour=0, minute=0, second=0)
    cosigner = Cosigner(name, key)
    span = [moment.strftime("%Y-%m-%dT%H:%M:%SZ") for moment in (now, now + timedelta(days=5 * 365))]
    valid = Validity.model_validate({"from": span[0], "to": span[1]})
    card = WitnessCard(kind="witness", name=name, cosigner=str(cosigner.verifier), valid=valid)
    write_private(home / _KEY, b64(key.private_bytes_raw()).encode() + b"\n")
    Witness(home / _MEMORY, cosigner, {}, create=True).close()
    write_private(home / _CARD, canonical.encode(card.to_json()) + b"\n")
    return card


def serve(home: Path, logs: list[Path], *, address: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM. Requests need no signature: a checkpoint carries its log's own."""
    import uvicorn

    known = {}
    for path in logs:
        card = parse_card(path.read_bytes())
        if not isinstance(card, HostCard):
            raise KeystoreError(f"{path} is not a host's card: its log cannot be known from it")
        known[card.origin] = [parse_verifier_key(card.log_key)]
    card = parse_card((home / _CARD).read_bytes())
    assert isinstance(card, WitnessCard)
    key_file = home / _KEY
    if key_file.stat().st_mode & 0o077:
        raise KeystoreError(f"others may read {key_file}: run chmod 600 {key_file}")
    seed = unb64(key_file.read_text().strip())
    mldsa = parse_verifier_key(card.cosigner).type == COSIGNATURE_MLDSA44
    key = MLDSA44PrivateKey.from_seed_bytes(seed) if mldsa else Ed25519PrivateKey.from_private_bytes(seed)
    cosigner = Cosigner(card.name, key)
    with Witness(home / _MEMORY, cosigner, known) as witness:
        config = uvicorn.Config(
            create_app(witness), host=address, port=port, log_level="warning", access_log=False, server_header=False
        )
        asyncio.run(uvicorn.Server(config).serve())
