"""Losses of numbers that should be near each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.losses.loss import Loss


class MeanSquaredError(Loss):
    """Mean over the last axis of ``(y_pred - y_true)^2``."""

    def values(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        d = y_pred - y_true
        return np.square(d).mean(axis=-1), d * np.asarray(2 / d.shape[-1], d.dtype)


class MeanAbsoluteError(Loss):
    """Mean over the last axis of ``|y_pred - y_true|``."""

    def values(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        d = y_pred - y_true
        return np.abs(d).mean(axis=-1), np.sign(d) / np.asarray(d.shape[-1], d.dtype)


class Huber(Loss):
    """Squared near 0 and linear beyond ``delta``.

    References
    ----------
    .. [1] P. Huber, "Robust estimation of a location parameter", Ann. Math. Statist. 35, 1964.
    """

    def __init__(self, delta: float = 1.0, reduction: str | None = "sum_over_batch_size", name: str | None = None):
        super().__init__(reduction, name)
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


class LogCosh(Loss):
    """Mean over the last axis of ``log(cosh(y_pred - y_true))``."""

    def values(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        d = y_pred - y_true
        size = np.abs(d)
        loss = size + np.log1p(np.exp(-2 * size)) - np.asarray(np.log(2), d.dtype)
        return loss.mean(axis=-1), np.tanh(d) / np.asarray(d.shape[-1], d.dtype)
