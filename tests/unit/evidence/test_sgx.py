import pytest

import attesting
from sealstat.evidence import sgx
from sealstat.evidence.errors import EvidenceError


def test_the_fields_of_an_sgx_quote() -> None:
    claims = sgx.parse(attesting.sgx().evidence)
    assert claims.measurements["mrenclave"] == attesting.CODE[:32].hex()
    assert claims.measurements["isv_prod_id"] == "0003"
    fields = claims.fields
    assert (fields["version"], fields["tee"], fields["isv_prod_id"], fields["isv_svn"]) == (3, "sgx", 3, 4)
    assert (fields["attributes"], fields["debug"]) == ("05" + "00" * 15, False)


def test_reading_proves_nothing() -> None:
    """The fields come out of a forged quote as well; only `verify` tells."""
    forged = attesting.sgx(quote={"other_key": True})
    assert sgx.parse(forged.evidence).report_data == attesting.REPORT_DATA
    with pytest.raises(EvidenceError):
        forged.verify()


def test_a_tdx_quote_is_no_sgx_quote() -> None:
    with pytest.raises(EvidenceError, match="TEE type"):
        sgx.parse(attesting.tdx().evidence)
