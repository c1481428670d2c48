"""Errors of numbers."""

from __future__ import annotations

import numpy as np

from rnnx._typing import Array
from rnnx.metrics.reduction import LossMetric


class MeanSquaredError(LossMetric):
    """Mean squared error."""

    def __init__(self, name: str | None = None):
        super().__init__("mse", name)


class RootMeanSquaredError(MeanSquaredError):
    """Root of the mean squared error; every number has its own weight."""

    def __init__(self, name: str | None = None):
        super().__init__(name or "root_mean_squared_error")

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return np.square(self.loss.align(y_true, y_pred) - y_pred)

    def result(self) -> float:
        return float(np.sqrt(super().result()))


class MeanAbsoluteError(LossMetric):
    """Mean absolute error."""

    def __init__(self, name: str | None = None):
        super().__init__("mae", name)
