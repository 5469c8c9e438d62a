"""`sealstat synthetic`: made-up data of any size, with the truth known."""

from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from sealstat.cli.progress import progress
from sealstat.cli.shared import JsonOption, show_json

app = typer.Typer(help="Made-up data of any size, with the truth known; nobody is in them.", no_args_is_help=True)


class Format(StrEnum):
    """How the day files are written."""

    CSV = "csv"
    PARQUET = "parquet"


@app.callback()
def _group() -> None:
    """Keep `population` a word of its own while it is the only one."""


@app.command(
    epilog="Example: `sealstat synthetic population --subscribers 1000000 --days 14 --first 2026-10-01 "
    "--operators 2 --dirty 0.001 --gaps 2026-10-05,2026-10-06 --out ./country`"
)
def population(
    subscribers: Annotated[int, typer.Option(min=1, help="Distinct people on all networks together.")],
    days: Annotated[int, typer.Option(min=1, help="How many days from the first.")],
    out: Annotated[Path, typer.Option(help="A new or empty folder.")],
    first: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="The first day.")] = datetime(2026, 10, 1),  # noqa: DTZ001 - a day has no zone
    operators: Annotated[int, typer.Option(min=1, help="Networks, a folder each; the first is the largest.")] = 1,
    overlap: Annotated[float, typer.Option(help="Share of people on two networks; each sees a part.")] = 0.12,
    dirty: Annotated[float, typer.Option(help="Bad rows for each clean one: NaN, negative, bad id, double …")] = 0,
    gaps: Annotated[str, typer.Option(help="Days without a file, like 2026-10-05,2026-10-06.")] = "",
    nomads: Annotated[float, typer.Option(help="Share of people who return to no tile.")] = 0.08,
    roamers: Annotated[float, typer.Option(help="Share of subscribers from abroad, here for some days.")] = 0.03,
    active: Annotated[float, typer.Option(help="Share of phones switched on on a day.")] = 0.9,
    seed: Annotated[int, typer.Option(min=0, help="The same seed and options give the same rows.")] = 1,
    format: Annotated[Format, typer.Option(help="Of the day files.")] = Format.PARQUET,
    json: JsonOption = False,
) -> None:
    """Make a country's mobile population: day files of each operator, census, reference areas, and the truth."""
    from sealstat.synthetic.dayfiles import write
    from sealstat.synthetic.population import Plan

    try:
        missing = frozenset(date.fromisoformat(gap.strip()) for gap in gaps.split(",") if gap.strip())
    except ValueError as error:
        raise typer.BadParameter("expected days like 2026-10-05,2026-10-06", param_hint="--gaps") from error
    plan = Plan(
        subscribers=subscribers,
        days=days,
        first=first.date(),
        seed=seed,
        operators=operators,
        overlap=overlap,
        nomads=nomads,
        roamers=roamers,
        active=active,
        dirty=dirty,
        gaps=missing,
    )
    with progress() as show:
        truth = write(plan, out, format=format.value, show=show)
    if json:
        show_json({"out": str(out), **truth})
        return
    for name, operator in truth["operators"].items():
        rows = sum(day["rows"] for day in operator["days"])
        print(f"{name}: {rows:,} rows of {operator['subscribers']:,} subscribers on {len(operator['days'])} days")
    print(f"written to {out}; what is true of it is in truth.json and truth_homes.csv. The statistic over it:")
    inputs = {"days": "operator-1", "reference_areas": "reference_areas.csv", "census": "census.csv"}
    print(
        "sealstat statistic run longitudinal "
        + "".join(f"--input {role}={quote(str(out / name))} " for role, name in inputs.items())
        + f"--parameters {quote(str(out / 'parameters.json'))} --out clear"
    )
