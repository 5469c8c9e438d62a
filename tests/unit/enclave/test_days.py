"""A day in the enclave: its pseudonyms opened, forged rows counted, its order checked, its key from honest shares."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from days import DAYS, KEYS, TASK, Blobs, Days
from sealstat.agreement import contexts
from sealstat.agreement.statements import Parts, State
from sealstat.crypto import canonical, shares
from sealstat.crypto.cards import b64, fingerprint
from sealstat.crypto.sealing import seal, unseal
from sealstat.enclave.deliveries import OpenDelivery, OpenedDay, ReleasedKey
from sealstat.enclave.errors import Refused
from sealstat.enclave.session import Launch, Left, Session, Settings
from sealstat.enclave.states import open_state
from sealstat.statistics import longitudinal_arrays
from sealstat.statistics.longitudinal_days import STATEFUL
from sealstat.statistics.longitudinal_terms import STATE
from sealstat.tables import schemas, sealed
from sealstat.tables.errors import DataError
from sealstat.tables.numbers import Scale
from sealstat.tables.period_pseudonyms import period_pseudonyms
from sealstat.tables.sealed import key_check, parse_parts_list, parts_list, seal_table
from story import Instance

DAY = DAYS[0]
HOLDERS = ("operator-a", "operator-b", "regulator")
SCHEMA = schemas.get("presence").delivered
PERIOD_KEY = b"p" * 32

Row = tuple[int, int, int]
"""user, tile_e, presence; a user below 0 is one whose pseudonym was not made under the period's key"""

ROWS: list[Row] = [(user, 10 + tile, 100 * user + tile + 1) for user in range(12) for tile in range(5)]
"""Sorted by user and tile."""


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few rows are several parts, and several chunks."""
    monkeypatch.setattr(sealed, "MAX_ROWS", 7)
    monkeypatch.setattr(longitudinal_arrays, "CHUNK_ROWS", 3)


def delivered(rows: Sequence[Row], key: bytes = PERIOD_KEY) -> pa.RecordBatch:
    inner = pa.array([max(user, 0).to_bytes(12, "big") for user, *_ in rows], pa.binary(12))
    genuine = period_pseudonyms(inner, key).to_pylist()
    pseudonyms = [b"\xff" * 16 if user < 0 else good for (user, *_), good in zip(rows, genuine, strict=True)]
    v0 = pa.array([v for *_, v in rows], pa.uint32())
    nothing = pa.array([0] * len(rows), pa.uint32())
    columns = [
        pa.array(pseudonyms, pa.binary(16)),
        pa.array([e for _, e, _ in rows], pa.uint16()),
        pa.array([20] * len(rows), pa.uint16()),
        *(v0, v0, nothing, nothing),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def states_rows(rows: Sequence[Row]) -> list[tuple[int, ...]]:
    """The state after a day of these rows: hi, lo, v0."""
    once: dict[tuple[int, int], int] = {}
    for user, e, v in rows:
        key = (0, user << 32 | e << 16 | 20)
        once[key] = max(v, once.get(key, 0))
    return [(*key, once[key]) for key in sorted(once)]


@dataclass
class Given:
    """A day's table as its provider sealed it: what it says in the log, and what it gives to an instance."""

    parts: dict[str, Any]
    key_check: str
    released: dict[str, Any]


def sealed_day(host: Blobs, agreement: str, batch: pa.RecordBatch, rejects: int = 0) -> Given:
    key, place = secrets.token_bytes(32), contexts.delivery_place("days", DAY)
    parts = list(seal_table([batch], key=key, agreement=agreement, place=place, schema=SCHEMA))
    listed = [(len(part.ciphertext), host.put_blob(agreement, part.ciphertext)) for part in parts]
    size, counted = sum(part.true_size for part in parts), {"tile": rejects} if rejects else {}
    return Given(
        {"count": len(parts), "digest": host.put_blob(agreement, parts_list(listed))},
        key_check(key, agreement, "days", DAY, len(batch), counted, size),
        {"key": b64(key), "rows": len(batch), "rejects": counted, "size": size},
    )


# -- a delivery opened ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def log() -> Days:
    found = Days()
    found.bring(DAY)
    return found


