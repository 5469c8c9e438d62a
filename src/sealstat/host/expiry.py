"""Storage limitation on the host's side: ciphertext whose key is gone goes too.

A delivery's key is gone when its owner says so; a state's when a later record counts, since its holders destroy their
shares then, or when too many of them have said that theirs is gone.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, delete, select

from sealstat.agreement.replay import View
from sealstat.agreement.statements import Deleted
from sealstat.crypto import canonical
from sealstat.crypto.cards import fingerprint
from sealstat.crypto.errors import MalformedError
from sealstat.host import store as tables
from sealstat.host.blobs import Blobs
from sealstat.host.store import add_usage

PARTS_LIST_LIMIT_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Expired:
    """A delivery, or a state, whose ciphertext is to be deleted.

    Attributes:
        of: what the host says of it: ``{delivery: id}``, or ``{record: id}`` of the record that left the state.
        by: fingerprints of its owner's cards, or of the instance: only what these stored is deleted.
        parts: digest of the blob that lists its parts; ``beside``: of other blobs that belong to it.
        spared: lists of parts of the owner's deliveries that are still in use.
    """

    agreement: str
    of: dict[str, str]
    by: frozenset[str]
    parts: str
    spared: frozenset[str] = frozenset()
    beside: tuple[str, ...] = ()


def dead_ciphertexts(views: Iterable[View]) -> list[Expired]:
    """The deliveries that have expired, and the states that were followed, of which it was not yet said `deleted`."""
    found = []
    for view in views:
        said = [entry.body for entry in view.entries.values() if isinstance(entry.body, Deleted)]
        gone = {deleted.delivery or deleted.record for deleted in said}
        for id, state in view.deliveries.items():
            entry = state.entry
            if entry.agreement != view.id or not state.expired or id in gone:
                continue
            same_owner = [other.entry for other in view.deliveries.values() if other.entry.by == entry.by]
            cards = {view.statements[other.id].by for other in same_owner}
            cards.add(fingerprint(view.cards[view.id][entry.by]))
            used = {other.body.parts.digest for other in same_owner if not view.deliveries[other.id].expired}
            whose, spared = frozenset(cards), frozenset(used)
            found.append(Expired(view.id, {"delivery": id}, whose, entry.body.parts.digest, spared))
        for task in view.tasks.values():
            for id in task.counting:
                # of versions before, too: what follows under this one their own views do not see
                record, seen = view.records[id][0], gone | {each.of.get("record") for each in found}
                if record.body.state and id not in seen and id != task.state and view.goes_on(record.agreement):
                    left, who = record.body.state, frozenset({record.by})
                    found.append(
                        Expired(record.agreement, {"record": id}, who, left.parts.digest, beside=(left.about,))
                    )
    return found


def digests_to_delete(blobs: Blobs, expired: Expired) -> list[str]:
    """Its list of parts and the parts, less what another delivery of the owner still uses."""
    spared = {digest for parts in expired.spared for digest in _listed(blobs, expired.agreement, parts)}
    listed = [*_listed(blobs, expired.agreement, expired.parts), *expired.beside]
    return [digest for digest in listed if digest not in spared]


def delete_rows(connection: Connection, expired: Expired, digests: list[str]) -> list[str]:
    """Take blobs out of the database; the digests whose files may go. Files without rows go at the next start."""
    table, deleted = tables.blobs.c, []
    for digest in digests:
        mine = (table.agreement == expired.agreement) & (table.digest == digest)
        row = connection.execute(select(table.by, table.size).where(mine)).one_or_none()
        if row is not None and row.by in expired.by:
            connection.execute(delete(tables.blobs).where(mine))
            add_usage(connection, expired.agreement, row.by, blob_bytes=-row.size)
            deleted.append(digest)
    return deleted


def _listed(blobs: Blobs, agreement: str, parts: str) -> list[str]:
    """A list of parts and what it names; what is no such list names nothing."""
    try:
        with blobs.path(agreement, parts).open("rb") as file:
            value = canonical.decode(file.read(PARTS_LIST_LIMIT_BYTES + 1), limit=PARTS_LIST_LIMIT_BYTES)
        return [parts, *(str(part["sha256"]) for part in value)]
    except (OSError, MalformedError, TypeError, KeyError):
        return [parts]
