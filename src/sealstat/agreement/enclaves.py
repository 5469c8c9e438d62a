"""What the owners accept as an enclave: by which evidence, of which code, on which machines.

Each kind of evidence protects something else; its tier says how much, so that nobody signs it unread.
"""

import re
from datetime import date
from hashlib import sha256
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from sealstat.crypto.cards import Digest, Strict

SIMULATED = "SIMULATED ENCLAVE: NOT PROTECTED BY HARDWARE"
SOFTWARE_TPM = "SOFTWARE TPM: NOT PROTECTED BY HARDWARE"

Kind = Literal["sgx", "tdx", "snp", "nitro", "tpm", "cca"]
Status = Literal[
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
]
Text = Annotated[str, Field(min_length=1, max_length=200)]
Register = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]
Value = Annotated[str, Field(pattern=r"^([0-9a-f]{2}){1,64}$")]
_WITH_STATUS = ("sgx", "tdx", "tpm")  # a TPM's through the TDX quote that vouches for its key


def _day(text: str) -> str:
    date.fromisoformat(text)
    return text


Day = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$"), AfterValidator(_day)]
# What of a machine its evidence tells, so that an agreement can name the machines it means.
IDENTITIES: dict[str, tuple[str, ...]] = {
    "sgx": ("ppid", "platform_instance_id"),
    "tdx": ("ppid", "platform_instance_id"),
    "snp": ("chip_id",),
    "cca": ("instance_id",),
}
Tier = Literal["hardware", "extractable", "boot", "software"]
# Which tiers a kind can have. extractable: keys of such machines have been taken out by people who held one in hands.
TIERS: dict[Kind, tuple[Tier, ...]] = {
    "sgx": ("extractable",),
    "tdx": ("extractable",),
    "snp": ("extractable",),
    "nitro": ("hardware",),
    "cca": ("hardware",),
    "tpm": ("boot", "software"),
}
MAIN = {"sgx": "mrenclave", "tdx": "mr_td", "snp": "measurement", "nitro": "pcr0", "cca": "rim"}
_SHA2 = (32, 48, 64)
_REGISTERS: dict[Kind, dict[str, tuple[int, ...]]] = {
    "sgx": {"mrenclave|mrsigner": (32,), "isv_prod_id": (2,)},
    "tdx": {"mr_td|rtmr[0-3]|mr_config_id|mr_owner|mr_owner_config|mr_seam": (48,)},
    "snp": {"measurement|id_key_digest|author_key_digest": (48,), "host_data": (32,)},
    "nitro": {"pcr([12]?[0-9]|3[01])": _SHA2},
    "tpm": {"pcr([12]?[0-9]|3[01])": _SHA2},
    "cca": {"rim|rem[0-3]": _SHA2},
}
TCB_NAMES: dict[Kind, tuple[str, ...]] = {
    "sgx": ("tcb_evaluation_data_number",),
    "tdx": ("tcb_evaluation_data_number",),
    "snp": ("boot_loader", "tee", "snp", "microcode", "fmc"),
}


class ReferenceValue(Strict):
    """Code that is accepted, by a name for people: every register named here must have the value it has here."""

    name: Text
    registers: Annotated[dict[Register, Value], Field(min_length=1, max_length=40)]


class Toleration(Strict):
    """An advisory that is known of and lived with, up to and including a day (UTC)."""

    id: Annotated[str, Field(pattern=r"^[A-Z0-9-]{3,40}$")]
    until: Day
    because: Text


class Platform(Strict):
    """One machine that is allowed, by a name for people and the identity that its evidence tells."""

    name: Text
    id: Value


class Policy(Strict):
    """What is accepted of one kind of evidence. The defaults are the strict ones; what is not named is refused.

    ``roots``: SHA-256 of the roots (or of the key, for tpm and cca) that may stand at the top; empty leaves it to
    whoever pins them. ``tcb_statuses`` and ``advisories`` are Intel's (sgx, tdx); ``minimum_tcb`` compares the
    versions that the kind tells, by name; ``highest_vmpl`` is SNP's, 0 the most privileged level; ``platforms``: the
    only machines that may answer; empty leaves it to any machine of the kind.
    """

    kind: Kind
    measurements: Annotated[list[ReferenceValue], Field(min_length=1, max_length=64)]
    roots: Annotated[list[Digest], Field(max_length=16)] = []
    tcb_statuses: Annotated[list[Status], Field(min_length=1)] | None = None
    advisories: Annotated[list[Toleration], Field(max_length=64)] = []
    minimum_tcb: Annotated[dict[Register, Annotated[int, Field(ge=0)]], Field(max_length=16)] = {}
    highest_vmpl: Annotated[int, Field(ge=0, le=3)] | None = None
    debug: bool = False
    platforms: Annotated[list[Platform], Field(max_length=256)] = []

    @model_validator(mode="after")
    def _fits_kind(self) -> "Policy":
        if self.kind not in _WITH_STATUS and (self.tcb_statuses is not None or self.advisories):
            raise ValueError(f"evidence of kind {self.kind} tells no TCB status and no advisories")
        if self.kind != "snp" and self.highest_vmpl is not None:
            raise ValueError("only evidence of kind snp has a VMPL")
        if self.kind not in IDENTITIES and self.platforms:
            raise ValueError(f"evidence of kind {self.kind} tells no identity of the machine: leave platforms out")
        return self


class SimulatedEnclave(Strict):
    """A trial run without hardware: evidence signed by a root key that anyone may have made."""

    kind: Literal["simulated"]
    # the Ed25519 public key of the pretended maker
    root: Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$")]
    source: Digest

    @property
    def warning(self) -> str:
        """What must be said loudly of a run on it."""
        return SIMULATED


class AttestedEnclave(Policy):
    """Evidence of a real interface; ``source`` is the digest of the code that the accepted measurements contain."""

    tier: Tier
    source: Digest

    @property
    def warning(self) -> str | None:
        """What must be said loudly of a run on it; None where hardware protects the memory."""
        if self.tier == "software":
            return SOFTWARE_TPM
        if self.tier == "boot":
            return "TPM ALONE: ITS MEMORY IS NOT PROTECTED BY HARDWARE"
        return "DEBUG MODE: NOT PROTECTED BY HARDWARE" if self.debug else None


Accepted = Annotated[SimulatedEnclave | AttestedEnclave, Field(discriminator="kind")]


class Enclave(Strict):
    """The code, and the kinds of machine, that the owners accept."""

    accept: Annotated[list[Accepted], Field(min_length=1, max_length=32)]

    @property
    def warnings(self) -> list[str]:
        """What must be said loudly of an agreement that accepts these, each once."""
        return list(dict.fromkeys(entry.warning for entry in self.accept if entry.warning))


def extended(source: str) -> str:
    """The value of a SHA-256 PCR into which a source digest, and nothing else, was extended since the TPM started."""
    return sha256(bytes(32) + bytes.fromhex(source)).hexdigest()


def register_bytes(kind: Kind, register: str) -> tuple[int, ...]:
    """The sizes that a register of a kind can have; none if the kind has no such register."""
    return next((sizes for pattern, sizes in _REGISTERS[kind].items() if re.fullmatch(pattern, register)), ())