def open_delivery(
    log: Days, host: Blobs, batch: pa.RecordBatch, rejects: int = 0, other: Mapping[str, Any] | None = None
) -> OpenDelivery:
    """The delivery of a day whose pseudonyms are under ``PERIOD_KEY``; ``other``: what comes with its key instead."""
    given = sealed_day(host, log.id, batch, rejects)
    released = ReleasedKey.model_validate({**given.released, **(other or {})})
    (known,) = log.view().deliveries.values()
    delivery = OpenDelivery(log.id, known.entry, released, {}, Scale())
    return saying(delivery, parts=Parts.model_validate(given.parts), key_check=given.key_check)


def saying(delivery: OpenDelivery, **changes: Any) -> OpenDelivery:
    """The delivery as if it had said something else in the log."""
    said = delivery.entry.body.model_copy(update=changes)
    return replace(delivery, entry=replace(delivery.entry, body=said))


@pytest.mark.parametrize(
    "other",
    [{"key": b64(bytes(32))}, {"rows": 59}, {"rejects": {"tile": 3}}, {"size": 1}],
    ids=lambda other: next(iter(other)),
)
def test_another_key_or_count_than_committed_is_refused(log: Days, other: dict[str, Any]) -> None:
    host = Blobs()
    open_delivery(log, host, delivered(ROWS), 2).check_counts(log.terms)
    with pytest.raises(DataError, match="not the one that the delivery committed to"):
        open_delivery(log, host, delivered(ROWS), 2, other).check_counts(log.terms)


@pytest.mark.parametrize(
    "order",
    [[1, 0, *range(2, 12)], [*range(11)], [0, *range(12)], [0, 0, *range(2, 12)]],
    ids=["swapped", "cut", "one more", "repeated"],
)
def test_parts_in_another_order_or_cut_do_not_open(log: Days, order: list[int]) -> None:
    host = Blobs()
    delivery = open_delivery(log, host, delivered(ROWS))
    assert sum(map(len, delivery.batches(host))) == len(ROWS)  # type: ignore[arg-type]
    listed = parse_parts_list(host.blobs[delivery.entry.body.parts.digest])
    assert len(listed) == 12
    chosen = parts_list([(listed[index].size, listed[index].sha256) for index in order])
    parts = Parts(count=len(order), digest=host.put_blob(log.id, chosen))
    with pytest.raises(DataError, match="does not open"):
        list(saying(delivery, parts=parts).batches(host))  # type: ignore[arg-type]


def test_forged_pseudonyms_are_dropped_and_counted_each_time_anew(log: Days) -> None:
    host, forged = Blobs(), [(-1, 10, 5), (-1, 60_000, 2**20), (-1, 11, 5)]
    batch = delivered([*forged[:1], *ROWS[:30], *forged[1:], *ROWS[30:]])
    day = OpenedDay(open_delivery(log, host, batch), PERIOD_KEY, STATEFUL)
    for _ in range(2):
        rows = pa.Table.from_batches(day.batches(host), STATE).select(["hi", "lo", "v0"])  # type: ignore[arg-type]
        assert [tuple(row.values()) for row in rows.to_pylist()] == states_rows(ROWS)
        assert (day.rows, day.forged) == (60, 3)


def test_under_another_days_key_all_are_forged(log: Days) -> None:
    host = Blobs()
    day = OpenedDay(open_delivery(log, host, delivered(ROWS)), b"q" * 32, STATEFUL)
    assert sum(map(len, day.batches(host))) == 0  # type: ignore[arg-type]
    assert (day.rows, day.forged) == (0, 60)
    with pytest.raises(DataError, match="maximum_rejects"):
        day.check(log.terms)


