"""A party's agent over a story in memory: a real home, ledger and duties, and a host that says what a test wants."""

from datetime import datetime
from pathlib import Path
from typing import Any

import builders
from sealstat.crypto import keystore
from sealstat.crypto.cards import b64
from sealstat.crypto.statement import Statement
from sealstat.log.checkpoint import VerifiedCheckpoint
from sealstat.party.home import Home, Identity, _entry
from sealstat.party.member import Member
from sealstat.wire.errors import WireError
from story import Story

PASSPHRASE = "correct horse battery staple"


def identity(name: str, generation: int = 0) -> Identity:
    card, signer, opener = builders.party(name, generation) if generation else builders.party(name)
    return Identity(card, signer, opener)


def home(path: Path, name: str) -> Home:
    """A home with the keys that the builders gave this party."""
    write_keys(path, name, 0)
    return Home(path, PASSPHRASE)


def write_keys(path: Path, name: str, *generations: int) -> None:
    """The home's keystore with these generations of keys, as another process would leave it."""
    entries = [_entry(identity(name, generation)) for generation in generations]
    keystore.write(path / "identity.keystore", {"identities": entries, "master": b64(bytes(32))}, PASSPHRASE)


class Host:
    """Takes every statement, or answers with the error a test sets; nothing gets a leaf by itself."""

    def __init__(self) -> None:
        self.sent: list[Statement] = []
        self.error: WireError | None = None
        self.signer, self.fingerprint, self.url = None, "", ""

    def send(self, statement: Statement) -> dict[str, Any]:
        if self.error is not None:
            raise self.error
        self.sent.append(statement)
        return {}


class _Reader:
    """What the duties ask of a follower, answered from the story."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.view, self.checkpoint = story.view(), story.checkpoint()

    def verify_note(self, note: bytes) -> VerifiedCheckpoint:
        return self.story.checkpoint(note)

    consistent = verify_note

    def update(self, *, now: datetime) -> bool:
        self.view, self.checkpoint = self.story.view(), self.story.checkpoint()
        return True


class Desk(Member):
    """One party's place in a story; ``read`` brings it up to the story's log."""

    def __init__(self, story: Story, opened: Home) -> None:
        self.home, self.story, self.host = opened, story, Host()
        self.client = self.host  # type: ignore[assignment]
        self.follower = _Reader(story)  # type: ignore[assignment]
        self.clock = lambda: self.story.now

    def read(self) -> None:
        self.update()

    def said(self, type: str) -> list[Statement]:
        """What it sent of a type."""
        return [statement for statement in self.host.sent if statement.type == type]

    def log(self, type: str) -> Statement:
        """Give what it sent last of a type its leaf, and read on."""
        statement = self.said(type)[-1]
        self.story.log(statement)
        self.read()
        return statement
