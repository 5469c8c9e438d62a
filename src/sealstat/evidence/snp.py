"""AMD SEV-SNP attestation reports, signed by a chip's key (VCEK) or a cloud's loaded key (VLEK); Milan, Genoa, Turin.

Source: AMD, SEV Secure Nested Paging Firmware ABI Specification (56860), table "ATTESTATION_REPORT"; Versioned Chip
Endorsement Key (VCEK) Certificate and KDS Interface Specification (57230).
"""

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.x509.oid import NameOID, SignatureAlgorithmOID

from sealstat.evidence._x509 import check_chain, load_certificates, load_root, under_any
from sealstat.evidence.errors import EvidenceError, UnsupportedError, refused
from sealstat.evidence.result import Claims, Required, Tcb, Verified, bind, within_limits

KIND = "snp"
REPORT_BYTES = 1184
_SIGNED = 0x2A0
_ECDSA_P384_SHA384 = 1
_SIGNERS = {0: "vcek", 1: "vlek", 7: "none"}
_LEAVES = {"vcek": "SEV-VCEK", "vlek": "SEV-VLEK"}
_EXTENSIONS = "1.3.6.1.4.1.3704.1"
# byte of a TCB version -> name, and name -> extension of the leaf
_TCB_BYTES = {0: "boot_loader", 1: "tee", 6: "snp", 7: "microcode"}
_TCB_BYTES_TURIN = {0: "fmc", 1: "boot_loader", 2: "tee", 3: "snp", 7: "microcode"}
_TCB_EXTENSIONS = {"boot_loader": "3.1", "tee": "3.2", "snp": "3.3", "microcode": "3.8", "fmc": "3.9"}


@refused("the SNP report does not have its form")
def parse(evidence: bytes) -> Claims:
    """What an SNP report says, unverified.

    Raises:
        UnsupportedError: a version or signature algorithm that cannot be judged.
        EvidenceError: no SNP report.
    """
    within_limits(evidence)
    if len(evidence) != REPORT_BYTES:
        raise EvidenceError(f"an SNP report has {REPORT_BYTES} bytes, not {len(evidence):,}")
    version, algorithm, keys = (_number(evidence, at, 4) for at in (0x00, 0x34, 0x48))
    if version not in (2, 3, 5):
        raise UnsupportedError(f"SNP reports of version {version} cannot be judged: expected 2, 3 or 5")
    if algorithm != _ECDSA_P384_SHA384:
        raise UnsupportedError(f"the SNP report's signature algorithm {algorithm} is not ECDSA P-384 with SHA-384")
    policy = _number(evidence, 0x08, 8)
    debug = bool(policy >> 19 & 1)
    report_data, measurement = evidence[0x50:0x90], evidence[0x90:0xC0].hex()
    return Claims(
        kind=KIND,
        debug=debug,
        nonce=report_data,
        report_data=report_data,
        measurements={
            "measurement": measurement,
            "host_data": evidence[0xC0:0xE0].hex(),
            "id_key_digest": evidence[0xE0:0x110].hex(),
            "author_key_digest": evidence[0x110:0x140].hex(),
        },
        fields={
            "version": version,
            "guest_svn": _number(evidence, 0x04, 4),
            "policy": policy,
            "family_id": evidence[0x10:0x20].hex(),
            "image_id": evidence[0x20:0x30].hex(),
            "vmpl": _number(evidence, 0x30, 4),
            "signature_algo": algorithm,
            "current_tcb": evidence[0x38:0x40].hex(),
            "platform_info": _number(evidence, 0x40, 8),
            "author_key_en": bool(keys & 1),
            "mask_chip_key": bool(keys >> 1 & 1),
            "signing_key": _SIGNERS.get(keys >> 2 & 7, str(keys >> 2 & 7)),
            "report_data": report_data.hex(),
            "measurement": measurement,
            "host_data": evidence[0xC0:0xE0].hex(),
            "id_key_digest": evidence[0xE0:0x110].hex(),
            "author_key_digest": evidence[0x110:0x140].hex(),
            "report_id": evidence[0x140:0x160].hex(),
            "report_id_ma": evidence[0x160:0x180].hex(),
            "reported_tcb": evidence[0x180:0x188].hex(),
            "cpuid": evidence[0x188:0x18B].hex() if version >= 3 else None,
            "chip_id": evidence[0x1A0:0x1E0].hex(),
            "committed_tcb": evidence[0x1E0:0x1E8].hex(),
            "launch_tcb": evidence[0x1F0:0x1F8].hex(),
            "smt_allowed": bool(policy >> 16 & 1),
            "migration_agent_allowed": bool(policy >> 18 & 1),
            "single_socket": bool(policy >> 20 & 1),
            "debug": debug,
        },
    )


