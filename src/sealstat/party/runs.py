"""Asking for a run, watching it, opening its result, and the proof of it."""

import csv
import json
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from sealstat import statistics
from sealstat.agreement import contexts
from sealstat.agreement.model import Action
from sealstat.agreement.periods import each_day, report_of
from sealstat.agreement.replay import Entry, InactiveError, Instance, View, Void
from sealstat.agreement.statements import Output, RunRecord, RunRequest
from sealstat.crypto import canonical, shares
from sealstat.crypto.cards import b64, unb64
from sealstat.crypto.derive import commitment, mac_matches, subkey
from sealstat.crypto.errors import CryptoError
from sealstat.crypto.sealing import unseal
from sealstat.party.errors import PartyError
from sealstat.party.member import Member
from sealstat.release.commitment import content, text
from sealstat.tables.about import open_about
from sealstat.tables.errors import DataError
from sealstat.tables.sealed import MAX_LIST_BYTES, open_part, parse_parts_list


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a run stands, in words, and whether it has ended and how."""

    word: str
    sentence: str
    ended: bool = False
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """One opened table, held against its commitment in the record."""

    name: str
    table: pa.Table
    salt: bytes
    commitment: str
    effects: dict[str, Any]


Also = Callable[[list[Result], dict[str, Any]], dict[str, str]]


# -- asking ------------------------------------------------------------------------------------------------------


def request(
    member: Member,
    task: str,
    period: str,
    purpose: str,
    *,
    action: Action | None = None,
    parameters: dict[str, Any] | None = None,
) -> str:
    """Ask for a run over the deliveries in force; the run's id.

    Args:
        action: None for what the task does first: a run, a day taken in, a key drawn.

    Raises:
        PartyError: the agreement does not let this party ask for that, said before anything is sent.
    """
    member.update()
    view = member.view
    terms = member.agreement.tasks.get(task)
    if terms is None:
        raise PartyError(f"the agreement has no task {task}: it has {', '.join(sorted(member.agreement.tasks))}")
    if member.name not in terms.runners:
        raise PartyError(f"{task} may be run by {', '.join(terms.runners)}, not by {member.name}")
    purposes = [each.id for each in member.agreement.purpose]
    if purpose not in purposes:
        raise PartyError(f"the agreement does not list the purpose {purpose}: it lists {', '.join(purposes)}")
    try:
        view.check_active(member.clock())
    except InactiveError as error:
        raise PartyError(f"nothing can be run now: {error}") from error
    action = action or terms.actions[0]
    if action not in terms.actions:
        raise PartyError(f"the task {task} takes in no days: it has nothing to {action}")
    try:
        places = member.agreement.wanted(task, action, period)
        view.check_turn(member.id, task, action, period)
    except ValueError as error:
        raise PartyError(str(error)) from error
    except Void as error:
        raise PartyError(f"{task} cannot {_verb(action)} {period}: {error}") from error
    deliveries = []
    for dataset, of in places:
        delivery = view.in_force(dataset, of)
        if delivery is None:
            provider = member.agreement.datasets[dataset].provider
            raise PartyError(f"{dataset} for {of} is missing: {provider} has not delivered it")
        deliveries.append(delivery.entry.id)
    body = {
        "task": task,
        "period": period,
        "purpose": purpose,
        "action": action,
        "deliveries": deliveries,
        "parameters": parameters or {},
        "nonce": b64(secrets.token_bytes(32)),
    }
    statement = member.say("run-request", body)
    member.await_leaf(statement)
    return statement.id


def _verb(action: Action) -> str:
    return {"run": "run for", "ingest": "take in", "finish": "report", "cancel": "cancel", "key": "draw a key for"}[
        action
    ]


def due_days(member: Member, task: str, period: str) -> list[str]:
    """The days of a longer period for which a task that works day by day has something to do, in order.

    Raises:
        PartyError: there is none.
    """
    terms = member.agreement.tasks[task]
    found = []
    for day in each_day(period):
        try:
            places = member.agreement.wanted(task, terms.actions[0], day)
            member.view.check_turn(member.id, task, terms.actions[0], day)
        except (ValueError, Void):
            continue
        if all(member.view.in_force(*place) for place in places):
            found.append(day)
    if not found:
        raise PartyError(
            f"{task} has no day of {period} to {_verb(terms.actions[0])}: none is delivered, or all are done"
        )
    return found


def due_report(member: Member, task: str) -> str | None:
    """The report period all of whose days are in the task's state; None as long as a day is missing."""
    terms, present = member.agreement.tasks[task], set(member.view.ingested(task))
    report = report_of(terms.report, min(present)) if terms.report and present else None
    return report if report is not None and present >= set(each_day(report)) else None


