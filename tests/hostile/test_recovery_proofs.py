"""Proofs over a history in which cards were recovered; and such proofs that lie."""

from collections.abc import Callable

import pytest

import builders
from forging import forged, refused, verify
from sealstat.crypto.cards import fingerprint
from sealstat.crypto.statement import Statement
from sealstat.verify import Trust
from story import Story

DELAY_S = 7 * 86_400
APPROVERS = ("operator-a", "operator-b", "regulator")


def approved() -> Story:
    story = Story()
    story.approve_all()
    return story


def vouched() -> tuple[Story, bytes]:
    story = approved()
    for name in APPROVERS:
        story.vouch(name, "ministry")
    return story, story.note()


def given() -> Story:
    """The ministry has a card that the recovery approvers gave it."""
    story, since = vouched()
    story.noise(3)  # so that the two checkpoints differ
    story.wait(DELAY_S)
    story.finalise("operator-a", "ministry", since, story.note())
    return story


def run(story: Story) -> Statement:
    """The run that a forger would prove: it may count or not."""
    _, record = story.run(story.request(story.deliver_all()))
    story.keep(record)
    return record


# --- honest ones ----------------------------------------------------------------------------------------------------


def by_key() -> Story:
    story = approved()
    story.rotate("ministry")  # a thief's
    story.recover("ministry", 2, old=fingerprint(builders.party("ministry")[0]))
    return story


@pytest.mark.parametrize(
    ("tell", "status", "words"),
    [
        pytest.param(by_key, "proved", "by its recovery key", id="recovery key"),
        pytest.param(given, "attested", "operator-a, operator-b, regulator gave it", id="approvers"),
    ],
)
def test_a_proof_over_a_recovered_card_is_verified_and_says_on_whose_word(
    tell: Callable[[], Story], status: str, words: str
) -> None:
    story = tell()
    record = run(story)
    trust = Trust.of_cards([builders.party(name)[0] for name in ("operator-a", "operator-b", "ministry")])
    for data in (story.bundle(record).to_bytes(), forged(story, record)):
        verdict = verify(story, data, trust)
        assert verdict.ok, verdict.failure
        (line,) = [line for line in verdict.lines if line.key == "agreement.cards.ministry"]
        assert line.status == status
        assert words in line.sentence


def test_a_rehearsal_is_left_out_and_a_veto_is_shown() -> None:
    story = approved()
    story.recover("ministry", 0, rehearsal=True)
    story.vouch("operator-a", "ministry")
    story.veto("ministry")
    record = run(story)
    data = story.bundle(record).to_bytes()
    assert verify(story, data).ok
    kinds = [placed.statement().type for placed in story.bundle(record).statements]
    assert (kinds.count("replacement"), kinds.count("veto")) == (1, 1)


# --- lies -------------------------------------------------------------------------------------------------------------


def test_a_run_by_the_thief_after_the_recovery_is_no_run() -> None:
    story = approved()
    story.recover("ministry")
    story.generation["ministry"] = 0
    refused(story, forged(story, run(story)), "its signer's card is not in force")


@pytest.mark.parametrize(
    ("left_out", "why"),
    [
        pytest.param("replacement-final", "has no card here", id="the final"),
        pytest.param("replacement", "does not wait for one", id="every word"),
    ],
)
def test_what_made_the_card_cannot_be_left_out(left_out: str, why: str) -> None:
    story = given()
    record = run(story)
    without = [said for said in story.statements.values() if said.type == left_out]
    refused(story, forged(story, record, without=without), why)


def test_one_word_too_few_is_too_few() -> None:
    story = given()
    record = run(story)
    word = next(said for said in story.statements.values() if said.type == "replacement")
    refused(story, forged(story, record, without=[word]), "without the word of enough recovery approvers")


def test_a_veto_that_is_shown_stops_the_card() -> None:
    story, since = vouched()
    story.veto("ministry")
    story.wait(DELAY_S)
    story.finalise("operator-a", "ministry", since, story.note())
    story.generation["ministry"] = -1
    record = run(story)
    refused(story, forged(story, record), "a card that does not wait for one")


def test_a_final_before_its_delay_gives_no_card() -> None:
    story, since = vouched()
    story.finalise("operator-a", "ministry", since, story.note())
    story.generation["ministry"] = -1
    refused(story, forged(story, run(story)), "before its delay is over")


def test_a_final_over_another_logs_checkpoint_gives_no_card() -> None:
    """Witnesses that lie may cosign a fork; that it is none of this log's past shows in the proof."""
    story, _ = vouched()
    fork = story.note(leaves=[*story.leaves[:-1], story.leaves[0]])
    story.wait(DELAY_S)
    story.finalise("operator-a", "ministry", fork, story.note())
    refused(story, forged(story, run(story)), "that a replacement-final names is not of this log's past")


def test_a_verifier_who_knows_the_new_card_alone_is_told_who_approved() -> None:
    story = given()
    trust = Trust.of_cards([builders.party("ministry", -1)[0]])
    refused(story, story.bundle(run(story)).to_bytes(), "ministry approved by another card", trust)
