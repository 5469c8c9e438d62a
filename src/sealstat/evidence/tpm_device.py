"""Evidence from the TPM of this machine: quotes over its boot, the code's PCR, and the report data.

The instance extends its own source digest into a PCR once after each start of the TPM. That says what the code is only
as far as the quoted boot says what could have come before it: whoever may ask the TPM can extend a PCR.
"""

import fcntl
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sealstat.agreement.enclaves import extended
from sealstat.crypto import canonical
from sealstat.crypto.cards import b64
from sealstat.evidence import collateral, tpm
from sealstat.evidence._tpm_tools import TCTI, Tools
from sealstat.evidence.errors import EvidenceError
from sealstat.evidence.report import to_fit
from sealstat.evidence.tpm_key import AttestationKey, parse_ak

PCR = 15  # of those that a restart alone sets back, one that firmware and boot loaders leave alone
_BOOT = (*range(10), 11, 12, 13, 14, 15)  # 10 changes with every program that starts, where the kernel measures them
_EK, _AK = "0x81010001", "0x81010002"  # where keys stay over restarts; the first as makers' guidance has it
_EK_CERTIFICATE = "0x01c00002"  # of an RSA-2048 EK (TCG EK Credential Profile, 2.2.1.4)


class TpmAttester:
    """Quotes of one TPM, by the key that `enrol` made."""

    kind = tpm.KIND

    def __init__(self, measurement: str, *, device: str | None = None, pcr: int = PCR) -> None:
        """Evidence of code with this source digest, which goes into PCR ``pcr``; ``device`` is the TPM's TCTI."""
        if pcr not in _BOOT:
            raise EvidenceError(f"PCR {pcr} is not one that a restart alone sets back: expected one of {_BOOT}")
        self._measurement, self._tcti, self._pcr = measurement, device or TCTI, pcr

    def attest(self, report_data: bytes) -> tuple[bytes, bytes]:
        """A quote over the SHA-256 of the report data, and the key that signed it.

        Raises:
            EvidenceError: the TPM does not answer, has no key yet, or has something else in the code's PCR.
        """
        with _tools(self._tcti) as tools:
            ak = _read_ak(tools)
            self._extend_once(tools)
            selection = "sha256:" + ",".join(map(str, _BOOT))
            nonce = to_fit(tpm.KIND, report_data).hex()
            files = ("-m", "message", "-s", "signature", "-o", "pcrs", "-F", "values")
            tools.run("quote", "-c", _AK, "-l", selection, "-q", nonce, "-g", "sha256", *files)
            values = tools.read("pcrs").hex()
            pcrs = {str(index): values[64 * at : 64 * (at + 1)] for at, index in enumerate(_BOOT)}
            wrapper = {
                "format": "tpms-attest",
                "message": tools.read("message").hex(),
                "signature": tools.read("signature").hex(),
                "signature_format": "tpmt",
                "pcrs": {"sha256": pcrs},
            }
        evidence = json.dumps(wrapper).encode()
        tpm.parse(evidence)  # the values were read beside the quote: they must be the quoted ones
        return evidence, collateral.pack([ak.pem])

    def _extend_once(self, tools: Tools) -> None:
        wanted = extended(self._measurement)
        if self._read_pcr(tools) == "0" * 64:
            tools.run("pcrextend", f"{self._pcr}:sha256={self._measurement}")
        if (found := self._read_pcr(tools)) != wanted:
            raise EvidenceError(
                f"PCR {self._pcr} holds {found[:16]}…, not this code: another version or program was measured into it "
                "since the TPM started; restart the machine"
            )

    def _read_pcr(self, tools: Tools) -> str:
        tools.run("pcrread", f"sha256:{self._pcr}", "-o", "pcr", "-F", "values")
        return tools.read("pcr").hex()


def enrol(tcti: str = TCTI) -> bytes:
    """Make the attestation key if there is none; what to show to the parties, so that they can check it.

    Raises:
        EvidenceError: the TPM does not answer, or has no certificate of its maker.
    """
    with _tools(tcti) as tools:
        tools.run("nvread", _EK_CERTIFICATE, "-o", "ek.der")
        kept = tools.run("getcap", "handles-persistent").lower()
        if _EK not in kept:
            tools.run("createek", "-c", _EK, "-G", "rsa", "-u", "ek.pub")
        if _AK not in kept:
            ak = ("-c", "ak.ctx", "-u", "ak.pub", "-n", "ak.name")
            tools.run("createak", "-C", _EK, "-G", "ecc", "-g", "sha256", "-s", "ecdsa", *ak)
            tools.run("evictcontrol", "-C", "o", "-c", "ak.ctx", _AK)
            tools.run("flushcontext", "-t")  # no resource manager may stand between
        _read_ak(tools)
        shown = {"kind": "tpm-enrolment", "ek_certificate": b64(tools.read("ek.der")), "ak": b64(tools.read("ak.read"))}
    return canonical.encode(shown)


def activate(credential: bytes, tcti: str = TCTI) -> bytes:
    """The secret in a party's credential, which only a TPM that holds both keys can open.

    Raises:
        EvidenceError: it does not open.
    """
    with _tools(tcti) as tools:
        (tools.folder / "credential").write_bytes(credential)
        tools.run("startauthsession", "--policy-session", "-S", "session")
        try:
            tools.run("policysecret", "-S", "session", "-c", "e")
            keys = ("-c", _AK, "-C", _EK, "-P", "session:session")
            tools.run("activatecredential", *keys, "-i", "credential", "-o", "secret")
        finally:
            tools.run("flushcontext", "session")
        return tools.read("secret")


def _read_ak(tools: Tools) -> AttestationKey:
    try:
        tools.run("readpublic", "-c", _AK, "-o", "ak.read")
    except EvidenceError as error:
        raise EvidenceError(
            f"the TPM has no attestation key at {_AK}: run `sealstat enclave enrol`; {error}"
        ) from error
    return parse_ak(tools.read("ak.read"))


@contextmanager
def _tools(tcti: str) -> Iterator[Tools]:
    """The tools in a folder of their own, one caller on this machine at a time.

    Two instances that both saw an empty PCR would extend it twice. Every instance has this module's file, so that is
    what they lock.
    """
    with tempfile.TemporaryDirectory(prefix="sealstat-tpm-") as folder, Path(__file__).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield Tools(tcti, Path(folder))
