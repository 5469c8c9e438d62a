"""Proofs that lie. Whoever makes the file controls all of it but the keys of others; each lie has its own reason."""

import json
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import builders
from forging import drop, forged, of_type, refused, verify
from sealstat.crypto import canonical
from sealstat.crypto.cards import b64, fingerprint, unb64
from sealstat.crypto.statement import Statement
from sealstat.log.checkpoint import parse_checkpoint
from sealstat.log.note import Note, parse_note
from sealstat.verify import Trust
from sealstat.verify.bundle import BUNDLE_LIMIT_BYTES
from story import PERIOD, Story

Change = Callable[[dict[str, Any]], object]


@cache
def honest() -> tuple[Story, Statement, bytes]:
    """An honest run, its record and its proof; shared, so never told on."""
    story = Story()
    story.noise(2)
    record = story.whole_run()
    story.noise(3)
    return story, record, story.bundle(record).to_bytes()


def changed(change: Change) -> tuple[Story, bytes]:
    """The honest proof, changed as JSON."""
    story, _, data = honest()
    value = json.loads(data)
    change(value)
    return story, canonical.encode(value)


def in_this_test(begin: Callable[[Story], Statement]) -> tuple[Story, bytes]:
    """A story told by ``begin``, which returns the record, and the forger's proof of it."""
    story = Story()
    record = begin(story)
    return story, forged(story, record)


# --- the honest one ----------------------------------------------------------------------------------------------


def test_an_honest_proof_is_verified_and_never_called_hardware() -> None:
    story, record, data = honest()
    verdict = verify(story, data, results=story.results[record.id])
    assert verdict.ok, verdict.failure
    assert not verdict.hardware
    assert any("NOT PROTECTED BY HARDWARE" in line.sentence for line in verdict.lines)


def test_a_forgers_assembly_of_honest_statements_is_an_honest_proof() -> None:
    """So that the refusals below come from the lie, and not from how the forger's bundle is put together."""
    story = Story()
    story.approve_all()
    record = story.run(story.request(story.deliver_all()))[1]
    story.keep(record)
    assert verify(story, forged(story, record)).ok


def test_the_second_record_of_a_task_is_verified_with_the_one_before() -> None:
    story = Story()
    story.whole_run()
    record = story.whole_run(period="2026-11", c=1)
    verdict = verify(story, story.bundle(record).to_bytes())
    assert verdict.ok, verdict.failure
    assert "log.before" in {line.key for line in verdict.lines}


# --- bytes -------------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_flipped_bit_anywhere_is_refused(data: st.DataObject) -> None:
    story, _, bundle = honest()
    place = data.draw(st.integers(0, len(bundle) - 1))
    bit = data.draw(st.integers(0, 7))
    flipped = bytearray(bundle)
    flipped[place] ^= 1 << bit
    assert not verify(story, bytes(flipped)).ok


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_flipped_bit_in_the_checkpoint_is_refused(data: st.DataObject) -> None:
    """Apart from the rest, since it is small and its lines of unknown keys would be ignored elsewhere."""
    story, _, bundle = honest()
    start = bundle.index(b'"checkpoint":"') + len(b'"checkpoint":"')
    place = data.draw(st.integers(start, bundle.index(b'"', start) - 1))
    flipped = bytearray(bundle)
    flipped[place] ^= 1 << data.draw(st.integers(0, 7))
    assert not verify(story, bytes(flipped)).ok


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    assert not verify(honest()[0], data).ok


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_changed_value_anywhere_is_refused_and_never_raises(data: st.DataObject) -> None:
    """Unlike a flipped bit it is canonical again, so it gets past the form."""
    other = st.sampled_from(["", "x", 0, -1, 2**60, None, [], {}, True, "f" * 64])

    def change(value: dict[str, Any]) -> None:
        node: Any = value
        while True:
            key = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
            child = node[key]
            if not child or not isinstance(child, dict | list) or data.draw(st.integers(0, 5)) == 0:
                replacement = data.draw(other)
                node[key] = replacement if replacement != child else "y"
                return
            node = child

    try:
        story, bundle = changed(change)
    except canonical.MalformedError:
        return  # the forger could not even write it down
    assert not verify(story, bundle).ok