@pytest.mark.parametrize(
    ("rows", "forged", "rejects", "taken"),
    [
        pytest.param(57, 3, 0, True, id="forged, exactly the most"),
        pytest.param(56, 3, 0, False, id="forged, one row less"),
        pytest.param(57, 0, 3, True, id="rejects, exactly the most"),
        pytest.param(38, 1, 1, True, id="both, exactly the most"),
        pytest.param(57, 2, 2, False, id="neither alone, but both"),
        pytest.param(1, 0, 0, True, id="a good row"),
    ],
)
def test_forged_and_rejected_rows_together_have_a_limit(
    log: Days, rows: int, forged: int, rejects: int, taken: bool
) -> None:
    host = Blobs()
    batch = delivered([*ROWS[:rows], *[(-1, 1, 1)] * forged])
    delivery = open_delivery(log, host, batch, rejects)
    delivery.check_counts(log.terms)
    day = OpenedDay(delivery, PERIOD_KEY, STATEFUL)
    list(day.batches(host))  # type: ignore[arg-type]
    assert (day.rows, day.forged) == (rows, forged)
    if taken:
        day.check(log.terms)
    else:
        with pytest.raises(DataError, match="maximum_rejects"):
            day.check(log.terms)


# -- a day taken in -------------------------------------------------------------------------------------------------


@dataclass
class Play:
    """A log up to an attested instance that was given a day; its key was drawn and split before."""

    scratch: Path
    log: Days = field(default_factory=Days)
    host: Blobs = field(default_factory=Blobs)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.drew = self.log.instance_for(self.log.ask(KEYS, "key", DAY))
        self.record = self.log.leave(self.drew, self.log.give_all(self.drew))
        self.shares = {name: self._share(name) for name in HOLDERS}
        found = {number: self.shares[name] for number, name in enumerate(HOLDERS[:2], 1)}
        self.key = shares.combine(found, threshold=2, holders=3)

    def _share(self, name: str) -> bytes:
        where: dict[str, Any] = {"task": KEYS, "c": self.drew.c, "dataset": "days", "period": DAY}
        holder = fingerprint(self.log.card(name))
        context = contexts.period_key_share(self.log.id, instance=self.drew.id, holder=holder, **where)
        opener = self.log.openers[self.drew.challenges[name].id]
        return unseal(opener, context, self.record.body["key"]["shares"][name]["sealed"])

    def deliver(self, rows: Sequence[Row]) -> Instance:
        """The day goes to a fresh instance; no share of its pseudonyms' key does yet."""
        given = sealed_day(self.host, self.log.id, delivered(rows, self.key))
        said = self.log.deliver("days", period=DAY, linkage_check=None, parts=given.parts, key_check=given.key_check)
        instance = self.log.instance_for(self.log.ask(TASK, "ingest", DAY))
        owner, where = fingerprint(self.log.card("operator-a")), {"request": instance.request.id, "delivery": said.id}
        context = contexts.delivery_key(self.log.id, owner=owner, instance=instance.id, **where)
        key = seal(instance.card.sealing, context, canonical.encode(given.released))
        self.log.release(said, instance, sealed=key)
        return instance

    def give(self, name: str, instance: Instance, share: bytes, *, to: Instance | None = None) -> None:
        """A holder's word to an instance; ``to``: whom the share is sealed to, if not to it."""
        context = contexts.share_release(
            self.log.id,
            holder=fingerprint(self.log.card(name)),
            instance=instance.id,
            request=instance.request.id,
            task=TASK,
            c=instance.c,
            of=self.record.id,
        )
        opened_by = (to or instance).card.sealing
        self.log.give(name, instance, self.record.id, "period_key", sealed=seal(opened_by, context, share))

    def session(self, instance: Instance) -> Session:
        """The instance from within, when its keys have come."""
        launch = Launch("http://127.0.0.1:9", self.log.id, instance.request.id, "a door")
        settings = Settings(memory_bytes=2_000_000_000, scratch=self.scratch)
        no_attester: Any = None
        found: Any = Session(launch, attester=no_attester, measurement="", settings=settings, say=self.said.append)
        found.opener, found.me, found.c = instance.opener, instance.id, instance.c
        found.client, found.follower = self.host, SimpleNamespace(view=self.log.view())
        return found  # type: ignore[no-any-return]

    def take_in(self, rows: Sequence[Row]) -> Left:
        instance = self.deliver(rows)
        for name in HOLDERS[:2]:
            self.give(name, instance, self.shares[name])
        session = self.session(instance)
        return session.ingest([session._open_key(entry) for entry in session._mine().releases.values()])

    def state(self, left: Left) -> list[tuple[int, ...]]:
        assert left.state is not None
        said = State.model_validate({"parts": left.state.parts, "about": left.state.about, "shares": {}})
        opened = open_state(self.host, self.log.id, TASK, 1, said, left.state.key)  # type: ignore[arg-type]
        found = pa.Table.from_batches(opened.batches(self.host, STATE), STATE)  # type: ignore[arg-type]
        return [tuple(row.values()) for row in found.select(["hi", "lo", "v0"]).to_pylist()]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    return Play(tmp_path)


