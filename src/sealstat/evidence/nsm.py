"""Evidence from inside an AWS Nitro Enclave: one call of the Nitro Secure Module, /dev/nsm.

A request and its answer are CBOR of a fixed form, so it is put together and taken apart here, byte by byte.
Source: AWS, Nitro Enclaves NSM API (requests); Linux, include/uapi/linux/nsm.h (the call).
"""

import ctypes
import fcntl
import os
from collections.abc import Callable, Sequence
from typing import Any

from sealstat.evidence import collateral
from sealstat.evidence.errors import EvidenceError

_ANSWER_BYTES = 0x3000  # the driver's NSM_RESPONSE_MAX_SIZE
_BEFORE = b"\xa1\x6bAttestation\xa1\x68document"  # {"Attestation": {"document": …}}
_ERROR = b"\xa1\x65Error"


class _Buffer(ctypes.Structure):
    _fields_ = (("address", ctypes.c_void_p), ("size", ctypes.c_size_t))


class Message(ctypes.Structure):
    """What the kernel's ``struct nsm_raw`` is, on 64 bits: where the request is, and where the answer goes."""

    _fields_ = (("request", _Buffer), ("response", _Buffer))


# _IOWR(0x0A, 0x0, struct nsm_raw): both directions, size, magic, number
CALL = 3 << 30 | ctypes.sizeof(Message) << 16 | 0x0A << 8
Ioctl = Callable[[int, int, Any], int]


class NitroAttester:
    """Attestation documents of this enclave."""

    kind = "nitro"

    def __init__(self, roots: Sequence[bytes] = (), *, device: str | None = None, ioctl: Ioctl = fcntl.ioctl) -> None:
        self._roots, self._device, self._ioctl = roots, device or "/dev/nsm", ioctl

    def attest(self, report_data: bytes) -> tuple[bytes, bytes]:
        """A document with the report data as its user data.

        Raises:
            EvidenceError: no such device, or it refuses.
        """
        answer = self._ask(request(report_data))
        return document(answer), collateral.pack([], self._roots)

    def _ask(self, asked: bytes) -> bytes:
        given, taken = ctypes.create_string_buffer(asked, len(asked)), ctypes.create_string_buffer(_ANSWER_BYTES)
        message = Message(_Buffer(ctypes.addressof(given), len(asked)), _Buffer(ctypes.addressof(taken), _ANSWER_BYTES))
        try:
            file = os.open(self._device, os.O_RDWR | os.O_CLOEXEC)
            try:
                self._ioctl(file, CALL, message)
            finally:
                os.close(file)
        except OSError as error:
            raise EvidenceError(f"{self._device} gives no document: {error.strerror}; is this an enclave?") from error
        size = int(message.response.size)
        if size > _ANSWER_BYTES:
            raise EvidenceError(f"{self._device} says that it answered with {size:,} bytes, more than it was given")
        return taken.raw[:size]


def request(report_data: bytes) -> bytes:
    """The CBOR of {"Attestation": {"user_data": …, "nonce": null, "public_key": null}}."""
    if len(report_data) != 64:
        raise ValueError("expected 64 bytes of report data")
    return b"\xa1\x6bAttestation\xa3\x69user_data\x58\x40" + report_data + b"\x65nonce\xf6" + b"\x6apublic_key\xf6"


def document(answer: bytes) -> bytes:
    """The document in the module's answer.

    Raises:
        EvidenceError: a refusal, or another answer.
    """
    if answer.startswith(_ERROR):
        raise EvidenceError(
            f"the Nitro Secure Module refuses: {answer[len(_ERROR) + 1 :][:40].decode(errors='replace')}"
        )
    head = answer[len(_BEFORE) :]
    if answer.startswith(_BEFORE) and head[:1] == b"\x59":  # a byte string whose length is the next two bytes
        found = head[3:]
        if len(found) == int.from_bytes(head[1:3], "big"):
            return found
    raise EvidenceError("the Nitro Secure Module gave an answer of another form than an attestation document")
