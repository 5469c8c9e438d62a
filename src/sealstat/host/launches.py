"""The launcher's door: which run-requests need an instance, and the tokens with which instances register.

A launcher stands in the host's own house and starts processes; what it says is trusted for nothing. It holds a
launch by a lease: when it falls silent, the request is given out again.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from sqlalchemy import Connection, Row, insert, select, update

from sealstat.agreement.replay import InactiveError, View, Void
from sealstat.host import store as tables
from sealstat.host.errors import RefusedError, not_found
from sealstat.host.sequencer import register_instance

BACKOFF_S = (1.0, 300.0)


@dataclass(frozen=True, slots=True)
class Launch:
    """One instance to be started: for this request, with this token for its first call."""

    agreement: str
    request: str
    door: str


def needing_instance(view: View, now: datetime) -> list[str]:
    """The run-requests of an agreement that an instance should work on, in the order of the log.

    Valid by the replay, no record of it counts, no instance refused it, and no live instance has a record that only
    waits to be kept.
    """
    try:
        view.check_active(now)
    except InactiveError:
        return []
    waiting = []
    for id, request in view.requests.items():
        if request.agreement != view.id or view.counting_record(id) is not None or view.run_refused(id) is not None:
            continue
        try:
            view.check_request(id)
        except Void:
            continue
        live = view.live(request.body.task)
        if live is None or live.request.id != id or live.record is None:
            waiting.append(id)
    return waiting


def claim(connection: Connection, views: Iterable[View], *, now: datetime, lease_s: float) -> Launch | None:
    """Give out the first launch that is due, or None."""
    moment = now.timestamp()
    for view in views:
        for request in needing_instance(view, now):
            if _is_due(connection, request, moment):
                launch = Launch(view.id, request, secrets.token_urlsafe(32))
                connection.execute(
                    insert(tables.launches).values(
                        door=_door(launch.door),
                        agreement=view.id,
                        request=request,
                        started=moment,
                        lease_until=moment + lease_s,
                    )
                )
                return launch
    return None


def _is_due(connection: Connection, request: str, now: float) -> bool:
    """No launch runs for the request, and the last one's end is long enough ago for how many there were."""
    rows = connection.execute(select(tables.launches).where(tables.launches.c.request == request)).all()
    ends = [row.lease_until if row.ended is None else row.ended for row in rows]
    if not ends:
        return True
    first, most = BACKOFF_S
    return bool(now >= max(ends) + min(most, first * 2.0 ** min(len(ends) - 1, 16)))


def keep_alive(connection: Connection, door: str, *, now: float, lease_s: float) -> None:
    """Renew a lease.

    Raises:
        RefusedError: there is no such launch, or it is over: its process should be stopped.
    """
    _running(connection, door, now)
    mine = tables.launches.c.door == _door(door)
    connection.execute(update(tables.launches).where(mine).values(lease_until=now + lease_s))


def end(connection: Connection, door: str, code: int, *, now: float) -> None:
    """A launched process has ended; said twice, the first holds."""
    row = _row(connection, door)
    if row.ended is None:
        mine = tables.launches.c.door == _door(door)
        connection.execute(update(tables.launches).where(mine).values(ended=now, code=code))


def register(connection: Connection, door: str, *, instance: str, card: bytes, now: float) -> str:
    """Let the instance behind a door into its agreement; the agreement's id.

    Raises:
        RefusedError: no such door, its launch is over, or another instance came through it.
    """
    row = _running(connection, door, now)
    if row.instance not in {None, instance}:
        raise RefusedError(403, "door-used", "another instance has registered with this token")
    connection.execute(update(tables.launches).where(tables.launches.c.door == _door(door)).values(instance=instance))
    register_instance(connection, row.agreement, instance, card)
    return str(row.agreement)


def _running(connection: Connection, door: str, now: float) -> Row[tuple[object, ...]]:
    row = _row(connection, door)
    if row.ended is not None or row.lease_until < now:
        raise RefusedError(410, "launch-over", "this launch is over: end its process and ask for another")
    return row


def _row(connection: Connection, door: str) -> Row[tuple[object, ...]]:
    mine = tables.launches.c.door == _door(door)
    row = connection.execute(select(tables.launches).where(mine)).one_or_none()
    if row is None:
        raise not_found()
    return row


def _door(token: str) -> str:
    return sha256(token.encode()).hexdigest()
