"""A national mobile population and its days: who lives where, and in which tiles each phone is for how long.

Residents have a home (drawn by the census), a workplace or school (by gravity), habitual tiles, errands, trips at
weekends and holidays far away. Nomads never return to a tile but by chance. Roamers come from abroad for some days.
A person may be a customer of two networks; each then sees a part of the day.

People are made in blocks of ``BLOCK``. Each random draw has a generator keyed by (seed, purpose, block and, where it
matters, day), so that any block of any day can be made alone, again and in any order, and nothing is kept in between.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import IntEnum
from hashlib import sha256

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from sealstat.synthetic.grid import Country, Ints, make_country

Bools = npt.NDArray[np.bool_]
Shorts = npt.NDArray[np.int16]

BLOCK = 1 << 17
"""Subscribers made at a time; part of what a seed means: another number gives another population."""

UNITS = 1024
"""Units of presence a day; a weight is a number of units over 1024, exact in every float."""

PERIOD_UNITS = (341, 427, 256)
"""Units in night, work and evening: 8, 10 and 6 hours."""

RESIDENTS_PER_SUBSCRIBER = 2.5
"""People of the census for each subscriber: these networks together have 40 % of the market."""

MAX_SUBSCRIBERS, MAX_DAYS, MAX_OPERATORS = 1_000_000_000, 366, 9


class PopulationError(ValueError):
    """A population cannot be made as asked; one sentence says why."""


class Kind(IntEnum):
    """What a subscriber is: the planted truth behind "usual environment" and "highly nomadic"."""

    RESIDENT = 0
    NOMAD = 1
    ROAMER = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to make. Shares are of 1. With one version of numpy, the same plan gives the same rows.

    Args:
        subscribers: distinct people who are customers of any operator.
        days, first: so many days from the first one; ``gaps`` are those among them that have no file.
        operators: networks, the first with the largest market share; ``overlap``: share of people on two of them.
        nomads, roamers: shares of subscribers; ``active``: share of phones that are switched on on a day.
        dirty: rows added that a careful reader must drop or merge, per clean row.
    Raises:
        PopulationError: an argument is out of its range.
    """

    subscribers: int
    days: int
    first: date
    seed: int = 1
    operators: int = 1
    overlap: float = 0.12
    nomads: float = 0.08
    roamers: float = 0.03
    active: float = 0.9
    dirty: float = 0.0
    gaps: frozenset[date] = frozenset()

    def __post_init__(self) -> None:
        for name, most in (("subscribers", MAX_SUBSCRIBERS), ("days", MAX_DAYS), ("operators", MAX_OPERATORS)):
            if not 1 <= getattr(self, name) <= most:
                raise PopulationError(f"{name} is {getattr(self, name)}: give 1 to {most}")
        for name in ("overlap", "nomads", "roamers", "active", "dirty"):
            if not 0 <= getattr(self, name) <= 1:
                raise PopulationError(f"{name} is {getattr(self, name)}: give a share from 0 to 1")
        if self.nomads + self.roamers > 1:
            raise PopulationError("nomads and roamers together are more than all subscribers: give smaller shares")
        if not 0 <= self.seed < 1 << 64:
            raise PopulationError(f"the seed is {self.seed}: give 0 to 2**64 - 1")
        if not 1970 <= self.first.year <= 2100:
            raise PopulationError(f"the first day is {self.first}: give one from 1970 to 2100")
        if strangers := sorted(self.gaps - set(self.calendar)):
            raise PopulationError(f"the gap {strangers[0]} is not between {self.first} and {self.calendar[-1]}")
        if not set(self.calendar) - self.gaps:
            raise PopulationError("every day is a gap: leave one that has a file")

    @property
    def calendar(self) -> list[date]:
        """All days, those without a file too."""
        return [self.first + timedelta(days=day) for day in range(self.days)]

    @property
    def blocks(self) -> list[range]:
        """The subscribers of each block."""
        return [range(at, min(at + BLOCK, self.subscribers)) for at in range(0, self.subscribers, BLOCK)]

    def country(self) -> Country:
        """The country that these subscribers live in."""
        residents = max(1000, int(self.subscribers * RESIDENTS_PER_SUBSCRIBER))
        return make_country(generator(self, "country"), residents)


@dataclass(frozen=True, slots=True)
class People:
    """The subscribers of a block: arrays of one entry each, but ``haunts`` (5, people). Tiles are flat indices.

    ``home`` is a roamer's hotel, and the middle of a nomad's country. ``haunts``: work or school, a place on the way
    there, three habitual tiles. From ``leaves`` to ``returns`` (day ordinals, the second exclusive) a resident is on
    holiday at ``resort`` (-1: abroad); a roamer is in the country on just these days. ``networks`` (2, people): the
    first and the second operator, the same for most.
    """

    kind: npt.NDArray[np.int8]
    home: Ints
    haunts: Ints
    leaves: Ints
    returns: Ints
    resort: Ints
    networks: npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Presence:
    """Clean rows of a block on a day, by subscriber: each (subscriber, tile) once, with a positive number of units.

    ``person``: index within the block; ``tile``: flat index; ``units`` (3, rows): presence in each period;
    ``seen`` (operators, rows): which network saw it.
    """

    person: Ints = field(repr=False)
    tile: Ints = field(repr=False)
    units: Shorts = field(repr=False)
    seen: Bools = field(repr=False)


