"""What a host's operator can see, counted from what it has stored: the honest answer to "what did the host see?"."""

from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, func, select

from sealstat.host import store as tables
from sealstat.host.store import sqlite_url


def summarise(home: Path, *, database: str | None = None) -> dict[str, Any]:
    """Counts, sizes and times of all that a host holds; the host may be running.

    Returns:
        ``statements``: for each type its count, bytes, first and last time (UTC); ``blobs``: count, bytes, smallest
        and largest, first and last time; ``cards``: how many of each kind; ``agreements``, ``launches``: counts.
    """
    engine = create_engine(database or sqlite_url(home), hide_parameters=True)
    try:
        with engine.connect() as connection:
            said, stored = tables.statements.c, tables.blobs.c
            by_type = connection.execute(
                select(said.type, func.count(), func.sum(said.size), func.min(said.received), func.max(said.received))
                .group_by(said.type)
                .order_by(func.min(said.leaf_index))
            )
            blobs = connection.execute(
                select(
                    func.count(),
                    func.coalesce(func.sum(stored.size), 0),
                    func.min(stored.size),
                    func.max(stored.size),
                    func.min(stored.stored),
                    func.max(stored.stored),
                )
            ).one()
            kinds = connection.execute(
                select(tables.cards.c.kind, func.count(tables.cards.c.fingerprint.distinct())).group_by(
                    tables.cards.c.kind
                )
            )
            return {
                "statements": {
                    type: {"count": count, "bytes": int(size), "first": first, "last": last}
                    for type, count, size, first, last in by_type
                },
                "blobs": dict(
                    zip(
                        ("count", "bytes", "smallest", "largest", "first", "last"),
                        (blobs[0], int(blobs[1]), *blobs[2:]),
                        strict=True,
                    )
                ),
                "cards": {kind: int(count) for kind, count in kinds if count},
                "agreements": connection.execute(select(func.count()).select_from(tables.agreements)).scalar_one(),
                "launches": connection.execute(select(func.count()).select_from(tables.launches)).scalar_one(),
            }
    finally:
        engine.dispose()
