"""`sealstat deliver`, `sealstat run`, `sealstat fetch`: tables in, a run, tables out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from sealstat.cli.progress import progress
from sealstat.cli.shared import HomeOption, HostOption, JsonOption, note, show_json

if TYPE_CHECKING:
    from sealstat.party.runs import Result, Stage


def deliver(
    agreement: Annotated[str, typer.Argument(help="The beginning of its id.")],
    dataset: Annotated[str, typer.Argument(help="As the agreement names it.")],
    file: Annotated[Path, typer.Argument(help="CSV or Parquet, the columns of the dataset's schema.")],
    period: Annotated[str, typer.Option(help="2026-10, 2026-10-31 or 2017-05-31/2017-06-06.")],
    host: HostOption = None,
    home: HomeOption = None,
    patience: Annotated[float, typer.Option(help="Seconds to wait for the other providers' agents.")] = 3600.0,
    json: JsonOption = False,
) -> None:
    """Check a table, replace its identifiers, encrypt it here, and upload the ciphertext."""
    from sealstat.cli.shared import open_home, open_member
    from sealstat.party.deliver import deliver as deliver_table

    member = open_member(open_home(home), agreement, host)
    with progress() as show:
        done = deliver_table(member, dataset, file, period, show=show, patience_s=patience)
    if json:
        show_json(
            {
                "delivery": done.id,
                "rows": done.rows,
                "rejects": done.rejects,
                "rejects_file": str(done.rejects_file),
                "rounded": done.rounded,
                "parts": done.parts,
                "bytes_uploaded": done.bytes_uploaded,
            }
        )
        return
    print(f"delivered {dataset} for {period}: {done.rows:,} rows in {done.parts} parts; delivery {done.id[:12]}")
    if done.rejects:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(done.rejects.items()))
        print(f"rejected here and never uploaded: {reasons}; the rows are in {done.rejects_file}")
    if done.rounded:
        print(f"{done.rounded:,} numbers were rounded to the agreement's resolution")


class _RunGroup(TyperGroup):
    """`run AGREEMENT TASK` is the common case, so it needs no word of its own."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args.insert(0, "start")
        return super().parse_args(ctx, args)


runs = typer.Typer(
    cls=_RunGroup,
    help="Run a task: `sealstat run AGREEMENT TASK --period … --purpose …` (the word *start* may be left out).",
    epilog="Example: `sealstat run 91ab0c visitors --period 2026-10 --purpose tourism-statistics`",
    no_args_is_help=True,
)


