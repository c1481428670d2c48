"""Every test starts from the same random streams, whatever ran before it, so that a failure repeats."""

import numpy as np
import pytest

from rnnx import utils


@pytest.fixture(autouse=True)
def same_random_numbers(request):
    utils.set_random_seed(20)
    own = getattr(request.module, "RNG", None)
    if own is not None:
        own.bit_generator.state = np.random.default_rng(29).bit_generator.state