# What a day is like: at home on a working day or a free one, elsewhere (travellers and roamers), or a nomad's.
_WORKDAY, _FREE, _ELSEWHERE, _NOMAD = range(4)
# Slots of a day: home or hotel, the five haunts, three errands near it. The chance that a slot is part of the day ...
_SLOTS = 9
_CHANCE = np.array(
    [
        [0.98, 0.90, 0.80, 0.60, 0.50, 0.40, 0.75, 0.60, 0.45],
        [0.98, 0.10, 0.30, 0.80, 0.70, 0.55, 0.85, 0.75, 0.65],
        [0.99, 0.70, 0.70, 0.65, 0.60, 0.55, 0.60, 0.55, 0.50],
        [0.85, 0.85, 0.85, 0.85, 0.85, 0.85, 0.85, 0.85, 0.85],
    ],
    np.float32,
)
# ... and how much of the night, the working hours and the evening it tends to take, relative to the others.
_TASTE = np.array(
    [
        [[60, 1, 0.5, 1, 1, 0.5, 0.5, 0.5, 0.5], [5, 30, 1, 2, 2, 2, 2, 2, 2], [22, 2, 2, 4, 4, 3, 3, 3, 3]],
        [[60, 1, 0.5, 1, 1, 0.5, 0.5, 0.5, 0.5], [15, 5, 2, 4, 4, 3, 4, 3, 3], [20, 1, 1, 5, 5, 3, 3, 3, 3]],
        [[60, 1, 1, 1, 1, 1, 1, 1, 1], [8, 4, 4, 4, 4, 4, 4, 4, 4], [16, 3, 3, 3, 3, 3, 3, 3, 3]],
        [[1] * _SLOTS] * 3,
    ],
    np.float32,
)
_HOLIDAY_START = 190, 45  # day of the year, mean and spread: summer
_WEEKEND_TRIP, _ABROAD = 0.12, 0.4


def make_people(plan: Plan, country: Country, block: int) -> People:
    """The subscribers ``plan.blocks[block]``: the same on every day."""
    size = len(plan.blocks[block])
    rng = generator(plan, "people", block)
    home = country.settle(rng, size)
    place = rng.random(size)
    kind = np.select([place < plan.nomads, place < plan.nomads + plan.roamers], [Kind.NOMAD, Kind.ROAMER], 0)
    hotel = country.gravitate(rng, home, 30.0, country.sights)
    home = np.where(kind == Kind.ROAMER, hotel, home)
    to_work_km = rng.choice([2.0, 15.0], size, p=[0.25, 0.75]).astype(np.float32)  # to school, to work
    work = country.gravitate(rng, home, to_work_km, country.jobs)
    work = np.where(rng.random(size) < 0.25, country.gravitate(rng, home, 3.0, country.jobs), work)  # no job, or near
    habits = [country.gravitate(rng, home, scale, country.jobs) for scale in (4.0, 8.0, 25.0)]
    resort = country.gravitate(rng, home, 150.0, country.sights)

    first = plan.first.toordinal()
    new_year = date(plan.first.year, 1, 1).toordinal()
    leaves = new_year + rng.normal(*_HOLIDAY_START, size).astype(np.int64) % 365
    leaves += np.where(leaves + 28 < first, 365, 0)  # this year's is over
    arrives = rng.integers(first - 5, first + plan.days, size)
    leaves = np.where(kind == Kind.ROAMER, arrives, leaves)
    stays = np.where(kind == Kind.ROAMER, rng.geometric(0.25, size), rng.integers(5, 22, size))

    shares = 1 / np.arange(1, plan.operators + 1)
    main = rng.choice(plan.operators, size, p=shares / shares.sum())
    other = (main + rng.integers(1, max(2, plan.operators), size)) % plan.operators
    return People(
        kind=kind.astype(np.int8),
        home=home,
        haunts=np.stack([work, country.between(home, work), *habits]),
        leaves=leaves,
        returns=leaves + stays,
        resort=np.where(rng.random(size) < _ABROAD, -1, resort),
        networks=np.stack([main, np.where(rng.random(size) < plan.overlap, other, main)]).astype(np.int8),
    )


