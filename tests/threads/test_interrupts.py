"""Ctrl-C, and whatever else the handler of a signal raises, ends a long call, which has changed nothing then."""

from __future__ import annotations

import signal
import threading
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


@pytest.mark.parametrize(
    ("features", "units", "shape"), [(1, 1024, (50, 32)), (2048, 64, (8000, 1))], ids=["through_time", "sums"]
)
def test_a_backward_pass_ends_and_can_be_repeated(features: int, units: int, shape: tuple[int, int]) -> None:
    """Most of its time goes into the recursion of the one, into the sums for gradients of weights of the other."""
    layer = layers.LSTM(units, recurrent_initializer="glorot_uniform", seed=3)
    x = np.random.default_rng(3).normal(size=(*shape, features)).astype(np.float32)
    layer(x[:1])
    dy = np.ones((shape[0], units), np.float32)

    def raise_error(*_: Any) -> None:
        raise KeyboardInterrupt

    with rnnx.threads(1):
        _, back = layer.forward(x, training=True, keep=True)
        before = signal.signal(signal.SIGVTALRM, raise_error)
        start = time.process_time()
        try:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0.02)
            with pytest.raises(KeyboardInterrupt):
                back(dy)
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, before)
        interrupted = time.process_time() - start
        assert rnnx._kernels.busy() == 0
        again = back(dy)  # makes the forward pass again, too
        assert interrupted < (time.process_time() - start - interrupted) / 2
        _, fresh = layer.forward(x, training=True, keep=True)
        wanted = fresh(dy)
    assert np.array_equal(again.dx, wanted.dx)
    assert all(np.array_equal(a, b) for a, b in zip(again.dweights, wanted.dweights, strict=True))


def test_both_directions_end() -> None:
    layer = layers.Bidirectional(layers.LSTM(64))
    layer(np.zeros((64, 4, 1), np.float32))
    with rnnx.threads(2), signal_soon(KeyboardInterrupt()):
        layer(np.zeros((64, 400_000, 1), np.float32))
    until = time.monotonic() + 10  # Ctrl-C may come before it is known here that the other one runs
    while rnnx._kernels.busy() and time.monotonic() < until:
        time.sleep(0.01)
    assert rnnx._kernels.busy() == 0


def test_a_call_of_another_thread_ends_when_asked() -> None:
    layer = layers.GRU(64)
    layer(np.zeros((64, 4, 1), np.float32))
    stop, ended = rnnx._kernels.Stop(), []

    def work() -> None:
        with stop:
            for steps in (400_000, 1):
                try:
                    layer(np.zeros((64, steps, 1), np.float32))
                except KeyboardInterrupt:
                    ended.append(steps)
        layer(np.zeros((64, 1, 1), np.float32))
        ended.append(0)

    start, thread = time.process_time(), threading.Thread(target=work)
    thread.start()
    time.sleep(0.05)
    stop.ask()
    thread.join()
    assert ended == [400_000, 1, 0]
    assert time.process_time() - start < FULL / 2
