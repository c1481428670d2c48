"""Metrics by their names."""

from __future__ import annotations

from typing import Any

from rnnx import losses
from rnnx._config import lookup
from rnnx.layers.names import snake_case
from rnnx.losses.names import TABLE as LOSSES
from rnnx.metrics import (
    accuracy,
    auc,
    confusion,
    correlation,
    f_score,
    iou,
    margin,
    probabilistic,
    reduction,
    regression,
)  # fmt: skip
from rnnx.metrics.metric import Metric
from rnnx.metrics.reduction import FunctionMetric, LossMetric

FILES = (accuracy, auc, confusion, correlation, f_score, iou, margin, probabilistic, reduction, regression)
NOT_BY_NAME = {"BestAtThreshold", "ConfusionCount", "Correlation", "FunctionMetric", "OfLoss"}  # bases
TABLE: dict[str, Any] = {
    name: thing
    for file in FILES
    for name, thing in vars(file).items()
    if isinstance(thing, type) and issubclass(thing, Metric) and thing.__module__ == file.__name__
    if name not in NOT_BY_NAME
}
TABLE.update({snake_case(name): cls for name, cls in TABLE.items()})
ALIASES = {
    "auc": "AUC", "bce": "BinaryCrossentropy", "BCE": "BinaryCrossentropy", "fbeta_score": "FBetaScore",
    "kld": "KLDivergence", "KLD": "KLDivergence", "mae": "MeanAbsoluteError", "MAE": "MeanAbsoluteError",
    "mape": "MeanAbsolutePercentageError", "MAPE": "MeanAbsolutePercentageError", "mse": "MeanSquaredError",
    "MSE": "MeanSquaredError", "msle": "MeanSquaredLogarithmicError", "MSLE": "MeanSquaredLogarithmicError",
    "rmse": "RootMeanSquaredError", "sparse_top_kcategorical_accuracy": "SparseTopKCategoricalAccuracy",
    "top_kcategorical_accuracy": "TopKCategoricalAccuracy",
}  # fmt: skip
TABLE.update({alias: TABLE[name] for alias, name in ALIASES.items()})
OF_FUNCTION: dict[Any, Any] = {
    **accuracy.OF_FUNCTIONS,
    correlation.pearson_correlation: correlation.PearsonCorrelation,
    correlation.concordance_correlation: correlation.ConcordanceCorrelation,
}


def get(identifier: Any) -> Any:
    """The metric of a name, a configuration, a function or an object; a loss gives that loss as a metric.

    Parameters
    ----------
    identifier : str, dict, class, function, Loss or Metric

    Returns
    -------
    Metric

    Raises
    ------
    ValueError
        If there is nothing of this name.

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
        if hasattr(identifier, "loss"):
            return LossMetric(identifier.loss(), identifier.__name__)
        if (kind := _kind_of(identifier)) is not None:
            return kind(name=identifier.__name__)
        return FunctionMetric(identifier)
    return lookup("metric", TABLE, identifier)


def _kind_of(function: Any) -> Any:
    try:
        return OF_FUNCTION.get(function)
    except TypeError:  # an object that cannot be hashed
        return None


def direction_of(name: str) -> str | None:
    """Whether "up" or "down" is better for what has exactly this name here; None for any other name."""
    if name in ("accuracy", "acc"):
        return "up"
    kind = TABLE.get(name)
    if kind is None:
        return "down" if name in LOSSES else None
    direction: str | None = kind.direction
    return direction
