"""A real agent releases where the model's holder may, and nowhere else, whatever happened before."""

from pathlib import Path

import pytest

from desk import Desk, home
from model.conformance import compare
from model.log import read_all
from model.protocol import may_release
from sealstat.crypto.cards import b64
from sealstat.crypto.statement import Statement
from sealstat.party import duties
from story import Story

SECRET = {"key": b64(bytes(32)), "rows": 1, "rejects": {}, "size": 1}


@pytest.mark.parametrize(
    "history",
    [
        pytest.param("1", id="the other owner released to the first"),
        pytest.param("2", id="the other owner released to the second"),
        pytest.param("a2l", id="two owners released to different instances, the other's leaf came first"),
        pytest.param("al2", id="two owners released to different instances, the own leaf came first"),
        pytest.param("axl", id="given up before the own release had its leaf"),
        pytest.param("1xa2a", id="the live one is given up"),
        pytest.param("2a1la", id="the second is live"),
        pytest.param("w", id="withdrawn"),
    ],
)
def test_an_agent_releases_where_the_model_does(tmp_path: Path, history: str) -> None:
    story = Story()
    request = story.begin()
    desk = Desk(story, home(tmp_path, "operator-a"))
    mine, theirs = request.body["deliveries"]
    desk.home.ledger.keep_secret("delivery-key", mine, SECRET)
    duties.challenge_requests(desk)
    challenges = {"operator-a": desk.log("challenge")}
    challenges |= {name: story.challenge(name, request) for name in ("operator-b", "regulator")}
    first, second = (story.instance(request, challenges) for _ in range(2))
    for instance in (first, second):
        story.attest(instance)
    for event in history:
        if event in "12":
            story.release(story.statements[theirs], first if event == "1" else second)
        elif event == "x":
            story.abandon(first)
        elif event == "w":
            story.withdraw("ministry")
        elif event == "l":
            desk.log("key-release")
        if event == "a":
            check(desk, story)
    check(desk, story)


def check(desk: Desk, story: Story) -> None:
    """The agent's next releases are those that the model allows, one after the other."""
    desk.read()
    before = desk.said("key-release")
    duties.release_keys(desk)
    after = desk.said("key-release")[len(before) :]
    model = compare(story.chain, story.statements.values(), "visitors")
    said = [*before]
    used_up = any(run.over for _, run in model.facts.runs)  # all name one challenge: then a new one is due
    for instance in [each.by for each in story.statements.values() if each.type == "enclave-evidence"]:
        unread = tuple(leaf(each) for each in said if each.id not in story.statements)
        judged = read_all(model.terms, model.facts, unread)
        already = instance in {each.body["instance"] for each in said}
        due = may_release(judged, instance) and not already and not used_up
        given = [each for each in after if each.body["instance"] == instance]
        assert len(given) == due, f"model: {due}, agent: {len(given)}"
        said += given


def leaf(said: Statement) -> tuple[object, ...]:
    return ("key", "operator-a", said.body["instance"], said.body["c"], said.body["delivery"])
