"""What a party checks of a TPM before an agreement pins its key: the key's own area, and its maker's certificate."""

import struct
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID, ObjectIdentifier

import attesting
from attesting import AT, der
from sealstat.crypto import canonical
from sealstat.crypto.cards import b64
from sealstat.evidence.errors import EvidenceError
from sealstat.evidence.tpm_key import check_ek, parse_ak, parse_enrolment, vouch

GOOD = 0x00050072  # fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, restricted, sign


def public_area(
    *,
    attributes: int = GOOD,
    kind: int = 0x23,
    hashed: int = 0x0B,
    scheme: int = 0x18,
    curve: int = 3,
    tail: bytes = b"",
) -> bytes:
    """A TPM2B_PUBLIC."""
    numbers = attesting.key("ak").public_key().public_numbers()
    area = struct.pack(">HHIH", kind, hashed, attributes, 0) + struct.pack(">HHHHH", 0x10, scheme, 0x0B, curve, 0x10)
    for number in (numbers.x, numbers.y):
        area += b"\0\x20" + number.to_bytes(32, "big")
    return struct.pack(">H", len(area)) + area + tail


def test_an_attestation_key_is_read() -> None:
    found = parse_ak(public_area())
    assert found.key.public_numbers() == attesting.key("ak").public_key().public_numbers()
    assert found.pem == attesting.public_pem(attesting.key("ak"))
    assert (found.name[:2], len(found.name)) == (b"\0\x0b", 34)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        pytest.param({"attributes": GOOD & ~0x00010000}, "could sign what its TPM did not make", id="not restricted"),
        pytest.param({"attributes": GOOD & ~0x00000002}, "leave it", id="may leave its TPM"),
        pytest.param({"attributes": GOOD & ~0x00000010}, "leave it", id="may leave its parent"),
        pytest.param({"attributes": GOOD & ~0x00000020}, "leave it", id="made elsewhere"),
        pytest.param({"attributes": GOOD & ~0x00040000}, "no attestation key", id="does not sign"),
        pytest.param({"attributes": GOOD | 0x00020000}, "no attestation key", id="decrypts"),
        pytest.param({"kind": 0x01}, "P-256", id="RSA"),
        pytest.param({"hashed": 0x04}, "SHA-256", id="SHA-1"),
        pytest.param({"scheme": 0x10}, "ECDSA", id="any scheme"),
        pytest.param({"curve": 4}, "P-256", id="P-384"),
        pytest.param({"tail": b"\0"}, "too many", id="a tail"),
    ],
)
def test_a_key_that_proves_nothing_is_refused(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(EvidenceError, match=word):
        parse_ak(public_area(**changes))


def test_every_cut_is_refused() -> None:
    whole = public_area()
    for size in range(len(whole)):
        with pytest.raises(EvidenceError):
            parse_ak(whole[:size])


# --- the maker's certificate ------------------------------------------------------------------------------------


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])


def certificate(
    name: str,
    key: rsa.RSAPrivateKey,
    issuer: str,
    signer: rsa.RSAPrivateKey,
    *,
    ca: bool,
    encipher: bool = True,
    **more: Any,
) -> x509.Certificate:
    flags = dict.fromkeys(
        ("content_commitment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"), False
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named(issuer))
        .public_key(key.public_key())
        .serial_number(9)
        .not_valid_before(AT - timedelta(days=1))
        .not_valid_after(more.get("until", AT + timedelta(days=1)))
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=not ca and not encipher,
                key_encipherment=not ca and encipher,
                key_cert_sign=ca,
                crl_sign=ca,
                **flags,
            ),
            critical=True,
        )
    )
    if not ca:  # a TPM's certificate says its model in a critical alternative name, and names nobody
        model = x509.Name([x509.NameAttribute(ObjectIdentifier("2.23.133.2.2"), "model")])
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DirectoryName(model)]), critical=True)
        use = x509.ExtendedKeyUsage([ObjectIdentifier(more.get("uses", "2.23.133.8.1"))])
        builder = builder.add_extension(use, critical=False)
    return builder.sign(signer, more.get("hashed", hashes.SHA256()))


