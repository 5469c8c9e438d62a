"""The longitudinal statistic from day to day: how the enclave takes a day in, and reports (on sorted arrays)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa

from sealstat.statistics import longitudinal_arrays, longitudinal_passes
from sealstat.statistics.longitudinal_quality import quality
from sealstat.statistics.longitudinal_tables import areas_of, census_of
from sealstat.statistics.longitudinal_terms import STATE, VALUES, Parameters
from sealstat.statistics.registry import Batches, Stateful


def rows(delivered: pa.RecordBatch, high: Any, low: Any) -> pa.RecordBatch:
    """A delivered batch under the users' inner identifiers: ``lo`` is their last 4 bytes, then the tile."""
    tile = _numbers(delivered, "tile_e") << np.uint64(16) | _numbers(delivered, "tile_n")
    lo = low.astype(np.uint64) << np.uint64(32) | tile
    return pa.RecordBatch.from_arrays(
        [pa.array(high), pa.array(lo), *(delivered.column(name) for name in VALUES)], schema=STATE
    )


def _numbers(delivered: pa.RecordBatch, name: str) -> Any:
    return delivered.column(name).to_numpy().astype(np.uint64)


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
    rows=rows,
    order=("hi", "lo"),
    ingest=lambda state, day, _: longitudinal_arrays.merge(state, day),
    observed="quality",
    observe=observe,
    report=report,
)
