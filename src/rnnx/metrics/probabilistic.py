"""Cross-entropies, and what is made of them."""

from __future__ import annotations

import numpy as np

from rnnx import losses
from rnnx.metrics.reduction import LossMetric


class BinaryCrossentropy(LossMetric):
    """Binary cross-entropy."""

    def __init__(self, name: str | None = None, from_logits: bool = False, label_smoothing: float = 0.0):
        super().__init__(losses.BinaryCrossentropy(from_logits, label_smoothing), name)


class CategoricalCrossentropy(LossMetric):
    """Cross-entropy with a distribution over the last axis."""

    def __init__(self, name: str | None = None, from_logits: bool = False, label_smoothing: float = 0.0):
        super().__init__(losses.CategoricalCrossentropy(from_logits, label_smoothing), name)


class SparseCategoricalCrossentropy(LossMetric):
    """Cross-entropy with integer classes."""

    def __init__(self, name: str | None = None, from_logits: bool = False):
        super().__init__(losses.SparseCategoricalCrossentropy(from_logits), name)


class Perplexity(LossMetric):
    """Exponential of the mean cross-entropy with integer classes."""

    def __init__(self, from_logits: bool = False, name: str | None = None):
        super().__init__(losses.SparseCategoricalCrossentropy(from_logits), name or "perplexity")

    def result(self) -> float:
        return float(np.exp(super().result()))
