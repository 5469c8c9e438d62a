"""`sealstat log`: the evidence log, checked from its own files."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sealstat.cli.monitor import monitor
from sealstat.cli.shared import HomeOption, JsonOption, note, show_json

if TYPE_CHECKING:
    from sealstat.cli.logs import Source
    from sealstat.log.note import VerifierKey

app = typer.Typer(help="The evidence log.", no_args_is_help=True)
app.command("monitor", epilog="Example: `sealstat log monitor --once --json`")(monitor)

FAULT = 3
"""Exit code: somebody is convicted by what was found (1 is for anything that could not be done)."""

_PLACE = "A host's address, a copy of its log (address or folder) or a host's home."
KeyOption = Annotated[str | None, typer.Option(help="The log's verifier key, as the host's card has it.")]


@app.command(epilog="Example: `sealstat log check https://stats.example:8700`")
def check(place: Annotated[str, typer.Argument(help=_PLACE)], key: KeyOption = None, json: JsonOption = False) -> None:
    """Recompute the whole log from its entries, and hold every tile and its checkpoint against that."""
    from sealstat.cli.logs import open_source

    source = open_source(place)
    verified = source.verified(_log_key(key, source))
    checked = source.reader.check_whole_log(verified.checkpoint, progress=_progress)
    if json:
        show_json({"ok": True, "size": checked.size, "files": checked.files, "root": verified.checkpoint.root.hex()})
        return
    print(f"the log of {verified.checkpoint.origin} is whole: {checked.size:,} entries, {checked.files:,} files")
    print(f"its root {verified.checkpoint.root.hex()} is the one of its signed checkpoint")


@app.command(epilog="Example: `sealstat log export https://stats.example:8700 ./log-copy`")
def export(
    place: Annotated[str, typer.Argument(help=_PLACE)],
    folder: Annotated[Path, typer.Argument(help="New, or with an earlier copy of the same log.")],
    key: KeyOption = None,
    json: JsonOption = False,
) -> None:
    """Copy a log, proving each file, into a folder that any static file server can serve; goes on after a break."""
    from sealstat.cli.logs import open_source
    from sealstat.log.export import CHECKPOINT, LOG_KEY
    from sealstat.log.export import export as copy

    source = open_source(place)
    log_key = _log_key(key, source)
    before = open_source(str(folder)).verified(log_key) if (folder / CHECKPOINT).exists() else None
    verified = source.verified(log_key)
    done = copy(source.files, verified, folder, before=before, progress=_progress)
    (folder / LOG_KEY).write_text(f"{log_key}\n", encoding="utf-8")
    if json:
        show_json({"ok": True, "size": done.size, "written": done.written, "present": done.present})
        return
    print(f"{folder}: {done.size:,} entries of {verified.checkpoint.origin}, {done.written:,} new files, all proven")


@app.command(epilog="Example: `sealstat log checkpoint ~/.sealstat --out mine.checkpoint`")
def checkpoint(
    place: Annotated[str, typer.Argument(help=_PLACE + " Or a party's home: what that party trusts.")],
    out: Annotated[Path | None, typer.Option(help="The file to write; by default it is shown.")] = None,
    key: KeyOption = None,
) -> None:
    """Show a log's newest checkpoint, its signature verified, for others to compare with theirs."""
    from sealstat.cli.logs import open_source

    source = open_source(place)
    verified = source.verified(_log_key(key, source))
    if out is None:
        print(verified.note.decode(), end="")
    else:
        out.write_bytes(verified.note)
        print(f"{out}: {verified.checkpoint.size:,} entries of {verified.checkpoint.origin}")


@app.command(epilog="Example: `sealstat log prove https://stats.example:8700 1234 --out entry.tlog-proof`")
def prove(
    place: Annotated[str, typer.Argument(help=_PLACE)],
    index: Annotated[int, typer.Argument(min=0, help="Of the entry, from 0.")],
    out: Annotated[Path, typer.Option(help="The file to write (C2SP tlog-proof).")],
    key: KeyOption = None,
) -> None:
    """Write the proof that an entry is in the log; the entry itself is shown."""
    from sealstat.cli.logs import open_source
    from sealstat.log.errors import ProofError
    from sealstat.log.merkle import leaf_hash
    from sealstat.log.proof import LogProof

    source = open_source(place)
    tree = source.verified(_log_key(key, source))
    size = tree.checkpoint.size
    if index >= size:
        raise ProofError(f"there is no entry {index}: the log has {size} entries, from 0")
    (entry,) = source.reader.entries(index, index + 1, tree.checkpoint)
    proof = source.reader.inclusion_proof(index, leaf_hash(entry), tree.checkpoint)
    out.write_bytes(LogProof(index, tuple(proof), tree.note).serialise())
    print(entry.decode(errors="backslashreplace"))
    note(f"{out}: the proof that this is entry {index:,} of {size:,}")


