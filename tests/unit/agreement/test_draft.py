"""YAML as people write it: every mistake at once, with its line, and nothing that says something else than it seems."""

import os
import textwrap
from pathlib import Path

import pytest

import builders
from sealstat.agreement import draft
from sealstat.agreement.draft import Draft, load, parse
from sealstat.agreement.enclaves import extended
from sealstat.crypto import canonical
from sealstat.statistics.catalogue import Catalogue


@pytest.fixture
def text(tmp_path: Path) -> str:
    return builders.write_draft(tmp_path)


@pytest.fixture
def read(tmp_path: Path):
    def read(text: str | bytes) -> Draft:
        return parse(text.encode() if isinstance(text, str) else text, tmp_path, Catalogue())

    return read


TASK = "tasks.visitors"


def found(result: Draft) -> dict[str, str]:
    """Place to sentence; a draft with problems is never an agreement."""
    assert result.agreement is None
    assert result.problems
    return {problem.place: problem.sentence for problem in result.problems}


def line_of(text: str, beginning: str) -> int:
    return next(n for n, line in enumerate(text.splitlines(), 1) if line.strip().startswith(beginning))


def test_a_file_means_the_agreement_with_cards_and_tables_by_value(tmp_path, text):
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
    result = load(tmp_path / "a.yaml", Catalogue())
    assert result.problems == ()
    assert result.agreement == builders.agreement()


def test_the_canonical_json_of_an_agreement_is_a_draft_of_it(read):
    assert read(canonical.encode(builders.agreement().to_json())).agreement == builders.agreement()


def test_scalars_are_text_until_the_model_types_them(tmp_path, read, text):
    (tmp_path / "tables" / "mcc.csv").unlink()
    inline = "{242: NO, 510: ID, 047: ON}"
    agreement = read(text.replace("mcc_country: tables/mcc.csv", f"mcc_country: {inline}")).agreement
    assert agreement is not None
    assert agreement.tasks["visitors"].parameters["mcc_country"] == {"242": "NO", "510": "ID", "047": "ON"}


def test_digests_may_say_that_they_are_sha256(read, text):
    changed = text.replace("version: 1", "version: 2\nsupersedes: sha256:" + "ab" * 32)
    agreement = read(changed.replace("source: ", "source: sha256:")).agreement
    assert agreement is not None
    assert agreement.supersedes == "ab" * 32
    assert agreement.enclave.accept[0].source == builders.SOURCE


def test_the_example_of_the_specification_has_a_shape_that_can_be_read(shared, tmp_path):
    builders.write_draft(tmp_path)
    lines = (shared / "spec" / "agreement-example.yaml").read_text(encoding="utf-8").splitlines()
    end = next(n for n, line in enumerate(lines) if line.strip() == "accept:")
    four = ", ".join(f"cards/witness-{name}.json" for name in ("uni", "press", "ngo", "court"))
    old = f"[{four}], quorum: 3"
    example = "\n".join(lines[: end + 1])
    assert old in example
    example = example.replace(old, "[cards/witness-1.json, cards/witness-2.json, cards/witness-3.json], quorum: 2")
    accepted = builders.yaml_text(builders.agreement_json()["enclave"]["accept"])
    result = parse((example + "\n" + accepted.replace("- ", "    - ").replace("\n  ", "\n      ")).encode(), tmp_path)
    assert result.problems == ()
    assert result.agreement is not None
    assert result.agreement.tasks["visitors"].holders.threshold == 2


