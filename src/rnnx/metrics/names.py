"""Metrics by their names."""

from __future__ import annotations

from typing import Any

from rnnx import losses
from rnnx._config import lookup
from rnnx.losses.names import TABLE as LOSSES
from rnnx.metrics.accuracy import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
)
from rnnx.metrics.auc import AUC
from rnnx.metrics.confusion import Precision, Recall
from rnnx.metrics.metric import snake_case
from rnnx.metrics.probabilistic import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    Perplexity,
    SparseCategoricalCrossentropy,
)
from rnnx.metrics.reduction import FunctionMetric, LossMetric, Mean
from rnnx.metrics.regression import MeanAbsoluteError, MeanSquaredError, RootMeanSquaredError

TABLE: dict[str, Any] = {
    cls.__name__: cls
    for cls in (
        AUC, Accuracy, BinaryAccuracy, BinaryCrossentropy, CategoricalAccuracy, CategoricalCrossentropy, Mean,
        MeanAbsoluteError, MeanSquaredError, Perplexity, Precision, Recall, RootMeanSquaredError,
        SparseCategoricalAccuracy, SparseCategoricalCrossentropy, SparseTopKCategoricalAccuracy,
        TopKCategoricalAccuracy, LossMetric,
    )
}  # fmt: skip
TABLE.update({snake_case(name): cls for name, cls in TABLE.items()})
TABLE.update(mse=MeanSquaredError, mae=MeanAbsoluteError, auc=AUC, rmse=RootMeanSquaredError)


def get(identifier: Any) -> Any:
    """The metric of a name, a configuration or an object; a loss's name gives that loss as a metric.

    Examples
    --------
    >>> from rnnx import metrics
    >>> metrics.get("mse").name
    'mean_squared_error'
    """
    if isinstance(identifier, losses.Loss):
        return LossMetric(identifier)
    if isinstance(identifier, str) and identifier not in TABLE:
        try:
            return LossMetric(identifier)
        except ValueError:
            pass
    if callable(identifier) and not isinstance(identifier, type) and not hasattr(identifier, "update_state"):
        return FunctionMetric(identifier)
    return lookup("metric", TABLE, identifier)


def direction_of(name: str) -> str | None:
    """Whether "up" or "down" is better for what has exactly this name here; None for any other name."""
    if name in ("accuracy", "acc"):
        return "up"
    kind = TABLE.get(name)
    if kind is None:
        return "down" if name in LOSSES else None
    direction: str | None = kind.direction
    return direction
