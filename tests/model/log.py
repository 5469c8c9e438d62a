"""What a log says of one task: protocol.md sections 4, 6 and 8 once more, as small as they can be written.

This is the oracle that the real ``View`` is compared with (conformance.py), and the log of the model (protocol.py).
It knows no cryptography, bodies or parties beyond names. A leaf is a tuple: its type, who says it, what about:

    ("request", r, action, needs, keys)   needs: the deliveries as ((delivery, owner), ...); of a run that draws a
                                          key, itself; keys: of pseudonyms, as ((key, holders, threshold), ...)
    ("evidence", i, r, c)                 an instance i; c as in the challenges it names
    ("key", owner, i, c, delivery)        key-release of a delivery
    ("share", holder, i, c, of)           key-release of a share of the newest state ("state", if left out) or a key
    ("record", i, id)
    ("kept", keeper, id)
    ("refusal", who, of)                  of == who: an instance's own; else an owner's, of a record
    ("abandon", who, i)
    ("withdrawal", who)
    ("successor", who, new)
    ("result-release", holder, id)

A record of a real log has an id of its own; in the model an instance's record is called like the instance.
"""

from functools import lru_cache
from typing import NamedTuple

Leaf = tuple  # of strings, numbers, and of the tuple that a request needs
LEAVES = {
    "run": {"result"},
    "ingest": {"state"},
    "finish": {"result"},
    "cancel": set(),
    "key": set(),
}  # what a record leaves behind
NONE: frozenset[str] = frozenset()


class Terms(NamedTuple):
    """What the agreement says of the task."""

    approvers: frozenset[str]
    runners: frozenset[str]
    owners: frozenset[str]
    holders: tuple[str, ...]
    threshold: int
    keepers: frozenset[str]  # those whose `kept` is needed
    without: frozenset[str] = NONE  # rules that a variant lacks, to see that the checks can fail


class Request(NamedTuple):
    """What a run is asked for."""

    action: str
    needs: tuple[tuple[str, str], ...]
    keys: tuple[tuple[str, tuple[str, ...], int], ...] = ()


class Run(NamedTuple):
    """An instance, as far as the log knows it; of one that is over nothing more matters."""

    request: str
    c: int
    over: bool = False
    keys: frozenset[str] = NONE  # deliveries
    shares: frozenset[tuple[str, str]] = frozenset()  # of what, holder
    recorded: bool = False
    record: str | None = None  # the first, if it was in order at its leaf
    kept: frozenset[str] = NONE


class Facts(NamedTuple):
    """All that follows from the leaves up to some place."""

    requests: tuple[tuple[str, Request], ...] = ()
    runs: tuple[tuple[str, Run], ...] = ()
    order: tuple[str, ...] = ()  # instances that were released to, by the leaf of the first release
    counting: tuple[str, ...] = ()  # the record that counts, by c
    state: str | None = None  # the record that left the newest state
    answered: frozenset[str] = NONE  # requests
    stopped: frozenset[str] = NONE  # records whose release an owner refused
    successors: frozenset[tuple[str, str]] = frozenset()
    ended: bool = False

    @property
    def counter(self) -> int:
        """How many of the task's run-records count."""
        return len(self.counting)

    def run(self, instance: str) -> Run | None:
        for name, run in self.runs:
            if name == instance:
                return run
        return None

    def request(self, name: str) -> Request | None:
        return next((request for known, request in self.requests if known == name), None)


def live(facts: Facts) -> str | None:
    """Of the instances that are not over, the one whose first key-release stands first."""
    for instance in facts.order:
        run = facts.run(instance)
        if run is not None and not run.over and run.c == facts.counter:
            return instance
    return None


def has_keys(terms: Terms, facts: Facts, run: Run) -> bool:
    """Whether it stands behind key-releases by every needed owner and, with state, enough holders."""
    request = facts.request(run.request)
    assert request is not None
    owners = all(delivery in run.keys for delivery, _ in request.needs)
    return owners and all(
        sum(given == of for given, _ in run.shares) >= threshold for of, _, threshold in shared(terms, facts, request)
    )


def shared(terms: Terms, facts: Facts, request: Request) -> tuple[tuple[str, tuple[str, ...], int], ...]:
    """Of what the run needs shares, who holds them, and of how many."""
    newest = (("state", terms.holders, terms.threshold),) if facts.state is not None else ()
    return (*newest, *request.keys)


