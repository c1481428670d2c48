"""Every test starts from the same random streams, so that a failure repeats."""

import pytest

from rnnx import utils


@pytest.fixture(autouse=True)
def same_random_numbers():
    utils.set_random_seed(20)
