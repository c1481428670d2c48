"""Weights in the words of Keras: variables, `assign`, `numpy()`, and arrays that know their weight."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import layers
from rnnx.layers.weight import WeightArray


def dense() -> Any:
    layer = layers.Dense(1)
    layer.build((None, 2))
    layer.kernel.assign([[1.0], [2.0]])
    return layer


def test_an_array_that_assigns() -> None:
    layer = dense()
    x = np.ones((1, 2), "float32")
    assert layer(x) == 3.0
    layer.kernel.assign_add(np.ones((2, 1)))
    assert layer(x) == 5.0 and layer.kernel.numpy().tolist() == [[2.0], [3.0]]
    layer.kernel.assign_sub(np.ones((2, 1)))
    layer.bias.assign([0.5])
    assert layer(x) == 3.5 and layer.kernel.dtype == np.float32
    with pytest.raises(ValueError, match=r"weight 'kernel' has shape \(2, 1\), got an array of shape \(3,\)"):
        layer.kernel.assign(np.ones(3))
    layer.kernel = np.zeros((2, 1))
    assert layer(x) == 0.5
    layer.kernel *= 0.0
    lstm = layers.LSTM(2)
    lstm.build((None, None, 3))
    lstm.recurrent_kernel.assign(np.ones((2, 8)))
    assert lstm.get_weights()[1].sum() == 16 and lstm.bias.name == "bias"


def test_it_is_an_array_in_all_else() -> None:
    kernel = dense().kernel
    assert isinstance(kernel, np.ndarray) and kernel.shape == (2, 1)
    for made in (kernel + 1, kernel[0], kernel[:, 0], np.dot(kernel.T, kernel), np.concatenate([kernel, kernel]),
                 kernel.value, kernel.numpy(), kernel.sum(axis=0)):  # fmt: skip
        assert type(made) is np.ndarray
    assert repr(kernel) == repr(np.array([[1.0], [2.0]], "float32"))
    for view in (kernel.T, kernel.reshape(2)):
        with pytest.raises(AttributeError, match="was made of the value of a weight"):
            view.assign(0)
    kernel[...] = 4.0  # as before: in place
    assert kernel.weight.value.tolist() == [[4.0], [4.0]]


def _fill(weight: Any) -> None:
    weight.fill(0.25)


def _multiply(weight: Any) -> None:
    weight *= 0.5  # the name, not the attribute: nothing is assigned


def _set(weight: Any) -> None:
    weight[0] = 2.0


def _copy_to(weight: Any) -> None:
    np.copyto(weight, 0.5)


@pytest.mark.parametrize("change", [_fill, _multiply, _set, _copy_to])
@pytest.mark.parametrize("kind", [layers.LSTM, layers.GRU, layers.SimpleRNN])
def test_a_change_in_place_is_one_of_the_weight(kind: Any, change: Any) -> None:
    layer, x = kind(3, kernel_initializer="ones"), np.ones((2, 4, 5), "float32")
    for name in ("kernel", "recurrent_kernel"):
        before = layer(x)
        change(getattr(layer, name))
        same = kind(3)
        same(x)
        same.set_weights(layer.get_weights())
        assert np.array_equal(layer(x), same(x)) and not np.array_equal(layer(x), before)


def test_a_change_in_place_of_embeddings() -> None:
    model = rnnx.Sequential([layers.Embedding(5, 3), layers.GRU(4)])
    ids = np.arange(20).reshape(4, 5) % 5
    for _ in range(2):  # the table is made
        before = model.predict(ids)
    model.layers[0].embeddings[2] = [1.0, 2.0, 3.0]
    after = model.predict(ids)
    rows = model.layers[0].embeddings[ids]
    np.testing.assert_allclose(after, model.layers[1](rows), atol=1e-6)
    assert abs(after - before).max() > 0.01


def test_what_it_says_of_its_weight() -> None:
    layer = layers.Dense(1, kernel_regularizer="l2", kernel_constraint="non_neg", trainable=True)
    assert layer.kernel is None
    layer.build((None, 2))
    weight = layer.weights[0]
    assert layer.kernel.regularizer is weight.regularizer and layer.kernel.constraint is weight.constraint
    assert layer.kernel.trainable and layer.kernel.weight is weight and type(layer.kernel) is WeightArray


def test_weights_are_arrays_for_numpy() -> None:
    weight = dense().weights[0]
    assert np.asarray(weight).tolist() == [[1.0], [2.0]] and weight.numpy().tolist() == [[1.0], [2.0]]
    assert np.asarray(weight, "float64").dtype == np.float64 and weight.dtype == np.float32 and weight.ndim == 2
    assert np.asarray(weight) is not weight.numpy() and len(weight) == 2 and weight[1, 0] == 2.0
    weight.numpy()[:] = 0  # a copy
    assert weight.value.sum() == 3
    np.testing.assert_allclose(weight, [[1.0], [2.0]])


def test_variables() -> None:
    layer = layers.BatchNormalization()
    layer.build((None, 3))
    assert layer.variables == layer.weights and len(layer.variables) == 4
    assert [w.name for w in layer.trainable_variables] == ["gamma", "beta"]
    assert layer.non_trainable_variables == layer.non_trainable_weights
    model = rnnx.Sequential([rnnx.Input((2,)), layers.Dense(1)])
    assert model.trainable_variables == model.weights


def test_embedding_of_given_vectors() -> None:
    table = np.arange(6.0).reshape(3, 2)
    for given in (table, [table]):
        assert layers.Embedding(3, 2, weights=given)(np.array([[2]])).tolist() == [[[4.0, 5.0]]]
    layer = layers.Embedding(3, 2)
    layer.build()
    assert layer.built and layer.embeddings.shape == (3, 2)


def test_tensors_of_the_first_call() -> None:
    x = rnnx.Input((5, 3))
    layer = layers.GRU(4)
    y = layer(x)
    assert layer.get_input_at(0) is x and layer.get_output_at(0) is y
    assert layer.get_input_shape_at(0) == (None, 5, 3) and layer.get_output_shape_at(0) == (None, 4)
    with pytest.raises(ValueError, match="only the output of the first call is kept, number 0, not 1"):
        layer.get_output_at(1)


def test_layers_are_those_of_the_model() -> None:
    x = rnnx.Input((2,))
    for model in (rnnx.Model(x, layers.Dense(1)(x)), rnnx.Sequential([layers.Dense(1)])):
        with pytest.raises(AttributeError, match="`layers` are those of the"):
            model.layers = []
