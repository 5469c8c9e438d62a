"""Values of the rooms as text for people."""

from typing import Any


def described(found: dict[str, Any]) -> str:
    """A statistic's own description, with units."""
    lines = [f"{found['name']}, version {found['version']}: {found['title']}", "", "inputs (name: table schema)"]
    lines += [f"  {name}: {schema}" for name, schema in found["inputs"].items()]
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
