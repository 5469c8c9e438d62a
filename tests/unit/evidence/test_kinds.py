"""What holds for every kind: guessing, limits, one result type, nothing heavy for those who only make evidence."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import attesting
from attesting import Case
from sealstat.crypto.cards import b64
from sealstat.evidence import kinds, simulated
from sealstat.evidence.errors import EvidenceError, UnboundError, UnsupportedError, refused
from sealstat.evidence.result import Required
from sealstat.evidence.roots import KNOWN


def a_simulation(*, debug: bool = False) -> Case:
    root = Ed25519PrivateKey.from_private_bytes(bytes(32))
    evidence = simulated.attest(root, measurement="ab" * 32, report_data=attesting.REPORT_DATA, debug=debug)
    return Case("simulated", evidence, (), (b64(root.public_key().public_bytes_raw()).encode() + b"\n",))


CASES: dict[str, Callable[[], Case]] = {
    "sgx": attesting.sgx,
    "tdx": attesting.tdx,
    "snp": attesting.snp,
    "nitro": attesting.nitro,
    "tpm": attesting.tpm,
    "cca": attesting.cca,
    "simulated": a_simulation,
}


def test_every_kind_is_here() -> None:
    assert tuple(CASES) == kinds.KINDS


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_the_kind_is_guessed_from_the_form(kind: str) -> None:
    assert kinds.guess(CASES[kind]().evidence).kind == kind


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_what_is_verified_says_what_was_read(kind: str) -> None:
    case = CASES[kind]()
    found = case.verify()
    read = kinds.parse(kind, case.evidence)
    assert (found.claims.kind, found.claims.measurements) == (kind, read.measurements)
    assert read.fields.items() <= found.claims.fields.items()
    assert len(found.anchor) == 64
    with pytest.raises(FrozenInstanceError):
        found.bound = False  # type: ignore[misc]


@pytest.mark.parametrize("kind", kinds.KINDS)
@pytest.mark.parametrize("other", kinds.KINDS)
def test_one_kind_is_not_taken_for_another(kind: str, other: str) -> None:
    if kind != other:
        with pytest.raises(EvidenceError):
            kinds.parse(other, CASES[kind]().evidence)


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_too_much_is_refused_before_it_is_parsed(kind: str) -> None:
    for evidence in (b"", b"\0" * 100_000, b"{" * 100_000):
        with pytest.raises(EvidenceError):
            replace(CASES[kind](), evidence=evidence).verify()


def test_damaged_evidence_is_of_no_kind() -> None:
    with pytest.raises(EvidenceError, match="no kind known here"):
        kinds.guess(b"nothing at all")
    with pytest.raises(UnsupportedError, match="version 9"):
        kinds.guess(bytes([9, 0]) + attesting.sgx().evidence[2:])


def test_a_kind_that_there_is_not_is_not_called_forged() -> None:
    with pytest.raises(UnsupportedError, match="of kind sev"):
        kinds.parse("sev", b"")


def test_simulated_evidence_fits_the_same_result() -> None:
    found = a_simulation().verify()
    assert (found.verdict, found.bound, found.caveats) == ("valid", True, (simulated.LABEL,))
    assert a_simulation(debug=True).verify().verdict == "valid-but-debug"
    with pytest.raises(UnboundError):
        a_simulation().verify(required=Required(report_data=bytes(64)))
    for roots in ((), (b"x",), (b64(bytes(32)).encode(),)):
        with pytest.raises(EvidenceError):
            a_simulation().verify(roots=roots)


def test_an_unexpected_failure_is_a_refusal() -> None:
    for failure in (KeyError("x"), RecursionError(), MemoryError(), OverflowError()):
        with pytest.raises(EvidenceError, match="as it should") as caught, refused("not as it should be"):
            raise failure
        assert caught.value.__cause__ is failure


def test_those_who_make_evidence_load_nothing_that_judges_it() -> None:
    imports = "import sys, sealstat.enclave.session, sealstat.evidence.appraisal"
    code = f"{imports}; print({{'cbor2', 'dcap_qvl'}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_makers_roots_have_names() -> None:
    assert all(len(bytes.fromhex(digest)) == 32 for digest in KNOWN)
    assert len(set(KNOWN.values())) == len(KNOWN)
