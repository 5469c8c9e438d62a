"""The trusted runner: one process per request, from the measured modules alone."""

import os
import sys
from importlib import import_module

if sys.pycache_prefix == os.devnull:
    # An instance compiles its own sources (measure.py, check_started). What is installed beside them is not measured by
    # its files here, and may use the bytecode that was installed with it: half of the time that a start would take.
    sys.pycache_prefix = None
    for _name in ("cryptography.hazmat.primitives.hpke", "duckdb", "httpx", "ibis", "pyarrow.compute", "pydantic.main"):
        import_module(_name)
    sys.pycache_prefix = os.devnull
