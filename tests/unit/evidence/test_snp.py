import struct
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes

import attesting
from attesting import AT, Case, snp
from sealstat.evidence.errors import EvidenceError, UnboundError, UnsupportedError
from sealstat.evidence.result import Required


def refusal(case: Case, **changes: Any) -> str:
    with pytest.raises(EvidenceError) as caught:
        case.verify(**changes)
    return str(caught.value)


def put(at: int, value: bytes) -> attesting.Edit:
    def edit(report: bytearray) -> None:
        report[at : at + len(value)] = value

    return edit


@pytest.mark.parametrize("line", ["Milan", "Genoa", "Turin"])
@pytest.mark.parametrize("signer", ["VCEK", "VLEK"])
@pytest.mark.parametrize("version", [2, 3, 5])
def test_good_reports_of_every_line_and_signer(line: str, signer: str, version: int) -> None:
    found = snp(line, signer=signer, version=version).verify()
    assert (found.verdict, found.bound) == ("valid", True)
    assert found.claims.measurements["measurement"] == attesting.CODE.hex()
    expected = {"boot_loader": 4, "tee": 0, "snp": 24, "microcode": 0xDB} | ({"fmc": 1} if line == "Turin" else {})
    assert found.tcb is not None
    assert (found.tcb.status, found.tcb.versions) == (None, expected)


def test_the_chip_id_may_stand_in_an_octet_string() -> None:
    for line in ("Milan", "Turin"):
        assert snp(line, wrapped_hwid=True).verify().verdict == "valid"


def test_a_debug_policy_is_told() -> None:
    assert snp(debug=True).verify().verdict == "valid-but-debug"


def test_other_report_data_is_refused_as_unbound() -> None:
    for wanted in (bytes(64), attesting.REPORT_DATA[:32]):
        with pytest.raises(UnboundError):
            snp().verify(required=Required(report_data=wanted))


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        pytest.param({"microcode": 0x73}, "microcode version 115", id="older microcode than the certificate"),
        pytest.param({"chip": bytes(range(64))}, "another chip", id="another chip"),
        pytest.param({"leaf_name": "SEV-VLEK"}, "signed by a VCEK", id="the other signer's certificate"),
        pytest.param({"leaf_name": "SEV-OTHER"}, "signed by a VCEK", id="no signer's certificate"),
        pytest.param({"algorithm": hashes.SHA256()}, "sha384", id="leaf signed with SHA-256"),
        pytest.param({"days": (-30, -1)}, "is not valid at", id="leaf expired"),
        pytest.param({"days": (1, 30)}, "is not valid at", id="leaf not yet valid"),
        pytest.param({"critical": True}, "critical extension", id="critical extension"),
    ],
)
def test_a_leaf_that_does_not_fit_is_refused(how: dict[str, Any], sentence: str) -> None:
    assert sentence in refusal(snp(**how))


def test_only_a_vlek_may_lack_a_chip() -> None:
    vlek = snp(signer="VLEK", leaf_name="SEV-VCEK", edit=put(0x48, bytes(4)))
    assert "names no chip" in refusal(vlek)


def test_what_cannot_be_judged_is_not_called_forged() -> None:
    cases = [
        snp(edit=put(0x00, struct.pack("<I", 1))),
        snp(edit=put(0x00, struct.pack("<I", 6))),
        snp(edit=put(0x34, struct.pack("<I", 2))),
        snp(edit=put(0x48, struct.pack("<I", 7 << 2))),
        snp(chip=bytes(64)),
    ]
    for case in cases:
        with pytest.raises(UnsupportedError):
            case.verify()


def test_another_root_is_refused() -> None:
    case = snp()
    foreign = snp(label="foreign")
    assert "is not issued by" in refusal(foreign, roots=case.roots)
    assert "is not issued by" in refusal(case, roots=foreign.roots)
    assert "no root is pinned" in refusal(case, roots=())
    assert case.verify(roots=foreign.roots + case.roots).verdict == "valid"


def test_swapped_and_missing_collateral_is_refused() -> None:
    case = snp()
    leaf, ask = case.collateral
    for collateral in ((), (leaf,), (ask, leaf), (leaf, leaf), (leaf, ask, ask), (b"", ask), (leaf, b"x" * 300_000)):
        refusal(case, collateral=collateral)


def test_another_chips_genuine_certificate_is_refused() -> None:
    case = snp()
    other_key = attesting.key("another chip", attesting.ec.SECP384R1).public_key()
    leaf = attesting.load(case.collateral[0])
    ask = attesting.rsa_key("amdask")
    extensions = {e.oid.dotted_string: e.value.value for e in leaf.extensions if hasattr(e.value, "value")}
    genuine = attesting.certificate("SEV-VCEK", other_key, "SEV-Milan", ask, extensions=extensions, usage=False)
    assert "is not signed by its certificate's key" in refusal(
        case, collateral=(attesting.der(genuine), case.collateral[1])
    )


def test_expired_roots_and_intermediates_are_refused() -> None:
    for days in (-31, 31):
        assert "is not valid at" in refusal(snp(), at=AT + timedelta(days=days))


def test_a_report_has_one_size() -> None:
    case = snp()
    for evidence in (b"", case.evidence[:-1], case.evidence + b"\0", case.evidence * 100):
        refusal(case, evidence=evidence)


def test_bytes_around_the_signature_must_be_zero() -> None:
    case = snp()
    for at in (0x2A0 + 48, 0x2E8 + 48, 0x330, 1183):
        changed = bytearray(case.evidence)
        changed[at] = 1
        assert "must be zero" in refusal(case, evidence=bytes(changed))


def test_every_signed_byte_counts() -> None:
    case = snp()
    for at in [*range(0, 0x2A0, 5), *range(0x2A0, 0x2A0 + 48, 5)]:
        changed = bytearray(case.evidence)
        changed[at] ^= 1
        refusal(case, evidence=bytes(changed))


def test_an_empty_signature_is_refused() -> None:
    case = snp()
    assert "is not signed" in refusal(case, evidence=case.evidence[:0x2A0] + bytes(512))
