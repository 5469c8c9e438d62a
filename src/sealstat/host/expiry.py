"""Storage limitation on the host's side: when an owner says a delivery's key is gone, its ciphertext goes too."""

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
    """A delivery whose ciphertext is to be deleted.

    Attributes:
        by: fingerprints of its owner's cards: only what these stored is deleted.
        parts: digest of the blob that lists its parts.
        spared: the same of the owner's deliveries that are still in use.
    """

    agreement: str
    delivery: str
    by: frozenset[str]
    parts: str
    spared: frozenset[str]


def expired_deliveries(views: Iterable[View]) -> list[Expired]:
    """The deliveries that have expired and of which the host has not yet said `deleted`."""
    found = []
    for view in views:
        gone = {entry.body.delivery for entry in view.entries.values() if isinstance(entry.body, Deleted)}
        for id, state in view.deliveries.items():
            entry = state.entry
            if entry.agreement != view.id or not state.expired or id in gone:
                continue
            same_owner = [other.entry for other in view.deliveries.values() if other.entry.by == entry.by]
            cards = {view.statements[other.id].by for other in same_owner}
            cards.add(fingerprint(view.cards[view.id][entry.by]))
            used = {other.body.parts.digest for other in same_owner if not view.deliveries[other.id].expired}
            found.append(Expired(view.id, id, frozenset(cards), entry.body.parts.digest, frozenset(used)))
    return found


def digests_to_delete(blobs: Blobs, expired: Expired) -> list[str]:
    """Its list of parts and the parts, less what another delivery of the owner still uses."""
    spared = {digest for parts in expired.spared for digest in _listed(blobs, expired.agreement, parts)}
    return [digest for digest in _listed(blobs, expired.agreement, expired.parts) if digest not in spared]


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
