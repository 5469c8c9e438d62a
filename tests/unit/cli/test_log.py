"""`sealstat log`: copies, comparisons and proofs as the program makes them, over a real log in a folder and by HTTP."""

import functools
import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner, Result

from sealstat.cli.app import app
from sealstat.log import Cosigner, add_signatures, parse_proof, verify_proof
from sealstat.log.store import TileLog

ORIGIN = "cli.example/log"
KEY = Ed25519PrivateKey.generate()


def entry(n: int) -> bytes:
    return b"entry %d" % n


def write(folder: Path, entries: list[bytes], *, publish_at: tuple[int, ...] = ()) -> str:
    """A log in a folder with a published checkpoint; its verifier key."""
    with TileLog(folder, ORIGIN, KEY) as log:
        for size in (*publish_at, len(entries)):
            log.append(entries[log.size : size])
            log.publish(log.sign_checkpoint())
        return str(log.verifier)


def sealstat(*arguments: Any) -> Result:
    return CliRunner().invoke(app, ["log", *map(str, arguments)])


@pytest.fixture
def log(tmp_path: Path) -> tuple[Path, str]:
    folder = tmp_path / "host" / "log"
    key = write(folder, [entry(n) for n in range(600)])
    return folder, key


@pytest.fixture
def serve() -> Iterator[Any]:
    """A function from a folder to the address of a plain static file server over it."""
    servers = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    def start(folder: Path) -> str:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_an_export_is_checked_from_its_folder_and_from_a_static_server(
    log: tuple[Path, str], tmp_path: Path, serve: Any
) -> None:
    folder, key = log
    done = sealstat("export", folder, tmp_path / "copy", "--key", key, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"ok": True, "size": 600, "written": 7, "present": 0}
    for place in (tmp_path / "copy", serve(tmp_path / "copy")):
        checked = sealstat("check", place)
        assert checked.exit_code == 0, checked.output
        assert "whole: 600 entries, 7 files" in checked.stdout
    again = sealstat("export", serve(tmp_path / "copy"), tmp_path / "second", "--json")
    assert json.loads(again.stdout)["written"] == 7


def test_an_export_of_a_grown_log_adds_to_it_and_of_a_shrunk_one_is_refused(
    log: tuple[Path, str], tmp_path: Path
) -> None:
    folder, key = log
    old = tmp_path / "old"
    shutil.copytree(folder, old)
    write(folder, [entry(n) for n in range(900)])
    assert sealstat("export", folder, tmp_path / "copy", "--key", key).exit_code == 0
    back = sealstat("export", old, tmp_path / "copy", "--key", key)
    assert back.exit_code == 1
    assert "shrank" in str(back.exception)


def test_a_changed_copy_does_not_check(log: tuple[Path, str], tmp_path: Path) -> None:
    folder, key = log
    sealstat("export", folder, tmp_path / "copy", "--key", key)
    path = tmp_path / "copy/tile/entries/001"
    path.write_bytes(path.read_bytes().replace(b"entry 300", b"entry 3oo"))
    checked = sealstat("check", tmp_path / "copy")
    assert checked.exit_code == 1


def test_two_parties_compare_their_checkpoints(log: tuple[Path, str], tmp_path: Path) -> None:
    folder, key = log
    mine = tmp_path / "mine.checkpoint"
    assert sealstat("checkpoint", folder, "--key", key, "--out", mine).exit_code == 0
    write(folder, [entry(n) for n in range(700)])
    theirs = tmp_path / "theirs.checkpoint"
    sealstat("checkpoint", folder, "--key", key, "--out", theirs)
    alone = sealstat("compare", mine, theirs, "--key", key)
    assert (alone.exit_code, "not comparable" in alone.stdout) == (1, True)
    proven = sealstat("compare", mine, theirs, "--key", key, "--log", folder)
    assert (proven.exit_code, "grown; proven" in proven.stdout) == (0, True), proven.output
    assert sealstat("compare", mine, folder, "--key", key, "--json").exit_code == 0


