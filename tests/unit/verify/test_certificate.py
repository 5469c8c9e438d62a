"""The page that people file: it says what was found, runs nothing, and gives the proof back byte for byte."""

import re
import subprocess
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import builders
from days import DAYS, REPORT, TASK, Days
from forging import verify
from sealstat.crypto.cards import b64, fingerprint, spoken
from sealstat.crypto.statement import Statement
from sealstat.verify import PAGE_LIMIT_BYTES, BundleError, Trust, Verdict, make_certificate, proof_in
from story import Story

SNEAKY = '</p><script>alert(1)</script><a href="data:application/json;base64,AAAA">title&{{ 7*7 }}'


def page_of(story: Story, record: Statement, trust: Trust | None = None) -> tuple[bytes, str]:
    data = story.bundle(record).to_bytes()
    verdict = verify(story, data, trust, results=story.results.get(record.id))
    assert verdict.ok, verdict.failure
    return data, make_certificate(data, verdict, now=story.now)


@cache
def honest() -> tuple[Story, Statement, bytes, str]:
    story = Story()
    record = story.whole_run()
    return story, record, *page_of(story, record)


def seen(page: str) -> str:
    """The words of a page."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.partition("<body>")[2]))


def test_the_proof_comes_out_of_the_page_as_it_went_in() -> None:
    story, _, data, page = honest()
    assert proof_in(page.encode()) == data
    assert verify(story, proof_in(page.encode())).ok


def test_a_proof_is_its_own() -> None:
    data = honest()[2]
    assert proof_in(data) == data
    assert proof_in(b"") == b""


@pytest.mark.parametrize(
    "resave",
    [
        lambda page: b"\xef\xbb\xbf" + page,
        lambda page: page.replace(b"\n", b"\r\n"),
        lambda page: b"<!-- filed by the registry, no. 17 -->\n" + page.replace(b"Who agreed", b"Nobody agreed"),
    ],
    ids=["a byte order mark", "line ends", "other words"],
)
def test_a_page_that_was_filed_and_saved_again_still_holds_it(resave: Callable[[bytes], bytes]) -> None:
    _, _, data, page = honest()
    assert proof_in(resave(page.encode())) == data


def test_the_command_on_the_page_takes_it_out(tmp_path: Path) -> None:
    _, _, data, page = honest()
    (tmp_path / "FILE.html").write_text(page, encoding="utf-8")
    command = re.search(r"<code>(sed .*?)</code>", page)
    assert command
    done = subprocess.run(["bash", "-c", command[1]], cwd=tmp_path, capture_output=True, check=True, timeout=60)
    assert done.stdout == data


@pytest.mark.parametrize(
    ("page", "why"),
    [
        (b"<!doctype html><p>nothing", "none or several"),
        (b'<a href="data:application/json;base64,AAAA">' * 2, "none or several"),
        (b'<a href="data:application/json;base64,A*AA">', "no base64"),
        (b'<a href="data:application/json;base64,AA\xff=">', "no base64"),
        (b"<" + b" " * PAGE_LIMIT_BYTES, "more than"),
    ],
    ids=["none", "two", "not base64", "not text", "too large"],
)
def test_a_page_that_is_no_certificate_is_refused(page: bytes, why: str) -> None:
    with pytest.raises(BundleError, match=why):
        proof_in(page)


@given(st.binary(max_size=200), st.sampled_from([b"", b"<", b'<a href="data:application/json;base64,']))
def test_whatever_a_file_holds_is_a_proof_or_refused(data: bytes, head: bytes) -> None:
    with suppress(BundleError):
        assert isinstance(proof_in(head + data), bytes)


def test_it_answers_the_questions_of_who_files_it() -> None:
    story, record, _, page = honest()
    text = seen(page)
    for name in story.terms.roles.approvers:
        assert f"{name} {spoken(fingerprint(story.card(name)))}" in text
    for wanted in (
        "SIMULATED: NOT PROTECTED BY HARDWARE",
        story.terms.enclave.accept[0].source,
        "sealstat measure",
        record.id,
        story.id,
        *(output["commitment"] for output in record.body["outputs"]),
        f"{builders.WITNESSES[0]}.example cosigned it at",
        "that the inputs are true",
        "attested by the agreement alone",
        "Kind of evidence: simulated",
    ):
        assert wanted in text, wanted


def test_whom_the_verifier_trusts_stands_there_as_proved() -> None:
    story, record = honest()[:2]
    cards = [story.card(name) for name in story.terms.roles.approvers]
    text = seen(page_of(story, record, Trust.of_cards(cards))[1])
    assert text.count("proved: trusted by the verifier") == len(cards)
    assert "attested by the agreement alone" not in text


def test_it_runs_and_loads_nothing_and_escapes_what_came_with_the_proof() -> None:
    story = Story(builders.agreement(title=SNEAKY))
    data, page = page_of(story, story.whole_run())

    class Tags(HTMLParser):
        found: list[tuple[str, dict[str, str | None]]] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.found.append((tag, dict(attrs)))

    Tags().feed(page)
    assert not {"script", "img", "link", "iframe", "form", "object"} & {tag for tag, _ in Tags.found}
    links = [attributes for _, attributes in Tags.found if {"href", "src", "action"} & attributes.keys()]
    assert [link["id"] for link in links] == ["proof"]
    assert not [name for _, attributes in Tags.found for name in attributes if name.startswith("on")]
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    assert "49" not in page.partition("<title>")[2].partition("</title>")[0]
    assert not {"\u202e", "\x1b"} & set(page)
    assert proof_in(page.encode()) == data


def test_the_file_itself_in_a_title_does_not_become_the_proof() -> None:
    """Who writes the agreement cannot put a second proof where a reader would look for one."""
    data = honest()[2]
    story = Story(builders.agreement(title=f'"><a href="data:application/json;base64,{b64(data[:600])}">'))
    mine, page = page_of(story, story.whole_run())
    assert proof_in(page.encode()) == mine


def test_what_is_not_verified_gets_no_certificate() -> None:
    story, _, data, _ = honest()
    forged = data.replace(b'"proof":1', b'"proof":2')
    for verdict in (verify(story, forged), Verdict(())):
        with pytest.raises(BundleError, match="no certificate"):
            make_certificate(forged, verdict, now=story.now)


def test_a_party_with_a_new_card_stands_there_with_the_card_that_approved() -> None:
    story = Story()
    old = story.card("operator-b")
    story.approve_all()
    story.rotate("operator-b")
    story.wait(1)
    record = story.run(story.request(story.deliver_all()))[1]
    story.keep(record)
    text = seen(page_of(story, record)[1])
    assert f"operator-b {spoken(fingerprint(old))}" in text


@pytest.mark.parametrize(
    "tell",
    [
        lambda story: story.take_in(*DAYS[:2])[1],
        lambda story: [*story.take_in(DAYS[1]), story.finish_report()][-1],
        lambda story: [*story.take_in(DAYS[1]), story.do(TASK, "cancel", REPORT)][-1],
        lambda story: story.draw(DAYS[0]),
    ],
    ids=["a day", "a report", "a cancel", "a key"],
)
def test_every_kind_of_run_has_one(tell: Callable[[Days], Statement]) -> None:
    story = Days()
    data, page = page_of(story, tell(story))
    assert proof_in(page.encode()) == data
