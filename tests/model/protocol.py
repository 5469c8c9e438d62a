"""The release protocol as a machine small enough to try everything: protocol.md sections 6 to 8, one task.

The host orders and withholds leaves as it likes, and shows every honest holder its own, older end of the log; an
instance can be frozen or die anywhere (it then does nothing more); anyone may abandon any instance at any time. A
lying holder gives its share of anything to anyone, and tells the consumers its share of every result at once.

What is left out, and why no behaviour gets lost by it:

* Challenge, evidence and record get their leaf when they are sent. Nobody acts on one that has no leaf, so a delay is
  a later sending; a challenge that is older than its evidence only serves less.
* A reader reads on when it acts. What it read in between decides nothing; see `_settled` for what it reads at once.
* An instance reads the log up to its last needed release and may be frozen there: it sends its record whatever has
  come since. A record of one that is not live at its leaf is void, so that leaf is left out.
* An agent that crashes between writing a release down and sending it, and then does not send it, has done less than
  one whose release the host withholds: both count it at the end of whatever they read.
* An instance's own refusal has the effect of an `abandon` and stands for it.
* Ciphertexts at the host may be lost at any time: the properties rely on those of the keeper alone.
"""

from collections.abc import Iterator
from typing import NamedTuple

from model.log import LEAVES, NONE, Facts, Leaf, Request, Terms, has_keys, live, read, read_all

ABANDON, WITHDRAW = ("abandon", "ministry"), ("withdrawal", "ministry")
KEEPER = "keeper"


class Setting(NamedTuple):
    """What is played: who holds, who lies, what is asked for, how many instances there are."""

    terms: Terms
    requests: tuple[tuple[str, Request], ...]
    instances: tuple[str, ...]
    liars: frozenset[str] = NONE
    start: int = 1  # the counter to begin with; from 1 on there is a state
    stops: bool = False  # whether owners refuse records
    apart: bool = False  # whether an owner that holds a share gives key and share in two statements
    reuse: bool = False  # whether a challenge serves more than one release
    lying_keeper: bool = False  # whether it says `kept` of what it has not
    calm: bool = False  # nobody abandons, nobody withdraws
    without: frozenset[str] = NONE  # rules that a variant lacks

    @property
    def honest(self) -> tuple[str, ...]:
        return tuple(name for name in self.terms.holders if name not in self.liars)


class Holder(NamedTuple):
    """An honest holder's agent (owners are holders, too): what it has read, said and stored."""

    read: int = 0  # leaves of the tail
    pending: tuple[tuple[Leaf, ...], ...] = ()  # sent, not logged; each entry is one act
    taken: int = 0  # counting records
    seals_from: int = 0  # of challenges for this c and later ones it still has the `seal_to` keys
    states: tuple[tuple[int, str], ...] = ()  # shares of states: c, the record that left it
    results: tuple[tuple[int, str], ...] = ()  # shares of results: c, the record


class State(NamedTuple):
    """Everything at one moment. The log is `base` and the leaves of `tail`; `base` is read by all."""

    base: Facts
    tail: tuple[Leaf, ...]
    holders: tuple[Holder, ...]
    asked: frozenset[tuple[str, str]] = frozenset()  # holder, instance: names a challenge that may serve it
    served: frozenset[tuple[str, str]] = frozenset()  # holder, instance: the challenge it was served for
    keeping: frozenset[str] = NONE  # records whose `kept` was sent and has no leaf
    has: frozenset[str] = NONE  # records whose ciphertexts the keeper has
    given: frozenset[tuple[str, int, str]] = frozenset()  # holder, c, record: shares of results given to the consumers
    placed: tuple[tuple[str, int, tuple[Leaf, ...]], ...] = ()  # of a variant: who sent what where the log ended


Move = tuple[str, State]


