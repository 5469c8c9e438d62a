"""Attesters: what an instance asks for evidence over its report data. On real hardware, a device; simulated, a file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealstat.crypto.cards import b64, unb64
from sealstat.crypto.keystore import write_private
from sealstat.evidence import simulated
from sealstat.evidence.errors import EvidenceError


class Attester(Protocol):
    """Makes evidence of one kind."""

    kind: str

    def attest(self, report_data: bytes) -> tuple[bytes, bytes]:
        """Evidence and collateral over 64 bytes of report data."""


ATTESTERS = ("sgx", "tdx", "snp", "nitro", "tpm")


def of_kind(
    kind: str, measurement: str, *, device: str | None = None, pieces: Sequence[bytes] = (), roots: Sequence[bytes] = ()
) -> "Attester":
    """The attester of a kind that is no simulation.

    Args:
        measurement: the source digest of the code that asks; a TPM is told it, the others have measured their image.
        device: where the machine's interface is, if not at its usual place.
        pieces, roots: collateral that the machine does not give by itself, and makers' certificates in DER.
    Raises:
        EvidenceError: no such kind.
    """
    match kind:
        case "tpm":
            from sealstat.evidence.tpm_device import TpmAttester

            return TpmAttester(measurement, device=device)
        case "sgx":
            from sealstat.evidence.gramine import GramineAttester

            return GramineAttester(pieces, roots, device=device)
        case "tdx" | "snp":
            from sealstat.evidence.tsm import TsmAttester

            return TsmAttester(kind, pieces, roots, device=device)
        case "nitro":
            from sealstat.evidence.nsm import NitroAttester

            return NitroAttester(roots, device=device)
    raise EvidenceError(f"nothing here makes evidence of kind {kind}: expected simulated, {', '.join(ATTESTERS)}")


class SimulatedAttester:
    """Pretended hardware: a root key in a file. NOT PROTECTED BY HARDWARE."""

    kind = simulated.KIND

    def __init__(self, root_file: Path, measurement: str, *, debug: bool = False) -> None:
        self._root = read_simulated_root(root_file)
        self._measurement = measurement
        self._debug = debug

    def attest(self, report_data: bytes) -> tuple[bytes, bytes]:
        evidence = simulated.attest(
            self._root, measurement=self._measurement, report_data=report_data, debug=self._debug
        )
        return evidence, b""


def create_simulated_root(path: Path) -> str:
    """Make a root key for simulated evidence in a new file; its public key as agreements name it."""
    key = Ed25519PrivateKey.generate()
    write_private(path, b64(key.private_bytes_raw()).encode() + b"\n")
    return b64(key.public_key().public_bytes_raw())


def read_simulated_root(path: Path) -> Ed25519PrivateKey:
    """The root key in a file.

    Raises:
        EvidenceError: no such file, or no such key in it.
    """
    try:
        return Ed25519PrivateKey.from_private_bytes(unb64(path.read_text().strip()))
    except (OSError, ValueError) as error:
        sentence = f"cannot read the simulated root key {path}: make one with `sealstat enclave root`"
        raise EvidenceError(sentence) from error
