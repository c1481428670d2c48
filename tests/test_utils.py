"""pad_sequences and the other helpers."""

from __future__ import annotations

import random

import numpy as np
import pytest

from rnnx import layers, utils

S = [[1], [2, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [[0, 0, 1], [0, 2, 3], [4, 5, 6]]),
        ({"padding": "post"}, [[1, 0, 0], [2, 3, 0], [4, 5, 6]]),
        ({"value": -1}, [[-1, -1, 1], [-1, 2, 3], [4, 5, 6]]),
        ({"maxlen": 2}, [[0, 1], [2, 3], [5, 6]]),
        ({"maxlen": 2, "truncating": "post"}, [[0, 1], [2, 3], [4, 5]]),
        ({"maxlen": 4, "padding": "post"}, [[1, 0, 0, 0], [2, 3, 0, 0], [4, 5, 6, 0]]),
        ({"maxlen": 1, "padding": "post", "truncating": "post"}, [[1], [2], [4]]),
    ],
)
def test_pad_sequences(options, expected):
    found = utils.pad_sequences(S, **options)
    assert found.dtype == np.int32
    assert found.tolist() == expected


def test_pad_sequences_of_vectors_and_empty_rows():
    found = utils.pad_sequences([np.ones((2, 3)), np.zeros((0, 3)), 2 * np.ones((1, 3))], dtype="float32")
    assert found.shape == (3, 2, 3)
    assert found.dtype == np.float32
    assert found[:, :, 0].tolist() == [[1, 1], [0, 0], [0, 2]]
    assert utils.pad_sequences([[], [7]]).tolist() == [[0], [7]]
    assert utils.pad_sequences([]).shape == (0, 0)
    assert utils.pad_sequences([["a"], ["b", "c"]], dtype=object, value="").tolist() == [["", "a"], ["b", "c"]]


@pytest.mark.parametrize(
    ("sequences", "options", "match"),
    [
        (S, {"padding": "left"}, "padding"),
        (S, {"truncating": "right"}, "truncating"),
        ([1, 2], {}, "sequence"),
        ([np.ones((1, 2)), np.ones((1, 3))], {}, "step shapes"),
        (7, {}, "sequence"),
        (S, {"maxlen": -1}, "maxlen"),
    ],
)
def test_pad_sequences_refuses(sequences, options, match):
    with pytest.raises(ValueError, match=match):
        utils.pad_sequences(sequences, **options)


def test_to_categorical():
    assert utils.to_categorical([0, 2], 4).tolist() == [[1, 0, 0, 0], [0, 0, 1, 0]]
    assert utils.to_categorical(np.array([[1], [0]])).tolist() == [[0, 1], [1, 0]]
    assert utils.to_categorical(np.array([[1, 0, 2]])).shape == (1, 3, 3)
    assert utils.to_categorical([], 3).shape == (0, 3)
    for bad in ([3], [-1]):
        with pytest.raises(ValueError, match="classes must lie in"):
            utils.to_categorical(bad, 3)


def test_normalize():
    np.testing.assert_allclose(utils.normalize([[3.0, 4.0], [0.0, 0.0]]), [[0.6, 0.8], [0, 0]])
    np.testing.assert_allclose(utils.normalize([[3.0], [1.0]], axis=0, order=1), [[0.75], [0.25]])


def test_timeseries_windows():
    series = np.arange(10)
    assert utils.timeseries_windows(series, 3, 4).tolist() == [[0, 1, 2], [4, 5, 6]]
    assert utils.timeseries_windows(series, 3, sampling_rate=3).tolist() == [[0, 3, 6], [1, 4, 7], [2, 5, 8], [3, 6, 9]]
    assert utils.timeseries_windows(np.ones((10, 2)), 4).shape == (7, 4, 2)
    with pytest.raises(ValueError, match="too few"):
        utils.timeseries_windows(series, 11)


def test_set_random_seed():
    def draw():
        weights = layers.GRU(3)
        weights.build((None, None, 2))
        return random.random(), np.random.random(), utils.shuffling_generator().random(), weights.get_weights()[1]

    utils.set_random_seed(4)
    first = draw()
    other = draw()
    utils.set_random_seed(4)
    for a, b, c in zip(first, draw(), other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)
    for bad in (1.5, True, "1"):
        with pytest.raises(TypeError, match="integer"):
            utils.set_random_seed(bad)


def test_clear_session():
    utils.clear_session()
    assert [layers.Dense(1).name, layers.Dense(1).name, layers.LSTM(1).name] == ["dense", "dense_1", "lstm"]
    utils.clear_session()
    assert layers.Dense(1).name == "dense"
