"""A host's promise against its log: kept, broken, not yet due, or without a date."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import builders
from sealstat.cli.app import app
from sealstat.crypto import canonical
from sealstat.crypto.cards import b64, unb64
from sealstat.crypto.errors import CryptoError, MalformedError, SignatureError
from sealstat.crypto.receipt import Receipt, parse_receipt
from sealstat.host.receipts import make_receipt
from sealstat.log import CheckpointError, Cosigner, VerifiedCheckpoint, add_signatures, verify_checkpoint
from sealstat.log.store import TileLog
from sealstat.verify.receipts import Promise, promise_to_json, render_promise, verify_promise

HOST = builders.host()
NOW = datetime(2026, 10, 5, 12, tzinfo=UTC)
LEAF = canonical.encode({"agreement": "a" * 64, "id": "b" * 64, "type": "withdrawal"})
WITNESSES = [builders.witness(name) for name in builders.WITNESSES]
COSIGNERS = [Cosigner(f"{each.card.name}.example", each.cosigner) for each in WITNESSES]


def promised(leaf: bytes = LEAF, origin: str = HOST.card.origin) -> bytes:
    return make_receipt(HOST.signer, origin=origin, leaf=leaf, received=NOW, merge_delay_s=60)


def signed_at(log: TileLog, *after: int) -> VerifiedCheckpoint:
    """The log's checkpoint, cosigned by a witness at each of so many seconds after NOW."""
    note = log.sign_checkpoint()
    keys = [cosigner.verifier for cosigner in COSIGNERS]
    for cosigner, seconds in zip(COSIGNERS, after, strict=False):
        time = int((NOW + timedelta(seconds=seconds)).timestamp())
        note = add_signatures(note, [cosigner.sign(log.committed.serialise(), timestamp=time)], keys)
    log.publish(note)
    return verify_checkpoint(note, log_key=log.verifier, witnesses=keys, quorum=0)


@pytest.fixture
def log(tmp_path: Path) -> Any:
    with TileLog(tmp_path / "log", HOST.card.origin, HOST.log_key) as log:
        log.append([b"one", b"two"])
        yield log


def test_a_receipt_is_read_as_the_host_made_it() -> None:
    receipt = parse_receipt(promised() + b"\n", HOST.card)
    assert (receipt.leaf, receipt.id, receipt.origin) == (LEAF, "b" * 64, HOST.card.origin)
    assert (receipt.received, receipt.merge_by) == (NOW, NOW + timedelta(seconds=60))


def _changed(path: str) -> bytes:
    value = json.loads(promised())
    payload = json.loads(unb64(value["payload"]))
    payload[path] = {"received": "2026-10-05T12:00:01Z", "origin": "other.example/log"}[path]
    return canonical.encode(value | {"payload": b64(canonical.encode(payload))})


@pytest.mark.parametrize(
    ("data", "error"),
    [
        pytest.param(_changed("received"), SignatureError, id="changed"),
        pytest.param(_changed("origin"), SignatureError, id="changed origin"),
        pytest.param(promised(origin="other.example/log"), MalformedError, id="of another log"),
        pytest.param(promised(canonical.encode({"id": "b" * 64})), MalformedError, id="no leaf"),
        pytest.param(b"{}", CryptoError, id="no receipt"),
        pytest.param(b"", MalformedError, id="empty"),
    ],
)
def test_anything_else_is_no_promise(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        parse_receipt(data, HOST.card)


def test_another_hosts_receipt_is_refused() -> None:
    with pytest.raises(SignatureError):
        parse_receipt(promised(), builders.host("other").card)


@pytest.mark.parametrize(
    ("times", "promise"),
    [
        pytest.param((61, 61), Promise.BROKEN, id="two of three after it was due"),
        pytest.param((60, 60), Promise.DUE, id="at the last second"),
        pytest.param((10, 61), Promise.BROKEN, id="the later of a pair is the clock"),
        pytest.param((10, 20, 61), Promise.BROKEN, id="the two newest count"),
        pytest.param((10, 20, 30), Promise.DUE, id="before it was due"),
        pytest.param((61,), Promise.UNDATED, id="one witness alone"),
        pytest.param((), Promise.UNDATED, id="no witness"),
    ],
)
def test_a_missing_leaf_is_judged_by_the_witnesses_clock(
    log: TileLog, times: tuple[int, ...], promise: Promise
) -> None:
    receipt = parse_receipt(promised(), HOST.card)
    verdict = verify_promise(receipt, signed_at(log, *times), [b"one", b"two"], quorum=2)
    assert verdict.promise is promise
    assert verdict.index is None
    assert promise_to_json(verdict)["promise"] == promise.value
    assert receipt.id[:16] in render_promise(verdict)


def test_a_leaf_that_is_there_keeps_the_promise(log: TileLog) -> None:
    log.append([LEAF, b"four"])
    verdict = verify_promise(parse_receipt(promised(), HOST.card), signed_at(log), log.entries(0, 4), quorum=2)
    assert (verdict.promise, verdict.index) == (Promise.KEPT, 2)
    assert render_promise(verdict).startswith("KEPT")


def test_a_log_that_was_not_read_whole_convicts_nobody(log: TileLog) -> None:
    with pytest.raises(CheckpointError, match="to its end"):
        verify_promise(parse_receipt(promised(), HOST.card), signed_at(log, 99, 99), [b"one"], quorum=2)


def test_a_receipt_of_another_log_is_not_held_against_this_one(log: TileLog) -> None:
    receipt = parse_receipt(promised(), HOST.card)
    other = Receipt(
        origin="other",
        leaf=receipt.leaf,
        id=receipt.id,
        received=receipt.received,
        merge_by=receipt.merge_by,
        envelope=b"",
    )
    with pytest.raises(CheckpointError, match="two logs"):
        verify_promise(other, signed_at(log, 99, 99), [b"one", b"two"], quorum=2)


@pytest.mark.parametrize("kept", [True, False])
def test_the_program_says_who_broke_a_promise(log: TileLog, tmp_path: Path, kept: bool) -> None:
    if kept:
        log.append([LEAF])
    signed_at(log, 99, 99, 99)
    (tmp_path / "cards").mkdir()
    for card in (HOST.card, *(each.card for each in WITNESSES)):
        (tmp_path / "cards" / f"{card.name}.json").write_bytes(canonical.encode(card.to_json()))
    (tmp_path / "receipt.json").write_bytes(promised())
    receipt, copy, cards = (str(tmp_path / name) for name in ("receipt.json", "copy", "cards"))
    exported = CliRunner().invoke(app, ["log", "export", str(tmp_path / "log"), copy, "--key", HOST.card.log_key])
    assert exported.exit_code == 0, exported.output
    done = CliRunner().invoke(app, ["verify", receipt, "--log", copy, "--trust", cards])
    assert done.exit_code == (0 if kept else 3), done.output
    assert ("KEPT" if kept else "the host broke its promise") in done.stdout
    shown = CliRunner().invoke(app, ["verify", receipt, "--log", copy, "--trust", cards, "--json"])
    assert json.loads(shown.stdout)["promise"] == ("kept" if kept else "broken")
    without_card = CliRunner().invoke(app, ["verify", receipt, "--log", copy])
    assert without_card.exit_code == 2
