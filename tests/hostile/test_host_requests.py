"""What callers may try on a host: every request that is not honest is refused, and changes nothing."""

import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

import builders
import hosting
from hosting import HostProcess, Witnesses, approval, call, say
from sealstat.crypto import canonical
from sealstat.crypto.cards import InstanceCard, b64, fingerprint, unb64
from sealstat.crypto.identity import Opener, Signer
from sealstat.crypto.statement import Statement, pae, parse, sign
from sealstat.host import setup
from sealstat.log.checkpoint import verify_checkpoint
from sealstat.log.note import parse_verifier_key
from sealstat.log.reader import LogReader
from sealstat.wire.client import HostClient
from sealstat.wire.errors import HostRefusal, MissingError, WireError
from sealstat.wire.signing import sign_request


@pytest.fixture(scope="module")
def around(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Witnesses]:
    with hosting.witnesses(tmp_path_factory.mktemp("witnesses")) as running:
        yield running


@pytest.fixture(scope="module")
def shared_host(tmp_path_factory: pytest.TempPathFactory, around: Witnesses) -> Iterator[HostProcess]:
    limits = {"header_timeout_s": 1.0, "body_timeout_s": 1.0, "part_bytes": 1 << 20, "blob_quota_bytes": 3 << 20}
    with hosting.host(tmp_path_factory.mktemp("host"), around, limits=limits) as running:
        yield running
        assert "Traceback" not in running.output


@pytest.fixture(scope="module")
def agreement(shared_host: HostProcess) -> str:
    return shared_host.propose()


@pytest.fixture
def own_host(tmp_path: Path, around: Witnesses) -> Iterator[HostProcess]:
    with hosting.host(tmp_path, around) as running:
        yield running


def error_of(answer: httpx.Response) -> tuple[int, str]:
    """Status and code; the shape is checked on the way."""
    value = answer.json()
    assert list(value) == ["error"]
    assert sorted(value["error"]) == ["code", "message"]
    assert "\n" not in value["error"]["message"]
    return answer.status_code, value["error"]["code"]


def log_size(running: HostProcess) -> int:
    return int(running.client("operator-a").health()["log"]["size"])


def leaves(running: HostProcess) -> list[bytes]:
    """The log as a reader proves it, from its published checkpoint."""
    client = running.client("operator-a")
    keys = [parse_verifier_key(builders.witness(name).card.cosigner) for name in hosting.WITNESSES]
    log_key = parse_verifier_key(running.card.log_key)
    newest = verify_checkpoint(client.log_file("checkpoint"), log_key=log_key, witnesses=keys, quorum=2)
    reader = LogReader(client.log_file)
    reader.check_whole_log(newest.checkpoint)
    return reader.entries(0, newest.checkpoint.size, newest.checkpoint)


# -- request signatures ------------------------------------------------------------


def hostile_requests(agreement: str) -> dict[str, dict[str, Any]]:
    body, path = approval(agreement, explained="ee" * 32).to_bytes(), "/v1/statements"
    post: dict[str, Any] = {"method": "POST", "path": path, "body": body}
    stranger = Signer.generate(post_quantum=False)
    now = datetime.now(UTC)
    return {
        "another card's key": {**post, "signer": stranger},
        "a card nobody knows": {**post, "signer": stranger, "keyid": "ab" * 32},
        "keyid is no fingerprint": {**post, "keyid": "../../etc/passwd"},
        "signature stripped": {**post, "drop": ("Signature",)},
        "signature input stripped": {**post, "drop": ("Signature-Input",)},
        "digest stripped": {**post, "drop": ("Content-Digest",)},
        "nothing signed at all": {**post, "drop": ("Signature", "Signature-Input", "Content-Digest")},
        "signed for another method": {**post, "signed_method": "PUT"},
        "signed for another path": {**post, "signed_path": "/v1/instances"},
        "signed for another query": {**post, "path": path + "?a=1", "signed_path": path + "?a=2"},
        "too old": {**post, "at": now - timedelta(seconds=320)},
        "from the future": {**post, "at": now + timedelta(seconds=60)},
        "nonce too short": {**post, "nonce": "short"},
        "nonce with other characters": {**post, "nonce": "x" * 20 + "%00"},
    }


@pytest.mark.parametrize("name", hostile_requests("00" * 32))
def test_a_request_that_is_not_signed_as_it_must_be_is_refused(
    shared_host: HostProcess, agreement: str, name: str
) -> None:
    before = log_size(shared_host)
    answer = call(shared_host, **hostile_requests(agreement)[name])
    assert error_of(answer) == (401, "not-signed")
    assert log_size(shared_host) == before


def test_a_body_swapped_under_its_signed_digest_is_refused(shared_host: HostProcess, agreement: str) -> None:
    honest, other = approval(agreement, explained="aa" * 32), approval(agreement, explained="bb" * 32)
    answer = call(shared_host, "POST", "/v1/statements", other.to_bytes(), signed_body=honest.to_bytes())
    assert error_of(answer) == (400, "wrong-digest")


def test_a_digest_header_changed_after_signing_is_refused(shared_host: HostProcess, agreement: str) -> None:
    body = approval(agreement, explained="cc" * 32).to_bytes()
    digest = f"sha-256=:{b64(sha256(body).digest())}:"
    answer = call(shared_host, "POST", "/v1/statements", body, signed_body=b"{}", headers={"Content-Digest": digest})
    assert error_of(answer) == (401, "not-signed")


