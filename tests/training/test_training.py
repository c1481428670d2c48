"""fit, evaluate, predict and train_on_batch."""

from __future__ import annotations

import numpy as np
import pytest

import rnnx
from rnnx import Sequential, callbacks, data, layers, utils
from rnnx.training.batches import in_order

RNG = np.random.default_rng(20)


@pytest.fixture(autouse=True)
def _seeded():
    utils.set_random_seed(3)


def ragged_rows(count=21, features=3, longest=9, seed=5):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(int(n), features)) for n in rng.integers(1, longest, count)]


def sequence_model(per_step=False, **options):
    return rnnx.Sequential(
        [
            layers.Input((None, 3)),
            layers.GRU(5, return_sequences=per_step, seed=1, **options),
            layers.Dense(2),
        ]
    )


# ---- Learning --------------------------------------------------------------------------------------------------------


def test_learns_a_masked_classification():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(160, 8, 2))
    lengths = rng.integers(3, 9, 160)
    y = (np.array([row[:n, 0].sum() for row, n in zip(x, lengths, strict=True)]) > 0).astype(int)
    x[np.arange(8) >= lengths[:, None]] = -9.0
    model = rnnx.Sequential([layers.Masking(-9.0), layers.LSTM(10), layers.Dense(2, activation="softmax")])
    model.compile(rnnx.optimizers.Adam(0.03), "sparse_categorical_crossentropy", ["accuracy"])
    history = model.fit(x, y, batch_size=32, epochs=15, verbose=0)
    assert history.history["loss"][-1] < 0.5 * history.history["loss"][0]
    assert model.evaluate(x, y, verbose=0)[1] > 0.93


def test_learns_a_regression():
    x = RNG.normal(size=(128, 6, 2))
    y = x[:, :, :1].mean(axis=1)
    model = rnnx.Sequential([layers.Input((6, 2)), layers.SimpleRNN(8), layers.Dense(1)])
    model.compile(rnnx.optimizers.Adam(0.02), "mse", ["mae"])
    before = model.evaluate(x, y)[0]
    history = model.fit(x, y, epochs=25, verbose=0)
    assert history.history["loss"][-1] < 0.05 * before
    assert set(history.history) == {"loss", "mae"}


# ---- Forms of data ---------------------------------------------------------------------------------------------------


def two_inputs():
    a, b = rnnx.Input((None, 3), name="a"), rnnx.Input((2,), name="b")
    y = layers.Dense(1)(layers.Concatenate()([layers.GRU(4)(a), b]))
    model = rnnx.Model([a, b], y)
    model.compile("sgd", "mse")
    return model


def test_lists_and_dicts_of_inputs_give_the_same_training():
    a, b, y = RNG.normal(size=(11, 4, 3)), RNG.normal(size=(11, 2)), RNG.normal(size=(11, 1))
    model = two_inputs()
    start = model.get_weights()
    ends = []
    for x in ([a, b], {"b": b, "a": a}, (a, b)):
        model.set_weights(start)
        utils.set_random_seed(1)
        model.fit(x, y, batch_size=4, epochs=2, verbose=0)
        ends.append((model.get_weights(), model.predict(x), model.evaluate(x, y)))
    for weights, predicted, loss in ends[1:]:
        for left, right in zip(weights, ends[0][0], strict=True):
            np.testing.assert_array_equal(left, right)
        np.testing.assert_array_equal(predicted, ends[0][1])
        assert loss == ends[0][2]


