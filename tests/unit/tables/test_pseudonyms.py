"""Pseudonyms are what cases.md C04 says, and linkage checks tell unequal keys."""

import hmac

import pyarrow as pa
import pytest

from sealstat.crypto.derive import subkey
from sealstat.tables.pseudonyms import linkage_check, linkage_key, pseudonymise

KEY = linkage_key([b"a" * 32, b"b" * 32])


def test_pseudonym_is_the_prefix_and_sixteen_bytes_of_an_ordinary_hmac():
    imsis = ["510101234567890", "001010000000001", "510101234567890"]
    expected = [
        imsi[:6].encode() + hmac.digest(subkey(KEY, "pseudonym"), imsi.encode(), "sha256")[:16] for imsi in imsis
    ]
    found = pseudonymise(pa.array(imsis), 6, KEY)
    assert found.to_pylist() == expected
    assert found.type == pa.binary(22)


def test_a_slice_gives_the_same_pseudonyms_as_the_whole():
    imsis = pa.array([f"51010{n:010d}" for n in range(100)])
    assert pseudonymise(imsis.slice(40, 7), 6, KEY).equals(pseudonymise(imsis, 6, KEY).slice(40, 7))


def test_no_rows_give_no_pseudonyms_of_the_same_type():
    assert pseudonymise(pa.array([], pa.string()), 6, KEY).type == pa.binary(22)


@pytest.mark.parametrize("column", [["51010", None], ["51010", "510101"], ["51"]], ids=["null", "unequal", "short"])
def test_identifiers_that_were_not_validated_are_refused(column):
    with pytest.raises(ValueError, match="identifier"):
        pseudonymise(pa.array(column), 5, KEY)


def test_order_of_contributions_matters_and_their_length_is_fixed():
    assert linkage_key([b"b" * 32, b"a" * 32]) != KEY
    for wrong in ([], [b"a" * 31], [b"a" * 33, b"b" * 31]):
        with pytest.raises(ValueError, match="contributions"):
            linkage_key(wrong)


def test_linkage_check_depends_on_key_and_place():
    checks = {
        linkage_check(KEY, "0" * 64, "roamers", "2026-10"),
        linkage_check(linkage_key([b"a" * 32]), "0" * 64, "roamers", "2026-10"),
        linkage_check(KEY, "1" * 64, "roamers", "2026-10"),
        linkage_check(KEY, "0" * 64, "others", "2026-10"),
        linkage_check(KEY, "0" * 64, "roamers", "2026-11"),
    }
    assert len(checks) == 5
