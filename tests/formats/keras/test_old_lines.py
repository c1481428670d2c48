"""The hard_sigmoid of Keras 1 and 2 in files for Keras 3, whose own is another line: weights make up for it."""

from __future__ import annotations

import json
import warnings
import zipfile
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import layers
from rnnx.formats.convert import convert
from rnnx.saving import FormatError

RNG = np.random.default_rng(7)
X = 3 * RNG.normal(size=(4, 6, 3))
OLD = "hard_sigmoid_keras2"


def model_of(*parts: Any, dtype: str = "float64") -> Any:
    model = rnnx.Sequential([rnnx.Input((None, 3), dtype=dtype), *parts])
    model.set_weights([RNG.normal(size=w.shape) for w in model.weights])
    return model


def lines_in(path: Any) -> str:
    with zipfile.ZipFile(path) as archive:
        return json.dumps(json.loads(archive.read("config.json")))


def numbered(gates: dict[str, Any]) -> Any:
    return {"dtype": "float64", "return_sequences": True, **gates}


GATES = {"recurrent_activation": OLD}
PARTS = {
    "lstm": lambda: layers.LSTM(4, **numbered(GATES)),
    "lstm without bias": lambda: layers.LSTM(4, use_bias=False, **numbered(GATES)),
    "gru": lambda: layers.GRU(4, **numbered(GATES)),
    "gru before": lambda: layers.GRU(4, reset_after=False, activation=OLD, **numbered(GATES)),
    "gru candidate": lambda: layers.GRU(4, activation=OLD, **numbered({})),
    "simple": lambda: layers.SimpleRNN(4, activation=OLD, **numbered({})),
    "both": lambda: layers.Bidirectional(layers.LSTM(4, compat="keras2.2", **numbered(GATES))),
    "cells": lambda: layers.RNN(
        [layers.LSTMCell(4, dtype="float64", **GATES), layers.GRUCell(3, dtype="float64", **GATES)],
        return_sequences=True,
    ),
    "dense": lambda: layers.TimeDistributed(layers.Dense(4, activation=OLD, dtype="float64")),
    "convolution": lambda: layers.Conv1D(4, 2, activation=OLD, dtype="float64"),
    "inside": lambda: rnnx.Sequential([rnnx.Input((None, 3), dtype="float64"), layers.LSTM(4, **numbered(GATES))]),
}


@pytest.mark.parametrize("name", PARTS)
def test_the_same_outputs(name: str, tmp_path: Any) -> None:
    model = model_of(PARTS[name]())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.save(tmp_path / "m.keras")
    again = rnnx.load_model(tmp_path / "m.keras")
    assert OLD not in lines_in(tmp_path / "m.keras") and '"hard_sigmoid"' in lines_in(tmp_path / "m.keras")
    np.testing.assert_allclose(again(X), model(X), rtol=0, atol=1e-12)
    saturated = np.abs(np.asarray(model(X)))
    assert np.ptp(saturated) > 0.1


def test_columns_of_the_gates_and_no_others(tmp_path: Any) -> None:
    model = model_of(layers.LSTM(2, **numbered(GATES)))
    model.save(tmp_path / "m.keras")
    factors = np.repeat([1.2, 1.2, 1.0, 1.2], 2)
    for new, old in zip(rnnx.load_model(tmp_path / "m.keras").get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old * factors)
    model.save_weights(tmp_path / "w.weights.h5")  # which say no activation, and come back as they are
    other = model_of(layers.LSTM(2, **numbered(GATES)))
    other.load_weights(tmp_path / "w.weights.h5")
    np.testing.assert_array_equal(other(X), model(X))


def test_convert(tmp_path: Any) -> None:
    model = model_of(layers.LSTM(4, recurrent_activation=OLD), layers.Dense(2), dtype="float32")
    model.save(tmp_path / "m.safetensors")
    done = convert(tmp_path / "m.safetensors", tmp_path / "m.keras")
    assert done.largest_difference < 1e-6


def test_penalties_see_other_weights(tmp_path: Any) -> None:
    model = model_of(layers.LSTM(4, kernel_regularizer="l2", name="penalized", **numbered(GATES)))
    with pytest.warns(UserWarning, match="'penalized' are 1.2 times as large"):
        model.save(tmp_path / "m.keras")


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (lambda: layers.Activation(OLD, dtype="float64"), "without weights before it"),
        (lambda: layers.LSTM(4, activation=OLD, dtype="float64"), "also applied to the cell"),
    ],
)
def test_where_no_weights_can_make_up_for_it(part: Any, reason: str, tmp_path: Any) -> None:
    with pytest.raises(FormatError, match=reason):
        model_of(part()).save(tmp_path / "m.keras")
    assert not list(tmp_path.iterdir())
