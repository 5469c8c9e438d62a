from pathlib import Path

import pytest

import builders
from desk import Desk, home, write_keys
from sealstat.agreement.model import Agreement
from sealstat.crypto.cards import b64
from sealstat.crypto.statement import Statement
from sealstat.party import duties, linkage
from sealstat.party.errors import PartyError
from sealstat.wire.errors import HostRefusal, WireError
from story import PERIOD, Instance, Story

SECRET = {"key": b64(bytes(32)), "rows": 1, "rejects": {}, "size": 1}


def refusal(status: int = 403) -> HostRefusal:
    return HostRefusal(status=status, code="no", message="the host refuses: no")


class Scene:
    """Operator A's agent has challenged a request, with two instances that show good evidence over its challenge."""

    def __init__(self, tmp_path: Path, *, hold: str = "none") -> None:
        terms = builders.agreement_json()
        terms["tasks"]["visitors"]["hold"] = hold
        self.story = Story(Agreement.model_validate(terms))
        self.request = self.story.begin()
        self.desk = Desk(self.story, home(tmp_path, "operator-a"))
        self.delivery = self.request.body["deliveries"][0]
        self.desk.home.ledger.keep_secret("delivery-key", self.delivery, SECRET)
        duties.challenge_requests(self.desk)
        self.challenges = {"operator-a": self.desk.log("challenge")}
        for name in ("operator-b", "regulator"):
            self.challenges[name] = self.story.challenge(name, self.request)

    def instance(self) -> Instance:
        made = self.story.instance(self.request, self.challenges)
        self.story.attest(made)
        self.desk.read()
        return made

    def released_to(self) -> list[str]:
        duties.release_keys(self.desk)
        return [statement.body["instance"] for statement in self.desk.said("key-release")]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_a_key_goes_to_one_of_two_instances_also_before_its_leaf(scene: Scene) -> None:
    first, _ = scene.instance(), scene.instance()
    assert scene.released_to() == [first.id]
    assert scene.released_to() == [first.id]


def test_a_release_the_host_refused_still_keeps_the_key_from_a_second_instance(scene: Scene) -> None:
    scene.instance()
    scene.desk.host.error = refusal()
    with pytest.raises(PartyError, match="refuses"):
        duties.release_keys(scene.desk)
    scene.desk.host.error = None
    scene.instance()
    assert scene.released_to() == []  # the host may give the first one a leaf after all


def test_a_release_that_another_process_saw_logged_still_keeps_the_key_from_a_second_instance(scene: Scene) -> None:
    first, _ = scene.instance(), scene.instance()
    assert scene.released_to() == [first.id]
    scene.desk.home.ledger.settle(scene.desk.said("key-release")[0].id)  # by a command that has read further
    assert scene.released_to() == [first.id]


def test_an_abandon_without_a_leaf_does_not_open_the_way_to_a_second_instance(scene: Scene) -> None:
    first = scene.instance()
    scene.released_to()
    scene.desk.log("key-release")
    scene.desk.say("abandon", {"instance": first.id})
    scene.instance()
    duties.challenge_requests(scene.desk)
    assert scene.released_to() == [first.id]
    assert scene.desk.judged().live("visitors") is not None


def test_an_approval_of_ones_own_counts_from_its_leaf_only(tmp_path: Path) -> None:
    story = Story()
    for name in ("operator-b", "ministry"):
        story.approve(name)
    desk = Desk(story, home(tmp_path, "operator-a"))
    desk.say("approval", {"language": "en", "renderer": "sealstat-1", "explained": "0" * 64})
    assert desk.judged().missing_approvals() == ["operator-a"]


def test_a_release_written_down_is_not_sent_after_a_withdrawal(scene: Scene) -> None:
    scene.instance()
    scene.desk.host.error = WireError("the host is away")
    scene.released_to()
    scene.story.withdraw("ministry")
    scene.desk.host.error = None
    scene.desk.read()
    duties.resend(scene.desk)
    assert scene.desk.said("key-release") == []


def test_a_release_written_down_is_sent_when_the_host_is_back(scene: Scene) -> None:
    first = scene.instance()
    scene.desk.host.error = WireError("the host is away")
    scene.released_to()
    scene.desk.host.error = None
    duties.resend(scene.desk)
    assert [each.body["instance"] for each in scene.desk.said("key-release")] == [first.id]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_a_busy_host_did_not_take_stays_to_be_sent(scene: Scene, status: int) -> None:
    scene.desk.host.error = refusal(status)
    said = scene.desk.say("abandon", {"instance": "0" * 64})
    assert said.id in [each.id for each in scene.desk.home.ledger.pending(scene.desk.id)]


