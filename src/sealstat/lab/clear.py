"""A statistic over plain files, with no protection at all: for method development, and as the oracle of the others."""

import csv
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import ibis
import pyarrow as pa
import pyarrow.parquet

from sealstat import statistics
from sealstat.release.commitment import text
from sealstat.statistics import Statistic
from sealstat.tables import schemas
from sealstat.tables.errors import BadFile
from sealstat.tables.pseudonyms import pseudonymise
from sealstat.tables.reading import Tally, prepare
from sealstat.tables.schemas import TableSchema

# In the clear a pseudonym hides nothing from whoever holds the file: this key only gives rows their delivered form.
_KEY = bytes(32)

_DAY_FILE = re.compile(r"day-([0-9]{1,10}|[0-9]{4}-[0-9]{2}-[0-9]{2})\.(?i:csv|parquet)")
_LIKE_A_DAY_FILE = re.compile(r"day.*\.(?:csv|parquet)", re.IGNORECASE | re.DOTALL)
_EPOCH = date(1970, 1, 1)


class ClearError(Exception):
    """A statistic cannot be computed as asked; one sentence says why."""


@dataclass(slots=True)
class Read(Tally):
    """What became of an input's rows, and which days it had files of."""

    days: list[date] = field(default_factory=list)


def compute(
    name: str, inputs: Mapping[str, Path], parameters: Mapping[str, Any], *, period: str | None
) -> tuple[dict[str, pa.Table], dict[str, Read]]:
    """The statistic's tables without any rule of release, and what was read of each input.

    Raises:
        ClearError: unknown statistic or input, or parameters that do not fit.
        BadFile: a file is refused as a whole.
    """
    try:
        statistic = statistics.get(name)
    except ValueError as error:
        raise ClearError(str(error)) from error
    problems = statistic.parameter_problems(parameters)
    if problems:  # first: which inputs are wanted depends on them
        raise ClearError(f"the parameters do not fit {name}: {'; '.join(problems)}")
    missing = statistic.missing_inputs(inputs, parameters)
    if missing or not set(inputs) <= set(statistic.inputs):
        wanted = [role for role in statistic.inputs if role in inputs or role in missing]
        raise ClearError(f"{name} wants the inputs {', '.join(wanted)}: give each once with --input")
    columns = [column for role in inputs for column in schemas.get(statistic.inputs[role]).columns]
    if period is None and any(column.kind == "day" for column in columns):
        raise ClearError(f"{name} is over a period: give it with --period, like 2026-10")
    typed = statistic.parameters.model_validate(dict(parameters))
    connection = duckdb.connect()
    found = {role: Read() for role in inputs}
    with tempfile.TemporaryDirectory(prefix="sealstat-clear-") as folder:
        for role, file in inputs.items():
            try:
                read = _read_days if schemas.get(statistic.inputs[role]).file_a_day else _read
                arrow, batches = read(file, statistic, role, typed, period, Path(folder) / f"{role}.csv", found[role])
                kept = _Kept(batches)
                connection.register("incoming", pa.RecordBatchReader.from_batches(arrow, kept.batches()))
                connection.execute(f'CREATE TEMP TABLE "input_{role}" AS SELECT * FROM incoming')  # noqa: S608
            except (BadFile, duckdb.Error) as error:
                reason = error if isinstance(error, BadFile) else kept.refusal
                raise ClearError(f"input {role}: {reason or 'the file could not be read to its end'}") from error
            finally:
                connection.unregister("incoming")
            _refuse_all_bad(role, schemas.get(statistic.inputs[role]), found[role])
        backend = ibis.duckdb.from_connection(connection)
        tables = {role: backend.table(f"input_{role}") for role in inputs}
        return statistic.compute(backend, tables, typed), found


def _refuse_all_bad(role: str, schema: TableSchema, found: Read) -> None:
    if found.rejected and not found.rows:
        why = "; ".join(
            f"{n:,} {reason} (expected {schema.rule(reason)})" for reason, n in sorted(found.rejects.items())
        )
        raise ClearError(f"input {role}: all of its {found.rejected:,} rows are bad: {why}")


