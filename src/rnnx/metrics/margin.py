"""Hinge losses as metrics."""

from __future__ import annotations

from rnnx.metrics.reduction import OfLoss


class Hinge(OfLoss):
    """Mean of ``max(1 - y_true * y_pred, 0)``."""

    of = "hinge"


class SquaredHinge(OfLoss):
    """Mean of ``max(1 - y_true * y_pred, 0)^2``."""

    of = "squared_hinge"


class CategoricalHinge(OfLoss):
    """Mean of ``max(1 + other - right, 0)``; targets are one-hot."""

    of = "categorical_hinge"
