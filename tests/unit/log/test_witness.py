"""The witness's memory and its door; its decisions are in the vectors."""

import asyncio
import os
import signal
import threading
import time

import httpx
import pytest

from sealstat.log import witness as module
from sealstat.log.errors import MalformedError, StoreError, WitnessConflictError, WitnessRefusedError
from sealstat.log.merkle import consistency_proof, leaf_hash
from sealstat.log.note import Cosigner, sign_note
from sealstat.log.witness import (
    Witness,
    build_add_checkpoint,
    create_app,
    origin_hash,
    parse_add_checkpoint,
    parse_response,
)

from .conftest import ORIGIN, private

COSIGNER = Cosigner("w.example", private("w"))


@pytest.fixture
def database(tmp_path):
    return tmp_path / "witness.db"


def open_witness(database, log, *, create=False):
    return Witness(database, COSIGNER, {ORIGIN: [log.signer.verifier]}, create=create)


def request(log, old, new=None):
    leaves = [leaf_hash(entry) for entry in log.entries[:new]]
    note = sign_note(log.checkpoint(new).serialise(), log.signer)
    return build_add_checkpoint(old, consistency_proof(leaves, old), note)


def test_a_request_is_read_as_it_was_built(make_log):
    log = make_log(5)
    parsed = parse_add_checkpoint(request(log, 3))
    assert (parsed.old_size, len(parsed.proof), parsed.origin) == (3, 4, ORIGIN)


def test_too_many_hashes_are_not_sent(make_log):
    with pytest.raises(MalformedError, match="63"):
        build_add_checkpoint(1, [bytes(32)] * 64, b"")


def test_a_witness_remembers_over_a_restart(database, make_log):
    log = make_log(9)
    with open_witness(database, log, create=True) as witness:
        assert witness.add_checkpoint(request(log, 0, 5), now=10).status == 200
    with open_witness(database, log) as witness:
        assert witness.add_checkpoint(request(log, 0, 5), now=11).status == 409
        assert witness.add_checkpoint(request(log, 5), now=12).status == 200
        assert witness.checkpoint(origin_hash(ORIGIN)).startswith(f"{ORIGIN}\n9\n".encode())


def test_a_lost_database_is_not_made_anew_unasked(database, make_log):
    with pytest.raises(StoreError, match="missing"):
        open_witness(database, make_log(1))
    assert not database.exists()
    open_witness(database, make_log(1), create=True).close()
    with pytest.raises(StoreError, match="exists already"):
        open_witness(database, make_log(1), create=True)


def test_a_clock_set_back_does_not_set_cosignatures_back(database, make_log):
    log = make_log(5)
    with open_witness(database, log, create=True) as witness:
        witness.add_checkpoint(request(log, 0, 3), now=100)
        line = parse_response(200, witness.add_checkpoint(request(log, 3), now=50).body)[0]
        assert COSIGNER.verifier.verify(log.checkpoint().serialise(), line) == 100


def test_each_origin_has_its_own_state(database, make_log):
    log = make_log(5)
    with open_witness(database, log, create=True) as witness:
        witness.add_checkpoint(request(log, 0), now=1)
        assert witness.checkpoint(origin_hash("other.example/log")) is None


def test_evidence_is_kept_with_the_note_before_it_up_to_a_limit(database, make_log, monkeypatch):
    monkeypatch.setattr(module, "MAX_SUSPECTS", 2)
    log, fork = make_log(5), make_log([b"another"] * 9)
    with open_witness(database, log, create=True) as witness:
        witness.add_checkpoint(request(log, 0), now=1)
        held = witness.checkpoint(origin_hash(ORIGIN))
        for _ in range(3):
            assert witness.add_checkpoint(request(fork, 5), now=2).status == 422
        assert witness.suspects(ORIGIN) == [(request(fork, 5), held)] * 2


