"""What must hold at every moment, whatever host and liars did: protocol.md sections 1, 6, 7 and 8."""

from functools import lru_cache

from model.log import has_keys
from model.protocol import (
    ABANDON,
    Setting,
    State,
    end,
    keep,
    log,
    log_kept,
    log_pending,
    say_releases,
    show_evidence,
    take,
)

SPARE = "spare"  # an instance that the exploration does not use


def one_result(setting: Setting, state: State) -> bool:
    """Of the records of one counter the consumers, with the liars, can open at most one (section 7)."""
    openable: dict[int, set[str]] = {}
    for _, c, record in state.given:
        givers = {who for who, _, what in state.given if what == record} | setting.liars
        if len(givers) >= setting.terms.threshold:
            openable.setdefault(c, set()).add(record)
    return all(len(records) <= 1 for records in openable.values())


def only_what_counts(setting: Setting, state: State) -> bool:
    """No honest holder has given a share of a result that does not count for all who read the whole log."""
    counting = end(setting, state).counting
    return all(record in counting for _, _, record in state.given)


def one_line(setting: Setting, state: State) -> bool:
    """What a holder stored as a share of state c is of the state that the record counting for c - 1 left.

    So what counts for c was computed on what counted for c - 1: no state comes back, none is forked.
    """
    counting = end(setting, state).counting
    stored = [share for holder in state.holders for share in holder.states]
    return all(c <= len(counting) and counting[c - 1] == record for c, record in stored)


def one_computes(setting: Setting, state: State) -> bool:
    """Where honest parties' releases are all needed, no second instance has all it needs while the first lives.

    Not so where liars fill up what is needed: see the tests.
    """
    facts = end(setting, state)
    return (
        sum(
            not run.over and bool(run.keys | run.shares) and has_keys(setting.terms, facts, run)
            for _, run in facts.runs
        )
        <= 1
    )


def state_is_readable(setting: Setting, state: State) -> bool:
    """All honest holders can come by a share of the newest state, and the keeper has its ciphertext (section 8)."""
    facts = end(setting, state)
    if facts.state is None:
        return True
    c = facts.counter
    able = [(c, facts.state) in holder.states or holder.seals_from < c for holder in state.holders]
    return sum(able) >= setting.terms.threshold and facts.state in state.has


def results_are_not_lost(setting: Setting, state: State) -> bool:
    """Of every result that counts, enough holders gave, have, or can come by their share (section 7)."""
    facts = end(setting, state)
    for c in range(setting.start, facts.counter):
        record = facts.counting[c]
        run = facts.run(record)
        assert run is not None
        request = facts.request(run.request)
        assert request is not None
        if request.action not in ("run", "finish"):
            continue
        able = 0
        for name, holder in zip(setting.honest, state.holders, strict=True):
            able += (name, c, record) in state.given or (c, record) in holder.results or holder.seals_from <= c
        if able < setting.terms.threshold:
            return False
    return True


def past_is_sealed(setting: Setting, state: State) -> bool:
    """States before the newest stay closed though all secrets of all holders were seized now (forward secrecy).

    From when on: all honest holders have taken the record that ended them. Sealed copies in records, abandoned ones
    too, count as seized.
    """
    taken = min(holder.taken for holder in state.holders)
    return not any(holder.seals_from < taken or any(c < taken for c, _ in holder.states) for holder in state.holders)


def has_a_way_forward(setting: Setting, state: State) -> bool:
    """From here a further record can count, though every instance there is were dead and the liars silent.

    From now on the host is honest and somebody abandons what does not move. This is a path of the model's own moves,
    with one instance more than was explored.
    """
    return end(setting, state).ended or _goes_on(setting, _abandoned(setting, state))


def _abandoned(setting: Setting, state: State) -> State:
    """All that was sent has its leaf, every instance is over, all read to the end and took what counts."""
    for place in range(len(state.holders)):
        while state.holders[place].pending:
            state = log_pending(setting, state, place, 0)
    for record in sorted(state.keeping):
        state = log_kept(setting, state, record)
    if "abandon" not in setting.without:
        for name, run in end(setting, state).runs:
            if not run.over:
                state = log(setting, state, (*ABANDON, name))
    return _all_read(setting, state)


def _all_read(setting: Setting, state: State) -> State:
    for place in range(len(state.holders)):
        holders = list(state.holders)
        holders[place] = holders[place]._replace(read=len(state.tail))
        state = state._replace(holders=tuple(holders))
        while state.holders[place].taken < end(setting, state).counter:
            state = take(setting, state, place, state.holders[place].read, end(setting, state))
    return log(setting, state)


@lru_cache(maxsize=200_000)
def _goes_on(setting: Setting, state: State) -> bool:
    facts = end(setting, state)
    request = next((name for name, _ in facts.requests if name not in facts.answered), None)
    if request is None:
        request = "another"
        action = facts.requests[0][1] if facts.state is None else facts.requests[-1][1]
        state = log(setting, state, ("request", request, action.action, action.needs))
    state = _all_read(setting, show_evidence(setting, state, SPARE, request))
    for place in range(len(state.holders)):
        state = say_releases(setting, state, place, SPARE)
        while state.holders[place].pending:
            state = log_pending(setting, state, place, 0)
        state = _all_read(setting, state)
    state = log(setting, state, ("record", SPARE, SPARE))
    run = end(setting, state).run(SPARE)
    if run is not None and run.record is not None:
        state = log_kept(setting, keep(setting, state, SPARE), SPARE)
    return SPARE in end(setting, state).counting