def test_other_spellings_and_sizes_are_refused() -> None:
    story, _, data = honest()
    refused(story, data + b"\n", "not in canonical form")
    refused(story, json.dumps(json.loads(data)).encode(), "not in canonical form")
    refused(story, data.replace(b'"proof":1', b'"proof":1,"proof":1'), "twice")
    refused(story, b" " * (BUNDLE_LIMIT_BYTES + 1), "at most")
    refused(story, b"", "JSON")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        pytest.param(lambda value: value.update(note="trust me"), "at note", id="unknown field"),
        pytest.param(lambda value: value["statements"][3].update(seen=1), "seen", id="unknown field of a statement"),
        pytest.param(lambda value: value["statements"][3]["envelope"].update(x=1), "at x", id="unknown envelope field"),
        pytest.param(lambda value: value.update(proof=2), "at proof", id="another version of the format"),
        pytest.param(lambda value: value["statements"].reverse(), "not in the log's order", id="reversed"),
        pytest.param(lambda value: value["statements"].clear(), "not in the file", id="nothing in it"),
        pytest.param(
            lambda value: value.update(statements=[{"index": 0, "inclusion": [], "envelope": {}}] * 1025),
            "at most 1024",
            id="too many",
        ),
        pytest.param(
            lambda value: value["statements"].append({**value["statements"][0], "index": 10_000}),
            "a statement twice",
            id="a statement twice",
        ),
        pytest.param(lambda value: value["growth"].pop(), "is missing", id="growth proof missing"),
        pytest.param(
            lambda value: value["growth"].insert(0, {"size": 0, "consistency": []}),
            "nothing asks for",
            id="growth proof too many",
        ),
        pytest.param(
            lambda value: value["growth"][1]["consistency"].append(b64(bytes(32))),
            "not of this log's past",
            id="growth proof too long",
        ),
        pytest.param(
            lambda value: value["statements"][5]["inclusion"].reverse(), "is not in the log", id="inclusion reversed"
        ),
        pytest.param(
            lambda value: value["statements"][-1].update(index=value["statements"][-1]["index"] + 1),
            "is not in the log",
            id="another leaf's index",
        ),
    ],
)
def test_what_a_proof_does_not_have_is_refused(change: Change, why: str) -> None:
    story, data = changed(change)
    refused(story, data, why)


# --- statements left out, or of something else -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (drop("approval", 1), "does not count"),
        (drop("agreement"), "agreement"),
        (drop("delivery"), "does not name the deliveries in force"),
        (drop("run-request"), "the run-request that the record answers is not in the file"),
        (drop("challenge"), "unknown challenge"),
        (drop("enclave-evidence"), "ahead of its instance's evidence"),
        (drop("key-release"), "without the key of every owner"),
        (drop("run-record"), "the run-record that the file is about is not in it"),
        (drop("kept"), "does not count"),
    ],
)
def test_a_statement_left_out_is_missed(change: Change, why: str) -> None:
    def all_growth_needed(value: dict[str, Any]) -> None:
        change(value)
        named = [json.loads(canonical.encode(placed["envelope"]))["payload"] for placed in value["statements"]]
        notes = [_payload(text)["body"].get("checkpoint") for text in named]
        sizes = {parse_checkpoint(parse_note(note.encode()).text).size for note in notes if note}
        value["growth"] = [growth for growth in value["growth"] if growth["size"] in sizes]

    story, data = changed(all_growth_needed)
    refused(story, data, why)


