"""Delivering a table: check, pseudonymise and encrypt at home, upload ciphertext, say so (protocol.md section 5).

Two phases, so that nothing is sealed twice under one key: first all parts are sealed into a staging folder under a
fresh key, then they are uploaded. A cut in the first begins anew with a new key, since a part sealed again under the
same one would repeat a nonce; a cut in the second goes on with the parts that the host does not have.
"""

import json
import secrets
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import Any

from sealstat import statistics
from sealstat.agreement import contexts
from sealstat.agreement.model import PERIOD_KEYS, Dataset
from sealstat.agreement.periods import kind_of
from sealstat.agreement.replay import InactiveError
from sealstat.crypto.cards import b64, unb64
from sealstat.crypto.keystore import write_private
from sealstat.party import linkage
from sealstat.party.duties import staging_name
from sealstat.party.errors import PartyError
from sealstat.party.member import Member
from sealstat.tables import schemas
from sealstat.tables.numbers import Scale
from sealstat.tables.pseudonyms import linkage_check, pseudonymise
from sealstat.tables.reading import Tally, prepare
from sealstat.tables.schemas import TableSchema
from sealstat.tables.sealed import key_check, parts_list, seal_table

_UPLOADS = 2


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a delivery is: what is being done, how much of how much, and at what rate a second."""

    phase: str
    done: int
    of: int
    rate: float
    unit: str


@dataclass(frozen=True, slots=True)
class Delivered:
    """A delivery that is in the log, and what became of the file's rows (known at home only)."""

    id: str
    rows: int
    rejects: dict[str, int]
    rejects_file: Path
    rounded: int
    parts: int
    bytes_uploaded: int


@dataclass(frozen=True, slots=True)
class _Staged:
    """Sealed parts on disk, and what the owner knows of them."""

    parts: list[tuple[int, str]]
    key: bytes = field(repr=False)
    rows: int
    rejects: dict[str, int]
    rounded: int
    size: int


Show = Callable[[Progress], None]


def deliver(
    member: Member,
    dataset: str,
    file: Path,
    period: str,
    *,
    show: Show = lambda _: None,
    patience_s: float = 3600.0,
) -> Delivered:
    """Deliver a file as a dataset's table for a period.

    Raises:
        PartyError: this party may not deliver that, or did already.
        BadFile: the file is refused as a whole; nothing was uploaded.
        WaitingTooLong: another provider's linkage share did not come.
        WireError: the host is away; calling again goes on.
    """
    member.update()
    terms = _check(member, dataset, period)
    table, key = schemas.get(terms.table), None
    group = member.agreement.linkage_group(dataset)
    if group is not None:
        key = _await_linkage(member, group, period, patience_s, show)
    folder = member.home.path / "deliveries" / staging_name(member.id, dataset, period)
    rejects_file = member.home.path / "rejects" / f"{dataset}-{period.replace('/', '_')}.csv"
    staged = _staged(member, folder, file)
    if staged is None:
        staged = _seal(member, folder, file, dataset, period, table, key, rejects_file, show)
    uploaded = _upload(member, folder, staged, show)
    return _say(member, folder, dataset, period, terms, staged, key, rejects_file, uploaded)


def allowed_values(member: Member, dataset: str) -> dict[str, list[str]]:
    """The closed lists of the tasks that use a dataset, by column; a row must please all of them."""
    allowed: dict[str, list[str]] = {}
    for task in member.agreement.tasks.values():
        if dataset in task.inputs.values() and task.statistic != PERIOD_KEYS:
            statistic = statistics.get(task.statistic)
            choices = statistic.choices(statistic.parameters.model_validate(task.parameters))
            for column, values in choices.items():
                before = allowed.get(column)
                allowed[column] = list(values) if before is None else [value for value in before if value in values]
    return allowed


def scale_of(member: Member, dataset: str) -> Scale:
    """What the tasks that use a dataset say of its numbers.

    Raises:
        PartyError: they do not say the same.
    """
    found = set()
    for task in member.agreement.tasks.values():
        if dataset in task.inputs.values() and task.statistic != PERIOD_KEYS:
            statistic = statistics.get(task.statistic)
            found.add(statistic.scale(statistic.parameters.model_validate(task.parameters)))
    if len(found) > 1:
        raise PartyError(f"the tasks that use {dataset} have different resolutions or rectangles: it fits only one")
    return found.pop() if found else Scale()


