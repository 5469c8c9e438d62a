import secrets
from itertools import combinations

import pytest

from sealstat.crypto.shares import combine, split

SHAPES = [(2, 2), (2, 3), (3, 3), (3, 5), (5, 5), (2, 7)]


@pytest.mark.parametrize(("threshold", "holders"), SHAPES)
def test_any_t_of_n_open_the_key(threshold: int, holders: int) -> None:
    key = secrets.token_bytes(32)
    pieces = dict(enumerate(split(key, threshold=threshold, holders=holders), 1))
    for chosen in combinations(pieces, threshold):
        assert combine({i: pieces[i] for i in chosen}, threshold=threshold, holders=holders) == key
    if threshold < holders:  # with more than enough, too
        assert combine(pieces, threshold=threshold, holders=holders) == key


@pytest.mark.parametrize(("threshold", "holders"), SHAPES)
def test_fewer_do_not(threshold: int, holders: int) -> None:
    key = secrets.token_bytes(32)
    pieces = dict(enumerate(split(key, threshold=threshold, holders=holders), 1))
    few = {i: pieces[i] for i in list(pieces)[: threshold - 1]}
    with pytest.raises(ValueError, match=f"shares of {threshold} holders"):
        combine(few, threshold=threshold, holders=holders)
    # nor with one of them made up, or under a smaller threshold
    assert combine({**few, holders: secrets.token_bytes(32)}, threshold=threshold, holders=holders) != key
    if threshold > 2:
        assert combine(few, threshold=threshold - 1, holders=holders) != key


def test_where_all_are_needed_the_shares_are_plain_xor() -> None:
    key = secrets.token_bytes(32)
    one, two, three = split(key, threshold=3, holders=3)
    assert bytes(a ^ b ^ c for a, b, c in zip(one, two, three, strict=True)) == key


def test_no_share_is_the_same_twice() -> None:
    assert split(bytes(32), threshold=2, holders=3) != split(bytes(32), threshold=2, holders=3)


@pytest.mark.parametrize(("length", "threshold", "holders"), [(31, 2, 3), (32, 1, 3), (32, 4, 3), (32, 2, 256)])
def test_impossible_shapes_are_refused(length: int, threshold: int, holders: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        split(bytes(length), threshold=threshold, holders=holders)


@pytest.mark.parametrize("wrong", [{0: bytes(32)}, {4: bytes(32)}, {3: bytes(31)}])
def test_shares_of_nobody_or_of_another_length_are_refused(wrong: dict[int, bytes]) -> None:
    with pytest.raises(ValueError, match="wrong length or belongs to no holder"):
        combine({1: bytes(32), **wrong}, threshold=2, holders=3)
