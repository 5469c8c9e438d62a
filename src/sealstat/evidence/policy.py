"""Which authentic evidence one accepts, as a value: it could be an entry of an agreement's `enclave.accept`."""

from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from sealstat.crypto.cards import Digest, Strict

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


class ReferenceValue(Strict):
    """Code that is accepted, by a name for people: every register named here must have the value it has here."""

    name: Text
    registers: Annotated[dict[Register, Value], Field(min_length=1, max_length=40)]


class Toleration(Strict):
    """An advisory that is known of and lived with, up to and including a day (UTC)."""

    id: Annotated[str, Field(pattern=r"^[A-Z0-9-]{3,40}$")]
    until: Day
    because: Text


class Policy(Strict):
    """What is accepted of one kind of evidence. The defaults are the strict ones; what is not named is refused.

    ``roots``: SHA-256 of the roots (or of the key, for tpm and cca) that may stand at the top; empty leaves it to
    whoever pins them. ``tcb_statuses`` and ``advisories`` are Intel's (sgx, tdx); ``minimum_tcb`` compares the
    versions that the kind tells, by name; ``highest_vmpl`` is SNP's, 0 the most privileged level.
    """

    kind: Kind
    measurements: Annotated[list[ReferenceValue], Field(min_length=1, max_length=64)]
    roots: Annotated[list[Digest], Field(max_length=16)] = []
    tcb_statuses: Annotated[list[Status], Field(min_length=1)] | None = None
    advisories: Annotated[list[Toleration], Field(max_length=64)] = []
    minimum_tcb: Annotated[dict[Register, Annotated[int, Field(ge=0)]], Field(max_length=16)] = {}
    highest_vmpl: Annotated[int, Field(ge=0, le=3)] | None = None
    debug: bool = False

    @model_validator(mode="after")
    def _fits_kind(self) -> "Policy":
        if self.kind not in _WITH_STATUS and (self.tcb_statuses is not None or self.advisories):
            raise ValueError(f"evidence of kind {self.kind} tells no TCB status and no advisories")
        if self.kind != "snp" and self.highest_vmpl is not None:
            raise ValueError("only evidence of kind snp has a VMPL")
        return self
