"""Every vector of the evidence log: others' and ours (own.json, by make_vectors.py), through one set of checks."""

import asyncio
import base64
import hashlib
import json
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealstat.log import merkle, tiles
from sealstat.log.checkpoint import verify_checkpoint
from sealstat.log.errors import LogError
from sealstat.log.note import Cosigner, add_signatures, parse_note, parse_verifier_key, verify_note
from sealstat.log.proof import parse_proof, verify_proof
from sealstat.log.witness import SIZE_TYPE, Witness, create_app, parse_response

OWN = Path(__file__).with_name("own.json")


@pytest.fixture(params=["shared", "own"])
def vectors(request):
    """A function from a file's name to its vectors."""
    if request.param == "own":
        return json.loads(OWN.read_text()).__getitem__
    folder = request.getfixturevalue("shared") / "vectors/log"
    return lambda name: json.loads((folder / f"{name}.json").read_text())


def accepts(function, *args, **kwargs):
    """Whether a check accepts; only our own refusals count as a no, anything else is a crash."""
    try:
        function(*args, **kwargs)
    except LogError:
        return False
    return True


def wrong(cases, verdict):
    """Ids of the cases whose verdict is not the expected one, so that a failure names them all."""
    assert cases
    return [case["id"] for case in cases if not case.get("ambiguous") and verdict(case) != case["valid"]]


def hashes(texts):
    return [base64.b64decode(text) for text in texts]


def test_known_hashes(shared):
    known = json.loads((shared / "vectors/log/merkle.json").read_text())["known_answers"]
    leaves = [merkle.leaf_hash(bytes.fromhex(text)) for text in known["reference_leaves_hex"]]
    assert merkle.EMPTY_ROOT.hex() == known["empty_root_hex"]
    assert merkle.leaf_hash(b"").hex() == known["leaf_of_empty_hex"]
    assert merkle.leaf_hash(b"L123456").hex() == known["leaf_of_L123456_hex"]
    assert merkle.node_hash(b"N123", b"N456").hex() == known["node_of_N123_N456_hex"]
    for size, expected in enumerate(known["reference_roots_hex"], 1):
        assert merkle.root(leaves[:size]).hex() == expected
        assert merkle.Frontier().append(leaves[:size]).root().hex() == expected


def test_inclusion_proofs(vectors):
    def verdict(case):
        leaf, root = hashes([case["leaf_hash"], case["root"]])
        proof = hashes(case["proof"])
        return accepts(merkle.verify_inclusion, case["index"], case["size"], leaf, proof, root)

    assert wrong(vectors("merkle")["inclusion"], verdict) == []


def test_consistency_proofs(vectors):
    def verdict(case):
        root1, root2 = hashes([case["root1"], case["root2"]])
        proof = hashes(case["proof"])
        return accepts(merkle.verify_consistency, case["size1"], case["size2"], root1, root2, proof)

    assert wrong(vectors("merkle")["consistency"], verdict) == []


def test_own_proofs_are_built_as_the_larger_trees_have_them(shared):
    cases = json.loads((shared / "vectors/log/merkle.json").read_text())
    leaves = [merkle.leaf_hash(b"meadow leaf %d" % i) for i in range(1000)]
    for case in cases["inclusion"]:
        if case["id"].startswith("own/good"):
            assert merkle.inclusion_proof(leaves[: case["size"]], case["index"]) == hashes(case["proof"])
    for case in cases["consistency"]:
        if case["id"].startswith("own/good"):
            assert merkle.consistency_proof(leaves[: case["size2"]], case["size1"]) == hashes(case["proof"])


def test_tile_paths(vectors):
    known = vectors("merkle")
    for row in known["tile_paths"]:
        tile = tiles.Tile(row["level"], row["index"], row["width"])
        assert tile.path == row["path"]
        assert tiles.parse_tile_path(row["path"]) == tile
    assert [path for path in known["bad_tile_paths"] if accepts(tiles.parse_tile_path, path)] == []