@refused("the SNP report or its certificates do not have their form")
def verify(
    evidence: bytes, *, collateral: tuple[bytes, ...], roots: Sequence[bytes], required: Required, at: datetime
) -> Verified:
    """Verify an SNP report. Collateral: the leaf (VCEK or VLEK), then the ASK or ASVK, each in DER or PEM.

    Raises:
        UnsupportedError: it cannot be judged.
        UnboundError: authentic, over other report data.
        EvidenceError: not authentic.
    """
    claims = parse(evidence)
    within_limits(evidence, collateral)
    if len(collateral) != 2:
        raise EvidenceError("expected two certificates as collateral: VCEK or VLEK, then ASK or ASVK")
    (leaf,) = load_certificates(collateral[0])
    intermediate = load_certificates(collateral[1])[0]  # the key service sends the root along, which is not looked at

    # (1) the chain to the pinned root
    def chained(root: bytes) -> bytes:
        _check_chain([leaf, intermediate, load_root(root, at)], at)
        return root

    anchor = under_any(roots, chained)
    # (2) the report's signature
    _check_signature(evidence, leaf)
    # (3) the leaf is of the kind, the firmware and the chip that the report names
    signer = claims.fields["signing_key"]
    if signer not in _LEAVES:
        raise UnsupportedError(f"SNP reports signed by the key {signer} cannot be judged: expected VCEK or VLEK")
    if [name.value for name in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)] != [_LEAVES[signer]]:
        raise EvidenceError(f"the report says it is signed by a {signer.upper()}, its certificate is another")
    turin = _is_turin(evidence, leaf)
    versions = {name: evidence[0x180 + byte] for byte, name in (_TCB_BYTES_TURIN if turin else _TCB_BYTES).items()}
    for name, version in versions.items():
        if _extension(leaf, _TCB_EXTENSIONS[name]) != _der_integer(version):
            raise EvidenceError(f"the report's {name} version {version} is not the one its certificate was issued for")
    _check_chip(evidence, leaf, signer, turin=turin)
    tcb = Tcb(status=None, versions=versions)
    return bind(Verified(claims=claims, tcb=tcb, anchor=sha256(anchor).hexdigest()), required)


def _check_chain(chain: list[x509.Certificate], at: datetime) -> None:
    for issuer in chain[1:]:
        key = issuer.public_key()
        if not isinstance(key, rsa.RSAPublicKey) or key.key_size < 4096:
            raise EvidenceError("expected AMD's certificates to be signed with RSA of 4096 bits")
    if any(certificate.signature_algorithm_oid != SignatureAlgorithmOID.RSASSA_PSS for certificate in chain[:-1]):
        raise EvidenceError("expected AMD's certificates to be signed with RSASSA-PSS")
    check_chain(chain, at, hash_name="sha384")


def _check_signature(evidence: bytes, leaf: x509.Certificate) -> None:
    key = leaf.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise EvidenceError("expected a P-384 key in the leaf certificate")
    r, s = evidence[_SIGNED : _SIGNED + 72], evidence[_SIGNED + 72 : _SIGNED + 144]
    if any(r[48:] + s[48:] + evidence[_SIGNED + 144 :]):
        raise EvidenceError("bytes that must be zero are not, around the report's signature")
    signature = encode_dss_signature(int.from_bytes(r, "little"), int.from_bytes(s, "little"))
    try:
        key.verify(signature, evidence[:_SIGNED], ec.ECDSA(hashes.SHA384()))
    except InvalidSignature as error:
        raise EvidenceError("the SNP report is not signed by its certificate's key") from error


def _is_turin(evidence: bytes, leaf: x509.Certificate) -> bool:
    """Whether Turin's layout of TCB versions holds: CPUID family 1Ah; an old report has no CPUID, its leaf an FMC."""
    if _number(evidence, 0x00, 4) >= 3:
        return evidence[0x188] >= 0x1A
    return _extension(leaf, _TCB_EXTENSIONS["fmc"]) is not None


def _check_chip(evidence: bytes, leaf: x509.Certificate, signer: str, *, turin: bool) -> None:
    chip, hwid = evidence[0x1A0:0x1E0], _extension(leaf, "4")
    if hwid is None:
        if signer == "vlek":  # loaded into many chips
            return
        raise EvidenceError("the VCEK certificate names no chip")
    if not any(chip):
        raise UnsupportedError("the host masks its chip id: such a report cannot be held against a chip's certificate")
    size = 8 if turin else 64
    if hwid[:2] == bytes((4, size)) and len(hwid) == size + 2:  # some are wrapped in an OCTET STRING
        hwid = hwid[2:]
    if len(hwid) != size or chip != hwid.ljust(64, b"\0"):
        raise EvidenceError("the report is of another chip than its certificate")


def _extension(leaf: x509.Certificate, suffix: str) -> bytes | None:
    oid = x509.ObjectIdentifier(f"{_EXTENSIONS}.{suffix}")
    try:
        value = leaf.extensions.get_extension_for_oid(oid).value
    except x509.ExtensionNotFound:
        return None
    return value.value if isinstance(value, x509.UnrecognizedExtension) else None


def _der_integer(value: int) -> bytes:
    content = value.to_bytes(1 if value < 0x80 else 2, "big")
    return bytes((2, len(content))) + content


def _number(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")
