"""Cross-entropies, from probabilities and from logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.losses.loss import EPSILON, Loss


class Crossentropy(Loss):
    """What the three cross-entropies share."""

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ):
        super().__init__(reduction, name)
        who = type(self).__name__
        if axis != -1:
            raise ValueError(f"{who}: only the last axis (-1) is supported, got {axis}")
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"{who}: `label_smoothing` must lie in [0, 1], got {label_smoothing}")
        self.from_logits, self.label_smoothing = bool(from_logits), float(label_smoothing)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "from_logits": self.from_logits, "label_smoothing": self.label_smoothing}


class BinaryCrossentropy(Crossentropy):
    """Cross-entropy of independent yes/no targets; mean over the last axis.

    Parameters
    ----------
    from_logits : bool
        Whether predictions come before the sigmoid.
    label_smoothing : float
        Moves targets towards 0.5.
    """

    def values(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        t = y_true * (1 - self.label_smoothing) + 0.5 * self.label_smoothing
        t = t.astype(y_pred.dtype, copy=False)
        width = np.asarray(y_pred.shape[-1], y_pred.dtype)
        if self.from_logits:
            e = np.exp(-np.abs(y_pred))
            loss = np.maximum(y_pred, 0) - y_pred * t + np.log1p(e)
            return loss.mean(axis=-1), (np.where(y_pred < 0, e, 1) / (1 + e) - t) / width
        p, inside = _clipped(y_pred)
        loss = -(t * np.log(p) + (1 - t) * np.log(1 - p))
        return loss.mean(axis=-1), np.where(inside, (p - t) / (p * (1 - p)), 0) / width


class CategoricalCrossentropy(Crossentropy):
    """Cross-entropy with a distribution (one-hot or soft) over the last axis.

    Parameters
    ----------
    from_logits : bool
        Whether predictions come before the softmax.
    label_smoothing : float
        Moves targets towards the uniform distribution.
    """

    def values(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        t = y_true
        if self.label_smoothing:
            t = (t * (1 - self.label_smoothing) + self.label_smoothing / t.shape[-1]).astype(y_pred.dtype)
        log_p, back = _log_probabilities(y_pred, self.from_logits)
        return -(t * log_p).sum(axis=-1), back(-t)


class SparseCategoricalCrossentropy(Crossentropy):
    """Cross-entropy with integer classes.

    Parameters
    ----------
    from_logits : bool
    ignore_class : int, optional
        Targets of this class do not count; a mean is one over the others.
    """

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ):
        super().__init__(from_logits, 0.0, axis, reduction, name)
        self.ignore_class = ignore_class

    def align(self, y_true: Any, y_pred: Array) -> Array:
        y = np.asarray(y_true)
        if y.ndim == y_pred.ndim and y.shape[-1] == 1:
            y = y[..., 0]
        if y.shape != y_pred.shape[:-1]:
            raise ValueError(
                f"SparseCategoricalCrossentropy: `y_true` must be classes of shape {y_pred.shape[:-1]}, got {y.shape}"
            )
        if y.dtype.kind not in "fiub":
            raise TypeError(
                f"SparseCategoricalCrossentropy: `y_true` must be the numbers of classes, got dtype {y.dtype}; "
                "np.unique(y, return_inverse=True)[1] gives them"
            )
        if y.dtype.kind not in "iub" and not np.array_equal(y, np.trunc(y)):
            raise ValueError(f"SparseCategoricalCrossentropy: `y_true` must be whole numbers, got {y.dtype}")
        y = y.astype(np.int64)
        counted = y if self.ignore_class is None else y[y != self.ignore_class]
        if counted.size and (counted.min() < 0 or counted.max() >= y_pred.shape[-1]):
            bad = int(counted.min()) if counted.min() < 0 else int(counted.max())
            raise ValueError(f"SparseCategoricalCrossentropy: classes must lie in 0..{y_pred.shape[-1] - 1}, got {bad}")
        return y

    def valid(self, y_true: Array) -> Array | None:
        return None if self.ignore_class is None else y_true != self.ignore_class

    def values(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        ignored = None if self.ignore_class is None else y_true == self.ignore_class
        index = (y_true if ignored is None else np.where(ignored, 0, y_true))[..., None]
        loss, slope = (_of_class_from_logits if self.from_logits else _of_class)(y_pred, index)
        if ignored is not None:
            loss, slope = np.where(ignored, 0, loss), np.where(ignored[..., None], 0, slope)
        return loss, slope

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["label_smoothing"]
        return {**config, "ignore_class": self.ignore_class}


def _clipped(p: Array) -> tuple[Array, Array]:
    """Probabilities kept away from 0 and 1, and where they were inside anyway."""
    low, high = np.asarray(EPSILON, p.dtype), np.asarray(1 - EPSILON, p.dtype)
    return np.clip(p, low, high), (p >= low) & (p <= high)


def _log_probabilities(y_pred: Array, from_logits: bool) -> tuple[Array, Callable[[Array], Array]]:
    """Logarithms of the (normalised) probabilities, and their pullback."""
    if from_logits:
        shifted = y_pred - y_pred.max(axis=-1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
        return log_p, lambda d: d - np.exp(log_p) * d.sum(axis=-1, keepdims=True)
    total = y_pred.sum(axis=-1, keepdims=True)
    q = y_pred / total
    p, inside = _clipped(q)

    def back(d: Array) -> Array:
        dq = np.where(inside, d / p, 0)
        return (dq - (dq * q).sum(axis=-1, keepdims=True)) / total

    return np.log(p), back


def _of_class_from_logits(y_pred: Array, index: Array) -> tuple[Array, Array]:
    """Cross-entropy with the class ``index`` of each row, and its slope, without a one-hot row."""
    shifted = y_pred - y_pred.max(axis=-1, keepdims=True)
    of_class = np.take_along_axis(shifted, index, axis=-1)
    slope = np.exp(shifted, out=shifted)
    total = slope.sum(axis=-1, keepdims=True)
    slope /= total
    np.put_along_axis(slope, index, np.take_along_axis(slope, index, axis=-1) - 1, axis=-1)
    return (np.log(total) - of_class)[..., 0], slope


def _of_class(y_pred: Array, index: Array) -> tuple[Array, Array]:
    """The same for probabilities, which are normalised first."""
    total = y_pred.sum(axis=-1, keepdims=True)
    q = np.take_along_axis(y_pred, index, axis=-1) / total
    p, inside = _clipped(q)
    dq = np.where(inside, -1 / p, 0)
    slope = np.empty_like(y_pred)
    slope[...] = -dq * q / total
    np.put_along_axis(slope, index, (dq - dq * q) / total, axis=-1)
    return -np.log(p)[..., 0], slope
