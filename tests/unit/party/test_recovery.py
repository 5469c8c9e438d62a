"""What a recovery approver's agent and a party's recovery key do for cards that are lost."""

from pathlib import Path

import pytest

import builders
from desk import Desk, home
from sealstat.crypto.cards import fingerprint
from sealstat.party import duties, recovery
from sealstat.party.errors import PartyError
from sealstat.party.home import RecoveryKey
from story import Story

DELAY_S = 7 * 86_400
NEW = builders.party("ministry", -1)[0]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Operator A, a recovery approver, when two others have vouched for a new card of the ministry."""
    story = Story()
    story.approve_all()
    story.vouch("operator-b", "ministry")
    story.vouch("regulator", "ministry")
    return Desk(story, home(tmp_path, "operator-a"))


def finals(desk: Desk) -> list[str]:
    desk.read()
    duties.finish_recoveries(desk)
    return [said.id for said in desk.said("replacement-final")]


def test_an_approvers_agent_finishes_once_after_the_delay(desk: Desk) -> None:
    desk.story.wait(2 * DELAY_S)
    assert finals(desk) == []  # not enough have vouched
    desk.story.vouch("operator-a", "ministry")
    assert finals(desk) == []
    desk.story.wait(DELAY_S - 10)
    assert finals(desk) == []
    desk.story.wait(10)
    assert len(finals(desk)) == 1
    assert len(finals(desk)) == 1, "it says it once"
    said = desk.log("replacement-final")
    assert said.id in desk.view.entries
    assert desk.view.cards[desk.id]["ministry"] == NEW
    assert len(finals(desk)) == 1


def test_no_agent_finishes_what_was_vetoed(desk: Desk) -> None:
    desk.story.vouch("operator-a", "ministry")
    assert finals(desk) == []
    desk.story.veto("ministry")
    desk.story.wait(DELAY_S + 10)
    assert finals(desk) == []


def test_an_agent_of_no_approver_finishes_nothing(tmp_path: Path) -> None:
    roles = {"approvers": ["operator-a", "operator-b", "ministry"]}
    chosen = {"approvers": ["operator-b", "regulator"], "quorum": 2, "delay": "7d"}
    story = Story(builders.agreement(roles=roles | {"recovery": chosen}))
    story.approve_all()
    for name in ("operator-b", "regulator"):
        story.vouch(name, "ministry")
    desk = Desk(story, home(tmp_path, "operator-a"))
    finals(desk)
    story.wait(DELAY_S + 10)
    assert finals(desk) == []
    with pytest.raises(PartyError, match="no recovery approver"):
        recovery.vouch(desk, NEW)


def test_an_approver_vouches_for_another_party_alone(desk: Desk) -> None:
    for card in (builders.party("operator-a", -1)[0], builders.party("stranger")[0]):
        with pytest.raises(PartyError, match="another party of the agreement"):
            recovery.vouch(desk, card)
    assert desk.said("replacement") == []


def test_another_recovery_key_than_ones_own_is_refused_before_it_is_used(desk: Desk) -> None:
    key = RecoveryKey("operator-a", builders.recovery("operator-b"))
    for use in (recovery.rehearse_recovery, recovery.veto):
        with pytest.raises(PartyError, match="another one than the card"):
            use(desk.home, key, None)


def test_a_party_is_warned_once_and_its_veto_counts_for_it_also_without_a_leaf(tmp_path: Path) -> None:
    story = Story()
    story.approve_all()
    for name in ("operator-a", "operator-b", "regulator"):
        story.vouch(name, "ministry")
    desk = Desk(story, home(tmp_path, "ministry"))
    duties.warn_of_recoveries(desk)
    duties.warn_of_recoveries(desk)
    (act,) = desk.home.ledger.acts()
    assert "operator-a, operator-b, regulator would give this party a new card" in act[2]
    desk.home.ledger.post(story.by_recovery_key("ministry", "veto", {"new": fingerprint(NEW), "rehearsal": False}))
    assert desk.view.recoveries
    assert not desk.judged().recoveries
