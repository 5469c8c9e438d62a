"""What a log means: the rules of protocol.md sections 3 to 8, each told as a story."""

from datetime import UTC, datetime

import pytest

import builders
from sealstat.agreement.replay import InactiveError, ReplayError, View, Void
from sealstat.crypto import canonical
from sealstat.crypto.cards import fingerprint
from sealstat.crypto.statement import Statement
from story import PERIOD, Instance, Story, digest_of

NOW = datetime(2026, 11, 2, tzinfo=UTC)


def begun() -> tuple[Story, Statement]:
    story = Story()
    return story, story.begin()


def two_instances() -> tuple[Story, Instance, Instance]:
    """Two that answer one request; neither has a key."""
    story, request = begun()
    return story, story.start(request), story.start(request)


def void(story: Story, said: Statement, why: str) -> None:
    found = story.why_void(said)
    assert found is not None, "it means something"
    assert why in found


# --- reading: section 3 ------------------------------------------------------------------------------------------


def test_a_missing_body_ends_the_replay_where_it_is_missing() -> None:
    story, request = begun()
    view = View(story.chain)
    entry = request.leaf
    view.size = 17
    found = view.concerns(entry)
    assert found is not None
    with pytest.raises(ReplayError, match=r"leaf 17 \(run-request\) is missing"):
        view.add(*found, None)
    assert view.size == 17


def test_another_body_or_an_unsigned_one_is_a_missing_one() -> None:
    story = Story()
    approval = story.approve("ministry")
    other = story.say("ministry", "approval", {**approval.body, "language": "id"})
    view = story.view(leaves=story.leaves[:1])
    with pytest.raises(ReplayError, match="another statement stands in its place"):
        view.add(approval.id, "approval", other.to_bytes())
    with pytest.raises(ReplayError, match="another statement stands in its place"):
        view.add(approval.id, "withdrawal", approval.to_bytes())
    stripped = Statement(approval.frame, approval.payload, {"ed25519": approval.signatures["ed25519"]})
    with pytest.raises(ReplayError, match="mldsa65 signature is missing"):
        view.add(approval.id, "approval", stripped.to_bytes())
    view.add(approval.id, "approval", approval.to_bytes())
    assert view.approvals[story.id] == {"ministry"}


def test_an_unknown_type_ends_the_replay() -> None:
    story = Story()
    said = story.tell("ministry", "praise", {})
    with pytest.raises(ReplayError, match="unknown type praise"):
        story.view()
    assert said.type == "praise"


def test_a_body_that_is_there_and_wrong_is_void_and_blocks_nothing() -> None:
    story = Story()
    wrong = story.tell("ministry", "approval", {"language": "english"})
    void(story, wrong, "not a approval")
    story.approve_all()
    assert not story.view().missing_approvals()


def test_leaves_of_other_agreements_and_of_no_agreement_are_passed_over() -> None:
    story = Story()
    story.noise(3)
    story.leaves += [b"", b"not json", canonical.encode({"agreement": None, "id": "x", "type": "y"})]
    story.approve_all()
    view = story.view()
    assert view.size == len(story.leaves)
    assert not view.void


def test_of_equal_ids_the_first_leaf_counts() -> None:
    story = Story()
    said = story.approve("ministry")
    story.leaves.append(said.leaf)
    view = story.view()
    assert view.entries[said.id].index == 1
    assert view.size == 3


def test_a_statement_ahead_of_its_agreement_is_void() -> None:
    story = Story(proposed=False)
    proposal = builders.statement(builders.agreement())
    story.chain = [proposal]
    early = story.approve("ministry")
    story.log(proposal)
    void(story, early, "ahead of its agreement")


def test_a_stranger_is_nobody() -> None:
    story = Story()
    story.tell("stranger", "approval", {"language": "en", "renderer": "r", "explained": "0" * 64})
    with pytest.raises(ReplayError, match="no card here"):
        story.view()


# --- the agreement: section 4 ------------------------------------------------------------------------------------


