"""The case studies that this version runs, each from generated data to a comparison of its engines."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sealstat.lab import case03, case04

Say = Callable[[str], None]


class CaseError(Exception):
    """There is no such case or scale."""


@dataclass
class Outcome:
    """What a case run found: each check in words, and whether it holds."""

    number: str
    title: str
    scale: str
    seconds: float
    answer: dict[str, Any]
    checks: list[tuple[str, bool]] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every check holds."""
        return all(holds for _, holds in self.checks)

    def to_json(self) -> dict[str, Any]:
        """As a JSON value."""
        return {
            "case": self.number,
            "title": self.title,
            "scale": self.scale,
            "seconds": round(self.seconds, 1),
            "ok": self.ok,
            "checks": [{"check": sentence, "holds": holds} for sentence, holds in self.checks],
            "answer": self.answer,
        }

    def text(self) -> str:
        """For people."""
        lines = [f"case {self.number}, {self.scale}: {self.title} ({self.seconds:.0f} s)"]
        lines += [f"  {'holds' if holds else 'FAILS'}  {sentence}" for sentence, holds in self.checks]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Case:
    """A case: its title, and how it is run at a scale with a seed."""

    title: str
    run: Callable[..., tuple[float, dict[str, Any], list[tuple[str, bool]]]]


CASES = {"03": Case(case03.TITLE, case03.run), "04": Case(case04.TITLE, case04.run)}


def run_case(number: str, *, scale: str, seed: int, say: Say = lambda _: None) -> Outcome:
    """Run a case.

    Raises:
        CaseError: no such case, or no such scale.
    """
    if number not in CASES:
        raise CaseError(f"case {number} is not built yet: there are {', '.join(CASES)}")
    if scale not in {"ci", "full"}:
        raise CaseError(f"expected the scale ci or full, got {scale!r}")
    case = CASES[number]
    seconds, answer, checks = case.run(scale=scale, seed=seed, say=say)
    return Outcome(number, case.title, scale, seconds, answer, checks)