def begin(setting: Setting) -> State:
    """The counter stands at `start`; from 1 on there is a state, kept and with a share at every holder."""
    counting = tuple(f"record {c}" for c in range(setting.start))
    state = counting[-1] if counting and any(request.action != "run" for _, request in setting.requests) else None
    states = ((setting.start, state),) if state else ()
    holder = Holder(taken=setting.start, seals_from=setting.start, states=states)
    base = Facts(requests=setting.requests, counting=counting, state=state)
    return State(base, (), (holder,) * len(setting.honest), has=frozenset([state] if state else []))


def end(setting: Setting, state: State) -> Facts:
    """What the whole log says."""
    return read_all(setting.terms, state.base, state.tail)


def moves(setting: Setting, state: State) -> Iterator[Move]:
    """Everything that can happen next."""
    facts = end(setting, state)
    if not facts.ended:  # or nothing counts any more: what is left is to take and to give what does
        yield from _instances(setting, state, facts)
        yield from _host(setting, state, facts)
        yield from _liars(setting, state, facts)
    for place, name in enumerate(setting.honest):
        yield from _holder(setting, state, place, name)


# -- the host, instances, the keeper, everybody else ---------------------------------------------------------------


def _instances(setting: Setting, state: State, facts: Facts) -> Iterator[Move]:
    born = len(facts.runs)
    if born < len(setting.instances):
        for name, _ in facts.requests:
            if name not in facts.answered:
                yield (
                    f"evidence of {setting.instances[born]} for {name}",
                    show_evidence(setting, state, setting.instances[born], name),
                )
    for name, run in facts.runs:
        sends = live(facts) == name or setting.lying_keeper  # whose `kept` may give a void record a meaning somewhere
        if sends and not run.over and not run.recorded and has_keys(setting.terms, facts, run):
            yield f"record of {name}", log(setting, state, ("record", name, name))
        undone = "forever" in setting.terms.without and facts.counting[-1:] == (name,)
        if (not run.over or undone) and not setting.calm:
            yield f"abandon of {name}", log(setting, state, (*ABANDON, name))


def show_evidence(setting: Setting, state: State, name: str, request: str) -> State:
    """A new instance; of each honest holder it names a challenge that may serve it, if there can be one (6.2)."""
    facts, asked, served = end(setting, state), set(state.asked), set(state.served)
    for holder in setting.honest:
        mine = {(who, other) for who, other in served if who == holder and _same_request(facts, other, request)}
        if all(_over(facts, other) for _, other in mine) and "renewal" not in setting.without:
            served -= mine  # a new challenge, since the instance it served is over
            if mine:
                asked -= {
                    (who, other) for who, other in asked if who == holder and _same_request(facts, other, request)
                }
            mine = set()
        if not mine:
            asked.add((holder, name))
    state = state._replace(asked=frozenset(asked), served=frozenset(served))
    return log(setting, state, ("evidence", name, request, facts.counter))


def _host(setting: Setting, state: State, facts: Facts) -> Iterator[Move]:
    for place, holder in enumerate(state.holders):
        for act in range(len(holder.pending)):
            if _over(facts, holder.pending[act][0][2]):
                continue  # its leaf would mean nothing
            yield f"leaf of {_told(holder.pending[act])}", log_pending(setting, state, place, act)
    for record in state.keeping:
        yield f"leaf of kept {record}", log_kept(setting, state, record)
    for name, run in facts.runs:
        if run.record is not None and run.record not in state.has and not setting.lying_keeper:
            yield f"keeping {name}", keep(setting, state, run.record)
        lie = ("kept", KEEPER, name)
        if setting.lying_keeper and run.recorded and not run.over and not run.kept and lie not in state.tail:
            yield f"lying kept of {name}", log(setting, state, lie)
    if not setting.calm:
        yield "withdrawal", log(setting, state, WITHDRAW)
    if setting.stops:
        for owner in set(setting.honest) & setting.terms.owners:
            for record in {run.record for _, run in facts.runs if run.record} - facts.stopped:
                yield f"{owner} refuses {record}", log(setting, state, ("refusal", owner, record))


