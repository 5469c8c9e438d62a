"""A made-up population as files: the day files of each operator, census, reference areas, and the truth.

```
operator-1/day-2026-10-01.parquet    user_id, tile_e, tile_n, weight_day, weight_sub1..3; one folder an operator
census.csv, reference_areas.csv      tile_e, tile_n, residents; area_id, tile_e, tile_n
parameters.json                      of the longitudinal statistic, as they fit these days and this country
truth.json, truth_homes.csv          what is true of the files, for whom a statistic over them is judged
```
A person has one user_id on all networks. Blocks follow one another in the order of subscribers, so files are not sorted
by user_id; a real operator sorts them.
Everything is written into a folder beside the wanted one, which takes its name at the end: all is there or nothing.
"""

import csv
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, Literal, cast

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from sealstat.synthetic.grid import Country, Ints
from sealstat.synthetic.population import (
    UNITS,
    Bools,
    Kind,
    People,
    Plan,
    PopulationError,
    generator,
    make_day,
    make_people,
    user_ids,
)
from sealstat.tables.ahead import ahead

WEIGHTS = ("weight_day", "weight_sub1", "weight_sub2", "weight_sub3")
_FIELDS: dict[str, Any] = {"user_id": pa.string(), "tile_e": pa.uint16(), "tile_n": pa.uint16()}
SCHEMA = pa.schema(_FIELDS | dict.fromkeys(WEIGHTS, pa.float64()), metadata={"synthetic": "made up by sealstat"})

DIRT = ("nan", "infinite", "negative", "zero", "bad_id", "duplicate")
"""Kinds of dirty rows, planted in equal parts; each is a copy of a clean row with one thing wrong."""

