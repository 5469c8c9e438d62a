"""The evidence log at scale: appends, a checkpoint, proof files, a check of the whole.

    python bench/log.py                        10 million entries
    python bench/log.py --entries 1000000 --folder /scratch

Prints one JSON value: each figure with its limit and ratio (figure to limit; ``ok`` says on which side it must lie).
Entries are statement leaves as the host makes them, 183 bytes; witnesses are real ones, in this process.
"""

import argparse
import json
import random
import resource
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealstat.log import Cosigner, LogProof, LogReader, add_signatures, parse_checkpoint, parse_note, parse_proof
from sealstat.log.proof import verify_proof
from sealstat.log.store import TileLog
from sealstat.log.witness import Witness, build_add_checkpoint, parse_response

ORIGIN = "bench.example/log"
WITNESSES = 3


def leaves(first: int, count: int) -> list[bytes]:
    """Statement leaves, all different."""
    leaf = b'{"agreement":"%064x","id":"%064x","type":"run-record"}'
    return [leaf % (n >> 10, n) for n in range(first, first + count)]


def fill(log: TileLog, entries: int, batch: int) -> float:
    """Entries per second over the whole log; each batch is on disk, committed and signed before the next begins."""
    spent = 0.0
    while log.size < entries:
        taken = leaves(log.size, min(batch, entries - log.size))
        start = time.perf_counter()
        log.append(taken)
        log.sign_checkpoint()
        spent += time.perf_counter() - start
    return entries / spent


def cosign(log: TileLog, witnesses: list[Witness], seen: int) -> bytes:
    """Sign, have every witness compare and cosign, publish."""
    note = log.sign_checkpoint()
    body = build_add_checkpoint(seen, [] if seen in {0, log.size} else log.consistency_proof(seen), note)
    for witness in witnesses:
        answer = witness.add_checkpoint(body, now=int(time.time()))
        note = add_signatures(note, parse_response(answer.status, answer.body), [log.verifier, witness.verifier])
    log.publish(note)
    return note


def checkpoints(log: TileLog, witnesses: list[Witness], times: int) -> tuple[float, bytes]:
    """The longest time from the append of one entry to its published checkpoint, and the last checkpoint."""
    seen, longest = log.size, 0.0
    note = cosign(log, witnesses, 0)
    for n in range(times):
        entries = leaves(2 * log.size + n, 1)
        start = time.perf_counter()
        log.append(entries)
        note = cosign(log, witnesses, seen)
        longest, seen = max(longest, time.perf_counter() - start), log.size
    return longest, note


def proofs(log: TileLog, note: bytes, witnesses: list[Witness], count: int) -> tuple[int, float, float]:
    """Of random entries' proof files: the most bytes, median and 95th percentile of the time to parse and
    verify one, seconds."""
    keys, draw = [witness.verifier for witness in witnesses], random.Random(1)
    sizes, times = [], []
    for _ in range(count):
        index = draw.randrange(log.size)
        (entry,) = log.entries(index, index + 1)
        file = LogProof(index, tuple(log.inclusion_proof(index)), note).serialise()
        start = time.perf_counter()
        verify_proof(parse_proof(file), entry, log_key=log.verifier, witnesses=keys, quorum=len(keys))
        times.append(time.perf_counter() - start)
        sizes.append(len(file))
    return max(sizes), median(times), sorted(times)[len(times) * 95 // 100]


def figure(value: float, limit: float, unit: str, *, least: bool = False) -> dict[str, Any]:
    """One figure for the report; ``least``: the limit is a lower one."""
    ok = value >= limit if least else value <= limit
    shown = round(value, 5 if value < 10 else 0)
    return {"value": shown, "unit": unit, "limit": limit, "ratio": round(value / limit, 4), "ok": ok}


def main() -> None:
    """Measure, and print one JSON value."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=10_000_000)
    parser.add_argument("--batch", type=int, default=20_000)
    parser.add_argument("--folder", type=Path, help="where the log is written; else the place for temporary files")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        folder = Path(name)
        with TileLog(folder / "log", ORIGIN, Ed25519PrivateKey.generate()) as log:
            rate = fill(log, asked.entries, asked.batch)
            cosigners = [Cosigner(f"w{n}.example", Ed25519PrivateKey.generate()) for n in range(WITNESSES)]
            known = {ORIGIN: [log.verifier]}
            witnesses = [Witness(folder / f"{each.name}.db", each, known, create=True) for each in cosigners]
            longest, note = checkpoints(log, witnesses, 20)
            most, usual, slowest = proofs(log, note, witnesses, 200)
            start = time.perf_counter()
            checked = LogReader(log.read).check_whole_log(parse_checkpoint(parse_note(note).text))
            whole = time.perf_counter() - start
            for witness in witnesses:
                witness.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    report = {
        "entries": asked.entries,
        "batch": asked.batch,
        "appends_per_s": figure(rate, 10_000, "1/s", least=True),
        "checkpoint_after_append": figure(longest, 1.0, "s"),
        "proof_file": figure(most, 4096, "bytes"),
        "proof_verified_median": figure(usual, 0.005, "s"),
        "proof_verified_p95_s": round(slowest, 5),  # on a shared machine, mostly waiting for a processor
        "whole_log_checked": figure(whole, 600 * max(1.0, asked.entries / 10_000_000), "s"),
        "files_checked": checked.files,
        "peak_memory": figure(peak / 2**20, 256, "MiB"),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
