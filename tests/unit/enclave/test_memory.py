"""The memory limit holds for the process, whoever in it takes the memory."""

import subprocess
import sys

from sealstat.enclave import memory

TAKING = """
from time import sleep
from sealstat.enclave import memory
memory.end_above(memory.held_bytes() + {more}, lambda sentence: print(sentence, flush=True))
held = bytearray(b"x" * 60_000_000)
sleep(2)
print("still here")
"""


def run(more: int) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", TAKING.format(more=more)], capture_output=True, text=True, check=False)


def test_a_process_that_takes_more_ends_and_says_why() -> None:
    done = run(20_000_000)
    assert done.returncode == 1
    assert done.stdout.startswith("stopped: more than")
    assert "still here" not in done.stdout


def test_one_that_keeps_to_its_limit_goes_on() -> None:
    done = run(400_000_000)
    assert (done.returncode, done.stdout) == (0, "still here\n")


def test_half_of_the_machine_is_more_than_this_process_holds() -> None:
    assert 0 < memory.held_bytes() < memory.default_bytes()
