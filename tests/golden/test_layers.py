"""Layers without a time loop, activations, and where masks go, equal Keras 3."""

from __future__ import annotations

import numpy as np
import pytest

import rnnx

from .compare import DTYPES, cast, check_layer, same_gradient, same_values
from .store import build_layer, load

CASES = load("keras_layers")
ACTIVATIONS = [name for name in CASES if name.startswith("activation-")]
MASKS = [name for name in CASES if name.startswith("mask-")]
LAYERS = [name for name in CASES if name not in MASKS]
POOLING = {name: case for name, case in load("keras_numpy").items() if name.startswith("pooling-")}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LAYERS)
def test_layers_equal_keras(name, dtype):
    check_layer(CASES[name], dtype)


@pytest.mark.parametrize("name", POOLING)
def test_averages_leave_uneven_padding_out(name):
    check_layer(POOLING[name], "float32")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_equal_keras(name, dtype):
    case = CASES[name]
    activation = rnnx.activations.get(name.removeprefix("activation-"))
    x = cast(case["x/0"], dtype)
    y = activation(x)
    same_values(y, case["y/0"], dtype)
    precision = case.config.get("gradient_precision", dtype)
    same_gradient(activation.vjp(x, y, cast(case["dy/0"], dtype)), case["dx/0"], precision)


@pytest.mark.parametrize("name", MASKS)
def test_masks_pass_and_stop_where_they_do_in_keras(name):
    case = CASES[name]
    layer = build_layer(rnnx.layers, case.config["spec"])
    xs = case.listed("x")
    masks = [case.get(f"masks/{number}") for number in range(len(xs))]
    several = len(xs) > 1
    layer.build([x.shape for x in xs] if several else xs[0].shape)
    mask = layer.compute_mask(xs if several else xs[0], masks if several else masks[0])
    expected = case.get("mask_out")
    assert (mask is None) == (expected is None)
    if expected is not None:
        np.testing.assert_array_equal(mask, expected)
