"""What a holder's agent does with its shares of states and of the keys of pseudonyms."""

from pathlib import Path

import pytest

from days import DAYS, REPORT, TASK, Days
from desk import Desk, home
from sealstat.agreement.model import Agreement
from sealstat.crypto import canonical
from sealstat.crypto.cards import b64
from sealstat.crypto.identity import Opener
from sealstat.crypto.statement import Statement
from sealstat.party import duties
from sealstat.party.errors import PartyError
from story import Instance


class Scene:
    """The regulator's agent holds its share of the state of one day, and the next day is asked for."""

    def __init__(self, path: Path) -> None:
        self.story = Days()
        (self.first,) = self.story.take_in(DAYS[0])
        self.desk = Desk(self.story, home(path, "regulator"))
        duties.take_shares(self.desk)  # sealed to challenges that another home made: noted, and nothing is kept
        self.ledger = self.desk.home.ledger
        self.ledger.keep_secret("state-share", self.first.id, {"share": b64(bytes(32))})
        self.story.bring(DAYS[1])
        self.desk.read()
        self.key = self.desk.view.period_keys["days", DAYS[1]]
        self.ledger.keep_secret("key-share", self.key, {"share": b64(bytes(32))})

    def instance(self, *, measurement: str | None = None) -> Instance:
        request = self.story.ask(TASK, "ingest", DAYS[1])
        self.desk.read()
        duties.challenge_requests(self.desk)
        asked = {"regulator": self.desk.log("challenge")}
        for name in ("operator-a", "operator-b"):
            asked[name] = self.story.challenge(name, request, 1)
        made = self.story.instance(request, asked, 1)
        self.story.attest(made, **({"measurement": measurement} if measurement else {}))
        self.desk.read()
        return made

    def given(self) -> list[Statement]:
        duties.release_keys(self.desk)
        return self.desk.said("key-release")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_shares_are_given_once_to_one_live_instance(scene: Scene) -> None:
    first = scene.instance()
    assert len(scene.given()) == 2
    said = scene.given()
    assert len(said) == 2
    assert {each.body["instance"] for each in said} == {first.id}
    assert {each.body.get("state") or each.body["period_key"] for each in said} == {scene.story.state(), scene.key}


def test_code_that_is_not_agreed_gets_no_share(scene: Scene) -> None:
    scene.instance(measurement="0" * 64)
    assert scene.given() == []


def test_a_second_instance_gets_no_share(scene: Scene) -> None:
    first = scene.instance()
    scene.given()
    second = scene.story.instance(first.request, first.challenges, 1)
    scene.story.attest(second)
    scene.desk.read()
    assert {each.body["instance"] for each in scene.given()} == {first.id}


def test_a_share_that_was_destroyed_is_not_given(scene: Scene) -> None:
    scene.instance()
    scene.ledger.destroy_secret("state-share", scene.first.id)
    assert [list({"state", "period_key"} & each.body.keys()) for each in scene.given()] == [["period_key"]]


def test_shares_are_destroyed_when_the_day_is_in(scene: Scene) -> None:
    duties.forget_shares(scene.desk)
    assert scene.ledger.secret_refs("state-share") == [scene.first.id]
    assert scene.ledger.secret_refs("key-share") == [scene.key]
    scene.story.do(TASK, "ingest", DAYS[1])
    scene.desk.read()
    duties.forget_shares(scene.desk)
    assert (scene.ledger.secret_refs("state-share"), scene.ledger.secret_refs("key-share")) == ([], [])


def test_a_share_of_a_version_before_is_destroyed_when_a_state_of_this_one_follows(scene: Scene) -> None:
    old, value = scene.story.id, {**scene.story.terms.to_json(), "version": 2, "supersedes": scene.story.id}
    new = scene.story.propose(Agreement.model_validate(canonical.decode(canonical.encode(value), limit=1 << 20)))
    scene.story.approve_all()
    scene.story.succeed(old, new.id, *scene.story.terms.roles.approvers)
    scene.desk.read()
    duties.forget_shares(scene.desk)
    assert scene.ledger.secret_refs("state-share") == [scene.first.id]
    scene.story.take_in(DAYS[2])
    scene.desk.read()
    duties.forget_shares(scene.desk)
    assert scene.ledger.secret_refs("state-share") == []