def log_pending(setting: Setting, state: State, place: int, act: int) -> State:
    """The host gives a sent release its leaf."""
    holder = state.holders[place]
    rest = holder.pending[:act] + holder.pending[act + 1 :]
    return log(setting, _put(state, place, holder._replace(pending=rest)), *holder.pending[act])


def keep(setting: Setting, state: State, record: str) -> State:
    """The keeper copies a record's ciphertexts and says so; it keeps state c until c+1 counts."""
    has = state.has | {record}
    if "keep until counted" in setting.without:
        has = has - {end(setting, state).state}
    return state._replace(has=frozenset(has), keeping=state.keeping | {record})


def log_kept(setting: Setting, state: State, record: str) -> State:
    return log(setting, state._replace(keeping=state.keeping - {record}), ("kept", KEEPER, record))


def _liars(setting: Setting, state: State, facts: Facts) -> Iterator[Move]:
    for liar in sorted(setting.liars):
        for name, run in facts.runs:
            if run.over or run.c != facts.counter:
                continue
            for leaf in release_of(setting, facts, liar, name):
                if read(setting.terms, facts, leaf) != facts:
                    yield f"leaf of {_told((leaf,))}", log(setting, state, leaf)


# -- an honest holder -----------------------------------------------------------------------------------------------


def _holder(setting: Setting, state: State, place: int, name: str) -> Iterator[Move]:
    holder = state.holders[place]
    reads = [_seen(setting, state, name, upto) for upto in range(len(state.tail) + 1)]
    for upto in range(holder.read, len(reads) if not reads[-1].ended else 0):
        for instance, _ in reads[upto].runs:
            for act in acts(setting, state, place, name, instance, reads[upto], upto):
                served = state.served | {(name, instance)}
                told = holder._replace(read=upto, pending=(*holder.pending, act))
                after = _put(state._replace(served=served), place, told)
                if "at the end" in setting.without:
                    after = after._replace(placed=tuple(sorted((*state.placed, (name, upto, act)))))
                yield f"{name}, having read {upto} of {len(state.tail)}: {_told(act)}", _settled(setting, after)
    for upto in range(holder.read, len(reads)):
        if reads[upto].counter > holder.taken:
            yield f"{name} takes record {holder.taken}", take(setting, state, place, upto, reads[upto])
            break
    if setting.without & {"counting first", "give once it counts"}:  # variants: takes what does not count yet
        for upto in range(holder.read, len(reads)):
            for _, run in reads[upto].runs:
                if run.record is not None and (holder.taken, run.record) not in holder.results:
                    yield f"{name} takes {run.record} early", take(setting, state, place, upto, reads[upto], run.record)
    for c, record in holder.results:
        facts = reads[holder.read]  # it took the record there, or has read further
        if may_give(setting, facts, record):
            results = tuple(each for each in holder.results if each != (c, record))
            after = state._replace(given=state.given | {(name, c, record)})
            yield f"{name} gives its share of result {record}", _put(after, place, holder._replace(results=results))


def acts(
    setting: Setting, state: State, place: int, name: str, instance: str, facts: Facts, upto: int
) -> list[tuple[Leaf, ...]]:
    """What a holder that has read so far would say now to release its keys and share to an instance (6.4)."""
    run, holder = facts.run(instance), state.holders[place]
    if run is None or run.over or run.c != facts.counter:
        return []
    unread = [leaf for leaf in state.tail[upto:] if leaf[0] in ("key", "share") and leaf[1] == name]
    unread += [leaf for act in holder.pending for leaf in act]
    judged = facts if "pending" in setting.without else read_all(setting.terms, facts, tuple(unread))
    if "no other live" in setting.without:
        judged = judged._replace(order=())
    if not may_release(judged, instance) or not _challenged(setting, state, facts, name, instance):
        return []
    already = {*unread, *(("key", name, instance, run.c, delivery) for delivery in run.keys)}
    already |= {("share", name, instance, run.c)} if ("state", name) in run.shares else set()
    due = [leaf for leaf in release_of(setting, facts, name, instance) if leaf not in already]
    if facts.state is not None and not any(record == facts.state for _, record in holder.states):
        due = [leaf for leaf in due if leaf[0] != "share"]  # it has none
    if setting.apart:
        return [(leaf,) for leaf in due]
    return [tuple(due)] if due else []


