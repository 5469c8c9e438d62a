"""`sealstat evidence challenge` and `vouch`: a party's once-for-all check of an enclave's TPM."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from sealstat.cli.shared import note


def challenge(
    enrolment: Annotated[Path, typer.Argument(help="What `sealstat enclave enrol` wrote.")],
    root: Annotated[list[Path], typer.Option(help="A TPM maker's root certificate that you trust, DER or PEM.")],
    out: Annotated[Path, typer.Option(help="Where the question goes; give it to the machine's operator.")],
    pending: Annotated[Path, typer.Option(help="Where to keep what the answer must be. Show it to nobody.")],
    chain: Annotated[
        list[Path] | None, typer.Option(help="Certificates between the TPM's own and the root, in this order.")
    ] = None,
) -> None:
    """Ask a TPM, whose maker you trust, whether an attestation key is in it."""
    from sealstat.crypto.keystore import write_private
    from sealstat.evidence import tpm_key
    from sealstat.evidence.collateral import root_der

    credential, kept = tpm_key.challenge(
        tpm_key.parse_enrolment(enrolment.read_bytes()),
        roots=[root_der(path.read_bytes()) for path in root],
        chain=[path.read_bytes() for path in chain or []],
        at=datetime.now(UTC),
    )
    write_private(pending, kept)
    out.write_bytes(credential)
    note(f"The maker's certificate is good. `sealstat enclave activate` on the machine answers {out}.")


def vouch(
    answer: Annotated[Path, typer.Argument(help="What `sealstat enclave activate` wrote.")],
    pending: Annotated[Path, typer.Option(help="What `sealstat evidence challenge` kept.")],
) -> None:
    """Check the answer; print how an agreement names the attestation key."""
    from sealstat.evidence import tpm_key

    print(tpm_key.vouch(pending.read_bytes(), answer.read_bytes()))
    note("This key is in that TPM: it may stand in an agreement's `enclave: accept: - {kind: tpm, roots: […]}`.")
