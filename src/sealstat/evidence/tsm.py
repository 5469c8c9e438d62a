"""Evidence from inside a confidential virtual machine: the kernel's configfs-tsm, for TDX and SNP alike.

Each request has a folder of its own. The kernel counts writes to it in ``generation``, and a report is this request's
only if nobody else has written in between.
Source: Linux, Documentation/ABI/testing/configfs-tsm-report.
"""

import errno
import os
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from sealstat.evidence import collateral
from sealstat.evidence.errors import EvidenceError

_PROVIDERS = {"tdx": "tdx_guest", "snp": "sev_guest"}
_REPORTS = "/sys/kernel/config/tsm/report"
_TRIES = 5
_PAUSE_S = 0.2
_CHUNK_BYTES, _REPORT_BYTES = 4096, 64 * 1024
_AGAIN = (errno.EBUSY, errno.EAGAIN, errno.EINTR)  # another writer, or firmware that is busy


class System(Protocol):
    """The calls of `os` that are needed here; a test gives a kernel of its own."""

    def open(self, path: str, flags: int, /) -> int: ...
    def read(self, file: int, size: int, /) -> bytes: ...
    def write(self, file: int, data: bytes, /) -> int: ...
    def close(self, file: int, /) -> None: ...
    def mkdir(self, path: str, /) -> None: ...
    def rmdir(self, path: str, /) -> None: ...


class _InterferedError(Exception):
    """Somebody else wrote into this request's folder."""


class TsmAttester:
    """TDX quotes or SNP reports of this virtual machine."""

    def __init__(
        self,
        kind: Literal["tdx", "snp"],
        pieces: Sequence[bytes] = (),
        roots: Sequence[bytes] = (),
        *,
        device: str | None = None,
        system: System = os,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.kind: str = kind
        self._pieces, self._roots, self._root = pieces, roots, device or _REPORTS
        self._system, self._pause = system, pause

    def attest(self, report_data: bytes) -> tuple[bytes, bytes]:
        """A quote or report over the report data.

        Raises:
            EvidenceError: no such interface, of another kind of machine, or others keep interfering.
        """
        for attempt in range(_TRIES):
            if attempt:
                self._pause(_PAUSE_S * attempt)
            try:
                return self._request(report_data), collateral.pack(self._pieces, self._roots)
            except _InterferedError:
                continue
            except OSError as error:
                if error.errno not in _AGAIN:
                    sentence = f"{self._root} gives no report: {error.strerror or error}; is this {self.kind}?"
                    raise EvidenceError(sentence) from error
        raise EvidenceError(f"{self._root} was busy, or others wrote into this request, {_TRIES} times: try again")

    def _request(self, report_data: bytes) -> bytes:
        folder = f"{self._root}/sealstat-{os.getpid()}-{secrets.token_hex(4)}"
        self._system.mkdir(folder)
        try:
            provider = self._read(f"{folder}/provider").decode(errors="replace").strip()
            if provider != _PROVIDERS[self.kind]:
                raise EvidenceError(f"this machine's reports are by {provider[:40]}, not by {_PROVIDERS[self.kind]}")
            before = int(self._read(f"{folder}/generation"))
            self._write(f"{folder}/inblob", report_data)
            report = self._read(f"{folder}/outblob")
            if int(self._read(f"{folder}/generation")) != before + 1:
                raise _InterferedError
        finally:
            self._system.rmdir(folder)
        if not report:
            raise EvidenceError(f"{self._root} gave an empty report")
        return report

    def _read(self, path: str) -> bytes:
        """A whole file, however little a single read gives."""
        file, found = self._system.open(path, os.O_RDONLY), b""
        try:
            while piece := self._system.read(file, _CHUNK_BYTES):
                found += piece
                if len(found) > _REPORT_BYTES:
                    raise EvidenceError(f"{path} has more than {_REPORT_BYTES:,} bytes")
        finally:
            self._system.close(file)
        return found

    def _write(self, path: str, data: bytes) -> None:
        file = self._system.open(path, os.O_WRONLY)
        try:  # in one call: configfs takes each write for a whole value
            if self._system.write(file, data) != len(data):
                raise EvidenceError(f"{path} did not take {len(data)} bytes whole")
        finally:
            self._system.close(file)
