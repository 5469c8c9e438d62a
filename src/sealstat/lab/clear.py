"""A statistic over plain files, with no protection at all: for method development, and as the oracle of the others."""

import csv
import json
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import ibis
import pyarrow as pa
import pyarrow.parquet

from sealstat import statistics
from sealstat.release.commitment import text
from sealstat.tables import schemas
from sealstat.tables.errors import BadFile
from sealstat.tables.pseudonyms import pseudonymise
from sealstat.tables.reading import prepare

# In the clear a pseudonym hides nothing from whoever holds the file: this key only gives rows their delivered form.
_KEY = bytes(32)


class ClearError(Exception):
    """A statistic cannot be computed as asked; one sentence says why."""


def compute(
    name: str, inputs: Mapping[str, Path], parameters: Mapping[str, Any], *, period: str | None
) -> tuple[dict[str, pa.Table], dict[str, dict[str, int]]]:
    """The statistic's tables without any rule of release, and rejects by input and reason.

    Raises:
        ClearError: unknown statistic or input, or parameters that do not fit.
        BadFile: a file is refused as a whole.
    """
    try:
        statistic = statistics.get(name)
    except ValueError as error:
        raise ClearError(str(error)) from error
    if set(inputs) != set(statistic.inputs):
        raise ClearError(f"{name} wants the inputs {', '.join(statistic.inputs)}: give each once with --input")
    problems = statistic.parameter_problems(parameters)
    if problems:
        raise ClearError(f"the parameters do not fit {name}: {'; '.join(problems)}")
    if period is None:
        raise ClearError(f"{name} is over a period: give it with --period, like 2026-10")
    typed = statistic.parameters.model_validate(dict(parameters))
    connection = duckdb.connect()
    tables, rejects = {}, {}
    with tempfile.TemporaryDirectory(prefix="sealstat-clear-") as folder:
        for role, file in inputs.items():
            schema = schemas.get(statistic.inputs[role])
            try:
                prepared = prepare(
                    file,
                    schema=schema,
                    period=period,
                    allowed=statistic.choices(typed),
                    pseudonymise=partial(pseudonymise, prefix_len=schema.keep_prefix, key=_KEY),
                    rejects_file=Path(folder) / f"{role}.csv",
                )
                reader = pa.RecordBatchReader.from_batches(schema.delivered, prepared)
                connection.register("incoming", reader)
                connection.execute(f'CREATE TEMP TABLE "input_{role}" AS SELECT * FROM incoming')  # noqa: S608
            except (BadFile, duckdb.Error) as error:
                raise ClearError(f"input {role}: {_own_words(error)}") from error
            finally:
                connection.unregister("incoming")
            rejects[role] = dict(prepared.tally.rejects)
        backend = ibis.duckdb.from_connection(connection)
        tables = {role: backend.table(f"input_{role}") for role in inputs}
        return statistic.compute(backend, tables, typed), rejects


def read_parameters(file: Path) -> dict[str, Any]:
    """Parameters from JSON, or from YAML written as in an agreement's task (small tables by path).

    Raises:
        ClearError: neither.
    """
    try:
        if file.suffix == ".json":
            value = json.loads(file.read_text(encoding="utf-8"))
        else:
            from sealstat.agreement.draft import load_parameters

            value = load_parameters(file)
    except (OSError, ValueError) as error:
        raise ClearError(f"cannot read the parameters in {file}: {error}") from error
    if not isinstance(value, dict):
        raise ClearError(f"{file} does not hold named parameters")
    return value


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


def _own_words(error: Exception) -> str:
    """What a reader said behind the engine's wrapping."""
    return str(error) if isinstance(error, BadFile) else "the file could not be read to its end"
