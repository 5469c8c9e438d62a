"""Evidence from inside an SGX enclave that Gramine runs: files of its own under /dev/attestation.

Source: Gramine, Attestation and Secret Provisioning, "Low-level /dev/attestation interface".
"""

from collections.abc import Sequence
from pathlib import Path

from sealstat.evidence import collateral
from sealstat.evidence.errors import EvidenceError

_QUOTE_BYTES = 64 * 1024


class GramineAttester:
    """DCAP quotes of this enclave."""

    kind = "sgx"

    def __init__(self, pieces: Sequence[bytes] = (), roots: Sequence[bytes] = (), *, device: str | None = None) -> None:
        self._pieces, self._roots, self._folder = pieces, roots, Path(device or "/dev/attestation")

    def attest(self, report_data: bytes) -> tuple[bytes, bytes]:
        """A quote over the report data.

        Raises:
            EvidenceError: this process is in no enclave that Gramine runs with DCAP.
        """
        try:
            kind = (self._folder / "attestation_type").read_text().strip("\0\n ")
            if kind != "dcap":
                raise EvidenceError(f"Gramine attests by {kind[:20]!r}: set sgx.remote_attestation to dcap")
            # Gramine takes the whole field in one write, and makes the quote when it is read
            with (self._folder / "user_report_data").open("r+b", buffering=0) as file:
                if file.write(report_data) != len(report_data):
                    raise EvidenceError("Gramine did not take the report data whole")
            with (self._folder / "quote").open("rb") as file:
                quote = file.read(_QUOTE_BYTES + 1)
        except OSError as error:
            raise EvidenceError(f"{self._folder} is not Gramine's attestation: {error.strerror}") from error
        if not 0 < len(quote) <= _QUOTE_BYTES:
            raise EvidenceError(f"Gramine gave a quote of {len(quote):,} bytes")
        return quote, collateral.pack(self._pieces, self._roots)
