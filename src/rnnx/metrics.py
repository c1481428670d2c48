"""Figures that are averaged over an epoch, under Keras' names."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx import initializers, losses
from rnnx._config import Configurable, lookup, serialize
from rnnx._typing import Array
from rnnx.functional._products import product

__all__ = [
    "AUC", "Accuracy", "BinaryAccuracy", "BinaryCrossentropy", "CategoricalAccuracy", "CategoricalCrossentropy",
    "FunctionMetric", "LossMetric", "Mean", "MeanAbsoluteError", "MeanSquaredError", "Metric", "Perplexity",
    "Precision", "Recall", "RootMeanSquaredError", "SparseCategoricalAccuracy", "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy", "TopKCategoricalAccuracy", "get", "serialize",
]  # fmt: skip


class MetricVariable(np.lib.mixins.NDArrayOperatorsMixin):
    """What a metric of one's own keeps: an array with ``assign``, for arithmetic like any array.

    Parameters
    ----------
    value : array
    name : str, optional
    """

    def __init__(self, value: Array, name: str | None = None):
        self.value, self.name = value, name or "variable"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.value.dtype

    def assign(self, value: Any) -> None:
        """Replace the value by one of the same shape."""
        array = np.array(value, self.value.dtype)
        if array.shape != self.value.shape:
            raise ValueError(f"{self.name}: the value must have shape {self.value.shape}, got {array.shape}")
        self.value = array

    def assign_add(self, value: Any) -> None:
        """Add to the value."""
        self.assign(self.value + np.asarray(value))

    def assign_sub(self, value: Any) -> None:
        """Subtract from the value."""
        self.assign(self.value - np.asarray(value))

    def numpy(self) -> Array:
        """A copy of the value."""
        return self.value.copy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.value, dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        values = [part.value if isinstance(part, MetricVariable) else part for part in inputs]
        if (out := options.pop("out", None)) is None:
            return getattr(ufunc, method)(*values, **options)
        arrays = tuple(part.value if isinstance(part, MetricVariable) else part for part in out)
        getattr(ufunc, method)(*values, out=arrays, casting="unsafe", **options)
        return out[0]

    def __getitem__(self, which: Any) -> Any:
        return self.value[which]

    def __len__(self) -> int:
        return len(self.value)

    def __float__(self) -> float:
        return float(self.value)

    def __int__(self) -> int:
        return int(self.value)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __repr__(self) -> str:
        return f"<MetricVariable name={self.name}, value={self.value!r}>"


class Metric(Configurable):
    """Base of the metrics: ``update_state`` for each batch, then ``result``.

    A metric of one's own implements ``values(y_true, y_pred)``, whose weighted mean it is then, or ``update_state`` and
    ``result`` with what it keeps in `add_weight`; a time mask comes as ``mask`` if ``update_state`` has this argument,
    else as weights of 0 and 1.

    Attributes
    ----------
    direction : {"up", "down", None}
        Whether more or less is better, for callbacks that watch the metric with ``mode="auto"``; None if it does not
        say.
    """

    direction: str | None = None
    total: Any
    count: Any

    def __init__(self, name: str | None = None, dtype: Any = None):
        self.name = name or _snake(type(self).__name__)
        self.dtype = np.dtype("float32" if dtype is None else dtype)
        self.variables: list[MetricVariable] = []
        Metric.reset_state(self)
        try:
            self.reset_state()
        except (AttributeError, TypeError):
            if type(self).__init__ is Metric.__init__:
                raise
            # One of its own that needs what the constructor of the subclass makes; it starts fresh anyway.

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update({"dtype": np.dtype("float32"), "variables": [], **state})  # of 0.1.0 there were none

    def reset_state(self) -> None:
        """Start again."""
        for name in ("total", "count"):
            if not isinstance(getattr(self, name, None), MetricVariable):  # a subclass may keep its own under this name
                setattr(self, name, 0.0)
        for variable in self.variables:
            variable.assign(np.zeros(variable.shape))

    def add_weight(
        self, shape: Any = (), initializer: Any = None, dtype: Any = None, name: str | None = None
    ) -> MetricVariable:
        """A number or array that a metric of one's own keeps; zeros if no initializer is given, and after a reset.

        Parameters
        ----------
        shape : tuple of int
            Or the name, as in Keras 2.
        initializer : str or Initializer, optional
        dtype : dtype, optional
        name : str, optional
        """
        if isinstance(shape, str):
            shape, name = (), shape
        made = initializers.get("zeros" if initializer is None else initializer)(tuple(shape), dtype="float32")
        variable = MetricVariable(np.array(made, self.dtype if dtype is None else dtype), name)
        self.variables.append(variable)
        return variable

    def add_variable(
        self, shape: Any, initializer: Any = None, dtype: Any = None, aggregation: Any = None, name: str | None = None
    ) -> MetricVariable:
        """The same under its name in Keras 3."""
        return self.add_weight(shape, initializer, dtype, name)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None, mask: Any = None) -> None:
        """Take a batch into account; masked values do not count.

        Weights have the axes of the values, or the first of them: one for each sample, or for each step.

        Raises
        ------
        ValueError
            If ``sample_weight`` does not fit the values.
        """
        y_true, y_pred = np.asarray(y_true), np.asarray(y_pred)
        for given in (sample_weight, mask):
            if given is not None and np.shape(given) == y_pred.shape[:-1]:
                y_true = losses.blank(y_true, np.asarray(given) != 0)
        values = self.values(y_true, y_pred)
        weights = self._weights(values.shape, sample_weight, mask)
        if weights is None:
            self.total += float(values.sum(dtype=np.float64))
            self.count += values.size
        else:
            self.total += float((np.where(weights != 0, values, 0) * weights).sum(dtype=np.float64))
            self.count += float(weights.sum())

    def values(self, y_true: Array, y_pred: Array) -> Array:
        """One value for each prediction (without the last axis)."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its values are")

    def _weights(self, shape: tuple[int, ...], sample_weight: Any, mask: Any) -> Array | None:
        """One weight for each value; None if all count the same."""
        weights: Array | None = None
        for given, needed in ((sample_weight, True), (mask, False)):
            if given is None:
                continue
            array = np.asarray(given, np.float64)
            if array.ndim == len(shape) + 1 and array.shape[-1] == 1:
                array = array[..., 0]
            if array.ndim > len(shape) and not needed:
                continue  # a time mask does not concern one value for each sequence
            if array.ndim > len(shape) or any(a not in (1, b) for a, b in zip(array.shape, shape, strict=False)):
                raise ValueError(
                    f"{self.name}: `{'sample_weight' if needed else 'mask'}` must fit values of shape {shape}: the "
                    f"same axes or the first of them, got {np.shape(given)}"
                )
            array = np.broadcast_to(array.reshape(array.shape + (1,) * (len(shape) - array.ndim)), shape)
            weights = array if weights is None else weights * array
        return weights

    def result(self) -> float:
        """The value so far; 0 if nothing was counted."""
        return self.total / self.count if self.count else 0.0

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> float:
        self.update_state(y_true, y_pred, sample_weight)
        return self.result()


