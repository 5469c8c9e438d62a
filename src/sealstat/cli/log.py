"""`sealstat log`: the evidence log, checked from its own files."""

from typing import Annotated

import typer

from sealstat.cli.shared import JsonOption, note, show_json

app = typer.Typer(help="The evidence log.", no_args_is_help=True)


@app.command(epilog="Example: `sealstat log check https://stats.example:8700`")
def check(
    url: Annotated[str, typer.Argument(help="The host's address.")],
    key: Annotated[str | None, typer.Option(help="The log's verifier key, as the host's card has it.")] = None,
    json: JsonOption = False,
) -> None:
    """Recompute the whole log from its entries, and hold every tile and its checkpoint against that."""
    import httpx

    from sealstat.log.checkpoint import verify_checkpoint
    from sealstat.log.errors import MissingTileError
    from sealstat.log.note import parse_verifier_key
    from sealstat.log.reader import LogReader
    from sealstat.wire.client import authorities
    from sealstat.wire.errors import WireError

    base = url.rstrip("/")
    client = httpx.Client(base_url=base, timeout=30, trust_env=False, verify=authorities())

    def get(path: str) -> bytes:
        try:
            answer = client.get(f"/log/{path}")
        except httpx.HTTPError as error:
            raise WireError(f"the host at {base} cannot be reached: is it running?") from error
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise MissingTileError(path)
        if answer.status_code != httpx.codes.OK:
            raise WireError(f"the host at {base} answered with status {answer.status_code}")
        return answer.content

    if key is None:
        key = _key_of_host(client, base)
        note("the log's key is the one the host itself names: give --key with the key on its card to be sure")
    verified = verify_checkpoint(get("checkpoint"), log_key=parse_verifier_key(key), witnesses=[], quorum=0)
    checked = LogReader(get).check_whole_log(verified.checkpoint, progress=_progress)
    if json:
        show_json({"ok": True, "size": checked.size, "files": checked.files, "root": verified.checkpoint.root.hex()})
        return
    print(f"the log of {verified.checkpoint.origin} is whole: {checked.size:,} entries, {checked.files:,} files")
    print(f"its root {verified.checkpoint.root.hex()} is the one of its signed checkpoint")


def _key_of_host(client: object, base: str) -> str:
    import httpx

    from sealstat.wire.errors import WireError

    assert isinstance(client, httpx.Client)
    try:
        return str(client.get("/health").json()["card"]["log_key"])
    except httpx.HTTPError as error:
        raise WireError(f"the host at {base} cannot be reached: is it running?") from error
    except (ValueError, KeyError, TypeError) as error:
        raise WireError(f"the host at {base} does not say its log's key: give it with --key") from error


def _progress(done: int, size: int) -> None:
    if size and done % 65_536 == 0 and done:
        note(f"{done:,} of {size:,} entries")
