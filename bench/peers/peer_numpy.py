"""The NumPy loop of ``rnnx bench``, read from its file, so that rnnx itself is not needed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
from problem import DROPOUT, RECURRENT_DROPOUT, Array, Problem, Results, Work, gradients, several_steps

LOOP = Path(__file__).parents[2] / "src" / "rnnx" / "_bench" / "numpy_loop.py"


class Peer:
    """One mask serves all gates of this loop. Padding is computed; the last valid output is picked."""

    def __init__(self, threads: int):
        spec = importlib.util.spec_from_file_location("numpy_loop", LOOP)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.loops: dict[str, Any] = {"lstm": module.NumpyLSTM, "gru": module.NumpyGRU}

    def versions(self) -> dict[str, str]:
        return {"numpy": np.__version__, "python": sys.version.split()[0]}

    def prepare(self, p: Problem) -> Work:
        c, kind = p.cell, self.loops[p.cell.kind]
        loop, x = kind(*p.weights()), p.by_time("x")
        if c.work == "step":
            return self.step(p, loop)
        if c.work == "bidirectional":
            return self.bidirectional(p, kind)
        if "training" in c.work or c.work == "dropout":
            return self.training(p, loop)
        if c.work == "ragged":
            last, rows = p.lengths - 1, np.arange(c.batch)
            return Work(lambda: loop.forward(x)[last, rows], lambda: {"y": loop.forward(x)[last, rows]})
        return Work(lambda: loop.forward(x), lambda: {"y": loop.forward(x).swapaxes(0, 1)})

    def step(self, p: Problem, loop: Any) -> Work:
        x = np.ascontiguousarray(p.x[:, 0])
        state = [np.zeros((p.cell.batch, p.cell.units), np.float32)] * (2 if p.cell.kind == "lstm" else 1)

        def call() -> Any:
            nonlocal state
            state = loop.step(x, *state)
            return state[0]

        return several_steps(call, lambda y: y)

    def bidirectional(self, p: Problem, kind: Any) -> Work:
        stack = [[kind(*p.weights(k, d)) for d in range(2)] for k in range(2)]
        x = p.by_time("x")

        def call() -> Array:
            y = x
            for ahead, back in stack:
                y = np.concatenate([ahead.forward(y), back.forward(y[::-1])[::-1]], axis=2)
            return y

        return Work(call, lambda: {"y": call().swapaxes(0, 1)})

    def training(self, p: Problem, loop: Any) -> Work:
        c, x = p.cell, p.by_time("x")
        ragged = c.work == "ragged-training"
        last, rows = p.lengths - 1, np.arange(c.batch)
        if ragged:
            dy = np.zeros_like(x)
            dy[last, rows] = p.dy
        else:
            dy = p.by_time("dy")

        def step(*masks: Array) -> tuple[Any, Any]:
            y = loop.forward(x, *masks)
            return y, loop.backward(dy)

        def results(*masks: Array) -> Results:
            y, (dx, *rest) = step(*masks)
            return gradients(y[last, rows] if ragged else y.swapaxes(0, 1), dx.swapaxes(0, 1), *rest)

        if c.work != "dropout":
            return Work(step, results)
        if c.masks == "per gate":
            raise NotImplementedError("one mask serves all gates")
        rng = np.random.default_rng(1)

        def draw(rate: float) -> Array:
            keep = rng.random((c.batch, c.units), np.float32) >= rate
            return keep * np.float32(1 / (1 - rate))

        return Work(lambda: step(draw(DROPOUT), draw(RECURRENT_DROPOUT)), lambda: results(p.x_masks[0], p.h_masks[0]))
