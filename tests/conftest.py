"""Fixtures that every test folder shares."""

from pathlib import Path

import pytest
from hypothesis import settings

# how long an example takes says more about what else the machine does than about the code
settings.register_profile("sealstat", deadline=None)
settings.load_profile("sealstat")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of recorded evidence, vectors and real counts that stands beside the checkout."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "spec").is_dir():
        pytest.skip("../shared (evidence and vectors made by other people's code) is not beside this checkout")
    return folder
