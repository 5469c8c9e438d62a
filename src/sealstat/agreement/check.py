"""Whether an agreement makes sense: what the model alone cannot see (protocol.md section 4, "Refused as an agreement").

Every rule yields findings ``(place, sentence)``; the place is a dotted path like ``tasks.visitors.holders``, empty
for the agreement as a whole. Parties check before they approve, the enclave before it runs: both through
:func:`check_body`.
"""

import unicodedata
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any, Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ed25519, mldsa, mlkem, x25519

from sealstat.agreement._machines import machines
from sealstat.agreement.model import PERIOD_KEYS, Agreement, Task
from sealstat.agreement.periods import seconds
from sealstat.crypto import canonical
from sealstat.crypto.cards import HostCard, PartyCard, SealingKey, SigningKeys, Validity, WitnessCard, unb64
from sealstat.crypto.errors import MalformedError
from sealstat.crypto.statement import STATEMENT_LIMIT_BYTES
from sealstat.log.errors import LogError
from sealstat.log.note import COSIGNATURE_MLDSA44, COSIGNATURES, ED25519, parse_verifier_key

Finding = tuple[str, str]
BODY_LIMIT_BYTES = STATEMENT_LIMIT_BYTES - 1024  # the rest is for the frame: type, sender, time

# Signs that change the order of the text around them (Unicode bidirectional controls): they could make the
# agreement read differently on the screen than it is signed.
_REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")


class Statistic(Protocol):
    """What an agreement must know of a statistic."""

    @property
    def version(self) -> int:
        """Counts up whenever the same inputs could give another result."""

    @property
    def inputs(self) -> Mapping[str, str]:
        """The schema that each input wants, by input name."""

    @property
    def day(self) -> str | None:
        """The input that is delivered for each day of a report; None if it has no state."""

    @property
    def tables(self) -> Mapping[str, str | None]:
        """The column that counts contributors in each output table; None where there is none."""

    def missing_inputs(self, given: Collection[str], parameters: Mapping[str, Any]) -> list[str]:
        """The inputs that these parameters need and that are not given."""

    def parameter_problems(self, parameters: dict[str, Any]) -> list[str]:
        """What is wrong with the parameters; a sentence about one begins with its name and a colon."""


class Catalogue(Protocol):
    """The statistics and schemas that the code at hand knows."""

    def statistic(self, name: str) -> Statistic | None:
        """The statistic of this name, or None."""

    def schema_names(self) -> Collection[str]:
        """The names of all table schemas."""

    def identifier(self, schema: str) -> tuple[str, int] | None:
        """The column that must become a pseudonym before a table of this schema is sealed, and how much of it stays."""

    def by_period_key(self, schema: str) -> bool:
        """Whether it becomes one under a key that an enclave draws, before the file is made."""


class UnsoundAgreementError(ValueError):
    """An agreement that must not be approved or run, whoever signed it.

    Attributes:
        findings: every reason, as (place, sentence).
    """

    def __init__(self, findings: list[Finding]) -> None:
        self.findings = findings
        place, sentence = findings[0]
        more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
        super().__init__(f"the agreement is refused: {f'at {place}: ' if place else ''}{sentence}{more}")


def check_body(agreement: Agreement, catalogue: Catalogue) -> None:
    """Refuse an agreement that has any problem.

    Raises:
        UnsoundAgreementError: with every finding.
    """
    if findings := problems(agreement, catalogue):
        raise UnsoundAgreementError(findings)


def problems(agreement: Agreement, catalogue: Catalogue | None) -> list[Finding]:
    """Everything that is wrong with an agreement of the right form; an empty list if nothing is.

    Args:
        agreement: as the model accepted it.
        catalogue: None leaves out the rules about statistics and schemas: for drafts only, never before approving.
    """
    found = [finding for rule in _RULES for finding in rule(agreement)]
    if catalogue is not None:
        found += _statistics(agreement, catalogue)
    return found


# --- names ------------------------------------------------------------------------------------------------------


