"""Which statements a proof shows, and when none can be made."""

import json

import pytest

import builders
from sealstat.crypto.statement import parse
from sealstat.verify import BundleError, Trust, make_bundle, parse_bundle, verify_bundle
from story import Story


def _types(data: bytes) -> list[str]:
    placed = parse_bundle(data).statements
    return [found.statement().type for found in placed]


def test_a_bundle_reads_back_as_it_was_written() -> None:
    story = Story()
    data = story.bundle(story.whole_run()).to_bytes()
    assert parse_bundle(data).to_bytes() == data


def test_the_bytes_of_every_envelope_are_those_that_were_logged() -> None:
    story = Story()
    bundle = story.bundle(story.whole_run())
    for placed in bundle.statements:
        statement = placed.statement()
        assert parse(statement.to_bytes()).to_bytes() == story.statements[statement.id].to_bytes()


def test_a_bundle_shows_the_run_and_nothing_else() -> None:
    story = Story()
    record = story.whole_run()
    story.request(story.deliver_all(period="2026-12"))
    assert _types(story.bundle(record).to_bytes()) == [
        "agreement",
        *["approval"] * 3,
        *["delivery"] * 2,
        "run-request",
        *["challenge"] * 3,
        "enclave-evidence",
        *["key-release"] * 2,
        "run-record",
        "kept",
        *["result-release"] * 3,
    ]


def test_the_run_before_is_shown_without_its_result_releases() -> None:
    story = Story()
    first = story.whole_run()
    record = story.whole_run(period="2026-11", c=1)
    types = _types(story.bundle(record).to_bytes())
    assert types.count("run-record") == types.count("kept") == 2
    assert types.count("result-release") == 3
    assert _types(story.bundle(first).to_bytes()).count("run-record") == 1


def test_the_run_before_the_one_before_is_not_shown() -> None:
    story = Story()
    for c, month in enumerate(("2026-08", "2026-09")):
        story.whole_run(period=month, c=c)
    record = story.whole_run(c=2)
    data = story.bundle(record).to_bytes()
    assert _types(data).count("run-record") == 2
    assert verify_bundle(data, trust=Trust(), now=story.now).ok


def test_there_is_no_proof_of_a_record_that_does_not_count() -> None:
    story = Story()
    instance, record = story.run(story.begin())
    with pytest.raises(BundleError, match="wait until"):
        story.bundle(record)
    story.finish(record, instance)
    assert story.bundle(record)


def test_there_is_no_proof_under_a_checkpoint_that_ends_before_it() -> None:
    story = Story()
    _, record = story.run(story.begin())
    old = story.note()
    story.keep(record)
    with pytest.raises(BundleError, match="older than what it shall prove"):
        story.bundle(record, note=old)


def test_result_releases_behind_the_checkpoint_are_left_out() -> None:
    story = Story()
    instance, record = story.run(story.begin())
    story.keep(record)
    story.release_result("operator-a", record, instance)
    note = story.note()
    story.release_result("operator-b", record, instance)
    data = story.bundle(record, note=note).to_bytes()
    assert _types(data).count("result-release") == 1
    verdict = verify_bundle(data, trust=Trust(), now=story.now)
    assert verdict.ok
    assert any("1 of 2 needed holders" in line.sentence for line in verdict.lines)


def test_lines_by_keys_that_the_agreement_does_not_name_are_left_out_of_the_checkpoint() -> None:
    story = Story()
    record = story.whole_run()
    data = story.bundle(record, note=story.note([*builders.WITNESSES, "witness-9"])).to_bytes()
    assert "witness-9" not in json.loads(data)["checkpoint"]
    assert verify_bundle(data, trust=Trust(), now=story.now).ok


def test_a_new_version_is_shown_with_the_one_it_supersedes() -> None:
    story = Story()
    first = story.whole_run()
    old = story.id
    story.propose(builders.agreement(version=2, supersedes=old))
    story.succeed(old, story.id, *story.terms.roles.approvers)
    record = story.whole_run(period="2026-11", c=1)
    data = story.bundle(record).to_bytes()
    types = _types(data)
    assert (types.count("agreement"), types.count("successor"), types.count("approval")) == (2, 3, 6)
    verdict = verify_bundle(data, trust=Trust(), now=story.now)
    assert verdict.ok, verdict.failure
    # the record of the old version is proved from the newer one's view, under the old agreement alone
    old_data = story.bundle(first).to_bytes()
    assert _types(old_data).count("agreement") == 1
    assert verify_bundle(old_data, trust=Trust(), now=story.now).ok


def test_a_rotated_card_is_followed_from_the_one_in_the_agreement() -> None:
    story = Story()
    story.approve("operator-a")
    story.approve("operator-b")
    story.rotate("ministry")
    story.approve("ministry")
    record = story.whole_run()
    data = story.bundle(record).to_bytes()
    assert "replacement" in _types(data)
    for card in (builders.party("ministry")[0], builders.party("ministry", 1)[0]):
        verdict = verify_bundle(data, trust=Trust.of_cards([card]), now=story.now)
        status = {line.key: line.status for line in verdict.lines}
        assert status["agreement.approval.ministry"] == "proved"


def test_a_card_that_came_after_the_approval_has_not_approved() -> None:
    story = Story()
    story.approve_all()
    story.rotate("ministry")
    data = story.bundle(story.whole_run()).to_bytes()
    trust = Trust.of_cards([builders.party("ministry", 1)[0]])
    verdict = verify_bundle(data, trust=trust, now=story.now)
    assert verdict.failure == "ministry approved by another card than the one you trust"


def test_make_bundle_takes_proofs_from_whoever_has_them() -> None:
    story = Story()
    record = story.whole_run()
    asked: list[int] = []

    def inclusion(index: int, leaf: bytes) -> list[bytes]:
        assert len(leaf) == 32
        asked.append(index)
        return []

    bundle = make_bundle(story.view(), record.id, story.checkpoint(), inclusion, lambda old: [old.root])
    assert asked == [placed.index for placed in bundle.statements]