def test_an_agreement_is_active_from_the_last_approval_on() -> None:
    story = Story()
    for name in story.terms.roles.approvers:
        with pytest.raises(InactiveError, match="still lacks the approval"):
            story.view().check_active(NOW)
        story.approve(name)
    story.view().check_active(NOW)


def test_only_approvers_approve_withdraw_and_name_a_successor() -> None:
    story = Story()
    void(story, story.approve("regulator"), "no approver")
    void(story, story.withdraw("regulator"), "no approver")
    void(story, story.succeed(story.id, "0" * 64, "regulator")[0], "no approver")


@pytest.mark.parametrize(
    ("moment", "valid"),
    [
        pytest.param(datetime(2026, 9, 30, 23, 59, 59, tzinfo=UTC), False, id="the second before"),
        pytest.param(datetime(2026, 10, 1, tzinfo=UTC), True, id="first second"),
        pytest.param(datetime(2027, 9, 30, 23, 59, 59, tzinfo=UTC), True, id="last second: both days are in"),
        pytest.param(datetime(2027, 10, 1, tzinfo=UTC), False, id="the day after"),
    ],
)
def test_an_agreement_holds_between_its_days(moment: datetime, valid: bool) -> None:
    story = Story()
    story.approve_all()
    if valid:
        story.view().check_active(moment)
    else:
        with pytest.raises(InactiveError, match="valid from"):
            story.view().check_active(moment)


def test_a_withdrawal_ends_it() -> None:
    story = Story()
    story.approve_all()
    story.withdraw("operator-b")
    with pytest.raises(InactiveError, match="withdrawn by operator-b"):
        story.view().check_active(NOW)


def superseded() -> tuple[Story, str, str]:
    """A story with a second version, approved; ids of the old and the new one."""
    story = Story()
    story.approve_all()
    old = story.id
    story.propose(builders.agreement(version=2, supersedes=old))
    story.approve_all()
    return story, old, story.id


def test_the_old_version_is_over_with_the_last_successor_and_the_new_one_begins() -> None:
    story, old, new = superseded()
    chain_of_old = story.chain[1:]
    for name in story.terms.roles.approvers:
        story.view(chain_of_old).check_active(NOW)
        with pytest.raises(InactiveError, match="the version before is in force"):
            story.view().check_active(NOW)
        story.succeed(old, new, name)
    story.view().check_active(NOW)
    with pytest.raises(InactiveError, match="superseded"):
        story.view(chain_of_old).check_active(NOW)


def test_approvers_who_name_different_successors_have_named_none() -> None:
    story, old, new = superseded()
    story.succeed(old, new, "operator-a", "operator-b")
    story.succeed(old, "0" * 64, "ministry")
    assert not story.view().superseded(old)


def test_of_two_successors_only_the_first_complete_one_is_active() -> None:
    story, old, new = superseded()
    story.succeed(old, "0" * 64, *story.terms.roles.approvers)
    story.succeed(old, new, *story.terms.roles.approvers)
    with pytest.raises(InactiveError, match="the version before is in force until"):
        story.view().check_active(NOW)


def test_a_new_version_needs_the_approvers_of_both() -> None:
    story = Story()
    story.approve_all()
    terms = builders.agreement_json()
    terms["roles"]["approvers"] = ["operator-a", "operator-b"]
    story.propose(builders.agreement(version=2, supersedes=story.id, roles=terms["roles"]))
    story.approve("operator-a")
    story.approve("operator-b")
    assert story.view().missing_approvals() == ["ministry"]
    story.approve("ministry")
    assert story.view().missing_approvals() == []


def test_an_approver_that_leaves_approves_the_version_it_is_no_longer_in() -> None:
    terms = builders.agreement_json()
    terms["parties"]["parliament"] = {"card": builders.party("parliament")[0].to_json()}
    terms["roles"]["approvers"].append("parliament")
    story = Story(builders.agreement(parties=terms["parties"], roles=terms["roles"]))
    story.approve_all()
    story.propose(builders.agreement(version=2, supersedes=story.id))
    story.approve_all()
    assert story.view().missing_approvals() == ["parliament"]
    story.approve("parliament")
    assert story.view().missing_approvals() == []
    void(story, story.withdraw("parliament"), "not in force")