# -- watching ----------------------------------------------------------------------------------------------------


def stage(view: View, run: str, consumer: str) -> Stage:
    """Where a run stands for one of its consumers, from the log alone."""
    request = view.requests[run]
    task = view.task(request)
    refusal = view.run_refused(run)
    if refusal is not None:
        return Stage("refused", _refused(refusal.body.reason), ended=True, refused=True)
    record = view.counting_record(run)
    if record is not None:
        return _released(view, record, consumer)
    if request.agreement in view.withdrawals:
        return _withdrawn(view, request.agreement, "the run counted")
    instances = [each for each in view.instances.values() if each.request.id == run and not each.over]
    if any(each.record is not None for each in instances):
        return Stage("recorded", "computed; waiting for the keepers to keep the sealed results")
    for each in instances:
        waiting = _waiting(view, each)
        if not waiting:
            return Stage("computing", "all keys are released, the enclave computes")
        live = view.live(request.body.task)
        if live is not None and live.request.id != run:
            other = live.request.id[:12]
            return Stage(
                "attested", f"waiting for run {other} of the same task; if that is stuck: `run abandon {other}`"
            )
        return Stage("attested", f"the enclave has shown its evidence; waiting for the key of {', '.join(waiting)}")
    try:
        view.check_request(run)
    except Void as reason:
        return Stage("refused", str(reason), ended=True, refused=True)
    counter = view.counter(request.body.task)
    asked = {e.by for e in view.challenges.values() if e.body.request == run and e.body.c == counter}
    missing = sorted(set(view.owners(request)) - asked)
    if missing:
        return Stage("requested", f"waiting for the agent of {', '.join(missing)} to answer")
    short = task.holders.threshold - len(asked & set(task.holders.of))
    if short > 0:
        return Stage("requested", f"waiting for {short} more holders' agents to answer")
    return Stage("challenged", "owners and holders have answered; waiting for an enclave to show its evidence")


def _waiting(view: View, instance: Instance) -> list[str]:
    """Whose key, or share of one, an instance still waits for."""
    owners = view.owners(instance.request)
    waiting = {
        view.deliveries[of].entry.by if of in view.deliveries else owners[0]
        for of in view.needed_releases(instance.request)
        if of not in instance.releases
    }
    for of, holders in view.needed_shares(instance.request).items():
        given = instance.shares.get(of, {})
        if len(given) < holders.threshold:
            waiting |= set(holders.of) - given.keys()
    return sorted(waiting)


def _released(view: View, record: Entry[RunRecord], consumer: str) -> Stage:
    instance = view.instance_of(record.id)
    if not record.body.outputs:
        return Stage("done", _done(view, instance), ended=True)
    holders = view.task(instance.request).holders
    given = view.result_releases.get(record.id, {})
    stopped = [no for no in view.refusals.get(record.id, []) if no.by in view.terms(record).owners(instance.task)]
    if len(given) >= holders.threshold:
        return Stage("released", f"released to {consumer} by {', '.join(sorted(given))}", ended=True)
    if record.agreement in view.withdrawals:
        return _withdrawn(view, record.agreement, "the release")
    if stopped:
        who, why = stopped[0].by, stopped[0].body.why or "no cause given"
        return Stage("stopped", f"{who} has refused the release: {why}", ended=True, refused=True)
    waiting = f"{len(given)} of {holders.threshold} holders have released it"
    return Stage("counted", f"the record counts; the release delay runs, {waiting}")


