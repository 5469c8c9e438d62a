"""A draft of an agreement, read from YAML and checked against the statistics of the code at hand."""

from pathlib import Path

from sealstat.agreement.draft import Problem, load
from sealstat.agreement.model import Agreement
from sealstat.statistics.catalogue import Catalogue


def checked_draft(file: Path) -> tuple[Agreement | None, list[Problem]]:
    """The agreement in a file, and every mistake in it with its line."""
    draft = load(file, Catalogue())
    return draft.agreement, list(draft.problems)
