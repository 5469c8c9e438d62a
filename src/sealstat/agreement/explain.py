"""An agreement in plain language, for those who must answer for signing it.

Deterministic text: an approval carries its digest, so anyone can render it again and see what an approver has read.
Change a word here, and ``RENDERER`` counts up.
"""

from collections.abc import Iterator
from hashlib import sha256
from textwrap import fill

from sealstat.agreement.model import Agreement, Dataset, Release, Task

RENDERER = "sealstat-explain-1"
LANGUAGE = "en"
_WIDTH = 88
_UNITS = {"s": "second", "m": "minute", "h": "hour", "d": "day"}


def explain(agreement: Agreement, agreement_id: str | None) -> str:
    """The text; ``agreement_id`` stands in its head once the agreement has one."""
    paragraphs = [
        _title(agreement, agreement_id),
        *_who(agreement),
        *_gives(agreement),
        *_runs(agreement),
        *_keys(agreement),
        *_code(agreement),
        *_host(agreement),
        *_end(agreement),
        *_limits(agreement),
    ]
    return "\n\n".join(paragraphs) + "\n"


def digest(text: str) -> str:
    """What an approval names: SHA-256 of the text in UTF-8, as hex."""
    return sha256(text.encode()).hexdigest()


def _title(agreement: Agreement, agreement_id: str | None) -> str:
    name = f"Agreement {agreement_id}" if agreement_id else "A draft: nobody has signed it"
    span = f"It holds from {agreement.valid.from_} to {agreement.valid.to} (UTC, both included)."
    line = "=" * min(_WIDTH, len(agreement.title))
    return f"{agreement.title}\n{line}\n{name}\n{_p(f'Version {agreement.version}. {span}')}"


def _who(agreement: Agreement) -> Iterator[str]:
    yield _head("Why, and on what legal basis")
    for purpose in agreement.purpose:
        yield _item(f"{purpose.id}: {purpose.text}. Legal basis: {purpose.legal_basis}.")
    yield _head("Who agrees")
    approvers = _names(agreement.roles.approvers)
    yield _p(
        f"The parties are {_names(list(agreement.parties))}. It holds only while all of {approvers} have approved it; "
        "any one of them can withdraw at any time, and from then on nothing is run and nothing more is released. "
        "A new version needs all of them again."
    )
    if agreement.roles.auditors:
        yield _p(
            f"{_names(agreement.roles.auditors)} may read every statement made under this agreement, but no data and "
            "no result by that role."
        )
    if agreement.roles.recovery is not None:
        recovery = agreement.roles.recovery
        yield _p(
            f"If a party loses all its keys, {recovery.quorum} of {_names(recovery.approvers)} can together give it "
            f"new ones, after {_time(recovery.delay)}. What was encrypted for the lost keys stays lost."
        )


def _gives(agreement: Agreement) -> Iterator[str]:
    yield _head("Who gives what")
    for name, dataset in agreement.datasets.items():
        yield _item(_dataset(agreement, name, dataset))
    yield _p(
        "Every table is checked and encrypted on its owner's own premises, each under a key of its own that stays with "
        "the owner. Only ciphertext is uploaded. To forget a table is to destroy its key: the ciphertext is then dead "
        "wherever it lies."
    )


def _dataset(agreement: Agreement, name: str, dataset: Dataset) -> str:
    sentences = [f"{dataset.provider} delivers {name} (table {dataset.table}), once for each {dataset.period}."]
    if dataset.pseudonym is not None:
        group = agreement.pseudonyms[dataset.pseudonym]
        sentences.append(
            f"Its {group.of} is replaced before upload by a keyed code; only the first {group.keep_prefix} characters "
            f"stay readable. The key is made anew {group.new_key} by {_names(group.shared_by)} together; neither the "
            "host nor the enclave ever has it, so neither can turn a code back into a person's number, or test one."
        )
    else:
        sentences.append("Its columns are delivered as they are: nothing in it is replaced.")
    sentences.append(f"Its key is destroyed {_time(dataset.keep)} after the delivery.")
    share = _percent(dataset.maximum_rejects)
    bounds = f"fewer than {dataset.minimum_rows:,} good rows, or with more than {share} of its rows rejected"
    sentences.append(f"A file with {bounds}, is refused.")
    if dataset.replaceable:
        sentences.append("A delivery may be replaced until a run has named it.")
    sentences.append(
        f"Everyone in the agreement, and the host, is told its {_names(list(dataset.listed))}."
        if dataset.listed
        else "How many rows it has is told to nobody but the enclave."
    )
    return " ".join(sentences)


