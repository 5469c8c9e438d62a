"""Keys that are lost or stolen (protocol.md section 4): who may give a party a new card, when, and who may not."""

from typing import Any

import pytest

import builders
from sealstat.agreement.replay import ReplayError
from sealstat.crypto.cards import fingerprint
from sealstat.crypto.identity import Signer
from sealstat.crypto.statement import Statement, sign
from sealstat.log.note import LogSigner, add_signatures, sign_note
from story import Story

DELAY_S = 7 * 86_400
APPROVERS = ("operator-a", "operator-b", "regulator")  # of the ministry, which lost its keys


def void(story: Story, said: Statement, why: str) -> None:
    found = story.why_void(said)
    assert found is not None, "it means something"
    assert why in found


def in_force(story: Story, name: str = "ministry") -> str:
    return fingerprint(story.view().cards[story.id][name])


def card(generation: int, name: str = "ministry") -> str:
    return fingerprint(builders.party(name, generation)[0] if generation else builders.party(name)[0])


def approved() -> Story:
    story = Story()
    story.approve_all()
    return story


def vouched(*, by: tuple[str, ...] = APPROVERS) -> tuple[Story, bytes]:
    """Enough have vouched for the ministry's new card; a checkpoint that holds that."""
    story = approved()
    for name in by:
        story.vouch(name, "ministry")
    return story, story.note()


# --- by the recovery key ----------------------------------------------------------------------------------------


def test_the_recovery_key_replaces_a_lost_card_from_its_leaf_on() -> None:
    story = approved()
    late = story.say("ministry", "withdrawal", {"why": "by the old card"})
    story.recover("ministry")
    assert in_force(story) == card(1)
    story.log(late)
    void(story, late, "card is not in force")
    story.withdraw("ministry")
    assert story.id in story.view().withdrawals


def test_another_recovery_key_is_nobodys_word() -> None:
    story = approved()
    story.log(story.recover("ministry", key=Signer.generate(post_quantum=True), log=False))
    with pytest.raises(ReplayError, match="no card here"):
        story.view()


def test_another_partys_recovery_key_replaces_nothing() -> None:
    story = approved()
    said = story.recover("ministry", key=builders.recovery("operator-a"), log=False)
    story.log(said)
    void(story, said, "no recovery approver")  # its party is one, but with its daily keys
    assert in_force(story) == card(0)


def test_who_shows_a_recovery_key_without_having_it_says_nothing() -> None:
    """The public key stands in the log once it was used: with it, and the old card, a thief must gain nothing."""
    story = approved()
    shown = builders.recovery("ministry").public().to_json()
    body = {"old": card(0), "new": builders.party("ministry", 1)[0].to_json(), "recovery": shown}
    void(story, story.tell("ministry", "replacement", body), "a recovery key that did not sign it")
    veto = {"new": card(-1), "recovery": shown}
    void(story, story.tell("ministry", "veto", veto), "a recovery key that did not sign it")


@pytest.mark.parametrize("shown", [{}, None, {"ed25519": "AAAA"}, builders.recovery("operator-a").public().to_json()])
def test_a_recovery_key_shows_itself_or_is_no_signature(shown: Any) -> None:
    story = approved()
    said = story.recover("ministry", log=False, recovery=shown)
    story.log(said)
    with pytest.raises(ReplayError, match="recovery key"):
        story.view()


def test_a_forged_signature_of_the_recovery_key_is_none() -> None:
    story = approved()
    honest, key = story.recover("ministry", log=False), Signer.generate(post_quantum=True)
    said = sign(key, type=honest.type, by=honest.by, agreement=story.id, body=honest.body, at=story.now)
    story.log(said)
    with pytest.raises(ReplayError, match="signature is wrong"):
        story.view()


def test_a_recovery_key_says_nothing_else() -> None:
    story = approved()
    said = story.by_recovery_key("ministry", "withdrawal", {"why": "by the recovery key"})
    story.log(said)
    void(story, said, "a recovery key signs nothing else")


