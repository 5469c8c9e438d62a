"""Invariants of the evidence log's forms and trees."""

import contextlib
import hashlib
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

import builders
from sealstat.crypto import canonical
from sealstat.crypto.errors import CryptoError
from sealstat.crypto.receipt import parse_receipt
from sealstat.host.receipts import make_receipt
from sealstat.log import merkle, tiles
from sealstat.log.checkpoint import Checkpoint, parse_checkpoint, verify_checkpoint
from sealstat.log.compare import Relation, compare
from sealstat.log.errors import LogError, MissingTileError, ProofError, TreeMismatchError
from sealstat.log.note import Cosigner, LogSigner, Note, parse_note, parse_verifier_key, sign_note
from sealstat.log.proof import LogProof, parse_proof
from sealstat.log.reader import LogReader
from sealstat.log.witness import build_add_checkpoint, parse_add_checkpoint

LEAVES = [merkle.leaf_hash(b"%d" % i) for i in range(600)]
ENTRIES = [b"%d" % i for i in range(600)]
SIZES = st.integers(1, 600)
HASHES = st.binary(min_size=32, max_size=32)


def key(what):
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(what.encode()).digest())


TEXT = Checkpoint("property.example/log", 600, merkle.root(LEAVES)).serialise()
NOTE = Note(
    TEXT,
    (
        LogSigner("property.example/log", key("log")).sign(TEXT),
        Cosigner("w.example", key("w")).sign(TEXT, timestamp=1_800_000_000),
    ),
).serialise()


@st.composite
def mutated(draw, original):
    """The original with one stretch replaced by other bytes: near enough to be taken for it."""
    start = draw(st.integers(0, len(original)))
    end = draw(st.integers(start, min(len(original), start + 4)))
    return original[:start] + draw(st.binary(max_size=4)) + original[end:]


def parsed_or_none(parse, data):
    try:
        return parse(data)
    except LogError:
        return None


# --- trees ---


@settings(deadline=None)
@given(SIZES, st.data())
def test_every_inclusion_proof_verifies_for_its_leaf_only(size, data):
    index = data.draw(st.integers(0, size - 1))
    other = data.draw(st.integers(0, size - 1))
    proof, root = merkle.inclusion_proof(LEAVES[:size], index), merkle.root(LEAVES[:size])
    merkle.verify_inclusion(index, size, LEAVES[index], proof, root)
    if other != index:
        with pytest.raises(ProofError):
            merkle.verify_inclusion(other, size, LEAVES[index], proof, root)
        with pytest.raises(ProofError):
            merkle.verify_inclusion(index, size, LEAVES[other], proof, root)


@settings(deadline=None)
@given(SIZES, st.data())
def test_every_consistency_proof_verifies_for_its_prefix_only(new, data):
    old = data.draw(st.integers(0, new))
    changed = data.draw(st.integers(0, max(0, old - 1)))
    proof, root2 = merkle.consistency_proof(LEAVES[:new], old), merkle.root(LEAVES[:new])
    merkle.verify_consistency(old, new, merkle.root(LEAVES[:old]), root2, proof)
    if old:
        fork = [*LEAVES[:changed], merkle.leaf_hash(b"another"), *LEAVES[changed + 1 : old]]
        with pytest.raises(ProofError):
            merkle.verify_consistency(old, new, merkle.root(fork), root2, proof)


@settings(deadline=None)
@given(st.lists(st.integers(0, 300), max_size=4))
def test_a_frontier_has_the_trees_root_however_it_was_appended_to(counts):
    frontier, size = merkle.Frontier(), 0
    for count in counts:
        leaves = [LEAVES[i % 600] for i in range(size, size + count)]
        frontier, size = frontier.append(leaves), size + count
    assert frontier.root() == merkle.root([LEAVES[i % 600] for i in range(size)])
    assert merkle.Frontier.from_json(frontier.to_json()) == frontier


@settings(deadline=None)
@given(
    st.integers(0, 2**64 - 1),
    st.integers(-1, 2**64),
    HASHES,
    st.lists(st.binary(min_size=30, max_size=33), max_size=70),
)
def test_no_proof_crashes_the_verifiers(a, b, value, proof):
    with pytest.raises(ProofError):
        merkle.verify_inclusion(a, b, value, proof, hashlib.sha256(value).digest())
    with pytest.raises(ProofError):
        merkle.verify_consistency(a, b, value, hashlib.sha256(value).digest(), proof)


# --- forms ---


@settings(deadline=None)
@given(st.one_of(st.integers(0, 63), st.just("entries")), st.integers(0, 10**18 - 1), st.integers(1, 256))
def test_a_tile_has_one_path(level, index, width):
    tile = tiles.Tile(level, index, width)
    assert tiles.parse_tile_path(tile.path) == tile


@settings(deadline=None)
@given(mutated(b"tile/0/x001/067.p/3"))
def test_a_path_is_canonical_or_refused(path):
    text = path.decode("latin-1")
    tile = parsed_or_none(tiles.parse_tile_path, text)
    assert tile is None or tile.path == text


@settings(deadline=None)
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=256))
def test_a_bundle_gives_its_entries_back(entries):
    assert tiles.decode_bundle(tiles.encode_bundle(entries), len(entries)) == entries


