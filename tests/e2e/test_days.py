"""Days through the enclave, by the real programs: the straight line, a hostile host, and nothing for anybody to see."""

import json
import re
import secrets
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import crash_points
from canaries import canary_forms
from daysplay import BLOBS, HOLDERS, Play, days_play
from enclaves import await_
from lying import Answer, Call, Held, Truth, always
from sealstat.agreement import contexts
from sealstat.agreement.replay import Entry, Instance
from sealstat.agreement.statements import RunRecord, State, parse_body
from sealstat.crypto import canonical, shares, statement
from sealstat.crypto.errors import CryptoError
from sealstat.crypto.identity import Opener
from sealstat.crypto.sealing import unseal
from sealstat.crypto.statement import Statement
from sealstat.enclave.errors import SessionOver
from sealstat.enclave.states import open_state
from sealstat.lab.case03 import TASK, forge
from sealstat.party import duties, runs
from sealstat.party.errors import PartyError
from sealstat.party.member import Member
from sealstat.party.pseudonymiser import pseudonymiser
from sealstat.tables.period_pseudonyms import inner_ids
from sealstat.tables.sealed import parse_parts_list

pytestmark = pytest.mark.timeout(900)
D1, D2, D3, D4, D5, D6 = (f"2026-10-0{number}" for number in range(1, 7))
SECOND = "second"


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Play]:
    with days_play(tmp_path_factory.mktemp("days"), days=6) as played:
        played.stage.start_enclave()
        yield played


def add_forged(file: Path) -> None:
    """Two rows more, of pseudonyms that were made without the key."""
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines, "0" * 32 + lines[1][32:], "ab" * 16 + lines[2][32:]]) + "\n")


def test_days_in_any_order_become_the_report_of_the_clear(play: Play, tmp_path: Path) -> None:
    play = play.under(f"{D1}/{D4}")
    stage, cards = play.stage, str(play.stage.folder / "cards")
    play.bring(D2)
    play.take_in(D2)
    assert "taken in already" in play.refused("office", *play.words(TASK, D2))
    # more forged pseudonyms than the agreement bears: refused, and the state stays as it was
    before = play.view().state_record(TASK)
    play.bring(D3, change=forge)
    assert "not as agreed" in play.refused("office", *play.words(TASK, D3))
    after = play.view().state_record(TASK)
    assert before is not None
    assert after is not None
    assert (after.id, play.view().ingested(TASK)) == (before.id, [D2])
    # a few are dropped, and their provider alone is told
    play.bring(D1, change=add_forged)
    run = play.take_in(D1)
    told = stage.json("operator", "run", "show", run)["told"]
    assert (told["day"], told["forged"]) == (D1, 2)
    assert told["rows"] > 100
    assert "told" not in stage.json("office", "run", "show", run)
    assert play.view().ingested(TASK) == [D2, D1]
    await_(play.settled)

    play.bring_tables()
    asked = stage.json("office", *play.words(TASK, play.report, "--finish"))
    about = play.check(asked["run"], [D1, D2], tmp_path / "out")
    assert about["days"] == {"taken_in": [D1, D2], "failed": [D3], "forgotten": [], "skipped": [D4]}
    assert "taken in already" in play.refused("office", *play.words(TASK, D2))
    assert "no day was taken in yet" in play.refused("office", *play.words(TASK, play.report, "--finish"))
    await_(play.settled)
    for what in (asked["run"], run):
        proof = tmp_path / f"{what}.json"
        stage.call("office", "proof", what, "--out", str(proof))
        assert "PROTECTED" in stage.call("regulator", "verify", str(proof), "--trust", cards)