def test_generators_and_lists_of_batches():
    x, y = RNG.normal(size=(12, 5, 3)), RNG.normal(size=(12, 2))
    parts = [(x[k : k + 4], y[k : k + 4]) for k in range(0, 12, 4)]

    def endless():
        while True:
            yield from parts

    ends = []
    model = sequence_model()
    model.compile("sgd", "mse")
    start = model.get_weights()
    for source, options in (
        ((x, y), {"batch_size": 4, "shuffle": False}),
        ((parts,), {}),
        ((endless(),), {"steps_per_epoch": 3}),
    ):
        model.set_weights(start)
        history = model.fit(*source, epochs=2, verbose=0, **options)
        ends.append((model.get_weights(), history.history["loss"]))
    for weights, loss in ends[1:]:
        np.testing.assert_allclose(loss, ends[0][1], rtol=1e-6)
        for left, right in zip(weights, ends[0][0], strict=True):
            np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("per_step", [False, True])
def test_ragged_equals_padded_with_lengths(per_step):
    rows = ragged_rows(7)
    targets = [RNG.normal(size=(len(r), 2)) for r in rows] if per_step else RNG.normal(size=(7, 2))
    model = sequence_model(per_step, dtype="float64")
    model.compile("sgd", "mse")
    start = model.get_weights()
    ragged = model.train_on_batch(rows, targets)
    after = model.get_weights()
    model.set_weights(start)
    x, lengths = data.pad(rows)
    y = data.pad(targets)[0] if per_step else targets
    masked = model.fit([data.Batch(x, y, None, lengths)], verbose=0).history["loss"][0]
    assert ragged == pytest.approx(masked, rel=1e-6)
    for left, right in zip(after, model.get_weights(), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-7)


def test_ragged_ids_learn():
    rng = np.random.default_rng(2)
    rows = [rng.integers(1, 9, n) for n in rng.integers(2, 9, 90)]
    y = np.array([int((row == 3).any()) for row in rows])
    model = rnnx.Sequential([layers.Embedding(9, 6), layers.GRU(10), layers.Dense(1, activation="sigmoid")])
    model.compile(rnnx.optimizers.Adam(0.03), "binary_crossentropy", ["accuracy"])
    model.fit(rows, y, epochs=25, batch_size=16, verbose=0)
    assert model.evaluate(rows, y)[1] > 0.95


@pytest.mark.parametrize("batch_size", [1, 4, 50])
@pytest.mark.parametrize("per_step", [False, True])
def test_predict_keeps_the_order_of_ragged_rows(per_step, batch_size):
    rows = ragged_rows(13)
    model = sequence_model(per_step)
    found = model.predict(rows, batch_size=batch_size)
    assert len(found) == 13
    assert isinstance(found, list if per_step else np.ndarray)
    for row, y in zip(rows, found, strict=True):
        np.testing.assert_allclose(y, model(row[None])[0], atol=1e-6)


@pytest.mark.parametrize("count", [1, 3])
def test_predict_of_ragged_rows_of_one_length(count):
    rows = [RNG.normal(size=(4, 3)) for _ in range(count)]
    found = sequence_model(True).predict(rows)
    assert isinstance(found, list)
    assert [y.shape for y in found] == [(4, 2)] * count
    assert sequence_model(False).predict(rows).shape == (count, 2)


def test_predict_of_rows_with_outputs_of_a_fixed_number_of_steps():
    model = rnnx.Sequential(
        [layers.Input((None, 3)), layers.GRU(4), layers.RepeatVector(5), layers.GRU(2, return_sequences=True)]
    )
    rows = ragged_rows(9)
    found = model.predict(rows, batch_size=4)
    assert found.shape == (9, 5, 2)
    np.testing.assert_allclose(found[3], model(rows[3][None])[0], atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 40])
def test_predict_gives_one_array_for_arrays(batch_size):
    x = RNG.normal(size=(5, 4, 3))
    for per_step in (False, True):
        model = sequence_model(per_step)
        found = model.predict(x, batch_size=batch_size)
        assert isinstance(found, np.ndarray)
        np.testing.assert_allclose(found, model(x), atol=1e-6)


