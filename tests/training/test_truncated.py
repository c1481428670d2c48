"""Truncated back-propagation with stateful models."""

from __future__ import annotations

import numpy as np
import pytest

import rnnx
from rnnx import callbacks, data, layers, utils


@pytest.fixture(autouse=True)
def _seeded():
    utils.set_random_seed(3)


def stateful_model(cell):
    model = rnnx.Sequential(
        [
            layers.Input(batch_shape=(3, None, 2)),
            getattr(layers, cell)(4, return_sequences=True, stateful=True, dtype="float64"),
            layers.Dense(2, dtype="float64"),
        ]
    )
    model.compile(rnnx.optimizers.SGD(0.1), "mse")
    return model


@pytest.mark.parametrize("from_rest", [False, True])
@pytest.mark.parametrize("cell", ["LSTM", "GRU", "SimpleRNN"])
def test_truncated_backpropagation_equals_chunks_by_hand(cell, from_rest):
    """The states are carried from epoch to epoch too, as in Keras, unless somebody resets them."""
    series = np.cumsum(np.random.default_rng(6).normal(size=(50, 2)), axis=0) / 5
    chunks = data.tbptt_batches(series, 3, 4)
    assert len(chunks) == 4
    model = stateful_model(cell)
    start = model.get_weights()
    reset = callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: model.reset_states())
    model.fit(chunks, epochs=2, verbose=0, callbacks=[reset] if from_rest else None)
    recurrent = getattr(layers, cell)(4, return_sequences=True, return_state=True, dtype="float64")
    recurrent.build((3, None, 2))
    dense = layers.Dense(2, dtype="float64")
    dense.build((3, None, 4))
    recurrent.set_weights(start[:-2])
    dense.set_weights(start[-2:])
    states = None
    for _ in range(2):
        states = None if from_rest else states
        for x, y in chunks:
            (h, *states), back = recurrent.vjp(x, initial_state=states)
            p, back_dense = dense.vjp(h)
            upper = back_dense(2 * (p - y) / p.size)
            lower = back([upper.dx, *[None] * len(states)])
            for layer, gradients in ((recurrent, lower), (dense, upper)):
                layer.set_weights([w - 0.1 * d for w, d in zip(layer.get_weights(), gradients.dweights, strict=True)])
    for left, right in zip(model.get_weights(), [*recurrent.get_weights(), *dense.get_weights()], strict=True):
        np.testing.assert_allclose(left, right, atol=1e-9)


def test_stateful_models_are_not_shuffled():
    rows = np.arange(12.0).reshape(12, 1, 1)
    seen = []

    class Spy(layers.Layer):
        def forward(self, x, *, mask=None, training=False, keep=False, **call):
            seen.extend(x[:, 0, 0].tolist())
            return x, lambda dy, need_dx=True: rnnx.layers.layer.Gradients(dy, [])

    model = rnnx.Sequential([Spy(), layers.GRU(1, stateful=True)])
    model.compile("sgd", "mse")
    model.fit(rows, np.zeros((12, 1)), batch_size=4, verbose=0)
    assert seen[-12:] == list(range(12))


def test_validation_starts_from_rest_and_leaves_the_states():
    series = np.cumsum(np.random.default_rng(8).normal(size=(50, 2)), axis=0) / 5
    chunks = data.tbptt_batches(series, 3, 4)
    watched, alone = stateful_model("GRU"), stateful_model("GRU")
    alone.set_weights(watched.get_weights())
    history = watched.fit(chunks, epochs=2, validation_data=chunks, verbose=0).history
    assert history["loss"] == alone.fit(chunks, epochs=2, verbose=0).history["loss"]
    alone.reset_states()
    assert history["val_loss"][-1] == alone.evaluate(chunks)


def test_states_go_on_from_fit_to_fit():
    x, y = np.random.default_rng(4).normal(size=(4, 5, 2)), np.zeros((4, 5, 2))

    def model_at_start():
        utils.set_random_seed(3)
        return stateful_model("GRU")

    model, other = model_at_start(), model_at_start()
    options = {"batch_size": 2, "verbose": 0}
    whole = model.fit(x, y, epochs=3, validation_data=(x[:1], y[:1]), **options).history["loss"]
    parts = [other.fit(x, y, **options).history["loss"][0] for _ in range(3)]
    assert whole == parts and len(set(whole)) == 3
    np.testing.assert_array_equal(model.layers[0].states[0], other.layers[0].states[0])


@pytest.mark.parametrize("which", ["train", "validation"])
def test_a_last_batch_of_another_size_is_told_before_anything_is_trained(which):
    x, y = np.random.default_rng(4).normal(size=(5, 5, 2)), np.zeros((5, 5, 2))
    model = stateful_model("GRU")
    before = model.get_weights()
    rows = 5 if which == "train" else 4
    with pytest.raises(ValueError, match="5 rows in batches of 2 leave 1 for the last"):
        model.fit(x[:rows], y[:rows], batch_size=2, validation_data=(x, y), verbose=0)
    for own, kept in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(own, kept)
