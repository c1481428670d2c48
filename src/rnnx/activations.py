"""Activations by name, each with its derivative.

Every activation keeps the dtype of its argument, saturates exactly and passes NaN on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx._config import did_you_mean
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

    def __call__(self, x: Any, *arguments: Any, **options: Any) -> Array:
        """The values; arguments are those that Keras has for the activation, such as ``negative_slope``."""
        if arguments or options:
            if self.name not in _FORMS:
                raise TypeError(f"activation {self.name!r} takes no arguments, got {(*arguments, *options)}")
            return Activation(f"custom {self.name}", *_FORMS[self.name](*arguments, **options))(x)
        if hasattr(x, "activated"):  # a symbolic tensor, which makes a layer of it
            made: Array = x.activated(self)
            return made
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


def _selu(x: Array) -> Array:
    return _like(x, SELU_SCALE) * np.where(x < 0, _like(x, SELU_ALPHA) * np.expm1(np.minimum(x, 0)), x)


def _selu_vjp(x: Array, y: Array, dy: Array) -> Array:
    return dy * np.where(x < 0, y + _like(y, SELU_SCALE * SELU_ALPHA), _like(y, SELU_SCALE))


def _softsign(x: Array) -> Array:
    limit = np.finfo(x.dtype).max  # inf / inf would be NaN
    x = np.clip(x, -limit, limit)
    return x / (1 + np.abs(x))


def _relu(
    negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0
) -> tuple[Function, Derivative]:
    """``x`` between the threshold and the largest value, a line below."""
    top = math.inf if max_value is None else max_value

    def function(x: Array) -> Array:
        below = (x - _like(x, threshold)) * _like(x, negative_slope) if negative_slope else _like(x, 0) * np.sign(x)
        return np.where(x > threshold, np.minimum(x, _like(x, top)), below)

    def vjp(x: Array, y: Array, dy: Array) -> Array:
        return np.where(x > threshold, np.where(x < top, dy, _like(dy, 0)), dy * _like(dy, negative_slope))

    return function, vjp


def _leaky_relu(negative_slope: float = LEAKY_SLOPE) -> tuple[Function, Derivative]:
    return (
        lambda x: np.where(x < 0, x * _like(x, negative_slope), x),
        lambda x, y, dy: np.where(x < 0, dy * _like(dy, negative_slope), dy),
    )


def _elu_of(alpha: float = 1.0) -> tuple[Function, Derivative]:
    return (
        lambda x: np.where(x < 0, _like(x, alpha) * np.expm1(np.minimum(x, 0)), x),
        lambda x, y, dy: np.where(x < 0, dy * (y + _like(dy, alpha)), dy),
    )


def _celu(alpha: float = 1.0) -> tuple[Function, Derivative]:
    return (
        lambda x: np.where(x < 0, _like(x, alpha) * np.expm1(np.minimum(x, 0) / _like(x, alpha)), x),
        lambda x, y, dy: np.where(x < 0, dy * (y / _like(dy, alpha) + 1), dy),
    )


def _gelu_of(approximate: bool = False) -> tuple[Function, Derivative]:
    if not approximate:
        return _gelu, _gelu_vjp
    scale, cubic = math.sqrt(2 / math.pi), 0.044715

    def tanh(x: Array) -> Array:
        return np.tanh(_like(x, scale) * (x + _like(x, cubic) * x**3))

    def vjp(x: Array, y: Array, dy: Array) -> Array:
        t = tanh(x)
        return dy * ((1 + t) / 2 + x / 2 * (1 - t * t) * _like(x, scale) * (1 + _like(x, 3 * cubic) * x * x))

    return lambda x: x * (1 + tanh(x)) / 2, vjp


def _softmax_of(axis: Any = -1) -> tuple[Function, Derivative]:
    def function(x: Array) -> Array:
        e = np.exp(x - x.max(axis=axis, keepdims=True))
        return e / e.sum(axis=axis, keepdims=True)

    return function, lambda x, y, dy: y * (dy - (dy * y).sum(axis=axis, keepdims=True))


def _log_softmax_of(axis: Any = -1) -> tuple[Function, Derivative]:
    def function(x: Array) -> Array:
        shifted = x - x.max(axis=axis, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))

    return function, lambda x, y, dy: dy - np.exp(y) * dy.sum(axis=axis, keepdims=True)


def _sparsemax(axis: int = -1) -> tuple[Function, Derivative]:
    """The nearest distribution [1]_.

    References
    ----------
    .. [1] A. Martins, R. Astudillo, "From softmax to sparsemax", ICML 2016.
    """

    def function(x: Array) -> Array:
        falling = -np.sort(-x, axis=axis)
        shape = [1] * x.ndim
        shape[axis] = x.shape[axis]
        count = np.arange(1, x.shape[axis] + 1, dtype=x.dtype).reshape(shape)
        sums = np.cumsum(falling, axis=axis, dtype=x.dtype)
        kept = (1 + count * falling > sums).sum(axis=axis, keepdims=True)
        if not x.size:
            return x
        limit = (np.take_along_axis(sums, kept - 1, axis=axis) - 1) / kept.astype(x.dtype)
        return np.maximum(x - limit, 0)

    def vjp(x: Array, y: Array, dy: Array) -> Array:
        kept = y > 0
        mean = np.where(kept, dy, 0).sum(axis=axis, keepdims=True) / kept.sum(axis=axis, keepdims=True).astype(dy.dtype)
        return np.where(kept, dy - mean, _like(dy, 0))

    return function, vjp


def _hard_shrink(threshold: float = 0.5) -> tuple[Function, Derivative]:
    return (
        lambda x: np.where(np.abs(x) <= threshold, _like(x, 0), x),
        lambda x, y, dy: np.where(np.abs(x) <= threshold, _like(dy, 0), dy),
    )


def _soft_shrink(threshold: float = 0.5) -> tuple[Function, Derivative]:
    return (
        lambda x: np.sign(x) * np.maximum(np.abs(x) - _like(x, threshold), 0),
        lambda x, y, dy: np.where(y == 0, _like(dy, 0), dy),
    )


def _squareplus(b: float = 4.0) -> tuple[Function, Derivative]:
    """``(x + sqrt(x^2 + b)) / 2``, without a difference of large numbers."""

    def function(x: Array) -> Array:
        size = np.abs(x) + np.hypot(x, _like(x, math.sqrt(b)))
        return np.where(x < 0, _like(x, b / 2) / size, size / 2)

    return function, lambda x, y, dy: dy * (1 + x / np.hypot(x, _like(x, math.sqrt(b)))) / 2


def _hard_silu(x: Array) -> Array:
    inside = np.clip(x, -3, 3)
    return np.where(x > 3, x, inside * (inside / 6 + _like(x, 0.5)))


def _hard_silu_vjp(x: Array, y: Array, dy: Array) -> Array:
    return np.where(np.abs(x) > 3, np.where(x > 3, dy, _like(dy, 0)), dy * (x.clip(-3, 3) / 3 + _like(x, 0.5)))


def _mish(x: Array) -> Array:
    x = np.maximum(x, np.finfo(x.dtype).min)  # -inf * 0 would be NaN
    return x * np.tanh(np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))))


def _mish_vjp(x: Array, y: Array, dy: Array) -> Array:
    t = np.tanh(np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))))
    return dy * (t + x * (1 - t * t) * _sigmoid(x))


def _sparse_plus(x: Array) -> Array:
    return np.where(x > 1, x, np.square(np.clip(x, -1, 1) + 1) / 4)


def glu(x: Any, axis: int = -1) -> Array:
    """Gated linear unit: the first half along an axis times the sigmoid of the second; half as wide as ``x``."""
    first, second = np.split(np.asarray(x), 2, axis=axis)
    return first * _TABLE["sigmoid"](second)


def threshold(x: Any, threshold: float, default_value: float) -> Array:
    """``x`` above the threshold, another value elsewhere."""
    x = np.asarray(x)
    return np.where(x > threshold, x, np.asarray(default_value, x.dtype))


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
    "leaky_relu": _leaky_relu(),
    "elu": _elu_of(),
    "selu": (_selu, _selu_vjp),
    "silu": (_silu, _silu_vjp),
    "gelu": (_gelu, _gelu_vjp),
    "softplus": (
        lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
        lambda x, y, dy: dy * _sigmoid(x),
    ),
    "softsign": (_softsign, lambda x, y, dy: dy * (1 - np.abs(y)) ** 2),
    "softmax": _softmax_of(),
    "log_softmax": _log_softmax_of(),
    "exponential": (np.exp, lambda x, y, dy: dy * y),
    "celu": _celu(),
    "hard_shrink": _hard_shrink(),
    "hard_silu": (_hard_silu, _hard_silu_vjp),
    "hard_tanh": _line(1, 0, -1, 1),
    "log_sigmoid": (
        lambda x: np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x))),
        lambda x, y, dy: dy * _sigmoid(-x),
    ),
    "mish": (_mish, _mish_vjp),
    "soft_shrink": _soft_shrink(),
    "sparse_plus": (_sparse_plus, lambda x, y, dy: dy * (np.clip(x, -1, 1) + 1) / 2),
    "sparse_sigmoid": _line(0.5, 0.5, 0, 1),
    "sparsemax": _sparsemax(),
    "squareplus": _squareplus(),
    "tanh_shrink": (lambda x: x - np.tanh(x), lambda x, y, dy: dy * np.square(np.tanh(x))),
}
_FORMS: dict[str, Callable[..., tuple[Function, Derivative]]] = {  # with the arguments of Keras
    "relu": _relu, "leaky_relu": _leaky_relu, "elu": _elu_of, "celu": _celu, "gelu": _gelu_of, "softmax": _softmax_of,
    "log_softmax": _log_softmax_of, "sparsemax": _sparsemax, "hard_shrink": _hard_shrink, "soft_shrink": _soft_shrink,
    "squareplus": _squareplus,
}  # fmt: skip
_TABLE = {name: Activation(name, *pair) for name, pair in _PAIRS.items()}
_TABLE["swish"] = _TABLE["silu"]
_TABLE["hard_swish"] = _TABLE["hard_silu"]


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
            known = ", ".join(sorted(_TABLE)) + did_you_mean([identifier], _TABLE)
            raise ValueError(f"unknown activation {identifier!r}; known: {known}")
        return _TABLE[identifier]
    if callable(identifier):
        name = getattr(identifier, "__name__", type(identifier).__name__)  # may be that of a named activation
        return Activation(f"custom {name}", identifier, getattr(identifier, "vjp", None))
    text = f"an activation must be a name, a callable or None, got {type(identifier).__name__}"
    if isinstance(identifier, int):  # nn.LSTM(3, 4)
        text = f"{text} {identifier}; the width of the input is not an argument, write LSTM(units) or Dense(units)"
    raise TypeError(text)


def __getattr__(name: str) -> Activation:
    if name in _TABLE:
        return _TABLE[name]
    raise AttributeError(f"module 'rnnx.activations' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*_TABLE, "Activation", "get", "glu", "threshold"])
