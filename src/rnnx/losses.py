"""Losses with their gradients, under Keras' names and with Keras' reductions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx._config import Configurable, lookup, serialize
from rnnx._typing import Array

__all__ = [
    "BinaryCrossentropy", "CategoricalCrossentropy", "Huber", "KLDivergence", "LogCosh", "Loss", "MeanAbsoluteError",
    "MeanSquaredError", "Poisson", "SparseCategoricalCrossentropy", "get", "serialize",
]  # fmt: skip

EPSILON = 1e-7
REDUCTIONS = ("sum_over_batch_size", "mean", "mean_with_sample_weight", "sum", "none", None)


class Loss(Configurable):
    """Base of the losses: one value for each vector along the last axis, then a reduction.

    Parameters
    ----------
    reduction : {"sum_over_batch_size", "mean", "mean_with_sample_weight", "sum", "none", None}
        The first two divide the weighted sum by the number of values, the third by the sum of the weights.
    """

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str | None = None):
        if reduction not in REDUCTIONS:
            raise ValueError(f"{type(self).__name__}: `reduction` must be one of {REDUCTIONS}, got {reduction!r}")
        self.reduction = reduction
        self.name = name

    def values(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        """Loss of each vector along the last axis of ``y_pred``, and its slope, shaped as ``y_pred``."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its values are")

    def align(self, y_true: Any, y_pred: Array) -> Array:
        """The targets as an array that fits the predictions.

        Raises
        ------
        ValueError
            If it cannot be made to fit.
        """
        y = np.asarray(y_true)
        if y.ndim == y_pred.ndim - 1 and y_pred.shape[-1] == 1:
            y = y[..., None]
        elif y.ndim == y_pred.ndim + 1 and y.shape[-1] == 1:
            y = y[..., 0]
        if y.shape != y_pred.shape:
            raise ValueError(
                f"{type(self).__name__}: `y_true` must have the shape of `y_pred` {y_pred.shape}, got {y.shape}"
            )
        return y.astype(y_pred.dtype, copy=False)

    def valid(self, y_true: Array) -> Array | None:
        """Which values count by their (aligned) targets, a bool array; None if all do."""
        return None

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None, mask: Any = None) -> Any:
        """The loss.

        Parameters
        ----------
        y_true, y_pred : arrays
        sample_weight : array, optional
            Of the shape of the values, or with fewer axes (one weight for each sample).
        mask : bool array, optional
            Values that count; predictions and targets of the others may be anything, NaN included.

        Returns
        -------
        float, or the array of values with reduction "none"
        """
        return self.value_and_grad(y_true, y_pred, sample_weight, mask)[0]

    def value_and_grad(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None, mask: Any = None
    ) -> tuple[Any, Array]:
        """The loss and its gradient with respect to ``y_pred``; see `__call__`."""
        y_pred = np.asarray(y_pred)
        for name, given in (("y_true", np.asarray(y_true)), ("y_pred", y_pred)):
            if given.dtype.kind not in "fiub":
                raise TypeError(f"{type(self).__name__}: `{name}` must be real numbers, got dtype {given.dtype}")
        if y_pred.dtype.kind != "f":
            y_pred = y_pred.astype(np.float32)
        if y_pred.ndim == 0:
            raise ValueError(f"{type(self).__name__}: `y_pred` must have at least one axis")
        if y_pred.ndim == 1:
            value, slope = self.value_and_grad(np.asarray(y_true)[..., None], y_pred[:, None], sample_weight, mask)
            return value, slope[:, 0]
        shape = y_pred.shape[:-1]
        weights = self._weights(shape, sample_weight, mask)
        targets = self.align(y_true if weights is None else blank(np.asarray(y_true), weights != 0), y_pred)
        valid = self.valid(targets)
        if valid is not None:
            mask = valid if mask is None else valid & self._broadcast("mask", np.asarray(mask, bool), shape)
            weights = self._weights(shape, sample_weight, mask)
        values, slope = self.values(targets, y_pred)
        if weights is None:
            share = np.ones((), np.float64)
            total = float(values.sum(dtype=np.float64))
            mass = float(values.size)
        else:
            counted = weights != 0
            values = np.where(counted, values, 0) * weights
            slope = np.where(counted[..., None], slope, 0)
            share, total = weights, float(values.sum(dtype=np.float64))
            mass = float(
                weights.sum() if mask is not None else np.sum(sample_weight, dtype=np.float64)
            )  # as given, not broadcast
        if self.reduction in ("none", None):
            return values.astype(y_pred.dtype), (slope * share[..., None]).astype(y_pred.dtype)
        divisor = 1.0
        if self.reduction != "sum":
            divisor = mass or 1.0 if self.reduction == "mean_with_sample_weight" else max(1.0, float(values.size))
        scale = np.asarray(share / divisor, y_pred.dtype)[..., None]
        return total / divisor, (slope * scale).astype(y_pred.dtype, copy=False)

    def _weights(self, shape: tuple[int, ...], sample_weight: Any, mask: Any) -> Array | None:
        """One weight for each value; a mask scales the others up so that a mean is one over what counts."""
        weights: Array | None = None
        if sample_weight is not None:
            weights = self._broadcast("sample_weight", np.asarray(sample_weight, np.float64), shape)
        if mask is not None:
            valid = self._broadcast("mask", np.asarray(mask, bool), shape)
            scale = 1.0 if self.reduction in ("sum", "none", None) else valid.size / max(1, int(valid.sum()))
            weights = np.where(valid, scale if weights is None else weights * scale, 0.0)
        return weights

    def _broadcast(self, name: str, given: Array, shape: tuple[int, ...]) -> Array:
        if given.ndim == len(shape) + 1 and given.shape[-1] == 1:
            given = given[..., 0]
        if given.ndim > len(shape) or any(got not in (1, want) for got, want in zip(given.shape, shape, strict=False)):
            raise ValueError(f"{type(self).__name__}: `{name}` must fit values of shape {shape}, got {given.shape}")
        return np.broadcast_to(given.reshape(given.shape + (1,) * (len(shape) - given.ndim)), shape)

    def get_config(self) -> dict[str, Any]:
        return {"reduction": self.reduction}