@pytest.mark.parametrize("size", [600, 650])
def test_two_parties_find_a_split_view_and_keep_the_proof(log: tuple[Path, str], tmp_path: Path, size: int) -> None:
    folder, key = log
    forked = [entry(n) for n in range(size)]
    forked[299] = b"another"
    write(tmp_path / "fork", forked)
    found = sealstat("compare", folder, tmp_path / "fork", "--key", key, "--keep", tmp_path / "evidence")
    assert found.exit_code == 3, found.output
    assert "SPLIT VIEW" in found.stdout
    smaller, larger = tmp_path / "evidence/smaller.checkpoint", tmp_path / "evidence/larger.checkpoint"
    # a third one, who has nothing but the evidence and one of the two logs, comes to the same
    again = sealstat("compare", smaller, larger, "--key", key, "--log", tmp_path / "fork")
    assert again.exit_code == 3
    assert json.loads((tmp_path / "evidence/comparison.json").read_text())["relation"] == "split-view"


def test_a_host_that_shows_less_than_it_signed_has_rolled_back(
    log: tuple[Path, str], tmp_path: Path, serve: Any
) -> None:
    folder, key = log
    held = tmp_path / "held.checkpoint"
    sealstat("checkpoint", folder, "--key", key, "--out", held)
    old = tmp_path / "old/log"
    write(old, [entry(n) for n in range(500)])
    (tmp_path / "old/health").write_text(json.dumps({"card": {"log_key": key}}))
    found = sealstat("compare", held, serve(tmp_path / "old"), "--key", key)
    assert (found.exit_code, "ROLLBACK" in found.stdout) == (3, True), found.output
    older_copy = sealstat("compare", held, serve(old), "--key", key, "--log", folder)
    assert older_copy.exit_code == 0, "a copy may lag behind"


def test_a_proof_of_an_entry_is_a_file_that_others_verify(log: tuple[Path, str], tmp_path: Path) -> None:
    folder, key = log
    with TileLog(folder, ORIGIN, KEY) as written:
        witness = Cosigner("w.example", Ed25519PrivateKey.generate())
        note = written.sign_checkpoint()
        line = witness.sign(written.committed.serialise(), timestamp=1_800_000_000)
        written.publish(add_signatures(note, [line], [witness.verifier]))
        verifier = written.verifier
    done = sealstat("prove", folder, 423, "--key", key, "--out", tmp_path / "p.tlog-proof")
    assert done.stdout == "entry 423\n"
    proof = parse_proof((tmp_path / "p.tlog-proof").read_bytes())
    verified = verify_proof(proof, entry(423), log_key=verifier, witnesses=[witness.verifier], quorum=1)
    assert (proof.index, verified.checkpoint.size) == (423, 600)
    assert sealstat("prove", folder, 600, "--key", key, "--out", tmp_path / "q").exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["check", "{empty}"], "no checkpoint file", id="no log"),
        pytest.param(["check", "{log}"], "--key", id="no key"),
        pytest.param(["check", "{log}", "--key", "nonsense"], "name+id+key", id="bad key"),
        pytest.param(["compare", "{note}", "{log}"], "--key", id="no key of two"),
        pytest.param(["check", "{note}", "--key", "{key}"], "holds a checkpoint alone", id="no files"),
    ],
)
def test_a_mistake_is_said_in_a_sentence(
    log: tuple[Path, str], tmp_path: Path, arguments: list[str], words: str
) -> None:
    folder, key = log
    (tmp_path / "empty").mkdir()
    names = {"{empty}": tmp_path / "empty", "{log}": folder, "{note}": folder / "checkpoint", "{key}": key}
    done = sealstat(*[names.get(word, word) for word in arguments])
    assert done.exit_code == 1
    assert words in str(done.exception)
