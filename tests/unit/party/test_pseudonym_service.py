"""What the service does with callers that are slow or do not read; and lines in pieces."""

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk import Desk, home
from sealstat.party import pseudonym_service
from sealstat.party.errors import PartyError
from sealstat.party.period_keys import keep_period_key
from sealstat.party.pseudonym_service import BadRequestError, Lines, serve
from sealstat.party.pseudonymiser import Pseudonymiser, pseudonymiser
from story import Story

PERIOD = "2026-10"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Pseudonymiser:
    return operator(tmp_path_factory.mktemp("operator"))


def operator(folder: Path) -> Pseudonymiser:
    desk = Desk(Story(), home(folder, "operator-a"))
    assert keep_period_key(desk.home.ledger, desk.id, "roamers-a", PERIOD, bytes(32))
    return pseudonymiser(desk, "roamers-a", PERIOD)


@given(st.lists(st.sampled_from(["510101234567890", "001010000000001", "", "x", "5" * 16])), st.data())
def test_where_the_pieces_end_makes_no_difference(made: Pseudonymiser, values: list[str], data: st.DataObject) -> None:
    text = "\n".join(values).encode()
    cut = data.draw(st.integers(0, len(text)))
    for binary in (False, True):
        whole, pieces = (Lines(made, "imsi", binary=binary) for _ in range(2))
        assert whole.feed(text) + whole.finish() == (
            pieces.feed(text[:cut]) + pieces.feed(text[cut:]) + pieces.finish()
        )


def test_a_line_that_is_too_long_is_refused_before_it_ends(made: Pseudonymiser) -> None:
    lines = Lines(made, "imsi", binary=False)
    assert lines.feed(b"5" * 64) == b""
    with pytest.raises(BadRequestError, match="longer than 64 bytes"):
        lines.feed(b"5")


class Running:
    """The service in a thread of this process; closing the period ends it."""

    def __init__(self, made: Pseudonymiser) -> None:
        self.made, said = made, threading.Event()

        def ready(url: str, file: Path) -> None:
            self.port, self.header = int(url.rsplit(":", 1)[1].strip("/")), file.read_text().strip()
            said.set()

        self.thread = threading.Thread(target=serve, args=(made,), kwargs={"ready": ready})
        self.thread.start()
        assert said.wait(20)

    def connect(self, *headers: str) -> socket.socket:
        found = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        lines = ["POST /pseudonyms HTTP/1.1", f"host: 127.0.0.1:{self.port}", self.header, *headers, "", ""]
        found.sendall("\r\n".join(lines).encode())
        return found


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setattr(pseudonym_service, "_IDLE_S", 1.0)
    monkeypatch.setattr(pseudonym_service, "BUFFER_BYTES", 1 << 20)
    started = Running(operator(tmp_path))
    yield started
    started.made.close()
    started.thread.join(20)
    assert not started.thread.is_alive()


def send_for_ever(caller: socket.socket) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        caller.sendall(b"510101234567890\n" * 10_000)


def test_a_caller_that_never_reads_is_let_go(running: Running) -> None:
    with running.connect("content-length: 1000000000") as caller, pytest.raises(ConnectionError):
        send_for_ever(caller)


def test_a_caller_that_stops_sending_is_told(running: Running) -> None:
    with running.connect("content-length: 1000") as caller:
        answer = http.client.HTTPResponse(caller)
        answer.begin()
        assert answer.status == 408


def test_a_caller_that_hangs_up_leaves_the_service_at_work(running: Running) -> None:
    for _ in range(3):
        with running.connect("content-length: 1000000") as caller:
            caller.sendall(b"510101234567890\n" * 100)
    with running.connect("content-length: 15") as caller:
        caller.sendall(b"510101234567890")
        answer = http.client.HTTPResponse(caller)
        answer.begin()
        assert (answer.status, len(answer.read())) == (200, 33)


def test_a_close_in_the_middle_of_an_answer_cuts_it_off(running: Running) -> None:
    with running.connect("content-length: 3200") as caller:
        caller.sendall(b"510101234567890\n" * 100)
        answer = http.client.HTTPResponse(caller)
        answer.begin()
        assert answer.read(33)
        running.made.close()
        caller.sendall(b"510101234567890\n" * 100)
        with pytest.raises(http.client.IncompleteRead):
            answer.read()


def test_a_taken_port_is_said(running: Running) -> None:
    with pytest.raises(PartyError, match=f"cannot listen on 127.0.0.1 port {running.port}"):
        serve(running.made, port=running.port, ready=lambda *_: None)
