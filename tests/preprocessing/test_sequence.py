"""The values are those of Keras 3.15 (its legacy preprocessing words)."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

import rnnx
from rnnx import preprocessing
from rnnx.preprocessing import sequence


def test_timeseries_generator() -> None:
    series = np.arange(20)
    made = sequence.TimeseriesGenerator(
        series, series * 10, 4, sampling_rate=2, stride=3, start_index=1, end_index=17, reverse=True, batch_size=3
    )
    assert [(x.tolist(), y.tolist()) for x, y in made] == [
        ([[3, 1], [6, 4], [9, 7]], [50, 80, 110]),
        ([[12, 10], [15, 13]], [140, 170]),
    ]
    assert len(made) == 2
    assert json.loads(made.to_json())["config"]["end_index"] == 17
    random_places = sequence.TimeseriesGenerator(series, series, 4, shuffle=True, batch_size=5)
    x, y = random_places[0]
    assert x.shape == (5, 4) and (x[:, -1] + 1 == y).all()


def test_a_generator_trains() -> None:
    series = np.sin(np.arange(60) / 5)[:, None]
    batches = sequence.TimeseriesGenerator(series, series, length=6, batch_size=16)
    model = rnnx.Sequential([rnnx.layers.GRU(6, seed=1), rnnx.layers.Dense(1)])
    model.compile(rnnx.optimizers.Adam(0.02), "mse")
    losses = model.fit(batches, epochs=10, verbose=0).history["loss"]
    assert losses[-1] < 0.3 * losses[0]
    assert model.predict(batches).shape == (54, 1)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"length": 0}, "`length` must be a positive integer, got 0"),
        ({"length": 3, "stride": 0}, "stride"),
        ({"length": 10}, "no window of 10 steps from 0 ends before step 9"),
        ({"length": 3, "targets": [1]}, "as many steps, got 10 and 1"),
    ],
)
def test_mistakes_are_named(options: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        sequence.TimeseriesGenerator(**{"data": np.arange(10), "targets": np.arange(10), **options})  # type: ignore[arg-type]


def test_skipgrams() -> None:
    random.seed(3)
    couples, labels = sequence.skipgrams([1, 2, 0, 3], 5, window_size=2, seed=4)
    assert couples == [[2, 1], [2, 1], [1, 4], [3, 3], [2, 1], [1, 2], [2, 3], [3, 2]]
    assert labels == [1, 0, 0, 0, 0, 1, 1, 1]
    couples, labels = sequence.skipgrams([1, 2, 3], 5, 1, negative_samples=0, shuffle=False, categorical=True)
    assert couples == [[1, 2], [2, 1], [2, 3], [3, 2]] and labels == [[0, 1]] * 4
    assert sequence.skipgrams([0], 5) == ([], [])
    assert sequence.skipgrams([1, 2], 5, sampling_table=np.zeros(5)) == ([], [])


def test_sampling_table() -> None:
    expected = [0.00315225, 0.00315225, 0.00547597, 0.00741556, 0.00912817, 0.01068435]
    np.testing.assert_allclose(sequence.make_sampling_table(6), expected, atol=1e-8)


def test_old_places_of_words() -> None:
    assert sequence.pad_sequences([[1], [2, 3]]).tolist() == [[0, 1], [2, 3]]
    assert preprocessing.timeseries.timeseries_dataset_from_array is rnnx.utils.timeseries_dataset_from_array
    assert preprocessing.timeseries_dataset_from_array is rnnx.utils.timeseries_dataset_from_array
