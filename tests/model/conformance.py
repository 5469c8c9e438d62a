"""Whether the real ``View`` and the real programs are what the model says: of a log, leaf by leaf.

`compare` reads statements with both and says where they part. `check_moves` looks whether what honest parties said in
a log is something that the model's parties may say. Of requests, deliveries and challenges the View's word is taken:
who may ask for what is no part of the model.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from model.log import LEAVES, Facts, Leaf, Terms, has_keys, live, read, read_all
from model.protocol import may_release
from sealstat.agreement.replay import View
from sealstat.crypto import statement as envelopes
from sealstat.crypto.statement import Statement


class Drifted(Exception):  # noqa: N818 - it is what has happened
    """Model and code say different things of one log."""


class Model:
    """The model's reading of one task of an agreement."""

    def __init__(self, view: View, task: str) -> None:
        self.name, said, agreed = task, view.agreement.tasks[task], view.agreement
        self.terms = Terms(
            approvers=frozenset(agreed.roles.approvers),
            runners=frozenset(said.runners),
            owners=frozenset(agreed.owners(task)),
            holders=tuple(said.holders.of),
            threshold=said.holders.threshold,
            keepers=frozenset(agreed.needed_keepers(task)),
        )
        self.facts = Facts()
        self.leaves: list[Leaf] = []

    def take(self, leaf: Leaf | None) -> None:
        """Read the next leaf; None is one that is none of the model's business."""
        if leaf is not None:
            self.leaves.append(leaf)
            self.facts = read(self.terms, self.facts, leaf)


def leaf_of(view: View, statement: Statement, task: str) -> Leaf | None:
    """A statement as the model's leaf; ``view`` has just read it."""
    said, by = statement.body, view.who(statement.by) or statement.by
    if statement.type in ("withdrawal", "successor"):
        return (statement.type, by, *([said["new"]] if "new" in said else []))
    if statement.type == "run-request":
        request = view.requests.get(statement.id)
        if request is None or request.body.task != task or request.body.action not in LEAVES:
            return None
        needs = [(id, view.deliveries[id].entry.by) for id in request.body.deliveries]
        if request.body.action == "key":
            needs = [(request.id, owner) for owner in view.owners(request)]
        shared = view.needed_shares(request).items()
        keys = [(of, tuple(holders.of), holders.threshold) for of, holders in shared if of != _newest(view, task)]
        return ("request", statement.id, request.body.action, tuple(needs), tuple(keys))
    if statement.type == "enclave-evidence":
        named = [view.challenges[id].body for id in said["challenges"] if id in view.challenges]
        # a counter on which its challenges agree is its own; without one it is void
        agreed = {(each.request, each.c) for each in named}
        if len(named) != len(said["challenges"]) or agreed != {(said["request"], named[0].c)}:
            return None
        return ("evidence", statement.by, said["request"], named[0].c)
    if statement.type == "key-release":
        return _release(view, said, by, task)
    if statement.by in view.instances and view.instances[statement.by].task != task:
        return None  # of another task
    if statement.type == "run-record":
        return ("record", statement.by, statement.id)
    if statement.type == "refusal":
        own = statement.by in view.instances
        if own and said["of"] != view.instances[statement.by].request.id:
            return None
        return ("refusal", by, by if own else said["of"])
    if said.get("record") in view.records and view.instance_of(said["record"]).task != task:
        return None
    about = {"kept": "record", "abandon": "instance", "result-release": "record"}.get(statement.type)
    return (statement.type, by, said[about]) if about else None


def _release(view: View, said: dict[str, Any], by: str, task: str) -> Leaf | None:
    what: tuple[str, str] | None = ("key", said.get("delivery") or said["request"])
    if said.get("state"):
        what = ("share", "state") if said["state"] == _newest(view, task) else None
    elif said.get("period_key"):
        what = ("share", said["period_key"])
    instance = view.instances.get(said["instance"])
    if what is None or instance is None or (instance.request.id, instance.task) != (said["request"], task):
        return None
    return (what[0], by, said["instance"], said["c"], *what[1:])


def _newest(view: View, task: str) -> str | None:
    """The digest of a task's newest state."""
    record = view.state_record(task)
    return record.body.state.digest if record is not None and record.body.state is not None else None


