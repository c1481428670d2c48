"""Every test starts from the same random streams, whatever ran before it, so that a failure repeats."""

import signal

import numpy as np
import pytest

from rnnx import utils


def pytest_configure(config):
    """Ctrl-C is to be heard here and in child processes, also in a run that a shell has put into the background."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def same_random_numbers(request):
    utils.set_random_seed(20)
    own = getattr(request.module, "RNG", None)
    if own is not None:
        own.bit_generator.state = np.random.default_rng(29).bit_generator.state
