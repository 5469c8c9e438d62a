"""A host that lies: a proxy in front of the real one, under the host's own address, with rules that a test gives.

Callers sign their requests over the address they see, so all of them come through here; whom a lie is for is told
by the card that signed. Whatever no rule takes passes unchanged.
"""

import contextlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealstat.crypto import canonical, statement
from sealstat.crypto.cards import fingerprint, parse_card, unb64
from sealstat.crypto.statement import Statement, parse_leaf
from sealstat.host.setup import HostKeys
from sealstat.lab.stage import Stage, free_port
from sealstat.log.checkpoint import parse_checkpoint
from sealstat.log.errors import LogError
from sealstat.log.note import Cosigner, Note, parse_note
from sealstat.log.reader import LogReader
from sealstat.log.store import TileLog

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "host", "content-length", "date", "server"}


@dataclass(frozen=True)
class Call:
    """One request as it came.

    Attributes:
        who: the party whose card signed it, "instance" if it is another's, "" if nobody signed.
    """

    who: str
    signer: str
    method: str
    path: str
    body: bytes
    headers: dict[str, str] = field(repr=False)

    @property
    def said(self) -> Statement | None:
        """The statement that it hands in."""
        is_one = (self.method, self.path) == ("POST", "/v1/statements")
        return statement.parse(self.body) if is_one else None

    def says(self, type: str) -> bool:
        return self.said is not None and self.said.type == type


@dataclass(frozen=True)
class Answer:
    body: bytes
    status: int = 200

    @classmethod
    def of(cls, value: Any) -> Self:
        return cls(json.dumps(value).encode())


Truth = Callable[[Call], Answer]
Lie = Callable[[Call, Truth], Answer | None]  # None: the truth after all


class LyingHost:
    """The proxy; ``url`` is what everybody takes for the host's address."""

    def __init__(self, port: int, host: str, cards: Path) -> None:
        self.url, self._host = f"http://127.0.0.1:{port}", host
        self._names = {fingerprint(parse_card(path.read_bytes())): path.stem for path in cards.glob("*.json")}
        self._rules: list[tuple[Callable[[Call], bool], Lie]] = []
        self._http = httpx.Client(base_url=host, timeout=60, trust_env=False, limits=httpx.Limits(max_connections=200))
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads, self._server.block_on_close = True, False
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a killed caller hung up
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._http.close()

    @contextlib.contextmanager
    def lying(
        self, lie: Lie, *, path: str = ".*", to: str = "", when: Callable[[Call], bool] | None = None
    ) -> Iterator[None]:
        """Lie to some callers about some paths, while the block runs.

        Args:
            path: a pattern for the whole path.
            to: names of parties, or "instance", with spaces between; by default to everybody.
            when: a further condition.
        """

        def applies(call: Call) -> bool:
            return (
                (not to or call.who in to.split())
                and re.fullmatch(path, call.path) is not None
                and (when is None or when(call))
            )

        rule = (applies, lie)
        self._rules.append(rule)
        try:
            yield
        finally:
            self._rules.remove(rule)

    def log_file(self, path: str) -> bytes:
        """A file of the real log."""
        answer = self._http.get(f"/log/{path}")
        answer.raise_for_status()
        return answer.content

    def truth(self, call: Call) -> Answer:
        """What the real host answers."""
        answer = self._http.request(call.method, call.path, content=call.body, headers=call.headers)
        return Answer(answer.content, answer.status_code)

    def _answer(self, call: Call) -> Answer:
        for applies, lie in list(self._rules):
            if applies(call):
                told = lie(call, self.truth)
                if told is not None:
                    return told
        return self.truth(call)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
                found = re.search(r'keyid="([0-9a-f]{64})"', self.headers.get("signature-input", ""))
                signer = found[1] if found else ""
                who = proxy._names.get(signer, "instance") if signer else ""
                told = proxy._answer(Call(who, signer, self.command, self.path, body, headers))
                self.send_response(told.status)
                self.send_header("content-length", str(len(told.body)))
                self.end_headers()
                self.wfile.write(told.body)

            do_POST = do_PUT = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@dataclass
class Held:
    """A lie that lets the first call wait until ``let_go``; all others pass."""

    calls: list[Call] = field(default_factory=list)
    free: threading.Event = field(default_factory=threading.Event)

    def __call__(self, call: Call, _: Truth) -> None:
        if not self.calls:
            self.calls.append(call)
            self.free.wait(120)

    def let_go(self) -> None:
        self.free.set()


def always(body: bytes, status: int = 200) -> Lie:
    return lambda *_: Answer(body, status)


class Fork:
    """The log with one leaf exchanged, signed by the log's own key; witnesses that lie cosign it."""

    def __init__(
        self, host: LyingHost, keys: HostKeys, homes: Callable[[str], Path], folder: Path, *, without: str
    ) -> None:
        """A fork of the log as it is, without its last leaf of a type; ``homes`` are where the witnesses' keys lie."""
        real = parse_checkpoint(parse_note(host.log_file("checkpoint")).text)
        entries = LogReader(host.log_file).entries(0, real.size, real)
        place = max(index for index, entry in enumerate(entries) if parse_leaf(entry)[2] == without)
        entries[place] = canonical.encode({"agreement": "f" * 64, "id": "e" * 64, "type": "approval"})
        self._log, self._homes = TileLog(folder, keys.card.origin, keys.log_key), homes
        self._log.append(entries)

    def told(self, *cosigned: str, forged: str = "") -> Lie:
        """The fork under these witnesses' cosignatures, and one that only looks like a witness's."""
        note = parse_note(self._log.sign_checkpoint())
        signers, now = [self._cosigner(name) for name in (*cosigned, *([forged] if forged else []))], int(time.time())
        lines = [signer.sign(note.text, timestamp=now) for signer in signers]
        if forged:
            liar = Cosigner(forged, Ed25519PrivateKey.generate()).sign(note.text, timestamp=now)
            lines[-1] = replace(lines[-1], signature=liar.signature)
        signed = Note(note.text, (*note.signatures, *lines)).serialise()

        def lie(call: Call, _: Truth) -> Answer:
            path = call.path.removeprefix("/log/")
            try:
                return Answer(signed if path == "checkpoint" else self._log.read(path))
            except LogError:
                return Answer(b"", 404)

        return lie

    def _cosigner(self, witness: str) -> Cosigner:
        key = unb64((self._homes(witness) / "cosigner.key").read_text().strip())
        return Cosigner(witness, Ed25519PrivateKey.from_private_bytes(key))


@contextlib.contextmanager
def behind_lies(stage: Stage) -> Iterator[tuple[LyingHost, tuple[str, ...]]]:
    """Every role set up and started but the enclave, their host reached through one that may lie.

    Yields the proxy, and the options with which the host itself is started again.
    """
    stage.set_up()
    stage.start_witnesses()
    real = free_port()
    with LyingHost(stage.ports["host"], f"http://127.0.0.1:{real}", stage.folder / "cards") as lies:
        options = ("--port", str(real), "--url", stage.url, "--recosign", "1")
        stage.start_host(*options)
        for party in stage.parties:
            stage.start_agent(party)
        yield lies, options
