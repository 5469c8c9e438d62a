"""Proofs as a forger makes them: of whatever stands in a story's log, and changed as JSON."""

import json
from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Any

from sealstat.crypto import canonical
from sealstat.crypto.cards import b64
from sealstat.crypto.statement import Statement
from sealstat.log.checkpoint import parse_checkpoint
from sealstat.log.merkle import consistency_proof, inclusion_proof, leaf_hash
from sealstat.log.note import parse_note
from sealstat.verify import Trust, Verdict, verify_bundle
from story import Story

Change = Callable[[dict[str, Any]], object]


def verify(story: Story, data: bytes, trust: Trust | None = None, **more: Any) -> Verdict:
    return verify_bundle(data, trust=trust or Trust(), now=story.now + timedelta(minutes=1), **more)


def refused(story: Story, data: bytes, why: str, trust: Trust | None = None, **more: Any) -> None:
    verdict = verify(story, data, trust, **more)
    assert verdict.failure is not None, "it was accepted"
    assert why in verdict.failure
    assert not verdict.ok
    assert [line.status for line in verdict.lines].count("failed") == 1
    assert verdict.lines[-1].status == "failed"


def assemble(
    story: Story, record: Statement, *, without: Collection[Statement] = (), note: bytes | None = None
) -> dict[str, Any]:
    """A bundle by a forger: whatever stands in the log, with right proofs, if it makes sense or not."""
    note = note or story.note()
    size = parse_checkpoint(parse_note(note).text).size
    hashes = [leaf_hash(entry) for entry in story.leaves[:size]]
    left_out, statements, sizes, seen = {said.id for said in without}, [], set(), set()
    for index, entry in enumerate(story.leaves[:size]):
        said = story.statements.get(json.loads(entry)["id"])
        if said is None or said.id in left_out | seen:
            continue
        seen.add(said.id)
        proof = [b64(value) for value in inclusion_proof(hashes, index)]
        statements.append({"index": index, "inclusion": proof, "envelope": json.loads(said.to_bytes())})
        named = [said.body[word] for word in ("checkpoint", "since", "until") if word in said.body]
        sizes |= {parse_checkpoint(parse_note(note.encode()).text).size for note in named}
    growth = [
        {"size": old, "consistency": [b64(value) for value in consistency_proof(hashes, old)]}
        for old in sorted(old for old in sizes if old <= size)
    ]
    return {
        "proof": 1,
        "agreement": story.id,
        "record": record.id,
        "checkpoint": note.decode(),
        "growth": growth,
        "statements": statements,
    }


def forged(story: Story, record: Statement, **more: Any) -> bytes:
    return canonical.encode(assemble(story, record, **more))


def of_type(value: dict[str, Any], type: str) -> list[dict[str, Any]]:
    wanted = f"application/vnd.sealstat.{type}.v1+json"
    found: list[dict[str, Any]] = value["statements"]
    return [placed for placed in found if placed["envelope"]["payloadType"] == wanted]


def drop(type: str, which: int = 0) -> Change:
    return lambda value: value["statements"].remove(of_type(value, type)[which])
