"""`load_weights` with `skip_mismatch` and `by_name`, and the other words of Keras around saving."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import layers
from rnnx.saving import FormatError


def network(units: int = 2, last: str = "out", middle: int = 4) -> Any:
    return rnnx.Sequential([
        rnnx.Input((5, 3)), layers.LSTM(middle, return_sequences=True, name="first"), layers.GRU(3, name="second"),
        layers.Dense(units, name=last),
    ])  # fmt: skip


def same(model: Any, other: Any, name: str, other_name: str | None = None) -> bool:
    pairs = zip(model.get_layer(name).get_weights(), other.get_layer(other_name or name).get_weights(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("suffix", [".h5", ".weights.h5", ".keras"])
def test_layers_that_do_not_fit_keep_their_weights(suffix: str, tmp_path: Path) -> None:
    path, model, other = tmp_path / f"w{suffix}", network(), network(units=7)
    (model.save if suffix == ".keras" else model.save_weights)(path)
    with pytest.raises(FormatError, match="weight 'kernel' of 'out' has shape"):
        other.load_weights(path)
    before = other.get_layer("out").get_weights()
    with pytest.warns(UserWarning, match=r"left as it was: weight 'kernel' of 'out' has shape \(3, 7\)"):
        other.load_weights(path, skip_mismatch=True)
    assert same(model, other, "first") and same(model, other, "second")
    for value, want in zip(other.get_layer("out").get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, want)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network().load_weights(path, True)  # where all fits, in Keras' place of the argument


def test_layers_that_are_not_in_the_file(tmp_path: Path) -> None:
    path, model = tmp_path / "w.weights.h5", network()
    model.save_weights(path)
    longer = rnnx.Sequential([*network().layers, layers.BatchNormalization(name="more")])
    longer.build((None, 5, 3))
    with pytest.warns(UserWarning, match="left as it was: there is no group '/layers/batch_normalization'"):
        longer.load_weights(path, skip_mismatch=True)
    assert same(model, longer, "second") and same(model, longer, "out")


def test_by_name(tmp_path: Path) -> None:
    path, model, other = tmp_path / "w.h5", network(), network(units=7, last="another")
    model.save_weights(path)
    before = other.get_layer("another").get_weights()
    other.load_weights(path, by_name=True)
    assert same(model, other, "first") and same(model, other, "second")
    assert all(map(np.array_equal, before, other.get_layer("another").get_weights()))
    with pytest.raises(FormatError, match="weight 'kernel' of 'first' has shape"):
        network(middle=5).load_weights(path, by_name=True)
    with pytest.warns(UserWarning, match="of 'first' has shape .*of 'second' has shape"):
        network(middle=5).load_weights(path, by_name=True, skip_mismatch=True)
    model.save_weights(tmp_path / "w.weights.h5")
    with pytest.raises(FormatError, match="`by_name` is for .h5 files with weights by layer"):
        other.load_weights(tmp_path / "w.weights.h5", by_name=True)
    model.save_weights(tmp_path / "w.safetensors")
    for words in ({"by_name": True}, {"skip_mismatch": True}):
        with pytest.raises(FormatError, match="are for files of Keras"):
            model.load_weights(tmp_path / "w.safetensors", **words)


def test_words_of_saving(tmp_path: Path) -> None:
    path, model = tmp_path / "m.keras", network()
    model.save(path, True, save_format="keras")
    model.save(tmp_path / "m.h5", save_format="h5")
    rnnx.models.save_model(model, path, overwrite=True)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        model.save(path, False)
    with pytest.raises(ValueError, match="`save_format='tf'` does not fit; the suffix says the format"):
        model.save(tmp_path / "m", save_format="tf")
    with pytest.raises(ValueError, match="`save_format='h5'` does not fit"):
        model.save(path, save_format="h5")
    with pytest.raises(ValueError, match="`zipped=False` is not supported"):
        model.save(path, zipped=False)
    for safe in (True, False):
        assert rnnx.load_model(path, safe_mode=safe).count_params() == model.count_params()


def test_export(tmp_path: Path) -> None:
    model, x = network(), np.ones((2, 5, 3), "float32")
    model.export(tmp_path / "m.onnx", format="onnx")
    np.testing.assert_allclose(rnnx.load_model(tmp_path / "m.onnx")(x), model(x), rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="`format` must be 'onnx', the one that is written, got 'tf_saved_model'"):
        model.export(tmp_path / "folder")


def test_compiled_again() -> None:
    model, other = network(), network()
    assert model.get_compile_config() == {}
    model.compile(rnnx.optimizers.Adam(0.02), "mse", metrics=["mae"], loss_weights=[0.5])
    config = model.get_compile_config()
    assert config["optimizer"]["class_name"] == "Adam" and config["metrics"] == ["mae"]
    other.compile_from_config(config)
    other.set_weights(model.get_weights())
    x, y = np.ones((2, 5, 3)), np.ones((2, 2))
    assert other.optimizer.learning_rate == 0.02
    assert other.train_on_batch(x, y) == model.train_on_batch(x, y)
    with pytest.raises(ValueError, match="not compiled"):
        other.compile_from_config({"optimizer": "adam", "loss": "nothing"})
