"""What this code can run, as the checks of an agreement want to know it; and a draft checked with it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sealstat import statistics
from sealstat.agreement.check import problems as unsound
from sealstat.agreement.draft import Problem, load, place_of
from sealstat.agreement.model import Agreement
from sealstat.tables import schemas


@dataclass(frozen=True, slots=True)
class Described:
    """A statistic as agreement.check looks at it."""

    inputs: dict[str, str]
    tables: dict[str, str | None]
    version: int
    _parameters: Any

    def parameter_problems(self, parameters: dict[str, Any]) -> list[str]:
        return statistics.parameter_problems(self._parameters, parameters)


class Known:
    """The statistics and schemas of the code at hand."""

    def statistic(self, name: str) -> Described | None:
        if name not in statistics.names():
            return None
        found = statistics.get(name)
        tables = {table: output.contributors for table, output in found.outputs.items()}
        return Described(dict(found.inputs), tables, found.version, found.parameters)

    def schema_names(self) -> list[str]:
        return schemas.names()
