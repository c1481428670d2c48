"""What `call` depends on besides its tensors counts as it is now. Right values: Keras 3.15."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import Input, Model, Sequential, layers, losses, ops, regularizers
from rnnx.layers import Layer
from rnnx.layers.watched import OF_LAYERS, OF_MODELS, Watched
from rnnx.losses.traced_loss import FunctionLoss

X = np.random.default_rng(5).normal(size=(2, 4, 3)).astype(np.float32)
FACTOR = 1.0


class Setup:
    scale = 1.0


class Scaled(Layer):
    def __init__(self, setup: Any = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.scale, self.options, self.setup, self.table = 1.0, {"by": [1.0]}, setup, np.ones(3, np.float32)
        self._own = 1.0

    def call(self, x: Any) -> Any:
        y = x * self.scale * self.options["by"][0] * self._own * self.table
        return y if self.setup is None else y * self.setup.scale


class Outer(Layer):
    def __init__(self, inner: Any):
        super().__init__()
        self.inner = [inner]

    def call(self, x: Any) -> Any:
        return self.inner[0](x) * self.inner[0].scale


def test_attributes_that_change_count_in_the_next_call() -> None:
    setup = Setup()
    setup.scale = 1.0
    layer = Scaled(setup)
    inputs = Input((4, 3))
    model, chain = Model(inputs, layer(inputs)), Sequential([layer])
    by_step = layers.TimeDistributed(layer)

    def all_give(factor: float) -> None:
        for found in (layer(X), model(X), model.predict(X), chain(X), by_step(X), layer.vjp(X)[0]):
            np.testing.assert_allclose(found, factor * X, rtol=1e-5)

    all_give(1)
    layer.scale = 2.0
    all_give(2)
    layer.options["by"][0] = 3.0
    all_give(6)
    layer._own = 0.5
    all_give(3)
    setup.scale = 4.0
    all_give(12)
    layer.table[:] = 2.0
    all_give(24)
    layer.scale = 2
    all_give(24)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(Outer(Scaled())))):
        first = twin(X)
        getattr(twin, "inner", [twin])[0].scale *= 3.0
        np.testing.assert_allclose(twin(X), first * (9.0 if hasattr(twin, "inner") else 3.0), rtol=1e-5)


def test_attributes_of_layers_inside() -> None:
    outer = Outer(Scaled())
    np.testing.assert_array_equal(outer(X), X)
    outer.inner[0].scale = 3.0
    np.testing.assert_allclose(outer(X), 9 * X, rtol=1e-6)
    outer.inner[0] = Scaled()
    np.testing.assert_array_equal(outer(X), X)


def test_a_callback_changes_what_a_model_adds_to_its_loss() -> None:
    class Annealed(Model):
        def __init__(self) -> None:
            super().__init__()
            self.beta, self.dense = 0.0, layers.Dense(2)

        def call(self, x: Any) -> Any:
            y = self.dense(x)
            self.add_loss(self.beta * ops.mean(ops.square(y)))
            return y

    class Warming(rnnx.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.model.beta = float(epoch)

    model, x, y = Annealed(), np.float32([[1, 2, 3]]), np.float32([[1, -1]])
    model(x)
    model.set_weights([np.float32([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]]), np.float32([0.1, 0.2])])
    model.compile(rnnx.optimizers.SGD(0.01), "mse")
    found = model.fit(x, y, epochs=3, verbose=0, callbacks=[Warming()]).history["loss"]
    np.testing.assert_allclose(found, [8.845, 11.486024, 8.371479], rtol=1e-5)


def test_what_functions_read_from_outside() -> None:
    global FACTOR
    by = [1.0]

    def squared(y_true: Any, y_pred: Any) -> Any:
        return by[0] * FACTOR * ops.mean(ops.square(y_true - y_pred), axis=-1)

    class Own(losses.Loss):
        weight = 1.0

        def __init__(self) -> None:
            super().__init__()
            self.weight = 1.0

        def call(self, y_true: Any, y_pred: Any) -> Any:
            return self.weight * ops.mean(ops.square(y_true - y_pred), axis=-1)

    loss, own, scaled = FunctionLoss(squared), Own(), layers.Lambda(lambda x: x * by[0] * FACTOR)
    first, own_first = loss(X, 2 * X), own(X, 2 * X)
    np.testing.assert_array_equal(scaled(X), X)
    by[0] = 3.0
    assert loss(X, 2 * X) == pytest.approx(3 * first)
    np.testing.assert_allclose(scaled(X), 3 * X, rtol=1e-6)
    try:
        FACTOR = 2.0
        assert loss(X, 2 * X) == pytest.approx(6 * first)
        np.testing.assert_allclose(scaled(X), 6 * X, rtol=1e-6)
    finally:
        FACTOR = 1.0
    own.weight = 5.0
    assert own(X, 2 * X) == pytest.approx(5 * own_first)
    np.testing.assert_allclose(own.value_and_grad(X, 2 * X)[1], 10 * X / X.size, rtol=1e-5)


def test_a_penalty_of_ones_own_changes_its_gradient() -> None:
    class Square(regularizers.Regularizer):
        def __init__(self) -> None:
            self.rate = 1.0

        def __call__(self, w: Any) -> Any:
            return self.rate * ops.sum(ops.square(w))

    penalty, w = Square(), np.float32([1, -2])
    for rate in (1.0, 0.25):
        penalty.rate = rate
        assert penalty(w) == pytest.approx(5 * rate)
        np.testing.assert_allclose(penalty.grad(w), 2 * rate * w, rtol=1e-6)


def test_nothing_is_followed_again_without_a_change() -> None:
    calls: list[Any] = []

    class Noting(Model):
        def __init__(self) -> None:
            super().__init__()
            self.gru, self.inner, self.seen, self.count = layers.GRU(3, return_sequences=True), Scaled(), None, 0

        def call(self, x: Any) -> Any:
            calls.append(x.shape)
            self.seen, self.count = x, self.count + 1  # of its own: no change
            return self.inner(self.gru(x))

    model = Noting()
    model(X)
    model.compile("adam", "mse", metrics=["mae"])
    for _ in range(2):
        model.fit(X, X, verbose=0, epochs=2, validation_data=(X, X))
        model.evaluate(X, X, verbose=0)
        model.predict(X)
        list(model.layers), model.outputs, model.count_params()
    assert len(calls) == 1
    calls.clear()  # nor is what `call` itself fills
    model(X)
    assert not calls


def test_what_is_equal_and_what_is_not() -> None:
    ring: list[Any] = [1]
    ring.append(ring)
    assert Watched(ring) == Watched(ring)
    for one, other in (([1], [1.0]), ([True], [1]), ({"a": 1}, {"a": 2}), ([1, 2], [1]), ("a", "b"), ([1], [1])):
        assert Watched(one) != Watched(other)
    assert Watched(1.5) == Watched(1.5) and Watched(float("nan")) != Watched(1.0) and Watched(1) != 1


def test_what_the_engine_keeps_in_a_layer_is_no_change(tmp_path: Any) -> None:
    """All that is not an attribute of the user's, whatever was done with the layer or model."""

    class Weighed(layers.Layer):
        def __init__(self, units: int, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.dense = layers.Dense(units)

        def build(self, shape: Any) -> None:
            self.weight = self.add_weight(shape=shape[-1:], initializer="ones")

        def call(self, x: Any) -> Any:
            return self.dense(x * self.weight)

    class Both(rnnx.Model):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = Weighed(4), layers.GRU(3, return_sequences=True)

        def call(self, x: Any, training: bool = False) -> Any:
            return self.last(self.first(x))

    layer = Weighed(3)
    for model, own, kept in (
        (rnnx.Sequential([rnnx.Input((None, 3)), layer]), {"dense", "weight"}, OF_LAYERS),
        (Both(), {"first", "last"}, OF_MODELS),
    ):
        model(X)
        model.vjp(X)
        model.compile("adam", "mse", metrics=["mae"], weighted_metrics=["mse"])
        model.fit(X, model.predict(X), verbose=0, validation_data=(X, model.predict(X)))
        model.train_on_batch(X, model.predict(X))
        model.stream().step(X[:1, 0])
        model.save(tmp_path / "m.safetensors")
        model.count_params(), model.summary(print_fn=len), model.losses
        copy.deepcopy(model)
        watched = layer if kept is OF_LAYERS else model
        watched.trainable = False
        assert vars(watched).keys() - kept == own | {"activity_regularizer"}
