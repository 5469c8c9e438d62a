"""A host that lies to one role and tells the others the truth, and parties that help it: they open nothing.

All roles are real processes; between them and the real host stands a proxy (lying.py). When the lie has ended, the
same run ends in the right table, wherever the protocol lets it go on.
"""

import json
import os
import re
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from enclaves import await_, door, enclave
from lying import Answer, Call, Fork, Held, LyingHost, Truth, always, behind_lies
from sealstat.agreement import contexts
from sealstat.agreement.replay import View
from sealstat.crypto.cards import InstanceCard, fingerprint, unb64
from sealstat.crypto.identity import Opener, Signer
from sealstat.crypto.sealing import seal
from sealstat.crypto.statement import sign
from sealstat.host import setup
from sealstat.lab import demo
from sealstat.lab.stage import Stage
from sealstat.party import linkage, runs
from sealstat.party.deliver import deliver
from sealstat.party.errors import PartyError
from sealstat.party.home import Home
from sealstat.party.member import Member
from sealstat.wire.client import HostClient

pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]
PERIOD = "2026-09"
DELAY_S, AGE_S = 3, 4
CHECKPOINT = "/log/checkpoint"
BLOBS = "/v1/agreements/[0-9a-f]+/blobs/"


@dataclass
class Play:
    """A stage whose host is reached through the proxy; each test starts the instances it is about."""

    stage: Stage
    lies: LyingHost
    agreement: str
    truths: dict[str, Any] = field(default_factory=dict)  # by run
    members: dict[tuple[str, str], Member] = field(default_factory=dict)

    def deliver(self, period: str = PERIOD) -> None:
        self.truths[period] = demo.generate(self.stage, 1_000, period, seed=3)
        demo.deliver(self.stage, self.agreement, period)

    def ask(self, period: str = PERIOD) -> str:
        words = ("run", self.agreement, "visitors", "--period", period, "--purpose", demo.PURPOSE, "--detach")
        run: str = self.stage.json("ministry", *words)["run"]
        self.truths[run] = self.truths[period]
        return run

    def shown(self, run: str) -> dict[str, Any]:
        return dict(json.loads(self.stage.try_call("ministry", "run", "show", run, "--json").stdout))

    def said(self, role: str, words: str) -> bool:
        """Whether a role has said something that fits the pattern."""
        return re.search(words, (self.stage.folder / "logs" / f"{role}.log").read_text()) is not None

    def check(self, run: str, out: Path) -> None:
        """The ministry's table is the planted truth."""
        self.stage.call("ministry", "fetch", run, "--out", str(out))
        (row,) = pyarrow.parquet.read_table(out / "all.parquet").to_pylist()
        planted = self.truths[run]["all"]
        assert {name: row[name] for name in planted} == planted

    def passphrase(self, role: str) -> str:
        return (self.stage.folder / "passphrases" / role).read_text().strip()

    def member(self, role: str) -> Member:
        """A party in this process, as a dishonest one may run other programs over its own home."""
        key = role, self.agreement
        if key not in self.members:
            home = Home(self.stage.home(role), self.passphrase(role))
            self.members[key] = Member(home, self.agreement, self.stage.url)
        member = self.members[key]
        member.update()
        return member

    def view(self) -> View:
        """What the log says to one who is not lied to."""
        return self.member("ministry").view

    def await_challenges(self, run: str) -> None:
        """Wait until both owners and the third holder have answered a run."""
        await_(lambda: sum(each.body.request == run for each in self.view().challenges.values()) == 3)

    def instance(self, run: str, name: str) -> AbstractContextManager["subprocess.Popen[str]"]:
        """An enclave of the agreed code."""
        return enclave(self.stage, self.agreement, run, name)

    def finish(self, run: str, out: Path) -> None:
        """The same run goes on, with honest instances, one after the other as a launcher starts them, to its table."""
        ended: list[int] = []
        while not self.view().counting_record(run):
            with self.instance(run, "finishing") as enclave:
                self._await(lambda: self.view().counting_record(run) or enclave.poll() is not None, run, ended)
            ended.append(enclave.returncode)
        self._await(lambda: released(self.view(), run), run, ended)
        self.check(run, out)

    def _await(self, condition: Callable[[], object], run: str, ended: list[int]) -> None:
        """Wait; if it takes too long, say what one must know of a run that does not end."""
        try:
            assert len(ended) < 5
            await_(condition)
        except AssertionError:
            roles = ("finishing", *self.stage.parties, "host")
            logs = {role: (self.stage.folder / "logs" / f"{role}.log").read_text().splitlines()[-12:] for role in roles}
            pytest.fail(f"{self.shown(run)['sentence']}; ended with {ended}; {json.dumps(logs, indent=1)}")


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Play]:
    with Stage(tmp_path_factory.mktemp("lying") / "stage") as stage, behind_lies(stage) as (lies, _):
        many = demo.agree(
            stage,
            release_delay=f"{DELAY_S}s",
            change=lambda text: text.replace("runs_per_period: 1 ", "runs_per_period: 99 "),
        )
        played = Play(stage, lies, many)
        played.deliver()
        yield played


