"""A log that sealstat wrote, verified by software that is not: Go's sumdb/note and sumdb/tlog, in interop/go."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from sealstat.cli.app import app
from sealstat.log import Cosigner, add_signatures, parse_note
from sealstat.log.store import TileLog

pytestmark = pytest.mark.slow

ORIGIN, SIZE = "interop.example/log", 70_000  # three levels, each with a partial tile
SOURCE = Path(__file__).parent / "go" / "main.go"
GOPATH = Path("/usr/share/gocode")  # where Debian's packages put Go's libraries
KEY = Ed25519PrivateKey.generate()
COSIGNERS = [Cosigner(f"w{n}.example", Ed25519PrivateKey.generate()) for n in range(2)]


@dataclass(frozen=True)
class Exported:
    """An exported log, a proof file from it, and who signs."""

    folder: Path
    proof: Path
    key: str


@pytest.fixture(scope="module")
def checklog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, built from Debian's packages alone: no module is downloaded."""
    if shutil.which("go") is None:
        pytest.skip("Go is not installed: apt install golang-go golang-golang-x-mod-dev")
    if not (GOPATH / "src/golang.org/x/mod/sumdb/tlog").is_dir():
        pytest.skip("golang.org/x/mod is not installed: apt install golang-golang-x-mod-dev")
    folder = tmp_path_factory.mktemp("go")
    settings = {"GO111MODULE": "off", "GOPATH": str(GOPATH), "GOCACHE": str(folder / "cache"), "GOFLAGS": ""}
    built = subprocess.run(
        ["go", "build", "-o", str(folder / "checklog"), str(SOURCE)],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    return folder / "checklog"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("log")
    with TileLog(folder / "log", ORIGIN, KEY) as log:
        for start in range(0, SIZE, 7000):
            log.append([b"entry %d" % n for n in range(start, start + 7000)])
        text, key = log.committed.serialise(), str(log.verifier)
        lines = [cosigner.sign(text, timestamp=1_800_000_000) for cosigner in COSIGNERS]
        keys = [log.verifier, *(cosigner.verifier for cosigner in COSIGNERS)]
        log.publish(add_signatures(log.sign_checkpoint(), lines, keys))
    exported = Exported(folder / "copy", folder / "entry.tlog-proof", key)
    sealstat("export", folder / "log", exported.folder, "--key", key)
    sealstat("prove", exported.folder, 65_537, "--out", exported.proof, "--key", key)
    return exported


def sealstat(*words: object) -> None:
    done = CliRunner().invoke(app, ["log", *map(str, words)])
    assert done.exit_code == 0, done.output


@pytest.fixture
def exported(original: Exported, tmp_path: Path) -> Exported:
    """A copy to change."""
    shutil.copytree(original.folder, tmp_path / "copy")
    shutil.copy(original.proof, tmp_path)
    return replace(original, folder=tmp_path / "copy", proof=tmp_path / original.proof.name)


def verify(checklog: Path, log: Exported, *witnesses: Cosigner) -> "subprocess.CompletedProcess[str]":
    named = [word for each in witnesses for word in ("-witness", str(each.verifier))]
    command = [str(checklog), "-key", log.key, *named, "-proof", str(log.proof), str(log.folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_go_verifies_a_log_that_sealstat_exported(checklog: Path, exported: Exported) -> None:
    done = verify(checklog, exported, *COSIGNERS)
    assert (done.returncode, done.stdout) == (0, "verified 70000 entries, 2 cosignatures\n"), done.stderr


def _flip(path: str, at: int = -1) -> Callable[[Exported], None]:
    def change(log: Exported) -> None:
        data = bytearray((log.folder / path).read_bytes())
        data[at] ^= 1
        (log.folder / path).write_bytes(data)

    return change


def _cut(log: Exported) -> None:
    path = log.folder / "tile/entries/273.p/112"
    path.write_bytes(path.read_bytes()[:-1])


def _other_entry_s_proof(log: Exported) -> None:
    log.proof.write_bytes(log.proof.read_bytes().replace(b"index 65537", b"index 65536"))


def _other_size(log: Exported) -> None:
    note = log.folder / "checkpoint"
    note.write_bytes(note.read_bytes().replace(b"\n70000\n", b"\n69999\n"))


def _cosigned_at_another_time(log: Exported) -> None:
    path = log.folder / "checkpoint"
    note = parse_note(path.read_bytes())
    last = note.signatures[-1]
    forged = replace(last, signature=(1_900_000_000).to_bytes(8, "big") + last.signature[8:])
    path.write_bytes(replace(note, signatures=(*note.signatures[:-1], forged)).serialise())


@pytest.mark.parametrize(
    ("tamper", "words"),
    [
        pytest.param(_flip("tile/entries/123"), "root", id="an entry"),
        pytest.param(_cut, "ends inside an entry", id="a cut bundle"),
        pytest.param(_flip("tile/0/007"), "tile/0/007", id="a leaf hash"),
        pytest.param(_flip("tile/1/001.p/17"), "tile/1/001.p/17", id="a partial tile of level 1"),
        pytest.param(_flip("tile/2/000.p/1"), "tile/2/000.p/1", id="a tile of level 2"),
        pytest.param(lambda log: (log.folder / "tile/0/100").unlink(), "tile/0/100", id="a missing tile"),
        pytest.param(_other_size, "invalid signature", id="another size"),
        pytest.param(_cosigned_at_another_time, "invalid signature", id="another time of a cosignature"),
        pytest.param(_other_entry_s_proof, "invalid", id="another entry's proof"),
    ],
)
def test_go_refuses_what_was_tampered_with(
    checklog: Path, exported: Exported, tamper: Callable[[Exported], object], words: str
) -> None:
    tamper(exported)
    done = verify(checklog, exported, *COSIGNERS)
    assert done.returncode == 1
    assert words in done.stderr


def test_go_counts_a_stranger_s_cosignature_for_nothing(checklog: Path, exported: Exported) -> None:
    stranger = Cosigner("w9.example", Ed25519PrivateKey.generate())
    done = verify(checklog, exported, COSIGNERS[0], stranger)
    assert (done.returncode, "2 of 3 keys" in done.stderr) == (1, True)
