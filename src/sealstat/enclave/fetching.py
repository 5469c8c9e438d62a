"""Work done ahead of whoever consumes it: it hides the network and uses all cores, and holds a few pieces at most."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 3


def ahead(function: Callable[[T], R], things: Iterable[T], *, name: str) -> Iterator[R]:
    """``function`` of each thing, in order, computed up to three ahead of the consumer."""
    with ThreadPoolExecutor(_AHEAD, thread_name_prefix=name) as workers:
        waiting = iter(things)
        coming: list[Future[R]] = [workers.submit(function, thing) for thing in islice(waiting, _AHEAD)]
        while coming:
            found = coming.pop(0).result()
            coming += [workers.submit(function, thing) for thing in islice(waiting, 1)]
            yield found
