import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sealstat
from sealstat.enclave.measure import ROOMS, check_installed, measure
from sealstat.evidence.errors import EvidenceError

PACKAGE = Path(sealstat.__file__).parent


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    before = os.umask(0o077)
    try:
        shutil.copytree(
            PACKAGE, tmp_path / "elsewhere", copy_function=shutil.copyfile, ignore=shutil.ignore_patterns("__pycache__")
        )
    finally:
        os.umask(before)
    for path in (tmp_path / "elsewhere").rglob("*"):
        os.utime(path, (1, 1))
    return tmp_path / "elsewhere"


def test_a_copy_elsewhere_with_other_modes_and_times_measures_the_same(copy: Path) -> None:
    assert measure(copy) == measure()


@pytest.mark.parametrize("room", ROOMS)
def test_a_changed_byte_in_any_room_changes_it(copy: Path, room: str) -> None:
    path = max((copy / room).rglob("*.py"))
    path.write_bytes(path.read_bytes() + b"\n")
    assert measure(copy).digest != measure().digest


def test_the_lock_a_new_and_a_renamed_module_change_it(copy: Path) -> None:
    seen = {measure(copy).digest}
    lock = copy / "enclave" / "requirements.lock"
    lock.write_bytes(lock.read_bytes() + b"\n")
    seen.add(measure(copy).digest)
    (copy / "tables" / "more.py").write_bytes(b"")
    seen.add(measure(copy).digest)
    (copy / "tables" / "more.py").rename(copy / "tables" / "other.py")
    seen.add(measure(copy).digest)
    assert len(seen) == 4


def test_rooms_that_never_run_inside_do_not_change_it(copy: Path) -> None:
    (copy / "cli" / "more.py").write_bytes(b"")
    assert measure(copy).digest == measure().digest


def test_only_the_measured_rooms_are_imported() -> None:
    code = (
        "import runpy, sys, json\n"
        "sys.argv = ['sealstat.enclave', '--help']\n"
        "try:\n    runpy.run_module('sealstat.enclave', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print('\\n' + json.dumps(sorted(sys.modules)))"
    )
    # -I as the launcher starts it; the path of this checkout is all that is put back
    code = f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r})\n{code}"
    found = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, timeout=60)
    modules = json.loads(found.stdout.splitlines()[-1])
    rooms = {name.split(".")[1] for name in modules if name.startswith("sealstat.")}
    assert rooms <= set(ROOMS)
    assert not {"yaml", "typer", "fastapi", "uvicorn", "sqlalchemy", "matplotlib"} & set(modules)


def test_another_version_than_the_locks_is_refused(copy: Path) -> None:
    check_installed()
    lock = copy / "enclave" / "requirements.lock"
    lock.write_text("pydantic==0.0.1 \\\n    --hash=sha256:00\n")
    with pytest.raises(EvidenceError, match=r"pydantic .* is installed"):
        check_installed(copy)


@pytest.mark.parametrize("name", ["merkle.so", "merkle.cpython-311-x86_64-linux-gnu.so", "extra.pyc"])
def test_a_room_that_holds_code_without_a_source_is_not_measured(copy: Path, name: str) -> None:
    (copy / "log" / name).write_bytes(b"code")
    with pytest.raises(EvidenceError, match=f"log/{name}"):
        measure(copy)
