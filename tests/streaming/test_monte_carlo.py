"""``stream(mc=...)``: samples step by step."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import rnnx
from rnnx import layers

X = np.random.default_rng(1).normal(size=(1, 7, 3)).astype(np.float32)


def model_of(*parts):
    model = rnnx.Sequential([layers.Input((None, 3)), *parts])
    model(X)
    return model


MODELS = {
    "LSTM": lambda: model_of(
        layers.LSTM(5, dropout=0.3, recurrent_dropout=0.2, return_sequences=True, seed=1), layers.Dense(2)
    ),
    "noise_at_steps": lambda: model_of(
        layers.GaussianNoise(0.3, seed=1),
        layers.SpatialDropout1D(0.3, seed=2),
        layers.GRU(5, recurrent_dropout=0.2, reset_after=False, return_sequences=True, seed=3),
        layers.Dropout(0.4, seed=4),
        layers.AlphaDropout(0.1, noise_shape=(None, 1, None), seed=5),
        layers.Dense(2),
    ),
    "cells": lambda: model_of(
        layers.RNN(
            [layers.LSTMCell(4, dropout=0.3, seed=1), layers.GRUCell(4, activation="gelu", dropout=0.2, seed=2)],
            return_sequences=True,
        )
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_one_row_gives_what_predict_mc_gives(name):
    model = MODELS[name]()
    states = [(g, g.state) for g in model.seed_generators()]
    mean, deviation = model.predict_mc(X, samples=12)
    after = [g.state for g, _ in states]
    for g, state in states:
        g.state = state
    stream = model.stream(mc=12)
    assert [g.state for g, _ in states] == after
    steps = [stream.step(X[:, t]) for t in range(7)]
    np.testing.assert_allclose(np.stack([y for y, _ in steps], 1), mean, atol=1e-5)
    np.testing.assert_allclose(np.stack([s for _, s in steps], 1), deviation, atol=1e-5)
    assert deviation.max() > 0.01


def test_rows_masks_and_resets():
    model = MODELS["LSTM"]()
    x = np.repeat(X, 3, axis=0)
    reset, mask = np.zeros((3, 7), bool), np.ones((3, 7), bool)
    reset[1, 3], mask[2, 4:] = True, False
    stream = model.stream(3, mc=8)
    mean, deviation = stream.run(x, reset=reset, mask=mask)
    assert mean.shape == deviation.shape == (3, 7, 2) and mean.dtype == np.float32
    assert np.ptp(mean, axis=0).max() > 1e-3  # rows have masks of their own
    np.testing.assert_array_equal(mean[2, 4:], np.repeat(mean[2, 3:4], 3, axis=0))
    stream.reset([1])
    again = stream.step(x[:, 3])[0]
    np.testing.assert_allclose(again[1], mean[1, 3], atol=1e-6)  # the masks stay


def test_a_last_output_and_no_noise():
    model = model_of(layers.GRU(5), layers.Dropout(0.5, seed=1), layers.Dense(2))
    mean, deviation = model.stream(2, mc=10).step(np.repeat(X[:, 0], 2, axis=0))
    assert mean.shape == (2, 2) and (deviation > 0).all()
    model = model_of(layers.GRU(5), layers.Dropout(0.0), layers.Dense(2))
    with pytest.raises(ValueError, match=r"stream\(mc=\): .* no dropout or other noise .* add a Dropout layer"):
        model.stream(mc=4)


def test_ids():
    model = rnnx.Sequential([layers.Embedding(9, 4, mask_zero=True), layers.LSTM(3, dropout=0.5, seed=1)])
    model(np.array([[1, 2, 3]]))
    mean, deviation = model.stream(mc=30).step(np.array([4]))
    assert mean.shape == (1, 3) and (deviation > 0).all()


SHARED = rnnx.dropout.SeedGenerator(1)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([layers.LSTM(3, zoneout=0.2, name="a")], "'a' cannot be streamed with mc=: it draws new masks at every step"),
        ([layers.GRU(3, dropout=0.2, noise_shape=(None, None, None), name="b")], "'b' .* new masks at every step"),
        (
            [layers.GRU(3, recurrent_dropout=0.2, recurrent_dropout_mode="weights", name="c")],
            "'c' .* not drawn for each row",
        ),
        (
            [layers.Dropout(0.2, seed=SHARED), layers.GRU(3, dropout=0.2, seed=SHARED, name="d")],
            "'d' .* shares its source of noise",
        ),
        (
            [layers.TimeDistributed(layers.Dropout(0.2, name="e")), layers.GRU(3)],
            "'e' .* its noise is not drawn for each row of a step",
        ),
        (
            [layers.LSTM(3, recurrent_dropout=0.2, seed=rnnx.dropout.SeedGenerator(1, stream="keras"), name="f")],
            "'f' .* not drawn for each row",
        ),
        ([layers.Bidirectional(layers.GRU(3))], "reads the sequence from its end too"),
    ],
)
def test_what_cannot_be_sampled_is_refused_by_name(parts, words):
    with pytest.raises(ValueError, match=words):
        model_of(*parts).stream(mc=5)


def test_bad_arguments():
    layer = layers.GRU(3, dropout=0.5)
    layer(X)
    for wrong in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="`mc` must be a positive integer"):
            layer.stream(mc=wrong)
    with pytest.raises(ValueError, match="`batch_size` must be a positive integer, got 0"):
        layer.stream(0, mc=3)
    stream = layer.stream(2, mc=3)
    with pytest.raises(ValueError, match=r"expected 2 row\(s\), got shape \(1, 3\)"):
        stream.step(X[:, 0])
    with pytest.raises(TypeError, match="can be neither copied nor pickled"):
        pickle.dumps(stream)