def _snake(name: str) -> str:
    return "".join(
        ("_" if k and c.isupper() and not name[k - 1].isupper() else "") + c.lower() for k, c in enumerate(name)
    )


class Mean(Metric):
    """Mean of given values: ``update_state(values, sample_weight=None)``."""

    def update_state(self, y_true: Any, y_pred: Any = None, sample_weight: Any = None, mask: Any = None) -> None:
        values = np.asarray(y_true, np.float64)
        weights = self._weights(values.shape, sample_weight, mask)
        weights = np.ones(values.shape) if weights is None else weights
        self.total += float((np.where(weights != 0, values, 0) * weights).sum())
        self.count += float(weights.sum())


class Accuracy(Metric):
    """Share of equal values."""

    direction = "up"

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return (_same_rank(self.name, y_true, y_pred) == y_pred).astype(np.float64)


class BinaryAccuracy(Metric):
    """Share of predictions on the right side of ``threshold`` for a target of 0 or 1, each with its own weight."""

    direction = "up"

    def __init__(self, name: str | None = None, threshold: float = 0.5):
        super().__init__(name)
        self.threshold = float(threshold)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return (_same_rank(self.name, y_true, y_pred) == (y_pred > self.threshold)).astype(np.float64)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "threshold": self.threshold}


def _one_hot_classes(who: str, y_true: Array, y_pred: Array) -> Array:
    """The classes of one-hot targets."""
    if y_true.shape != y_pred.shape:
        raise ValueError(
            f"{who}: `y_true` must be one-hot, of the shape of `y_pred` {y_pred.shape}, got {y_true.shape}; classes "
            "need the sparse metric, or to_categorical(y)"
        )
    classes: Array = y_true.argmax(axis=-1)
    return classes