def test_counter_and_state_of_a_task_go_on_over_versions() -> None:
    story = Story()
    first = story.whole_run()
    old = story.id
    story.propose(builders.agreement(version=2, supersedes=old))
    story.approve_all()
    story.succeed(old, story.id, *story.terms.roles.approvers)
    assert story.view().counter("visitors") == 1
    second = story.whole_run(period="2026-11", c=1)
    view = story.view()
    assert view.tasks["visitors"].counting == [first.id, second.id]


def test_a_record_behind_the_last_successor_does_not_count() -> None:
    story = Story()
    _, record = story.run(story.begin())
    old = story.id
    story.succeed(old, digest_of("another agreement"), *story.terms.roles.approvers)
    story.keep(record)
    assert not story.view().counts(record.id)


def test_nothing_is_said_about_a_run_under_another_version() -> None:
    """Names are those of one agreement: an old card, still in force there, must not speak for the new one's name."""
    story, old, new = superseded()
    story.succeed(old, new, *story.terms.roles.approvers)
    request = story.begin()
    said = story.challenge("operator-a", request, under=old)
    void(story, said, "of another agreement")
    instance = story.instance(request, story.challenge_all(request))
    elsewhere = story.instance(request, instance.challenges)
    void(story, story.attest(elsewhere, under=old), "of another agreement")
    story.attest(instance)
    deliveries = [story.statements[id] for id in request.body["deliveries"]]
    void(story, story.release(deliveries[0], instance, under=old), "of another agreement")
    instance.releases.clear()
    story.release_all(instance)
    body, _ = story.record_body(instance)
    void(story, story.tell(instance, "run-record", body, under=old), "of another agreement")
    record = story.record(instance)
    void(story, story.keep(record, under=old), "of another agreement")
    story.keep(record)
    void(story, story.release_result("operator-a", record, instance, under=old), "of another agreement")
    assert story.view().counts(record.id)


# --- cards -------------------------------------------------------------------------------------------------------


def test_a_replaced_card_signs_nothing_any_more_and_the_new_one_everything() -> None:
    story = Story()
    late = story.say("ministry", "approval", {"language": "en", "renderer": "r", "explained": "0" * 64})
    story.rotate("ministry")
    story.log(late)
    void(story, late, "card is not in force")
    story.approve("ministry")
    view = story.view()
    assert view.approvals[story.id] == {"ministry"}
    assert view.who(fingerprint(builders.party("ministry", 1)[0])) == "ministry"
    assert view.who(fingerprint(builders.party("ministry")[0])) is None


def test_what_the_old_card_said_before_stays_said() -> None:
    story = Story()
    story.approve_all()
    story.rotate("ministry")
    story.view().check_active(NOW)


def test_nobody_replaces_anothers_card_or_comes_back_to_an_old_one() -> None:
    story = Story()
    new = builders.party("ministry", 1)[0].to_json()
    body = {"old": fingerprint(story.card("ministry")), "new": new}
    void(story, story.tell("operator-a", "replacement", body), "under an agreement that is not approved")
    own = {"old": fingerprint(story.card("operator-a")), "new": new}
    void(story, story.tell("operator-a", "replacement", own), "not in force")
    stranger = {**own, "new": builders.party("stranger")[0].to_json()}
    void(story, story.tell("operator-a", "replacement", stranger), "another name")
    before = story.card("ministry")
    story.rotate("ministry")
    back = {"old": fingerprint(story.card("ministry")), "new": before.to_json()}
    void(story, story.tell("ministry", "replacement", back), "used before")


def test_a_rehearsal_changes_no_card() -> None:
    story = Story()
    story.rotate("ministry", rehearsal=True)
    story.approve("ministry")
    assert story.view().approvals[story.id] == {"ministry"}