def test_a_cancel_destroys_the_share_of_the_state_and_spares_keys_of_days_to_come(scene: Scene) -> None:
    scene.story.do(TASK, "cancel", REPORT)
    scene.desk.read()
    duties.forget_shares(scene.desk)
    assert (scene.ledger.secret_refs("state-share"), scene.ledger.secret_refs("key-share")) == ([], [scene.key])


def test_a_withdrawal_destroys_all_shares(scene: Scene) -> None:
    scene.story.withdraw("ministry")
    scene.desk.read()
    duties.forget_shares(scene.desk)
    assert (scene.ledger.secret_refs("state-share"), scene.ledger.secret_refs("key-share")) == ([], [])


def test_a_state_is_forgotten_at_a_persons_word_and_that_is_said(scene: Scene) -> None:
    digest = scene.story.state()
    duties.forget_state(scene.desk, TASK, why="asked to")
    assert scene.desk.said("expiry")[0].body == {"state": digest, "task": TASK}
    assert scene.ledger.secret_refs("state-share") == []
    duties.forget_state(scene.desk, TASK, why="asked again")
    assert len(scene.desk.said("expiry")) == 1


def test_a_share_that_went_in_a_call_that_was_cut_off_can_still_be_said_gone(scene: Scene) -> None:
    (ref,) = scene.ledger.secret_refs("state-share")
    scene.ledger.destroy_secret("state-share", ref)
    duties.forget_state(scene.desk, TASK, why="asked to, and cut off once")
    assert len(scene.desk.said("expiry")) == 1


def test_what_does_not_exist_cannot_be_forgotten(scene: Scene) -> None:
    scene.story.do(TASK, "cancel", REPORT)
    scene.desk.read()
    with pytest.raises(PartyError, match="has no state"):
        duties.forget_state(scene.desk, TASK, why="asked to")


def test_the_share_of_the_next_state_is_taken_and_its_opener_destroyed(scene: Scene) -> None:
    made = scene.instance()
    given = [scene.story.release(scene.story.statements[id], made) for id in made.request.body["deliveries"]]
    for of, kind in ((scene.story.state(), "state"), (scene.key, "period_key")):
        given += [scene.story.give(name, made, of, kind) for name in ("operator-a", "operator-b")]
    (ref,) = scene.ledger.secret_refs("seal-to")
    secret = scene.ledger.secret("seal-to", ref)
    assert secret is not None
    scene.story.openers[made.challenges["regulator"].id] = Opener.from_secret(secret)
    record = scene.story.leave(made, given)
    scene.story.keep(record)
    scene.desk.read()
    duties.take_shares(scene.desk)
    assert record.id in scene.ledger.secret_refs("state-share")
    assert scene.ledger.secret_refs("seal-to") == []
    duties.forget_shares(scene.desk)
    assert scene.ledger.secret_refs("state-share") == [record.id]


def test_an_owner_consents_to_a_key_for_its_own_pseudonyms(tmp_path: Path) -> None:
    story = Days()
    desk = Desk(story, home(tmp_path, "operator-a"))
    request = story.ask("keys", "key", DAYS[0])
    desk.read()
    duties.challenge_requests(desk)
    asked = {"operator-a": desk.log("challenge")}
    asked |= {name: story.challenge(name, request) for name in ("operator-b", "regulator")}
    made = story.instance(request, asked)
    story.attest(made)
    desk.read()
    duties.release_keys(desk)
    (said,) = desk.said("key-release")
    assert said.body == {"request": request.id, "c": 0, "instance": made.id}
