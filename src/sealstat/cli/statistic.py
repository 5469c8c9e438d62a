"""`sealstat statistic`: statistics in the clear, on one's own data: for method development and oracles."""

from pathlib import Path
from typing import Annotated

import typer

from sealstat.cli.shared import JsonOption, note, show_json

app = typer.Typer(help="Statistics in the clear, on your own data. NO PROTECTION is applied.", no_args_is_help=True)


@app.command("list", epilog="Example: `sealstat statistic list`")
def list_(json: JsonOption = False) -> None:
    """List the statistics."""
    from sealstat import statistics

    if json:
        show_json([statistics.describe(name) for name in statistics.names()])
        return
    for name in statistics.names():
        print(f"{name}: {statistics.get(name).title}")


@app.command(epilog="Example: `sealstat statistic describe visitors`")
def describe(name: str, json: JsonOption = False) -> None:
    """Show a statistic's inputs, parameters and tables, with units."""
    from sealstat import statistics
    from sealstat.cli.words import described

    found = statistics.describe(name)
    if json:
        show_json(found)
    else:
        print(described(found))


@app.command(
    epilog="Example: `sealstat statistic run visitors --input a=a.csv --input b=b.csv --period 2026-10 "
    "--parameters parameters.json --out clear/`"
)
def run(
    name: str,
    input: Annotated[list[str], typer.Option(help="TABLE=FILE, CSV or Parquet (or a folder of days); once for each.")],
    parameters: Annotated[Path, typer.Option(help="JSON, or YAML as in an agreement's task.")],
    out: Annotated[Path, typer.Option(help="A new folder for the tables.")],
    period: Annotated[str | None, typer.Option(help="2026-10, 2026-10-31 or a range; of the rows' dates.")] = None,
    json: JsonOption = False,
) -> None:
    """Compute a statistic over plain files: no enclave, no rules of release."""
    from sealstat.cli.words import spans
    from sealstat.lab.clear import compute, read_parameters, write

    inputs = {}
    for pair in input:
        table, separator, file = pair.partition("=")
        if not separator:
            raise typer.BadParameter(f"expected TABLE=FILE, got {pair!r}")
        inputs[table] = Path(file)
    tables, read = compute(name, inputs, read_parameters(parameters), period=period)
    write(tables, out)
    note("IN THE CLEAR: no protection was applied, and no rule of release")
    if json:
        rejects = {role: found.rejects for role, found in read.items()}
        rounded = {role: found.rounded for role, found in read.items()}
        days = {role: list(map(str, found.days)) for role, found in read.items() if found.days}
        show_json({"out": str(out), "tables": sorted(tables), "rejects": rejects, "rounded": rounded, "days": days})
        return
    for role, found in read.items():
        if found.days:
            print(f"{role}: {len(found.days)} days read: {spans(found.days)}")
        if found.rejects:
            print(f"{role}: rejected {', '.join(f'{n:,} {reason}' for reason, n in sorted(found.rejects.items()))}")
        if found.rounded:
            print(f"{role}: {found.rounded:,} numbers were rounded to the resolution")
    print(f"{', '.join(sorted(tables))}: written to {out}")
