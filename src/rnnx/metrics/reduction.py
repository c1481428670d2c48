"""Means and sums: of values, of a function, of a loss."""

from __future__ import annotations

import inspect
import re
from typing import Any

import numpy as np

from rnnx import losses
from rnnx._assigned import arguments_of
from rnnx._typing import Array
from rnnx.layers.names import snake_case
from rnnx.metrics.metric import Metric


class Sum(Metric):
    """Sum of given values, each times its weight.

    Values of any shape.

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.Sum()([1.0, 2.0, 4.0])), 4)
    7.0
    """

    state_names = ("total",)

    def update_state(self, values: Any, sample_weight: Any = None, mask: Any = None) -> None:  # type: ignore[override]
        values = np.asarray(values, np.float64)
        weights = self._weights(values.shape, sample_weight, mask)
        self.total += float((values if weights is None else np.where(weights != 0, values, 0) * weights).sum())

    def result(self) -> float:
        return float(self.total)


class Mean(Metric):
    """Mean of given values: ``update_state(values, sample_weight=None)``.

    Values of any shape.

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.Mean()([1.0, 2.0, 6.0])), 4)
    3.0
    """

    def update_state(self, values: Any, sample_weight: Any = None, mask: Any = None) -> None:  # type: ignore[override]
        values = np.asarray(values, np.float64)
        weights = self._weights(values.shape, sample_weight, mask)
        weights = np.ones(values.shape) if weights is None else weights
        self.total += float((np.where(weights != 0, values, 0) * weights).sum())
        self.count += float(weights.sum())


class FunctionMetric(Metric):
    """The mean of a function of one's own, ``function(y_true, y_pred) -> values``; files leave it out.

    Shapes are those of the function.

    Parameters
    ----------
    function : callable

    Examples
    --------
    >>> from rnnx import metrics
    >>> metric = metrics.FunctionMetric(lambda y_true, y_pred: abs(y_true - y_pred))
    >>> round(float(metric([[1.0, 2.0], [3.0, 5.0]], [[1.0, 3.0], [2.0, 5.0]])), 4)
    0.5
    """

    function: Any

    def __init__(self, function: Any, name: str | None = None, dtype: Any = None):
        if not callable(function):
            raise TypeError(f"{type(self).__name__}: a function is needed, got {function!r:.100}")
        vars(self)["function"] = function
        self.direction = getattr(function, "direction", None)
        super().__init__(name or snake_case(re.sub(r"\W+", "", getattr(function, "__name__", ""))) or None, dtype)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return np.asarray(self.function(y_true, y_pred))

    def get_config(self) -> dict[str, Any]:
        raise TypeError(f"metric {self.name!r} is a function, which a file cannot hold")


class MeanMetricWrapper(FunctionMetric):
    """The mean of ``fn(y_true, y_pred, **kwargs)``.

    Shapes are those of the function.

    Parameters
    ----------
    fn : callable, or the name of one of `rnnx.losses` or `rnnx.metrics`
    name : str, optional
    dtype : dtype, optional

    Examples
    --------
    >>> from rnnx import metrics
    >>> metrics.MeanMetricWrapper("mean_squared_error")([[1.0, 2.0]], [[1.0, 4.0]])
    2.0
    """

    not_attributes = frozenset({"fn", "function"})

    def arguments_now(self) -> dict[str, Any]:
        return {"fn": self.function, "name": self.name, "dtype": self.dtype, **self.kwargs}

    def __init__(self, fn: Any, name: str | None = None, dtype: Any = None, **kwargs: Any):
        if isinstance(fn, str):
            if fn not in FUNCTIONS:
                raise ValueError(
                    f"{type(self).__name__}: `fn` must be a function or one of {', '.join(FUNCTIONS)}, got {fn!r}"
                )
            fn = FUNCTIONS[fn]
        self.kwargs = kwargs
        super().__init__(fn, name, dtype)
        if hasattr(fn, "loss"):
            self.direction = "down"

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return np.asarray(self.function(y_true, y_pred, **self.kwargs))

    def get_config(self) -> dict[str, Any]:
        name = getattr(self.function, "__name__", None)
        if FUNCTIONS.get(name) is not self.function:
            return super().get_config()
        return {"fn": name, "name": self.name, "dtype": self.dtype.name, **self.kwargs}


FUNCTIONS: dict[Any, Any] = dict(losses.names.FUNCTIONS)  # by name; those of metrics are added where they are


class LossMetric(Metric):
    """A loss as a metric: its mean over everything that counts.

    Shapes are those of the loss.

    Parameters
    ----------
    loss : Loss or name

    Examples
    --------
    >>> from rnnx import metrics
    >>> round(float(metrics.LossMetric("mse")([[1.0, 2.0], [3.0, 5.0]], [[1.0, 3.0], [2.0, 5.0]])), 4)
    0.5
    """

    direction: str | None = "down"
    not_attributes = frozenset({"from_logits", "label_smoothing", "ignore_class", "axis"})

    def arguments_now(self) -> dict[str, Any]:
        known = self.not_attributes & inspect.signature(type(self)).parameters.keys() & arguments_of(type(self.loss))
        return {**super().arguments_now(), **{word: getattr(self.loss, word) for word in known}}

    def __init__(self, loss: Any, name: str | None = None, dtype: Any = None):
        self.loss = losses.loss_of(loss)
        super().__init__(name or snake_case(type(self.loss).__name__), dtype)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        found: Array = self.loss.each(y_true, y_pred)
        return found

    def get_config(self) -> dict[str, Any]:
        own = {"name": self.name, "dtype": self.dtype.name}
        if type(self) is LossMetric:
            return {"loss": losses.serialize(self.loss), **own}
        of_loss = self.loss.get_config()
        taken = ("from_logits", "label_smoothing", "ignore_class", "axis")
        return {**own, **{word: of_loss[word] for word in taken if word in of_loss}}


class OfLoss(LossMetric):
    """Base of the losses that are metrics without arguments of their own.

    Attributes
    ----------
    of : str
        The name of the loss.
    """

    of: str

    def __init__(self, name: str | None = None, dtype: Any = None):
        super().__init__(self.of, name, dtype)
