"""Period pseudonyms are a permutation that only its key undoes."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from sealstat.tables.period_pseudonyms import inner_ids, opened, period_pseudonyms, well_formed

KEYS = st.binary(min_size=32, max_size=32)
IDS = st.lists(st.binary(min_size=12, max_size=12), max_size=40)
NUMBERS = st.lists(st.text("0123456789", min_size=1, max_size=15), max_size=40)


@given(IDS, KEYS)
def test_opening_undoes_making(ids: list[bytes], key: bytes) -> None:
    made = period_pseudonyms(pa.array(ids, pa.binary(12)), key)
    high, low, good = opened(made, key)
    assert good.all()
    assert [int(h).to_bytes(8, "big") + int(w).to_bytes(4, "big") for h, w in zip(high, low, strict=True)] == ids
    assert len(set(made.to_pylist())) == len(set(ids))


@given(NUMBERS, KEYS)
def test_different_numbers_have_different_ids_and_equal_ones_equal(numbers: list[str], key: bytes) -> None:
    found = inner_ids(pa.array(numbers, pa.string()), key, "number").to_pylist()
    assert len(set(zip(numbers, found, strict=True))) == len(set(numbers)) == len(set(found))


@given(st.lists(st.one_of(st.none(), st.text(max_size=30)), max_size=20), st.integers(0, 5))
def test_the_form_is_judged_as_a_regular_expression_would(values: list[str | None], skip: int) -> None:
    column = pa.array(values, pa.string()).slice(min(skip, len(values)))
    plain = [value is not None and value.isascii() and value.isdigit() and len(value) <= 15 for value in values]
    assert well_formed(column, "number").tolist() == plain[skip:]
