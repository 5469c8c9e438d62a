"""The statistics themselves: tables in, tables out, defined once for every protection."""

from sealstat.statistics.registry import Stateful, Statistic, describe, get, names, version
from sealstat.statistics.tables import Column, OutputTable, Part, PartGroup

__all__ = ["Column", "OutputTable", "Part", "PartGroup", "Stateful", "Statistic", "describe", "get", "names", "version"]