def another_agreement(play: Play, title: str, *changes: tuple[str, str]) -> Play:
    """The same parties under terms of their own."""

    def change(text: str) -> str:
        for old, new in (("operators A and B\n", f"operators A and B, {title}\n"), *changes):
            assert old in text
            text = text.replace(old, new)
        return text

    return replace(play, agreement=demo.agree(play.stage, release_delay=f"{DELAY_S}s", change=change))


def released(view: View, run: str) -> bool:
    record = view.counting_record(run)
    return record is not None and len(view.result_releases.get(record.id, {})) >= 2


# -- two instances on one request ----------------------------------------------------------------------------------


def test_an_instance_frozen_with_its_record_in_hand_opens_nothing_when_it_is_thawed(play: Play, tmp_path: Path) -> None:
    run, held = play.ask(), Held()
    with (
        play.lies.lying(held, to="instance", when=lambda call: call.says("run-record")),
        play.instance(run, "frozen") as frozen,
    ):
        await_(lambda: held.calls)
        os.kill(frozen.pid, signal.SIGSTOP)
        with play.instance(run, "second"):
            for owner in ("operator-a", "operator-b"):
                await_(lambda owner=owner: play.said(owner, "another instance is live for this task"))
        play.stage.call("ministry", "run", "abandon", run)
        play.finish(run, tmp_path / "before")
        os.kill(frozen.pid, signal.SIGCONT)
        held.let_go()
        assert frozen.wait(90) == 75
    assert play.said("frozen", "the record means nothing to those who read the log")
    assert held.calls[0].said is not None
    late = held.calls[0].said.id
    time.sleep(DELAY_S + 2)
    view = play.view()
    assert view.void[late][1] == "a run-record of an instance that is not live"
    (opened,) = [id for id, (record, _) in view.records.items() if record.body.request == run]
    assert opened != late
    assert late not in view.result_releases
    for holder in ("operator-a", "operator-b", "regulator"):
        assert play.member(holder).home.ledger.secret("result-share", late) is None
    play.check(run, tmp_path / "after")


# -- old checkpoints -------------------------------------------------------------------------------------------------


def test_agents_and_enclave_do_nothing_for_a_log_that_has_shrunk(play: Play, tmp_path: Path) -> None:
    old, run = play.lies.log_file("checkpoint"), play.ask()
    play.await_challenges(run)
    with play.lies.lying(always(old), path=CHECKPOINT, to="operator-a"):
        await_(lambda: play.said("operator-a", "the log shrank from size"))
        with play.instance(run, "shrunk") as enclave:
            await_(lambda: "waiting for the key of operator-a" in play.shown(run)["sentence"])
            with play.lies.lying(always(old), path=CHECKPOINT, to="instance"):
                assert enclave.wait(60) == 1
        assert play.said("shrunk", "the log shrank from size")
        play.stage.call("ministry", "run", "abandon", run)
    play.finish(run, tmp_path / "out")
    assert play.said("operator-a", "all well again")


