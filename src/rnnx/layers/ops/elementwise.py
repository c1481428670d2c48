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


def _named(function: Any, name: str, doc: str, operands: str, shape: str, example: tuple[str, str]) -> Any:
    """A function with its name and docstring; an example is what the function is given, and what it prints."""
    function.__name__ = function.__qualname__ = name
    given, shown = example
    rounded = ".round(4)" if "." in shown else ""  # the last digits depend on the processor
    function.__doc__ = f"""{doc}

    Parameters
    ----------
    {operands}

    Returns
    -------
    {shape}

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.{name}({given}){rounded})
    {shown}
    """
    return function


def _unary(
    name: str,
    function: Callable[[Array], Any],
    slope: Slope | None,
    doc: str,
    example: tuple[str, str],
    **record: Any,
) -> Any:
    """An operation on each number from its function and ``slope(dy, y, x)``."""

    def call(x: Any) -> Any:
        return function(x)

    made = operation("x", shape=_same, steps=steps.each, **record)(
        _named(call, name, doc, "x : array of any shape", "array of the shape of ``x``", example)
    )
    if slope is not None:
        gradient_of(made)(lambda k, dy, y, x: slope(dy, y, x))
    return made


def _binary(
    name: str,
    function: Callable[..., Any],
    slopes: tuple[Slope, Slope] | None,
    doc: str,
    example: tuple[str, str],
    **record: Any,
) -> Any:
    """An operation on pairs of numbers from its function and a ``slope(dy, y, x1, x2)`` for each operand."""

    def call(x1: Any, x2: Any) -> Any:
        return function(x1, x2)

    operands, shape = "x1, x2 : arrays of shapes that fit together", "array of the shape in which they meet"
    named = _named(call, name, doc, operands, shape, example)
    made = operation("x1", "x2", shape=_both, steps=_beside, meet=True, **record)(named)
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


add = _binary(
    "add",
    np.add,
    (lambda dy, y, a, b: dy, lambda dy, y, a, b: dy),
    "The sum.",
    ("[1, 2], [10, 20]", "[11 22]"),
    layer=arithmetic("add"),
)
subtract = _binary(
    "subtract",
    np.subtract,
    (lambda dy, y, a, b: dy, lambda dy, y, a, b: -dy),
    "The difference.",
    ("[1, 2], [10, 20]", "[ -9 -18]"),
    layer=arithmetic("subtract"),
)
multiply = _binary(
    "multiply",
    np.multiply,
    (lambda dy, y, a, b: dy * b, lambda dy, y, a, b: dy * a),
    "The product of each pair.",
    ("[1, 2], [10, 20]", "[10 40]"),
    layer=arithmetic("multiply"),
)
divide = _binary(
    "divide",
    np.divide,
    (lambda dy, y, a, b: dy / b, lambda dy, y, a, b: -dy * (a / (b * b))),
    "The quotient, in floats.",
    ("[1, 2], [4, 5]", "[0.25 0.4 ]"),
    floats=True,
    layer=arithmetic("divide"),
)
true_divide = divide
maximum = _binary(
    "maximum",
    np.maximum,
    _share(np.greater),
    "The larger of each pair; NaN if one is.",
    ("[1, 5], [3, 4]", "[3 5]"),
    layer=arithmetic("maximum"),
)
minimum = _binary(
    "minimum",
    np.minimum,
    _share(np.less),
    "The smaller of each pair; NaN if one is.",
    ("[1, 5], [3, 4]", "[1 4]"),
    layer=arithmetic("minimum"),
)
power = _binary(
    "power",
    np.power,
    (_power_slope, _exponent_slope),
    "``x1`` to the power of ``x2``.",
    ("[2.0, 3.0], [3.0, 2.0]", "[8. 9.]"),
)
floor_divide = _binary(
    "floor_divide",
    np.floor_divide,
    None,
    "The quotient rounded down; it has no gradient.",
    ("[7, -7], [2, 2]", "[ 3 -4]"),
)
mod = _binary(
    "mod",
    np.mod,
    (lambda dy, y, a, b: dy, lambda dy, y, a, b: -dy * np.floor_divide(a, b)),
    "The remainder, of the sign of ``x2``.",
    ("[7, -7], [3, 3]", "[1 2]"),
)
arctan2 = _binary(
    "arctan2",
    np.arctan2,
    (lambda dy, y, a, b: dy * (b / (a * a + b * b)), lambda dy, y, a, b: -dy * (a / (a * a + b * b))),
    "The angle of the point ``(x2, x1)``.",
    ("[1.0, -1.0], [1.0, -1.0]", "[ 0.7854 -2.3562]"),
    floats=True,
)
logaddexp = _binary(
    "logaddexp",
    np.logaddexp,
    (lambda dy, y, a, b: dy * np.exp(a - y), lambda dy, y, a, b: dy * np.exp(b - y)),
    "``log(exp(x1) + exp(x2))`` without overflow.",
    ("[0.0, 100.0], [0.0, 100.0]", "[  0.6931 100.6931]"),
    floats=True,
)

