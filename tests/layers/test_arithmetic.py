"""Arithmetic with symbolic tensors: values, gradients, masks, files, streams, and what is refused."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import Input, Model, layers
from rnnx.formats import onnx

RNG = np.random.default_rng(41)
A, B = RNG.normal(size=(2, 3, 5, 4)).astype(np.float32)
SYMBOLS: dict[str, Callable[[Any, Any], Any]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
}


@pytest.mark.parametrize("number", [2, 0.5, np.float32(3), np.int64(-4)], ids=repr)
@pytest.mark.parametrize("name", SYMBOLS)
def test_symbols(name: str, number: Any) -> None:
    symbol, x, y = SYMBOLS[name], Input((None, 4)), Input((None, 4))
    model = Model([x, y], [symbol(x, y), symbol(x, number), symbol(number, x), -x])
    wanted = [symbol(A, B), symbol(A, np.float32(number)), symbol(np.float32(number), A), -A]
    for found, expected in zip(model.predict([A, B], verbose=0), wanted, strict=True):
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("number", [None, "left", "right"])
@pytest.mark.parametrize("name", [*SYMBOLS, "maximum", "minimum"])
def test_gradients(name: str, number: str | None) -> None:
    a, b = np.abs(RNG.normal(size=(2, 3, 5, 4))) + 0.5
    b = b[:, :1]  # spread over the steps
    layer = layers.Arithmetic(name, dtype="float64", **({number: 1.3} if number else {}))
    given = [a, b] if number is None else a
    slope = RNG.normal(size=a.shape)
    y, pullback = layer.vjp(given)
    found = pullback(slope).dx
    for array, gradient in zip([a, b], found, strict=True) if number is None else [(a, found)]:
        assert gradient.shape == array.shape
        for place in [(0, 0, 0), (2, 0, 3), (1, 0, 1)]:
            kept, ends = array[place], []
            for step in (1e-6, -1e-6):
                array[place] = kept + step
                ends.append((slope * layer(given)).sum())
            array[place] = kept
            np.testing.assert_allclose(gradient[place], (ends[0] - ends[1]) / 2e-6, rtol=1e-7, atol=1e-8)


def test_equal_operands_share_the_gradient_of_a_maximum() -> None:
    for name in ("maximum", "minimum"):
        _, pullback = layers.Arithmetic(name)([A, A]), layers.Arithmetic(name).vjp([A, A])[1]
        for part in pullback(np.ones_like(A)).dx:
            np.testing.assert_array_equal(part, np.full_like(A, 0.5))


def gated(masking: bool = False) -> Any:
    x = Input((None, 4), name="x")
    seen = layers.Masking()(x) if masking else x
    gate = layers.Dense(4, activation="sigmoid")(seen)
    y = layers.GRU(4, return_sequences=True)(seen)
    return Model(x, layers.LSTM(3)(gate * y + (1 - gate) * x / 2))


def test_the_mask_ends_as_with_the_operators_of_keras() -> None:
    x = A.copy()
    x[:, 3:] = 0
    model = gated(masking=True)
    inner = Model(model.input, [model.layers[2].output, model.layers[3].output])
    gate, y = inner(x)
    mixed = gate * y + (1 - gate) * x / 2
    np.testing.assert_allclose(model(x), model.layers[-1](mixed), rtol=0, atol=1e-6)
    a = Input((None, 4))
    both = layers.Masking()(a)
    keeps = Model(a, layers.GRU(2, name="gru")(layers.Add()([both, both])))
    drops = Model(a, keeps.get_layer("gru")(both + both))
    assert not np.allclose(keeps(x), drops(x))
    np.testing.assert_allclose(keeps(x), drops(x[:, :3]), rtol=0, atol=1e-6)


def test_files_and_configurations(tmp_path: Any) -> None:
    model = gated()
    model.save(tmp_path / "m.safetensors")
    assert np.array_equal(rnnx.load_model(tmp_path / "m.safetensors")(A), model(A))
    copy = rnnx.models.model_from_json(model.to_json())
    copy.set_weights(model.get_weights())
    assert np.array_equal(copy(A), model(A))


def test_keras_file(tmp_path: Any) -> None:
    pytest.importorskip("h5py")
    model = gated(masking=True)
    model.save(tmp_path / "m.keras")
    assert np.array_equal(rnnx.load_model(tmp_path / "m.keras")(A), model(A))


def test_onnx_file(tmp_path: Any) -> None:
    pytest.importorskip("onnx")
    model = gated()
    model.save(tmp_path / "m.onnx")
    (found,) = onnx.Session(tmp_path / "m.onnx").run({"x": A}).values()
    np.testing.assert_allclose(found, model(A), rtol=0, atol=1e-6)


def test_stream() -> None:
    x = Input((None, 4))
    y = layers.GRU(4, return_sequences=True)(x)
    model = Model(x, 2 * y - x / 2)
    stream = model.stream(batch_size=3)
    found = np.stack([stream.step(A[:, t]) for t in range(5)], axis=1)
    np.testing.assert_allclose(found, model(A), rtol=0, atol=1e-6)


def test_training() -> None:
    model = gated()
    model.compile("adam", "mse")
    y = RNG.normal(size=(3, 3))
    losses = model.fit(A, y, epochs=40, verbose=0).history["loss"]
    assert losses[-1] < 0.8 * losses[0]


def test_of_ids() -> None:
    ids = Input((None,), dtype="int32")
    assert Model(ids, ids / 2)(np.array([[1, 3]])).tolist() == [[0.5, 1.5]]


@pytest.mark.parametrize(
    "make, error, words",
    [
        (lambda x: x + "a", TypeError, "unsupported operand"),
        (lambda x: x * True, TypeError, "unsupported operand"),
        (lambda x: x + Input((None, 3)), ValueError, "do not fit together"),
        (lambda x: x + Input((4,)), ValueError, "same number of axes"),
        (lambda x: layers.Arithmetic("power")([x, x]), ValueError, "'add', 'subtract'"),
        (lambda x: layers.Arithmetic("add", "1")(x), ValueError, "`left` must be a number"),
        (lambda x: layers.Arithmetic("add", 1, 2)(x), ValueError, "both numbers"),
        (lambda x: layers.Arithmetic("add")(x), ValueError, "list of two inputs"),
        (lambda x: layers.Arithmetic("add")([x, x, x]), ValueError, "list of two inputs, got 3"),
        (lambda x: layers.Arithmetic("add")(A), ValueError, "list of two inputs, got ndarray"),
        (lambda x: layers.Arithmetic("add")([A]), ValueError, "list of two inputs, got 1"),
    ],
)
def test_refused(make: Callable[[Any], Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make(Input((None, 4)))
