"""Recurrent layers with converted weights equal PyTorch's, full and packed, in values and gradients."""

from __future__ import annotations

import numpy as np
import pytest

import rnnx

from .compare import DTYPES, cast, close, flat, same_gradient, same_values
from .convert import gradients_to_keras, to_keras
from .store import load

CASES = load("torch")
CLASSES = {"LSTM": "LSTM", "GRU": "GRU", "RNN": "SimpleRNN"}


def parts(case, prefix, suffix, dtype):
    """Return the arrays of one direction in PyTorch's order."""
    names = [f"{prefix}/{name}_l0{suffix}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    return [cast(case[name], dtype) for name in names if case.get(name) is not None]


def rows(states, directions):
    """Turn PyTorch's states, each (directions, batch, units), into Keras' list with directions outside."""
    return [state[direction] for direction in range(directions) for state in states]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_layers_equal_torch(name, dtype):
    case = CASES[name]
    config = case.config
    cell, directions = config["class"], 1 + config["kwargs"].get("bidirectional", False)
    suffixes = ["", "_reverse"][:directions]
    options = {"activation": config["kwargs"]["nonlinearity"]} if cell == "RNN" else {}
    layer = getattr(rnnx.layers, CLASSES[cell])(
        3, return_sequences=True, return_state=True, use_bias=config["bias"], dtype=dtype, **options
    )
    if directions == 2:
        layer = rnnx.layers.Bidirectional(layer, dtype=dtype)
    x = cast(case["x"], dtype)
    layer.build(x.shape)
    weights = [weight for suffix in suffixes for weight in to_keras(cell, parts(case, "weights", suffix, dtype))]
    layer.set_weights(weights)
    lengths = None if config["lengths"] is None else np.array(config["lengths"])
    states = [cast(state, dtype) for state in rows(case.listed("states"), directions)]
    ys, pullback = layer.vjp(x, lengths=lengths, initial_state=states or None, training=True)

    valid = np.ones(x.shape[:2], dtype=bool) if lengths is None else np.arange(x.shape[1]) < lengths[:, None]
    outputs, *last = case.listed("y")
    same_values(ys[0] * valid[..., None], outputs, dtype, "outputs")
    for value, wish in zip(flat(ys[1:]), rows(last, directions), strict=True):
        same_values(value, wish, dtype, "state")

    dys = [cast(dy, dtype) for dy in case.listed("dy")]
    gradients = pullback([dys[0] * valid[..., None].astype(dtype), *rows(dys[1:], directions)])
    same_gradient(gradients.dx, case["dx"], dtype, "dx")
    wishes = [
        wish for suffix in suffixes for wish in gradients_to_keras(cell, parts(case, "dweights", suffix, "float64"))
    ]
    for number, (value, wish) in enumerate(zip(gradients.dweights, wishes, strict=True)):
        same_gradient(value, wish, dtype, f"dweights {number}")
    for value, wish in zip(flat(gradients.dinitial_state), rows(case.listed("dstates"), directions), strict=False):
        same_gradient(value, wish, dtype, "dinitial_state")


@pytest.mark.parametrize("cell", CLASSES)
def test_conversion_undoes_itself(cell):
    from .convert import to_torch

    rng = np.random.default_rng(3)
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[cell]
    shapes = [(gates * 3, 4), (gates * 3, 3), (gates * 3,), (gates * 3,)]
    weights = to_keras(cell, [rng.normal(size=shape) for shape in shapes])
    for value, wish in zip(to_keras(cell, to_torch(cell, weights)), weights, strict=True):
        close(value, wish, 0)