def test_rows_in_order():
    parts = [np.array([[1.0], [3.0]]), np.array([[2.0]])]
    rows = [np.array([0, 2]), np.array([1])]
    np.testing.assert_array_equal(in_order(parts, [None, None], rows), [[1.0], [2.0], [3.0]])
    found = in_order([np.ones((2, 3)), np.zeros((1, 1))], [[3, 2], [1]], [np.array([2, 1]), np.array([0])])
    assert [row.tolist() for row in found] == [[0.0], [1.0, 1.0], [1.0, 1.0, 1.0]]
    np.testing.assert_array_equal(in_order(parts, [None, None], [None, None]), [[1.0], [3.0], [2.0]])
    assert in_order(parts[:1], [None], [None]) is parts[0]


def test_several_inputs_and_outputs_of_two_axes():
    a, b = rnnx.Input((2,), name="a"), rnnx.Input((3,), name="b")
    both = layers.Concatenate()([a, b])
    model = rnnx.Model([a, b], [layers.Dense(1, name="p")(both), layers.Dense(2, name="q")(both)])
    model.compile("sgd", "mse")
    x, y = [RNG.normal(size=(7, 2)), RNG.normal(size=(7, 3))], [RNG.normal(size=(7, 1)), RNG.normal(size=(7, 2))]
    history = model.fit(x, y, batch_size=3, validation_split=0.3, verbose=0, sample_weight=[np.ones(7), np.ones(7)])
    names = {"loss", "p_loss", "q_loss"}
    assert set(history.history) == names | {f"val_{name}" for name in names}
    loss, p_loss, q_loss = model.evaluate(x, y)
    assert loss == pytest.approx(p_loss + q_loss, rel=1e-5)
    assert model.evaluate(x, y, batch_size=4) == pytest.approx([loss, p_loss, q_loss], rel=1e-5)
    model.compile("sgd", "mse", loss_weights={"q": 3.0})
    assert model.train_on_batch(x, y) == pytest.approx([p_loss + 3 * q_loss, p_loss, q_loss], rel=1e-5)
    assert [p.shape for p in model.predict(x, batch_size=2)] == [(7, 1), (7, 2)]


def test_ragged_weights_of_steps():
    rows, rng = ragged_rows(6), np.random.default_rng(4)
    targets, weights = [rng.normal(size=(len(r), 2)) for r in rows], [rng.uniform(size=len(r)) for r in rows]
    model = sequence_model(True)
    model.compile("sgd", "mse")
    found = model.evaluate(rows, targets, sample_weight=weights)
    x, lengths = data.pad(rows)
    batch = data.Batch(x, data.pad(targets)[0], data.pad(weights)[0], lengths)
    assert found == pytest.approx(model.evaluate([batch]), rel=1e-6)
    weights[2] = weights[2][:-1]
    with pytest.raises(ValueError, match="as many steps"):
        model.fit(rows, targets, sample_weight=weights, verbose=0)