def test_a_refused_statement_does_not_keep_the_agent_from_its_other_duties(scene: Scene) -> None:
    scene.instance()
    scene.desk.host.error = refusal()
    with pytest.raises(PartyError):
        duties.release_keys(scene.desk)
    duties.resend(scene.desk)


def counted(scene: Scene) -> Statement:
    """A record that counts, of a run to which all have released."""
    made = scene.instance()
    scene.released_to()
    made.releases[scene.delivery] = scene.desk.log("key-release")
    scene.story.openers[scene.challenges["operator-a"].id] = _opener(scene)
    other = scene.request.body["deliveries"][1]
    made.releases[other] = scene.story.release(scene.story.statements[other], made)
    record = scene.story.record(made)
    scene.story.keep(record)
    scene.desk.read()
    return record


def _opener(scene: Scene) -> object:
    from sealstat.crypto.identity import Opener

    (ref,) = scene.desk.home.ledger.secret_refs("seal-to")
    secret = scene.desk.home.ledger.secret("seal-to", ref)
    assert secret is not None
    return Opener.from_secret(secret)


def test_a_share_is_taken_and_then_the_key_it_was_sealed_to_destroyed(scene: Scene) -> None:
    record = counted(scene)
    duties.take_shares(scene.desk)
    ledger = scene.desk.home.ledger
    assert (ledger.secret_refs("result-share"), ledger.secret_refs("seal-to")) == ([record.id], [])


def test_a_share_sealed_before_its_holder_took_a_new_card_still_opens(scene: Scene) -> None:
    record = counted(scene)
    scene.story.rotate("operator-a")
    write_keys(scene.desk.home.path, "operator-a", 0, 1)
    scene.desk.read()
    duties.take_shares(scene.desk)
    assert scene.desk.home.ledger.secret_refs("result-share") == [record.id]


def test_a_result_written_down_is_not_sent_after_an_owner_refused_it(scene: Scene) -> None:
    record = counted(scene)
    duties.take_shares(scene.desk)
    scene.desk.host.error = WireError("the host is away")
    duties.release_results(scene.desk)
    scene.story.refuse("operator-b", record.id, "owner", why="a mistake in the data")
    scene.desk.host.error = None
    scene.desk.read()
    duties.resend(scene.desk)
    assert scene.desk.said("result-release") == []


def test_a_share_that_does_not_open_leaves_the_key_it_should_have_been_sealed_to(scene: Scene) -> None:
    made = scene.instance()
    scene.released_to()
    made.releases[scene.delivery] = scene.desk.log("key-release")
    scene.story.openers[scene.challenges["operator-a"].id] = _opener(scene)
    other = scene.request.body["deliveries"][1]
    made.releases[other] = scene.story.release(scene.story.statements[other], made)
    body, _ = scene.story.record_body(made)
    garbage = {**body["shares"], "operator-a": {"sealed": b64(bytes(1200)), "mac": "0" * 64}}
    scene.story.keep(scene.story.record(made, shares=garbage))
    scene.desk.read()
    duties.take_shares(scene.desk)
    ledger = scene.desk.home.ledger
    assert (ledger.secret_refs("result-share"), len(ledger.secret_refs("seal-to"))) == ([], 1)


def test_a_stopped_result_leaves_no_share_behind(scene: Scene) -> None:
    record = counted(scene)
    duties.take_shares(scene.desk)
    scene.story.refuse("operator-b", record.id, "owner", why="a mistake in the data")
    scene.desk.read()
    duties.do_all(scene.desk)
    assert scene.desk.home.ledger.secret_refs("result-share") == []
    assert scene.desk.said("result-release") == []


def test_a_withdrawn_agreement_leaves_neither_keys_nor_shares_behind(scene: Scene) -> None:
    assert len(scene.desk.home.ledger.secret_refs("seal-to")) == 1
    counted(scene)
    duties.take_shares(scene.desk)
    scene.story.challenge(
        "operator-a", scene.story.request(list(scene.story.deliver_all(period="2026-11")), period="2026-11")
    )
    scene.story.withdraw("ministry")
    scene.desk.read()
    duties.do_all(scene.desk)
    ledger = scene.desk.home.ledger
    assert ledger.secret_refs("result-share") == ledger.secret_refs("seal-to") == []
    assert scene.desk.said("result-release") == []


