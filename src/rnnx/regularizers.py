"""Penalties on weights, under Keras' names."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnx._config import Configurable, lookup, serialize

__all__ = ["L1", "L1L2", "L2", "Regularizer", "get", "l1", "l1_l2", "l2", "serialize"]

Array = NDArray[Any]


class Regularizer(Configurable):
    """A callable ``regularizer(w) -> float`` with its gradient ``regularizer.grad(w)``."""

    def __call__(self, w: Array) -> float:
        raise TypeError(f"{type(self).__name__} does not say what its penalty is")

    def grad(self, w: Array) -> Array:
        """Gradient of the penalty; shape and dtype of ``w``."""
        raise TypeError(f"{type(self).__name__} has no gradient: implement `grad(w)`")


class L1L2(Regularizer):
    """``l1 * sum |w| + l2 * sum w^2``."""

    def __init__(self, l1: float = 0.0, l2: float = 0.0):
        for name, value in (("l1", l1), ("l2", l2)):
            if not (np.isfinite(value) and value >= 0):
                raise ValueError(f"{type(self).__name__}: `{name}` must be a finite number of at least 0, got {value}")
        self.l1, self.l2 = float(l1), float(l2)

    def __call__(self, w: Array) -> float:
        return float(self.l1 * np.abs(w).sum(dtype=np.float64) + self.l2 * np.square(w).sum(dtype=np.float64))

    def grad(self, w: Array) -> Array:
        return np.asarray(self.l1, w.dtype) * np.sign(w) + np.asarray(2 * self.l2, w.dtype) * w

    def get_config(self) -> dict[str, Any]:
        return {"l1": self.l1, "l2": self.l2}


class L1(L1L2):
    """``l1 * sum |w|``."""

    def __init__(self, l1: float = 0.01):
        super().__init__(l1=l1)

    def get_config(self) -> dict[str, Any]:
        return {"l1": self.l1}


class L2(L1L2):
    """``l2 * sum w^2``."""

    def __init__(self, l2: float = 0.01):
        super().__init__(l2=l2)

    def get_config(self) -> dict[str, Any]:
        return {"l2": self.l2}


def l1_l2(l1: float = 0.01, l2: float = 0.01) -> L1L2:
    """Both penalties, with Keras' default rates."""
    return L1L2(l1, l2)


l1, l2 = L1, L2
_TABLE = {"L1": L1, "L2": L2, "L1L2": L1L2, "l1": L1, "l2": L2, "l1_l2": L1L2}


def get(identifier: Any) -> Any:
    """The regularizer of a name, a configuration or an object; None stays None.

    Examples
    --------
    >>> from rnnx import regularizers
    >>> regularizers.get("l2").l2
    0.01
    """
    return lookup("regularizer", _TABLE, identifier)
