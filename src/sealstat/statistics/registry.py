"""The list of statistics, and what each declares of itself."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from sealstat.statistics.tables import OutputTable
from sealstat.tables import schemas
from sealstat.tables.numbers import Scale

_MODULES = {"longitudinal": "sealstat.statistics.longitudinal", "visitors": "sealstat.statistics.visitors"}


class UnknownStatisticError(ValueError):
    """There is no statistic of that name."""


Batches = Iterator[pa.RecordBatch]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stateful:
    """How a statistic takes in day after day, in bounded memory, and reports over all of them.

    Attributes:
        day: the input that is delivered for each day; the others are for the report.
        schema: of the rows of a state, and of a day whose pseudonyms were opened.
        rows: ``(delivered batch, high, low)`` to a batch of ``schema``. ``high`` (uint64) and ``low`` (uint32) are the
            first 8 and the last 4 bytes of the inner ids behind the pseudonyms.
        order: the columns by which both are sorted.
        ingest: ``(state, day, parameters)`` to the batches of the new state; both are sorted.
        observed: the output table about the days' data themselves.
        observe: ``(con, period, day, state before, parameters)`` to its rows for a day; both are Ibis tables. They
            leave with the report, in ``observed``.
        report: ``(read, tables, parameters, secret)`` to the other tables. ``read()`` gives the state's batches from
            the first, as often as it is called; ``secret`` (32 bytes) is the same for every report over one state.
    """

    day: str
    schema: pa.Schema
    rows: Callable[[pa.RecordBatch, Any, Any], pa.RecordBatch]
    order: tuple[str, ...]
    ingest: Callable[[Batches, Batches, Any], Batches]
    observed: str
    observe: Callable[[Any, str, Any, Any, Any], pa.Table]
    report: Callable[[Callable[[], Batches], Mapping[str, pa.Table], Any, bytes], dict[str, pa.Table]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistic:
    """A statistic: what it wants, what it gives, and how it is computed.

    Attributes:
        version: counts up whenever the same inputs could give another result.
        inputs: the name of the table schema that each input wants, by input name.
        parameters: the strict model of its parameters.
        outputs: its tables by name.
        compute: ``(con, tables, parameters)`` to one Arrow table for each of ``outputs``, in its schema. ``con`` is
            an Ibis backend, ``tables`` its Ibis tables by input name. No output rule was applied: whoever calls it
            holds figures that may not be published.
        choices: ``(parameters)`` to the values that a delivery may have in each column that is a closed list.
        scale: ``(parameters)`` to what deliveries must keep to in their numbers.
        unneeded: ``(parameters)`` to the names of inputs that may be left out.
        in_the_clear: ``(batch, day)`` to the rows that ``compute`` wants of a table of which a file holds a day: from
            the delivered form with plain identifiers, and the day's number. None if there is no such table.
        stateful: how it goes on from day to day; None if one run is all.
    """

    name: str
    version: int
    title: str
    inputs: Mapping[str, str]
    parameters: type[BaseModel]
    outputs: Mapping[str, OutputTable]
    compute: Callable[[Any, Mapping[str, Any], Any], dict[str, pa.Table]]
    choices: Callable[[Any], dict[str, list[str]]]
    scale: Callable[[Any], Scale] = lambda _: Scale()
    unneeded: Callable[[Any], Collection[str]] = lambda _: ()
    in_the_clear: Callable[[pa.RecordBatch, int], pa.RecordBatch] | None = None
    stateful: Stateful | None = None

    @property
    def day(self) -> str | None:
        """The input that is delivered for each day of a report; None if it has no state."""
        return self.stateful.day if self.stateful else None

    @property
    def tables(self) -> dict[str, str | None]:
        """The column that counts contributors in each output table; None where there is none."""
        return {name: table.contributors for name, table in self.outputs.items()}

    def missing_inputs(self, given: Collection[str], parameters: Mapping[str, Any]) -> list[str]:
        """The inputs that these parameters need and that are not given; all that are not, if parameters are bad."""
        try:
            spared = self.unneeded(self.parameters.model_validate(dict(parameters)))
        except ValidationError:
            spared = ()
        return [name for name in self.inputs if name not in given and name not in spared]

    def parameter_problems(self, parameters: Mapping[str, Any]) -> list[str]:
        """What is wrong with the parameters, all at once; a sentence about one begins with its name and a colon."""
        try:
            self.parameters.model_validate(dict(parameters))
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False, include_context=False)
            return [f"{'.'.join(map(str, one['loc'])) or 'parameters'}: {self._sentence(one)}" for one in found]
        return []

    def _sentence(self, problem: ErrorDetails) -> str:
        if problem["type"] == "extra_forbidden":
            return f"there is no such parameter: expected some of {', '.join(self.parameters.model_fields)}"
        message = problem["msg"].removeprefix("Value error, ")
        return message[:1].lower() + message[1:]


def get(name: str) -> Statistic:
    """The statistic of this name.

    Raises:
        UnknownStatisticError: there is none; the message lists those there are.
    """
    if name not in _MODULES:
        raise UnknownStatisticError(f"no statistic is called so: expected one of {', '.join(names())}")
    found: Statistic = import_module(_MODULES[name]).STATISTIC
    return found


def version(name: str) -> int:
    """The version of a statistic; of the drawing of period keys, which is none, 1."""
    return get(name).version if name in _MODULES else 1


def names() -> list[str]:
    """The names of all statistics, sorted."""
    return sorted(_MODULES)


def describe(name: str) -> dict[str, Any]:
    """All that a statistic declares, ready for JSON: inputs, their schemas with the rules of their rows, parameters
    (JSON schema), tables and their columns.

    Raises:
        UnknownStatisticError: there is no such statistic.
    """
    found = get(name)
    return {
        "name": found.name,
        "version": found.version,
        "title": found.title,
        "inputs": dict(found.inputs),
        "schemas": {name: _expected(schemas.get(name)) for name in sorted(set(found.inputs.values()))},
        "parameters": found.parameters.model_json_schema(),
        "outputs": {key: _described(table) for key, table in found.outputs.items()},
    }


def _expected(schema: schemas.TableSchema) -> dict[str, Any]:
    return {
        "columns": [{"name": column.name, "rule": column.rule} for column in schema.columns],
        "rows": {reason: schema.rule(reason) for reason in schema.reasons if reason not in schema.names},
        "whole": schema.whole,
    }


def _described(table: OutputTable) -> dict[str, Any]:
    return {
        "title": table.title,
        "dimensions": list(table.dimensions),
        "contributors": table.contributors,
        "columns": [
            {"name": c.name, "type": c.type, "unit": c.unit, "description": c.description} for c in table.columns
        ],
        "hidden_together": {group.name: list(group.hides) for group in table.part_groups},
    }
