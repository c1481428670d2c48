"""predict_mc."""

from __future__ import annotations

import numpy as np
import pytest

import rnnx
from rnnx import layers

X = np.random.default_rng(1).normal(size=(6, 5, 3)).astype(np.float32)


def model_of(**options):
    return rnnx.Sequential(
        [layers.Input((None, 3)), layers.GRU(8, seed=2, **options), layers.BatchNormalization(), layers.Dense(2)]
    )


def test_there_is_spread_with_dropout_only():
    mean, deviation = model_of(dropout=0.4).predict_mc(X, samples=20)
    assert mean.shape == deviation.shape == (6, 2)
    assert mean.dtype == np.float32
    assert (deviation > 0).all()
    model = model_of()
    mean, deviation = model.predict_mc(X, samples=5)
    np.testing.assert_allclose(mean, model.predict(X), atol=1e-6)
    np.testing.assert_allclose(deviation, 0, atol=1e-6)


def test_mean_and_deviation_of_the_passes():
    model = model_of(recurrent_dropout=0.4)
    model.layers[1].trainable = False
    generator = model.seed_generators()[0]
    start = generator.state
    passes = [model(X, training=True) for _ in range(7)]
    generator.state = start
    mean, deviation = model.predict_mc(X, samples=7)
    np.testing.assert_allclose(mean, np.mean(passes, axis=0), atol=1e-6)
    np.testing.assert_allclose(deviation, np.std(passes, axis=0), atol=1e-6)


def test_shared_masks_make_equal_rows_equal():
    same = np.repeat(X[:1], 5, axis=0)
    model = model_of(dropout=0.4, recurrent_dropout=0.3)
    mean, deviation = model.predict_mc(same, samples=6, share_masks=True)
    assert (deviation > 0).all()
    assert np.ptp(mean, axis=0).max() == np.ptp(deviation, axis=0).max() == 0
    mean, _ = model.predict_mc(same, samples=6)
    assert np.ptp(mean, axis=0).max() > 0


@pytest.mark.parametrize("share_masks", [False, True])
def test_weights_and_statistics_stay(share_masks):
    model = model_of(dropout=0.4)
    before = model.get_weights()
    model.predict_mc(X, samples=3, share_masks=share_masks, batch_size=4)
    for left, right in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    assert model.layers[1].trainable


@pytest.mark.parametrize("samples", [0, -1, 1.5, True])
def test_bad_numbers_of_samples(samples):
    with pytest.raises(ValueError, match="samples"):
        model_of().predict_mc(X, samples=samples)


def test_one_input_and_one_output_only():
    a = rnnx.Input((None, 3))
    model = rnnx.Model(a, [layers.GRU(2)(a), layers.LSTM(2)(a)])
    with pytest.raises(ValueError, match="one input and one output"):
        model.predict_mc(X)


def test_ids_and_no_rows():
    model = rnnx.Sequential([layers.Embedding(9, 4, mask_zero=True), layers.LSTM(3, dropout=0.5), layers.Dense(1)])
    ids = np.array([[1, 2, 0], [3, 4, 5]])
    mean, deviation = model.predict_mc(ids, samples=4)
    assert mean.shape == (2, 1)
    assert (deviation > 0).all()
    assert model.predict_mc(ids[:0], samples=2)[0].shape == (0, 1)


@pytest.mark.parametrize("share_masks", [False, True])
@pytest.mark.parametrize("per_step", [False, True])
def test_ragged_rows(per_step, share_masks):
    model = rnnx.Sequential(
        [layers.Input((None, 3)), layers.GRU(8, dropout=0.1, seed=2, return_sequences=per_step), layers.Dense(2)]
    )
    rows = [X[k, : k % 4 + 1] for k in range(6)]
    mean, deviation = model.predict_mc(rows, samples=400, share_masks=share_masks, batch_size=4)
    for row, y, spread, expected in zip(rows, mean, deviation, model.predict(rows), strict=True):
        assert y.shape == spread.shape == expected.shape == ((len(row), 2) if per_step else (2,))
        assert (spread > 0).all()
        # not equal even in the limit: the mean over masks of a non-linear network is not its value without masks
        np.testing.assert_allclose(y, expected, atol=0.05)
    alone, _ = model.predict_mc([rows[3]], samples=400, share_masks=share_masks)
    np.testing.assert_allclose(alone[0], mean[3], atol=0.04)