@pytest.mark.slow
def test_days_are_given_up_by_a_cancel_or_by_holders_who_destroy_their_shares(play: Play, tmp_path: Path) -> None:
    play = play.under(f"{D1}/{D3}")
    for day in (D1, D2, D3):
        play.bring(day)
    play.take_in(D1)
    gone = [play.view().state_record(TASK)]
    play.stage.call("office", *play.words(TASK, play.report, "--cancel"))
    assert (play.view().state_record(TASK), play.view().ingested(TASK)) == (None, [])
    await_(play.settled)
    assert "taken in already" in play.refused("office", *play.words(TASK, D1))
    assert "no day was taken in yet" in play.refused("office", *play.words(TASK, play.report, "--finish"))

    play.take_in(D2)
    await_(play.settled)
    gone.append(left := play.view().state_record(TASK))
    assert left is not None
    assert left.body.state is not None
    assert stored(play, [left])
    for holder in ("regulator", "operator"):  # the first one alone takes nothing away: two of three hold still
        assert play.view().state_record(TASK) == left
        play.stage.call(holder, "party", "forget", play.agreement, "--state", TASK)
        assert not play.has_share(holder, left.id)
    await_(lambda: play.view().state_record(TASK) is None)
    assert play.view().ingested(TASK) == []
    said = [entry for entry in play.view().entries.values() if getattr(entry.body, "state", None)]
    assert {entry.by for entry in said if entry.body.state == left.body.state.digest} >= {"regulator", "operator"}
    await_(play.settled)  # the third holder's share is of no use, and goes, too
    for holder in HOLDERS:
        assert opened_by(play.member(holder), left, seal_to_keys(play.member(holder))) is None
    await_(lambda: not stored(play, gone))  # neither the host nor the keeper has a part of it
    assert "taken in already" in play.refused("office", *play.words(TASK, D2))

    play.take_in(D3)  # begins anew
    assert play.view().ingested(TASK) == [D3]
    play.bring_tables()
    run = play.stage.json("office", *play.words(TASK, play.report, "--finish"))["run"]
    about = play.check(run, [D3], tmp_path / "out")
    assert about["days"] == {"taken_in": [D3], "failed": [], "forgotten": [D1, D2], "skipped": []}


def seal_to_keys(member: Member) -> list[Opener]:
    """The sealing keys of a holder's challenges that it has not destroyed."""
    ledger = member.home.ledger
    found = [ledger.secret("seal-to", ref) for ref in ledger.secret_refs("seal-to")]
    return [Opener.from_secret(secret) for secret in found if secret is not None]


def opened_by(member: Member, record: Entry[RunRecord], keys: list[Opener]) -> bytes | None:
    """A holder's share of the state that a record left, opened with keys of its challenges or with its own card's."""
    assert record.body.state is not None
    context = contexts.state_share(
        member.id,
        holder=member.identity.fingerprint,
        instance=record.by,
        task=TASK,
        c=record.body.c + 1,
        digest=record.body.state.digest,
    )
    return opened(member, record.body.state.shares[member.name].sealed, context, keys)


def opened(member: Member, sealed: str, context: contexts.Context, keys: list[Opener]) -> bytes | None:
    for key in (*keys, member.identity.opener):
        try:
            return unseal(key, context, sealed)
        except CryptoError:
            continue
    return None


def stored(play: Play, records: list[Entry[RunRecord] | None]) -> list[Path]:
    """What host and keeper have of the states that some records left."""
    states = [record.body.state for record in records if record is not None and record.body.state is not None]
    names = {digest for state in states for digest in (state.about, state.parts.digest)}
    homes = [play.stage.home(role) for role in ("host", "office")]
    return [path for home in homes for path in home.rglob("*") if path.name in names]


def test_twenty_kills_end_in_one_state_or_the_next(tmp_path: Path) -> None:
    crashes = crash_points.play(tmp_path, points=20, seed=1)
    assert len(crashes.points) == 20


@pytest.mark.slow
def test_a_kill_between_a_record_and_its_kept_takes_nothing_back(play: Play) -> None:
    """The record is in the log, its keeper has not said yet that it keeps it: nothing counts, then all of it."""
    play, days = play.under(f"{D1}/{D5}"), []
    for day, killed in ((D1, "office"), (D2, "operator"), (D3, "host"), (D4, "enclave")):
        play.bring(day)
        before, held = play.view().state_record(TASK), Held()
        with play.lies.lying(held, to="office", when=lambda call: call.says("kept")):
            run = play.ask(day)
            await_(lambda held=held: held.calls)
            assert (play.view().state_record(TASK), play.view().ingested(TASK)) == (before, days)
            play.kill(killed)
            held.let_go()
        assert play.await_end(run).word == "done"
        days.append(day)
        assert (play.view().counter(TASK), play.view().ingested(TASK)) == (len(days), days)
        await_(play.settled)