def _names(agreement: Agreement) -> Iterator[Finding]:
    """Every name that is used exists, and stands once in its list."""
    for place, names in _lists_of_parties(agreement):
        for index, name in enumerate(names):
            if name not in agreement.parties:
                yield f"{place}.{index}", f"{name} is not among the parties: add its card there, or correct the name"
            elif name in names[:index]:
                yield f"{place}.{index}", f"{name} stands twice in this list: name it once"
    for name, dataset in agreement.datasets.items():
        if dataset.provider not in agreement.parties:
            yield f"datasets.{name}.provider", f"{dataset.provider} is not among the parties: add its card there"
    identifiers = [purpose.id for purpose in agreement.purpose]
    for index, identifier in enumerate(identifiers):
        if identifier in identifiers[:index]:
            yield f"purpose.{index}.id", f"the purpose {identifier} stands twice: give each its own id"


def _lists_of_parties(agreement: Agreement) -> Iterator[tuple[str, list[str]]]:
    roles = agreement.roles
    yield "roles.approvers", roles.approvers
    yield "roles.auditors", roles.auditors
    if roles.recovery:
        yield "roles.recovery.approvers", roles.recovery.approvers
    for name, group in agreement.pseudonyms.items():
        yield f"pseudonyms.{name}.shared_by", group.shared_by
    for name, task in agreement.tasks.items():
        yield f"tasks.{name}.runners", task.runners
        yield f"tasks.{name}.holders.of", task.holders.of
        yield f"tasks.{name}.keepers", task.keepers
        for table, release in task.releases.items():
            yield f"tasks.{name}.releases.{table}.to", release.to


def _version(agreement: Agreement) -> Iterator[Finding]:
    if agreement.version > 1 and agreement.supersedes is None:
        yield "version", f"version {agreement.version} must say supersedes: and the id of the version before it"
    if agreement.version == 1 and agreement.supersedes is not None:
        yield "supersedes", "version 1 supersedes nothing: raise the version, or leave this out"


def _durations(agreement: Agreement) -> Iterator[Finding]:
    """A duration of nothing where it would switch off what it is for."""
    places = [
        ("host.merge_delay", agreement.host.merge_delay),
        ("witnesses.checkpoint_age", agreement.witnesses.checkpoint_age),
        *((f"datasets.{name}.keep", dataset.keep) for name, dataset in agreement.datasets.items()),
        *((f"tasks.{name}.challenge_lapses", task.challenge_lapses) for name, task in agreement.tasks.items()),
    ]
    if agreement.roles.recovery:
        places.append(("roles.recovery.delay", agreement.roles.recovery.delay))
    for place, duration in places:
        if seconds(duration) == 0:
            yield place, "expected more than no time at all"


# --- cards and keys ---------------------------------------------------------------------------------------------


def _card_names(agreement: Agreement) -> Iterator[Finding]:
    for name, party in agreement.parties.items():
        if party.card.name != name:
            yield f"parties.{name}.card", f"this is the card of {party.card.name}, not of {name}: use the same name"
    names = [card.name for card in agreement.witnesses.cards]
    for index, name in enumerate(names):
        if name in names[:index]:
            yield f"witnesses.cards.{index}", f"the witness {name} stands twice: each counts once"


def _keys(agreement: Agreement) -> Iterator[Finding]:
    """Every public key is one, and no two cards share any: who has one key must not count as two."""
    seen: dict[bytes, str] = {}
    for place, owner, card in _cards(agreement):
        try:
            keys = _public_keys(card)
        except (ValueError, LogError, UnsupportedAlgorithm):
            yield place, f"a public key in the card of {owner} is broken: ask for the card again"
            continue
        if len(set(keys)) != len(keys):
            yield place, f"the card of {owner} uses one key for two purposes: ask for a new card"
        for key in dict.fromkeys(keys):
            if key in seen:
                yield place, f"the cards of {seen[key]} and {owner} hold the same key: each needs its own"
                break
        seen.update({key: owner for key in keys if key not in seen})
        if isinstance(card, PartyCard) and card.recovery == canonical.digest(card.keys.to_json()):
            yield place, f"the recovery key of {owner} is its daily key: a recovery key is another one, kept offline"