def shuffled(rows: list[Row]) -> list[Row]:
    return [rows[place] for place in np.random.default_rng(3).permutation(len(rows))]


@pytest.mark.parametrize(
    ("arranged", "sorts"),
    [
        pytest.param(list, False, id="sorted"),
        pytest.param(lambda rows: [row for row in rows for _ in range(3)], False, id="sorted, rows repeated"),
        pytest.param(lambda rows: rows[::-1], True, id="backwards"),
        pytest.param(shuffled, True, id="at random"),
        pytest.param(lambda rows: rows[35:] + rows[:35], True, id="parts swapped"),
        pytest.param(lambda rows: [*rows[:-2], rows[-1], rows[-2]], True, id="only the last two swapped"),
        pytest.param(lambda rows: [*rows, rows[0]], True, id="a user again at the end"),
        pytest.param(lambda rows: [*rows[:7], *rows[6:14], *rows[12:]], True, id="cut so that parts overlap"),
        pytest.param(lambda rows: [*rows[:40], (-1, 1, 1), *rows[40:]], False, id="sorted but for a forged row"),
    ],
)
def test_a_day_in_any_order_leaves_the_same_state(
    play: Play, arranged: Callable[[list[Row]], list[Row]], sorts: bool
) -> None:
    rows = arranged(ROWS)
    left = play.take_in(rows)
    assert play.state(left) == states_rows(ROWS)
    assert ("the day came unsorted: sorting it" in play.said) == sorts
    forged = sum(user < 0 for user, *_ in rows)
    assert left.told["operator-a"] == {"day": DAY, "rows": len(rows) - forged, "forged": forged, "rejects": {}}
    assert not list(play.scratch.iterdir())


def test_a_day_of_too_many_forged_rows_is_refused_with_its_owner_named(play: Play) -> None:
    with pytest.raises(Refused, match="rejected or forged") as caught:
        play.take_in([*ROWS, *[(-1, 1, 1)] * 4])
    assert (caught.value.reason, caught.value.owner) == ("data", "operator-a")


# -- shares -----------------------------------------------------------------------------------------------------------


def test_shares_that_holders_give_are_numbered_as_the_agreement_lists_them(play: Play) -> None:
    instance = play.deliver(ROWS)
    for name in reversed(HOLDERS):
        play.give(name, instance, play.shares[name])
    session = play.session(instance)
    found = session._good_shares(play.record.id)
    assert {number: share for number, (_, share) in found.items()} == dict(enumerate(play.shares.values(), 1))
    assert session._combined(play.record.id) == play.key


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(lambda play, instance: play.give("operator-a", instance, bytes(32)), id="made up"),
        pytest.param(
            lambda play, instance: play.give("operator-a", instance, play.shares["regulator"]), id="another holder's"
        ),
        pytest.param(
            lambda play, instance: play.give("operator-a", instance, play.shares["operator-a"][:31]), id="cut"
        ),
        pytest.param(
            lambda play, instance: play.give("operator-a", instance, play.shares["operator-a"], to=play.drew),
            id="sealed to another instance",
        ),
        pytest.param(
            lambda play, instance: play.log.give("operator-a", instance, play.record.id, "period_key", sealed="AAAA"),
            id="no seal",
        ),
    ],
)
def test_a_wrong_share_is_passed_over_and_two_others_are_enough(play: Play, lie: Callable[..., Any]) -> None:
    instance = play.deliver(ROWS)
    lie(play, instance)
    play.give("operator-b", instance, play.shares["operator-b"])
    assert set(play.session(instance)._good_shares(play.record.id)) == {2}
    play.give("regulator", instance, play.shares["regulator"])
    session = play.session(instance)
    assert set(session._good_shares(play.record.id)) == {2, 3}
    assert session._combined(play.record.id) == play.key
