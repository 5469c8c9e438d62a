"""How far something is, on standard error: a bar on a terminal, else a line now and then."""

from time import monotonic
from typing import Any, Protocol

from sealstat.cli.shared import note


class Step(Protocol):
    """What is being done (behind a colon: what changes on the way), how much of how much, at what rate a second."""

    @property
    def phase(self) -> str: ...
    @property
    def done(self) -> int: ...
    @property
    def of(self) -> int: ...
    @property
    def rate(self) -> float: ...
    @property
    def unit(self) -> str: ...


class progress:  # noqa: N801 - reads as a word in `with`
    """Shows the steps it is called with: how much, the rate, and the time left."""

    def __enter__(self) -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
        self._progress = Progress(
            *columns, TextColumn("{task.fields[rate]}"), TimeRemainingColumn(), console=Console(stderr=True)
        )
        self._tasks: dict[str, Any] = {}
        if self._progress.console.is_terminal:
            self._progress.start()
            return self._show
        return self._line

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def _show(self, step: Step) -> None:
        name = step.phase.partition(":")[0]
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=step.of or None, rate="")
        rate = f"{step.rate:,.0f} {step.unit}/s" if step.unit else ""
        self._progress.update(
            self._tasks[name], description=step.phase, completed=step.done, total=step.of or None, rate=rate
        )

    def _line(self, step: Step) -> None:
        name, tenth = step.phase.partition(":")[0], 10 * step.done // step.of if step.of else -1
        last, since = self._tasks.get(name, (None, monotonic()))
        if last != tenth:
            self._tasks[name] = tenth, since
            left = (
                f", {(monotonic() - since) / step.done * (step.of - step.done):,.0f} s left"
                if last is not None and step.done
                else ""
            )
            note(step.phase + (f" {10 * tenth} %, {step.rate:,.0f} {step.unit}/s{left}" if step.of else ""))