@pytest.mark.slow
def test_days_of_two_tasks_go_on_under_a_new_version_with_other_holders(play: Play, tmp_path: Path) -> None:
    play = play.under(f"{D1}/{D3}", with_a_second_task)
    play.bring(D1)
    for task in (TASK, SECOND):
        play.take_in(D1, task=task)
    await_(play.settled)
    old = play.view().state_record(TASK)
    assert old is not None
    assert play.has_share("regulator", old.id)

    later = play.next_version(
        ("of: [operator, office, regulator], threshold: 2", "of: [operator, office], threshold: 2")
    )
    assert later.view().ingested(TASK) == later.view().ingested(SECOND) == [D1]
    later.bring(D2)
    for task in (TASK, SECOND):
        later.take_in(D2, task=task)
    assert "taken in already" in later.refused("office", *later.words(TASK, D1))
    new = later.view().state_record(TASK)
    assert new is not None
    await_(lambda: later.has_share("operator", new.id) and later.has_share("office", new.id))
    await_(lambda: not any(later.has_share(holder, old.id) for holder in HOLDERS))
    assert not later.has_share("regulator", new.id)
    later.bring_tables()
    for task in (TASK, SECOND):
        run = later.stage.json("office", *later.words(task, later.report, "--finish"))["run"]
        about = later.check(run, [D1, D2], tmp_path / task)
        assert (about["days"]["taken_in"], about["days"]["skipped"]) == ([D1, D2], [D3])


# -- a hostile host ----------------------------------------------------------------------------------------------------


def with_a_second_task(text: str) -> str:
    """The same statistic once more, as a task of its own over other days."""
    found = re.search(r"(?ms)^  usual-environment:\n.*?(?=^\S)", text)
    assert found
    return text.replace(found[0], found[0] + found[0].replace("usual-environment", SECOND))


@dataclass
class Hostile:
    """A task with a state of two days, its state of one day as it was, and another task's, as a host may keep them."""

    play: Play
    old: dict[str, list[bytes]]
    other: dict[str, list[bytes]]


@pytest.fixture(scope="module")
def hostile(play: Play) -> Iterator[Hostile]:
    play = play.under(f"{D1}/{D6}", with_a_second_task)
    for day in (D1, D2, D3, D4, D5, D6):
        play.bring(day)
    play.bring_tables()
    play.take_in(D1)
    old = blobs(play, newest(play))
    play.take_in(D2)
    play.take_in(D3, task=SECOND)
    with play.by_hand():  # to the end of the module: whatever needs a launcher stands above
        yield Hostile(play, old, blobs(play, newest(play, SECOND)))


def newest(play: Play, task: str = TASK) -> State:
    left = play.view().state_record(task)
    assert left is not None
    assert left.body.state is not None
    return left.body.state


def blobs(play: Play, state: State) -> dict[str, list[bytes]]:
    """Every ciphertext of a state: its note, its list of parts, its parts."""
    client = play.member("office").client
    about, listing = (client.get_blob(play.agreement, digest) for digest in (state.about, state.parts.digest))
    parts = [client.get_blob(play.agreement, part.sha256) for part in parse_parts_list(listing)]
    return {"about": [about], "list": [listing], "part": parts}


def finish(play: Play, run: str) -> None:
    """The same run goes on, with an honest instance, to its end."""
    with play.instance(run, "finishing"):
        assert not play.await_end(run).refused


@pytest.mark.slow
def test_an_old_state_or_another_tasks_is_not_taken_for_the_newest(hostile: Hostile) -> None:
    play, run = hostile.play, hostile.play.ask(D4)
    before, state = play.view().state_record(TASK), newest(play)
    part = parse_parts_list(blobs(play, state)["list"][0])[0].sha256
    for name, instead in (("old", hostile.old), ("other", hostile.other)):
        for what, digest in (("about", state.about), ("list", state.parts.digest), ("part", part)):
            lie = play.lies.lying(always(instead[what][0]), path=BLOBS + digest, to="instance")
            with lie, play.instance(run, f"{name}-{what}") as enclave:
                assert enclave.wait(60) != 0
            assert play.said(f"{name}-{what}", "gave something else than blob")
            play.stage.call("office", "run", "abandon", run)
            assert play.view().state_record(TASK) == before
    finish(play, run)
    assert play.view().ingested(TASK) == [D1, D2, D4]