def test_a_withdrawal_hidden_from_the_enclave_keeps_its_record_from_counting(play: Play, tmp_path: Path) -> None:
    play = another_agreement(play, "withdrawn")
    play.deliver()
    run, held = play.ask(), Held()
    with (
        play.lies.lying(held, path=BLOBS + ".*", to="instance", when=lambda call: call.method == "GET"),
        play.instance(run, "misled"),
    ):
        await_(lambda: held.calls)  # it has its keys and asks for the deliveries
        with play.lies.lying(always(play.lies.log_file("checkpoint")), path=CHECKPOINT, to="instance"):
            play.stage.call("operator-a", "agreement", "withdraw", play.agreement, "--why", "the basis has ended")
            held.let_go()
            await_(lambda: play.view().records)
            time.sleep(DELAY_S + 2)
    view = play.view()
    assert not any(map(view.counts, view.records))
    assert not view.result_releases
    shown = play.shown(run)
    assert (shown["stage"], shown["refused"]) == ("stopped", True)
    assert "operator-a withdrew" in shown["sentence"]
    assert play.stage.try_call("ministry", "fetch", run, "--out", str(tmp_path / "out")).returncode == 1


def test_agents_that_are_shown_old_checkpoints_alone_release_nothing(play: Play, tmp_path: Path) -> None:
    """So an owner's refusal that the host hides from the other holders holds all the same."""
    delay_s = 2 * AGE_S
    play = another_agreement(
        play,
        "short of age",
        ("checkpoint_age: 10m", f"checkpoint_age: {AGE_S}s"),
        (f"release_delay: {DELAY_S}s", f"release_delay: {delay_s}s"),
    )
    play.deliver()
    run = play.ask()
    owner = play.member("operator-b")
    with play.instance(run, "computing"):
        await_(lambda: play.view().counting_record(run))
    due = time.monotonic() + delay_s
    with play.lies.lying(always(play.lies.log_file("checkpoint")), path=CHECKPOINT, to="operator-a regulator"):
        runs.refuse(owner, run, "the list was cut wrongly")
        for holder in ("operator-a", "regulator"):
            await_(lambda holder=holder: play.said(holder, f"older than {AGE_S} s"))
        time.sleep(max(0, due + 2 - time.monotonic()))
        assert not play.view().result_releases
    time.sleep(3)
    assert not play.view().result_releases
    shown = play.shown(run)
    assert (shown["stage"], shown["refused"]) == ("stopped", True)
    assert play.stage.try_call("ministry", "fetch", run, "--out", str(tmp_path / "out")).returncode == 1


# -- forks -------------------------------------------------------------------------------------------------------------


def test_agents_and_enclave_take_no_fork_of_the_log(play: Play, tmp_path: Path) -> None:
    run = play.ask()
    play.await_challenges(run)
    keys = setup.load_keys(play.stage.home("host"), play.passphrase("host"))
    fork = Fork(play.lies, keys, play.stage.home, tmp_path / "fork", without="linkage-share")
    for name, lie, words in (
        ("one", fork.told("witness-uni"), "cosigned by 1 of the 2 witnesses needed"),
        ("forged", fork.told("witness-uni", forged="witness-press"), "a known key does not verify"),
        ("quorum", fork.told("witness-uni", "witness-press"), "two roots for size|of two different logs"),
    ):
        with (
            play.lies.lying(lie, path="/log/.*", to="operator-a instance"),
            play.instance(run, f"forked-{name}") as enclave,
        ):
            assert enclave.wait(60) == 1
            await_(lambda words=words: play.said("operator-a", words))
        assert play.said(f"forked-{name}", words)
    assert not [each for each in play.view().instances.values() if each.request.id == run and each.releases]
    play.finish(run, tmp_path / "out")


# -- keys in transit ---------------------------------------------------------------------------------------------------


def test_an_enclave_whose_card_was_exchanged_on_the_way_gets_no_key(play: Play, tmp_path: Path) -> None:
    run = play.ask()
    signer, opener = Signer.generate(post_quantum=False), Opener.generate()
    card = InstanceCard(kind="instance", keys=signer.public(), sealing=opener.public())
    thief = HostClient(play.stage.url, signer, fingerprint(card))
    thief.register_instance(card, door(play.stage, play.agreement, run))

    def exchange(call: Call, _: Truth) -> Answer:
        """The host says what the enclave said, with a card whose keys it has itself."""
        assert call.said is not None
        body = {**call.said.body, "card": card.to_json()}
        about = {"type": "enclave-evidence", "by": thief.fingerprint, "agreement": play.agreement}
        return Answer.of(thief.send(sign(signer, body=body, at=datetime.now(UTC), **about)))

    def of_the_enclave(call: Call) -> bool:
        return call.says("enclave-evidence") and call.signer != thief.fingerprint

    with play.lies.lying(exchange, to="instance", when=of_the_enclave), play.instance(run, "robbed"):
        for owner in ("operator-a", "operator-b"):
            words = f"no key for instance {thief.fingerprint[:12]}: the evidence is bound to another instance"
            await_(lambda owner=owner, words=words: play.said(owner, words))
    assert not play.view().instances[thief.fingerprint].releases
    play.finish(run, tmp_path / "out")
    assert not play.view().instances[thief.fingerprint].releases


