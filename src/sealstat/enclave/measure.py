"""One digest over the code that may run inside: the closed set of rooms and the lock of what is installed beside.

Anyone with a checkout recomputes it (`sealstat measure`); an agreement names it; evidence carries it.
"""

import os
import sys
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sealstat.crypto import canonical
from sealstat.evidence.errors import EvidenceError

ROOMS = ("agreement", "crypto", "enclave", "evidence", "log", "release", "statistics", "tables", "wire")
STARTED_AS = f"python -I -B -X pycache_prefix={os.devnull} -m sealstat.enclave"
_LOCK = "enclave/requirements.lock"


@dataclass(frozen=True, slots=True)
class Measurement:
    """The digest, and the files it was made of with theirs."""

    digest: str
    files: dict[str, str]


def measure(package: Path | None = None) -> Measurement:
    """Measure the modules of the closed set below a package folder (default: this installed one).

    The value depends on names and bytes of the files alone: not on where they lie, who owns them, or when. Bytecode
    in ``__pycache__`` is left out, since an instance does not read it (:func:`check_started`). The interpreter and what
    is installed are for the measurement of the machine's image: here only the lock of the latter counts.

    Raises:
        EvidenceError: something else than sources lies where it could be imported in their place.
    """
    root = package or Path(__file__).resolve().parents[1]
    lying = [path for path in root.iterdir() if path.name != "__init__.py"]
    lying += [path for room in ROOMS for path in (root / room).rglob("*") if path.suffix not in {".py", ".in", ".lock"}]
    for path in lying:
        # an extension module or a .pyc of its own would be imported before, or without, a source; and what lies behind
        # a link to a folder, which is imported before a module of that name, is not found above
        if path.parent.name != "__pycache__" and (path.is_symlink() or not path.is_dir()):
            raise EvidenceError(f"{path.relative_to(root)} is no source that can be measured: remove it")
    paths = [root / "__init__.py", root / _LOCK, *(path for room in ROOMS for path in (root / room).rglob("*.py"))]
    files = {path.relative_to(root).as_posix(): sha256(path.read_bytes()).hexdigest() for path in paths}
    return Measurement(canonical.digest({"files": files, "measure": "sealstat-source-1"}), files)


def check_started() -> None:
    """Check that this process compiled the sources that are measured, and nothing of its surroundings went in.

    Who can write to ``__pycache__`` could leave bytecode there that passes for that of a source: the interpreter only
    looks at the source's time and size. So an instance is started with a place for it where no file can be.

    Raises:
        EvidenceError: it was started in another way.
    """
    if not (sys.flags.isolated and sys.flags.dont_write_bytecode and sys.pycache_prefix == os.devnull):
        raise EvidenceError(
            f"an instance was started so that it may run other bytecode than its sources': start it as `{STARTED_AS}`"
        )


def check_installed(package: Path | None = None) -> None:
    """Check that every measured distribution that is installed has a version of the lock.

    Raises:
        EvidenceError: what runs beside the modules is not what was measured.
    """
    root = package or Path(__file__).resolve().parents[1]
    locked: dict[str, set[str]] = {}
    for line in (root / _LOCK).read_text().splitlines():
        name, separator, rest = line.partition("==")
        if separator and not line.startswith((" ", "#")):
            locked.setdefault(name.strip(), set()).add(rest.split()[0].strip("\\ ;"))
    for name, versions in locked.items():
        try:
            installed = version(name)
        except PackageNotFoundError:
            continue  # a marker of the lock excludes it on this machine; an import would fail by itself
        if installed not in versions:
            raise EvidenceError(f"{name} {installed} is installed, the measured lock has {', '.join(sorted(versions))}")