_BAD_IDS = ("", "unknown", "0123456789abcdef0123456", "0123456789abcdef012345678", "0123456789abcdefghijklmn", "０１")
_BYTES_PER_ROW = {"csv": 85, "parquet": 10}  # measured 81 and 9


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the writing is: rows done, of about how many, rows a second."""

    phase: str
    done: int
    of: int
    rate: float
    unit: str = "rows"


@dataclass(frozen=True, slots=True)
class Made:
    """A block on a day: a table of ``SCHEMA`` for each operator and what is true of it.

    ``seen`` (operators, people): who has a clean row; ``dirt`` (operators, kinds of ``DIRT``): rows.
    """

    tables: list[pa.Table] = field(repr=False)
    people: People = field(repr=False)
    seen: Bools = field(repr=False)
    dirt: Ints


def make_block(plan: Plan, country: Country, block: int, day: date) -> Made:
    """The rows of a block on a day, as each operator delivers them."""
    people = make_people(plan, country, block)
    presence = make_day(plan, country, people, block, day)
    ids = user_ids(plan.seed, plan.blocks[block])
    east, north = country.coordinates(presence.tile)
    weights = np.concatenate([presence.units.sum(axis=0, keepdims=True), presence.units]) / UNITS
    tables, dirt = [], np.zeros((plan.operators, len(DIRT)), np.int64)
    seen = np.zeros((plan.operators, len(people.home)), np.bool_)
    for operator, rows in enumerate(np.flatnonzero(by) for by in presence.seen):
        person = presence.person[rows]
        seen[operator, person] = True
        columns = [_text(ids[person]), east[rows], north[rows], *weights[:, rows]]
        table = pa.table(columns, schema=SCHEMA)
        if plan.dirty and len(rows):
            table, dirt[operator] = _soil(generator(plan, "dirty", block, day.toordinal(), operator), table, plan.dirty)
        tables.append(table)
    return Made(tables, people, seen, dirt)


def _text(ids: Any) -> pa.StringArray:
    """Rows of 24 ASCII bytes as a text column, without a copy for each."""
    offsets: Any = np.arange(0, ids.size + 1, 24, dtype=np.int32)
    return pa.StringArray.from_buffers(len(ids), pa.py_buffer(offsets), pa.py_buffer(ids))


def _soil(rng: np.random.Generator, table: pa.Table, share: float) -> tuple[pa.Table, Ints]:
    """The table with dirty rows mixed in; how many of each kind of ``DIRT``."""
    count = int(rng.binomial(len(table), share))
    like = table.take(rng.integers(0, len(table), count))
    kinds = np.arange(count) % len(DIRT)
    nan, infinite, negative, zero, bad_id = (np.flatnonzero(kinds == kind) for kind in range(5))
    weights = np.stack([like[name].to_numpy() for name in WEIGHTS])
    weights[rng.integers(0, 4, len(nan)), nan] = np.nan
    weights[rng.integers(0, 4, len(infinite)), infinite] = rng.choice([np.inf, -np.inf], len(infinite))
    weights[rng.integers(0, 4, len(negative)), negative] = -1 / UNITS
    weights[:, zero] = rng.choice([0.0, -0.0], len(zero))
    ids = like["user_id"].to_numpy(zero_copy_only=False)
    ids[bad_id] = rng.choice(np.array(_BAD_IDS, object), len(bad_id))
    soiled = pa.table([pa.array(ids, pa.string()), like["tile_e"], like["tile_n"], *weights], schema=SCHEMA)
    mixed = pa.concat_tables([table, soiled]).combine_chunks().take(rng.permutation(len(table) + count))
    return mixed, np.bincount(kinds, minlength=len(DIRT))


class Truth:
    """Adds up what is true of the files, exactly; of clean rows, unless it says otherwise."""

    def __init__(self, plan: Plan, country: Country) -> None:
        self._plan, self._country = plan, country
        self._ever = np.zeros((plan.operators, -(-plan.subscribers // 8)), np.uint8)  # a bit for each subscriber
        self._seen = np.zeros((plan.operators, len(Kind)), np.int64)
        self._homes = np.zeros((plan.operators, len(Kind), len(country.residents)), np.uint32)
        self._days: list[tuple[date, Ints]] = []

    def open_day(self, day: date) -> None:
        """The blocks that follow are of this day."""
        self._days.append((day, np.zeros((self._plan.operators, 1 + len(Kind) + len(DIRT)), np.int64)))

    def add(self, made: Made, block: int) -> None:
        """Take a block of the open day in."""
        kind, home = made.people.kind, made.people.home
        start = self._plan.blocks[block].start // 8
        today = self._days[-1][1]
        for operator, (table, seen, dirt) in enumerate(zip(made.tables, made.seen, made.dirt, strict=True)):
            today[operator] += [len(table), *np.bincount(kind[seen], minlength=len(Kind)), *dirt]
            ever = self._ever[operator, start : start + -(-len(seen) // 8)]
            new = np.flatnonzero(seen & (np.unpackbits(ever, count=len(seen)) == 0))
            ever |= np.packbits(seen)
            self._seen[operator] += np.bincount(kind[new], minlength=len(Kind))
            np.add.at(self._homes[operator], (kind[new], home[new]), 1)

    def to_json(self) -> dict[str, Any]:
        """The plan, and per operator who was seen on each day and at all; ``dirty`` rows are among ``rows``."""
        plan, names = self._plan, operator_names(self._plan)
        kinds = [f"{kind.name.lower()}s" for kind in Kind]
        by_day: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        for day, counts in self._days:
            for name, (rows, *rest) in zip(names, counts.tolist(), strict=True):
                seen, dirt = rest[: len(Kind)], rest[len(Kind) :]
                by_day[name].append(
                    {
                        "date": day.isoformat(),
                        "rows": rows,
                        "clean_rows": rows - sum(dirt),
                        "subscribers": sum(seen),
                        **dict(zip(kinds, seen, strict=True)),
                        "dirty": dict(zip(DIRT, dirt, strict=True)),
                    }
                )
        any_network, several = np.zeros_like(self._ever[0]), np.zeros_like(self._ever[0])
        for ever in self._ever:
            several |= any_network & ever
            any_network |= ever
        return {
            "synthetic": True,
            "plan": asdict(plan) | {"first": str(plan.first), "gaps": sorted(map(str, plan.gaps))},
            "residents": int(self._country.residents.sum()),
            "inhabited_tiles": int(np.count_nonzero(self._country.residents)),
            "units_a_day": UNITS,
            "seen": int(np.bitwise_count(any_network).sum()),
            "seen_by_several": int(np.bitwise_count(several).sum()),
            "operators": {
                name: {"subscribers": sum(seen), **dict(zip(kinds, seen, strict=True)), "days": by_day[name]}
                for name, seen in zip(names, self._seen.tolist(), strict=True)
            },
        }

    def homes(self) -> Iterator[Sequence[Any]]:
        """(operator, tile_e, tile_n, residents, roamers) who were seen on some day, by home or hotel."""
        for name, homes in zip(operator_names(self._plan), self._homes, strict=True):
            residents, roamers = homes[Kind.RESIDENT], homes[Kind.ROAMER]
            tiles = np.flatnonzero(residents + roamers)
            columns = (*self._country.coordinates(tiles), residents[tiles], roamers[tiles])
            yield from ((name, *row) for row in zip(*(column.tolist() for column in columns), strict=True))


def write(
    plan: Plan,
    out: Path,
    *,
    format: Literal["csv", "parquet"] = "parquet",
    show: Callable[[Progress], None] = lambda _: None,
) -> dict[str, Any]:
    """Make a population's files in a new or empty folder; returns the truth. Killed on the way, it leaves no ``out``.

    Args:
        format: ``csv`` (a header, UTF-8, no quotes) or ``parquet`` (zstd; about a ninth of the size).
        show: called after each block.
    Raises:
        PopulationError: ``out`` is not empty, or the files would not fit on its disk.
    """
    out = out.resolve()
    if out.exists() and any(out.iterdir()):
        raise PopulationError(f"{out} exists and is not empty: name another folder")
    part = out.with_name(f".{out.name}.part-{os.getpid()}")
    part.mkdir(parents=True)
    try:
        _refuse_too_much(plan, part, format)
        truth = _write(plan, part, format, show)
        os.replace(part, out)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return truth


def _write(plan: Plan, folder: Path, format: str, show: Callable[[Progress], None]) -> dict[str, Any]:
    country = plan.country()
    truth = Truth(plan, country)
    operators = [folder / name for name in operator_names(plan)]
    for operator in operators:
        operator.mkdir()
    delivered = [day for day in plan.calendar if day not in plan.gaps]
    rows, subscribers, start = 0, 0, monotonic()
    for day in delivered:
        truth.open_day(day)
        with ExitStack() as stack:
            put = [_writer(stack, operator / f"day-{day}.{format}", format) for operator in operators]
            make = partial(make_block, plan, country, day=day)
            # numpy and Arrow both let another thread run
            for block, made in enumerate(ahead(make, range(len(plan.blocks)), workers=1, name="population")):
                for put_table, table in zip(put, made.tables, strict=True):
                    put_table(table)
                    rows += len(table)
                truth.add(made, block)
                subscribers += len(plan.blocks[block])
                expected = rows * plan.subscribers * len(delivered) // subscribers
                show(Progress(f"population: {rows:,} rows", rows, expected, rows / (monotonic() - start)))
    _write_table(folder / "census.csv", ("tile_e", "tile_n", "residents"), _census(country))
    _write_table(folder / "reference_areas.csv", ("area_id", "tile_e", "tile_n"), _areas(country))
    _write_table(folder / "truth_homes.csv", ("operator", "tile_e", "tile_n", "residents", "roamers"), truth.homes())
    summary = truth.to_json()
    for name, value in (("truth", summary), ("parameters", _parameters(country, len(delivered)))):
        (folder / f"{name}.json").write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    return summary


def _parameters(country: Country, days: int) -> dict[str, Any]:
    """Usual is a tile with a fifth of all presence; deliveries lie within the country."""
    east, north = country.coordinates(np.array([0, len(country.residents) - 1]))
    return {
        "psi": f"{days / 5:.1f}",
        "phi": "0.5",
        "calibrate": True,
        "tile_e_min": int(east[0]),
        "tile_e_max": int(east[1]),
        "tile_n_min": int(north[0]),
        "tile_n_max": int(north[1]),
    }


def _writer(stack: ExitStack, path: Path, format: str) -> Callable[[pa.Table], None]:
    writer: Any
    if format == "csv":
        file: Any = stack.enter_context(pa.OSFile(str(path), "wb"))
        file.write((",".join(SCHEMA.names) + "\n").encode())  # Arrow would quote these
        options = pa.csv.WriteOptions(include_header=False, quoting_style="none")
        writer = pa.csv.CSVWriter(file, SCHEMA, write_options=options)
    else:
        repeating: Any = [name for name in SCHEMA.names if name != "user_id"]  # ids would overflow a dictionary
        writer = pa.parquet.ParquetWriter(path, SCHEMA, compression="zstd", use_dictionary=repeating)
    return cast("Callable[[pa.Table], None]", stack.enter_context(writer).write_table)


def _refuse_too_much(plan: Plan, folder: Path, format: str) -> None:
    rows = 5.2 * plan.subscribers * (plan.days - len(plan.gaps)) * (1 + plan.dirty)
    rows *= 1 + 0.3 * plan.overlap * (plan.operators > 1)
    needed, free = int(rows * _BYTES_PER_ROW[format]), shutil.disk_usage(folder).free
    if needed > free:
        raise PopulationError(
            f"about {rows:,.0f} rows need {needed >> 20:,} MiB, and {folder.parent} has {free >> 20:,} MiB left: "
            "ask for fewer subscribers or days, or for Parquet"
        )


def operator_names(plan: Plan) -> list[str]:
    """The folders of the operators."""
    return [f"operator-{number}" for number in range(1, plan.operators + 1)]


def _census(country: Country) -> Iterator[Sequence[Any]]:
    tiles = np.flatnonzero(country.residents)
    return zip(*(column.tolist() for column in (*country.coordinates(tiles), country.residents[tiles])), strict=True)


def _areas(country: Country) -> Iterator[Sequence[Any]]:
    for area, tiles in enumerate(country.reference_areas()):
        east, north = country.coordinates(tiles)
        yield from zip([area] * len(tiles), east.tolist(), north.tolist(), strict=True)


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
