"""Weights of Keras up to 2.2 in layers that are made with today's defaults: told, or made right."""

from __future__ import annotations

import warnings
from typing import Any

import h5py
import numpy as np
import pytest

import rnnx
from rnnx import layers
from rnnx.saving import FormatError

RNG = np.random.default_rng(5)
F, U = 3, 4
X = RNG.normal(size=(2, 6, F)).astype("float32")


def weights(gates: int, features: int = F, *, after: bool = False) -> list[Any]:
    shapes = (features, gates * U), (U, gates * U), (2, gates * U) if after else (gates * U,)
    return [RNG.normal(size=shape).astype("float32") for shape in shapes]


def write(path: Any, parts: dict[str, list[Any]], version: str | None = "2.2.4", config: str | None = None) -> Any:
    """A list of weights as Keras writes it."""
    with h5py.File(path, "w") as file:
        group = file
        if config is not None:
            file.attrs["model_config"] = config.encode()
            group = file.create_group("model_weights")
        if version is not None:
            file.attrs["keras_version"] = version.encode()
            file.attrs["backend"] = b"tensorflow"
        group.attrs["layer_names"] = np.array([name.encode() for name in parts])
        for name, arrays in parts.items():
            own = group.create_group(name)
            words = [f"{name}/w{k}:0".encode() for k in range(len(arrays))]
            own.attrs["weight_names"] = np.array(words)
            for word, value in zip(words, arrays, strict=True):
                own[word.decode()] = value
    return path


def old_sigmoid(a: Any) -> Any:
    return np.clip(0.2 * a + 0.5, 0, 1)


def sigmoid(a: Any) -> Any:
    return 1 / (1 + np.exp(-a))


def lstm(x: Any, arrays: list[Any], gate: Any = old_sigmoid) -> Any:
    kernel, recurrent, bias = arrays
    h = c = np.zeros((len(x), U))
    made = []
    for t in range(x.shape[1]):
        i, f, g, o = np.split(x[:, t] @ kernel + h @ recurrent + bias, 4, axis=1)
        c = gate(f) * c + gate(i) * np.tanh(g)
        h = gate(o) * np.tanh(c)
        made.append(h)
    return np.stack(made, axis=1)


def gru(x: Any, arrays: list[Any]) -> Any:
    """With reset_after=False."""
    kernel, recurrent, bias = arrays
    h = np.zeros((len(x), U))
    made = []
    for t in range(x.shape[1]):
        a, r = x[:, t] @ kernel + bias, recurrent
        z, s = old_sigmoid(a[:, :U] + h @ r[:, :U]), old_sigmoid(a[:, U : 2 * U] + h @ r[:, U : 2 * U])
        h = z * h + (1 - z) * np.tanh(a[:, 2 * U :] + (s * h) @ r[:, 2 * U :])
        made.append(h)
    return np.stack(made, axis=1)


def chain(*parts: Any) -> Any:
    return rnnx.Sequential([layers.Input((None, F)), *parts])