def _payload(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(unb64(text))
    return found


def test_without_the_record_before_a_later_record_is_refused() -> None:
    story = Story()
    first = story.whole_run()
    length = len(story.leaves)
    record = story.whole_run(period="2026-11", c=1)
    early = [said for said in story.statements.values() if said.id not in _agreed(story)]
    before = [said for said in early if story.leaves.index(said.leaf) < length]
    assert first in before
    refused(
        story, forged(story, record, without=[*before, *_of(story, "linkage-share")]), "a key-release to an instance"
    )


def _agreed(story: Story) -> set[str]:
    return {said.id for said in story.statements.values() if said.type in ("agreement", "approval")}


def _of(story: Story, type: str) -> list[Statement]:
    return [said for said in story.statements.values() if said.type == type]


def test_a_withdrawal_an_extra_request_and_an_unrelated_challenge_are_no_part_of_a_proof() -> None:
    def withdrawn(story: Story) -> Statement:
        story.approve_all()
        record = story.run(story.request(story.deliver_all()))[1]
        story.keep(record)
        story.withdraw("operator-a")
        return record

    refused(*in_this_test(withdrawn), "holds a withdrawal, which is no part")

    def more(story: Story) -> Statement:
        story.approve_all()
        deliveries = story.deliver_all()
        request = story.request(deliveries)
        story.request(deliveries)
        record = story.run(request)[1]
        story.keep(record)
        return record

    refused(*in_this_test(more), "holds a run-request that is no part of this proof")


def test_approvals_of_an_equal_agreement_are_not_its_approvals() -> None:
    story = Story()
    twin = builders.statement(story.terms, at=story.now + timedelta(days=1))
    story.log(twin)
    for name in story.terms.roles.approvers:
        if name == "operator-b":
            text = {"language": "en", "renderer": "r", "explained": "0" * 64}
            story.tell(name, "approval", text, under=twin.id)
        else:
            story.approve(name)
    record = story.run(story.request(story.deliver_all()))[1]
    story.keep(record)
    refused(story, forged(story, record), "nothing to do with the record's")
    refused(story, forged(story, record, without=[twin]), "means nothing")
    others = [said for said in _of(story, "approval") if said.frame.agreement == twin.id]
    refused(story, forged(story, record, without=[twin, *others]), "lacks the approval of operator-b")


# --- order in the log --------------------------------------------------------------------------------------------


def test_approvals_behind_the_request_are_refused() -> None:
    def late(story: Story) -> Statement:
        story.approve("operator-a")
        story.approve("ministry")
        request = story.request(story.deliver_all())
        story.approve("operator-b")
        record = story.run(request)[1]
        story.keep(record)
        return record

    refused(*in_this_test(late), "run-request stand before the last of approvals")


def test_a_release_ahead_of_the_evidence_is_refused() -> None:
    def hasty(story: Story) -> Statement:
        story.approve_all()
        request = story.request(story.deliver_all())
        instance = story.instance(request, story.challenge_all(request))
        early = story.release(story.statements[request.body["deliveries"][0]], instance)
        story.attest(instance)
        story.release(story.statements[request.body["deliveries"][1]], instance)
        record = story.record(instance)
        assert early.id in record.body["releases"]
        story.keep(record)
        return record

    refused(*in_this_test(hasty), "ahead of its instance's evidence")


def test_a_record_ahead_of_a_key_and_a_kept_ahead_of_its_record_are_refused() -> None:
    story = Story()
    story.approve_all()
    instance = story.start(story.request(story.deliver_all()))
    deliveries = [story.statements[id] for id in instance.request.body["deliveries"]]
    story.release(deliveries[0], instance)
    record = story.record(instance)
    story.release(deliveries[1], instance)
    story.keep(record)
    refused(story, forged(story, record), "without the key of every owner")

    story = Story()
    story.approve_all()
    instance = story.start(story.request(story.deliver_all()))
    story.release_all(instance)
    body, _ = story.record_body(instance)
    record = story.say(instance, "run-record", body)
    story.keep(record)
    story.log(record)
    refused(story, forged(story, record), "no run-record")


def test_a_result_released_before_it_was_kept_is_refused() -> None:
    def hasty(story: Story) -> Statement:
        story.approve_all()
        instance, record = story.run(story.request(story.deliver_all()))
        story.release_result("operator-a", record, instance)
        story.keep(record)
        return record

    refused(*in_this_test(hasty), "a record that does not count")


# --- evidence ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attested", "why"),
    [
        pytest.param({"measurement": "0" * 64}, "the enclave runs code", id="wrong measurement"),
        pytest.param({"debug": True}, "debug mode", id="debug"),
        pytest.param({"root": Ed25519PrivateKey.generate()}, "not signed by the root", id="wrong root"),
        pytest.param({"claims": {"request": "1" * 64}}, "bound to another", id="evidence for another request"),
        pytest.param({"claims": {"challenges": ["1" * 64]}}, "bound to another", id="evidence for another challenge"),
        pytest.param({"claims": {"checkpoint": "x"}}, "bound to another", id="evidence at another checkpoint"),
        pytest.param({"kind": "tdx"}, "does not accept evidence of kind tdx", id="another kind"),
        pytest.param({"kind": "abacus"}, "cannot be verified", id="unknown kind"),
        pytest.param({"evidence": "AAAA"}, "form", id="garbage"),
    ],
)
def test_evidence_that_does_not_fit_is_refused(attested: dict[str, Any], why: str) -> None:
    def bad(story: Story) -> Statement:
        story.approve_all()
        request = story.request(story.deliver_all())
        instance = story.instance(request, story.challenge_all(request))
        story.attest(instance, **attested)
        story.release_all(instance)
        record = story.record(instance)
        story.keep(record)
        return record

    refused(*in_this_test(bad), why)


