"""An operator's pseudonymiser: its keys, and whole files (docs/pseudonyms.md).

Two keys. The *inner key* is the operator's own: drawn here on first use, one for each name of a dataset, the same for
every agreement and period; it never leaves the ledger. The *period key* comes from the enclave through the
operator's agent, and is destroyed when the period is closed. It is read from the ledger for every batch, so that
nothing goes on with a key that was destroyed meanwhile.
"""

from __future__ import annotations

import csv
import io
import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

from sealstat.agreement.periods import kind_of
from sealstat.crypto.cards import b64, unb64
from sealstat.party.deliver import Progress, Show
from sealstat.party.errors import PartyError
from sealstat.party.home import Home
from sealstat.party.member import Member
from sealstat.party.period_keys import CLOSED, KEY, is_closed, period_key_ref
from sealstat.tables.errors import BadFile
from sealstat.tables.parquet import identified_batches
from sealstat.tables.period_pseudonyms import (
    Flags,
    Kind,
    hexadecimal,
    inner_ids,
    period_pseudonyms,
    well_formed,
)
from sealstat.tables.reading import Rejects, csv_batches, head, header, open_file
from sealstat.tables.schemas import PSEUDONYM_BYTES

pc: Any = pyarrow.compute  # its stubs know fewer argument types than its functions

COLUMN = "user_id"
"""What the column of pseudonyms is called in a day file."""

_INNER = "inner-key"
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Pseudonymiser:
    """This party's pseudonymiser of one dataset for one period; it holds no key, and reads both for every batch."""

    home: Home = field(repr=False)
    agreement: str
    dataset: str
    period: str

    @property
    def ref(self) -> str:
        """The period's place in the ledger."""
        return period_key_ref(self.agreement, self.dataset, self.period)

    def period_key(self) -> bytes:
        """The period's key.

        Raises:
            PartyError: the period was closed, or its key did not come yet.
        """
        if is_closed(self.home.ledger, self.ref):
            raise PartyError(
                f"{self.dataset} for {self.period} is closed: its key was destroyed, and no other is taken"
            )
        found = self.home.ledger.secret(KEY, self.ref)
        if found is None:
            raise PartyError(
                f"the key of {self.dataset} for {self.period} is not here: have the agreement's task that draws period "
                f"keys run (`sealstat run {self.agreement[:12]} TASK --period {self.period}`), and keep this party's "
                "agent running (`sealstat party serve`)"
            )
        return unb64(found["key"])

    def inner_key(self) -> bytes:
        """The operator's own key for a dataset of this name; drawn when it is first asked for."""
        ledger = self.home.ledger
        found = ledger.secret(_INNER, self.dataset)
        if found is None:  # two processes may come here at once: the first draws it
            ledger.keep_first_secret(_INNER, self.dataset, {"key": b64(secrets.token_bytes(_KEY_BYTES))})
            found = ledger.secret(_INNER, self.dataset)
        assert found is not None
        return unb64(found["key"])

    def pseudonyms(self, identifiers: pa.Array[Any], kind: Kind) -> pa.Array[Any]:
        """The period's pseudonyms of well-formed identifiers: fixed_size_binary[16].

        Raises:
            PartyError: there is no key, or no longer.
            ValueError: an identifier is not of its kind's form.
        """
        return period_pseudonyms(inner_ids(identifiers, self.inner_key(), kind), self.period_key())

    def close(self) -> bool:
        """Destroy the period's key, for ever; False if it was closed before (what was left of it is destroyed anew).

        Raises:
            PartyError: there is no key to destroy, or another program reads the ledger all the time.
        """
        ledger, before = self.home.ledger, is_closed(self.home.ledger, self.ref)
        if not before:
            self.period_key()
            # first of all: whatever happens next, no key for this period is taken any more
            ledger.note_fact(CLOSED, self.ref, {"dataset": self.dataset, "period": self.period})
        ledger.destroy_secret(KEY, self.ref)
        if not before:
            what, why = (
                f"closed {self.dataset} for {self.period}",
                "its period key is destroyed: no pseudonym is made again",
            )
            ledger.act(what, why, agreement=self.agreement)
        return not before