def test_plain_lists_of_targets():
    model = rnnx.Sequential([layers.Input((None, 3)), layers.GRU(2, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(np.zeros((4, 2, 3)), [0, 1, 0, 1], validation_split=0.5, verbose=0)
    model.train_on_batch(np.zeros((2, 2, 3)), [0, 1], sample_weight=[1.0, 2.0])


# ---- Validation and weights ------------------------------------------------------------------------------------------


def test_validation_split_takes_the_last_rows():
    x, y = RNG.normal(size=(10, 4, 3)), RNG.normal(size=(10, 2))
    model = sequence_model()
    model.compile(rnnx.optimizers.SGD(0.0), "mse", ["mae"])
    history = model.fit(x, y, validation_split=0.3, verbose=0).history
    assert history["val_loss"][0] == pytest.approx(model.evaluate(x[7:], y[7:])[0], rel=1e-6)
    assert history["loss"][0] == pytest.approx(model.evaluate(x[:7], y[:7])[0], rel=1e-6)
    again = model.fit(x[:7], y[:7], validation_data=(x[7:], y[7:]), verbose=0).history
    assert again["val_mae"] == pytest.approx(history["val_mae"])


def test_validation_of_ragged_rows_and_with_weights():
    rows, y = ragged_rows(10), RNG.normal(size=(10, 2))
    model = sequence_model()
    model.compile(rnnx.optimizers.SGD(0.0), "mse")
    history = model.fit(rows, y, validation_split=0.2, verbose=0).history
    assert history["val_loss"][0] == pytest.approx(model.evaluate(rows[8:], y[8:]), rel=1e-6)
    x, weight = RNG.normal(size=(6, 4, 3)), np.arange(6.0)
    history = model.fit(x, y[:6], validation_data=(x, y[:6], weight), verbose=0).history
    assert history["val_loss"][0] == pytest.approx(model.evaluate(x, y[:6], sample_weight=weight), rel=1e-6)


@pytest.mark.parametrize("split", [-0.1, 1.0, 0.99])
def test_a_split_that_leaves_nothing_is_refused(split):
    model = sequence_model()
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="validation_split"):
        model.fit(np.zeros((4, 2, 3)), np.zeros((4, 2)), validation_split=split, verbose=0)


def test_validation_freq():
    x, y = RNG.normal(size=(6, 4, 3)), RNG.normal(size=(6, 2))
    model = sequence_model()
    model.compile("sgd", "mse")
    history = model.fit(
        x, y, epochs=4, validation_data=(x, y), validation_freq=2, verbose=0,
        callbacks=[rnnx.callbacks.EarlyStopping(patience=1)],
    )  # fmt: skip
    assert len(history.history["loss"]) == 4
    assert len(history.history["val_loss"]) == 2


def test_sample_weight_zero_takes_a_row_out():
    x, y = RNG.normal(size=(6, 4, 3)), RNG.normal(size=(6, 2))
    model = sequence_model(dtype="float64")
    model.compile("sgd", rnnx.losses.MeanSquaredError(reduction="sum"))
    start = model.get_weights()
    model.train_on_batch(x, y, sample_weight=np.array([1, 1, 0, 1, 0, 1.0]))
    after = model.get_weights()
    model.set_weights(start)
    keep = [0, 1, 3, 5]
    model.train_on_batch(x[keep], y[keep])
    for left, right in zip(after, model.get_weights(), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-7)


# ---- Gradients of the whole loss -------------------------------------------------------------------------------------


def gradient_model():
    """Two outputs, masks, penalties of weights and of activities, everything in float64."""
    one = rnnx.Input((5, 2), name="one", dtype="float64")
    penalties = {
        "kernel_regularizer": rnnx.regularizers.L1L2(0.02, 0.05),
        "recurrent_regularizer": "l2",
        "bias_regularizer": "l1",
        "activity_regularizer": rnnx.regularizers.L2(0.3),
    }
    masked = layers.Masking(0.0, dtype="float64")(one)
    steps = layers.LSTM(3, return_sequences=True, dtype="float64", **penalties)(masked)
    per_step = layers.Dense(2, name="steps", dtype="float64", activity_regularizer="l2")(steps)
    summed = layers.GRU(2, dtype="float64")(steps)
    last = layers.Dense(1, name="last", dtype="float64", kernel_regularizer="l2")(summed)
    return rnnx.Model(one, [per_step, last])


@pytest.mark.parametrize("weights", [None, [0.3, 2.0], {"steps": 1.5, "last": 0.2}])
def test_the_step_follows_the_gradient_of_the_whole_loss(weights):
    rng = np.random.default_rng(8)
    model = gradient_model()
    for w in model.weights:
        w.assign(rng.normal(size=w.shape) * 0.5)
    x = rng.normal(size=(4, 5, 2))
    x[1, 3:] = 0
    x[2, :2] = 0
    y = [rng.normal(size=(4, 5, 2)), rng.normal(size=(4, 1))]
    sample_weight = [rng.uniform(0.5, 2, size=(4, 5)), rng.uniform(0.5, 2, size=4)]
    model.compile(rnnx.optimizers.SGD(1.0), ["mse", "huber"], loss_weights=weights)
    start = model.get_weights()
    value = model.train_on_batch(x, y, sample_weight)[0]
    gradients = [a - b for a, b in zip(start, model.get_weights(), strict=True)]
    model.set_weights(start)
    assert value == pytest.approx(model.evaluate(x, y, sample_weight=sample_weight)[0], rel=1e-12)
    for w, gradient in zip(model.weights, gradients, strict=True):
        for _ in range(3):
            direction = rng.normal(size=w.shape)
            middle, ends = w.value.copy(), []
            for sign in (1, -1):
                w.assign(middle + sign * 1e-6 * direction)
                ends.append(model.test_on_batch(x, y, sample_weight)[0])
            w.assign(middle)
            slope = (ends[0] - ends[1]) / 2e-6
            assert (gradient * direction).sum() == pytest.approx(slope, rel=1e-6, abs=1e-8), w.name


def test_several_outputs_by_name_or_in_a_list():
    x, y = RNG.normal(size=(6, 5, 2)), [RNG.normal(size=(6, 5, 2)), RNG.normal(size=(6, 1))]
    model = gradient_model()
    start, found = model.get_weights(), []
    for losses, targets, metrics in (
        (["mse", "mae"], y, [["mae"], ["mse"]]),
        ({"last": "mae", "steps": "mse"}, {"last": y[1], "steps": y[0]}, {"steps": ["mae"], "last": ["mse"]}),
    ):
        model.set_weights(start)
        model.compile("sgd", losses, metrics=metrics)
        model.train_on_batch(x, targets)
        found.append(model.evaluate(x, targets, return_dict=True))
    assert found[0] == found[1]
    assert {"loss", "steps_mae", "last_mse"} <= set(found[0])
    with pytest.raises(ValueError, match="unknown output"):
        model.compile("sgd", {"other": "mse"})
        model.train_on_batch(x, y)


# ---- Weights that are held -------------------------------------------------------------------------------------------


def test_constraints_hold_after_every_step():
    model = rnnx.Sequential(
        [
            layers.Input((4, 3)),
            layers.LSTM(4, kernel_constraint="non_neg", recurrent_constraint=rnnx.constraints.MaxNorm(0.5)),
            layers.Dense(2, kernel_constraint="unit_norm"),
        ]
    )
    model.compile(rnnx.optimizers.SGD(0.5), "mse")
    model.fit(RNG.normal(size=(20, 4, 3)), RNG.normal(size=(20, 2)), epochs=2, batch_size=5, verbose=0)
    lstm, dense = model.layers[-2:]
    assert (lstm.get_weights()[0] >= 0).all()
    assert (np.linalg.norm(lstm.get_weights()[1], axis=0) <= 0.5 + 1e-5).all()
    np.testing.assert_allclose(np.linalg.norm(dense.get_weights()[0], axis=0), 1, atol=1e-5)


def test_frozen_layers_keep_their_weights():
    model = rnnx.Sequential(
        [layers.Input((4, 3)), layers.GRU(4, return_sequences=True), layers.BatchNormalization(), layers.LSTM(3)]
    )
    model.layers[-3].trainable = model.layers[-2].trainable = False
    model.compile("adam", "mse")
    before = [layer.get_weights() for layer in model.layers[-3:]]
    model.fit(RNG.normal(size=(8, 4, 3)), RNG.normal(size=(8, 3)), epochs=2, verbose=0)
    for k, layer in enumerate(model.layers[-3:]):
        same = [np.array_equal(a, b) for a, b in zip(before[k], layer.get_weights(), strict=True)]
        assert same == [k < 2] * len(same)


# ---- What is returned ------------------------------------------------------------------------------------------------


def test_forms_of_results():
    x, y = RNG.normal(size=(6, 4, 3)), RNG.normal(size=(6, 2))
    model = sequence_model()
    model.compile("sgd", "mse")
    assert isinstance(model.evaluate(x, y), float)
    assert isinstance(model.train_on_batch(x, y), float)
    model.compile("sgd", "mse", metrics=["mae", rnnx.metrics.RootMeanSquaredError()])
    loss, mae, root = model.evaluate(x, y)
    assert root == pytest.approx(np.sqrt(loss))
    assert model.evaluate(x, y, return_dict=True) == {"loss": loss, "mae": mae, "root_mean_squared_error": root}
    assert model.test_on_batch(x, y) == [loss, mae, root]
    assert model.train_on_batch(x, y, return_dict=True) == {
        "loss": pytest.approx(loss), "mae": pytest.approx(mae), "root_mean_squared_error": pytest.approx(root),
    }  # fmt: skip
    np.testing.assert_array_equal(model.predict_on_batch(x), model.predict(x))


def test_weighted_metrics_alone_look_at_the_weights():
    x, y, weight = RNG.normal(size=(6, 4, 3)), RNG.normal(size=(6, 2)), np.array([0, 0, 0, 1, 1, 1.0])
    model = sequence_model()
    model.compile("sgd", "mse", metrics=["mae"], weighted_metrics=["mse"])
    found = model.evaluate(x, y, sample_weight=weight, return_dict=True)
    error = model.predict(x) - y
    assert found["mae"] == pytest.approx(np.abs(error).mean(), rel=1e-5)
    assert found["mse"] == pytest.approx(np.square(error[3:]).mean(), rel=1e-5)


def test_the_loss_of_an_epoch_counts_rows_not_batches():
    x, y = RNG.normal(size=(7, 4, 3)), RNG.normal(size=(7, 2))
    model = sequence_model()
    model.compile(rnnx.optimizers.SGD(0.0), "mse")
    whole = model.evaluate(x, y, batch_size=7)
    assert model.fit(x, y, batch_size=5, verbose=0).history["loss"][0] == pytest.approx(whole, rel=1e-5)
    assert model.evaluate(x, y, batch_size=2) == pytest.approx(whole, rel=1e-5)


# ---- The same numbers again ------------------------------------------------------------------------------------------


def noisy_run(epochs=3):
    utils.set_random_seed(77)
    model = rnnx.Sequential(
        [layers.Input((6, 3)), layers.GRU(5, dropout=0.3, recurrent_dropout=0.2), layers.Dropout(0.2), layers.Dense(2)]
    )
    model.compile("adam", "mse")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 6, 3)), rng.normal(size=(40, 2))
    return model.fit(x, y, batch_size=8, epochs=epochs, verbose=0).history["loss"], model.get_weights()


