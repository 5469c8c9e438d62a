"""Makes evidence of every kind, with keys and certificates of its own: nothing here comes from a real machine.

Each maker returns a `Case`, with everything to verify it; its arguments are what a hostile maker would change.
"""

import base64
import hashlib
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from sealstat.evidence import kinds
from sealstat.evidence.result import Required, Verified

AT = datetime(2026, 10, 1, 12, tzinfo=UTC)
REPORT_DATA = hashlib.sha512(b"a challenge").digest()
CODE = hashlib.sha384(b"the code").digest()
Edit = Callable[[bytearray], None]


@dataclass(frozen=True)
class Case:
    kind: str
    evidence: bytes
    collateral: tuple[bytes, ...] = ()
    roots: tuple[bytes, ...] = ()
    at: datetime = AT
    required: Required = field(default_factory=lambda: Required(report_data=REPORT_DATA))

    def verify(self, **changes: Any) -> Verified:
        case = replace(self, **changes)
        return kinds.verify(
            case.kind,
            case.evidence,
            collateral=case.collateral,
            roots=case.roots,
            required=case.required,
            at=case.at,
        )


# --- keys, certificates -----------------------------------------------------------------------------------------


@cache
def key(label: str, curve: type[ec.EllipticCurve] = ec.SECP256R1) -> ec.EllipticCurvePrivateKey:
    seed = int.from_bytes(hashlib.sha256(b"sealstat tests: " + label.encode()).digest(), "big")
    return ec.derive_private_key(seed >> 1, curve())


@cache
def rsa_key(label: str, bits: int = 4096) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def raw_signature(signer: ec.EllipticCurvePrivateKey, message: bytes, order: str = "big", size: int = 0) -> bytes:
    """r and s side by side, each of the curve's size or ``size`` bytes."""
    width = (signer.key_size + 7) // 8
    algorithm = {32: hashes.SHA256(), 48: hashes.SHA384(), 66: hashes.SHA512()}[width]
    numbers = decode_dss_signature(signer.sign(message, ec.ECDSA(algorithm)))
    return b"".join(number.to_bytes(size or width, "little" if order == "little" else "big") for number in numbers)


def point(signer: ec.EllipticCurvePrivateKey) -> bytes:
    """The uncompressed point."""
    return signer.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def public_pem(signer: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return signer.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def certificate(
    subject: str,
    public: Any,
    issuer: str,
    signer: Any,
    *,
    ca: bool = False,
    path_length: int | None = None,
    extensions: Mapping[str, bytes] | None = None,
    days: tuple[int, int] = (-30, 30),
    serial: int = 7,
    algorithm: hashes.HashAlgorithm | None = None,
    usage: bool = True,
    critical: bool = False,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(public)
        .serial_number(serial)
        .not_valid_before(AT + timedelta(days=days[0]))
        .not_valid_after(AT + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca, path_length), critical=True)
    )
    if usage:
        flags = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"), False
        )
        builder = builder.add_extension(
            x509.KeyUsage(digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, decipher_only=False, **flags),
            critical=True,
        )
    for oid, value in (extensions or {}).items():
        builder = builder.add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value), critical)
    if isinstance(signer, rsa.RSAPrivateKey):
        pss = padding.PSS(padding.MGF1(hashes.SHA384()), 48)
        return builder.sign(signer, algorithm or hashes.SHA384(), rsa_padding=pss)
    fitting = hashes.SHA384() if signer.key_size == 384 else hashes.SHA256()
    return builder.sign(signer, algorithm or fitting, ecdsa_deterministic=True)


def load(data: bytes) -> x509.Certificate:
    return x509.load_der_x509_certificate(data)


def der(one: x509.Certificate) -> bytes:
    return one.public_bytes(Encoding.DER)


def pem(*some: x509.Certificate) -> str:
    return b"".join(one.public_bytes(Encoding.PEM) for one in some).decode()


# --- Intel ------------------------------------------------------------------------------------------------------

