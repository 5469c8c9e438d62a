"""`sealstat party`: this party's keys, its agent, and a person's word."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sealstat.cli.shared import HomeOption, HostOption, JsonOption, note, show_json

if TYPE_CHECKING:
    from sealstat.crypto.cards import PartyCard

app = typer.Typer(help="This party: its keys, its agent, a person's word.", no_args_is_help=True)


@app.command(epilog="Example: `sealstat party create operator-a --recovery /media/stick/operator-a.recovery`")
def create(
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits and hyphens, as agreements will name it.")],
    home: HomeOption = None,
    recovery: Annotated[Path | None, typer.Option(help="File for the recovery key, to be taken away.")] = None,
    json: JsonOption = False,
) -> None:
    """Make this party's keys; print its card's place and the fingerprint to read aloud."""
    from datetime import UTC, datetime

    from pydantic import ValidationError

    from sealstat.cli.shared import passphrase
    from sealstat.crypto.cards import fingerprint, first_problem, spoken
    from sealstat.party.errors import PartyError
    from sealstat.party.home import create_home, home_path

    path = home_path(home)
    recovery = recovery or Path.cwd() / f"{name}.recovery"
    try:
        card = create_home(path, name, passphrase(new=True), recovery_file=recovery, now=datetime.now(UTC))
    except ValidationError as error:
        raise PartyError(f"{name!r} is no name for a party: {first_problem(error)}") from error
    if json:
        show_json({"name": name, "home": str(path), "card": card.to_json(), "fingerprint": fingerprint(card)})
        return
    print(f"{name} has a home in {path}.")
    print(f"Its card, to give to the others:   {path / 'card.json'}")
    print(f"Its fingerprint, to read aloud:    {spoken(fingerprint(card))}")
    print(f"Its recovery key:                  {recovery}")
    print("Take the recovery key away to a safe place, offline: it is meant to replace keys that are lost or stolen.")


@app.command(epilog="Example: `sealstat party card --home ./operator-a > operator-a.json`")
def card(home: HomeOption = None, json: JsonOption = False) -> None:
    """Print this party's public card; its fingerprint goes to standard error."""
    from sealstat.crypto import canonical
    from sealstat.crypto.cards import fingerprint, spoken
    from sealstat.party.home import home_path, read_card

    found = read_card(home_path(home))
    if json:
        show_json({"card": found.to_json(), "fingerprint": fingerprint(found), "spoken": spoken(fingerprint(found))})
        return
    print(canonical.encode(found.to_json()).decode())
    note(f"fingerprint, to read aloud: {spoken(fingerprint(found))}")


@app.command(epilog="Example: `sealstat party serve --host https://stats.example:8700`")
def serve(
    host: HostOption = None,
    home: HomeOption = None,
    port: Annotated[int, typer.Option(help="Of its page, on loopback; 0 for any free one, -1 for none.")] = 0,
) -> None:
    """Run the agent: it answers for this party as its agreements say, and shows what it did and why."""
    import signal

    from sealstat.cli.shared import open_home
    from sealstat.console.page import serve_page
    from sealstat.party.agent import Agent
    from sealstat.party.errors import PartyError

    if host is None:
        raise PartyError("name the host with --host or SEALSTAT_HOST: the agent looks there for its agreements")
    opened = open_home(home)
    agent = Agent(opened, host, say=lambda sentence: note(f"{opened.name}: {sentence}"))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: agent.stopped.set())
    if port >= 0:
        address = serve_page(agent, port)
        note(f"{opened.name}: what this agent does and why: {address}")
    note(f"{opened.name}: agent at work for {host}")
    agent.serve()


