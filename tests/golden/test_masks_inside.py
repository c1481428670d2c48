"""Masks inside wrappers and merges, masks that ride on arrays, and channels first, equal Keras 3."""

from __future__ import annotations

import numpy as np
import pytest

import rnnx

from .compare import DTYPES, cast, check_layer, same_values
from .store import build_layer, load

CASES = load("keras_masks")


def named(*kinds: str) -> list[str]:
    return [name for name in CASES if name.startswith(kinds)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name in named("steps-") if name != "steps-softmax"])
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