def _challenged_by(story: Story, *names: str, **more: Any) -> Statement:
    story.approve_all()
    request = story.request(story.deliver_all())
    challenges = {name: story.challenge(name, request, **more) for name in names}
    instance = story.instance(request, challenges)
    story.attest(instance)
    story.release_all(instance)
    record = story.record(instance)
    story.keep(record)
    return record


def test_evidence_without_the_challenge_of_an_owner_is_refused() -> None:
    refused(*in_this_test(lambda story: _challenged_by(story, "operator-a", "regulator")), "no challenge of an owner")


def test_evidence_older_than_its_challenges_is_refused() -> None:
    def stale(story: Story) -> Statement:
        story.approve_all()
        request = story.request(story.deliver_all())
        note = story.note()
        instance = story.instance(request, story.challenge_all(request))
        story.attest(instance, note=note)
        story.release_all(instance)
        record = story.record(instance)
        story.keep(record)
        return record

    refused(*in_this_test(stale), "had not read the log as far as its challenges")


# --- instances and records ---------------------------------------------------------------------------------------


def test_a_release_sealed_to_another_instance_is_refused() -> None:
    def crossed(story: Story) -> Statement:
        story.approve_all()
        request = story.request(story.deliver_all())
        first, second = story.start(request), story.start(request)
        deliveries = [story.statements[id] for id in request.body["deliveries"]]
        story.release(deliveries[0], first)
        first.releases[deliveries[1].id] = story.release(deliveries[1], second)
        record = story.record(first)
        story.keep(record)
        return record

    refused(*in_this_test(crossed), "without the key of every owner")


def test_the_record_of_an_instance_that_was_not_live_is_refused() -> None:
    def loser(story: Story) -> Statement:
        story.approve_all()
        request = story.request(story.deliver_all())
        winner, loser = story.start(request), story.start(request)
        story.release_all(winner)
        story.release_all(loser)
        record = story.record(loser)
        story.keep(record)
        return record

    refused(*in_this_test(loser), "an instance that is not live")


def test_a_second_record_is_refused() -> None:
    """Of the same instance, and of another one at the same counter."""

    def again(story: Story) -> Statement:
        story.approve_all()
        instance, record = story.run(story.request(story.deliver_all()))
        story.keep(record)
        second = story.record(instance)
        story.keep(second)
        return second

    refused(*in_this_test(again), "not the first of its instance")

    def thawed(story: Story) -> Statement:
        story.approve_all()
        request = story.request(story.deliver_all())
        winner, frozen = story.start(request), story.start(request)
        story.release_all(winner)
        story.release_all(frozen)
        story.keep(story.record(winner))
        record = story.record(frozen)
        story.keep(record)
        return record

    refused(*in_this_test(thawed), "an instance that is not live")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        pytest.param({"measurement": "0" * 64}, "other code than the evidence", id="other code"),
        pytest.param({"statistic": "leaks"}, "another statistic", id="another statistic"),
        pytest.param({"parameters": {"areas": []}}, "other parameters", id="other parameters"),
        pytest.param({"rules": {}}, "other release rules", id="no rules"),
        pytest.param({"shares": {}}, "results without shares", id="no shares"),
        pytest.param({"c": 7}, "a key-release to an instance that is over", id="another counter"),
        pytest.param({"releases": []}, "other key-releases", id="no releases named"),
        pytest.param({"evidence": "0" * 64}, "of another run", id="other evidence"),
    ],
)
def test_a_record_that_says_something_else_than_what_was_agreed_is_refused(said: dict[str, Any], why: str) -> None:
    def wrong(story: Story) -> Statement:
        story.approve_all()
        instance = story.start(story.request(story.deliver_all()))
        story.release_all(instance)
        record = story.record(instance, **said)
        story.keep(record)
        return record

    refused(*in_this_test(wrong), why)


