"""What comes of calls when memory runs out; prints it as JSON.

A process of its own, whose allocator holds nothing that could serve them all the same.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx import Input, Sequential, layers
from rnnx.functional import LSTMParams, lstm

MAPPED_FROM, TRIMMED_FROM, GROWS_BY = (
    -3,
    -1,
    -2,
)  # of mallopt: the limit meets each large buffer


def in_use() -> int:
    """Bytes of addresses that the process has."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def in_a_fork(extra: int, start: Callable[[], Any], fails: Callable[[Any], Any], holds: Callable[[Any], bool]) -> str:
    """What came of an act with so many bytes of room after a start, and of a check without the limit."""
    child = os.fork()
    if child == 0:
        try:
            libc = ctypes.CDLL(None)
            libc.mallopt(TRIMMED_FROM, 128 << 10)
            libc.mallopt(MAPPED_FROM, 64 << 10)
            libc.mallopt(GROWS_BY, 0)
            begun = start()
            grown = in_use() + (1 << 20)
            while in_use() < grown:  # what lies free in the heap could serve the calls all the same
                libc.malloc(ctypes.c_size_t(32 << 10))
            hard = resource.getrlimit(resource.RLIMIT_AS)[1]
            resource.setrlimit(resource.RLIMIT_AS, (in_use() + extra, hard))
            try:
                fails(begun)
                failed = False
            except MemoryError:
                failed = True
            resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
            os._exit((1 if failed else 0) if holds(begun) else 2)
        finally:
            os._exit(3)
    _, status = os.waitpid(child, 0)
    return {0: "right", 1: "MemoryError, then right", 2: "wrong"}.get(os.waitstatus_to_exitcode(status), "died")


def backward(recompute: bool) -> list[str]:
    """A backward pass under each of many limits, and once more without."""
    rng = np.random.default_rng(0)
    batch, steps, units, features = 64, 40, 64, 8
    shapes = ((features, 4 * units), (units, 4 * units), (4 * units,))
    params = LSTMParams(*(rng.normal(size=shape).astype(np.float32) * 0.1 for shape in shapes))
    x = rng.normal(size=(batch, steps, features)).astype(np.float32)
    dy = rng.normal(size=(batch, steps, units)).astype(np.float32)

    def start() -> Any:
        return lstm.forward(params, x, training=True, recompute=recompute)

    def holds(run: Any) -> bool:
        got = lstm.backward(run.cache, dy)
        want = lstm.backward(lstm.forward(params, x, training=True).cache, dy)  # the first: no buffers lie idle before
        return all(np.array_equal(a, b) for a, b in ((got.dx, want.dx), (got.dparams.kernel, want.dparams.kernel)))

    limits = range(0, 6 << 20, 256 << 10)
    return sorted({in_a_fork(extra, start, lambda run: lstm.backward(run.cache, dy), holds) for extra in limits})


def step() -> str:
    """A step of a model with room for half of its output."""
    batch, wide = 4000, 2048
    model = Sequential([Input((None, 8)), layers.GRU(16, return_sequences=True), layers.GRU(16), layers.Dense(wide)])
    x = np.ones((batch, 8), np.float32)

    def unmoved(stream: Any) -> bool:
        return not any(part.any() for parts in stream.state for part in parts)

    room = batch * wide * 4 // 2  # half of the output
    return in_a_fork(room, lambda: model.stream(batch), lambda stream: stream.step(x), unmoved)


if __name__ == "__main__":
    print(json.dumps({"backward": backward(False), "recompute": backward(True), "step": step()}))
