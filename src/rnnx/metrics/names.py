"""Metrics by their names."""

from __future__ import annotations

from typing import Any

from rnnx import losses
from rnnx._config import lookup
from rnnx.layers.names import snake_case
from rnnx.losses.names import TABLE as LOSSES
from rnnx.metrics.accuracy import (
    OF_FUNCTIONS,
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
)
from rnnx.metrics.auc import AUC
from rnnx.metrics.confusion import (
    FalseNegatives,
    FalsePositives,
    Precision,
    PrecisionAtRecall,
    Recall,
    RecallAtPrecision,
    SensitivityAtSpecificity,
    SpecificityAtSensitivity,
    TrueNegatives,
    TruePositives,
)
from rnnx.metrics.correlation import (
    ConcordanceCorrelation,
    PearsonCorrelation,
    concordance_correlation,
    pearson_correlation,
)
from rnnx.metrics.f_score import F1Score, FBetaScore
from rnnx.metrics.iou import BinaryIoU, IoU, MeanIoU, OneHotIoU, OneHotMeanIoU
from rnnx.metrics.margin import CategoricalHinge, Hinge, SquaredHinge
from rnnx.metrics.probabilistic import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    KLDivergence,
    Perplexity,
    Poisson,
    SparseCategoricalCrossentropy,
)
from rnnx.metrics.reduction import FunctionMetric, LossMetric, Mean, MeanMetricWrapper, Sum
from rnnx.metrics.regression import (
    CosineSimilarity,
    LogCoshError,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    R2Score,
    RootMeanSquaredError,
)

TABLE: dict[str, Any] = {
    cls.__name__: cls
    for cls in (
        AUC, Accuracy, BinaryAccuracy, BinaryCrossentropy, BinaryIoU, CategoricalAccuracy, CategoricalCrossentropy,
        CategoricalHinge, ConcordanceCorrelation, CosineSimilarity, F1Score, FBetaScore, FalseNegatives, FalsePositives,
        Hinge, IoU, KLDivergence, LogCoshError, LossMetric, Mean, MeanAbsoluteError, MeanAbsolutePercentageError,
        MeanIoU, MeanMetricWrapper, MeanSquaredError, MeanSquaredLogarithmicError, OneHotIoU, OneHotMeanIoU,
        PearsonCorrelation, Perplexity, Poisson, Precision, PrecisionAtRecall, R2Score, Recall, RecallAtPrecision,
        RootMeanSquaredError, SensitivityAtSpecificity, SparseCategoricalAccuracy, SparseCategoricalCrossentropy,
        SparseTopKCategoricalAccuracy, SpecificityAtSensitivity, SquaredHinge, Sum, TopKCategoricalAccuracy,
        TrueNegatives, TruePositives,
    )
}  # fmt: skip
TABLE.update({snake_case(name): cls for name, cls in TABLE.items()})
TABLE.update(
    auc=AUC, bce=BinaryCrossentropy, BCE=BinaryCrossentropy, kld=KLDivergence, KLD=KLDivergence, mse=MeanSquaredError,
    MSE=MeanSquaredError, mae=MeanAbsoluteError, MAE=MeanAbsoluteError, mape=MeanAbsolutePercentageError,
    MAPE=MeanAbsolutePercentageError, msle=MeanSquaredLogarithmicError, MSLE=MeanSquaredLogarithmicError,
    rmse=RootMeanSquaredError, fbeta_score=FBetaScore, top_kcategorical_accuracy=TopKCategoricalAccuracy,
    sparse_top_kcategorical_accuracy=SparseTopKCategoricalAccuracy,
)  # fmt: skip
CORRELATIONS = {pearson_correlation: PearsonCorrelation, concordance_correlation: ConcordanceCorrelation}
OF_FUNCTION: dict[Any, Any] = {**OF_FUNCTIONS, **CORRELATIONS}


def get(identifier: Any) -> Any:
    """The metric of a name, a configuration, a function or an object; a loss gives that loss as a metric.

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
