"""kill -9 of enclave, host and agents at random moments of runs that change a state: `python tests/crash_points.py`.

For each day the drawing of its key and its taking in are disturbed, and at the end the report: a program is killed at a
random moment and started again, up to four times a run. After each kill the log says counter c and the state of c, or
c+1 and the state of c+1; each run goes on to its end; and the report is that of the same days in the clear.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from daysplay import FIRST, HOLDERS, KEYS, Play, days_play
from enclaves import await_
from sealstat.agreement.replay import View
from sealstat.lab.case03 import TASK
from sealstat.party import runs

ROLES = ("enclave", "host", *HOLDERS)
MOST_A_RUN, MOST_LEAVES, MOST_S, SILENCE_S, PATIENCE_S = 4, 7, 0.5, 8.0, 240.0


@dataclass(frozen=True)
class Point:
    """One kill.

    Attributes:
        role: what was killed.
        stage: where the run stood, as `sealstat run show` says it.
        further: whether the counter was c+1 afterwards.
    """

    task: str
    action: str
    role: str
    stage: str
    further: bool


class Crashes:
    """Kills in a play, one after another."""

    def __init__(self, play: Play, seed: int, say: Callable[[str], None] = lambda _: None) -> None:
        self.play, self.drawn, self.say = play, random.Random(seed), say
        self.points: list[Point] = []

    def play_days(self, points: int, out: Path) -> None:
        """So many kills over as many days as it takes, and a report."""
        number, days = 0, list[str]()
        while len(self.points) < points - 1:
            days.append((FIRST + timedelta(days=number)).isoformat())
            number += 1
            self.disturb(KEYS, days[-1], points)
            self.play.deliver_day(days[-1])
            self.disturb(TASK, days[-1], points)
            assert self.play.view().ingested(TASK) == days
        self.play.bring_tables()
        run = self.disturb(TASK, self.play.report, points, "--finish")
        self.play.check(run, days, out)

    def disturb(self, task: str, period: str, points: int, *options: str) -> str:
        """One run from its request to its end, with kills in between; its id."""
        before, run = self.play.view(), self.play.ask(period, *options, task=task)
        c, left = before.counter(task), before.state_record(task)
        stood = None if left is None else left.id
        request = before.requests[run] if run in before.requests else self.play.view().requests[run]
        for _ in range(min(MOST_A_RUN, points - len(self.points))):
            # by the log as well as by the clock, so that the quick steps and the time just after get their share
            self.go_on(run, leaves=self.play.view().size + self.drawn.randrange(MOST_LEAVES))
            time.sleep(self.drawn.uniform(0, MOST_S))
            now = runs.stage(self.play.view(), run, "office")
            role = self.drawn.choice(ROLES)
            self.play.kill(role)
            view = self.play.view()
            check_neither_nor(view, task, run, c, stood)
            point = Point(task, request.body.action, role, now.word, view.counter(task) == c + 1)
            self.points.append(point)
            self.say(f"{len(self.points):>4}  {task} {point.action} {period}: {role} killed at stage {point.stage}")
            if point.further:
                break
        self.go_on(run)
        check_neither_nor(self.play.view(), task, run, c, stood)
        assert self.play.view().counter(task) == c + 1
        await_(self.play.settled)
        return run

    def go_on(self, run: str, *, leaves: int = sys.maxsize) -> None:
        """Wait as a person would until the run ends, or the log is so long: an enclave that got keys and fell silent is
        given up."""
        deadline, size, since = time.monotonic() + PATIENCE_S, 0, time.monotonic()
        while not runs.stage(view := self.play.view(), run, "office").ended and view.size < leaves:
            assert time.monotonic() < deadline, f"the run did not go on: {runs.stage(view, run, 'office').sentence}"
            if view.size != size:
                size, since = view.size, time.monotonic()
            silent = time.monotonic() > since + SILENCE_S
            if _followed(view, run) or (silent and runs.silent_instance(view, run) is not None):
                self.play.stage.try_call("office", "run", "abandon", run)
                since = time.monotonic()
            time.sleep(0.1)
        assert not runs.stage(view, run, "office").refused

    def told(self) -> str:
        """What was killed when, in a few lines."""
        by_role, by_stage = (Counter(getattr(point, name) for point in self.points) for name in ("role", "stage"))
        further = sum(point.further for point in self.points)
        return "\n".join(
            [
                f"{len(self.points)} kills: " + ", ".join(f"{role} {count}" for role, count in by_role.most_common()),
                "the run stood at: " + ", ".join(f"{word} {count}" for word, count in by_stage.most_common()),
                f"counter afterwards: c {len(self.points) - further}, c+1 {further}; each run went on to its end",
            ]
        )


def check_neither_nor(view: View, task: str, run: str, c: int, stood: str | None) -> None:
    """The log says c and what stood then, or c+1 by this run and what it left."""
    left, record = view.state_record(task), view.counting_record(run)
    state = None if left is None else left.id
    if record is None:
        assert (view.counter(task), state) == (c, stood)
    else:
        assert (view.counter(task), state) == (c + 1, record.id if record.body.state is not None else None)


def _followed(view: View, run: str) -> bool:
    """Whether the live instance got keys, made no record, and another one was started: the launcher saw it end."""
    live = runs.silent_instance(view, run)
    others = [each for each in view.instances.values() if each.request.id == run and not each.over]
    return live is not None and any(each.evidence.index > live.evidence.index for each in others)


def play(folder: Path, *, points: int, seed: int, say: Callable[[str], None] = lambda _: None) -> Crashes:
    """Set every role up and kill them so many times."""
    most = points + 2  # days: each run bears a kill at the very least nearly always
    with days_play(folder, days=most) as played:
        played.stage.start_enclave()
        crashes = Crashes(played.under(f"{FIRST}/{FIRST + timedelta(days=most - 1)}"), seed, say)
        crashes.play_days(points, folder / "out")
        return crashes


def main() -> None:
    """Play, and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args()
    say: Callable[[str], None] = lambda line: print(line, flush=True)  # noqa: E731
    say(f"{options.points} kills, seed {options.seed}")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sealstat-crashes-") as name:
        crashes = play(Path(name), points=options.points, seed=options.seed, say=say)
    say(crashes.told())
    say(f"the report is that of the same days in the clear; {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
