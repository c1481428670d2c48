"""Correlations of targets and predictions along an axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.losses.loss import EPSILON
from rnnx.metrics.metric import Metric
from rnnx.metrics.targets import same_rank


def pearson_correlation(y_true: Any, y_pred: Any, axis: int = -1) -> Array:
    """Pearson's correlation along an axis; NaN where all numbers are equal.

    Parameters
    ----------
    y_true : array of any shape
    y_pred : array of the same shape
    axis : int

    Returns
    -------
    array without this axis

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> from rnnx import metrics
    >>> print(metrics.pearson_correlation([[0.0, 1.0, 2.0]], [[1.0, 3.0, 5.0]]).round(4))
    [1.]
    """
    t, p = (x - x.mean(axis=axis, keepdims=True) for x in _numbers(y_true, y_pred))
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Array = (t * p).mean(axis=axis) / (t.std(axis=axis) * p.std(axis=axis))
    return found


def concordance_correlation(y_true: Any, y_pred: Any, axis: int = -1) -> Array:
    """Lin's concordance correlation along an axis.

    Parameters
    ----------
    y_true : array of any shape
    y_pred : array of the same shape
    axis : int

    Returns
    -------
    array without this axis

    Raises
    ------
    ValueError
        If the shapes do not fit.

    References
    ----------
    .. [1] L. Lin, "A concordance correlation coefficient to evaluate reproducibility", Biometrics 45, 1989.

    Examples
    --------
    >>> from rnnx import metrics
    >>> print(metrics.concordance_correlation([[0.0, 1.0, 2.0]], [[1.0, 3.0, 5.0]]).round(4))
    [0.3636]
    """
    t, p = _numbers(y_true, y_pred)
    of_t, of_p = (x.mean(axis=axis, keepdims=True) for x in (t, p))
    norm = t.var(axis=axis) + p.var(axis=axis) + np.square(of_t - of_p).mean(axis=axis)
    found: Array = 2 * ((t - of_t) * (p - of_p)).mean(axis=axis) / (norm + EPSILON)
    return found


def _numbers(y_true: Any, y_pred: Any) -> tuple[Array, Array]:
    p = np.asarray(y_pred)
    p = p if p.dtype.kind == "f" else p.astype(np.float32)
    return same_rank("correlation", np.asarray(y_true), p).astype(p.dtype), p


class Correlation(Metric):
    """What the two share."""

    direction = "up"

    def __init__(self, name: str | None = None, dtype: Any = None, axis: int = -1):
        super().__init__(name, dtype)
        self.axis = int(axis)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


class PearsonCorrelation(Correlation):
    """Mean of Pearson's correlations along an axis.

    Targets and predictions have shape (batch, ..., features); one value for each vector.

    Parameters
    ----------
    axis : int
        The axis along which numbers are compared.

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.PearsonCorrelation(axis=0)([[1.0, 2.0], [3.0, 5.0]], [[1.0, 3.0], [2.0, 5.0]])), 4)
    1.0
    """

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return pearson_correlation(y_true, y_pred, self.axis)


class ConcordanceCorrelation(Correlation):
    """Mean of the concordance correlations along an axis.

    Targets and predictions have shape (batch, ..., features); one value for each vector.

    Parameters
    ----------
    axis : int
        The axis along which numbers are compared.

    References
    ----------
    .. [1] L. Lin, "A concordance correlation coefficient to evaluate reproducibility", Biometrics 45, 1989.

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.ConcordanceCorrelation(axis=0)([[1.0, 2.0], [3.0, 5.0]], [[1.0, 3.0], [2.0, 5.0]])), 4)
    0.7619
    """

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return concordance_correlation(y_true, y_pred, self.axis)
