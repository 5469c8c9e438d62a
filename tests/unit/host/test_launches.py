"""Which run-requests need an instance."""

from sealstat.host.launches import needing_instance
from story import Story


def test_a_request_needs_instances_until_a_record_of_it_counts() -> None:
    story = Story()
    request = story.begin()
    instance = story.start(request)
    assert needing_instance(story.view(), story.now) == [request.id]
    story.release_all(instance)
    record = story.record(instance)
    assert needing_instance(story.view(), story.now) == []
    story.keep(record)
    assert story.view().counting_record(request.id) is not None
    assert needing_instance(story.view(), story.now) == []


def test_a_request_that_an_instance_refused_needs_no_other_one() -> None:
    story = Story()
    request = story.begin()
    instance = story.start(request)
    story.release_all(instance)
    story.refuse(instance, request.id)
    assert needing_instance(story.view(), story.now) == []
    again = story.request([said for said in story.statements.values() if said.type == "delivery"])
    assert needing_instance(story.view(), story.now) == [again.id]
