"""Means: of values, of a function of one's own, of a loss."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx import losses
from rnnx._typing import Array
from rnnx.metrics.metric import Metric, snake_case


class Mean(Metric):
    """Mean of given values: ``update_state(values, sample_weight=None)``."""

    def update_state(self, y_true: Any, y_pred: Any = None, sample_weight: Any = None, mask: Any = None) -> None:
        values = np.asarray(y_true, np.float64)
        weights = self._weights(values.shape, sample_weight, mask)
        weights = np.ones(values.shape) if weights is None else weights
        self.total += float((np.where(weights != 0, values, 0) * weights).sum())
        self.count += float(weights.sum())


class FunctionMetric(Metric):
    """The mean of a function of one's own, ``function(y_true, y_pred) -> values``; files leave it out.

    Parameters
    ----------
    function : callable
    """

    def __init__(self, function: Any, name: str | None = None):
        self.function = function
        self.direction = getattr(function, "direction", None)
        super().__init__(name or getattr(function, "__name__", None))

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return np.asarray(self.function(y_true, y_pred))

    def get_config(self) -> dict[str, Any]:
        raise TypeError(f"metric {self.name!r} is a function, which a file cannot hold")


class LossMetric(Metric):
    """A loss as a metric: its mean over everything that counts.

    Parameters
    ----------
    loss : Loss or name
    """

    direction: str | None = "down"

    def __init__(self, loss: Any, name: str | None = None):
        self.loss = losses.loss_of(loss)
        super().__init__(name or snake_case(type(self.loss).__name__))

    def values(self, y_true: Array, y_pred: Array) -> Array:
        found: Array = self.loss.each(y_true, y_pred)
        return found

    def get_config(self) -> dict[str, Any]:
        if type(self) is LossMetric:
            return {"loss": losses.serialize(self.loss), "name": self.name}
        of_loss = self.loss.get_config()
        return {"name": self.name, **{k: of_loss[k] for k in ("from_logits", "label_smoothing") if k in of_loss}}