def test_a_second_signature_beside_the_first_is_refused(shared_host: HostProcess) -> None:
    answer = call(shared_host, "GET", "/v1/wait?size=0&seconds=0", headers={"signature": "other=:AAAA:"})
    assert error_of(answer) == (401, "not-signed")


def test_a_request_sent_twice_is_refused_also_over_a_restart(own_host: HostProcess) -> None:
    id = own_host.propose()
    again: dict[str, Any] = {
        "method": "POST",
        "path": "/v1/statements",
        "body": approval(id).to_bytes(),
        "at": datetime.now(UTC),
        "nonce": "A" * 24,
    }
    assert call(own_host, **again).status_code == 200
    assert error_of(call(own_host, **again)) == (401, "replayed")
    own_host.kill()
    own_host.start()
    assert error_of(call(own_host, **again)) == (401, "replayed")
    assert call(own_host, **{**again, "nonce": "B" * 24}).status_code == 200


# -- statements ------------------------------------------------------------


def envelope_of(statement: Statement, change: Any) -> bytes:
    value = json.loads(statement.to_bytes())
    change(value)
    return canonical.encode(value)


def hostile_envelopes(agreement: str) -> dict[str, tuple[bytes, int]]:
    good = approval(agreement, explained="dd" * 32)
    other = approval(agreement, explained="de" * 32)

    def resign_other(value: Any) -> None:
        value["signatures"] = json.loads(other.to_bytes())["signatures"]

    return {
        "unsigned": (envelope_of(good, lambda value: value["signatures"].clear()), 400),
        "post-quantum signature stripped": (envelope_of(good, lambda value: value["signatures"].pop()), 403),
        "classical signature stripped": (envelope_of(good, lambda value: value["signatures"].pop(0)), 403),
        "signatures of another statement": (envelope_of(good, resign_other), 403),
        "signatures reordered": (envelope_of(good, lambda value: value["signatures"].reverse()), 400),
        "payload of another type": (
            envelope_of(good, lambda value: value.update(payloadType=value["payloadType"].replace("approval", "kept"))),
            400,
        ),
        "truncated": (good.to_bytes()[:-7], 400),
        "not canonical": (json.dumps(json.loads(good.to_bytes()), indent=1).encode(), 400),
        "a field too many": (envelope_of(good, lambda value: value.update(more=1)), 400),
        "no JSON": (b"\x00\xff", 400),
        "empty": (b"", 400),
        "signed by a key that is not the card's": (
            Statement(good.frame, good.payload, Signer.generate(post_quantum=True).sign(b"x")).to_bytes(),
            403,
        ),
        "unknown type": (say("operator-a", "invention", agreement, {}).to_bytes(), 400),
        "unknown field in its body": (
            say("operator-a", "withdrawal", agreement, {"why": "so", "more": 1}).to_bytes(),
            400,
        ),
        "of an agreement that is not here": (approval("12" * 32).to_bytes(), 404),
        "a deletion said by a party": (
            say("operator-a", "deleted", agreement, {"delivery": "00" * 32}).to_bytes(),
            403,
        ),
        "evidence shown by a party": (say("operator-a", "enclave-evidence", agreement, evidence()).to_bytes(), 403),
        "larger than any statement": (b"[" + b"1," * (256 * 1024) + b"1]", 413),
    }


def instance_card(signer: Signer, opener: Opener) -> InstanceCard:
    return InstanceCard(kind="instance", keys=signer.public(), sealing=opener.public())


def say_as(signer: Signer, card: InstanceCard, type: str, agreement: str, body: dict[str, Any]) -> Statement:
    return sign(signer, type=type, by=fingerprint(card), agreement=agreement, body=body, at=hosting.NOW)


def evidence() -> dict[str, Any]:
    card = instance_card(Signer.generate(post_quantum=False), Opener.generate())
    return {
        "request": "00" * 32,
        "card": card.to_json(),
        "checkpoint": "",
        "challenges": ["00" * 32],
        "kind": "simulated",
        "evidence": "",
        "collateral": "",
    }


@pytest.mark.parametrize("name", hostile_envelopes("00" * 32))
def test_a_statement_that_does_not_stand_is_not_stored(shared_host: HostProcess, agreement: str, name: str) -> None:
    before = log_size(shared_host)
    body, status = hostile_envelopes(agreement)[name]
    answer = call(shared_host, "POST", "/v1/statements", body)
    assert error_of(answer)[0] == status
    assert log_size(shared_host) == before


def test_a_statement_is_taken_once_whoever_sends_it_again(shared_host: HostProcess, agreement: str) -> None:
    statement = approval(agreement, explained="01" * 32)
    first = shared_host.client("operator-a").send(statement)
    size = log_size(shared_host)
    assert shared_host.client("operator-a").send(statement) == first
    assert shared_host.client("regulator").send(statement) == first
    assert log_size(shared_host) == size
    assert shared_host.client("ministry").statement(statement.id) == statement.to_bytes()


def test_a_party_hands_in_what_another_party_signed(shared_host: HostProcess, agreement: str) -> None:
    statement = say("ministry", "withdrawal", shared_host.propose("To be withdrawn"), {"why": "it is over"})
    shared_host.client("operator-b").send(statement)
    assert parse(shared_host.client("operator-a").statement(statement.id)).by == statement.by


