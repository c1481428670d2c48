"""Hinge losses: nothing is lost on predictions that are right by a margin of 1."""

from __future__ import annotations

import numpy as np

from rnnx._typing import Array
from rnnx.losses.loss import StandardLoss


class Hinge(StandardLoss):
    """Mean over the last axis of ``max(1 - y_true * y_pred, 0)``; targets are -1 or 1, or all of them 0 or 1.

    Targets and predictions have shape (batch, ..., features); one value for each vector.

    Examples
    --------
    >>> from rnnx import losses
    >>> round(float(losses.Hinge()([[1.0, -1.0]], [[0.5, 0.5]])), 4)
    1.0
    """

    def values(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        t, loss = _missing(y_true, y_pred)
        return loss.mean(axis=-1), np.where(loss > 0, -t, 0) / np.asarray(t.shape[-1], t.dtype)


class SquaredHinge(StandardLoss):
    """Mean over the last axis of ``max(1 - y_true * y_pred, 0)^2``; targets as for `Hinge`.

    Targets and predictions have shape (batch, ..., features); one value for each vector.

    Examples
    --------
    >>> from rnnx import losses
    >>> round(float(losses.SquaredHinge()([[1.0, -1.0]], [[0.5, 0.5]])), 4)
    1.25
    """

    def values(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        t, loss = _missing(y_true, y_pred)
        return np.square(loss).mean(axis=-1), -t * loss * np.asarray(2 / t.shape[-1], t.dtype)


def _missing(y_true: Array, y_pred: Array) -> tuple[Array, Array]:
    """Targets of -1 and 1, and what the predictions have too little."""
    t = 2 * y_true - 1 if ((y_true == 0) | (y_true == 1)).all() else y_true
    return t, np.maximum(1 - t * y_pred, 0)


class CategoricalHinge(StandardLoss):
    """``max(1 + other - right, 0)`` of the predictions for the class and for the best other one; targets one-hot.

    Targets and predictions have shape (batch, ..., classes).

    Examples
    --------
    >>> from rnnx import losses
    >>> round(float(losses.CategoricalHinge()([[0.0, 1.0]], [[0.2, 0.8]])), 4)
    0.4
    """

    of_numbers = False

    def values(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        others = (1 - y_true) * y_pred
        worst = others.argmax(axis=-1, keepdims=True)
        loss = np.take_along_axis(others, worst, axis=-1)[..., 0] - (y_true * y_pred).sum(axis=-1) + 1
        slope = -y_true
        share = np.take_along_axis(1 - y_true, worst, axis=-1) + np.take_along_axis(slope, worst, axis=-1)
        np.put_along_axis(slope, worst, share, axis=-1)
        return np.maximum(loss, 0), np.where(loss[..., None] > 0, slope, 0)
