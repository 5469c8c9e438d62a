"""Every role as a real process on this machine, each with a home of its own, talking over loopback.

The demo, the case studies, the benches and the end-to-end tests play on this stage. Nothing here is a shortcut: the
roles are started and asked through the same programs that operators and offices use.
"""

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import httpx

from sealstat.crypto.keystore import write_private

PARTIES = ("operator-a", "operator-b", "ministry", "regulator")
WITNESSES = ("witness-uni", "witness-press", "witness-ngo")
_START_S = 40.0


class StageError(Exception):
    """A role could not be started, or one of its commands failed; the sentence is the role's own."""


@dataclass
class Role:
    """One running program."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path


@dataclass
class Stage:
    """The folder of one play and its running programs.

    Attributes:
        folder: everything lies below it, a folder for each role.
        tcti: how the TPM is reached that instances use; None: they are simulated.
        accept: what drafts accept as an enclave, as YAML; None: the stage's simulated root.
    """

    folder: Path
    parties: Sequence[str] = PARTIES
    witnesses: Sequence[str] = WITNESSES
    quorum: int = 2
    tcti: str | None = None
    accept: str | None = None
    roles: dict[str, Role] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The host's address."""
        return f"http://127.0.0.1:{self.ports['host']}"

    def home(self, role: str) -> Path:
        """The folder of a role."""
        return self.folder / role

    # -- setting up ---------------------------------------------------------------------------------------------

    def set_up(self) -> None:
        """Keys and cards of all roles, as each would make its own; the host admits the parties."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "cards").mkdir(exist_ok=True)
        for role in (*self.parties, "host"):
            write_private(self.folder / "passphrases" / role, secrets.token_urlsafe(16).encode() + b"\n")
        calls: list[tuple[str, list[str]]] = [
            (name, ["party", "create", name, "--recovery", str(self.folder / "recovery" / name)])
            for name in self.parties
        ]
        calls += [(name, ["witness", "create", name]) for name in self.witnesses]
        calls += [("host", ["host", "create", "data-centre", "--origin", f"demo.sealstat/{secrets.token_hex(4)}"])]
        (self.folder / "recovery").mkdir(exist_ok=True)
        with ThreadPoolExecutor(2) as workers:
            list(workers.map(lambda call: self.call(call[0], *call[1]), calls))
        for role in (*self.parties, *self.witnesses, "host"):
            (self.folder / "cards" / f"{role}.json").write_bytes((self.home(role) / "card.json").read_bytes())
        for name in self.parties:
            self.call("host", "host", "admit", str(self.card(name)))
        for role in ("host", *self.witnesses):
            self.ports[role] = free_port()

    def card(self, role: str) -> Path:
        """The card of a role, as the others have it."""
        return self.folder / "cards" / f"{role}.json"

    def simulated_root(self) -> str:
        """The public key of the stage's pretended hardware; made at the first call."""
        file = self.folder / "enclave" / "simulated.root"
        if not file.exists():
            return self.call("enclave", "enclave", "root", str(file)).strip()
        from sealstat.crypto.cards import b64
        from sealstat.evidence.attester import read_simulated_root

        return b64(read_simulated_root(file).public_key().public_bytes_raw())

    def source(self) -> str:
        """The digest of the code that instances run."""
        from sealstat.enclave.measure import measure

        return measure().digest

    def draft(self, kind: str, **terms: Any) -> str:
        """The draft of an agreement between this stage's roles, valid for a year from today."""
        from sealstat.agreement.template import render

        today = datetime.now(UTC).date()
        values: dict[str, Any] = {
            "valid_from": today,
            "valid_to": today + timedelta(days=365),
            "host_url": self.url,
            "source": self.source(),
            "simulated_root": self.simulated_root(),
            "accept": self.accept,
            "witnesses": self.witnesses,
            "quorum": self.quorum,
            "minimum_rows": 100,
        }
        return render(kind, **(values | terms))

    # -- programs -----------------------------------------------------------------------------------------------

    def start_witnesses(self) -> None:
        """Start every witness."""
        for name in self.witnesses:
            self.start(name, "witness", "serve", "--log", str(self.card("host")), "--port", str(self.ports[name]))

    def start_host(self, *options: str) -> None:
        """Start the host and wait until it answers."""
        witnesses = [f"{self.card(name)}=http://127.0.0.1:{self.ports[name]}" for name in self.witnesses]
        named = [word for pair in witnesses for word in ("--witness", pair)]
        self.start(
            "host",
            "host",
            "serve",
            "--port",
            str(self.ports["host"]),
            "--quorum",
            str(self.quorum),
            *named,
            *options,
        )
        self.await_host()

    def await_host(self) -> None:
        """Wait until the host serves a cosigned checkpoint."""
        deadline = time.monotonic() + _START_S
        while True:
            with contextlib.suppress(httpx.HTTPError, KeyError):
                if httpx.get(f"{self.url}/log/checkpoint", trust_env=False, timeout=5).status_code == httpx.codes.OK:
                    return
            self._check_running("host")
            if time.monotonic() > deadline:
                raise StageError(f"the host did not serve a cosigned checkpoint within {_START_S:.0f} s")
            time.sleep(0.1)

    def start_agent(self, party: str, *options: str) -> None:
        """Start a party's agent."""
        self.start(party, "party", "serve", "--host", self.url, "--port", "0", *options)

    def start_enclave(self, *options: str) -> None:
        """Start the launcher of instances, simulated ones unless the stage has a TPM."""
        self.simulated_root()
        kind = ["--attester", "tpm", "--device", self.tcti] if self.tcti else []
        root = str(self.folder / "enclave" / "simulated.root")
        self.start(
            "enclave",
            "enclave",
            "serve",
            "--host",
            self.url,
            "--token",
            str(self.home("host") / "launcher.token"),
            *(kind or ["--simulated-root", root]),
            *options,
        )

    def start_all(self) -> None:
        """Witnesses, host, agents, enclave."""
        self.start_witnesses()
        self.start_host()
        for party in self.parties:
            self.start_agent(party)
        self.start_enclave()

    def start(self, role: str, *arguments: str) -> Role:
        """Start a sealstat program of a role; what it writes goes into its log file."""
        return self.start_program(role, [sys.executable, "-m", "sealstat.cli", *arguments])

    def start_program(self, role: str, command: Sequence[str]) -> Role:
        """Start any program of a role; what it writes goes into its log file."""
        log = self.folder / "logs" / f"{role}.log"
        log.parent.mkdir(exist_ok=True)
        with log.open("ab") as file:
            process = subprocess.Popen(  # noqa: S603
                command,
                env=self.environment(role),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,  # so that stopping it stops what it started
            )
        self.roles[role] = Role(role, process, log)
        return self.roles[role]

    def stop(self, role: str, *, kill: bool = False) -> None:
        """Stop a program and what it started: politely, or at once as a power cut would."""
        running = self.roles.pop(role, None)
        if running is None:
            return
        _signal(running.process, signal.SIGKILL if kill else signal.SIGTERM)
        try:
            running.process.wait(10)
        except subprocess.TimeoutExpired:
            _signal(running.process, signal.SIGKILL)
            running.process.wait(10)
        _signal(running.process, signal.SIGKILL)  # instances that outlived their launcher

    def close(self) -> None:
        """Stop everything."""
        for running in self.roles.values():
            _signal(running.process, signal.SIGTERM)
        for role in list(self.roles):
            self.stop(role)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- commands -----------------------------------------------------------------------------------------------

    def call(self, role: str, *arguments: str, timeout_s: float = 600.0) -> str:
        """What a command of a role prints.

        Raises:
            StageError: it failed; with what it said.
        """
        try:
            done = self.try_call(role, *arguments, timeout_s=timeout_s)
        except subprocess.TimeoutExpired:
            what = " ".join(arguments[:2])
            raise StageError(f"{role}: no answer to `sealstat {what}` in {timeout_s:.0f} s: see the logs") from None
        if done.returncode != 0:
            words = (done.stderr or done.stdout).strip().splitlines()
            raise StageError(f"{role}: {words[-1] if words else f'exit code {done.returncode}'}")
        return done.stdout

    def lines(self, role: str, *arguments: str) -> Iterator[str]:
        """The lines that a command of a role writes, as it writes them, to its end.

        Raises:
            StageError: it failed; with its last line.
        """
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "sealstat.cli", *arguments],
            env=self.environment(role),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        line = ""
        with process:
            assert process.stdout is not None
            for line in process.stdout:
                yield line.rstrip()
        if process.returncode != 0:
            raise StageError(f"{role}: {line.strip()}")

    def try_call(self, role: str, *arguments: str, timeout_s: float = 600.0) -> "subprocess.CompletedProcess[str]":
        """Run a command of a role to its end, however it ends."""
        return subprocess.run(  # noqa: S603
            [sys.executable, "-m", "sealstat.cli", *arguments],
            env=self.environment(role),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def json(self, role: str, *arguments: str, timeout_s: float = 600.0) -> Any:
        """The value that a command of a role prints with --json."""
        return json.loads(self.call(role, *arguments, "--json", timeout_s=timeout_s))

    def environment(self, role: str) -> Mapping[str, str]:
        """The environment of a role's programs: its home and passphrase, nobody else's."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SEALSTAT_")}
        found = {**kept, "SEALSTAT_HOME": str(self.home(role)), "COLUMNS": "120"}
        if role in (*self.parties, "host"):
            found["SEALSTAT_PASSPHRASE_FILE"] = str(self.folder / "passphrases" / role)
        return found

    def _check_running(self, role: str) -> None:
        running = self.roles[role]
        if running.process.poll() is not None:
            words = running.log.read_text(errors="replace").strip().splitlines()
            raise StageError(f"{role} has ended: {words[-1] if words else 'without a word'}")


class Follow:
    """Reads the logs of roles while they grow, and hands each new line on."""

    def __init__(self, stage: Stage, say: Any) -> None:
        self._stage, self._say = stage, say
        self._read: dict[Path, int] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        self._look()

    def _run(self) -> None:
        while not self._stopped.wait(0.2):
            self._look()

    def _look(self) -> None:
        for log in sorted((self._stage.folder / "logs").glob("*.log")):
            with log.open("rb") as file:
                file.seek(self._read.get(log, 0))
                data = file.read()
            whole = data.rpartition(b"\n")[0]
            self._read[log] = self._read.get(log, 0) + (len(whole) + 1 if whole else 0)
            for line in whole.decode(errors="replace").splitlines():
                self._say(log.stem, line)


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probing:
        probing.bind(("127.0.0.1", 0))
        return int(probing.getsockname()[1])


@contextlib.contextmanager
def stopped_at_the_end(stage: Stage) -> Iterator[Stage]:
    """Stop every program when the play ends, also when it is interrupted or terminated."""
    before = signal.getsignal(signal.SIGTERM)

    def terminated(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, terminated)
    try:
        yield stage
    finally:
        signal.signal(signal.SIGTERM, before)
        stage.close()


def _signal(process: "subprocess.Popen[bytes]", number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