_SGX_OID = "1.2.840.113741.1.13.1"
_FMSPC, _PCE_ID, _PPID, _CPU_SVN, _PCE_SVN = bytes.fromhex("00a0b0c0d0e0"), bytes(2), b"p" * 16, bytes([5] * 16), 13
_QE_SIGNER = hashlib.sha256(b"QE signer").digest()


def tlv(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = bytes([size]) if size < 0x80 else bytes([0x82]) + size.to_bytes(2, "big")
    return bytes([tag]) + length + content


def _entry(oid: str, value: bytes) -> bytes:
    encoded = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), b"").oid
    first, second, *rest = (int(arc) for arc in encoded.dotted_string.split("."))
    content = bytes([40 * first + second])
    for arc in rest:
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(arc & 0x7F | 0x80)
        content += bytes(reversed(groups))
    return tlv(0x30, tlv(6, content) + value)


def _pck_extension() -> bytes:
    tcb = b"".join(_entry(f"{_SGX_OID}.2.{n + 1}", tlv(2, bytes([svn]))) for n, svn in enumerate(_CPU_SVN))
    tcb += _entry(f"{_SGX_OID}.2.17", tlv(2, bytes([_PCE_SVN]))) + _entry(f"{_SGX_OID}.2.18", tlv(4, _CPU_SVN))
    return tlv(
        0x30,
        _entry(f"{_SGX_OID}.1", tlv(4, _PPID))
        + _entry(f"{_SGX_OID}.2", tlv(0x30, tcb))
        + _entry(f"{_SGX_OID}.3", tlv(4, _PCE_ID))
        + _entry(f"{_SGX_OID}.4", tlv(4, _FMSPC))
        + _entry(f"{_SGX_OID}.5", tlv(0x0A, b"\0")),
    )


def _time(days: int) -> str:
    return f"{AT + timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"