def test_a_stranger_reads_and_writes_nothing(shared_host: HostProcess, agreement: str) -> None:
    stranger = shared_host.client("stranger")
    with pytest.raises(HostRefusal, match="no card known here"):
        stranger.statement(agreement)
    with pytest.raises(HostRefusal, match="no card known here"):
        stranger.send(approval(agreement, "stranger"))


def test_an_admitted_card_outside_an_agreement_sees_nothing_of_it(shared_host: HostProcess, agreement: str) -> None:
    shared_host.admit("newcomer")
    newcomer = shared_host.client("newcomer")
    for attempt in (
        lambda: newcomer.statement(agreement),
        lambda: newcomer.send(approval(agreement, "newcomer")),
        lambda: newcomer.send(approval(agreement, "operator-a", explained="02" * 32)),
        lambda: newcomer.put_blob(agreement, b"x"),
        lambda: newcomer.get_blob(agreement, "00" * 32),
        lambda: newcomer.missing_blobs(agreement, ["00" * 32]),
    ):
        with pytest.raises(MissingError):
            attempt()


def test_an_agreement_is_taken_from_admitted_cards_only(shared_host: HostProcess) -> None:
    terms = shared_host.agreement(title="By a party that was not admitted")
    with pytest.raises(HostRefusal, match="has not admitted"):
        shared_host.client("operator-b").send(builders.statement(terms, by="operator-b"))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"host": builders.agreement_json()["host"]}, "another host's card"),
        ({"version": 2, "supersedes": "ab" * 32}, "not at this host"),
        (
            {
                "witnesses": {
                    "cards": [builders.witness(f"elsewhere-{n}").card.to_json() for n in range(3)],
                    "quorum": 2,
                    "checkpoint_age": "10m",
                }
            },
            "witnesses",
        ),
    ],
    ids=["another host", "an unknown predecessor", "witnesses out of reach"],
)
def test_an_agreement_that_this_host_cannot_serve_is_refused(
    shared_host: HostProcess, change: dict[str, Any], why: str
) -> None:
    with pytest.raises(HostRefusal, match=why):
        shared_host.client("operator-a").send(builders.statement(shared_host.agreement(**change)))


def test_a_new_version_is_proposed_by_a_party_of_the_one_before(shared_host: HostProcess, agreement: str) -> None:
    """Else every admitted card could read an agreement's statements, by a version that names it."""
    shared_host.admit("newcomer")
    parties = {name: {"card": builders.party(name)[0].to_json()} for name in (*builders.PARTIES, "newcomer")}
    terms = shared_host.agreement(title="With one more", version=2, supersedes=agreement, parties=parties)
    with pytest.raises(HostRefusal, match="proposed by a party of the version before"):
        shared_host.client("newcomer").send(builders.statement(terms, by="newcomer"))
    with pytest.raises(MissingError):
        shared_host.client("newcomer").statement(agreement)
    shared_host.client("operator-a").send(builders.statement(terms))
    assert shared_host.client("newcomer").statement(agreement)


def test_a_replaced_card_opens_no_door_and_the_new_one_does(shared_host: HostProcess) -> None:
    id = shared_host.propose("With a rotation")
    old, new = hosting.party("ministry")[0], hosting.party("ministry", 1)[0]
    body = {"old": fingerprint(old), "new": new.to_json()}
    with pytest.raises(HostRefusal, match="no card known here"):
        shared_host.client("ministry", 1).statement(id)
    shared_host.client("ministry").send(say("ministry", "replacement", id, {**body, "rehearsal": True}))
    assert shared_host.client("ministry").statement(id)
    shared_host.client("ministry").send(say("ministry", "replacement", id, body))
    assert shared_host.client("ministry", 1).statement(id)
    with pytest.raises(MissingError):
        shared_host.client("ministry").statement(id)
    shared_host.client("ministry", 1).send(approval(id, "ministry", generation=1))
    # what the old card had signed before is still taken, from somebody whose card is in force: replays judge it
    shared_host.client("operator-a").send(approval(id, "ministry", explained="05" * 32))


def test_a_replacement_by_somebody_else_changes_nothing(shared_host: HostProcess) -> None:
    id = shared_host.propose("With a false rotation")
    body = {"old": fingerprint(hosting.party("ministry")[0]), "new": hosting.party("ministry", 2)[0].to_json()}
    shared_host.client("operator-b").send(say("operator-b", "replacement", id, body))
    assert shared_host.client("ministry").statement(id)
    with pytest.raises(HostRefusal, match="no card known here"):
        shared_host.client("ministry", 2).statement(id)


def test_the_recovery_keys_new_card_is_let_in_and_the_thiefs_is_put_out(shared_host: HostProcess) -> None:
    id = shared_host.propose("With a recovery")
    thief, new = hosting.party("ministry", 1)[0], hosting.party("ministry", 2)[0]
    old = fingerprint(hosting.party("ministry")[0])
    rotation = say("ministry", "replacement", id, {"old": old, "new": thief.to_json()})
    shared_host.client("ministry").send(rotation)
    said = _by_recovery_key("ministry", id, {"old": old, "new": new.to_json()})
    client = shared_host.client("ministry", 2)
    with pytest.raises(HostRefusal, match="no card known here"):
        client.send(said)  # the usual door asks for a card that is known
    with pytest.raises(HostRefusal):
        shared_host.client("ministry", 3).introduce(said)  # somebody else may not come in with it
    client.introduce(said)
    assert client.statement(id)
    with pytest.raises(WireError):
        shared_host.client("ministry", 1).statement(id)
    client.introduce(said)  # as often as one likes: an answer may have been lost


