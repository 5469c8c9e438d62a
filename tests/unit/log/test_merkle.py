"""The frontier, and what the vectors do not cover of proofs."""

import json

import pytest

from sealstat.log import merkle
from sealstat.log.errors import MalformedError, ProofError

LEAVES = [merkle.leaf_hash(b"%d" % i) for i in range(70)]


def test_a_frontier_survives_json():
    frontier = merkle.Frontier().append(LEAVES)
    again = merkle.Frontier.from_json(json.loads(json.dumps(frontier.to_json())))
    assert again == frontier
    assert again.append(LEAVES[:1]).root() == merkle.root([*LEAVES, LEAVES[0]])


GOOD = merkle.Frontier().append(LEAVES[:2]).to_json()


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(None, id="no object"),
        pytest.param({"size": 0}, id="hashes missing"),
        pytest.param({**GOOD, "more": 1}, id="unknown field"),
        pytest.param({**GOOD, "size": True}, id="boolean size"),
        pytest.param({**GOOD, "size": 3}, id="too few hashes"),
        pytest.param({**GOOD, "size": -1}, id="negative size"),
        pytest.param({**GOOD, "size": 2**64}, id="size beyond 64 bits"),
        pytest.param({**GOOD, "hashes": "abc"}, id="hashes not a list"),
        pytest.param({**GOOD, "hashes": [1]}, id="hash not a text"),
        pytest.param({**GOOD, "hashes": ["AAAA"]}, id="short hash"),
    ],
)
def test_a_stored_frontier_of_another_form_is_refused(value):
    with pytest.raises(MalformedError):
        merkle.Frontier.from_json(value)


def test_a_frontier_with_a_short_hash_is_refused():
    with pytest.raises(MalformedError, match="32 bytes"):
        merkle.Frontier(1, (b"short",))


def test_proofs_of_what_is_not_there_are_refused():
    with pytest.raises(ProofError, match="no leaf"):
        merkle.inclusion_proof(LEAVES, 70)
    with pytest.raises(ProofError, match="only grows"):
        merkle.consistency_proof(LEAVES, 71)
