"""Building blocks of convolutional and attention models equal Keras 3, and so do their masks."""

from __future__ import annotations

import numpy as np
import pytest

import rnnx

from .compare import DTYPES, check_layer
from .store import build_layer, load

CASES = load("keras_blocks")
MASKS = [name for name in CASES if name.startswith("mask-")]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name in CASES if name not in MASKS])
def test_layers_equal_keras(name, dtype):
    check_layer(CASES[name], dtype)


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
