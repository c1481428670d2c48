"""Constraints on weights, applied after every update, under Keras' names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnx._config import Configurable, lookup, refuse_overrides, serialize
from rnnx._typing import Array

__all__ = [
    "Constraint",
    "MaxNorm",
    "MinMaxNorm",
    "NonNeg",
    "UnitNorm",
    "deserialize",
    "get",
    "max_norm",
    "min_max_norm",
    "non_neg",
    "serialize",
    "unit_norm",
]

EPSILON = 1e-7


class Constraint(Configurable, family=True):
    """A callable ``constraint(w) -> w`` that keeps shape and dtype."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        refuse_overrides(cls, {"call": "implement `__call__(w)`"})

    def __call__(self, w: Array) -> Array:
        raise NotImplementedError(f"{type(self).__name__} does not say what it allows")


def _norms(w: Array, axis: Any) -> Array:
    return np.sqrt(np.square(w).sum(axis=tuple(axis) if isinstance(axis, list) else axis, keepdims=True))


class MaxNorm(Constraint):
    """Vectors along ``axis`` get at most this length."""

    def __init__(self, max_value: float = 2, axis: int | Sequence[int] = 0):
        self.max_value, self.axis = max_value, axis

    def __call__(self, w: Array) -> Array:
        norms = _norms(w, self.axis)
        return w * (np.clip(norms, 0, self.max_value) / (EPSILON + norms)).astype(w.dtype)

    def get_config(self) -> dict[str, Any]:
        return {"max_value": self.max_value, "axis": self.axis}


class NonNeg(Constraint):
    """Negative values become 0."""

    def __call__(self, w: Array) -> Array:
        return np.maximum(w, 0)


class UnitNorm(Constraint):
    """Vectors along ``axis`` get length 1."""

    def __init__(self, axis: int | Sequence[int] = 0):
        self.axis = axis

    def __call__(self, w: Array) -> Array:
        return w / (EPSILON + _norms(w, self.axis)).astype(w.dtype)

    def get_config(self) -> dict[str, Any]:
        return {"axis": self.axis}


class MinMaxNorm(Constraint):
    """Lengths along ``axis`` move towards [min_value, max_value] at this rate."""

    def __init__(
        self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: int | Sequence[int] = 0
    ):
        self.min_value, self.max_value, self.rate, self.axis = min_value, max_value, rate, axis

    def __call__(self, w: Array) -> Array:
        norms = _norms(w, self.axis)
        wanted = self.rate * np.clip(norms, self.min_value, self.max_value) + (1 - self.rate) * norms
        return w * (wanted / (EPSILON + norms)).astype(w.dtype)

    def get_config(self) -> dict[str, Any]:
        return {"min_value": self.min_value, "max_value": self.max_value, "rate": self.rate, "axis": self.axis}


max_norm, min_max_norm, non_neg, unit_norm = MaxNorm, MinMaxNorm, NonNeg, UnitNorm
_TABLE = {
    "MaxNorm": MaxNorm, "NonNeg": NonNeg, "UnitNorm": UnitNorm, "MinMaxNorm": MinMaxNorm, "max_norm": MaxNorm,
    "non_neg": NonNeg, "unit_norm": UnitNorm, "min_max_norm": MinMaxNorm,
}  # fmt: skip


def get(identifier: Any) -> Any:
    """The constraint of a name, a configuration or an object; None stays None.

    Parameters
    ----------
    identifier : str, dict, class, callable or None

    Returns
    -------
    callable or None
        ``(weights) -> weights``: a `Constraint`, or what was given

    Raises
    ------
    ValueError
        If there is nothing of this name.

    Examples
    --------
    >>> from rnnx import constraints
    >>> constraints.get("non_neg")
    NonNeg()
    """
    return None if identifier is None else lookup("constraint", _TABLE, identifier, custom=True)


deserialize = get