def test_the_host_is_no_party_whatever_the_parties_are_called() -> None:
    parties = builders.agreement_json()["parties"] | {"host": {"card": builders.party("host")[0].to_json()}}
    roles = {"approvers": ["operator-a", "operator-b", "ministry", "host"]}
    story = Story(builders.agreement(parties=parties, roles=roles))
    text = {"language": "en", "renderer": "r", "explained": "0" * 64}
    void(story, story.tell("host", "approval", text), "no approver")


# --- deliveries: section 5 ---------------------------------------------------------------------------------------


def test_the_first_linkage_share_of_a_provider_is_the_one() -> None:
    story = Story()
    first = story.share_linkage("operator-a")
    void(story, story.share_linkage("operator-a"), "a second linkage share")
    assert story.why_void(story.share_linkage("operator-a", period="2026-11")) is None
    assert story.view().contributions("roamers", PERIOD)["operator-a"].id == first.id


def test_linkage_shares_are_from_and_for_the_group_alone() -> None:
    story = Story()
    void(story, story.share_linkage("ministry"), "outside the group")
    void(story, story.share_linkage("operator-a", sealed={"ministry": "AAAA"}), "not sealed to each other")
    said = {"group": "others", "period": PERIOD, "commitment": "0" * 64, "sealed": {"operator-b": "AAAA"}}
    void(story, story.tell("operator-a", "linkage-share", said), "unknown group")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"dataset": "roamers-x"}, "unknown dataset"),
        ({"by": "operator-b"}, "not its provider"),
        ({"schema": "subscribers"}, "another schema"),
        ({"period": "2026-10-01"}, "another kind of period"),
        ({"linkage_check": None}, "wrong linkage check"),
        ({"rows": 12}, "lists rows against the agreement"),
        ({"size": 12}, "lists size against the agreement"),
    ],
)
def test_a_delivery_that_is_not_what_was_agreed_is_void(said: dict[str, str], why: str) -> None:
    story = Story()
    body = {"dataset": "roamers-a", **said}
    void(story, story.deliver(**body), why)


def replaceable() -> Story:
    terms = builders.agreement_json()
    terms["datasets"]["roamers-a"]["replaceable"] = True
    return Story(builders.agreement(datasets=terms["datasets"]))


def test_a_second_delivery_is_void_unless_the_agreement_lets_it_replace_the_first() -> None:
    story = Story()
    first = story.deliver("roamers-a")
    void(story, story.deliver("roamers-a"), "a second delivery")
    found = story.view().in_force("roamers-a", PERIOD)
    assert found is not None
    assert found.entry.id == first.id

    story = replaceable()
    story.deliver("roamers-a")
    second = story.deliver("roamers-a")
    found = story.view().in_force("roamers-a", PERIOD)
    assert found is not None
    assert found.entry.id == second.id


def test_ranges_of_one_dataset_that_share_a_day_are_not_both_taken() -> None:
    """Differencing: two results whose days overlap would tell of the days that they do not share."""
    terms = builders.agreement_json()
    for dataset in terms["datasets"].values():
        dataset["period"] = "range"
    story = Story(builders.agreement(datasets=terms["datasets"]))
    assert story.why_void(story.deliver("roamers-a", period="2026-10-05/2026-10-11")) is None
    for period in ("2026-10-01/2026-10-05", "2026-10-11/2026-10-20", "2026-10-06/2026-10-07", "2026-10-01/2026-10-31"):
        void(story, story.deliver("roamers-a", period=period), "days that another delivery covers")
    assert story.why_void(story.deliver("roamers-b", period="2026-10-01/2026-10-31")) is None  # another dataset
    for period in ("2026-10-01/2026-10-04", "2026-10-12/2026-10-31"):
        assert story.why_void(story.deliver("roamers-a", period=period)) is None


def test_a_delivery_that_a_request_has_named_is_not_replaced() -> None:
    story = replaceable()
    request = story.request(story.deliver_all())
    void(story, story.deliver("roamers-a"), "a second delivery")
    story.view().check_request(request.id)


