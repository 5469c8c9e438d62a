"""What the commands share: homes, passphrases, ids, and the two ways of showing something."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sealstat.party.home import Home
    from sealstat.party.member import Member

HomeOption = Annotated[
    Path | None, typer.Option("--home", help="This party's home; else SEALSTAT_HOME, else ~/.sealstat.")
]
HostOption = Annotated[
    str | None, typer.Option("--host", envvar="SEALSTAT_HOST", help="The host's address, until an agreement names it.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs: one JSON value on standard output.")]


def no_words(sentence: str) -> None:
    """One sentence on standard error."""
    print(f"sealstat: {sentence}", file=sys.stderr)


def note(sentence: str) -> None:
    """A line about what goes on, on standard error, so that standard output stays for results."""
    print(sentence, file=sys.stderr, flush=True)


def show_json(value: Any) -> None:
    """A value for programs."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def passphrase(*, new: bool = False) -> str:
    """The passphrase of a keystore: from the file that SEALSTAT_PASSPHRASE_FILE names, else asked for."""
    from sealstat.party.errors import PartyError

    named = os.environ.get("SEALSTAT_PASSPHRASE_FILE")
    if named:
        path = Path(named)
        try:
            mode = path.stat().st_mode & 0o777
            text = path.read_text(encoding="utf-8").rstrip("\n")
        except OSError as error:
            raise PartyError(f"cannot read the passphrase file {path}: {error.strerror}") from error
        if mode & 0o077:
            raise PartyError(f"the passphrase file {path} has mode {mode:o}: others may read it; run chmod 600 {path}")
        if len(text) < 8:
            raise PartyError(f"the passphrase in {path} has fewer than 8 characters: take a longer one")
        return text
    if not sys.stdin.isatty():
        raise PartyError("a passphrase is needed: name a file with it in SEALSTAT_PASSPHRASE_FILE")
    text = str(typer.prompt("Passphrase", hide_input=True, confirmation_prompt=new))
    if new and len(text) < 8:
        raise PartyError("the passphrase has fewer than 8 characters: take a longer one")
    return text


def open_home(home: Path | None) -> "Home":
    """This party's home, opened."""
    from sealstat.party.home import Home, home_path, read_card

    path = home_path(home)
    read_card(path)  # says what to do where there is no party yet, before it asks for a passphrase
    return Home(path, passphrase())


def open_member(home: "Home", agreement: str, host: str | None) -> "Member":
    """This party in the agreement whose id begins so."""
    from sealstat.party.errors import PartyError
    from sealstat.party.member import Member, discover, identified

    known = home.ledger.agreements()
    if host is not None and not any(id.startswith(agreement) for id in known):
        discover(home, host)
        known = home.ledger.agreements()
    if not known and len(agreement) != 64:
        raise PartyError("no agreement is known here yet: name the host with --host or SEALSTAT_HOST")
    id = agreement if len(agreement) == 64 else identified(agreement, known, "agreement")
    return Member(home, id, host)


def member_of_run(home: "Home", run: str, host: str | None) -> tuple["Member", str]:
    """This party in the agreement of the run whose id begins so, and the whole id."""
    from sealstat.party.errors import PartyError
    from sealstat.party.member import Member, discover, identified

    if host is not None:
        discover(home, host)
    found: dict[str, Member] = {}
    for agreement in home.ledger.agreements():
        member = Member(home, agreement, host)
        member.update()
        found |= {id: member for id, entry in member.view.requests.items() if entry.agreement == agreement}
    if not found:
        raise PartyError("no run is known here: see `sealstat agreement show`")
    id = identified(run, list(found), "run")
    return found[id], id