class CategoricalAccuracy(Metric):
    """Share of largest predictions at the largest target."""

    direction = "up"

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return (_one_hot_classes(self.name, y_true, y_pred) == y_pred.argmax(axis=-1)).astype(np.float64)


class SparseCategoricalAccuracy(Metric):
    """Share of largest predictions at the target class."""

    direction = "up"

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return (_classes(self.name, y_true, y_pred) == y_pred.argmax(axis=-1)).astype(np.float64)


class TopKCategoricalAccuracy(Metric):
    """Share of targets among the ``k`` largest predictions."""

    direction = "up"

    def __init__(self, k: int = 5, name: str | None = None):
        super().__init__(name)
        self.k = int(k)

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return _in_top(_one_hot_classes(self.name, y_true, y_pred), y_pred, self.k)

    def get_config(self) -> dict[str, Any]:
        return {"k": self.k, "name": self.name}


class SparseTopKCategoricalAccuracy(TopKCategoricalAccuracy):
    """The same for integer classes."""

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return _in_top(_classes(self.name, y_true, y_pred), y_pred, self.k)


def _in_top(classes: Array, y_pred: Array, k: int) -> Array:
    chosen = np.take_along_axis(y_pred, classes[..., None].astype(np.int64), axis=-1)
    return ((y_pred > chosen).sum(axis=-1) < k).astype(np.float64)


def _classes(who: str, y_true: Array, y_pred: Array) -> Array:
    """Classes, from those with a last axis of size 1 too."""
    if y_true.ndim == y_pred.ndim and y_true.shape[-1] == 1:
        y_true = y_true[..., 0]
    if y_true.shape != y_pred.shape[:-1]:
        raise ValueError(
            f"{who}: `y_true` must be classes of shape {y_pred.shape[:-1]}, got {y_true.shape}; one-hot targets need "
            "the metric that is not sparse, or y.argmax(-1)"
        )
    return y_true


def _same_rank(who: str, y_true: Array, y_pred: Array) -> Array:
    """Targets with the axes of the predictions, which may have one of size 1 more or less."""
    if y_true.ndim == y_pred.ndim - 1 and y_pred.shape[-1] == 1:
        y_true = y_true[..., None]
    elif y_true.ndim == y_pred.ndim + 1 and y_true.shape[-1] == 1:
        y_true = y_true[..., 0]
    if y_true.shape != y_pred.shape:
        hint = "; classes need to_categorical(y)" if y_true.ndim < y_pred.ndim else ""
        raise ValueError(f"{who}: `y_true` must have the shape of `y_pred` {y_pred.shape}, got {y_true.shape}{hint}")
    return y_true


