"""How fast an operator's identifiers become pseudonyms: step by step, as a file, and through the local service.

Prints one JSON object; the best of three for a step, one run for a command. `…_per_cpu_s` is by the seconds of a core
that the program used, which others on the machine disturb less. The commands are the real
program, started for it, so their time holds the start of Python and the opening of the keystore as well (`start_s`);
`hmac_per_row` is what the inner id would cost as HMAC-SHA-256 in a loop, for comparison.

    .venv/bin/python bench/pseudonyms.py --rows 5000000
"""

import argparse
import hashlib
import http.client
import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import builders  # noqa: E402 - the tests' own agreement and homes
import desk  # noqa: E402
from sealstat.crypto import canonical  # noqa: E402
from sealstat.party.period_keys import keep_period_key  # noqa: E402
from sealstat.tables import period_pseudonyms as steps  # noqa: E402

PERIOD = "2026-10"


def imsis(rows: int) -> pa.Array:
    numbers = np.random.default_rng(1).integers(0, 10**10, rows) + 51010 * 10**10
    return pa.array(numbers.astype("U15"), pa.string())


def best(rows: int, work: Callable[[], Any]) -> int:
    times = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return round(rows / min(times))


def hmac_per_row(values: list[bytes], key: bytes) -> None:
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key.ljust(64, b"\0"))).copy
    outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in key.ljust(64, b"\0"))).copy
    for value in values:
        first, second = inner(), outer()
        first.update(value)
        second.update(first.digest())
        second.digest()[:12]


def by_step(rows: int) -> dict[str, int]:
    """A million at a time, as large a batch as the commands have."""
    rows, key = min(rows, 1_000_000), secrets.token_bytes(32)
    column = imsis(rows)
    few = [value.encode() for value in column.slice(0, rows // 4).to_pylist()]
    inner = steps.inner_ids(column, key)
    made = steps.period_pseudonyms(inner, key)
    return {
        "well_formed": best(rows, lambda: steps.well_formed(column, "imsi")),
        "inner_ids": best(rows, lambda: steps.inner_ids(column, key)),
        "inner_ids_of_numbers": best(rows, lambda: steps.inner_ids(column, key, "number")),
        "period_pseudonyms": best(rows, lambda: steps.period_pseudonyms(inner, key)),
        "identifier_to_pseudonym": best(rows, lambda: steps.period_pseudonyms(steps.inner_ids(column, key), key)),
        "opened": best(rows, lambda: steps.opened(made, key)),
        "hexadecimal": best(rows, lambda: steps.hexadecimal(made)),
        "hmac_per_row": best(rows // 4, lambda: hmac_per_row(few, key)),
    }


class Operator:
    """A home with the period's key."""

    def __init__(self, folder: Path) -> None:
        opened = desk.home(folder / "home", "operator-a")
        (folder / "home" / "card.json").write_bytes(canonical.encode(opened.identity.card.to_json()))
        agreement = builders.statement(builders.agreement())
        opened.ledger.save_chain(agreement.id, [agreement])
        keep_period_key(opened.ledger, agreement.id, "roamers-a", PERIOD, secrets.token_bytes(32))
        opened.ledger.close()
        (folder / "passphrase").write_text(desk.PASSPHRASE)
        (folder / "passphrase").chmod(0o600)
        self.agreement = agreement.id
        self.environment = os.environ | {
            "PYTHONPATH": str(ROOT / "src"),
            "SEALSTAT_HOME": str(folder / "home"),
            "SEALSTAT_PASSPHRASE_FILE": str(folder / "passphrase"),
        }

    def command(self, word: str, *arguments: str) -> list[str]:
        where = [self.agreement, "roamers-a", *arguments, "--period", PERIOD]
        return [sys.executable, "-m", "sealstat.cli", "pseudonymise", word, *where]


def by_file(operator: Operator, folder: Path, rows: int) -> dict[str, Any]:
    def timed(file: Path, out: Path) -> tuple[float, float, int]:
        """Seconds by the clock, seconds of a core, peak memory in MiB."""
        start = time.perf_counter()
        process = subprocess.Popen(
            operator.command("file", str(file), "--out", str(out)),
            env=operator.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        used = _used(process.pid)
        while process.poll() is None:
            used = _used(process.pid) or used
            time.sleep(0.01)
        assert process.returncode == 0
        assert used is not None
        return time.perf_counter() - start, *used

    day, few = folder / "day.csv", folder / "few.csv"
    few.write_text("imsi\n510101234567890\n")
    column = imsis(rows).to_pylist()
    with day.open("w") as file:
        file.write("imsi,tile_e,tile_n,weight_day,weight_sub1,weight_sub2,weight_sub3\n")
        file.writelines(f"{imsi},{n % 900},{n % 700},1,0.25,0.5,0.25\n" for n, imsi in enumerate(column))
    start_s, start_cpu_s, _ = min(timed(few, folder / "few.out.csv") for _ in range(3))
    found: dict[str, Any] = {"rows": rows, "start_s": round(start_s, 2), "start_cpu_s": round(start_cpu_s, 2)}
    for form in ("csv", "parquet"):
        seconds, cpu_s, peak = timed(day, folder / f"out.{form}")
        found[f"csv_to_{form}"] = {
            "rows_per_s": round(rows / seconds),
            "rows_per_cpu_s": round(rows / cpu_s),
            "rows_per_cpu_s_after_start": round(rows / (cpu_s - start_cpu_s)),
            "peak_mib": peak,
        }
    return found


def _used(pid: int) -> tuple[float, int] | None:
    """Seconds of a core and peak memory in MiB of a running process; wait4 would count its parent's memory, too."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        (peak,) = [int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")]
    except (OSError, ValueError):  # it has ended
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), peak


def by_service(operator: Operator, rows: int) -> dict[str, dict[str, int]]:
    """One caller that sends and reads at once; identifiers as text, pseudonyms as text and as bytes."""
    process = subprocess.Popen(operator.command("serve"), env=operator.environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    line = process.stderr.readline()
    port = urlsplit(line.split("POST ")[1].split(" with")[0]).port
    token = Path(line.split("header in ")[1].strip()).read_text().strip().partition(": ")[2]
    body = "\n".join(imsis(rows).to_pylist()).encode()
    found = {}
    for name, accept, width in (("text", "text/plain", 33), ("binary", "application/octet-stream", 16)):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.connect()
        before = _used(process.pid)
        start = time.perf_counter()
        connection.putrequest("POST", "/pseudonyms")
        for header, value in (("authorization", token), ("accept", accept), ("content-length", str(len(body)))):
            connection.putheader(header, value)
        connection.endheaders()
        sender = threading.Thread(target=connection.send, args=(body,))
        sender.start()
        answer = http.client.HTTPResponse(connection.sock, method="POST")
        answer.begin()
        size = 0
        while piece := answer.read(1 << 20):
            size += len(piece)
        seconds = time.perf_counter() - start
        sender.join()
        connection.close()
        assert size == width * rows, size
        after = _used(process.pid)
        assert before is not None
        assert after is not None
        cpu_s = after[0] - before[0]
        found[name] = {
            "ids_per_s": round(rows / seconds),
            "ids_per_cpu_s": round(rows / cpu_s),
            "peak_mib": after[1],
        }
    process.terminate()
    process.wait()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    rows = parser.parse_args().rows
    found: dict[str, Any] = {"ids_per_s": by_step(rows)}
    with tempfile.TemporaryDirectory() as name:
        operator = Operator(Path(name))
        found["file"] = by_file(operator, Path(name), rows)
        found["service"] = by_service(operator, rows)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
