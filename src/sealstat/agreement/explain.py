"""The agreement in plain language, for those who must answer for it: lawyers, data protection officers, owners.

Pure and deterministic: the same agreement gives the same text, letter for letter, so an approval can name the digest
of the text that was shown (protocol.md section 4) and anyone can render it again. Whoever changes a word here, or
the order of anything, changes ``RENDERER``.

Text that others wrote (a title, a legal basis) is shown without control characters and on lines of its own margin,
so that it can pass neither for this text nor for a command to a terminal.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from textwrap import fill
from typing import Any

from sealstat.agreement._explain_machines import attested
from sealstat.agreement.enclaves import AttestedEnclave, SimulatedEnclave
from sealstat.agreement.model import PERIOD_KEYS, Agreement, Dataset, Pseudonym, Release, Task
from sealstat.agreement.periods import seconds
from sealstat.crypto import canonical
from sealstat.crypto.cards import fingerprint, spoken
from sealstat.crypto.statement import STATEMENT_LIMIT_BYTES

RENDERER = "sealstat-explain-2"
LANGUAGE = "en"
WIDTH = 88

_TABLE_CELLS_SHOWN = 24


def digest(text: str) -> str:
    """SHA-256 of a text in UTF-8, as 64 hex digits: what an approval names."""
    return sha256(text.encode()).hexdigest()


def explain(agreement: Agreement, agreement_id: str | None) -> str:
    """The agreement in plain English, at most 88 columns wide, ending in a line feed.

    Args:
        agreement: one that passed ``check.problems``; of another the text may be wrong.
        agreement_id: the id of its statement, or None for a draft. The id is part of the text.
    """
    # as it stands in its statement, so that a draft and what is signed read alike: the order of fields says nothing
    value = canonical.decode(canonical.encode(agreement.to_json()), limit=STATEMENT_LIMIT_BYTES)
    agreement = Agreement.model_validate(value)
    page = _Page()
    _head(page, agreement, agreement_id)
    _in_short(page, agreement)
    _purposes(page, agreement)
    _parties(page, agreement)
    _data(page, agreement)
    _tasks(page, agreement)
    _tables(page, agreement)
    _keys(page, agreement)
    _machine(page, agreement)
    _host(page, agreement)
    _course(page, agreement)
    _limits(page, agreement)
    _checking(page)
    return page.text()


# --- the page ---------------------------------------------------------------------------------------------------


@dataclass
class _Page:
    lines: list[str] = field(default_factory=list)
    sections: int = 0

    def section(self, title: str) -> None:
        self.sections += 1
        heading = f"{self.sections}. {title}"
        self.lines += ["", "", heading, "-" * len(heading)]

    def heading(self, title: str) -> None:
        self.lines.append("")
        self._fill(title, "  ", "  ")

    def say(self, text: str) -> None:
        self.lines.append("")
        self._fill(text, "  ", "  ")

    def item(self, text: str, level: int = 1) -> None:
        margin = "  " * level
        self._fill(text, f"{margin}- ", f"{margin}  ")

    def pair(self, label: str, text: str) -> None:
        self._fill(text, f"  {label:<13}", " " * 15)

    def quote(self, text: str) -> None:
        self._fill(text, "  | ", "  | ")

    def _fill(self, text: str, first: str, rest: str) -> None:
        self.lines += fill(
            _plain(text), WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
        ).splitlines() or [first.rstrip()]

    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.lines) + "\n"


def _plain(text: str) -> str:
    """Text without control characters, line breaks and signs that reorder or hide what stands beside them."""
    return "".join(
        sign if sign.isprintable() else " " if sign.isspace() else "\N{REPLACEMENT CHARACTER}" for sign in text
    )


def _and(names: Iterable[str], word: str = "and") -> str:
    found = list(names)
    if len(found) < 2:
        return "".join(found) or "nobody"
    return f"{', '.join(found[:-1])} {word} {found[-1]}"


_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def _number(value: int) -> str:
    return _NUMBERS[value] if value < len(_NUMBERS) else f"{value:,}"


def _count(value: int, one: str, many: str = "") -> str:
    return f"{_number(value)} {one if value == 1 else many or one + 's'}"


def _lasting(duration: str) -> str:
    unit = {"s": "second", "m": "minute", "h": "hour", "d": "day"}[duration[-1]]
    value = int(duration[:-1])
    return f"{value:,} {unit}{'' if value == 1 else 's'}"


def _percent(share: str) -> str:
    whole, _, part = share.partition(".")
    digits = (whole + part.ljust(2, "0")[:2]).lstrip("0") or "0"
    rest = part[2:].rstrip("0")
    return f"{digits}.{rest} %" if rest else f"{digits} %"


_PERIODS = {"day": "day", "month": "month", "range": "range of days that a run is asked for"}

# --- what schemas and statistics mean ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Meaning:
    """What a table or statistic means to a reader; its parts by name."""

    what: str
    parts: dict[str, str]


_SCHEMAS = {
    "roamers": _Meaning(
        "One row for each foreign or domestic subscriber, area and day on which the operator's network saw the "
        "subscriber there.",
        {
            "imsi": "the number of the SIM card: it stands for a person",
            "border_area": "the area, one of the list in the agreement",
            "date": "the day",
        },
    ),
    "presence": _Meaning(
        "One row for each subscriber and square kilometre where the operator's network saw the subscriber on one day, "
        "and how much.",
        {
            "user_id": "a code that stands for the subscriber and is new in every period",
            "tile_e": "the square kilometre, west to east",
            "tile_n": "the square kilometre, south to north",
            "weight_day": "how much the subscriber was there in the whole day",
            "weight_sub1": "how much in the first part of the day",
            "weight_sub2": "how much in the second part of the day",
            "weight_sub3": "how much in the third part of the day",
        },
    ),
    "reference_areas": _Meaning(
        "One row for each square kilometre of each reference area, such as a town. Nothing in it is about persons.",
        {
            "area_id": "the number of the reference area",
            "tile_e": "the square kilometre, west to east",
            "tile_n": "the square kilometre, south to north",
        },
    ),
    "census": _Meaning(
        "One row for each square kilometre where people live.",
        {
            "tile_e": "the square kilometre, west to east",
            "tile_n": "the square kilometre, south to north",
            "residents": "how many people live there",
        },
    ),
}

_STATISTICS = {
    "longitudinal": _Meaning(
        "The usual environment of subscribers, gathered over many days: square kilometres where somebody was often "
        "enough. How many have each of them in their usual environment, for how many it is the first of all, and what "
        "share of them also has a given reference area in it; and, if calibrated, the same with subscribers weighted so "
        "that they stand for the residents of the census. Subscribers without a usual environment are only counted.",
        {
            "fingerprint": "subscribers by square kilometre of their usual environment, for the day and its parts",
            "calibrated_fingerprint": "the same, weighted by the census",
            "functional_urban_fingerprint": "for each reference area and square kilometre, the share of its "
            "subscribers who also have a usual place in the area",
            "calibrated_functional_urban_fingerprint": "the same, weighted by the census",
            "top_anchors": "subscribers by the square kilometre where they are most",
            "statistics": "how many subscribers there are, with a usual environment and without one",
            "quality": "how each day's data look: how many subscribers have how many rows, how far these lie apart and "
            "what they weigh, in coarse classes, rounded down, small ones hidden",
        },
    ),
    "visitors": _Meaning(
        "Foreign visitors in the listed areas, each counted once although many are seen by both operators: how many "
        "either operator saw, how many each saw and how many both saw, so that each operator's true share of the "
        "visitors is known; the days they stayed; and how many came on two days or more. Subscribers of the domestic "
        "country are left out.",
        {
            "all": "all visitors together",
            "by_country": "visitors by home country",
            "by_area": "visitors by area",
            "by_country_area": "visitors by home country and area",
            "quality": "each operator's list by itself: how many rows and subscribers it held, how many of them were "
            "domestic, of unknown country or outside the areas, and how many days it covers",
        },
    ),
    PERIOD_KEYS: _Meaning("No statistic: an enclave draws the key of a day's pseudonyms.", {}),
}

# Statistics whose tables show each provider's own figures side by side.
_SIDE_BY_SIDE = {"visitors": "Each operator's own count stands in it beside the other's."}

_IDENTIFIERS = {
    "imsi": "Of an IMSI, the first three digits name the home country and the next two or three the network.",
}


# --- sections ---------------------------------------------------------------------------------------------------


def _head(page: _Page, agreement: Agreement, agreement_id: str | None) -> None:
    page._fill(agreement.title, "", "")
    page.lines += ["=" * min(WIDTH, max(len(line) for line in page.lines))]
    page.say("What this agreement means, in plain words.")
    page.lines.append("")
    page.pair("Agreement", agreement_id or "a draft: nobody has proposed it yet, and it has no effect")
    page.pair("Version", _version(agreement))
    page.pair(
        "In force", f"from {_moment(agreement.valid.from_)} to {_moment(agreement.valid.to)}, once all have approved"
    )
    page.pair(
        "This text",
        f"{RENDERER}, English. It is made from the agreement alone: whoever has the agreement gets this text, letter "
        "for letter, and every approval names its digest. What is signed is the agreement itself; it rules.",
    )


def _version(agreement: Agreement) -> str:
    if agreement.supersedes is None:
        return f"{agreement.version}, the first"
    return f"{agreement.version}; it takes the place of agreement {agreement.supersedes}"


def _moment(text: str) -> str:
    return f"{text} (UTC, the whole day)" if len(text) == 10 else text.replace("T", " at ").replace("Z", " UTC")


def _providers(agreement: Agreement) -> list[str]:
    return list(dict.fromkeys(dataset.provider for dataset in agreement.datasets.values()))


def _in_short(page: _Page, agreement: Agreement) -> None:
    page.section("In short")
    page.lines.append("")
    owners = _providers(agreement)
    page.item(
        f"{_and(owners)} {'gives' if len(owners) == 1 else 'give'} data. It leaves each house only encrypted, under a "
        "key that stays in that house."
    )
    for name, task in agreement.tasks.items():
        page.item(
            f"{_and(task.runners, 'or')} may have the task {name} run, {_how_often(agreement, task)}; "
            + (
                f"{_and(agreement.consumers(name))} "
                f"{'receives' if len(agreement.consumers(name)) == 1 else 'receive'} protected totals, nobody a list."
                if task.releases
                else "nobody receives a table by it."
            )
        )
    page.item(
        f"Nothing starts before {_and(agreement.roles.approvers)} {'has' if len(agreement.roles.approvers) == 1 else 'have all'} "
        "approved. Each of them can end it at any time, alone."
    )
    page.item("The host stores and passes on; it holds no key. Section 9 says what it can see all the same.")
    page.item(_weakest_in_short(agreement))


def _weakest_in_short(agreement: Agreement) -> str:
    if agreement.enclave.warnings:
        weakest = "a simulated enclave" if _simulated(agreement) else _and([*_weak_kinds(agreement)], "or")
        return (
            f"NOT PROTECTED BY HARDWARE: {weakest} is accepted, so whoever operates the computer can read the "
            "data while it is being counted. This is for trials with made-up data. See section 8."
        )
    return "The data is readable only inside a measured, hardware-protected computer while it is being counted."


def _purposes(page: _Page, agreement: Agreement) -> None:
    page.section("What for, and under which law")
    page.say("Every run must name one of these purposes. The words are those of the parties:")
    for purpose in agreement.purpose:
        page.heading(purpose.id)
        page.quote(f"Purpose: {purpose.text}")
        page.quote(f"Legal basis: {purpose.legal_basis}")


def _parties(page: _Page, agreement: Agreement) -> None:
    page.section("Who takes part")
    page.say(
        "Each party is known by the public keys on its card, and each card by a fingerprint of eight groups of digits. "
        "Have every party read its fingerprint to you over the telephone before you approve: a card that was exchanged "
        "on the way would show here and nowhere else."
    )
    for name, party in agreement.parties.items():
        page.heading(f"{name}   {spoken(fingerprint(party.card))}")
        for role in _roles(agreement, name):
            page.item(role)
    host = agreement.host
    page.heading(f"{host.card.name} (the host)   {spoken(fingerprint(host.card))}")
    page.item(f"stores ciphertexts and the log of all statements at {host.url}")
    page.item(
        f"is operated by {host.operated_by}" + (", which is a party" if host.operated_by in agreement.parties else "")
    )
    for card in agreement.witnesses.cards:
        page.heading(f"{card.name} (a witness)   {spoken(fingerprint(card))}")
        page.item("countersigns the log, so that the host cannot show one log to some and another to others")


def _roles(agreement: Agreement, name: str) -> list[str]:
    roles = agreement.roles
    found = []
    if name in roles.approvers:
        found.append("must approve this agreement, and any new version; can end it alone")
    provided = [dataset for dataset, terms in agreement.datasets.items() if terms.provider == name]
    if provided:
        found.append(f"gives {_and(provided)}")
    for label, task in agreement.tasks.items():
        if name in task.runners:
            found.append(f"may have {label} run")
        received = [table for table, release in task.releases.items() if name in release.to]
        if received:
            found.append(f"receives of {label}: {_and(received)}")
        if name in task.holders.of:
            found.append(f"holds a share of the keys to the results of {label}")
        if name in task.keepers:
            found.append(f"keeps a copy of the encrypted results of {label}, which it cannot read by that")
    if name in roles.auditors:
        found.append("audits: it sees every statement, but no data and, by that, no result")
    if roles.recovery and name in roles.recovery.approvers:
        found.append("has a vote when a party has lost all its keys (section 10)")
    if name == agreement.host.operated_by:
        found.append("operates the host")
    return found or ["has no role in this version"]


def _data(page: _Page, agreement: Agreement) -> None:
    page.section("Who gives what")
    for name, dataset in agreement.datasets.items():
        _dataset(page, name, dataset)
    for name, group in agreement.pseudonyms.items():
        page.heading(f"How identifiers are replaced: {name}")
        if group.drawn_by is not None:
            _drawn(page, group, group.drawn_by)
            continue
        page.item(
            f"Before anything leaves a provider's house, each {group.of} is replaced by a code of 16 bytes that is "
            f"computed from it with a secret key. {_kept_prefix(group.keep_prefix)} {_IDENTIFIERS.get(group.of, '')}"
        )
        page.item(
            f"{_and(group.shared_by)} make the key together, each from a part of its own, and a new one for every "
            "period. No other party, not the host and not the enclave ever has it."
        )
        page.item(
            "So the same identifier gives the same code in all these lists for one period, which is what makes it "
            "possible to count a person once; and another code in the next, so nobody can be followed from one to "
            "the next by it."
        )
        page.item(
            "The codes are pseudonyms, not anonymous data: a holder of the key could try identifiers one by one. They "
            "leave the house encrypted all the same."
        )


def _drawn(page: _Page, group: Pseudonym, task: str) -> None:
    """Pseudonyms under a key that an enclave draws: the enclave can link the days, nobody else."""
    provider = _and(group.shared_by)
    page.item(
        f"At {provider}, each identifier is first replaced by an inner code, under a key that {provider} alone has and "
        "that stays the same; then the inner code is encrypted into the day's pseudonym, under a key of that day."
    )
    page.item(
        f"An enclave draws each day's key, by the task {task}, and seals it to {provider}, which destroys it when the day's "
        "pseudonyms are made. It is never drawn twice."
    )
    page.item(
        "The key is split among the holders as well. They give their shares to an enclave that takes in that day, and "
        "destroy them when that counts. So an approved enclave, and only that, sees that pseudonyms of two days are one "
        "subscriber's. It sees no telephone or card number."
    )
    page.item(
        "Inner codes and pseudonyms stand for persons: they are not anonymous data. They leave the house encrypted all the "
        "same."
    )


def _kept_prefix(length: int) -> str:
    if length == 0:
        return "Nothing of it stays readable."
    return f"Its first {_number(length)} characters stay readable beside the code (inside the encryption)."


def _dataset(page: _Page, name: str, dataset: Dataset) -> None:
    page.heading(f"{name}, by {dataset.provider}, for each {_PERIODS[dataset.period].partition(' that')[0]}")
    meaning = _SCHEMAS.get(dataset.table)
    if meaning is None:
        page.item(f"A table of the form {dataset.table}, and no other column.")
    else:
        page.item(f"A table of the form {dataset.table}. {meaning.what} Its columns, and no others:")
        for column, what in meaning.parts.items():
            page.item(f"{column}: {what}", level=2)
    if dataset.pseudonym:
        page.item(f"Identifiers are replaced before they leave the house, as {dataset.pseudonym} below says.")
    else:
        page.item("No column is replaced: what stands in it is delivered (encrypted) as it is.")
    page.item(
        f"Refused if it has fewer than {dataset.minimum_rows:,} rows, or if more than "
        f"{_percent(dataset.maximum_rejects)} of its rows break the rules of the form. Rows that do are left out."
    )
    page.item(
        f"{dataset.provider} destroys its key {_lasting(dataset.keep)} after it was delivered, or earlier if it "
        "likes: then nobody can read the delivery any more, wherever copies of it lie."
    )
    page.item(
        "A delivery may be replaced until a run has been asked for with it, not after."
        if dataset.replaceable
        else "One delivery for each period; it cannot be replaced."
    )
    page.item(
        f"Said in the open, to the host and all parties: {_and(_LISTED[what] for what in dataset.listed)}."
        if dataset.listed
        else "How many rows it has is said only inside the encryption; others see its size rounded up by as much as 12 %."
    )


_LISTED = {"rows": "how many rows it has", "size": "its exact size"}


def _tasks(page: _Page, agreement: Agreement) -> None:
    page.section("What may be computed, by whom, how often")
    page.say("Only these tasks can be run, with this statistic and these parameters, in the code that section 8 names.")
    for name, task in agreement.tasks.items():
        page.heading(f"Task {name}")
        meaning = _STATISTICS.get(task.statistic)
        page.item(f"Statistic {task.statistic}. {meaning.what}" if meaning else f"Statistic {task.statistic}.")
        for label, dataset in task.inputs.items():
            page.item(f"Input {label} is {dataset}, of {agreement.datasets[dataset].provider}.")
        for label, value in task.parameters.items():
            page.item(f"Parameter {label}: {_parameter(value)}")
        for label in task.open_parameters:
            page.item(
                f"Parameter {label} is OPEN: whoever asks for a run chooses it, within what the statistic allows."
            )
        page.item(f"May be asked for by {_and(task.runners, 'or')}, for a purpose of section 2.")
        if task.report is not None:
            _takes_in(page, task)
        page.item(
            f"{_how_often(agreement, task).capitalize()} can count. A run that failed or "
            f"was given up, and of which nothing was released, does not use one up. {_comparing(agreement, task)}"
        )
        page.item(
            f"If the data itself is at fault the run is refused without saying why in the open; after "
            f"{_count(task.data_refusals, 'such refusal')} no further run for that period starts. The provider of the "
            "delivery at fault, and nobody else, is told what is wrong with it."
        )


def _takes_in(page: _Page, task: Task) -> None:
    page.item(
        f"It takes in day after day into an encrypted state, each day once and in any order, and makes one report "
        f"{'for each month' if task.report == 'month' else 'for ' + str(task.report)}. With the report, or when it is "
        "cancelled, the state is forgotten."
    )
    page.item(
        f"{_and(task.runners, 'or')} alone can have it cancelled; days that were taken in are not taken in again after that."
    )
    page.item(
        "The state holds rows about single subscribers. It lies encrypted with the host and the keepers; section 7 says who "
        "can open it."
    )


def _how_often(agreement: Agreement, task: Task) -> str:
    """One run for each what; with state, each day and each report once."""
    if task.report is not None:
        return f"once for each day and once for the report of {'a month' if task.report == 'month' else task.report}"
    return f"{_runs(task)} for each {_PERIODS[_period(agreement, task)]}"


def _comparing(agreement: Agreement, task: Task) -> str:
    if task.report is not None:
        return "A second report on the same days cannot be had, so nothing can be learnt by comparing two."
    if task.statistic == PERIOD_KEYS:
        return "A second key for the same day cannot be had."
    if _period(agreement, task) == "range":
        return "Ranges of days that overlap are not taken, so no two results share a day." + (
            " NOTE: by comparing runs on the same range, more can be learnt than from one."
            if task.runs_per_period > 1
            else " A second run on the same range cannot be had."
        )
    if task.runs_per_period > 1:
        return "NOTE: by comparing runs on the same period, more can be learnt than from one."
    return "A second run on the same period cannot be had, so nothing can be learnt by comparing two."


def _runs(task: Task) -> str:
    return _count(task.runs_per_period, "run")


def _period(agreement: Agreement, task: Task) -> str:
    return agreement.datasets[next(iter(task.inputs.values()))].period


def _parameter(value: Any) -> str:
    if isinstance(value, str | int):
        return f"{value}"
    if not isinstance(value, list) or not value:
        return f"a value with digest {canonical.digest(value)}"
    rows = [", ".join(str(cell) for cell in row.values()) if isinstance(row, dict) else str(row) for row in value]
    columns = f" ({', '.join(value[0])})" if isinstance(value[0], dict) else ""
    shown = "; ".join(rows[:_TABLE_CELLS_SHOWN])
    if len(rows) <= _TABLE_CELLS_SHOWN:
        return f"a table of {_count(len(rows), 'row')}{columns}: {shown}"
    return (
        f"a table of {_count(len(rows), 'row')}{columns}, signed with the agreement, with digest "
        f"{canonical.digest(value)}; it begins: {shown}; ..."
    )


# --- who receives what ------------------------------------------------------------------------------------------


def _tables(page: _Page, agreement: Agreement) -> None:
    page.section("Who receives which table, and how it is protected")
    page.say(
        "A table that is not listed here never leaves the enclave. Each table is encrypted for its own recipients: one "
        "who receives one table cannot open another. Once a recipient has opened a table, this agreement has no "
        "technical hold on it."
    )
    for name, task in agreement.tasks.items():
        meaning = _STATISTICS.get(task.statistic)
        owners = agreement.owners(name)
        for table, release in task.releases.items():
            what = meaning.parts.get(table) if meaning else None
            page.heading(f"{table}, of the task {name}" + (f": {what}" if what else ""))
            page.item(f"Received by {_and(release.to)}.")
            for rule in _rules(release):
                page.item(rule)
            receiving = [owner for owner in owners if owner in release.to]
            if receiving and len(owners) > 1:
                page.item(_subtraction(receiving, owners, _SIDE_BY_SIDE.get(task.statistic, "")))


def _rules(release: Release) -> list[str]:
    found = []
    if release.minimum > 1:
        found.append(
            f"Minimum {release.minimum}: figures that rest on fewer than {release.minimum} contributors (the persons or "
            "units counted) are left out."
        )
    else:
        found.append("MINIMUM 1: NOTHING IS LEFT OUT, NOT EVEN A FIGURE ABOUT ONE SINGLE PERSON.")
    if release.minimum_part is not None and release.minimum_part > 1:
        found.append(
            f"Minimum part {release.minimum_part}: where a part of the figure (for instance those that one provider alone "
            f"contributed) rests on {_below(release.minimum_part)}, every figure from which that part "
            "could be computed is left out, too."
        )
    elif release.minimum > 1:
        found.append("Parts of a figure have no minimum of their own: a part may rest on a single contributor.")
    if release.complementary:
        found.append(
            "Complementary: where one missing figure could be computed from the totals around it, another one is left "
            "out as well, so that it cannot."
        )
    elif release.minimum > 1:
        found.append(
            "Not complementary: nothing more is left out to protect what is. Where figures add up to a total that is known, "
            "and a single one is missing, it can be computed by subtraction."
        )
    return found


def _below(minimum: int) -> str:
    return "a single contributor" if minimum == 2 else f"1 {'or' if minimum == 3 else 'to'} {minimum - 1} contributors"


def _subtraction(receiving: list[str], owners: list[str], side_by_side: str) -> str:
    sentences = ["A recipient that also gave data knows its own part of every total and can subtract it."]
    if side_by_side:
        sentences.append(side_by_side)
    for owner in receiving:
        others = [name for name in owners if name != owner]
        sentences.append(
            f"So {owner} learns what {others[0]} contributed beyond it."
            if len(others) == 1
            else f"So {owner} learns what {_and(others)} contributed together beyond it."
        )
    return " ".join(sentences)


# --- keys -------------------------------------------------------------------------------------------------------


def _keys(page: _Page, agreement: Agreement) -> None:
    page.section("Who can open what")
    page.say(
        "Each delivery is locked with its own key, which its provider alone has. The provider's program gives it, sealed, "
        "to one enclave for one run, after checking that the run is one that this agreement allows and that the enclave is "
        "one that section 8 accepts. Every such release of a key is written into the log."
    )
    for name, task in agreement.tasks.items():
        page.heading(f"The results of {name}, and any state it carries from one period to the next")
        _holding(page, agreement, name, task)
        page.item(
            f"Holders' programs give their shares for a result no earlier than {_lasting(task.release_delay)} after it is in "
            "the log, and for one result of each run that counts, ever. Until then each provider can stop it with cause."
            if seconds(task.release_delay)
            else "Holders' programs give their shares for a result as soon as it counts: THERE IS NO WINDOW in which a "
            "provider can look first and stop it."
        )
        if task.hold == "owner":
            page.item(
                "Each provider's program waits for a person there to allow the result before it gives its share; the "
                "program of any other holder waits until all providers have given theirs."
            )
        page.item(
            f"{_and(task.keepers)} {'keeps' if len(task.keepers) == 1 else 'keep'} a copy of the encrypted results, so that "
            f"the host cannot lose them; {_and(agreement.needed_keepers(name))} must say so before a run counts, and can "
            "hold a run up by not saying so."
        )


def _holding(page: _Page, agreement: Agreement, name: str, task: Task) -> None:
    holders, t = task.holders.of, task.holders.threshold
    n, owners = len(holders), agreement.owners(name)
    everyone = t == n
    group = f"all {_number(n)} together" if everyone else f"any {_number(t)} of these {_number(n)}"
    page.item(f"The keys are split among {_and(holders)}; {group} are needed, and enough, to open anything.")
    page.item(
        f"So {group} CAN OPEN THE STATE, and together with a recipient of a table THAT TABLE, whether or not the "
        "agreement is still in force. Their programs refuse to; that they do not change those programs is a matter of "
        "trust in them."
    )
    for table, release in task.releases.items():
        own = [holder for holder in holders if holder in release.to]
        if own:
            page.item(
                f"{_and(own)} both {'holds' if len(own) == 1 else 'hold'} a share and "
                f"{'receives' if len(own) == 1 else 'receive'} {table}: for that table no further recipient is needed."
            )
    outsiders = [holder for holder in holders if holder not in owners]
    if len(outsiders) >= t:
        page.item(f"NO PROVIDER IS NEEDED: {_and(outsiders)} are enough to open results without any of them.")
    else:
        passed_over = [owner for owner in owners if n - 1 >= t]
        if passed_over:
            page.item(
                f"No result opens without the share of at least one provider. But {_and(passed_over, 'or')} alone cannot "
                "keep one closed against all other holders."
            )
        else:
            page.item("No result opens without the share of every provider.")
    page.item(
        "If one holder's key is lost, nothing can be opened any more, and a state is lost for good."
        if everyone
        else f"The loss of {_count(n - t, 'holder')} is borne; if more are lost, nothing can be opened any more."
    )


# --- machine and host -------------------------------------------------------------------------------------------


def _simulated(agreement: Agreement) -> bool:
    return any(accepted.kind == "simulated" for accepted in agreement.enclave.accept)


def _weak_kinds(agreement: Agreement) -> Iterator[str]:
    for accepted in agreement.enclave.accept:
        if isinstance(accepted, AttestedEnclave) and accepted.warning:
            yield {"software": "a software TPM", "boot": "a TPM alone"}.get(accepted.tier, "an enclave in debug mode")


def _machine(page: _Page, agreement: Agreement) -> None:
    page.section("Where the data is readable: the enclave")
    page.say(
        "The data is decrypted in one place: in the memory of an enclave, a computer (or a part of one) that proves which "
        "program it runs before any key is given to it. It has no permanent keys and opens no connection to anyone but the "
        "host. The agreement is as strong as the weakest kind of enclave that it accepts."
    )
    if _simulated(agreement):
        page.heading("The weakest kind accepted: SIMULATED. NOT PROTECTED BY HARDWARE.")
        page.item(
            "It is an ordinary program that takes the part of an enclave. Whoever operates the computer on which it runs, "
            "or breaks into it, can read all data and change any result unseen, and what it proves about itself is worth "
            "as much as the word of whoever has its root key."
        )
        page.item(
            "It shows that the procedure works. It protects nobody's data. Every result, page and proof made with it says so."
        )
        page.item("Do not deliver data about real people under an agreement that accepts it.")
    for accepted in agreement.enclave.accept:
        page.heading(f"Accepted: {accepted.kind}")
        page.item("The program, as the digest of its source code and of everything it uses:")
        page.lines.append(f"    {accepted.source}")
        page.item("Anyone can compute it from the published source: `sealstat measure`.")
        if isinstance(accepted, SimulatedEnclave):
            page.item(f"The root key that vouches for it: {accepted.root}")
        else:
            for sentence in attested(accepted):
                page.item(sentence)


def _host(page: _Page, agreement: Agreement) -> None:
    page.section("What the host and other outsiders can see")
    page.say(
        f"The host ({agreement.host.card.name}, operated by {agreement.host.operated_by}) need not be trusted with data: it "
        "never has a key. It can see:"
    )
    page.item("this agreement in full, with its parties, parameters and tables;")
    page.item("every statement: who said what type of thing and when (who delivered, asked for a run, released a key);")
    page.item("network addresses, and how often each party's program calls;")
    listed = [name for name, dataset in agreement.datasets.items() if "rows" in dataset.listed]
    sizes = [name for name, dataset in agreement.datasets.items() if "size" in dataset.listed]
    page.item(
        "the size of each delivery and result, padded: up to 12 % more than the true size, so only roughly how much there is"
        + (f"; but the exact size of {_and(sizes)}, which this agreement lists" if sizes else "")
        + ";"
    )
    page.item(f"row counts of {_and(listed)}, which this agreement lists; of no other." if listed else "no row counts.")
    page.say(
        "It cannot see rows, identifiers, codes, keys or results, and cannot change any of them unnoticed. It can delay, or "
        "refuse to work: that is noticed, not prevented."
    )
    page.say("Others see:")
    page.item(
        "the parties: all statements of this agreement, as the host; ciphertexts, of which they can open none by that;"
    )
    if agreement.roles.auditors:
        page.item(f"{_and(agreement.roles.auditors)}, as auditor: the same, and nothing more;")
    page.item("the witnesses: how long the log is and a digest of it; nothing of what stands in it;")
    page.item("the public: that, and for each statement its type, its digest and the agreement's.")


# --- course -----------------------------------------------------------------------------------------------------


def _course(page: _Page, agreement: Agreement) -> None:
    page.section("How it begins, changes and ends")
    approvers = agreement.roles.approvers
    page.heading("Beginning")
    page.item(
        f"In force when the approvals of {_and(approvers)} are all in the log, and not before {agreement.valid.from_}."
    )
    page.heading("Withdrawal")
    page.item(
        f"Each of {_and(approvers)} can withdraw at any time and need ask nobody. No new run starts; a run that is under way, "
        "even one that has ended but whose result is not released, ends without a result."
    )
    page.item(
        f"The host has at most {_lasting(agreement.host.merge_delay)} to write a statement into the log; once the "
        "withdrawing party has seen it countersigned, it has reached every other program at the latest "
        f"{_lasting(agreement.witnesses.checkpoint_age)} later, even if the host tries to hide it."
    )
    page.item("Results that recipients have already opened are not called back by a withdrawal.")
    page.heading("A new version")
    page.item("It names this one and needs the approval of all approvers of both. From then on this one is over.")
    page.heading("The end")
    page.item(f"After {_moment(agreement.valid.to)} no key and no result is released, by each party's own clock.")
    for name, dataset in agreement.datasets.items():
        page.item(f"The key of a delivery of {name} is destroyed {_lasting(dataset.keep)} after it was delivered.")
    page.heading("The log and its witnesses")
    _witnesses(page, agreement)
    page.heading("Lost and stolen keys")
    page.item("A party changes its keys with its old ones, or with its recovery key, which it keeps offline.")
    _recovery(page, agreement)


def _witnesses(page: _Page, agreement: Agreement) -> None:
    n, k = len(agreement.witnesses.cards), agreement.witnesses.quorum
    liars = 2 * k - n - 1
    page.item(
        f"Of {_count(n, 'witness', 'witnesses')}, {_number(k)} must countersign the log before anyone acts on it. The host "
        f"could show different logs to different parties only together with {_number(liars + 1)} lying "
        f"{'witness' if liars == 0 else 'witnesses'}: "
        + (
            "NOT ONE LYING WITNESS IS BORNE."
            if liars == 0
            else f"{_count(liars, 'lying witness', 'lying witnesses')} can be borne."
        )
    )
    page.item(
        "If a single witness is out of order, everything waits for it."
        if n == k
        else f"{_count(n - k, 'witness', 'witnesses').capitalize()} may be out of order without anything coming to a stop."
    )


def _recovery(page: _Page, agreement: Agreement) -> None:
    recovery = agreement.roles.recovery
    if recovery is None:
        page.item("If it loses both, it is out: a new agreement must take the place of this one.")
        return
    page.item(
        f"If it loses both, {_number(recovery.quorum)} of {_and(recovery.approvers)} can give it a new card, which holds "
        f"{_lasting(recovery.delay)} later unless its recovery key objects. What was sealed to the lost keys stays lost."
    )
    if recovery.quorum == 1:
        page.item("NOTE: one of them alone could so take the place of another party that does not object in time.")


def _limits(page: _Page, agreement: Agreement) -> None:
    page.section("What is not protected against")
    page.say("No wording above should hide these. They remain, and belong into your assessment:")
    if _simulated(agreement):
        page.item("Everything that section 8 says of simulated enclaves.")
    elif agreement.enclave.warnings:
        page.item("Everything that section 8 says of machines whose memory no hardware protects.")
    else:
        page.item("Side channels of the processor, and physical attacks on it: they have broken enclaves before.")
    page.item("Untrue data: a provider can deliver what it likes. The totals are as true as the deliveries.")
    page.item(
        "What a provider learns from a released total because it knows, or chose, its own contribution; and what anyone "
        "learns by adding knowledge from elsewhere. The minimums above limit this and do not end it."
    )
    page.item("What is learnt from many totals together, over periods and over agreements.")
    page.item("Holders of key shares who act together against the agreement, as section 7 says.")
    page.item("Conclusions from who talks to the host, when, and about roughly how much data.")
    page.item("Delay and refusal: host, providers, holders, keepers or witnesses can stop the work. It shows who did.")
    page.item("What recipients do with a table they have opened. That is for the law and for contracts.")


def _checking(page: _Page) -> None:
    page.section("How to check that it happened so")
    page.say(
        "Every approval, delivery, run, release of a key and result is a signed statement in a log that cannot be changed "
        "afterwards unnoticed. From it a proof can be made of each run: one file, which anyone can check without the data, "
        "the host or a network (`sealstat verify`). It says what is proved, what is attested by whom, and what is not proved."
    )