class Intel:
    """A look-alike of Intel's certificate authorities and collateral service."""

    def __init__(self, label: str = "intel") -> None:
        self.label = label
        self.root_key, self.ca_key, self.pck_key, self.tcb_key, self.attestation_key = (
            key(label + part) for part in ("root", "ca", "pck", "tcb", "attestation")
        )
        self.root = certificate(
            "Intel SGX Root CA", self.root_key.public_key(), "Intel SGX Root CA", self.root_key, ca=True, serial=1
        )
        self.ca = certificate(
            "Intel SGX PCK Platform CA",
            self.ca_key.public_key(),
            "Intel SGX Root CA",
            self.root_key,
            ca=True,
            path_length=0,
            serial=2,
        )
        self.pck = certificate(
            "Intel SGX PCK Certificate",
            self.pck_key.public_key(),
            "Intel SGX PCK Platform CA",
            self.ca_key,
            extensions={_SGX_OID: _pck_extension()},
            serial=3,
        )
        self.tcb = certificate(
            "Intel SGX TCB Signing", self.tcb_key.public_key(), "Intel SGX Root CA", self.root_key, serial=4
        )

    def crl(self, issuer: str, signer: Any, days: tuple[int, int], revoked: Sequence[int] = ()) -> str:
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .last_update(AT + timedelta(days=days[0]))
            .next_update(AT + timedelta(days=days[1]))
            .add_extension(x509.CRLNumber(1), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        )
        for serial in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(AT - timedelta(days=1))
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.DER).hex()

    def collateral(
        self,
        tee: str,
        *,
        status: str = "UpToDate",
        advisories: Sequence[str] = (),
        days: tuple[int, int] = (-10, 10),
        crl_days: tuple[int, int] = (-10, 10),
        revoked: Sequence[int] = (),
        least: int = 5,
        fmspc: bytes = _FMSPC,
    ) -> dict[str, str]:
        components: dict[str, Any] = {"sgxtcbcomponents": [{"svn": least}] * 16, "pcesvn": _PCE_SVN}
        tcb_info: dict[str, Any] = {
            "id": tee.upper(),
            "version": 3,
            "issueDate": _time(days[0]),
            "nextUpdate": _time(days[1]),
            "fmspc": fmspc.hex().upper(),
            "pceId": _PCE_ID.hex(),
            "tcbType": 0,
            "tcbEvaluationDataNumber": 17,
        }
        if tee == "tdx":
            tcb_info["tdxModule"] = {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "ff" * 8}
            components["tdxtcbcomponents"] = [{"svn": 0}] * 16
        level = {"tcb": components, "tcbDate": _time(-100), "tcbStatus": status, "advisoryIDs": list(advisories)}
        tcb_info["tcbLevels"] = [level]
        identity = {
            "id": "QE" if tee == "sgx" else "TD_QE",
            "version": 2,
            "issueDate": _time(days[0]),
            "nextUpdate": _time(days[1]),
            "tcbEvaluationDataNumber": 17,
            "miscselect": "00000000",
            "miscselectMask": "FFFFFFFF",
            "attributes": "11" + "00" * 15,
            "attributesMask": "FB" + "FF" * 7 + "00" * 8,
            "mrsigner": _QE_SIGNER.hex().upper(),
            "isvprodid": 1,
            "tcbLevels": [{"tcb": {"isvsvn": 1}, "tcbDate": _time(-100), "tcbStatus": "UpToDate"}],
        }
        signed = {"tcb_info": json.dumps(tcb_info), "qe_identity": json.dumps(identity)}
        return {
            "pck_crl_issuer_chain": pem(self.ca, self.root),
            "root_ca_crl": self.crl("Intel SGX Root CA", self.root_key, crl_days),
            "pck_crl": self.crl("Intel SGX PCK Platform CA", self.ca_key, crl_days, revoked),
            "tcb_info_issuer_chain": pem(self.tcb, self.root),
            "qe_identity_issuer_chain": pem(self.tcb, self.root),
            **signed,
            **{f"{name}_signature": raw_signature(self.tcb_key, text.encode()).hex() for name, text in signed.items()},
        }

    def quote(
        self,
        version: int,
        body: bytes,
        *,
        body_type: int | None = None,
        key_type: int = 2,
        qe_debug: bool = False,
        other_key: bool = False,
        chain_type: int = 5,
        outer_type: int = 6,
    ) -> bytes:
        head = struct.pack("<HHI", version, key_type, 0 if version == 3 else 0x81) + bytes(4)
        head += bytes.fromhex("939a7233f79c4ca9940a0db3957f0607") + bytes(20)
        if body_type is not None:
            head += struct.pack("<HI", body_type, len(body))
        signer = key("another attestation key") if other_key else self.attestation_key
        public = point(self.attestation_key)[1:]
        auth = bytes(range(32))
        report = bytearray(384)
        report[48] = 0x11 | (2 if qe_debug else 0)
        report[128:160] = _QE_SIGNER
        report[256:260] = struct.pack("<HH", 1, 1)
        report[320:352] = hashlib.sha256(public + auth).digest()
        chain = pem(self.pck, self.ca, self.root).encode() + b"\0"
        inner = bytes(report) + raw_signature(self.pck_key, bytes(report)) + struct.pack("<H", len(auth)) + auth
        inner += struct.pack("<HI", chain_type, len(chain)) + chain
        if version > 3:
            inner = struct.pack("<HI", outer_type, len(inner)) + inner
        data = raw_signature(signer, head + body) + public + inner
        return head + body + struct.pack("<I", len(data)) + data


def sgx(*, pki: Intel | None = None, debug: bool = False, quote: Any = None, **collateral: Any) -> Case:
    pki = pki or Intel()
    body = bytearray(384)
    body[48] = 0x05 | (2 if debug else 0)
    body[64:96], body[128:160] = CODE[:32], hashlib.sha256(b"signer").digest()
    body[256:260] = struct.pack("<HH", 3, 4)
    body[320:384] = REPORT_DATA
    made = pki.quote(3, bytes(body), **(quote or {}))
    return Case("sgx", made, (json.dumps(pki.collateral("sgx", **collateral)).encode(),), (der(pki.root),))


