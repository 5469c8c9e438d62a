"""`sealstat measure`: the digest of the code that may run in an enclave."""

from pathlib import Path
from typing import Annotated

import typer

from sealstat.cli.shared import JsonOption, show_json


def measure(
    checkout: Annotated[Path | None, typer.Argument(help="A checkout; without it, the code that runs here.")] = None,
    json: JsonOption = False,
) -> None:
    """Recompute the source digest of a checkout, as an agreement names it."""
    from sealstat.enclave.measure import measure as measure_source

    found = measure_source(checkout / "src" / "sealstat" if checkout else None)
    if json:
        show_json({"source": found.digest, "files": found.files})
    else:
        print(f"sha256:{found.digest}")
