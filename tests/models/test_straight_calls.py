"""Calls and predictions of a plain chain go straight through its layers, with everything as it stands at the call."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import Model, Sequential, callbacks, layers, ops
from rnnx.layers.plan import Plan

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 5, 4)).astype(np.float32)


def chain(**options: Any) -> Sequential:
    made = Sequential(
        [
            rnnx.Input((None, 4)),
            layers.GRU(6, return_sequences=True),
            layers.Dropout(0.5, name="noise"),
            layers.LSTM(5, name="lstm", **options),
            layers.Dense(3, "tanh", name="dense"),
        ]
    )
    for weight in made.weights:
        weight.assign(RNG.normal(size=weight.shape) / 2)
    return made


def in_every_way(model: Any, x: Any = X) -> Any:
    """What all calls of a model give; they must agree to the last bit."""
    found = model.predict(x, verbose=0)
    for other in (model(x), model.predict_on_batch(x), model.predict(x, callbacks=[callbacks.Callback()])):
        np.testing.assert_array_equal(found, other)
    return found


def step_by_step(model: Any, x: Any = X) -> Any:
    for layer in model.layers:
        x = layer(x)
    return x


def changed_in_place(model: Any) -> None:
    model.get_layer("lstm").kernel[0] = 1


def scaled_in_place(model: Any) -> None:
    dense = model.get_layer("dense")
    dense.kernel *= 2


def changed_through_the_weight(model: Any) -> None:
    with model.weights[0].updating() as value:
        value += 1


def scaled_through_the_value(model: Any) -> None:
    model.weights[0].value *= 0.5


def assigned(model: Any) -> None:
    model.get_layer("dense").bias.assign(np.ones(3))


def set_all(model: Any) -> None:
    model.set_weights([1.5 * value for value in model.get_weights()])


def trained(model: Any) -> None:
    model.compile("sgd", "mse")
    model.fit(X, np.zeros((3, 3), np.float32), verbose=0)


def other_activation(model: Any) -> None:
    model.get_layer("dense").activation = "relu"


def backwards(model: Any) -> None:
    model.get_layer("lstm").go_backwards = True


def not_trained(model: Any) -> None:
    model.trainable = False
    model.get_layer("lstm").recurrent_kernel[:] = 0


def layer_added(model: Any) -> None:
    model.add(layers.Dense(2, name="last"))


def layer_of_another_kind_added(model: Any) -> None:
    model.add(layers.Reshape((3, 1)))
    model.add(layers.SimpleRNN(2, name="after"))


def layer_replaced(model: Any) -> None:
    model.pop()
    model.add(layers.Dense(3, "sigmoid"))


def quantized(model: Any) -> None:
    model.quantize("int8")


def one_layer_quantized(model: Any) -> None:
    model.get_layer("dense").quantize("bf16")


CHANGES = [
    changed_in_place, scaled_in_place, changed_through_the_weight, scaled_through_the_value, assigned, set_all,
    trained, other_activation,
    backwards, not_trained, layer_added, layer_of_another_kind_added, layer_replaced, quantized, one_layer_quantized,
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_counts_in_the_next_call(change: Callable[[Any], None]) -> None:
    model = chain()
    before = in_every_way(model)
    change(model)
    after = in_every_way(model)
    assert after.shape != before.shape or np.abs(after - before).max() > 1e-4
    np.testing.assert_array_equal(after, step_by_step(model))
    twin = pickle.loads(pickle.dumps(model))  # which was never called
    np.testing.assert_array_equal(after, in_every_way(twin))


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_change_nothing(threads: int) -> None:
    model, x = chain(), RNG.normal(size=(64, 40, 4)).astype(np.float32)
    before = model.predict(x, batch_size=64)
    with rnnx.threads(threads):
        np.testing.assert_array_equal(model.predict(x, batch_size=64), before)


@pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_go_straight_too_and_are_their_own(copied: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = chain()
    before = in_every_way(model)
    twin = copied(model)
    straight = []
    along = Plan._along
    monkeypatch.setattr(Plan, "_along", lambda plan, x: straight.append(plan) or along(plan, x))
    np.testing.assert_array_equal(twin.predict(X), before)
    assert straight == [twin.plan]
    if copied is not copy.copy:
        twin.layers[0].kernel[:] = 0
        np.testing.assert_array_equal(model.predict(X), before)
        assert np.abs(twin.predict(X) - before).max() > 1e-3


def test_states_are_carried_and_noise_of_training_drawn() -> None:
    model = chain(stateful=True)
    first, second = model.predict(X), model.predict(X)
    assert np.abs(first - second).max() > 1e-4
    model.reset_states()
    np.testing.assert_array_equal(model(X), first)
    model.get_layer("lstm").stateful = False
    np.testing.assert_array_equal(model(X), model.predict(X))
    assert np.abs(model(X, training=True) - model(X)).max() > 1e-3


def test_masks_take_their_way() -> None:
    model, mask = chain(), np.arange(5) < np.array([[2], [5], [3]])
    whole, used = in_every_way(model), model(X, mask=mask)
    np.testing.assert_allclose(used[0], model(X[:1, :2])[0], rtol=1e-5, atol=1e-6)
    assert np.abs(used - whole)[[0, 2]].max() > 1e-3
    ragged = model.predict([X[0, :2], X[1], X[2, :3]])
    np.testing.assert_allclose(ragged, used, rtol=1e-5, atol=1e-6)
    masking = Sequential([rnnx.Input((None, 4)), layers.Masking(), *chain().layers])
    padded = np.where(mask[..., None], X, 0)
    np.testing.assert_array_equal(masking.predict(padded), Sequential(masking.layers[1:])(padded, mask=mask))


@pytest.mark.parametrize("make", [np.asarray, np.float64, lambda x: x.tolist(), lambda x: [x], np.asfortranarray, list])
def test_inputs_of_other_types(make: Any) -> None:
    model = chain()
    np.testing.assert_array_equal(model.predict(make(X)), model(X))


def test_inputs_of_other_shapes() -> None:
    model = chain()
    for rows, steps in ((3, 5), (1, 1), (40, 2), (3, 7)):
        x = RNG.normal(size=(rows, steps, 4)).astype(np.float32)
        np.testing.assert_allclose(model.predict(x), step_by_step(model, x), rtol=1e-5, atol=1e-6)
    assert model.predict(X[:0]).shape == (0, 3)
    with pytest.raises(ValueError, match=r"must have shape \(batch, any, 4\), got \(3, 5, 3\)"):
        model.predict(X[..., :3])
    with pytest.raises(TypeError, match="must be real numbers, got dtype complex64"):
        model.predict(X.astype(np.complex64))


def test_an_activity_penalty_set_later_counts() -> None:
    model = chain()
    model.compile("sgd", "mse")
    y = np.zeros((3, 3), np.float32)
    before = model.evaluate(X, y)
    model.get_layer("dense").activity_regularizer = rnnx.regularizers.L2(0.5)
    penalty = 0.5 * np.square(model.predict(X)).sum() / 3
    np.testing.assert_allclose(model.evaluate(X, y), before + penalty, rtol=1e-5)


class Twice(layers.Layer):
    scale = 2

    def call(self, x: Any) -> Any:
        return self.scale * ops.tanh(x)


class Own(Model):
    def __init__(self) -> None:
        super().__init__()
        self.inner = chain()

    def call(self, x: Any) -> Any:
        return 3 * self.inner(x)


class Halved(layers.Dense):
    def forward(self, x: Any, **call: Any) -> Any:
        y, back = super().forward(x, **call)
        return y / 2, back


class WithMask(layers.Dense):
    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        return np.arange(x.shape[1]) < np.full((len(x), 1), 2)


def test_classes_of_ones_own() -> None:
    inside = chain()
    model = Sequential([*inside.layers, Twice()])
    np.testing.assert_allclose(in_every_way(model), 2 * np.tanh(inside(X)), rtol=1e-6)
    model.layers[-1].scale = 5
    np.testing.assert_allclose(in_every_way(model), 5 * np.tanh(inside(X)), rtol=1e-6)
    own = Own()
    np.testing.assert_allclose(in_every_way(own), 3 * own.inner(X), rtol=1e-6)
    dense = layers.Dense(3)
    plain = Sequential([rnnx.Input((None, 4)), layers.LSTM(5), dense])
    halved = Sequential([rnnx.Input((None, 4)), plain.layers[0], Halved(3)])
    halved.set_weights(plain.get_weights())
    np.testing.assert_array_equal(in_every_way(halved), plain(X) / 2)
    masked = Sequential([rnnx.Input((None, 4)), WithMask(4), layers.LSTM(5)])
    np.testing.assert_array_equal(
        in_every_way(masked), masked.layers[1](masked.layers[0](X), mask=np.arange(5) < [[2]] * 3)
    )


def test_a_layer_that_masks_added_after_a_call() -> None:
    model = Sequential([rnnx.Input((None, 4)), layers.Activation("relu")])
    in_every_way(model)
    model.add(layers.Masking())
    model.add(layers.LSTM(5))
    x = np.where(np.arange(5)[:, None] < 2, X, -1)
    np.testing.assert_allclose(in_every_way(model, x), in_every_way(model, x[:, :2]), rtol=1e-5, atol=1e-6)


def test_a_branch_and_a_chain_agree() -> None:
    entry = rnnx.Input((None, 4))
    one, two, last = layers.GRU(6, return_sequences=True), layers.LSTM(5), layers.Dense(3)
    end = last(two(one(entry)))
    chained, both = Model(entry, end), Model(entry, [end, last.output])
    np.testing.assert_array_equal(chained.predict(X), both.predict(X)[0])


def test_few_products_of_a_dense_layer() -> None:
    """Read straight from the weights: one column, few and many, with what BLAS makes of the same numbers."""
    for features, units, rows in ((1, 1, 1), (7, 1, 3), (64, 1, 9), (100, 3, 2), (40, 20, 5), (8, 1024, 1)):
        for dtype in ("float32", "float64"):
            layer = layers.Dense(units, dtype=dtype, bias_initializer="normal")
            x = RNG.normal(size=(rows, features)).astype(dtype)
            y = layer(x)
            want = x.astype(float) @ layer.kernel.numpy().astype(float) + layer.bias.numpy()
            np.testing.assert_allclose(y, want, rtol=1e-5 if dtype == "float32" else 1e-12, atol=1e-6)
            np.testing.assert_array_equal(layer(x[:, None])[:, 0], y)
            np.testing.assert_array_equal(layer.vjp(x)[0], y)
            np.testing.assert_array_equal(layer(np.repeat(x, 2, 1)[:, ::2]), y)
            layer.weights[0].value = np.asfortranarray(layer.kernel.numpy())
            np.testing.assert_array_equal(layer(np.asfortranarray(x)), y)


def test_a_product_that_overflows_says_so() -> None:
    layer = layers.Dense(1, kernel_initializer="ones")
    big = np.full((1, 4), 3e38, np.float32)
    with pytest.warns(RuntimeWarning, match="overflow"):
        assert np.isinf(layer(big)).all()
    assert np.isnan(layer(np.full((1, 4), np.nan, np.float32))).all(), "without a word"
