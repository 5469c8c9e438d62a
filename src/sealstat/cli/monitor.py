"""`sealstat log monitor`: what a party did not expect of the logs it has to do with."""

import json as formats
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sealstat.cli.shared import HomeOption, HostOption, JsonOption

if TYPE_CHECKING:
    from sealstat.log.reader import Fetch
    from sealstat.party.home import Home
    from sealstat.party.monitor import AgreementWatch, LogWatch, Look


def monitor(
    logs: Annotated[list[str] | None, typer.Argument(help="Further logs, followed for their own sake.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Look once and end: for cron.")] = False,
    every: Annotated[float, typer.Option(min=1, help="Seconds between two looks.")] = 60.0,
    grace: Annotated[int, typer.Option(min=0, help="Seconds that this party's agent has to read a new run.")] = 60,
    agreement: Annotated[list[str] | None, typer.Option(help="Only these; by default all that are known here.")] = None,
    key: Annotated[str | None, typer.Option(help="The verifier key of a further log that is new here.")] = None,
    host: HostOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Follow the logs of this party's agreements, recheck every statement, and say what was not expected.

    Exit code with --once: 0 nothing to say, 3 something that must not be, 1 a log could not be seen.
    """
    from time import sleep

    from sealstat.cli.shared import open_home

    opened = open_home(home)
    watches = _watches(opened, logs or [], agreement or [], key, host)
    while True:
        looks = [watch.look() for watch in watches]
        code = _say(opened, looks, grace, json=json)
        if once:
            raise typer.Exit(code)
        sleep(every)


def _watches(
    home: "Home", logs: list[str], agreements: list[str], key: str | None, host: str | None
) -> "list[AgreementWatch | LogWatch]":
    from sealstat.party.errors import PartyError
    from sealstat.party.member import discover, identified, utc_now
    from sealstat.party.monitor import AgreementWatch, LogWatch

    if host is not None:
        discover(home, host)
    known = home.ledger.agreements()
    wanted = [identified(start, known, "agreement") for start in agreements] or known
    watches: list[AgreementWatch | LogWatch] = []
    watches += [AgreementWatch(home, id, host=host, clock=utc_now) for id in wanted]
    watches += [LogWatch(home.ledger, place, partial(_connect, place, key)) for place in logs]
    if not watches:
        raise PartyError("there is nothing to follow: no agreement is known here, and no log was named")
    return watches


def _connect(place: str, key: str | None) -> "tuple[Fetch, str | None]":
    from sealstat.cli.logs import open_source

    source = open_source(place)
    return source.files, key or source.named_key


def _say(home: "Home", looks: "list[Look]", grace_s: int, *, json: bool) -> int:
    """Tell what was found; the exit code."""
    from sealstat.party.monitor import BLIND, take

    now, code = datetime.now(UTC), 0
    shown: dict[str, Any] = {"at": now.isoformat(timespec="seconds"), "logs": [], "alarms": []}
    for look in looks:
        taken = [(alarm, *take(home, alarm, now=now, grace_s=grace_s)) for alarm in look.alarms]
        said = [(alarm, folder) for alarm, due, folder in taken if due]
        shown["logs"].append({"where": look.where, "size": look.size, "statements": look.statements})
        shown["alarms"] += [alarm.to_json() | ({"evidence": str(folder)} if folder else {}) for alarm, folder in said]
        kinds = {alarm.kind for alarm, _ in said}
        code = 3 if kinds - BLIND or code == 3 else 1 if kinds or code == 1 else 0
        if not json:
            judged = f", {look.statements} statements judged again" if look.statements else ""
            print(f"{look.where[:64]}: {look.size:,} entries verified{judged}", flush=True)
            for alarm, folder in said:
                kept = f" (evidence: {folder})" if folder else ""
                print(f"  WARNING {alarm.kind}: {alarm.sentence}{kept}", flush=True)
    if json:
        print(formats.dumps(shown, ensure_ascii=False), flush=True)
    return code
