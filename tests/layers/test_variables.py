"""Weights in the words of Keras: variables, `assign`, `numpy()`, and arrays that know their weight."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import layers
from rnnx.layers.weight import Weight, WeightArray

RNG = np.random.default_rng(5)


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


def _with_out(value: Any) -> None:
    np.multiply(value, 0.5, out=value)


def _part_of_a_part(value: Any) -> None:
    value[1:][0, ::2] = 3.0


def _buffer(value: Any) -> None:
    memoryview(value)[1, 2] = 2.0


def _plain(value: Any) -> None:
    np.asarray(value).T.flat[3] = -2.0


WAYS = [_fill, _multiply, _set, _copy_to, _with_out, _part_of_a_part, _buffer, _plain]


@pytest.mark.parametrize("change", WAYS)
@pytest.mark.parametrize("kind", [layers.LSTM, layers.GRU, layers.SimpleRNN])
def test_whatever_is_written_in_the_value_counts(kind: Any, change: Any) -> None:
    """Whether the array is held since the call before or not, and also after the weight has another one."""
    layer, x = kind(3), RNG.normal(size=(2, 4, 5)).astype("float32")

    def counts(value: Any) -> None:
        before = layer(x)
        change(value() if callable(value) else value)
        same = kind(3)
        same(x)
        same.set_weights(layer.get_weights())
        assert np.array_equal(layer(x), same(x)) and not np.array_equal(layer(x), before)

    layer(x)
    for weight in layer.weights[:2]:
        counts(lambda: weight.value)  # noqa: B023
        for _ in range(2):
            weight.assign(RNG.normal(size=weight.shape))
            counts(lambda: weight.value)  # noqa: B023
            weight.assign(RNG.normal(size=weight.shape))
            held = weight.value[...]  # a view is all that is left of it
            counts(held)
    first, second, _ = layer.weights
    layer(x)
    assert first.lent is None and second.lent is not None  # of what nobody holds, nothing is asked any more


def test_reading_the_value_is_no_change() -> None:
    layer, x = layers.GRU(3), np.ones((2, 4, 5), "float32")
    layer(x)
    packed, versions = layer.packed()[1], [weight.version for weight in layer.weights]
    for weight in layer.weights:
        value = weight.value
        assert weight.value is value and type(value) is np.ndarray
        assert np.asarray(layer.kernel).mean() == layer.kernel.mean()
        layer(x)
    assert layer.packed()[1] is packed and [weight.version for weight in layer.weights] == versions


def test_written_in_the_value_of_what_is_kept_elsewhere() -> None:
    """Narrow weights, tables of embeddings, still weights of streams, both directions."""
    x = RNG.normal(size=(2, 4, 5)).astype("float32")
    dense = layers.Dense(3)
    both = layers.Bidirectional(layers.LSTM(3))
    table = rnnx.Sequential([layers.Embedding(5, 3), layers.GRU(4)])
    ids = np.arange(20).reshape(4, 5) % 5
    for layer, given, narrow in ((dense, x, True), (both, x, False), (both, x, True), (table, ids, False)):
        layer(given)
        if narrow:
            layer.quantize("bf16")
        for weight in layer.weights:
            before = layer(given), layer(given)
            weight.value[...] += 1
            assert not np.array_equal(layer(given), before[1])
    model = rnnx.Sequential([rnnx.Input((None, 5)), layers.LSTM(3), layers.LayerNormalization()])
    for weight in model.weights:
        model.stream().step(x[:, 0][:1])
        weight.value[...] += RNG.normal(size=weight.shape)
        np.testing.assert_allclose(model.stream().step(x[:1, 0]), model.predict(x[:1, :1]), atol=1e-5)


def test_an_array_that_was_given_is_not_the_value() -> None:
    layer, x = layers.GRU(3), np.ones((2, 4, 5), "float32")
    layer(x)
    given = np.ones((5, 9), "float32")
    layer.weights[0].value = given
    y = layer(x)
    given[...] = 5
    assert np.array_equal(layer(x), y) and layer.weights[0].value.max() == 1
    with pytest.raises(ValueError, match=r"weight 'kernel' has shape \(5, 9\), got an array of shape \(5, 6\)"):
        layer.weights[0].value = np.ones((5, 6))
    made = np.ones((5, 9), "float32")
    layer = layers.GRU(3, kernel_initializer=lambda shape, dtype=None: made)
    y = layer(x)
    made[...] = 5
    assert np.array_equal(layer(x), y) and layer.weights[0].value.max() == 1


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


def test_layers_models_and_files_do_not_give_their_weights_away(monkeypatch: Any, tmp_path: Any) -> None:
    """Whose value was asked for has its numbers looked through in the next call, as someone may write in them."""

    def asked(self: Any) -> Any:
        raise AssertionError(f"{self.name} was asked for its value; `array` costs nothing later")

    model = rnnx.Sequential(
        [
            rnnx.Input((4, 5)),
            layers.BatchNormalization(),
            layers.Bidirectional(layers.LSTM(3, weight_noise="int8", return_sequences=True, kernel_regularizer="l2")),
            layers.GRU(3, dropout=0.5, recurrent_dropout=0.5, kernel_constraint="max_norm"),
            layers.Dense(2),
        ]
    )
    model.compile("adam", "mse")
    x, y = RNG.normal(size=(6, 4, 5)).astype("float32"), RNG.normal(size=(6, 2))
    monkeypatch.setattr(Weight, "value", property(asked, Weight.value.fset))
    model.fit(x, y, validation_data=(x, y), verbose=0)
    model.predict(x)
    model.summary(print_fn=lambda *line: None)
    model.warm_up(tmp_path / "packed")
    for direction in (model.layers[1].forward_layer, model.layers[1].backward_layer):
        direction.weight_noise = None  # which Keras does not have
    for name in ("m.safetensors", "m.keras", "m.weights.h5", "m.onnx"):
        (model.save_weights if "weights" in name else model.save)(tmp_path / name)
    rnnx.load_model(tmp_path / "m.safetensors").predict(x)
    assert all(weight.lent is None for weight in model.weights)


def test_a_weight_by_its_older_name() -> None:
    class Scaled(rnnx.layers.Layer):
        def build(self, input_shape):
            self.scale = self.add_variable((input_shape[-1],), "ones", trainable=False, name="scale")

        def call(self, inputs):
            return 2.0 * self.scale * inputs

    layer = Scaled()
    np.testing.assert_array_equal(layer(np.ones((1, 3), "float32")), [[2.0, 2.0, 2.0]])
    assert [weight.name for weight in layer.non_trainable_weights] == ["scale"]
