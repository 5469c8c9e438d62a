"""Putting a proof together from what a party has read of the log. Pure over the two callables that give proofs."""

import json
from collections.abc import Callable, Iterable

from sealstat.agreement import statements as body
from sealstat.agreement.model import Agreement
from sealstat.agreement.replay import View
from sealstat.crypto.cards import b64
from sealstat.log.checkpoint import Checkpoint, VerifiedCheckpoint, parse_checkpoint
from sealstat.log.merkle import leaf_hash
from sealstat.log.note import COSIGNATURES, Note, SignatureLine, VerifierKey, parse_note
from sealstat.verify.bundle import Bundle, Growth, Placed, ids_to_show, named_keys
from sealstat.verify.errors import BundleError


def make_bundle(
    view: View,
    record_id: str,
    checkpoint: VerifiedCheckpoint,
    inclusion: Callable[[int, bytes], list[bytes]],
    consistency: Callable[[Checkpoint], list[bytes]],
) -> Bundle:
    """The proof of one run-record that counts.

    Args:
        view: of the record's agreement or a later version of it, read at least up to what the proof shall show.
        checkpoint: cosigned, at least as large as the last leaf that the proof shows.
        inclusion: (index, leaf hash) -> the inclusion proof in that checkpoint's tree (``LogReader.inclusion_proof``).
        consistency: an older checkpoint -> the proof that it is a beginning of that checkpoint's tree.
    Raises:
        BundleError: the record does not count, or stands behind the checkpoint.
    """
    shown = sorted(
        ids_to_show(view, record_id, checkpoint.checkpoint.size), key=lambda shown_id: view.entries[shown_id].index
    )
    if view.entries[shown[-1]].index >= checkpoint.checkpoint.size:
        raise BundleError("the checkpoint is older than what it shall prove: fetch a newer one")
    placed = []
    for id in shown:
        statement, index = view.statements[id], view.entries[id].index
        placed.append(
            Placed(
                index=index,
                inclusion=[b64(value) for value in inclusion(index, leaf_hash(statement.leaf))],
                envelope=json.loads(statement.to_bytes()),
            )
        )
    agreement = view.entries[record_id].agreement
    return Bundle(
        proof=1,
        agreement=agreement,
        record=record_id,
        checkpoint=_known_lines(checkpoint.note, view.chain[agreement]),
        growth=[
            Growth(size=old.size, consistency=[b64(value) for value in consistency(old)])
            for old in _named(view.entries[id].body for id in shown)
        ],
        statements=placed,
    )


def _named(bodies: Iterable[object]) -> list[Checkpoint]:
    """The checkpoints that statements name, one of each size: a second root would be a fork."""
    notes = []
    for said in bodies:
        if isinstance(said, body.Challenge | body.EnclaveEvidence):
            notes.append(said.checkpoint)
        elif isinstance(said, body.ReplacementFinal):
            notes += [said.since, said.until]
    checkpoints = [parse_checkpoint(parse_note(note.encode()).text) for note in notes]
    return [found for _, found in sorted({found.size: found for found in checkpoints}.items())]


def _known_lines(note: bytes, agreement: Agreement) -> str:
    """The note with the newest line of each key the agreement names: a verifier refuses what it does not know."""
    keys = named_keys(agreement)
    parsed = parse_note(note)
    newest: dict[VerifierKey, SignatureLine] = {}
    for line in parsed.signatures:
        key = keys.get((line.name, line.key_id))
        if key is not None and (key not in newest or (key.type in COSIGNATURES and _time(line) > _time(newest[key]))):
            newest[key] = line
    return Note(parsed.text, tuple(newest.values())).serialise().decode()


def _time(line: SignatureLine) -> int:
    return int.from_bytes(line.signature[:8], "big")
