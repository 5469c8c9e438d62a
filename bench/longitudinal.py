"""A day taken in and a report made by the enclave's code, against plain DuckDB doing the same on plain Parquet.

    python bench/longitudinal.py                     state of 10 million rows, day of 5 million; median of 3
    python bench/longitudinal.py --state 50 --day 25
    python bench/longitudinal.py --scale 0.1 1 10 --plot scale.svg     millions of subscribers, 5 rows each a day
    python bench/longitudinal.py --first-day 100     millions of subscribers, one day into an empty state, once

Prints one JSON value. Every measurement is a process of its own, so that its CPU time and peak memory are its own;
state and day lie as sealed parts (the enclave) and as Parquet with zstd (DuckDB) in files that were just written. The
enclave reads parts, checks digests, opens, undoes pseudonyms, merges, seals, and writes parts with their digests.
"""

import argparse
import json
import os
import resource
import statistics as stats
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

AGREEMENT, TASK, DAY, REPORT = "a" * 64, "usual", "2026-10-02", "2026-10-01/2026-10-31"
PERIOD_KEY, STATE_KEY, DAY_KEY = bytes(range(32)), bytes(32), b"\1" * 32
PARAMETERS = {"psi": "2", "phi": "0.5", "calibrate": True}
PROTOTYPE_ROWS_PER_S = 32_000  # the public prototype, one core: the better end of longitudinal.md's 20,000 to 32,000
WATTS_PER_CORE = 15.0  # a server core under load, with its part of memory and cooling: a model, not a measurement
_CHUNK_USERS = 200_000

INGEST = """
COPY (SELECT hi, lo, coalesce(s.v0, z) + coalesce(h.v0, z) AS v0, coalesce(s.v1, z) + coalesce(h.v1, z) AS v1,
             coalesce(s.v2, z) + coalesce(h.v2, z) AS v2, coalesce(s.v3, z) + coalesce(h.v3, z) AS v3
      FROM read_parquet('{state}') s FULL JOIN
           (SELECT hi, lo, max(v0) v0, max(v1) v1, max(v2) v2, max(v3) v3 FROM read_parquet('{day}') GROUP BY hi, lo) h
           USING (hi, lo), (SELECT 0::UINTEGER AS z))
TO '{out}' (FORMAT parquet, COMPRESSION zstd)
"""

REPORT_SQL = """
CREATE TEMP TABLE y AS SELECT hi, lo >> 32 AS u, (lo & 4294967295)::UINTEGER AS t, v0, greatest(v1, v2, v3) AS m, v1,
    (2 * v1 >= v0)::INT AS b1, (2 * v2 >= v0)::INT AS b2, (2 * v3 >= v0)::INT AS b3
    FROM read_parquet('{state}') WHERE v0 >= 2048;
CREATE TEMP TABLE a AS SELECT hi, u, arg_max(t, (v0, m, v1, hash(hi, u, t))) AS t FROM y GROUP BY hi, u;
CREATE TEMP TABLE w AS SELECT p.t, p.n, CASE WHEN greatest(coalesce(residents, 0), n) < 10 THEN 1.0
    ELSE least(10.0, greatest(0.2, coalesce(residents, 0) / n)) END AS w
    FROM (SELECT t, count(*) n FROM a GROUP BY t) p LEFT JOIN read_parquet('{census}') USING (t);
CREATE TEMP TABLE x AS SELECT y.hi, y.u, y.t, b1, b2, b3, w.w FROM y JOIN a USING (hi, u) JOIN w ON w.t = a.t;
CREATE TEMP TABLE f AS SELECT t, count(*) n0, sum(b1) n1, sum(b2) n2, sum(b3) n3,
    sum(w) c0, sum(w * b1) c1, sum(w * b2) c2, sum(w * b3) c3 FROM x GROUP BY t;
CREATE TEMP TABLE q AS SELECT DISTINCT hi, u, area FROM x JOIN read_parquet('{areas}') USING (t);
CREATE TEMP TABLE c AS SELECT area, t, count(*) n, sum(w) c FROM x JOIN q USING (hi, u) GROUP BY area, t;
SELECT (SELECT count(*) FROM f), (SELECT count(*) FROM c), (SELECT count(*) FROM a),
    (SELECT count(DISTINCT (hi, lo >> 32)) FROM read_parquet('{state}'))
"""