def _by_recovery_key(name: str, agreement: str, body: dict[str, Any], *, key: Signer | None = None) -> Statement:
    signer = key or builders.recovery(name)
    shown = {**body, "recovery": signer.public().to_json()}
    who = builders.recovery_digest(signer)
    return sign(signer, type="replacement", by=who, agreement=agreement, body=shown, at=datetime.now(UTC))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        pytest.param({"key": Signer.generate(post_quantum=True)}, "not with the host", id="another key"),
        pytest.param({"key": builders.recovery("operator-b")}, "no recovery approver", id="another party's"),
        pytest.param({"old": "00" * 32}, "not in force", id="of a card that nobody has"),
        pytest.param({"agreement": "00" * 32}, "not at this host", id="of no agreement"),
    ],
)
def test_a_card_that_no_recovery_key_of_the_agreement_gives_stays_out(
    shared_host: HostProcess, change: dict[str, Any], why: str
) -> None:
    id = shared_host.propose(f"With a false recovery: {why}")
    old, new = fingerprint(hosting.party("ministry")[0]), hosting.party("ministry", 4)[0].to_json()
    body = {"old": change.get("old", old), "new": new}
    said = _by_recovery_key("ministry", change.get("agreement", id), body, key=change.get("key"))
    with pytest.raises(WireError, match=why):
        shared_host.client("ministry", 4).introduce(said)
    assert shared_host.client("ministry").statement(id)
    with pytest.raises(HostRefusal, match="no card known here"):
        shared_host.client("ministry", 4).statement(id)
    with pytest.raises(HostRefusal, match="expected a replacement by a recovery key"):
        shared_host.client("ministry", 4).introduce(say("ministry", "replacement", id, {"old": old, "new": new}))


def test_a_new_card_that_approvers_give_is_let_in_when_it_is_final_and_not_before(shared_host: HostProcess) -> None:
    recovery = {"approvers": list(builders.PARTIES), "quorum": 2, "delay": "1s"}
    witnesses = builders.agreement_json()["witnesses"]
    roles = {"approvers": ["operator-a"], "recovery": recovery}
    id = shared_host.propose("With both keys lost", roles=roles, witnesses=witnesses)
    shared_host.client("operator-a").send(approval(id))
    new = hosting.party("ministry", -1)[0]
    body = {"old": fingerprint(hosting.party("ministry")[0]), "new": new.to_json()}
    for name in ("operator-a", "operator-b"):
        shared_host.client(name).send(say(name, "replacement", id, body))
        with pytest.raises(HostRefusal, match="no card known here"):
            shared_host.client("ministry", -1).statement(id)
    early = {"new": fingerprint(new), "since": "no checkpoint", "until": "no checkpoint"}
    shared_host.client("operator-a").send(say("operator-a", "replacement-final", id, early))
    with pytest.raises(HostRefusal, match="no card known here"):
        shared_host.client("ministry", -1).statement(id)
    assert shared_host.client("ministry").statement(id)


def test_what_is_in_the_log_is_what_the_receipts_promise(shared_host: HostProcess, agreement: str) -> None:
    statement = approval(agreement, "regulator", explained="07" * 32)
    receipt = shared_host.client("regulator").send(statement)["receipt"]
    payload = unb64(receipt["payload"])
    signatures = {line["keyid"]: unb64(line["sig"]) for line in receipt["signatures"]}
    shared_host.card.keys.verify(pae(receipt["payloadType"], payload), signatures)
    said = json.loads(payload)
    assert said["origin"] == shared_host.card.origin
    assert canonical.encode(said["leaf"]) == statement.leaf
    assert said["received"] < said["merge_by"]
    hosting.wait_cosigned(shared_host, log_size(shared_host))
    assert leaves(shared_host).count(statement.leaf) == 1


# -- blobs ------------------------------------------------------------


def blob_path(agreement: str, data: bytes) -> str:
    return f"/v1/agreements/{agreement}/blobs/{sha256(data).hexdigest()}"


def test_a_blob_comes_back_whole_in_ranges_and_to_parties_only(shared_host: HostProcess, agreement: str) -> None:
    data = os.urandom(300_000)
    client = shared_host.client("operator-a")
    path = blob_path(agreement, data)
    assert call(shared_host, "HEAD", path).status_code == 404
    assert client.missing_blobs(agreement, ["00" * 32, sha256(data).hexdigest()]) == [
        "00" * 32,
        sha256(data).hexdigest(),
    ]
    digest = client.put_blob(agreement, data)
    assert client.put_blob(agreement, data) == digest
    assert client.missing_blobs(agreement, ["00" * 32, digest]) == ["00" * 32]
    assert shared_host.client("ministry").get_blob(agreement, digest) == data
    assert call(shared_host, "HEAD", path).status_code == 200
    part = call(shared_host, "GET", path, headers={"Range": "bytes=1000-1999"})
    assert (part.status_code, part.content) == (206, data[1000:2000])
    assert error_of(call(shared_host, "GET", path, headers={"Range": "bytes=0-1,2-3"})) == (416, "bad-range")