def test_nobody_hides_a_partys_card_behind_a_recovery_key() -> None:
    """A card whose recovery digest is another party's fingerprint must not take that party's voice."""
    parties = {name: {"card": builders.party(name)[0].to_json()} for name in builders.PARTIES}
    parties["regulator"]["card"]["recovery"] = card(0)
    story = Story(builders.agreement(parties=parties))
    story.approve_all()
    assert not story.view().missing_approvals()


# --- a thief has the old card -------------------------------------------------------------------------------------


def test_a_thief_who_rotates_first_is_put_out_by_the_recovery_key() -> None:
    story = approved()
    story.rotate("ministry")  # the thief's
    thief = story.say("ministry", "withdrawal", {"why": "by the thief"})
    again = {"old": card(1), "new": builders.party("ministry", 3)[0].to_json(), "rehearsal": False}
    rotation = story.say("ministry", "replacement", again)
    story.recover("ministry", 2, old=card(0))  # whoever recovers may know nothing of that rotation
    assert in_force(story) == card(2)
    for said in (thief, rotation):
        story.log(said)
        void(story, said, "card is not in force")


def test_a_thief_who_rotates_later_changes_nothing() -> None:
    story = approved()
    body = {"old": card(0), "new": builders.party("ministry", 1)[0].to_json(), "rehearsal": False}
    thief = story.say("ministry", "replacement", body)
    story.recover("ministry", 2)
    story.log(thief)
    void(story, thief, "card is not in force")
    assert in_force(story) == card(2)


def test_a_thief_cannot_take_the_recovery_key_along() -> None:
    story = approved()
    body = {"old": card(0), "new": builders.party("ministry", -1)[0].to_json(), "rehearsal": False}
    void(story, story.tell("ministry", "replacement", body), "another recovery key")
    story.recover("ministry")
    assert in_force(story) == card(1)


def test_a_replacement_held_back_does_not_undo_a_later_one() -> None:
    """A host that keeps the recovery key's first word must not bring that card, lost since, into force."""
    story = approved()
    held = story.recover("ministry", 1, log=False)
    story.recover("ministry", 2)
    story.log(held)
    void(story, held, "not in force")
    assert in_force(story) == card(2)


def test_the_recovery_key_brings_no_old_card_back() -> None:
    story = approved()
    story.recover("ministry")
    void(story, story.recover("ministry", 0), "used before")


def test_what_the_thief_said_before_stays_said() -> None:
    story = approved()
    withdrawal = story.withdraw("ministry")
    story.recover("ministry")
    assert story.view().withdrawals[story.id].id == withdrawal.id


# --- both are lost ------------------------------------------------------------------------------------------------


def test_enough_approvers_and_the_delay_give_a_new_card_and_recovery_key() -> None:
    story, since = vouched()
    assert in_force(story) == card(0)
    (waiting,) = story.view().recoveries.values()
    assert (waiting.party, sorted(waiting.by)) == ("ministry", list(APPROVERS))
    story.wait(DELAY_S)
    story.finalise("operator-a", "ministry", since, story.note())
    assert in_force(story) == card(-1)
    assert not story.view().recoveries
    old = story.recover("ministry", 1, log=False)  # the old recovery key is found again
    story.log(old)
    void(story, old, "the recovery key of no card in force")
    story.withdraw("ministry")
    assert story.id in story.view().withdrawals


def test_the_new_recovery_key_recovers_the_next_time() -> None:
    story, since = vouched()
    story.wait(DELAY_S)
    story.finalise("operator-a", "ministry", since, story.note())
    again = {"new": builders.party("ministry", -2)[0].to_json()}
    story.recover("ministry", -2, key=builders.recovery("ministry anew"), **again)
    assert in_force(story) == card(-2)


def test_too_few_approvers_give_nothing() -> None:
    story, since = vouched(by=APPROVERS[:2])
    story.wait(DELAY_S)
    void(story, story.finalise("operator-a", "ministry", since, story.note()), "the word of enough recovery approvers")