# -- data ------------------------------------------------------------------------------------------------------------


def make(folder: Path, state_rows: int, day_rows: int, seed: int = 1) -> None:
    """Five tiles a user in the state, five rows a user and day: 5 % of the day's users are new, 30 % of its tiles."""
    from sealstat.enclave.states import seal_state
    from sealstat.statistics.longitudinal_terms import STATE
    from sealstat.tables import schemas
    from sealstat.tables.sealed import parts_list, seal_table

    blobs: Any = Blobs(folder / "blobs")
    rng = np.random.default_rng(seed)
    chunks = max(1, round(state_rows / 5 / _CHUNK_USERS))
    users = state_rows // 5 // chunks
    writers = {
        name: pq.ParquetWriter(folder / f"{name}.parquet", STATE, compression="zstd") for name in ("state", "day")
    }

    def rows() -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
        """State and day of ever greater identifiers, each sorted."""
        for chunk in range(chunks):
            span = 2**64 // chunks
            hi = np.sort(rng.integers(chunk * span, (chunk + 1) * span, users * 21 // 20, dtype=np.uint64))
            low = rng.integers(0, 2**32, len(hi), dtype=np.uint64) << np.uint64(32)
            known = rng.random(len(hi)) < 20 / 21
            home = rng.integers(0, 40_000, len(hi))
            yield (
                _batch(rng, hi[known], low[known], home[known], np.full(known.sum(), 5)),
                _batch(rng, hi, low, home, rng.binomial(10, day_rows / state_rows / 2 * 20 / 21, len(hi)), moved=0.3),
            )

    day_batches = folder / "day.arrow"
    with pa.OSFile(str(day_batches), "wb") as sink, pa.ipc.new_stream(sink, STATE) as writer:

        def states() -> Iterator[pa.RecordBatch]:
            for state, day in rows():
                writers["state"].write_batch(state)
                writers["day"].write_batch(day)
                writer.write_batch(day)
                yield state

        sealed = seal_state(blobs, AGREEMENT, TASK, 1, states(), STATE, bytes(32), [])
    for parquet in writers.values():
        parquet.close()
    schema, count = schemas.get("presence").delivered, 0

    def delivered() -> Iterator[pa.RecordBatch]:
        nonlocal count
        for batch in pa.ipc.open_stream(pa.memory_map(str(day_batches))):
            count += len(batch)
            yield _delivered(batch, schema)

    place = {"dataset": "days", "period": DAY}
    parts = seal_table(delivered(), key=DAY_KEY, agreement=AGREEMENT, place=place, schema=schema)
    listed = [(len(part.ciphertext), blobs.put_blob(AGREEMENT, part.ciphertext)) for part in parts]
    day_batches.unlink()
    tables(folder)
    said = {
        "state": {"parts": sealed.parts, "about": sealed.about, "shares": {}},
        "state_key": sealed.key.hex(),
        "state_rows": sealed.rows,
        "day": {"count": len(listed), "digest": blobs.put_blob(AGREEMENT, parts_list(listed))},
        "day_rows": count,
    }
    (folder / "made.json").write_text(json.dumps(said))


def make_first_day(folder: Path, subscribers: int, seed: int = 1) -> None:
    """One sealed day of so many subscribers, sorted, 5 rows each; no state, and nothing for DuckDB."""
    from sealstat.tables import schemas
    from sealstat.tables.sealed import parts_list, seal_table

    blobs, rng = Blobs(folder / "blobs"), np.random.default_rng(seed)
    schema, chunks, count = schemas.get("presence").delivered, max(1, subscribers // _CHUNK_USERS), 0
    users = subscribers // chunks

    def delivered() -> Iterator[pa.RecordBatch]:
        nonlocal count
        for chunk in range(chunks):
            span = 2**64 // chunks
            hi = np.sort(rng.integers(chunk * span, (chunk + 1) * span, users, dtype=np.uint64))
            low = rng.integers(0, 2**32, users, dtype=np.uint64) << np.uint64(32)
            batch = _batch(rng, hi, low, rng.integers(0, 40_000, users), np.full(users, 5))
            count += len(batch)
            yield _delivered(batch, schema)

    place = {"dataset": "days", "period": DAY}
    parts = seal_table(delivered(), key=DAY_KEY, agreement=AGREEMENT, place=place, schema=schema)
    listed = [(len(part.ciphertext), blobs.put_blob(AGREEMENT, part.ciphertext)) for part in parts]
    day = {"count": len(listed), "digest": blobs.put_blob(AGREEMENT, parts_list(listed))}
    (folder / "made.json").write_text(json.dumps({"state": None, "day": day, "day_rows": count}))


def _batch(rng: Any, hi: Any, low: Any, home: Any, tiles: Any, moved: float = 0.0) -> pa.RecordBatch:
    """``tiles`` rows for each user around its home, sorted; weights that hardly compress."""
    from sealstat.statistics.longitudinal_terms import STATE

    of = np.repeat(np.arange(len(hi)), tiles)
    place = np.arange(len(of)) - np.repeat(np.cumsum(tiles) - tiles, tiles)  # 0, 1, ... within a user
    place += np.where(rng.random(len(of)) < moved, 11, 0)
    tile = (home[of] // 200 + 3000 << 16) + home[of] % 200 + 3000 + place
    lo = low[of] | tile.astype(np.uint64)
    order = np.lexsort((lo, hi[of]))
    values = rng.integers(1, 4096, (4, len(of)), dtype=np.uint32)
    return pa.RecordBatch.from_arrays(
        [pa.array(hi[of][order]), pa.array(lo[order]), *map(pa.array, values)], schema=STATE
    )


def _delivered(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    from sealstat.tables.period_pseudonyms import period_pseudonyms

    hi, lo = (batch.column(name).to_numpy() for name in ("hi", "lo"))
    ids = np.empty((len(batch), 12), np.uint8)
    ids[:, :8] = hi.astype(">u8").view(np.uint8).reshape(-1, 8)
    ids[:, 8:] = (lo >> np.uint64(32)).astype(">u4").view(np.uint8).reshape(-1, 4)
    inner = pa.FixedSizeBinaryArray.from_buffers(pa.binary(12), len(ids), [None, pa.py_buffer(ids.tobytes())])
    tile = [(lo >> np.uint64(16)).astype(np.uint16), lo.astype(np.uint16)]
    columns = [period_pseudonyms(inner, PERIOD_KEY), *map(pa.array, tile), *(batch.column(f"v{i}") for i in range(4))]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def tables(folder: Path) -> None:
    """Two areas of 161 tiles, and a census of every tile where somebody is at home."""
    tile = np.array([(e << 16) + n for e in range(3000, 3200) for n in range(3000, 3215)], np.uint32)
    residents = np.random.default_rng(0).integers(0, 200, len(tile))
    pq.write_table(pa.table({"t": tile, "residents": residents.astype(np.float64)}), folder / "census.parquet")
    first = np.array([(e << 16) + n for e in range(3050, 3063) for n in range(3050, 3063)], np.uint32)[:161]
    both = np.concatenate([first, first + (60 << 16)])
    pq.write_table(pa.table({"t": both, "area": np.repeat([0, 1], 161)}), folder / "areas.parquet")


class Blobs:
    """The host's blobs as files; digests are computed and checked, as the client does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def put_blob(self, agreement: str, data: bytes) -> str:
        digest = sha256(data).hexdigest()
        (self.folder / digest).write_bytes(data)
        return digest

    def get_blob(self, agreement: str, digest: str, *, limit: int = 0) -> bytes:
        data = (self.folder / digest).read_bytes()
        assert sha256(data).hexdigest() == digest
        return data


# -- what is measured, each in a process of its own ------------------------------------------------------------------


def ingest(folder: Path, out: Path) -> int:
    """The enclave's way, from parts to parts; rows of the new state."""
    from sealstat import statistics
    from sealstat.agreement.statements import Delivery, Parts
    from sealstat.crypto.cards import b64
    from sealstat.enclave.deliveries import OpenDelivery, OpenedDay, ReleasedKey
    from sealstat.enclave.states import seal_state

    said = json.loads((folder / "made.json").read_text())
    statistic = statistics.get("longitudinal")
    parameters, stateful = statistic.parameters.model_validate(PARAMETERS), statistic.stateful
    assert stateful is not None
    body = Delivery.model_validate(
        {"dataset": "days", "period": DAY, "schema": "presence", "parts": Parts(**said["day"]), "key_check": "0" * 64}
    )
    released = ReleasedKey(key=b64(DAY_KEY), rows=said["day_rows"], rejects={}, size=1)
    entry: Any = SimpleNamespace(body=body, by="operator")
    delivery = OpenDelivery(AGREEMENT, entry, released, {}, statistic.scale(parameters))
    blobs: Any = Blobs(folder / "blobs")
    day = OpenedDay(delivery, PERIOD_KEY, stateful)
    merged = stateful.ingest(state_of(folder, blobs), day.batches(blobs), parameters)
    target: Any = Blobs(out)
    return seal_state(target, AGREEMENT, TASK, 2, merged, stateful.schema, bytes(32), []).rows


def state_of(folder: Path, blobs: Any) -> Iterator[pa.RecordBatch]:
    from sealstat.agreement.statements import State
    from sealstat.enclave.states import OpenState
    from sealstat.statistics.longitudinal_terms import STATE

    said = json.loads((folder / "made.json").read_text())
    if said["state"] is None:
        return iter(())
    state = State.model_validate(said["state"])
    opened = OpenState(AGREEMENT, TASK, 1, state, bytes.fromhex(said["state_key"]), bytes(32), [])
    return opened.batches(blobs, STATE)


def report(folder: Path, out: Path) -> int:
    """The enclave's report over the sealed state; users with a usual tile."""
    from sealstat import statistics

    statistic = statistics.get("longitudinal")
    assert statistic.stateful is not None
    blobs: Any = Blobs(folder / "blobs")
    census, areas = pq.read_table(folder / "census.parquet"), pq.read_table(folder / "areas.parquet")
    given = {
        "census": _placed(census["t"], residents=pa.array(census["residents"].to_numpy().astype(np.int64) << 32)),
        "reference_areas": _placed(areas["t"], area_id=areas["area"]),
    }
    parameters = statistic.parameters.model_validate(PARAMETERS)
    made = statistic.stateful.report(lambda: state_of(folder, blobs), given, parameters, bytes(32))
    return int(made["statistics"]["observed_total_users"][0].as_py())


def _placed(tile: Any, **more: Any) -> pa.Table:
    tiles = tile.to_numpy()
    return pa.table({"tile_e": (tiles >> 16).astype(np.uint16), "tile_n": tiles.astype(np.uint16), **more})


def plain_ingest(folder: Path, out: Path) -> int:
    query = INGEST.format(state=folder / "state.parquet", day=folder / "day.parquet", out=out / "s.parquet")
    return int(_duckdb().execute(query).fetchone()[0])


def plain_report(folder: Path, out: Path) -> int:
    con = _duckdb()
    places = {name: folder / f"{name}.parquet" for name in ("state", "census", "areas")}
    for statement in REPORT_SQL.format(**places).split(";"):
        found = con.execute(statement).fetchone()
    return int(found[2])


def _duckdb() -> Any:
    import duckdb

    return duckdb.connect(config={"threads": len(os.sched_getaffinity(0))})


WAYS = {"ingest": ingest, "report": report, "plain_ingest": plain_ingest, "plain_report": plain_report}


def child(way: str, folder: Path) -> None:
    """Do one thing, and say what it took; start-up and imports of a first call are not in it."""
    import duckdb  # noqa: F401

    import sealstat.enclave.session
    import sealstat.statistics.longitudinal  # noqa: F401

    with tempfile.TemporaryDirectory(dir=folder) as out:
        cpu, start = time.process_time(), time.perf_counter()
        found = WAYS[way](folder, Path(out))
        took = {"s": time.perf_counter() - start, "cpu_s": time.process_time() - cpu, "found": found}
        size = sum(path.stat().st_size for path in Path(out).iterdir())
    print(json.dumps({**took, "bytes": size, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}))


def measured(way: str, folder: Path, *, cores: int | None = None) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", way, "--folder", str(folder)]
    if cores:
        command = ["taskset", "-c", ",".join(map(str, range(cores))), *command]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# -- the whole ---------------------------------------------------------------------------------------------------------


def compare(state: int, day: int, repeat: int) -> dict[str, Any]:
    """Enclave against DuckDB, ingest and report, turn by turn; medians, and medians of ratios."""
    with tempfile.TemporaryDirectory(prefix="sealstat-bench-") as name:
        folder = Path(name)
        make(folder, state, day)
        said = json.loads((folder / "made.json").read_text())
        rounds = [{way: measured(way, folder) for way in WAYS} for _ in range(repeat)]
        one = [measured("ingest", folder, cores=1) for _ in range(repeat)]
        assert all(each["ingest"]["found"] == each["plain_ingest"]["found"] for each in rounds)
        assert all(each["report"]["found"] == each["plain_report"]["found"] for each in rounds)
    rows = said["state_rows"] + said["day_rows"]

    def median(way: str, what: str) -> float:
        return stats.median(each[way][what] for each in rounds)

    ratio = {
        way: round(stats.median(each[way]["s"] / each[f"plain_{way}"]["s"] for each in rounds), 2)
        for way in ("ingest", "report")
    }
    cpu_per_million = median("ingest", "cpu_s") / (said["day_rows"] / 5e6)
    return {
        "rows": {"state": said["state_rows"], "day": said["day_rows"], "after": rounds[0]["ingest"]["found"]},
        **{f"{way}_s": round(median(way, "s"), 2) for way in WAYS},
        **{f"{way}_peak_mb": round(median(way, "peak_mb")) for way in WAYS},
        "ingest_ratio": ratio["ingest"],
        "report_ratio": ratio["report"],
        "rows_per_s": round(rows / median("ingest", "s")),
        "times_prototype": round(rows / median("ingest", "s") / PROTOTYPE_ROWS_PER_S),
        "ns_per_row": round(1e9 * median("ingest", "s") / rows, 1),
        "two_cores_against_one": round(stats.median(a["s"] for a in one) / median("ingest", "s"), 2),
        "bytes_per_state_row": round(median("ingest", "bytes") / rounds[0]["ingest"]["found"], 1),
        "cpu_s_per_million_subscribers_and_day": round(cpu_per_million, 2),
        "kwh_per_million_subscribers_and_day": round(cpu_per_million * WATTS_PER_CORE / 3.6e6, 7),
    }


def first_day(millions: float) -> dict[str, Any]:
    """One day of a country into an empty state."""
    with tempfile.TemporaryDirectory(prefix="sealstat-bench-") as name:
        folder = Path(name)
        make_first_day(folder, int(millions * 1e6))
        day = json.loads((folder / "made.json").read_text())["day_rows"]
        sealed = sum(path.stat().st_size for path in (folder / "blobs").iterdir())
        took = measured("ingest", folder)
    return {
        "subscribers": int(millions * 1e6),
        "rows": day,
        "day_bytes": sealed,
        "ingest_s": round(took["s"], 1),
        "cpu_s": round(took["cpu_s"], 1),
        "ns_per_row": round(1e9 * took["s"] / day, 1),
        "peak_mb": took["peak_mb"],
        "bytes_per_state_row": round(took["bytes"] / took["found"], 1),
    }


def plot(points: list[dict[str, Any]], file: Path) -> None:
    """Time of a row and peak memory against subscribers."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    x = [point["rows"]["day"] / 5 for point in points]
    left.plot(x, [point["ns_per_row"] for point in points], "o-", color="#0a5c8f", label="the enclave's code")
    plain = [1e9 * p["plain_ingest_s"] / (p["rows"]["state"] + p["rows"]["day"]) for p in points]
    left.plot(x, plain, "s--", color="#c96a1b", label="plain DuckDB, plain Parquet")
    left.set(xscale="log", xlabel="subscribers", ylabel="ns per row read", ylim=(0, None), title="a day taken in")
    right.plot(x, [point["ingest_peak_mb"] for point in points], "o-", color="#0a5c8f")
    right.plot(x, [point["plain_ingest_peak_mb"] for point in points], "s--", color="#c96a1b")
    right.set(xscale="log", xlabel="subscribers", ylabel="MB", ylim=(0, None), title="peak memory")
    left.legend(frameon=False, fontsize=8)
    figure.savefig(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=float, default=10, help="millions of rows")
    parser.add_argument("--day", type=float, default=5, help="millions of rows")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--scale", type=float, nargs="*", help="millions of subscribers")
    parser.add_argument("--first-day", type=float, help="millions of subscribers")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--child", choices=WAYS)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.folder)
    elif options.first_day:
        print(json.dumps(first_day(options.first_day)))
    elif options.scale:
        points = [compare(int(m * 10e6), int(m * 5e6), options.repeat) for m in options.scale]
        if options.plot:
            plot(points, options.plot)
        print(json.dumps(points))
    else:
        print(json.dumps(compare(int(options.state * 1e6), int(options.day * 1e6), options.repeat)))


if __name__ == "__main__":
    main()
