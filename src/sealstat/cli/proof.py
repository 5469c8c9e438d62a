"""`sealstat proof` and `sealstat verify`: one file that a stranger checks offline."""

from pathlib import Path
from typing import Annotated

import typer

from sealstat.cli.shared import HomeOption, HostOption, JsonOption, note, show_json


def proof(
    run: Annotated[str, typer.Argument(help="The beginning of its id.")],
    out: Annotated[Path, typer.Option(help="The file to write.")],
    host: HostOption = None,
    home: HomeOption = None,
) -> None:
    """Put together the proof of a run, for anyone."""
    from sealstat.cli.shared import member_of_run, open_home
    from sealstat.crypto.keystore import write_private
    from sealstat.party import runs

    member, id = member_of_run(open_home(home), run, host)
    bundle = runs.proof(member, id)
    write_private(out, bundle)
    out.chmod(0o644)
    print(f"proof of run {id[:12]}: {out} ({len(bundle):,} bytes); check it with `sealstat verify {out}`")


def verify(
    file: Annotated[Path, typer.Argument(help="A proof, a certificate with one in it; with --log, a receipt.")],
    trust: Annotated[Path | None, typer.Option(help="A folder of cards that you trust, got from their owners.")] = None,
    quorum: Annotated[int | None, typer.Option(help="How many of the witnesses you trust must have cosigned.")] = None,
    results: Annotated[Path | None, typer.Option(help="A folder that `fetch` wrote, to be held against it.")] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="A page of HTML to write, if it is verified: to be read and filed.")
    ] = None,
    log: Annotated[str | None, typer.Option(help="The log, or a copy of it, to hold a receipt against.")] = None,
    json: JsonOption = False,
) -> None:
    """Check a proof, with no network and no data; exit code 1 if anything fails.

    With --log, check a receipt: whether the host kept its promise to log a statement; exit code 3 if it is proven
    that it did not.
    """
    if log is not None:
        _verify_receipt(file, log, trust, quorum, json=json)
        return
    from dataclasses import replace
    from datetime import UTC, datetime

    from sealstat import verify as room
    from sealstat.cli.trust import read_results, read_trust
    from sealstat.crypto.keystore import write_private

    try:
        trusted = replace(read_trust(trust), quorum=quorum)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--quorum") from error
    if certificate and certificate.suffix.lower() == ".pdf":
        raise typer.BadParameter("it is a page of HTML, made to be printed", param_hint="--certificate")
    with file.open("rb") as opened:
        read = opened.read(room.PAGE_LIMIT_BYTES + 1)
    data = room.proof_in(read)
    if data is not read:
        note("the proof was taken out of this page; what else stands on the page was not looked at")
    now = datetime.now(UTC)
    verdict = room.verify_bundle(data, trust=trusted, now=now, results=read_results(results) if results else None)
    if json:
        show_json(room.to_json(verdict))
    else:
        print(room.render(verdict))
    if not verdict.ok:
        raise typer.Exit(1)
    if certificate:
        write_private(certificate, room.make_certificate(data, verdict, now=now).encode())
        certificate.chmod(0o644)


def _verify_receipt(file: Path, log: str, trust: Path | None, quorum: int | None, *, json: bool) -> None:
    from itertools import chain

    from sealstat.cli.logs import open_source
    from sealstat.cli.trust import read_cards
    from sealstat.crypto.cards import HostCard, WitnessCard
    from sealstat.crypto.receipt import parse_receipt
    from sealstat.log.note import parse_verifier_key
    from sealstat.verify.receipts import Promise, promise_to_json, render_promise, verify_promise

    cards = read_cards(trust) if trust is not None else []
    hosts = [card for card in cards if isinstance(card, HostCard)]
    if len(hosts) != 1:
        raise typer.BadParameter("a receipt needs the card of the one host that gave it", param_hint="--trust")
    witnesses = tuple(parse_verifier_key(card.cosigner) for card in cards if isinstance(card, WitnessCard))
    receipt, source = parse_receipt(file.read_bytes(), hosts[0]), open_source(log)
    checkpoint = source.verified(parse_verifier_key(hosts[0].log_key), witnesses)
    entries = chain.from_iterable(source.reader.stream(0, checkpoint.checkpoint))
    needed = quorum or len(witnesses) // 2 + 1
    verdict = verify_promise(receipt, checkpoint, entries, quorum=needed)
    if json:
        show_json(promise_to_json(verdict))
    else:
        print(render_promise(verdict))
    if verdict.promise is Promise.BROKEN:
        raise typer.Exit(3)
    if verdict.promise is not Promise.KEPT:
        raise typer.Exit(1)
