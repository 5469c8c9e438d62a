"""Inner ids and period pseudonyms are single AES-256 blocks, as docs/pseudonyms.md says, and forged ones are found."""

import hmac
from hashlib import sha256

import numpy as np
import pyarrow as pa
import pytest
from Crypto.Cipher import AES

from sealstat.crypto.derive import subkey
from sealstat.tables.period_pseudonyms import (
    KINDS,
    _ciphered,
    hexadecimal,
    inner_ids,
    opened,
    period_pseudonyms,
    well_formed,
)

INNER_KEY, PERIOD_KEY = bytes(range(32)), bytes(range(32, 64))
IMSIS = pa.array(["206010000000001", "206010000000002", "001010123456789"])


def other_aes(key: bytes, block: bytes) -> bytes:
    """AES of another library."""
    return AES.new(key, AES.MODE_ECB).encrypt(block)


@pytest.mark.parametrize(
    ("key", "plain", "cipher"),
    [
        pytest.param(
            "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
            "00112233445566778899aabbccddeeff",
            "8ea2b7ca516745bfeafc49904b496089",
            id="FIPS 197, C.3",
        ),
        pytest.param(
            "00" * 32, "014730f80ac625fe84f026c60bfd547d", "5c9d844ed46f9885085e5d6a4f94c7d7", id="AESAVS GFSbox256"
        ),
        pytest.param("00" * 32, "80" + "00" * 15, "ddc6bf790c15760d8d9aeb6f9a75fd4e", id="AESAVS VarTxt256"),
        pytest.param("80" + "00" * 31, "00" * 16, "e35a6dcb19b201a01ebcfa8aa22b5759", id="AESAVS VarKey256"),
    ],
)
def test_the_block_cipher_is_the_published_one_both_ways(key: str, plain: str, cipher: str) -> None:
    blocks = np.frombuffer(bytes.fromhex(plain) * 3, np.uint8).reshape(-1, 16)
    made = _ciphered(blocks, bytes.fromhex(key), decrypt=False)
    assert [row.tobytes().hex() for row in made] == [cipher] * 3
    assert _ciphered(np.ascontiguousarray(made), bytes.fromhex(key), decrypt=True).tobytes() == blocks.tobytes()


def test_an_inner_id_is_twelve_bytes_of_one_block_under_the_derived_key() -> None:
    expected = [other_aes(subkey(INNER_KEY, "inner id"), f"{imsi}\0".encode())[:12] for imsi in IMSIS.to_pylist()]
    found = inner_ids(IMSIS, INNER_KEY)
    assert found.to_pylist() == expected
    assert found.type == pa.binary(12)


def test_a_number_is_padded_and_a_hexadecimal_id_is_marked() -> None:
    key = subkey(INNER_KEY, "inner id")
    numbers, ids = ["1", "0001", "4366412345678"], ["0123456789abcdef01234567"]
    assert inner_ids(pa.array(numbers), INNER_KEY, "number").to_pylist() == [
        other_aes(key, number.encode().ljust(16, b"\0"))[:12] for number in numbers
    ]
    (found,) = inner_ids(pa.array(ids), INNER_KEY, "hex").to_pylist()
    assert found == other_aes(key, bytes.fromhex(ids[0]) + b"\0\0\0\1")[:12]


def test_a_period_pseudonym_is_one_block_that_holds_the_inner_id_and_zeros() -> None:
    inner = inner_ids(IMSIS, INNER_KEY)
    key = subkey(PERIOD_KEY, "period pseudonym")
    found = period_pseudonyms(inner, PERIOD_KEY)
    assert found.to_pylist() == [other_aes(key, id + bytes(4)) for id in inner.to_pylist()]
    assert found.type == pa.binary(16)
    assert hexadecimal(found).to_pylist() == [value.hex() for value in found.to_pylist()]


def test_opening_gives_the_inner_ids_as_numbers_that_sort_like_them() -> None:
    inner = inner_ids(pa.array([f"20601{n:010d}" for n in range(500)]), INNER_KEY)
    high, low, good = opened(period_pseudonyms(inner, PERIOD_KEY), PERIOD_KEY)
    assert good.all()
    numbers = [(int(h) << 32 | int(each)).to_bytes(12, "big") for h, each in zip(high, low, strict=True)]
    assert numbers == inner.to_pylist()
    assert [numbers[n] for n in np.lexsort((low, high))] == sorted(inner.to_pylist())


def test_every_flipped_bit_is_found() -> None:
    pseudonym = period_pseudonyms(inner_ids(IMSIS.slice(0, 1), INNER_KEY), PERIOD_KEY)[0].as_py()
    flipped = [(int.from_bytes(pseudonym, "big") ^ 1 << bit).to_bytes(16, "big") for bit in range(128)]
    assert not opened(pa.array(flipped, pa.binary(16)), PERIOD_KEY)[2].any()


def test_rows_of_another_period_and_made_up_rows_are_found() -> None:
    inner = inner_ids(pa.array([f"20601{n:010d}" for n in range(20_000)]), INNER_KEY)
    assert not opened(period_pseudonyms(inner, bytes(32)), PERIOD_KEY)[2].any()
    made_up = np.random.default_rng(3).bytes(16 * 20_000)
    column = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), 20_000, [None, pa.py_buffer(made_up)])
    assert not opened(column, PERIOD_KEY)[2].any()


