"""Stacked models and whole training runs equal Keras 3 and PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import rnnx

from .compare import DTYPES, cast, close, largest, same_values
from .curves import CURVES, keras_curve
from .models import MODELS
from .store import load

CASES = load("keras_models")
RUNS = load("curves")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MODELS)
def test_models_equal_keras(name, dtype):
    """Prediction, four losses of `fit`, the weights after it, and what `evaluate` finds in the end."""
    case = CASES[name]
    build, loss, metric = MODELS[name]
    model = build(rnnx, dtype)
    model.compile(optimizer=rnnx.optimizers.SGD(1.0), loss=loss, weighted_metrics=[metric])
    model.set_weights([cast(weight, dtype) for weight in case.listed("weights")])
    x, y = case["x"], case["y"]
    valid = case.get("valid")
    steps = slice(None) if valid is None else valid
    same_values(model.predict(x, verbose=0)[steps], case["prediction"][steps], dtype, "prediction")
    losses = []
    tolerance = {"float32": 1e-5, "float64": 1e-11}[dtype]
    for weighted in (0, 1):
        arguments = {"sample_weight": case["sample_weight"]} if weighted else {}
        logs = model.fit(x, y, batch_size=len(x), epochs=2, shuffle=False, verbose=0, **arguments)
        losses += logs.history["loss"]
        for number, (got, wish) in enumerate(
            zip(model.get_weights(), case.listed(f"weights_after/{weighted}"), strict=True)
        ):
            close(got, wish, tolerance * largest(wish), f"weight {number} after round {weighted}")
    close(losses, case["losses"], tolerance, "losses")
    close(model.evaluate(x, y, batch_size=2, verbose=0), case["evaluation"], tolerance, "evaluation")


@pytest.mark.parametrize("peer", ["keras", "torch"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CURVES)
def test_twenty_steps_of_adam_give_the_loss_curve_of(name, dtype, peer):
    np.testing.assert_allclose(keras_curve(rnnx, name, dtype), RUNS[name][peer], rtol=0, atol=1e-4)