def test_of_two_forks_at_once_one_is_cosigned(database, make_log):
    log, fork = make_log(5), make_log([b"another"] * 5)
    witnesses = [open_witness(database, log, create=True), open_witness(database, log)]
    for _ in range(5):
        statuses = []
        start = threading.Barrier(4)

        def post(witness, body, start=start, statuses=statuses):
            start.wait()
            statuses.append(witness.add_checkpoint(body, now=1).status)

        threads = [
            threading.Thread(target=post, args=(witness, request(tree, 0)))
            for witness in witnesses
            for tree in (log, fork)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(statuses) in ([200, 409, 409, 409], [409] * 4)
    for witness in witnesses:
        witness.close()


def test_a_failure_while_storing_changes_and_gives_nothing(database, make_log, monkeypatch):
    log = make_log(5)
    with open_witness(database, log, create=True) as witness:
        with monkeypatch.context() as patch:
            patch.setattr(Witness, "_store", lambda *_: (_ for _ in ()).throw(OSError("disk")))
            with pytest.raises(OSError, match="disk"):
                witness.add_checkpoint(request(log, 0), now=1)
        assert witness.checkpoint(origin_hash(ORIGIN)) is None
        assert witness.add_checkpoint(request(log, 0), now=1).status == 200


def test_kill_never_loses_a_cosignature_that_was_given_out(database, make_log):
    log = make_log(400)
    open_witness(database, log, create=True).close()
    size = 0
    bodies = [request(log, n, n + 1) for n in range(400)]
    for round_ in range(6):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            witness = open_witness(database, log)
            for n in range(size, 400):
                if witness.add_checkpoint(bodies[n], now=1).status == 200:
                    os.write(writing, (n + 1).to_bytes(2, "big"))
            os._exit(0)
        os.close(writing)
        time.sleep(0.01 + 0.005 * round_)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with os.fdopen(reading, "rb") as pipe:
            told = pipe.read()
        with open_witness(database, log) as witness:
            note = witness.checkpoint(origin_hash(ORIGIN))
        size = int(note.split(b"\n")[1]) if note else 0
        assert size >= int.from_bytes(told[-2:], "big")


def test_a_request_that_is_too_long_is_not_read_to_its_end(database, make_log):
    async def post(witness):
        async def endless():
            for _ in range(100):
                yield bytes(4096)
            pytest.fail("read to the end")

        transport = httpx.ASGITransport(create_app(witness))
        async with httpx.AsyncClient(transport=transport, base_url="http://witness") as client:
            response = await client.post("/add-checkpoint", content=endless())
            assert (await client.get("/add-checkpoint")).status_code == 405
            return response.status_code

    with open_witness(database, make_log(1), create=True) as witness:
        assert asyncio.run(post(witness)) == 413
        assert witness.add_checkpoint(bytes(module.MAX_REQUEST_BYTES + 1), now=1).status == 400


# --- the log's side ---


def test_a_conflict_tells_the_witness_s_size():
    with pytest.raises(WitnessConflictError) as conflict:
        parse_response(409, b"42\n", content_type="text/x.tlog.size")
    assert conflict.value.size == 42


@pytest.mark.parametrize(
    ("status", "content_type"), [(400, ""), (403, ""), (404, ""), (422, ""), (500, ""), (302, ""), (409, "text/plain")]
)
def test_other_answers_are_refusals_with_their_status(status, content_type):
    with pytest.raises(WitnessRefusedError) as refusal:
        parse_response(status, b"42\n", content_type=content_type)
    assert refusal.value.status == status


@pytest.mark.parametrize(
    ("status", "body"),
    [
        pytest.param(409, b"42", id="size without line feed"),
        pytest.param(409, b"042\n", id="size with leading zero"),
        pytest.param(409, b"-1\n", id="negative size"),
        pytest.param(200, b"", id="no line"),
        pytest.param(200, b"ok\n", id="no signature line"),
        pytest.param(200, b"\xff\n", id="not UTF-8"),
        pytest.param(200, bytes(20_000), id="too long"),
    ],
)
def test_malformed_answers_are_refused(status, body):
    with pytest.raises(MalformedError):
        parse_response(status, body, content_type="text/x.tlog.size")
