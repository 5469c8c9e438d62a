"""What the parties sign: the agreement as a value. Reading it from YAML is draft.py's work, judging it check.py's."""

import re
from datetime import UTC, date, datetime, time
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from sealstat.agreement.enclaves import Enclave
from sealstat.agreement.periods import Duration, Report, kind_of, report_of
from sealstat.crypto.cards import Digest, HostCard, Name, PartyCard, Strict, WitnessCard

Text = Annotated[str, Field(min_length=1, max_length=2000)]
Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Action = Literal["run", "ingest", "finish", "cancel", "key"]
PERIOD_KEYS = "period_keys"  # what a task computes that draws the keys of period pseudonyms
Share = Annotated[str, Field(pattern=r"^(0(\.[0-9]{1,6})?|1(\.0{1,6})?)$")]  # exact decimal in [0, 1], never a float


def _moment(text: str) -> str:
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        date.fromisoformat(text)
        return text
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", text):
        datetime.fromisoformat(text)
        return text
    raise ValueError("expected a UTC date like 2026-10-01 or time like 2026-10-01T00:00:00Z")


Moment = Annotated[str, AfterValidator(_moment)]


class Span(Strict):
    """Valid from and to, UTC; of bare dates, both days are in."""

    from_: Moment = Field(alias="from")
    to: Moment

    @model_validator(mode="after")
    def _ordered(self) -> "Span":
        if self.start > self.end:
            raise ValueError("valid from lies after valid to")
        return self

    @property
    def start(self) -> datetime:
        return _at(self.from_, time.min)

    @property
    def end(self) -> datetime:
        return _at(self.to, time.max)


def _at(moment: str, of_day: time) -> datetime:
    if len(moment) == 10:
        return datetime.combine(date.fromisoformat(moment), of_day, UTC)
    return datetime.fromisoformat(moment)


class Purpose(Strict):
    """A purpose that a run may name, and the law that allows it."""

    id: Name
    text: Text
    legal_basis: Text


class Party(Strict):
    """A party, by value of its card."""

    card: PartyCard


class Host(Strict):
    """The untrusted host; ``operated_by`` says in whose house it stands (a party's name, or another's)."""

    card: HostCard
    url: Annotated[str, Field(pattern=r"^https?://[^\s]{1,200}$")]
    operated_by: Name
    merge_delay: Duration = "1m"


class Witnesses(Strict):
    """Who cosigns checkpoints, how many of them are needed, and how old a cosignature may be."""

    cards: Annotated[list[WitnessCard], Field(min_length=1, max_length=16)]
    quorum: Annotated[int, Field(ge=1, le=16)]
    checkpoint_age: Duration = "10m"

    @property
    def liars_borne(self) -> int:
        """How many lying witnesses the quorum bears: two quorums share one more."""
        return 2 * self.quorum - len(self.cards) - 1


class Recovery(Strict):
    """Who may, together and after a delay, replace the card of a party that lost all its keys."""

    approvers: Annotated[list[Name], Field(min_length=1, max_length=32)]
    quorum: Annotated[int, Field(ge=1, le=32)]
    delay: Duration


class Roles(Strict):
    """Roles that hold for the whole agreement; provider, runner, consumer and holder stand with dataset and task."""

    approvers: Annotated[list[Name], Field(min_length=1, max_length=32)]
    auditors: Annotated[list[Name], Field(max_length=32)] = []
    recovery: Recovery | None = None


class Pseudonym(Strict):
    """How an identifier is replaced before upload, under a key of each period."""

    of: Identifier
    keep_prefix: Annotated[int, Field(ge=0, le=8)]
    shared_by: Annotated[list[Name], Field(min_length=1, max_length=16)]
    new_key: Literal["each period"]
    drawn_by: Name | None = None  # the task in which an enclave draws each key; None: the providers make it together


class Dataset(Strict):
    """What a provider delivers for each period, and how long its key lives."""

    provider: Name
    table: Annotated[Identifier, Field(alias="schema")]
    period: Literal["day", "month", "range"]
    pseudonym: Name | None = None
    keep: Duration
    minimum_rows: Annotated[int, Field(ge=1)] = 1
    maximum_rejects: Share = "0.05"  # of all rows; above it the file is refused as a whole
    replaceable: bool = False  # a delivery may be replaced before the first run-request that names it
    listed: list[Literal["rows", "size"]] = []  # what a delivery says in the open; by default nothing

    def rejects_too_many(self, *, rows: int, rejected: int) -> bool:
        """Whether more than ``maximum_rejects`` of all rows were rejected, exactly; ``rows`` are the good ones."""
        return rejected > Fraction(self.maximum_rejects) * (rows + rejected)


class Holders(Strict):
    """Who holds the shares of result and state keys, and how many of them open one."""

    of: Annotated[list[Name], Field(min_length=2, max_length=32)]
    threshold: Annotated[int, Field(ge=1, le=32)]


