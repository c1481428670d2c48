"""The base of all losses: targets that fit, weights, masks and reductions around the values of a loss."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._config import Configurable
from rnnx._typing import Array

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


def blank(y_true: Array, counted: Array) -> Array:
    """Targets with zeros where they do not count, so that padding may hold anything."""
    if y_true.shape[: counted.ndim] != counted.shape or counted.all():
        return y_true
    return np.where(counted.reshape(counted.shape + (1,) * (y_true.ndim - counted.ndim)), y_true, 0)
