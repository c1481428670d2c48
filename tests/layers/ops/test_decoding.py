"""Greedy decoding of CTC; labels and scores are those of Keras 3.15 (``keras.ops.ctc_decode``)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import backend, ops

LOGITS = np.array(
    [
        [[2.04, -2.56, 3, -0.57], [-0.45, -0.22, 3, -0.23], [-0.87, 3.32, 0.23, -0.35], [-0.28, -0.67, -1.06, -0.39],
         [0.48, -0.24, 0.96, -0.2]],
        [[0.02, 1.55, 0.55, -0.51], [-0.18, 0.54, 1.94, -0.27], [-0.24, 1.0, -0.89, -0.29], [0.88, 0.58, 0.09, 0.67],
         [-2.83, 1.02, -0.96, -1.67]],
    ],
    dtype="float32",
)  # fmt: skip
LENGTHS = np.array([5, 3])


@pytest.mark.parametrize(
    ("options", "labels"),
    [
        ({}, [[2, 1, 2, -1, -1], [1, 2, 1, -1, -1]]),
        ({"merge_repeated": False}, [[2, 2, 1, 2, -1], [1, 2, 1, -1, -1]]),
        ({"mask_index": 3}, [[2, 1, 0, 2, -1], [1, 2, 1, -1, -1]]),
    ],
)
def test_labels_and_scores(options: dict[str, Any], labels: Any) -> None:
    found, scores = ops.ctc_decode(LOGITS, LENGTHS, **options)
    assert found.tolist() == [labels] and found.dtype == np.int32
    np.testing.assert_allclose(scores, [[-10.0], [-4.49]], rtol=1e-6)


def test_of_probabilities_with_the_blank_at_the_end() -> None:
    p = np.array([[[0.7, 0.2, 0.1], [0.6, 0.2, 0.2], [0.1, 0.1, 0.8], [0.9, 0.1, 0.0], [0.1, 0.8, 0.1]]])
    (labels,), scores = backend.ctc_decode(p, np.array([5]))
    assert labels.tolist() == [[0, 0, 1, -1, -1]]
    np.testing.assert_allclose(scores, -np.log([[0.7 * 0.6 * 0.8 * 0.9 * 0.8]]), rtol=1e-5)


def test_what_is_refused() -> None:
    with pytest.raises(TypeError, match="decode what the model predicts"):
        ops.ctc_decode(rnnx.Input((5, 4)), LENGTHS)
    with pytest.raises(ValueError, match="`strategy` must be 'greedy'"):
        ops.ctc_decode(LOGITS, LENGTHS, strategy="beam_search")
    with pytest.raises(ValueError, match="`greedy` must be True"):
        backend.ctc_decode(LOGITS, LENGTHS, greedy=False)
    with pytest.raises(ValueError, match=r"got \(2, 5, 4\) and \(3,\)"):
        ops.ctc_decode(LOGITS, [5, 3, 1])
    with pytest.raises(ValueError, match="`mask_index` must be one of 4 classes, got 4"):
        ops.ctc_decode(LOGITS, LENGTHS, mask_index=4)
