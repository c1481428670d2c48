"""Ctrl-C, and whatever else the handler of a signal raises, ends a long call, which has changed nothing then."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import layers

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers that send signals here")

FULL = 4.0  # seconds of processor time, at the least, that each of these calls takes on the fastest of machines


@contextmanager
def signal_soon(error: BaseException) -> Iterator[None]:
    """A signal after a moment, whose handler raises this."""

    def handler(*_: Any) -> None:
        raise error

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    start = time.process_time()
    try:
        yield
        pytest.fail("the call went on to its end")
    except type(error) as found:
        assert found is error and time.process_time() - start < FULL / 2
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("make", [layers.LSTM, layers.GRU])
def test_a_long_call_ends(make: Any, threads: int) -> None:
    layer = make(64, stateful=True)
    small = np.random.default_rng(3).normal(size=(64, 4, 1)).astype(np.float32)
    first = layer(small)
    wanted = layer(small)
    layer.reset_states()
    assert np.array_equal(layer(small), first)
    x = np.zeros((64, 400_000, 1), np.float32)
    with rnnx.threads(threads), signal_soon(KeyboardInterrupt()):
        layer(x)
    assert rnnx._kernels.busy() == 0
    assert np.array_equal(layer(small), wanted)  # the state is that of before


def test_errors_of_handlers_come_out() -> None:
    model = rnnx.Sequential([rnnx.Input((None, 1)), layers.LSTM(64)])
    with signal_soon(RuntimeError("of the handler")):
        model.predict(np.zeros((1, 12_000_000, 1), np.float32))


def test_a_forward_pass_of_training_ends_too() -> None:
    layer = layers.LSTM(48)
    x = np.zeros((64, 4, 1), np.float32)
    layer(x)
    params, packed = layer.packed()
    long = np.zeros((64, 500_000, 1), np.float32)
    with signal_soon(KeyboardInterrupt()):
        layer.core.forward(params, long, packed=packed, training=True, recompute=True)
