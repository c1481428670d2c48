"""Activations by name, each with its derivative.

Every activation keeps the dtype of its argument, saturates exactly and passes NaN on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx._typing import Array

Function = Callable[[Array], Array]
Derivative = Callable[[Array, Array, Array], Array]

SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805
LEAKY_SLOPE = 0.2


class Activation:
    """An element-wise function (softmax, log_softmax: of the last axis) and its derivative.

    Parameters
    ----------
    name : str
    function : callable
        ``y = function(x)``.
    vjp : callable or None
        ``dx = vjp(x, y, dy)``: the gradient with respect to x, given x, y and the gradient of y.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnx import activations
    >>> x = np.array([-1.0, 2.0])
    >>> y = activations.relu(x)
    >>> activations.relu.vjp(x, y, np.ones(2))
    array([0., 1.])
    """

    __slots__ = ("name", "_function", "_vjp")

    def __init__(self, name: str, function: Function, vjp: Derivative | None):
        self.name = name
        self._function = function
        self._vjp = vjp

    def __call__(self, x: Any) -> Array:
        x = np.asarray(x)
        if x.dtype.kind in "biu":
            x = x.astype(np.float32)
        return self._function(x)

    def vjp(self, x: Array, y: Array, dy: Array) -> Array:
        """Gradient with respect to ``x``; all arrays of one shape.

        Raises
        ------
        ValueError
            If the activation is a callable that came without a derivative.
        """
        if self._vjp is None:
            raise ValueError(
                f"activation {self.name!r} has no derivative: give the callable an attribute `vjp(x, y, dy) -> dx`"
            )
        return self._vjp(x, y, dy)

    def serialize(self) -> str:
        """The name under which ``get`` finds this activation again.

        Raises
        ------
        ValueError
            If it is a callable of the user.
        """
        if _TABLE.get(self.name) is not self:
            raise ValueError(
                f"activation {self.name!r} is a custom callable and cannot be saved; use a named activation"
            )
        return self.name

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and unpickled named activations are the one in the table."""
        if _TABLE.get(self.name) is self:
            return get, (self.name,)
        return Activation, (self.name, self._function, self._vjp)

    def __repr__(self) -> str:
        return f"<rnnx activation {self.name}>"


# ---- Functions that take more than a line, each above its backward ---------------------------------------------------


def _sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, _like(x, 1)) / (1 + e)


def _silu(x: Array) -> Array:
    x = np.maximum(x, np.finfo(x.dtype).min)  # -inf * 0 would be NaN
    return x * _sigmoid(x)


def _silu_vjp(x: Array, y: Array, dy: Array) -> Array:
    s = _sigmoid(x)
    return dy * (s + y * (1 - s))


def _gelu(x: Array) -> Array:
    from scipy.special import ndtr

    x = np.maximum(x, np.finfo(x.dtype).min)
    return x * ndtr(x)


def _gelu_vjp(x: Array, y: Array, dy: Array) -> Array:
    from scipy.special import ndtr

    density = np.exp(-0.5 * np.minimum(np.abs(x), 40) ** 2) / _like(x, math.sqrt(2 * math.pi))
    return dy * (ndtr(x) + x * density)


def _elu(x: Array) -> Array:
    return np.where(x < 0, np.expm1(np.minimum(x, 0)), x)


def _elu_vjp(x: Array, y: Array, dy: Array) -> Array:
    return np.where(x < 0, dy * (y + 1), dy)


def _selu(x: Array) -> Array:
    return _like(x, SELU_SCALE) * np.where(x < 0, _like(x, SELU_ALPHA) * np.expm1(np.minimum(x, 0)), x)


def _selu_vjp(x: Array, y: Array, dy: Array) -> Array:
    return dy * np.where(x < 0, y + _like(y, SELU_SCALE * SELU_ALPHA), _like(y, SELU_SCALE))


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _softmax_vjp(x: Array, y: Array, dy: Array) -> Array:
    return y * (dy - (dy * y).sum(axis=-1, keepdims=True))


def _log_softmax(x: Array) -> Array:
    shifted = x - x.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _log_softmax_vjp(x: Array, y: Array, dy: Array) -> Array:
    return dy - np.exp(y) * dy.sum(axis=-1, keepdims=True)


def _softsign(x: Array) -> Array:
    limit = np.finfo(x.dtype).max  # inf / inf would be NaN
    x = np.clip(x, -limit, limit)
    return x / (1 + np.abs(x))


def _line(slope: float, shift: float, low: float, high: float) -> tuple[Function, Derivative]:
    """A straight line, cut off below and above."""

    def function(x: Array) -> Array:
        return np.clip(x * _like(x, slope) + _like(x, shift), _like(x, low), _like(x, high))

    def vjp(x: Array, y: Array, dy: Array) -> Array:
        return np.where((y > low) & (y < high), dy * _like(dy, slope), _like(dy, 0))

    return function, vjp


def _like(x: Array, value: float) -> Array:
    """A number in the dtype of an array."""
    return np.asarray(value, x.dtype)


_PAIRS: dict[str, tuple[Function, Derivative]] = {
    "linear": (lambda x: x, lambda x, y, dy: dy),
    "tanh": (np.tanh, lambda x, y, dy: dy * (1 - y * y)),
    "sigmoid": (_sigmoid, lambda x, y, dy: dy * y * (1 - y)),
    "hard_sigmoid": _line(1 / 6, 0.5, 0, 1),
    "hard_sigmoid_keras2": _line(0.2, 0.5, 0, 1),
    "relu": (lambda x: np.maximum(x, 0), lambda x, y, dy: np.where(y > 0, dy, _like(dy, 0))),
    "relu6": _line(1, 0, 0, 6),
    "leaky_relu": (
        lambda x: np.where(x < 0, x * _like(x, LEAKY_SLOPE), x),
        lambda x, y, dy: np.where(x < 0, dy * _like(dy, LEAKY_SLOPE), dy),
    ),
    "elu": (_elu, _elu_vjp),
    "selu": (_selu, _selu_vjp),
    "silu": (_silu, _silu_vjp),
    "gelu": (_gelu, _gelu_vjp),
    "softplus": (
        lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
        lambda x, y, dy: dy * _sigmoid(x),
    ),
    "softsign": (_softsign, lambda x, y, dy: dy * (1 - np.abs(y)) ** 2),
    "softmax": (_softmax, _softmax_vjp),
    "log_softmax": (_log_softmax, _log_softmax_vjp),
    "exponential": (np.exp, lambda x, y, dy: dy * y),
}
_TABLE = {name: Activation(name, *pair) for name, pair in _PAIRS.items()}
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
        name = getattr(identifier, "__name__", type(identifier).__name__)  # may be that of a named activation
        return Activation(f"custom {name}", identifier, getattr(identifier, "vjp", None))
    raise TypeError(f"an activation must be a name, a callable or None, got {type(identifier).__name__}")


def __getattr__(name: str) -> Activation:
    if name in _TABLE:
        return _TABLE[name]
    raise AttributeError(f"module 'rnnx.activations' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*_TABLE, "Activation", "get"])
