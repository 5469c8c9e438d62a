"""The enclave's run over two sealed lists against plain DuckDB over plain Parquet, in one run; and the log's overhead.

    python bench/visitors.py [--rows 5000000] [--repeat 3]

Prints one JSON value: seconds of each step (medians), and the ratio that is the target (at most 1.5).
"""

import argparse
import json
import resource
import statistics as stats
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sealstat import statistics
from sealstat.agreement.statements import Delivery, Parts
from sealstat.crypto.cards import b64
from sealstat.enclave.deliveries import OpenDelivery, ReleasedKey
from sealstat.enclave.engine import engine
from sealstat.enclave.memory import ENGINE_PART, default_bytes
from sealstat.release import rules
from sealstat.synthetic.mcc import BORDER_AREAS, MCC_COUNTRY
from sealstat.tables import schemas
from sealstat.tables.sealed import parts_list, seal_table

PERIOD, AGREEMENT = "2026-10", "a" * 64
_BATCH = 250_000

# What a careful analyst would write over the plain files: distinct first, then counts per person.
BASELINE = """
WITH seen AS (
    SELECT imsi, border_area, date, bool_or(op = 1) AS a, bool_or(op = 2) AS b FROM (
        SELECT imsi, border_area, date, 1 AS op FROM read_parquet('{a}')
        UNION ALL SELECT imsi, border_area, date, 2 FROM read_parquet('{b}')) GROUP BY ALL),
per_area AS (SELECT imsi, border_area, bool_or(a) AS a, bool_or(b) AS b, count(*) AS days FROM seen GROUP BY ALL),
per_person AS (SELECT imsi, bool_or(a) AS a, bool_or(b) AS b, count(DISTINCT date) AS days FROM seen GROUP BY ALL)
SELECT hex(imsi)[1:6] AS mcc, border_area, count(*) FILTER (a), count(*) FILTER (b), count(*) FILTER (a AND b),
    count(*), sum(days), count(*) FILTER (days > 1) FROM per_area GROUP BY ALL
UNION ALL
SELECT hex(imsi)[1:6], NULL, count(*) FILTER (a), count(*) FILTER (b), count(*) FILTER (a AND b),
    count(*), sum(days), count(*) FILTER (days > 1) FROM per_person GROUP BY ALL
"""


def batches(rows: int, seed: int, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Delivered rows: about 2.5 a subscriber, a quarter of the subscribers on both lists."""
    rng = np.random.default_rng(seed)
    shared = np.random.default_rng(0)
    codes = [code for code in MCC_COUNTRY if code != "510"]
    for start in range(0, rows, _BATCH):
        size = min(_BATCH, rows - start)
        common = shared.integers(0, 2**63, size // 10)
        own = rng.integers(0, 2**63, size // 3)
        ids = rng.choice(np.concatenate([common, own]), size)
        prefix = np.array([f"{code}011".encode() for code in codes])[(ids % len(codes)).astype(int)]
        tail = np.stack([ids, ids ^ 0x5DEECE66D], axis=1).astype("<i8").tobytes()
        imsi = b"".join(prefix[i] + tail[16 * i : 16 * i + 16] for i in range(size))
        days = rng.integers(0, 31, size).astype(np.int32) + (date(2026, 10, 1) - date(1970, 1, 1)).days
        yield pa.record_batch(
            [
                pa.FixedSizeBinaryArray.from_buffers(pa.binary(22), size, [None, pa.py_buffer(imsi)]),
                pa.array(np.array(BORDER_AREAS)[rng.integers(0, len(BORDER_AREAS), size)]),
                pa.array(days).view(pa.date32()),
            ],
            schema=schema,
        )


class Blobs:
    """The host's blobs in memory: fetching is a copy, as from a local disk cache."""

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}

    def put(self, data: bytes) -> str:
        digest = sha256(data).hexdigest()
        self.stored[digest] = data
        return digest

    def get_blob(self, agreement: str, digest: str, *, limit: int = 0) -> bytes:
        data = self.stored[digest]
        assert sha256(data).hexdigest() == digest
        return data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    schema = schemas.get("roamers").delivered
    statistic = statistics.get("visitors")
    parameters = statistic.parameters.model_validate(
        {"domestic_country": "ID", "areas": list(BORDER_AREAS), "mcc_country": MCC_COUNTRY}
    )
    blobs = Blobs()
    with tempfile.TemporaryDirectory(prefix="sealstat-bench-") as folder:
        deliveries, paths = {}, {}
        for role, seed in (("a", 1), ("b", 2)):
            paths[role] = Path(folder) / f"{role}.parquet"
            with pq.ParquetWriter(paths[role], schema, compression="zstd") as writer:
                for batch in batches(options.rows, seed, schema):
                    writer.write_batch(batch)
            deliveries[role] = sealed(blobs, role, paths[role], schema, statistic.choices(parameters), options.rows)
        runs: list[dict[str, float]] = [
            {
                "plain_s": plain(paths),
                "same_s": same(paths, statistic, parameters),
                **enclave(blobs, deliveries, schema, statistic, parameters),
            }
            for _ in range(options.repeat)
        ]
    medians = {name: round(stats.median(run[name] for run in runs), 3) for name in runs[0]}
    medians["ratio"] = round(stats.median(run["enclave_s"] / run["plain_s"] for run in runs), 2)
    medians["ratio_to_same"] = round(stats.median(run["enclave_s"] / run["same_s"] for run in runs), 2)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"rows": [options.rows, options.rows], "repeat": options.repeat, **medians, "peak_mb": peak}))