def _done(view: View, instance: Instance) -> str:
    said = instance.request.body
    days = view.ingested(said.task)
    return {
        "ingest": f"{said.period} is taken in; the state holds {len(days)} days",
        "cancel": f"the days of {said.period} are forgotten, without a report",
        "key": f"the key of the pseudonyms of {said.period} is drawn",
    }.get(said.action, "done")


def _withdrawn(view: View, agreement: str, before: str) -> Stage:
    said = view.withdrawals[agreement]
    sentence = f"{said.by} withdrew from the agreement before {before}: {said.body.why}"
    return Stage("stopped", sentence, ended=True, refused=True)


def _refused(reason: str) -> str:
    sentences = {
        "agreement": "the agreement does not hold: see `sealstat agreement show`",
        "request": "the request is not, or no longer, in order",
        "deliveries": "a delivery is missing, replaced or has expired",
        "data": "a delivery is not as agreed; its owner was told the detail, sealed",
    }
    return f"the enclave has refused the run ({reason}): {sentences.get(reason, 'see its owner')}"


def refusal_detail(member: Member, run: str) -> str | None:
    """What an enclave found wrong with this party's delivery, sealed to it alone; None if it told it nothing."""
    refusal = member.view.run_refused(run)
    if refusal is None or member.name not in refusal.body.sealed:
        return None
    for identity in member.home.identities.values():
        context = contexts.refusal_detail(member.id, instance=refusal.by, owner=identity.fingerprint, request=run)
        try:
            return unseal(identity.opener, context, refusal.body.sealed[member.name]).decode("utf-8", "replace")
        except CryptoError:
            continue
    return "the detail does not open with any key of this party"


def told(member: Member, record: Entry[RunRecord]) -> dict[str, Any] | None:
    """What an enclave told this party alone about its delivery in a run; None if it told it nothing."""
    if member.name not in record.body.told:
        return None
    for identity in member.home.identities.values():
        context = contexts.told(
            record.agreement, instance=record.by, owner=identity.fingerprint, request=record.body.request
        )
        try:
            opened = unseal(identity.opener, context, record.body.told[member.name])
        except CryptoError:
            continue
        said = dict(canonical.decode(opened, limit=64 * 1024))
        return {name: value for name, value in said.items() if name != "pad"}
    return None


def watch(member: Member, run: str, *, patience_s: float) -> Iterator[Stage | None]:
    """Each new stage of a run until it ends; None at every look that shows nothing new.

    Raises:
        WaitingTooLong: patience ended first; the run goes on.
    """
    last: Stage | None = None
    for view in member.until(f"run {run[:12]}", patience_s=patience_s):
        if run not in view.requests:
            continue
        now = stage(view, run, member.name)
        yield now if now != last else None
        last = now
        if now.ended:
            return


def silent_instance(view: View, run: str) -> Instance | None:
    """The instance of a run that has got keys and has not made a record: the one to abandon if it stays silent."""
    for each in view.instances.values():
        if each.request.id == run and not each.over and each.first_release is not None and each.record is None:
            return each
    return None


def abandon(member: Member, run: str) -> str:
    """Give up the instance that works on a run, so that a new one can take its place; its fingerprint.

    Raises:
        PartyError: no instance is at work on it.
    """
    member.update()
    mine = [each for each in member.view.instances.values() if each.request.id == run and not each.over]
    if not mine:
        raise PartyError(f"no enclave is at work on run {run[:12]}: there is nothing to abandon")
    for each in mine:
        member.await_leaf(member.say("abandon", {"instance": each.fingerprint}))
    return mine[0].fingerprint