@pytest.mark.slow
def test_an_old_share_of_a_key_opens_nothing_for_a_new_instance(hostile: Hostile) -> None:
    play = hostile.play
    releases = [entry for each in play.view().instances.values() for entry in each.all_releases]
    given = [entry for entry in releases if entry.by == "regulator" and entry.body.state is not None]
    old, run = play.view().statements[given[-1].id], play.ask(D5)

    def mine(envelope: Any) -> bool:
        found = statement.parse(canonical.encode(envelope)) if envelope else None
        return found is not None and found.type == "key-release" and found.body["request"] == run

    def swapped(call: Call, truth: Truth) -> Answer:
        """The host gives the old release's text where the log has the new one."""
        told = truth(call)
        given = json.loads(told.body) if told.status == 200 else []
        lie = [json.loads(old.to_bytes()) if mine(each) else each for each in given]
        return Answer(canonical.encode(lie)) if told.status == 200 else told

    lie = play.lies.lying(swapped, path="/v1/statements/read", to="instance")
    with lie, play.instance(run, "replayed") as enclave:
        assert enclave.wait(60) != 0
    assert play.said("replayed", r"\(key-release\) is (not what the log says|missing)")
    play.stage.call("office", "run", "abandon", run)

    # a holder that helps the host says it once more, for the new instance: sealed to another, it does not open
    play.stage.stop("regulator")
    with play.instance(run, "waiting"):
        late = play.lies.lying(always(b"", 503), to="operator", when=lambda call: call.says("key-release"))
        with late:
            await_(lambda: at_work(play, run) is not None and at_work(play, run).shares)
            instance = at_work(play, run)
            bound = {"request": run, "c": instance.c, "instance": instance.fingerprint, "state": newest(play).digest}
            copied = play.member("regulator").say("key-release", {**bound, "sealed": old.body["sealed"]})
            await_(lambda: copied.id in play.view().entries)
            time.sleep(4)
            assert at_work(play, run).record is None
        assert not play.await_end(run).refused
    play.stage.start_agent("regulator")
    record = play.view().counting_record(run)
    assert record is not None
    assert copied.id not in record.body.releases
    assert play.view().ingested(TASK)[-1] == D5
    await_(play.settled)


def at_work(play: Play, run: str) -> Any:
    """The instance that works on a run."""
    found = [each for each in play.view().instances.values() if each.request.id == run and not each.over]
    return found[-1] if found else None


@dataclass
class Late:
    """What a frozen instance said when it was thawed, and the keys that a holder who helps the host has kept for it."""

    record: Entry[RunRecord]
    instance: Instance
    kept: list[Opener]


def freeze(play: Play, run: str, name: str) -> Late:
    """Freeze an instance that has its shares, let a second one do the run, thaw the first and hide all that from it."""
    held, said, state = Held(), list[Statement](), newest(play)
    kept = blobs(play, state)
    digests = [part.sha256 for part in parse_parts_list(kept["list"][0])]
    texts = {state.about: kept["about"][0], state.parts.digest: kept["list"][0]}
    texts |= dict(zip(digests, kept["part"], strict=True))

    def keep(call: Call, _: Truth) -> Answer | None:
        """The host has kept the state that the frozen one was to open, although it has said that it deleted it."""
        text = texts.get(call.path.rpartition("/")[2]) if call.method == "GET" else None
        return None if text is None else Answer(text)

    def hold(call: Call, truth: Truth) -> Answer | None:
        held(call, truth)
        return keep(call, truth) if call.signer == held.calls[0].signer else None

    def listen(call: Call, _: Truth) -> None:
        if call.says("run-record") and call.said is not None:
            said.append(call.said)

    reading = play.lies.lying(hold, path=BLOBS + ".*", to="instance", when=lambda call: call.method == "GET")
    with play.instance(run, f"{name}-frozen") as frozen:
        with reading:
            await_(lambda: held.calls)
            frozen.send_signal(signal.SIGSTOP)
            first, signer = at_work(play, run), held.calls[0].signer
            assert first.fingerprint == signer
            mine = duties._seal_to_keys(play.member("office"), first)
            past = play.lies.log_file("checkpoint")
            play.stage.call("office", "run", "abandon", run)
            finish(play, run)
        counted = play.view().counting_record(run)
        assert counted is not None
        assert counted.by != signer
        await_(play.settled)
        to_it: Any = {"to": "instance", "when": lambda call: call.signer == signer}
        with (
            play.lies.lying(always(past), path="/log/checkpoint", **to_it),
            play.lies.lying(keep, path=BLOBS + ".*", **to_it),
            play.lies.lying(listen, **to_it),
        ):
            frozen.send_signal(signal.SIGCONT)
            held.let_go()
            await_(lambda: said)
    await_(lambda: said[0].id in play.view().void)
    assert play.view().void[said[0].id][1] == "a run-record of an instance that is not live"
    body = parse_body(said[0])
    assert isinstance(body, RunRecord)
    return Late(Entry(0, said[0].id, play.agreement, signer, body), first, mine)