def sealed(blobs: Blobs, role: str, path: Path, schema: pa.Schema, allowed: Any, rows: int) -> OpenDelivery:
    key, place = bytes([len(role)]) * 31 + role.encode(), {"dataset": f"roamers-{role}", "period": PERIOD}
    source = pq.ParquetFile(path).iter_batches(_BATCH)
    clean = (pa.RecordBatch.from_arrays(batch.columns, schema=schema) for batch in source)
    listed = [
        (len(part.ciphertext), blobs.put(part.ciphertext))
        for part in seal_table(clean, key=key, agreement=AGREEMENT, place=place, schema=schema)
    ]
    body = Delivery.model_validate(
        {
            **place,
            "schema": "roamers",
            "parts": Parts(count=len(listed), digest=blobs.put(parts_list(listed))),
            "key_check": "0" * 64,
        }
    )
    released = ReleasedKey(key=b64(key), rows=rows, rejects={}, size=1)
    entry: Any = SimpleNamespace(body=body, by=f"operator-{role}")
    return OpenDelivery(AGREEMENT, entry, released, allowed)


def plain(paths: dict[str, Path]) -> float:
    start = time.perf_counter()
    duckdb.connect().execute(BASELINE.format(**paths)).fetchall()
    return time.perf_counter() - start


def same(paths: dict[str, Path], statistic: Any, parameters: Any) -> float:
    """The very expression that the enclave computes, over the plain files."""
    start = time.perf_counter()
    backend = ibis.duckdb.from_connection(duckdb.connect())
    statistic.compute(backend, {role: backend.read_parquet(path) for role, path in paths.items()}, parameters)
    return time.perf_counter() - start


def enclave(blobs: Blobs, deliveries: dict[str, OpenDelivery], schema: Any, statistic: Any, parameters: Any) -> Any:
    """From parts fetched to results sealed: what the instance does with data."""
    client: Any = blobs
    start = time.perf_counter()
    with engine(None, memory_bytes=default_bytes() // ENGINE_PART) as sandbox:
        inputs = {
            role: sandbox.load(f"input_{role}", schema, each.batches(client)) for role, each in deliveries.items()
        }
        opened = time.perf_counter()
        outputs = statistic.compute(sandbox.ibis, inputs, parameters)
    computed = time.perf_counter()
    rule = SimpleNamespace(to=[], minimum=10, minimum_part=None, complementary=False)
    tables, _ = rules.apply(outputs, statistic.outputs, dict.fromkeys(statistic.outputs, rule))
    for name, table in tables.items():
        place = {"task": "visitors", "c": 0, "table": name}
        for part in seal_table(
            table.to_batches(), key=bytes(32), agreement=AGREEMENT, place=place, schema=table.schema
        ):
            blobs.put(part.ciphertext)
    end = time.perf_counter()
    return {"open_s": opened - start, "compute_s": computed - opened, "enclave_s": end - start}


if __name__ == "__main__":
    main()
