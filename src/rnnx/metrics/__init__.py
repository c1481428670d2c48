"""Figures that are averaged over an epoch, under Keras' names."""

from rnnx._config import serialize
from rnnx.metrics.accuracy import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
    choose_accuracy,
)
from rnnx.metrics.auc import AUC
from rnnx.metrics.confusion import Precision, Recall
from rnnx.metrics.metric import Metric
from rnnx.metrics.names import direction_of, get
from rnnx.metrics.probabilistic import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    Perplexity,
    SparseCategoricalCrossentropy,
)
from rnnx.metrics.reduction import FunctionMetric, LossMetric, Mean
from rnnx.metrics.regression import MeanAbsoluteError, MeanSquaredError, RootMeanSquaredError
from rnnx.metrics.variable import MetricVariable

__all__ = [
    "AUC", "Accuracy", "BinaryAccuracy", "BinaryCrossentropy", "CategoricalAccuracy", "CategoricalCrossentropy",
    "FunctionMetric", "LossMetric", "Mean", "MeanAbsoluteError", "MeanSquaredError", "Metric", "MetricVariable",
    "Perplexity", "Precision", "Recall", "RootMeanSquaredError", "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy", "SparseTopKCategoricalAccuracy", "TopKCategoricalAccuracy", "choose_accuracy",
    "direction_of", "get", "serialize",
]  # fmt: skip