def test_a_blob_is_not_seen_from_another_agreement(shared_host: HostProcess, agreement: str) -> None:
    digest = shared_host.client("operator-a").put_blob(agreement, b"a part of one agreement")
    with pytest.raises(MissingError):
        shared_host.client("operator-a").get_blob(shared_host.propose("Another one"), digest)


@pytest.mark.parametrize(
    ("sent", "claimed", "status"),
    [(b"other bytes", b"these bytes", 400), (b"", b"these bytes", 400)],
    ids=["another body", "no body"],
)
def test_a_blob_that_is_not_its_digest_is_not_stored(
    shared_host: HostProcess, agreement: str, sent: bytes, claimed: bytes, status: int
) -> None:
    path = blob_path(agreement, claimed)
    assert error_of(call(shared_host, "PUT", path, sent))[0] == status
    assert error_of(call(shared_host, "PUT", path, sent, signed_body=claimed))[0] == status
    assert call(shared_host, "HEAD", path).status_code == 404


def test_a_blob_above_the_limit_or_the_quota_is_refused(shared_host: HostProcess) -> None:
    id = shared_host.propose("With much data")
    assert error_of(call(shared_host, "PUT", blob_path(id, big := b"x" * (1 << 20) + b"y"), big)) == (413, "too-large")
    client = shared_host.client("operator-b")
    for number in range(3):
        client.put_blob(id, bytes([number]) * (1 << 20))
    with pytest.raises(HostRefusal, match="no room left"):
        client.put_blob(id, b"one more")
    shared_host.client("operator-a").put_blob(id, b"one more")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/agreements/../../../../etc/passwd/blobs/" + "00" * 32,
        "/v1/agreements/%2e%2e%2f%2e%2e/blobs/" + "00" * 32,
        "/v1/agreements/" + "00" * 32 + "/blobs/..%2f..%2fhost.db",
        "/v1/agreements/" + "00" * 32 + "/blobs/" + "AB" * 32,
        "/v1/agreements/" + "00" * 32 + "/blobs/" + "00" * 31 + "0%0a",
        "/v1/statements/..%2f..%2fhost.keys",
        "/v1/statements/" + "0" * 5000,
    ],
)
def test_an_id_that_is_no_id_leads_nowhere(shared_host: HostProcess, path: str) -> None:
    assert error_of(call(shared_host, "GET", path))[0] == 404


@pytest.mark.parametrize(
    "path", ["/log/state.json", "/log/lock", "/log/../host.db", "/log/tile/..%2f..%2f..%2fhost.keys", "/log/tile/0/0"]
)
def test_the_log_serves_its_own_files_only(shared_host: HostProcess, path: str) -> None:
    assert error_of(call(shared_host, "GET", path)) == (404, "not-found")


# -- patience ------------------------------------------------------------


def open_socket(running: HostProcess) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(running.url.rsplit(":", 1)[1])), timeout=10)


def test_a_header_that_never_ends_is_cut_off(shared_host: HostProcess) -> None:
    with open_socket(shared_host) as connection:
        began = time.monotonic()
        connection.sendall(b"GET /health HTTP/1.1\r\n")
        cut = False
        while not cut and time.monotonic() - began < 8:
            try:
                connection.sendall(b"X-Slow: 1\r\n")
            except ConnectionError:
                cut = True
            time.sleep(0.2)
        assert cut


def test_a_header_without_end_is_refused(shared_host: HostProcess) -> None:
    with open_socket(shared_host) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nX-Long: " + b"x" * 40_000)
        with contextlib.suppress(ConnectionResetError):
            assert b" 400 " in connection.recv(100)


def test_a_body_that_stops_coming_is_given_up(shared_host: HostProcess, agreement: str) -> None:
    data = os.urandom(1000)
    path = blob_path(agreement, data)
    request = signed_put(shared_host, path, data)
    with open_socket(shared_host) as connection:
        connection.sendall(request + data[:500])
        assert b" 408 " in connection.recv(200)
    assert call(shared_host, "HEAD", path).status_code == 404


def test_a_body_cut_off_is_not_stored(shared_host: HostProcess, agreement: str) -> None:
    data = os.urandom(1000)
    path = blob_path(agreement, data)
    with open_socket(shared_host) as connection:
        connection.sendall(signed_put(shared_host, path, data) + data[:999])
    time.sleep(0.3)
    assert call(shared_host, "HEAD", path).status_code == 404
    assert not list((shared_host.home / "blobs" / "incoming").iterdir())