def _cards(agreement: Agreement) -> Iterator[tuple[str, str, PartyCard | HostCard | WitnessCard]]:
    for name, party in agreement.parties.items():
        yield f"parties.{name}.card", name, party.card
    yield "host.card", f"the host {agreement.host.card.name}", agreement.host.card
    for index, card in enumerate(agreement.witnesses.cards):
        yield f"witnesses.cards.{index}", f"the witness {card.name}", card


def _public_keys(card: PartyCard | HostCard | WitnessCard) -> list[bytes]:
    """The raw public keys of a card, its recovery digest among them, each loaded once to see that it is a key."""
    match card:
        case PartyCard():
            return [*_signing_keys(card.keys), *_sealing_keys(card.sealing), bytes.fromhex(card.recovery)]
        case HostCard():
            log_key = parse_verifier_key(card.log_key)
            if log_key.type != ED25519 or log_key.name != card.origin:
                raise MalformedError("a host's log key is an Ed25519 key named like the log's origin")
            return [*_signing_keys(card.keys), log_key.public]
        case _:
            cosigner = parse_verifier_key(card.cosigner)
            if cosigner.type not in COSIGNATURES:
                raise MalformedError("a witness' key makes cosignatures")
            if cosigner.type == COSIGNATURE_MLDSA44:
                mldsa.MLDSA44PublicKey.from_public_bytes(cosigner.public)
            else:
                ed25519.Ed25519PublicKey.from_public_bytes(cosigner.public)
            return [cosigner.public]


def _signing_keys(keys: SigningKeys) -> list[bytes]:
    found = [unb64(keys.ed25519)]
    ed25519.Ed25519PublicKey.from_public_bytes(found[0])
    if keys.mldsa65:
        found.append(unb64(keys.mldsa65))
        mldsa.MLDSA65PublicKey.from_public_bytes(found[1])
    return found


def _sealing_keys(keys: SealingKey) -> list[bytes]:
    lattice, curve = unb64(keys.mlkem768), unb64(keys.x25519)
    mlkem.MLKEM768PublicKey.from_public_bytes(lattice)
    x25519.X25519PublicKey.from_public_bytes(curve)
    return [lattice, curve]


def _validity(agreement: Agreement) -> Iterator[Finding]:
    """Every card lasts as long as the agreement; one made on the agreement's first day is early enough."""
    span = agreement.valid
    for place, owner, card in _cards(agreement):
        valid: Validity = card.valid
        if datetime.fromisoformat(valid.from_).date() > span.start.date():
            yield place, f"the card of {owner} begins on {valid.from_}, after the agreement ({span.from_})"
        if datetime.fromisoformat(valid.to) < span.end.replace(microsecond=0):
            yield (
                place,
                (f"the card of {owner} ends on {valid.to}, before the agreement ({span.to}): ask for a longer one"),
            )


# --- witnesses, roles, pseudonyms -------------------------------------------------------------------------------


def _quorums(agreement: Agreement) -> Iterator[Finding]:
    n, k = len(agreement.witnesses.cards), agreement.witnesses.quorum
    if k > n:
        yield "witnesses.quorum", f"there are {n} witnesses, so {k} can never cosign"
    elif 2 * k <= n:
        yield (
            "witnesses.quorum",
            (
                f"{k} of {n} witnesses is too few: two such groups need not share a witness, so the host could show "
                f"different logs; ask for at least {n // 2 + 1}"
            ),
        )
    if (recovery := agreement.roles.recovery) and recovery.quorum > len(recovery.approvers):
        yield (
            "roles.recovery.quorum",
            f"there are {len(recovery.approvers)} recovery approvers, so {recovery.quorum} can never agree",
        )


def _pseudonyms(agreement: Agreement) -> Iterator[Finding]:
    providers: dict[str, set[str]] = {name: set() for name in agreement.pseudonyms}
    for name, dataset in agreement.datasets.items():
        if dataset.pseudonym is None:
            continue
        place = f"datasets.{name}.pseudonym"
        if dataset.pseudonym not in agreement.pseudonyms:
            yield place, f"there is no {dataset.pseudonym} under pseudonyms: describe it there, or correct the name"
            continue
        providers[dataset.pseudonym].add(dataset.provider)
        yield from _drawing(agreement, name, dataset.pseudonym)
        sharers = agreement.pseudonyms[dataset.pseudonym].shared_by
        if dataset.provider in agreement.parties and dataset.provider not in sharers:
            yield place, f"{dataset.provider} is not among those who share the key of {dataset.pseudonym}: add it there"
    for name, group in agreement.pseudonyms.items():
        for index, sharer in enumerate(group.shared_by):
            if sharer in agreement.parties and sharer not in providers[name]:
                # whoever holds the linkage key can try identifiers one by one: nobody holds it without need
                yield (
                    f"pseudonyms.{name}.shared_by.{index}",
                    f"{sharer} would hold the key of the pseudonyms but provides no dataset that uses it: leave it out",
                )