class MeanSquaredError(Loss):
    """Mean over the last axis of ``(y_pred - y_true)^2``."""

    def values(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        d = y_pred - y_true
        return np.square(d).mean(axis=-1), d * np.asarray(2 / d.shape[-1], d.dtype)


class MeanAbsoluteError(Loss):
    """Mean over the last axis of ``|y_pred - y_true|``."""

    def values(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        d = y_pred - y_true
        return np.abs(d).mean(axis=-1), np.sign(d) / np.asarray(d.shape[-1], d.dtype)


class Huber(Loss):
    """Squared near 0 and linear beyond ``delta``.

    References
    ----------
    .. [1] P. Huber, "Robust estimation of a location parameter", Ann. Math. Statist. 35, 1964.
    """

    def __init__(self, delta: float = 1.0, reduction: str | None = "sum_over_batch_size", name: str | None = None):
        super().__init__(reduction, name)
        if not delta > 0:
            raise ValueError(f"Huber: `delta` must be positive, got {delta}")
        self.delta = float(delta)

    def values(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        d, delta = y_pred - y_true, np.asarray(self.delta, y_pred.dtype)
        size = np.abs(d)
        loss = np.where(size <= delta, np.square(d) / 2, delta * size - np.square(delta) / 2)
        return loss.mean(axis=-1), np.clip(d, -delta, delta) / np.asarray(d.shape[-1], d.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "delta": self.delta}


class LogCosh(Loss):
    """Mean over the last axis of ``log(cosh(y_pred - y_true))``."""

    def values(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        d = y_pred - y_true
        size = np.abs(d)
        loss = size + np.log1p(np.exp(-2 * size)) - np.asarray(np.log(2), d.dtype)
        return loss.mean(axis=-1), np.tanh(d) / np.asarray(d.shape[-1], d.dtype)


class Poisson(Loss):
    """Mean over the last axis of ``y_pred - y_true * log(y_pred)``."""

    def values(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        shifted = y_pred + np.asarray(EPSILON, y_pred.dtype)
        loss = y_pred - y_true * np.log(shifted)
        return loss.mean(axis=-1), (1 - y_true / shifted) / np.asarray(y_pred.shape[-1], y_pred.dtype)


class KLDivergence(Loss):
    """Sum over the last axis of ``y_true * log(y_true / y_pred)``."""

    def values(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        p, q = np.clip(y_true, EPSILON, 1), np.clip(y_pred, EPSILON, 1)
        inside = (y_pred >= EPSILON) & (y_pred <= 1)
        return (p * np.log(p / q)).sum(axis=-1), np.where(inside, -p / q, 0)


class Crossentropy(Loss):
    """What the three cross-entropies share."""

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ):
        super().__init__(reduction, name)
        who = type(self).__name__
        if axis != -1:
            raise ValueError(f"{who}: only the last axis (-1) is supported, got {axis}")
        if not 0 <= label_smoothing <= 1:
            raise ValueError(f"{who}: `label_smoothing` must lie in [0, 1], got {label_smoothing}")
        self.from_logits, self.label_smoothing = bool(from_logits), float(label_smoothing)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "from_logits": self.from_logits, "label_smoothing": self.label_smoothing}


class BinaryCrossentropy(Crossentropy):
    """Cross-entropy of independent yes/no targets; mean over the last axis.

    Parameters
    ----------
    from_logits : bool
        Whether predictions come before the sigmoid.
    label_smoothing : float
        Moves targets towards 0.5.
    """

    def values(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        t = y_true * (1 - self.label_smoothing) + 0.5 * self.label_smoothing
        t = t.astype(y_pred.dtype, copy=False)
        width = np.asarray(y_pred.shape[-1], y_pred.dtype)
        if self.from_logits:
            e = np.exp(-np.abs(y_pred))
            loss = np.maximum(y_pred, 0) - y_pred * t + np.log1p(e)
            return loss.mean(axis=-1), (np.where(y_pred < 0, e, 1) / (1 + e) - t) / width
        p, inside = _clipped(y_pred)
        loss = -(t * np.log(p) + (1 - t) * np.log(1 - p))
        return loss.mean(axis=-1), np.where(inside, (p - t) / (p * (1 - p)), 0) / width


class CategoricalCrossentropy(Crossentropy):
    """Cross-entropy with a distribution (one-hot or soft) over the last axis.

    Parameters
    ----------
    from_logits : bool
        Whether predictions come before the softmax.
    label_smoothing : float
        Moves targets towards the uniform distribution.
    """

    def values(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        t = y_true
        if self.label_smoothing:
            t = (t * (1 - self.label_smoothing) + self.label_smoothing / t.shape[-1]).astype(y_pred.dtype)
        log_p, back = _log_probabilities(y_pred, self.from_logits)
        return -(t * log_p).sum(axis=-1), back(-t)


class SparseCategoricalCrossentropy(Crossentropy):
    """Cross-entropy with integer classes.

    Parameters
    ----------
    from_logits : bool
    ignore_class : int, optional
        Targets of this class do not count; a mean is one over the others.
    """

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ):
        super().__init__(from_logits, 0.0, axis, reduction, name)
        self.ignore_class = ignore_class

    def align(self, y_true: Any, y_pred: Array) -> Array:
        y = np.asarray(y_true)
        if y.ndim == y_pred.ndim and y.shape[-1] == 1:
            y = y[..., 0]
        if y.shape != y_pred.shape[:-1]:
            raise ValueError(
                f"SparseCategoricalCrossentropy: `y_true` must be classes of shape {y_pred.shape[:-1]}, got {y.shape}"
            )
        if y.dtype.kind not in "fiub":
            raise TypeError(
                f"SparseCategoricalCrossentropy: `y_true` must be the numbers of classes, got dtype {y.dtype}; "
                "np.unique(y, return_inverse=True)[1] gives them"
            )
        if y.dtype.kind not in "iub" and not np.array_equal(y, np.trunc(y)):
            raise ValueError(f"SparseCategoricalCrossentropy: `y_true` must be whole numbers, got {y.dtype}")
        y = y.astype(np.int64)
        counted = y if self.ignore_class is None else y[y != self.ignore_class]
        if counted.size and (counted.min() < 0 or counted.max() >= y_pred.shape[-1]):
            bad = int(counted.min()) if counted.min() < 0 else int(counted.max())
            raise ValueError(f"SparseCategoricalCrossentropy: classes must lie in 0..{y_pred.shape[-1] - 1}, got {bad}")
        return y

    def valid(self, y_true: Array) -> Array | None:
        return None if self.ignore_class is None else y_true != self.ignore_class

    def values(self, y_true: Array, y_pred: Array) -> tuple[Array, Array]:
        ignored = None if self.ignore_class is None else y_true == self.ignore_class
        index = (y_true if ignored is None else np.where(ignored, 0, y_true))[..., None]
        loss, slope = (_of_class_from_logits if self.from_logits else _of_class)(y_pred, index)
        if ignored is not None:
            loss, slope = np.where(ignored, 0, loss), np.where(ignored[..., None], 0, slope)
        return loss, slope

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["label_smoothing"]
        return {**config, "ignore_class": self.ignore_class}


def blank(y_true: Array, counted: Array) -> Array:
    """Targets with zeros where they do not count, so that padding may hold anything."""
    if y_true.shape[: counted.ndim] != counted.shape or counted.all():
        return y_true
    return np.where(counted.reshape(counted.shape + (1,) * (y_true.ndim - counted.ndim)), y_true, 0)


def _clipped(p: Array) -> tuple[Array, Array]:
    """Probabilities kept away from 0 and 1, and where they were inside anyway."""
    low, high = np.asarray(EPSILON, p.dtype), np.asarray(1 - EPSILON, p.dtype)
    return np.clip(p, low, high), (p >= low) & (p <= high)


def _log_probabilities(y_pred: Array, from_logits: bool) -> tuple[Array, Callable[[Array], Array]]:
    """Logarithms of the (normalised) probabilities, and their pullback."""
    if from_logits:
        shifted = y_pred - y_pred.max(axis=-1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
        return log_p, lambda d: d - np.exp(log_p) * d.sum(axis=-1, keepdims=True)
    total = y_pred.sum(axis=-1, keepdims=True)
    q = y_pred / total
    p, inside = _clipped(q)

    def back(d: Array) -> Array:
        dq = np.where(inside, d / p, 0)
        return (dq - (dq * q).sum(axis=-1, keepdims=True)) / total

    return np.log(p), back


def _of_class_from_logits(y_pred: Array, index: Array) -> tuple[Array, Array]:
    """Cross-entropy with the class ``index`` of each row, and its slope, without a one-hot row."""
    shifted = y_pred - y_pred.max(axis=-1, keepdims=True)
    of_class = np.take_along_axis(shifted, index, axis=-1)
    slope = np.exp(shifted, out=shifted)
    total = slope.sum(axis=-1, keepdims=True)
    slope /= total
    np.put_along_axis(slope, index, np.take_along_axis(slope, index, axis=-1) - 1, axis=-1)
    return (np.log(total) - of_class)[..., 0], slope


def _of_class(y_pred: Array, index: Array) -> tuple[Array, Array]:
    """The same for probabilities, which are normalised first."""
    total = y_pred.sum(axis=-1, keepdims=True)
    q = np.take_along_axis(y_pred, index, axis=-1) / total
    p, inside = _clipped(q)
    dq = np.where(inside, -1 / p, 0)
    slope = np.empty_like(y_pred)
    slope[...] = -dq * q / total
    np.put_along_axis(slope, index, (dq - dq * q) / total, axis=-1)
    return -np.log(p)[..., 0], slope


_TABLE: dict[str, Any] = {
    cls.__name__: cls
    for cls in (
        BinaryCrossentropy, CategoricalCrossentropy, Huber, KLDivergence, LogCosh, MeanAbsoluteError, MeanSquaredError,
        Poisson, SparseCategoricalCrossentropy,
    )
}  # fmt: skip
_TABLE.update(
    mse=MeanSquaredError, mean_squared_error=MeanSquaredError, mae=MeanAbsoluteError, huber=Huber, log_cosh=LogCosh,
    mean_absolute_error=MeanAbsoluteError, logcosh=LogCosh, kld=KLDivergence, kl_divergence=KLDivergence,
    poisson=Poisson, bce=BinaryCrossentropy, binary_crossentropy=BinaryCrossentropy,
    categorical_crossentropy=CategoricalCrossentropy, sparse_categorical_crossentropy=SparseCategoricalCrossentropy,
    MSE=MeanSquaredError, MAE=MeanAbsoluteError,
)  # fmt: skip


def get(identifier: Any) -> Any:
    """The loss of a name, a configuration or an object.

    Examples
    --------
    >>> from rnnx import losses
    >>> losses.get("mse")([[0.0, 2.0]], [[1.0, 2.0]])
    0.5
    """
    found = lookup("loss", _TABLE, identifier)
    if found is not None and not hasattr(found, "value_and_grad"):
        raise TypeError(
            f"loss: a function has no gradient here, got {identifier!r}; derive from rnnx.losses.Loss and implement "
            "`values(y_true, y_pred)`, which returns the values and their slopes"
        )
    return found
