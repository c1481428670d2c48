"""Losses of numbers that should be near each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.losses.loss import EPSILON, StandardLoss, checked_axis


class MeanSquaredError(StandardLoss):
    """Mean over the last axis of ``(y_pred - y_true)^2``.

    Targets and predictions have shape (batch, ..., features); one value for each vector.

    Examples
    --------
    >>> from rnnx import losses
    >>> round(float(losses.MeanSquaredError()([[0.0, 0.0]], [[1.0, 3.0]])), 4)
    5.0
    """

    def values(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        d = y_pred - y_true
        return np.square(d).mean(axis=-1), d * np.asarray(2 / d.shape[-1], d.dtype)


class MeanAbsoluteError(StandardLoss):
    """Mean over the last axis of ``|y_pred - y_true|``.

    Targets and predictions have shape (batch, ..., features); one value for each vector.

    Examples
    --------
    >>> from rnnx import losses
    >>> round(float(losses.MeanAbsoluteError()([[0.0, 0.0]], [[1.0, 3.0]])), 4)
    2.0
    """

    def values(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        d = y_pred - y_true
        return np.abs(d).mean(axis=-1), np.sign(d) / np.asarray(d.shape[-1], d.dtype)


class MeanAbsolutePercentageError(StandardLoss):
    """100 times the mean over the last axis of ``|y_pred - y_true| / |y_true|``; a target of 0 counts as 1e-7.

    Targets and predictions have shape (batch, ..., features); one value for each vector.

    Examples
    --------
    >>> from rnnx import losses
    >>> round(float(losses.MeanAbsolutePercentageError()([[2.0, 4.0]], [[1.0, 3.0]])), 4)
    37.5
    """

    def values(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        d = (y_pred - y_true) / np.maximum(np.abs(y_true), np.asarray(EPSILON, y_true.dtype))
        share = np.asarray(100 / d.shape[-1], d.dtype)
        slope = np.sign(d) / np.maximum(np.abs(y_true), np.asarray(EPSILON, y_true.dtype))
        return 100 * np.abs(d).mean(axis=-1), slope * share


class MeanSquaredLogarithmicError(StandardLoss):
    """Mean over the last axis of ``(log(1 + y_pred) - log(1 + y_true))^2``; what is below 1e-7 counts as that.

    Targets and predictions have shape (batch, ..., features); one value for each vector.

    Examples
    --------
    >>> from rnnx import losses
    >>> round(float(losses.MeanSquaredLogarithmicError()([[0.0, 1.0]], [[1.0, 3.0]])), 4)
    0.4805
    """

    def values(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        low = np.asarray(EPSILON, y_pred.dtype)
        p = np.maximum(y_pred, low) + 1
        d = np.log(p) - np.log(np.maximum(y_true, low) + 1)
        slope = np.where(y_pred >= low, d / p, 0) * np.asarray(2 / d.shape[-1], d.dtype)
        return np.square(d).mean(axis=-1), slope


class CosineSimilarity(StandardLoss):
    """Minus the cosine of the angle between targets and predictions along an axis; 0 for a vector of zeros.

    Targets and predictions have shape (batch, ..., features); one value for each vector.

    Parameters
    ----------
    axis : int

    Examples
    --------
    >>> from rnnx import losses
    >>> round(float(losses.CosineSimilarity()([[0.0, 1.0]], [[3.0, 4.0]])), 4)
    -0.8
    """

    of_numbers = False

    def __init__(
        self,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(reduction, name, dtype)
        self.axis = self.vector_axis = checked_axis("CosineSimilarity", axis)

    def values(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        (t, _), (p, scale) = _unit(y_true), _unit(y_pred)
        cosine = (t * p).sum(axis=-1, keepdims=True)
        inside = scale < np.asarray(1 / EPSILON, scale.dtype)  # shorter vectors are multiplied by a constant
        return -cosine[..., 0], np.where(inside, p * cosine - t, -t) * scale

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


def _unit(x: Array) -> tuple[Array, Array]:
    """Vectors of length 1, and what they were multiplied by: at most 1e7."""
    squares = np.square(x).sum(axis=-1, keepdims=True)
    low = np.asarray(EPSILON, x.dtype)
    scale = 1 / np.maximum(np.sqrt(squares), low)
    return x * scale, scale


class Huber(StandardLoss):
    """Squared near 0 and linear beyond ``delta``.

    Targets and predictions have shape (batch, ..., features); one value for each vector.

    Parameters
    ----------
    delta : float
        Where the squared part ends.

    References
    ----------
    .. [1] P. Huber, "Robust estimation of a location parameter", Ann. Math. Statist. 35, 1964.

    Examples
    --------
    >>> from rnnx import losses
    >>> round(float(losses.Huber(delta=1.0)([[0.0, 0.0]], [[0.5, 3.0]])), 4)
    1.3125
    """

    default_name = "huber_loss"

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(reduction, name, dtype)
        if not delta > 0:
            raise ValueError(f"Huber: `delta` must be positive, got {delta}")
        self.delta = float(delta)

    def values(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        d, delta = y_pred - y_true, np.asarray(self.delta, y_pred.dtype)
        size = np.abs(d)
        loss = np.where(size <= delta, np.square(d) / 2, delta * size - np.square(delta) / 2)
        return loss.mean(axis=-1), np.clip(d, -delta, delta) / np.asarray(d.shape[-1], d.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "delta": self.delta}


class LogCosh(StandardLoss):
    """Mean over the last axis of ``log(cosh(y_pred - y_true))``.

    Targets and predictions have shape (batch, ..., features); one value for each vector.

    Examples
    --------
    >>> from rnnx import losses
    >>> round(float(losses.LogCosh()([[0.0, 0.0]], [[1.0, 3.0]])), 4)
    1.3716
    """

    def values(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        d = y_pred - y_true
        size = np.abs(d)
        loss = size + np.log1p(np.exp(-2 * size)) - np.asarray(np.log(2), d.dtype)
        return loss.mean(axis=-1), np.tanh(d) / np.asarray(d.shape[-1], d.dtype)