def test_an_expired_delivery_is_no_free_place_for_another() -> None:
    story = Story()
    deliveries = story.deliver_all()
    request = story.request(deliveries)
    story.expire(deliveries[0])
    void(story, story.deliver("roamers-a"), "a second delivery")
    with pytest.raises(Void, match="has expired"):
        story.view().check_request(request.id)


def test_only_its_owner_lets_a_delivery_expire() -> None:
    story = Story()
    delivery = story.deliver("roamers-a")
    void(story, story.expire(delivery, by="operator-b"), "somebody else's")
    void(story, story.tell("operator-a", "deleted", {"delivery": delivery.id}), "the host did not sign")
    assert story.why_void(story.tell("host", "deleted", {"delivery": delivery.id})) is None


# --- requests: section 6.1 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"task": "trips"}, "unknown task"),
        ({"by": "operator-a"}, "no runner"),
        ({"purpose": "curiosity"}, "does not list"),
        ({"parameters": {"areas": []}}, "does not leave open"),
        ({"period": "2026-11"}, "deliveries in force"),
    ],
)
def test_a_request_that_was_not_agreed_is_void(said: dict[str, str], why: str) -> None:
    story = Story()
    void(story, story.request(story.deliver_all(), **said), why)


def test_a_request_names_all_deliveries_in_force_in_the_tasks_order() -> None:
    story = Story()
    a, b = story.deliver_all()
    for named in ([a], [b, a], [a, b, b]):
        void(story, story.request(named), "deliveries in force")
    assert story.why_void(story.request([a, b])) is None


def test_a_run_over_unequal_linkage_checks_is_refused() -> None:
    story = Story()
    a = story.deliver("roamers-a")
    b = story.deliver("roamers-b", linkage_check=digest_of("another key"))
    request = story.request([a, b])
    with pytest.raises(Void, match="under one linkage key"):
        story.view().check_request(request.id)


def test_only_records_that_count_use_up_a_run() -> None:
    story, request = begun()
    instance, record = story.run(request)
    entry = story.view().check_request(request.id)
    assert story.view().runs_counted("visitors", "run", entry.body.period) == 0
    story.keep(record)
    assert story.view().runs_counted("visitors", "run", entry.body.period) == 1
    again = story.request([story.statements[id] for id in request.body["deliveries"]])
    with pytest.raises(Void, match="no run is left"):
        story.view().check_request(again.id)
    assert instance.c == 0


def test_refusals_over_data_are_counted_for_task_and_period_where_a_key_was_given() -> None:
    story, request = begun()
    for left in (3, 2, 1):
        entry = story.view().requests[request.id]
        assert story.view().data_refusals_left(entry) == left
        idle = story.start(request)
        story.refuse(idle, request.id)  # it never had a key, so it says nothing about data
        assert story.view().data_refusals_left(entry) == left
        instance = story.start(request)
        story.release_all(instance)
        story.refuse(instance, request.id)
    with pytest.raises(Void, match="too many runs"):
        story.view().check_request(request.id)


# --- instances: section 6 ----------------------------------------------------------------------------------------


def test_owners_and_holders_challenge_and_nobody_else() -> None:
    story, request = begun()
    void(story, story.challenge("ministry", request), "bystander")
    void(story, story.challenge("operator-a", request, seal_to=None), "sealing key")
    void(story, story.challenge("regulator", request, request="0" * 64), "no such run-request")
    assert story.why_void(story.challenge("regulator", request)) is None


def test_evidence_names_challenges_for_its_request_and_one_counter_in_order() -> None:
    story, request = begun()
    challenges = story.challenge_all(request)
    ids = sorted(said.id for said in challenges.values())

    def attest(why: str, **said: object) -> None:
        void(story, story.attest(story.instance(request, challenges), **said), why)

    attest("out of order", challenges=ids[::-1])
    attest("out of order", challenges=[ids[0], ids[0]])
    attest("unknown challenge", challenges=["0" * 64])
    later = story.challenge("regulator", request, 1)
    attest("different counters", challenges=sorted([*ids, later.id]))
    other = story.request([story.statements[id] for id in request.body["deliveries"]])
    attest("another request's challenge", request=other.id)


