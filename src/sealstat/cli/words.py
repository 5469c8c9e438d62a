"""Values of the rooms as text for people."""

from collections.abc import Sequence
from datetime import date
from itertools import groupby
from typing import Any


def described(found: dict[str, Any]) -> str:
    """A statistic's own description, with units."""
    lines = [f"{found['name']}, version {found['version']}: {found['title']}", "", "inputs (name: table schema)"]
    lines += [f"  {name}: {schema}" for name, schema in found["inputs"].items()]
    for name, schema in found["schemas"].items():
        fate = "refuses the file" if schema["whole"] else "is dropped and counted"
        lines += ["", f"schema {name}: a row {fate} unless every column is"]
        lines += [f"  {column['name']}: {column['rule']}" for column in schema["columns"]]
        lines.append(f"  and the row has: {'; '.join(schema['rows'].values())}")
    lines += ["", "parameters"]
    for name, field in found["parameters"].get("properties", {}).items():
        text = field.get("description") or field.get("title", "")
        default = field.get("default")
        needed = "" if name in found["parameters"].get("required", []) else f" (default {str(default).lower()})"
        lines.append(f"  {name}{needed}: {text}")
    for name, table in found["outputs"].items():
        lines += ["", f"table {name}: {table['title']}"]
        for column in table["columns"]:
            mark = " [counts contributors]" if column["name"] == table["contributors"] else ""
            unit = f" ({column['unit']})" if column["unit"] else ""
            lines.append(f"  {column['name']}: {column['type']}{unit}: {column['description']}{mark}")
    return "\n".join(lines)


def spans(days: Sequence[date]) -> str:
    """Ascending days, neighbours together.

    >>> spans([date(2026, 10, 1), date(2026, 10, 2), date(2026, 10, 31)])
    '2026-10-01 to 2026-10-02, 2026-10-31'
    """
    runs = [
        [day for _, day in run] for _, run in groupby(enumerate(days), key=lambda each: each[1].toordinal() - each[0])
    ]
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
