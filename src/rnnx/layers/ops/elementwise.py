"""Operations on each number: arithmetic, functions, activations, comparisons."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx import activations
from rnnx._typing import Array
from rnnx.functional._broadcasting import broadcast
from rnnx.layers.ops import dtypes, steps
from rnnx.layers.ops.arithmetic_layers import arithmetic, negated
from rnnx.layers.ops.operation import gradient_of, operation

Slope = Callable[..., Any]


def _same(x: Any, **options: Any) -> Any:
    return x.shape


def _both(x1: Any, x2: Any) -> Any:
    return broadcast(x1.shape, x2.shape)


def _beside(x1: Any, x2: Any) -> str:
    return steps.beside(x1, x2)


def _named(function: Any, name: str, doc: str) -> Any:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


def _unary(name: str, function: Callable[[Array], Any], slope: Slope | None, doc: str, **record: Any) -> Any:
    """An operation on each number from its function and ``slope(dy, y, x)``."""

    def call(x: Any) -> Any:
        return function(x)

    made = operation("x", shape=_same, steps=steps.each, **record)(_named(call, name, doc))
    if slope is not None:
        gradient_of(made)(lambda k, dy, y, x: slope(dy, y, x))
    return made


def _binary(
    name: str, function: Callable[..., Any], slopes: tuple[Slope, Slope] | None, doc: str, **record: Any
) -> Any:
    """An operation on pairs of numbers from its function and a ``slope(dy, y, x1, x2)`` for each operand."""

    def call(x1: Any, x2: Any) -> Any:
        return function(x1, x2)

    made = operation("x1", "x2", shape=_both, steps=_beside, meet=True, **record)(_named(call, name, doc))
    if slopes is not None:
        gradient_of(made)(lambda k, dy, y, x1, x2: slopes[k](dy, y, x1, x2))
    return made


# ---- Arithmetic ------------------------------------------------------------------------------------------------------


def _power_slope(dy: Array, y: Array, x1: Array, x2: Array) -> Array:
    """``x2 * x1**(x2 - 1)``; 0 where the exponent is 0, also for the base 0."""
    one = np.ones((), x2.dtype)
    return dy * np.where(x2 == 0, np.zeros((), x2.dtype), x2 * np.where(x2 == 0, one, x1) ** (x2 - one))


def _exponent_slope(dy: Array, y: Array, x1: Array, x2: Array) -> Array:
    """``y * log(x1)``; 0 at the base 0, from where an exponent above 0 does not move away."""
    one = np.ones((), x1.dtype)
    return dy * y * np.log(np.where((x1 == 0) & (x2 >= 0), one, x1))


def _share(of: Callable[[Any, Any], Any]) -> tuple[Slope, Slope]:
    """Slopes of a choice between two numbers; half to each of equal ones, as in PyTorch and JAX."""

    def share(x1: Array, x2: Array) -> Array:
        return np.where(x1 == x2, np.asarray(0.5, x1.dtype), of(x1, x2).astype(x1.dtype))

    return lambda dy, y, x1, x2: dy * share(x1, x2), lambda dy, y, x1, x2: dy * share(x2, x1)


add = _binary("add", np.add, (lambda dy, y, a, b: dy, lambda dy, y, a, b: dy), "The sum.", layer=arithmetic("add"))
subtract = _binary(
    "subtract", np.subtract, (lambda dy, y, a, b: dy, lambda dy, y, a, b: -dy), "The difference.",
    layer=arithmetic("subtract"),
)  # fmt: skip
multiply = _binary(
    "multiply", np.multiply, (lambda dy, y, a, b: dy * b, lambda dy, y, a, b: dy * a), "The product of each pair.",
    layer=arithmetic("multiply"),
)  # fmt: skip
divide = _binary(
    "divide", np.divide, (lambda dy, y, a, b: dy / b, lambda dy, y, a, b: -dy * (a / (b * b))),
    "The quotient, in floats.", floats=True, layer=arithmetic("divide"),
)  # fmt: skip
true_divide = divide
maximum = _binary("maximum", np.maximum, _share(np.greater), "The larger of each pair; NaN if one is.",
                  layer=arithmetic("maximum"))  # fmt: skip
minimum = _binary("minimum", np.minimum, _share(np.less), "The smaller of each pair; NaN if one is.",
                  layer=arithmetic("minimum"))  # fmt: skip
power = _binary("power", np.power, (_power_slope, _exponent_slope), "``x1`` to the power of ``x2``.")
floor_divide = _binary("floor_divide", np.floor_divide, None, "The quotient rounded down; it has no gradient.")
mod = _binary(
    "mod", np.mod, (lambda dy, y, a, b: dy, lambda dy, y, a, b: -dy * np.floor_divide(a, b)),
    "The remainder, of the sign of ``x2``.",
)  # fmt: skip
arctan2 = _binary(
    "arctan2", np.arctan2,
    (lambda dy, y, a, b: dy * (b / (a * a + b * b)), lambda dy, y, a, b: -dy * (a / (a * a + b * b))),
    "The angle of the point ``(x2, x1)``.", floats=True,
)  # fmt: skip
logaddexp = _binary(
    "logaddexp", np.logaddexp, (lambda dy, y, a, b: dy * np.exp(a - y), lambda dy, y, a, b: dy * np.exp(b - y)),
    "``log(exp(x1) + exp(x2))`` without overflow.", floats=True,
)  # fmt: skip

# ---- Functions -------------------------------------------------------------------------------------------------------


def _erf(x: Array) -> Array:
    from scipy.special import erf as function

    return function(x)


def _float_of(x: Array, value: float) -> Array:
    return np.asarray(value, x.dtype)


negative = _unary("negative", np.negative, lambda dy, y, x: -dy, "The number with the other sign.", layer=negated)
absolute = _unary("absolute", np.abs, lambda dy, y, x: dy * np.sign(x), "The number without its sign.")
abs = absolute
square = _unary("square", np.square, lambda dy, y, x: dy * (x + x), "The square.")
exp = _unary("exp", np.exp, lambda dy, y, x: dy * y, "The exponential function.", floats=True)
log = _unary("log", np.log, lambda dy, y, x: dy / x, "The natural logarithm.", floats=True)
log2 = _unary("log2", np.log2, lambda dy, y, x: dy / (x * _float_of(x, math.log(2))), "Logarithm to the base 2.",
              floats=True)  # fmt: skip
log10 = _unary("log10", np.log10, lambda dy, y, x: dy / (x * _float_of(x, math.log(10))), "Logarithm to the base 10.",
               floats=True)  # fmt: skip
log1p = _unary("log1p", np.log1p, lambda dy, y, x: dy / (x + 1), "``log(1 + x)``, exact near 0.", floats=True)
expm1 = _unary("expm1", np.expm1, lambda dy, y, x: dy * (y + 1), "``exp(x) - 1``, exact near 0.", floats=True)
sqrt = _unary("sqrt", np.sqrt, lambda dy, y, x: dy * (_float_of(x, 0.5) / y), "The square root.", floats=True)
rsqrt = _unary("rsqrt", lambda x: 1 / np.sqrt(x), lambda dy, y, x: dy * (_float_of(x, -0.5) * y / x),
               "One over the square root.", floats=True)  # fmt: skip
reciprocal = _unary("reciprocal", lambda x: 1 / x, lambda dy, y, x: -dy * (y * y), "One over the number.", floats=True)
sin = _unary("sin", np.sin, lambda dy, y, x: dy * np.cos(x), "The sine.", floats=True)
cos = _unary("cos", np.cos, lambda dy, y, x: -dy * np.sin(x), "The cosine.", floats=True)
tan = _unary("tan", np.tan, lambda dy, y, x: dy * (1 + y * y), "The tangent.", floats=True)
arcsin = _unary("arcsin", np.arcsin, lambda dy, y, x: dy / np.sqrt(1 - x * x), "The inverse of the sine.", floats=True)
arccos = _unary("arccos", np.arccos, lambda dy, y, x: -dy / np.sqrt(1 - x * x), "The inverse of the cosine.",
                floats=True)  # fmt: skip
arctan = _unary("arctan", np.arctan, lambda dy, y, x: dy / (1 + x * x), "The inverse of the tangent.", floats=True)
sinh = _unary("sinh", np.sinh, lambda dy, y, x: dy * np.cosh(x), "The hyperbolic sine.", floats=True)
cosh = _unary("cosh", np.cosh, lambda dy, y, x: dy * np.sinh(x), "The hyperbolic cosine.", floats=True)
erf = _unary("erf", _erf, lambda dy, y, x: dy * _float_of(x, 2 / math.sqrt(math.pi)) * np.exp(-x * x),
             "The error function.", floats=True)  # fmt: skip
sign = _unary("sign", np.sign, None, "-1, 0 or 1; it has no gradient.")
floor = _unary("floor", np.floor, None, "Rounded down; it has no gradient.", floats=True)
ceil = _unary("ceil", np.ceil, None, "Rounded up; it has no gradient.", floats=True)
trunc = _unary("trunc", np.trunc, None, "Rounded towards 0; it has no gradient.", floats=True)


@operation("x", shape=_same, steps=steps.each)
def round(x: Any, decimals: int = 0) -> Any:
    """Rounded to so many decimals, halves to even; it has no gradient."""
    return np.round(x, decimals)


def _clip_steps(x: Any, x_min: Any, x_max: Any) -> str:
    return steps.beside(*[part for part in (x, x_min, x_max) if part is not None])


def _clip_shape(x: Any, x_min: Any, x_max: Any) -> Any:
    return broadcast(*[part.shape for part in (x, x_min, x_max) if part is not None])


@operation("x", "x_min", "x_max", shape=_clip_shape, steps=_clip_steps, meet=True)
def clip(x: Any, x_min: Any, x_max: Any) -> Any:
    """Not below ``x_min`` and not above ``x_max``; None is no limit."""
    return x if x_min is None and x_max is None else np.clip(x, x_min, x_max)


@gradient_of(clip)
def _clip_gradient(k: int, dy: Array, y: Array, x: Array, x_min: Any, x_max: Any) -> Array:
    low = np.zeros(y.shape, bool) if x_min is None else x < x_min
    high = np.zeros(y.shape, bool) if x_max is None else x > x_max
    return np.where((~(low | high), low & ~high, high)[k], dy, np.zeros((), dy.dtype))


# ---- Activations -----------------------------------------------------------------------------------------------------


def _activation(name: str, doc: str) -> Any:
    """An operation from the activation of the same name."""
    own = activations.get(name)
    return _unary(name, own, lambda dy, y, x: own.vjp(x, y, dy), doc, floats=True)


tanh = _activation("tanh", "The hyperbolic tangent.")
sigmoid = _activation("sigmoid", "``1 / (1 + exp(-x))``.")
relu = _activation("relu", "``max(x, 0)``.")
relu6 = _activation("relu6", "``min(max(x, 0), 6)``.")
hard_sigmoid = _activation("hard_sigmoid", "``x / 6 + 0.5`` between 0 and 1.")
softplus = _activation("softplus", "``log(1 + exp(x))``.")
softsign = _activation("softsign", "``x / (1 + abs(x))``.")
selu = _activation("selu", "The scaled exponential linear unit.")
silu = _activation("silu", "``x * sigmoid(x)``.")
swish = silu


@operation("x", shape=_same, steps=steps.each, floats=True)
def elu(x: Any, alpha: float = 1.0) -> Any:
    """``x`` above 0, ``alpha * (exp(x) - 1)`` below."""
    return np.where(x < 0, _float_of(x, alpha) * np.expm1(np.minimum(x, 0)), x)


@gradient_of(elu)
def _elu_gradient(k: int, dy: Array, y: Array, x: Array, alpha: float) -> Array:
    return np.where(x < 0, dy * (y + _float_of(x, alpha)), dy)


@operation("x", shape=_same, steps=steps.each, floats=True)
def leaky_relu(x: Any, negative_slope: float = 0.2) -> Any:
    """``x`` above 0, ``negative_slope * x`` below."""
    return np.where(x < 0, _float_of(x, negative_slope) * x, x)


@gradient_of(leaky_relu)
def _leaky_relu_gradient(k: int, dy: Array, y: Array, x: Array, negative_slope: float) -> Array:
    return np.where(x < 0, _float_of(x, negative_slope) * dy, dy)


GELU_SCALE, GELU_CUBE = math.sqrt(2 / math.pi), 0.044715  # of the approximation (Hendrycks & Gimpel 2016)


@operation("x", shape=_same, steps=steps.each, floats=True)
def gelu(x: Any, approximate: bool = True) -> Any:
    """``x`` times the normal distribution function of ``x``; approximated by a tanh, as in Keras, or exact."""
    if not approximate:
        return activations.get("gelu")(x)
    return _float_of(x, 0.5) * x * (1 + _gelu_tanh(x))


def _gelu_tanh(x: Array) -> Array:
    inner: Array = np.tanh(_float_of(x, GELU_SCALE) * (x + _float_of(x, GELU_CUBE) * x * x * x))
    return inner


@gradient_of(gelu)
def _gelu_gradient(k: int, dy: Array, y: Array, x: Array, approximate: bool) -> Array:
    if not approximate:
        return activations.get("gelu").vjp(x, y, dy)
    t, half = _gelu_tanh(x), _float_of(x, 0.5)
    rise = _float_of(x, GELU_SCALE) * (1 + _float_of(x, 3 * GELU_CUBE) * x * x)
    return dy * (half * (1 + t) + half * x * (1 - t * t) * rise)


# ---- Comparisons and truth values ------------------------------------------------------------------------------------


def _comparison(name: str, function: Callable[..., Any], doc: str) -> Any:
    return _binary(name, function, None, doc, result=dtypes.BOOL)


greater = _comparison("greater", np.greater, "Where ``x1 > x2``.")
greater_equal = _comparison("greater_equal", np.greater_equal, "Where ``x1 >= x2``.")
less = _comparison("less", np.less, "Where ``x1 < x2``.")
less_equal = _comparison("less_equal", np.less_equal, "Where ``x1 <= x2``.")
equal = _comparison("equal", np.equal, "Where the two are equal.")
not_equal = _comparison("not_equal", np.not_equal, "Where the two differ.")
logical_and = _comparison("logical_and", np.logical_and, "Where both are not 0.")
logical_or = _comparison("logical_or", np.logical_or, "Where one is not 0.")
logical_xor = _comparison("logical_xor", np.logical_xor, "Where one is not 0 and the other is.")
logical_not = _unary("logical_not", np.logical_not, None, "Where the number is 0.", result=dtypes.BOOL)
isnan = _unary("isnan", np.isnan, None, "Where the number is NaN.", floats=True, result=dtypes.BOOL)
isinf = _unary("isinf", np.isinf, None, "Where the number is infinite.", floats=True, result=dtypes.BOOL)
isfinite = _unary("isfinite", np.isfinite, None, "Where the number is neither NaN nor infinite.", floats=True,
                  result=dtypes.BOOL)  # fmt: skip


def _where_shape(condition: Any, x1: Any, x2: Any) -> Any:
    return broadcast(condition.shape, x1.shape, x2.shape)


def _where_steps(condition: Any, x1: Any, x2: Any) -> str:
    return steps.beside(condition, x1, x2)


@operation("condition", "x1", "x2", alike=("x1", "x2"), shape=_where_shape, steps=_where_steps, meet=True)
def _where(condition: Any, x1: Any, x2: Any) -> Any:
    return np.where(condition, x1, x2)


@gradient_of(_where)
def _where_gradient(k: int, dy: Array, y: Array, condition: Array, x1: Array, x2: Array) -> Array | None:
    zero = np.zeros((), dy.dtype)
    return (None, np.where(condition, dy, zero), np.where(condition, zero, dy))[k] if k else None


def where(condition: Any, x1: Any = None, x2: Any = None) -> Any:
    """``x1`` where the condition is not 0, else ``x2``; of the condition of arrays alone the indices where it is not.

    Raises
    ------
    ValueError
        If only one of ``x1`` and ``x2`` is given.
    """
    if x1 is None and x2 is None:
        return list(np.nonzero(np.asarray(condition)))
    if x1 is None or x2 is None:
        raise ValueError("ops.where: give both `x1` and `x2`, or none of them")
    return _where(condition, x1, x2)


# ---- Types -----------------------------------------------------------------------------------------------------------


@operation("x", alike=(), shape=_same, steps=steps.each, result=lambda own, arguments: dtypes.named(arguments["dtype"]))
def cast(x: Any, dtype: Any) -> Any:
    """The numbers as another type: "float32", "int32", "bool", ..."""
    return np.asarray(x).astype(dtypes.named(dtype))


@gradient_of(cast)
def _cast_gradient(k: int, dy: Array, y: Array, x: Array, dtype: Any) -> Array | None:
    return dy if y.dtype.kind == "f" else None


@operation("variable", alike=(), shape=lambda variable: variable.shape,
           steps=lambda variable: steps.each(variable))  # fmt: skip
def stop_gradient(variable: Any) -> Any:
    """The same numbers, through which no gradient flows."""
    return variable


def _type_like(own: Any, arguments: dict[str, Any]) -> Any:
    return own if arguments["dtype"] is None else dtypes.named(arguments["dtype"])


@operation("x", alike=(), shape=_same, steps=steps.each, result=_type_like)
def full_like(x: Any, fill_value: Any, dtype: Any = None) -> Any:
    """One value in the shape of ``x``."""
    return np.full(x.shape, fill_value, x.dtype if dtype is None else dtypes.named(dtype))


def zeros_like(x: Any, dtype: Any = None) -> Any:
    """Zeros in the shape of ``x``."""
    return full_like(x, 0, dtype)


def ones_like(x: Any, dtype: Any = None) -> Any:
    """Ones in the shape of ``x``."""
    return full_like(x, 1, dtype)
