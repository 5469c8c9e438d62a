"""Presence, reference areas and census: numbers from text to fixed point, at home and as they are delivered."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealstat.tables.checking import Rules
from sealstat.tables.errors import BadFile, DataError
from sealstat.tables.numbers import Scale
from sealstat.tables.reading import prepare
from sealstat.tables.schemas import MAX_WEIGHT, get
from sealstat.tables.whole import check_whole

PRESENCE, CENSUS, AREAS = get("presence"), get("census"), get("reference_areas")
ID = "00112233445566778899aabbccddeeff"
GOOD = (ID, "4000", "3000", "1", "0.5", "0", "0")


def check(schema, *rows, scale=None):
    columns = zip(*rows, strict=True)
    batch = pa.RecordBatch.from_arrays([pa.array(column, pa.string()) for column in columns], names=schema.names)
    return Rules(schema, None, {}, scale).check(batch)


def with_(place, value):
    return (*GOOD[:place], value, *GOOD[place + 1 :])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (with_(0, ID[:24]), "user_id"),
        (with_(0, ID[:-1] + "g"), "user_id"),
        (with_(0, ID + "00"), "user_id"),
        (with_(0, ID[:-1] + "\n"), "user_id"),
        (with_(0, "０" * 32), "user_id"),
        (with_(0, None), "user_id"),
        (with_(1, "65536"), "tile_e"),
        (with_(1, "-1"), "tile_e"),
        (with_(2, "3000.0"), "tile_n"),
        (with_(2, ""), "tile_n"),
        (with_(3, "nan"), "weight_day"),
        (with_(3, "inf"), "weight_day"),
        (with_(3, "-inf"), "weight_day"),
        (with_(3, "-0.001"), "weight_day"),
        (with_(3, "1e999"), "weight_day"),
        (with_(3, "1,5"), "weight_day"),
        (with_(3, " 1"), "weight_day"),
        (with_(3, "."), "weight_day"),
        (with_(3, ".e1"), "weight_day"),
        (with_(3, "0x10"), "weight_day"),
        (with_(4, str(MAX_WEIGHT / 1024 + 1)), "weight_sub1"),
        (with_(5, None), "weight_sub2"),
        ((ID, "1", "1", "0", "-0.0", "0", "0"), "empty"),
    ],
)
def test_a_bad_row_of_presence_is_dropped_under_the_first_rule_it_breaks(row, reason):
    checked = check(PRESENCE, GOOD, row)
    assert len(checked.good) == 1
    assert checked.rejects == {reason: 1}
    assert reason in PRESENCE.reasons
    assert checked.rejected["reason"].to_pylist() == [reason]


def test_good_presence_is_delivered_in_fixed_point():
    checked = check(PRESENCE, GOOD, (ID.upper(), "0", "65535", "-0.0", "1e-2", "1.5e1", "0.00244140625"))
    assert checked.rejects == {}
    assert checked.rounded == 2  # 10.24 and two and a half, to the even unit
    assert [list(row.values()) for row in checked.good.to_pylist()] == [
        [bytes.fromhex(ID), 4000, 3000, 1024, 512, 0, 0],
        [bytes.fromhex(ID), 0, 65535, 0, 10, 15 * 1024, 2],
    ]


def test_a_decimal_may_begin_or_end_with_its_point():
    checked = check(PRESENCE, (ID, "1", "1", ".5", "+.25", "1.", ".5e1"))
    assert [list(row.values())[3:] for row in checked.good.to_pylist()] == [[512, 256, 1024, 5 * 1024]]


def test_a_weight_above_nothing_is_at_least_one_unit():
    checked = check(PRESENCE, (ID, "1", "1", "0.0001", "0", "1e-30", "0.0004"))
    assert (checked.rejects, checked.rounded) == ({}, 3)
    assert [list(row.values())[3:] for row in checked.good.to_pylist()] == [[1, 0, 1, 1]]


def test_in_the_clear_a_plain_identifier_is_taken_and_nothing_else():
    checked = check(PRESENCE, with_(0, ID[:24]), GOOD, with_(0, None), scale=Scale(plain_ids=True))
    assert checked.rejects == {"user_id": 2}  # of a pseudonym only a part would be taken: two might become one
    assert checked.good.column(0)[0].as_py() == bytes.fromhex(ID[:24]) + bytes(4)


def test_the_resolution_and_the_rectangle_are_the_agreements():
    scale = Scale(resolution_bits=0, tile_e=(4000, 4001), tile_n=(0, 3000))
    checked = check(PRESENCE, GOOD, with_(1, "3999"), with_(2, "3001"), with_(3, "2.5"), scale=scale)
    assert checked.rejects == {"tile_e": 1, "tile_n": 1}
    assert checked.good.column("weight_day").to_pylist() == [1, 2]


@given(st.floats(0, 11_000))
def test_any_weight_is_the_nearest_unit_above_nothing(value):
    checked = check(PRESENCE, with_(3, repr(value)))
    assert checked.good.column("weight_day")[0].as_py() == (round(value * 1024) or (value > 0))


def delivered(**changed):
    row = {"pseudonym": bytes(16), "tile_e": 1, "tile_n": 1, "v0": 1, "v1": 0, "v2": 0, "v3": 0, **changed}
    return pa.RecordBatch.from_pylist([row], PRESENCE.delivered)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [({"v0": MAX_WEIGHT + 1}, "weight_day"), ({"v0": 0}, "without any weight"), ({"tile_n": 9}, "tile_n")],
)
def test_delivered_presence_that_no_honest_check_lets_through_is_refused(changed, sentence):
    rules = Rules(PRESENCE, None, {}, Scale(tile_n=(0, 8)))
    rules.check_delivered(delivered())
    with pytest.raises(DataError, match=sentence):
        rules.check_delivered(delivered(**changed))


@pytest.mark.parametrize(
    ("schema", "rows", "sentence"),
    [
        (AREAS, [(0, 1, 1), (2, 1, 1)], "without a gap"),
        (AREAS, [(1, 1, 1)], "without a gap"),
        (CENSUS, [(1, 1, 5), (2, 1, 5), (1, 1, 6)], "more than once"),
    ],
)
def test_a_table_that_makes_no_sense_as_a_whole_is_refused(schema, rows, sentence):
    columns = [
        pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), schema.delivered, strict=True)
    ]
    table = pa.table(columns, schema=schema.delivered)
    with pytest.raises(DataError, match=sentence):
        check_whole(table, schema, DataError)
    check_whole(table.slice(0, 0), schema, DataError)


def test_areas_may_overlap_and_come_in_any_order():
    rows = [(1, 1, 1), (0, 1, 1), (0, 2, 1), (1, 1, 1)]
    columns = [pa.array(column, f.type) for column, f in zip(zip(*rows, strict=True), AREAS.delivered, strict=True)]
    check_whole(pa.table(columns, schema=AREAS.delivered), AREAS, BadFile)


def test_too_many_rows_are_refused():
    rows = 1_000_001
    columns = [np.zeros(rows, np.uint8), np.zeros(rows, np.uint16), np.zeros(rows, np.uint16)]
    table = pa.table([pa.array(column) for column in columns], schema=AREAS.delivered)
    with pytest.raises(BadFile, match="more than 1000000 rows"):
        check_whole(table, AREAS, BadFile)


@pytest.mark.parametrize("bad", ["-1", "nan", "inf", "10000001", ""])
def test_one_bad_row_refuses_a_census(tmp_path, bad):
    file = tmp_path / "census.csv"
    file.write_text(f"tile_e,tile_n,residents\n1,1,12.5\n2,1,{bad}\n")
    prepared = prepare(
        file, schema=CENSUS, period=None, allowed={}, pseudonymise=None, rejects_file=tmp_path / "rejects.csv"
    )
    with pytest.raises(BadFile, match="residents must be a decimal from 0"):
        list(prepared)
    assert not (tmp_path / "rejects.csv").exists()


@pytest.mark.parametrize(
    "residents",
    [
        pa.array([3, 7], pa.float32()),
        pa.array([3, 7], pa.float64()),
        pa.array([3, 7], pa.int64()),
        pa.array(["3", "7.0"]),
        pa.array([3.0, 7.0]).dictionary_encode(),
    ],
    ids=lambda residents: str(residents.type),
)
def test_parquet_may_hold_numbers(tmp_path, residents):
    file = tmp_path / "census.parquet"
    pq.write_table(pa.table({"tile_e": [1, 2], "tile_n": [1, 1], "residents": residents}), file)
    prepared = prepare(
        file, schema=CENSUS, period=None, allowed={}, pseudonymise=None, rejects_file=tmp_path / "rejects.csv"
    )
    assert [row["residents"] for batch in prepared for row in batch.to_pylist()] == [3 << 32, 7 << 32]


def test_single_precision_in_parquet_is_the_number_it_is(tmp_path):
    file = tmp_path / "presence.parquet"
    weights = {name: pa.array([0.1], pa.float32()) for name in PRESENCE.names[3:]}
    pq.write_table(pa.table({"user_id": [ID], "tile_e": [1], "tile_n": [1], **weights}), file)
    prepared = prepare(
        file,
        schema=PRESENCE,
        period="2026-10-31",
        allowed={},
        pseudonymise=None,
        rejects_file=tmp_path / "rejects.csv",
        scale=Scale(resolution_bits=16),
    )
    (row,) = [row for batch in prepared for row in batch.to_pylist()]
    assert row["v0"] == round(float(np.float32(0.1)) * 2**16)
    assert prepared.tally.rounded == 4