def signed_put(running: HostProcess, path: str, data: bytes, by: str = "operator-a") -> bytes:
    card, signer, _ = builders.party(by)
    headers = sign_request(
        "PUT",
        running.url + path,
        body_sha256=sha256(data).digest(),
        key=signer.ed25519,
        fingerprint=fingerprint(card),
        now=datetime.now(UTC),
    )
    headers |= {"Host": running.url.removeprefix("http://"), "Content-Length": str(len(data))}
    lines = [f"PUT {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode()


def test_one_card_that_floods_is_slowed_and_others_are_not(tmp_path: Path, around: Witnesses) -> None:
    with hosting.host(tmp_path, around, limits={"requests_per_s": 1.0, "burst": 5}) as running:
        id = running.propose()
        answers = [call(running, "GET", "/v1/wait?size=0&seconds=0").status_code for _ in range(8)]
        assert 429 in answers
        assert running.client("ministry").statement(id)


def test_open_long_polls_of_one_card_are_limited(tmp_path: Path, around: Witnesses) -> None:
    with hosting.host(tmp_path, around, limits={"open_calls": 2}) as running:
        codes: list[int] = []

        def poll() -> None:
            codes.append(call(running, "GET", "/v1/wait?size=9&seconds=2").status_code)

        threads = [threading.Thread(target=poll) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(codes) == [200, 200, 429, 429]


def test_the_host_says_neither_bodies_nor_whole_fingerprints_nor_traces_in_its_log(
    shared_host: HostProcess, agreement: str
) -> None:
    call(shared_host, "POST", "/v1/statements", b'{"secret":"plaintext of a body"}')
    output = shared_host.output
    assert "plaintext of a body" not in output
    assert "Traceback" not in output
    assert agreement not in output
    assert fingerprint(builders.party("operator-a")[0]) not in output
    assert fingerprint(builders.party("operator-a")[0])[:8] in output


# -- crashes and full disks ------------------------------------------------------------


def survive_a_kill(running: HostProcess, id: str, after_s: float, round_: int) -> int:
    """Kill the host while statements and blobs stream in; everything acknowledged must be there afterwards."""
    stored: list[Statement] = []
    blobs: dict[str, bytes] = {}
    stop = threading.Event()

    def send_statements() -> None:
        client = running.client("operator-a")
        number = 0
        while not stop.is_set():
            statement = approval(id, explained=f"{round_:08x}{number:056x}")
            try:
                client.send(statement)
            except (WireError, httpx.HTTPError):
                return
            stored.append(statement)
            number += 1

    def send_blobs() -> None:
        client = running.client("operator-b")
        while not stop.is_set():
            data = os.urandom(random.Random(round_).randrange(1, 400_000))
            try:
                digest = client.put_blob(id, data)
            except (WireError, httpx.HTTPError):
                return
            blobs[digest] = data

    threads = [threading.Thread(target=send_statements), threading.Thread(target=send_blobs)]
    for thread in threads:
        thread.start()
    time.sleep(after_s)
    running.kill()
    stop.set()
    for thread in threads:
        thread.join()
    running.start()
    client = running.client("operator-a")
    hosting.wait_cosigned(running, log_size(running))
    found = leaves(running)
    assert len(found) == len(set(found))
    for statement in stored:
        assert client.statement(statement.id) == statement.to_bytes()
        assert found.count(statement.leaf) == 1
    for digest, data in blobs.items():
        assert client.get_blob(id, digest) == data
    assert not list((running.home / "blobs" / "incoming").iterdir())
    for statement in stored[-3:]:
        client.send(statement)
    assert log_size(running) == len(found)
    return len(stored) + len(blobs)


def test_a_kill_loses_nothing_that_was_acknowledged(own_host: HostProcess) -> None:
    id = own_host.propose()
    chance = random.Random(1)
    assert sum(survive_a_kill(own_host, id, chance.uniform(0.05, 0.6), number) for number in range(3)) > 0


@pytest.mark.slow
def test_twenty_kills_lose_nothing_that_was_acknowledged(own_host: HostProcess) -> None:
    id = own_host.propose()
    chance = random.Random(2)
    assert sum(survive_a_kill(own_host, id, chance.uniform(0.01, 1.0), 100 + number) for number in range(20)) > 0


def test_a_statement_written_down_but_not_in_the_log_is_appended_at_the_next_start(own_host: HostProcess) -> None:
    id = own_host.propose()
    own_host.stop()
    log = own_host.home / "log"
    older = own_host.home / "older"
    shutil.copytree(log, older)
    own_host.start()
    statement = approval(id)
    own_host.client("operator-a").send(statement)
    own_host.kill()
    shutil.rmtree(log)  # as if the kill had come between database and log
    older.rename(log)
    own_host.start()
    hosting.wait_cosigned(own_host, 2)
    assert leaves(own_host)[1] == statement.leaf


def test_a_database_older_than_the_log_is_refused_with_the_reason(own_host: HostProcess) -> None:
    id = own_host.propose()
    own_host.stop()
    shutil.copy(own_host.home / "host.db", own_host.home / "older.db")
    own_host.start()
    own_host.client("operator-a").send(approval(id))
    own_host.stop()
    (own_host.home / "older.db").replace(own_host.home / "host.db")
    with pytest.raises(AssertionError, match="restore the database"):
        own_host.start()
    own_host.kill()


def test_a_lost_blob_is_missing_again_after_the_start_and_can_be_given_back(own_host: HostProcess) -> None:
    id = own_host.propose()
    client = own_host.client("operator-a")
    digest = client.put_blob(id, b"kept by its keeper")
    cut = client.put_blob(id, b"damaged on the disk")
    own_host.stop()
    (own_host.home / "blobs" / id / digest[:2] / digest).unlink()
    (own_host.home / "blobs" / id / cut[:2] / cut).write_bytes(b"damaged")
    own_host.start()
    assert client.missing_blobs(id, [digest, cut]) == [digest, cut]
    assert client.put_blob(id, b"kept by its keeper") == digest
    assert client.get_blob(id, digest) == b"kept by its keeper"


def test_a_full_disk_is_said_and_nothing_is_lost_and_the_host_goes_on_when_there_is_room(
    tmp_path: Path, around: Witnesses
) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "none", folder]).returncode:
        pytest.skip("a small tmpfs needs root")
    try:
        with hosting.host(folder, around) as running:
            id = running.propose()
            client = running.client("operator-a")
            kept = client.put_blob(id, b"from before")
            filling = folder / "filling"
            with filling.open("wb", 0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(b"\0" * 65536)
            answer = call(running, "PUT", blob_path(id, data := os.urandom(500_000)), data)
            assert error_of(answer) == (507, "disk-full")
            acknowledged, refused = [], []
            for number in range(200):
                statement = approval(id, explained=f"{number:064x}")
                answer = call(running, "POST", "/v1/statements", statement.to_bytes())
                (acknowledged if answer.status_code == 200 else refused).append(statement)
                if answer.status_code != 200:
                    assert error_of(answer) == (507, "disk-full")
                    if len(refused) > 3:
                        break
            assert refused
            assert client.get_blob(id, kept) == b"from before"
            filling.unlink()
            for statement in refused:
                client.send(statement)
            client.put_blob(id, data)
            running.kill()
            running.start()
            hosting.wait_cosigned(running, log_size(running))
            found = leaves(running)
            assert all(found.count(statement.leaf) == 1 for statement in acknowledged + refused)
            assert client.get_blob(id, sha256(data).hexdigest()) == data
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_limit_on_file_sizes_is_like_a_full_disk(own_host: HostProcess) -> None:
    id = own_host.propose()
    own_host.stop()
    own_host.start(file_limit_bytes=1 << 20)
    answer = call(own_host, "PUT", blob_path(id, data := os.urandom(2 << 20)), data)
    assert error_of(answer) == (507, "disk-full")
    assert call(own_host, "PUT", blob_path(id, b"small"), b"small").status_code == 200
    assert not list((own_host.home / "blobs" / "incoming").iterdir())


# -- instances and launches ------------------------------------------------------------


def launcher(running: HostProcess, path: str, *, token: str | None = None, **options: Any) -> httpx.Response:
    shown = token or setup.load_keys(running.home, None).launcher_token
    with httpx.Client(trust_env=False, timeout=30) as client:
        return client.post(running.url + path, headers={"Authorization": f"Bearer {shown}"}, **options)


def ready_to_run(running: HostProcess, title: str) -> tuple[str, str]:
    """An active agreement with its deliveries and a run-request: (agreement, request)."""
    id = running.propose(title)
    for name in ("operator-a", "operator-b", "ministry"):
        running.client(name).send(approval(id, name))
    deliveries = []
    for name in ("operator-a", "operator-b"):
        body = {
            "dataset": f"roamers-{name[-1]}",
            "period": "2026-10",
            "schema": "roamers",
            "parts": {"count": 1, "digest": sha256(name.encode()).hexdigest()},
            "key_check": "00" * 32,
            "linkage_check": "11" * 32,
        }
        statement = say(name, "delivery", id, body)
        running.client(name).send(statement)
        deliveries.append(statement.id)
    body = {
        "task": "visitors",
        "period": "2026-10",
        "purpose": "tourism-statistics",
        "deliveries": deliveries,
        "nonce": b64(os.urandom(32)),
    }
    request = say("ministry", "run-request", id, body)
    running.client("ministry").send(request)
    return id, request.id


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, around: Witnesses) -> Iterator[HostProcess]:
    with hosting.host(tmp_path_factory.mktemp("host"), around, lease_s=1.0) as running:
        yield running