# -- opening -----------------------------------------------------------------------------------------------------


def open_result(member: Member, run: str) -> tuple[Entry[RunRecord], list[Result]]:
    """The tables of a run that are for this party, decrypted and held against their commitments in the log.

    Raises:
        PartyError: not released yet, not for this party, or not what the record says.
    """
    record, instance = _record(member, run)
    result_key = _result_key(member, record, instance)
    results = [
        _open_output(member, record, instance, output, result_key)
        for output in record.body.outputs
        if member.name in output.keys
    ]
    if not results:
        raise PartyError(f"no table of run {run[:12]} is for {member.name}")
    return record, results


def _record(member: Member, run: str) -> tuple[Entry[RunRecord], Instance]:
    if run not in member.view.requests:
        raise PartyError(f"run {run[:12]} is not in the log")
    record = member.view.counting_record(run)
    if record is None:
        raise PartyError(f"run {run[:12]} has no result yet: {stage(member.view, run, member.name).sentence}")
    return record, member.view.instance_of(record.id)


def wrong_givers(member: Member, run: str) -> list[str]:
    """The holders who released to this party something else than their share of a run's result."""
    return _shares(member, *_record(member, run))[1]


def _result_key(member: Member, record: Entry[RunRecord], instance: Instance) -> bytes:
    """R, from enough holders' shares; each is bound to its holder, this party and the record."""
    holders = member.view.task(instance.request).holders
    found, wrong = _shares(member, record, instance)
    if len(found) < holders.threshold and wrong:
        raise PartyError(
            f"the result does not open: the share that {', '.join(wrong)} released is not the one the enclave gave it, "
            f"and only {len(found)} of {holders.threshold} needed shares are good"
        )
    if len(found) < holders.threshold:
        raise PartyError(
            f"the result is not open yet: {len(found)} of {holders.threshold} needed holders have released it to "
            f"{member.name}; {stage(member.view, record.body.request, member.name).sentence}"
        )
    return shares.combine(found, threshold=holders.threshold, holders=len(holders.of))


def _shares(member: Member, record: Entry[RunRecord], instance: Instance) -> tuple[dict[int, bytes], list[str]]:
    """The shares that were released to this party, by holder number, and who released something else.

    A holder can give something else than what the instance sealed for it: then its MAC in the record is wrong, and it
    is passed over.
    """
    holders = member.view.task(instance.request).holders
    found: dict[int, bytes] = {}
    wrong = []
    for name, entry in member.view.result_releases.get(record.id, {}).items():
        for identity in member.home.identities.values():
            context = contexts.result_release(
                member.id,
                holder=member.view.statements[entry.id].by,
                consumer=identity.fingerprint,
                record=record.id,
            )
            try:
                share = unseal(identity.opener, context, entry.body.shares.get(member.name, ""))
            except CryptoError:
                continue
            if _is_as_sealed(member, record, instance, name, share):
                found[holders.of.index(name) + 1] = share
            else:
                wrong.append(name)
    return found, wrong


def _is_as_sealed(member: Member, record: Entry[RunRecord], instance: Instance, holder: str, share: bytes) -> bool:
    """Whether a share is the one that the instance sealed for a holder, under whichever of its cards was in force."""
    given = record.body.shares.get(holder)
    if given is None:
        return False
    digest = contexts.outputs_digest([output.to_json() for output in record.body.outputs])
    for card in member.view.cards_ever(record.agreement):
        context = contexts.result_share(
            record.agreement,
            instance=instance.fingerprint,
            holder=card,
            task=instance.task,
            c=instance.c,
            outputs=digest,
        )
        if mac_matches(subkey(share, "share"), context, given.mac):
            return True
    return False


