"""A log that forks, goes back or is cut: found by a witness, by the enclave, by any two who compare.

By a monitor: tests/unit/party/test_monitor.py; by agents and enclave over HTTP, with all roles as processes:
tests/e2e/test_lying_host.py. Here each finder is the real one, over a host in memory.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

import builders
from sealstat.log import (
    Cosigner,
    LogReader,
    Rollback,
    SplitView,
    leaf_hash,
    parse_verifier_key,
)
from sealstat.log.compare import Relation, compare
from sealstat.log.merkle import consistency_proof
from sealstat.log.witness import Witness, build_add_checkpoint
from sealstat.wire.follow import Follower, StaleError
from serving import Served, forked, forked_longer, truncated
from story import Story

Lie = Callable[[list[bytes]], list[bytes]]
LIES = [
    pytest.param(forked, id="split view of one size"),
    pytest.param(forked_longer, id="split view of another size"),
    pytest.param(truncated, id="truncation"),
    pytest.param(lambda leaves: leaves[:1], id="rollback"),
]


def served(lie: Lie | None = None) -> Served:
    story = Story()
    story.approve_all()
    story.noise(300)
    story.withdraw("operator-b")
    host = Served(story)
    host.leaves = lie(story.leaves) if lie else None
    return host


# --- a witness ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lie", LIES)
def test_a_witness_cosigns_no_log_but_the_one_it_has_seen_grown(tmp_path: Path, lie: Lie) -> None:
    honest = served().story
    forged = lie(honest.leaves)
    key = builders.witness("witness-1").cosigner
    log_key = parse_verifier_key(builders.host().card.log_key)
    name = parse_verifier_key(builders.witness("witness-1").card.cosigner).name

    def ask(witness: Witness, leaves: list[bytes], old: int, proof: list[bytes]) -> int:
        note = honest.note((), leaves=leaves)
        return witness.add_checkpoint(build_add_checkpoint(old, proof, note), now=int(honest.now.timestamp())).status

    with Witness(tmp_path / "w.db", Cosigner(name, key), {log_key.name: [log_key]}, create=True) as witness:
        assert ask(witness, honest.leaves, 0, []) == 200
    with Witness(tmp_path / "w.db", Cosigner(name, key), {log_key.name: [log_key]}) as witness:
        size = len(honest.leaves)
        for old in {0, 1, len(forged), size}:
            hashes = [leaf_hash(entry) for entry in forged]
            proof = consistency_proof(hashes, old) if 0 < old <= len(forged) else []
            assert ask(witness, forged, old, proof) in {400, 409, 422}, old
        grown = [*honest.leaves, b"one more"]
        assert ask(witness, grown, size, consistency_proof([leaf_hash(entry) for entry in grown], size)) == 200
        suspects = witness.suspects(log_key.name)
    assert bool(suspects) == (len(forged) >= size), "what was signed and cannot be is kept as evidence"


# --- the enclave --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lie", LIES)
def test_an_instance_takes_no_log_that_is_not_the_one_of_its_challenges(lie: Lie) -> None:
    """As enclave/session.py follows: no memory, no clock; each challenge brings its sender's checkpoint."""
    honest = served()
    challenge = honest.story.note()
    lying = Served(honest.story)
    lying.leaves = lie(honest.story.leaves)
    instance = Follower(lying, honest.story.chain)  # type: ignore[arg-type]

    def replay() -> None:
        instance.update(at_least=instance.verify_note(challenge).checkpoint.size)
        instance.consistent(challenge)

    with pytest.raises((StaleError, SplitView)):
        replay()


@pytest.mark.parametrize("lie", LIES)
def test_an_instance_that_has_read_the_log_takes_no_other_one(lie: Lie) -> None:
    host = served()
    instance = Follower(host, host.story.chain)  # type: ignore[arg-type]
    instance.update()
    host.leaves = lie(host.story.leaves)
    with pytest.raises((SplitView, Rollback)) as found:
        instance.update()
    assert host.story.checkpoint(found.value.old_note).checkpoint.size == len(host.story.leaves)
    assert host.story.checkpoint(found.value.new_note).checkpoint.size == len(host.leaves)


# --- any two parties ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lie", LIES)
def test_two_who_were_shown_different_logs_find_out_by_comparing(lie: Lie) -> None:
    honest = served()
    lying = Served(honest.story)
    lying.leaves = lie(honest.story.leaves)
    mine, theirs = (honest.story.checkpoint(host.log_file("checkpoint")) for host in (honest, lying))
    larger = honest if mine.checkpoint.size >= theirs.checkpoint.size else lying
    found = compare(mine, theirs, LogReader(larger.log_file), current=theirs)
    assert found.fault
    cut = len(lying.leaves) < len(honest.story.leaves)
    assert found.relation is (Relation.ROLLBACK if cut else Relation.SPLIT)
    if cut:
        assert found.cosigned_back, "witnesses that cosigned the cut log are convicted with it"