def _drawing(agreement: Agreement, dataset: str, group: str) -> Iterator[Finding]:
    """A key that an enclave draws is for one provider, and drawn by a task for just that dataset."""
    terms, place = agreement.pseudonyms[group], f"pseudonyms.{group}"
    if terms.drawn_by is None:
        return
    drawing = agreement.tasks.get(terms.drawn_by)
    if drawing is None or drawing.statistic != PERIOD_KEYS:
        yield f"{place}.drawn_by", f"there is no task {terms.drawn_by} that computes {PERIOD_KEYS}: describe it"
    elif list(drawing.inputs.values()) != [dataset]:
        yield f"{place}.drawn_by", f"the task {terms.drawn_by} must have {dataset} as its one input"
    if len(terms.shared_by) != 1:
        yield f"{place}.shared_by", "a key that an enclave draws is for one provider: name that one alone"
    if agreement.datasets[dataset].period != "day":
        yield f"datasets.{dataset}.period", "pseudonyms whose key an enclave draws are for a day: deliver by day"


# --- tasks ------------------------------------------------------------------------------------------------------


def _tasks(agreement: Agreement) -> Iterator[Finding]:
    for name, task in agreement.tasks.items():
        place = f"tasks.{name}"
        yield from _inputs(agreement, task, place)
        yield from _holders(agreement, task, place)
        if agreement.host.operated_by in task.keepers and not agreement.needed_keepers(name):
            yield (
                f"{place}.keepers",
                (
                    f"every keeper is {agreement.host.operated_by}, which also operates the host: "
                    "name a keeper outside that house"
                ),
            )
        yield from _report(agreement, task, place)
        for parameter in task.open_parameters:
            if parameter in task.parameters:
                yield f"{place}.open_parameters", f"{parameter} is open and fixed at once: choose one"
        for table, release in task.releases.items():
            at = f"{place}.releases.{table}"
            if release.minimum_part is not None and release.minimum_part > release.minimum:
                yield f"{at}.minimum_part", "a part's minimum above the whole's: no table could meet it"
            if release.complementary and release.minimum == 1 and (release.minimum_part or 1) == 1:
                yield f"{at}.complementary", "nothing is ever suppressed with a minimum of 1: raise the minimum"


def _report(agreement: Agreement, task: Task, place: str) -> Iterator[Finding]:
    """What a task with state, or one that draws keys, must and must not have."""
    if task.statistic == PERIOD_KEYS:
        if len(task.inputs) != 1:
            yield f"{place}.inputs", "a task that draws keys is for one dataset: name that one"
        if not any(
            group.drawn_by and agreement.tasks.get(group.drawn_by) is task for group in agreement.pseudonyms.values()
        ):
            yield place, "no pseudonyms say drawn_by: this task, so nobody needs its keys: leave it out"
        for name in ("parameters", "releases", "open_parameters", "report"):
            if getattr(task, name):
                yield f"{place}.{name}", f"a task that draws keys has no {name}: leave it out"
        return
    if not task.releases:
        yield f"{place}.releases", "nobody receives a table of this task: name who receives which"
    if task.report is None:
        return
    if task.open_parameters:
        yield f"{place}.open_parameters", "the days of one report share their parameters: fix them all, open none"
    if task.runs_per_period != 1:
        yield f"{place}.runs_per_period", "a report is made once, since its days are forgotten with it: write 1"
    wanted = "month" if task.report == "month" else "range"
    for name, dataset in task.inputs.items():
        terms = agreement.datasets.get(dataset)
        if terms is not None and terms.period not in ("day", wanted):
            yield (
                f"{place}.inputs.{name}",
                f"{dataset} comes by {terms.period}: expected day, or {wanted} as the report",
            )


