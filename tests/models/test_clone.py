"""`clone_model` with functions of one's own; names and sizes are those of Keras 3.15."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import layers
from rnnx.models import clone_model


def graph() -> Any:
    x = rnnx.Input((5, 3))
    return rnnx.Model(x, layers.Dense(2, name="d")(layers.LSTM(4, name="l")(x)))


def chain() -> Any:
    return rnnx.Sequential([rnnx.Input((5, 3)), layers.LSTM(4, name="l"), layers.Dense(2, name="d")])


def again(layer: Any) -> Any:
    return type(layer).from_config(layer.get_config())


def both_ways(layer: Any) -> Any:
    return layers.Bidirectional(again(layer), name="both") if isinstance(layer, layers.LSTM) else again(layer)


@pytest.mark.parametrize("make", [graph, chain])
def test_layers_are_replaced(make: Any) -> None:
    model = make()
    copy = clone_model(model, clone_function=both_ways)
    assert type(copy) is type(model) and copy.name == model.name and copy.count_params() == 274
    assert [layer.name for layer in copy.layers][-2:] == ["both", "d"] and copy.input_shape == (None, 5, 3)
    assert clone_model(model, input_tensors=rnnx.Input((7, 3))).input_shape == (None, 7, 3)
    with pytest.raises(ValueError, match="needs 1 `input_tensors`, got 2"):
        clone_model(model, input_tensors=[rnnx.Input((7, 3))] * 2)
    with pytest.raises(TypeError, match="`clone_function` must return a layer, got NoneType"):
        clone_model(model, clone_function=lambda layer: None)


def test_calls_are_replaced() -> None:
    model = graph()

    def call(layer: Any, x: Any, **arguments: Any) -> Any:
        y = layer(x, **arguments)
        return layers.Dropout(0.5, name="drop")(y) if layer.name == "l" else y

    copy = clone_model(model, clone_function=lambda layer: layer, call_function=call)
    assert [layer.name for layer in copy.layers[1:]] == ["l", "drop", "d"] and copy.layers[-1] is model.layers[-1]
    x = np.ones((1, 5, 3), "float32")
    np.testing.assert_array_equal(copy(x), model(x))
    with pytest.raises(ValueError, match="`call_function` is for graphs"):
        clone_model(chain(), call_function=call)


def test_models_inside() -> None:
    inner = rnnx.Sequential([layers.LSTM(4, name="l")], name="in")
    outer = rnnx.Sequential([rnnx.Input((5, 3)), inner, layers.Dense(1, name="d")])
    seen: list[str] = []

    def noted(layer: Any) -> Any:
        seen.append(layer.name)
        return again(layer)

    clone_model(outer, clone_function=noted, recursive=True)
    assert seen == ["l", "d"]
    seen.clear()
    clone_model(outer, clone_function=noted)
    assert seen == ["in", "d"]


def test_states_and_shared_layers_are_kept() -> None:
    x = rnnx.Input((5, 3))
    shared = layers.Dense(3, name="shared")
    y, h, c = layers.LSTM(3, return_state=True)(shared(shared(x)))
    model = rnnx.Model(x, layers.LSTM(3)(x, initial_state=[h, c]))
    copy = clone_model(model, clone_function=again)
    copy.set_weights(model.get_weights())
    data = np.random.default_rng(0).normal(size=(2, 5, 3))
    np.testing.assert_array_equal(copy(data), model(data))
    assert y.shape == (None, 3)


@pytest.mark.parametrize("make", [graph, chain])
def test_a_clone_is_compiled_as_the_model_is(make: Any) -> None:
    """As in Keras 3.15."""
    model = make()
    assert not clone_model(model).compiled
    metric = rnnx.metrics.MeanAbsoluteError()
    model.compile(rnnx.optimizers.Adam(0.02), "mse", [metric], weighted_metrics=["mae"])
    x, y = np.ones((4, 5, 3)), np.ones((4, 2))
    model.fit(x, y, verbose=0)
    steps, before = int(model.optimizer.iterations), metric.result()
    for copy in (clone_model(model), clone_model(model, clone_function=again)):
        assert copy.compiled and copy.optimizer is not model.optimizer and copy.optimizer.learning_rate == 0.02
        assert copy.optimizer.iterations == 0 and copy.metrics[0].result() == 0
        copy.fit(x, 3 * y, epochs=2, verbose=0)
        assert list(copy.evaluate(x, y, return_dict=True, verbose=0)) == list(model.metrics_names)
        assert copy.optimizer.iterations == 2
    assert model.optimizer.iterations == steps and metric.result() == before