def test_a_sealed_key_copied_into_another_release_does_not_open(play: Play, tmp_path: Path) -> None:
    """Operator B passes operator A's sealed key off as its own, so that A's table would be read as B's."""
    run = play.ask()
    play.await_challenges(run)
    play.stage.stop("operator-b")
    with play.instance(run, "deceived") as enclave:
        await_(lambda: any(each.releases for each in play.view().instances.values() if each.request.id == run))
        thief = play.member("operator-b")
        (instance,) = [each for each in thief.view.instances.values() if each.request.id == run]
        (copied,) = [thief.view.statements[entry.id].body for entry in instance.releases.values()]
        (own,) = set(thief.view.requests[run].body.deliveries) - {copied["delivery"]}
        thief.say("key-release", {**copied, "delivery": own})
        assert enclave.wait(60) == 0
    play.stage.start_agent("operator-b")
    assert play.said("deceived", "refused: data")
    shown = play.shown(run)
    assert (shown["stage"], shown["refused"]) == ("refused", True)
    assert not [record for record, _ in play.view().records.values() if record.body.request == run]
    play.finish(play.ask(), tmp_path / "out")  # nothing is lost: asked again, it is run


# -- shares --------------------------------------------------------------------------------------------------------


def test_a_wrong_share_names_its_giver_and_the_others_open_the_result(play: Play, tmp_path: Path) -> None:
    run, let_through = play.ask(), list[str]()

    def held_back(call: Call) -> bool:
        return call.says("result-release") and call.said is not None and call.said.id not in let_through

    busy = always(b"", 503)
    with play.instance(run, "computing"), play.lies.lying(busy, to="operator-b regulator", when=held_back):
        await_(lambda: (record := play.view().counting_record(run)) and record.id in play.view().result_releases)
        liar, record = play.member("operator-b"), play.view().counting_record(run)
        assert record is not None
        secret = liar.home.ledger.secret("result-share", record.id)
        share = bytearray(unb64(secret["share"]))
        share[0] ^= 1
        sealed = {}
        for name in liar.agreement.consumers("visitors"):
            consumer = liar.view.cards[liar.id][name]
            context = contexts.result_release(
                liar.id, holder=liar.identity.fingerprint, consumer=fingerprint(consumer), record=record.id
            )
            sealed[name] = seal(consumer.sealing, context, bytes(share))
        said = liar.say("result-release", {"record": record.id, "shares": sealed}, before=let_through.append)
        liar.await_leaf(said)
        refused = play.stage.try_call("ministry", "fetch", run, "--out", str(tmp_path / "early"))
        assert refused.returncode == 1
        assert "the share that operator-b released is not the one the enclave gave it" in refused.stderr
        assert not (tmp_path / "early").exists()
    await_(lambda: len(play.view().result_releases[record.id]) == 3)
    play.check(run, tmp_path / "out")
    done = play.stage.try_call("ministry", "fetch", run, "--out", str(tmp_path / "again"))
    assert "what operator-b released is not the share" in done.stderr


