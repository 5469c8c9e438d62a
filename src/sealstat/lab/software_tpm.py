"""A TPM that is a program, Debian's swtpm, set up and enrolled as a real one would be: NOT PROTECTED BY HARDWARE.

Its maker is a certificate authority of this play's own, which the owners take for a TPM maker's root.
"""

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sealstat.agreement.enclaves import extended
from sealstat.evidence.tpm_device import PCR
from sealstat.lab.stage import Stage, StageError, free_port

PROGRAMS = ("swtpm", "swtpm_setup", "swtpm_localca", "tpm2_quote")
_START_S = 20.0


def missing() -> list[str]:
    """The programs that are needed and not installed."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


def set_up(stage: Stage, owners: Sequence[str], *, say: Callable[[str, str], None] = lambda *_: None) -> None:
    """Start a TPM on the stage; every owner checks its keys, and the stage's drafts accept it from then on.

    Raises:
        StageError: a program is missing or fails.
    """
    if absent := missing():
        raise StageError(f"{', '.join(absent)} not found: install Debian's swtpm, swtpm-tools and tpm2-tools")
    folder = stage.home("tpm")
    _manufacture(folder)
    stage.tcti = _start(stage, folder)
    enrolment = str(folder / "enrolment.json")
    stage.call("enclave", "enclave", "enrol", enrolment, "--tpm", stage.tcti)
    maker = (
        "--root",
        str(folder / "ca" / "swtpm-localca-rootca-cert.pem"),
        "--chain",
        str(folder / "ca" / "issuer.pem"),
    )
    digests = set()
    for owner in owners:
        pending, credential, answer = (str(folder / f"{owner}.{what}") for what in ("pending", "credential", "answer"))
        stage.call(owner, "evidence", "challenge", enrolment, *maker, "--out", credential, "--pending", pending)
        stage.call("enclave", "enclave", "activate", credential, "--out", answer, "--tpm", stage.tcti)
        digests.add(stage.call(owner, "evidence", "vouch", answer, "--pending", pending).split()[0])
        say(owner, "checked that the attestation key lives in a TPM whose maker it trusts")
    if len(digests) != 1:
        raise StageError("the owners were shown different attestation keys")
    stage.accept = accept(digests.pop(), stage.source())


def accept(key: str, source: str) -> str:
    """The entry of an agreement that accepts code on the software TPM with this attestation key."""
    return f"""\
    - kind: tpm                    # TRIALS ONLY: every output and proof says NOT PROTECTED BY HARDWARE
      tier: software
      roots: ["sha256:{key}"]
      source: sha256:{source}
      measurements:
        - {{name: the enclave on a software TPM, registers: {{pcr{PCR}: "{extended(source)}"}}}}
"""


def _manufacture(folder: Path) -> None:
    """A new TPM's state, with an endorsement key certified by a maker of its own."""
    for name in ("ca", "state"):
        (folder / name).mkdir(parents=True)
    ca = folder / "ca"
    (folder / "ca.conf").write_text(
        f"statedir = {ca}\nsigningkey = {ca / 'issuer.key'}\nissuercert = {ca / 'issuer.pem'}\n"
        f"certserial = {ca / 'serial'}\n"
    )
    model = ("--platform-manufacturer sealstat", "--platform-version 1", "--platform-model trial")
    (folder / "ca.options").write_text("".join(f"{line}\n" for line in model))
    (folder / "setup.conf").write_text(
        f"create_certs_tool = {shutil.which('swtpm_localca')}\ncreate_certs_tool_config = {folder / 'ca.conf'}\n"
        f"create_certs_tool_options = {folder / 'ca.options'}\n"
    )
    made = ("--tpm2", "--create-ek-cert", "--pcr-banks", "sha256")
    where = ("--tpmstate", str(folder / "state"), "--config", str(folder / "setup.conf"))
    done = subprocess.run(  # noqa: S603
        [_found("swtpm_setup"), *made, *where], capture_output=True, text=True, check=False, timeout=120
    )
    if done.returncode != 0:
        words = (done.stderr + done.stdout).strip().splitlines()
        raise StageError(f"swtpm_setup: {words[-1] if words else f'exit code {done.returncode}'}")


def _start(stage: Stage, folder: Path) -> str:
    """Start it on loopback; how it is reached. The TSS wants its control channel on the next port."""
    port = next(port for port in (free_port() for _ in range(100)) if _is_free(port + 1))
    where = [f"type=tcp,port={at},bindaddr=127.0.0.1" for at in (port, port + 1)]
    command = [_found("swtpm"), "socket", "--tpm2", "--tpmstate", f"dir={folder / 'state'}"]
    command += ["--server", where[0], "--ctrl", where[1], "--flags", "not-need-init,startup-clear"]
    stage.start_program("tpm", command)
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        with socket.socket() as probing:
            if probing.connect_ex(("127.0.0.1", port)) == 0:
                return f"swtpm:host=127.0.0.1,port={port}"
        time.sleep(0.05)
    raise StageError(f"the software TPM did not answer within {_START_S:.0f} s")


def _found(program: str) -> str:
    return shutil.which(program) or program


def _is_free(port: int) -> bool:
    with socket.socket() as probing:
        return probing.connect_ex(("127.0.0.1", port)) != 0
