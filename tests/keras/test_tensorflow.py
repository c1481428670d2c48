"""What is particular to the TensorFlow backend: tapes, graphs and XLA."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import rnnx.keras
from rnnx.keras import _tensorflow

pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore")]
MASK = np.array([[0, 0, 1, 1, 0], [0, 0, 0, 0, 0], [1, 0, 1, 1, 1]], bool)


def tensor(*shape: int) -> Any:
    return tf.constant(np.random.default_rng(3).normal(size=shape).astype("float32"))


def close(found: Any, wanted: Any) -> None:
    for one, other in zip(tf.nest.flatten(found), tf.nest.flatten(wanted), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("sequences, masked", [(False, True), (True, False), (True, True)])
@pytest.mark.parametrize("cell, count", [("LSTM", 2), ("GRU", 1), ("SimpleRNN", 1)])
def test_gradients(cell, count, sequences, masked):
    """Eager, in a graph, of a graph, and without a tape: of the input, the initial states and the weights."""
    layer = getattr(layers, cell)(4, return_sequences=sequences, return_state=True)
    x, states = tensor(3, 5, 3), [tensor(3, 4)] * count
    layer.build(x.shape)
    weights = [weight.value for weight in layer.trainable_weights]

    def loss(x: Any, *states: Any) -> Any:
        found = layer(x, initial_state=list(states), mask=MASK if masked else None)
        return sum((k + 1) * tf.reduce_sum(tf.square(part)) for k, part in enumerate(found))

    def taped(function: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch([x, *states])
            value = function(x, *states)
        return tape.gradient(value, [x, *states, *weights])

    def results() -> Any:
        graph = tf.function(loss, input_signature=[tf.TensorSpec((None, None, 3)), *[tf.TensorSpec((None, 4))] * count])
        untaped = tf.function(lambda x, *states: tf.gradients(loss(x, *states), [x, *states]))
        return taped(loss), taped(graph), tf.function(lambda: taped(loss))(), untaped(x, *states)

    wanted = results()
    rnnx.keras.accelerate(layer)
    close(results(), wanted)


def test_second_derivatives_are_refused():
    layer = layers.GRU(4)
    x = tensor(3, 5, 2)
    rnnx.keras.accelerate(layer)
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            y = layer(x)
        dx = inner.gradient(y, x)
    with pytest.raises(NotImplementedError, match="second derivatives"):
        outer.gradient(dx, x)


def test_xla_compiles_keras_own_code():
    layer = layers.GRU(4)
    x = tensor(3, 5, 2)
    wanted = layer(x)
    rnnx.keras.accelerate(layer)
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(_tensorflow, "loop")
        close(tf.function(layer, jit_compile=True)(x), wanted)


def test_models_leave_xla_to_run_on_the_engine():
    model = keras.Sequential([layers.Input((5, 2)), layers.GRU(4)])
    model.compile("sgd", "mse", jit_compile=True)
    assert model.jit_compile
    rnnx.keras.accelerate(model)
    assert not model.jit_compile
    with pytest.warns(UserWarning, match="jit_compile"):
        model.compile("sgd", "mse", jit_compile=True)
    assert not model.jit_compile


def test_exported_models_run_without_rnnx(tmp_path):
    model = keras.Sequential([layers.Input((5, 2)), layers.GRU(4)])
    x = tensor(3, 5, 2)
    wanted = model(x)
    rnnx.keras.accelerate(model)
    model.export(tmp_path / "model", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "model")
    close(loaded.serve(x), wanted)
    close(model(x), wanted)
    functions = loaded.signatures["serving_default"].graph.as_graph_def().library.function
    assert not any("PyFunc" in node.op for function in functions for node in function.node_def)
