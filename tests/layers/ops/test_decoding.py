"""Decoding and loss of CTC; labels, scores, losses and gradients are those of Keras 3.15 (``keras.ops``)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rnnx
from rnnx import backend, layers, ops

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
SEARCHED = np.array(
    [
        [[2.04, -2.56, 0.42, -0.57], [-0.45, -0.22, -2.02, -0.23], [-0.87, 3.32, 0.23, -0.35],
         [-0.28, -0.67, -1.06, -0.39], [0.48, -0.24, 0.96, -0.2], [0.02, 1.55, 0.55, -0.51]],
        [[-0.18, 0.54, 1.94, -0.27], [-0.24, 1.0, -0.89, -0.29], [0.88, 0.58, 0.09, 0.67],
         [-2.83, 1.02, -0.96, -1.67], [0.28, 0.7, -0.44, -1.08], [0.03, -0.05, 1.41, 0.75]],
        [[0.19, 1.11, -0.21, -0.93], [0.58, 0.58, -0.21, -0.78], [0.23, -2.49, 0.69, 0.49],
         [-1.64, 0.06, -0.96, 0.76], [-2.03, -0.91, 0.71, 1.16], [-2.16, -0.5, 0.33, -0.61]],
    ],
    dtype="float32",
)  # fmt: skip


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
    probabilities = np.exp(SEARCHED) / np.exp(SEARCHED).sum(axis=2, keepdims=True)
    paths, scores = backend.ctc_decode(probabilities, [6, 5, 3], greedy=False, beam_width=2, top_paths=2)
    assert [path[0, :4].tolist() for path in paths] == [[0, 1, 0, 1], [0, 1, 2, 1]]  # of tf.keras 2.12
    np.testing.assert_allclose(scores[0], [-2.186551, -2.380321], rtol=1e-6)


def lengths_of(count: int) -> Any:
    return {"sequence_lengths": np.array([6, 5, 3][:count]), "strategy": "beam_search"}


@pytest.mark.parametrize(
    ("options", "labels", "scores"),
    [
        (
            {"top_paths": 3},
            [[[1, 2, 1], [2, 1], [1, 2]], [[1, 2], [2, 3, 1], [1, 3]], [[3, 1, 2, 1], [2, 1, 1], [1]]],
            [
                [-2.291691, -2.688437, -2.716965],
                [-1.981866, -2.367196, -2.466485],
                [-1.351583, -1.647047, -2.032418],
            ],
        ),
        (
            {"top_paths": 2, "beam_width": 2, "mask_index": 3},
            [[[0, 1, 0, 1], [2, 1], [1, 0]], [[0, 1, 2, 1], [2, 1, 0, 1], [1, 2]]],
            [[-2.186550, -2.380320], [-2.769776, -2.842051], [-1.687487, -2.266988]],
        ),
    ],
)
def test_the_search_with_beams(options: dict[str, Any], labels: Any, scores: Any) -> None:
    found, totals = ops.ctc_decode(SEARCHED, **lengths_of(3), **options)
    assert [[[int(k) for k in row if k >= 0] for row in path] for path in found] == labels
    assert found.shape == (len(labels), 3, 6) and found.dtype == np.int32 and totals.dtype == np.float32
    np.testing.assert_allclose(totals, scores, rtol=1e-5)


def test_a_wide_search_counts_every_way() -> None:
    """The score of each label sequence is minus its loss, and all of them together are certain."""
    found, scores = ops.ctc_decode(SEARCHED[:1, :4], [4], "beam_search", beam_width=1000, top_paths=300)
    said = scores[0] > -np.inf
    assert abs(np.exp(scores[0][said].astype(float)).sum() - 1) < 1e-5
    labels = np.where(found[said, 0] < 0, 0, found[said, 0])
    lengths = (found[said, 0] >= 0).sum(axis=1)
    losses = ops.ctc_loss(labels, np.repeat(SEARCHED[:1, :4], len(labels), axis=0), lengths, np.full(len(labels), 4))
    np.testing.assert_allclose(losses, -scores[0][said], rtol=1e-4, atol=1e-5)
    assert len({tuple(row) for row in found[said, 0].tolist()}) == said.sum()


LOSSES = [  # of labels, how many of them and of the steps, and the blank: losses, and |gradient| at each step of a row
    (0, [[1, 2, 2], [3, 1, 0], [2, 0, 0]], [3, 2, 1], [6, 5, 3], [5.321539, 3.586013, 2.437201],
     [1.258606, 0.927252, 0.690573, 0, 0, 0]),
    (3, [[1, 2, 2], [0, 1, 0], [2, 1, 1]], [3, 3, 1], [6, 6, 4], [8.370045, 4.927670, 3.839855],
     [1.557646, 1.475739, 0.540110, 0.680341, 0, 0]),
    (0, [[1, 2, 2], [3, 1, 3], [2, 1, 1]], [3, 2, 0], [6, 5, 3], [5.321539, 3.586013, 3.875446],
     [1.556137, 1.262131, 1.493270, 0, 0, 0]),
]  # fmt: skip


@pytest.mark.parametrize(("blank", "labels", "count", "steps", "losses", "slopes"), LOSSES)
def test_losses(blank: int, labels: Any, count: Any, steps: Any, losses: Any, slopes: Any) -> None:
    found = ops.ctc_loss(labels, SEARCHED, count, steps, mask_index=blank)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, losses, rtol=1e-6)
    logits, lengths = rnnx.Input((6, 4)), rnnx.Input((), dtype="int32")
    model = rnnx.Model([logits, lengths], ops.ctc_loss(np.array(labels), logits, np.array(count), lengths, blank))
    y, pullback = model.vjp([SEARCHED, np.array(steps)])
    np.testing.assert_allclose(y, losses, rtol=1e-6)
    dx = pullback(np.ones(3, np.float32)).dx[0]
    np.testing.assert_allclose(np.abs(dx[2]).sum(axis=1), slopes, rtol=1e-5, atol=1e-7)


def test_a_loss_in_a_layer_as_old_scripts_have_it() -> None:
    """The recipe of Keras' ``image_ocr``; losses are those of ``tf.keras`` 2.12 (``backend.ctc_batch_cost``)."""
    p = np.exp(SEARCHED) / np.exp(SEARCHED).sum(axis=2, keepdims=True)
    labels = np.array([[1, 2, 2], [0, 1, 0], [2, 1, 1]], "float32")
    given = [p, labels, np.array([[6], [6], [4]]), np.array([[3], [3], [1]])]
    cost = [[8.370040], [4.927669], [3.839854]]
    np.testing.assert_allclose(backend.ctc_batch_cost(given[1], p, given[2], given[3]), cost, rtol=1e-6)

    def ctc(arguments: Any) -> Any:
        y_pred, labels, steps, count = arguments
        return backend.ctc_batch_cost(labels, y_pred, steps, count)

    entries = [rnnx.Input((6, 4)), rnnx.Input((3,)), rnnx.Input((1,), dtype="int64"), rnnx.Input((1,), dtype="int64")]
    said = layers.Dense(4, activation="softmax", kernel_initializer="identity")(entries[0])
    model = rnnx.Model(entries, layers.Lambda(ctc, output_shape=(1,), name="ctc")([said, *entries[1:]]))
    np.testing.assert_allclose(model.predict([SEARCHED, *given[1:]], verbose=0), cost, rtol=1e-6)
    model.compile("adam", loss={"ctc": lambda y_true, y_pred: y_pred})
    history = model.fit([SEARCHED, *given[1:]], np.zeros((3, 1)), epochs=3, verbose=0).history["loss"]
    assert history[0] == pytest.approx(np.mean(cost), rel=1e-5) and history[2] < history[1] < history[0]