# ---- Functions -------------------------------------------------------------------------------------------------------


def _erf(x: Array) -> Array:
    from scipy.special import erf as function

    return function(x)


def _float_of(x: Array, value: float) -> Array:
    return np.asarray(value, x.dtype)


negative = _unary(
    "negative",
    np.negative,
    lambda dy, y, x: -dy,
    "The number with the other sign.",
    ("[1.0, -2.0]", "[-1.  2.]"),
    layer=negated,
)
absolute = _unary(
    "absolute", np.abs, lambda dy, y, x: dy * np.sign(x), "The number without its sign.", ("[1.0, -2.0]", "[1. 2.]")
)
abs = absolute
square = _unary("square", np.square, lambda dy, y, x: dy * (x + x), "The square.", ("[3.0, -2.0]", "[9. 4.]"))
exp = _unary(
    "exp", np.exp, lambda dy, y, x: dy * y, "The exponential function.", ("[0.0, 1.0]", "[1.     2.7183]"), floats=True
)
log = _unary(
    "log", np.log, lambda dy, y, x: dy / x, "The natural logarithm.", ("[1.0, 10.0]", "[0.     2.3026]"), floats=True
)
log2 = _unary(
    "log2",
    np.log2,
    lambda dy, y, x: dy / (x * _float_of(x, math.log(2))),
    "Logarithm to the base 2.",
    ("[8.0, 0.5]", "[ 3. -1.]"),
    floats=True,
)
log10 = _unary(
    "log10",
    np.log10,
    lambda dy, y, x: dy / (x * _float_of(x, math.log(10))),
    "Logarithm to the base 10.",
    ("[100.0, 10.0]", "[2. 1.]"),
    floats=True,
)
log1p = _unary(
    "log1p",
    np.log1p,
    lambda dy, y, x: dy / (x + 1),
    "``log(1 + x)``, exact near 0.",
    ("[0.0, 1.0]", "[0.     0.6931]"),
    floats=True,
)
expm1 = _unary(
    "expm1",
    np.expm1,
    lambda dy, y, x: dy * (y + 1),
    "``exp(x) - 1``, exact near 0.",
    ("[0.0, 1.0]", "[0.     1.7183]"),
    floats=True,
)
sqrt = _unary(
    "sqrt",
    np.sqrt,
    lambda dy, y, x: dy * (_float_of(x, 0.5) / y),
    "The square root.",
    ("[9.0, 2.0]", "[3.     1.4142]"),
    floats=True,
)
rsqrt = _unary(
    "rsqrt",
    lambda x: 1 / np.sqrt(x),
    lambda dy, y, x: dy * (_float_of(x, -0.5) * y / x),
    "One over the square root.",
    ("[4.0, 0.25]", "[0.5 2. ]"),
    floats=True,
)
reciprocal = _unary(
    "reciprocal",
    lambda x: 1 / x,
    lambda dy, y, x: -dy * (y * y),
    "One over the number.",
    ("[4.0, -0.5]", "[ 0.25 -2.  ]"),
    floats=True,
)
sin = _unary(
    "sin", np.sin, lambda dy, y, x: dy * np.cos(x), "The sine.", ("[0.0, 1.0]", "[0.     0.8415]"), floats=True
)
cos = _unary(
    "cos", np.cos, lambda dy, y, x: -dy * np.sin(x), "The cosine.", ("[0.0, 1.0]", "[1.     0.5403]"), floats=True
)
tan = _unary(
    "tan", np.tan, lambda dy, y, x: dy * (1 + y * y), "The tangent.", ("[0.0, 1.0]", "[0.     1.5574]"), floats=True
)
arcsin = _unary(
    "arcsin",
    np.arcsin,
    lambda dy, y, x: dy / np.sqrt(1 - x * x),
    "The inverse of the sine.",
    ("[0.0, 1.0]", "[0.     1.5708]"),
    floats=True,
)
arccos = _unary(
    "arccos",
    np.arccos,
    lambda dy, y, x: -dy / np.sqrt(1 - x * x),
    "The inverse of the cosine.",
    ("[0.0, 1.0]", "[1.5708 0.    ]"),
    floats=True,
)
arctan = _unary(
    "arctan",
    np.arctan,
    lambda dy, y, x: dy / (1 + x * x),
    "The inverse of the tangent.",
    ("[0.0, 1.0]", "[0.     0.7854]"),
    floats=True,
)
sinh = _unary(
    "sinh",
    np.sinh,
    lambda dy, y, x: dy * np.cosh(x),
    "The hyperbolic sine.",
    ("[0.0, 1.0]", "[0.     1.1752]"),
    floats=True,
)
cosh = _unary(
    "cosh",
    np.cosh,
    lambda dy, y, x: dy * np.sinh(x),
    "The hyperbolic cosine.",
    ("[0.0, 1.0]", "[1.     1.5431]"),
    floats=True,
)
erf = _unary(
    "erf",
    _erf,
    lambda dy, y, x: dy * _float_of(x, 2 / math.sqrt(math.pi)) * np.exp(-x * x),
    "The error function.",
    ("[0.0, 1.0]", "[0.     0.8427]"),
    floats=True,
)
sign = _unary("sign", np.sign, None, "-1, 0 or 1; it has no gradient.", ("[-3.0, 0.0, 2.0]", "[-1.  0.  1.]"))
floor = _unary("floor", np.floor, None, "Rounded down; it has no gradient.", ("[-1.5, 2.7]", "[-2.  2.]"), floats=True)
ceil = _unary("ceil", np.ceil, None, "Rounded up; it has no gradient.", ("[-1.5, 2.7]", "[-1.  3.]"), floats=True)
trunc = _unary(
    "trunc", np.trunc, None, "Rounded towards 0; it has no gradient.", ("[-1.5, 2.7]", "[-1.  2.]"), floats=True
)


