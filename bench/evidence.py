"""Milliseconds to verify evidence of each kind. Run: python bench/evidence.py MANIFEST.json

The manifest is a set of vectors as `sealstat evidence verify --manifest` reads it; its real, valid entries are taken.
"""

import json
import sys
import time
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from sealstat.evidence import kinds
from sealstat.evidence.result import Required

ROUNDS = 200


def milliseconds(entry: dict[str, Any], folder: Path) -> float:
    """Median over the rounds; reading the files does not count."""
    evidence = (folder / entry["file"]).read_bytes()
    collateral = [(folder / name).read_bytes() for name in entry.get("collateral", [])]
    roots = [(folder / entry["trust_root"]).read_bytes()] if entry.get("trust_root") else []
    at = datetime.fromisoformat(entry["verify_at"])
    taken = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        kinds.verify(entry["kind"], evidence, collateral=collateral, roots=roots, required=Required(), at=at)
        taken.append(time.perf_counter() - start)
    return 1000 * median(taken)


def main() -> None:
    """Print one line of JSON: the median of the entries of each kind."""
    manifest = Path(sys.argv[1])
    found = defaultdict(list)
    for entry in json.loads(manifest.read_text(encoding="utf-8")):
        if entry["origin"] == "real" and entry["expect"] == "valid":
            found[entry["kind"]].append(milliseconds(entry, manifest.parent))
    print(json.dumps({"verify_ms": {kind: round(median(times), 2) for kind, times in found.items()}}))


if __name__ == "__main__":
    main()
