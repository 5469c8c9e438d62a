"""Evidence from a confidential VM, against a kernel of our own that keeps the rules of configfs-tsm."""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

import attesting
from sealstat.evidence import collateral
from sealstat.evidence.errors import EvidenceError
from sealstat.evidence.tsm import TsmAttester

ROOT = "/sys/kernel/config/tsm/report"


@dataclass
class Entry:
    """One request's folder, as drivers/virt/coco/tsm.c keeps it."""

    written: int = 0
    inblob: bytes = b""


@dataclass
class Kernel:
    """configfs-tsm: short reads, a generation that counts writes, errors that a test plants by their order."""

    provider: str = "sev_guest"
    report: Callable[[bytes], bytes] = lambda data: b"report over " + data
    chunk: int = 7
    busy: list[int] = field(default_factory=list)  # an errno for each reading of outblob to come
    intruders: int = 0  # how many requests another writer disturbs
    entries: dict[str, Entry] = field(default_factory=dict)
    files: dict[int, tuple[str, bytes]] = field(default_factory=dict)
    made: int = 0

    def mkdir(self, path: str) -> None:
        if not path.startswith(ROOT + "/"):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if path in self.entries:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        self.entries[path] = Entry()
        self.made += 1

    def rmdir(self, path: str) -> None:
        del self.entries[path]

    def open(self, path: str, flags: int) -> int:
        folder, _, name = path.rpartition("/")
        entry, number = self.entries[folder], max(self.files, default=2) + 1
        content = b""
        if flags == os.O_RDONLY:
            content = self._content(entry, name)
        self.files[number] = (path, content)
        return number

    def _content(self, entry: Entry, name: str) -> bytes:
        if name == "provider":
            return self.provider.encode() + b"\n"
        if name == "generation":
            return b"%d\n" % entry.written
        assert name == "outblob"
        if self.busy:
            number = self.busy.pop(0)
            raise OSError(number, os.strerror(number))
        if self.intruders:
            self.intruders -= 1
            entry.written, entry.inblob = entry.written + 1, b"another's challenge".ljust(64)
        if not entry.inblob:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return self.report(entry.inblob)

    def read(self, file: int, size: int) -> bytes:
        path, left = self.files[file]
        piece = left[: min(size, self.chunk)]
        self.files[file] = (path, left[len(piece) :])
        return piece

    def write(self, file: int, data: bytes) -> int:
        path = self.files[file][0]
        folder, _, name = path.rpartition("/")
        assert name == "inblob"
        if len(data) > 64:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        entry = self.entries[folder]
        entry.written, entry.inblob = entry.written + 1, data
        return len(data)

    def close(self, file: int) -> None:
        del self.files[file]


def attester(kernel: Kernel, kind: str = "snp", device: str | None = None) -> TsmAttester:
    return TsmAttester(
        kind,  # type: ignore[arg-type]
        [b"vcek", b"ask"],
        [b"ark"],
        device=device,
        system=kernel,
        pause=lambda _: None,
    )


def left_clean(kernel: Kernel) -> bool:
    return not kernel.entries and not kernel.files


def test_the_report_is_read_whole_however_short_the_reads() -> None:
    case = attesting.snp()
    kernel = Kernel(report=lambda _: case.evidence)
    evidence, beside = attester(kernel).attest(attesting.REPORT_DATA)
    assert evidence == case.evidence
    assert collateral.unpack(beside, pinned=[], limit=1 << 17)[0] == [b"vcek", b"ask"]
    assert left_clean(kernel)


def test_both_providers_are_known() -> None:
    evidence, _ = attester(Kernel(provider="tdx_guest"), "tdx").attest(b"x" * 64)
    assert evidence == b"report over " + b"x" * 64


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EAGAIN, errno.EINTR])
def test_a_busy_interface_is_asked_again_in_a_folder_of_its_own(number: int) -> None:
    kernel = Kernel(busy=[number, number])
    assert attester(kernel).attest(b"x" * 64)[0] == b"report over " + b"x" * 64
    assert kernel.made == 3
    assert left_clean(kernel)


def test_a_report_over_anothers_challenge_is_never_taken() -> None:
    kernel = Kernel(intruders=2)
    assert attester(kernel).attest(b"x" * 64)[0] == b"report over " + b"x" * 64
    assert kernel.made == 3
    assert left_clean(kernel)


@pytest.mark.parametrize("trouble", [{"busy": [errno.EBUSY] * 9}, {"intruders": 9}])
def test_endless_trouble_ends_in_one_sentence(trouble: dict[str, object]) -> None:
    kernel = Kernel(**trouble)  # type: ignore[arg-type]
    with pytest.raises(EvidenceError, match="busy, or others wrote into this request, 5 times"):
        attester(kernel).attest(b"x" * 64)
    assert left_clean(kernel)


def test_another_error_is_not_tried_again() -> None:
    kernel = Kernel(busy=[errno.EIO])
    with pytest.raises(EvidenceError, match="gives no report: Input/output error"):
        attester(kernel).attest(b"x" * 64)
    assert kernel.made == 1
    assert left_clean(kernel)


def test_a_machine_of_another_kind_is_refused() -> None:
    kernel = Kernel(provider="tdx_guest")
    with pytest.raises(EvidenceError, match="by tdx_guest, not by sev_guest"):
        attester(kernel).attest(b"x" * 64)
    assert left_clean(kernel)


def test_no_interface_at_all() -> None:
    with pytest.raises(EvidenceError, match="gives no report: No such file"):
        attester(Kernel(), device="/elsewhere").attest(b"x" * 64)


@pytest.mark.parametrize(("size", "word"), [(0, "empty"), (64 * 1024 + 1, "more than 65,536")])
def test_a_report_of_no_sensible_size_is_refused(size: int, word: str) -> None:
    kernel = Kernel(report=lambda _: bytes(size), chunk=4096)
    with pytest.raises(EvidenceError, match=word):
        attester(kernel).attest(b"x" * 64)
    assert left_clean(kernel)
