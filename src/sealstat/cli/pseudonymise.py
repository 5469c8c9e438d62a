"""`sealstat pseudonymise`: identifiers out, a period's pseudonyms in, at the operator's."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sealstat.cli.progress import progress
from sealstat.cli.shared import HomeOption, HostOption, JsonOption, note, show_json

if TYPE_CHECKING:
    from sealstat.party.pseudonymiser import Pseudonymiser

app = typer.Typer(help="Replace identifiers by the pseudonyms of a period, at the operator's.", no_args_is_help=True)


class Identifier(StrEnum):
    """What the identifiers are."""

    IMSI = "imsi"
    NUMBER = "number"
    HEX = "hex"


AgreementArgument = Annotated[str, typer.Argument(help="The beginning of its id.")]
DatasetArgument = Annotated[str, typer.Argument(help="As the agreement names it.")]
PeriodOption = Annotated[str, typer.Option(help="As the dataset is delivered: 2026-10-31 for a day.")]
KindOption = Annotated[Identifier, typer.Option(help="15 digits; 1 to 15 digits; or 24 lower-case hex digits.")]


@app.command(
    "file", epilog="Example: `sealstat pseudonymise file 91ab0c days day.csv --period 2026-10-31 --out day.parquet`"
)
def file(
    agreement: AgreementArgument,
    dataset: DatasetArgument,
    file: Annotated[Path, typer.Argument(help="CSV or Parquet with a column of identifiers.")],
    period: PeriodOption,
    out: Annotated[Path, typer.Option(help="The file to write, .csv or .parquet.")],
    column: Annotated[str, typer.Option(help="The identifiers' column; it becomes user_id.")] = "imsi",
    kind: KindOption = Identifier.IMSI,
    close: Annotated[bool, typer.Option("--close", help="Destroy the period's key when the file is written.")] = False,
    host: HostOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Write a file anew with pseudonyms in place of its identifiers; bad ones are dropped and counted."""
    import signal

    from sealstat.party.pseudonymiser import pseudonymise_file

    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # so that a stopped command, too, leaves nothing half-done
    made = _pseudonymiser(agreement, dataset, period, host, home)
    with progress() as show:
        done = pseudonymise_file(made, file, out, kind=kind.value, column=column, show=show)
    if close:
        made.close()
    if json:
        rejects = {"rejects": done.rejects, "rejects_file": str(done.rejects_file)}
        show_json({"out": str(done.out), "rows": done.rows, **rejects, "closed": close})
        return
    print(f"{done.out}: {done.rows:,} rows under the pseudonyms of {dataset} for {period}")
    if done.rejects:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(done.rejects.items()))
        print(f"dropped: {reasons}; the rows are in {done.rejects_file}")
    if close:
        print(_closed(dataset, period))


@app.command("serve", epilog="Example: `sealstat pseudonymise serve 91ab0c days --period 2026-10-31 --port 8900`")
def serve(
    agreement: AgreementArgument,
    dataset: DatasetArgument,
    period: PeriodOption,
    port: Annotated[int, typer.Option(min=0, max=65535, help="On loopback; 0 for any free one.")] = 0,
    kind: KindOption = Identifier.IMSI,
    host: HostOption = None,
    home: HomeOption = None,
) -> None:
    """Answer identifiers, a line each, by pseudonyms, over HTTP on this machine only, until the period is closed."""
    from sealstat.party.pseudonym_service import serve as serve_pseudonyms

    def ready(url: str, token: Path) -> None:
        note(f"pseudonyms of {dataset} for {period}: POST {url}pseudonyms with the header in {token}")

    serve_pseudonyms(_pseudonymiser(agreement, dataset, period, host, home), kind=kind.value, port=port, ready=ready)


@app.command("close", epilog="Example: `sealstat pseudonymise close 91ab0c days --period 2026-10-31`")
def close(
    agreement: AgreementArgument,
    dataset: DatasetArgument,
    period: PeriodOption,
    host: HostOption = None,
    home: HomeOption = None,
) -> None:
    """Destroy the key of a period, for ever."""
    if _pseudonymiser(agreement, dataset, period, host, home).close():
        print(_closed(dataset, period))
    else:
        print(f"{dataset} for {period} was closed before: there is no key of it here.")


def _closed(dataset: str, period: str) -> str:
    return (
        f"The key of {dataset} for {period} is destroyed: nobody here can make or undo its pseudonyms any more, the "
        "period takes no other key, and files that are written stay as they are."
    )


def _pseudonymiser(agreement: str, dataset: str, period: str, host: str | None, home: Path | None) -> "Pseudonymiser":
    from sealstat.cli.shared import open_home, open_member
    from sealstat.party.pseudonymiser import pseudonymiser

    return pseudonymiser(open_member(open_home(home), agreement, host), dataset, period)