def test_a_challenge_the_host_refuses_leaves_no_key_behind(tmp_path: Path) -> None:
    story = Story()
    story.begin()
    desk = Desk(story, home(tmp_path, "operator-a"))
    desk.host.error = refusal()
    with pytest.raises(PartyError):
        duties.challenge_requests(desk)
    assert desk.home.ledger.secret_refs("seal-to") == []


def test_trouble_with_one_duty_does_not_keep_the_agent_from_the_next(scene: Scene) -> None:
    record = counted(scene)
    second = scene.story.begin(period="2026-11")
    scene.desk.read()
    scene.desk.host.error = refusal()
    with pytest.raises(PartyError):
        duties.do_all(scene.desk)  # the challenge of the second request is refused
    assert scene.desk.home.ledger.secret_refs("result-share") == [record.id]
    assert second.id in scene.desk.view.requests


def test_a_result_that_counted_before_a_newer_version_is_released(scene: Scene) -> None:
    record = counted(scene)
    duties.take_shares(scene.desk)
    scene.story.succeed(scene.story.id, "ab" * 32, "operator-a", "operator-b", "ministry")
    scene.desk.read()
    assert scene.desk.view.superseded()
    duties.release_results(scene.desk)
    scene.story.wait(3600)
    duties.release_results(scene.desk)
    assert [each.body["record"] for each in scene.desk.said("result-release")] == [record.id]


def test_under_hold_another_holder_waits_for_every_owner(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "a", hold="owner")
    record = counted(scene)
    regulator = Desk(scene.story, home(tmp_path / "r", "regulator"))
    regulator.home.ledger.keep_secret("result-share", record.id, {"share": b64(bytes(33))})

    def released(*by: str) -> bool:
        for name in by:
            body = {"record": record.id, "shares": {"ministry": b64(b"sealed")}}
            scene.story.tell(name, "result-release", body)
        regulator.read()
        duties.release_results(regulator)
        scene.story.wait(3600)
        duties.release_results(regulator)
        return bool(regulator.said("result-release"))

    assert not released()
    assert not released("operator-a")
    assert released("operator-b")


def test_an_agent_goes_on_when_a_person_takes_a_new_card_beside_it(scene: Scene) -> None:
    scene.story.rotate("operator-a")
    write_keys(scene.desk.home.path, "operator-a", 0, 1)
    scene.desk.read()
    assert scene.desk.identity.card == builders.party("operator-a", 1)[0]


def test_a_contribution_sealed_before_a_new_card_opens_and_its_giver_is_not_refused(scene: Scene) -> None:
    scene.story.rotate("operator-a")
    write_keys(scene.desk.home.path, "operator-a", 0, 1)
    scene.desk.read()
    duties.answer_linkage(scene.desk)
    assert scene.desk.said("refusal") == []
    shares = scene.desk.view.contributions("roamers", PERIOD)
    assert len(linkage.opened(scene.desk, shares["operator-b"])) == 32


def test_forgetting_a_delivery_destroys_the_copy_of_its_key_that_a_cut_left(scene: Scene) -> None:
    ledger, body = scene.desk.home.ledger, scene.story.statements[scene.delivery].body
    ref = duties.staging_name(scene.desk.id, body["dataset"], body["period"])
    ledger.keep_secret("staged", ref, {"key": SECRET["key"]})
    duties.forget(scene.desk, scene.delivery, why="a test says so")
    assert ledger.secret_refs("staged") == ledger.secret_refs("delivery-key") == []
    assert len(scene.desk.said("expiry")) == 1


def test_a_keeper_gives_back_nothing_that_the_host_names_by_a_path(scene: Scene) -> None:
    from sealstat.wire.client import HostClient

    folder, digest = duties.kept_folder(scene.desk), "ab" * 32
    folder.mkdir(parents=True)
    (folder / digest).write_bytes(b"sealed")
    (scene.desk.home.path / "passphrase").write_bytes(b"a secret of the party")
    given: list[bytes] = []

    class Hostile(HostClient):
        def _call(self, method, path, body=b"", *, limit=0):  # type: ignore[no-untyped-def]
            import httpx

            if method == "PUT":
                given.append(body)
            names = [digest, str(scene.desk.home.path / "passphrase"), "../../passphrase"]
            return httpx.Response(200, json=names)

    scene.desk.client = Hostile("http://host.example", builders.party("operator-a")[1], "0" * 64)
    assert duties.give_back(scene.desk) == 1
    assert given == [b"sealed"]
    scene.desk.client.close()