def test_an_approver_counts_once() -> None:
    story, since = vouched(by=APPROVERS[:2])
    void(story, story.vouch("operator-a", "ministry"), "a second word")
    story.rotate("operator-b")
    void(story, story.vouch("operator-b", "ministry"), "a second word")
    story.wait(DELAY_S)
    void(story, story.finalise("operator-a", "ministry", since, story.note()), "the word of enough recovery approvers")


def test_words_for_different_cards_do_not_add_up() -> None:
    story, _ = vouched(by=APPROVERS[:2])
    story.vouch("regulator", "ministry", -2)
    assert all(each.agreed_at is None for each in story.view().recoveries.values())


def test_only_recovery_approvers_are_heard() -> None:
    recovery = {"approvers": ["operator-a", "operator-b"], "quorum": 2, "delay": "7d"}
    story = Story(builders.agreement(roles__recovery=recovery))
    story.approve_all()
    void(story, story.vouch("regulator", "ministry"), "no recovery approver")
    for name in ("operator-a", "operator-b"):
        story.vouch(name, "ministry")
    since = story.note()
    story.wait(DELAY_S)
    void(story, story.finalise("regulator", "ministry", since, story.note()), "no recovery approver")
    without = Story(builders.agreement(roles__recovery=None))
    without.approve_all()
    void(without, without.vouch("operator-a", "ministry"), "no recovery approver")
    void(without, without.finalise("operator-a", "ministry", since, since), "where nobody recovers")


def test_a_thief_of_the_daily_keys_is_no_voice_for_its_own_new_card() -> None:
    story = approved()
    said = story.vouch("ministry", "ministry")
    void(story, said, "another recovery key")
    assert not story.view().recoveries


def test_nobody_is_recovered_under_an_agreement_that_is_not_approved() -> None:
    """Else the approvers that somebody's draft names could approve it in the place of a party that never did."""
    story = Story()
    for name in APPROVERS:
        void(story, story.vouch(name, "ministry"), "not approved")


def test_the_new_card_has_a_recovery_key_of_its_own() -> None:
    story = approved()
    mixed = builders.party("ministry", -1)[0].to_json() | {
        "recovery": builders.recovery_digest(builders.recovery("operator-a"))
    }
    void(story, story.vouch("operator-a", "ministry", new=mixed), "the recovery key of another party")


def test_a_thief_who_rotates_does_not_end_what_the_approvers_began() -> None:
    story, since = vouched(by=APPROVERS[:2])
    story.rotate("ministry")
    story.vouch("regulator", "ministry")
    since = story.note()
    story.wait(DELAY_S)
    story.finalise("operator-a", "ministry", since, story.note())
    assert in_force(story) == card(-1)


def test_the_recovery_key_ends_what_the_approvers_began() -> None:
    story, since = vouched()
    story.recover("ministry")
    story.wait(DELAY_S)
    void(story, story.finalise("operator-a", "ministry", since, story.note()), "does not wait")
    void(story, story.vouch("operator-a", "ministry", old=card(0)), "not in force")


# --- the delay ----------------------------------------------------------------------------------------------------


def test_before_the_delay_is_over_nothing_holds() -> None:
    story, since = vouched()
    story.wait(DELAY_S - 5)
    void(story, story.finalise("operator-a", "ministry", since, story.note()), "before its delay is over")
    story.wait(5)
    story.finalise("operator-a", "ministry", since, story.note())
    assert in_force(story) == card(-1)


def test_the_delay_begins_when_enough_have_vouched() -> None:
    story, early = vouched(by=APPROVERS[:2])
    story.wait(DELAY_S)
    story.vouch("regulator", "ministry")
    void(story, story.finalise("operator-a", "ministry", early, story.note()), "from before they were enough")


@pytest.mark.parametrize("which", ["since", "until"])
def test_lying_witnesses_do_not_shorten_the_delay(which: str) -> None:
    """A quorum of 3 of 3 bears two liars; one of 2 of 3 bears none."""
    witnesses = builders.agreement_json()["witnesses"] | {"quorum": 3}
    story = Story(builders.agreement(witnesses=witnesses))
    story.approve_all()
    for name in APPROVERS:
        story.vouch(name, "ministry")
    honest = story.note()
    text = story.checkpoint(honest, quorum=3).checkpoint.serialise()
    shift = -2 * DELAY_S if which == "since" else 2 * DELAY_S
    lying = _recosigned(story, text, shift)
    notes = {"since": honest, "until": story.note(), which: lying}
    void(story, story.finalise("operator-a", "ministry", notes["since"], notes["until"]), "before its delay is over")


