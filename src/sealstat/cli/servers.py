"""`sealstat host`, `sealstat enclave`, `sealstat witness`: the programs that serve."""

from pathlib import Path
from typing import Annotated

import typer

from sealstat.cli.shared import note

host = typer.Typer(help="The untrusted host: ciphertext, statements and the log.", no_args_is_help=True)
enclave = typer.Typer(help="The trusted runner.", no_args_is_help=True)
witness = typer.Typer(help="A witness of logs.", no_args_is_help=True)
ServerHome = Annotated[Path, typer.Option("--home", envvar="SEALSTAT_HOME", help="The server's own folder.")]


@host.command(
    "create", epilog="Example: `sealstat host create data-centre --origin stats.example/sealstat --home ./host`"
)
def host_create(
    name: str,
    origin: Annotated[str, typer.Option(help="The log's name, unique in the world, like stats.example/sealstat.")],
    home: ServerHome,
) -> None:
    """Make a host's keys, card and launcher token."""
    import os
    from datetime import UTC, datetime, timedelta

    from sealstat.cli.shared import passphrase
    from sealstat.crypto.cards import fingerprint, spoken
    from sealstat.host.setup import create

    now = datetime.now(UTC).replace(hour=0, minute=0, second=0)
    secret = passphrase(new=True) if os.environ.get("SEALSTAT_PASSPHRASE_FILE") else None
    card = create(home, name, origin=origin, valid_from=now, valid_to=now + timedelta(days=5 * 365), passphrase=secret)
    print(f"host {name}: its card, to give to the parties: {home / 'card.json'}")
    print(f"its fingerprint, to read aloud: {spoken(fingerprint(card))}")


@host.command("serve", epilog="Example: `sealstat host serve --home ./host --witness witness.json=https://w.example`")
def host_serve(
    home: ServerHome,
    address: Annotated[str, typer.Option(help="To listen on; beyond loopback only with TLS.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 for any free one.")] = 8700,
    url: Annotated[str | None, typer.Option(help="How callers reach it; they sign it.")] = None,
    witness: Annotated[list[str] | None, typer.Option(help="CARD=URL of a witness; once for each.")] = None,
    quorum: Annotated[int | None, typer.Option(help="Cosignatures before a checkpoint is published.")] = None,
    recosign: Annotated[float, typer.Option(help="Seconds after which an unchanged tree is cosigned afresh.")] = 120.0,
    database: Annotated[str | None, typer.Option(help="SQLAlchemy URL; else SQLite in the home.")] = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
) -> None:
    """Serve parties and instances."""
    import os

    from sealstat.cli.shared import passphrase
    from sealstat.crypto.cards import WitnessCard, parse_card
    from sealstat.host import serve, setup
    from sealstat.host.errors import HostError
    from sealstat.host.settings import Settings, WitnessAddress

    addresses = []
    for pair in witness or []:
        path, separator, where = pair.partition("=")
        card = parse_card(Path(path).read_bytes()) if separator else None
        if not isinstance(card, WitnessCard):
            raise HostError(f"expected CARD=URL with a witness's card, got {pair!r}")
        addresses.append(WitnessAddress(card, where))
    secret = passphrase() if os.environ.get("SEALSTAT_PASSPHRASE_FILE") else None
    keys = setup.load_keys(home, secret)
    scheme = "https" if tls_cert else "http"
    settings = Settings(
        home=home,
        url=url or f"{scheme}://{address}:{port}",
        witnesses=tuple(addresses),
        quorum=len(addresses) // 2 + 1 if quorum is None and addresses else quorum or 0,
        recosign_s=recosign,
        database=database,
    )
    serve.log_to()
    if not addresses:
        note("host: NO WITNESS is named: parties will not accept this log")
    serve.run(
        settings,
        keys,
        address=address,
        port=port,
        tls_cert=tls_cert,
        tls_key=tls_key,
        ready=lambda bound: note(f"host {keys.card.name}: serving on {settings.url} (port {bound})"),
    )


@host.command("admit", epilog="Example: `sealstat host admit operator-a.json --home ./host`")
def host_admit(card: Path, home: ServerHome) -> None:
    """Let the holder of a card propose agreements here. Compare the fingerprint by voice first."""
    from sealstat.crypto.cards import PartyCard, fingerprint, parse_card, spoken
    from sealstat.host.errors import HostError
    from sealstat.host.setup import admit

    found = parse_card(card.read_bytes())
    if not isinstance(found, PartyCard):
        raise HostError(f"{card} is not a party's card")
    admit(home, found)
    print(f"{found.name} may propose agreements here: {spoken(fingerprint(found))}")


@enclave.command("root", epilog="Example: `sealstat enclave root ./simulated.root`")
def enclave_root(file: Path) -> None:
    """Make the root key of the simulated kind, for trials: NOT PROTECTED BY HARDWARE."""
    from sealstat.evidence.attester import create_simulated_root
    from sealstat.evidence.errors import EvidenceError

    if file.exists():
        raise EvidenceError(f"{file} exists: name another file")
    print(create_simulated_root(file))
    note("This is the root for an agreement's `enclave: accept: - {kind: simulated, root: …}`: trials only.")