def test_an_output_for_another_consumer_or_left_out_is_refused() -> None:
    def with_outputs(change: Callable[[list[dict[str, Any]]], object]) -> tuple[Story, bytes]:
        def wrong(story: Story) -> Statement:
            story.approve_all()
            instance = story.start(story.request(story.deliver_all()))
            story.release_all(instance)
            body, _ = story.record_body(instance)
            change(body["outputs"])
            record = story.tell(instance, "run-record", body)
            story.keep(record)
            return record

        return in_this_test(wrong)

    refused(*with_outputs(lambda outputs: outputs[1]["keys"].update(regulator="AAAA")), "others than its consumers")
    refused(*with_outputs(lambda outputs: outputs.pop()), "not those the agreement releases")
    refused(*with_outputs(lambda outputs: outputs.append(outputs[0])), "not those the agreement releases")


# --- log and witnesses -------------------------------------------------------------------------------------------


def _with_note(change: Callable[[Story], bytes]) -> tuple[Story, bytes]:
    story, record, _ = honest()
    return story, canonical.encode(
        {**json.loads(story.bundle(record).to_bytes()), "checkpoint": change(story).decode()}
    )


def test_too_few_witnesses_are_refused() -> None:
    refused(*_with_note(lambda story: story.note(["witness-1"])), "cosigned by 1 of the 2")
    refused(*_with_note(lambda story: story.note([])), "cosigned by 0 of the 2")


def test_one_witness_twice_is_one_witness() -> None:
    def twice(story: Story) -> bytes:
        note = parse_note(story.note(["witness-1"]))
        later = parse_note(story.note(["witness-1"])).signatures[1]
        return Note(note.text, (*note.signatures, later)).serialise()

    refused(*_with_note(twice), "signed the checkpoint twice")


def test_a_witness_nobody_names_is_refused() -> None:
    refused(*_with_note(lambda story: story.note([*builders.WITNESSES, "witness-9"])), "that nobody here names")


def test_a_checkpoint_by_another_log_key_or_over_other_leaves_is_refused() -> None:
    other = Ed25519PrivateKey.generate()
    refused(*_with_note(lambda story: story.note(log_key=other)), "nobody here names")
    refused(*_with_note(lambda story: story.note(leaves=[*story.leaves[:-1], b"other"])), "is not in the log")


def test_a_checkpoint_cosigned_in_the_future_is_refused() -> None:
    refused(*_with_note(lambda story: story.note(at=story.now + timedelta(hours=2))), "after the time you gave")


@pytest.mark.parametrize("names_fork", ["challenge", "evidence"])
def test_a_fork_shown_to_a_challenger_or_an_instance_is_refused(names_fork: str) -> None:
    def forked(story: Story) -> Statement:
        story.approve_all()
        request = story.request(story.deliver_all())
        fork = story.note(leaves=[*story.leaves[:-1], b"what others were shown"])
        challenges = story.challenge_all(request)
        if names_fork == "challenge":
            challenges["regulator"] = story.challenge("regulator", request, note=fork)
        instance = story.instance(request, challenges)
        other = story.note(leaves=[*story.leaves[:-1], b"what others were shown"])
        story.attest(instance, note=other if names_fork == "evidence" else None)
        story.release_all(instance)
        record = story.record(instance)
        story.keep(record)
        return record

    refused(*in_this_test(forked), "not of this log's past")


def test_a_challenge_with_a_checkpoint_of_too_few_witnesses_is_refused() -> None:
    def alone(story: Story) -> Statement:
        return _challenged_by(story, "operator-a", "operator-b", "regulator", note=story.note(["witness-1"]))

    refused(*in_this_test(alone), "cosigned by 1 of the 2")


# --- signatures --------------------------------------------------------------------------------------------------


def _strip(type: str, algorithm: str) -> Change:
    def change(value: dict[str, Any]) -> None:
        envelope = of_type(value, type)[0]["envelope"]
        envelope["signatures"] = [found for found in envelope["signatures"] if found["keyid"] != algorithm]

    return change


@pytest.mark.parametrize(
    "type", ["agreement", "approval", "delivery", "run-request", "challenge", "key-release", "kept"]
)
@pytest.mark.parametrize("algorithm", ["ed25519", "mldsa65"])
def test_a_stripped_signature_is_refused(type: str, algorithm: str) -> None:
    story, data = changed(_strip(type, algorithm))
    refused(story, data, f"the {algorithm} signature is missing")


