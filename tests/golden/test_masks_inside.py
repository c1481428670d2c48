"""Masks inside wrappers and merges, masks that ride on arrays, and channels first, equal Keras 3."""

from __future__ import annotations

import numpy as np
import pytest

import rnnx

from .compare import DTYPES, cast, check_layer, same_gradient, same_values
from .store import build_layer, load

CASES = load("keras_masks")


def named(*kinds: str) -> list[str]:
    return [name for name in CASES if name.startswith(kinds)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", named("steps-", "softmax-"))
def test_masked_layers_equal_keras(name, dtype):
    check_layer(CASES[name], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", named("channels-"))
def test_channels_first_equals_keras(name, dtype):
    check_layer(CASES[name], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", named("carried-"))
def test_masks_ride_on_arrays_as_in_keras(name, dtype):
    """A chain of layers outside of a model: the mask behind each of them, and the output of the last."""
    case = CASES[name]
    y = cast(case["x"], dtype)
    for number, spec in enumerate(case.config["specs"]):
        layer = build_layer(rnnx.layers, spec, dtype=dtype)
        layer.build(y.shape)
        layer.set_weights([cast(weight, dtype) for weight in case.listed(f"weights/{number}")])
        y = layer(y)
        carried, expected = getattr(y, "mask", None), case.get(f"carried/{number}")
        assert (carried is None) == (expected is None), spec["class"]
        if expected is None:
            assert type(y) is np.ndarray
        else:
            np.testing.assert_array_equal(carried, expected)
    same_values(y, case["y"], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", named("merge-"))
def test_merges_of_masked_inputs_equal_keras(name, dtype):
    case = CASES[name]
    xs = [cast(x, dtype) for x in case.listed("x")]
    masks = [case.get(f"masks/{number}") for number in range(len(xs))]
    layer = build_layer(rnnx.layers, case.config["spec"], dtype=dtype)
    y, pullback = layer.vjp(xs, mask=masks)
    same_values(y, case["y/0"], dtype)
    assert (case.get("mask_out") is None) == (type(y) is np.ndarray)
    if case.get("mask_out") is not None:
        np.testing.assert_array_equal(y.mask, case["mask_out"])
    for number, dx in enumerate(pullback(cast(case["dy/0"], dtype)).dx):
        same_gradient(dx, case[f"dx/{number}"], dtype)
    entries = [rnnx.Input(x.shape[1:], dtype=dtype) for x in xs]
    model = rnnx.Model(entries, layer(entries))
    np.testing.assert_array_equal(model(xs, mask=masks), y)
