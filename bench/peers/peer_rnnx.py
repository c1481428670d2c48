"""rnnx, each kind of work the fastest way that its documentation shows."""

from __future__ import annotations

import sys
from typing import Any

import fit
import numpy as np
from problem import DROPOUT, RECURRENT_DROPOUT, Problem, Results, Work, gradients, several_steps

import rnnx
from rnnx import functional
from rnnx.functional import DropoutMasks, GRUParams, LSTMParams


class Peer:
    """Weights are packed once for inference, and within each call for training, because they change there.

    The number of threads comes from the environment.
    """

    def __init__(self, threads: int):
        pass

    def versions(self) -> dict[str, str]:
        return {"rnnx": rnnx.__version__, "numpy": np.__version__, "python": sys.version.split()[0]}

    def prepare(self, p: Problem) -> Work:
        c = p.cell
        if c.work == "fit":
            return fit.work(rnnx, p)
        if c.work == "step":
            return self.step(p)
        if c.work == "sequence":
            layer = self.layer(p, return_sequences=True)
            return Work(lambda: layer(p.x), lambda: {"y": layer(p.x)})
        if c.work == "bidirectional":
            return self.bidirectional(p)
        core: Any = functional.lstm if c.kind == "lstm" else functional.gru
        params = (LSTMParams if c.kind == "lstm" else GRUParams)(*p.weights())
        if "training" in c.work or c.work == "dropout":
            return self.training(p, core, params)
        packed = core.pack(params, "int8" if c.work == "int8" else "full")
        options = {"lengths": p.lengths, "return_sequences": False} if c.work == "ragged" else {}

        def call() -> Any:
            return core.forward(params, p.x, packed=packed, **options).outputs

        return Work(call, lambda: {"y": call()})

    def layer(self, p: Problem, **options: Any) -> Any:
        layer = (rnnx.layers.LSTM if p.cell.kind == "lstm" else rnnx.layers.GRU)(p.cell.units, **options)
        layer.build((None, None, p.cell.units))
        layer.set_weights(list(p.weights()))
        return layer

    def step(self, p: Problem) -> Work:
        stream = self.layer(p).stream(batch_size=p.cell.batch)
        x, out = np.ascontiguousarray(p.x[:, 0]), np.empty((p.cell.batch, p.cell.units), np.float32)
        return several_steps(lambda: stream.step(x, out), lambda y: y)

    def bidirectional(self, p: Problem) -> Work:
        kind = rnnx.layers.LSTM if p.cell.kind == "lstm" else rnnx.layers.GRU
        stack = [rnnx.layers.Bidirectional(kind(p.cell.units, return_sequences=True)) for _ in range(2)]

        def call() -> Any:
            return stack[1](stack[0](p.x))

        call()
        for k, layer in enumerate(stack):
            layer.set_weights([*p.weights(k, 0), *p.weights(k, 1)])
        return Work(call, lambda: {"y": call()})

    def training(self, p: Problem, core: Any, params: Any) -> Work:
        options: dict[str, Any] = {"training": True}
        if p.cell.work == "ragged-training":
            options.update(lengths=p.lengths, return_sequences=False)

        def step(masks: DropoutMasks | None) -> tuple[Any, Any]:
            run = core.forward(params, p.x, masks=masks, **options)
            return run.outputs, core.backward(run.cache, p.dy)

        def results(masks: DropoutMasks | None) -> Results:
            y, grads = step(masks)
            d = grads.dparams
            return gradients(y, grads.dx, d.kernel, d.recurrent_kernel, d.bias)

        if p.cell.work != "dropout":
            return Work(lambda: step(None), lambda: results(None))
        from rnnx.dropout import SeedGenerator, sample_masks

        c, seed = p.cell, SeedGenerator(1)
        rates: dict[str, Any] = {"dropout": DROPOUT, "recurrent_dropout": RECURRENT_DROPOUT}
        gates = "per_gate" if c.masks == "per gate" else "shared"
        given = DropoutMasks(inputs=p.x_masks[:, :, None], recurrent=p.h_masks[:, :, None])

        def call() -> Any:
            sizes = (c.batch, c.timesteps, c.units, c.units)
            return step(sample_masks(c.kind, *sizes, **rates, dropout_gates=gates, seed_generator=seed))

        return Work(call, lambda: results(given))
