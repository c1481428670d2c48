"""Hinge losses as metrics."""

from __future__ import annotations

from rnnx.metrics.reduction import OfLoss


class Hinge(OfLoss):
    """Mean of ``max(1 - y_true * y_pred, 0)``.

    Targets and predictions have shape (batch, ..., features); one value for each vector.

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.Hinge()([[1.0, -1.0]], [[0.5, 0.5]])), 4)
    1.0
    """

    of = "hinge"


class SquaredHinge(OfLoss):
    """Mean of ``max(1 - y_true * y_pred, 0)^2``.

    Targets and predictions have shape (batch, ..., features); one value for each vector.

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.SquaredHinge()([[1.0, -1.0]], [[0.5, 0.5]])), 4)
    1.25
    """

    of = "squared_hinge"


class CategoricalHinge(OfLoss):
    """Mean of ``max(1 + other - right, 0)``; targets are one-hot.

    Targets and predictions have shape (batch, ..., classes).

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.CategoricalHinge()([[0, 1], [1, 0]], [[0.2, 0.8], [0.4, 0.6]])), 4)
    0.8
    """

    of = "categorical_hinge"
