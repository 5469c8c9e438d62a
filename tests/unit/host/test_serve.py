"""Where the host may be reached, and how it shows itself."""

import ipaddress
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import hosting
from hosting import HostProcess
from sealstat.host import seen, serve, setup
from sealstat.host.errors import HostError
from sealstat.host.settings import Settings
from sealstat.wire.client import HostClient
from sealstat.wire.errors import WireError


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostProcess]:
    with (
        hosting.witnesses(tmp_path_factory.mktemp("witnesses")) as around,
        hosting.host(tmp_path_factory.mktemp("host"), around) as running,
    ):
        yield running


@pytest.fixture
def home(tmp_path: Path) -> Path:
    setup.create(
        tmp_path,
        "host",
        origin="a.example/log",
        valid_from=datetime(2026, 1, 1, tzinfo=UTC),
        valid_to=datetime(2030, 1, 1, tzinfo=UTC),
        passphrase=None,
    )
    return tmp_path


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.1", "stats.example"])
def test_beyond_loopback_nothing_is_served_without_tls(home: Path, address: str) -> None:
    settings = Settings(home=home, url="http://stats.example")
    with pytest.raises(HostError, match="TLS only"):
        serve.run(settings, setup.load_keys(home, None), address=address, port=0)


def test_a_certificate_without_its_key_is_refused(home: Path) -> None:
    settings = Settings(home=home, url="https://stats.example")
    with pytest.raises(HostError, match="both"):
        serve.run(settings, setup.load_keys(home, None), tls_cert=home / "cert.pem")


def test_a_taken_port_is_said(home: Path, running: HostProcess) -> None:
    settings = Settings(home=home, url=running.url)
    with pytest.raises(HostError, match="cannot listen"):
        serve.run(settings, setup.load_keys(home, None), port=int(running.config["port"]))


def test_a_home_that_another_process_serves_is_refused(running: HostProcess) -> None:
    settings = Settings(home=running.home, url="http://127.0.0.1:1")
    with pytest.raises(HostError, match="did not start"):
        serve.run(settings, setup.load_keys(running.home, None), port=0)


def test_with_tls_it_is_served_under_its_certificate(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_certificate(home)
    port = hosting.free_port()
    script = (
        "import sys; from pathlib import Path; from sealstat.host import serve, setup; "
        "from sealstat.host.settings import Settings; home = Path(sys.argv[1]); "
        "serve.run(Settings(home=home, url='https://localhost'), setup.load_keys(home, None), address='0.0.0.0', "
        "port=int(sys.argv[2]), tls_cert=home / 'cert.pem', tls_key=home / 'key.pem', "
        "ready=lambda port: print(port, flush=True))"
    )
    process = subprocess.Popen([sys.executable, "-c", script, home, str(port)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{port}\n"
        context = ssl.create_default_context(cafile=home / "cert.pem")
        assert httpx.get(f"https://127.0.0.1:{port}/health", verify=context, trust_env=False).status_code == 200
        caller = hosting.party("operator-a")
        with pytest.raises(WireError, match="cannot be reached"):  # no public authority vouches for it
            HostClient(f"https://127.0.0.1:{port}", caller[1], "0" * 64).health()
        monkeypatch.setenv("SEALSTAT_CA_FILE", str(home / "cert.pem"))
        client = HostClient(f"https://127.0.0.1:{port}", caller[1], "0" * 64)
        assert client.health()["card"]["name"] == "host"
        client.close()
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        process.stdout.close()


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_a_private_authority_that_cannot_be_read_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "ca.pem").write_bytes(content)
    monkeypatch.setenv("SEALSTAT_CA_FILE", str(tmp_path / "ca.pem"))
    with pytest.raises(WireError, match="SEALSTAT_CA_FILE"):
        HostClient("https://stats.example", hosting.party("operator-a")[1], "0" * 64)


def write_certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


@pytest.mark.parametrize(
    ("address", "only_here"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("127.9.9.9", True), ("10.0.0.1", False), ("a", False)],
)
def test_loopback_is_told_from_the_rest(address: str, only_here: bool) -> None:
    assert serve.is_loopback(address) is only_here


def test_the_public_pages_say_who_the_host_is_and_what_it_does(running: HostProcess) -> None:
    health = httpx.get(f"{running.url}/health", trust_env=False).json()
    assert health["card"] == running.card.to_json()
    assert health["log"] == {"origin": running.card.origin, "size": 0, "cosigned": 0, "fault": None}
    page = httpx.get(f"{running.url}/docs", trust_env=False).text
    assert "/v1/statements" in page
    assert "<script" not in page
    schema = httpx.get(f"{running.url}/openapi.json", trust_env=False).json()
    for path, methods in schema["paths"].items():
        assert all(method["summary"] for method in methods.values()), path


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("DELETE", "/health", 405),
        ("GET", "/v1/wait?size=0", 401),
        ("POST", "/v1/statements", 401),
        ("POST", "/v1/instances", 400),
        ("POST", "/v1/replacements", 400),
    ],
)
def test_every_error_has_one_shape(running: HostProcess, method: str, path: str, status: int) -> None:
    answer = httpx.request(method, running.url + path, trust_env=False)
    assert answer.status_code == status
    assert sorted(answer.json()["error"]) == ["code", "message"]


def test_what_the_host_saw_is_counts_sizes_and_times(running: HostProcess) -> None:
    id = running.propose()
    running.client("operator-b").send(hosting.approval(id, "operator-b"))
    running.client("operator-b").put_blob(id, b"x" * 1000)
    found = seen.summarise(running.home)
    assert list(found["statements"]) == ["agreement", "approval"]
    assert found["statements"]["approval"]["count"] == 1
    assert found["blobs"] == {
        "count": 1,
        "bytes": 1000,
        "smallest": 1000,
        "largest": 1000,
        "first": found["blobs"]["last"],
        "last": found["blobs"]["last"],
    }
    assert found["cards"] == {"party": 4}
    assert (found["agreements"], found["launches"]) == (1, 0)
