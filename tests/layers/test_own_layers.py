"""Layers of one's own: `call` is honoured everywhere, trains, is saved, streams. Right values: Keras 3.15."""

from __future__ import annotations

import copy
import pickle
import threading
from typing import Any

import h5py
import numpy as np
import pytest

import rnnx
from rnnx import Input, Model, Sequential, layers, ops
from rnnx.layers import Dense, Dropout, Layer
from tests.conformance import CHECKS, Example

X = np.random.default_rng(5).normal(size=(2, 4, 3)).astype(np.float32)


def fill(layer: Any) -> Any:
    """The weights that the values of Keras were made with."""
    rng = np.random.default_rng(3)
    layer.set_weights([rng.normal(size=w.shape).astype("float32") * 0.5 for w in layer.weights])
    return layer


class OwnAttention(Layer):
    """The attention of hundreds of public scripts."""

    def build(self, input_shape: Any) -> None:
        self.W = self.add_weight(name="att_weight", shape=(input_shape[-1], 1), initializer="normal")
        self.b = self.add_weight(name="att_bias", shape=(input_shape[1], 1), initializer="zeros")
        super().build(input_shape)

    def call(self, x: Any) -> Any:
        e = ops.tanh(ops.matmul(x, self.W) + self.b)
        a = ops.softmax(e, axis=1)
        return ops.sum(x * a, axis=1)