@app.command(epilog="Example: `sealstat log compare theirs.checkpoint ~/.sealstat --log https://stats.example:8700`")
def compare(
    one: Annotated[str, typer.Argument(help="A checkpoint file, a log, a copy of one, or a party's home.")],
    other: Annotated[str, typer.Argument(help="The same, of the same log.")],
    log: Annotated[str | None, typer.Option(help="Where to read the log, if neither is a log.")] = None,
    key: KeyOption = None,
    trust: Annotated[Path | None, typer.Option(help="A folder of cards: the host's, and its witnesses'.")] = None,
    keep: Annotated[Path | None, typer.Option(help="The folder to write the evidence of a fault into.")] = None,
    json: JsonOption = False,
) -> None:
    """Find out whether two checkpoints can be of one log; exit code 3 if they prove that somebody lied."""
    from json import dumps

    from sealstat.cli.logs import open_source
    from sealstat.cli.trust import read_trust
    from sealstat.log.compare import Relation, comparison_to_json, render_comparison
    from sealstat.log.compare import compare as relate

    # servers last: what a party holds may grow meanwhile, and must not look newer than the log itself
    sources = [open_source(place) for place in sorted((one, other), key=lambda place: "://" in place)]
    trusted = read_trust(trust)
    log_key = trusted.log_key if trusted.log_key and key is None else _log_key(key, *sources)
    witnesses = trusted.witnesses or next((source.witnesses for source in sources if source.own), ())
    a, b = (source.verified(log_key, witnesses) for source in sources)
    hosts = [verified for verified, source in zip((a, b), sources, strict=True) if source.host]
    larger_first = sources if a.checkpoint.size > b.checkpoint.size else reversed(sources)
    files = [open_source(log)] if log else [source for source in larger_first if source.fetch]
    found = relate(a, b, files[0].reader if files else None, current=hosts[0] if len(hosts) == 1 else None)
    if keep is not None and found.fault:
        keep.mkdir(parents=True, exist_ok=True)
        (keep / "smaller.checkpoint").write_bytes(found.smaller.note)
        (keep / "larger.checkpoint").write_bytes(found.larger.note)
        text = dumps(comparison_to_json(found), indent=2, ensure_ascii=False)
        (keep / "comparison.json").write_text(text + "\n", encoding="utf-8")
        note(f"the evidence is in {keep}")
    if json:
        show_json(comparison_to_json(found))
    else:
        print(render_comparison(found))
    if found.fault:
        raise typer.Exit(FAULT)
    if found.relation is Relation.UNPROVEN:
        raise typer.Exit(1)


@app.command(epilog="Example: `sealstat log receipt 53977192 --out receipt.json`")
def receipt(
    statement: Annotated[str, typer.Argument(help="The beginning of its id.")],
    out: Annotated[Path, typer.Option(help="The file to write.")],
    home: HomeOption = None,
) -> None:
    """Write the host's receipt of a statement of this party's, for `sealstat verify --log`."""
    from sealstat.cli.shared import open_home
    from sealstat.crypto import canonical
    from sealstat.party.errors import PartyError
    from sealstat.party.member import identified

    held = open_home(home).ledger.facts("receipt")
    id = identified(statement, list(held), "receipt")
    try:
        out.write_bytes(canonical.encode(held[id]["receipt"]) + b"\n")
    except (KeyError, TypeError) as error:
        raise PartyError(f"the host gave no receipt for statement {id[:16]}…") from error
    print(f"{out}: the host's receipt for statement {id[:16]}…")


def _log_key(key: str | None, *sources: "Source") -> "VerifierKey":
    """The key to verify with: the caller's, a party's own, or what a source says of itself, which is then said."""
    from sealstat.log.errors import LogError
    from sealstat.log.note import parse_verifier_key

    if key is not None:
        return parse_verifier_key(key)
    named = sorted((source for source in sources if source.named_key), key=lambda source: not source.own)
    if not named:
        raise LogError(f"{sources[0].where} does not say its log's key: give it with --key")
    if not named[0].own:
        note("the log's key is the one the log itself names: give --key with the key on the host's card to be sure")
    return parse_verifier_key(named[0].named_key or "")


def _progress(done: int, size: int) -> None:
    if size and done % 65_536 == 0 and done:
        note(f"{done:,} of {size:,} entries")
