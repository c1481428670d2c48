"""What one core of this machine can do at best, and how long a cell takes at least on such a core."""

from __future__ import annotations

import ctypes
import functools
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from problem import GATES, Cell

from rnnx import _kernels

ROUNDS, BURSTS = 200_000, 7
UNBOUND = ("int8", "startup", "fit")  # work that other things than multiplications and weights take time for
ACTIVATIONS = {"lstm": {"sigmoid": 3, "tanh": 2}, "gru": {"sigmoid": 2, "tanh": 1}}  # of a unit in a step


@functools.cache
def _library() -> ctypes.CDLL:
    with tempfile.TemporaryDirectory() as folder:
        path, source = Path(folder) / "machine.so", Path(__file__).with_suffix(".c")
        subprocess.run(["cc", "-O2", "-funroll-loops", "-shared", "-fPIC", "-o", str(path), str(source)], check=True)
        return ctypes.CDLL(str(path))


def _function(name: str) -> Any:
    return _library()[f"{name}_{_kernels.ISA if _kernels.ISA in ('avx512', 'avx2') else 'baseline'}"]


def burn() -> float:
    """Multiply and add in registers for a while; the number of operations."""
    function, sink = _function("peak"), ctypes.c_float()
    function.restype, function.argtypes = ctypes.c_double, [ctypes.c_long, ctypes.c_void_p]
    return float(function(ROUNDS, ctypes.byref(sink)))


def _quickest(call: Callable[[], Any]) -> float:
    times = []
    for _ in range(BURSTS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


@functools.cache
def peak() -> float:
    """Operations per second with float32 numbers."""
    return burn() / _quickest(burn)


@functools.cache
def bandwidth(size: int) -> float:
    """Bytes per second of reading `size` bytes over and over, from whichever cache holds them."""
    function, sink = _function("read"), ctypes.c_float()
    function.restype, function.argtypes = None, [ctypes.c_void_p, ctypes.c_long, ctypes.c_long, ctypes.c_void_p]
    memory = np.ones(size // 4 + 16, np.float32)
    start = memory.ctypes.data + -memory.ctypes.data % 64
    rounds = max(1, (1 << 28) // size)
    return size * rounds / _quickest(lambda: function(start, size // 4, rounds, ctypes.byref(sink)))


@functools.cache
def activation(name: str) -> float:
    """Seconds that rnnx's activation of one number takes, without reading and writing it."""
    numbers = np.linspace(-8, 8, 1 << 16, dtype=np.float32)

    def seconds(name: str) -> float:
        def burst() -> None:
            for _ in range(100):
                _kernels.activate(name, numbers)

        return _quickest(burst) / 100

    return (seconds(name) - seconds("linear")) / numbers.size


def _rows(cell: Cell) -> NDArray[np.intp]:
    """How many sequences reach each step."""
    if not cell.work.startswith("ragged"):
        return np.full(cell.timesteps, cell.batch)
    return (np.arange(cell.timesteps)[:, None] < cell.arrays()["lengths"]).sum(axis=1)


def gates_time(cell: Cell) -> float | None:
    """Seconds for all activations on the way forward, at rnnx's own speed of activations alone; None as below."""
    if cell.work in UNBOUND:
        return None
    layers = 4 if cell.work == "bidirectional" else 1
    of_unit = sum(count * activation(name) for name, count in ACTIVATIONS[cell.kind].items())
    return layers * float(_rows(cell).sum()) * cell.units * of_unit


def least_time(cell: Cell) -> float | None:
    """Seconds that an engine without any overhead needs on one core; None for work that is not bound by these.

    Operations run at the peak; at each step the recurrent kernel (in a stream both kernels) is read from the cache that
    it fits into, if that takes longer. Calls, gates, states and activations cost nothing.
    """
    if cell.work in UNBOUND:
        return None
    units, gates = cell.units, GATES[cell.kind]
    size = 4 * gates * units**2  # bytes of a kernel of (units, gates * units)
    if cell.work == "step":
        return 2 * size / bandwidth(2 * size)
    rows = _rows(cell)
    product = 2.0 * gates * units**2 / peak()  # of one row
    once = product * float(rows.sum())
    loop = float(np.maximum(product * rows, size / bandwidth(size) * (rows > 0)).sum())
    if cell.work == "bidirectional":
        return 2 * (once + loop) + 2 * (2 * once + loop)
    training = cell.work in ("training", "dropout", "ragged-training")
    return 4 * once + 2 * loop if training else once + loop
