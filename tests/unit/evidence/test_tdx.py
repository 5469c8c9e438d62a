import struct

import pytest

import attesting
from sealstat.evidence import tdx
from sealstat.evidence.errors import EvidenceError, UnsupportedError


@pytest.mark.parametrize(("version", "body_type"), [(4, None), (5, 2), (5, 3)])
def test_the_fields_of_a_tdx_quote(version: int, body_type: int | None) -> None:
    claims = tdx.parse(attesting.tdx(version, body_type=body_type).evidence)
    assert claims.measurements["mr_td"] == claims.fields["mr_td"] == attesting.CODE.hex()
    assert (claims.fields["version"], claims.fields["sept_ve_disable"]) == (version, True)
    assert ("mr_service_td" in claims.fields) == (body_type == 3)


def test_attributes_that_the_library_cannot_allow_are_not_called_forged() -> None:
    with pytest.raises(UnsupportedError, match="SEPT_VE_DISABLE"):
        attesting.tdx(sept_ve_disable=False).verify()
    with pytest.raises(EvidenceError, match="signature is invalid") as caught:
        attesting.tdx(sept_ve_disable=False, quote={"other_key": True}).verify()
    assert not isinstance(caught.value, UnsupportedError)


def test_the_outer_certification_type_is_looked_at() -> None:
    """It lies outside the signed part, and the library takes no notice of it."""
    with pytest.raises(EvidenceError, match="type 6"):
        attesting.tdx(quote={"outer_type": 5}).verify()


def test_a_body_whose_type_and_size_disagree_is_refused() -> None:
    case = attesting.tdx(5)
    for head in (struct.pack("<HI", 2, 648), struct.pack("<HI", 3, 584), struct.pack("<HI", 1, 384)):
        with pytest.raises(EvidenceError):
            case.verify(evidence=case.evidence[:48] + head + case.evidence[54:])


def test_an_sgx_quote_is_no_tdx_quote() -> None:
    with pytest.raises(EvidenceError, match="TEE type"):
        tdx.parse(attesting.sgx().evidence)