def test_pseudonyms_of_two_periods_and_ids_of_two_operators_have_nothing_in_common() -> None:
    inner = inner_ids(pa.array([f"20601{n:010d}" for n in range(10_000)]), INNER_KEY)
    first, second = (set(period_pseudonyms(inner, key).to_pylist()) for key in (PERIOD_KEY, bytes(32)))
    assert len(first) == len(second) == 10_000
    assert not first & second
    others = inner_ids(pa.array([f"20601{n:010d}" for n in range(10_000)]), PERIOD_KEY)
    assert not set(inner.to_pylist()) & set(others.to_pylist())


def test_a_slice_gives_the_same_as_the_whole() -> None:
    numbers = pa.array([str(7**n % 10**15) for n in range(200)])
    inner = inner_ids(numbers, INNER_KEY, "number")
    assert inner_ids(numbers.slice(50, 9), INNER_KEY, "number").equals(inner.slice(50, 9))
    whole = period_pseudonyms(inner, PERIOD_KEY)
    assert period_pseudonyms(inner.slice(50, 9), PERIOD_KEY).equals(whole.slice(50, 9))
    assert (opened(whole.slice(50, 9), PERIOD_KEY)[0] == opened(whole, PERIOD_KEY)[0][50:59]).all()
    assert hexadecimal(whole.slice(50, 9)).equals(hexadecimal(whole).slice(50, 9))


def test_no_rows_give_nothing_of_the_same_type() -> None:
    for kind in KINDS:
        inner = inner_ids(pa.array([], pa.string()), INNER_KEY, kind)
        assert inner.type == pa.binary(12)
        assert period_pseudonyms(inner, PERIOD_KEY).type == pa.binary(16)
    assert [len(each) for each in opened(pa.array([], pa.binary(16)), PERIOD_KEY)] == [0, 0, 0]
    assert hexadecimal(pa.array([], pa.binary(16))).type == pa.string()


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (
            "imsi",
            ["206010000000001"],
            ["20601000000001", "2060100000000011", "20601000000000a", "２060100000000"],
        ),
        ("number", ["1", "123456789012345"], ["1234567890123456", "12 4", "-1", "1\0", "+43", "1.5"]),
        ("hex", ["0123456789abcdef01234567"], ["0123456789ABCDEF01234567", "0123456789abcdef0123456", "g" * 24, "1"]),
    ],
)
@pytest.mark.parametrize("type", [pa.string(), pa.large_string(), pa.binary()])
def test_what_is_no_identifier_is_told_apart_and_refused(
    kind: str, good: list[str], bad: list[str], type: pa.DataType
) -> None:
    every = [*good, *bad, "", None]
    column = pa.array([None if value is None else value.encode() for value in every], pa.binary()).cast(type)
    assert well_formed(column, kind).tolist() == [value in good for value in every]
    for wrong in range(len(good), len(every)):
        with pytest.raises(ValueError, match="an identifier is missing or no") as refused:
            inner_ids(column.take([0, wrong]), INNER_KEY, kind)
        assert not every[wrong] or len(every[wrong]) < 2 or every[wrong] not in str(refused.value)


def test_a_null_is_found_also_where_bytes_lie_under_it() -> None:
    column = pa.array(["206010000000001", "206010000000002"])
    buffers = column.buffers()
    hidden = pa.StringArray.from_buffers(2, buffers[1], buffers[2], pa.py_buffer(b"\x01"))
    assert well_formed(hidden, "imsi").tolist() == [True, False]


@pytest.mark.parametrize(
    "column",
    [pa.array([b"a" * 12, None], pa.binary(12)), pa.array([b"a" * 16], pa.binary(16)), pa.array(["a" * 12])],
    ids=["null", "width", "text"],
)
def test_columns_of_another_form_are_refused(column: pa.Array) -> None:
    with pytest.raises(ValueError, match="12 bytes each"):
        period_pseudonyms(column, PERIOD_KEY)


def test_two_kinds_under_one_key_never_share_a_block() -> None:
    """Digits and hexadecimal ids are told apart by the last byte of their block."""
    digits = pa.array([str(n) for n in range(1000)])
    ids = pa.array([sha256(str(n).encode()).hexdigest()[:24] for n in range(1000)])
    every = inner_ids(digits, INNER_KEY, "number").to_pylist() + inner_ids(ids, INNER_KEY, "hex").to_pylist()
    assert len(set(every)) == 2000
    assert inner_ids(IMSIS, INNER_KEY, "number").equals(inner_ids(IMSIS, INNER_KEY, "imsi"))


def test_keys_are_used_for_one_purpose_each() -> None:
    info = b"sealstat-v1 inner id\x01"
    extracted = hmac.digest(bytes(32), INNER_KEY, "sha256")  # RFC 5869: no salt is 32 zero bytes
    assert subkey(INNER_KEY, "inner id") == hmac.digest(extracted, info, "sha256")
    assert subkey(INNER_KEY, "inner id") != subkey(INNER_KEY, "period pseudonym")
