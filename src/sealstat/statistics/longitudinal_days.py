"""The longitudinal statistic from day to day: how the enclave takes a day in, and reports (on sorted arrays)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

import pyarrow as pa

from sealstat.statistics import longitudinal_arrays, longitudinal_passes
from sealstat.statistics.longitudinal_quality import quality
from sealstat.statistics.longitudinal_tables import areas_of, census_of
from sealstat.statistics.longitudinal_terms import STATE, Parameters, day_rows
from sealstat.statistics.registry import Batches, Stateful


def report(
    read: Callable[[], Batches], tables: Mapping[str, pa.Table], parameters: Parameters, secret: bytes
) -> dict[str, pa.Table]:
    """All tables but ``quality``, over a state."""
    areas = areas_of(tables["reference_areas"])
    census = census_of(tables["census"]) if "census" in tables else None
    return longitudinal_passes.report(read, areas, census, parameters, secret=secret)


def observe(con: Any, period: str, day: Any, state: Any, parameters: Parameters) -> pa.Table:
    """The masked quality figures of a day."""
    return quality(con, (date.fromisoformat(period) - date(1970, 1, 1)).days, day, state, parameters)


STATEFUL = Stateful(
    day="days",
    schema=STATE,
    rows=day_rows,
    order=("hi", "lo"),
    ingest=lambda state, day, _: longitudinal_arrays.merge(state, day),
    observed="quality",
    observe=observe,
    report=report,
)