def _check(member: Member, dataset: str, period: str) -> Dataset:
    terms = member.agreement.datasets.get(dataset)
    if terms is None:
        known = ", ".join(sorted(member.agreement.datasets))
        raise PartyError(f"the agreement has no dataset {dataset}: it has {known}")
    if terms.provider != member.name:
        raise PartyError(f"{dataset} is delivered by {terms.provider}, not by {member.name}")
    try:
        member.view.check_active(member.clock())
    except InactiveError as error:
        raise PartyError(f"nothing can be delivered now: {error}") from error
    if kind_of(period) != terms.period:
        raise PartyError(f"{dataset} is delivered by {terms.period}, and {period} is a {kind_of(period)}")
    drawing = member.agreement.drawing_task(dataset)
    if drawing is not None and (dataset, period) not in member.view.period_keys:
        raise PartyError(
            f"the key of the pseudonyms of {dataset} for {period} was not drawn yet: ask a runner for "
            f"`sealstat run {member.id[:12]} {drawing} --period {period} --purpose PURPOSE`"
        )
    earlier = member.judged().in_force(dataset, period)
    if earlier is not None and (not terms.replaceable or earlier.named):
        why = "a run has named it" if terms.replaceable else "the agreement lets no delivery be replaced"
        raise PartyError(f"{dataset} for {period} was delivered already ({earlier.entry.id[:12]}), and {why}")
    covering = member.judged().overlapping(dataset, period)
    if covering is not None:
        theirs = covering.entry.body.period
        raise PartyError(
            f"{dataset} was delivered for {theirs}, which shares days with {period}: ranges may not overlap"
        )
    return terms


def _await_linkage(member: Member, group: str, period: str, patience_s: float, show: Show) -> bytes:
    linkage.contribute(member, group, period)
    others = sorted(set(member.agreement.pseudonyms[group].shared_by) - {member.name})
    show(Progress(f"waiting for the linkage share of {', '.join(others)}", 0, 0, 0, ""))
    for _ in member.until(f"the linkage share of {', '.join(others)}: is its agent running?", patience_s=patience_s):
        linkage.contribute(member, group, period)  # if whoever began to say it was cut off
        key = linkage.key_for(member, group, period)
        if key is not None:
            return key
    raise AssertionError("unreachable")


def _seal(
    member: Member,
    folder: Path,
    file: Path,
    dataset: str,
    period: str,
    table: TableSchema,
    linkage_key: bytes | None,
    rejects_file: Path,
    show: Show,
) -> _Staged:
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(exist_ok=True, mode=0o700)
    folder.mkdir(mode=0o700)
    rejects_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    key, start, terms = secrets.token_bytes(32), monotonic(), member.agreement.datasets[dataset]

    def reading(rows: int, done: int, of: int) -> None:
        show(Progress("sealing", done, of, rows / max(1e-9, monotonic() - start), "rows"))

    make = None
    group = member.agreement.linkage_group(dataset)
    if linkage_key is not None and group is not None:
        prefix_len = member.agreement.pseudonyms[group].keep_prefix
        make = partial(pseudonymise, prefix_len=prefix_len, key=linkage_key)
    prepared = prepare(
        file,
        schema=table,
        period=period,
        allowed=allowed_values(member, dataset),
        pseudonymise=make,
        rejects_file=rejects_file,
        progress=reading,
        scale=scale_of(member, dataset),
    )
    parts, size, place = [], 0, contexts.delivery_place(dataset, period)
    for part in seal_table(prepared, key=key, agreement=member.id, place=place, schema=table.delivered):
        digest = sha256(part.ciphertext).hexdigest()
        (folder / digest).write_bytes(part.ciphertext)  # ciphertext: lost in a crash, it is made again
        parts.append((len(part.ciphertext), digest))
        size += part.true_size
    _check_counts(terms, prepared.tally, rejects_file)
    tally = prepared.tally
    staged = _Staged(parts, key, tally.rows, dict(tally.rejects), tally.rounded, size)
    # the list is written last: a folder with one is whole
    member.home.ledger.keep_secret("staged", folder.name, {"key": b64(key)})
    counts = {"rows": staged.rows, "rejects": staged.rejects, "rounded": staged.rounded, "size": size}
    plan = {"file": _identity(file), "parts": parts, **counts}
    write_private(folder / "plan.json", json.dumps(plan).encode())
    return staged