@pytest.mark.slow
def test_of_two_enclaves_from_one_state_one_leaves_the_next(hostile: Hostile) -> None:
    play = hostile.play
    run, c = play.ask(D6), play.view().counter(TASK)
    late = freeze(play, run, "ingest")
    view, left = play.view(), play.view().state_record(TASK)
    assert (view.counter(TASK), view.ingested(TASK)[-1]) == (c + 1, D6)
    assert left is not None
    assert left.body.state is not None
    assert late.record.body.state is not None
    assert left.body.state.digest != late.record.body.state.digest
    # no holder took its share, nor can any that is honest; one that has kept what opens it is one of two needed
    for holder in HOLDERS:
        assert play.member(holder).home.ledger.secret("state-share", late.record.id) is None
        assert opened_by(play.member(holder), late.record, seal_to_keys(play.member(holder))) is None
    office = play.member("office")
    own = opened_by(office, late.record, late.kept)
    assert own is not None
    key = shares.combine({2: own, 1: secrets.token_bytes(len(own))}, threshold=2, holders=3)
    with pytest.raises(SessionOver, match="does not open"):
        open_state(office.client, play.agreement, TASK, c + 1, late.record.body.state, key)


@pytest.mark.slow
def test_of_two_enclaves_one_result_is_opened_also_when_consumer_and_host_collude(
    hostile: Hostile, tmp_path: Path
) -> None:
    """The last one of this agreement: the report is made."""
    play = hostile.play
    run, days = play.ask(play.report, "--finish"), play.view().ingested(TASK)
    late = freeze(play, run, "finish")
    await_(lambda: runs.stage(play.view(), run, "office").word == "released")
    play.check(run, days, tmp_path / "out")
    office, outputs = play.member("office"), late.record.body.outputs
    context = contexts.result_share(
        play.agreement,
        instance=late.record.by,
        holder=office.identity.fingerprint,
        task=TASK,
        c=late.record.body.c,
        outputs=contexts.outputs_digest([output.to_json() for output in outputs]),
    )
    own = opened(office, late.record.body.shares["office"].sealed, context, late.kept)
    assert own is not None  # what it has is real, and one of two
    counted = play.view().counting_record(run)
    assert counted is not None
    others = runs._shares(office, counted, office.view.instance_of(counted.id))[0]
    others.pop(2, None)
    assert others  # what the other holders have released is for the record that counts
    for number, share in others.items():
        key = shares.combine({2: own, number: share}, threshold=2, holders=3)
        for output in outputs:
            with pytest.raises(PartyError, match="does not open"):
                runs._open_output(office, late.record, late.instance, output, key)
    assert late.record.id not in play.view().result_releases
    for holder in HOLDERS:
        assert play.member(holder).home.ledger.secret("result-share", late.record.id) is None


# -- nothing to see ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_nobody_outside_the_operator_has_an_identifier_or_an_inner_id(play: Play) -> None:
    """Over all that was played on this stage."""
    if not play.members:
        pytest.skip("nothing was played on this stage: run the whole file in one process")
    imsis = sorted({line[:15] for file in play.made.glob("imsi-*.csv") for line in file.read_text().splitlines()[1:]})
    played = replace(play, agreement=next(iter(play.members))[1])
    inner = inner_ids(pa.array(imsis), pseudonymiser(played.member("operator"), "days", D1).inner_key())
    raw = [value.as_py() for value in inner]
    watched = [*(number.encode() for number in imsis[:: len(imsis) // 20]), *raw[:: len(raw) // 20]]
    forms = set().union(*map(canary_forms, watched)) | {*raw, *(value.hex().encode() for value in raw)}
    homes = [play.stage.home(role) for role in ("host", "enclave", "office", "regulator", *play.stage.witnesses)]
    scratch = play.made.parent / "tmp"
    folders = [*homes, play.stage.folder / "logs", scratch]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert any("kept" in path.parts for path in files)
    assert sum(path.stat().st_size for path in files) > 200_000
    assert [path.name for path in files if seen(path, imsis, forms)] == []
    assert not list(scratch.glob("sealstat-scratch-*"))
    own = next(play.made.glob("imsi-*.csv"))
    assert seen(own, imsis, set())  # the test can fail


def seen(path: Path, numbers: list[str], forms: set[bytes]) -> bool:
    data = path.read_bytes()
    digits = {data[at.start(1) : at.end(1)].decode() for at in re.finditer(rb"(?=(\d{15}))", data)}
    return not digits.isdisjoint(numbers) or any(form in data for form in forms)
