"""What all tests share: where the real images are, and a fixed seed."""
import os
from pathlib import Path

import numpy as np
import pytest

import tinycnn as tc

os.environ["TINYCNN_TUNED"] = "off"                  # what this user has measured does not count here

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same random numbers."""
    tc.manual_seed(0)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def real_images():
    """A function: name of a folder of real images -> its path; skips, saying so, where it is absent."""
    def find(name):
        for root in filter(None, (os.environ.get("TINYCNN_DATA"), ROOT.parent / "shared" / "data")):
            if (Path(root) / name).is_dir():
                return Path(root) / name
        pytest.skip(f"no folder of real images named {name!r}: set TINYCNN_DATA to the folder that holds it")
    return find
