"""``reset=``: sequences that begin inside a row, in layers and wrappers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import layers
from tests.oracle.test_reset import beginnings, parts_of

RNG = np.random.default_rng(11)
X = RNG.normal(size=(5, 8, 3)).astype(np.float32)
RESET = beginnings(5, 8, RNG)
DROPPED = {"dropout": 0.3, "recurrent_dropout": 0.2, "seed": 3}


class Decaying:
    """A cell of one's own whose state starts from one."""

    state_size = 3

    def get_initial_state(self, batch_size: int) -> Any:
        return [np.ones((batch_size, 3), np.float32)]

    def call(self, x: Any, states: Any) -> Any:
        y = 0.5 * states[0] + x
        return y, [y]

    def vjp(self, x: Any, states: Any) -> Any:
        def pullback(dy: Any, dstates: Any) -> Any:
            d = dy + dstates[0]
            return rnnx.layers.Gradients(d, [], (0.5 * d,))

        return self.call(x, states), pullback


MAKERS = {
    "LSTM": lambda **kw: layers.LSTM(6, return_sequences=True, **kw),
    "GRU": lambda **kw: layers.GRU(6, return_sequences=True, **kw),
    "SimpleRNN": lambda **kw: layers.SimpleRNN(6, return_sequences=True, **kw),
    "backwards": lambda **kw: layers.LSTM(6, return_sequences=True, go_backwards=True, **kw),
    "cells": lambda: layers.RNN([layers.LSTMCell(4), layers.GRUCell(6)], return_sequences=True),
    "cells_backwards": lambda: layers.RNN(
        [layers.LSTMCell(4), layers.GRUCell(6)], return_sequences=True, go_backwards=True
    ),
    "own": lambda: layers.RNN(Decaying(), return_sequences=True),
    "own_backwards": lambda: layers.RNN(Decaying(), return_sequences=True, go_backwards=True),
    "Bidirectional": lambda **kw: layers.Bidirectional(layers.LSTM(6, return_sequences=True, **kw)),
    "Bidirectional_cells": lambda: layers.Bidirectional(
        layers.RNN([layers.LSTMCell(4), layers.GRUCell(6)], return_sequences=True), merge_mode="sum"
    ),
}


@pytest.mark.parametrize("name", MAKERS)
def test_outputs_and_gradients_are_those_of_the_parts(name):
    layer = MAKERS[name]()
    y, pullback = layer.vjp(X, reset=RESET)
    dy = RNG.normal(size=y.shape).astype(np.float32)
    grads = pullback(dy)
    backwards = "_backwards" in name or name == "backwards"
    outputs, gradients = (y[:, ::-1], dy[:, ::-1]) if backwards else (y, dy)
    sums: list[Any] = [np.zeros_like(w) for w in layer.get_weights()]
    for row in range(len(X)):
        for part in parts_of(RESET[row]):
            own, back = layer.vjp(X[row : row + 1, part])
            given = gradients[row : row + 1, part]
            np.testing.assert_allclose(outputs[row, part], own[0, ::-1] if backwards else own[0], atol=1e-6)
            found = back(given[:, ::-1] if backwards else given)
            np.testing.assert_allclose(grads.dx[row, part], found.dx[0], atol=1e-5)
            sums = [a + b for a, b in zip(sums, found.dweights, strict=True)]
    for got, want in zip(grads.dweights, sums, strict=True):
        np.testing.assert_allclose(got, want, atol=2e-5)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN", "Bidirectional"])
def test_masks_lengths_and_the_masks_that_were_drawn(name):
    layer = MAKERS[name](**DROPPED)
    lengths = np.array([8, 0, 3, 8, 5])
    y, masks = layer(X, lengths=lengths, reset=RESET, training=True, return_masks=True)
    again = layer(X, mask=np.arange(8) < lengths[:, None], reset=RESET, training=True, dropout_masks=masks)
    np.testing.assert_array_equal(again, y)
    assert np.abs(y - layer(X, lengths=lengths, training=True, dropout_masks=masks)).max() > 1e-3