@operation("x", shape=_same, steps=steps.each)
def round(x: Any, decimals: int = 0) -> Any:
    """Rounded to so many decimals, halves to even; it has no gradient.

    Parameters
    ----------
    x : array of any shape
    decimals : int

    Returns
    -------
    array of the shape of ``x``

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.round([0.5, 1.5, 2.26], decimals=1), ops.round([0.5, 1.5, 2.5]))
    [0.5 1.5 2.3] [0. 2. 2.]
    """
    return np.round(x, decimals)


def _clip_steps(x: Any, x_min: Any, x_max: Any) -> str:
    return steps.beside(*[part for part in (x, x_min, x_max) if part is not None])


def _clip_shape(x: Any, x_min: Any, x_max: Any) -> Any:
    return broadcast(*[part.shape for part in (x, x_min, x_max) if part is not None])


@operation("x", "x_min", "x_max", shape=_clip_shape, steps=_clip_steps, meet=True)
def clip(x: Any, x_min: Any, x_max: Any) -> Any:
    """Not below ``x_min`` and not above ``x_max``; None is no limit.

    Parameters
    ----------
    x : array of any shape
    x_min, x_max : number, array or None
        Arrays are broadcast.

    Returns
    -------
    array of the shape of ``x``

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.clip([-2.0, 0.5, 3.0], 0.0, 1.0))
    [0.  0.5 1. ]
    """
    return x if x_min is None and x_max is None else np.clip(x, x_min, x_max)


@gradient_of(clip)
def _clip_gradient(k: int, dy: Array, y: Array, x: Array, x_min: Any, x_max: Any) -> Array:
    low = np.zeros(y.shape, bool) if x_min is None else x < x_min
    high = np.zeros(y.shape, bool) if x_max is None else x > x_max
    return np.where((~(low | high), low & ~high, high)[k], dy, np.zeros((), dy.dtype))


# ---- Activations -----------------------------------------------------------------------------------------------------


def _activation(name: str, doc: str, example: tuple[str, str]) -> Any:
    """An operation from the activation of the same name."""
    own = activations.get(name)
    return _unary(name, own, lambda dy, y, x: own.vjp(x, y, dy), doc, example, floats=True)