@lru_cache(maxsize=1_000_000)
def read(terms: Terms, facts: Facts, leaf: Leaf) -> Facts:
    """What follows with one leaf more; a leaf that means nothing changes nothing."""
    type, by, *about = leaf
    if type == "request":
        return facts._replace(requests=(*facts.requests, (by, Request(*about))))
    if type == "evidence":
        return _evidence(facts, by, *about)
    if type in ("key", "share"):
        return _release(terms, facts, type, by, *about)
    if type == "record":
        return _record(terms, facts, by, *about)
    if type == "kept":
        return _kept(terms, facts, by, *about)
    if type == "refusal":
        return _refusal(terms, facts, by, *about)
    if type == "abandon" and by in terms.runners | terms.owners | set(terms.holders):
        return _over(terms, facts, *about)
    if type == "withdrawal" and by in terms.approvers:
        return facts._replace(ended=True)
    if type == "successor" and by in terms.approvers:
        named = facts.successors | {(by, about[0])}
        return facts._replace(
            successors=named, ended=facts.ended or all((who, about[0]) in named for who in terms.approvers)
        )
    return facts


def read_all(terms: Terms, facts: Facts, leaves: tuple[Leaf, ...]) -> Facts:
    for leaf in leaves:
        facts = read(terms, facts, leaf)
    return facts


def _evidence(facts: Facts, instance: str, request: str, c: int) -> Facts:
    if facts.run(instance) is not None or facts.request(request) is None:
        return facts
    return _with(facts, instance, Run(request, c, over=c < facts.counter))


def _release(terms: Terms, facts: Facts, type: str, by: str, instance: str, c: int, of: str = "state") -> Facts:
    run = facts.run(instance)
    # behind that instance's evidence; it names c and is nothing where c is not the counter at its leaf
    if run is None or run.over or not c == run.c == facts.counter:
        return facts
    request = facts.request(run.request)
    assert request is not None
    if type == "key" and (of, by) in request.needs:
        run = run._replace(keys=run.keys | {of})
    elif type == "share" and any(of == key and by in holders for key, holders, _ in shared(terms, facts, request)):
        run = run._replace(shares=run.shares | {(of, by)})
    else:
        return facts
    facts = _with(facts, instance, run)
    return facts if instance in facts.order else facts._replace(order=(*facts.order, instance))


def _record(terms: Terms, facts: Facts, instance: str, id: str) -> Facts:
    run = facts.run(instance)
    if run is None or run.recorded:  # the first of its instance, or none
        return facts
    run = run._replace(recorded=True)
    if not run.over and live(facts) == instance and has_keys(terms, facts, run):
        run = run._replace(record=id)
    return _settle(terms, _with(facts, instance, run), instance)


def _kept(terms: Terms, facts: Facts, keeper: str, record: str) -> Facts:
    if keeper in terms.keepers:
        for instance, run in facts.runs:
            if run.record == record:
                facts = _with(facts, instance, run._replace(kept=run.kept | {keeper}))
                return _settle(terms, facts, instance)
    return facts


def _settle(terms: Terms, facts: Facts, instance: str) -> Facts:
    """From the leaf of the last needed `kept` on it counts, if still live there and nothing has ended the agreement."""
    run = facts.run(instance)
    assert run is not None
    request = facts.request(run.request)
    assert request is not None
    leaves = LEAVES[request.action]
    needed = terms.keepers if leaves and "kept" not in terms.without else NONE  # no ciphertext: from its own leaf
    if run.record is None or needed - run.kept or live(facts) != instance or facts.ended:
        return facts
    facts = facts._replace(
        counting=(*facts.counting, run.record),
        state=run.record if "state" in leaves else None,
        answered=facts.answered | {run.request},
    )
    for other, its in facts.runs:  # every instance of c is over once a record for c counts
        if its.c < facts.counter:
            facts = _with(facts, other, Run(its.request, its.c, over=True))
    return facts._replace(order=())


def _refusal(terms: Terms, facts: Facts, by: str, of: str) -> Facts:
    if by == of:
        return _over(terms, facts, by)
    known = of in facts.counting or any(run.record == of for _, run in facts.runs)
    return facts._replace(stopped=facts.stopped | {of}) if known and by in terms.owners else facts


def _over(terms: Terms, facts: Facts, instance: str) -> Facts:
    run = facts.run(instance)
    if run is None:
        return facts
    if "forever" in terms.without and facts.counting and facts.counting[-1] == instance:
        # a variant: an abandon undoes what counted
        return facts._replace(counting=facts.counting[:-1], state=None, answered=facts.answered - {run.request})
    if run.over:
        return facts
    facts = _with(facts, instance, Run(run.request, run.c, over=True))
    return facts._replace(order=tuple(name for name in facts.order if name != instance))


def _with(facts: Facts, instance: str, run: Run) -> Facts:
    runs = dict(facts.runs) | {instance: run}
    return facts._replace(runs=tuple(sorted(runs.items())))