def test_every_mistake_is_told_at_once_with_its_line(read, text):
    changed = (
        text.replace("threshold: 2", "thresold: 2")
        .replace("    quorum: 3", "    quorum: 9")
        .replace("keep: 40d", "keep: forty", 1)
        .replace("cards/ministry.json", "cards/nobody.json")
        .replace("provider: operator-b", "provider: operator-c")
        .replace("statistic: visitors", "statistic: visits")
    )
    result = read(changed)
    sentences = found(result)
    assert {
        "tasks.visitors.holders.threshold",
        "tasks.visitors.holders.thresold",
        "roles.recovery.quorum",
        "datasets.roamers-a.keep",
        "parties.ministry.card",
        "datasets.roamers-b.provider",
        "tasks.visitors.statistic",
    } <= set(sentences)
    assert "did you mean threshold?" in sentences["tasks.visitors.holders.thresold"]
    lines = {problem.place: problem.line for problem in result.problems}
    assert lines["datasets.roamers-a.keep"] == line_of(changed, "keep: forty")
    assert lines["tasks.visitors.statistic"] == line_of(changed, "statistic: visits")
    assert lines["tasks.visitors.holders.thresold"] == line_of(changed, "thresold")
    assert list(result.problems) == sorted(result.problems)


def test_no_sentence_speaks_of_a_stand_in(read):
    for name in builders.agreement_json():
        value = builders.agreement_json()
        del value[name]
        for problem in read(builders.yaml_text(value)).problems:
            assert "unread" not in problem.sentence
            assert "0001-01-01" not in problem.sentence


@pytest.mark.parametrize(
    ("old", "new", "place", "word"),
    [
        pytest.param("version: 1", "version: 1\nversion: 2", "version", "twice", id="duplicate key"),
        pytest.param("version: 1", "version: &v 1", "version", "anchor", id="anchor"),
        pytest.param("version: 1", "version: *v", "version", "reference", id="alias"),
        pytest.param("version: 1", "version: !!int 1", "version", "tag", id="tag"),
        pytest.param("version: 1", "version:", "version", "missing", id="empty value"),
        pytest.param("version: 1", "version: one", "version", "whole number", id="not a number"),
        pytest.param("version: 1", "version: [1]", "version", "whole number", id="list for a number"),
        pytest.param("minimum_rows: 100", "minimum_rows: 0", "datasets.roamers-a.minimum_rows", "at least 1", id="low"),
        pytest.param("period: month", "period: week", "datasets.roamers-a.period", "'day', 'month'", id="choice"),
        pytest.param(
            "complementary: true",
            "complementary: perhaps",
            f"{TASK}.releases.by_country.complementary",
            "true or false",
            id="no boolean",
        ),
        pytest.param("sealstat: 1", "sealstat: 2", "sealstat", "expected 1", id="another format"),
        pytest.param("cards/host.json", "/etc/passwd", "host.card", "leads out", id="absolute path"),
        pytest.param("cards/host.json", "../host.json", "host.card", "leads out", id="path upwards"),
        pytest.param("cards/host.json", "cards/../../host.json", "host.card", "leads out", id="hidden path upwards"),
        pytest.param("cards/host.json", "'..\\host.json'", "host.card", "leads out", id="path upwards on Windows"),
        pytest.param("cards/host.json", '"a\\0b"', "host.card", "leads out", id="NUL in a path"),
        pytest.param("cards/host.json", "cards", "host.card", "no such file", id="a folder"),
        pytest.param("cards/host.json", "tables/mcc.csv", "host.card", "no card", id="no card in the file"),
        pytest.param(
            "cards/host.json",
            "cards/witness-1.json",
            "host.card",
            "expected the card of a host",
            id="another kind of card",
        ),
        pytest.param(
            "tables/mcc.csv", "tables/none.csv", f"{TASK}.parameters.mcc_country", "no such file", id="no table"
        ),
        pytest.param("title: ", 'title: "\\ud800" #', "title", "half a character", id="surrogate"),
        pytest.param("title: ", "titel: ", "titel", "did you mean title?", id="misspelt field"),
        pytest.param("title: ", "zzzzzzz: 1\ntitle: ", "zzzzzzz", "leave it out", id="unknown field"),
    ],
)
def test_a_mistake_is_told(read, text, old, new, place, word):
    assert old in text
    assert word in found(read(text.replace(old, new, 1)))[place]