def say_releases(setting: Setting, state: State, place: int, instance: str) -> State:
    """A holder that has read as far as it has says all it would to an instance."""
    name, upto = setting.honest[place], state.holders[place].read
    facts = read_all(setting.terms, state.base, state.tail[:upto])
    for act in acts(setting, state, place, name, instance, facts, upto):
        holder = state.holders[place]
        state = _put(state, place, holder._replace(pending=(*holder.pending, act)))
        state = state._replace(served=state.served | {(name, instance)})
    return state


def may_release(facts: Facts, instance: str) -> bool:
    """Request valid, c the counter, no other instance live, by what was read and said (6.4)."""
    run = facts.run(instance)
    if run is None or run.over or run.c != facts.counter or run.request in facts.answered or facts.ended:
        return False
    return live(facts) in (None, instance)


def _challenged(setting: Setting, state: State, facts: Facts, name: str, instance: str) -> bool:
    """Whether the evidence names a challenge of this holder that has served no other instance (6.2)."""
    if setting.reuse or "no other live" in setting.without:
        return True
    run = facts.run(instance)
    assert run is not None
    mine = {other for who, other in state.served if who == name and _same_request(facts, other, run.request)}
    return (name, instance) in state.asked and mine <= {instance}


def release_of(setting: Setting, facts: Facts, name: str, instance: str) -> tuple[Leaf, ...]:
    """The key-releases that a party has to give to an instance."""
    run = facts.run(instance)
    assert run is not None
    request = facts.request(run.request)
    assert request is not None
    keys = [("key", name, instance, run.c, delivery) for delivery, owner in request.needs if owner == name]
    shared = facts.state is not None and name in setting.terms.holders
    return (*keys, *([("share", name, instance, run.c)] if shared else []))


def take(setting: Setting, state: State, place: int, upto: int, facts: Facts, early: str | None = None) -> State:
    """Take the next counting record: store the shares in it, destroy what is older (section 8).

    Args:
        early: a record that a variant takes though it does not count.
    """
    holder = state.holders[place]
    c = facts.counter - 1 if "in turn" in setting.without else holder.taken
    record = early or facts.counting[c]
    left, opens = _left(facts, record), holder.seals_from <= c
    states = holder.states if "destroy" in setting.without else ()
    after = holder._replace(
        read=upto,
        taken=c if "give once it counts" in setting.without else c + 1,
        seals_from=holder.seals_from if early or "destroy seals" in setting.without else c + 1,
        states=states + (((c + 1, record),) if "state" in left and opens else ()),
        results=tuple(sorted({*holder.results, *([(c, record)] if "result" in left and opens else [])})),
    )
    return _settled(setting, _put(state, place, after))


def _seen(setting: Setting, state: State, name: str, upto: int) -> Facts:
    """What a holder that has read so far takes the log to say."""
    if "at the end" not in setting.without:
        return read_all(setting.terms, state.base, state.tail[:upto])
    leaves: list[Leaf] = []  # a variant: its own releases stand where the log ended when it sent them
    for place in range(upto + 1):
        leaves += [leaf for who, at, act in state.placed if (who, at) == (name, place) for leaf in act]
        leaves += state.tail[place:upto][:1]
    return read_all(setting.terms, state.base, tuple(leaves))


