"""States of convolutional LSTMs that are set by hand, and shapes that do not fit."""

from __future__ import annotations

import numpy as np
import pytest

from rnnx import layers

RNG = np.random.default_rng(2)
X = RNG.normal(size=(2, 4, 5, 3)).astype("float32")  # batch, steps, places, features


def test_a_state_that_is_set_is_where_the_next_call_begins() -> None:
    layer = layers.ConvLSTM1D(2, 3, padding="same", stateful=True, return_sequences=True, seed=1)
    whole = layer(X)
    layer.reset_states()
    layer(X[:, :2])
    kept = [np.array(part) for part in layer.states]
    layer.reset_states()
    layer.reset_states(kept)
    np.testing.assert_allclose(layer(X[:, 2:]), whole[:, 2:], rtol=1e-6, atol=1e-6)
    kept[0][:] = 7  # the layer has copies
    assert not (np.array(layer.states[0]) == 7).any()


@pytest.mark.parametrize(
    "states", [[np.zeros((2, 5, 2))], [np.zeros((2, 5, 2)), np.zeros((2, 4, 2))], [np.zeros((2, 2))] * 2]
)
def test_states_of_wrong_shapes_are_refused(states: list[np.ndarray]) -> None:
    layer = layers.ConvLSTM1D(2, 3, padding="same", stateful=True)
    layer(X)
    with pytest.raises(ValueError, match=r"`states` must be two of shape \(batch, places, 2\), got"):
        layer.reset_states(states)


def test_inputs_and_initial_states_of_wrong_shapes_are_refused() -> None:
    layer = layers.ConvLSTM1D(2, 3)
    with pytest.raises(ValueError, match=r"shape \(batch, timesteps, places, features\), got \(2, 5, 3\)"):
        layer(X[:, 0])
    with pytest.raises(ValueError, match="the number of features must be known"):
        layer.build((None, 4, 5, None))
    with pytest.raises(ValueError, match=r"`initial_state` must be a list of two arrays of shape \(2, 3, 2\)"):
        layer(X, initial_state=[np.zeros((2, 4, 2))] * 2)
    first = layers.ConvLSTM2D(2, 3, data_format="channels_first")
    with pytest.raises(ValueError, match=r"\(batch, timesteps, features, rows, columns\)"):
        first(X)