@pytest.mark.parametrize(
    ("data", "word", "position"),
    [
        pytest.param(b"", "expected the fields", (1, 1), id="empty"),
        pytest.param(b"- a", "expected the fields", (1, 1), id="a list"),
        pytest.param(b"a: b\n\xff", "UTF-8", (2, 1), id="not UTF-8"),
        pytest.param(b"a: b\nc: \x07", "does not allow", (2, 4), id="control character"),
        pytest.param(b"a: b\n---\nc: d", "second document", (2, 1), id="two documents"),
        pytest.param(b"%YAML 1.1\n---\na: b", "directive", (1, 1), id="directive"),
        pytest.param(b"a: b: c", "not YAML", (1, 5), id="no YAML"),
        pytest.param(b"a: [b", "not YAML", (1, 6), id="unfinished"),
        pytest.param(b'"\\UFFFFFFFF": 1', "not YAML", (1, 1), id="escape beyond Unicode"),
        pytest.param(b"? [a]\n: b", "name of a field", (1, 3), id="list as a key"),
        pytest.param(b"a: " + b"[" * 100_000, "nested deeper", (1, 20), id="deep nesting"),
        pytest.param(b"a" * (draft.FILE_LIMIT_BYTES + 1), "larger", (1, 1), id="too large"),
    ],
)
def test_what_cannot_be_read_is_told(read, data, word, position):
    (problem,) = read(data).problems
    assert word in problem.sentence
    assert (problem.line, problem.column) == position


def test_a_file_that_is_not_there_is_a_problem_too(tmp_path):
    (problem,) = load(tmp_path / "none.yaml").problems
    assert "cannot be read" in problem.sentence


def test_a_link_out_of_the_folder_is_refused(tmp_path, text):
    outside = tmp_path / "elsewhere.json"
    (tmp_path / "cards" / "host.json").rename(outside)
    inner = tmp_path / "inner"
    inner.mkdir()
    for name in ("cards", "tables"):
        (tmp_path / name).rename(inner / name)
    os.symlink(outside, inner / "cards" / "host.json")
    assert "leads out" in found(parse(text.encode(), inner, Catalogue()))["host.card"]


def test_a_pipe_is_no_file_to_wait_for(tmp_path, read, text):
    os.mkfifo(tmp_path / "cards" / "pipe")
    assert "no such file" in found(read(text.replace("cards/host.json", "cards/pipe")))["host.card"]