def _left(facts: Facts, record: str) -> set[str]:
    """What a record left behind: it is called like its instance."""
    run = facts.run(record)
    request = facts.request(run.request) if run else None
    return LEAVES[request.action] if request else {"state"}


def may_give(setting: Setting, facts: Facts, record: str) -> bool:
    """Whether a holder may give the consumers its share of a result (section 7)."""
    counts = record in facts.counting or "give once it counts" in setting.without
    return counts and not facts.ended and record not in facts.stopped


# -- plumbing -------------------------------------------------------------------------------------------------------


def log(setting: Setting, state: State, *leaves: Leaf) -> State:
    """The log with leaves more."""
    return _settled(setting, state._replace(tail=(*state.tail, *leaves)))


def _put(state: State, place: int, holder: Holder) -> State:
    return state._replace(holders=(*state.holders[:place], holder, *state.holders[place + 1 :]))


def _same_request(facts: Facts, instance: str, request: str) -> bool:
    run = facts.run(instance)
    return run is not None and run.request == request


def _over(facts: Facts, instance: str) -> bool:
    run = facts.run(instance)
    return run is None or run.over


def _told(act: tuple[Leaf, ...]) -> str:
    return " and ".join(f"{leaf[0]} of {leaf[1]} to {leaf[2]}" for leaf in act)


def _settled(setting: Setting, state: State) -> State:
    """The same moment in its shortest form.

    A holder reads on where that forbids it nothing (see `_reads_on`). What all have read is no longer a sequence.
    What can have no effect any more is forgotten.
    """
    if "at the end" in setting.without:
        return state
    reads = [state.base]
    for leaf in state.tail:
        reads.append(read(setting.terms, reads[-1], leaf))
    for place, name in enumerate(setting.honest):
        upto = state.holders[place].read
        while upto < len(state.tail) and _reads_on(setting, state, place, name, reads, upto):
            upto += 1
        state = _put(state, place, state.holders[place]._replace(read=upto))
    first, facts = min(holder.read for holder in state.holders), reads[-1]
    alive = {name for name, run in facts.runs if not run.over}
    holders = []
    for holder in state.holders:
        mine = {name for name, run in reads[holder.read].runs if not run.over}
        pending = tuple(act for act in holder.pending if act[0][2] in mine)
        holders.append(holder._replace(read=holder.read - first, pending=pending))
    return state._replace(
        base=reads[first],
        tail=state.tail[first:],
        holders=tuple(holders),
        asked=frozenset((who, name) for who, name in state.asked if name in alive),
        served=frozenset((who, name) for who, name in state.served if name in alive or "renewal" in setting.without),
        keeping=frozenset(record for record in state.keeping if record in alive),
        has=frozenset(record for record in state.has if record in alive or record == facts.state),
    )


def _reads_on(setting: Setting, state: State, place: int, name: str, reads: list[Facts], upto: int) -> bool:
    """Whether a holder may as well have read the next leaf: what it could do before it can do after it, too.

    Releases that it cannot make having read so far it will never be able to make having read just so far: what
    others do comes later in the log, and its own acts and spent challenges only take away.
    """
    holder, before, after = state.holders[place], reads[upto], reads[upto + 1]
    if "shortcuts" in setting.without:
        return False
    if state.tail[upto][0] == "evidence":
        return True
    stops = before.stopped != after.stopped or before.ended != after.ended
    if after.ended and not (holder.results or before.counter > holder.taken):
        return True
    if stops and (holder.results or before.counter > holder.taken):
        return False  # it may still give a share of a result that it will not give then
    if (
        not stops
        and before.counting == after.counting
        and before.order == after.order
        and _over_of(before) == _over_of(after)
    ):
        return True
    if setting.without & {"forever", "counting first", "give once it counts"}:
        return False  # of these variants it is not true
    return not any(acts(setting, state, place, name, instance, before, upto) for instance, _ in before.runs)


def _over_of(facts: Facts) -> list[str]:
    return [name for name, run in facts.runs if run.over]