def _check_counts(terms: Dataset, tally: Tally, rejects_file: Path) -> None:
    """The agreement's own limits, so that a hopeless table is never uploaded."""
    if tally.rows < terms.minimum_rows:
        raise PartyError(f"the file has {tally.rows} good rows, the agreement asks for at least {terms.minimum_rows}")
    if terms.rejects_too_many(rows=tally.rows, rejected=tally.rejected):
        raise PartyError(
            f"{tally.rejected} of {tally.rows + tally.rejected} rows were rejected, more than the agreement's share "
            f"of {terms.maximum_rejects}: see {rejects_file}"
        )


def _staged(member: Member, folder: Path, file: Path) -> _Staged | None:
    """What an earlier try has sealed of this very file, if it was sealed to the end."""
    secret = member.home.ledger.secret("staged", folder.name)
    try:
        plan = json.loads((folder / "plan.json").read_bytes())
    except (OSError, ValueError):
        return None
    if secret is None or plan["file"] != _identity(file):
        return None
    parts = [(size, digest) for size, digest in plan["parts"]]
    if not all((folder / digest).exists() and (folder / digest).stat().st_size == size for size, digest in parts):
        return None
    return _Staged(parts, unb64(secret["key"]), plan["rows"], plan["rejects"], plan["rounded"], plan["size"])


def _upload(member: Member, folder: Path, staged: _Staged, show: Show) -> int:
    sizes = {digest: size for size, digest in staged.parts}
    missing = member.client.missing_blobs(member.id, sizes)
    total, done, start = sum(sizes[digest] for digest in missing), 0, monotonic()

    def put(digest: str) -> int:
        member.client.put_blob(member.id, (folder / digest).read_bytes())
        return sizes[digest]

    with ThreadPoolExecutor(_UPLOADS, thread_name_prefix="upload") as workers:
        for size in workers.map(put, missing):
            done += size
            show(Progress("uploading", done, total, done / max(1e-9, monotonic() - start), "bytes"))
    return total


def _say(
    member: Member,
    folder: Path,
    dataset: str,
    period: str,
    terms: Dataset,
    staged: _Staged,
    linkage_key: bytes | None,
    rejects_file: Path,
    uploaded: int,
) -> Delivered:
    listed = member.client.put_blob(member.id, parts_list(staged.parts))
    body: dict[str, Any] = {
        "dataset": dataset,
        "period": period,
        "schema": terms.table,
        "parts": {"count": len(staged.parts), "digest": listed},
        "key_check": key_check(staged.key, member.id, dataset, period, staged.rows, staged.rejects, staged.size),
    }
    group = member.agreement.linkage_group(dataset)
    if linkage_key is not None and group is not None:
        body["linkage_check"] = linkage_check(linkage_key, member.id, group, period)
    body |= {name: value for name, value in (("rows", staged.rows), ("size", staged.size)) if name in terms.listed}
    secret = {"key": b64(staged.key), "rows": staged.rows, "rejects": staged.rejects, "size": staged.size}
    statement = member.say("delivery", body, before=partial(_keep_key, member, secret))
    member.await_leaf(statement)
    member.home.ledger.destroy_secret("staged", folder.name)
    shutil.rmtree(folder, ignore_errors=True)
    member.home.ledger.act(f"delivered {dataset} for {period}", f"as delivery {statement.id[:12]}", agreement=member.id)
    return Delivered(
        statement.id, staged.rows, staged.rejects, rejects_file, staged.rounded, len(staged.parts), uploaded
    )


def _keep_key(member: Member, secret: dict[str, Any], delivery: str) -> None:
    """The key under the delivery's id, on disk before anyone hears of it; from now on retention counts."""
    member.home.ledger.keep_secret("delivery-key", delivery, secret)
    member.home.ledger.note_fact("delivered", delivery, member.clock().isoformat())


def _identity(file: Path) -> list[Any]:
    """What tells that a file is still the same: its place, size and time of change."""
    found = file.stat()
    return [str(file.resolve()), found.st_size, found.st_mtime_ns]
