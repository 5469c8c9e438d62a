"""Evidence from a Nitro enclave, against a stand-in for the one call of the Nitro Secure Module."""

import ctypes
import errno
import os
from pathlib import Path
from typing import Any

import cbor2
import pytest

import attesting
from sealstat.evidence import nsm
from sealstat.evidence.errors import EvidenceError
from sealstat.evidence.nsm import CALL, Message, NitroAttester, document, request


class Module:
    """The kernel's side: reads the request where the message points, and writes the answer there."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer if isinstance(answer, bytes) else cbor2.dumps(answer)
        self.asked: Any = None

    def __call__(self, file: int, number: int, message: Message) -> int:
        assert os.fstat(file)
        assert number == CALL == 0xC0200A00
        self.asked = cbor2.loads(ctypes.string_at(message.request.address, message.request.size))
        assert message.response.size == 0x3000
        ctypes.memmove(message.response.address, self.answer, len(self.answer))
        message.response.size = len(self.answer)
        return 0


def attester(module: Any) -> NitroAttester:
    return NitroAttester([b"root"], device=os.devnull, ioctl=module)


def test_the_document_is_over_the_report_data() -> None:
    case = attesting.nitro()
    module = Module({"Attestation": {"document": case.evidence}})
    evidence, _ = attester(module).attest(attesting.REPORT_DATA)
    assert evidence == case.evidence
    assert module.asked == {"Attestation": {"user_data": attesting.REPORT_DATA, "nonce": None, "public_key": None}}


def test_the_request_is_cbor_as_a_library_writes_it() -> None:
    data = bytes(range(64))
    assert request(data) == cbor2.dumps({"Attestation": {"user_data": data, "nonce": None, "public_key": None}})


def test_a_refusal_is_told() -> None:
    with pytest.raises(EvidenceError, match="refuses: InvalidArgument"):
        attester(Module({"Error": "InvalidArgument"})).attest(attesting.REPORT_DATA)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(cbor2.dumps({"Attestation": {"document": "text"}}), id="text"),
        pytest.param(cbor2.dumps({"Random": {"random": bytes(300)}}), id="another answer"),
        pytest.param(cbor2.dumps({"Attestation": {"document": bytes(300)}})[:-1], id="cut short"),
        pytest.param(cbor2.dumps({"Attestation": {"document": bytes(300)}}) + b"\0", id="a tail"),
    ],
)
def test_another_answer_is_refused(answer: bytes) -> None:
    with pytest.raises(EvidenceError, match="another form"):
        document(answer)


def test_a_call_that_fails_is_one_sentence() -> None:
    def fails(*_: Any) -> int:
        raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))

    with pytest.raises(EvidenceError, match="gives no document: Inappropriate ioctl for device"):
        attester(fails).attest(attesting.REPORT_DATA)


def test_outside_of_an_enclave_there_is_no_device(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="gives no document: No such file"):
        NitroAttester(device=str(tmp_path / "nsm")).attest(attesting.REPORT_DATA)


def test_a_module_that_claims_more_than_it_was_given() -> None:
    def lies(_file: int, _number: int, message: Message) -> int:
        message.response.size = 1 << 20
        return 0

    with pytest.raises(EvidenceError, match="more than it was given"):
        attester(lies).attest(attesting.REPORT_DATA)


def test_the_call_number_is_the_kernels() -> None:
    assert ctypes.sizeof(nsm.Message) == 32