def make_day(plan: Plan, country: Country, people: People, block: int, day: date) -> Presence:
    """Where the people of a block are on a day, and what each network sees of it."""
    rng = generator(plan, "day", block, day.toordinal())
    size = len(people.home)
    present, base, mode = _whereabouts(plan, country, people, block, day)
    tiles = np.empty((_SLOTS, size), np.int64)
    tiles[0], tiles[1:6] = base, people.haunts
    away, nomads = np.flatnonzero(mode == _ELSEWHERE), np.flatnonzero(mode == _NOMAD)
    for slot in range(1, 6):
        tiles[slot, away] = country.gravitate(rng, base[away], 6.0, country.jobs)
    for slot in range(6, _SLOTS):
        tiles[slot] = country.gravitate(rng, base, 5.0, country.jobs)
    middle = country.settled[rng.integers(0, len(country.settled), len(nomads))]
    for slot in range(_SLOTS):
        tiles[slot, nomads] = country.gravitate(rng, middle, 40.0, country.inhabited, candidates=8)

    part = (rng.random((_SLOTS, size), np.float32) < _CHANCE.T[:, mode]) & present
    units = np.empty((3, _SLOTS, size), np.int16)
    switched_on = 1 - 0.4 * rng.random(size, np.float32) ** 2
    for period, length in enumerate(PERIOD_UNITS):
        taste = rng.standard_exponential((_SLOTS, size), np.float32) * _TASTE[:, period].T[:, mode] * part
        total = taste.sum(axis=0)
        units[period] = taste * (length * switched_on / np.where(total > 0, total, 1))
    for slot in range(1, _SLOTS):  # two slots that fall into one tile are one row
        for earlier in range(slot):
            same = np.flatnonzero(tiles[slot] == tiles[earlier])
            units[:, earlier, same] += units[:, slot, same]
            units[:, slot, same] = 0

    person, slot_of = np.divmod(np.flatnonzero(units.any(axis=0).T), _SLOTS)
    return Presence(
        person=person,
        tile=tiles[slot_of, person],
        units=units[:, slot_of, person],
        seen=_seen(rng, people.networks[:, person], plan.operators),
    )


def _whereabouts(
    plan: Plan, country: Country, people: People, block: int, day: date
) -> tuple[Bools, Ints, npt.NDArray[np.int8]]:
    """Who can be seen on a day, around which tile, and in which mode; a trip lasts a weekend, as its generator does."""
    rng = generator(plan, "active", block, day.toordinal())
    present = rng.random(len(people.home)) < plan.active
    base = people.home.copy()
    mode = np.full(len(base), _WORKDAY if day.weekday() < 5 else _FREE, np.int8)
    in_stay = (people.leaves <= day.toordinal()) & (day.toordinal() < people.returns)
    resident, roamer = people.kind == Kind.RESIDENT, people.kind == Kind.ROAMER
    if day.weekday() >= 5:
        weekend = generator(plan, "weekend", block, day.toordinal() - day.weekday())
        travels = np.flatnonzero(resident & (weekend.random(len(base)) < _WEEKEND_TRIP))
        base[travels] = country.gravitate(weekend, base[travels], 60.0, country.sights)
        mode[travels] = _ELSEWHERE
    on_holiday = np.flatnonzero(resident & in_stay)
    base[on_holiday], mode[on_holiday] = people.resort[on_holiday], _ELSEWHERE
    present &= (base >= 0) & ~(roamer & ~in_stay)
    mode[roamer], mode[people.kind == Kind.NOMAD] = _ELSEWHERE, _NOMAD
    return present, np.maximum(base, 0), mode


def _seen(rng: np.random.Generator, networks: npt.NDArray[np.int8], operators: int) -> Bools:
    """Which operator sees each row: of people on two networks 40 % by the first, 30 % by the second, 30 % by both."""
    first, second = networks
    draw = rng.random(len(first), np.float32)
    by_first, by_second = (first == second) | (draw < 0.7), draw >= 0.4
    return np.stack([((first == one) & by_first) | ((second == one) & by_second) for one in range(operators)])


def user_ids(seed: int, subscribers: range) -> npt.NDArray[np.uint8]:
    """The ids of subscribers as text: (subscribers, 24) ASCII hex digits.

    One AES-256 block over the subscriber's number, under a key from the seed, cut to 12 bytes: unrelated to the number
    for whoever lacks the seed, and for 100 million subscribers two are equal with probability 10^-13.
    """
    numbers = np.zeros((len(subscribers), 2), "<u8")
    numbers[:, 0] = np.arange(subscribers.start, subscribers.stop)
    key = sha256(f"sealstat population ids {seed}".encode()).digest()
    cipher = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 - single blocks, none of them twice
    ids = np.frombuffer(cipher.update(numbers.tobytes()), np.uint8).reshape(-1, 16)[:, :12]
    return _HEX[ids].view(np.uint8)


_HEX = np.array([int.from_bytes(f"{byte:02x}".encode(), "little") for byte in range(256)], "<u2")

_PURPOSES = ("country", "people", "day", "active", "weekend", "dirty")


def generator(plan: Plan, purpose: str, *keys: int) -> np.random.Generator:
    """Randomness for one purpose, unrelated to any other."""
    entropy: Sequence[int] = (plan.seed, _PURPOSES.index(purpose), *keys)
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(entropy)))
