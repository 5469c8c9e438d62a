"""Appends per second of the evidence log, durable batches of statement leaves. Run: python bench/log.py"""

import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealstat.log.store import TileLog


def appends_per_s(folder: Path, *, batch: int, batches: int) -> float:
    """Median over the batches; each is on disk, committed and signed before the next begins."""
    leaf = b'{"agreement":"%064x","id":"%064x","type":"run-record"}'
    rates = []
    with TileLog(folder, "bench.example/log", Ed25519PrivateKey.generate()) as log:
        for n in range(batches):
            entries = [leaf % (n, i) for i in range(batch)]
            start = time.perf_counter()
            log.append(entries)
            log.sign_checkpoint()
            rates.append(batch / (time.perf_counter() - start))
    return median(rates)


def main() -> None:
    """Print one line of JSON."""
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        figures = {
            f"batch_{batch}": round(appends_per_s(Path(folder) / str(batch), batch=batch, batches=batches))
            for batch, batches in ((1, 50), (100, 20), (1000, 10), (5000, 5), (20000, 3))
        }
    print(json.dumps({"log_appends_per_s": figures}))


if __name__ == "__main__":
    main()
