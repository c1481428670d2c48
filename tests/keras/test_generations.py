"""The row of docs/dropout.md for the Keras that is installed, by the outputs of Keras' own layers."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from ..dropout import generations

pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore")]


def run(name: str, weights: list[np.ndarray], **words: Any) -> np.ndarray:
    layer = getattr(layers, name)(generations.UNITS, return_sequences=True, seed=2, **words)
    layer.build(generations.X.shape)
    layer.set_weights(weights)
    return keras.ops.convert_to_numpy(layer(generations.X, training=True))


def test_row_of_this_version() -> None:
    version = tuple(int(part) for part in keras.__version__.split(".")[:2])
    (row,) = [
        row
        for row in generations.table()
        if row.startswith("Keras 3")
        and (first := generations.version_of(row))[0] <= version <= first[-1]
        or ("later" in row and version >= generations.version_of(row)[0])
    ]
    assert generations.told(run) == generations.table()[row]


def test_layers_in_front() -> None:
    """What `Dropout`, its noise shapes and `SpatialDropout1D` drop."""
    x = np.ones((20, 30, 64), "float32")

    def dropped(layer: Any) -> np.ndarray:
        return keras.ops.convert_to_numpy(layer(x, training=True)) == 0

    plain = dropped(layers.Dropout(0.5, seed=1))
    assert not plain.all(axis=2).any() and not (plain == plain[:, :1]).all(axis=1).any()
    steps = dropped(layers.Dropout(0.5, noise_shape=(None, None, 1), seed=1))
    np.testing.assert_array_equal(steps, np.broadcast_to(steps[:, :, :1], steps.shape))
    assert (steps[:, 1:] != steps[:, :-1]).any()
    for layer in (layers.SpatialDropout1D(0.5, seed=1), layers.Dropout(0.5, noise_shape=(None, 1, None), seed=1)):
        spatial = dropped(layer)
        np.testing.assert_array_equal(spatial, np.broadcast_to(spatial[:, :1], spatial.shape))
        assert (spatial[:, :, 1:] != spatial[:, :, :-1]).any()