tanh = _activation("tanh", "The hyperbolic tangent.", ("[0.0, 1.0]", "[0.     0.7616]"))
sigmoid = _activation("sigmoid", "``1 / (1 + exp(-x))``.", ("[0.0, 1.0]", "[0.5    0.7311]"))
relu = _activation("relu", "``max(x, 0)``.", ("[-1.0, 2.0]", "[0. 2.]"))
relu6 = _activation("relu6", "``min(max(x, 0), 6)``.", ("[-1.0, 2.0, 8.0]", "[0. 2. 6.]"))
hard_sigmoid = _activation("hard_sigmoid", "``x / 6 + 0.5`` between 0 and 1.", ("[-4.0, 0.0, 1.5]", "[0.   0.5  0.75]"))
softplus = _activation("softplus", "``log(1 + exp(x))``.", ("[0.0, 1.0]", "[0.6931 1.3133]"))
softsign = _activation("softsign", "``x / (1 + abs(x))``.", ("[-1.0, 3.0]", "[-0.5   0.75]"))
selu = _activation("selu", "The scaled exponential linear unit.", ("[-1.0, 1.0]", "[-1.1113  1.0507]"))
silu = _activation("silu", "``x * sigmoid(x)``.", ("[-1.0, 1.0]", "[-0.2689  0.7311]"))
swish = silu


@operation("x", shape=_same, steps=steps.each, floats=True)
def elu(x: Any, alpha: float = 1.0) -> Any:
    """``x`` above 0, ``alpha * (exp(x) - 1)`` below.

    Parameters
    ----------
    x : array of any shape
    alpha : float

    Returns
    -------
    array of the shape of ``x``

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.elu([-1.0, 0.0, 2.0]).round(4))
    [-0.6321  0.      2.    ]
    """
    return np.where(x < 0, _float_of(x, alpha) * np.expm1(np.minimum(x, 0)), x)


@gradient_of(elu)
def _elu_gradient(k: int, dy: Array, y: Array, x: Array, alpha: float) -> Array:
    return np.where(x < 0, dy * (y + _float_of(x, alpha)), dy)


@operation("x", shape=_same, steps=steps.each, floats=True)
def leaky_relu(x: Any, negative_slope: float = 0.2) -> Any:
    """``x`` above 0, ``negative_slope * x`` below.

    Parameters
    ----------
    x : array of any shape
    negative_slope : float

    Returns
    -------
    array of the shape of ``x``

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.leaky_relu([-1.0, 0.0, 2.0]))
    [-0.2  0.   2. ]
    """
    return np.where(x < 0, _float_of(x, negative_slope) * x, x)


@gradient_of(leaky_relu)
def _leaky_relu_gradient(k: int, dy: Array, y: Array, x: Array, negative_slope: float) -> Array:
    return np.where(x < 0, _float_of(x, negative_slope) * dy, dy)


GELU_SCALE, GELU_CUBE = math.sqrt(2 / math.pi), 0.044715  # of the approximation (Hendrycks & Gimpel 2016)


@operation("x", shape=_same, steps=steps.each, floats=True)
def gelu(x: Any, approximate: bool = True) -> Any:
    """``x`` times the normal distribution function of ``x``; approximated by a tanh, as in Keras, or exact.

    Parameters
    ----------
    x : array of any shape
    approximate : bool

    Returns
    -------
    array of the shape of ``x``

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.gelu([-1.0, 0.0, 2.0]).round(4), ops.gelu([2.0], approximate=False).round(4))
    [-0.1588  0.      1.9546] [1.9545]
    """
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


def _comparison(name: str, function: Callable[..., Any], doc: str, example: tuple[str, str]) -> Any:
    return _binary(name, function, None, doc, example, result=dtypes.BOOL)


