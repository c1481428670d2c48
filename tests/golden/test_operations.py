"""``rnnx.ops`` gives what ``keras.ops`` does, on arrays and in models that Keras described."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import ops
from rnnx.formats import keras

from .operations import CALLS
from .store import load

CASE = load("keras_ops")["operations"]
X, K = CASE["x"], CASE["k"]
WIDER = {"top_k places"}  # int64 on PyTorch, for which Keras itself expects int32


def same(found: Any, wanted: np.ndarray, name: str) -> None:
    assert found.shape == wanted.shape and (found.dtype == wanted.dtype or name in WIDER), (name, found.dtype)
    if wanted.dtype.kind == "f":
        np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=2e-6, err_msg=name)
    else:
        np.testing.assert_array_equal(found, wanted, err_msg=name)


@pytest.mark.parametrize("name", CALLS)
def test_arrays(name: str) -> None:
    same(CALLS[name](ops, X, K), CASE[f"y/{name}"], name)


def test_the_names_are_those_of_the_file() -> None:
    assert CASE.config["names"] == list(CALLS)


@pytest.mark.parametrize("form", ["symbolic", "file", "written"])
def test_models(form: str, tmp_path: Any) -> None:
    if form == "file":
        model = keras.from_json(json.dumps(CASE.config["model"]))
    else:
        entries = [rnnx.Input((5, 4), name="x"), rnnx.Input((5,), dtype="int32", name="k")]
        model = rnnx.Model(entries, [call(ops, *entries) for call in CALLS.values()])
    if form == "written":
        model.save(tmp_path / "m.keras")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model = rnnx.load_model(tmp_path / "m.keras")
    for name, found in zip(CALLS, model([X, K]), strict=True):
        same(found, CASE[f"y/{name}"], name)
