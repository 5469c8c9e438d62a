"""Debian's tpm2-tools, each run as a process of its own: the TSS has no wheel for Python."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from sealstat.evidence.errors import EvidenceError

TCTI = "device:/dev/tpmrm0"  # the kernel's resource manager
_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Tools:
    """The tools, for one TPM. ``tcti`` is how it is reached, in the TSS's words; ``folder`` takes their files.

    They trust the TPM's answers: what must hold is checked on the signed bytes, not here.
    """

    tcti: str
    folder: Path

    def run(self, tool: str, *arguments: str) -> str:
        """What a tool prints.

        Raises:
            EvidenceError: it is not installed, does not end, or fails; with its last line.
        """
        program = shutil.which(f"tpm2_{tool}")
        if program is None:
            raise EvidenceError(f"tpm2_{tool} is not installed: install Debian's tpm2-tools")
        # the library below writes pages about each error: the tool's own last line says what a person needs
        environment = {"PATH": os.environ.get("PATH", ""), "TSS2_LOG": "all+NONE"}
        try:
            done = subprocess.run(  # noqa: S603
                [program, "-T", self.tcti, *arguments],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise EvidenceError(f"the TPM did not answer tpm2_{tool} in {_TIMEOUT_S:.0f} s") from error
        except OSError as error:
            raise EvidenceError(f"tpm2_{tool} cannot be run: {error.strerror}") from error
        if done.returncode != 0:
            words = done.stderr.decode(errors="replace").strip().splitlines()
            said = [line for line in words if line.startswith("ERROR") and "Unable to run" not in line]
            raise EvidenceError(f"tpm2_{tool} failed: {(said or words or ['without a word'])[-1][:200]}")
        return done.stdout.decode(errors="replace")

    def read(self, name: str) -> bytes:
        """A file that a tool has written."""
        try:
            return (self.folder / name).read_bytes()
        except OSError as error:
            raise EvidenceError(f"the tpm2-tools have left no file {name}") from error
