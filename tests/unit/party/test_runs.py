"""A result is opened with the shares that the enclave made, whoever released others."""

from pathlib import Path

import pytest

from desk import Desk, home
from sealstat.agreement import contexts
from sealstat.crypto.cards import fingerprint
from sealstat.crypto.sealing import seal
from sealstat.party import runs
from sealstat.party.errors import PartyError
from story import Story


class Scene:
    """A record counts; its holders are about to release."""

    def __init__(self, tmp_path: Path) -> None:
        self.story = Story()
        self.request = self.story.begin()
        self.instance, self.record = self.story.run(self.request)
        self.story.keep(self.record)
        self.desk = Desk(self.story, home(tmp_path, "ministry"))

    def release(self, *holders: str) -> None:
        for holder in holders:
            self.story.release_result(holder, self.record, self.instance)
        self.desk.read()

    def release_wrong(self, holder: str, share: bytes) -> None:
        sealed = {}
        for consumer in self.story.terms.consumers("visitors"):
            card = self.story.card(consumer)
            mine = fingerprint(self.story.card(holder))
            context = contexts.result_release(
                self.story.id, holder=mine, consumer=fingerprint(card), record=self.record.id
            )
            sealed[consumer] = seal(card.sealing, context, share)
        self.story.tell(holder, "result-release", {"record": self.record.id, "shares": sealed})
        self.desk.read()

    def key(self) -> bytes:
        return runs._result_key(self.desk, *runs._record(self.desk, self.request.id))


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_any_two_of_three_holders_give_the_same_key(scene: Scene) -> None:
    scene.release("operator-b", "regulator")
    first = scene.key()
    scene.release("operator-a")
    assert scene.key() == first
    assert runs.wrong_givers(scene.desk, scene.request.id) == []


@pytest.mark.parametrize("share", [bytes(32), bytes(31), b"x" * 64])
def test_a_wrong_share_names_its_giver_and_the_others_open(scene: Scene, share: bytes) -> None:
    scene.release("operator-b")
    scene.release_wrong("operator-a", share)
    with pytest.raises(PartyError, match="what operator-a released is not the share"):
        scene.key()
    scene.release("regulator")
    assert len(scene.key()) == 32
    assert runs.wrong_givers(scene.desk, scene.request.id) == ["operator-a"]


def test_a_share_made_for_a_card_that_was_replaced_since_is_not_taken_for_wrong(scene: Scene) -> None:
    scene.release("operator-b")
    scene.story.rotate("operator-b")
    scene.release("operator-a")
    assert len(scene.key()) == 32
    assert runs.wrong_givers(scene.desk, scene.request.id) == []


def test_a_run_whose_agreement_was_withdrawn_before_it_counted_has_ended(tmp_path: Path) -> None:
    story = Story()
    request = story.begin()
    story.withdraw("operator-b")
    stage = runs.stage(story.view(), request.id, "ministry")
    assert (stage.word, stage.ended, stage.refused) == ("stopped", True, True)
    assert "operator-b withdrew" in stage.sentence
