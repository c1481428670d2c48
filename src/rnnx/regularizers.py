"""Penalties on weights, under Keras' names."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._config import Configurable, lookup, on_demand, refuse_overrides, serialize
from rnnx._typing import Array
from rnnx.functional._products import product

__all__ = [
    "L1", "L1L2", "L2", "OrthogonalRegularizer", "Regularizer", "deserialize", "get", "l1", "l1_l2", "l2",
    "orthogonal_regularizer", "serialize",
]  # fmt: skip

EPSILON = 1e-6


class Regularizer(Configurable, family=True):
    """A callable ``regularizer(w) -> float`` with its gradient ``regularizer.grad(w)``.

    One of one's own implements ``__call__``, with operators and `rnnx.ops`; which is traced for its gradient.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        refuse_overrides(cls, {"call": "implement `__call__(w)`"})

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the graphs of a penalty that was traced."""
        return {name: value for name, value in vars(self).items() if name != "_graphs"}

    def __call__(self, w: Array) -> float:
        raise NotImplementedError(f"{type(self).__name__} does not say what its penalty is")

    def grad(self, w: Array) -> Array:
        """Gradient of the penalty; shape and dtype of ``w``."""
        if type(self).__call__ is Regularizer.__call__:
            raise NotImplementedError(f"{type(self).__name__} has no gradient: implement `grad(w)`")
        found: Array = on_demand("penalty_gradient")(self, w)
        return found


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


class OrthogonalRegularizer(Regularizer):
    """``factor`` times the mean absolute cosine between two different rows (or columns) of a matrix.

    Parameters
    ----------
    factor : float
    mode : {"rows", "columns"}
    """

    def __init__(self, factor: float = 0.01, mode: str = "rows"):
        if not (np.isfinite(factor) and factor >= 0):
            raise ValueError(f"OrthogonalRegularizer: `factor` must be a finite number of at least 0, got {factor}")
        if mode not in ("rows", "columns"):
            raise ValueError(f"OrthogonalRegularizer: `mode` must be 'rows' or 'columns', got {mode!r}")
        self.factor, self.mode = float(factor), mode

    def _vectors(self, w: Array) -> tuple[Array, Array, Array, float]:
        """Unit vectors in rows, their lengths, their cosines (0 on the diagonal), and the weight of one pair."""
        if w.ndim != 2:
            raise ValueError(f"OrthogonalRegularizer: a matrix has two axes, got shape {w.shape}")
        rows = (w if self.mode == "rows" else w.T).astype(np.float64)
        lengths = np.maximum(np.sqrt(np.square(rows).sum(axis=1, keepdims=True)), EPSILON)
        unit = rows / lengths
        cosines = product(unit, unit.T)
        np.fill_diagonal(cosines, 0)
        return unit, lengths, cosines, self.factor / max(1, len(rows) * (len(rows) - 1))

    def __call__(self, w: Array) -> float:
        _, _, cosines, weight = self._vectors(w)
        return float(weight * np.abs(cosines).sum())

    def grad(self, w: Array) -> Array:
        unit, lengths, cosines, weight = self._vectors(w)
        dunit = product(2 * weight * np.sign(cosines), unit)
        drows = (dunit - unit * (dunit * unit).sum(axis=1, keepdims=True)) / lengths
        return (drows if self.mode == "rows" else drows.T).astype(w.dtype)

    def get_config(self) -> dict[str, Any]:
        return {"factor": self.factor, "mode": self.mode}


l1, l2, orthogonal_regularizer = L1, L2, OrthogonalRegularizer
_TABLE: dict[str, Any] = {
    "L1": L1, "L2": L2, "L1L2": L1L2, "l1": L1, "l2": L2, "l1_l2": L1L2, "l1l2": L1L2,
    "OrthogonalRegularizer": OrthogonalRegularizer, "orthogonal_regularizer": OrthogonalRegularizer,
}  # fmt: skip


class FunctionRegularizer(Regularizer):
    """A function of one's own as a penalty, ``function(w) -> number``; which is traced for its gradient.

    Parameters
    ----------
    function : callable
        With operators, `rnnx.ops`, or functions of NumPy.
    """

    def __init__(self, function: Any):
        if not callable(function):
            raise TypeError(f"regularizer {function!r} must be a function of a weight, see `Regularizer`")
        self.function = function

    def __call__(self, w: Any) -> Any:
        return self.function(w)

    def get_config(self) -> dict[str, Any]:
        raise ValueError(f"regularizer {self.function!r} is a function, which a file cannot hold")


def get(identifier: Any) -> Any:
    """The regularizer of a name, a configuration or an object; None stays None.

    Parameters
    ----------
    identifier : str, dict, class, callable or None

    Returns
    -------
    Regularizer or None
        Of a function of the weights, which has no gradient of its own, a `FunctionRegularizer`.

    Raises
    ------
    ValueError
        If there is nothing of this name.

    Examples
    --------
    >>> from rnnx import regularizers
    >>> regularizers.get("l2").l2
    0.01
    """
    if identifier is None:
        return None
    found = lookup("regularizer", _TABLE, identifier, custom=True)
    return found if hasattr(found, "grad") else FunctionRegularizer(found)


deserialize = get
