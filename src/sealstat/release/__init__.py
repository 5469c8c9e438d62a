"""Output protection: what a table may tell when it leaves, by the rules that the parties signed."""

from sealstat.release.rules import UncoveredTableError, apply, problems

__all__ = ["UncoveredTableError", "apply", "problems"]
