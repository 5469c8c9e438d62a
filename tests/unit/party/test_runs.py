"""Opening a result: whose share is good, whose is not, and what an enclave told one party alone."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from desk import Desk, home
from sealstat.agreement import contexts
from sealstat.crypto.cards import fingerprint
from sealstat.crypto.sealing import seal
from sealstat.crypto.statement import Statement
from sealstat.party import duties, runs
from sealstat.party.errors import PartyError
from story import Instance, Story

WRONG = bytes(32)


def give_wrong_share(story: Story, holder: str, record: Statement) -> None:
    """A holder seals something else than what the instance gave it, correctly."""
    sealed = {}
    for consumer in story.terms.consumers("visitors"):
        card = story.card(consumer)
        context = contexts.result_release(
            story.id, holder=fingerprint(story.card(holder)), consumer=fingerprint(card), record=record.id
        )
        sealed[consumer] = seal(card.sealing, context, WRONG)
    story.tell(holder, "result-release", {"record": record.id, "shares": sealed})


def recorded(tmp_path: Path) -> tuple[Story, Instance, Statement, Desk]:
    story = Story()
    instance, record = story.run(story.begin())
    story.keep(record)
    return story, instance, record, Desk(story, home(tmp_path, "ministry"))


def opened(desk: Desk) -> bytes:
    desk.read()
    (found,) = desk.view.records.values()
    return runs._result_key(desk, *found)


def test_a_wrong_share_is_passed_over_where_enough_others_are_good(tmp_path: Path) -> None:
    story, instance, record, desk = recorded(tmp_path)
    give_wrong_share(story, "operator-a", record)
    for holder in ("operator-b", "regulator"):
        story.release_result(holder, record, instance)
    with_a_liar = opened(desk)
    assert runs.wrong_givers(desk, record.body["request"]) == ["operator-a"]
    others, honest, kept, wider = recorded(tmp_path / "again")
    for holder in ("operator-a", "operator-b", "regulator"):
        others.release_result(holder, kept, honest)
    assert len(with_a_liar) == len(opened(wider)) == 32


def test_whoever_gives_a_wrong_share_is_named(tmp_path: Path) -> None:
    story, instance, record, desk = recorded(tmp_path)
    give_wrong_share(story, "operator-a", record)
    story.release_result("operator-b", record, instance)
    with pytest.raises(PartyError, match="share that operator-a released"):
        opened(desk)


def test_an_owner_reads_what_the_enclave_told_it_alone(tmp_path: Path) -> None:
    story = Story()
    request = story.begin()
    instance = story.start(request)
    story.release_all(instance)
    card = story.card("operator-a")
    context = contexts.refusal_detail(story.id, instance=instance.id, owner=fingerprint(card), request=request.id)
    detail = {"operator-a": seal(card.sealing, context, b"the delivery has fewer rows than the agreement's minimum")}
    story.refuse(instance, request.id, sealed=detail)
    owner = Desk(story, home(tmp_path / "a", "operator-a"))
    assert runs.refusal_detail(owner, request.id) == "the delivery has fewer rows than the agreement's minimum"
    duties.hear_refusals(owner)
    duties.hear_refusals(owner)
    (act,) = owner.home.ledger.acts()
    assert "fewer rows" in act[3]
    assert runs.refusal_detail(Desk(story, home(tmp_path / "b", "operator-b")), request.id) is None


def test_a_run_whose_agreement_was_withdrawn_before_it_counted_has_ended() -> None:
    story = Story()
    request = story.begin()
    story.withdraw("operator-b")
    stage = runs.stage(story.view(), request.id, "ministry")
    assert (stage.word, stage.ended, stage.refused) == ("stopped", True, True)
    assert "operator-b withdrew" in stage.sentence


@pytest.mark.parametrize("fails", [False, True], ids=["drawn", "not drawn"])
def test_further_files_are_in_the_folder_or_there_is_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    record = SimpleNamespace(id="ab" * 32, body=SimpleNamespace(request="cd" * 32))
    result = runs.Result("all", pa.table({"union": [12]}), bytes(32), "", {})
    monkeypatch.setattr(runs, "open_result", lambda *_: (record, [result]))
    monkeypatch.setattr(runs, "about_run", lambda *_: {"title": "as agreed"})
    said: list[str] = []
    view = SimpleNamespace(acknowledged={})
    member: Any = SimpleNamespace(update=lambda: None, view=view, name="ministry", say=lambda *a: said.append(a[0]))

    def also(results: list[runs.Result], about: dict[str, Any]) -> dict[str, str]:
        if fails:
            raise ValueError("no ink")
        return {"report.html": f"{about['title']}: {results[0].name}"}

    out = tmp_path / "out"
    if fails:
        with pytest.raises(ValueError, match="no ink"):
            runs.fetch(member, "cd" * 32, out, label="nothing", also=also)
        assert not list(tmp_path.iterdir())
        assert not said
    else:
        runs.fetch(member, "cd" * 32, out, label="nothing", also=also)
        assert (out / "report.html").read_text() == "as agreed: all"
        assert {path.name for path in out.iterdir()} == {"all.parquet", "all.csv", "about.json", "report.html"}
        assert said == ["acknowledgement"]
