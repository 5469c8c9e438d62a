"""Days merged into the state on sorted arrays, against a merge of dictionaries."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealstat.statistics import longitudinal_arrays
from sealstat.statistics.longitudinal_arrays import Unsorted, check_sorted, merge
from sealstat.statistics.longitudinal_terms import STATE
from sealstat.tables.errors import DataError

Row = tuple[int, int, int, int, int, int]

# few keys, so that they meet; equal first 64 bits of two users, and the ends of all ranges
_HI = st.sampled_from([0, 1, 2**63, 2**64 - 1])
_LO = st.builds(
    lambda user, tile: user << 32 | tile, st.sampled_from([0, 1, 2**32 - 1]), st.sampled_from([0, 255, 256, 2**32 - 1])
)
_VALUES = st.tuples(*[st.integers(0, 3) | st.just(2**31 - 1)] * 4)
ROWS = st.lists(st.tuples(_HI, _LO, _VALUES).map(lambda row: (row[0], row[1], *row[2])), max_size=30)
STATES = ROWS.map(lambda rows: sorted({row[:2]: row for row in rows}.values()))
DAYS = ROWS.map(lambda rows: sorted(rows, key=lambda row: row[:2]))
CUTS = st.lists(st.integers(0, 30), max_size=5)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(longitudinal_arrays, "CHUNK_ROWS", 3)


def batch_of(rows: list[Row]) -> pa.RecordBatch:
    columns = list(zip(*rows, strict=True)) or [()] * 6
    return pa.RecordBatch.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, STATE, strict=True)], schema=STATE
    )


def batches_of(rows: list[Row], cuts: list[int] | tuple[int, ...] = ()) -> list[pa.RecordBatch]:
    """The rows in batches that end where ``cuts`` say."""
    ends = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    return [batch_of(rows[start:end]) for start, end in pairwise(ends)]


def rows_of(batches: Iterator[pa.RecordBatch]) -> list[Row]:
    return [tuple(row.values()) for batch in batches for row in batch.to_pylist()]


def plain_merge(state: list[Row], day: list[Row]) -> list[Row]:
    """Steps 2 to 4 row by row."""
    once: dict[tuple[int, int], list[int]] = {}
    for hi, lo, *values in day:
        if any(values):
            known = once.setdefault((hi, lo), values)
            once[hi, lo] = [max(pair) for pair in zip(known, values, strict=True)]
    sums = {(hi, lo): values for hi, lo, *values in state}
    for key, values in once.items():
        sums[key] = [sum(pair) for pair in zip(sums.get(key, [0] * 4), values, strict=True)]
    return [(*key, *sums[key]) for key in sorted(sums)]


@settings(max_examples=300)
@given(STATES, DAYS, CUTS, CUTS, st.sampled_from([1, 2, 3]), st.integers(2, 40))
def test_merge_adds_as_a_dictionary_does_wherever_batches_and_chunks_end(state, day, cuts, others, threads, chunk):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(longitudinal_arrays, "CHUNK_ROWS", chunk)
        merged = list(merge(batches_of(state, cuts), batches_of(day, others), threads=threads))
    assert rows_of(iter(merged)) == plain_merge(state, day)
    assert all(batch.schema.equals(STATE) and len(batch) for batch in merged)


@pytest.mark.parametrize("cut", range(8))
def test_a_repeated_key_counts_once_wherever_a_batch_ends(cut):
    day = [(1, 1, 1, 0, 0, 0), *[(1, 2, i, 9 - i, 0, 0) for i in range(1, 6)], (1, 3, 1, 0, 0, 0)]
    expected = [(1, 1, 1, 0, 0, 0), (1, 2, 15, 8, 10, 10), (1, 3, 1, 0, 0, 0)]
    assert rows_of(merge([batch_of([(1, 2, 10, 0, 10, 10)])], batches_of(day, [cut]))) == expected


def test_one_key_repeated_throughout_many_batches_is_one_row():
    day = [batch_of([(7, 7, i % 50, 0, i % 7, 1)] * 4) for i in range(100)]
    assert rows_of(merge([], day)) == [(7, 7, 49, 0, 6, 1)]


def test_nothing_and_nothing_is_nothing():
    assert list(merge([], [])) == []
    assert list(merge([batch_of([])], [batch_of([]), batch_of([])])) == []


def test_rows_without_presence_are_left_out_of_the_day_not_of_the_order():
    assert rows_of(merge([], [batch_of([(1, 1, 0, 0, 0, 0)]), batch_of([(1, 2, 0, 0, 0, 5)])])) == [(1, 2, 0, 0, 0, 5)]
    with pytest.raises(Unsorted):
        list(merge([], [batch_of([(1, 2, 0, 0, 0, 0)]), batch_of([(1, 1, 0, 0, 0, 5)])]))


def test_users_whose_first_64_bits_agree_stay_apart():
    state = [(5, 1 << 32 | 9, 1, 1, 1, 1), (5, 2 << 32 | 3, 2, 2, 2, 2)]
    day = [(5, 1 << 32 | 3, 4, 4, 4, 4), (5, 2 << 32 | 3, 8, 8, 8, 8)]
    expected = [(5, 1 << 32 | 3, 4, 4, 4, 4), state[0], (5, 2 << 32 | 3, 10, 10, 10, 10)]
    assert rows_of(merge([batch_of(state)], [batch_of(day)])) == expected


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([(2, 0, 1, 1, 1, 1), (1, 0, 1, 1, 1, 1)], id="first word falls"),
        pytest.param([(1, 1, 1, 1, 1, 1), (1, 0, 1, 1, 1, 1)], id="second word falls"),
        pytest.param([(2, 0, 1, 1, 1, 1), (1, 5, 1, 1, 1, 1)], id="first falls, second rises"),
    ],
)
@pytest.mark.parametrize("cuts", [[], [1]], ids=["in one batch", "across batches"])
def test_rows_out_of_order_are_refused(rows, cuts):
    batches = batches_of(rows, cuts)
    with pytest.raises(Unsorted, match="day"):
        list(merge([], batches))
    with pytest.raises(DataError, match="state") as caught:
        list(merge(batches, []))
    # who would sort the day and try again must not do so for the state
    assert not isinstance(caught.value, Unsorted)
    last = check_sorted(batches[0]) if cuts else None
    with pytest.raises(Unsorted):
        check_sorted(batches[-1], last)


@pytest.mark.parametrize("cuts", [[], [1]], ids=["in one batch", "across batches"])
def test_a_key_may_be_repeated_in_a_day_but_not_in_a_state(cuts):
    batches = batches_of([(1, 1, 1, 1, 1, 1)] * 2, cuts)
    assert rows_of(merge([], batches)) == [(1, 1, 1, 1, 1, 1)]
    with pytest.raises(DataError, match="state"):
        list(merge(batches, []))


def test_check_sorted_carries_the_last_key():
    assert check_sorted(batch_of([])) is None
    assert check_sorted(batch_of([]), (3, 4)) == (3, 4)
    assert check_sorted(batch_of([(3, 4, 1, 1, 1, 1), (2**64 - 1, 0, 1, 1, 1, 1)]), (3, 4)) == (2**64 - 1, 0)


@pytest.mark.parametrize("column", range(4))
def test_a_sum_that_does_not_fit_is_refused(column):
    most, more = [0] * 4, [0] * 4
    most[column], more[column] = 2**32 - 2, 1
    fits = merge([batch_of([(1, 1, *most)])], [batch_of([(1, 1, *more)])])
    assert rows_of(fits)[0][2 + column] == 2**32 - 1
    more[column] = 2
    with pytest.raises(DataError, match="32 bits"):
        list(merge([batch_of([(1, 1, *most)])], [batch_of([(1, 1, *more)])]))


def test_another_schema_is_the_callers_mistake():
    with pytest.raises(ValueError, match="schema"):
        list(merge([pa.record_batch({"hi": [1]})], []))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_user_of_150000_tiles_is_merged_in_chunks(monkeypatch, threads):
    monkeypatch.setattr(longitudinal_arrays, "CHUNK_ROWS", 20_000)
    tiles = np.arange(150_000, dtype=np.uint64)
    state, day = (columns(5, kept) for kept in (tiles[tiles % 3 != 0], tiles[tiles % 2 == 0]))
    merged = pa.Table.from_batches(list(merge(state.to_batches(), day.to_batches(7_000), threads=threads)))
    assert np.array_equal(merged["lo"].to_numpy(), tiles[(tiles % 3 != 0) | (tiles % 2 == 0)])
    both = (tiles % 3 != 0).astype(int) + (tiles % 2 == 0)
    assert np.array_equal(merged["v3"].to_numpy(), both[both > 0])
    assert max(map(len, merged["lo"].chunks)) <= 4 * 20_000  # below twice the size from either side


def columns(hi: int, lo: np.ndarray) -> pa.Table:
    ones = pa.array(np.ones(len(lo), np.uint32))
    return pa.Table.from_arrays([pa.array(np.full(len(lo), hi, np.uint64)), pa.array(lo), *[ones] * 4], schema=STATE)
