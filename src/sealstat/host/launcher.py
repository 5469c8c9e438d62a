"""The launcher: asks the host for runs that need an instance, and starts one process for each.

It stands in the host's house and is trusted for nothing: it passes an address, a request and a door token to a
process of the measured code, which proves by itself what it is. On hardware it would start an enclave instead.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx

from sealstat.host.errors import HostError
from sealstat.wire.client import authorities

_POLL_S = 20
_BEAT_S = 1.0
_PAUSE_S = 1.0


class Launcher:
    """Starts instances until stopped; a stopped launcher stops its instances."""

    def __init__(
        self,
        url: str,
        token_file: Path,
        command: Sequence[str],
        *,
        most: int = 4,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """A launcher for one host.

        Args:
            url: the host's address.
            token_file: the launcher's token in the host's home; whoever can read it is of the host's house.
            command: the program of an instance, which reads its launch from standard input.
            most: instances at the same time.
        Raises:
            HostError: the token cannot be read.
        """
        try:
            token = token_file.read_text().strip()
        except OSError as error:
            raise HostError(f"cannot read the launcher's token {token_file}: {error.strerror}") from error
        self.url, self.command, self.most, self.say = url.rstrip("/"), list(command), most, say
        headers = {"authorization": f"Bearer {token}"}
        self._http = httpx.Client(
            base_url=self.url, headers=headers, timeout=_POLL_S + 10, trust_env=False, verify=authorities()
        )
        self._running: dict[str, subprocess.Popen[str]] = {}  # by door
        self._spare: subprocess.Popen[str] | None = None
        self.stopped = threading.Event()

    def serve(self) -> None:
        """Work until ``stopped`` is set; then end every instance."""
        beat = threading.Thread(target=self._keep_alive, daemon=True)
        beat.start()
        try:
            while not self.stopped.is_set():
                self._keep_spare()
                if len(self._running) >= self.most:
                    self.stopped.wait(_PAUSE_S)
                else:
                    self._take_one()
        finally:
            for process in (*self._running.values(), *([self._spare] if self._spare else [])):
                process.terminate()

    def _keep_spare(self) -> None:
        """One process ahead, which has loaded its code and waits for its launch: it draws its keys after that."""
        if self._spare is None or self._spare.poll() is not None:
            self._spare = subprocess.Popen(self.command, stdin=subprocess.PIPE, text=True)  # noqa: S603

    def _take_one(self) -> None:
        try:
            answer = self._http.post("/v1/launches", params={"seconds": _POLL_S})
            if answer.status_code == httpx.codes.NO_CONTENT:
                return
            answer.raise_for_status()
            launch = answer.json()
            agreement, request, door = launch["agreement"], launch["request"], launch["door"]
        except (httpx.HTTPError, ValueError, KeyError) as error:
            self.say(f"the host does not answer as it should ({type(error).__name__}): trying again")
            self.stopped.wait(_PAUSE_S)
            return
        self.say(f"starting an instance for run {request[:12]}")
        self._keep_spare()
        process, self._spare = self._spare, None
        assert process is not None and process.stdin is not None  # noqa: PT018 - made so a line above
        # on standard input, not on the command line, where every user of the machine could read the token
        line = {"host": self.url, "agreement": agreement, "request": request, "door": door}
        try:
            process.stdin.write(json.dumps(line) + "\n")
            process.stdin.close()
        except BrokenPipeError:
            pass  # it ended at once; its exit code says why
        self._running[door] = process
        threading.Thread(target=self._watch, args=(door, request, process), daemon=True).start()

    def _watch(self, door: str, request: str, process: "subprocess.Popen[str]") -> None:
        code = process.wait()
        self.say(f"the instance for run {request[:12]} ended with {code}")
        self._running.pop(door, None)
        self._post(f"/v1/launches/{door}/ended", {"code": code})

    def _keep_alive(self) -> None:
        while not self.stopped.wait(_BEAT_S):
            for door in list(self._running):
                self._post(f"/v1/launches/{door}/alive", {})

    def _post(self, path: str, value: dict[str, int]) -> None:
        for _ in range(3):
            try:
                self._http.post(path, json=value)
            except httpx.HTTPError:
                time.sleep(_PAUSE_S)
            else:
                return


def instance_command(*, attester: str, simulated_root: Path | None, options: Sequence[str] = ()) -> list[str]:
    """The command of an instance: this Python, isolated from user folders, environment and kept bytecode."""
    command = [sys.executable, "-I", "-B", "-X", f"pycache_prefix={os.devnull}", "-m", "sealstat.enclave"]
    command += ["--attester", attester]
    if simulated_root is not None:
        command += ["--simulated-root", str(simulated_root)]
    return [*command, *options]
