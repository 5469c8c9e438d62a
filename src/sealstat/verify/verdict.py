"""What a verifier found: lines that each say how far they are to be believed."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["proved", "attested", "not proved", "failed"]
"""``proved``: follows from the file and the trusted keys; ``attested``: somebody named says so; ``failed``: ends it."""


@dataclass(frozen=True, slots=True)
class Line:
    """One finding.

    Attributes:
        key: dotted; what stands before the first dot is the section (``agreement``, ``code``, ``evidence``, ...).
        sentence: for a person; holds nothing that is not in the bundle.
    """

    key: str
    status: Status
    sentence: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome for one bundle.

    Attributes:
        lines: in the order they were established; after a failure none follows.
        hardware: whether the run is shown to have been protected by hardware; never true of the simulated kind.
    """

    lines: tuple[Line, ...]
    hardware: bool = False

    @property
    def ok(self) -> bool:
        """Whether everything that had to hold did. It says nothing about what is listed as not proved."""
        return bool(self.lines) and all(line.status != "failed" for line in self.lines)

    @property
    def failure(self) -> str | None:
        """Why it failed, if it did."""
        return next((line.sentence for line in self.lines if line.status == "failed"), None)
