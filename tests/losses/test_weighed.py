"""The loss and the gradient of a batch from those of its parts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rnnx import losses, ops

RNG = np.random.default_rng(4)
PARTS = [slice(0, 3), slice(3, 4), slice(4, 9)]
P = RNG.random((9, 5, 3)).astype("float32") + 0.1
P /= P.sum(axis=-1, keepdims=True)
T = RNG.random((9, 5, 3)).astype("float32")
CLASSES = RNG.integers(0, 3, (9, 5))
WEIGHTS = RNG.random(9)
WEIGHTS[[1, 3, 6]] = 0  # a part in which nothing counts
MASK = np.arange(5) < np.array([5, 2, 0, 0, 1, 5, 3, 4, 2])[:, None]
LABELS = np.array([[1, 2], [1, 0], [2, 2], [1, 1], [0, 0], [2, 0], [1, 2], [2, 1], [1, 0]])


def of_own(y_true: Any, y_pred: Any) -> Any:
    return ops.mean(ops.abs(y_pred - y_true) ** 3, axis=-1)


KINDS: dict[str, tuple[Any, Any]] = {
    "mse": (losses.MeanSquaredError, T),
    "huber": (losses.Huber, T),
    "cosine": (losses.CosineSimilarity, T),
    "crossentropy": (losses.CategoricalCrossentropy, T),
    "sparse": (losses.SparseCategoricalCrossentropy, CLASSES),
    "ignoring": (lambda reduction: losses.SparseCategoricalCrossentropy(ignore_class=1, reduction=reduction), CLASSES),
    "function": (lambda reduction: losses.traced_loss.FunctionLoss(of_own, reduction), T),
    "ctc": (losses.CTC, LABELS),
}


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "mean", "mean_with_sample_weight", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_parts_make_the_whole(kind: str, reduction: str, weighted: bool, masked: bool) -> None:
    make, targets = KINDS[kind]
    loss = make(reduction=reduction)
    mask = (np.arange(5) < np.maximum(4, MASK.sum(axis=1))[:, None]) if kind == "ctc" else MASK  # paths that exist

    def of(rows: slice) -> Any:
        return loss.weighed(targets[rows], P[rows], WEIGHTS[rows] if weighted else None, mask[rows] if masked else None)

    value, gradient, whole = of(slice(None))
    parts = [of(rows) for rows in PARTS]
    masses = np.array([mass for _, _, mass in parts])
    assert whole == pytest.approx(masses.sum())
    if reduction == "sum":
        factors, together = np.ones(3), sum(own for own, _, _ in parts)
    else:
        factors = masses / masses.sum()
        together = sum(own * factor for (own, _, _), factor in zip(parts, factors, strict=True))
    assert together == pytest.approx(value, rel=1e-6)
    for rows, (_, own, _), factor in zip(PARTS, parts, factors, strict=True):
        np.testing.assert_allclose(own * factor, gradient[rows], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    "loss",
    [
        losses.Dice(),
        losses.Tversky(axis=(0, 1)),
        losses.Circle(),
        losses.CosineSimilarity(axis=0),
        losses.loss_of(lambda y_true, y_pred: ops.mean((y_pred - y_true) ** 2)),
        losses.MeanSquaredError(reduction="none"),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_what_is_not_made_of_rows_has_no_mass(loss: Any) -> None:
    targets = np.arange(9) % 3 if isinstance(loss, losses.Circle) else T[:, 0]
    assert loss.weighed(targets, P[:, 0])[2] is None
