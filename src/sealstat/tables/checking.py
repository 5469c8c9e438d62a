"""Row rules, column by column: once at home, where a bad row is dropped, and once in the enclave, where it is a lie."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from sealstat.agreement.periods import days
from sealstat.tables import numbers
from sealstat.tables.errors import BadFile, DataError
from sealstat.tables.numbers import Scale
from sealstat.tables.schemas import PSEUDONYM_BYTES, Column, TableSchema

pc: Any = pyarrow.compute  # its stubs know fewer argument types than its functions
Flags = npt.NDArray[np.bool_]
Verdict = npt.NDArray[np.uint8]

_DAY_FORM = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, slots=True)
class Checked:
    """A batch after the rules: what is good, typed; and what is not, as it was written, with a reason for each row.

    ``rounded``: how many numbers of the batch are not exactly what was written.
    """

    good: pa.RecordBatch = field(repr=False)
    rejects: dict[str, int]
    rejected: pa.Table = field(repr=False)
    rounded: int = 0


class Rules:
    """The rules of one table for one period, with the lookups they need; made once for a whole file.

    Args:
        period: may be None for a table without days.
        allowed: for each column that is a choice, the values it may have.
        scale: what the agreement says of numbers.
    Raises:
        ValueError: not a period, or ``allowed`` names other columns than the choices of the schema.
    """

    def __init__(
        self,
        schema: TableSchema,
        period: str | None,
        allowed: Mapping[str, Sequence[str]],
        scale: Scale | None = None,
    ) -> None:
        choices = {column.name for column in schema.columns if column.kind == "choice"}
        if allowed.keys() != choices:
            raise ValueError(f"the allowed values are needed for exactly: {', '.join(sorted(choices))}")
        self.schema = schema
        self.scale = scale or Scale()
        if period is not None:
            self.first, self.last = days(period)
            count = (self.last - self.first).days + 1
            self._days = pa.array([(self.first + timedelta(n)).isoformat() for n in range(count)], pa.string())
        elif any(column.kind == "day" for column in schema.columns):
            raise ValueError(f"a table of {schema.name} has days: a period is needed")
        self._choices = {name: pa.array(sorted(set(values)), pa.string()) for name, values in allowed.items()}

    def check(self, raw: pa.RecordBatch) -> Checked:
        """Judge a batch of raw columns: text, with nulls where nothing (usable) stood."""
        typed: dict[str, pa.Array[Any]] = {}
        # 0 where no rule is broken yet, else 1 + the reason's place in schema.reasons
        verdict = np.zeros(len(raw), np.uint8)
        rounded = 0
        for column in self.schema.columns:
            values = raw.column(column.name)
            typed[column.name] = values
            if column.kind == "day":
                typed[column.name] = self._day(values, verdict, column)
            elif column.kind in ("identifier", "choice"):
                good = self._identifier(values) if column.kind == "identifier" else self._choice(column, values)
                self._mark(verdict, ~_flags(good), column.name)
            else:
                typed[column.name], well, inexact = numbers.read(column, values, self.scale)
                self._mark(verdict, ~well, column.name)
                rounded += inexact
        if "empty" in self.schema.reasons:
            weights = [typed[column.name] for column in self.schema.columns if column.kind == "weight"]
            self._mark(verdict, ~_any_above_zero(weights), "empty")
        good_rows = pa.array(verdict == 0)
        arrays = [typed[name] for name in self.schema.names]
        fields = [pa.field(name, array.type, nullable=False) for name, array in zip(typed, arrays, strict=True)]
        checked = pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))
        if not verdict.any():
            return Checked(checked, {}, _rejected(self.schema, raw.slice(0, 0), verdict[:0]), rounded)
        bad = verdict != 0
        counts = np.bincount(verdict, minlength=len(self.schema.reasons) + 1)[1:]
        rejects = {reason: int(n) for reason, n in zip(self.schema.reasons, counts, strict=True) if n}
        return Checked(
            checked.filter(good_rows), rejects, _rejected(self.schema, raw.filter(pa.array(bad)), verdict[bad]), rounded
        )

    def check_delivered(self, batch: pa.RecordBatch) -> None:
        """As the function of that name, for many parts of one table."""
        if not batch.schema.equals(self.schema.delivered, check_metadata=True):
            raise DataError("a delivered table has another schema than the agreement names")
        for place, column in enumerate(self.schema.columns):
            values = batch.column(place)
            if values.null_count:
                raise DataError(f"column {column.name} of a delivered table has empty values")
            if len(values) and not self._delivered_well(column, values):
                raise DataError(f"column {column.name} of a delivered table breaks its rule: {column.rule}")
        if "empty" in self.schema.reasons:
            weights = [batch.column(n) for n, column in enumerate(self.schema.columns) if column.kind == "weight"]
            if not _any_above_zero(weights).all():
                raise DataError("a delivered table has rows without any weight above 0")

    def _mark(self, verdict: Verdict, bad: Flags, reason: str) -> None:
        verdict[bad & (verdict == 0)] = 1 + self.schema.reasons.index(reason)

    def _identifier(self, values: pa.Array[Any]) -> Any:
        long_enough = pc.equal(pc.binary_length(values), self.schema.identifier_digits)
        return pc.and_(long_enough, pc.ascii_is_decimal(values))  # ASCII only, as bytes: full-width digits are none

    def _choice(self, column: Column, values: pa.Array[Any]) -> Any:
        return pc.is_in(values, value_set=self._choices[column.name])

    def _day(self, values: pa.Array[Any], verdict: Verdict, column: Column) -> Any:
        """Days as date32; parsing and the period in one lookup, since a period has few days."""
        place = pc.index_in(values, value_set=self._days)
        missed = ~_flags(place.is_valid())
        if missed.any():
            real = np.zeros(len(values), bool)
            real[missed] = _real_days(values.filter(pa.array(missed)))
            self._mark(verdict, missed & ~real, column.name)
            self._mark(verdict, missed & real, "period")
        since = pc.fill_null(place, 0).to_numpy() + np.int32((self.first - date(1970, 1, 1)).days)
        return pa.array(since.astype(np.int32)).view(pa.date32())

    def _delivered_well(self, column: Column, values: pa.Array[Any]) -> bool:
        if column.kind == "choice":
            return bool(pc.all(self._choice(column, values)).as_py())
        if column.kind == "day":
            span = pc.min_max(values.view(pa.int32())).as_py()  # as numbers: a hostile day need not be a date
            epoch = date(1970, 1, 1)
            return bool((self.first - epoch).days <= span["min"] and span["max"] <= (self.last - epoch).days)
        if column.kind != "identifier":
            return numbers.delivered_well(column, values, self.scale)
        width = self.schema.keep_prefix + PSEUDONYM_BYTES
        buffers: list[Any] = values.buffers()
        start = values.offset * width
        data = np.frombuffer(buffers[1], np.uint8, len(values) * width, start).reshape(-1, width)
        prefix = data[:, : self.schema.keep_prefix]
        return bool((prefix - np.uint8(ord("0")) < 10).all())  # below "0" wraps to above 9


def validate(
    batch: pa.RecordBatch, schema: TableSchema, period: str, allowed: Mapping[str, Sequence[str]]
) -> tuple[pa.RecordBatch, dict[str, int], pa.Table]:
    """The good rows of a raw batch, the count of the others by reason, and the others with their reason.

    Duplicate rows are kept: the statistics count distinct subscribers.

    Args:
        batch: the schema's columns as text.
        allowed: the closed list of each choice, such as ``{"border_area": [...]}``.
    Returns:
        good: identifiers and choices as text, days as date32, no nulls; rejects: {reason: rows}, reasons from
        ``schema.reasons``; rejected: text columns ``reason``, those of the schema, and ``line`` (of rows that could
        not be split into columns). Rejected rows hold identifiers: they stay with their owner.
    """
    checked = Rules(schema, period, allowed).check(batch)
    return checked.good, checked.rejects, checked.rejected


def check_delivered(
    batch: pa.RecordBatch, schema: TableSchema, period: str, allowed: Mapping[str, Sequence[str]]
) -> None:
    """Refuse an opened batch whose values its provider's own check would not have let through.

    Kept prefixes are digits, days lie in the period, choices are in their list, nothing is missing. That the rest of a
    pseudonym is an HMAC cannot be seen. For many parts make ``Rules`` once and use its method of this name.

    Raises:
        DataError: with the column and its rule, never a value.
    """
    Rules(schema, period, allowed).check_delivered(batch)


def check_columns(found: Sequence[str], schema: TableSchema) -> None:
    """Refuse a file that has not exactly the schema's columns, in any order.

    Raises:
        BadFile: with our names of missing or doubled columns; never with the file's own, which may be data.
    """
    if sorted(found) == sorted(schema.names):
        return
    missing = [name for name in schema.names if name not in found]
    doubled = sorted({name for name in schema.names if found.count(name) > 1})
    extra = sum(name not in schema.names for name in found)
    faults = [f"{', '.join(missing)} missing"] if missing else []
    faults += [f"{', '.join(doubled)} there twice"] if doubled else []
    faults += [f"{extra} more than asked for"] if extra else []
    raise BadFile(
        f"expected the columns {', '.join(schema.names)} and no others, separated by commas: " + "; ".join(faults)
    )


def rejected_lines(schema: TableSchema, lines: Collection[str]) -> pa.Table:
    """Lines that do not have one value per column, in the form of ``Checked.rejected``."""
    names = ["reason", *schema.names, "line"]
    columns = {name: pa.nulls(len(lines), pa.string()) for name in names}
    columns["reason"] = pa.array(["columns"] * len(lines), pa.string())
    columns["line"] = pa.array(list(lines), pa.string())
    return pa.table(columns)


def _rejected(schema: TableSchema, raw: pa.RecordBatch, verdict: Verdict) -> pa.Table:
    reasons = pa.array(schema.reasons, pa.string()).take(pa.array(verdict.astype(np.int64) - 1, pa.int64()))
    columns = {"reason": reasons, **{name: raw.column(name) for name in schema.names}}
    return pa.table({**columns, "line": pa.nulls(len(raw), pa.string())})


def _any_above_zero(columns: Sequence[Any]) -> Flags:
    found: Flags = np.logical_or.reduce([column.to_numpy() > 0 for column in columns])
    return found


def _flags(values: pa.Array[Any]) -> Flags:
    flags: Flags = pc.fill_null(values, False).to_numpy(zero_copy_only=False)
    return flags


def _real_days(values: pa.Array[Any]) -> list[bool]:
    return [value is not None and _is_day(value) for value in values.to_pylist()]


def _is_day(text: str) -> bool:
    if not _DAY_FORM.fullmatch(text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