def test_the_state_of_a_stateful_layer_is_that_of_the_last_part():
    layer = layers.GRU(6, stateful=True, return_state=True)
    layer(X)
    y, state = layer(X, reset=RESET)
    assert np.array_equal(y, state)
    want = layers.GRU(6)
    want.build(X.shape)
    want.set_weights(layer.get_weights())
    start = RESET[2]
    assert start.all()
    np.testing.assert_array_equal(state[2:3], want(X[2:3, -1:]))


@pytest.mark.parametrize("name", ["LSTM", "GRU", "SimpleRNN", "cells", "own"])
def test_a_stream_equals_the_layer(name):
    layer = MAKERS[name]()
    want = layer(X, reset=RESET)
    stream = layer.stream(batch_size=5)
    got = [stream.step(X[:, t], reset=RESET[:, t]) for t in range(8)]
    np.testing.assert_array_equal(np.stack(got, 1), want)
    stream.reset()
    np.testing.assert_array_equal(stream.run(X, reset=RESET), want)
    mask = RNG.random((5, 8)) < 0.6
    stream.reset()
    np.testing.assert_allclose(stream.run(X, mask=mask, reset=RESET), layer(X, mask=mask, reset=RESET), atol=1e-6)


def test_every_memory_of_a_streamed_model_starts_again():
    model = rnnx.Sequential(
        [
            layers.Input((None, 3)),
            layers.Conv1D(4, 2, padding="causal"),
            layers.LSTM(5, return_sequences=True),
            layers.GRU(6, return_sequences=True),
            layers.Dense(2),
        ]
    )
    got = model.stream(batch_size=5).run(X, reset=RESET)
    for row in range(len(X)):
        for part in parts_of(RESET[row]):
            np.testing.assert_allclose(got[row, part], model(X[row : row + 1, part])[0], atol=1e-6)


def test_a_step_that_fails_leaves_the_state():
    stream = layers.GRU(6)
    stream(X)
    stream = stream.stream(batch_size=5)
    stream.step(X[:, 0])
    before = stream.state
    for x, reset, error in (
        (X[:, 1, :2], RESET[:, 2], "must have shape"),
        (X[:, 1], RESET[:2, 2], r"`reset` must be boolean of shape \(5,\)"),
        (X[:, 1], np.ones(5), r"`reset` must be boolean of shape \(5,\), got float64"),
    ):
        with pytest.raises(ValueError, match=error):
            stream.step(x, reset=reset)
        np.testing.assert_array_equal(stream.state[0][0], before[0][0])
    with pytest.raises(ValueError, match=r"run: `reset` must have shape \(5, 8\), got \(5,\)"):
        stream.run(X, reset=RESET[:, 0])


class Own(layers.LSTM):
    def call(self, x):
        return super().call(x)


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.TimeDistributed(layers.GRU(2)),
        lambda: layers.ConvLSTM1D(2, 2),
        lambda: rnnx.Sequential([layers.GRU(2)]),
        lambda: layers.Dense(2),
        lambda: Own(2),
    ],
)
def test_what_has_no_sequences_of_its_own_refuses(make):
    layer = make()
    with pytest.raises(TypeError, match="reset"):
        layer(X[..., None] if "time" in layer.name or "conv" in layer.name else X, reset=RESET)


def test_wrong_arguments():
    layer = layers.LSTM(2)
    with pytest.raises(TypeError, match=r"`reset` must be boolean .* got float64; use reset.astype\(bool\)"):
        layer(X, reset=RESET.astype(float))
    with pytest.raises(ValueError, match=r"`reset` must have shape \(batch, timesteps\) = \(5, 8\), got \(5, 7\)"):
        layer(X, reset=RESET[:, 1:])
    with pytest.raises(ValueError, match=r"`reset` must have shape \(batch, timesteps\) = \(5, 8\)"):
        layers.RNN(layers.GRUCell(2))(X, reset=RESET[0])
    with pytest.raises(ValueError, match="`reset` can be given with arrays only"):
        layer(rnnx.Input((8, 3)), reset=RESET)