@enclave.command("enrol", epilog="Example: `sealstat enclave enrol ./enrolment.json`")
def enclave_enrol(
    out: Path, tpm: Annotated[str, typer.Option(help="How the TPM is reached, its TCTI.")] = "device:/dev/tpmrm0"
) -> None:
    """Make the attestation key of this machine's TPM, and a file that shows it to the parties."""
    from sealstat.evidence.errors import EvidenceError
    from sealstat.evidence.tpm_device import enrol

    if out.exists():
        raise EvidenceError(f"{out} exists: name another file")
    out.write_bytes(enrol(tpm))
    note(f"Give {out} to every party that wants to check the TPM: `sealstat evidence challenge` answers with a file.")


@enclave.command("activate", epilog="Example: `sealstat enclave activate ./credential.bin --out ./answer.bin`")
def enclave_activate(
    credential: Path,
    out: Annotated[Path, typer.Option(help="Where the answer goes; give it back to the party that asked.")],
    tpm: Annotated[str, typer.Option(help="How the TPM is reached, its TCTI.")] = "device:/dev/tpmrm0",
) -> None:
    """Answer a party's question to this machine's TPM: whether both of its keys are in it."""
    from sealstat.crypto.keystore import write_private
    from sealstat.evidence.tpm_device import activate

    write_private(out, activate(credential.read_bytes(), tpm))


@enclave.command(
    "serve", epilog="Example: `sealstat enclave serve --host http://127.0.0.1:8700 --token ./host/launcher.token`"
)
def enclave_serve(
    host: Annotated[str, typer.Option("--host", envvar="SEALSTAT_HOST", help="The host's address.")],
    token: Annotated[Path, typer.Option(help="launcher.token in the host's home.")],
    attester: Annotated[str, typer.Option(help="simulated, sgx, tdx, snp, nitro or tpm.")] = "simulated",
    simulated_root: Annotated[Path | None, typer.Option(help="Root key of the simulated kind.")] = None,
    device: Annotated[
        str | None,
        typer.Option(help="Where the machine's interface is, if not in its usual place; a TPM's TCTI."),
    ] = None,
    collateral: Annotated[
        list[Path] | None, typer.Option(help="What the kind needs beside the evidence; again for each, in order.")
    ] = None,
    root: Annotated[list[Path] | None, typer.Option(help="The maker's root certificate, DER or PEM.")] = None,
    memory: Annotated[str | None, typer.Option(help="Limit of the engine, like 4GB; else half of the machine.")] = None,
    scratch: Annotated[Path | None, typer.Option(help="Folder for encrypted spills.")] = None,
    patience: Annotated[float, typer.Option(help="Seconds an instance waits for owners and holders.")] = 3600.0,
) -> None:
    """Start one instance of the measured code for each run that needs one. Makes outbound calls only."""
    import signal

    from sealstat.host.launcher import Launcher, instance_command

    if attester == "simulated":
        note("enclave: SIMULATED: NOT PROTECTED BY HARDWARE")
    options = ["--patience", str(patience)]
    options += ["--device", device] if device else []
    options += [word for file in collateral or [] for word in ("--collateral", str(file.resolve()))]
    options += [word for file in root or [] for word in ("--root", str(file.resolve()))]
    options += ["--memory-bytes", str(_bytes(memory))] if memory else []
    options += ["--scratch", str(scratch)] if scratch else []
    command = instance_command(attester=attester, simulated_root=simulated_root, options=options)
    launcher = Launcher(host, token, command, say=lambda sentence: note(f"enclave: {sentence}"))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: launcher.stopped.set())
    launcher.serve()


@witness.command("create", epilog="Example: `sealstat witness create witness-uni --home ./witness`")
def witness_create(
    name: str,
    home: ServerHome,
    post_quantum: Annotated[
        bool, typer.Option("--post-quantum", help="Cosign with ML-DSA-44 (C2SP type 06), not with Ed25519.")
    ] = False,
) -> None:
    """Make a witness's key and card."""
    from sealstat.cli.witnesses import create
    from sealstat.crypto.cards import fingerprint, spoken

    card = create(home, name, post_quantum=post_quantum)
    print(f"witness {name}: its card, for agreements and the host: {home / 'card.json'}")
    print(f"its fingerprint, to read aloud: {spoken(fingerprint(card))}")
    note(f"its verifier key: {card.cosigner}")


@witness.command("serve", epilog="Example: `sealstat witness serve --home ./witness --log host-card.json --port 8711`")
def witness_serve(
    home: ServerHome,
    log: Annotated[list[Path], typer.Option(help="Card of a host whose log to cosign; once for each.")],
    address: str = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 for any free one.")] = 8710,
) -> None:
    """Cosign checkpoints of logs that grow and never change."""
    from sealstat.cli.witnesses import serve

    serve(home, log, address=address, port=port)


def _bytes(text: str) -> int:
    import re

    from sealstat.host.errors import HostError

    found = re.fullmatch(r"(\d+)\s*([KMGT])i?B?", text.strip(), re.IGNORECASE)
    if not found:
        raise HostError(f"expected a size like 4GB, got {text!r}")
    shift: int = 10 * ("KMGT".index(found[2].upper()) + 1)
    return int(found[1]) << shift
