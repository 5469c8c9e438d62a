"""A made-up country on the 1 km grid: its coast, its cities, and how many people live in each tile.

Densities are as skewed as real ones: towns follow the rank-size rule (Zipf), density falls off exponentially with
the distance from a centre (Clark 1951), the land between holds a thin and uneven rest, and nobody lives in many tiles.
Tiles are those of ETRS89-LAEA (EPSG:3035), counted in km; the country lies around the projection's own centre.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

CENTRE_E, CENTRE_N = 4321, 3210
"""The tile at the centre of the projection (false easting and northing), in km."""

_RESIDENTS_PER_TILE = 100  # of land, as in the EU
_MIN_LAND, _MAX_LAND = 2_500, 1_000_000  # tiles of 1 km2
_TILES_PER_TOWN = 200
_URBAN = 0.85  # share of people in cities and towns
_WILD = 0.45  # share of land where nobody settles outside a town
_TOWN_EDGE = 40.0  # people per tile: thinner than this, a town's rim is as wild as the land around it


@dataclass(frozen=True, slots=True)
class Country:
    """Tiles as flat indices into rows (northing) of ``width`` tiles (easting); the rim is always sea.

    ``residents``: people per tile (int64); ``jobs``, ``sights``, ``inhabited``: how strongly a tile draws workers,
    visitors and anyone (float32, no unit); ``settled``: where people live; ``towns``: their centres, largest first;
    ``reach_km``: of each town's core.
    """

    width: int
    west: int
    south: int
    residents: Ints = field(repr=False)
    jobs: npt.NDArray[np.float32] = field(repr=False)
    sights: npt.NDArray[np.float32] = field(repr=False)
    inhabited: npt.NDArray[np.float32] = field(repr=False)
    settled: Ints = field(repr=False)
    towns: Ints = field(repr=False)
    reach_km: Floats = field(repr=False)
    cumulated: Ints = field(repr=False)

    def coordinates(self, tile: Ints) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16]]:
        """Easting and northing of tiles, in km."""
        row, column = np.divmod(tile, self.width)
        return (column + self.west).astype(np.uint16), (row + self.south).astype(np.uint16)

    def between(self, one: Ints, other: Ints) -> Ints:
        """The tile half-way: what a phone sees on the way."""
        rows, columns = (one // self.width + other // self.width) // 2, (one % self.width + other % self.width) // 2
        middle: Ints = rows * self.width + columns
        return middle

    def settle(self, rng: np.random.Generator, size: int) -> Ints:
        """Home tiles of ``size`` people, each resident as likely as any other."""
        # Looking up in order is five times as fast as at random: sort first, mix afterwards.
        drawn = np.sort(rng.integers(0, self.cumulated[-1], size))
        return rng.permutation(np.searchsorted(self.cumulated, drawn, side="right"))

    def gravitate(
        self, rng: np.random.Generator, origin: Ints, scale_km: Any, mass: npt.NDArray[np.float32], candidates: int = 4
    ) -> Ints:
        """A tile for each origin, by gravity: the likelier, the nearer and the greater its ``mass``.

        Distance falls off exponentially with mean ``scale_km`` (a number or one per origin; less in a small country).
        Of the candidates drawn so, one is chosen in proportion to mass; where none has any (the sea), the origin.
        """
        chosen, total = origin.copy(), np.zeros(len(origin), np.float32)
        height, scale_km = len(mass) // self.width, np.minimum(scale_km, self.width / 6).astype(np.float32)
        row, column = np.divmod(origin, self.width)
        for _ in range(candidates):
            distance = rng.standard_exponential(len(origin), np.float32) * scale_km
            angle = rng.random(len(origin), np.float32) * np.float32(2 * np.pi)
            to_row = (row + (distance * np.sin(angle)).round().astype(np.int64)).clip(0, height - 1)
            to_column = (column + (distance * np.cos(angle)).round().astype(np.int64)).clip(0, self.width - 1)
            candidate = to_row * self.width + to_column
            weight = mass[candidate]
            total += weight
            chosen = np.where(rng.random(len(origin), np.float32) * total < weight, candidate, chosen)
        return chosen

    def reference_areas(self) -> list[Ints]:
        """The tiles of two cores: of the largest city, and of that one of the ten largest that is farthest from it."""
        row, column = np.divmod(self.towns[:10], self.width)
        farthest = int(np.argmax((row - row[0]) ** 2 + (column - column[0]) ** 2))
        tiles = np.arange(len(self.residents))
        areas = []
        for town in (0, farthest):
            squared = (tiles // self.width - row[town]) ** 2 + (tiles % self.width - column[town]) ** 2
            areas.append(np.flatnonzero((squared <= self.reach_km[town] ** 2) & (self.residents > 0)))
        return areas


def make_country(rng: np.random.Generator, residents: int) -> Country:
    """A country of so many residents (>= 1000), on 2,500 to a million tiles of land."""
    land_tiles = min(max(residents // _RESIDENTS_PER_TILE, _MIN_LAND), _MAX_LAND)
    radius = np.sqrt(land_tiles / np.pi)
    half = int(1.6 * radius) + 2
    width = 2 * half + 1
    row, column = np.mgrid[-half : half + 1, -half : half + 1]
    angle, phases = np.arctan2(row, column), rng.uniform(0, 2 * np.pi, 5)
    coast = radius * (1 + sum(np.cos(wave * angle + phase) * 0.25 / wave for wave, phase in enumerate(phases, 1)))
    land = np.hypot(row, column) < coast

    density = np.where(land, rng.lognormal(0, 1.5, land.shape), 0)
    density *= (1 - _URBAN) * residents / density.sum()
    towns = rng.choice(np.flatnonzero(land), max(12, land_tiles // _TILES_PER_TOWN), replace=False)
    people = 1 / np.arange(1, len(towns) + 1)
    people *= _URBAN * residents / people.sum()
    # A million people fall off over 4.6 km, ten thousand over 1.1 km: centres of 7,500 and of 1,400 per km2.
    falloff_km = 0.1 + 0.45 * np.cbrt(people / 1000)
    for town, size, scale in zip(towns, people, falloff_km, strict=True):
        reach = int(8 * scale) + 1
        middle = divmod(int(town), width)
        near = tuple(slice(max(0, place - reach), place + reach + 1) for place in middle)
        fall = np.exp(-np.hypot(row[near] + half - middle[0], column[near] + half - middle[1]) / scale) * land[near]
        density[near] += size * fall / fall.sum()
    density[(rng.random(land.shape) < _WILD) & (density < _TOWN_EDGE)] = 0

    settled = np.flatnonzero(density)
    census: Ints = np.zeros(density.size, np.int64)
    census[settled] = rng.multinomial(residents, density.flat[settled] / density.sum())
    return Country(
        width=width,
        west=CENTRE_E - half,
        south=CENTRE_N - half,
        residents=census,
        jobs=(census**1.2).astype(np.float32),  # work is denser than homes
        sights=(np.sqrt(census) * rng.lognormal(0, 1.5, census.size)).astype(np.float32),
        inhabited=(census > 0).astype(np.float32),
        settled=np.flatnonzero(census),
        towns=towns,
        reach_km=np.maximum(1.0, 1.5 * falloff_km),
        cumulated=np.cumsum(census),
    )
