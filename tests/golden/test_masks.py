"""With ``SeedGenerator(seed, stream="keras")`` rnnx draws the masks of Keras 3 on numpy, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

import rnnx
from rnnx.dropout import SeedGenerator

from .compare import FORWARD, close, make_layer
from .store import build_layer, load

CASES = load("keras_numpy")
RECURRENT = [name for name, case in CASES.items() if "counter" in case.config]
NOISE = [name for name, case in CASES.items() if "seed" in case.config and name not in RECURRENT]
LAYER_SPECIFIC_NOISE = ("GaussianDropout", "AlphaDropout")


def keras_stream(case):
    return SeedGenerator(case.config["seed"], stream="keras")


@pytest.mark.parametrize("name", RECURRENT)
def test_calls_in_a_row_draw_the_masks_of_keras(name):
    """The counter advances on every call, in training or not, as in Keras."""
    case = CASES[name]
    layer = make_layer(case, "float32", seed=keras_stream(case))
    x = case["x/0"]
    for call, (training, expected) in enumerate(zip(case.config["training"], case.listed("y"), strict=True)):
        result = layer(x, training=training, return_masks=training)
        y, masks = result if training else (result, None)
        close(y, expected, FORWARD["float32"], f"call {call}")
        for kind in ("inputs", "recurrent"):
            drawn = case.get(f"masks/{kind}/{call}")
            if masks is not None and drawn is not None:
                np.testing.assert_array_equal(getattr(masks, kind), drawn)
                assert getattr(masks, kind).dtype == drawn.dtype
            elif masks is not None:
                assert getattr(masks, kind) is None
    close(layer(x, mask=case["mask"], training=True), case["y_masked"], FORWARD["float32"], "with a time mask")


@pytest.mark.parametrize("name", RECURRENT)
def test_sampled_masks_are_those_of_the_next_call(name):
    case = CASES[name]
    layer = make_layer(case, "float32", seed=keras_stream(case))
    batch, timesteps, _ = case["x/0"].shape
    masks = layer.sample_masks(batch, timesteps)
    for kind in ("inputs", "recurrent"):
        drawn = case.get(f"masks/{kind}/0")
        if drawn is not None:
            np.testing.assert_array_equal(getattr(masks, kind), drawn)
    close(layer(case["x/0"], training=True, dropout_masks=masks), case["y/0"], FORWARD["float32"])


@pytest.mark.parametrize("name", NOISE)
def test_the_dropout_family_equals_keras(name):
    case = CASES[name]
    layer = build_layer(rnnx.layers, case.config["spec"], seed=keras_stream(case))
    exact = case.config["spec"]["class"] not in LAYER_SPECIFIC_NOISE
    for training, expected in zip(case.config["training"], case.listed("y"), strict=True):
        y = layer(case["x/0"], training=training)
        assert y.dtype == expected.dtype
        if exact:
            np.testing.assert_array_equal(y, expected)
        else:
            close(y, expected, FORWARD["float32"] * np.abs(expected).max())