greater = _comparison("greater", np.greater, "Where ``x1 > x2``.", ("[1, 2, 3], 2", "[False False  True]"))
greater_equal = _comparison(
    "greater_equal", np.greater_equal, "Where ``x1 >= x2``.", ("[1, 2, 3], 2", "[False  True  True]")
)
less = _comparison("less", np.less, "Where ``x1 < x2``.", ("[1, 2, 3], 2", "[ True False False]"))
less_equal = _comparison("less_equal", np.less_equal, "Where ``x1 <= x2``.", ("[1, 2, 3], 2", "[ True  True False]"))
equal = _comparison("equal", np.equal, "Where the two are equal.", ("[1, 2, 3], 2", "[False  True False]"))
not_equal = _comparison("not_equal", np.not_equal, "Where the two differ.", ("[1, 2, 3], 2", "[ True False  True]"))
logical_and = _comparison(
    "logical_and", np.logical_and, "Where both are not 0.", ("[0, 1, 2], [1, 1, 0]", "[False  True False]")
)
logical_or = _comparison(
    "logical_or", np.logical_or, "Where one is not 0.", ("[0, 1, 0], [1, 1, 0]", "[ True  True False]")
)
logical_xor = _comparison(
    "logical_xor",
    np.logical_xor,
    "Where one is not 0 and the other is.",
    ("[0, 1, 0], [1, 1, 0]", "[ True False False]"),
)
logical_not = _unary(
    "logical_not",
    np.logical_not,
    None,
    "Where the number is 0.",
    ("[0, 1, 2]", "[ True False False]"),
    result=dtypes.BOOL,
)
isnan = _unary(
    "isnan",
    np.isnan,
    None,
    "Where the number is NaN.",
    ("[1.0, float('nan')]", "[False  True]"),
    floats=True,
    result=dtypes.BOOL,
)
isinf = _unary(
    "isinf",
    np.isinf,
    None,
    "Where the number is infinite.",
    ("[1.0, float('inf')]", "[False  True]"),
    floats=True,
    result=dtypes.BOOL,
)
isfinite = _unary(
    "isfinite",
    np.isfinite,
    None,
    "Where the number is neither NaN nor infinite.",
    ("[1.0, float('inf')]", "[ True False]"),
    floats=True,
    result=dtypes.BOOL,
)


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

    Parameters
    ----------
    condition : array
    x1, x2 : array, optional
        Broadcast against the condition and each other.

    Returns
    -------
    array, or a list of int arrays

    Raises
    ------
    ValueError
        If only one of ``x1`` and ``x2`` is given.

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.where([True, False, True], [1, 2, 3], 0))
    [1 0 3]
    >>> ops.where([True, False, True])
    [array([0, 2])]
    """
    if x1 is None and x2 is None:
        return list(np.nonzero(np.asarray(condition)))
    if x1 is None or x2 is None:
        raise ValueError("ops.where: give both `x1` and `x2`, or none of them")
    return _where(condition, x1, x2)


# ---- Types -----------------------------------------------------------------------------------------------------------


@operation("x", alike=(), shape=_same, steps=steps.each, result=lambda own, arguments: dtypes.named(arguments["dtype"]))
def cast(x: Any, dtype: Any) -> Any:
    """The numbers as another type: "float32", "int32", "bool", ...

    Parameters
    ----------
    x : array of any shape
    dtype : str

    Returns
    -------
    array of the shape of ``x``

    Examples
    --------
    >>> from rnnx import ops
    >>> ops.cast([1.7, -1.7, 0.0], "int32"), ops.cast([1.7, 0.0], "bool")
    (array([ 1, -1,  0], dtype=int32), array([ True, False]))
    """
    return np.asarray(x).astype(dtypes.named(dtype))


@gradient_of(cast)
def _cast_gradient(k: int, dy: Array, y: Array, x: Array, dtype: Any) -> Array | None:
    return dy if y.dtype.kind == "f" else None


@operation("variable", alike=(), shape=lambda variable: variable.shape, steps=lambda variable: steps.each(variable))
def stop_gradient(variable: Any) -> Any:
    """The same numbers, through which no gradient flows.

    Parameters
    ----------
    variable : array of any shape

    Returns
    -------
    the same array

    Examples
    --------
    >>> import rnnx
    >>> from rnnx import ops
    >>> x = rnnx.Input((3,))
    >>> y, pullback = rnnx.Model(x, x * ops.stop_gradient(x)).vjp([[1.0, 2.0, 3.0]])
    >>> print(pullback(y * 0 + 1).dx)
    [[1. 2. 3.]]
    """
    return variable


def _type_like(own: Any, arguments: dict[str, Any]) -> Any:
    return own if arguments["dtype"] is None else dtypes.named(arguments["dtype"])


@operation("x", alike=(), shape=_same, steps=steps.each, result=_type_like)
def full_like(x: Any, fill_value: Any, dtype: Any = None) -> Any:
    """One value in the shape of ``x``.

    Parameters
    ----------
    x : array of any shape
    fill_value : number
    dtype : str, optional

    Returns
    -------
    array of the shape of ``x``

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.full_like([1.0, 2.0], 7))
    [7. 7.]
    """
    return np.full(x.shape, fill_value, x.dtype if dtype is None else dtypes.named(dtype))


def zeros_like(x: Any, dtype: Any = None) -> Any:
    """Zeros in the shape of ``x``.

    Parameters
    ----------
    x : array of any shape
    dtype : str, optional

    Returns
    -------
    array of the shape of ``x``

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.zeros_like([1.0, 2.0]))
    [0. 0.]
    """
    return full_like(x, 0, dtype)


def ones_like(x: Any, dtype: Any = None) -> Any:
    """Ones in the shape of ``x``.

    Parameters
    ----------
    x : array of any shape
    dtype : str, optional

    Returns
    -------
    array of the shape of ``x``

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.ones_like([1.0, 2.0]))
    [1. 1.]
    """
    return full_like(x, 1, dtype)
