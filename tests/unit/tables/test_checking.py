"""The rules of a row, at home and in the enclave."""

from datetime import date

import pyarrow as pa
import pytest

from sealstat.tables.checking import check_delivered, validate
from sealstat.tables.errors import DataError
from sealstat.tables.schemas import get, names

SCHEMA = get("roamers")
ALLOWED = {"border_area": ["BATAM", "BINTAN"]}
GOOD = ("510101234567890", "BATAM", "2026-10-31")


def check(*rows, period="2026-10"):
    columns = zip(*rows, strict=True)
    batch = pa.RecordBatch.from_arrays([pa.array(column, pa.string()) for column in columns], names=SCHEMA.names)
    return validate(batch, SCHEMA, period, ALLOWED)


def delivered(imsi=b"510101" + b"\xff" * 16, area="BATAM", day=date(2026, 10, 1)):
    return pa.RecordBatch.from_pylist([{"imsi": imsi, "border_area": area, "date": day}], SCHEMA.delivered)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("51010123456789", "BATAM", "2026-10-31"), "imsi"),
        (("5101012345678901", "BATAM", "2026-10-31"), "imsi"),
        (("51010123456789O", "BATAM", "2026-10-31"), "imsi"),
        (("51010123456789\n", "BATAM", "2026-10-31"), "imsi"),
        ((" 51010123456789", "BATAM", "2026-10-31"), "imsi"),
        (("５１０１０", "BATAM", "2026-10-31"), "imsi"),
        (("٠" * 15, "BATAM", "2026-10-31"), "imsi"),
        (("", "BATAM", "2026-10-31"), "imsi"),
        ((None, "BATAM", "2026-10-31"), "imsi"),
        ((GOOD[0], "batam", "2026-10-31"), "border_area"),
        ((GOOD[0], "", "2026-10-31"), "border_area"),
        ((GOOD[0], None, "2026-10-31"), "border_area"),
        ((GOOD[0], "BATAM", "2026-02-30"), "date"),
        ((GOOD[0], "BATAM", "31.10.2026"), "date"),
        ((GOOD[0], "BATAM", "2026-10-1"), "date"),
        ((GOOD[0], "BATAM", "20261001"), "date"),
        ((GOOD[0], "BATAM", "２026-10-01"), "date"),
        ((GOOD[0], "BATAM", "2026-10-01T00:00:00"), "date"),
        ((GOOD[0], "BATAM", None), "date"),
        ((GOOD[0], "BATAM", "2026-09-30"), "period"),
        ((GOOD[0], "BATAM", "2026-11-01"), "period"),
        (("", "", ""), "imsi"),
    ],
)
def test_a_bad_row_is_dropped_under_the_first_rule_it_breaks(row, reason):
    good, rejects, rejected = check(GOOD, row)
    assert len(good) == 1
    assert rejects == {reason: 1}
    assert reason in SCHEMA.reasons
    assert rejected.to_pylist() == [dict(zip(["reason", *SCHEMA.names, "line"], [reason, *row, None], strict=True))]


def test_leading_zeros_and_both_ends_of_the_period_are_legal():
    good, rejects, _ = check(("001010000000001", "BINTAN", "2026-10-01"), GOOD)
    assert not rejects
    assert good.to_pylist()[0] == {"imsi": "001010000000001", "border_area": "BINTAN", "date": date(2026, 10, 1)}


def test_a_range_of_dates_and_days_before_1970_work():
    rows = [(GOOD[0], "BATAM", "1969-12-31"), (GOOD[0], "BATAM", "1970-01-01")]
    good, rejects, _ = check(*rows, period="1969-12-31/1970-01-01")
    assert not rejects
    assert good["date"].to_pylist() == [date(1969, 12, 31), date(1970, 1, 1)]


def test_duplicates_are_kept():
    assert len(check(GOOD, GOOD)[0]) == 2


def test_allowed_values_must_fit_the_schema():
    for allowed in ({}, {"border_area": [], "date": []}):
        with pytest.raises(ValueError, match="border_area"):
            validate(pa.RecordBatch.from_pylist([]), SCHEMA, "2026-10", allowed)


def test_an_unknown_table_is_refused_with_those_there_are():
    assert names() == ["census", "presence", "reference_areas", "roamers"]
    with pytest.raises(ValueError, match="roamers"):
        get("nothing")


def test_a_delivered_batch_within_the_rules_passes():
    check_delivered(delivered(), SCHEMA, "2026-10", ALLOWED)
    check_delivered(delivered().slice(0, 0), SCHEMA, "2026-10", ALLOWED)


@pytest.mark.parametrize(
    ("wrong", "column"),
    [
        ({"imsi": b"51010/" + bytes(16)}, "imsi"),
        ({"imsi": b"51010:" + bytes(16)}, "imsi"),
        ({"imsi": b"\xb510101" + bytes(16)}, "imsi"),
        ({"area": "ELSEWHERE"}, "border_area"),
        ({"day": date(2026, 9, 30)}, "date"),
        ({"day": date(2026, 11, 1)}, "date"),
    ],
)
def test_a_delivered_value_outside_the_rules_is_refused_without_being_named(wrong, column):
    with pytest.raises(DataError, match=column) as refused:
        check_delivered(delivered(**wrong), SCHEMA, "2026-10", ALLOWED)
    assert not any(str(value) in str(refused.value) for value in wrong.values())


def test_a_delivered_slice_is_judged_by_its_own_rows():
    rows = pa.Table.from_batches([delivered(), delivered(imsi=b"x" * 22)]).combine_chunks().to_batches()[0]
    check_delivered(rows.slice(0, 1), SCHEMA, "2026-10", ALLOWED)
    with pytest.raises(DataError):
        check_delivered(rows.slice(1), SCHEMA, "2026-10", ALLOWED)


def test_a_day_no_calendar_has_is_refused():
    for number in (-(2**31), 2**31 - 1):
        days = pa.array([number], pa.int32()).view(pa.date32())
        batch = delivered().set_column(2, SCHEMA.delivered.field("date"), days)
        with pytest.raises(DataError, match="date"):
            check_delivered(batch, SCHEMA, "2026-10", ALLOWED)


def test_a_delivered_null_and_another_schema_are_refused():
    nulls = pa.nulls(1, pa.string())
    with pytest.raises(DataError, match="empty"):
        check_delivered(
            delivered().set_column(1, SCHEMA.delivered.field("border_area"), nulls), SCHEMA, "2026-10", ALLOWED
        )
    with pytest.raises(DataError, match="schema"):
        check_delivered(delivered().select(["imsi", "date"]), SCHEMA, "2026-10", ALLOWED)
