"""Hinge losses as metrics."""

from __future__ import annotations

from typing import Any

from rnnx.metrics.reduction import LossMetric


class Hinge(LossMetric):
    """Mean of ``max(1 - y_true * y_pred, 0)``."""

    def __init__(self, name: str | None = None, dtype: Any = None):
        super().__init__("hinge", name, dtype)


class SquaredHinge(LossMetric):
    """Mean of ``max(1 - y_true * y_pred, 0)^2``."""

    def __init__(self, name: str | None = None, dtype: Any = None):
        super().__init__("squared_hinge", name, dtype)


class CategoricalHinge(LossMetric):
    """Mean of ``max(1 + other - right, 0)``; targets are one-hot."""

    def __init__(self, name: str | None = None, dtype: Any = None):
        super().__init__("categorical_hinge", name, dtype)
