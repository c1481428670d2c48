"""The claims of docs/dropout.md about what each argument drops, by the outputs of the layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx.dropout import PROFILES
from rnnx.layers import GRU, Dropout, SpatialDropout1D

from . import generations

PROFILE_OF = {
    "Keras 1, 2.1–2.2": ("keras1", "keras2.2"),
    "Keras 2.3": ("keras2.3",),
    "tf.keras 2.0–2.1, default arguments": ("tf_keras2.0",),
    "tf.keras 2.2–2.15, default arguments": ("tf_keras2",),
    "tf.keras 2.2–2.15, `unroll=True`, other activations, no bias": ("tf_keras2",),
    "Keras 3.2–3.7": ("keras3.2",),
    "Keras 3.8 and later, rnnx": ("keras3",),
}


def run_with(profile: str, **more: Any) -> generations.Run:
    def run(name: str, weights: list[np.ndarray], **words: Any) -> np.ndarray:
        layer = getattr(rnnx.layers, name)(generations.UNITS, return_sequences=True, seed=2, **words, **more)
        layer.compat = profile
        layer.build(generations.X.shape)
        layer.set_weights(weights)
        return layer(generations.X, training=True)

    return run


def test_every_row_has_its_profile() -> None:
    assert list(generations.table()) == list(PROFILE_OF)
    assert {name for names in PROFILE_OF.values() for name in names} == set(PROFILES)


@pytest.mark.parametrize("row", PROFILE_OF)
def test_rows_of_the_table(row: str) -> None:
    more = {"unroll": True} if "unroll" in row else {}
    for profile in PROFILE_OF[row]:
        assert generations.told(run_with(profile, **more)) == generations.table()[row], profile


def test_dropout_argument_is_spatial_dropout_in_front() -> None:
    """Where both drop the same numbers, outputs and gradients are the same."""
    x = np.random.default_rng(3).normal(size=(5, 7, 4)).astype("float32")
    front = SpatialDropout1D(0.5, seed=4)
    dropped = front(x, training=True)
    mask = front_mask(x, dropped)
    layer = GRU(6, dropout=0.5, return_sequences=True, seed=1)
    plain = GRU(6, return_sequences=True, seed=1)
    layer.build(x.shape), plain.build(x.shape)
    plain.set_weights(layer.get_weights())
    assert layer.sample_masks(5, 7).inputs.shape == (1, *mask.shape) == (1, 5, 1, 4)
    given = rnnx.dropout.DropoutMasks(inputs=mask[None])
    y, pullback = layer.vjp(x, training=True, dropout_masks=given)
    wanted, wanted_pullback = plain.vjp(dropped)
    np.testing.assert_allclose(y, wanted, atol=1e-6)
    one, other = pullback(y), wanted_pullback(y)
    np.testing.assert_allclose(one.dx, other.dx * mask, atol=1e-5)
    for a, b in zip(one.dweights, other.dweights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def front_mask(x: np.ndarray, dropped: np.ndarray) -> np.ndarray:
    """The mask (batch, 1, features) of a `SpatialDropout1D`, the same at every step."""
    mask = np.where(dropped == 0, 0, 2).astype("float32")
    np.testing.assert_array_equal(dropped, x * mask)
    assert (mask == mask[:, :1]).all() and set(np.unique(mask)) == {0, 2}
    return mask[:, :1]


def test_both_drop_at_the_same_rate() -> None:
    """2,000 masks of each: means and deviations are those of the rate, within 4 standard errors."""
    for rate in (0.25, 0.5):
        ones = np.ones((2000, 1, 8), "float32")
        spatial = SpatialDropout1D(rate, seed=5)(ones, training=True)
        layer = GRU(3, dropout=rate, seed=6)
        layer.build((None, 1, 8))
        inputs = layer.sample_masks(2000, 1).inputs[0]
        for found in (spatial, inputs):
            error = np.sqrt(rate * (1 - rate) / found.size)
            assert abs((found > 0).mean() - (1 - rate)) < 4 * error
            np.testing.assert_allclose(found[found > 0], 1 / (1 - rate), rtol=1e-6)


def test_a_noise_shape_of_steps_drops_whole_steps_and_nothing_else() -> None:
    x = np.random.default_rng(1).uniform(0.5, 1, (40, 30, 5)).astype("float32")
    y = Dropout(0.25, noise_shape=(None, None, 1), seed=2)(x, training=True)
    gone = (y == 0).all(axis=2)
    np.testing.assert_allclose(y, np.where(gone[..., None], 0, x / 0.75), rtol=1e-6)
    assert abs(gone.mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / gone.size)
    assert 0 < (gone[:, 1:] != gone[:, :-1]).mean() and (gone[1:] != gone[:-1]).any()


def test_a_plain_dropout_layer_drops_no_whole_step() -> None:
    y = Dropout(0.5, seed=2)(np.ones((20, 30, 64), "float32"), training=True)
    assert not (y == 0).all(axis=2).any() and not (y == y[:, :1]).all(axis=1).any()


def test_recurrent_dropout_acts_before_the_product_and_not_on_the_output() -> None:
    """The first step has a zero state: recurrent dropout leaves it alone; no output is zero with either."""
    x = np.random.default_rng(1).normal(size=(50, 4, 32)).astype("float32")
    layer = GRU(8, recurrent_dropout=0.5, return_sequences=True, seed=3)
    training, plain = layer(x, training=True), layer(x)
    np.testing.assert_array_equal(training[:, 0], plain[:, 0])
    assert not np.isclose(training[:, 1:], plain[:, 1:]).all()
    both = GRU(8, dropout=0.5, recurrent_dropout=0.5, return_sequences=True, seed=3)
    assert (both(x, training=True) != 0).all()
