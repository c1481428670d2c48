"""Losses of counts and of distributions."""

from __future__ import annotations

import numpy as np

from rnnx._typing import Array
from rnnx.losses.loss import EPSILON, StandardLoss


class Poisson(StandardLoss):
    """Mean over the last axis of ``y_pred - y_true * log(y_pred)``.

    Targets and predictions have shape (batch, ..., features); one value for each vector.

    Examples
    --------
    >>> from rnnx import losses
    >>> round(float(losses.Poisson()([[1.0, 2.0]], [[1.0, 3.0]])), 4)
    0.9014
    """

    def values(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        shifted = y_pred + np.asarray(EPSILON, y_pred.dtype)
        loss = y_pred - y_true * np.log(shifted)
        return loss.mean(axis=-1), (1 - y_true / shifted) / np.asarray(y_pred.shape[-1], y_pred.dtype)


class KLDivergence(StandardLoss):
    """Sum over the last axis of ``y_true * log(y_true / y_pred)``.

    Targets and predictions have shape (batch, ..., classes).

    Examples
    --------
    >>> from rnnx import losses
    >>> round(float(losses.KLDivergence()([[0.5, 0.5]], [[0.2, 0.8]])), 4)
    0.2231
    """

    of_numbers = False

    def values(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        low = np.asarray(EPSILON, y_pred.dtype)
        p, q = np.clip(y_true, low, 1), np.clip(y_pred, low, 1)
        inside = (y_pred >= low) & (y_pred <= 1)
        return (p * np.log(p / q)).sum(axis=-1), np.where(inside, -p / q, 0)