def test_a_consumer_and_the_host_together_open_nothing_that_was_not_released_to_it(play: Play, tmp_path: Path) -> None:
    run, busy = play.ask(), always(b"", 503)
    with (
        play.instance(run, "computing"),
        play.lies.lying(busy, to="operator-b regulator", when=lambda call: call.says("result-release")),
    ):
        await_(lambda: (record := play.view().counting_record(run)) and record.id in play.view().result_releases)
        early = play.stage.try_call("ministry", "fetch", run, "--out", str(tmp_path / "early"))
        assert "1 of 2 needed holders" in early.stderr
        assert early.returncode == 1
        # every ciphertext, its own key parts, and the share of one holder
        member = play.member("ministry")
        record = member.view.counting_record(run)
        assert record is not None
        instance = member.view.instance_of(record.id)
        (share,) = runs._shares(member, record, instance)[0].values()
        for output in record.body.outputs:
            with pytest.raises(PartyError, match="does not open"):
                runs._open_output(member, record, instance, output, share)
    await_(lambda: released(play.view(), run))
    # all shares, every ciphertext, and the key parts that are for another consumer
    member = play.member("operator-a")
    result_key = runs._result_key(member, record, instance)
    for output in record.body.outputs:
        if "operator-a" not in output.keys:
            stolen = output.model_copy(update={"keys": {"operator-a": output.keys["ministry"]}})
            with pytest.raises(PartyError, match="does not open for operator-a"):
                runs._open_output(member, record, instance, stolen, result_key)
    # the ciphertext of another table in the place of the one that was asked for
    blobs = [member.client.get_blob(member.id, output.parts.digest) for output in record.body.outputs]
    with play.lies.lying(always(blobs[0]), path=BLOBS + output.parts.digest, to="ministry"):
        other = play.stage.try_call("ministry", "fetch", run, "--out", str(tmp_path / "other"))
    assert other.returncode == 1
    assert "gave something else than blob" in other.stderr
    play.check(run, tmp_path / "out")


# -- deliveries ----------------------------------------------------------------------------------------------------


def test_deliveries_under_two_linkage_keys_are_not_run(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    """Operator B makes its pseudonyms under a key of its own: nobody would be found on both networks."""
    period = "2026-10"
    play.truths[period] = demo.generate(play.stage, 1_000, period, seed=3)
    lists = {role: play.stage.home(role) / "roamers.csv" for role in ("operator-a", "operator-b")}
    words = ("deliver", play.agreement, "roamers-a", str(lists["operator-a"]), "--period", period)
    play.stage.call("operator-a", *words)
    monkeypatch.setattr(linkage, "key_for", lambda *_: bytes(32))
    deliver(play.member("operator-b"), "roamers-b", lists["operator-b"], period)
    run = play.ask(period)
    shown = play.shown(run)
    assert (shown["stage"], shown["refused"]) == ("refused", True)
    assert "the deliveries were not made under one linkage key" in shown["sentence"]
    for holder in ("operator-a", "operator-b", "regulator"):
        words_ = f"no challenge for run {run[:12]}: the deliveries were not made under one linkage key"
        await_(lambda holder=holder, words_=words_: play.said(holder, words_))
    with play.instance(run, "unasked"):
        time.sleep(4)
    view = play.view()
    assert not [each for each in view.challenges.values() if each.body.request == run]
    assert not [each for each in view.instances.values() if each.request.id == run]


def test_a_delivery_cut_by_a_full_disk_of_the_host_goes_on_when_there_is_space(play: Play, tmp_path: Path) -> None:
    period, host = "2026-11", play.stage.roles["host"].process.pid
    play.truths[period] = demo.generate(play.stage, 1_000, period, seed=3)
    words = {
        role: ("deliver", play.agreement, f"roamers-{role[-1]}", str(play.stage.home(role) / "roamers.csv"))
        for role in ("operator-a", "operator-b")
    }
    play.stage.call("operator-b", *words["operator-b"], "--period", period)
    _, hard = resource.prlimit(host, resource.RLIMIT_FSIZE)
    cut: list[str] = []

    def fill(call: Call, _: Truth) -> None:
        """From the first part on, no file can grow beyond 4 KiB."""
        cut.append(call.path.rpartition("/")[2])
        resource.prlimit(host, resource.RLIMIT_FSIZE, (4096, hard))

    def stored() -> list[Path]:
        return [path for path in (play.stage.home("host") / "blobs").rglob("*") if path.is_file()]

    before = stored()
    with play.lies.lying(fill, path=BLOBS + ".*", to="operator-a", when=lambda call: call.method == "PUT"):
        full = play.stage.try_call("operator-a", *words["operator-a"], "--period", period)
    assert full.returncode == 1
    assert "disk is full: nothing was stored, try again later" in full.stderr
    assert stored() == before
    resource.prlimit(host, resource.RLIMIT_FSIZE, (hard, hard))
    play.stage.call("operator-a", *words["operator-a"], "--period", period)
    assert cut[0] in {path.name for path in stored()}  # sealed once, and sent again as it was
    play.finish(play.ask(period), tmp_path / "out")
    assert play.stage.call("auditor", "log", "check", play.stage.url)
