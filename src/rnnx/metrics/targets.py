"""Targets in the form that a metric compares."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array


def one_hot_classes(who: str, y_true: Array, y_pred: Array) -> Array:
    """The classes of one-hot targets."""
    if y_true.shape != y_pred.shape:
        raise ValueError(
            f"{who}: `y_true` must be one-hot, of the shape of `y_pred` {y_pred.shape}, got {y_true.shape}; classes "
            "need the sparse metric, or to_categorical(y)"
        )
    classes: Array = y_true.argmax(axis=-1)
    return classes


def sparse_classes(who: str, y_true: Array, y_pred: Array) -> Array:
    """Classes, from those with a last axis of size 1 too."""
    if y_true.ndim == y_pred.ndim and y_true.shape[-1] == 1:
        y_true = y_true[..., 0]
    if y_true.shape != y_pred.shape[:-1]:
        raise ValueError(
            f"{who}: `y_true` must be classes of shape {y_pred.shape[:-1]}, got {y_true.shape}; one-hot targets need "
            "the metric that is not sparse, or y.argmax(-1)"
        )
    return y_true


def same_rank(who: str, y_true: Array, y_pred: Array) -> Array:
    """Targets with the axes of the predictions, which may have one of size 1 more or less."""
    if y_true.ndim == y_pred.ndim - 1 and y_pred.shape[-1] == 1:
        y_true = y_true[..., None]
    elif y_true.ndim == y_pred.ndim + 1 and y_true.shape[-1] == 1:
        y_true = y_true[..., 0]
    if y_true.shape != y_pred.shape:
        hint = "; classes need to_categorical(y)" if y_true.ndim < y_pred.ndim else ""
        raise ValueError(f"{who}: `y_true` must have the shape of `y_pred` {y_pred.shape}, got {y_true.shape}{hint}")
    return y_true


def flat_rows(
    metric: Any, y_true: Array, y_pred: Array, sample_weight: Any, mask: Any
) -> tuple[Array, Array, Array | None]:
    """Targets and predictions as rows of one width, and a weight for each number; steps of sequences are rows too.

    What weighs nothing is 0 in both, so that padding may hold anything.
    """
    if y_pred.ndim < 2 or y_true.ndim < 2:
        raise ValueError(
            f"{metric.name}: `y_true` and `y_pred` must have shape (batch, width), or (batch, timesteps, width), got "
            f"{y_true.shape} and {y_pred.shape}"
        )
    weights = metric._weights(y_pred.shape, sample_weight, mask)
    width = y_pred.shape[-1]
    if weights is None:
        return y_true.reshape(-1, width), y_pred.reshape(-1, width), None
    y_true, y_pred = (np.where(weights != 0, y, 0) for y in (y_true, y_pred))
    return y_true.reshape(-1, width), y_pred.reshape(-1, width), weights.reshape(-1, width)
