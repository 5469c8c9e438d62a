"""The `sealstat` program: its groups, and what becomes of errors.

Modules of the rooms are imported inside the commands, so that `sealstat --help` stays quick.
"""

import os
import sys

import typer

from sealstat.cli import (
    agreement,
    case,
    data,
    demo,
    evidence,
    log,
    measure,
    party,
    proof,
    pseudonymise,
    servers,
    statistic,
    synthetic,
)
from sealstat.cli.shared import no_words

app = typer.Typer(
    name="sealstat",
    help="Official statistics from data that nobody has to share.",
    epilog="Start with `sealstat demo`: every role on this machine, ending in a verified result.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.command("demo", epilog="Example: `sealstat demo --out ./demo --rows 100000`")(demo.demo)
app.add_typer(agreement.app, name="agreement")
app.add_typer(party.app, name="party")
app.add_typer(pseudonymise.app, name="pseudonymise")
app.command("deliver", epilog="Example: `sealstat deliver 91ab0c roamers-a october.csv --period 2026-10`")(data.deliver)
app.add_typer(data.runs, name="run")
app.command("fetch", epilog="Example: `sealstat fetch 5be0 --out ./october`")(data.fetch)
app.command("proof", epilog="Example: `sealstat proof 5be0 --out proof.json`")(proof.proof)
app.command("verify", epilog="Example: `sealstat verify proof.json --trust ./cards --certificate page.html`")(
    proof.verify
)
app.add_typer(evidence.app, name="evidence")
app.add_typer(log.app, name="log")
app.add_typer(servers.host, name="host")
app.add_typer(servers.enclave, name="enclave")
app.add_typer(servers.witness, name="witness")
app.command("measure", epilog="Example: `sealstat measure ~/sealstat-checkout`")(measure.measure)
app.add_typer(statistic.app, name="statistic")
app.add_typer(synthetic.app, name="synthetic")
app.add_typer(case.app, name="case")


def main() -> None:
    """Run the program: 0 for success, 1 for a refusal, 2 for a wrong call; errors are one sentence."""
    try:
        app()  # ends by itself: 0, what a command says with typer.Exit, 2 for a wrong call
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        no_words("interrupted: nothing half-done is kept; the same command goes on where it can")
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 - the last line of defence against a traceback
        _explain(error)
        sys.exit(1)


def _explain(error: Exception) -> None:
    """Our own errors are sentences; anything else is a bug, and says how to see more."""
    if os.environ.get("SEALSTAT_DEBUG"):
        raise error
    if type(error).__module__.startswith("sealstat."):
        no_words(str(error))
    elif isinstance(error, OSError) and error.filename is not None:
        no_words(f"cannot use {error.filename}: {error.strerror}")
    else:
        no_words(f"a fault of sealstat itself ({type(error).__name__}): run again with SEALSTAT_DEBUG=1 and report it")
