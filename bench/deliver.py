"""How fast a delivery is made and opened, beside plain pyarrow and DuckDB on the same rows in the same run.

Prints one JSON object. `deliver`: CSV to sealed parts on disk (validate, pseudonyms, encode, encrypt, write), in a
process of its own, so that its peak memory is its own; `baseline`: pyarrow, CSV to Parquet. `open`: sealed parts to
validated batches under a DuckDB query; `plain`: the same query from plain Parquet. Median of three.

    .venv/bin/python bench/deliver.py --rows 2000000
"""

import argparse
import json
import multiprocessing
import os
import resource
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from sealstat.tables import checking, pseudonyms, reading, schemas, sealed

AREAS = [f"AREA{n:02d}" for n in range(30)]
PERIOD = "2026-10"
SCHEMA = schemas.get("roamers")
ALLOWED = {"border_area": AREAS}
WHERE: dict[str, Any] = {
    "agreement": "0" * 64,
    "place": {"dataset": "roamers-a", "period": PERIOD},
    "schema": SCHEMA.delivered,
}
QUERY = (
    "select substr(imsi::varchar, 1, 3) c, border_area, count(distinct imsi) n, count(distinct (imsi, date)) d "
    "from {} group by all"
)


def generate(path: Path, rows: int) -> None:
    """Roamers of 30 countries and 30 areas, each subscriber on 1.4 rows; 0.5 % of the IMSIs are none."""
    random = np.random.default_rng(1)
    names, days = pa.array(AREAS), pa.array([f"2026-10-{day:02d}" for day in range(1, 32)])
    with pa.csv.CSVWriter(path, pa.schema([(name, pa.string()) for name in SCHEMA.names])) as writer:
        for start in range(0, rows, 500_000):
            n = min(500_000, rows - start)
            subscriber = random.integers(0, max(1, int(n / 1.4)), n) + start * 7
            mcc = 200 + (subscriber * 2654435761 % 2**32) % 30 * 18
            imsi = (mcc * 10**12 + 10 * 10**10 + subscriber).astype(str).astype(object)
            imsi[random.random(n) < 0.005] = "unknown"
            area, day = names.take(pa.array(random.integers(0, 30, n))), days.take(pa.array(random.integers(0, 31, n)))
            writer.write_table(pa.table([pa.array(imsi, pa.string()), area, day], names=SCHEMA.names))


def deliver(path: Path, out: Path, key: bytes, link: bytes) -> dict[str, Any]:
    batches = reading.prepare(
        path,
        schema=SCHEMA,
        period=PERIOD,
        allowed=ALLOWED,
        pseudonymise=partial(pseudonyms.pseudonymise, prefix_len=SCHEMA.keep_prefix, key=link),
        rejects_file=out / "rejects.csv",
    )
    parts = 0
    for part in sealed.seal_table(batches, key=key, **WHERE):
        (out / f"{part.index}.part").write_bytes(part.ciphertext)
        parts += 1
    return {"parts": parts, "rows": batches.tally.rows, "rejects": batches.tally.rejects}


