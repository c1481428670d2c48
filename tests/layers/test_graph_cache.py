"""The graphs of traced functions: kept while what they read is as it was, bounded, and gone with their functions."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from typing import Any

import numpy as np

from rnnx import layers, losses, ops, regularizers
from rnnx.layers import Layer, graph_cache, watched

X = np.random.default_rng(5).normal(size=(2, 4, 3)).astype(np.float32)


class Options:
    def __init__(self, scale: float):
        self.scale, self.more = scale, {"by": [1.0]}


class Scaled(Layer):
    def __init__(self, options: Any):
        super().__init__()
        self.options, self.traced = options, 0

    def call(self, x: Any) -> Any:
        self.traced += 1
        return x * self.options.scale * self.options.more["by"][0]


def loss_of(k: int) -> Any:
    return lambda y_true, y_pred: ops.mean(ops.square(y_true - y_pred * k), axis=-1)


def scale_of(k: int) -> Any:
    return lambda x: x * k


def penalty_of(k: int) -> Any:
    return lambda w: k * ops.sum(ops.square(w))


def test_functions_defined_in_a_loop_are_not_kept() -> None:
    alive: list[Any] = []
    for k in range(340):  # three functions each
        loss, scale, penalty = loss_of(k), scale_of(k), penalty_of(k)
        losses.loss_of(loss).value_and_grad(X, X)
        layers.Lambda(scale)(X)
        regularizers.get(penalty).grad(X)
        alive += [weakref.ref(function) for function in (loss, scale, penalty)]
    del loss, scale, penalty
    gc.collect()
    assert not [ref for ref in alive if ref() is not None]


def test_classes_defined_in_a_loop_are_not_kept() -> None:
    alive, known = [], len(watched._attributes)
    for _ in range(20):

        class Twice(Layer):
            def call(self, x: Any) -> Any:
                return x * 2

        np.testing.assert_array_equal(Twice()(X), 2 * X)
        alive.append(weakref.ref(Twice))
    gc.collect()
    assert sum(ref() is not None for ref in alive) == 1  # the last, which its name stands for
    assert len(watched._attributes) <= known + 2


def test_shapes_are_bounded(monkeypatch: Any) -> None:
    monkeypatch.setattr(graph_cache, "MOST_GRAPHS", 3)
    layer = Scaled(Options(2.0))
    for steps in (1, 2, 3, 4, 5, 5, 4):
        np.testing.assert_array_equal(layer(X[:, :1].repeat(steps, 1)), 2 * X[:, :1].repeat(steps, 1))
        assert len(layer.computation.graphs) <= 3
    assert layer.traced == 5


def test_equal_values_that_are_other_objects_are_no_change() -> None:
    layer = Scaled(Options(float("2.5")))
    layer(X)
    for _ in range(3):
        layer.options.scale = float("2.5")
        layer.options.more["by"][0] = float("1.0")
        np.testing.assert_array_equal(layer(X), X * np.float32(2.5))
    assert layer.traced == 1
    layer.options.more["by"][0] = 2.0
    np.testing.assert_array_equal(layer(X), X * np.float32(5))
    layer.options.__dict__ = {"scale": 3.0, "more": {"by": [1.0]}}
    np.testing.assert_array_equal(layer(X), X * np.float32(3))
    layer.options.more["by"] = (2.0,)
    np.testing.assert_array_equal(layer(X), X * np.float32(6))
    layer.options = Options(7.0)
    np.testing.assert_array_equal(layer(X), X * np.float32(7))
    assert layer.traced == 5


def test_an_attribute_that_comes_later_counts() -> None:
    class Optional(Layer):
        def call(self, x: Any) -> Any:
            return x * getattr(self, "factor", 1.0)

    layer = Optional()
    np.testing.assert_array_equal(layer(X), X)
    layer.factor = 2.0
    np.testing.assert_array_equal(layer(X), 2 * X)
    del layer.factor
    np.testing.assert_array_equal(layer(X), X)


def test_copies_have_graphs_of_their_own() -> None:
    penalty, loss = regularizers.get(np.square), losses.loss_of(np.subtract)
    penalty.grad(X), loss.value_and_grad(X, 2 * X)
    for twin in (copy.deepcopy(penalty), pickle.loads(pickle.dumps(penalty))):
        np.testing.assert_allclose(twin.grad(X), 2 * X, rtol=1e-6)
    for other in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert "_graphs" not in vars(other)
        np.testing.assert_array_equal(other.value_and_grad(X, 2 * X)[1], loss.value_and_grad(X, 2 * X)[1])
