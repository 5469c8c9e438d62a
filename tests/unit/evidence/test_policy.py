from typing import Annotated, Any

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from sealstat.agreement.enclaves import Policy, SimulatedEnclave

GOOD = {"kind": "snp", "measurements": [{"name": "the October image", "registers": {"measurement": "ab" * 48}}]}


def test_a_policy_stands_beside_the_simulated_kind() -> None:
    entry: TypeAdapter[Any] = TypeAdapter(Annotated[SimulatedEnclave | Policy, Field(discriminator="kind")])
    assert isinstance(entry.validate_python(GOOD), Policy)
    assert entry.validate_python(GOOD).to_json() == {
        **GOOD,
        "roots": [],
        "advisories": [],
        "minimum_tcb": {},
        "debug": False,
        "platforms": [],
    }


@pytest.mark.parametrize(
    "terms",
    [
        {"measurements": []},
        {"measurements": [{"name": "x", "registers": {}}]},
        {"measurements": [{"name": "x", "registers": {"measurement": "ABCD"}}]},
        {"tcb_statuses": ["UpToDate"]},
        {"advisories": [{"id": "INTEL-SA-1", "until": "2026-10-01", "because": "x"}]},
        {"kind": "sgx", "highest_vmpl": 0},
        {"kind": "sgx", "tcb_statuses": ["Revoked"]},
        {"kind": "sgx", "tcb_statuses": []},
        {"kind": "sgx", "advisories": [{"id": "INTEL-SA-1", "until": "2026-02-30", "because": "x"}]},
        {"highest_vmpl": 4},
        {"minimum_tcb": {"microcode": -1}},
        {"tolerate": True},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(terms: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Policy.model_validate({**GOOD, **terms})
