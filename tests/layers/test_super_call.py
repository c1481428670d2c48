"""``super().call(x)``: a class derived from a layer computes what that layer computes, and what it makes of it."""

from __future__ import annotations

import copy
import types
from typing import Any

import numpy as np
import pytest

from rnnx import Input, Model, Sequential, layers, ops
from rnnx.layers import Layer

X = np.random.default_rng(5).normal(size=(2, 4, 3)).astype(np.float32)
IDS = np.array([[3, 1, 0, 0], [2, 4, 4, 1]])


def doubled(base: Any) -> Any:
    """A class that gives twice what a layer gives."""

    def call(self: Any, x: Any) -> Any:
        return super(kind, self).call(x) * 2

    kind = type(f"Doubled{base.__name__}", (base,), {"call": call, "__module__": __name__})
    return kind


CASES = {
    "dense": (layers.Dense, (3,), {}, X),
    "lstm": (layers.LSTM, (3,), {"return_sequences": True}, X),
    "backwards": (layers.GRU, (3,), {"return_sequences": True, "go_backwards": True}, X),
    "bidirectional": (layers.Bidirectional, (lambda: layers.GRU(2),), {}, X),
    "rnn": (layers.RNN, (lambda: [layers.GRUCell(2), layers.LSTMCell(3)],), {}, X),
    "distributed": (layers.TimeDistributed, (lambda: layers.Dense(2),), {}, X),
    "embedding": (layers.Embedding, (5, 3), {}, IDS),
    "normalization": (layers.LayerNormalization, (), {}, X),
    "batch": (layers.BatchNormalization, (), {}, X),
    "conv": (layers.Conv1D, (2, 3), {"padding": "same"}, X),
    "reshape": (layers.Reshape, ((3, 4),), {}, X),
    "pooling": (layers.GlobalAveragePooling1D, (), {}, X),
}


def made(kind: Any, given: Any, options: Any) -> Any:
    return kind(*[part() if isinstance(part, types.FunctionType) else part for part in given], **options)


@pytest.mark.parametrize("name", CASES)
def test_twice_of_a_layer(name: str) -> None:
    base, given, options, x = CASES[name]
    plain, own = made(base, given, options), made(doubled(base), given, options)
    y = plain(x)
    own(x)
    own.set_weights(plain.get_weights())
    inputs = Input(x.shape[1:], dtype=x.dtype)
    model = Model(inputs, own(inputs))
    for found in (own(x), model(x), own.vjp(x)[0], copy.deepcopy(own)(x)):
        np.testing.assert_allclose(found, 2 * y, rtol=1e-5, atol=1e-6)
    assert [w.shape for w in own.weights] == [w.shape for w in plain.weights]
    dy = np.random.default_rng(1).normal(size=y.shape).astype(np.float32)
    wanted, found = plain.vjp(x)[1](2 * dy), own.vjp(x)[1](dy)
    if x is X:
        np.testing.assert_allclose(found.dx, wanted.dx, rtol=1e-4, atol=1e-5)
    for a, b in zip(found.dweights, wanted.dweights, strict=True):
        assert (a is None) == (b is None)
        if b is not None:
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_states_are_carried_and_forgotten() -> None:
    plain, own = layers.GRU(3, stateful=True), doubled(layers.GRU)(3, stateful=True)
    plain(X), own(X)
    own.set_weights(plain.get_weights())
    plain.reset_state(), own.reset_state()
    for _ in range(2):
        y = plain(X)
        np.testing.assert_allclose(own(X), 2 * y, rtol=1e-6)
        np.testing.assert_array_equal(own.states[0], plain.states[0])
    own.reset_state()
    assert own.states is None


def test_arguments_of_the_class_below() -> None:
    class Started(layers.LSTM):
        def call(self, x: Any, start: Any, mask: Any = None) -> Any:
            return super().call(x, [start, start * 0], mask=mask) + start

    own, plain = Started(3), layers.LSTM(3)
    start, mask = np.ones((2, 3), np.float32), np.array([[True, True, False, False], [True] * 4])
    own(X, start), plain(X)
    plain.set_weights(own.get_weights())
    for given, by_name in (((X, start), {}), ((X,), {"start": start})):
        np.testing.assert_allclose(own(*given, **by_name), plain(X, [start, 0 * start]) + 1, rtol=1e-6)
    expected = plain(X, initial_state=[start, 0 * start], mask=mask) + 1
    np.testing.assert_allclose(own(X, start, mask=mask), expected, rtol=1e-6)


