"""A verdict as a checklist for people, and as JSON for programs."""

from itertools import groupby
from typing import Any

from sealstat.verify.verdict import Line, Verdict

_SECTIONS = {
    "form": "The file",
    "agreement": "The agreement, and who approved it",
    "code": "The code",
    "evidence": "Where it ran: the evidence and its kind",
    "inputs": "Inputs",
    "state": "The state: from which it went on, and what it left",
    "rules": "Rules",
    "outputs": "Outputs",
    "log": "Position in the log",
    "witnesses": "Witnesses",
    "limits": "What is not proved",
}
_MARKS = {"proved": "[proved]    ", "attested": "[attested]  ", "not proved": "[not proved]", "failed": "[FAILED]    "}


def render(verdict: Verdict) -> str:
    """The checklist as plain text; its first line says the outcome."""
    head = "VERIFIED: everything that must hold does; read what is not proved" if verdict.ok else "NOT VERIFIED"
    parts = [head if verdict.ok else f"{head}: {plain(verdict.failure or 'nothing was checked')}"]
    if not verdict.hardware:
        parts.append("NOT PROTECTED BY HARDWARE" if verdict.ok else "NOT SHOWN TO BE PROTECTED BY HARDWARE")
    order = list(_SECTIONS)
    lines = sorted(verdict.lines, key=lambda line: order.index(_section(line)))  # stable: as established
    for section, members in groupby(lines, _section):
        parts.append("\n".join([f"\n{_SECTIONS[section]}", *(_show(line) for line in members)]))
    return "\n".join(parts) + "\n"


def to_json(verdict: Verdict) -> dict[str, Any]:
    """The verdict as a JSON value."""
    lines = [{"key": line.key, "status": line.status, "sentence": line.sentence} for line in verdict.lines]
    return {"ok": verdict.ok, "hardware": verdict.hardware, "failure": verdict.failure, "lines": lines}


def _section(line: Line) -> str:
    return line.key.partition(".")[0]


def _show(line: Line) -> str:
    return f"  {_MARKS[line.status]}  {plain(line.sentence)}"


def plain(sentence: str) -> str:
    """A sentence as it may be shown: every character that prints nothing of its own is replaced."""
    # titles and names come from the file: a control character could draw another verdict over this one
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in sentence)