def _recosigned(story: Story, text: bytes, shift_s: int) -> bytes:
    """The checkpoint again, two of its three witnesses lying about the time."""
    host, now = builders.host(), int(story.now.timestamp())
    note = sign_note(text, LogSigner(host.card.origin, host.log_key))
    cosigners = [story.cosigner(name) for name in builders.WITNESSES]
    times = [now, now + shift_s, now + shift_s]
    lines = [cosigner.sign(text, timestamp=at) for cosigner, at in zip(cosigners, times, strict=True)]
    return add_signatures(note, lines, [cosigner.verifier for cosigner in cosigners])


def test_a_checkpoint_that_too_few_witnesses_cosigned_shows_no_time() -> None:
    story, since = vouched()
    story.wait(DELAY_S)
    lonely = story.note(builders.WITNESSES[:1])
    void(story, story.finalise("operator-a", "ministry", since, lonely), "did not cosign")
    void(story, story.finalise("operator-a", "ministry", lonely, story.note()), "did not cosign")
    junk = b"no note"
    void(story, story.finalise("operator-a", "ministry", since, junk), "did not cosign")


def test_a_replacement_is_final_once() -> None:
    story, since = vouched()
    story.wait(DELAY_S)
    story.finalise("operator-a", "ministry", since, story.note())
    void(story, story.finalise("operator-b", "ministry", since, story.note()), "does not wait")
    assert in_force(story) == card(-1)


# --- veto ---------------------------------------------------------------------------------------------------------


def test_a_veto_ends_it_before_the_final_and_for_good() -> None:
    story, since = vouched()
    story.veto("ministry")
    story.wait(DELAY_S)
    void(story, story.finalise("operator-a", "ministry", since, story.note()), "does not wait")
    void(story, story.vouch("operator-a", "ministry"), "vetoed")
    assert in_force(story) == card(0)


def test_after_the_final_a_veto_changes_nothing() -> None:
    story, since = vouched()
    story.wait(DELAY_S)
    story.finalise("operator-a", "ministry", since, story.note())
    void(story, story.veto("ministry"), "no card in force")
    assert in_force(story) == card(-1)


def test_nobody_vetoes_for_another_party() -> None:
    story, _ = vouched()
    void(story, story.veto("ministry", key=builders.recovery("operator-b")), "somebody else's")
    fresh = approved()
    fresh.veto("ministry", key=builders.recovery("operator-b"))  # ahead of the words: it is about its own cards alone
    for name in APPROVERS:
        fresh.vouch(name, "ministry")
    assert fresh.view().recoveries


# --- rehearsals ---------------------------------------------------------------------------------------------------


def test_a_rehearsal_has_no_effect_whoever_rehearses() -> None:
    story = approved()
    mine = story.card("ministry").to_json()
    rehearsed = story.recover("ministry", 0, rehearsal=True, new=mine)
    for name in APPROVERS:
        story.vouch(name, "ministry", rehearsal=True)
        story.vouch(name, "ministry", 0, rehearsal=True)
    veto = story.veto("ministry", rehearsal=True)
    view = story.view()
    assert not view.void
    assert not view.recoveries
    assert {rehearsed.id, veto.id} <= view.entries.keys()
    assert in_force(story) == card(0)
    for name in APPROVERS:  # nor does a rehearsed veto keep a card out
        story.vouch(name, "ministry")
    assert story.view().recoveries


def test_a_rehearsal_proves_that_the_key_is_there() -> None:
    story = approved()
    story.log(story.recover("ministry", key=Signer.generate(post_quantum=True), log=False, rehearsal=True))
    with pytest.raises(ReplayError, match="no card here"):
        story.view()
