"""What the room shows to the others."""

import subprocess
import sys

import sealstat.log


def test_public_names_exist_once():
    assert all(hasattr(sealstat.log, name) for name in sealstat.log.__all__)
    assert len(set(sealstat.log.__all__)) == len(sealstat.log.__all__)


def test_reading_and_verifying_loads_neither_a_database_nor_a_server():
    code = "import sys, sealstat.log; print({'sqlite3', 'starlette', 'sealstat.log.store'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "set()"
