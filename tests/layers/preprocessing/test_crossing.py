"""`HashedCrossing`: buckets are those of Keras (``tf.keras`` 2.12 and Keras 3 on TensorFlow)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import layers

WORDS = np.array(["A", "B", "longer words of more than 16 bytes", ""])
NUMBERS = np.array([101, -7, 2**40, 0])


@pytest.mark.parametrize(
    ("bins", "of_two", "of_three", "of_words"),
    [
        (10, [1, 4, 0, 0], [2, 9, 1], [2, 5, 8]),
        (1000, [891, 904, 170, 600], [132, 959, 691], [892, 805, 608]),
        (
            2**40,
            [1081723973131, 380636513848, 304238100274, 469282588896],
            [740663162740, 791438279487, 997442379091],
            [601432119916, 764614114557, 745782163872],
        ),
    ],
)
def test_buckets(bins: int, of_two: list[int], of_three: list[int], of_words: list[int]) -> None:
    layer = layers.HashedCrossing(bins)
    assert layer((WORDS, NUMBERS)).tolist() == of_two
    assert layer([WORDS[:, None], NUMBERS[:, None]]).tolist() == [[place] for place in of_two]
    assert layer([[1, 2, 3], [101, -7, 5], [0, 0, 1]]).tolist() == of_three
    assert layer([["a", "b", "c d e f g h i j k l m n o p"], ["x", "y", "z"]]).tolist() == of_words


def test_rows_of_classes() -> None:
    layer = layers.HashedCrossing(5, output_mode="one_hot")
    assert layer((WORDS[:2], NUMBERS[:2])).tolist() == [[0, 1, 0, 0, 0], [0, 0, 0, 0, 1]]
    assert layer((WORDS[:2, None], NUMBERS[:2, None])).shape == (2, 5)
    assert layers.HashedCrossing(5)(("A", 101)) == 1


@pytest.mark.parametrize("suffix", ["safetensors", "keras", "h5"])
def test_in_models_and_files(suffix: str, tmp_path: Any) -> None:
    entries = [rnnx.Input((1,), dtype="string"), rnnx.Input((1,), dtype="int64")]
    y = layers.HashedCrossing(5, output_mode="one_hot")(entries)
    assert y.shape == (None, 5)
    model = rnnx.Model(entries, layers.Dense(2)(y))
    model.save(tmp_path / f"m.{suffix}")
    x = [WORDS[:, None], NUMBERS[:, None]]
    np.testing.assert_array_equal(rnnx.load_model(tmp_path / f"m.{suffix}").predict(x), model.predict(x))


@pytest.mark.parametrize(
    ("x", "match"),
    [
        (WORDS, "at least two inputs, got ndarray"),
        ([WORDS], r"at least two inputs, got 1 input\(s\)"),
        ([WORDS, NUMBERS[:2]], r"one shape, .* got \(4,\), \(2,\)"),
        ([NUMBERS.reshape(2, 2)] * 2, r"got \(2, 2\), \(2, 2\)"),
        ([WORDS, NUMBERS * 0.5], "words or integers, got dtype float64"),
    ],
)
def test_what_is_refused(x: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        layers.HashedCrossing(5)(x)
    for arguments in ({"num_bins": 0}, {"num_bins": 3, "output_mode": "count"}, {"num_bins": 3, "sparse": True}):
        with pytest.raises(ValueError, match="|".join(["num_bins", "output_mode", "sparse"])):
            layers.HashedCrossing(**arguments)