def test_what_an_instance_of_void_evidence_goes_on_to_say_is_void_too_and_ends_nothing() -> None:
    story, request = begun()
    instance = story.instance(request, story.challenge_all(request))
    story.attest(instance, challenges=["0" * 64])
    void(story, story.refuse(instance, request.id), "card is not in force")
    story.view().check_request(request.id)


def test_the_first_evidence_of_an_instance_is_its_only_one() -> None:
    story, request = begun()
    instance = story.start(request)
    void(story, story.attest(instance), "a second evidence")


def test_nobody_signs_evidence_with_another_key_than_the_one_in_it() -> None:
    story, request = begun()
    challenges = story.challenge_all(request)
    instance, thief = story.instance(request, challenges), story.instance(request, challenges)
    story.attest(thief, card=instance.card.to_json())
    with pytest.raises(ReplayError, match="another key than the one it shows"):
        story.view()


def test_live_is_the_instance_whose_first_release_stands_first() -> None:
    story, first, second = two_instances()
    deliveries = [story.statements[id] for id in first.request.body["deliveries"]]
    assert story.view().live("visitors") is None
    story.release(deliveries[1], second)
    story.release_all(first)
    live = story.view().live("visitors")
    assert live is not None
    assert live.fingerprint == second.id


def test_an_abandoned_instance_gives_way_to_the_next_and_never_comes_back() -> None:
    story, first, second = two_instances()
    story.release_all(first)
    story.release_all(second)
    story.abandon(first)
    live = story.view().live("visitors")
    assert live is not None
    assert live.fingerprint == second.id
    void(story, story.record(first), "not live")
    story.abandon(second)
    assert story.view().live("visitors") is None


def test_an_instance_is_over_by_an_abandon_ahead_of_any_release() -> None:
    story, first, _ = two_instances()
    story.abandon(first)
    void(story, story.release_all(first)[0], "an instance that is over")


def test_its_own_refusal_ends_an_instance_and_nobody_elses() -> None:
    story, first, second = two_instances()
    story.release_all(first)
    story.release_all(second)
    void(story, story.refuse(first, digest_of("another request")), "another request")
    void(story, story.refuse("operator-a", first.request.id), "not its signer's to refuse")
    live = story.view().live("visitors")
    assert live is not None
    assert live.fingerprint == first.id
    story.refuse(first, first.request.id)
    live = story.view().live("visitors")
    assert live is not None
    assert live.fingerprint == second.id


@pytest.mark.parametrize(
    ("by", "may"), [("ministry", True), ("operator-b", True), ("regulator", True), ("host", False)]
)
def test_runner_owners_and_holders_abandon(by: str, may: bool) -> None:
    story, first, _ = two_instances()
    assert (story.why_void(story.abandon(first, by=by)) is None) == may


def test_a_key_is_released_by_its_owner_for_the_request_and_counter_of_the_instance() -> None:
    story, request = begun()
    instance = story.start(request)
    a, _ = (story.statements[id] for id in request.body["deliveries"])
    other = story.deliver("roamers-a", period="2026-11")
    void(story, story.release(a, instance, by="operator-b"), "not the owner")
    void(story, story.release(a, instance, by="regulator"), "not the owner")
    void(story, story.release(a, instance, c=1), "over")
    void(story, story.release(a, instance, request=digest_of("another")), "another request")
    void(story, story.release(other, instance), "not asked for")
    void(story, story.release(a, instance, delivery=digest_of("none")), "not asked for")
    assert story.view().live("visitors") is None


# --- what counts: sections 6 and 8 -------------------------------------------------------------------------------


