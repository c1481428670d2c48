"""Accuracies: shares of predictions that are right."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx import losses
from rnnx._typing import Array
from rnnx.metrics.metric import Metric
from rnnx.metrics.targets import one_hot_classes, same_rank, sparse_classes


class Accuracy(Metric):
    """Share of equal values."""

    direction = "up"

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return (same_rank(self.name, y_true, y_pred) == y_pred).astype(np.float64)


class BinaryAccuracy(Metric):
    """Share of predictions on the right side of ``threshold`` for a target of 0 or 1, each with its own weight."""

    direction = "up"

    def __init__(self, name: str | None = None, threshold: float = 0.5):
        super().__init__(name)
        self.threshold = float(threshold)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return (same_rank(self.name, y_true, y_pred) == (y_pred > self.threshold)).astype(np.float64)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "threshold": self.threshold}


class CategoricalAccuracy(Metric):
    """Share of largest predictions at the largest target."""

    direction = "up"

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return (one_hot_classes(self.name, y_true, y_pred) == y_pred.argmax(axis=-1)).astype(np.float64)


class SparseCategoricalAccuracy(Metric):
    """Share of largest predictions at the target class."""

    direction = "up"

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return (sparse_classes(self.name, y_true, y_pred) == y_pred.argmax(axis=-1)).astype(np.float64)


class TopKCategoricalAccuracy(Metric):
    """Share of targets among the ``k`` largest predictions."""

    direction = "up"

    def __init__(self, k: int = 5, name: str | None = None):
        super().__init__(name)
        self.k = int(k)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return _in_top(one_hot_classes(self.name, y_true, y_pred), y_pred, self.k)

    def get_config(self) -> dict[str, Any]:
        return {"k": self.k, "name": self.name}


class SparseTopKCategoricalAccuracy(TopKCategoricalAccuracy):
    """The same for integer classes."""

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return _in_top(sparse_classes(self.name, y_true, y_pred), y_pred, self.k)


def _in_top(classes: Array, y_pred: Array, k: int) -> Array:
    chosen = np.take_along_axis(y_pred, classes[..., None].astype(np.int64), axis=-1)
    return ((y_pred > chosen).sum(axis=-1) < k).astype(np.float64)


def choose_accuracy(loss: Any, y_true: Array, y_pred: Array, name: str) -> Metric:
    """The accuracy that "accuracy" stands for, as Keras chooses it from the shapes."""
    if y_pred.shape[-1] == 1 or isinstance(loss, losses.BinaryCrossentropy):
        threshold = 0.0 if getattr(loss, "from_logits", False) else 0.5
        return BinaryAccuracy(name, threshold) if not threshold else BinaryAccuracy(name)
    sparse = y_true.ndim < y_pred.ndim or (y_true.shape[-1] == 1 and y_pred.shape[-1] > 1)
    return SparseCategoricalAccuracy(name) if sparse else CategoricalAccuracy(name)