def silently(model: Any, path: Any, compat: str | None = None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.load_weights(path, compat=compat)


@pytest.mark.parametrize("version", ["2.2.4", "2.0.8", "2.1.6-tf", "1.2.2", None])
def test_gates_of_an_lstm(version: str | None, tmp_path: Any) -> None:
    arrays = weights(4)
    path = write(tmp_path / "w.h5", {"lstm_1": arrays}, version)
    model = chain(layers.LSTM(U, name="any"))
    model.predict(X, verbose=0)
    with pytest.warns(UserWarning, match=r"recurrent_activation='hard_sigmoid_keras2' for 'any'.*compat='auto'"):
        model.load_weights(path)
    np.testing.assert_allclose(model(X), lstm(X, arrays, sigmoid)[:, -1], rtol=0, atol=1e-6)
    silently(model, path, "keep")
    np.testing.assert_allclose(model(X), lstm(X, arrays, sigmoid)[:, -1], rtol=0, atol=1e-6)
    silently(model, path, "auto")
    for y in (model(X), model.predict(X, verbose=0)):
        np.testing.assert_allclose(y, lstm(X, arrays)[:, -1], rtol=0, atol=1e-6)
    silently(model, path)  # they are as the file now
    assert model.layers[0].compat == ("keras1" if version == "1.2.2" else "keras2.2")
    model.save(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(rnnx.load_model(tmp_path / "m.safetensors")(X), model(X))


@pytest.mark.parametrize("version", ["2.3.1", "2.4.0", "2.15.0", "3.8.0"])
def test_newer_versions_are_taken_as_they_are(version: str, tmp_path: Any) -> None:
    arrays = weights(4)
    path = write(tmp_path / "w.h5", {"lstm_1": arrays}, version)
    for compat in (None, "auto"):
        model = chain(layers.LSTM(U))
        silently(model, path, compat)
        np.testing.assert_allclose(model(X), lstm(X, arrays, sigmoid)[:, -1], rtol=0, atol=1e-6)


def test_two_versions_of_tensorflow_with_one_name(tmp_path: Any) -> None:
    path = write(tmp_path / "w.h5", {"lstm_1": weights(4)}, "2.2.4-tf")
    for compat in (None, "auto"):
        model = chain(layers.LSTM(U))
        with pytest.warns(UserWarning, match="if TensorFlow 1 wrote it"):
            model.load_weights(path, compat=compat)
        assert model.layers[0].recurrent_activation.name == "sigmoid"
    path = write(tmp_path / "g.h5", {"lstm_1": weights(4), "gru": weights(3, U, after=True)}, "2.2.4-tf")
    silently(chain(layers.LSTM(U, return_sequences=True), layers.GRU(U)), path)  # the GRU is of TensorFlow 2


def test_reset_after_of_a_gru(tmp_path: Any) -> None:
    arrays = weights(3)
    path = write(tmp_path / "w.h5", {"gru_1": arrays})
    model = chain(layers.GRU(U, name="g", return_sequences=True))
    before = model.get_weights()
    with pytest.raises(FormatError, match=r"of 'g' has shape \(2, 12\).*\(12,\).*GRU\(\.\.\., reset_after=False\)"):
        model.load_weights(path)
    silently(model, path, "auto")
    np.testing.assert_allclose(model(X), gru(X, arrays), rtol=0, atol=1e-6)
    assert [w.shape for w in model.get_weights()] == [w.shape for w in arrays] and before[2].shape == (2, 3 * U)
    path = write(tmp_path / "after.h5", {"gru_1": weights(3, after=True)}, "2.12.0")
    with pytest.raises(FormatError, match="reset_after=True"):
        chain(layers.GRU(U, reset_after=False)).load_weights(path)


def test_nothing_changes_if_another_layer_does_not_fit(tmp_path: Any) -> None:
    path = write(tmp_path / "w.h5", {"gru_1": weights(3), "dense": [np.ones((U, 9)), np.ones(9)]})
    model = chain(layers.GRU(U), layers.Dense(2))
    before, y = model.get_weights(), model(X)
    with pytest.raises(FormatError, match="has shape"):
        model.load_weights(path, compat="auto")
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(model(X), y)
    assert model.layers[0].recurrent_activation.name == "sigmoid"


def test_both_directions_and_cells_and_other_layers(tmp_path: Any) -> None:
    one, two, cell = weights(4), weights(4), weights(4, 2 * U)
    dense = [RNG.normal(size=(U, 2)).astype("float32"), np.zeros(2, "float32")]
    path = write(tmp_path / "w.h5", {"b": [*one, *two], "r": cell, "d": dense})
    inner = layers.RNN(layers.LSTMCell(U), return_sequences=True)
    both = layers.Bidirectional(layers.LSTM(U, return_sequences=True))
    model = chain(both, inner, layers.Dense(2, activation="hard_sigmoid", name="end"))
    with pytest.warns(UserWarning, match=r"hard_sigmoid_keras2' for '.*'; activation='hard_sigmoid_keras2' for 'end'"):
        model.load_weights(path)
    silently(model, path, "auto")
    h = np.concatenate([lstm(X, one), lstm(X[:, ::-1], two)[:, ::-1]], axis=2)
    np.testing.assert_allclose(model(X), old_sigmoid(lstm(h, cell) @ dense[0]), rtol=0, atol=1e-6)


def test_padding_of_both_directions_was_repeated(tmp_path: Any) -> None:
    path = write(tmp_path / "w.h5", {"b": [*weights(4), *weights(4)]})
    both = layers.Bidirectional(layers.LSTM(U, return_sequences=True))
    model = chain(layers.Masking(), both)
    with pytest.warns(UserWarning, match=r"compat='keras2.2' for 'forward_.*', 'backward_"):
        model.load_weights(path)
    silently(model, path, "auto")
    x = X.copy()
    x[:, 4:] = 0
    old = layers.Bidirectional(
        layers.LSTM(U, return_sequences=True, compat="keras2.2", recurrent_activation="hard_sigmoid")
    )
    same = chain(layers.Masking(), old)
    same.set_weights(model.get_weights())
    np.testing.assert_array_equal(model(x), same(x))
    y = np.asarray(model(x))[..., :U]
    np.testing.assert_array_equal(y[:, 4:], np.repeat(y[:, 3:4], 2, axis=1))
    assert y[:, 4:].any()


def test_gates_of_cudnn_are_sigmoids(tmp_path: Any) -> None:
    """In CuDNN's layout, whose two biases lie in one row."""
    kernel, recurrent, bias = weights(4)
    blocks = [np.ascontiguousarray(b.T).reshape(b.shape) for b in np.split(kernel, 4, axis=1)]
    turned = np.hstack([b.T for b in np.split(recurrent, 4, axis=1)])
    path = write(tmp_path / "w.h5", {"c": [np.hstack(blocks), turned, np.concatenate([bias, 0 * bias])]})
    model = chain(layers.LSTM(U))
    silently(model, path)
    np.testing.assert_allclose(model(X), lstm(X, [kernel, recurrent, bias], sigmoid)[:, -1], rtol=0, atol=1e-6)
    with pytest.warns(UserWarning, match="recurrent_activation='sigmoid'"):
        chain(layers.LSTM(U, recurrent_activation="hard_sigmoid")).load_weights(path)


def test_the_configuration_of_a_whole_model_says_it(tmp_path: Any) -> None:
    """Also of a version whose default is another."""
    arrays = weights(4)
    for said in ("hard_sigmoid", "sigmoid"):
        config = (
            '{"class_name": "Sequential", "config": {"name": "s", "layers": [{"class_name": "LSTM", "config": '
            f'{{"name": "l", "units": {U}, "recurrent_activation": "{said}"}}}}]}}}}'
        )
        for version in ("2.1.0", "2.12.0"):
            path = write(tmp_path / "m.h5", {"l": arrays}, version, config)
            model = chain(layers.LSTM(U))
            if said == "hard_sigmoid":
                with pytest.warns(UserWarning, match="recurrent_activation='hard_sigmoid_keras2'"):
                    model.load_weights(path)
            else:
                silently(model, path)
            silently(model, path, "auto")
            gate = old_sigmoid if said == "hard_sigmoid" else sigmoid
            np.testing.assert_allclose(model(X), lstm(X, arrays, gate)[:, -1], rtol=0, atol=1e-6)


def test_unknown_compat(tmp_path: Any) -> None:
    path = write(tmp_path / "w.h5", {"lstm_1": weights(4)})
    with pytest.raises(ValueError, match="`compat` must be None, 'auto' or 'keep', got 'keras9'"):
        chain(layers.LSTM(U)).load_weights(path, compat="keras9")
    chain(layers.LSTM(U)).save_weights(tmp_path / "own.safetensors")
    silently(chain(layers.LSTM(U)), tmp_path / "own.safetensors", "auto")  # nothing to take over
