"""`sealstat demo`: every role on this machine, ending in a verified result."""

from pathlib import Path
from typing import Annotated, Literal

import typer


def demo(
    out: Annotated[Path, typer.Option(help="Where the report, tables and proof go; a new or empty folder.")] = Path(
        "demo-out"
    ),
    rows: Annotated[int, typer.Option(min=1000, help="Rows that each operator delivers.")] = 20_000,
    attester: Annotated[
        Literal["simulated", "tpm"], typer.Option(help="The enclave's evidence; tpm is a SOFTWARE TPM: no protection.")
    ] = "simulated",
    seed: Annotated[int, typer.Option(min=0, help="Of the generated roamers.")] = 4,
) -> None:
    """Play the whole story with real processes: agree, deliver, attest, run, release, log, verify."""
    from sealstat.lab.demo import play

    play(out, rows=rows, seed=seed, attester=attester)