def test_labels_that_do_not_fit_cost_infinitely_much() -> None:
    y, pullback = rnnx.Model(
        entry := rnnx.Input((2, 3)), ops.ctc_loss(np.array([[1, 1]]), entry, np.array([2]), np.array([2]))
    ).vjp(np.ones((1, 2, 3)))
    assert np.isposinf(y).all() and not pullback(np.ones(1)).dx.any()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (([[1]], SEARCHED, [1], [6]), "two lengths of shape"),
        (([1, 2, 3], SEARCHED, [1, 1, 1], [6, 6, 6]), "two lengths of shape"),
        (([[1]] * 3, SEARCHED, [1, 1, 2], [6, 6, 6]), "`target_length` must be whole numbers in 0..1, got"),
        (([[1]] * 3, SEARCHED, [1, 1, 1], [6, 7, 6]), "`output_length` must be whole numbers in 0..6, got"),
        (([[1], [4], [1]], SEARCHED, [1, 1, 1], [6, 6, 6]), "labels must lie in 0..3 and not be the blank, 0; got 4"),
        (([[1], [0], [1]], SEARCHED, [1, 1, 1], [6, 6, 6]), "not be the blank, 0; got 0"),
        (([[1.5]] * 3, SEARCHED, [1, 1, 1], [6, 6, 6]), "got 1.5"),
        (([[1]] * 3, SEARCHED, [1, 1, 1], [6, 6, 6], 4), "`mask_index` must be one of 4 classes, got 4"),
        (([[1]] * 3, SEARCHED[:, :0], [1, 1, 1], [0, 0, 0]), "at least one step"),
    ],
)
def test_what_a_loss_refuses(arguments: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        ops.ctc_loss(*arguments)


def test_what_is_refused() -> None:
    with pytest.raises(TypeError, match="decode what the model predicts"):
        ops.ctc_decode(rnnx.Input((5, 4)), LENGTHS)
    with pytest.raises(ValueError, match="`strategy` must be 'greedy' or 'beam_search', got 'beams'"):
        ops.ctc_decode(LOGITS, LENGTHS, strategy="beams")
    with pytest.raises(ValueError, match="`top_paths` must lie in 1..2, the `beam_width`, got 3"):
        ops.ctc_decode(LOGITS, LENGTHS, strategy="beam_search", beam_width=2, top_paths=3)
    with pytest.raises(ValueError, match=r"got \(2, 5, 4\) and \(3,\)"):
        ops.ctc_decode(LOGITS, [5, 3, 1])
    with pytest.raises(ValueError, match="`mask_index` must be one of 4 classes, got 4"):
        ops.ctc_decode(LOGITS, LENGTHS, mask_index=4)
