"""Recurrent layers equal Keras 3 and tf_keras in values and gradients, with dropout and padding."""

from __future__ import annotations

import numpy as np
import pytest

import rnnx
import rnnx.functional
import rnnx.reference

from .compare import DTYPES, cast, check_core, check_layer, flat, make_layer, same_values
from .store import load

CASES = load("keras_recurrent") | {f"padding/{name}": case for name, case in load("keras_padding").items()}
CORE = [name for name, case in CASES.items() if case.config["spec"]["class"] in ("LSTM", "GRU", "SimpleRNN")]
TF_CASES = load("tf_keras")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CORE)
def test_functional_core_equals_keras(name, dtype):
    check_core(rnnx.functional, CASES[name], dtype)


@pytest.mark.parametrize("name", CORE)
def test_reference_equals_keras(name):
    check_core(rnnx.reference, CASES[name], "float64")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_layers_equal_keras(name, dtype):
    check_layer(CASES[name], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", TF_CASES)
def test_layers_equal_tf_keras_given_its_masks(name, dtype):
    check_layer(TF_CASES[name], dtype, compat="tf_keras2")


@pytest.mark.parametrize("name", TF_CASES)
def test_profile_of_tf_keras_draws_its_kind_of_masks(name):
    case = TF_CASES[name]
    layer = make_layer(case, "float32", compat="tf_keras2", seed=5)
    batch, timesteps, _ = case["x/0"].shape
    drawn = layer.sample_masks(batch, timesteps)
    for kind in ("inputs", "recurrent"):
        expected = case.get(f"masks/{kind}")
        mask = getattr(drawn, kind)
        assert (mask is None) == (expected is None)
        if expected is not None:
            assert mask.shape == expected.shape
            assert set(np.unique(mask)) <= set(np.unique(expected)) | {0}


@pytest.mark.parametrize("name", [n for n in CASES if n.startswith("padding/") and "zero=False" in n])
def test_padded_rows_equal_the_rows_without_padding(name):
    """The rule behind the padding matrix, without any framework: run the valid steps of each row alone."""
    case = CASES[name]
    layer = make_layer(case, "float64")
    x, mask = cast(case["x/0"], "float64"), case["mask"]
    states = [cast(state, "float64") for state in case.listed("initial_state")]
    padded = flat(layer(x, mask=mask, initial_state=states or None))
    sequences = "sequences=True" in name
    outputs = 2 if "-None-" in name else 1
    backwards = "-backward-" in name
    for row in np.flatnonzero(mask.any(axis=1)):
        steps = np.flatnonzero(mask[row])
        alone = flat(layer(x[row : row + 1, steps], initial_state=[state[row : row + 1] for state in states] or None))
        places = mask.shape[1] - 1 - steps[::-1] if backwards else steps
        for number, (whole, short) in enumerate(zip(padded, alone, strict=True)):
            found = whole[row, places] if sequences and number < outputs else whole[row]
            same_values(found, short[0], "float64", f"row {row}, result {number}")
