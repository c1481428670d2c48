"""Keras on either backend: its layers and cells with the weights of a problem; the backend calls and differentiates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fit
import keras
import numpy as np
from problem import DROPOUT, RECURRENT_DROPOUT, Problem, Results, Work, gradients, several_steps


class KerasPeer:
    """What both backends share. Steps use a cell, which is faster than a layer of one step."""

    def versions(self) -> dict[str, str]:
        return {"keras": keras.__version__}

    def inference(self, layer: Any, x: Any, **call: Any) -> Callable[[], Any]:
        """A function that calls the layer."""
        raise NotImplementedError

    def steps(self, cell: Any, x: Any, states: list[Any]) -> Callable[[], Any]:
        """A function that makes a step, from the state of the step before, and gives its output."""
        raise NotImplementedError

    def gradient(self, layer: Any, x: Any, dy: Any, **call: Any) -> Callable[[], tuple[Any, Any]]:
        """A function that calls the layer in training and gives the outputs and (dx, dkernel, drecurrent, dbias)."""
        raise NotImplementedError

    def prepare(self, p: Problem) -> Work:
        c = p.cell
        if c.work == "fit":
            return fit.work(keras, p)
        if c.work == "step":
            cell = (keras.layers.LSTMCell if c.kind == "lstm" else keras.layers.GRUCell)(c.units)
            cell.build((c.batch, c.units))
            cell.set_weights(p.weights())
            zeros = [np.zeros((c.batch, c.units), np.float32)] * (2 if c.kind == "lstm" else 1)
            step = self.steps(cell, array(p.x[:, 0]), [array(z) for z in zeros])
            return several_steps(step, keras.ops.convert_to_numpy)
        call = {"mask": array(p.valid)} if c.work.startswith("ragged") else {}
        if "training" in c.work:
            return self.training(p, self.gradient(layer_of(p), array(p.x), array(p.dy), **call))
        if c.work == "dropout":
            return self.dropout(p)
        layer = stack_of(p) if c.work == "bidirectional" else layer_of(p)
        run = self.inference(layer, array(p.x), **call)
        return Work(run, lambda: {"y": keras.ops.convert_to_numpy(run())})

    def training(self, p: Problem, step: Callable[[], Any], check: Callable[[], Any] | None = None) -> Work:
        def results() -> Results:
            y, grads = (check or step)()
            return gradients(*map(keras.ops.convert_to_numpy, (y, *grads)))

        return Work(step, results)

    def dropout(self, p: Problem) -> Work:
        """Keras draws masks for each gate; for the check its cell is given ours."""
        if p.cell.masks != "per gate":
            raise NotImplementedError("each gate has masks of its own")
        x, dy = array(p.x), array(p.dy)
        rates = {"dropout": DROPOUT, "recurrent_dropout": RECURRENT_DROPOUT}
        timed, checked = layer_of(p, **rates), layer_of(p, **rates)
        x_masks, h_masks = [array(m) for m in p.x_masks], [array(m) for m in p.h_masks]
        checked.cell.get_dropout_mask = lambda inputs: x_masks
        checked.cell.get_recurrent_dropout_mask = lambda state: h_masks
        return self.training(p, self.gradient(timed, x, dy), self.gradient(checked, x, dy))


def array(value: Any) -> Any:
    """A tensor of the backend."""
    return keras.ops.convert_to_tensor(value)


def layer_of(p: Problem, **options: Any) -> Any:
    """A layer with the problem's weights; ragged work has the last output only."""
    c = p.cell
    kind = keras.layers.LSTM if c.kind == "lstm" else keras.layers.GRU
    layer = kind(c.units, return_sequences=not c.work.startswith("ragged"), **options)
    layer.build((c.batch, c.timesteps, c.units))
    layer.set_weights(p.weights())
    return layer


def stack_of(p: Problem, **options: Any) -> Any:
    """Two bidirectional layers."""
    c = p.cell
    kind = keras.layers.LSTM if c.kind == "lstm" else keras.layers.GRU
    model = keras.Sequential(
        [keras.layers.Bidirectional(kind(c.units, return_sequences=True, **options)) for _ in range(2)]
    )
    model.build((c.batch, c.timesteps, c.units))
    for k, layer in enumerate(model.layers):
        layer.set_weights([*p.weights(k, 0), *p.weights(k, 1)])
    return model
