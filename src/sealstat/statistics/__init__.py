"""The statistics themselves: tables in, tables out, defined once for every protection."""

from sealstat.statistics.registry import Statistic, describe, get, names
from sealstat.statistics.tables import Column, OutputTable, Part, PartGroup

__all__ = ["Column", "OutputTable", "Part", "PartGroup", "Statistic", "describe", "get", "names"]