def _inputs(agreement: Agreement, task: Task, place: str) -> Iterator[Finding]:
    known: dict[str, str] = {}
    for name, dataset in task.inputs.items():
        if dataset not in agreement.datasets:
            yield f"{place}.inputs.{name}", f"there is no dataset {dataset}: describe it there, or correct the name"
        elif dataset in known.values():
            yield f"{place}.inputs.{name}", f"the dataset {dataset} is already another input of this task"
        else:
            known[name] = dataset
    if not known:
        return
    first = agreement.datasets[next(iter(known.values()))]
    group = next(
        (agreement.datasets[dataset].pseudonym for dataset in known.values() if agreement.datasets[dataset].pseudonym),
        None,
    )
    for name, dataset in known.items():
        given = agreement.datasets[dataset]
        if given.period != first.period and task.report is None:
            yield (
                f"{place}.inputs.{name}",
                f"one run is for one period, but {dataset} comes by {given.period} and others by {first.period}",
            )
        if given.pseudonym is not None and given.pseudonym != group:
            yield (
                f"{place}.inputs.{name}",
                (
                    f"{dataset} has the pseudonyms of {given.pseudonym}, another input those of {group}: "
                    "they could never be linked"
                ),
            )


def _holders(agreement: Agreement, task: Task, place: str) -> Iterator[Finding]:
    n, t = len(task.holders.of), task.holders.threshold
    at = f"{place}.holders.threshold"
    if t > n:
        yield at, f"there are {n} holders, so {t} can never open anything"
    elif t == 1:
        yield at, "with a threshold of 1 any holder alone could open everything: ask for at least 2"
    elif n > 2 and 2 * t <= n:
        yield at, f"{t} of {n} holders is not a majority, so two groups could open two runs: ask for {n // 2 + 1}"
    owners = dict.fromkeys(
        agreement.datasets[dataset].provider for dataset in task.inputs.values() if dataset in agreement.datasets
    )
    for owner in owners:
        if owner not in agreement.parties:
            continue
        if owner not in task.holders.of:
            yield f"{place}.holders.of", f"{owner} provides data of this task and must be one of its holders: add it"
        if owner not in agreement.roles.approvers:
            yield "roles.approvers", f"{owner} provides data and must approve the agreement: add it"


# --- text and size ----------------------------------------------------------------------------------------------


def _text(agreement: Agreement) -> Iterator[Finding]:
    """What people read is what is signed: no control characters, nothing that reorders the line."""
    for place, text in _texts(agreement.to_json(), ""):
        if any(unicodedata.category(sign) == "Cc" and sign not in "\n\t" for sign in text):
            yield place, "the text holds a control character: write it anew"
        elif any(sign in _REORDERING for sign in text):
            yield place, "the text holds an invisible sign that changes the reading order: write it anew"


