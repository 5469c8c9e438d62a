"""Trying everything: breadth first, so that what is found wrong is told with as few moves as possible."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

from model.protocol import Setting, State, begin, moves

Property = Callable[[Setting, State], bool]


class Found(NamedTuple):
    """What came of it."""

    states: int
    broken: str | None = None  # the first property that does not hold everywhere
    how: tuple[str, ...] = ()  # the moves that lead there


class TooManyError(Exception):
    """The setting is larger than was allowed for: nothing may be concluded."""


def explore(setting: Setting, properties: Mapping[str, Property], *, most: int) -> Found:
    """Look at every state that can be reached, until one breaks a property.

    Raises:
        TooManyError: there are more than ``most`` states.
    """
    first = begin(setting)
    came: dict[State, tuple[State, str] | None] = {first: None}
    queue = deque([first])
    while queue:
        state = queue.popleft()
        for name, holds in properties.items():
            if not holds(setting, state):
                return Found(len(came), name, _how(came, state))
        for told, after in moves(setting, state):
            if after not in came:
                came[after] = (state, told)
                queue.append(after)
        if len(came) > most:
            raise TooManyError(f"more than {most} states")
    return Found(len(came))


def _how(came: Mapping[State, tuple[State, str] | None], state: State) -> tuple[str, ...]:
    told: list[str] = []
    while (step := came[state]) is not None:
        state, move = step
        told.append(move)
    return tuple(reversed(told))