def test_a_record_counts_from_the_leaf_of_the_last_needed_kept_on() -> None:
    terms = builders.agreement_json()
    terms["tasks"]["visitors"]["keepers"] = ["ministry", "regulator", "operator-a"]
    terms["host"]["operated_by"] = "operator-a"
    story = Story(builders.agreement(tasks=terms["tasks"], host=terms["host"]))
    _, record = story.run(story.begin())
    story.keep(record, by="operator-a")  # in the house of the host's operator: not needed, and not enough
    story.keep(record, by="ministry")
    void(story, story.keep(record, by="operator-b"), "no keeper")
    assert not story.view().counts(record.id)
    story.keep(record, by="regulator")
    view = story.view()
    assert view.counts(record.id)
    assert view.counter("visitors") == 1
    answer = view.counting_record(record.body["request"])
    assert answer is not None
    assert answer.id == record.id


def test_before_the_last_kept_an_abandon_wins_and_after_it_nothing_does() -> None:
    story, request = begun()
    instance, record = story.run(request)
    story.abandon(instance)
    story.keep(record)
    assert story.view().counter("visitors") == 0

    story, request = begun()
    instance, record = story.run(request)
    story.keep(record)
    story.abandon(instance)
    story.withdraw("operator-a")
    story.refuse("operator-a", record.id, "owner", why="a mistake")
    view = story.view()
    assert view.counts(record.id)
    assert view.counter("visitors") == 1


def test_after_an_abandon_the_same_run_goes_on_with_a_new_instance() -> None:
    story, request = begun()
    lost, record = story.run(request)
    story.abandon(lost)
    _, second = story.run(request)
    story.keep(record)
    story.keep(second)
    view = story.view()
    assert not view.counts(record.id)
    assert view.counts(second.id)


def test_a_withdrawal_before_the_last_kept_stops_the_record_for_good() -> None:
    story, request = begun()
    _, record = story.run(request)
    story.withdraw("operator-b")
    story.keep(record)
    assert not story.view().counts(record.id)


def test_the_frozen_loser_thawed_after_the_release_counts_for_nothing() -> None:
    story, winner, loser = two_instances()
    story.release_all(winner)
    story.release_all(loser)
    record = story.record(winner)
    story.keep(record)
    thawed = story.record(loser)
    story.keep(thawed)
    story.release_result("operator-a", thawed, loser)
    view = story.view()
    assert view.counter("visitors") == 1
    assert thawed.id in view.void
    assert view.result_releases == {}


def test_with_the_counter_every_instance_of_the_counter_is_over() -> None:
    story, winner, loser = two_instances()
    story.release_all(winner)
    story.keep(story.record(winner))
    view = story.view()
    assert view.instances[winner.id].over
    assert view.instances[loser.id].over
    assert view.live("visitors") is None
    void(story, story.release_all(loser)[0], "over")
    late = story.start(winner.request)
    assert story.view().instances[late.id].over


def test_evidence_for_a_counter_to_come_is_nobodys_turn_yet() -> None:
    story, request = begun()
    early = story.start(request, 1)
    void(story, story.release_all(early)[0], "over")
    story.finish(*reversed(story.run(request)))
    assert not story.view().instances[early.id].over


@pytest.mark.parametrize(
    "said",
    [{"c": 1}, {"deliveries": []}, {"evidence": "0" * 64}, {"request": "0" * 64}],
    ids=lambda said: next(iter(said)),
)
def test_a_record_that_names_another_run_is_void(said: dict[str, object]) -> None:
    story, request = begun()
    instance = story.start(request)
    story.release_all(instance)
    void(story, story.record(instance, **said), "a run-record of another run")


def test_a_record_names_the_first_release_of_each_key() -> None:
    story, request = begun()
    instance = story.start(request)
    first = story.release_all(instance)
    again = story.release_all(instance)
    void(story, story.record(instance, releases=[said.id for said in again]), "other key-releases")
    assert [said.id for said in first] != [said.id for said in again]


def test_a_record_without_every_owners_key_is_void_and_was_its_instances_only_one() -> None:
    story, request = begun()
    instance = story.start(request)
    a, b = (story.statements[id] for id in request.body["deliveries"])
    story.release(a, instance)
    void(story, story.record(instance), "without the key of every owner")
    story.release(b, instance)
    void(story, story.record(instance), "not the first")