@pytest.mark.parametrize(
    ("table", "word"),
    [
        pytest.param("mcc,country\n", "at least one row", id="header alone"),
        pytest.param("", "header", id="empty"),
        pytest.param("mcc,mcc\n1,2\n", "another name", id="a column twice"),
        pytest.param("mcc,\n1,2\n", "name every column", id="a column without a name"),
        pytest.param("mcc,country\n510\n", "row 1 of the table has 1 values", id="a value missing"),
        pytest.param('mcc,country\n"510,ID\n', "not CSV", id="an open quote"),
        pytest.param("mcc,country\n" + "510,ID\n" * 10_001, "limit is 10000", id="too many rows"),
        pytest.param("mcc,country\n" + "x" * draft.TABLE_LIMIT_BYTES, "larger", id="too large"),
        pytest.param(b"mcc,country\n\xff,ID\n", "UTF-8", id="not UTF-8"),
    ],
)
def test_a_small_table_must_be_one(tmp_path, read, text, table, word):
    (tmp_path / "tables" / "mcc.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    assert word in found(read(text))["tasks.visitors.parameters.mcc_country"]


def test_values_are_not_repeated_in_messages(read, text):
    secret = "hunter2hunter2"
    for old in ("keep: 40d", "quorum: 2", "url: http://127.0.0.1:8700", "period: month", "cards/host.json"):
        assert old in text
        field = old.split(":")[0] + ": " if ": " in old else ""
        for problem in read(text.replace(old, field + secret, 1)).problems:
            assert secret not in problem.sentence


def test_the_number_of_problems_has_a_limit(read):
    many = "\n".join(f"field-{n}: x" for n in range(5000))
    assert len(read(many).problems) == draft.PROBLEM_LIMIT


def test_every_pattern_of_the_model_is_explained_in_words():
    from sealstat.agreement import _mending
    from sealstat.agreement.model import Agreement

    def patterns(node):
        if isinstance(node, dict):
            if isinstance(node.get("pattern"), str):
                yield node["pattern"]
            for key, inner in node.items():
                yield from [key, *patterns(inner)] if key.startswith("^") else patterns(inner)
        elif isinstance(node, list):
            for inner in node:
                yield from patterns(inner)

    assert set(patterns(Agreement.model_json_schema())) <= set(_mending._PATTERNS)


@pytest.mark.parametrize("group", ['{"": null}', '{"": ""}', "{x: []}", "[{}]", '{"": {of: [], "": 1}}'])
def test_a_group_that_is_none_at_all_is_a_problem_and_no_fault(read, text, group):
    before, _, after = text.partition("pseudonyms:\n")
    rest = after[after.index("\ndatasets:") :]
    assert any(place.startswith("pseudonyms") for place in found(read(f"{before}pseudonyms: {group}\n{rest}")))


TPM = """\
    - kind: tpm
      tier: software
      roots: [sha256:{key}]
      source: sha256:{source}
      measurements:
        - {{name: the enclave, registers: {{pcr15: {pcr}}}}}
"""


def with_tpm(text: str, old: str = "", new: str = "") -> str:
    """The draft with a machine beside the simulated one, and one change in its entry."""
    entry = TPM.format(key="42" * 32, source=builders.SOURCE, pcr=extended(builders.SOURCE))
    assert old in entry
    return text.rstrip() + "\n" + textwrap.indent(textwrap.dedent(entry.replace(old, new)), accept_indent(text))


def accept_indent(text: str) -> str:
    line = next(line for line in text.splitlines() if line.strip() == "- kind: simulated")
    return line[: line.index("-")]


def test_a_machine_may_stand_beside_the_simulated_one(read, text):
    result = read(with_tpm(text))
    assert result.problems == ()
    assert result.agreement is not None
    assert [entry.kind for entry in result.agreement.enclave.accept] == ["simulated", "tpm"]


@pytest.mark.parametrize(
    ("old", "new", "place", "word"),
    [
        pytest.param("kind: tpm", "kind: tpn", "enclave.accept.1", "expected a kind of evidence: ", id="unknown kind"),
        pytest.param("kind: tpm\n      ", "", "enclave.accept.1", "has no kind", id="no kind"),
        pytest.param("tier: software", "teir: software", "enclave.accept.1.teir", "did you mean tier", id="misspelt"),
        pytest.param("tier: software\n", "\n", "enclave.accept.1.tier", "missing", id="no tier"),
        pytest.param("tier: software", "tier: best", "enclave.accept.1.tier", "'software'", id="unknown tier"),
        pytest.param("tier: software", "tier: hardware", "enclave.accept.1.tier", "boot or software", id="wrong tier"),
        pytest.param("pcr15: ", "pcr15: x", "enclave.accept.1.measurements.0.registers.pcr15", "hexadec", id="no hex"),
        pytest.param("pcr15", "PCR15", "enclave.accept.1.measurements.0.registers.PCR15", "small letters", id="name"),
    ],
)
def test_mistakes_about_a_machine_stand_at_their_place(read, text, old, new, place, word):
    problems = found(read(with_tpm(text, old, new).replace("quorum: 2", "quorum: 1", 1)))
    assert word in problems[place]
    assert "witnesses.quorum" in problems or "roles.recovery.quorum" in problems, "no mistake hides another"
