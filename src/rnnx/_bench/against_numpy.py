"""rnnx against a well-written NumPy loop: step, sequence, training, training with dropout, ragged batches.

Both sides get the same weights, data and masks, and their results are compared. They take turns inside one process;
the figures are medians, and the ratio is NumPy's time over ours. BLAS has one thread on both sides: the process starts
itself again with the environment variables that say so.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rnnx import functional
from rnnx._bench.numpy_loop import NumpyGRU, NumpyLSTM
from rnnx._kernels import Stepper
from rnnx._typing import Array
from rnnx.dropout import DropoutMasks
from rnnx.functional import GRUParams, LSTMParams

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
PROFILES: dict[str, dict[str, Any]] = {
    "tiny": {
        "seconds": 0.01,
        "step": [(1, 1, 16)],
        "sequence": [(3, 5, 16)],
        "training": [(3, 5, 16)],
        "dropout": [(3, 5, 16)],
        "ragged": [(3, 12, 16)],
    },
    "normal": {
        "seconds": 0.6,
        "step": [(1, 1, h) for h in (32, 64, 128, 256)],
        "sequence": [(b, 100, h) for b in (1, 8, 32) for h in (32, 64, 128)],
        "training": [(b, 50, h) for b in (16, 32) for h in (32, 64, 128)],
        "dropout": [(b, 50, h) for b in (16, 32) for h in (32, 64, 128)],
        "ragged": [(32, 100, h) for h in (32, 64, 128)],
    },
}


@dataclass
class Row:
    """One line of the table; times in seconds."""

    work: str
    cell: str
    batch: int
    timesteps: int
    units: int
    numpy: float
    rnnx: float
    difference: float

    @property
    def ratio(self) -> float:
        return self.numpy / self.rnnx


class Problem:
    """Weights, data and masks for both sides; features = units."""

    def __init__(self, cell: str, batch: int, timesteps: int, units: int):
        rng = np.random.default_rng(units + batch)
        gates = 4 if cell == "lstm" else 3
        scale = 1 / np.sqrt(units)

        def normal(*shape: int) -> Array:
            return (rng.normal(size=shape) * scale).astype(np.float32)

        kernel, recurrent = normal(units, gates * units), normal(units, gates * units)
        bias = normal(gates * units) if cell == "lstm" else normal(2, gates * units)
        self.core: Any = functional.lstm if cell == "lstm" else functional.gru
        self.params: Any = (LSTMParams if cell == "lstm" else GRUParams)(kernel, recurrent, bias)
        self.loop: Any = (NumpyLSTM if cell == "lstm" else NumpyGRU)(kernel, recurrent, bias)
        self.x = rng.normal(size=(batch, timesteps, units)).astype(np.float32)
        self.x_by_time = np.ascontiguousarray(self.x.swapaxes(0, 1))
        self.dy = rng.normal(size=(batch, timesteps, units)).astype(np.float32)
        self.dy_by_time = np.ascontiguousarray(self.dy.swapaxes(0, 1))
        self.lengths = rng.integers(10, 101, batch).clip(1, timesteps)
        self.x_mask = ((rng.random((batch, units)) < 0.5) / 0.5).astype(np.float32)
        self.h_mask = ((rng.random((batch, units)) < 0.75) / 0.75).astype(np.float32)
        self.masks = DropoutMasks(inputs=self.x_mask[None, :, None], recurrent=self.h_mask[None, :, None])


def sides(work: str, p: Problem) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The two functions to time; each returns arrays that must agree."""
    if work == "step":
        return _step_sides(p)
    if work == "sequence":
        packed = p.core.pack(p.params)
        return (
            lambda: [p.loop.forward(p.x_by_time).swapaxes(0, 1)],
            lambda: [p.core.forward(p.params, p.x, packed=packed).outputs],
        )
    if work == "ragged":
        packed, valid = p.core.pack(p.params), np.arange(p.x.shape[1]) < p.lengths[:, None]

        def padded() -> list[Array]:  # a loop has no other way: all steps, then the last valid one of each row
            y = p.loop.forward(p.x_by_time)
            return [y[p.lengths - 1, np.arange(len(p.lengths))]]

        assert valid.any(axis=1).all()
        return padded, lambda: [
            p.core.forward(p.params, p.x, lengths=p.lengths, return_sequences=False, packed=packed).outputs
        ]
    drop = work == "dropout"

    def loop() -> list[Array]:
        y = p.loop.forward(p.x_by_time, *((p.x_mask, p.h_mask) if drop else ()))
        dx, *rest = p.loop.backward(p.dy_by_time)
        return [y.swapaxes(0, 1), dx.swapaxes(0, 1), *rest]

    def engine() -> list[Array]:  # weights change at every training step, so packing them is part of it
        run = p.core.forward(p.params, p.x, masks=p.masks if drop else None, training=True)
        grads = p.core.backward(run.cache, p.dy)
        return [run.outputs, grads.dx, grads.dparams.kernel, grads.dparams.recurrent_kernel, grads.dparams.bias]

    return loop, engine


