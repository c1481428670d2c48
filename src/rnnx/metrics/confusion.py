"""Metrics of yes and no at a threshold."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.functional._products import product
from rnnx.metrics.metric import Metric
from rnnx.metrics.targets import same_rank


class Precision(Metric):
    """Share of true ones among those predicted above ``thresholds`` (one number, 0.5 if not given)."""

    direction = "up"

    def __init__(self, thresholds: float | None = None, name: str | None = None):
        super().__init__(name)
        self.thresholds = 0.5 if thresholds is None else float(thresholds)

    def _among(self, truth: Array, guess: Array) -> Array:
        return guess

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None, mask: Any = None) -> None:
        y_pred = np.asarray(y_pred)
        truth, guess = same_rank(self.name, np.asarray(y_true), y_pred) > 0.5, y_pred > self.thresholds
        weights = self._weights(y_pred.shape, sample_weight, mask)
        share = np.ones(y_pred.shape) if weights is None else weights
        self.total += float(product(truth & guess, share) if share.ndim == 1 else ((truth & guess) * share).sum())
        self.count += float((self._among(truth, guess) * share).sum())

    def get_config(self) -> dict[str, Any]:
        return {"thresholds": self.thresholds, "name": self.name}


class Recall(Precision):
    """Share of those predicted above ``thresholds`` among the true ones."""

    def _among(self, truth: Array, guess: Array) -> Array:
        return truth
