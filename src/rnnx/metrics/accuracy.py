"""Accuracies: shares of predictions that are right."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx import losses
from rnnx._typing import Array
from rnnx.metrics.metric import Metric
from rnnx.metrics.reduction import FUNCTIONS
from rnnx.metrics.targets import one_hot_classes, same_rank, sparse_classes


def accuracy(y_true: Any, y_pred: Any) -> Array:
    """1 where targets and predictions are equal, else 0."""
    y_pred = np.asarray(y_pred)
    return (same_rank("accuracy", np.asarray(y_true), y_pred) == y_pred).astype(np.float64)


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> Array:
    """1 where a prediction is on the right side of the threshold for a target of 0 or 1, else 0.

    Parameters
    ----------
    y_true : array of any shape
    y_pred : array of the same shape
    threshold : float

    Returns
    -------
    float64 array of the same shape

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> from rnnx import metrics
    >>> print(metrics.binary_accuracy([0, 1, 1], [0.2, 0.7, 0.4]).round(4))
    [1. 1. 0.]
    """
    y_pred = np.asarray(y_pred)
    return (same_rank("binary_accuracy", np.asarray(y_true), y_pred) == (y_pred > threshold)).astype(np.float64)


def categorical_accuracy(y_true: Any, y_pred: Any) -> Array:
    """1 where the largest prediction stands at the largest target, else 0.

    Parameters
    ----------
    y_true : one-hot array of shape (..., classes)
    y_pred : array of shape (..., classes)

    Returns
    -------
    float64 array of shape (...)

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> from rnnx import metrics
    >>> print(metrics.categorical_accuracy([[0, 1], [1, 0]], [[0.3, 0.7], [0.4, 0.6]]).round(4))
    [1. 0.]
    """
    y_pred = np.asarray(y_pred)
    classes = one_hot_classes("categorical_accuracy", np.asarray(y_true), y_pred)
    return (classes == y_pred.argmax(axis=-1)).astype(np.float64)


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> Array:
    """1 where the largest prediction stands at the target class, else 0.

    Parameters
    ----------
    y_true : int array of shape (...) or (..., 1)
    y_pred : array of shape (..., classes)

    Returns
    -------
    float64 array of shape (...)

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> from rnnx import metrics
    >>> print(metrics.sparse_categorical_accuracy([1, 0], [[0.3, 0.7], [0.4, 0.6]]).round(4))
    [1. 0.]
    """
    y_pred = np.asarray(y_pred)
    classes = sparse_classes("sparse_categorical_accuracy", np.asarray(y_true), y_pred)
    return (classes == y_pred.argmax(axis=-1)).astype(np.float64)


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Array:
    """1 where the largest target is among the ``k`` largest predictions, else 0.

    Parameters
    ----------
    y_true : one-hot array of shape (..., classes)
    y_pred : array of shape (..., classes)
    k : int

    Returns
    -------
    float64 array of shape (...)

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> from rnnx import metrics
    >>> y_pred = [[0.1, 0.7, 0.2], [0.1, 0.7, 0.2]]
    >>> print(metrics.top_k_categorical_accuracy([[0, 0, 1], [1, 0, 0]], y_pred, k=2).round(4))
    [1. 0.]
    """
    y_pred = np.asarray(y_pred)
    return _in_top(one_hot_classes("top_k_categorical_accuracy", np.asarray(y_true), y_pred), y_pred, k)


def sparse_top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5, from_sorted_ids: bool = False) -> Array:
    """1 where the target class is among the ``k`` largest predictions, or the ``k`` first ids, else 0.

    Parameters
    ----------
    y_true : int array of shape (...) or (..., 1)
    y_pred : array of shape (..., classes)
    k : int
    from_sorted_ids : bool

    Returns
    -------
    float64 array of shape (...)

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> from rnnx import metrics
    >>> print(metrics.sparse_top_k_categorical_accuracy([2, 0], [[0.1, 0.7, 0.2], [0.1, 0.7, 0.2]], k=2).round(4))
    [1. 0.]
    """
    y_pred = np.asarray(y_pred)
    classes = sparse_classes("sparse_top_k_categorical_accuracy", np.asarray(y_true), y_pred)
    if from_sorted_ids:
        return (y_pred[..., :k] == classes[..., None]).any(axis=-1).astype(np.float64)
    return _in_top(classes, y_pred, k)


def _in_top(classes: Array, y_pred: Array, k: int) -> Array:
    chosen = np.take_along_axis(y_pred, classes[..., None].astype(np.int64), axis=-1)
    return ((y_pred > chosen).sum(axis=-1) < k).astype(np.float64)


class Accuracy(Metric):
    """Share of equal values.

    Targets and predictions have one shape, (batch, ...).

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.Accuracy()([1, 2, 3, 4], [1, 2, 0, 4])), 4)
    0.75
    """

    direction = "up"

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return accuracy(y_true, y_pred)


class BinaryAccuracy(Metric):
    """Share of predictions on the right side of ``threshold`` for a target of 0 or 1, each with its own weight.

    Targets and predictions have one shape, (batch, ...).

    Parameters
    ----------
    threshold : float
        Predictions above it are the class 1.

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.BinaryAccuracy(threshold=0.5)([0, 1, 1, 1], [0.2, 0.4, 0.6, 0.9])), 4)
    0.75
    """

    direction = "up"

    def __init__(self, name: str | None = None, dtype: Any = None, threshold: float = 0.5):
        super().__init__(name, dtype)
        self.threshold = float(threshold)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return binary_accuracy(y_true, y_pred, self.threshold)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "threshold": self.threshold}


class CategoricalAccuracy(Metric):
    """Share of largest predictions at the largest target.

    Targets and predictions have shape (batch, ..., classes).

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.CategoricalAccuracy()([[0, 1], [1, 0]], [[0.2, 0.8], [0.4, 0.6]])), 4)
    0.5
    """

    direction = "up"

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return categorical_accuracy(y_true, y_pred)


class SparseCategoricalAccuracy(Metric):
    """Share of largest predictions at the target class.

    Targets have shape (batch, ...), of class numbers, predictions (batch, ..., classes).

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.SparseCategoricalAccuracy()([1, 0], [[0.2, 0.8], [0.4, 0.6]])), 4)
    0.5
    """

    direction = "up"

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return sparse_categorical_accuracy(y_true, y_pred)


class TopKCategoricalAccuracy(Metric):
    """Share of targets among the ``k`` largest predictions.

    Targets and predictions have shape (batch, ..., classes).

    Parameters
    ----------
    k : int
        How many of the largest predictions count.

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.TopKCategoricalAccuracy(k=1)([[0, 1], [1, 0]], [[0.2, 0.8], [0.4, 0.6]])), 4)
    0.5
    """

    direction = "up"

    def __init__(self, k: int = 5, name: str | None = None, dtype: Any = None):
        super().__init__(name, dtype)
        self.k = int(k)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return top_k_categorical_accuracy(y_true, y_pred, self.k)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "k": self.k}


class SparseTopKCategoricalAccuracy(TopKCategoricalAccuracy):
    """The same for integer classes.

    Targets have shape (batch, ...), of class numbers, predictions (batch, ..., classes).

    Parameters
    ----------
    k : int
    from_sorted_ids : bool
        Whether predictions are the numbers of the classes, the likeliest first.

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.SparseTopKCategoricalAccuracy(k=1)([1, 0], [[0.2, 0.8], [0.4, 0.6]])), 4)
    0.5
    """

    from_sorted_ids = False

    def __init__(self, k: int = 5, name: str | None = None, dtype: Any = None, from_sorted_ids: bool = False):
        super().__init__(k, name, dtype)
        self.from_sorted_ids = bool(from_sorted_ids)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return sparse_top_k_categorical_accuracy(y_true, y_pred, self.k, self.from_sorted_ids)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return {**config, "from_sorted_ids": True} if self.from_sorted_ids else config


OF_FUNCTIONS = {
    accuracy: Accuracy,
    binary_accuracy: BinaryAccuracy,
    categorical_accuracy: CategoricalAccuracy,
    sparse_categorical_accuracy: SparseCategoricalAccuracy,
    top_k_categorical_accuracy: TopKCategoricalAccuracy,
    sparse_top_k_categorical_accuracy: SparseTopKCategoricalAccuracy,
}
FUNCTIONS.update({function.__name__: function for function in OF_FUNCTIONS})


def choose_accuracy(loss: Any, y_true: Array, y_pred: Array, name: str) -> Metric:
    """The accuracy that "accuracy" stands for, as Keras chooses it from the shapes."""
    if y_pred.shape[-1] == 1 or isinstance(loss, losses.BinaryCrossentropy):
        return BinaryAccuracy(name, threshold=0.0 if getattr(loss, "from_logits", False) else 0.5)
    sparse = y_true.ndim < y_pred.ndim or (y_true.shape[-1] == 1 and y_pred.shape[-1] > 1)
    return SparseCategoricalAccuracy(name) if sparse else CategoricalAccuracy(name)