def test_a_launch_goes_from_request_to_a_registered_instance(running: HostProcess) -> None:
    assert launcher(running, "/v1/launches?seconds=0").status_code == 204
    answers: list[httpx.Response] = []
    waiting = threading.Thread(target=lambda: answers.append(launcher(running, "/v1/launches?seconds=20")))
    waiting.start()
    id, request = ready_to_run(running, "To be run")
    began = time.monotonic()
    waiting.join()
    assert time.monotonic() - began < 2
    launch = answers[0].json()
    assert (launch["agreement"], launch["request"]) == (id, request)
    assert launcher(running, "/v1/launches?seconds=0").status_code == 204  # it runs already

    signer, opener = Signer.generate(post_quantum=False), Opener.generate()
    card = instance_card(signer, opener)
    instance = HostClient(running.url, signer, fingerprint(card))
    with pytest.raises(HostRefusal, match="no card known here"):
        instance.statement(id)
    with pytest.raises(MissingError):
        instance.register_instance(card, "not-a-door")
    instance.register_instance(card, launch["door"])
    instance.register_instance(card, launch["door"])
    assert instance.statement(id)
    assert instance.get_blob(id, instance.put_blob(id, b"a result")) == b"a result"
    other_signer = Signer.generate(post_quantum=False)
    other = instance_card(other_signer, opener)
    with pytest.raises(HostRefusal, match="another instance"):
        HostClient(running.url, other_signer, fingerprint(other)).register_instance(other, launch["door"])
    with pytest.raises(HostRefusal, match="not for an instance"):
        instance.send(say_as(signer, card, "withdrawal", id, {"why": "so"}))

    assert launcher(running, f"/v1/launches/{launch['door']}/alive").status_code == 200
    assert launcher(running, f"/v1/launches/{launch['door']}/ended", json={"code": 1}).status_code == 200
    assert error_of(launcher(running, f"/v1/launches/{launch['door']}/alive")) == (410, "launch-over")
    again = launcher(running, "/v1/launches?seconds=10")  # after the backoff
    assert again.json()["request"] == request
    assert again.json()["door"] != launch["door"]
    running.client("operator-a").send(say("operator-a", "withdrawal", id, {"why": "enough"}))


