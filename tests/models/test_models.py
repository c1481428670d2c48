"""Graphs of layers: several inputs and outputs, shared layers, models in models, configuration, looking things up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import Input, Model, Sequential, layers
from rnnx.models import clone_model, model_from_json
from tests.bad_input.unchanged import unchanged

RNG = np.random.default_rng(23)
A, B = RNG.normal(size=(3, 5, 4)), RNG.normal(size=(3, 5, 4))
FLAT = RNG.normal(size=(3, 4))


def wide(shape: Any, name: str) -> Any:
    return Input(shape, dtype="float64", name=name)


def shared() -> Model:
    """The same GRU reads both inputs."""
    a, b = wide((None, 4), "a"), wide((None, 4), "b")
    gru = layers.GRU(3, name="gru", dtype="float64")
    return Model(
        [a, b], layers.Dense(2, name="out", dtype="float64")(layers.concatenate([gru(a), gru(b)], dtype="float64"))
    )


def encoder_decoder() -> Model:
    """States of one layer start another; several outputs of one layer are used."""
    a, b = wide((None, 4), "a"), wide((None, 4), "b")
    _, h, c = layers.LSTM(3, return_state=True, name="encoder", dtype="float64")(a)
    y = layers.LSTM(3, return_sequences=True, name="decoder", dtype="float64")(b, initial_state=[h, c])
    return Model([a, b], layers.TimeDistributed(layers.Dense(2, dtype="float64"), name="out")(y))


def two_outputs() -> Model:
    """One trunk, two heads, one of which is inside the graph too."""
    a = wide((None, 4), "a")
    trunk = layers.GRU(3, return_sequences=True, name="trunk", dtype="float64")(a)
    steps = layers.Dense(2, activation="tanh", name="steps", dtype="float64")(trunk)
    return Model(a, [steps, layers.GRU(2, name="last", dtype="float64")(steps), trunk])


def nested() -> Model:
    """A model used twice inside another."""
    inner = Sequential(
        [layers.GRU(3, input_shape=(None, 4), dtype="float64", name="gru"), layers.Dense(2, dtype="float64", name="d")],
        name="inner",
    )
    a, b = wide((None, 4), "a"), wide((None, 4), "b")
    return Model([a, b], layers.multiply([inner(a), inner(b)], dtype="float64"))


def residual() -> Model:
    """A tensor that goes two ways."""
    a = wide((None, 4), "a")
    h = layers.SimpleRNN(4, return_sequences=True, name="rnn", dtype="float64")(a)
    return Model(a, layers.LSTM(3, name="top", dtype="float64")(layers.add([a, h, h], dtype="float64")))


def weightless() -> Model:
    a = wide((None, 4), "a")
    return Model(a, layers.GlobalAveragePooling1D(name="mean", dtype="float64")(a))


MAKERS = {maker.__name__: maker for maker in (shared, encoder_decoder, two_outputs, nested, residual, weightless)}


def inputs_of(model: Model) -> Any:
    return [A.copy(), B.copy()] if model.several_inputs else A.copy()


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def same(a: Any, b: Any) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(as_list(a), as_list(b), strict=True))


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", MAKERS)
def test_gradients_by_finite_differences(name: str, padded: bool) -> None:
    model = MAKERS[name]()
    call: dict[str, Any] = {"lengths": [5, 2, 4]} if padded else {}
    x = inputs_of(model)
    y, pullback = model.vjp(x, **call)
    slopes = [RNG.normal(size=part.shape) for part in as_list(y)]
    grads = pullback(slopes if model.several_outputs else slopes[0])

    def value() -> float:
        return sum(float((s * part).sum()) for s, part in zip(slopes, as_list(model(x, **call)), strict=True))

    arrays = [(w.name, w, d) for w, d in zip(model.weights, grads.dweights, strict=True)]
    arrays += [(f"input {k}", part, d) for k, (part, d) in enumerate(zip(as_list(x), as_list(grads.dx), strict=True))]
    for what, holder, gradient in arrays:
        array = holder if isinstance(holder, np.ndarray) else holder.mutable()
        for flat in RNG.choice(array.size, min(5, array.size), replace=False):
            place = np.unravel_index(flat, array.shape)
            ends = []
            kept = array[place]
            for step in (1e-6, -1e-6):
                array[place] = kept + step
                if not isinstance(holder, np.ndarray):
                    holder.mutable()
                ends.append(value())
            array[place] = kept
            if not isinstance(holder, np.ndarray):
                holder.mutable()
            slope = (ends[0] - ends[1]) / 2e-6
            np.testing.assert_allclose(gradient[place], slope, rtol=1e-5, atol=1e-8, err_msg=f"{what} {place}")


@pytest.mark.parametrize("name", MAKERS)
def test_configuration_round_trip(name: str) -> None:
    model = MAKERS[name]()
    for twin in (model_from_json(model.to_json()), clone_model(model)):
        assert type(twin) is type(model) and twin.name == model.name
        assert json.loads(twin.to_json()) == json.loads(model.to_json())
        twin.set_weights(model.get_weights())
        assert same(twin(inputs_of(model)), model(inputs_of(model)))
        assert twin.input_shape == model.input_shape and twin.output_shape == model.output_shape


@pytest.mark.parametrize("name", MAKERS)
def test_shapes(name: str) -> None:
    model = MAKERS[name]()
    x = inputs_of(model)
    given = [part.shape for part in x] if model.several_inputs else x.shape
    found = model.compute_output_shape(given)
    assert [y.shape for y in as_list(model(x))] == as_list(found)
    assert model.count_params() == sum(w.size for w in model.get_weights())


def test_a_shared_layer_has_its_weights_once() -> None:
    model = shared()
    gru = model.get_layer("gru")
    assert len(model.weights) == 5 and model.layers.count(gru) == 1
    x = [A, A]
    _, pullback = model.vjp(x)
    both = pullback(np.ones((3, 2)))
    solo, back = gru.vjp(A)
    kernel = model.get_layer("out").kernel
    one = back(np.ones((3, 2)) @ kernel[:3].T).dweights
    two = back(np.ones((3, 2)) @ kernel[3:].T).dweights
    for total, first, second in zip(both.dweights, one, two, strict=False):
        np.testing.assert_allclose(total, first + second, rtol=1e-12)


def test_outputs_without_a_gradient() -> None:
    model = two_outputs()
    y, pullback = model.vjp(A)
    slope = RNG.normal(size=y[1].shape)
    alone = pullback([None, slope, None])
    zeros = pullback([np.zeros_like(y[0]), slope, np.zeros_like(y[2])])
    np.testing.assert_allclose(alone.dx, zeros.dx, atol=1e-15)
    only_trunk = pullback([None, None, np.ones_like(y[2])])
    steps = [k for k, w in enumerate(model.weights) if w in model.get_layer("steps").weights]
    assert all(only_trunk.dweights[k] is None or not only_trunk.dweights[k].any() for k in steps)


def test_need_dx_false_gives_the_same_weight_gradients() -> None:
    for maker in MAKERS.values():
        model = maker()
        y, pullback = model.vjp(inputs_of(model))
        slopes = [np.ones_like(part) for part in y] if model.several_outputs else np.ones_like(y)
        one, two = pullback(slopes), pullback(slopes, need_dx=False)
        assert two.dx is None or all(d is None for d in as_list(two.dx))
        assert same(one.dweights, two.dweights)


def test_inputs_by_name() -> None:
    model = shared()
    assert np.array_equal(model({"b": B, "a": A}), model([A, B]))
    single = residual()
    assert np.array_equal(single({"a": A}), single(A))


def test_training_can_be_fixed_at_a_node() -> None:
    a = wide((4,), "a")
    always = Model(a, layers.Dropout(0.5, seed=1, dtype="float64")(a, training=True))
    never = Model(a, layers.Dropout(0.5, seed=1, dtype="float64")(a, training=False))
    assert (always(FLAT) == 0).any() and np.array_equal(never(FLAT, training=True), FLAT)
    twin = clone_model(always)
    assert (twin(FLAT) == 0).any()


def test_masks_flow_through_the_graph() -> None:
    ids = np.array([[3, 1, 0, 0], [2, 0, 5, 1]])
    a = Input((None,), dtype="int64")
    h = layers.Embedding(6, 3, mask_zero=True)(a)
    h = layers.Dense(3)(layers.Dropout(0.2)(h))
    gru = layers.GRU(4)
    model = Model(a, gru(h))
    table, dense = model.layers[1], model.layers[3]
    expected = gru(dense(table(ids)), mask=ids != 0)
    assert np.array_equal(model(ids), expected)
    assert np.array_equal(model(ids), gru(dense(table(ids)))), "the mask rides on the arrays"
    assert not np.array_equal(model(ids), gru(np.asarray(dense(table(ids)))))


def test_trainable_false_of_one_layer_or_all() -> None:
    model = residual()
    model.get_layer("rnn").trainable = False
    grads = model.vjp(A)[1](np.ones((3, 3)))
    assert [d is None for d in grads.dweights] == [True] * 3 + [False] * 3
    assert len(model.trainable_weights) == 3
    model.trainable = False
    assert model.trainable_weights == []
    grads = model.vjp(A)[1](np.ones((3, 3)))
    assert all(d is None for d, w in zip(grads.dweights, model.weight_is_trained(), strict=True) if not w)


# ---- Sequential -----------------------------------------------------------------------------------------------------


def test_add_and_pop() -> None:
    model = Sequential(name="chain")
    model.add(layers.GRU(4, return_sequences=True, input_shape=(None, 3)))
    model.add(layers.Dropout(0.5))
    assert model.output_shape == (None, None, 4) and model.built
    model.add(layers.LSTM(2))
    assert model.output_shape == (None, 2)
    gone = model.pop()
    assert isinstance(gone, layers.LSTM) and model.output_shape == (None, None, 4)
    model.add(layers.GlobalMaxPooling1D())
    assert model(np.zeros((2, 5, 3))).shape == (2, 4)
    assert len(model.layers) == 3


def test_pop_down_to_nothing() -> None:
    model = Sequential([layers.Dense(2, input_shape=(3,))])
    model.pop()
    assert model.layers == [] and not model.built
    model.add(layers.Dense(5))
    assert model(np.zeros((1, 3))).shape == (1, 5)


def test_built_by_the_first_data() -> None:
    model = Sequential([layers.GRU(4, return_sequences=True), layers.Dense(2)])
    assert not model.built and model.get_weights() == []
    assert model(np.zeros((2, 5, 3))).shape == (2, 5, 2) and model.built
    assert model.input_shape == (None, None, 3)
    assert model(np.zeros((1, 9, 3))).shape == (1, 9, 2)
    with pytest.raises(ValueError, match="must have shape"):
        model(np.zeros((1, 9, 4)))


@pytest.mark.parametrize("build", ["build", "input", "input_layer", "fit"])
def test_ways_to_build(build: str) -> None:
    model = Sequential([] if build.startswith("input") else [layers.Dense(2), layers.Dense(1)])
    if build == "build":
        model.build((None, 3))
    elif build == "fit":
        model.compile("sgd", "mse")
        model.fit(np.ones((4, 3)), np.ones((4, 1)), verbose=0)
    else:
        model.add(Input((3,)) if build == "input" else layers.InputLayer((3,)))
        model.add(layers.Dense(2))
        model.add(layers.Dense(1))
    assert model.built and model.count_params() == 11 and model.output_shape == (None, 1)


def test_sequential_starts_with_ids() -> None:
    model = Sequential([layers.Embedding(9, 4), layers.LSTM(3), layers.Dense(1, activation="sigmoid")])
    assert model(np.array([[1, 2, 8], [4, 0, 0]])).shape == (2, 1)
    twin = model_from_json(model.to_json())
    twin.set_weights(model.get_weights())
    assert np.array_equal(twin(np.array([[1, 2]])), model(np.array([[1, 2]])))


def test_sequential_in_sequential() -> None:
    inner = Sequential([layers.Dense(4, input_shape=(3,)), layers.Dropout(0.5, seed=2)])
    outer = Sequential([inner, layers.Dense(1)])
    assert outer(np.zeros((2, 3))).shape == (2, 1)
    assert len(outer.weights) == 4
    assert len(outer.seed_generators()) == 1
    twin = clone_model(outer)
    twin.set_weights(outer.get_weights())
    assert np.array_equal(twin(FLAT[:, :3]), outer(FLAT[:, :3]))


def test_the_snippet_of_the_readme() -> None:
    model = Sequential()
    model.add(layers.GRU(units=16, return_sequences=True, dropout=0.5, input_shape=(None, 3)))
    y = model(np.ones((2, 5, 3)), training=True)
    assert y.shape == (2, 5, 16) and not np.array_equal(y, model(np.ones((2, 5, 3)), training=True))


# ---- Looking at it --------------------------------------------------------------------------------------------------


def test_summary() -> None:
    model = Sequential(
        [layers.GRU(4, input_shape=(None, 3), name="reader"), layers.BatchNormalization(), layers.Dense(2)],
        name="small",
    )
    lines: list[str] = []
    model.summary(print_fn=lines.append)
    text = "\n".join(lines)
    assert "reader" in text and "GRU" in text and "(None, 4)" in text and "small" in text
    assert str(model.count_params()) in text.replace(",", "")
    Sequential([layers.Dense(2)]).summary(print_fn=lines.append)


def test_get_layer() -> None:
    model = residual()
    assert model.get_layer("top").name == "top"
    assert model.get_layer(index=-1) is model.get_layer("top")
    with pytest.raises(ValueError, match="no layer 'bottom'; there are a, rnn"):
        model.get_layer("bottom")
    with pytest.raises(ValueError, match="no layer 17"):
        model.get_layer(index=17)


def test_names_are_counted() -> None:
    rnnx.utils.clear_session()
    assert [layers.LSTM(1).name, layers.LSTM(1).name, layers.GlobalMaxPooling1D().name] == [
        "lstm",
        "lstm_1",
        "global_max_pooling1d",
    ]


def test_a_class_of_ones_own() -> None:
    class Twice(layers.Layer):
        def forward(self, x: Any, *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any) -> Any:
            return 2 * x, (lambda dy, *, need_dx=True: layers.Gradients(2 * dy)) if keep else None

    model = Sequential([layers.Dense(2, input_shape=(3,)), Twice(), layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(np.ones((4, 3)), np.ones((4, 1)), epochs=2, verbose=0)
    twin = model_from_json(model.to_json())
    twin.set_weights(model.get_weights())
    assert np.array_equal(twin(np.ones((1, 3))), model(np.ones((1, 3))))


class Fails(layers.Layer):
    """A layer that passes its input on, or runs out of memory."""

    armed = False

    def forward(self, x, *, mask=None, training=False, keep=False, **call):
        if Fails.armed:
            raise MemoryError("in the middle")
        return x, lambda dy, need_dx=True: layers.Gradients(dy)


ACTS = ["call", "predict", "predict_on_batch", "evaluate", "test_on_batch", "train_on_batch"]


@pytest.mark.parametrize("act", [*ACTS, "optimizer"])
def test_a_call_that_fails_in_the_middle_changes_nothing(act, monkeypatch):
    x, y = np.random.default_rng(0).normal(size=(4, 6, 3)).astype(np.float32), np.zeros((4, 6, 4), np.float32)
    recurrent, average = layers.LSTM(4, return_sequences=True, stateful=True), layers.BatchNormalization()
    source, dropped = Input((6, 3), batch_size=4), layers.Dropout(0.5, seed=2)
    end = Fails()(dropped(average(recurrent(source), training=True), training=True))
    model = Model(source, end)
    model.compile("sgd", "mse")
    model(x)

    def out_of_memory(*_):
        raise MemoryError("in the optimizer")

    if act == "optimizer":  # the weights are half updated then; what the call drew and carried is as before
        monkeypatch.setattr(model.optimizer, "update", out_of_memory)
        before = [dropped.seed_generator.state, recurrent.states[0].tolist(), average.moving_mean.tolist()]
        with pytest.raises(MemoryError):
            model.train_on_batch(x, y)
        assert [dropped.seed_generator.state, recurrent.states[0].tolist(), average.moving_mean.tolist()] == before
        return
    monkeypatch.setattr(Fails, "armed", True)
    calls = {
        "call": lambda: model(x),
        "predict": lambda: model.predict(x, verbose=0),
        "predict_on_batch": lambda: model.predict_on_batch(x),
        "evaluate": lambda: model.evaluate(x, y, verbose=0),
        "test_on_batch": lambda: model.test_on_batch(x, y),
        "train_on_batch": lambda: model.train_on_batch(x, y),
    }
    with unchanged(model), pytest.raises(MemoryError):
        calls[act]()


class Summary(layers.Layer):
    """Makes its layers when it is called, in a method of its own."""

    def __call__(self, h: Any) -> Any:
        last = layers.Lambda(lambda x: x[:, -1, :])(h)
        score = layers.Activation("softmax")(layers.dot([layers.Dense(4, use_bias=False)(h), last], [2, 1]))
        found = layers.concatenate([layers.dot([h, score], [1, 1]), last])
        return layers.Dense(5, activation="tanh")(found)


def test_a_chain_takes_a_layer_that_calls_others(tmp_path: Path) -> None:
    made = Sequential([Input((6, 1)), layers.LSTM(4, return_sequences=True), Summary()])
    made.add(layers.Dense(1))
    assert [w.shape for w in made.weights][3:] == [(4, 4), (8, 5), (5,), (5, 1), (1,)]
    x = made.inputs[0]
    graph = Model(x, made.outputs[0])
    data = np.random.default_rng(3).normal(size=(8, 6, 1))
    before = made.get_weights()
    made.compile("sgd", "mse")
    made.fit(data, data[:, 0], verbose=0)
    assert all((one != other).any() for one, other in zip(before, made.get_weights(), strict=True))
    np.testing.assert_array_equal(made.predict(data), graph.predict(data))
    made.save_weights(tmp_path / "w.weights.h5")
    made.load_weights(tmp_path / "w.weights.h5")
    for refused in (
        made.pop,
        made.get_config,
        lambda: made.save(tmp_path / "m.keras"),
        lambda: clone_model(made),
    ):
        with pytest.raises(NotImplementedError, match="needs a chain of layers"):
            refused()
    with pytest.raises(ValueError, match=r"give an Input first, 'summary(_\d+)?' calls other layers"):
        Sequential([Summary()]).build((None, 6, 4))


def test_a_layer_that_gives_its_input_is_a_chain_of_none() -> None:
    class GivesItsInput(layers.Layer):
        def __call__(self, x: Any) -> Any:
            return x

    made = Sequential([Input((3,)), layers.Dense(2), GivesItsInput(), layers.Dense(1)])
    assert [type(layer).__name__ for layer in made.layers] == ["Dense", "Dense"] and made.output_shape == (None, 1)
