"""What tests of a result's page start from, and what every page must be."""

import re
from html.parser import HTMLParser
from typing import Any

import pyarrow as pa

from sealstat import statistics

LABEL = "SIMULATED ENCLAVE: NOT PROTECTED BY HARDWARE"


def about(statistic: str, tables: dict[str, pa.Table], **more: Any) -> dict[str, Any]:
    outputs = statistics.describe(statistic)["outputs"]
    kept = ("title", "dimensions", "contributors", "columns")
    return {
        "protection": LABEL,
        "agreement": "ab" * 32,
        "title": "Usual environments",
        "run": "cd" * 32,
        "record": "ef" * 32,
        "task": "usual-environment",
        "period": "2026-10-01/2026-10-31",
        "purpose": "population-statistics",
        "statistic": {"name": statistic, "version": 1, "title": "A statistic"},
        "measurement": "01" * 32,
        "parameters": {
            "xi": {"value": "1", "description": "least value that is told; users"},
            "calibrate": {"value": True, "description": "whether"},
        },
        "tables": {
            name: {"rule": {"minimum": 10, "minimum_part": 3}, **{key: outputs[name][key] for key in kept}}
            for name in tables
        },
        **more,
    }


class Page(HTMLParser):
    """Every element of a page with its attributes, and the labels of its pictures."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        self.labels = [str(attributes["aria-label"]) for tag, attributes in self.found if tag == "svg"]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def check_self_contained(html: str) -> None:
    page = Page(html)
    assert not {tag for tag, _ in page.found} & {"script", "link", "iframe", "object", "embed", "img", "foreignobject"}
    for tag, attributes in page.found:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("href", "xlink:href", "src", "action"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/png;base64,")), (tag, name)
    assert not re.search(r"url\((?!#)|@import", html)
