"""The rows of docs/dropout.md for tf.keras 2, by the outputs of its own layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ..dropout import generations

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]


def run_with(**more: Any) -> generations.Run:
    import tf_keras

    def run(name: str, weights: list[np.ndarray], **words: Any) -> np.ndarray:
        layer = getattr(tf_keras.layers, name)(generations.UNITS, return_sequences=True, **words, **more)
        layer.build(generations.X.shape)
        layer.set_weights(weights)
        tf_keras.utils.set_random_seed(3)
        return layer(generations.X, training=True).numpy()

    return run


@pytest.mark.parametrize("row", [row for row in generations.table() if row.startswith("tf.keras 2.2")])
def test_rows_of_tf_keras(row: str) -> None:
    assert generations.told(run_with(**({"unroll": True} if "unroll" in row else {}))) == generations.table()[row]
