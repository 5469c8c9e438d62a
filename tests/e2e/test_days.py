"""Days through the enclave, by the real programs: the straight line, a hostile host, and nothing for anybody to see."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from daysplay import Play, await_, days_play
from sealstat.lab.case03 import TASK, forge

pytestmark = pytest.mark.timeout(900)
D1, D2, D3, D4 = (f"2026-10-0{number}" for number in range(1, 5))


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Play]:
    with days_play(tmp_path_factory.mktemp("days"), days=4) as played:
        played.stage.start_enclave()
        yield played


def add_forged(file: Path) -> None:
    """Two rows more, of pseudonyms that were made without the key."""
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines, "0" * 32 + lines[1][32:], "ab" * 16 + lines[2][32:]]) + "\n")


def test_days_in_any_order_become_the_report_of_the_clear(play: Play, tmp_path: Path) -> None:
    play = play.under(f"{D1}/{D4}")
    stage, cards = play.stage, str(play.stage.folder / "cards")
    play.bring(D2)
    play.take_in(D2)
    assert "taken in already" in play.refused("office", *play.words(TASK, D2))
    # more forged pseudonyms than the agreement bears: refused, and the state stays as it was
    before = play.view().state_record(TASK)
    play.bring(D3, change=forge)
    assert "not as agreed" in play.refused("office", *play.words(TASK, D3))
    after = play.view().state_record(TASK)
    assert before is not None
    assert after is not None
    assert (after.id, play.view().ingested(TASK)) == (before.id, [D2])
    # a few are dropped, and their provider alone is told
    play.bring(D1, change=add_forged)
    run = play.take_in(D1)
    told = stage.json("operator", "run", "show", run)["told"]
    assert (told["day"], told["forged"]) == (D1, 2)
    assert told["rows"] > 100
    assert "told" not in stage.json("office", "run", "show", run)
    assert play.view().ingested(TASK) == [D2, D1]
    await_(play.settled)

    play.bring_tables()
    asked = stage.json("office", *play.words(TASK, play.report, "--finish"))
    about = play.check(asked["run"], [D1, D2], tmp_path / "out")
    assert about["days"] == {"taken_in": [D1, D2], "failed": [D3], "skipped": [D4]}
    assert "is not finished" not in play.refused("office", *play.words(TASK, D2))
    await_(play.settled)
    for what in (asked["run"], run):
        proof = tmp_path / f"{what}.json"
        stage.call("office", "proof", what, "--out", str(proof))
        assert "PROTECTED" in stage.call("regulator", "verify", str(proof), "--trust", cards)