def compare(chain: list[Statement], statements: Iterable[Statement], task: str) -> Model:
    """Read a log with both, and compare after every leaf; what the model read.

    Raises:
        Drifted: they differ.
    """
    view = View(chain)
    model = Model(view, task)
    for statement in statements:
        view.add(statement.id, statement.type, statement.to_bytes())
        model.take(leaf_of(view, statement, task))
        real, ours = of_view(view, task), of_model(model)
        if real != ours:
            wrong = {name: (real[name], ours[name]) for name in real if real[name] != ours[name]}
            raise Drifted(f"after leaf {view.size - 1} ({statement.type}) view and model say {wrong}")
    return model


def of_view(view: View, task: str) -> dict[str, object]:
    """What the code says of a task."""
    live_now = view.live(task)
    mine = {name: instance for name, instance in view.instances.items() if instance.task == task}
    counting = view.tasks[task].counting if task in view.tasks else []
    records = {id for id, (_, instance) in view.records.items() if instance.task == task and not instance.over}
    return {
        "counter": view.counter(task),
        "counting": list(counting),
        "live": live_now.fingerprint if live_now else None,
        "over": {name for name, instance in mine.items() if instance.over},
        "instances": {(name, instance.request.id, instance.c) for name, instance in mine.items()},
        "records": records,
        "counts": {id for id in view.records if view.counts(id)} & set(counting),
        "ended": view.id in view.withdrawals or view.superseded(),
    }


def of_model(model: Model) -> dict[str, object]:
    """What the model says of it."""
    facts = model.facts
    return {
        "counter": facts.counter,
        "counting": list(facts.counting),
        "live": live(facts),
        "over": {name for name, run in facts.runs if run.over},
        "instances": {(name, run.request, run.c) for name, run in facts.runs},
        "records": {run.record for _, run in facts.runs if run.record is not None},
        "counts": set(facts.counting),
        "ended": facts.ended,
    }


def check_moves(model: Model, honest: Iterable[str]) -> int:
    """Check that each thing honest parties and instances said could be said in the model; how many there were.

    Somebody who spoke had read the log up to some place before its word's leaf, and knew its own words: there must be
    such a place where the model lets it speak.

    Raises:
        Drifted: there is none.
    """
    leaves, checked = model.leaves, 0
    seen = [read_all(model.terms, Facts(), tuple(leaves[:upto])) for upto in range(len(leaves) + 1)]
    for index, leaf in enumerate(leaves):
        type, by, *about = leaf
        if type in ("key", "share") and by in honest:
            fine = any(
                may_release(read_all(model.terms, seen[upto], _own(leaves[upto:index], by)), about[0])
                for upto in range(index + 1)
            )
        elif type == "record":
            fine = any(_may_record(model.terms, facts, by) for facts in seen[: index + 1])
        elif type == "kept" and by in honest:
            fine = any(run.record == about[0] for facts in seen[: index + 1] for _, run in facts.runs)
        elif type == "result-release" and by in honest:
            fine = any(about[0] in facts.counting and about[0] not in facts.stopped for facts in seen[: index + 1])
        else:
            continue
        checked += 1
        if not fine:
            raise Drifted(f"leaf {index} ({type} by {by}) could not be said, wherever its signer had read to")
    return checked


def _may_record(terms: Terms, facts: Facts, instance: str) -> bool:
    run = facts.run(instance)
    return run is not None and not run.over and live(facts) == instance and has_keys(terms, facts, run)


def _own(leaves: Sequence[Leaf], by: str) -> tuple[Leaf, ...]:
    return tuple(leaf for leaf in leaves if leaf[0] in ("key", "share") and leaf[1] == by)


def read_by(home: Path, agreement: str) -> tuple[list[Statement], list[Statement]]:
    """What a party's agent has read: the chain of the agreement, and its statements in the order of their leaves."""
    ledger = sqlite3.connect(f"file:{home / 'party.db'}?mode=ro", uri=True)
    try:
        chain = ledger.execute("SELECT envelope FROM chain WHERE agreement = ? ORDER BY place", (agreement,)).fetchall()
        said = ledger.execute("SELECT envelope FROM said WHERE agreement = ? ORDER BY leaf", (agreement,)).fetchall()
    finally:
        ledger.close()
    return [envelopes.parse(each) for (each,) in chain], [envelopes.parse(each) for (each,) in said]


def check_log(home: Path, agreement: str, task: str, *, honest: Iterable[str]) -> Model:
    """Compare view and model over a real log as a party's agent has read it, and check what honest parties said.

    Raises:
        Drifted: they differ somewhere.
    """
    model = compare(*read_by(home, agreement), task)
    check_moves(model, list(honest))
    return model