def _open_output(
    member: Member, record: Entry[RunRecord], instance: Instance, output: Output, result_key: bytes
) -> Result:
    part_key, place = (
        _part_key(member, instance, output),
        contexts.result_place(instance.task, instance.c, output.table),
    )
    key = subkey(result_key + part_key, "output")
    schema = statistics.get(record.body.statistic).outputs[output.table].schema
    try:
        listed = parse_parts_list(member.client.get_blob(member.id, output.parts.digest, limit=MAX_LIST_BYTES))
        batches = []
        for index, part in enumerate(listed):
            sealed = member.client.get_blob(member.id, part.sha256)
            batches += open_part(
                sealed,
                key=key,
                agreement=member.id,
                place=place,
                index=index,
                last=index == len(listed) - 1,
                schema=schema,
            )
        note = member.client.get_blob(member.id, output.about)
        about = open_about(note, key=key, agreement=member.id, place=place)
        salt = unb64(about["salt"])
    except (CryptoError, DataError, KeyError, TypeError) as error:
        raise PartyError(f"table {output.table} does not open: {error}; a holder's share may be wrong") from error
    table = pa.Table.from_batches(batches, schema)
    if commitment(salt, content(output.table, table)) != output.commitment:
        raise PartyError(f"table {output.table} is not the one that the record in the log commits to")
    return Result(output.table, table, salt, output.commitment, about.get("effects", {}))


def _part_key(member: Member, instance: Instance, output: Output) -> bytes:
    for identity in member.home.identities.values():
        context = contexts.output_key(
            member.id,
            instance=instance.fingerprint,
            consumer=identity.fingerprint,
            request=instance.request.id,
            task=instance.task,
            c=instance.c,
            table=output.table,
        )
        try:
            return unseal(identity.opener, context, output.keys[member.name])
        except CryptoError:
            continue
    raise PartyError(f"the key part of table {output.table} does not open for {member.name}")