def pseudonymiser(member: Member, dataset: str, period: str) -> Pseudonymiser:
    """This party's pseudonymiser of a dataset of the agreement. Nobody else is asked for anything.

    Raises:
        PartyError: this party does not provide that dataset, or not by such periods.
    """
    terms = member.agreement.datasets.get(dataset)
    if terms is None:
        known = ", ".join(sorted(member.agreement.datasets))
        raise PartyError(f"the agreement has no dataset {dataset}: it has {known}")
    if terms.provider != member.name:
        raise PartyError(f"{dataset} is provided by {terms.provider}, not by {member.name}")
    try:
        kind = kind_of(period)
    except ValueError as error:
        raise PartyError(str(error)) from error
    if kind != terms.period:
        raise PartyError(f"{dataset} is delivered by {terms.period}, and {period} is a {kind}")
    return Pseudonymiser(member.home, member.id, dataset, period)


# --- files ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a file's rows."""

    rows: int
    rejects: dict[str, int]
    rejects_file: Path
    out: Path


def pseudonymise_file(
    pseudonymiser: Pseudonymiser,
    file: Path,
    out: Path,
    *,
    kind: Kind = "imsi",
    column: str = "imsi",
    show: Show = lambda _: None,
) -> Written:
    """Write a file anew with pseudonyms (``user_id``) in place of its identifiers; other columns stay as they are.

    Rows without a good identifier are dropped and counted: ``missing``, ``form``, or ``columns`` (not one value per
    column); as they were, they go into a local file of mode 0600. ``out`` is there whole or not at all. A batch is in
    memory at a time.

    Args:
        file: CSV (UTF-8, a header) or Parquet, told by its content.
        out: ``.csv`` (pseudonyms as 32 hexadecimal digits) or ``.parquet`` (16 bytes); an older file is replaced.
        column: the identifiers' column.
    Raises:
        BadFile: the file is refused as a whole.
        PartyError: no key, or a file to write that cannot be.
    """
    _check_out(file, out)
    pseudonymiser.period_key()  # before anything is read
    name = f"identifiers-{pseudonymiser.dataset}-{pseudonymiser.period.replace('/', '_')}.csv"
    rejects_file = pseudonymiser.home.path / "rejects" / name
    rejects_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    rows, counts, start = 0, Counter[Any](), monotonic()
    with ExitStack() as stack:
        source = stack.enter_context(open_file(file))
        size = os.fstat(source.fileno()).st_size
        rejects = stack.enter_context(Rejects(rejects_file))
        target = stack.enter_context(_replacing(out))
        put: Callable[[pa.RecordBatch], None] | None = None
        for batch, split_badly in _batches(source, size, column):
            good = well_formed(batch.column(column), kind)
            kept = batch if good.all() else batch.filter(pa.array(good))
            made = pseudonymiser.pseudonyms(kept.column(column), kind)
            written = _with_pseudonyms(kept, batch.schema.get_field_index(column), made)
            if put is None:
                put = stack.enter_context(_writer(target, out.suffix, written.schema))
            if len(written):
                put(written)
            rows += len(written)
            for dropped in _dropped(batch, good, column, split_badly):
                counts.update(dropped["reason"].to_pylist())
                rejects.write(dropped)
            rate = rows / max(1e-9, monotonic() - start)
            show(Progress("pseudonymising", min(source.tell(), size), size, rate, "rows"))
        rejects.keep()
    return Written(rows, dict(counts), rejects_file, out)


def _check_out(file: Path, out: Path) -> None:
    if out.suffix not in {".csv", ".parquet"}:
        raise PartyError(f"expected a file to write that ends in .csv or .parquet, got {out.name}")
    if out.is_dir():
        raise PartyError(f"{out} is a folder: name the file to write")
    if out.exists() and file.exists() and out.samefile(file):
        raise PartyError(f"{out} is the file to read: name another to write")


