"""Files and pickles of rnnx 0.1.0 open and go on to the numbers that 0.1.0 gave."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import rnnx

from .store import DATA

FOLDER = DATA / "rnnx_0_1_0"


@pytest.fixture(scope="module")
def wanted() -> Any:
    with np.load(FOLDER / "outputs.npz") as opened:
        return dict(opened)


def close(got: Any, want: Any) -> None:
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-6)


@pytest.mark.parametrize("suffix", ["safetensors", "pickle"])
def test_a_compiled_model_goes_on(suffix: str, wanted: Any) -> None:
    path = FOLDER / f"sequential.{suffix}"
    model = pickle.loads(path.read_bytes()) if suffix == "pickle" else rnnx.load_model(path)
    close(model.predict(wanted["x"], verbose=0), wanted["sequential"])
    close(model.train_on_batch(wanted["x"], wanted["y"]), wanted["sequential_loss"])
    close(model.predict(wanted["x"], verbose=0), wanted["sequential_after"])


@pytest.mark.parametrize("suffix", ["safetensors", "pickle"])
def test_its_8_bit_weights_meet_16_bit_operands(suffix: str, tmp_path: Any) -> None:
    path = FOLDER / f"quantized.{suffix}"
    model = pickle.loads(path.read_bytes()) if suffix == "pickle" else rnnx.load_model(path)
    with np.load(FOLDER / "quantized_outputs.npz") as wanted:
        x, y = wanted["x"], wanted["y"]
    np.testing.assert_allclose(model.predict(x, verbose=0), y, rtol=0, atol=1e-5)  # 8 bits are farther away
    assert {layer.quantization_mode for layer in model.layers} == {"int8x16"}
    model.save(tmp_path / "again.safetensors")
    for again in (rnnx.load_model(tmp_path / "again.safetensors"), pickle.loads(pickle.dumps(model))):
        assert {layer.quantization_mode for layer in again.layers} == {"int8x16"}


def test_a_pickled_graph_and_a_layer(wanted: Any) -> None:
    model, layer = pickle.loads((FOLDER / "functional_and_layer.pickle").read_bytes())
    close(model.predict(wanted["x"], verbose=0), wanted["functional"])
    assert np.isfinite(model.train_on_batch(wanted["x"], wanted["y"])[0])
    close(layer(wanted["x"]), wanted["layer"])
    close(layer(wanted["x"], training=True), wanted["layer_training"])
    again = pickle.loads(pickle.dumps(layer))
    close(again(wanted["x"]), wanted["layer"])