def _texts(value: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield place, key
            yield from _texts(item, f"{place}.{key}" if place else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, f"{place}.{index}")


def _size(agreement: Agreement) -> Iterator[Finding]:
    try:
        size_bytes = len(canonical.encode(agreement.to_json()))
    except MalformedError:
        yield "", "the agreement has no canonical form: parameters are text, whole numbers, lists and fields"
        return
    if size_bytes > BODY_LIMIT_BYTES:
        yield (
            "",
            (
                f"the agreement with its cards and tables has {size_bytes} bytes, the limit is {BODY_LIMIT_BYTES}: "
                "make the tables smaller"
            ),
        )


_RULES = (
    _version,
    _card_names,
    _keys,
    _validity,
    _quorums,
    _names,
    _durations,
    _pseudonyms,
    _tasks,
    _text,
    _size,
    machines,
)


# --- what the code at hand can compute --------------------------------------------------------------------------


def _statistics(agreement: Agreement, catalogue: Catalogue) -> Iterator[Finding]:
    schemas = catalogue.schema_names()
    for name, dataset in agreement.datasets.items():
        if dataset.table not in schemas:
            yield f"datasets.{name}.schema", f"there is no schema {dataset.table}: known are {_listed(schemas)}"
        else:
            by_period_key = catalogue.by_period_key(dataset.table)
            yield from _identifier_fits(agreement, name, catalogue.identifier(dataset.table), by_period_key)
    for name, task in agreement.tasks.items():
        if task.statistic == PERIOD_KEYS:
            continue
        statistic = catalogue.statistic(task.statistic)
        if statistic is None:
            yield f"tasks.{name}.statistic", f"there is no statistic {task.statistic}: see `sealstat statistic list`"
        else:
            yield from _task_fits(agreement, task, statistic, f"tasks.{name}")


def _identifier_fits(
    agreement: Agreement, name: str, identifier: tuple[str, int] | None, by_period_key: bool
) -> Iterator[Finding]:
    """What is signed about pseudonyms is what the schema's code does."""
    dataset, place = agreement.datasets[name], f"datasets.{name}.pseudonym"
    group = agreement.pseudonyms.get(dataset.pseudonym or "")
    if identifier is None:
        if dataset.pseudonym is not None:
            yield place, f"a table of the schema {dataset.table} has no identifier to replace: leave the pseudonym out"
    elif dataset.pseudonym is None:
        yield place, f"{identifier[0]} would not be replaced: name a pseudonym that is described under pseudonyms"
    elif group is not None and (group.of, group.keep_prefix) != identifier:
        column, keep = identifier
        yield (
            f"pseudonyms.{dataset.pseudonym}",
            f"the schema {dataset.table} keeps {keep} digits of {column}: write {{of: {column}, keep_prefix: {keep}}}",
        )
    elif group is not None and by_period_key != (group.drawn_by is not None):
        whose = "an enclave draws: say drawn_by" if by_period_key else "the providers make: leave drawn_by out"
        yield f"pseudonyms.{dataset.pseudonym}", f"the schema {dataset.table} has pseudonyms under a key that {whose}"


def _task_fits(agreement: Agreement, task: Task, statistic: Statistic, place: str) -> Iterator[Finding]:
    for name, dataset in task.inputs.items():
        wanted = statistic.inputs.get(name)
        if wanted is None:
            yield f"{place}.inputs.{name}", f"the statistic has no input {name}: it has {_listed(statistic.inputs)}"
        elif dataset in agreement.datasets and agreement.datasets[dataset].table != wanted:
            yield f"{place}.inputs.{name}", f"the input {name} wants a dataset with the schema {wanted}"
    daily = {name for name, dataset in task.inputs.items() if _comes_daily(agreement, dataset)}
    if statistic.day is None and task.report is not None:
        yield f"{place}.report", "this statistic takes in no days one after another: leave the report out"
    elif statistic.day is not None and task.report is None:
        yield place, "this statistic takes in day after day: say report: month, or report: and a range of days"
    elif statistic.day is not None and daily != {statistic.day}:
        yield f"{place}.inputs", f"the input {statistic.day}, and no other, must be a dataset that comes by day"
    missing = [name for name in statistic.inputs if name not in task.inputs]
    if not task.open_parameters:  # what a run may still choose could want any input
        missing = statistic.missing_inputs(task.inputs, task.parameters)
    for name in missing:
        yield f"{place}.inputs", f"the input {name} is missing: name a dataset for it"
    for sentence in statistic.parameter_problems(dict(task.parameters)):
        name = sentence.partition(":")[0]
        if name not in task.open_parameters:
            at = f"{place}.parameters"
            yield f"{at}.{name}" if name in task.parameters else at, sentence
    for table in task.releases:
        if table not in statistic.tables:
            yield f"{place}.releases.{table}", f"the statistic has no table {table}: it has {_listed(statistic.tables)}"
        elif statistic.tables[table] is None:
            yield (
                f"{place}.releases.{table}",
                "no column of this table counts its contributors, so no minimum can be applied: leave it out",
            )


def _comes_daily(agreement: Agreement, dataset: str) -> bool:
    return dataset in agreement.datasets and agreement.datasets[dataset].period == "day"


def _listed(names: Collection[str] | Mapping[str, Any]) -> str:
    return ", ".join(sorted(names)) or "none"
