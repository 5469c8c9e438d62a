"""Whatever is done to an agreement: it is read as it was written, or refused in sentences."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import builders
from sealstat.agreement.check import UnsoundAgreementError, check_body, problems
from sealstat.agreement.draft import parse
from sealstat.agreement.explain import WIDTH, explain
from sealstat.agreement.model import Agreement
from sealstat.agreement.statements import parse_body
from sealstat.crypto import canonical
from sealstat.crypto.statement import parse as parse_statement
from sealstat.statistics.catalogue import Catalogue

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cf", "Cs", "Zl", "Zp")), min_size=1, max_size=80)
DURATION = st.builds("{}{}".format, st.integers(1, 999), st.sampled_from("smhd"))
JUNK = st.sampled_from(
    (None, "", "x", "0", "-1", "1e9", "*a", "&a b", "!!int 1", "[", "{", "]", ": ", "- ", "#", "\t", '"', "'", "|", ">")
) | st.sampled_from(("NO", "null", "~", "[1, 2]", "{a: b}", "\x00", "../x", "/etc/passwd", "nobody", "9" * 20))


@st.composite
def agreements(draw: st.DrawFn) -> Agreement:
    """Valid agreements whose terms vary within what is sound."""
    value = builders.agreement_json()
    value["title"] = draw(TEXT)
    value["purpose"][0]["text"] = draw(TEXT)
    value["purpose"][0]["legal_basis"] = draw(TEXT)
    value["host"]["merge_delay"] = draw(DURATION)
    for dataset in value["datasets"].values():
        dataset["keep"] = draw(DURATION)
        dataset["minimum_rows"] = draw(st.integers(1, 10**9))
        dataset["replaceable"] = draw(st.booleans())
        dataset["listed"] = draw(st.lists(st.sampled_from(["rows", "size"]), unique=True))
    task = value["tasks"]["visitors"]
    task["runs_per_period"] = draw(st.integers(1, 1000))
    task["hold"] = draw(st.sampled_from(["none", "owner"]))
    task["holders"]["threshold"] = draw(st.integers(2, 3))
    for release in task["releases"].values():
        release["minimum"] = draw(st.integers(2, 1000))
        release["minimum_part"] = draw(st.integers(1, release["minimum"]))
        release["to"] = draw(st.lists(st.sampled_from(builders.PARTIES), min_size=1, unique=True))
    value["witnesses"]["quorum"] = draw(st.integers(2, 3))
    return Agreement.model_validate(value)


@given(agreements())
def test_canonical_bytes_parse_strictly_to_the_same_value(agreement: Agreement) -> None:
    statement = builders.statement(agreement)
    read = parse_body(parse_statement(statement.to_bytes()))
    assert read == agreement
    assert canonical.encode(read.to_json()) == canonical.encode(agreement.to_json())


@given(agreements())
def test_yaml_and_model_say_the_same(agreement: Agreement) -> None:
    assert problems(agreement, Catalogue()) == []
    text = builders.yaml_text(agreement.to_json())
    result = parse(text.encode(), Path("/nowhere"), Catalogue())
    assert result.problems == ()
    assert result.agreement == agreement


@given(agreements())
def test_every_sound_agreement_can_be_explained(agreement: Agreement) -> None:
    text = explain(agreement, "ab" * 32)
    assert text == explain(agreement, "ab" * 32)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert (
        text.isascii() or not (agreement.title + agreement.purpose[0].text + agreement.purpose[0].legal_basis).isascii()
    )


@cache
def draft() -> tuple[Path, str]:
    folder = Path(mkdtemp())
    return folder, builders.write_draft(folder)


def judged(data: bytes) -> None:
    """A draft gives problems or an agreement, and an agreement is one that may be approved."""
    result = parse(data, draft()[0], Catalogue())
    assert (result.agreement is None) == bool(result.problems)
    for problem in result.problems:
        assert problem.line >= 1
        assert problem.column >= 1
        assert problem.sentence
    if result.agreement is not None:
        check_body(result.agreement, Catalogue())


SLOW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@SLOW
@given(st.data())
def test_a_changed_line_gives_problems_or_an_agreement(data: st.DataObject) -> None:
    lines = draft()[1].splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        index = data.draw(st.integers(0, len(lines) - 1))
        key, colon, value = lines[index].partition(": ")
        junk = data.draw(JUNK)
        lines[index] = "" if junk is None else f"{key}{colon}{junk}" if data.draw(st.booleans()) else f"{junk}{value}"
    judged("\n".join(lines).encode())


@SLOW
@given(st.integers(0, 10**6), st.binary(max_size=4), st.integers(0, 40))
def test_changed_bytes_give_problems_or_an_agreement(at: int, new: bytes, cut: int) -> None:
    data = draft()[1].encode()
    at %= len(data)
    judged(data[:at] + new + data[at + cut :])


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def _paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, item in inner for path in [(*at, key), *_paths(item, (*at, key))]]


PATHS = _paths(builders.agreement_json())


@SLOW
@given(st.sampled_from(PATHS), JSON)
def test_a_changed_value_gives_problems_or_an_agreement(path: tuple[Any, ...], new: Any) -> None:
    value = builders.agreement_json()
    target: Any = value
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = new
    judged(builders.yaml_text(value).encode("utf-8", "surrogatepass"))
    try:
        agreement = Agreement.model_validate(value)
        check_body(agreement, Catalogue())
    except (ValueError, UnsoundAgreementError):
        return
    explain(agreement, None)
