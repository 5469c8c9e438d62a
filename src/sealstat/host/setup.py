"""A host's home: its keys, its card, the launcher's token, and the cards that its operator admitted."""

import hmac
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, delete, insert

from sealstat.crypto import canonical, keystore
from sealstat.crypto.cards import HostCard, PartyCard, Validity, b64, fingerprint, parse_card, unb64
from sealstat.crypto.errors import CryptoError, KeystoreError
from sealstat.crypto.identity import Signer
from sealstat.host import store as tables
from sealstat.host.errors import HostError
from sealstat.host.store import Store, sqlite_url
from sealstat.log import LogSigner

CARD_FILE = "card.json"
KEYSTORE_FILE = "host.keystore"
PLAIN_KEYS_FILE = "host.keys"
TOKEN_FILE = "launcher.token"  # noqa: S105 - the name of a file
_KEYS_LIMIT_BYTES = 4096


@dataclass(frozen=True, slots=True)
class HostKeys:
    """All the private keys a host has: one signs receipts, one checkpoints; none opens anything.

    Attributes:
        card: the host's public card.
        signer: Ed25519, for receipts and the host's own statements.
        log_key: Ed25519, for checkpoints and nothing else.
        launcher_token: what a launcher of the host's own house shows.
    """

    card: HostCard
    signer: Signer = field(repr=False)
    log_key: Ed25519PrivateKey = field(repr=False)
    launcher_token: str = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """Of the card."""
        return fingerprint(self.card)

    def is_launcher(self, token: str) -> bool:
        """Whether a token is the launcher's, in constant time."""
        return hmac.compare_digest(self.launcher_token.encode(), token.encode())


def create(
    home: Path, name: str, *, origin: str, valid_from: datetime, valid_to: datetime, passphrase: str | None
) -> HostCard:
    """Make a new host's home.

    Args:
        home: a folder that holds no host yet.
        origin: the log's name, unique in the world, like ``stats.example/sealstat``.
        passphrase: encrypts the private keys; without one they lie in a file that only its owner may read.
    Raises:
        HostError: there is a host already.
        ValueError: name, origin or validity have not the form of a card.
    """
    if any((home / file).exists() for file in (CARD_FILE, KEYSTORE_FILE, PLAIN_KEYS_FILE)):
        raise HostError(f"there is a host in {home} already: choose another home")
    signer, log_key = Signer.generate(post_quantum=False), Ed25519PrivateKey.generate()
    span = {"from": f"{valid_from:%Y-%m-%dT%H:%M:%SZ}", "to": f"{valid_to:%Y-%m-%dT%H:%M:%SZ}"}
    card = HostCard(
        kind="host",
        name=name,
        keys=signer.public(),
        log_key=str(LogSigner(origin, log_key).verifier),
        origin=origin,
        valid=Validity.model_validate(span),
    )
    secret = {"signing": signer.to_secret(), "log": b64(log_key.private_bytes_raw())}
    if passphrase is None:
        keystore.write_private(home / PLAIN_KEYS_FILE, canonical.encode(secret) + b"\n")
    else:
        keystore.write(home / KEYSTORE_FILE, secret, passphrase)
    keystore.write_private(home / TOKEN_FILE, secrets.token_urlsafe(32).encode() + b"\n")
    # last: a home with a card is a whole one
    keystore.write_private(home / CARD_FILE, canonical.encode(card.to_json()) + b"\n")
    return card


def load_card(home: Path) -> HostCard:
    """The card of the host in a home.

    Raises:
        HostError: there is none.
    """
    try:
        card = parse_card((home / CARD_FILE).read_bytes())
    except FileNotFoundError as error:
        raise HostError(f"there is no host in {home}: create one first") from error
    except CryptoError as error:
        raise HostError(f"the card in {home} is damaged: restore it from a backup") from error
    if not isinstance(card, HostCard):
        raise HostError(f"the card in {home} is no host's: choose another home")
    return card


def load_keys(home: Path, passphrase: str | None) -> HostKeys:
    """The card and keys in a home.

    Raises:
        HostError: no host is there, or its files are not of one host.
        KeystoreError: the keys cannot be opened.
    """
    card = load_card(home)
    if (home / PLAIN_KEYS_FILE).exists():
        secret = canonical.decode(_private(home / PLAIN_KEYS_FILE).strip(), limit=_KEYS_LIMIT_BYTES)
    elif passphrase is None:
        raise KeystoreError(f"the keys in {home} are encrypted: give the passphrase in SEALSTAT_PASSPHRASE_FILE")
    else:
        secret = keystore.read(home / KEYSTORE_FILE, passphrase)
    try:
        signer = Signer.from_secret(secret["signing"])
        log_key = Ed25519PrivateKey.from_private_bytes(unb64(secret["log"]))
    except (KeyError, TypeError, ValueError) as error:
        raise KeystoreError(f"the keys in {home} are damaged: restore them from a backup") from error
    if signer.public() != card.keys or str(LogSigner(card.origin, log_key).verifier) != card.log_key:
        raise HostError(f"card and keys in {home} do not belong together: restore both from one backup")
    return HostKeys(card, signer, log_key, _private(home / TOKEN_FILE).decode().strip())


def admit(home: Path, card: PartyCard, *, database: str | None = None) -> None:
    """Let the holder of a card propose agreements at this host; it may be running.

    Raises:
        HostError: there is no host in the home.
    """
    store = Store(database or sqlite_url(home), identity=fingerprint(load_card(home)))
    row = {"fingerprint": fingerprint(card), "card": canonical.encode(card.to_json())}

    def work(connection: Connection) -> None:
        connection.execute(delete(tables.admitted).where(tables.admitted.c.fingerprint == row["fingerprint"]))
        connection.execute(insert(tables.admitted).values(**row))

    try:
        store.submit(work).result()
    finally:
        store.close()


def _private(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode & 0o777
        data = path.read_bytes()
    except OSError as error:
        raise KeystoreError(f"cannot read {path}: {error.strerror}") from error
    if mode & 0o077:
        raise KeystoreError(f"{path} has mode {mode:o}: others may read it; run chmod 600 {path}")
    return data