@runs.command("start", epilog="Example: `sealstat run 91ab0c visitors --period 2026-10 --purpose tourism-statistics`")
def start(
    agreement: Annotated[str, typer.Argument(help="The beginning of its id.")],
    task: Annotated[str, typer.Argument(help="As the agreement names it.")],
    period: Annotated[str, typer.Option(help="2026-10, 2026-10-31 or 2017-05-31/2017-06-06.")],
    purpose: Annotated[str, typer.Option(help="One of the agreement's purposes.")],
    parameter: Annotated[list[str] | None, typer.Option(help="NAME=VALUE, where the agreement leaves it open.")] = None,
    finish: Annotated[
        bool, typer.Option("--finish", help="Report over the days that are in, and forget them.")
    ] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Forget the days that are in, without a report.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Ask and return; see `sealstat run show`.")] = False,
    patience: Annotated[float, typer.Option(help="Seconds to wait.")] = 86_400.0,
    silence: Annotated[float, typer.Option(help="Seconds after which a silent enclave is spoken of.")] = 120.0,
    host: HostOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Ask for a run and wait for its result to be released.

    Of a task that works day by day a run does one day; of a longer --period, each day that is there, one after another.
    With the last day of its report the report is made by itself.
    """
    from sealstat.cli.shared import open_home, open_member
    from sealstat.party import runs as running
    from sealstat.party.errors import PartyError

    member = open_member(open_home(home), agreement, host)
    parameters: dict[str, Any] = {}
    for pair in parameter or []:
        name, separator, value = pair.partition("=")
        if not separator:
            raise PartyError(f"expected NAME=VALUE, got {pair!r}")
        parameters[name] = value
    if finish and cancel:
        raise PartyError("--finish and --cancel are two things: choose one")
    action: Any = "finish" if finish else "cancel" if cancel else None
    *days, last = _days(member, task, period) if action is None else [period]
    if days and detach:
        raise PartyError("one run is asked for at a time: without --detach they follow one another")
    refused = []
    for day in days:
        run = running.request(member, task, day, purpose, parameters=parameters)
        note(f"run {run}")
        try:
            note(f"run {run[:12]}: {_follow(member, run, patience, silence).sentence}")
        except PartyError as refusal:  # one bad day does not keep the others out
            note(f"{day}: {refusal}")
            refused.append(day)
    run = running.request(member, task, last, purpose, action=action, parameters=parameters)
    if detach:
        show_json({"run": run}) if json else print(f"run {run} is asked for; see `sealstat run show {run[:12]}`")
        return
    note(f"run {run}")
    now = _follow(member, run, patience, silence)
    if refused:
        raise PartyError(f"{last} is done, but of the days before it, {', '.join(refused)} ended without a result")
    report = running.due_report(member, task) if action is None else None
    if report is not None:
        if not json:
            print(f"run {run[:12]}: {now.sentence}; these are all: making the report of {report}")
        run = running.request(member, task, report, purpose, action="finish", parameters=parameters)
        note(f"run {run}")
        now = _follow(member, run, patience, silence)
    if json:
        show_json({"run": run, "stage": now.word})
    elif now.word == "released":
        print(f"run {run[:12]} is released: `sealstat fetch {run[:12]} --out DIR`")
    else:
        print(f"run {run[:12]}: {now.sentence}")


@runs.command("show", epilog="Example: `sealstat run show 5be0`")
def show(
    run: Annotated[str, typer.Argument(help="The beginning of its id.")],
    wait: Annotated[bool, typer.Option("--wait", help="Stay until it ends.")] = False,
    host: HostOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Show where a run stands, from the log."""
    from sealstat.cli.shared import member_of_run, open_home
    from sealstat.party import runs as running

    member, id = member_of_run(open_home(home), run, host)
    if wait:
        _follow(member, id, 86_400.0, 120.0)
    now, detail = running.stage(member.view, id, member.name), running.refusal_detail(member, id)
    record = member.view.counting_record(id)
    told = running.told(member, record) if record else None
    if json:
        shown = {"run": id, "stage": now.word, "sentence": now.sentence, "ended": now.ended, "refused": now.refused}
        show_json(shown | ({"detail": detail} if detail else {}) | ({"told": told} if told else {}))
    else:
        print(f"run {id[:12]}: {now.word}: {now.sentence}")
        if detail:
            print(f"what it told {member.name} alone: {detail}")
        if told:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(told["rejects"].items())) or "none"
            print(
                f"what it told {member.name} alone: {told['rows']:,} rows of {told['day']} taken in, "
                f"{told['forged']:,} with forged pseudonyms dropped; rejected before delivery: {reasons}"
            )
    if now.refused:
        raise typer.Exit(1)


@runs.command("abandon", epilog="Example: `sealstat run abandon 5be0`")
def abandon(run: str, host: HostOption = None, home: HomeOption = None) -> None:
    """Give up a silent enclave; the same run goes on with a new one."""
    from sealstat.cli.shared import member_of_run, open_home
    from sealstat.party import runs as running

    member, id = member_of_run(open_home(home), run, host)
    gone = running.abandon(member, id)
    print(f"instance {gone[:12]} is over; run {id[:12]} goes on with the next one.")


