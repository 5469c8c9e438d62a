from datetime import timedelta
from typing import Any

import pytest

import attesting
from attesting import AT
from sealstat.agreement.enclaves import Policy
from sealstat.evidence.checks import appraise_verified, findings
from sealstat.evidence.errors import PolicyError
from sealstat.evidence.result import Verified

CODE = attesting.CODE.hex()


def policy(kind: str = "snp", **terms: Any) -> Policy:
    register = {"snp": "measurement", "tdx": "mr_td", "sgx": "mrenclave", "nitro": "pcr0", "tpm": "pcr0"}[kind]
    value = {"sgx": CODE[:64], "tpm": attesting.PCRS[0].hex()}.get(kind, CODE)
    accepted = [{"name": "the October image", "registers": {register: value}}]
    return Policy.model_validate({"kind": kind, "measurements": accepted, **terms})


def accepts(verified: Verified, accepted: Policy | None, **how: Any) -> None:
    appraise_verified(verified, accepted, **{"at": AT, **how})


def refusal(verified: Verified, accepted: Policy | None, **how: Any) -> str:
    with pytest.raises(PolicyError) as caught:
        accepts(verified, accepted, **how)
    return str(caught.value)


def test_named_code_on_a_good_machine_is_accepted() -> None:
    for kind, case in (("snp", attesting.snp()), ("tdx", attesting.tdx()), ("sgx", attesting.sgx())):
        accepts(case.verify(), policy(kind))
    accepts(attesting.nitro().verify(), policy("nitro"))
    accepts(attesting.tpm().verify(), policy("tpm"))


def test_without_a_policy_only_debug_and_outdated_are_refused() -> None:
    accepts(attesting.snp().verify(), None)
    accepts(attesting.tdx(status="SWHardeningNeeded").verify(), None)
    assert "debug mode" in refusal(attesting.snp(debug=True).verify(), None)
    assert "lacks published updates" in refusal(attesting.tdx(status="OutOfDate").verify(), None)


def test_all_registers_of_one_reference_value_must_fit() -> None:
    verified = attesting.snp().verify()
    both = [{"name": "both", "registers": {"measurement": CODE, "host_data": "11" * 32}}]
    assert "none of what the policy accepts: both" in refusal(verified, policy(measurements=both))
    unknown = [{"name": "unknown", "registers": {"measurement": CODE, "pcr0": CODE}}]
    refusal(verified, policy(measurements=unknown))
    accepts(verified, policy(measurements=[*both, {"name": "one", "registers": {"measurement": CODE}}]))


def test_debug_is_refused_unless_the_policy_says_so() -> None:
    for kind, case in (("snp", attesting.snp(debug=True)), ("tdx", attesting.tdx(debug=True))):
        assert "debug mode" in refusal(case.verify(), policy(kind))
        accepts(case.verify(), policy(kind, debug=True))


def test_only_named_statuses_and_tolerated_advisories_are_accepted() -> None:
    verified = attesting.tdx(status="SWHardeningNeeded", advisories=["INTEL-SA-1", "INTEL-SA-2"]).verify()
    assert "not a status" in refusal(verified, policy("tdx"))
    statuses = {"tcb_statuses": ["UpToDate", "SWHardeningNeeded"]}
    assert "INTEL-SA-1, INTEL-SA-2" in refusal(verified, policy("tdx", **statuses))
    toleration = {"until": "2026-10-01", "because": "no such instruction is used"}
    one = [{"id": "INTEL-SA-1", **toleration}]
    assert refusal(verified, policy("tdx", advisories=one, **statuses)).endswith("INTEL-SA-2")
    both = policy("tdx", advisories=[*one, {"id": "INTEL-SA-2", **toleration}], **statuses)
    accepts(verified, both)
    assert "no longer, tolerate" in refusal(verified, both, at=AT + timedelta(days=1))


def test_versions_below_the_minimum_are_refused() -> None:
    verified = attesting.snp().verify()
    accepts(verified, policy(minimum_tcb={"microcode": 0xDB, "snp": 24}))
    assert "microcode is 219" in refusal(verified, policy(minimum_tcb={"microcode": 0xDC}))
    assert "fmc is not told" in refusal(verified, policy(minimum_tcb={"fmc": 0}))
    assert "tells none" in refusal(attesting.nitro().verify(), policy("nitro", minimum_tcb={"microcode": 1}))
    tdx = attesting.tdx().verify()
    accepts(tdx, policy("tdx", minimum_tcb={"tcb_evaluation_data_number": 17}))
    refusal(tdx, policy("tdx", minimum_tcb={"tcb_evaluation_data_number": 18}))


def test_a_less_privileged_level_is_refused_unless_named() -> None:
    def at_level_2(report: bytearray) -> None:
        report[0x30] = 2

    verified = attesting.snp(edit=at_level_2).verify()
    assert "VMPL 2" in refusal(verified, policy())
    accepts(verified, policy(highest_vmpl=2))


def test_the_root_must_be_one_that_the_policy_names() -> None:
    verified = attesting.snp().verify()
    accepts(verified, policy(roots=[verified.anchor]))
    assert "does not name" in refusal(verified, policy(roots=["00" * 32]))


def test_a_policy_for_another_kind_is_refused() -> None:
    with pytest.raises(PolicyError, match="kind tdx"):
        findings(attesting.snp().verify(), policy("tdx"), at=AT)
