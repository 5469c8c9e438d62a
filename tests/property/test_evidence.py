"""Whatever the bytes, a verifier answers or refuses with an error of its own; nothing else gets out."""

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attesting
from attesting import Case
from sealstat.crypto import canonical
from sealstat.evidence import collateral, hcl, kinds, nsm, tpm_key
from sealstat.evidence.errors import EvidenceError
from sealstat.evidence.result import Required

MAKERS: dict[str, Callable[[], Case]] = {
    "sgx": attesting.sgx,
    "tdx": attesting.tdx,
    "tdx v5": lambda: attesting.tdx(5),
    "snp": attesting.snp,
    "nitro": attesting.nitro,
    "tpm": attesting.tpm,
    "cca": attesting.cca,
}
case = cache(lambda name: MAKERS[name]())
every_case = pytest.mark.parametrize("name", MAKERS)
every_kind = pytest.mark.parametrize("kind", kinds.KINDS)


# a TPM2B_PUBLIC of a restricted P-256 key with ECDSA
AK = bytes.fromhex("00580023000b00050072000000100018000b000300100020") + bytes(32) + b"\0\x20" + bytes(32)


@st.composite
def mutated(draw: st.DrawFn, original: bytes) -> bytes:
    """The original with up to three stretches replaced, cut out, doubled or filled up."""
    data = original
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + draw(st.sampled_from([1, 2, 8, 64, 4096])))))
        filling = draw(st.one_of(st.binary(max_size=8), st.just(data[start:end] * 2), st.just(b"\xff" * (end - start))))
        data = data[:start] + filling + data[end:]
    return data


@every_case
@given(st.data())
@settings(max_examples=60)
def test_mutated_evidence_is_judged_or_refused(name: str, data: st.DataObject) -> None:
    good = case(name)
    with contextlib.suppress(EvidenceError):
        replace(good, evidence=data.draw(mutated(good.evidence))).verify()


@every_case
@given(st.data())
@settings(max_examples=40)
def test_mutated_collateral_is_judged_or_refused(name: str, data: st.DataObject) -> None:
    good = case(name)
    collateral = tuple(data.draw(mutated(piece)) for piece in good.collateral)
    with contextlib.suppress(EvidenceError):
        replace(good, collateral=collateral).verify()


@every_case
@given(root=st.binary(max_size=200))
@settings(max_examples=20)
def test_a_root_of_any_bytes_vouches_for_nothing(name: str, root: bytes) -> None:
    good = case(name)
    if good.roots:
        with pytest.raises(EvidenceError):
            replace(good, roots=(root,)).verify()


@every_kind
@given(st.binary(max_size=2000))
@settings(max_examples=60)
def test_any_bytes_are_refused(kind: str, data: bytes) -> None:
    for call in (
        lambda: kinds.parse(kind, data),
        lambda: kinds.verify(kind, data, collateral=(data,), roots=(data,), required=Required(), at=attesting.AT),
    ):
        with pytest.raises(EvidenceError):
            call()


@every_case
@given(st.binary(max_size=80))
@settings(max_examples=20)
def test_only_the_whole_challenge_binds(name: str, challenge: bytes) -> None:
    good = case(name)
    said = good.verify().claims
    for required in (Required(nonce=challenge), Required(report_data=challenge)):
        with contextlib.suppress(EvidenceError):
            assert good.verify(required=required).bound
            assert challenge in (said.nonce, said.report_data)


@given(st.data())
@settings(max_examples=60)
def test_a_mutated_hcl_report_is_cut_or_refused(data: st.DataObject) -> None:
    good = attesting.hcl_report(case("snp").evidence, attesting.runtime_data(attesting.rsa_key("ak", 2048)))
    with contextlib.suppress(EvidenceError):
        report = hcl.parse_hcl(data.draw(mutated(good)))
        claims = kinds.parse("snp", case("snp").evidence)
        hcl.check_binding(report, ak=b"", hardware_evidence=case("snp").evidence, hardware=claims)


@given(st.data())
@settings(max_examples=150)
def test_mutated_real_evidence_is_judged_or_refused(shared: Path, data: st.DataObject) -> None:
    folder = shared / "vectors/attestation"
    entries = [entry for entry in json.loads((folder / "manifest.json").read_text()) if entry["origin"] == "real"]
    entry = data.draw(st.sampled_from(entries))
    with contextlib.suppress(EvidenceError):
        kinds.verify(
            entry["kind"],
            data.draw(mutated((folder / entry["file"]).read_bytes())),
            collateral=[(folder / name).read_bytes() for name in entry.get("collateral", [])],
            roots=[(folder / entry["trust_root"]).read_bytes()] if entry.get("trust_root") else [],
            required=Required(),
            at=attesting.AT.fromisoformat(entry["verify_at"]),
        )


@given(st.data())
@settings(max_examples=200)
def test_what_comes_beside_evidence_is_read_or_refused(data: st.DataObject) -> None:
    good = collateral.pack([b"vcek", b"ask"], [b"ark"])
    with contextlib.suppress(EvidenceError):
        collateral.unpack(data.draw(mutated(good)), pinned=[], limit=1 << 17)


@given(st.data())
@settings(max_examples=200)
def test_a_machine_and_its_module_are_read_or_refused(data: st.DataObject) -> None:
    enrolment = canonical.encode({"kind": "tpm-enrolment", "ek_certificate": "AAAA", "ak": "AAAA"})
    answer = b"\xa1\x6bAttestation\xa1\x68document\x59\x01\x00" + bytes(256)
    for read, good in ((tpm_key.parse_enrolment, enrolment), (tpm_key.parse_ak, AK), (nsm.document, answer)):
        with contextlib.suppress(EvidenceError):
            read(data.draw(mutated(good)))


@given(st.binary(max_size=200))
def test_bytes_are_no_endorsement_key(data: bytes) -> None:
    with pytest.raises(EvidenceError):
        tpm_key.check_ek(data, roots=[case("snp").roots[0]], at=attesting.AT)
