"""The area under a curve over all thresholds."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.metrics.metric import Metric
from rnnx.metrics.targets import same_rank


class AUC(Metric):
    """Area under the ROC curve, from all predictions (exact, ties shared)."""

    direction = "up"

    def reset_state(self) -> None:
        self._truth: list[Array] = []
        self._score: list[Array] = []
        self._weight: list[Array] = []

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None, mask: Any = None) -> None:
        y_pred = np.asarray(y_pred, np.float64)
        weights = self._weights(y_pred.shape, sample_weight, mask)
        self._truth.append((same_rank(self.name, np.asarray(y_true), y_pred) > 0.5).reshape(-1))
        self._score.append(y_pred.reshape(-1))
        self._weight.append((np.ones(y_pred.shape) if weights is None else weights).reshape(-1))

    def result(self) -> float:
        if not self._truth:
            return 0.0
        truth, score, weight = (np.concatenate(part) for part in (self._truth, self._score, self._weight))
        _, group = np.unique(score, return_inverse=True)
        ones = np.bincount(group, weight * truth)
        zeros = np.bincount(group, weight * ~truth)
        below = np.cumsum(zeros) - zeros
        mass = ones.sum() * zeros.sum()
        return float((ones * (below + zeros / 2)).sum() / mass) if mass else 0.0
