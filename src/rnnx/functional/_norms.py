"""Vectors of length 1, and statistics of groups of numbers, with their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array

SHORTEST = 1e-12  # length below which a vector is not made longer, as in Keras


def unit_norm(x: Array, axis: Any) -> Array:
    """The vectors along an axis (or several together) divided by their lengths; those of length 0 stay so.

    Examples
    --------
    >>> import numpy as np
    >>> unit_norm(np.array([[3.0, 4.0], [0.0, 0.0]]), -1)
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    return x * _inverse_length(x, axis)[0]


def unit_norm_backward(x: Array, y: Array, dy: Array, axis: Any) -> Array:
    """Gradient of `unit_norm` with respect to ``x``."""
    inverse, short = _inverse_length(x, axis)
    along = (dy * y).sum(axis=axis, keepdims=True)
    return inverse * (dy - y * np.where(short, np.zeros((), x.dtype), along))


def _inverse_length(x: Array, axis: Any) -> tuple[Array, Array]:
    """One over the length of each vector, and which of them are taken for longer than they are."""
    with np.errstate(divide="ignore"):
        inverse = 1 / np.sqrt(np.square(x).sum(axis=axis, keepdims=True))
    most = np.asarray(1 / SHORTEST, x.dtype)
    return np.minimum(inverse, most), inverse > most
