"""A real festival week, seen by an operator's network, as two operators' roamers.

The data are the persons and days of FIMU 2017 in Belfort as H. H. Arcolezi et al. published them (IWCMC 2020,
doi 10.1109/iwcmc48107.2020.9148138; repository hharcolezi/OpenMSFIMU, MIT licence): the persons are invented, their
counts per day and per union of days are those that Orange (Flux Vision) published for the real week. The file is
not part of this project; it is read where it lies.

What is added here, by rule and not by chance: each person is seen by A only (60 %), B only (25 %) or both (15 %), by
the first byte pair of SHA-256 of its number; its IMSI is a foreign network's (``_HOMES``, by the next byte) and ten
digits from its number, so that no two persons share one. The day stands as the border area, so that the table by area
is the presence of each day.
"""

import csv
import gzip
from contextlib import ExitStack
from datetime import date, timedelta
from hashlib import sha256
from pathlib import Path

FIRST_DAY = date(2017, 5, 31)
PERIOD = "2017-05-31/2017-06-06"
DAYS = tuple((FIRST_DAY + timedelta(days=n)).isoformat() for n in range(7))
DOMESTIC_COUNTRY = "FR"
_HOMES = ("26201", "22801", "20601", "22201", "23415", "20404", "21401", "26801")  # DE CH BE IT GB NL ES PT


def split(source: Path, folder: Path) -> dict[str, int]:
    """Write ``mno_a.csv`` and ``mno_b.csv`` from ``person_days.csv.gz``; rows of each.

    Args:
        source: columns ``Person ID`` and ``Date ID`` (1 to 7), one row a person and day present.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = {"mno_a": 0, "mno_b": 0}
    with gzip.open(source, "rt", newline="", encoding="utf-8") as file, ExitStack() as stack:
        writers = {
            name: csv.writer(stack.enter_context((folder / f"{name}.csv").open("w", newline="", encoding="utf-8")))
            for name in rows
        }
        for writer in writers.values():
            writer.writerow(["imsi", "border_area", "date"])
        for row in csv.DictReader(file):
            day = DAYS[int(row["Date ID"]) - 1]
            for name in networks(int(row["Person ID"])):
                writers[name].writerow([imsi(int(row["Person ID"])), day, day])
                rows[name] += 1
    return rows


def networks(person: int) -> tuple[str, ...]:
    """Which operators see a person: 60 % A only, 25 % B only, 15 % both."""
    place = int.from_bytes(_digest(person)[:2], "big") / 65_536
    return ("mno_a",) if place < 0.60 else ("mno_b",) if place < 0.85 else ("mno_a", "mno_b")


def imsi(person: int) -> str:
    """A foreign IMSI of 15 digits: a network of ``_HOMES``, then the person's number, mixed but never shared."""
    network = _HOMES[_digest(person)[2] % len(_HOMES)]
    return f"{network}{person * 387_420_489 % 10**10:010d}"  # odd and no multiple of 5: a permutation


def _digest(person: int) -> bytes:
    return sha256(f"sealstat-fimu-{person}".encode()).digest()
