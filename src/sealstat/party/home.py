"""A party's home: one folder with its keys, its card and its ledger."""

import os
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sealstat.agreement.replay import View
from sealstat.crypto import canonical, keystore
from sealstat.crypto.cards import PartyCard, Validity, b64, fingerprint, parse_card, unb64
from sealstat.crypto.errors import CryptoError
from sealstat.crypto.identity import Opener, Signer
from sealstat.party.errors import PartyError
from sealstat.party.ledger import Ledger

_KEYSTORE = "identity.keystore"
_CARD = "card.json"
_VALID_YEARS = 5


@dataclass(frozen=True, slots=True)
class Identity:
    """A card of this party with its private keys."""

    card: PartyCard
    signer: Signer = field(repr=False)
    opener: Opener = field(repr=False)

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.card)


@dataclass(frozen=True, slots=True)
class RecoveryKey:
    """The key that a party keeps offline, for when its daily keys are lost or stolen."""

    name: str
    signer: Signer = field(repr=False)

    @property
    def digest(self) -> str:
        """As it stands in the party's cards; what this key signs is signed under it."""
        return canonical.digest(self.signer.public().to_json())


class Home:
    """An opened home. Old identities stay, for agreements in which their card is still in force."""

    def __init__(self, path: Path, passphrase: str) -> None:
        self.path = path
        self._passphrase = passphrase
        self.identities: dict[str, Identity] = {}
        self.identity: Identity
        self.refresh()
        self.ledger = Ledger(path / "party.db", unb64(self._secret["master"]))

    @property
    def name(self) -> str:
        """The party's name, as its card says it."""
        return self.identity.card.name

    @property
    def fingerprint(self) -> str:
        """Of the newest card."""
        return self.identity.fingerprint

    def identity_in(self, view: View) -> Identity:
        """The identity whose card is in force in an agreement.

        Raises:
            PartyError: this party has none there.
        """
        in_force = [fingerprint(card) for card in view.cards[view.id].values()]
        if not self.identities.keys() & set(in_force):
            self.refresh()  # a person may have taken a new card while this process ran
        for each in in_force:
            if each in self.identities:
                return self.identities[each]
        raise PartyError("no card of this party is in force in the agreement")

    def rotate(self, *, now: datetime) -> Identity:
        """A new identity beside the old ones; it takes effect in an agreement by a `replacement` there."""
        self.refresh()
        identity = _new_identity(self.name, self.identity.card.recovery, now)
        self._secret["identities"].append(_entry(identity))
        keystore.write(self.path / _KEYSTORE, self._secret, self._passphrase)
        keystore.write_private(self.path / _CARD, canonical.encode(identity.card.to_json()) + b"\n")
        self.identities[identity.fingerprint] = self.identity = identity
        return identity

    def refresh(self) -> None:
        """Read the keystore anew: another process may have put a new identity into it."""
        self._secret = keystore.read(self.path / _KEYSTORE, self._passphrase)
        self.identities = {entry["fingerprint"]: _identity(entry) for entry in self._secret["identities"]}
        self.identity = self.identities[self._secret["identities"][-1]["fingerprint"]]


def create_home(path: Path, name: str, passphrase: str, *, recovery_file: Path, now: datetime) -> PartyCard:
    """A new home with fresh keys; the recovery key goes into a file of its own, to be taken away and kept offline.

    Raises:
        PartyError: there is a home already, or the recovery file exists.
    """
    if (path / _KEYSTORE).exists():
        raise PartyError(f"{path} holds a party already: choose another folder with --home, or use that one")
    if recovery_file.exists():
        raise PartyError(f"{recovery_file} exists: name another file for the recovery key")
    recovery = RecoveryKey(name, Signer.generate(post_quantum=True))
    identity = _new_identity(name, recovery.digest, now)
    recovery_secret = {
        "name": name,
        "recovery": recovery.signer.to_secret(),
        "keys": recovery.signer.public().to_json(),
    }
    keystore.write(recovery_file, recovery_secret, passphrase)
    _write_new(path, identity, passphrase)
    return identity.card


def read_recovery_key(path: Path, passphrase: str) -> RecoveryKey:
    """The key in a recovery file.

    Raises:
        KeystoreError: no such file, or the passphrase is wrong.
        PartyError: it is another kind of file.
    """
    secret = keystore.read(path, passphrase)
    if "recovery" not in secret:
        raise PartyError(f"{path} holds no recovery key: name the file that `sealstat party create` wrote for it")
    return RecoveryKey(secret["name"], Signer.from_secret(secret["recovery"]))


def renew_home(path: Path, key: RecoveryKey, passphrase: str, *, now: datetime) -> Home:
    """A new identity under a recovery key: in the home that is there, or in a fresh one, without the old secrets.

    Raises:
        PartyError: the home that is there is not this key's.
    """
    if not (path / _KEYSTORE).exists():
        _write_new(path, _new_identity(key.name, key.digest, now), passphrase)
        return Home(path, passphrase)
    home = Home(path, passphrase)
    check_recovery_key(home, key)
    home.rotate(now=now)
    return home


def check_recovery_key(home: Home, key: RecoveryKey) -> None:
    """Whether a recovery key is the one that a home's card names.

    Raises:
        PartyError: it is another one.
    """
    if key.digest != home.identity.card.recovery:
        raise PartyError(f"this is the recovery key of {key.name}, and another one than the card of {home.name} names")


def _write_new(path: Path, identity: Identity, passphrase: str) -> None:
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
    secret = {"identities": [_entry(identity)], "master": b64(secrets.token_bytes(32))}
    keystore.write_private(path / _CARD, canonical.encode(identity.card.to_json()) + b"\n")
    keystore.write(path / _KEYSTORE, secret, passphrase)


def read_card(path: Path) -> PartyCard:
    """The public card in a home, which needs no passphrase.

    Raises:
        PartyError: there is none.
    """
    try:
        card = parse_card((path / _CARD).read_bytes())
    except OSError as error:
        raise PartyError(f"there is no party in {path}: make one with `sealstat party create NAME`") from error
    except CryptoError as error:
        raise PartyError(f"the card in {path} is damaged: {error}") from error
    if not isinstance(card, PartyCard):
        raise PartyError(f"the card in {path} is not a party's")
    return card


def home_path(option: Path | None) -> Path:
    """Where the home is: the option, else SEALSTAT_HOME, else a folder of the user's."""
    if option is not None:
        return option
    return Path(os.environ.get("SEALSTAT_HOME") or Path.home() / ".sealstat")


def _new_identity(name: str, recovery: str, now: datetime) -> Identity:
    signer, opener = Signer.generate(post_quantum=True), Opener.generate()
    # from the day's first second: an agreement may begin on the day its cards were made
    start = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    stamps = [moment.strftime("%Y-%m-%dT%H:%M:%SZ") for moment in (start, start + timedelta(days=365 * _VALID_YEARS))]
    card = PartyCard(
        kind="party",
        name=name,
        keys=signer.public(),
        sealing=opener.public(),
        recovery=recovery,
        valid=Validity(**{"from": stamps[0], "to": stamps[1]}),
    )
    return Identity(card, signer, opener)


def _entry(identity: Identity) -> dict[str, Any]:
    return {
        "fingerprint": identity.fingerprint,
        "card": identity.card.to_json(),
        "signer": identity.signer.to_secret(),
        "opener": identity.opener.to_secret(),
    }


def _identity(entry: dict[str, Any]) -> Identity:
    card = PartyCard.model_validate(entry["card"])
    return Identity(card, Signer.from_secret(entry["signer"]), Opener.from_secret(entry["opener"]))