def _read(
    file: Path, statistic: Statistic, role: str, typed: Any, period: str | None, rejects_file: Path, found: Read
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    schema = schemas.get(statistic.inputs[role])
    keyed = any(column.kind == "identifier" for column in schema.columns)
    prepared = prepare(
        file,
        schema=schema,
        period=period,
        allowed=statistic.choices(typed),
        pseudonymise=partial(pseudonymise, prefix_len=schema.keep_prefix, key=_KEY) if keyed else None,
        rejects_file=rejects_file,
        scale=replace(statistic.scale(typed), plain_ids=True),
    )

    def batches() -> Iterator[pa.RecordBatch]:
        yield from prepared
        found.add(prepared.tally)

    return schema.delivered, batches()


def _read_days(
    folder: Path, statistic: Statistic, role: str, typed: Any, period: str | None, rejects_file: Path, found: Read
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The rows of a folder's day files, each with the number of its day."""
    days = _day_files(folder)
    found.days = list(days)
    convert = statistic.in_the_clear
    assert convert is not None
    delivered = schemas.get(statistic.inputs[role]).delivered

    def batches() -> Iterator[pa.RecordBatch]:
        for day, file in days.items():
            try:
                _, given = _read(file, statistic, role, typed, period, rejects_file, found)
                for batch in given:
                    yield convert(batch, (day - _EPOCH).days)
            except BadFile as error:
                raise BadFile(f"{file.name}: {error}") from error

    return convert(pa.RecordBatch.from_pylist([], delivered), 0).schema, batches()


def _day_files(folder: Path) -> dict[date, Path]:
    """The day files of a folder by their day, ascending."""
    if not folder.is_dir():
        raise BadFile("expected a folder of day files, such as day-2026-10-31.csv")
    found: dict[date, Path] = {}
    for file in sorted(folder.iterdir()):
        if not _LIKE_A_DAY_FILE.fullmatch(file.name):
            continue
        day = _day_of(file.name)
        if day in found:
            raise BadFile(f"{found[day].name} and {file.name} are of one day: leave one out")
        found[day] = file
    if not 0 < len(found) <= schemas.MAX_DAYS:
        raise BadFile(
            f"found {len(found)} day files, expected 1 to {schemas.MAX_DAYS}, such as day-2026-10-31.csv or .parquet"
        )
    return dict(sorted(found.items()))


def _day_of(name: str) -> date:
    match = _DAY_FILE.fullmatch(name)
    try:
        if match is not None:
            return _EPOCH + timedelta(int(match[1])) if match[1].isdecimal() else date.fromisoformat(match[1])
    except (ValueError, OverflowError):
        pass
    raise BadFile(f"{name} names no day: call it like day-2026-10-31.csv, or something that does not begin with day")


def read_parameters(file: Path) -> dict[str, Any]:
    """Parameters from JSON, or from YAML written as in an agreement's task (small tables by path).

    Raises:
        ClearError: neither.
    """
    try:
        if file.suffix == ".json":
            # a decimal stays the text that it is written as: parameters are exact
            value = json.loads(file.read_text(encoding="utf-8"), parse_float=str, object_pairs_hook=_each_once)
        else:
            from sealstat.agreement.draft import load_parameters

            value = load_parameters(file)
    except (OSError, ValueError) as error:
        raise ClearError(f"cannot read the parameters in {file}: {error}") from error
    if not isinstance(value, dict):
        raise ClearError(f"{file} does not hold named parameters")
    return value


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{', '.join(twice)} stands there twice: which of the values is meant?")
    return dict(pairs)


def write(tables: Mapping[str, pa.Table], out: Path) -> None:
    """Each table as CSV and Parquet in a new folder."""
    if out.exists() and any(out.iterdir()):
        raise ClearError(f"{out} exists and is not empty: name another folder")
    out.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        pa.parquet.write_table(table, out / f"{name}.parquet")
        with (out / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(table.column_names)
            writer.writerows([text(value) for value in row.values()] for row in table.to_pylist())


class _Kept:
    """Batches on their way into the engine, which hands on a reader's words but not its error: that is kept here."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self.refusal: BadFile | None = None

    def batches(self) -> Iterator[pa.RecordBatch]:
        try:
            yield from self._batches
        except BadFile as error:
            self.refusal = error
            raise