def baseline(path: Path, out: Path) -> dict[str, Any]:
    reader = pa.csv.open_csv(path, convert_options=pa.csv.ConvertOptions(column_types={"imsi": pa.string()}))
    with pq.ParquetWriter(out / "plain.parquet", reader.schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(batch)
    return {}


def query_sealed(out: Path, parts: int, key: bytes) -> int:
    def batches() -> Iterator[pa.RecordBatch]:
        rules = checking.Rules(SCHEMA, PERIOD, ALLOWED)
        for index in range(parts):
            ciphertext = (out / f"{index}.part").read_bytes()
            for batch in sealed.open_part(ciphertext, key=key, index=index, last=index == parts - 1, **WHERE):
                rules.check_delivered(batch)
                yield batch

    delivered = pa.RecordBatchReader.from_batches(SCHEMA.delivered, batches())
    with duckdb.connect() as db:
        db.register("delivered", delivered)
        return len(db.execute(QUERY.format("delivered")).fetchall())


def open_only(out: Path, parts: int, key: bytes) -> int:
    rules = checking.Rules(SCHEMA, PERIOD, ALLOWED)
    rows = 0
    for index in range(parts):
        for batch in sealed.open_part(
            (out / f"{index}.part").read_bytes(), key=key, index=index, last=index == parts - 1, **WHERE
        ):
            rules.check_delivered(batch)
            rows += len(batch)
    return rows


def query_plain(path: Path) -> int:
    with duckdb.connect() as db:
        return len(db.execute(QUERY.format(f"'{path}'")).fetchall())


def timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds of the clock, seconds of both cores (which others on the machine disturb less), the result."""
    start, start_cpu = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - start, time.process_time() - start_cpu, result


def _child(work: Callable[[], Any], pipe: Any) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds, cpu, result = timed(work)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pipe.send({"seconds": seconds, "cpu": cpu, "peak_mb": after / 1024, "start_mb": before / 1024, **result})


def apart(work: Callable[[], Any]) -> dict[str, Any]:
    """The work in a fresh process: its time without start-up, its own peak memory."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_child, args=(work, theirs))
    process.start()
    theirs.close()
    result: dict[str, Any] = ours.recv()
    process.join()
    return result


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--rows", type=int, default=2_000_000)
    asked.add_argument("--repeat", type=int, default=3)
    options = asked.parse_args()
    key, link = secrets.token_bytes(32), pseudonyms.linkage_key([secrets.token_bytes(32), secrets.token_bytes(32)])
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        path = out / "roamers.csv"
        generate(path, options.rows)
        runs = [
            (apart(partial(deliver, path, out, key, link)), apart(partial(baseline, path, out)))
            for _ in range(options.repeat)
        ]
        parts = runs[0][0]["parts"]
        sealed_bytes = sum((out / f"{n}.part").stat().st_size for n in range(parts))
        rules = checking.Rules(SCHEMA, PERIOD, ALLOWED)
        with pq.ParquetWriter(out / "delivered.parquet", SCHEMA.delivered, compression="zstd") as writer:
            for index in range(parts):
                part = (out / f"{index}.part").read_bytes()
                for batch in sealed.open_part(part, key=key, index=index, last=index == parts - 1, **WHERE):
                    rules.check_delivered(batch)
                    writer.write_batch(batch, row_group_size=122_880)  # as DuckDB writes it, and reads it best
        works = (
            partial(open_only, out, parts, key),
            partial(query_sealed, out, parts, key),
            partial(query_plain, out / "delivered.parquet"),
        )
        opened = [[timed(work)[:2] for work in works] for _ in range(options.repeat)]
    median = statistics.median
    deliver_s, baseline_s = median(run[0]["seconds"] for run in runs), median(run[1]["seconds"] for run in runs)
    columns = list(zip(*opened, strict=True))
    open_s, sealed_s, plain_s = (median(run[0] for run in runs_of) for runs_of in columns)
    open_cpu, sealed_cpu, plain_cpu = (median(run[1] for run in runs_of) for runs_of in columns)
    print(
        json.dumps(
            {
                "rows": options.rows,
                "good_rows": runs[0][0]["rows"],
                "rejects": runs[0][0]["rejects"],
                "cores": os.cpu_count(),
                "load_average": os.getloadavg()[0],
                "deliver_rows_per_s": round(options.rows / deliver_s),
                "deliver_cpu_s": round(median(run[0]["cpu"] for run in runs), 2),
                "deliver_peak_mb": round(max(run[0]["peak_mb"] for run in runs)),
                "baseline_rows_per_s": round(options.rows / baseline_s),
                "baseline_peak_mb": round(max(run[1]["peak_mb"] for run in runs)),
                "deliver_to_baseline": round(deliver_s / baseline_s, 2),
                "parts": parts,
                "sealed_bytes_per_row": round(sealed_bytes / options.rows, 1),
                "open_s": round(open_s, 3),
                "open_cpu_s": round(open_cpu, 3),
                "open_rows_per_s": round(options.rows / open_s),
                "query_sealed_s": round(sealed_s, 3),
                "query_plain_parquet_s": round(plain_s, 3),
                "query_sealed_to_plain": round(sealed_s / plain_s, 2),
                "query_sealed_to_plain_cpu": round(sealed_cpu / plain_cpu, 2),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