def test_tiles_of_a_size(vectors):
    for row in vectors("merkle")["partial_widths"]:
        if row["size"] > 10**6:  # the list is long; its right edge is what matters
            found = tiles.new_tiles(row["size"] - 1, row["size"])
        else:
            found = tiles.new_tiles(0, row["size"])
            assert sum(tile.level == "entries" for tile in found) == -(-row["size"] // 256)
            for level, (full, width) in row["tiles"].items():
                mine = [tile for tile in found if tile.level == int(level)]
                assert [tile.width for tile in mine] == [256] * full + [width] * (width > 0)
                assert [tile.index for tile in mine] == list(range(len(mine)))
        for level, (full, width) in row["tiles"].items():
            if width:
                assert tiles.tile_at(int(level), full, row["size"]) == tiles.Tile(int(level), full, width)
        assert {tile.level for tile in found} - {"entries"} <= {int(level) for level in row["tiles"]}


def note_bytes(case):
    return base64.b64decode(case["note_b64"]) if "note_b64" in case else case["note"].encode()


def open_case(case):
    """Do what a case's kind asks for; its verified signatures as name+id."""
    keys = [parse_verifier_key(text) for text in case["keys"]]
    if case["kind"] == "vkey":
        assert str(keys[0]) == case["keys"][0]
        return []
    if case["kind"] == "checkpoint":
        log_key, *witnesses = keys
        verify_checkpoint(
            note_bytes(case),
            log_key=log_key,
            witnesses=witnesses,
            quorum=case["quorum"],
            origin=case["origin"],
        )
    note = parse_note(note_bytes(case))
    assert note.serialise() == note_bytes(case)
    return [f"{v.key.name}+{v.key.key_id.hex()}" for v in verify_note(note, keys)]


def test_notes(vectors):
    cases = vectors("notes")["cases"]
    assert wrong(cases, lambda case: accepts(open_case, case)) == []
    for case in cases:
        if case["valid"]:
            assert open_case(case) == case["verified"], case["id"]


def test_ambiguous_notes_are_refused(shared):
    cases = json.loads((shared / "vectors/log/notes.json").read_text())["cases"]
    assert [case["id"] for case in cases if case.get("ambiguous") and accepts(open_case, case)] == []


def test_proof_files(vectors):
    known = vectors("tlog-proof")
    trust = {
        "log_key": parse_verifier_key(known["log"]),
        "witnesses": [parse_verifier_key(known["witness"])],
        "quorum": 1,
        "origin": known["origin"],
    }

    def verdict(case):
        data = case["proof"].encode()

        def check():
            proof = parse_proof(data)
            assert proof.serialise() == data
            verify_proof(proof, case["entry"].encode(), **trust)

        return accepts(check)

    assert wrong(known["cases"], verdict) == []


def test_witness_over_http(vectors, tmp_path):
    known = vectors("witness")
    cosigner = Cosigner("w.example", Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"w").digest()))
    logs = {known["origin"]: [parse_verifier_key(known["log"])]}

    async def run(witness):
        transport = httpx.ASGITransport(create_app(witness, clock=lambda: 1_800_000_000.9))
        async with httpx.AsyncClient(transport=transport, base_url="http://witness") as client:
            assert (await client.get(known["monitoring_path"])).status_code == 404
            held = None
            for step in known["steps"]:
                response = await client.post("/add-checkpoint", content=step["body"].encode())
                assert response.status_code == step["status"], step["id"]
                if "reply" in step:
                    assert response.text == step["reply"], step["id"]
                    assert response.headers["content-type"] == SIZE_TYPE
                if step["status"] == 200:
                    note = step["body"].partition("\n\n")[2].encode()
                    lines = parse_response(200, response.content)
                    full = add_signatures(note, lines, [cosigner.verifier])
                    verified = verify_checkpoint(
                        full, log_key=logs[known["origin"]][0], witnesses=[cosigner.verifier], quorum=1
                    )
                    assert set(verified.cosigned_at.values()) == {1_800_000_000}
                    held = verified.checkpoint
                if held is not None:
                    seen = await client.get(known["monitoring_path"])
                    again = verify_checkpoint(
                        seen.content,
                        log_key=logs[known["origin"]][0],
                        witnesses=[cosigner.verifier],
                        quorum=1,
                    )
                    assert again.checkpoint == held, f"{step['id']} must not change the state"

    with Witness(tmp_path / "witness.db", cosigner, logs, create=True) as witness:
        asyncio.run(run(witness))
        refused = [step["body"].encode() for step in known["steps"] if step["status"] == 422]
        assert [body for body, _ in witness.suspects(known["origin"])] == refused
