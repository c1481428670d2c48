"""`.keras` files as tf.keras of TensorFlow 2.12 to 2.15 laid them out, and words of Keras 2.0."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import rnnx
from rnnx import layers
from rnnx.formats import keras
from rnnx.saving import FormatError

X = np.random.default_rng(3).normal(size=(2, 5, 3)).astype("float32")


def network() -> Any:
    """Two layers of a class, in a model inside of a model too, and some without weights between them."""
    inner = rnnx.Sequential([rnnx.Input((None, 4)), layers.LSTM(4, return_sequences=True), layers.LSTM(4)], name="deep")
    parts = [
        layers.LSTM(4, return_sequences=True), layers.Dropout(0.1), layers.LSTM(4, return_sequences=True),
        layers.Bidirectional(layers.GRU(2, return_sequences=True)), layers.Dropout(0.1),
        layers.LSTM(4, return_sequences=True), inner, layers.Dense(3), layers.Dense(2),
    ]  # fmt: skip
    return rnnx.Sequential([rnnx.Input((None, 3)), *parts])


def rewritten(path: Path, change: Any) -> Path:
    """A `.keras` file whose weights are laid out anew: `change` takes the path of an array and gives another."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    made = io.BytesIO()
    with h5py.File(io.BytesIO(members["model.weights.h5"])) as old, h5py.File(made, "w") as new:

        def copy(name: str, found: Any) -> None:
            if isinstance(found, h5py.Dataset):
                *where, number = change(name)
                group = new
                for part in where:
                    group = group.require_group(part)
                group[number] = found[()]

        old.visititems(copy)
    with zipfile.ZipFile(target := path.with_name("tf.keras"), "w") as archive:
        for name, data in {**members, "model.weights.h5": made.getvalue()}.items():
            archive.writestr(name, data)
    return target


def counted_twice(name: str, root: str) -> list[str]:
    """Of layers with weights; all in these paths are such."""
    made = []
    for place, part in enumerate(name.split("/")):
        stem, _, number = part.rpartition("_")
        if place and name.split("/")[place - 1] == "layers" and number.isdigit():
            part = f"{stem}_{2 * int(number)}"
        made.append(root if part == "layers" else part)
    return made


def windows(parts: list[str]) -> list[str]:
    k = parts.index("vars")
    return ["\\".join(parts[:k]), *parts[k:]]


@pytest.mark.parametrize("root", ["layers", "_layer_checkpoint_dependencies"])
@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("backslashes", [False, True])
def test_layouts_of_weights(root: str, twice: bool, backslashes: bool, tmp_path: Path) -> None:
    model = network()
    model.save(tmp_path / "m.keras")

    def change(name: str) -> list[str]:
        parts = counted_twice(name, root) if twice else [root if p == "layers" else p for p in name.split("/")]
        return windows(parts) if backslashes else parts

    path = rewritten(tmp_path / "m.keras", change)
    np.testing.assert_array_equal(rnnx.load_model(path)(X), model(X))
    other = network()
    other.load_weights(path)
    np.testing.assert_array_equal(other(X), model(X))


def test_weights_alone_of_windows(tmp_path: Path) -> None:
    model = rnnx.Sequential([rnnx.Input((None, 3)), layers.LSTM(4), layers.Dense(2)])
    model.save_weights(tmp_path / "m.weights.h5")
    with h5py.File(tmp_path / "m.weights.h5") as old, h5py.File(tmp_path / "w.weights.h5", "w") as new:
        for place in ("layers/lstm/cell", "layers/dense"):
            group = new.create_group(place.replace("/", "\\"))
            old.copy(f"{place}/vars", group)
        new.create_group("layers\\dropout").create_group("vars")
    other = rnnx.Sequential([rnnx.Input((None, 3)), layers.LSTM(4), layers.Dense(2)])
    other.load_weights(tmp_path / "w.weights.h5")
    np.testing.assert_array_equal(other(X), model(X))
    with h5py.File(tmp_path / "w.weights.h5", "r+") as file:
        file.move("layers\\lstm\\cell", "layers\\lstm_x\\cell")
    with pytest.raises(FormatError, match="there is no group '/layers/lstm' with the weights of"):
        other.load_weights(tmp_path / "w.weights.h5")


