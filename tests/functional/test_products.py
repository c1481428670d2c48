"""Flags of the processor that no number of a product has raised: neither a warning nor an error comes of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from rnnx import Sequential, _kernels, layers, losses, metrics, optimizers, regularizers
from rnnx.formats import torch as torch_files
from rnnx.functional import _products
from rnnx.functional._products import product

RNG = np.random.default_rng(53)
X = RNG.normal(size=(4, 6, 5)).astype(np.float32)
INF = np.float32(np.inf)


@pytest.fixture
def flags(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Products as of a kernel that computes with what happens to be in unused lanes: they raise flags of their own."""
    multiply, calls = _products._multiply, []

    def raising(*arrays: Any) -> Any:
        calls.append(1)
        np.subtract(INF, INF)
        np.multiply(np.float32(3e38), np.float32(3e38))
        return multiply(*arrays)

    monkeypatch.setattr(_products, "_multiply", raising)
    monkeypatch.setattr(_kernels, "small_dense", lambda *arrays: None)  # products of any size are made by BLAS
    return calls


@pytest.fixture(params=["warnings are errors", "flags are errors"])
def strict(request: pytest.FixtureRequest) -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if request.param == "warnings are errors":
            yield
        else:
            with np.errstate(invalid="raise", over="raise"):
                yield


def both_ways(layer: Any, x: Any) -> list[Any]:
    y, back = layer.vjp(x)
    grads = back(np.ones_like(y))
    return [layer(x), y, grads.dx, *(d for d in grads.dweights if d is not None)]


def fitted() -> list[Any]:
    model = Sequential([layers.Dense(7, input_shape=(5,)), layers.Dense(1, activation="sigmoid")])
    model.set_weights([np.linspace(-1, 1, w.value.size).reshape(w.shape) for w in model.weights])
    model.compile(optimizers.SGD(0.1, clipnorm=0.5), losses.BinaryCrossentropy(), [metrics.Precision()])
    model.fit(X[:, 0], (X[:, 1, :1] > 0).astype(np.float32), epochs=2, verbose=0, seed=1)
    return model.get_weights()


def streamed() -> Any:
    layer = layers.Dense(1)
    layer(X)
    layer.set_weights([np.ones((5, 1)), np.ones(1)])
    return layer.stream(4).run(X)


def calibrated() -> list[Any]:
    layer = layers.GRU(6, seed=2)
    layer(X)
    layer.set_weights([np.linspace(-1, 1, w.value.size).reshape(w.shape) for w in layer.weights])
    layer.quantize("int8", X)
    return layer.get_weights()


def layer_of(make: Callable[[], Any]) -> Callable[[], list[Any]]:
    def run() -> list[Any]:
        layer = make()
        layer(X)
        layer.set_weights([np.linspace(-1, 1, w.value.size).reshape(w.shape) for w in layer.weights])
        return both_ways(layer, X)

    return run


def projected() -> list[Any]:
    shapes = {"weight_ih_l0": (24, 5), "weight_hh_l0": (24, 3), "weight_hr_l0": (3, 6)}
    parts = {name: np.linspace(-1, 1, a * b, dtype=np.float32).reshape(a, b) for name, (a, b) in shapes.items()}
    for bias in ("bias_ih_l0", "bias_hh_l0"):
        parts[bias] = np.ones(24, np.float32)
    found = torch_files.load(parts)
    (layer,) = found.values()
    return [layer(X), *torch_files.state_dict(found).values()]


USES: dict[str, Callable[[], Any]] = {
    "Dense": layer_of(lambda: layers.Dense(1)),
    "Dense without bias": layer_of(lambda: layers.Dense(3, use_bias=False, activation="relu")),
    "Conv1D": layer_of(lambda: layers.Conv1D(4, 3, padding="same")),
    "TimeDistributed": layer_of(lambda: layers.TimeDistributed(layers.Dense(2))),
    "LSTM of the reference": layer_of(lambda: layers.LSTM(3, activation="gelu")),
    "GRU of the reference": layer_of(lambda: layers.GRU(3, activation="gelu")),
    "SimpleRNN of the reference": layer_of(lambda: layers.SimpleRNN(3, activation="gelu")),
    "fit": fitted,
    "stream": streamed,
    "calibration": calibrated,
    "projection": projected,
    "regularizer": lambda: [f := regularizers.OrthogonalRegularizer(), f(X[0]), f.grad(X[0])][1:],
}


@pytest.mark.parametrize("name", USES)
def test_flags_that_are_not_of_the_numbers(name: str, flags: list[int], strict: None) -> None:
    found = USES[name]()
    assert flags
    assert all(np.isfinite(part).all() for part in (found if isinstance(found, list) else [found]))


SHAPES = [((3, 5), (5, 1)), ((3, 5), (5, 4)), ((1, 5), (5, 1)), ((5,), (5, 2)), ((3, 5), (5,)), ((5,), (5,))]
SHAPES += [((0, 5), (5, 2)), ((3, 0), (0, 2))]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_values(shapes: Any, dtype: Any, flags: list[int], strict: None) -> None:
    left, right = (RNG.normal(size=shape).astype(dtype) for shape in shapes)
    found = product(left, right)
    assert found.dtype == dtype and found.shape == (left @ right).shape
    np.testing.assert_allclose(found, left @ right, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shapes", SHAPES[:6], ids=str)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", [0, 1])
def test_what_is_not_finite_comes_out(side: int, value: float, shapes: Any, flags: list[int], strict: None) -> None:
    operands = [RNG.normal(size=shape).astype(np.float32) for shape in shapes]
    operands[side].flat[1] = value
    with np.errstate(all="ignore"):
        expected = operands[0] @ operands[1]
    assert not np.isfinite(expected).all()
    np.testing.assert_allclose(product(*operands), expected, rtol=1e-5, atol=1e-6)


def test_infinities_that_meet_give_nan(strict: None) -> None:
    layer = layers.Dense(1, use_bias=False)
    x = np.array([[np.inf, 1.0], [2.0, 3.0], [np.nan, 0.0]], np.float32)
    layer(x[1:2])
    layer.kernel = np.array([[1.0], [-np.inf]])
    assert np.isnan(layer(x)[[0, 2]]).all() and layer(x)[1] == -np.inf


@pytest.mark.parametrize("shapes", SHAPES[:6], ids=str)
def test_finite_numbers_that_overflow_are_reported(shapes: Any) -> None:
    left, right = (np.full(shape, 3e38, np.float32) for shape in shapes)
    with pytest.warns(RuntimeWarning, match="overflow"):
        assert np.isinf(product(left, right)).all()
    with np.errstate(over="raise"), pytest.raises(FloatingPointError, match="overflow"):
        product(left, right)
    with np.errstate(over="ignore"):
        assert np.isinf(product(left, right)).all()


def test_overflow_beside_what_was_not_finite_before() -> None:
    left = np.array([[np.nan, 1], [3e38, 3e38], [1, 1]], np.float32)
    with pytest.warns(RuntimeWarning, match="overflow"):
        found = product(left, np.array([[3e38], [1]], np.float32))
    assert np.isnan(found[0, 0]) and np.isinf(found[1, 0]) and np.isfinite(found[2, 0])


def test_the_callers_settings_are_as_before(flags: list[int]) -> None:
    with np.errstate(all="raise"):
        before = np.geterr(), np.geterrcall()
        product(X[0], X[1].T)
        assert (np.geterr(), np.geterrcall()) == before
