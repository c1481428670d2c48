"""Building blocks of convolutional and attention models equal Keras 3, and so do their masks."""

from __future__ import annotations

import numpy as np
import pytest

import rnnx

from .compare import DTYPES, cast, check_layer, flat, make_layer, same_gradient, same_values
from .store import Case, build_layer, load

CASES = load("keras_blocks")
VOLUMES = load("keras_volumes")
MASKS = [name for name in CASES if name.startswith("mask-")]
DROPPED = [name for name in CASES if CASES[name].get("masks/inputs") is not None]
ATTENTION = [name for name in CASES if name.startswith("attention-")]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name in CASES if name not in MASKS + ATTENTION + DROPPED])
def test_layers_equal_keras(name, dtype):
    check_layer(CASES[name], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", VOLUMES)
def test_layers_over_volumes_equal_keras(name, dtype):
    check_layer(VOLUMES[name], dtype)


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


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ATTENTION)
def test_attention_equals_keras(name, dtype):
    case = CASES[name]
    layer = make_layer(case, dtype)
    xs = [cast(x, dtype) for x in case.listed("x")]
    call = dict(case.config["call"])
    masks = [case.get(f"masks/{number}") for number in range(3)]
    if any(mask is not None for mask in masks):
        call["mask"] = masks[: len(xs)] if "Multi" in name else masks[:2]
    if case.get("attention_mask") is not None:
        call["attention_mask"] = case["attention_mask"]
    y, pullback = layer.vjp(xs, **call)
    for number, (value, wish) in enumerate(zip(flat(y), case.listed("y"), strict=True)):
        same_values(value, wish, dtype, f"result {number}")
    dys = [cast(dy, dtype) for dy in case.listed("dy")]
    gradients = pullback(dys if isinstance(y, list) else dys[0])
    for number, (value, wish) in enumerate(zip(gradients.dx, case.listed("dx"), strict=True)):
        same_gradient(value, wish, dtype, f"dx {number}")
    scale = max(float(np.abs(wish).max()) for wish in case.listed("dweights")) if layer.weights else 0
    for value, wish in zip(gradients.dweights, case.listed("dweights"), strict=True):
        np.testing.assert_allclose(value, wish, rtol=0, atol=scale * (1e-5 if dtype == "float32" else 1e-11))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", DROPPED)
def test_a_convolutional_lstm_drops_what_keras_does(name, dtype, monkeypatch):
    case = CASES[name]
    drawn = [cast(case[f"masks/{word}"][:, :, 0], dtype) for word in ("inputs", "recurrent")]
    monkeypatch.setattr(rnnx.layers.ConvLSTM1D, "_masks", lambda *_: drawn)
    for word in ("inputs", "recurrent"):
        case = Case(case.config, {key: value for key, value in case.arrays.items() if key != f"masks/{word}"})
    check_layer(case, dtype)
