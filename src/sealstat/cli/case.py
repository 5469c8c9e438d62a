"""`sealstat case`: the case studies of the UN guide on privacy-enhancing technologies, run here."""

from typing import Annotated

import typer

from sealstat.cli.shared import JsonOption, show_json

app = typer.Typer(help="The case studies of the UN guide on privacy-enhancing technologies.", no_args_is_help=True)


@app.command("list", epilog="Example: `sealstat case list`")
def list_(json: JsonOption = False) -> None:
    """List the cases that this version runs."""
    from sealstat.lab.cases import CASES

    if json:
        show_json([{"number": number, "title": case.title} for number, case in CASES.items()])
        return
    for number, case in CASES.items():
        print(f"{number}  {case.title}")


@app.command(epilog="Example: `sealstat case run 04 --scale ci`")
def run(
    number: Annotated[str, typer.Argument(help="Like 04.")],
    scale: Annotated[str, typer.Option(help="ci (small) or full.")] = "ci",
    seed: Annotated[int, typer.Option(help="Of the generated data.")] = 4,
    json: JsonOption = False,
) -> None:
    """Generate a case's data, run it plainly and through the whole system, and compare."""
    from sealstat.cli.shared import note
    from sealstat.lab.cases import run_case

    outcome = run_case(number.zfill(2), scale=scale, seed=seed, say=note)
    if json:
        show_json(outcome.to_json())
    else:
        print(outcome.text())
    if not outcome.ok:
        raise typer.Exit(1)