MAKER, ISSUER, EK = (attesting.rsa_key(f"tpm {name}", 2048) for name in ("maker", "issuer", "ek"))
ROOT = certificate("maker", MAKER, "maker", MAKER, ca=True)
BETWEEN = certificate("issuer", ISSUER, "maker", MAKER, ca=True)


def leaf(signer: rsa.RSAPrivateKey = ISSUER, key: rsa.RSAPrivateKey = EK, **changes: Any) -> bytes:
    return der(certificate("", key, "issuer", signer, **{"ca": False} | changes))


def test_an_endorsement_key_under_a_trusted_maker() -> None:
    found = check_ek(leaf(), roots=[der(ROOT)], chain=[der(BETWEEN)], at=AT)
    assert found.public_numbers() == EK.public_key().public_numbers()


@pytest.mark.parametrize(
    ("certificate", "chain", "days", "word"),
    [
        pytest.param(leaf(), [], 0, "not issued by", id="a link is missing"),
        pytest.param(leaf(signer=EK), [der(BETWEEN)], 0, "not issued by", id="signed by another"),
        pytest.param(leaf(encipher=False), [der(BETWEEN)], 0, "not one for encryption", id="a signing key"),
        pytest.param(leaf(), [der(BETWEEN)], 2, "not valid at", id="out of date"),
        pytest.param(leaf(ca=True), [der(BETWEEN)], 0, "not one for encryption", id="an authority"),
        pytest.param(leaf(uses="1.3.6.1.5.5.7.3.4"), [der(BETWEEN)], 0, "another key than", id="a key for mail"),
        pytest.param(b"nothing", [], 0, "expected a certificate", id="no certificate"),
    ],
)
def test_another_certificate_is_refused(certificate: bytes, chain: list[bytes], days: int, word: str) -> None:
    with pytest.raises(EvidenceError, match=word):
        check_ek(certificate, roots=[der(ROOT)], chain=chain, at=AT + timedelta(days=days))


def test_makers_may_sign_with_a_longer_hash_and_no_shorter_one() -> None:
    assert check_ek(leaf(hashed=hashes.SHA384()), roots=[der(ROOT)], chain=[der(BETWEEN)], at=AT)
    with pytest.raises(EvidenceError, match="not signed with sha256 or sha384"):
        check_ek(leaf(hashed=hashes.SHA224()), roots=[der(ROOT)], chain=[der(BETWEEN)], at=AT)


def test_another_maker_is_refused() -> None:
    other = certificate("maker", EK, "maker", EK, ca=True)
    with pytest.raises(EvidenceError, match="not issued by"):
        check_ek(leaf(), roots=[der(other)], chain=[der(BETWEEN)], at=AT)


def test_without_a_root_nothing_is_trusted() -> None:
    with pytest.raises(EvidenceError, match="no root is pinned"):
        check_ek(leaf(), roots=[], chain=[der(BETWEEN)], at=AT)


# --- files ------------------------------------------------------------------------------------------------------


def test_the_answer_must_be_the_secret() -> None:
    kept = canonical.encode({"kind": "tpm-pending", "ak": "ab" * 32, "secret": b64(b"s" * 32)})
    assert vouch(kept, b"s" * 32) == "ab" * 32
    with pytest.raises(EvidenceError, match="not in that TPM"):
        vouch(kept, b"t" * 32)


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", canonical.encode({"kind": "tpm-enrolment", "ak": ""})])
def test_files_of_another_form_are_refused(data: bytes) -> None:
    with pytest.raises(EvidenceError, match="sealstat enclave enrol"):
        parse_enrolment(data)
    with pytest.raises(EvidenceError, match="sealstat evidence challenge"):
        vouch(data, b"")