def test_a_signature_that_no_key_of_the_card_made_is_refused() -> None:
    def add(type: str) -> Change:
        extra = {"keyid": "zeta", "sig": "AAAA"}
        return lambda value: of_type(value, type)[0]["envelope"]["signatures"].append(extra)

    for type in ("approval", "run-record"):
        story, data = changed(add(type))
        refused(story, data, "that no key of its card made")


def test_anothers_signature_is_refused() -> None:
    def swap(value: dict[str, Any]) -> None:
        one, other = of_type(value, "approval")[:2]
        one["envelope"]["signatures"] = other["envelope"]["signatures"]

    story, data = changed(swap)
    refused(story, data, "signature is wrong")


# --- trust -------------------------------------------------------------------------------------------------------


def _cards(names: Iterable[str]) -> list[Any]:
    return [builders.party(name)[0] for name in names]


def test_the_verifiers_own_cards_turn_attested_lines_into_proved_ones() -> None:
    story, _, data = honest()
    cards = [*_cards(builders.PARTIES), *(builders.witness(name).card for name in builders.WITNESSES)]
    verdict = verify(story, data, Trust.of_cards([*cards, builders.host().card]))
    assert verdict.ok
    status = {line.key: line.status for line in verdict.lines}
    assert {status[f"agreement.approval.{name}"] for name in story.terms.roles.approvers} == {"proved"}
    assert status["witnesses"] == "proved"


def test_without_trusted_cards_the_verdict_says_whose_witnesses_they_are() -> None:
    story, _, data = honest()
    line = next(line for line in verify(story, data).lines if line.key == "witnesses")
    assert line.status == "attested"
    assert line.sentence.endswith("not chosen by you")


def test_an_untrusted_approver_is_refused() -> None:
    story, _, data = honest()
    stranger = builders.party("operator-a", 7)[0]
    trust = Trust(parties=frozenset({fingerprint(stranger)}))
    refused(story, data, "is no party of this agreement", trust)


def test_witnesses_the_verifier_did_not_choose_do_not_count() -> None:
    story, _, data = honest()
    chosen = [builders.witness(name).card for name in ("witness-1", "witness-8", "witness-9")]
    refused(story, data, "cosigned by 1 of the 2", Trust.of_cards(chosen))
    one = Trust.of_cards([builders.witness("witness-2").card])
    assert not verify(story, data, one).failure
    refused(story, data, "cosigned by 3 of the 4", Trust(quorum=4))


def test_a_log_the_verifier_does_not_know_is_refused() -> None:
    story, _, data = honest()
    refused(story, data, "key", Trust.of_cards([builders.host("another").card]))


# --- results -----------------------------------------------------------------------------------------------------


def test_a_result_that_the_record_does_not_commit_to_is_refused() -> None:
    story, record, data = honest()
    salt, content = story.results[record.id]["all"]
    refused(story, data, "not the one that the record commits to", results={"all": (salt, content + b"!")})
    refused(story, data, "not the one that the record commits to", results={"all": (bytes(32), content)})
    refused(story, data, "not the one that the record commits to", results={"by_area": (salt, content)})
    refused(story, data, "does not have", results={"persons": (salt, content)})
    refused(story, data, "salt of 32 bytes", results={"all": (b"", content)})


def test_an_unsound_agreement_is_refused_however_well_it_is_signed() -> None:
    story = Story(builders.agreement(witnesses__quorum=1))
    record = story.whole_run()
    refused(story, story.bundle(record).to_bytes(), "the agreement is unsound at witnesses.quorum")


def test_an_agreement_that_was_not_valid_at_the_run_is_refused() -> None:
    story = Story(builders.agreement(valid={"from": "2027-01-01", "to": "2027-12-31"}))
    record = story.whole_run(period=PERIOD)
    refused(story, story.bundle(record).to_bytes(), "valid from 2027-01-01")


def test_a_proof_made_after_the_agreements_end_says_so() -> None:
    story = Story()
    record = story.whole_run()
    story.wait(400 * 86_400)
    verdict = verify(story, story.bundle(record).to_bytes())
    assert verdict.ok
    assert "agreement.ended" in {line.key for line in verdict.lines}