def test_repeatable_from_the_seed():
    first, second = noisy_run(), noisy_run()
    assert first[0] == second[0]
    for left, right in zip(first[1], second[1], strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("kind", ["SGD", "RMSprop", "Adam", "AdamW", "Nadam"])
def test_optimizer_state_resumes_to_the_same_numbers(kind):
    x, y = RNG.normal(size=(8, 4, 3)), RNG.normal(size=(8, 2))
    options = {"momentum": 0.9} if kind in ("SGD", "RMSprop") else {}
    model = sequence_model()
    model.compile(getattr(rnnx.optimizers, kind)(0.01, **options), "mse")
    for _ in range(3):
        model.train_on_batch(x, y)
    weights, state = model.get_weights(), model.optimizer.get_state()
    expected = [model.train_on_batch(x, y) for _ in range(3)]
    other = sequence_model()
    other.compile(getattr(rnnx.optimizers, kind)(0.01, **options), "mse")
    other.set_weights(weights)
    other.optimizer.set_state(state)
    assert [other.train_on_batch(x, y) for _ in range(3)] == expected


# ---- Errors ----------------------------------------------------------------------------------------------------------


def test_a_function_without_a_gradient_is_no_loss():
    model = sequence_model()
    model.compile("sgd", lambda y_true, y_pred: 0.0)
    before = model.get_weights()
    with pytest.raises(TypeError, match="must be tensors, got 0.0"):
        model.fit(np.ones((4, 5, 3)), np.ones((4, 1)), verbose=0)
    assert all(np.array_equal(old, new) for old, new in zip(before, model.get_weights(), strict=True))


def test_a_loss_of_ones_own():
    class Quartic(rnnx.losses.Loss):
        def values(self, y_true, y_pred):
            d = y_pred - y_true
            return (d**4).mean(axis=-1), 4 * d**3 / d.shape[-1]

    x, y = RNG.normal(size=(6, 4, 3)), RNG.normal(size=(6, 2))
    model = sequence_model()
    model.compile("adam", Quartic())
    assert model.evaluate(x, y) == pytest.approx(((model.predict(x) - y) ** 4).mean(), rel=1e-5)
    before = model.evaluate(x, y)
    model.fit(x, y, epochs=30, verbose=0)
    assert model.evaluate(x, y) < before


def test_compile_first():
    model = sequence_model()
    for call in (model.fit, model.evaluate, model.train_on_batch):
        with pytest.raises(RuntimeError, match="compile"):
            call(np.zeros((1, 2, 3)), np.zeros((1, 2)))
    with pytest.raises(TypeError, match="unknown argument"):
        model.compile("sgd", "mse", colour=1)


# ---- Which weights are trained --------------------------------------------------------------------------------------


def test_layers_are_asked_for_their_weights_once_an_epoch(monkeypatch):
    from rnnx.layers.layer import Layer

    model = Sequential([layers.GRU(3, kernel_regularizer="l2", input_shape=(None, 2)), layers.Dense(1)])
    model.compile("adam", "mse")
    x, y = np.ones((8, 4, 2), np.float32), np.ones((8, 1), np.float32)
    asked = []
    weights, flags = Layer.weights.fget, Layer.weight_is_trained
    monkeypatch.setattr(Layer, "weights", property(lambda self: (asked.append("weights"), weights(self))[1]))
    monkeypatch.setattr(Layer, "weight_is_trained", lambda self: (asked.append("flags"), flags(self))[1])
    numbers = []
    for batch_size, epochs in ((8, 1), (1, 1), (1, 2)):
        asked.clear()
        model.fit(x, y, batch_size=batch_size, epochs=epochs, verbose=0)
        numbers.append(len(asked))
    assert numbers[0] == numbers[1] and numbers[2] == 2 * numbers[1]


@pytest.mark.parametrize(("event", "epochs_that_count"), [("epoch_begin", 1), ("train_batch_begin", 0)])
@pytest.mark.parametrize("start", [True, False])
def test_a_callback_that_changes_trainable(event, epochs_that_count, start):
    """Before the first batch of an epoch it counts at once, later from the next epoch on."""
    model = Sequential([layers.Dense(3, input_shape=(2,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    x, y = np.ones((4, 2), np.float32), np.ones((4, 1), np.float32)
    model.layers[0].trainable = start
    kernels = []

    class Change(callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch
            if event == "epoch_begin" and epoch == 1:
                model.layers[0].trainable = not start

        def on_train_batch_begin(self, batch, logs=None):
            if event == "train_batch_begin" and (self.epoch, batch) == (1, 1):
                model.layers[0].trainable = not start

        def on_epoch_end(self, epoch, logs=None):
            kernels.append(model.layers[0].kernel.copy())

    model.fit(x, y, batch_size=2, epochs=3, verbose=0, callbacks=[Change()])
    moved = [bool((one != other).any()) for one, other in zip(kernels, kernels[1:], strict=False)]
    assert moved == [(not start) if epochs_that_count else start, not start]


def test_structure_and_trainable_may_change_between_fits():
    model = Sequential([layers.Dense(3, input_shape=(2,))])
    x = np.ones((4, 2), np.float32)
    for units in (3, 1):
        model.compile("sgd", "mse")
        before = model.get_weights()
        model.fit(x, np.ones((4, units), np.float32), verbose=0)
        assert [bool((a != b).any()) for a, b in zip(before, model.get_weights(), strict=True)][:2] == [units == 3] * 2
        if units == 3:
            model.add(layers.Dense(1))
            model.layers[0].trainable = False
    assert (before[2] != model.get_weights()[2]).any()


def test_a_model_that_waits_for_data_is_built_by_its_first_batch():
    def batches():
        while True:
            yield np.ones((4, 2), np.float32), np.ones((4, 1), np.float32)

    model = Sequential([layers.Dense(3), layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(batches(), steps_per_epoch=2, verbose=0)
    assert model.built and model.train_on_batch(np.ones((4, 2)), np.ones((4, 1))) >= 0


def test_weighted_metrics_have_names_of_their_own():
    rng = np.random.default_rng(3)
    x, y, weight = rng.normal(size=(6, 2)), rng.normal(size=(6, 1)), np.arange(6.0)
    model = rnnx.Sequential([layers.Input((2,)), layers.Dense(1)])
    squares = ((model(x) - y) ** 2)[:, 0]
    plain, weighted = squares.mean(), (squares * weight).sum() / weight.sum()
    for metrics, own, names in (
        (["mse"], ["mse", "mae"], ["loss", "mse", "weighted_mse", "mae"]),
        (["mse", "mse"], ["mse", "mse"], ["loss", "mse", "mse_1", "weighted_mse", "weighted_mse_1"]),
        ([], ["mse"], ["loss", "mse"]),
    ):
        model.compile("sgd", "mse", metrics=metrics, weighted_metrics=own)
        found = model.evaluate(x, y, sample_weight=weight, verbose=0, return_dict=True)
        assert list(found) == names
        for name in set(names) - {"loss", "mae"}:
            expected = weighted if "weighted" in name or not metrics else plain
            assert found[name] == pytest.approx(expected, rel=1e-6)
    a = layers.Input((2,))
    two = rnnx.Model(a, [layers.Dense(1, name="p")(a), layers.Dense(1, name="q")(a)])
    two.compile("sgd", "mse", metrics={"p": ["mse"], "q": ["mse"]}, weighted_metrics={"q": ["mse"]})
    found = two.evaluate(x, [y, y], verbose=0, return_dict=True)
    assert list(found) == ["loss", "p_loss", "q_loss", "p_mse", "q_mse", "q_weighted_mse"]


@pytest.mark.parametrize("metric", ["mse", "mae", "accuracy"])
def test_metrics_of_single_batches_are_those_of_the_batch(metric):
    """As `train_on_batch` of Keras 3.15: every call starts again, `fit` and `evaluate` in between or not."""
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(6, 2)), rng.integers(0, 2, size=(6, 1)).astype(float)
    model = rnnx.Sequential([layers.Input((2,)), layers.Dense(1)])
    model.compile("sgd", "mse", metrics=[metric])
    of = {
        "mse": lambda p, y: ((p - y) ** 2).mean(),
        "mae": lambda p, y: abs(p - y).mean(),
        "accuracy": lambda p, y: ((p > 0.5) == y).mean(),
    }
    for k in (0, 2, 4):
        before = model(x[k : k + 2])
        found = model.train_on_batch(x[k : k + 2], y[k : k + 2])
        assert found == pytest.approx([of["mse"](before, y[k : k + 2]), of[metric](before, y[k : k + 2])], rel=1e-6)
        model.evaluate(x, y, verbose=0)
    assert model.test_on_batch(x[:2], y[:2])[1] == pytest.approx(of[metric](model(x[:2]), y[:2]), rel=1e-6)
