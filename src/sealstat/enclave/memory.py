"""The memory limit of an instance, for the whole process: the engine keeps to a part of it, and nothing goes beyond.

A limit by the kernel on address space or data would count what allocators reserve and never touch. So the process looks
at what it really holds, and ends rather than drag the machine down. The run goes on with another instance when this one
is given up (`sealstat run abandon`); with more memory, or it ends likewise.
"""

import os
import threading
from collections.abc import Callable
from pathlib import Path

_LOOK_S = 0.2
ENGINE_PART = 2  # the engine gets one part in so many; the rest is for sorted arrays, parts in flight, the interpreter


def default_bytes() -> int:
    """Half of the machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def held_bytes() -> int:
    """What this process holds in memory now; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


def end_above(limit_bytes: int, say: Callable[[str], None]) -> None:
    """Watch from now on; above the limit, say so and end the process at once."""

    def watch() -> None:
        while True:
            if held_bytes() > limit_bytes:
                say(f"stopped: more than {limit_bytes // 1_000_000} MB are needed: raise --memory-bytes")
                os._exit(1)
            stop.wait(_LOOK_S)

    stop = threading.Event()
    threading.Thread(target=watch, name="memory", daemon=True).start()
