"""Parts of graphs, layers that are in a graph twice, freezing, and models inside models."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

from rnnx import Input, Model, Sequential, layers
from rnnx.models import save_model

RNG = np.random.default_rng(31)
X = RNG.normal(size=(4, 5, 3))


def chain() -> Sequential:
    return Sequential(
        [
            layers.GRU(4, return_sequences=True, input_shape=(None, 3), name="low", dtype="float64"),
            layers.LSTM(3, name="high", dtype="float64"),
            layers.Dense(2, name="out", dtype="float64"),
        ]
    )


def changed(before: list[Any], after: list[Any]) -> bool:
    return not all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


# ---- Parts of graphs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["as made", "deepcopy", "pickle", "late"])
def test_a_model_of_a_part(how: str) -> None:
    model = chain()
    if how == "deepcopy":
        model = copy.deepcopy(model)
    elif how == "pickle":
        model = pickle.loads(pickle.dumps(model))
    elif how == "late":
        model = Sequential([layers.GRU(4, return_sequences=True, name="low"), layers.Flatten(), layers.Dense(2)])
        model(X)
    low = model.get_layer("low")
    part = Model(model.input, low.output)
    assert np.array_equal(part(X), low(X))
    assert low.input is model.inputs[0] and model.layers[-1].output is model.output
    assert part.weights[0] is low.weights[0]


def test_inputs_and_outputs_of_a_graph() -> None:
    a, b = Input((None, 3), name="a"), Input((None, 3), name="b")
    gru = layers.GRU(2, return_state=True)
    y, h = gru(a)
    added = layers.Add()
    model = Model([a, b], [added([y, h]), layers.LSTM(2)(b)])
    assert model.input == [a, b] and model.output == model.outputs
    assert gru.input is a and gru.output == [y, h] and added.input == [y, h]
    assert model.layers[0].output is a and model.layers[0].input is a
    cell = layers.GRU(2)
    cell(b, initial_state=h)
    assert cell.input is b


def test_a_layer_that_was_not_called_has_no_output() -> None:
    layer = layers.Dense(2)
    layer(X)
    assert not hasattr(layer, "output")
    with pytest.raises(AttributeError, match=f"{layer.name}: no symbolic input and output yet"):
        _ = layer.output
    with pytest.raises(AttributeError, match="give it an input shape"):
        _ = Sequential([layer]).input


def test_a_removed_layer_can_join_another_model() -> None:
    model = chain()
    out = model.pop()
    assert model.output is model.get_layer("high").output
    other = Sequential([layers.LSTM(3, input_shape=(None, 3)), out])
    assert Model(other.input, out.output)(X).shape == (4, 2)


def test_one_call_for_each_layer_that_is_added() -> None:
    model = chain()
    assert [node.layer.name for node in model.nodes] == ["low", "high", "out"]
    assert all(node is node.layer._node for node in model.nodes)


# ---- Twice in a graph -----------------------------------------------------------------------------------------------


def test_weights_of_a_layer_inside_and_outside_of_a_model_count_once() -> None:
    x = Input((3,), dtype="float64")
    dense = layers.Dense(3, dtype="float64")
    inner = Model(x, dense(x))
    model = Model(x, dense(inner(x)))
    kernel, bias = np.diag([2.0, 3.0, 5.0]), np.zeros(3)
    model.set_weights([kernel, bias])
    assert len(model.weights) == len(model.weight_is_trained()) == len(model.get_weights()) == 2
    rows = X[:, 0]
    y, pullback = model.vjp(rows)
    np.testing.assert_allclose(y, rows @ kernel @ kernel)
    grads = pullback(np.ones_like(y))
    np.testing.assert_allclose(grads.dweights[1], 4 * (np.ones(3) + kernel.sum(axis=1)))
    model.compile("sgd", "mse")
    model.optimizer.learning_rate = 0.1
    model.optimizer.apply(model.weights, grads.dweights)
    np.testing.assert_allclose(dense.bias, -0.1 * grads.dweights[1])


def test_a_layer_frozen_in_one_place_is_trained_in_the_other() -> None:
    x = Input((3,))
    dense = layers.Dense(3)
    inner = Model(x, dense(x))
    model = Model(x, dense(inner(x)))
    inner._trainable = False
    assert model.weight_is_trained() == [True, True]


# ---- Models inside models -------------------------------------------------------------------------------------------


def test_a_stateful_model_inside_moves_on_once() -> None:
    inner = Sequential([layers.GRU(2, stateful=True, return_sequences=True, input_shape=(None, 3), dtype="float64")])
    x = Input((None, 3), dtype="float64")
    model = Model(x, inner(x))
    first, second = model(X), model(X)
    inner.reset_states()
    assert np.array_equal(first, inner(X)) and np.array_equal(second, inner(X))


def test_a_mask_is_computed_without_a_trace() -> None:
    inner = Sequential([layers.Masking(input_shape=(None, 3)), layers.GRU(2, stateful=True, return_sequences=True)])
    inner(X)
    before = inner.layers[1].states[0].copy()
    assert inner.compute_mask(X).all()
    assert np.array_equal(before, inner.layers[1].states[0])


def test_masks_go_through_a_model_inside() -> None:
    inner = Sequential([layers.Embedding(6, 3, mask_zero=True), layers.Dense(2)])
    x = Input((None,), dtype="int64")
    gru = layers.GRU(2)
    model = Model(x, gru(inner(x)))
    ids = np.array([[1, 2, 0, 0], [3, 0, 5, 1]])
    assert np.array_equal(model(ids), gru(inner(ids), mask=ids != 0))
    assert np.array_equal(model(ids), gru(inner(ids))), "the mask rides on what the model inside returns"
    assert not np.array_equal(model(ids), gru(np.asarray(inner(ids))))


def test_a_mask_for_each_input() -> None:
    a, b = Input((None, 3), dtype="float64"), Input((None, 3), dtype="float64")
    one, two = layers.GRU(2, dtype="float64"), layers.LSTM(2, dtype="float64")
    model = Model([a, b], layers.add([one(a), two(b)], dtype="float64"))
    mask = np.arange(5) < np.array([[1], [2], [3], [5]])
    other = Model([a, b], model([b, a]))
    assert np.array_equal(model([X, X], mask=[None, mask]), one(X) + two(X, mask=mask))
    assert np.array_equal(model([X, X], mask=mask), one(X, mask=mask) + two(X))
    assert np.array_equal(other([X, X], mask=[mask, None]), one(X) + two(X, mask=mask))


def test_penalties_on_activity_inside() -> None:
    dense = layers.Dense(2, activity_regularizer="l2", input_shape=(3,), dtype="float64")
    inner = Sequential([dense])
    x = Input((3,), dtype="float64")
    model = Model(x, inner(x))
    rows = X[:, 0]
    y, _, pullback = model.forward_with_mask(rows, keep=True)
    assert pullback.activity_loss == pytest.approx(0.01 * np.square(y).sum() / 4)
    np.testing.assert_allclose(pullback(np.zeros_like(y)).dweights[0], rows.T @ (0.02 * y / 4))
    model.compile("sgd", "mse")
    assert model.evaluate(rows, y, verbose=0) == pytest.approx(pullback.activity_loss)


# ---- Freezing -------------------------------------------------------------------------------------------------------


def test_trainable_is_set_for_all_layers_inside() -> None:
    inner = Sequential([layers.TimeDistributed(layers.BatchNormalization()), layers.GRU(2)])
    model = Sequential([inner, layers.Dense(1)])
    model(X)
    before = model.get_weights()
    model.trainable = False
    assert not inner.layers[0].layer.trainable and model.trainable_weights == []
    model(X, training=True)
    assert not changed(before, model.get_weights())
    model.trainable = True
    model(X, training=True)
    assert changed(before, model.get_weights())


def test_weights_that_are_not_trained_cost_no_penalty() -> None:
    model = Sequential([layers.Dense(2, kernel_regularizer="l2", input_shape=(3,)), layers.Dense(1)])
    penalty = model.regularization_loss()
    assert penalty == pytest.approx(0.01 * np.square(model.get_weights()[0]).sum()) and model.losses == [penalty]
    model.layers[0].trainable = False
    assert model.regularization_loss() == 0 and model.losses == []


def test_frozen_layers_below_are_not_run_backwards() -> None:
    model = chain()
    wanted = model.vjp(X)[1](np.ones((4, 2)), need_dx=False).dweights
    asked = model.vjp(X)[1](np.ones((4, 2))).dx
    model.get_layer("low").trainable = False
    seen: list[tuple[str, bool]] = []

    def watched(name: str, forward: Any) -> Any:
        def run(x: Any, **call: Any) -> Any:
            y, back = forward(x, **call)
            return y, lambda dy, *, need_dx=True: (seen.append((name, need_dx)), back(dy, need_dx=need_dx))[1]

        return run

    with pytest.MonkeyPatch.context() as patch:
        for layer in model.layers[1:]:
            patch.setattr(layer, "forward", watched(layer.name, layer.forward))
        y, pullback = model.vjp(X)
    found = pullback(np.ones((4, 2)), need_dx=False).dweights
    assert seen == [("out", True), ("high", False)]
    assert found[:3] == [None] * 3
    assert not changed(wanted[3:], found[3:])
    np.testing.assert_array_equal(pullback(np.ones((4, 2))).dx, asked)
    model.get_layer("low").trainable, model.get_layer("high").trainable = True, False
    found = model.vjp(X)[1](np.ones((4, 2)), need_dx=False).dweights
    assert not changed(wanted[:3], found[:3]) and found[3:6] == [None] * 3


# ---- The rest -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("argument", ["batch_shape", "batch_input_shape", "batch_size"])
def test_a_fixed_batch_size(argument: str) -> None:
    if argument == "batch_size":
        model = Sequential([Input((5, 3), batch_size=4), layers.LSTM(2)])
    else:
        model = Sequential([layers.LSTM(2, stateful=True, **{argument: (4, 5, 3)})])
    assert model.input_shape == (4, 5, 3) and model.output_shape == (4, 2)
    assert Sequential.from_config(model.get_config()).input_shape == (4, 5, 3)
    assert Input(batch_shape=(4, 5, 3)).shape == (4, 5, 3)
    with pytest.raises(ValueError, match="batch axis first"):
        layers.LSTM(2, batch_input_shape=3)


def test_summary_of_models_inside() -> None:
    inner = Sequential([layers.Dense(2, input_shape=(3,), name="deep"), layers.BatchNormalization()], name="inner")
    model = Sequential([inner, layers.Dense(1)])
    inner.layers[0].trainable = False
    texts: list[str] = []
    model.summary(100, print_fn=texts.append)
    model.summary(print_fn=texts.append, expand_nested=True, show_trainable=True)
    assert "deep" not in texts[0] and "Trained" not in texts[0]
    rows = {line.split()[0]: line.split()[-1] for line in texts[1].splitlines() if "(" in line}
    assert rows["deep"] == "no" and "  deep" in texts[1]
    assert [line.endswith("in part") for line in texts[1].splitlines() if line.startswith("inner")] == [True]


def test_save_model(tmp_path: Any) -> None:
    from rnnx.models import load_model

    model = chain()
    save_model(model, tmp_path / "model.safetensors")
    assert np.array_equal(load_model(tmp_path / "model.safetensors")(X), model(X))