@app.command(epilog="Example: `sealstat party rotate`")
def rotate(host: HostOption = None, home: HomeOption = None) -> None:
    """Take new keys; announce the new card, signed by the old one, in every agreement in force."""
    from sealstat.cli.shared import open_home
    from sealstat.crypto.cards import spoken
    from sealstat.party.agreements import rotate as rotate_card
    from sealstat.party.errors import PartyError

    opened = open_home(home)
    if host is None and opened.ledger.agreements():
        raise PartyError("name the host with --host or SEALSTAT_HOST: the new card must be announced there")
    changed = rotate_card(opened, host or "")
    print(f"{opened.name} has a new card, announced in {len(changed)} agreements.")
    print(f"Its fingerprint, to read aloud: {spoken(opened.fingerprint)}")
    print("A running agent takes the new keys by itself.")


RecoveryOption = Annotated[Path, typer.Option("--recovery", help="The file with the recovery key.")]
RehearseOption = Annotated[bool, typer.Option("--rehearse", help="Show that it could be done, and change nothing.")]


@app.command(
    epilog="Example: `sealstat party recover --recovery /media/stick/operator-a.recovery --rehearse`; "
    "`sealstat party recover --recovery /media/stick/operator-a.recovery --card operator-a.json`"
)
def recover(
    recovery: RecoveryOption,
    lost: Annotated[
        Path | None, typer.Option("--card", help="The lost card, as others have it; else the home's.")
    ] = None,
    rehearse: RehearseOption = False,
    host: HostOption = None,
    home: HomeOption = None,
) -> None:
    """Replace keys that are lost or stolen: new ones, by the recovery key, in every agreement on the host.

    Without a home a fresh one is made. What was sealed to the lost keys stays lost.
    """
    from datetime import UTC, datetime

    from sealstat.cli.shared import open_home, passphrase
    from sealstat.crypto.cards import fingerprint, spoken
    from sealstat.party import recovery as recovering
    from sealstat.party.errors import PartyError
    from sealstat.party.home import home_path, read_card, read_recovery_key, renew_home

    word = passphrase()
    key = read_recovery_key(recovery, word)
    if rehearse:
        done = recovering.rehearse_recovery(open_home(home), key, host)
        print(f"The recovery key of {key.name} is there: {len(done)} agreements have seen it. Nothing has changed.")
        return
    if host is None:
        raise PartyError("name the host with --host or SEALSTAT_HOST: the new card must be announced there")
    path = home_path(home)
    old = _party_card(lost) if lost is not None else read_card(path)
    if (old.name, old.recovery) != (key.name, key.digest):
        raise PartyError(f"the lost card is of {old.name}, and names another recovery key than this one of {key.name}")
    opened = renew_home(path, key, word, now=datetime.now(UTC))
    held, trouble = recovering.recover(opened, key, host, old=fingerprint(old))
    print(f"{opened.name} has a new card in {path}, in force in {len(held)} agreements.")
    print(f"Its fingerprint, to read aloud: {spoken(opened.fingerprint)}")
    if trouble:
        raise PartyError(f"not everywhere is the new card in force: {'; '.join(trouble)}")


@app.command(
    epilog="Example: `sealstat party vouch operator-b.json --agreement 91ab0c`; "
    "`sealstat party vouch operator-b.json --agreement 91ab0c --rehearse`"
)
def vouch(
    card: Annotated[Path, typer.Argument(help="The party's new card, its fingerprint compared by voice.")],
    agreement: Annotated[str, typer.Option("--agreement", help="The beginning of the agreement's id.")],
    rehearse: RehearseOption = False,
    host: HostOption = None,
    home: HomeOption = None,
) -> None:
    """As a recovery approver, give a new card to a party that lost all its keys; it holds after a delay."""
    from sealstat.cli.shared import open_home, open_member
    from sealstat.party import recovery

    member, new = open_member(open_home(home), agreement, host), _party_card(card)
    recovery.vouch(member, new, rehearsal=rehearse)
    if rehearse:
        print(f"{member.name} could vouch for a new card of {new.name}: the log says so. Nothing has changed.")
        return
    terms = member.agreement.roles.recovery
    assert terms is not None
    print(f"{member.name} vouches for the new card of {new.name}; {terms.quorum} of the recovery approvers must.")
    print(f"Their agents let it hold {terms.delay} after that, unless the recovery key of {new.name} signs a veto.")