def tdx(
    version: int = 4,
    *,
    pki: Intel | None = None,
    debug: bool = False,
    sept_ve_disable: bool = True,
    body_type: int | None = None,
    quote: Any = None,
    **collateral: Any,
) -> Case:
    pki = pki or Intel()
    if version == 5 and body_type is None:
        body_type = 3
    body = bytearray(648 if body_type == 3 else 584)
    body[120], body[123] = int(debug), 0x10 if sept_ve_disable else 0
    body[136:184] = CODE
    body[520:584] = REPORT_DATA
    made = pki.quote(version, bytes(body), body_type=body_type, **(quote or {}))
    return Case("tdx", made, (json.dumps(pki.collateral("tdx", **collateral)).encode(),), (der(pki.root),))


# --- AMD --------------------------------------------------------------------------------------------------------

_AMD = "1.3.6.1.4.1.3704.1"
_CHIP = hashlib.sha512(b"chip").digest()


def _integer(value: int) -> bytes:
    return tlv(2, value.to_bytes(1 if value < 0x80 else 2, "big"))


@cache
def amd_authorities(label: str, line: str, intermediate: str) -> tuple[x509.Certificate, x509.Certificate]:
    """ARK and ASK or ASVK: made once, since RSA-PSS signatures differ each time."""
    ark, ask = rsa_key(label + "ark"), rsa_key(label + "ask")
    return (
        certificate(f"ARK-{line}", ark.public_key(), f"ARK-{line}", ark, ca=True, serial=1),
        certificate(intermediate, ask.public_key(), f"ARK-{line}", ark, ca=True, path_length=0, serial=2),
    )


def snp(
    line: str = "Milan",
    *,
    label: str = "amd",
    signer: str = "VCEK",
    leaf_name: str | None = None,
    version: int = 3,
    debug: bool = False,
    microcode: int = 0xDB,
    chip: bytes = _CHIP,
    wrapped_hwid: bool = False,
    edit: Edit = lambda _: None,
    **leaf_changes: Any,
) -> Case:
    turin = line == "Turin"
    ask, leaf_key = rsa_key(label + "ask"), key(label + "leaf", ec.SECP384R1)
    intermediate = f"SEV-{line}" if signer == "VCEK" else f"SEV-VLEK-{line}"
    root, middle = amd_authorities(label, line, intermediate)
    extensions = {f"{_AMD}.2": tlv(0x16, f"{line}-B0".encode())}
    for suffix, value in (("3.1", 4), ("3.2", 0), ("3.3", 24), ("3.8", 0xDB)):
        extensions[f"{_AMD}.{suffix}"] = _integer(value)
    if turin:
        extensions[f"{_AMD}.3.9"] = _integer(1)
    if signer == "VCEK":
        hwid = _CHIP[:8] if turin else _CHIP
        extensions[f"{_AMD}.4"] = tlv(4, hwid) if wrapped_hwid else hwid
    leaf = certificate(
        leaf_name or f"SEV-{signer}",
        leaf_key.public_key(),
        intermediate,
        ask,
        extensions=extensions,
        **{"usage": False} | leaf_changes,
    )
    report = bytearray(1184)
    report[0x00:0x04] = struct.pack("<I", version)
    report[0x08:0x10] = struct.pack("<Q", 1 << 17 | 1 << 16 | (1 << 19 if debug else 0))
    report[0x34:0x38] = struct.pack("<I", 1)
    report[0x48:0x4C] = struct.pack("<I", (0 if signer == "VCEK" else 1) << 2)
    report[0x50:0x90], report[0x90:0xC0] = REPORT_DATA, CODE
    tcb = bytes([1, 4, 0, 24, 0, 0, 0, microcode]) if turin else bytes([4, 0, 0, 0, 0, 0, 24, microcode])
    report[0x180:0x188] = tcb
    if version >= 3:
        report[0x188] = 0x1A if turin else 0x19
    if signer == "VCEK":
        report[0x1A0:0x1E0] = chip[:8].ljust(64, b"\0") if turin else chip
    edit(report)
    report[0x2A0:0x330] = raw_signature(leaf_key, bytes(report[:0x2A0]), "little", 72)
    return Case("snp", bytes(report), (der(leaf), pem(middle).encode()), (der(root),))


