import importlib.util
import json
import marshal
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import sealstat
from sealstat.enclave.measure import ROOMS, check_installed, check_started, measure
from sealstat.evidence.errors import EvidenceError
from sealstat.host.launcher import instance_command

PACKAGE = Path(sealstat.__file__).parent
_COMMAND = instance_command(attester="simulated", simulated_root=None)
AS_LAUNCHED = _COMMAND[: _COMMAND.index("-m")]


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
    # the path of this checkout is all that is put back
    code = f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r})\n{code}"
    found = subprocess.run([*AS_LAUNCHED, "-c", code], capture_output=True, text=True, check=True, timeout=60)
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


@pytest.mark.parametrize(
    "name",
    [
        "log/merkle.so",
        "log/merkle.cpython-311-x86_64-linux-gnu.so",
        "log/extra.pyc",
        "__init__.cpython-311-x86_64-linux-gnu.so",
        "log.so",
    ],
)
def test_code_without_a_source_is_not_measured(copy: Path, name: str) -> None:
    (copy / name).write_bytes(b"code")
    with pytest.raises(EvidenceError, match=name):
        measure(copy)


@pytest.mark.parametrize("name", ["log/merkle", "log/__pycache__", "more"])
def test_a_link_to_a_folder_elsewhere_is_not_measured(copy: Path, tmp_path: Path, name: str) -> None:
    """A folder is imported before a module of its name, and what lies behind a link would not be found."""
    (tmp_path / "behind").mkdir()
    (tmp_path / "behind" / "__init__.py").write_text("raise SystemExit('not measured')")
    (copy / name).symlink_to(tmp_path / "behind")
    with pytest.raises(EvidenceError, match=name):
        measure(copy)


# --- bytecode that somebody left ------------------------------------------------------------------------------------


def plant(source: Path, folder: Path) -> None:
    """Bytecode in ``__pycache__`` that passes for that of a source: its time and size are right, its code is not."""
    code = compile(f"import pathlib\npathlib.Path({str(folder / 'ran')!r}).touch()\n{source.read_text()}", "x", "exec")
    seen = source.stat()
    head = importlib.util.MAGIC_NUMBER + struct.pack("<III", 0, int(seen.st_mtime), seen.st_size)
    target = Path(importlib.util.cache_from_source(str(source)))
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(head + marshal.dumps(code))


@pytest.mark.parametrize("name", ["__init__", "enclave/__init__", "enclave/__main__", "enclave/measure"])
def test_planted_bytecode_does_not_run_in_an_instance(copy: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "path").mkdir()
    package = copy.rename(tmp_path / "path" / "sealstat")
    plant(package / f"{name}.py", tmp_path)
    code = f"import sys; sys.path.insert(0, {str(package.parent)!r}); sys.argv = ['sealstat.enclave', '--help']\n"
    code += "import runpy; runpy.run_module('sealstat.enclave', run_name='__main__')"
    assert measure(package) == measure(), "the measure cannot tell"
    for command, runs in ([sys.executable, "-I"], True), (AS_LAUNCHED, False):
        subprocess.run([*command, "-c", code], capture_output=True, check=True, timeout=60)
        assert (tmp_path / "ran").exists() == runs
        (tmp_path / "ran").unlink(missing_ok=True)


def test_an_instance_that_was_started_otherwise_refuses() -> None:
    check = ["-c", "from sealstat.enclave.measure import check_started; check_started()"]
    path = f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); "
    check[1] = path + check[1]
    assert subprocess.run([*AS_LAUNCHED, *check], capture_output=True, timeout=60).returncode == 0
    for left_out in ("-I", "-B", "-X"):
        at = AS_LAUNCHED.index(left_out)
        command = AS_LAUNCHED[:at] + AS_LAUNCHED[at + (2 if left_out == "-X" else 1) :]
        done = subprocess.run([*command, *check], capture_output=True, text=True, timeout=60)
        assert "start it as `python -I -B -X pycache_prefix=/dev/null -m sealstat.enclave`" in done.stderr
    with pytest.raises(EvidenceError, match="start it as"):
        check_started()
