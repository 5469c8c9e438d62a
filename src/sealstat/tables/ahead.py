"""Work done ahead of whoever consumes it: it hides the network and uses all cores, and holds a few pieces at most."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ahead(function: Callable[[T], R], things: Iterable[T], *, workers: int, name: str) -> Iterator[R]:
    """``function`` of each thing, in the order of the things, each as soon as it is the first that is not consumed.

    At most ``workers`` results are computed, or wait, beyond the one that the consumer holds. Things are taken in the
    consumer's thread, just ahead of their turn; ``name`` is the threads'.
    """
    with ThreadPoolExecutor(workers, thread_name_prefix=name) as pool:
        coming: deque[Future[R]] = deque()
        for thing in things:
            coming.append(pool.submit(function, thing))
            if len(coming) > workers:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