def _step_sides(p: Problem) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Streaming: every call goes on from the state of the one before."""
    stepper = Stepper(p.core.pack(p.params), len(p.x))
    x, out = np.ascontiguousarray(p.x[:, 0]), np.empty_like(p.x[:, 0])
    state = tuple(np.zeros_like(part) for part in stepper.state)

    def loop() -> list[Array]:
        nonlocal state
        state = p.loop.step(x, *state)
        return [state[0]]

    return loop, lambda: [stepper.step(x, out)]


def compare(a: list[Array], b: list[Array]) -> float:
    """Largest difference, relative to the larger of 1 and the largest value."""
    return max(float(np.abs(x - y).max() / max(1.0, np.abs(x).max())) for x, y in zip(a, b, strict=True))


def measure(a: Callable[[], Any], b: Callable[[], Any], seconds: float) -> tuple[float, float]:
    """Medians of two functions that take turns."""
    times: tuple[list[float], list[float]] = ([], [])
    repeats = []
    for function in (a, b):
        function()
        start = time.perf_counter()
        function()
        repeats.append(max(1, int(2e-4 / max(1e-7, time.perf_counter() - start))))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[0]) < 5:
        for function, number, found in zip((a, b), repeats, times, strict=True):
            start = time.perf_counter()
            for _ in range(number):
                function()
            found.append((time.perf_counter() - start) / number)
    return statistics.median(times[0]), statistics.median(times[1])


@np.errstate(invalid="ignore")  # see `rnnx.functional._products`
def run(profile: str, works: list[str] | None = None) -> list[Row]:
    """All workloads of a profile."""
    settings = PROFILES[profile]
    rows = []
    for work in works or [name for name in settings if name != "seconds"]:
        for cell in ("lstm", "gru"):
            for batch, timesteps, units in settings[work]:
                loop, engine = sides(work, Problem(cell, batch, timesteps, units))
                difference = compare(loop(), engine())
                if difference > 2e-5:
                    raise AssertionError(f"{work} {cell}: the two results differ by {difference:.2g}")
                rows.append(
                    Row(work, cell, batch, timesteps, units, *measure(loop, engine, settings["seconds"]), difference)
                )
    return rows


def table(rows: list[Row]) -> str:
    """A Markdown table, and the geometric means of each kind of work."""
    lines = ["| work | cell | B | T | H | NumPy | rnnx | ratio |", "|---|---|---|---|---|---|---|---|"]
    for r in rows:
        lines.append(
            f"| {r.work} | {r.cell} | {r.batch} | {r.timesteps} | {r.units} | {_time(r.numpy)} | {_time(r.rnnx)} "
            f"| {r.ratio:.2f} |"
        )
    lines += ["", "| work | ratio, geometric mean | smallest |", "|---|---|---|"]
    for work in dict.fromkeys(r.work for r in rows):
        ratios = [r.ratio for r in rows if r.work == work]
        lines.append(f"| {work} | {statistics.geometric_mean(ratios):.2f} | {min(ratios):.2f} |")
    return "\n".join(lines)


def _time(seconds: float) -> str:
    return f"{seconds * 1e6:.1f} µs" if seconds < 1e-3 else f"{seconds * 1e3:.2f} ms"


def main(arguments: list[str] | None = None) -> int:
    """The command ``rnnx bench``."""
    parser = argparse.ArgumentParser(prog="rnnx bench", description=str(__doc__).split("\n")[0])
    parser.add_argument("--profile", choices=sorted(PROFILES), default="normal")
    parser.add_argument("--work", choices=[w for w in PROFILES["tiny"] if w != "seconds"], action="append")
    parser.add_argument("--json", metavar="FILE", help="write the figures to a file as well")
    options = parser.parse_args(arguments)
    if any(os.environ.get(name) != "1" for name in THREADS):
        command = [
            sys.executable,
            "-m",
            "rnnx._bench.against_numpy",
            *(sys.argv[1:] if arguments is None else arguments),
        ]
        return subprocess.run(command, env={**os.environ, **dict.fromkeys(THREADS, "1")}).returncode
    rows = run(options.profile, options.work)
    print(table(rows))
    if options.json:
        with open(options.json, "w") as file:
            json.dump([{**asdict(r), "ratio": r.ratio} for r in rows], file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
