"""Whoever builds gets the same bytes, and they measure the same: in another folder, as another, elsewhere, later."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from sealstat.enclave.measure import measure

ROOT = Path(__file__).parents[2]


def built(folder: Path, *, mask: int, zone: str, locale: str, at: int, strange: bool) -> Path:
    """A wheel of a copy of this tree; its files have other times, modes and (where we may) another owner."""
    before = os.umask(mask)
    try:
        for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
        leave = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "src", folder / "src", copy_function=shutil.copyfile, ignore=leave)
        if strange:  # what a tree collects when it is used
            (folder / "src" / "sealstat" / "log" / "__pycache__").mkdir()
            (folder / "src" / "sealstat" / "log" / "__pycache__" / "merkle.cpython-311.pyc").write_bytes(b"kept")
            (folder / "demo-out").mkdir()
    finally:
        os.umask(before)
    for path in (folder, *folder.rglob("*")):
        if os.geteuid() == 0 and strange:
            os.chown(path, 65534, 65534)
        os.utime(path, (at, at))
    kept = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel"],
        cwd=folder,
        env=kept | {"TZ": zone, "LC_ALL": locale},
        umask=mask,
        check=True,
        capture_output=True,
        timeout=120,
    )
    (wheel,) = (folder / "dist").glob("*.whl")
    return wheel


def test_two_builds_are_identical_and_measure_as_the_checkout(tmp_path: Path) -> None:
    one = built(tmp_path / "one", mask=0o022, zone="UTC", locale="C.UTF-8", at=1_790_000_000, strange=False)
    two = built(
        tmp_path / "a longer name" / "two", mask=0o077, zone="Asia/Jakarta", locale="C", at=981_173_106, strange=True
    )
    assert one.name == two.name
    assert one.read_bytes() == two.read_bytes()
    with zipfile.ZipFile(one) as archive:
        assert {info.date_time for info in archive.infolist()} == {(2020, 2, 2, 0, 0, 0)}
        archive.extractall(tmp_path / "installed")
    digests = {
        measure(folder).digest
        for folder in (
            tmp_path / "installed" / "sealstat",
            tmp_path / "one" / "src" / "sealstat",
            tmp_path / "a longer name" / "two" / "src" / "sealstat",
            ROOT / "src" / "sealstat",
        )
    }
    assert len(digests) == 1


def test_the_builder_is_the_one_of_the_lock() -> None:
    """Its version stands in the wheel."""
    pinned = re.search(r'requires = \["hatchling==([^"]+)"\]', (ROOT / "pyproject.toml").read_text())
    assert pinned is not None
    assert f"\nhatchling=={pinned[1]} " in (ROOT / "requirements-dev.lock").read_text()