class Release(Strict):
    """Who receives an output table, under which rule. A table without one never leaves."""

    to: Annotated[list[Name], Field(min_length=1, max_length=32)]
    minimum: Annotated[int, Field(ge=1)]
    minimum_part: Annotated[int, Field(ge=1)] | None = None
    complementary: bool = False


class Task(Strict):
    """A statistic that may be run: on what, by whom, under whose locks, for whom.

    One with ``report`` has state: it takes in day after day, and its tables are of a whole ``month``, or of one range
    of days. One whose statistic is ``period_keys`` draws keys, and has neither deliveries nor tables.
    """

    statistic: Identifier
    inputs: Annotated[dict[Identifier, Name], Field(min_length=1, max_length=16)]
    parameters: dict[Identifier, Any] = {}
    open_parameters: list[Identifier] = []  # those that the run-request may set
    report: Report | None = None
    protection: Literal["enclave"]
    runners: Annotated[list[Name], Field(min_length=1, max_length=32)]
    runs_per_period: Annotated[int, Field(ge=1, le=1000)] = 1
    challenge_lapses: Duration = "1d"
    data_refusals: Annotated[int, Field(ge=1, le=100)] = 3
    release_delay: Duration = "15m"
    hold: Literal["none", "owner"] = "none"
    holders: Holders
    keepers: Annotated[list[Name], Field(min_length=1, max_length=32)]
    releases: Annotated[dict[Identifier, Release], Field(max_length=64)] = {}

    @property
    def actions(self) -> tuple[Action, ...]:
        """What a run-request may ask of it."""
        if self.statistic == PERIOD_KEYS:
            return ("key",)
        return ("run",) if self.report is None else ("ingest", "finish", "cancel")


class Agreement(Strict):
    """The whole agreement; its statement's id is its name from then on."""

    sealstat: Literal[1]
    title: Text
    version: Annotated[int, Field(ge=1)]
    supersedes: Digest | None = None
    purpose: Annotated[list[Purpose], Field(min_length=1, max_length=32)]
    valid: Span
    parties: Annotated[dict[Name, Party], Field(min_length=1, max_length=32)]
    host: Host
    witnesses: Witnesses
    roles: Roles
    pseudonyms: dict[Name, Pseudonym] = {}
    datasets: Annotated[dict[Name, Dataset], Field(min_length=1, max_length=64)]
    tasks: Annotated[dict[Name, Task], Field(min_length=1, max_length=64)]
    enclave: Enclave

    def needed_keepers(self, task: str) -> list[str]:
        """The keepers outside the host operator's house: their `kept` makes a record count (protocol.md section 8)."""
        return [name for name in self.tasks[task].keepers if name != self.host.operated_by]

    def owners(self, task: str) -> list[str]:
        """The providers of a task's inputs, each once, in order of its inputs."""
        return list(dict.fromkeys(self.datasets[name].provider for name in self.tasks[task].inputs.values()))

    def wanted(self, task: str, action: Action, period: str) -> list[tuple[str, str]]:
        """The (dataset, period) of every delivery that a run needs, in order of the task's inputs.

        Raises:
            ValueError: the period is not one for this action.
        """
        terms = self.tasks[task]
        whole = action in ("finish", "cancel")
        if whole and (period != terms.report if terms.report != "month" else kind_of(period) != "month"):
            raise ValueError(f"a report of {task} is for {self._report_words(terms)}, not for {period}")
        if action in ("ingest", "key") and kind_of(period) != "day":
            raise ValueError(f"expected a day like 2026-10-31, not {period}")
        if action == "ingest" and (terms.report is None or report_of(terms.report, period) is None):
            raise ValueError(f"{period} is no day of the report of {task}")
        if action in ("cancel", "key"):
            return []
        daily = {name for name in terms.inputs.values() if terms.report and self.datasets[name].period == "day"}
        needed = {"run": set(terms.inputs.values()), "ingest": daily, "finish": set(terms.inputs.values()) - daily}
        return [(name, period) for name in terms.inputs.values() if name in needed[action]]

    def _report_words(self, task: Task) -> str:
        return "a month like 2026-10" if task.report == "month" else str(task.report)

    def drawing_task(self, dataset: str) -> str | None:
        """The task that draws the period keys of a dataset's pseudonyms; None if no enclave does."""
        group = self.datasets[dataset].pseudonym
        return self.pseudonyms[group].drawn_by if group else None

    def linkage_group(self, dataset: str) -> str | None:
        """The pseudonyms of a dataset whose key its providers make together; None if it has no such."""
        return None if self.drawing_task(dataset) else self.datasets[dataset].pseudonym

    def consumers(self, task: str) -> list[str]:
        """All who receive at least one table of a task, sorted."""
        return sorted({name for release in self.tasks[task].releases.values() for name in release.to})