def test_a_cell_that_builds_on_another() -> None:
    class SkippedGRUCell(layers.GRUCell):
        def call(self, x: Any, states: Any, training: bool = False) -> Any:
            y, after = super().call(x, states)
            return y + x, after

    plain, own = layers.GRU(3, return_sequences=True), layers.RNN(SkippedGRUCell(3), return_sequences=True)
    y = plain(X)
    own(X)
    own.set_weights(plain.get_weights())
    np.testing.assert_allclose(own(X), y + X, rtol=1e-5, atol=1e-6)
    found, wanted = own.vjp(X)[1](y), plain.vjp(X)[1](y)
    np.testing.assert_allclose(found.dx, wanted.dx + y, rtol=1e-4, atol=1e-5)
    for a, b in zip(found.dweights, wanted.dweights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_attention_over_its_own_arguments() -> None:
    class Causal(layers.MultiHeadAttention):
        def call(self, query: Any, value: Any) -> Any:
            return super().call(query, value, use_causal_mask=True) + query

    own, plain = Causal(2, 2), layers.MultiHeadAttention(2, 2)
    own(X, X), plain(X, X)
    plain.set_weights(own.get_weights())
    expected = plain(X, X, use_causal_mask=True) + X
    np.testing.assert_allclose(own(X, X), expected, rtol=1e-5, atol=1e-6)
    x = Input((4, 3))
    np.testing.assert_allclose(Model(x, own(x, x))(X), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("first", [True, False])
def test_a_build_of_a_model_may_call_that_of_the_class_below(first: bool) -> None:
    class Scaled(Model):
        def build(self, input_shape: Any) -> None:
            if first:
                super().build(input_shape)
            self.scale, self.dense = self.add_weight(shape=(2,), initializer="ones"), layers.Dense(2)
            if not first:
                super().build(input_shape)

        def call(self, x: Any) -> Any:
            return self.dense(x) * self.scale

    model, other = Scaled(), Scaled()
    model.build((None, 4, 3))
    for each in (model, other):
        each.compile("sgd", "mse")
        each.fit(X, np.ones((2, 4, 2)), verbose=0)
        assert each.built and [w.shape for w in each.weights] == [(2,), (3, 2), (2,)]


def test_a_copy_of_a_model_with_a_graph_and_a_call() -> None:
    class Twice(Model):
        def call(self, x: Any) -> Any:
            return super().call(x) * 2

    x = Input((4, 3))
    model = Twice(x, layers.GRU(2)(x))
    np.testing.assert_array_equal(copy.deepcopy(model)(X), model(X))


def test_moving_averages_move() -> None:
    own, plain = doubled(layers.BatchNormalization)(), layers.BatchNormalization()
    own(X, training=True), plain(X, training=True)
    for a, b in zip(own.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert own.get_weights()[2].any()


def test_penalties_on_the_output_count_once() -> None:
    own = doubled(layers.Dense)(2, activity_regularizer="l2", use_bias=False)
    model = Sequential([Input((3,)), own])
    model.compile("sgd", "mse")
    x, y = X[:, 0], model(X[:, 0])
    assert model.evaluate(x, y, verbose=0) == pytest.approx(0.01 * float(np.square(y).sum()) / 2, rel=1e-5)


def test_wrappers_run_the_call() -> None:
    class Tripled(layers.GRU):
        def call(self, x: Any) -> Any:
            return super().call(x) * 3

    both = layers.Bidirectional(Tripled(2, return_sequences=True), merge_mode="sum")
    y = both(X)
    one = layers.Bidirectional(layers.GRU(2, return_sequences=True), merge_mode="sum")
    one(X)
    one.set_weights(both.get_weights())
    np.testing.assert_allclose(y, 3 * one(X), rtol=1e-5)
    each = layers.TimeDistributed(doubled(layers.Dense)(2))
    flat = each(X)
    np.testing.assert_allclose(flat, 2 * (X @ each.layer.kernel + each.layer.bias), rtol=1e-5, atol=1e-6)


def test_a_chain_that_defines_call_takes_and_gives_layers() -> None:
    class Scaled(Sequential):
        def call(self, x: Any) -> Any:
            return super().call(x) * 10

    chain = Scaled([layers.Dense(3)])
    chain.add(layers.Dense(2))
    first = chain(X[:, 0])
    np.testing.assert_allclose(first, 10 * Sequential(chain.layers)(X[:, 0]), rtol=1e-5)
    last = chain.pop()
    np.testing.assert_allclose(chain(X[:, 0]), 10 * chain.layers[0](X[:, 0]), rtol=1e-5)
    chain.add(last)
    np.testing.assert_allclose(chain(X[:, 0]), first, rtol=1e-5)
    assert [layer.name for layer in chain.layers][1] == last.name and len(chain.weights) == 4
    again = Scaled.from_config(chain.get_config())
    again.build((None, 3))
    again.set_weights(chain.get_weights())
    np.testing.assert_allclose(again(X[:, 0]), first, rtol=1e-5)


def test_nothing_is_put_into_a_class() -> None:
    class Own(layers.Dense):
        def call(self, x: Any) -> Any:
            return ops.relu(super().call(x))

    class OwnModel(Model):
        def call(self, x: Any) -> Any:
            return x

    Own(2)(X), OwnModel()(X)
    for kind in (Own, OwnModel):
        functions = {name for name, part in vars(kind).items() if callable(part) or isinstance(part, property)}
        assert functions == {"call"}


def test_a_class_that_says_its_layers_itself() -> None:
    class Pair(Layer):
        def __init__(self) -> None:
            super().__init__()
            self.parts = [layers.Dense(2), layers.Dense(2)]

        @property
        def sublayers(self) -> Any:
            return self.parts

        def build(self, input_shape: Any) -> None:
            for part in self.parts:
                part.build(input_shape)

        def forward(self, x: Any, **call: Any) -> Any:
            return sum(part(x) for part in self.parts), None

    pair = Pair()
    assert pair(X).shape == (2, 4, 2) and len(pair.weights) == 4
    pair.trainable = False
    assert not any(pair.weight_is_trained()) and not pair.parts[0].trainable


def test_a_class_that_adds_to_the_layers_it_inherits() -> None:
    class DenseAndMore(layers.Dense):
        def __init__(self, units: int, **arguments: Any) -> None:
            super().__init__(units, **arguments)
            self.more = layers.Dense(3)

        @property
        def sublayers(self) -> Any:
            return [*super().sublayers, self.more]

        def build(self, input_shape: Any) -> None:
            super().build(input_shape)
            self.more.build(input_shape)

    class TracedAndMore(Layer):
        def __init__(self) -> None:
            super().__init__()
            self.inside, self.last = layers.Dense(2), layers.Dense(3)

        @property
        def sublayers(self) -> Any:
            return [*super().sublayers, self.last]

        def call(self, x: Any) -> Any:
            return self.last(self.inside(x))

    for layer in (DenseAndMore(4), TracedAndMore()):
        layer(X)
        assert len(layer.weights) == 4 == len(layer.weight_is_trained())
        layer.trainable = False
        assert not any(layer.weight_is_trained())


def test_a_configuration_is_made_of_what_the_constructor_was_given() -> None:
    class WordNumbers(layers.StringLookup):  # a lookup has a note of its own of the vocabulary that it was given
        def __init__(self, words: str, **arguments: Any) -> None:
            super().__init__(vocabulary=words.split(), **arguments)

    layer = WordNumbers("a b", num_oov_indices=2)
    for one in (layer, copy.copy(layer), copy.deepcopy(layer)):
        config = one.get_config()
        assert config["words"] == "a b" and config["num_oov_indices"] == 2
        assert WordNumbers.from_config(config).get_vocabulary() == layer.get_vocabulary()


def test_inputs_by_name() -> None:
    dense, gru = layers.Dense(2), layers.GRU(2)
    np.testing.assert_array_equal(dense(inputs=X), dense(X))
    np.testing.assert_array_equal(gru(sequences=X), gru(X))
    x = Input((4, 3))
    assert Model(x, dense(inputs=x))(X).shape == (2, 4, 2)
    with pytest.raises(TypeError, match="an input is needed: call it as layer.x. or layer.inputs=x"):
        dense()

    class Plain(Layer):
        def call(self, inputs: Any) -> Any:
            return inputs * 2

    np.testing.assert_array_equal(Plain()(inputs=X), 2 * X)