def old_model(path: Path, parts: list[Any], training: Any = None) -> Path:
    """A model of Keras 2.0.2: an Embedding, and a Dense over its sum of all steps."""
    config = {"class_name": "Sequential", "config": [{"class_name": k, "config": own} for k, own, _ in parts]}
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"], file.attrs["backend"] = b"2.0.2", b"theano"
        file.attrs["model_config"] = json.dumps(config).encode()
        if training:
            file.attrs["training_config"] = json.dumps(training).encode()
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = np.array([own["name"].encode() for _, own, _ in parts])
        for _, own, arrays in parts:
            inner = group.create_group(own["name"])
            inner.attrs["weight_names"] = np.array([f"w{k}".encode() for k in range(len(arrays))], dtype="S9")
            for k, value in enumerate(arrays):
                inner[f"w{k}"] = value
    return path


def test_integer_types_are_those_of_the_input(tmp_path: Path) -> None:
    table, kernel = np.linspace(-1, 1, 28).reshape(7, 4), np.linspace(0, 1, 8).reshape(4, 2)
    ids = np.array([[1, 2, 3], [4, 5, 6]])
    words = {"name": "e", "input_dim": 7, "output_dim": 4, "dtype": "int32", "batch_input_shape": [None, 3]}
    dense = {"name": "d", "units": 2, "use_bias": False, "activation": "linear"}
    flat = [("Embedding", words, [table]), ("GlobalAveragePooling1D", {"name": "g"}, []), ("Dense", dense, [kernel])]
    model = rnnx.load_model(old_model(tmp_path / "m.h5", flat))
    np.testing.assert_allclose(model(ids), table[ids].mean(axis=1) @ kernel, rtol=0, atol=1e-6)
    assert model.layers[0].dtype == "float32"
    first = ("Reshape", {"name": "r", "target_shape": [3], "dtype": "int64", "batch_input_shape": [None, 3, 1]}, [])
    rest = [first, ("Embedding", {**words, "batch_input_shape": None}, [table]), *flat[1:]]
    model = rnnx.load_model(old_model(tmp_path / "r.h5", rest))
    np.testing.assert_allclose(model(ids[..., None]), table[ids].mean(axis=1) @ kernel, rtol=0, atol=1e-6)


@pytest.mark.parametrize("word", ["acc", "accuracy"])
def test_accuracy_of_a_file_is_chosen_from_the_shapes(word: str, tmp_path: Path) -> None:
    dense = {"name": "d", "units": 3, "use_bias": False, "activation": "linear", "batch_input_shape": [None, 3]}
    training = {
        "optimizer_config": {"class_name": "SGD", "config": {"lr": 0.1}},
        "loss": "categorical_crossentropy", "metrics": [word], "sample_weight_mode": None, "loss_weights": None,
    }  # fmt: skip
    path = old_model(tmp_path / "m.h5", [("Dense", dense, [np.eye(3)])], training)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = rnnx.load_model(path)
    x = np.array([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7]])
    logs = model.evaluate(x, np.eye(3)[[0, 1]], verbose=0, return_dict=True)
    assert logs[word] == 0.5


def test_words_of_windows_in_what_is_described(tmp_path: Path) -> None:
    model = rnnx.Sequential([rnnx.Input((None, 3)), layers.Dense(2)])
    model.save_weights(tmp_path / "m.weights.h5")
    with h5py.File(tmp_path / "m.weights.h5", "r+") as file:
        file.move("layers/dense", "layers\\dense")
        del file["layers"]
    found = keras.describe(tmp_path / "m.weights.h5")
    assert found["weights"]["layers\\dense/vars/0"] == ("float32", (3, 2))
