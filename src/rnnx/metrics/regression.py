"""Errors of numbers, and how much of them is explained."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from rnnx import losses
from rnnx._typing import Array
from rnnx.layers.carried import mask_of
from rnnx.metrics.metric import Metric
from rnnx.metrics.reduction import LossMetric, OfLoss
from rnnx.metrics.targets import flat_rows, same_rank


class MeanSquaredError(OfLoss):
    """Mean squared error.

    Targets and predictions have shape (batch, ..., features); one value for each vector.

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.MeanSquaredError()([[1.0, 2.0], [3.0, 5.0]], [[1.0, 3.0], [2.0, 5.0]])), 4)
    0.5
    """

    of = "mse"


class RootMeanSquaredError(MeanSquaredError):
    """Root of the mean squared error; every number has its own weight.

    Targets and predictions have shape (batch, ..., features); one value for each vector.

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.RootMeanSquaredError()([[1.0, 2.0], [3.0, 5.0]], [[1.0, 3.0], [2.0, 5.0]])), 4)
    0.7071
    """

    def __init__(self, name: str | None = None, dtype: Any = None):
        super().__init__(name or "root_mean_squared_error", dtype)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return np.square(self.loss.align(y_true, y_pred) - y_pred)

    def result(self) -> float:
        return float(np.sqrt(super().result()))


class MeanAbsoluteError(OfLoss):
    """Mean absolute error.

    Targets and predictions have shape (batch, ..., features); one value for each vector.

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.MeanAbsoluteError()([[1.0, 2.0], [3.0, 5.0]], [[1.0, 3.0], [2.0, 5.0]])), 4)
    0.5
    """

    of = "mae"


class MeanAbsolutePercentageError(OfLoss):
    """Mean absolute error in percent of the targets.

    Targets and predictions have shape (batch, ..., features); one value for each vector.

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.MeanAbsolutePercentageError()([[1.0, 2.0], [3.0, 5.0]], [[1.0, 3.0], [2.0, 5.0]])), 4)
    20.8333
    """

    of = "mape"


class MeanSquaredLogarithmicError(OfLoss):
    """Mean squared error of logarithms.

    Targets and predictions have shape (batch, ..., features); one value for each vector.

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.MeanSquaredLogarithmicError()([[1.0, 2.0], [3.0, 5.0]], [[1.0, 3.0], [2.0, 5.0]])), 4)
    0.0414
    """

    of = "msle"


class LogCoshError(LossMetric):
    """Logarithm of the hyperbolic cosine of the error.

    Targets and predictions have shape (batch, ..., features); one value for each vector.

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.LogCoshError()([[1.0, 2.0], [3.0, 5.0]], [[1.0, 3.0], [2.0, 5.0]])), 4)
    0.2169
    """

    def __init__(self, name: str | None = None, dtype: Any = None):
        super().__init__("log_cosh", name or "logcosh", dtype)


class CosineSimilarity(LossMetric):
    """Cosine of the angle between targets and predictions along an axis.

    Targets and predictions have shape (batch, ..., features); one value for each vector.

    Parameters
    ----------
    axis : int
        The axis of the vectors.

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.CosineSimilarity()([[0.0, 1.0]], [[3.0, 4.0]])), 4)
    0.8
    """

    direction = "up"

    def __init__(self, name: str | None = None, dtype: Any = None, axis: int = -1):
        super().__init__(losses.CosineSimilarity(axis), name, dtype)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return -super().values(y_true, y_pred)


class R2Score(Metric):
    """Share of the variance of the targets that predictions explain, of each column.

    Targets and predictions have shape (batch, outputs).

    Parameters
    ----------
    class_aggregation : {"uniform_average", "variance_weighted_average", None}
        How the columns become one number; None leaves one for each.
    num_regressors : int
        Of how many independent ones the score is adjusted for; 0 does not.

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.R2Score()([[1.0, 2.0], [3.0, 5.0]], [[1.0, 3.0], [2.0, 5.0]])), 4)
    0.6389
    """

    direction = "up"
    state_names = ("squared_sum", "sum", "residual", "count", "num_samples")
    AGGREGATIONS = (None, "uniform_average", "variance_weighted_average")

    def __init__(
        self,
        class_aggregation: str | None = "uniform_average",
        num_regressors: int = 0,
        name: str | None = None,
        dtype: Any = None,
    ):
        if class_aggregation not in self.AGGREGATIONS:
            raise ValueError(
                f"R2Score: `class_aggregation` must be one of {self.AGGREGATIONS}, got {class_aggregation!r}"
            )
        if num_regressors < 0:
            raise ValueError(f"R2Score: `num_regressors` must be at least 0, got {num_regressors}")
        self.class_aggregation, self.num_regressors = class_aggregation, int(num_regressors)
        super().__init__(name, dtype)

    def reset_state(self) -> None:
        self.sum = self.squared_sum = self.residual = self.count = np.zeros(())
        self.num_samples = 0

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None, mask: Any = None) -> None:
        mask = mask_of(y_pred, mask)
        y_pred = np.asarray(y_pred, np.float64)
        y_true = same_rank(self.name, np.asarray(y_true, np.float64), y_pred)
        y_true, y_pred, weights = flat_rows(self, y_true, y_pred, sample_weight, mask)
        if weights is None:
            weights = np.ones(y_true.shape)
        self.sum = self.sum + (weights * y_true).sum(axis=0)
        self.squared_sum = self.squared_sum + (weights * np.square(y_true)).sum(axis=0)
        self.residual = self.residual + (weights * np.square(y_true - y_pred)).sum(axis=0)
        self.count = self.count + weights.sum(axis=0)
        self.num_samples += y_true.size

    def result(self) -> Any:
        if not np.any(self.count):
            return 0.0
        spread = self.squared_sum - np.square(self.sum) / self.count
        with np.errstate(divide="ignore", invalid="ignore"):
            scores = 1 - self.residual / spread
        scores = np.where(np.isinf(scores), 0.0, scores)
        if self.class_aggregation is None:
            found: Any = scores
        elif self.class_aggregation == "uniform_average":
            found = float(scores.mean())
        else:
            found = float((spread * scores).sum() / spread.sum())
        if not self.num_regressors:
            return found
        left = self.num_samples - self.num_regressors - 1
        if left <= 0:
            warnings.warn(
                f"{self.name}: {self.num_regressors} regressors need at least {self.num_regressors + 2} numbers to "
                f"adjust the score for, got {self.num_samples}; it is not adjusted",
                UserWarning,
                stacklevel=2,
            )
            return found
        return 1 - (1 - found) * (self.num_samples - 1) / left

    def get_config(self) -> dict[str, Any]:
        own = {"class_aggregation": self.class_aggregation, "num_regressors": self.num_regressors}
        return {**super().get_config(), **own}