def _runs(agreement: Agreement) -> Iterator[str]:
    yield _head("What may be computed, by whom, and who receives what")
    for name, task in agreement.tasks.items():
        inputs = _names([f"{dataset} (as {role})" for role, dataset in task.inputs.items()])
        times = "once" if task.runs_per_period == 1 else f"{task.runs_per_period} times"
        purposes = _names([purpose.id for purpose in agreement.purpose])
        yield _item(
            f"{name}: the statistic {task.statistic} over {inputs}. {_names(task.runners)} may run it, {times} for "
            f"each period, and only for the purpose {purposes}."
        )
        if task.open_parameters:
            yield _p(f"Whoever runs it may choose {_names(task.open_parameters)}; every other parameter is fixed here.")
        for table, release in task.releases.items():
            yield _item(_release(table, release), indent=4)
        yield _p("A table of the statistic that is not listed here never leaves the enclave.", indent=4)
        for sentence in _insiders(agreement, task):
            yield _p(sentence, indent=4)


def _release(table: str, release: Release) -> str:
    sentences = [f"{table} goes to {_names(release.to)}, and to nobody else."]
    if release.minimum > 1:
        sentences.append(f"A cell with fewer than {release.minimum} people behind it is left empty.")
    else:
        sentences.append("NO MINIMUM: cells with a single person behind them are shown.")
    if release.minimum_part is not None:
        sentences.append(
            f"A part of a cell with 1 to {release.minimum_part - 1} people is hidden, with all figures that would tell it."
            if release.minimum_part > 1
            else "Parts of a cell are never hidden."
        )
    if release.complementary:
        sentences.append(
            "Where one hidden cell could be found by subtracting from a total, another one is hidden, too."
        )
    return " ".join(sentences)


def _insiders(agreement: Agreement, task: Task) -> Iterator[str]:
    owners = {agreement.datasets[dataset].provider for dataset in task.inputs.values()}
    for owner in sorted(owners):
        tables = [table for table, release in task.releases.items() if owner in release.to]
        if tables and len(owners) > 1:
            yield (
                f"{owner} receives {_names(tables)} and knows its own list: by subtracting it learns the corresponding "
                "figures of the others, as far as the rules above leave them."
            )


def _keys(agreement: Agreement) -> Iterator[str]:
    yield _head("Who holds the keys")
    for name, task in agreement.tasks.items():
        holders = task.holders
        yield _p(
            f"{name}: an owner releases a table's key only to one enclave that has proved which code it runs, and only "
            f"for a run that is in order. The key of a result is split among {_names(holders.of)}. Any "
            f"{holders.threshold} of them together can open the state of the task, if it has one, and, together with a party that receives "
            f"a table, that result; fewer cannot. They release a result by themselves {_time(task.release_delay)} "
            "after it is final, unless an owner refuses with cause before that."
            + (" The owners' agents wait for a person's word first." if task.hold == "owner" else "")
        )
        yield _p(f"{_names(task.keepers)} keep the encrypted results, so that they do not get lost with the host.")