def fetch(
    run: Annotated[str, typer.Argument(help="The beginning of its id.")],
    out: Annotated[Path, typer.Option(help="A new folder for the tables.")],
    report: Annotated[bool, typer.Option(help="Draw report.html, too.")] = True,
    census: Annotated[
        Path | None, typer.Option(help="tile_e, tile_n, residents: the report holds home tiles against it.")
    ] = None,
    areas: Annotated[
        Path | None, typer.Option(help="area_id, tile_e, tile_n: the report outlines reference areas.")
    ] = None,
    host: HostOption = None,
    home: HomeOption = None,
    json: JsonOption = False,
) -> None:
    """Decrypt a run's tables, hold them against the log, and write Parquet, CSV, about.json and report.html.

    The census and the areas are this party's own files, CSV or Parquet; they are read here and sent nowhere.
    """
    from sealstat.cli.shared import member_of_run, open_home
    from sealstat.party import runs as running

    own = {
        "census": _own_table(census, ("tile_e", "tile_n", "residents")),
        "areas": _own_table(areas, ("area_id", "tile_e", "tile_n")),
    }

    def drawn(results: "list[Result]", about: dict[str, Any]) -> dict[str, str]:
        from sealstat import reports

        tables = {result.name: result.table for result in results}
        return {"report.html": reports.render(tables, about, **own)} if report else {}

    member, id = member_of_run(open_home(home), run, host)
    record, _ = running.open_result(member, id)
    label = running.label_of(member, record)
    record, results = running.fetch(member, id, out, label=label, also=drawn)
    for giver in running.wrong_givers(member, id):
        note(f"what {giver} released is not the share that the enclave gave it: opened with those of the other holders")
    if json:
        show_json({"run": id, "record": record.id, "out": str(out), "tables": [result.name for result in results]})
        return
    print(f"{member.agreement.title}: {member.view.requests[id].body.period}")
    print(label)
    for result in results:
        _print_table(result)
    if report:
        print(f"\nlook at {out / 'report.html'}")
    print(f"\nwritten to {out}; every table is the one that record {record.id[:12]} in the log commits to")


def _own_table(file: Path | None, columns: tuple[str, ...]) -> Any:
    """The columns of a party's own CSV or Parquet file, as numbers; None without a file."""
    if file is None:
        return None
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    from sealstat.party.errors import PartyError

    types = [pa.float64() if name == "residents" else pa.int64() for name in columns]
    read = pa.parquet.read_table if file.suffix == ".parquet" else pa.csv.read_csv
    try:
        table = read(file).select(columns).cast(pa.schema(zip(columns, types, strict=True)))
    except (OSError, KeyError, pa.ArrowException) as error:
        raise PartyError(f"cannot read {file}: expected the columns {', '.join(columns)}, all numbers") from error
    if any(column.null_count for column in table.columns):
        raise PartyError(f"{file} has empty cells: every row needs {', '.join(columns)}")
    return table


def _days(member: Any, task: str, period: str) -> list[str]:
    """What is asked for one after another: of a task that works by day, each day of a longer period."""
    from sealstat.agreement.periods import kind_of
    from sealstat.party import runs as running

    terms = member.agreement.tasks.get(task)
    try:
        by_day = terms is not None and terms.actions[0] in ("ingest", "key") and kind_of(period) != "day"
    except ValueError:  # said in its own words when the run is asked for
        by_day = False
    if not by_day:
        return [period]
    member.update()
    return running.due_days(member, task, period)


def _follow(member: Any, run: str, patience_s: float, silence_s: float) -> "Stage":
    """Say each stage of a run until it ends; the last."""
    from time import monotonic

    from sealstat.party import runs as running
    from sealstat.party.errors import PartyError

    quiet, offered = monotonic(), False
    for now in running.watch(member, run, patience_s=patience_s):
        if now is None:
            silent = running.silent_instance(member.view, run)
            if silent is not None and not offered and monotonic() > quiet + silence_s:
                note(f"  silent for {silence_s:.0f} s: `sealstat run abandon {run[:12]}` gives this enclave up")
                offered = True
            continue
        quiet, offered = monotonic(), False
        note(f"  {now.word}: {now.sentence}")
        if now.refused:
            raise PartyError(f"run {run[:12]} ended without a result: {now.sentence}")
        if now.ended:
            return now
    raise AssertionError("a watch ends with an end")


def _print_table(result: "Result") -> None:
    from rich.console import Console
    from rich.table import Table

    from sealstat.release.commitment import text

    table = Table(title=result.name, title_justify="left", show_edge=False, pad_edge=False)
    for name in result.table.column_names:
        table.add_column(name, no_wrap=True)
    for row in result.table.slice(0, 40).to_pylist():
        table.add_row(*[text(value) if value is not None else "·" for value in row.values()])
    console = Console(width=max(Console().width, 160))  # a narrow terminal wraps lines; columns must not vanish
    print()
    console.print(table)
    hidden = sum(column.null_count for column in result.table.columns)
    if len(result.table) > 40:
        print(f"… {len(result.table) - 40} more rows in the files")
    if hidden:
        print(f"· {hidden} cells are hidden by the rules of the agreement; they are not zero")