# --- AWS --------------------------------------------------------------------------------------------------------


def sign1(signer: ec.EllipticCurvePrivateKey, claims: Any, *, algorithm: int | None = None) -> list[Any]:
    fitting = {256: -7, 384: -35, 521: -36}[signer.key_size]
    protected, payload = cbor2.dumps({1: fitting if algorithm is None else algorithm}), cbor2.dumps(claims)
    message = cbor2.dumps(["Signature1", protected, b"", payload])
    return [protected, {}, payload, raw_signature(signer, message)]


def nitro(
    *,
    label: str = "aws",
    debug: bool = False,
    leaf_ca_ok: bool = True,
    path_length: int = 0,
    algorithm: int | None = None,
    other_key: bool = False,
    unprotected: Any = None,
    leaf_days: tuple[int, int] = (-1, 1),
    changes: Mapping[str, Any] | None = None,
    bundle: Sequence[bytes] | None = None,
) -> Case:
    root_key, middle_key, leaf_key = (key(label + part, ec.SECP384R1) for part in ("root", "middle", "leaf"))
    root = certificate("aws.nitro-enclaves", root_key.public_key(), "aws.nitro-enclaves", root_key, ca=True)
    middle = certificate(
        "zonal",
        middle_key.public_key(),
        "aws.nitro-enclaves",
        root_key,
        ca=leaf_ca_ok,
        path_length=path_length if leaf_ca_ok else None,
    )
    leaf = certificate("instance", leaf_key.public_key(), "zonal", middle_key, days=leaf_days)
    payload = {
        "module_id": "i-0-enc0",
        "digest": "SHA384",
        "timestamp": int(AT.timestamp() * 1000),
        "pcrs": {index: bytes(48) if debug else CODE for index in (0, 1, 2)} | {3: bytes(48)},
        "certificate": der(leaf),
        "cabundle": [der(root), der(middle)] if bundle is None else list(bundle),
        "public_key": None,
        "user_data": REPORT_DATA,
        "nonce": b"a nonce",
        **(changes or {}),
    }
    signed = sign1(key("someone", ec.SECP384R1) if other_key else leaf_key, payload, algorithm=algorithm)
    signed[1] = unprotected or {}
    return Case("nitro", cbor2.dumps(signed), (), (der(root),), required=Required(nonce=b"a nonce"))


# --- TPM --------------------------------------------------------------------------------------------------------

NONCE = hashlib.sha256(b"tpm nonce").digest()
PCRS = {index: hashlib.sha256(b"pcr %d" % index).digest() for index in range(8)}


def attest(
    *,
    magic: bytes = bytes.fromhex("ff544347"),
    kind: int = 0x8018,
    nonce: bytes = NONCE,
    bank: int = 0x0B,
    banks: int = 1,
    pcrs: Mapping[int, bytes] = PCRS,
    digest: bytes | None = None,
    tail: bytes = b"",
) -> bytes:
    """A TPMS_ATTEST."""
    bitmap = sum(1 << index for index in pcrs).to_bytes(3, "little")
    digest = hashlib.sha256(b"".join(pcrs[index] for index in sorted(pcrs))).digest() if digest is None else digest
    signer = b"\x00\x0b" + hashlib.sha256(b"name").digest()
    message = magic + struct.pack(">HH", kind, len(signer)) + signer + struct.pack(">H", len(nonce)) + nonce
    message += struct.pack(">QIIBQ", 1, 2, 3, 1, 4) + struct.pack(">I", banks)
    message += (struct.pack(">HB", bank, 3) + bitmap) * banks
    return message + struct.pack(">H", len(digest)) + digest + tail