def _code(agreement: Agreement) -> Iterator[str]:
    yield _head("Which code, on which machine")
    accepted = agreement.enclave.accept
    simulated = [entry for entry in accepted if entry.kind == "simulated"]
    for entry in accepted:
        yield _item(
            f"{entry.kind}: code with the source digest {entry.source[:16]}…, which anyone recomputes with "
            "`sealstat measure`."
        )
    if simulated:
        yield _p(
            "The weakest kind accepted is simulated: NOT PROTECTED BY HARDWARE. Whoever runs the machine, or holds the "
            "file of the simulated root key, could read everything that is opened there. It is for trials with "
            "invented or public data. Every output and every proof says so."
        )
    yield _p(
        "A table is decoded by the same process that computes; a fault in decoding could reach what that process holds."
    )


def _host(agreement: Agreement) -> Iterator[str]:
    yield _head("What the host can see")
    host, witnesses = agreement.host, agreement.witnesses
    count = len(witnesses.cards)
    lying = 2 * witnesses.quorum - count - 1
    yield _p(
        f"The host {host.card.name} at {host.url}, in the house of {host.operated_by}, stores ciphertext, statements "
        "and the log. It sees who the parties are, who makes which kind of statement and when, and the sizes of encrypted "
        "tables, padded to size classes (at most 12 % more). It sees no row, no identifier, no figure of a result, and "
        "holds no key that opens anything. It can refuse to work; it cannot change, hide or forge unseen."
    )
    yield _p(
        f"That it shows everyone the same log is attested by {count} witnesses, of whom {witnesses.quorum} must sign; "
        f"{'none of them may lie' if lying <= 0 else f'{lying} of them may lie'}. "
        f"What the log says counts while its signatures are younger than {_time(witnesses.checkpoint_age)}: so long, "
        "at most, may the host delay the news of a withdrawal."
    )


def _end(agreement: Agreement) -> Iterator[str]:
    yield _head("How it ends")
    before = (
        f" It replaces agreement {agreement.supersedes[:16]}…, once all approvers of both have said so."
        if (agreement.supersedes)
        else ""
    )
    yield _p(
        f"It ends with {agreement.valid.to}, with a withdrawal by any approver, or with a new version.{before} A run "
        "that is under way then ends without a result. Results that were released before cannot be called back."
    )


def _limits(agreement: Agreement) -> Iterator[str]:
    yield _head("What this does not protect against")
    for sentence in (
        "wrong data: nobody but its owner can tell whether a delivered table is true;",
        "what a provider infers from released results by choosing its own input;",
        "side channels of the processor, and conclusions from when and how much is sent;",
        f"all key holders of a task acting together ({_coalitions(agreement)});",
        "a host that stops working: that is seen, not prevented.",
    ):
        yield _item(sentence)


def _coalitions(agreement: Agreement) -> str:
    return "; ".join(
        f"{name}: any {task.holders.threshold} of {len(task.holders.of)}" for name, task in agreement.tasks.items()
    )


# -- words ---------------------------------------------------------------------------------------------------------


def _head(text: str) -> str:
    return f"{text}\n{'-' * len(text)}"


def _p(text: str, *, indent: int = 0) -> str:
    return fill(
        text,
        _WIDTH,
        initial_indent=" " * indent,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _item(text: str, *, indent: int = 0) -> str:
    space = " " * indent
    return fill(
        text,
        _WIDTH,
        initial_indent=f"{space}* ",
        subsequent_indent=f"{space}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _names(names: list[str]) -> str:
    """A list in words.

    >>> _names(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else "nobody"


def _time(duration: str) -> str:
    """A duration in words.

    >>> _time("15m"), _time("1d")
    ('15 minutes', '1 day')
    """
    number = int(duration[:-1])
    return f"{number} {_UNITS[duration[-1]]}{'' if number == 1 else 's'}"


def _percent(share: str) -> str:
    """An exact share as per cent.

    >>> _percent("0.05"), _percent("0.125"), _percent("1")
    ('5 %', '12.5 %', '100 %')
    """
    whole, _, decimals = share.partition(".")
    digits = (whole + decimals.ljust(2, "0"))[: len(whole) + 2].lstrip("0") or "0"
    rest = decimals[2:].rstrip("0")
    return f"{digits}{'.' + rest if rest else ''} %"
