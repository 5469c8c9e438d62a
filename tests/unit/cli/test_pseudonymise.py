"""The real `sealstat pseudonymise`: files, the service on loopback, closing."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
import pytest

import builders
import desk
from sealstat.crypto import canonical
from sealstat.party.home import Home
from sealstat.party.period_keys import keep_period_key
from sealstat.party.pseudonym_service import MAX_BODY_BYTES
from sealstat.party.pseudonymiser import Pseudonymiser
from sealstat.tables.period_pseudonyms import hexadecimal

PERIOD, KEY = "2026-10", bytes(range(32))


class Operator:
    """An operator's home that knows an agreement and has the period's key, and the program over it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "home"
        opened = desk.home(self.path, "operator-a")
        (self.path / "card.json").write_bytes(canonical.encode(opened.identity.card.to_json()))
        agreement = builders.statement(builders.agreement())
        opened.ledger.save_chain(agreement.id, [agreement])
        self.agreement = agreement.id
        keep_period_key(opened.ledger, agreement.id, "roamers-a", PERIOD, KEY)
        opened.ledger.close()
        self.passphrase = folder / "passphrase"
        self.passphrase.write_text(desk.PASSPHRASE)
        self.passphrase.chmod(0o600)

    def command(self, word: str, *arguments: str) -> list[str]:
        where = [self.agreement[:10], "roamers-a", *arguments, "--period", PERIOD]
        return [sys.executable, "-m", "sealstat.cli", "pseudonymise", word, *where]

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SEALSTAT_")}
        return kept | {"SEALSTAT_HOME": str(self.path), "SEALSTAT_PASSPHRASE_FILE": str(self.passphrase)}

    def say(self, word: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.command(word, *arguments), env=self.environment, capture_output=True, text=True, timeout=120
        )

    def pseudonyms(self, values: list[str]) -> list[str]:
        opened = Home(self.path, desk.PASSPHRASE)
        made = Pseudonymiser(opened, self.agreement, "roamers-a", PERIOD).pseudonyms(pa.array(values), "imsi")
        opened.ledger.close()
        return hexadecimal(made).to_pylist()


