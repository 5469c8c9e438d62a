"""A host as a real process, and witnesses that cosign for it; ``python hosting.py CONFIG`` is that process."""

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

import builders
from sealstat.agreement.model import Agreement
from sealstat.crypto import canonical
from sealstat.crypto.cards import HostCard, PartyCard, fingerprint, parse_card
from sealstat.crypto.identity import Opener, Signer
from sealstat.crypto.statement import Statement, sign
from sealstat.host import serve, setup
from sealstat.host.settings import Limits, Settings, WitnessAddress
from sealstat.log.note import Cosigner, VerifierKey, parse_verifier_key
from sealstat.log.witness import Witness, create_app
from sealstat.wire.client import HostClient
from sealstat.wire.signing import sign_request

WITNESSES = builders.WITNESSES
NOW = datetime(2026, 11, 1, tzinfo=UTC)  # what signers claim; nobody trusts it


@dataclass
class Witnesses:
    """Three witnesses behind one port, each below its own path; they learn of a log by ``know``."""

    url: str
    logs: dict[str, list[VerifierKey]] = field(default_factory=dict)

    def know(self, card: HostCard) -> None:
        self.logs[card.origin] = [parse_verifier_key(card.log_key)]


@contextlib.contextmanager
def witnesses(folder: Path) -> Iterator[Witnesses]:
    with contextlib.ExitStack() as stack, socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        running = Witnesses(f"http://127.0.0.1:{listening.getsockname()[1]}")
        mounts = []
        for name in WITNESSES:
            key = parse_verifier_key(builders.witness(name).card.cosigner)
            cosigner = Cosigner(key.name, builders.witness(name).cosigner)
            witness = stack.enter_context(Witness(folder / f"{name}.db", cosigner, running.logs, create=True))
            mounts.append(Mount(f"/{name}", create_app(witness)))
        server = uvicorn.Server(uvicorn.Config(Starlette(routes=mounts), log_config=None, ws="none", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield running
        finally:
            server.should_exit = True
            thread.join()


@dataclass
class HostProcess:
    """One home and the process that serves it; ``start`` and ``kill`` at will."""

    home: Path
    url: str
    config: dict[str, Any]
    process: subprocess.Popen[str] | None = None

    @property
    def card(self) -> HostCard:
        return setup.load_card(self.home)

    @property
    def output(self) -> str:
        return (self.home / "output.txt").read_text()

    def start(self, **config: Any) -> None:
        path = self.home / "config.json"
        path.write_text(json.dumps({**self.config, **config}))
        with (self.home / "output.txt").open("a") as output:
            self.process = subprocess.Popen(
                [sys.executable, __file__, str(path)], stdout=subprocess.PIPE, stderr=output, text=True
            )
        assert self.process.stdout is not None
        if self.process.stdout.readline() != "ready\n":
            raise AssertionError(f"the host did not start: {self.output[-2000:]}")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self._reap()

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self._reap()

    def _reap(self) -> int:
        assert self.process is not None
        code = self.process.wait(15)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None
        return code

    def client(self, name: str, generation: int = 0) -> HostClient:
        card, signer, _ = party(name, generation)
        return HostClient(self.url, signer, fingerprint(card))

    def admit(self, name: str) -> None:
        setup.admit(self.home, builders.party(name)[0])

    def agreement(self, **overrides: Any) -> Agreement:
        value = builders.agreement_json()
        value["host"] |= {"card": self.card.to_json(), "url": self.url}
        value |= {"valid": {"from": "2026-01-01", "to": "2028-12-31"}, **overrides}
        return Agreement.model_validate(value)

    def propose(self, title: str = "An agreement of its own", **overrides: Any) -> str:
        """Send a new agreement by operator-a; its id."""
        statement = builders.statement(self.agreement(title=title, **overrides), at=NOW)
        self.client("operator-a").send(statement)
        return statement.id


@contextlib.contextmanager
def host(
    folder: Path, around: Witnesses, *, limits: dict[str, Any] | None = None, **config: Any
) -> Iterator[HostProcess]:
    """A started host with operator-a admitted."""
    home, port = folder / "host", free_port()
    home.mkdir()
    span = {"valid_from": datetime(2026, 1, 1, tzinfo=UTC), "valid_to": datetime(2030, 1, 1, tzinfo=UTC)}
    origin = f"{sha256(str(folder).encode()).hexdigest()[:16]}.example/log"
    around.know(setup.create(home, "host", origin=origin, passphrase=None, **span))
    full = {
        "home": str(home),
        "port": port,
        "witnesses": {name: f"{around.url}/{name}" for name in WITNESSES},
        "limits": {"disk_floor_bytes": 0, **(limits or {})},
        **config,
    }
    for name in WITNESSES:
        (home / f"{name}.json").write_bytes(canonical.encode(builders.witness(name).card.to_json()))
    running = HostProcess(home, f"http://127.0.0.1:{port}", full)
    running.admit("operator-a")
    running.start()
    try:
        yield running
    finally:
        if running.process is not None:
            running.kill()


def party(name: str, generation: int = 0) -> tuple[PartyCard, Signer, Opener]:
    """The builders remember keys by the arguments they are called with, so generation 0 is never named."""
    return builders.party(name, generation) if generation else builders.party(name)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def approval(agreement: str, by: str = "operator-a", explained: str = "00" * 32, generation: int = 0) -> Statement:
    """A statement any party may make; another ``explained`` makes another statement."""
    return say(by, "approval", agreement, {"language": "en", "renderer": "1", "explained": explained}, generation)


def say(by: str, type: str, agreement: str, body: dict[str, Any], generation: int = 0) -> Statement:
    card, signer, _ = party(by, generation)
    return sign(signer, type=type, by=fingerprint(card), agreement=agreement, body=body, at=NOW)


def call(
    running: HostProcess,
    method: str,
    path: str,
    body: bytes = b"",
    *,
    by: str = "operator-a",
    signed_body: bytes | None = None,
    signed_path: str | None = None,
    signed_method: str | None = None,
    signer: Signer | None = None,
    keyid: str | None = None,
    at: datetime | None = None,
    nonce: str | None = None,
    headers: dict[str, str] | None = None,
    drop: tuple[str, ...] = (),
) -> httpx.Response:
    """A request signed as told, honest or not."""
    card, own, _ = builders.party(by)
    signed = sign_request(
        signed_method or method,
        running.url + (signed_path or path),
        body_sha256=sha256(body if signed_body is None else signed_body).digest(),
        key=(signer or own).ed25519,
        fingerprint=keyid or fingerprint(card),
        now=at or datetime.now(UTC),
        nonce=nonce,
    )
    for name in drop:
        del signed[name]
    with httpx.Client(trust_env=False, timeout=30) as client:
        request = client.build_request(method, running.url, content=body, headers={**signed, **(headers or {})})
        request.url = request.url.copy_with(raw_path=path.encode())
        return client.send(request)


def wait_cosigned(running: HostProcess, size: int, *, seconds: float = 10) -> float:
    """Seconds until a checkpoint of that size is published."""
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        if running.client("operator-a").wait(size - 1, 5) >= size:
            return time.perf_counter() - began
    raise AssertionError("no cosigned checkpoint was published")


def main(path: str) -> None:
    config = json.loads(Path(path).read_text())
    home = Path(config["home"])
    if "file_limit_bytes" in config:
        resource.setrlimit(resource.RLIMIT_FSIZE, (config["file_limit_bytes"],) * 2)
    addresses = tuple(WitnessAddress(_witness_card(home, name), url) for name, url in config["witnesses"].items())
    settings = Settings(
        home=home,
        url=f"http://127.0.0.1:{config['port']}",
        witnesses=addresses,
        quorum=config.get("quorum", 2),
        recosign_s=config.get("recosign_s", 120.0),
        lease_s=config.get("lease_s", 30.0),
        limits=Limits(**config["limits"]),
    )
    serve.log_to()

    def ready(_port: int) -> None:
        print("ready", flush=True)

    serve.run(settings, setup.load_keys(home, None), port=config["port"], ready=ready)


def _witness_card(home: Path, name: str) -> Any:
    """Keys of tests are fresh in each process, so the cards come by file."""
    return parse_card((home / f"{name}.json").read_bytes())


if __name__ == "__main__":
    os.umask(0o077)
    main(sys.argv[1])