@app.command(epilog="Example: `sealstat party veto --recovery /media/stick/operator-a.recovery`")
def veto(
    recovery: RecoveryOption,
    rehearse: RehearseOption = False,
    host: HostOption = None,
    home: HomeOption = None,
) -> None:
    """Refuse, by the recovery key, every new card that recovery approvers would give this party."""
    from sealstat.cli.shared import open_home, passphrase
    from sealstat.party import recovery as recovering
    from sealstat.party.home import read_recovery_key

    opened = open_home(home)
    done = recovering.veto(opened, read_recovery_key(recovery, passphrase()), host, rehearsal=rehearse)
    if rehearse:
        print(f"{opened.name} could veto a new card: {len(done)} agreements have seen it. Nothing has changed.")
        return
    print(f"{len(done)} new cards are vetoed; the log says so, and {opened.name} keeps its own.")


def _party_card(path: Path) -> "PartyCard":
    from sealstat.crypto.cards import PartyCard, parse_card
    from sealstat.party.errors import PartyError

    try:
        found = parse_card(path.read_bytes())
    except OSError as error:
        raise PartyError(f"cannot read the card {path}: {error.strerror}") from error
    if not isinstance(found, PartyCard):
        raise PartyError(f"the card in {path} is not a party's")
    return found


@app.command(epilog="Example: `sealstat party forget 3f9c21`; `sealstat party forget 91ab0c --state usual-environment`")
def forget(
    what: Annotated[str, typer.Argument(help="The beginning of a delivery's id; with --state, of an agreement's.")],
    state: Annotated[str | None, typer.Option(help="The task of which this holder's share goes.")] = None,
    host: HostOption = None,
    home: HomeOption = None,
) -> None:
    """Destroy the key of a delivery, or this holder's share of a task's state, for ever, and say so in the log."""
    from sealstat.cli.shared import open_home, open_member
    from sealstat.party import duties
    from sealstat.party.member import Member, identified

    opened = open_home(home)
    if state is not None:
        member = open_member(opened, what, host)
        member.update()
        duties.forget_state(member, state, why="a person of this party said so")
        print(f"The share of {member.name} of the state of {state} is destroyed, and the log says so.")
        print("Once fewer than the agreement's threshold are left, its days can never be read again.")
        return
    delivery = what
    id = identified(delivery, list(opened.ledger.facts("delivered")), "delivery of this party")
    for agreement in opened.ledger.agreements():
        member = Member(opened, agreement, host)
        member.update()
        if id in member.view.deliveries:
            duties.forget(member, id, why="a person of this party said so")
            print(f"The key of delivery {id[:12]} is destroyed: its ciphertext is dead wherever it lies.")
            return


@app.command(epilog="Example: `sealstat party allow 91ab0c`")
def allow(run: str, host: HostOption = None, home: HomeOption = None) -> None:
    """Let the agent release a result that is on hold."""
    from sealstat.cli.shared import member_of_run, open_home
    from sealstat.party import runs

    member, id = member_of_run(open_home(home), run, host)
    runs.allow(member, id)
    print(f"The result of run {id[:12]} may be released; the agent does it when its delay is over.")


@app.command(epilog='Example: `sealstat party refuse 91ab0c --why "the October list was cut wrongly"`')
def refuse(
    run: str,
    why: Annotated[str, typer.Option("--why", help="The cause; the other parties read it.")],
    host: HostOption = None,
    home: HomeOption = None,
) -> None:
    """Stop the release of a result, with cause. It stays closed for good."""
    from sealstat.cli.shared import member_of_run, open_home
    from sealstat.party import runs

    member, id = member_of_run(open_home(home), run, host)
    runs.refuse(member, id, why)
    print(f"The release of run {id[:12]} is refused; its result stays closed.")