def test_only_instances_make_records_and_only_records_are_kept() -> None:
    story, request = begun()
    instance = story.start(request)
    story.release_all(instance)
    body, _ = story.record_body(instance)
    void(story, story.tell("ministry", "run-record", body), "by no instance")
    void(story, story.keep(request), "no run-record")


# --- results: section 7 ------------------------------------------------------------------------------------------


def test_holders_release_records_that_count_and_nothing_else() -> None:
    story, request = begun()
    instance, record = story.run(request)
    void(story, story.release_result("operator-a", record, instance), "does not count")
    story.keep(record)
    void(story, story.release_result("ministry", record, instance), "no holder")
    empty = {"record": request.id, "shares": {}}
    void(story, story.tell("regulator", "result-release", empty), "of no record")
    released = story.release_result("regulator", record, instance)
    story.release_result("regulator", record, instance)
    assert story.view().result_releases[record.id]["regulator"].id == released.id


def test_consumers_acknowledge_and_owners_refuse_a_record() -> None:
    story, request = begun()
    instance, record = story.run(request)
    story.finish(record, instance)
    void(story, story.acknowledge("regulator", record), "no consumer")
    story.acknowledge("ministry", record)
    void(story, story.refuse("regulator", record.id, "owner", why="no"), "owns none of its inputs")
    refusal = story.refuse("operator-a", record.id, "owner", why="a mistake")
    view = story.view()
    assert view.acknowledged[record.id] == {"ministry"}
    assert [entry.id for entry in view.refusals[record.id]] == [refusal.id]


def test_the_receivers_of_a_contribution_refuse_it_and_name_its_giver() -> None:
    story = Story()
    share = story.share_linkage("operator-a")
    void(story, story.refuse("operator-a", share.id, "linkage", giver="operator-a"), "not its signer's")
    assert story.why_void(story.refuse("operator-b", share.id, "linkage", giver="operator-a")) is None


# --- what was sent and has no leaf yet: section 6 ----------------------------------------------------------------


def test_a_pending_release_is_foreseen_at_the_end_of_whatever_was_read() -> None:
    story, first, second = two_instances()
    a, _ = (story.statements[id] for id in first.request.body["deliveries"])
    before = story.view()
    length = len(story.leaves)
    pending = story.release(a, first)
    del story.leaves[length:]
    foreseen = before.foresee([pending])
    live = foreseen.live("visitors")
    assert live is not None
    assert live.fingerprint == first.id
    assert before.live("visitors") is None
    assert before.size == length
    assert foreseen.size == length + 1

    # the log went on without it: another instance was released to first, and stays live
    story.release(a, second)
    live = story.view().foresee([pending]).live("visitors")
    assert live is not None
    assert live.fingerprint == second.id


def test_what_is_foreseen_changes_nothing_that_was_read() -> None:
    story, request = begun()
    instance, record = story.run(request)
    view = story.view()
    kept = story.say("ministry", "kept", {"record": record.id})
    foreseen = view.foresee([kept])
    assert foreseen.counts(record.id)
    assert not view.counts(record.id)
    assert not view.instances[instance.id].over
    assert view.kept.get(record.id) is None
    assert foreseen.entries[record.id] is view.entries[record.id]


def test_a_pending_statement_that_has_its_leaf_by_now_is_there_once() -> None:
    story, request = begun()
    said = story.challenge("regulator", request)
    view = story.view()
    assert view.foresee([said]).challenges.keys() == view.challenges.keys()


def test_every_reader_of_a_prefix_agrees_with_those_who_read_further() -> None:
    """What counts never ceases to; read at every length of a long story."""
    story, request = begun()
    lost, _ = story.run(request)
    story.abandon(lost)
    story.finish(*reversed(story.run(request)))
    story.whole_run(period="2026-11", c=1)
    story.withdraw("ministry")
    counting: list[str] = []
    for length in range(len(story.leaves) + 1):
        view = story.view(leaves=story.leaves[:length])
        now = view.tasks["visitors"].counting if "visitors" in view.tasks else []
        assert now[: len(counting)] == counting
        counting = list(now)
    assert len(counting) == 2
