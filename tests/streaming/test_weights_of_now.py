"""The weights of a stream are those at the time it was made, in all layers and in all ways to step."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import layers


class Own(layers.Layer):
    """Behind the last output, or at every step."""

    def build(self, input_shape: Any) -> None:
        self.scale = self.add_weight((input_shape[-1],), "ones")

    def call(self, x: Any) -> Any:
        return self.scale * x


class Doubled(layers.Dense):
    def call(self, x: Any) -> Any:
        return 2 * super().call(x)


class OwnCell(layers.Layer):
    state_size = output_size = 3

    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_weight((input_shape[-1], 3), "glorot_uniform")

    def call(self, x: Any, states: Any) -> Any:
        h = rnnx.ops.tanh(x @ self.kernel + states[0])
        return h, [h]


MODELS: dict[str, Callable[[], list[Any]]] = {
    "dense": lambda: [layers.GRU(3, return_sequences=True), layers.Dense(2)],
    "first": lambda: [layers.Dense(3), layers.GRU(3, return_sequences=True)],
    "norms": lambda: [
        layers.BatchNormalization(), layers.GRU(3, return_sequences=True), layers.LayerNormalization()
    ],
    "conv": lambda: [layers.Conv1D(3, 2, padding="causal"), layers.LSTM(2, return_sequences=True)],
    "inside": lambda: [layers.TimeDistributed(layers.Dense(2)), layers.LSTM(2, return_sequences=True)],
    "own": lambda: [layers.GRU(3, return_sequences=True), Own()],
    "own behind": lambda: [layers.GRU(3), Own()],
    "base behind": lambda: [layers.GRU(3), Doubled(2)],
    "own cell": lambda: [layers.RNN(OwnCell(), return_sequences=True)],
    "reference": lambda: [layers.GRU(3, activation="gelu", return_sequences=True)],
    "behind": lambda: [layers.GRU(3), layers.Dense(2)],
    "table": lambda: [layers.Embedding(5, 3, mask_zero=True), layers.GRU(3, return_sequences=True)],
    "rows": lambda: [layers.Embedding(5, 3), layers.Dense(3), layers.GRU(3, return_sequences=True)],
}  # fmt: skip


def _assign(model: Any, x: Any) -> None:
    model.set_weights([1.5 * value + 0.1 for value in model.get_weights()])


def _fit(model: Any, x: Any) -> None:
    model.compile("sgd", "mse")
    model.optimizer.learning_rate = 1.0
    model.fit(x, np.ones(model.predict(x).shape), verbose=0)


def _set(model: Any, x: Any) -> None:
    for layer in model.layers:
        for weight in layer.weights:
            with weight.updating() as value:
                value += 0.5


@pytest.mark.parametrize("change", [_assign, _fit, _set])
@pytest.mark.parametrize("name", MODELS)
def test_weights_stay_those_of_the_beginning(name: str, change: Any) -> None:
    rng = np.random.default_rng(3)
    model = rnnx.Sequential(MODELS[name]())
    ids = isinstance(model.layers[0], layers.Embedding)
    x: Any = rng.integers(0, 5, (2, 4)) if ids else rng.normal(size=(2, 4, 3)).astype("float32")
    if ids:
        x[0, 0] = 0  # padding, which takes the long way
    model(x)
    stream, everyone = model.stream(2), np.ones(2, bool)
    want = [stream.step(x[:, k]).copy() for k in range(4)]
    change(model, x)
    stream.reset()
    np.testing.assert_allclose([stream.step(x[:, k]).copy() for k in range(4)], want, atol=1e-6)
    stream.reset()
    np.testing.assert_allclose([stream.step(x[:, k], mask=everyone).copy() for k in range(4)], want, atol=1e-6)
    later = model.stream(2)
    assert np.abs(np.array([later.step(x[:, k]) for k in range(4)]) - want).max() > 1e-3


def test_streams_share_a_copy_of_the_weights() -> None:
    layer = layers.Dense(2)
    layer.build((None, 3))
    weight = layer.weights[0]
    first, second = weight.still(), weight.still()
    assert first.value is second.value and first.value is not weight.value and not first.value.flags.writeable
    weight.assign(np.ones((3, 2)))
    assert weight.still().value.sum() == 6 and first.value is second.value


class Locked(Own):
    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.lock = threading.Lock()


def test_what_cannot_be_copied_is_named() -> None:
    model = rnnx.Sequential([rnnx.Input((None, 3)), layers.GRU(3), Locked(name="locked")])
    with pytest.raises(ValueError, match=r"stream: layer 'locked' \(Locked\) cannot be copied .*pickle"):
        model.stream()
