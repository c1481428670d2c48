"""Activations by name, each with its derivative.

Every activation keeps the dtype of its argument, saturates exactly and passes NaN on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805
LEAKY_SLOPE = 0.2


class Activation:
    """An element-wise function (softmax: a function of the last axis) and its derivative.

    Parameters
    ----------
    name : str
    function : callable
        ``y = function(x)``.
    vjp : callable or None
        ``dx = vjp(x, y, dy)``: the gradient with respect to x, given x, y and the gradient of y.
    """

    __slots__ = ("name", "_function", "_vjp")

    def __init__(
        self,
        name: str,
        function: Callable[[Array], Array],
        vjp: Callable[[Array, Array, Array], Array] | None,
    ):
        self.name = name
        self._function = function
        self._vjp = vjp

    def __call__(self, x: Any) -> Array:
        x = np.asarray(x)
        if x.dtype.kind in "biu":
            x = x.astype(np.float32)
        return self._function(x)

    def vjp(self, x: Array, y: Array, dy: Array) -> Array:
        """Gradient with respect to ``x``; all arrays of one shape."""
        if self._vjp is None:
            raise ValueError(
                f"activation {self.name!r} has no derivative: give the callable an attribute `vjp(x, y, dy) -> dx`"
            )
        return self._vjp(x, y, dy)

    def serialize(self) -> str:
        """The name under which ``get`` finds this activation again."""
        if _TABLE.get(self.name) is not self:
            raise ValueError(
                f"activation {self.name!r} is a custom callable and cannot be saved; use a named activation"
            )
        return self.name

    def __repr__(self) -> str:
        return f"<rnnx activation {self.name}>"


def _sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, np.ones((), x.dtype)) / (1 + e)


def _softplus(x: Array) -> Array:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _gelu_parts(x: Array) -> tuple[Array, Array]:
    """Standard normal distribution function and density."""
    from math import erf

    cdf = 0.5 * (1 + np.vectorize(erf, otypes=[np.float64])(x.astype(np.float64) / np.sqrt(2.0)))
    pdf = np.exp(-0.5 * x.astype(np.float64) ** 2) / np.sqrt(2 * np.pi)
    return cdf.astype(x.dtype), pdf.astype(x.dtype)


def _gelu(x: Array) -> Array:
    return x * _gelu_parts(x)[0]


def _gelu_vjp(x: Array, y: Array, dy: Array) -> Array:
    cdf, pdf = _gelu_parts(x)
    return dy * (cdf + x * pdf)


def _silu_vjp(x: Array, y: Array, dy: Array) -> Array:
    s = _sigmoid(x)
    return dy * (s + y * (1 - s))


def _elu(x: Array) -> Array:
    return np.where(x < 0, np.expm1(np.minimum(x, 0)), x)


def _between(low: float, high: float, slope: float) -> Callable[[Array, Array, Array], Array]:
    def vjp(x: Array, y: Array, dy: Array) -> Array:
        return np.where((y > low) & (y < high), dy * np.asarray(slope, dy.dtype), np.zeros((), dy.dtype))

    return vjp


_TABLE: dict[str, Activation] = {
    name: Activation(name, function, vjp)
    for name, function, vjp in (
        ("linear", lambda x: x, lambda x, y, dy: dy),
        ("tanh", np.tanh, lambda x, y, dy: dy * (1 - y * y)),
        ("sigmoid", _sigmoid, lambda x, y, dy: dy * y * (1 - y)),
        ("relu", lambda x: np.maximum(x, 0), lambda x, y, dy: dy * (y > 0)),
        ("relu6", lambda x: np.clip(x, 0, 6), _between(0, 6, 1)),
        (
            "leaky_relu",
            lambda x: np.where(x < 0, x * np.asarray(LEAKY_SLOPE, x.dtype), x),
            lambda x, y, dy: np.where(y < 0, dy * np.asarray(LEAKY_SLOPE, dy.dtype), dy),
        ),
        ("elu", _elu, lambda x, y, dy: np.where(y < 0, dy * (y + 1), dy)),
        (
            "selu",
            lambda x: np.asarray(SELU_SCALE, x.dtype) * np.where(x < 0, np.asarray(SELU_ALPHA, x.dtype) * _elu(x), x),
            lambda x, y, dy: (
                dy * np.where(y < 0, y + np.asarray(SELU_SCALE * SELU_ALPHA, y.dtype), np.asarray(SELU_SCALE, y.dtype))
            ),
        ),
        ("softplus", _softplus, lambda x, y, dy: dy * _sigmoid(x)),
        ("softsign", lambda x: x / (1 + np.abs(x)), lambda x, y, dy: dy * (1 - np.abs(y)) ** 2),
        ("softmax", _softmax, lambda x, y, dy: y * (dy - (dy * y).sum(axis=-1, keepdims=True))),
        ("exponential", np.exp, lambda x, y, dy: dy * y),
        ("gelu", _gelu, _gelu_vjp),
        ("silu", lambda x: x * _sigmoid(x), _silu_vjp),
        ("hard_sigmoid", lambda x: np.clip(x / 6 + 0.5, 0, 1).astype(x.dtype), _between(0, 1, 1 / 6)),
        (
            "hard_sigmoid_keras2",
            lambda x: np.clip(x * np.asarray(0.2, x.dtype) + 0.5, 0, 1).astype(x.dtype),
            _between(0, 1, 0.2),
        ),
    )
}
_TABLE["swish"] = _TABLE["silu"]


def get(identifier: Any) -> Activation:
    """The activation of a name, a callable, or None (linear).

    Parameters
    ----------
    identifier : str, callable, Activation or None

    Returns
    -------
    Activation

    Raises
    ------
    ValueError
        If no activation has this name.
    TypeError
        If the identifier is neither a name nor callable.

    Examples
    --------
    >>> from rnnx import activations
    >>> float(activations.get("hard_sigmoid")(0.0))
    0.5
    """
    if identifier is None:
        return _TABLE["linear"]
    if isinstance(identifier, Activation):
        return identifier
    if isinstance(identifier, str):
        if identifier not in _TABLE:
            raise ValueError(f"unknown activation {identifier!r}; known: {', '.join(sorted(_TABLE))}")
        return _TABLE[identifier]
    if callable(identifier):
        return Activation(getattr(identifier, "__name__", "custom"), identifier, getattr(identifier, "vjp", None))
    raise TypeError(f"an activation must be a name, a callable or None, got {type(identifier).__name__}")


def __getattr__(name: str) -> Activation:
    if name in _TABLE:
        return _TABLE[name]
    raise AttributeError(f"module 'rnnx.activations' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*_TABLE, "Activation", "get"])
