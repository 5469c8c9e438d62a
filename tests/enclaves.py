"""Enclaves started by hand, as the host's house may start as many as it likes, and waiting for what they do."""

import json
import secrets
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from hashlib import sha256

from sealstat.host.launcher import instance_command
from sealstat.lab.stage import Stage


@contextmanager
def enclave(stage: Stage, agreement: str, run: str, name: str) -> Iterator["subprocess.Popen[str]"]:
    """An enclave of the agreed code at work on a run; ``name`` is its log's."""
    command = instance_command(attester="simulated", simulated_root=stage.folder / "enclave" / "simulated.root")
    launch = {"host": stage.url, "agreement": agreement, "request": run, "door": door(stage, agreement, run)}
    with (stage.folder / "logs" / f"{name}.log").open("w") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, text=True)
    assert process.stdin is not None
    process.stdin.write(json.dumps(launch) + "\n")
    process.stdin.close()
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def door(stage: Stage, agreement: str, run: str) -> str:
    """A token for an instance, straight from the host's database."""
    made, now = secrets.token_urlsafe(32), time.time()
    with closing(sqlite3.connect(stage.home("host") / "host.db", timeout=10, isolation_level=None)) as db:
        db.execute(
            "INSERT INTO launches (door, agreement, request, started, lease_until) VALUES (?, ?, ?, ?, ?)",
            (sha256(made.encode()).hexdigest(), agreement, run, now, now + 600),
        )
    return made


def await_(condition: Callable[[], object], *, seconds: float = 60.0) -> None:
    """Wait until something has happened."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)