def _batches(file: BinaryIO, size: int, column: str) -> Iterator[tuple[pa.RecordBatch, list[str]]]:
    """An empty batch that shows the columns, then the file's; each with the lines that do not split into columns."""
    start = head(file)
    if start.startswith(b"PAR1"):
        for batch in identified_batches(file, size, column):
            _check_names(batch.schema.names, column)
            yield batch, []
        return
    names, begin = header(start)
    _check_names(names, column)
    yield pa.RecordBatch.from_pylist([], pa.schema([pa.field(name, pa.string()) for name in names])), []
    file.seek(begin)
    if begin < size:
        yield from csv_batches(file, names)


def _check_names(names: list[str], column: str) -> None:
    """The file's own names are not shown: a first line may be data."""
    if names.count(column) != 1:
        raise BadFile(f"expected one column {column} with the identifiers: name it with --column")
    if len(set(names)) != len(names):
        raise BadFile("a column's name stands twice in the file: give each its own")
    if COLUMN in names and column != COLUMN:
        raise BadFile(f"the file has a column {COLUMN} beside {column}: that name is needed for the pseudonyms")


def _with_pseudonyms(batch: pa.RecordBatch, place: int, made: pa.Array[Any]) -> pa.RecordBatch:
    pseudonym = pa.field(COLUMN, pa.binary(PSEUDONYM_BYTES), nullable=False)
    arrays = [made if n == place else array for n, array in enumerate(batch.columns)]
    return pa.RecordBatch.from_arrays(arrays, schema=batch.schema.set(place, pseudonym))


def _dropped(batch: pa.RecordBatch, good: Flags, column: str, split_badly: list[str]) -> Iterator[pa.Table]:
    """The rows that are not written, as they were, as text: reason, the file's columns, line (if it has no columns)."""
    names = ["reason", *batch.schema.names, "line"]
    if split_badly:
        nothing = pa.nulls(len(split_badly), pa.string())
        why = pa.array(["columns"] * len(split_badly), pa.string())
        columns: list[Any] = [why, *[nothing for _ in batch.columns], pa.array(split_badly, pa.string())]
        yield pa.Table.from_arrays(columns, names=names)
    if not good.all():
        bad = batch.filter(pa.array(~good))
        empty = pc.fill_null(pc.equal(pc.binary_length(bad.column(column)), 0), True)
        columns = [pc.if_else(empty, "missing", "form"), *map(_as_text, bad.columns), pa.nulls(len(bad), pa.string())]
        yield pa.Table.from_arrays(columns, names=names)


def _as_text(array: pa.Array[Any]) -> pa.Array[Any]:
    try:
        return array.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # lists, bytes that are no text
        return pa.array([None if value is None else str(value) for value in array.to_pylist()], pa.string())


@contextmanager
def _replacing(out: Path) -> Iterator[BinaryIO]:
    """A file of mode 0600 beside ``out`` that takes its place at the end, on disk by then; else nothing stays."""
    part = out.with_name(f".{out.name}.part-{os.getpid()}")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise PartyError(f"cannot write in {out.parent}: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(out)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def _writer(target: BinaryIO, suffix: str, schema: pa.Schema) -> Iterator[Callable[[pa.RecordBatch], None]]:
    if suffix == ".csv":
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(schema.names)
        target.write(line.getvalue().encode())
        yield lambda batch: _write_csv(target, batch)
        return
    # pseudonyms neither repeat nor shrink: a dictionary of them would only be given up later
    other: Any = [name for name in schema.names if name != COLUMN]
    with pyarrow.parquet.ParquetWriter(target, schema, compression="zstd", use_dictionary=other) as writer:
        yield writer.write_batch


def _write_csv(target: BinaryIO, batch: pa.RecordBatch) -> None:
    """Rows as CSV; quotation marks only in a batch that needs them, as Arrow would else put them everywhere."""
    place = batch.schema.get_field_index(COLUMN)
    arrays = [hexadecimal(array) if n == place else array for n, array in enumerate(batch.columns)]
    shown = pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)
    for style in ("none", "needed"):
        text = io.BytesIO()
        try:
            pa.csv.write_csv(shown, text, pa.csv.WriteOptions(include_header=False, quoting_style=style))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, TypeError):
            continue  # a value with a comma or a quotation mark, or a column that is no CSV at all
        target.write(text.getvalue())
        return
    raise PartyError("a column of the file has values that CSV cannot hold: write Parquet, with --out *.parquet")