@settings(deadline=None)
@given(st.binary(max_size=100), st.integers(1, 4))
def test_a_bundle_has_one_form(data, width):
    entries = parsed_or_none(lambda given: tiles.decode_bundle(given, width), data)
    assert entries is None or tiles.encode_bundle(entries) == data


@settings(deadline=None)
@given(st.integers(0, 200_000), st.integers(0, 200_000))
def test_appending_in_two_steps_makes_every_file_of_one_step(a, b):
    old, new = sorted((a, b))
    both = {*tiles.new_tiles(0, old), *tiles.new_tiles(old, new)}
    assert set(tiles.new_tiles(0, new)) <= both


@settings(deadline=None)
@given(mutated(NOTE))
def test_a_note_has_one_form(data):
    note = parsed_or_none(parse_note, data)
    assert note is None or note.serialise() == data


@settings(deadline=None)
@given(mutated(TEXT.encode()))
def test_a_checkpoint_has_one_form(data):
    text = data.decode("utf-8", errors="ignore")
    checkpoint = parsed_or_none(parse_checkpoint, text)
    assert checkpoint is None or parsed_or_none(lambda c: c.serialise(), checkpoint) in (None, text)


@settings(deadline=None)
@given(mutated(str(LogSigner("property.example/log", key("log")).verifier).encode()))
def test_a_verifier_key_has_one_form(data):
    text = data.decode("utf-8", errors="ignore")
    parsed = parsed_or_none(parse_verifier_key, text)
    assert parsed is None or str(parsed) == text


PROOF = LogProof(7, tuple(merkle.inclusion_proof(LEAVES, 7)), NOTE, b"extra").serialise()


@settings(deadline=None)
@given(mutated(PROOF))
def test_a_proof_file_has_one_form(data):
    proof = parsed_or_none(parse_proof, data)
    assert proof is None or proof.serialise() == data


REQUEST = build_add_checkpoint(300, merkle.consistency_proof(LEAVES, 300), NOTE)


@settings(deadline=None)
@given(mutated(REQUEST))
def test_a_request_to_cosign_has_one_form(data):
    request = parsed_or_none(parse_add_checkpoint, data)
    if request is not None:
        assert build_add_checkpoint(request.old_size, request.proof, request.note.serialise()) == data


RECEIPT = make_receipt(
    builders.host().signer,
    origin=builders.host().card.origin,
    leaf=canonical.encode({"agreement": "a" * 64, "id": "b" * 64, "type": "approval"}),
    received=datetime(2026, 10, 5, tzinfo=UTC),
    merge_delay_s=60,
)


@settings(deadline=None)
@given(mutated(RECEIPT))
def test_a_receipt_has_one_form(data):
    try:
        receipt = parse_receipt(data, builders.host().card)
    except CryptoError:
        return
    assert receipt.envelope == data.strip() == RECEIPT


# --- comparing ---


def verified(leaves):
    log = LogSigner("property.example/log", key("log"))
    note = sign_note(Checkpoint(log.name, len(leaves), merkle.root(leaves)).serialise(), log)
    return verify_checkpoint(note, log_key=log.verifier, witnesses=[], quorum=0)


@settings(deadline=None, max_examples=50)
@given(SIZES, SIZES, st.integers(0, 600))
def test_two_checkpoints_are_consistent_just_where_no_leaf_differs(old, new, changed):
    old, new = sorted((old, new))
    fork = [*LEAVES[:changed], merkle.leaf_hash(b"another"), *LEAVES[changed + 1 :]][:old]
    files = {
        tile.path: b"".join(
            merkle.root(LEAVES[n * 256**tile.level : (n + 1) * 256**tile.level])
            for n in range(tile.index * 256, tile.index * 256 + tile.width)
        )
        for tile in tiles.new_tiles(0, new)
        if tile.level != "entries"
    }
    found = compare(verified(fork), verified(LEAVES[:new]), LogReader(files.__getitem__))
    assert (found.relation is Relation.SPLIT) == (changed < old)


# --- reading ---


@settings(deadline=None)
@given(SIZES, st.data())
def test_whatever_a_log_serves_the_reader_hands_out_the_truth_or_refuses(size, data):
    files = {}
    for tile in tiles.new_tiles(0, size):
        first = tile.index * 256
        if tile.level == "entries":
            files[tile.path] = tiles.encode_bundle(ENTRIES[first : first + tile.width])
        elif tile.level == 0:
            files[tile.path] = b"".join(LEAVES[first : first + tile.width])
        else:
            full = [LEAVES[i * 256 : (i + 1) * 256] for i in range(tile.width)]
            files[tile.path] = b"".join(merkle.root(leaves) for leaves in full)
    lied = data.draw(st.sampled_from(sorted(files)))
    files[lied] = data.draw(mutated(files[lied]))

    def fetch(path):
        if path not in files:
            raise MissingTileError(path)
        return files[path]

    start = data.draw(st.integers(0, size))
    end = data.draw(st.integers(start, size))
    checkpoint = Checkpoint("property.example/log", size, merkle.root(LEAVES[:size]))
    with contextlib.suppress(TreeMismatchError):
        assert LogReader(fetch).entries(start, end, checkpoint) == ENTRIES[start:end]
    with contextlib.suppress(TreeMismatchError):
        entries, frontier = LogReader(fetch).replay(merkle.Frontier(), checkpoint)
        assert entries == ENTRIES[:size]
        assert frontier.root() == checkpoint.root