class LossMetric(Metric):
    """A loss as a metric: its mean over everything that counts.

    Parameters
    ----------
    loss : Loss or name
    """

    direction: str | None = "down"

    def __init__(self, loss: Any, name: str | None = None):
        self.loss = losses.get(loss)
        super().__init__(name or _snake(type(self.loss).__name__))

    def values(self, y_true: Array, y_pred: Array) -> Array:
        if y_pred.ndim == 1:  # one number for each sample, as the losses see it
            y_true, y_pred = y_true[..., None], y_pred[:, None]
        return self.loss.values(self.loss.align(y_true, y_pred), y_pred)[0]

    def get_config(self) -> dict[str, Any]:
        if type(self) is LossMetric:
            return {"loss": losses.serialize(self.loss), "name": self.name}
        of_loss = self.loss.get_config()
        return {"name": self.name, **{k: of_loss[k] for k in ("from_logits", "label_smoothing") if k in of_loss}}


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


class MeanSquaredError(LossMetric):
    """Mean squared error."""

    def __init__(self, name: str | None = None):
        super().__init__("mse", name)


class RootMeanSquaredError(MeanSquaredError):
    """Root of the mean squared error; every number has its own weight."""

    def __init__(self, name: str | None = None):
        super().__init__(name or "root_mean_squared_error")

    def values(self, y_true: Array, y_pred: Array) -> Array:
        return np.square(self.loss.align(y_true, y_pred) - y_pred)

    def result(self) -> float:
        return float(np.sqrt(super().result()))


class MeanAbsoluteError(LossMetric):
    """Mean absolute error."""

    def __init__(self, name: str | None = None):
        super().__init__("mae", name)


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
        truth, guess = _same_rank(self.name, np.asarray(y_true), y_pred) > 0.5, y_pred > self.thresholds
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
        self._truth.append((_same_rank(self.name, np.asarray(y_true), y_pred) > 0.5).reshape(-1))
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


_TABLE: dict[str, Any] = {
    cls.__name__: cls
    for cls in (
        AUC, Accuracy, BinaryAccuracy, BinaryCrossentropy, CategoricalAccuracy, CategoricalCrossentropy, Mean,
        MeanAbsoluteError, MeanSquaredError, Perplexity, Precision, Recall, RootMeanSquaredError,
        SparseCategoricalAccuracy, SparseCategoricalCrossentropy, SparseTopKCategoricalAccuracy,
        TopKCategoricalAccuracy, LossMetric,
    )
}  # fmt: skip
_TABLE.update({_snake(name): cls for name, cls in _TABLE.items()})
_TABLE.update(mse=MeanSquaredError, mae=MeanAbsoluteError, auc=AUC, rmse=RootMeanSquaredError)


def get(identifier: Any) -> Any:
    """The metric of a name, a configuration or an object; a loss's name gives that loss as a metric.

    Examples
    --------
    >>> from rnnx import metrics
    >>> metrics.get("mse").name
    'mean_squared_error'
    """
    if isinstance(identifier, losses.Loss):
        return LossMetric(identifier)
    if isinstance(identifier, str) and identifier not in _TABLE:
        try:
            return LossMetric(identifier)
        except ValueError:
            pass
    if callable(identifier) and not isinstance(identifier, type) and not hasattr(identifier, "update_state"):
        return FunctionMetric(identifier)
    return lookup("metric", _TABLE, identifier)


def direction_of(name: str) -> str | None:
    """Whether "up" or "down" is better for what has exactly this name here; None for any other name."""
    if name in ("accuracy", "acc"):
        return "up"
    kind = _TABLE.get(name)
    if kind is None:
        return "down" if name in losses._TABLE else None
    direction: str | None = kind.direction
    return direction


def choose_accuracy(loss: Any, y_true: Array, y_pred: Array, name: str) -> Metric:
    """The accuracy that "accuracy" stands for, as Keras chooses it from the shapes."""
    if y_pred.shape[-1] == 1 or isinstance(loss, losses.BinaryCrossentropy):
        threshold = 0.0 if getattr(loss, "from_logits", False) else 0.5
        return BinaryAccuracy(name, threshold) if not threshold else BinaryAccuracy(name)
    sparse = y_true.ndim < y_pred.ndim or (y_true.shape[-1] == 1 and y_pred.shape[-1] > 1)
    return SparseCategoricalAccuracy(name) if sparse else CategoricalAccuracy(name)