class Service:
    """A running `sealstat pseudonymise serve`."""

    def __init__(self, operator: Operator) -> None:
        self.operator = operator
        self.process = subprocess.Popen(
            operator.command("serve"), env=operator.environment, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        self.line = self.process.stderr.readline()
        assert "POST http://" in self.line, self.line + self.process.stderr.read()
        self.url = self.line.split("POST ")[1].split(" with")[0]
        self.file = Path(self.line.split("header in ")[1].strip())
        name, _, self.token = self.file.read_text().strip().partition(": ")
        assert name == "Authorization"
        self.port = urlsplit(self.url).port
        assert self.port is not None

    def call(
        self, body: object, *, method: str = "POST", path: str = "/pseudonyms", **headers: str | None
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        given = {"authorization": self.token} | headers
        connection.request(method, path, body, {name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
        answer = connection.getresponse()
        found = answer.status, answer.read()
        connection.close()
        return found

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(20)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Operator:
    return Operator(tmp_path_factory.mktemp("operator"))


@pytest.fixture(scope="module")
def service(operator: Operator) -> Iterator[Service]:
    running = Service(operator)
    yield running
    assert running.stop() == 0
    assert not running.file.exists()


@pytest.fixture
def own(tmp_path: Path) -> Operator:
    """One whose period a test may close."""
    return Operator(tmp_path)


# --- the service ------------------------------------------------------------------------------------------------


def test_lines_are_answered_in_order_and_what_is_no_identifier_by_a_dash(operator: Operator, service: Service) -> None:
    good = operator.pseudonyms(["510101234567890", "001010000000001"])
    body = b"510101234567890\r\n\nunknown\n510101234567890x\n001010000000001"
    assert service.call(body) == (200, "\n".join([good[0], "-", "-", "-", good[1], ""]).encode())
    binary = service.call(body, accept="application/octet-stream")
    assert binary == (200, bytes.fromhex(good[0]) + bytes(48) + bytes.fromhex(good[1]))
    assert service.call(b"") == (200, b"")


def test_a_million_identifiers_stream_through_it(operator: Operator, service: Service) -> None:
    """A caller that reads while it sends, in pieces that end anywhere, without saying how long it will be."""
    imsis = [f"51010{n:010d}" for n in range(1_000_000)]
    text = "\n".join(imsis).encode()
    sent = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield text[:8_000_000]
        # the other half is sent only when the first is answered: an answer that waits for the end never comes
        assert sent.wait(60)
        yield text[8_000_000:]

    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)

    def send() -> None:
        connection.putrequest("POST", "/pseudonyms")
        connection.putheader("authorization", service.token)
        connection.putheader("transfer-encoding", "chunked")
        connection.endheaders()
        for piece in pieces():
            for start in range(0, len(piece), 99_991):
                part = piece[start : start + 99_991]
                connection.send(b"%x\r\n%b\r\n" % (len(part), part))
        connection.send(b"0\r\n\r\n")

    sender = threading.Thread(target=send)
    sender.start()
    while connection.sock is None:
        time.sleep(0.01)
    answer = http.client.HTTPResponse(connection.sock, method="POST")
    answer.begin()
    first = answer.read(33 * 400_000)
    sent.set()
    found = (first + answer.read()).decode().splitlines()
    sender.join()
    connection.close()
    assert answer.status == 200
    assert len(found) == len(set(found)) == 1_000_000
    assert found[::50_000] == operator.pseudonyms(imsis[::50_000])


def test_a_caller_that_sends_all_before_it_reads_is_served_too(service: Service) -> None:
    body = "\n".join(f"51010{n:010d}" for n in range(600_000)).encode()
    status, answer = service.call(body)
    assert (status, len(answer)) == (200, 33 * 600_000)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        pytest.param({"authorization": None}, 401, id="no token"),
        pytest.param({"authorization": "Bearer wrong"}, 401, id="wrong token"),
        pytest.param({"authorization": "Bearer w\xf6rng"}, 401, id="no ASCII"),
        pytest.param({"host": "evil.example"}, 403, id="another name for this machine"),
        pytest.param({"content-length": str(MAX_BODY_BYTES + 1)}, 413, id="announced too large"),
        pytest.param({"path": "/else"}, 404, id="another path"),
        pytest.param({"method": "GET"}, 405, id="another method"),
    ],
)
def test_what_is_not_allowed_is_refused_in_a_sentence(service: Service, change: dict[str, str], status: int) -> None:
    found, answer = service.call(b"510101234567890\n", **change)  # type: ignore[arg-type]
    assert found == status
    assert answer.count(b"\n") == 1
    assert b"510101234567890" not in answer


def test_a_line_without_an_end_is_refused_at_once_and_later_cuts_the_answer_off(service: Service) -> None:
    assert service.call(b"5" * 1000)[0] == 400
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        service.call(b"510101234567890\n" * 50_000 + b"5" * 1000)


def test_health_needs_no_token_and_tells_nothing(service: Service) -> None:
    assert service.call(None, method="GET", path="/health", authorization=None) == (200, b"ok\n")


def test_it_listens_on_loopback_only(service: Service) -> None:
    listening = {
        line.split()[1]
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        if os.path.exists(table)
        for line in Path(table).read_text().splitlines()[1:]
        if line.split()[3] == "0A" and line.split()[1].endswith(f":{service.port:04X}")
    }
    assert listening == {f"0100007F:{service.port:04X}"}
    for family, *_, where in socket.getaddrinfo(socket.gethostname(), service.port, type=socket.SOCK_STREAM):
        if not str(where[0]).startswith("127.") and where[0] != "::1":
            with socket.socket(family) as outside:
                outside.settimeout(2)
                assert outside.connect_ex(where) != 0


def test_the_token_file_is_for_its_owner_alone(service: Service) -> None:
    assert service.file.stat().st_mode & 0o777 == 0o600
    assert len(service.token) > 40
    assert service.token.removeprefix("Bearer ") not in service.line


def test_it_ends_when_the_period_is_closed(own: Operator) -> None:
    running = Service(own)
    assert running.call(b"510101234567890")[0] == 200
    closed = own.say("close")
    assert closed.returncode == 0
    assert "is destroyed" in closed.stdout
    assert running.process.wait(20) == 0
    assert running.stop() == 0
    assert not running.file.exists()
    for word, arguments in (("serve", ()), ("file", (str(own.passphrase), "--out", str(own.folder / "o.csv")))):
        done = own.say(word, *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert "is closed: its key was destroyed" in done.stderr
    assert "closed before" in own.say("close").stdout


# --- files ------------------------------------------------------------------------------------------------------


def test_a_file_and_close(own: Operator) -> None:
    day, out = own.folder / "day.csv", own.folder / "out.csv"
    day.write_text("imsi,tile_e\n510101234567890,7\nunknown,8\n")
    (expected,) = own.pseudonyms(["510101234567890"])
    done = own.say("file", str(day), "--out", str(out), "--close", "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert (shown["rows"], shown["rejects"], shown["closed"]) == (1, {"form": 1}, True)
    assert out.read_text() == f"user_id,tile_e\n{expected},7\n"
    assert own.say("file", str(day), "--out", str(out)).returncode == 1
    assert out.read_text() == f"user_id,tile_e\n{expected},7\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_command_leaves_nothing(operator: Operator, tmp_path: Path, number: signal.Signals) -> None:
    day, work = tmp_path / "day.csv", tmp_path / "work"
    work.mkdir()
    day.write_text("imsi\n" + "".join(f"51010{n % 1000:010d}\n" for n in range(4_000_000)))
    running = subprocess.Popen(
        operator.command("file", str(day), "--out", str(work / "out.csv")),
        env=operator.environment,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - a background job ignores it
    )
    wait_for(lambda: any(path.stat().st_size for path in work.iterdir()))
    running.send_signal(number)
    running.communicate(timeout=60)
    assert running.returncode == 130
    assert list(work.iterdir()) == []


def test_without_a_key_it_is_said_how_one_comes(operator: Operator) -> None:
    command = [*operator.command("serve")[:-1], "2026-11"]
    done = subprocess.run(command, env=operator.environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "sealstat party serve" in done.stderr
    assert done.stderr.count("\n") == 1


def wait_for(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.005)