def test_a_silent_launcher_loses_its_launch(running: HostProcess) -> None:
    id, request = ready_to_run(running, "To be run again")
    first = launcher(running, "/v1/launches?seconds=5").json()
    assert first["request"] == request
    second = launcher(running, "/v1/launches?seconds=10")
    assert second.json()["request"] == request
    assert error_of(launcher(running, f"/v1/launches/{first['door']}/alive")) == (410, "launch-over")
    running.client("operator-a").send(say("operator-a", "withdrawal", id, {"why": "enough"}))


@pytest.mark.parametrize("path", ["/v1/launches?seconds=0", "/v1/launches/x/alive", "/v1/launches/x/ended"])
def test_the_launchers_door_opens_for_its_token_only(running: HostProcess, path: str) -> None:
    assert error_of(launcher(running, path, token="wrong", json={"code": 0})) == (401, "no-launcher")
    assert error_of(call(running, "POST", path, b'{"code":0}')) == (401, "no-launcher")


# -- storage limitation, stopping ------------------------------------------------------------


def test_an_expired_delivery_is_deleted_and_the_host_says_so(own_host: HostProcess) -> None:
    id = own_host.propose()
    client = own_host.client("operator-a")
    part, spared = client.put_blob(id, b"ciphertext"), own_host.client("operator-b").put_blob(id, b"of another")
    named = canonical.encode([{"sha256": part, "size": 10}, {"sha256": spared, "size": 10}])
    body = {
        "dataset": "roamers-a",
        "period": "2026-10",
        "schema": "roamers",
        "parts": {"count": 2, "digest": client.put_blob(id, named)},
        "key_check": "00" * 32,
        "linkage_check": "11" * 32,
    }
    delivery = say("operator-a", "delivery", id, body)
    client.send(delivery)
    own_host.client("operator-b").send(say("operator-b", "expiry", id, {"delivery": delivery.id}))  # void: not its own
    time.sleep(0.3)
    assert client.missing_blobs(id, [part]) == []
    client.send(say("operator-a", "expiry", id, {"delivery": delivery.id}))
    hosting.wait_cosigned(own_host, 5)
    assert client.missing_blobs(id, [part, spared]) == [part]
    said = [json.loads(leaf) for leaf in leaves(own_host)]
    assert [leaf["type"] for leaf in said] == ["agreement", "delivery", "expiry", "expiry", "deleted"]
    assert parse(client.statement(said[-1]["id"])).body == {"delivery": delivery.id}


def test_the_host_stops_in_good_order_with_a_long_poll_open(own_host: HostProcess) -> None:
    answers: list[int] = []
    polling = threading.Thread(target=lambda: answers.append(own_host.client("operator-a").wait(99, 25)))
    polling.start()
    time.sleep(0.5)
    began = time.monotonic()
    assert own_host.stop() == 0
    polling.join()
    assert time.monotonic() - began < 4
    assert answers == [0]


def test_a_checkpoint_is_published_while_one_witness_is_away_and_not_while_two_are(
    tmp_path: Path, around: Witnesses
) -> None:
    dead = f"http://127.0.0.1:{hosting.free_port()}"
    with hosting.host(tmp_path, around) as running:
        running.stop()
        urls = {name: f"{around.url}/{name}" for name in hosting.WITNESSES}
        running.start(witnesses={**urls, "witness-1": dead})
        running.propose()
        assert hosting.wait_cosigned(running, 1) < 2
        running.stop()
        running.start(witnesses={**urls, "witness-1": dead, "witness-2": dead})
        running.propose("Not to be published")
        time.sleep(1)
        assert running.client("operator-a").health()["log"]["cosigned"] < 2
        running.stop()
        running.start()
        assert hosting.wait_cosigned(running, 2) < 5


def test_an_old_copy_of_the_home_publishes_nothing_and_says_why(own_host: HostProcess) -> None:
    id = own_host.propose()
    hosting.wait_cosigned(own_host, 1)
    own_host.stop()
    copy = own_host.home.with_name("copy")
    shutil.copytree(own_host.home, copy)
    own_host.start()
    own_host.client("operator-a").send(approval(id))
    hosting.wait_cosigned(own_host, 2)
    own_host.stop()
    shutil.rmtree(own_host.home)
    copy.rename(own_host.home)
    own_host.start(recosign_s=0.2)
    deadline = time.monotonic() + 5
    while own_host.client("operator-a").health()["log"]["fault"] is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_an_unchanged_tree_is_cosigned_afresh(tmp_path: Path, around: Witnesses) -> None:
    with hosting.host(tmp_path, around, recosign_s=0.5) as running:
        running.propose()
        hosting.wait_cosigned(running, 1)
        client = running.client("operator-a")
        first = client.log_file("checkpoint")
        time.sleep(2.2)
        assert client.log_file("checkpoint") != first