def fetch(
    member: Member, run: str, out: Path, *, label: str, also: Also = lambda *_: {}
) -> tuple[Entry[RunRecord], list[Result]]:
    """Open a run's tables and write them, all or none: Parquet, CSV and about.json in a new folder.

    Args:
        label: what the evidence calls the machine; it stands in about.json and in every table's metadata.
        also: ``(tables, what about.json holds)`` to further files of the folder: their text by name.
    Raises:
        PartyError: see ``open_result``; or the folder exists.
    """
    if out.exists() and any(out.iterdir()):
        raise PartyError(f"{out} exists and is not empty: name another folder")
    member.update()
    record, results = open_result(member, run)
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        for result in results:
            _write_table(staging, result, record, label)
        about = about_run(member, record, results, label)
        (staging / "about.json").write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n")
        for name, written in also(results, about).items():
            (staging / name).write_text(written, encoding="utf-8")
        if out.exists():
            out.rmdir()
        staging.chmod(0o755)
        staging.rename(out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    if member.name not in member.view.acknowledged.get(record.id, set()):
        member.say("acknowledgement", {"record": record.id})
    return record, results


def _write_table(folder: Path, result: Result, record: Entry[RunRecord], label: str) -> None:
    metadata = {"sealstat_run": record.body.request, "sealstat_record": record.id, "sealstat_protection": label}
    pa.parquet.write_table(result.table.replace_schema_metadata(metadata), folder / f"{result.name}.parquet")
    with (folder / f"{result.name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(result.table.column_names)
        writer.writerows([text(value) for value in row.values()] for row in result.table.to_pylist())


def about_run(member: Member, record: Entry[RunRecord], results: list[Result], label: str) -> dict[str, Any]:
    """What the tables are: units, rules, where they come from, and what they were held against."""
    request, statistic = member.view.requests[record.body.request], statistics.get(record.body.statistic)
    described = statistics.describe(statistic.name)["outputs"]
    return {
        "protection": label,
        "agreement": member.id,
        "title": member.agreement.title,
        "run": request.id,
        "record": record.id,
        "task": request.body.task,
        "period": request.body.period,
        **({"days": days_of(member.view, request)} if request.body.action == "finish" else {}),
        "purpose": request.body.purpose,
        "statistic": {"name": statistic.name, "version": record.body.version, "title": statistic.title},
        "measurement": record.body.measurement,
        "parameters": _parameters(member, request),
        "tables": {
            result.name: {
                "commitment": result.commitment,
                "salt": b64(result.salt),
                "rule": record.body.rules[result.name],
                "effects": result.effects,
                **{key: described[result.name][key] for key in ("title", "dimensions", "contributors", "columns")},
            }
            for result in results
        },
        "suppressed": "an empty cell is hidden by the rules of the agreement; it is not zero",
    }


def _parameters(member: Member, request: Entry[RunRequest]) -> dict[str, dict[str, Any]]:
    """Every parameter of a run with its description and unit, those too that the agreement left at their default."""
    task = member.agreement.tasks[request.body.task]
    model = statistics.get(task.statistic).parameters
    values = model.model_validate({**task.parameters, **request.body.parameters}).model_dump(mode="json")
    return {
        name: {"value": values[name], "description": field.description or ""}
        for name, field in model.model_fields.items()
    }


def days_of(view: View, request: Entry[RunRequest]) -> dict[str, list[str]]:
    """What became of each day of a report, by the log.

    Taken in: it is in the report. Failed: its runs were refused. Forgotten: it was taken in, but the state was given
    up before the report, by a cancel or by holders who destroyed their shares. Skipped: nothing came of it.
    """
    task, period = request.body.task, request.body.period
    record = view.counting_record(request.id)
    taken = view.ingested(task) if record is None else view.tasks[task].reported[record.id]
    ingests = [entry for entry in view.requests.values() if (entry.body.task, entry.body.action) == (task, "ingest")]
    counted = {entry.body.period for entry in ingests if view.counting_record(entry.id)}
    refused = {entry.body.period for entry in ingests if view.run_refused(entry.id)}
    days = [day for day in each_day(period) if day not in taken]
    return {
        "taken_in": sorted(taken),
        "failed": [day for day in days if day in refused - counted],
        "forgotten": [day for day in days if day in counted],
        "skipped": [day for day in days if day not in refused | counted],
    }


# -- proving -----------------------------------------------------------------------------------------------------


def proof(member: Member, run: str) -> bytes:
    """The proof bundle of a run: one file that anyone checks offline."""
    from sealstat.verify import make_bundle

    member.update()
    record, _ = _record(member, run)
    follower = member.follower
    assert follower.checkpoint is not None
    bundle = make_bundle(
        member.view,
        record.id,
        follower.checkpoint,
        inclusion=follower.inclusion,
        consistency=follower.consistency_proof,
    )
    return bundle.to_bytes()


# -- a person's word -----------------------------------------------------------------------------------------------


def allow(member: Member, run: str) -> None:
    """The owner's word that a result on hold may be released; the agent acts on it."""
    member.update()
    record, _ = _record(member, run)
    member.home.ledger.note_fact("allowed", record.id, True)
    member.home.ledger.act(
        f"allowed the release of run {run[:12]}", "a person of this party said so", agreement=member.id
    )


def refuse(member: Member, run: str, why: str) -> None:
    """The owner's word that a result must not be released, with cause; it stops every holder that hears of it."""
    member.update()
    record, instance = _record(member, run)
    if member.name not in member.agreement.owners(instance.task):
        raise PartyError(f"{member.name} owns no input of run {run[:12]}: only an owner can stop its release")
    member.await_leaf(member.say("refusal", {"of": record.id, "reason": "owner", "why": why, "sealed": {}}))
    member.home.ledger.act(f"refused the release of run {run[:12]}", why, agreement=member.id)


def label_of(member: Member, record: Entry[RunRecord]) -> str:
    """What the evidence behind a record calls the machine: hardware, or loudly not."""
    from sealstat.evidence.appraisal import appraise

    evidence = member.view.instance_of(record.id).evidence.body
    return appraise(evidence, member.agreement.enclave, now=member.clock()).label
