"""pad_sequences and the other helpers."""

from __future__ import annotations

import random

import numpy as np
import pytest

import rnnx
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


# ---- Series ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "starts", "last"),
    [
        ({}, range(18), [17, 18, 19]),
        ({"sequence_stride": 2}, range(0, 18, 2), [16, 17, 18]),
        ({"sampling_rate": 2, "sequence_stride": 5}, range(0, 16, 5), [15, 17, 19]),
        ({"start_index": 3, "end_index": 15}, range(3, 13), [12, 13, 14]),
        ({"start_index": 4, "sequence_stride": 3}, range(4, 18, 3), [16, 17, 18]),
    ],
)
def test_timeseries_dataset(options, starts, last):
    """Windows, and targets by the step at which the window starts; as in tf_keras 2.21."""
    series = np.arange(20)
    batches = utils.timeseries_dataset_from_array(series, series * 10, 3, batch_size=4, **options)
    x, y = (np.concatenate(part) for part in zip(*batches, strict=True))
    assert x[:, 0].tolist() == list(starts)
    assert x[-1].tolist() == last
    assert y.tolist() == [10 * k for k in starts]
    assert len(batches) == len(list(batches)) == -(-len(starts) // 4)


def test_timeseries_dataset_without_some_targets():
    series = np.arange(9.0)
    (x, y), *more = utils.timeseries_dataset_from_array(series, series[3:], 3)
    assert not more
    assert x.tolist() == [[k, k + 1, k + 2] for k in range(6)]
    assert y.tolist() == [k + 3 for k in range(6)]
    single = utils.timeseries_dataset_from_array(series, series[3:], 3, batch_size=None, format="grain")
    assert len(single) == 6
    assert [(x.tolist(), float(y)) for x, y in single] == [([k, k + 1, k + 2], k + 3) for k in range(6)]
    assert [x.tolist() for x in utils.timeseries_dataset_from_array(series, None, 3, batch_size=2).take(1)] == [
        [[0, 1, 2], [1, 2, 3]]
    ]
    assert next(iter(utils.timeseries_dataset_from_array(series, None, 3))).shape == (7, 3)
    shuffled = utils.timeseries_dataset_from_array(series, None, 3, shuffle=True, seed=1)
    first, second = next(iter(shuffled)), next(iter(shuffled))
    assert not np.array_equal(first, second)
    assert sorted(first.tolist()) == sorted(second.tolist())
    again = utils.timeseries_dataset_from_array(series, None, 3, shuffle=True, seed=1)
    np.testing.assert_array_equal(next(iter(again)), first)


def test_a_series_is_learned():
    series = np.sin(np.arange(120) / 4)[:, None]
    batches = utils.timeseries_dataset_from_array(series, series[8:], 8, batch_size=16, shuffle=True, seed=0)
    model = rnnx.Sequential([layers.GRU(8, seed=1), layers.Dense(1)])
    model.compile(rnnx.optimizers.Adam(0.02), "mse")
    losses = model.fit(batches, epochs=25, verbose=0).history["loss"]
    assert losses[-1] < 0.05 * losses[0]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"sequence_length": 0}, "sequence_length"),
        ({"sequence_length": 3, "sequence_stride": 0}, "sequence_stride"),
        ({"sequence_length": 3, "sampling_rate": -1}, "sampling_rate"),
        ({"sequence_length": 3, "batch_size": 0}, "batch_size"),
        ({"sequence_length": 11}, "10 steps are too few for a window of 11"),
        ({"sequence_length": 3, "sampling_rate": 6}, "window of 13"),
        ({"sequence_length": 2, "start_index": 10}, "0..10"),
        ({"sequence_length": 2, "start_index": 5, "end_index": 5}, "got 5 and 5"),
        ({"sequence_length": 2, "end_index": 11}, "got 0 and 11"),
        ({"sequence_length": 2, "targets": []}, "no entry"),
        ({"sequence_length": 2, "format": "list"}, "'tf' or 'grain', got 'list'"),
    ],
)
def test_bad_series(options, match):
    with pytest.raises(ValueError, match=match):
        utils.timeseries_dataset_from_array(**{"data": np.arange(10), "targets": None, **options})
