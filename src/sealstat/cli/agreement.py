"""`sealstat agreement`: write it, check it, explain it, approve it, end it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sealstat.cli.shared import HomeOption, HostOption, JsonOption, note, show_json

if TYPE_CHECKING:
    from sealstat.agreement.model import Agreement

app = typer.Typer(help="What the parties agree: write, check, explain, approve, end.", no_args_is_help=True)
FileOrId = Annotated[str, typer.Argument(metavar="FILE|ID", help="A YAML file, or the beginning of an agreement's id.")]


@app.command(epilog="Example: `sealstat agreement new visitors > agreement.yaml`")
def new(kind: Annotated[str, typer.Argument(help="The statistic: visitors or longitudinal.")]) -> None:
    """Print a commented draft to edit."""
    from datetime import UTC, datetime

    from sealstat.agreement.template import draft_text
    from sealstat.enclave.measure import measure

    print(draft_text(kind, today=datetime.now(UTC).date(), source=measure().digest), end="")


@app.command(epilog="Example: `sealstat agreement check agreement.yaml`")
def check(file: Path, json: JsonOption = False) -> None:
    """Find every mistake at once, with its line."""
    from sealstat.cli.catalogue import checked_draft

    agreement, problems = checked_draft(file)
    if json:
        show_json({"ok": not problems, "problems": [problem.to_json() for problem in problems]})
    else:
        for problem in problems:
            print(f"{file}:{problem.line}:{problem.column}: {problem.place}: {problem.sentence}")
    if problems:
        note(f"{len(problems)} mistakes in {file}")
        raise typer.Exit(1)
    assert agreement is not None
    if not json:
        print(f"{file}: {agreement.title}: no mistake found. Read `sealstat agreement explain {file}` before you sign.")


@app.command(epilog="Example: `sealstat agreement explain agreement.yaml`")
def explain(what: FileOrId, host: HostOption = None, home: HomeOption = None, json: JsonOption = False) -> None:
    """Say in plain language what the agreement means: for lawyers."""
    from sealstat.agreement import explain as explaining

    agreement, id = _read(what, host, home)
    text = explaining.explain(agreement, id)
    if json:
        show_json({"text": text, "digest": explaining.digest(text), "renderer": explaining.RENDERER})
    else:
        print(text)


@app.command(epilog="Example: `sealstat agreement approve agreement.yaml --host https://stats.example:8700`")
def approve(what: FileOrId, host: HostOption = None, home: HomeOption = None, json: JsonOption = False) -> None:
    """Sign an agreement. A file is proposed first, unless an equal one is there: then that one is approved."""
    from sealstat.cli.shared import open_home, open_member
    from sealstat.party import agreements
    from sealstat.party.errors import NotInIt
    from sealstat.party.member import Member

    opened = open_home(home)
    if Path(what).is_file():
        agreement, _ = _read(what, host, home)
        address = host or agreement.host.url
        id = agreements.propose(opened, agreement, address)
        member = Member(opened, id, address)
        member.await_entry(id)
    else:
        try:
            member = open_member(opened, what, host)
        except NotInIt:
            agreements.approve_leaving(opened, what, host)
            print(f"{opened.name} has approved agreement {what}, and takes no part in it.")
            return
    agreements.approve(member)
    status = agreements.status(Member(opened, member.id, host))
    if json:
        show_json(status)
        return
    print(f"{member.name} has approved agreement {member.id}")
    print(f"{member.agreement.title}")
    missing = ", ".join(status["missing"])
    print(f"still missing: {missing}" if missing else "all approvals are in the log")


@app.command(epilog='Example: `sealstat agreement withdraw 91ab0c --why "the legal basis has ended"`')
def withdraw(
    id: str,
    why: Annotated[str, typer.Option("--why", help="The cause; the other parties read it.")],
    host: HostOption = None,
    home: HomeOption = None,
) -> None:
    """End an agreement: no new run starts, and a running one ends without a result."""
    from sealstat.cli.shared import open_home, open_member
    from sealstat.party import agreements

    member = open_member(open_home(home), id, host)
    agreements.withdraw(member, why)
    print(f"agreement {member.id[:12]} is withdrawn; the log says so, and every reader of it stops.")


@app.command(epilog="Example: `sealstat agreement show 91ab0c`")
def show(
    id: Annotated[str, typer.Argument(help="The beginning of its id; without it, all that are known here.")] = "",
    host: HostOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Show where an agreement stands: approvals, deliveries, runs, and what in the log means nothing."""
    from sealstat.cli.shared import open_home, open_member
    from sealstat.crypto.cards import spoken
    from sealstat.party import agreements
    from sealstat.party.member import discover

    opened = open_home(home)
    if host is not None:
        discover(opened, host)
    ids = [id] if id else opened.ledger.agreements()
    found = []
    for each in ids:
        member = open_member(opened, each, host)
        member.update()
        found.append(agreements.status(member))
    if json:
        show_json(found[0] if id else found)
        return
    for status in found:
        print(f"{status['id']}\n  {status['title']} (version {status['version']}): {status['state']}")
        print(f"  approved by {', '.join(status['approved']) or 'nobody'}")
        for each in status["deliveries"]:
            print(f"  delivery {each['id'][:12]}: {each['dataset']} {each['period']} by {each['by']}, {each['state']}")
        for each in status["runs"]:
            print(f"  run {each['id'][:12]}: {each['task']} {each['period']} asked by {each['by']}")
        for each in status["recoveries"]:
            what = "becomes its card after the delay" if each["enough"] else "waits for more of them"
            print(
                f"  new card of {each['party']}, {spoken(each['card'])}: vouched for by {', '.join(each['by'])}, {what}"
            )
        for each in status["void"]:
            print(f"  void at leaf {each['leaf']}: {each['reason']}")


def _read(what: str, host: str | None, home: Path | None) -> tuple["Agreement", str | None]:
    from sealstat.cli.catalogue import checked_draft
    from sealstat.cli.shared import open_home, open_member
    from sealstat.party.errors import PartyError

    if not Path(what).is_file():
        member = open_member(open_home(home), what, host)
        return member.agreement, member.id
    agreement, problems = checked_draft(Path(what))
    if agreement is None or problems:
        raise PartyError(f"{what} has {len(problems)} mistakes: see `sealstat agreement check {what}`")
    return agreement, None
