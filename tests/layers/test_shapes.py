"""Layers refuse what cannot work; short windows, masks and empty batches; numbers of NumPy in configurations."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rnnx import Input, Sequential, constraints, initializers, layers, regularizers
from rnnx.layers.registry import layer_config, layer_from_config

RNG = np.random.default_rng(29)
X = RNG.normal(size=(4, 5, 3))


def called_before(layer: Any, shape: Any) -> Any:
    layer(Input(shape))
    return layer


SYMBOLIC: dict[str, tuple[Callable[[], Any], str]] = {
    "conv_rank": (lambda: layers.Conv1D(2, 2)(Input((5,))), r"\(batch, timesteps, features\).*\(None, 5\)"),
    "conv_width": (
        lambda: called_before(layers.Conv1D(2, 2), (5, 3))(Input((5, 4))), r"\(batch, timesteps, 3\).*\(None, 5, 4\)",
    ),
    "conv_groups": (
        lambda: called_before(layers.Conv1D(2, 2, groups=2), (5, 4))(Input((5, 6))), r"timesteps, 4\).*\(None, 5, 6\)",
    ),
    "conv_short": (lambda: layers.Conv1D(2, 3, dilation_rate=2)(Input((4, 3))), "4 step.* at least 5 steps"),
    "max_rank": (lambda: layers.MaxPooling1D()(Input((5,))), r"\(batch, timesteps, features\)"),
    "max_short": (lambda: layers.MaxPooling1D(4)(Input((3, 2))), "3 step.* at least 4 steps"),
    "average_short": (lambda: layers.AveragePooling1D(4)(Input((3, 2))), "3 step.* at least 4 steps"),
    "global_rank": (lambda: layers.GlobalMaxPooling1D()(Input((5,))), r"\(batch, timesteps, features\)"),
    "batch_norm": (
        lambda: called_before(layers.BatchNormalization(), (5, 3))(Input((5, 4))), r"\.\.\., 3\).*\(None, 5, 4\)",
    ),
    "layer_norm": (
        lambda: called_before(layers.LayerNormalization(), (3,))(Input((4,))), r"\.\.\., 3\).*\(None, 4\)",
    ),
    "spatial": (lambda: layers.SpatialDropout1D(0.5)(Input((5,))), r"\(batch, timesteps, features\)"),
    "permute": (lambda: layers.Permute((2, 1))(Input((5,))), r"3 axes.*\(None, 5\)"),
    "repeat": (lambda: layers.RepeatVector(2)(Input((5, 3))), r"\(batch, features\).*\(None, 5, 3\)"),
    "reshape": (lambda: layers.Reshape((4,))(Input((5,))), r"\(5,\).*\(4,\)"),
    "reshape_rest": (lambda: layers.Reshape((2, -1))(Input((5,))), r"\(5,\).*\(2, -1\)"),
    "concatenate_axis": (lambda: layers.Concatenate(axis=3)([Input((5, 3))] * 2), "no axis 3"),
    "concatenate_rank": (lambda: layers.Concatenate()([Input((5, 3)), Input((3,))]), "number of axes"),
}  # fmt: skip


@pytest.mark.parametrize("case", SYMBOLIC)
def test_symbolic_calls_are_refused(case: str) -> None:
    call, message = SYMBOLIC[case]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("layer", [layers.Conv1D(2, 4), layers.MaxPooling1D(4), layers.AveragePooling1D(4)], ids=repr)
def test_windows_need_enough_steps(layer: Any) -> None:
    assert layer(X[:, :4]).shape[1] == 1
    with pytest.raises(ValueError, match="3 step.* at least 4 steps"):
        layer(X[:, :3])
    assert layer(X).shape[1] in (1, 2)


@pytest.mark.parametrize("padding", ["same", "causal"])
def test_padded_windows_need_one_step(padding: str) -> None:
    layer = layers.Conv1D(2, 4, padding=padding)
    assert layer(X[:, :1]).shape == (4, 1, 2)
    with pytest.raises(ValueError, match="at least 1 step"):
        layer(X[:, :0])


@pytest.mark.parametrize("layer", [layers.GlobalAveragePooling1D(), layers.BatchNormalization()], ids=repr)
def test_masks_are_checked(layer: Any) -> None:
    layer(X)
    before = layer.get_weights()
    with pytest.raises(ValueError, match=r"`mask` must have shape \(4, 5\), got \(4, 4\)"):
        layer(X, mask=np.ones((4, 4), bool), training=True)
    with pytest.raises(TypeError, match=r"`mask` must be boolean .* got dtype <U1"):
        layer(X, mask=np.full((4, 5), "1"), training=True)
    with pytest.raises(TypeError, match="`mask` must be boolean, got dtype float64"):
        layer.forward(X, mask=np.ones((4, 5)), training=True)
    assert all(np.array_equal(a, b) for a, b in zip(before, layer.get_weights(), strict=True))


def test_batch_normalization_learns_nothing_from_padding() -> None:
    layer = layers.BatchNormalization(dtype="float64")
    empty = np.zeros((4, 5), bool)
    assert np.isfinite(layer(X, mask=empty, training=True)).all()
    assert layer.moving_mean.tolist() == [0] * 3 and layer.moving_variance.tolist() == [1] * 3
    half = np.arange(5) < np.array([[2], [0], [5], [1]])
    layer(np.where(half[..., None], X, np.nan), mask=half, training=True)
    np.testing.assert_allclose(layer.moving_mean, 0.01 * X[half].mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(layer.moving_variance, 0.99 + 0.01 * X[half].var(axis=0), rtol=1e-12)


def test_a_mask_of_fewer_axes_holds_for_all_inner_ones() -> None:
    layer = layers.BatchNormalization(dtype="float64")
    x = RNG.normal(size=(2, 3, 4, 5))
    mask = np.array([[True, False, True], [True, False, False]])
    layer(x, mask=mask, training=True)
    np.testing.assert_allclose(layer.moving_mean, 0.01 * x[mask].reshape(-1, 5).mean(axis=0), rtol=1e-12)


def test_an_empty_row_has_the_mean_zero() -> None:
    mask = np.array([[1, 1, 0, 0, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 0, 0, 1, 0]], bool)
    y = layers.GlobalAveragePooling1D(dtype="float64")(np.where(mask[..., None], X, np.nan), mask=mask)
    np.testing.assert_allclose(y, [X[0, :2].mean(0), np.zeros(3), X[2].mean(0), X[3, 3]], rtol=1e-12)


def test_no_rows() -> None:
    model = Sequential(
        [
            layers.Embedding(5, 3, mask_zero=True), layers.Bidirectional(layers.GRU(4, return_sequences=True)),
            layers.BatchNormalization(), layers.Dropout(0.5), layers.Conv1D(2, 2), layers.GlobalAveragePooling1D(),
            layers.Dense(2),
        ]
    )  # fmt: skip
    model(np.ones((2, 4), int))
    before = model.get_weights()
    y, pullback = model.vjp(np.ones((0, 4), int), training=True)
    assert y.shape == (0, 2)
    assert all(d is None or not d.any() for d in pullback(y).dweights)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


@pytest.mark.parametrize("axis", [1, 2, -1, -2])
def test_softmax_over_an_axis(axis: int) -> None:
    layer = layers.Softmax(axis=axis, dtype="float64")
    y, pullback = layer.vjp(X)
    e = np.exp(X)
    np.testing.assert_allclose(y, e / e.sum(axis=axis, keepdims=True), rtol=1e-12)
    dy = RNG.normal(size=X.shape)
    expected = y * (dy - (dy * y).sum(axis=axis, keepdims=True))
    np.testing.assert_allclose(pullback(dy).dx, expected, rtol=1e-9, atol=1e-12)
    assert layer_from_config(layer_config(layer)).axis == axis


def test_softmax_of_the_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="`axis`.*batch"):
        layers.Softmax(axis=0)
    with pytest.raises(ValueError, match="no axis -2"):
        layers.Softmax(axis=-2)(X[:, 0])


def test_a_mask_value_of_another_precision() -> None:
    x = np.full((1, 2, 3), -1.1, np.float32)
    x[0, 0] = 2
    for value in (-1.1, np.float64(-1.1), np.float32(-1.1)):
        assert layers.Masking(value).compute_mask(x, None).tolist() == [[True, False]]
    with pytest.raises(ValueError, match="NaN"):
        layers.Masking(float("nan"))


f, i = np.float32, np.int64
NUMPY_ARGUMENTS: list[Callable[[], Any]] = [
    lambda: layers.Dropout(f(0.5), seed=i(3)),
    lambda: layers.ReLU(f(6), f(0.5)),
    lambda: layers.GRU(i(3), dropout=f(0.5), seed=i(3), zoneout=f(0.25)),
    lambda: layers.BatchNormalization(i(-1), momentum=f(0.5)),
    lambda: layers.Reshape(np.array([3, 1])),
    lambda: layers.Dense(
        i(2),
        kernel_initializer=initializers.Orthogonal(f(2), seed=i(1)),
        bias_initializer=initializers.Constant(np.array([1.0, 2.0])),
        kernel_regularizer=regularizers.L2(f(0.5)),
        kernel_constraint=constraints.MaxNorm(f(2), axis=i(0)),
    ),
    lambda: Sequential([layers.GRU(4, input_shape=(None, i(3))), layers.Dense(i(2))]),
]


@pytest.mark.parametrize("make", NUMPY_ARGUMENTS)
def test_numpy_numbers_are_saved_as_numbers(make: Callable[[], Any]) -> None:
    text = json.dumps(layer_config(make()))
    assert json.dumps(layer_config(layer_from_config(json.loads(text)))) == text


def test_what_has_no_configuration_says_so() -> None:
    layer = layers.Dense(2, kernel_initializer=lambda shape, dtype=None: np.ones(shape, dtype))
    with pytest.raises(TypeError, match="get_config"):
        layer.get_config()


@pytest.mark.parametrize("name", [5, "", b"a"])
def test_names_are_strings(name: Any) -> None:
    with pytest.raises(ValueError, match="Dense: `name`"):
        layers.Dense(2, name=name)


def test_relu_of_what_is_not_finite() -> None:
    x = np.array([[-np.inf, np.inf, np.nan, -1.0, 9.0]])
    np.testing.assert_array_equal(layers.ReLU(6)(x), [[0, 6, np.nan, 0, 6]])
    y, pullback = layers.ReLU(6).vjp(x[:, [0, 1, 3, 4]])
    np.testing.assert_array_equal(pullback(np.ones((1, 4), "f")).dx, np.zeros((1, 4)))


WEIGHTED: dict[str, tuple[Callable[..., Any], tuple[str, ...], tuple[int, ...]]] = {
    "Dense": (lambda **k: layers.Dense(2, **k), ("kernel", "bias"), (4, 3)),
    "Conv1D": (lambda **k: layers.Conv1D(2, 2, **k), ("kernel", "bias"), (4, 5, 3)),
    "LayerNormalization": (layers.LayerNormalization, ("gamma", "beta"), (4, 5, 3)),
    "LSTM": (lambda **k: layers.LSTM(2, **k), ("kernel", "recurrent", "bias"), (4, 5, 3)),
    "GRUCell": (lambda **k: layers.GRUCell(2, **k), ("kernel", "recurrent", "bias"), (4, 3)),
}


@pytest.mark.parametrize("name", WEIGHTED)
def test_each_weight_has_what_was_chosen_for_it(name: str) -> None:
    make, chosen, shape = WEIGHTED[name]
    given: dict[str, Any] = {}
    for k, weight in enumerate(chosen):
        given[f"{weight}_initializer"] = initializers.Constant(0.25 + k)
        given[f"{weight}_regularizer"] = regularizers.L2(0.5 + k)
        given[f"{weight}_constraint"] = constraints.MaxNorm(1.5 + k)
    layer = make(**given)
    for made in (layer, layer_from_config(layer_config(layer))):
        made.build(shape)
        for k, weight in enumerate(made.weights):
            assert weight.value.flat[0] == 0.25 + k
            assert float(weight.regularizer.l2) == 0.5 + k and weight.constraint.max_value == 1.5 + k


def test_a_weight_without_initializer() -> None:
    with pytest.raises(TypeError, match=r"own: weight 'table' needs an `initializer` .*got None"):
        layers.Layer(name="own").add_weight("table", (2, 3))


def test_equal_numbers_share_what_pooling_and_maximum_give_back() -> None:
    _, pullback = layers.MaxPooling2D(2, strides=1).vjp(np.ones((1, 2, 3, 1)))
    assert pullback(np.full((1, 1, 2, 1), 3.0)).dx[0, :, :, 0].tolist() == [[3, 3, 0], [0, 0, 0]]  # to the first ones
    _, pullback = layers.Maximum().vjp([np.ones((1, 2)), np.array([[1.0, 2.0]])])
    assert [part.tolist() for part in pullback(np.ones((1, 2))).dx] == [[[0.5, 0]], [[0.5, 1]]]
