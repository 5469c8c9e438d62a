"""Where a log can be read: a host, a copy that any server serves, a folder, a checkpoint file, a party's home."""

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import httpx

from sealstat.crypto.cards import HostCard, parse_card
from sealstat.crypto.errors import CryptoError
from sealstat.log.checkpoint import VerifiedCheckpoint, verify_checkpoint
from sealstat.log.errors import LogError, MissingTileError
from sealstat.log.export import CHECKPOINT, LOG_KEY, read_folder
from sealstat.log.note import VerifierKey, parse_note, parse_verifier_key
from sealstat.log.reader import Fetch, LogReader
from sealstat.log.tiles import MAX_BUNDLE_BYTES
from sealstat.party.ledger import held_checkpoints
from sealstat.wire.client import authorities
from sealstat.wire.errors import WireError


@dataclass
class Source:
    """One log, or what somebody holds of it; nothing verified.

    Attributes:
        where: as the caller named it.
        fetch: of its files; None where there is a checkpoint alone.
        notes: checkpoints, newest first; of several logs in a party's home.
        named_key: the log's verifier key as the source itself has it, if it does.
        own: a party's home: what it holds was verified, and its keys come from agreements it knows.
        host: the log's own host, which answers for the log as it is now; a copy may lag behind.
    """

    where: str
    notes: list[bytes]
    fetch: Fetch | None = None
    named_key: str | None = None
    witnesses: tuple[VerifierKey, ...] = field(default=())
    own: bool = False
    host: bool = False

    @property
    def origins(self) -> list[str]:
        """First lines of its checkpoints."""
        return [parse_note(note).text.partition("\n")[0] for note in self.notes]

    def note_of(self, origin: str) -> bytes:
        """Its newest checkpoint of a log.

        Raises:
            LogError: it has none.
        """
        for note, found in zip(self.notes, self.origins, strict=True):
            if found == origin:
                return note
        raise LogError(f"{self.where} has no checkpoint of {origin}: compare two of one log")

    def verified(self, key: VerifierKey, witnesses: tuple[VerifierKey, ...] = ()) -> VerifiedCheckpoint:
        """Its checkpoint of the key's log, signed by that key.

        Raises:
            LogError: it is not.
        """
        return verify_checkpoint(self.note_of(key.name), log_key=key, witnesses=witnesses, quorum=0)

    @property
    def files(self) -> Fetch:
        """Its ``fetch``.

        Raises:
            LogError: it has none.
        """
        if self.fetch is None:
            raise LogError(f"{self.where} holds a checkpoint alone: name a host, or a copy of its log")
        return self.fetch

    @cached_property
    def reader(self) -> LogReader:
        """Proven reading of its files; raises as ``files``."""
        return LogReader(self.files)


def open_source(where: str) -> Source:
    """Find out what a place is, and read its checkpoint.

    Raises:
        WireError: a server does not answer.
        LogError: there is no log at this place.
        OSError: a file cannot be read.
    """
    if where.startswith(("http://", "https://")):
        return _server(where.rstrip("/"))
    path = Path(where)
    if not path.is_dir():
        return Source(where, [path.read_bytes()])
    if (path / "party.db").exists():
        return _home(where, path)
    folder = path if (path / CHECKPOINT).exists() else path / "log"
    if not (folder / CHECKPOINT).exists():
        raise LogError(f"{where} holds no log: no checkpoint file is in it")
    fetch = read_folder(folder)
    return Source(where, [fetch(CHECKPOINT)], fetch, _key_in(path))


def _key_in(folder: Path) -> str | None:
    """What stands beside a log: the key of an export, or the card in a host's home."""
    if (folder / LOG_KEY).exists():
        return (folder / LOG_KEY).read_text(encoding="utf-8").strip()
    try:
        card = parse_card((folder / "card.json").read_bytes())
    except (OSError, CryptoError):
        return None
    return card.log_key if isinstance(card, HostCard) else None


def _home(where: str, path: Path) -> Source:
    held = held_checkpoints(path)
    if not held:
        raise LogError(f"the party in {where} has read no log yet")
    keys = {key.public: key for terms, _ in held for key in map(parse_verifier_key, terms.cosigners)}
    logs = {terms.host.log_key for terms, _ in held}
    return Source(
        where,
        [note for _, note in held],
        named_key=logs.pop() if len(logs) == 1 else None,
        witnesses=tuple(keys.values()),
        own=True,
    )


def _server(base: str) -> Source:
    client = httpx.Client(timeout=30, trust_env=False, verify=False if base.startswith("http:") else authorities())

    def get(address: str) -> bytes | None:
        """A file, or None where there is none."""
        try:
            with client.stream("GET", address) as answer:
                if answer.status_code == httpx.codes.NOT_FOUND:
                    return None
                if answer.status_code != httpx.codes.OK:
                    raise WireError(f"the server at {base} answered with status {answer.status_code}")
                data = bytearray()
                for chunk in answer.iter_bytes():
                    data += chunk
                    if len(data) > MAX_BUNDLE_BYTES:
                        raise WireError(f"the server at {base} sends more than any file of a log has")
                return bytes(data)
        except httpx.HTTPError as error:
            raise WireError(f"the host at {base} cannot be reached: is it running?") from error

    for prefix in (f"{base}/log", base):  # a host; a copy of its log on any server
        note = get(f"{prefix}/{CHECKPOINT}")
        if note is not None:
            break
    else:
        raise LogError(f"there is no log at {base}: no checkpoint file is there")

    def fetch(path: str) -> bytes:
        data = get(f"{prefix}/{path}")
        if data is None:
            raise MissingTileError(path)
        return data

    host = prefix != base
    key = _key_of_host(get(f"{base}/health")) if host else get(f"{base}/{LOG_KEY}")
    return Source(base, [note], fetch, key.decode(errors="replace").strip() if key else None, host=host)


def _key_of_host(health: bytes | None) -> bytes | None:
    try:
        return str(json.loads(health or b"")["card"]["log_key"]).encode()
    except (ValueError, KeyError, TypeError):
        return None