class MinimalRNNCell(Layer):
    """The cell of Keras' guide to recurrent layers."""

    def __init__(self, units: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.units = units
        self.state_size = units

    def build(self, input_shape: Any) -> None:
        self.kernel = self.add_weight(shape=(input_shape[-1], self.units), initializer="uniform", name="kernel")
        self.recurrent_kernel = self.add_weight(
            shape=(self.units, self.units), initializer="uniform", name="recurrent_kernel"
        )

    def call(self, inputs: Any, states: Any) -> Any:
        h = ops.matmul(inputs, self.kernel)
        output = h + ops.matmul(states[0], self.recurrent_kernel)
        return output, [output]


class NoisyCell(Layer):
    """Layers as attributes of a cell, noise, two states."""

    def __init__(self, units: int, rate: float = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.state_size = [units, units]
        self.output_size = units
        self.inner, self.outer = Dense(units, **kwargs), Dense(units, use_bias=False, **kwargs)
        self.drop = Dropout(rate, seed=3, **kwargs)

    def call(self, inputs: Any, states: Any, training: bool = False) -> Any:
        h, total = states
        h = ops.tanh(self.inner(self.drop(inputs, training=training)) + self.outer(h))
        return h * 2, [h, total + h]


class MC(Dropout):
    def call(self, x: Any) -> Any:
        return super().call(x, training=True)


class ScaledDense(Dense):
    """A weight of its own in front of those of the class it is derived from."""

    def build(self, input_shape: Any) -> None:
        self.scale = self.add_weight(shape=(1,), initializer="ones", name="scale")
        super().build(input_shape)

    def call(self, x: Any) -> Any:
        return super().call(x) * self.scale


class Block(Layer):
    """Layers in lists and dicts, weights that are trained and not."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.blocks = [Dense(2, use_bias=False, **kwargs) for _ in range(2)]
        self.named = {"a": Dense(3, use_bias=False, **kwargs)}
        self.last = Dense(1, **kwargs)

    def build(self, input_shape: Any) -> None:
        self.moving = self.add_weight(shape=(5,), initializer="zeros", trainable=False)
        self.scale = self.add_weight(shape=(1,), initializer="ones")

    def call(self, x: Any) -> Any:
        for block in self.blocks:
            x = block(x)
        return self.last(self.named["a"](x)) * self.scale


class Residual(Layer):
    """One layer called twice, beside a shortcut, with noise."""

    def __init__(self, rate: float = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.rate = rate
        self.dense = Dense(3, activation="tanh", dtype=self.dtype)
        self.drop = Dropout(rate, seed=5, dtype=self.dtype)

    def call(self, x: Any, training: bool = False) -> Any:
        return x + self.drop(self.dense(self.dense(x)), training=training)


class Gated(Layer):
    """Two inputs by position."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.dense = Dense(3, activation="sigmoid", dtype=self.dtype)

    def call(self, inputs: Any) -> Any:
        one, two = inputs
        gate = self.dense(two)
        return gate * one + (1 - gate) * two


# ---- Values of Keras -------------------------------------------------------------------------------------------------


def test_attention() -> None:
    layer = OwnAttention()
    layer(X)
    expected = [[-0.05901608, -0.55889058, -0.10246985], [-0.52981138, 0.06777126, -0.59846884]]
    np.testing.assert_allclose(fill(layer)(X), expected, atol=1e-6)
    assert [w.name for w in layer.weights] == ["att_weight", "att_bias"]


def test_cells_of_the_guide() -> None:
    rnn = layers.RNN([MinimalRNNCell(3), MinimalRNNCell(2)])
    rnn(X)
    np.testing.assert_allclose(fill(rnn)(X), [[1.2215613, -2.5428987], [-3.0950000, -0.9461530]], atol=1e-5)


def test_weights_are_in_the_order_of_keras() -> None:
    block = Block()
    block(X)
    assert [w.shape for w in block.weights] == [(1,), (5,), (3, 2), (2, 2), (2, 3), (3, 1), (1,)]
    scaled = ScaledDense(2)
    scaled(X)
    assert [w.shape for w in scaled.weights] == [(1,), (3, 2), (2,)]
    assert scaled.kernel.shape == (3, 2) and scaled.bias.shape == (2,)


def test_a_mask_is_an_argument_of_call() -> None:
    class MeanOfValid(Layer):
        def __init__(self) -> None:
            super().__init__()
            self.supports_masking = True

        def call(self, x: Any, mask: Any = None) -> Any:
            use = ops.cast(mask, "float32")[..., None]
            return ops.sum(x * use, axis=1) / ops.sum(use, axis=1)

    x = X.copy()
    x[0, 2:] = 0
    expected = [[-0.19074310, -0.09415621, -0.06932761], [-0.69157743, 0.24130775, -0.56577206]]
    for model in (
        Sequential([layers.Masking(), MeanOfValid()]),
        Sequential([Input((4, 3)), layers.Masking(), MeanOfValid()]),
        lambda given: MeanOfValid()(layers.Masking()(given)),
    ):
        np.testing.assert_allclose(model(x), expected, atol=1e-6)


def test_a_weight_that_call_changes() -> None:
    class ComputeSum(Layer):
        """Of Keras' guide to layers of one's own."""

        def __init__(self, dim: int):
            super().__init__()
            self.total = self.add_weight(shape=(dim,), initializer="zeros", trainable=False)

        def call(self, inputs: Any) -> Any:
            self.total.assign_add(ops.sum(inputs, axis=0))
            return self.total

    layer = ComputeSum(2)
    assert layer(np.ones((2, 2))).tolist() == [2, 2] and layer(np.ones((2, 2))).tolist() == [4, 4]
    assert layer.total.numpy().tolist() == [4, 4]
    with pytest.raises(ValueError):
        layer(np.ones((2, 3)))
    assert layer.total.numpy().tolist() == [4, 4]


def test_penalties_that_call_adds() -> None:
    class Penalty(Layer):
        def call(self, x: Any) -> Any:
            self.add_loss(0.1 * ops.sum(ops.square(x)))
            return x

    model = fill(Sequential([Input((3,)), Dense(2, use_bias=False), Penalty()]))
    model.compile(rnnx.optimizers.SGD(0.1), "mse")
    history = model.fit(X[:, 0], np.ones((2, 2)), epochs=3, verbose=0).history["loss"]
    np.testing.assert_allclose(history, [2.2295527, 1.8255024, 1.5116911], rtol=1e-6)
    assert model.evaluate(X[:, 0], np.ones((2, 2)), verbose=0) == pytest.approx(1.2648133, rel=1e-6)


# ---- What every layer must do ----------------------------------------------------------------------------------------


def rnn(*cells: Any, **kwargs: Any) -> Any:
    return layers.RNN([cell(**kwargs) for cell in cells], return_sequences=True)


A, B = (np.random.default_rng(k).normal(size=(3, 4, 3)) for k in (1, 2))
EXAMPLES = {
    "attention": Example(OwnAttention, [A], mask="drop"),
    "cell": Example(lambda **k: rnn(lambda **o: MinimalRNNCell(3, **o), **k), [A]),
    "cells": Example(lambda **k: rnn(lambda **o: NoisyCell(3, **o), lambda **o: layers.GRUCell(2, **o), **k), [A]),
    "noise": Example(lambda **k: Residual(0.4, **k), [A], noisy=True, mask="drop"),
    "derived": Example(lambda **k: ScaledDense(2, **k), [A]),
    "block": Example(Block, [A], mask="drop"),
    "inputs": Example(Gated, [A, B], mask="drop"),
}


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", EXAMPLES)
def test_conformance(name: str, check: str) -> None:
    CHECKS[check](EXAMPLES[name])


# ---- In models -------------------------------------------------------------------------------------------------------


def test_the_noise_of_a_derived_dropout_is_always_there() -> None:
    model = Sequential([Input((6,)), MC(0.5, seed=1)])
    x = np.ones((64, 6), np.float32)
    first, second = model.predict(x), model.predict(x)
    assert {*np.unique(first)} == {0.0, 2.0} and not np.array_equal(first, second)
    layer = MC(0.5, seed=1)
    np.testing.assert_array_equal(layer(x), layers.Dropout(0.5, seed=1)(x, training=True))
    assert layer.seed_generator.state == (1, 1)


def test_noise_counts_calls_and_a_failed_call_counts_nothing() -> None:
    class Broken(Layer):
        def call(self, x: Any) -> Any:
            return ops.reshape(x, (-1, 5))

    layer = Residual(0.5)
    first, second = layer(X, training=True), layer(X, training=True)
    assert not np.array_equal(first, second) and layer.drop.seed_generator.state == (5, 2)
    model = Model(x := Input((4, 3)), Broken()(layer(x)))
    with pytest.raises(ValueError):
        model(X, training=True)
    assert layer.drop.seed_generator.state == (5, 2)


@pytest.mark.parametrize("kind", [OwnAttention, Residual, Block])
def test_training_copies_and_files(kind: Any, tmp_path: Any) -> None:
    model = Sequential([Input((4, 3)), layers.GRU(3, return_sequences=True), kind(), layers.Flatten(), Dense(1)])
    model.compile(rnnx.optimizers.Adam(0.03), "mse")
    y = X.sum(axis=(1, 2))[:, None]
    history = model.fit(X, y, epochs=40, verbose=0).history["loss"]
    assert history[-1] < 0.7 * history[0]
    expected = model(X)
    model.save(tmp_path / "model.safetensors")
    model.save_weights(tmp_path / "weights.safetensors")
    for twin in (
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
        rnnx.load_model(tmp_path / "model.safetensors"),
    ):
        np.testing.assert_array_equal(twin(X), expected)
        np.testing.assert_allclose(twin.fit(X, y, verbose=0).history["loss"], model.evaluate(X, y, verbose=0))
    model.layers[1].trainable = False
    kept = model.layers[1].get_weights()
    model.fit(X, y, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(kept, model.layers[1].get_weights(), strict=True))


def test_a_layer_of_several_kinds_of_arguments() -> None:
    class Mixed(Layer):
        def call(self, a: Any, pair: Any, *, scale: float = 1.0, named: Any = None) -> Any:
            total = a + pair[0] * scale - pair[1]
            return {"sum": total, "list": [total, a]} if named is None else total + named["x"]

    layer = Mixed()
    found = layer(X, (X, X), scale=3.0)
    np.testing.assert_allclose(found["sum"], 3 * X, rtol=1e-6)
    np.testing.assert_array_equal(found["list"][1], X)
    np.testing.assert_allclose(layer(X, [X, 2 * X], named={"x": X}), X, rtol=1e-6, atol=1e-6)
    x = Input((4, 3))
    symbolic = layer(x, (x, x), scale=3.0)
    np.testing.assert_allclose(Model(x, symbolic["sum"])(X), 3 * X, rtol=1e-6)
    y, pullback = layer.vjp(X, (X, X), scale=3.0)
    dx = pullback({"sum": X, "list": [None, None]}).dx
    assert len(dx) == 3
    np.testing.assert_allclose(dx[1], 3 * X, rtol=1e-6)
    with pytest.raises(TypeError, match="missing .*argument: 'pair'"):
        layer(X)


def test_integers_stay_integers() -> None:
    class Words(Layer):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = layers.Embedding(9, 3, mask_zero=True)
            self.gru = layers.GRU(2)

        def call(self, ids: Any) -> Any:
            return self.gru(self.embedding(ids))

    layer = Words()
    padded, short = layer(np.array([[3, 1, 0, 0]])), layer(np.array([[3, 1]]))
    np.testing.assert_allclose(padded, short, atol=1e-6)
    ids = Input((None,), dtype="int64")
    np.testing.assert_allclose(Model(ids, layer(ids))(np.array([[3, 1, 0]])), short, atol=1e-6)


def test_a_symbolic_mask_goes_to_layers_inside() -> None:
    class Reader(Layer):
        def __init__(self) -> None:
            super().__init__()
            self.gru = layers.GRU(2, seed=1)

        def call(self, x: Any, valid: Any) -> Any:
            return self.gru(x, mask=valid)

    layer = Reader()
    valid = np.array([[True, True, False, False], [True] * 4])
    np.testing.assert_array_equal(layer(X, valid), layer.gru(X, mask=valid))
    x, m = Input((4, 3)), Input((4,), dtype="bool")
    model = Model([x, m], layer.gru(x, mask=m))
    twin = Model.from_config(model.get_config())
    twin.set_weights(model.get_weights())
    np.testing.assert_array_equal(twin([X, valid]), layer.gru(X, mask=valid))
    y, pullback = layer.vjp(X, valid)
    assert not pullback(y).dx[0][0, 2:].any()


class StackOfTwo(Layer):
    def __init__(self) -> None:
        super().__init__()
        self.gru = layers.GRU(4, return_sequences=True)
        self.cell = layers.RNN(NoisyCell(3), return_sequences=True)

    def call(self, x: Any) -> Any:
        return self.cell(self.gru(x) * 2 + 1)


class Tripled(layers.GRU):
    def call(self, x: Any) -> Any:
        return super().call(x) * 3


def test_streams() -> None:
    whole = [StackOfTwo(), Sequential([StackOfTwo(), Dense(2)]), Tripled(2, return_sequences=True), Residual()]
    for layer in [*whole, layers.RNN(MinimalRNNCell(3), return_sequences=True)]:
        y = layer(X)
        stream = layer.stream(2)
        steps = np.stack([stream.step(X[:, t]) for t in range(4)], axis=1)
        np.testing.assert_allclose(steps, y, atol=1e-6)
        again = pickle.loads(pickle.dumps(layer))
        np.testing.assert_array_equal(again(X), y)
    layer = OwnAttention()
    layer(X)
    with pytest.raises(ValueError, match="stream: layer .*cannot be streamed"):
        layer.stream()


def test_several_threads_follow_a_layer_once() -> None:
    calls: list[int] = []

    class Counting(OwnAttention):
        def call(self, x: Any) -> Any:
            calls.append(1)
            return super().call(x)

    layer, found = Counting(), []
    threads = [threading.Thread(target=lambda: found.append(layer(X))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1 and len(layer.weights) == 2
    assert all(np.array_equal(y, found[0]) for y in found)


def test_call_is_followed_once_for_each_structure() -> None:
    calls: list[Any] = []

    class Counting(Residual):
        def call(self, x: Any, training: bool = False) -> Any:
            calls.append((x.shape, training))
            return super().call(x, training)

    layer = Counting()
    for rows in (2, 3, 2):
        layer(X[:1].repeat(rows, axis=0))
        layer(X, training=True)
    layer(X[:, :2])
    assert calls == [((None, 4, 3), False), ((None, 4, 3), True), ((None, 2, 3), False)]
    model = Sequential([Input((None, 3)), Counting()])
    calls.clear()
    for steps in (1, 2, 3):
        model(X[:, :steps])
    assert calls == []


def test_cells_step_by_step_inside_call() -> None:
    class FeedBack(Layer):
        """The decoder of a tutorial on time series: a cell called by hand beside its layer."""

        def __init__(self, cell: Any):
            super().__init__()
            self.cell = cell
            self.rnn = layers.RNN(cell, return_state=True)
            self.dense = Dense(3)

        def call(self, inputs: Any, training: Any = None) -> Any:
            x, *state = self.rnn(inputs)
            predictions = [self.dense(x)]
            for _ in range(2):
                x, state = self.cell(predictions[-1], states=state, training=training)
                predictions.append(self.dense(x))
            return ops.stack(predictions, axis=1)

    for cell in (layers.LSTMCell(4), layers.GRUCell(4), layers.StackedRNNCells([layers.GRUCell(2)]), NoisyCell(4)):
        layer = FeedBack(cell)
        y = layer(X)
        assert y.shape == (2, 3, 3)
        h, *state = layer.rnn(X)
        state = [state] if isinstance(cell, layers.StackedRNNCells) else state
        state = [[part] for part in state[0]] if isinstance(cell, layers.StackedRNNCells) else state
        h, state = cell(layer.dense(h), state)
        np.testing.assert_allclose(layer.dense(h), y[:, 1], atol=1e-6)
        assert len(layer.weights) == len(layer.rnn.weights) + 2


# ---- Errors ----------------------------------------------------------------------------------------------------------


def test_an_error_in_call_is_the_users_own() -> None:
    class Broken(Layer):
        def call(self, x: Any) -> Any:
            return x.no_such_thing

    with pytest.raises(AttributeError, match="no_such_thing") as caught:
        Broken()(X)
    assert "in call" in str(caught.getrepr(chain=False)) or caught.traceback[-1].name == "call"
    model = Sequential([Broken()])
    with pytest.raises(AttributeError, match="no_such_thing"):
        model(X)


class Choosing(Layer):
    def call(self, x: Any) -> Any:
        return x if ops.sum(x) > 0 else -x


class Counting(Layer):
    def call(self, x: Any) -> Any:
        return x + float(x[0, 0, 0])


class Constant(Layer):
    def call(self, x: Any) -> Any:
        return np.ones((2, 3))


class ReturningNone(Layer):
    def call(self, x: Any) -> None:
        return None


class Making(Layer):
    def call(self, x: Any) -> Any:
        return Dense(3)(x)


class MakingWeights(Layer):
    def call(self, x: Any) -> Any:
        return x * self.add_weight(shape=(3,))


class Forgetting(Layer):
    def __init__(self) -> None:
        pass

    def call(self, x: Any) -> Any:
        return x


OUTSIDE = Dense(3)


class Borrowing(Layer):
    def call(self, x: Any) -> Any:
        return x * OUTSIDE.kernel[0]


@pytest.mark.parametrize(
    "kind, error, sentence",
    [
        (Choosing, TypeError, "use ops.where in place of `if`"),
        (Counting, TypeError, "float|real number"),
        (Constant, TypeError, "do not depend on its inputs"),
        (ReturningNone, TypeError, "what its function returns must be tensors, got None"),
        (Making, ValueError, "which it does not keep; make it an attribute"),
        (MakingWeights, RuntimeError, "make it in `build`"),
        (Forgetting, RuntimeError, r"must begin with super\(\).__init__\(\)"),
        (Borrowing, ValueError, "weight 'kernel' of a layer that it does not keep"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_call_may_not_do(kind: Any, error: Any, sentence: str) -> None:
    OUTSIDE(X)
    with pytest.raises(error, match=sentence):
        kind()(X)


def test_what_nobody_would_call_is_refused() -> None:
    with pytest.raises(TypeError, match="class Both: `forward` and `call` both say"):

        class Both(Layer):
            def forward(self, x: Any, **call: Any) -> Any:
                return x, None

            def call(self, x: Any) -> Any:
                return x

    with pytest.raises(TypeError, match="class Own: `call` and `vjp` beside the forward pass of Dropout"):

        class Own(Dropout):
            def call(self, x: Any) -> Any:
                return x

            def vjp(self, x: Any, **call: Any) -> Any:
                return x, None

    with pytest.raises(NotImplementedError, match="does not say how to compute its output: implement `call`"):

        class Empty(Layer):
            def call(self, x: Any) -> Any:
                return super().call(x)

        Empty()(X)


def test_call_of_a_layer_that_is_there() -> None:
    dense = Dense(2)
    np.testing.assert_array_equal(dense.call(X), dense(X))


def test_an_array_that_is_a_weight_stands_for_the_weight() -> None:
    class Tied(Layer):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = layers.Embedding(5, 3)

        def call(self, ids: Any) -> Any:
            return ops.matmul(self.embedding(ids), ops.transpose(self.embedding.embeddings))

    layer = Tied()
    ids = np.array([[1, 2]])
    y, pullback = layer.vjp(ids)
    table = layer.get_weights()[0]
    np.testing.assert_allclose(y[0], table[[1, 2]] @ table.T, rtol=1e-5)
    both = pullback(np.ones_like(y)).dweights[0]
    rows = np.zeros_like(table)
    rows[[1, 2]] += table.sum(axis=0)
    np.testing.assert_allclose(both, rows + table[[1, 2]].sum(axis=0), rtol=1e-5)
    layer.set_weights([table * 2])
    np.testing.assert_allclose(layer(ids)[0], 4 * y[0], rtol=1e-5)


def test_formats_that_cannot_say_it_refuse_it(tmp_path: Any) -> None:
    pytest.importorskip("onnx")
    model = Sequential([Input((4, 3)), MC(0.5), ScaledDense(2)])
    for name in ("model.onnx", "model.keras"):
        with pytest.raises(ValueError, match="mc|scaled_dense"):
            model.save(tmp_path / name)


def test_weights_in_files_of_keras(tmp_path: Any) -> None:
    """Own weights and those of layers that are attributes, by their names."""
    for kind in (Block, ScaledDense, Residual):
        one, two = (Sequential([Input((4, 3)), kind(*([2] if kind is ScaledDense else []))]) for _ in range(2))
        for name in ("own.weights.h5", "own.h5"):
            one.save_weights(tmp_path / name)
            two.set_weights([w + 1 for w in one.get_weights()])
            two.load_weights(tmp_path / name)
            assert all(np.array_equal(a, b) for a, b in zip(one.get_weights(), two.get_weights(), strict=True))


def test_a_class_with_the_name_of_one_of_rnnx(tmp_path):
    """Files that say Attention mean that of rnnx, whoever else defines a class of this name."""
    scores, values = rnnx.Input((5, 4)), rnnx.Input((5, 4))
    model = rnnx.Model([scores, values], rnnx.layers.Attention()([scores, values]))

    class Attention(rnnx.layers.Layer):
        def call(self, x):
            return 2 * x

    own = rnnx.Sequential([rnnx.Input((3,)), Attention()])
    for made, kind in ((model, rnnx.layers.Attention), (own, Attention)):
        made.save(tmp_path / "model.safetensors")
        loaded = rnnx.load_model(tmp_path / "model.safetensors")
        assert type(loaded.layers[-1]) is kind


def test_custom_objects_hold_for_one_file(tmp_path):
    class Twice(rnnx.layers.Layer):
        def call(self, x):
            return 2 * x

    class Thrice(rnnx.layers.Layer):
        def call(self, x):
            return 3 * x

    rnnx.Sequential([rnnx.Input((3,)), Twice()]).save(tmp_path / "model.safetensors")
    x = np.ones((2, 3), "float32")
    loaded = rnnx.load_model(tmp_path / "model.safetensors", custom_objects={"Twice": Thrice})
    np.testing.assert_array_equal(loaded(x), 3 * x)
    np.testing.assert_array_equal(rnnx.load_model(tmp_path / "model.safetensors")(x), 2 * x)


def test_weights_of_keras_models_of_ones_own(tmp_path):
    """Keras finds the layers of such a model by attributes, and those behind "layers" in the alphabet in that list."""

    class Net(rnnx.Model):
        def __init__(self):
            super().__init__()
            self.gru, self.out, self.mid = rnnx.layers.GRU(3), rnnx.layers.Dense(1), rnnx.layers.Dense(3)

        def call(self, x):
            return self.out(self.mid(self.gru(x)))

    nets = Net(), Net()
    x = np.ones((1, 2, 3), "float32")
    outputs = [net(x) for net in nets]
    nets[0].save_weights(tmp_path / "net.weights.h5")
    with h5py.File(tmp_path / "net.weights.h5") as file:
        assert "gru/cell/vars/0" in file and "layers/dense/vars/0" in file and "layers/dense_1/vars/0" in file
    nets[1].load_weights(tmp_path / "net.weights.h5")
    assert not np.array_equal(*outputs)
    np.testing.assert_array_equal(nets[1](x), outputs[0])


class Penalised(layers.Layer):
    """A layer that takes the arguments which all layers of Keras take."""

    def __init__(self, units: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.units, self.dense = units, layers.Dense(units, use_bias=False, kernel_initializer="ones")

    def call(self, x: Any) -> Any:
        y = self.dense(x)
        self.add_loss(0.5 * ops.sum(y))
        return y

    def get_config(self) -> Any:
        return {**super().get_config(), "units": self.units}


def test_an_activity_regularizer_is_an_argument(tmp_path: Any) -> None:
    x = np.ones((2, 4, 3), "float32")
    layer = Penalised(2, activity_regularizer=rnnx.regularizers.L1(0.25))
    model = rnnx.Sequential([rnnx.Input((None, 3)), layer])
    model.compile("sgd", "mse")
    # 16 numbers that are 3: the penalty is that of one of 2 rows, what is added is that of all
    assert model.evaluate(x, np.full((2, 4, 2), 3.0), verbose=0) == pytest.approx(0.25 * 48 / 2 + 0.5 * 48)
    model.save(tmp_path / "m.safetensors")
    loaded = rnnx.load_model(tmp_path / "m.safetensors")
    assert loaded.layers[-1].activity_regularizer.l1 == 0.25
    assert rnnx.models.clone_model(model).layers[-1].activity_regularizer.l1 == 0.25
    with pytest.raises(TypeError, match="unknown argument.* `?activity_regulariser"):
        Penalised(2, activity_regulariser="l1")


def test_a_stream_of_a_layer_that_adds_a_loss() -> None:
    x = np.random.default_rng(3).normal(size=(1, 4, 3)).astype("float32")
    model = rnnx.Sequential([rnnx.Input((None, 3)), Penalised(2), layers.GRU(2, return_sequences=True)])
    wanted, stream = model.predict(x), model.stream()
    for t in range(4):
        np.testing.assert_allclose(stream.step(x[:, t]), wanted[:, t], atol=1e-6)


def test_two_packages_have_classes_of_one_name(tmp_path):
    def made(package, factor):
        @rnnx.saving.register_keras_serializable(package)
        class OfPackage(Layer):
            def call(self, x):
                return x * factor

        return OfPackage

    first, second = made("tests.one", 2.0), made("tests.two", 3.0)
    x = np.ones((1, 2), np.float32)
    model = Sequential([Input((2,)), first(), second()])
    model.save(tmp_path / "m.safetensors")
    again = rnnx.load_model(tmp_path / "m.safetensors")
    assert [type(layer) for layer in again.layers] == [first, second]
    assert again.predict(x, verbose=0).tolist() == [[6.0, 6.0]]
    assert [type(layer) for layer in rnnx.models.clone_model(model).layers] == [first, second]