def tpm(
    *,
    ak: str = "ecdsa",
    scheme: int | None = None,
    hash_id: int = 0x0B,
    raw: bool = False,
    pcrs: Mapping[int, bytes] = PCRS,
    supplied: Mapping[str, Mapping[str, str]] | None = None,
    **changes: Any,
) -> Case:
    message = attest(pcrs=pcrs, **changes)
    if ak == "ecdsa":
        signer: Any = key("ak")
        signature = raw_signature(signer, message)
        signature = struct.pack(">HHH", scheme or 0x18, hash_id, 32) + signature[:32] + b"\0\x20" + signature[32:]
    else:
        signer = rsa_key("ak", 2048)
        signature = signer.sign(message, padding.PKCS1v15(), hashes.SHA256())
        if not raw:
            signature = struct.pack(">HHH", scheme or 0x14, hash_id, len(signature)) + signature
    values = {"sha256": {str(index): value.hex() for index, value in pcrs.items()}} if supplied is None else supplied
    wrapper = {
        "format": "tpms-attest",
        "message": message.hex(),
        "signature": signature.hex(),
        "signature_format": "raw-rsassa-sha256" if raw else "tpmt",
        "pcrs": values,
    }
    return Case("tpm", json.dumps(wrapper).encode(), (public_pem(signer),), required=Required(nonce=NONCE))


def runtime_data(ak: rsa.RSAPrivateKey) -> bytes:
    """The JSON that an HCL report is over."""
    numbers = ak.public_key().public_numbers()
    n, e = (
        base64.urlsafe_b64encode(number.to_bytes((number.bit_length() + 7) // 8, "big")).rstrip(b"=").decode()
        for number in (numbers.n, numbers.e)
    )
    return json.dumps({"keys": [{"kid": "HCLAkPub", "kty": "RSA", "n": n, "e": e}]}).encode()


def hcl_report(hardware: bytes, data: bytes, *, report_type: int = 2, hash_type: int = 1) -> bytes:
    head = b"HCLA" + bytes(0x1C) + hardware.ljust(0x4A0, b"\0")
    return head + struct.pack("<5I", len(data) + 20, 1, report_type, hash_type, len(data)) + data + bytes(100)


# --- Arm --------------------------------------------------------------------------------------------------------


def cca(
    *,
    lifecycle: int = 0x3003,
    bound: bool = True,
    other_platform_key: bool = False,
    other_realm_key: bool = False,
    tag: int = 399,
    drop: Sequence[int] = (),
    curve: type[ec.EllipticCurve] = ec.SECP384R1,
    cose_key: bool = False,
    platform_changes: Mapping[Any, Any] | None = None,
    realm_changes: Mapping[Any, Any] | None = None,
) -> Case:
    cpak, rak = key("cpak", ec.SECP384R1), key("rak", curve)
    realm_key = point(rak)
    if cose_key:
        size = (len(realm_key) - 1) // 2
        number = {256: 1, 384: 2, 521: 3}[rak.key_size]
        realm_key = cbor2.dumps({1: 2, -1: number, -2: realm_key[1 : 1 + size], -3: realm_key[1 + size :]})
    challenge = hashlib.sha256(realm_key if bound else b"another").digest()
    component = {1: "RMM", 2: CODE[:32], 4: "1.0", 5: CODE[:32]}
    platform = {
        265: "http://arm.com/CCA-SSD/1.0.0",
        10: challenge,
        2396: b"i" * 32,
        256: b"\x01" + b"d" * 32,
        2401: b"config",
        2395: lifecycle,
        2402: "sha-256",
        2399: [component],
        2400: "verifier.example",
        **(platform_changes or {}),
    }
    realm = {
        10: REPORT_DATA,
        44235: bytes(64),
        44236: "sha-256",
        44237: realm_key,
        44238: CODE[:32],
        44239: [bytes(32)] * 4,
        44240: "sha-256",
        **(realm_changes or {}),
    }
    tokens = {
        44234: sign1(key("other", ec.SECP384R1) if other_platform_key else cpak, platform),
        44241: sign1(key("other", curve) if other_realm_key else rak, realm),
    }
    kept = {name: cbor2.dumps(cbor2.CBORTag(18, token)) for name, token in tokens.items() if name not in drop}
    return Case("cca", cbor2.dumps(cbor2.CBORTag(tag, kept)), (public_pem(cpak),))
