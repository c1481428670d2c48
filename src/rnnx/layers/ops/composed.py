"""Operations that are made of others."""

from __future__ import annotations

from typing import Any

from rnnx.layers.ops.arrangement import ndim, reshape, shape, size, squeeze
from rnnx.layers.ops.creation import convert_to_tensor
from rnnx.layers.ops.elementwise import (
    abs,
    cast,
    clip,
    divide,
    elu,
    exp,
    log,
    log1p,
    maximum,
    multiply,
    negative,
    relu,
    relu6,
    sigmoid,
    softplus,
    sqrt,
    subtract,
    tanh,
    where,
)
from rnnx.layers.ops.parts import broadcast_to, split
from rnnx.layers.ops.reductions import Axis, log_softmax, mean, norm, sum, var
from rnnx.layers.ops.selection import one_hot

EPSILON = 1e-7  # that of Keras: lengths and probabilities are not below it


def std(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The standard deviation along axes, the root of `var`.

    Parameters
    ----------
    x : array of any shape
    axis : int or tuple of int, optional
        All axes if it is not given.
    keepdims : bool
        The axes stay, of size 1.

    Returns
    -------
    array without these axes

    Raises
    ------
    ValueError
        If there is no such axis.

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.std([[1.0, 2.0], [3.0, 6.0]], axis=1))
    [0.5 1.5]
    """
    return sqrt(var(x, axis, keepdims))


def moments(x: Any, axes: Axis, keepdims: bool = False, synchronized: bool = False) -> tuple[Any, Any]:
    """Mean and variance along axes.

    Parameters
    ----------
    x : array of any shape
    axes : int or tuple of int, optional
        All axes if it is None.
    keepdims : bool
        The axes stay, of size 1.
    synchronized : bool
        Accepted as in Keras; there is one process.

    Returns
    -------
    (mean, variance) : pair of arrays without these axes

    Raises
    ------
    ValueError
        If there is no such axis.

    Examples
    --------
    >>> from rnnx import ops
    >>> mean, variance = ops.moments([[1.0, 2.0], [3.0, 6.0]], axes=[1])
    >>> print(mean, variance)
    [1.5 4.5] [0.25 2.25]
    """
    return mean(x, axes, keepdims), var(x, axes, keepdims)


def average(x: Any, axis: Axis = None, weights: Any = None) -> Any:
    """The mean along axes, each number with its weight; the weights have the shape of ``x`` or broadcast to it.

    Parameters
    ----------
    x : array of any shape
    axis : int or tuple of int, optional
        All axes if it is not given.
    weights : array, optional
        Of the shape of ``x``, or one that broadcasts to it.

    Returns
    -------
    array without these axes

    Raises
    ------
    ValueError
        If there is no such axis, or the weights do not fit.

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.average([[1.0, 2.0], [3.0, 6.0]], axis=1, weights=[3.0, 1.0]))
    [1.25 3.75]
    """
    if weights is None:
        return mean(x, axis)
    x = convert_to_tensor(x)
    return divide(sum(multiply(x, weights), axis), sum(multiply(weights, x * 0 + 1), axis))


def normalize(x: Any, axis: Any = -1, order: Any = 2, epsilon: float | None = None) -> Any:
    """Vectors along an axis over their length (see `norm`), which counts as at least ``epsilon`` (1e-7).

    Parameters
    ----------
    x : array of any shape
    axis : int or tuple of int
    order : int
        As ``ord`` of `norm`.
    epsilon : float, optional

    Returns
    -------
    array of the shape of ``x``

    Raises
    ------
    ValueError
        If there is no such axis.

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.normalize([[3.0, 4.0], [0.0, 0.0]]))
    [[0.6 0.8]
     [0.  0. ]]
    """
    return divide(x, maximum(norm(x, order, axis, True), EPSILON if epsilon is None else epsilon))


def celu(x: Any, alpha: float = 1.0) -> Any:
    """``x`` above 0, ``alpha * (exp(x / alpha) - 1)`` below.

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
    >>> print(ops.celu([-1.0, 0.0, 2.0], alpha=2.0).round(4))
    [-0.7869  0.      2.    ]
    """
    return multiply(elu(divide(x, alpha)), alpha)


def glu(x: Any, axis: int = -1) -> Any:
    """One half along an axis times the `sigmoid` of the other.

    Parameters
    ----------
    x : array with an axis of even size
    axis : int

    Returns
    -------
    array, half as wide along the axis

    Raises
    ------
    ValueError
        If the axis cannot be halved.

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.glu([[2.0, 4.0, 0.0, 0.0]]))
    [[1. 2.]]
    """
    value, gate = split(x, 2, axis)
    return multiply(value, sigmoid(gate))


def hard_silu(x: Any) -> Any:
    """``x * relu6(x + 3) / 6``.

    Parameters
    ----------
    x : array of any shape

    Returns
    -------
    array of the shape of ``x``

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.hard_silu([-4.0, 0.0, 3.0]))
    [-0.  0.  3.]
    """
    return multiply(x, divide(relu6(convert_to_tensor(x) + 3), 6))


hard_swish = hard_silu


def hard_tanh(x: Any) -> Any:
    """``x`` between -1 and 1.

    Parameters
    ----------
    x : array of any shape

    Returns
    -------
    array of the shape of ``x``

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.hard_tanh([-4.0, 0.5, 3.0]))
    [-1.   0.5  1. ]
    """
    return clip(x, -1.0, 1.0)


def log_sigmoid(x: Any) -> Any:
    """The logarithm of `sigmoid`, without overflow.

    Parameters
    ----------
    x : array of any shape

    Returns
    -------
    array of the shape of ``x``

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.log_sigmoid([-100.0, 0.0]).round(4))
    [-100.       -0.6931]
    """
    return negative(softplus(negative(x)))


def soft_shrink(x: Any, threshold: float = 0.5) -> Any:
    """``x`` moved by the threshold towards 0, not beyond.

    Parameters
    ----------
    x : array of any shape
    threshold : float

    Returns
    -------
    array of the shape of ``x``

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.soft_shrink([-2.0, 0.25, 1.0]))
    [-1.5  0.   0.5]
    """
    return subtract(relu(subtract(x, threshold)), relu(subtract(negative(x), threshold)))


def tanh_shrink(x: Any) -> Any:
    """``x - tanh(x)``.

    Parameters
    ----------
    x : array of any shape

    Returns
    -------
    array of the shape of ``x``

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.tanh_shrink([0.0, 2.0]).round(4))
    [0.    1.036]
    """
    return subtract(x, tanh(x))


def threshold(x: Any, threshold: float, default_value: float) -> Any:
    """``x`` above the threshold, else a value.

    Parameters
    ----------
    x : array of any shape
    threshold, default_value : float

    Returns
    -------
    array of the shape of ``x``

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.threshold([-2.0, 0.5, 1.0], 0.6, 9.0))
    [9. 9. 1.]
    """
    return where(convert_to_tensor(x) > threshold, x, default_value)


def meshgrid(*x: Any, indexing: str = "xy") -> list[Any]:
    """Vectors, each along an axis of its own, repeated along those of the others; "xy" swaps the first two axes.

    Parameters
    ----------
    *x : vectors
    indexing : {"xy", "ij"}

    Returns
    -------
    list of arrays, each with an axis for every vector

    Raises
    ------
    ValueError
        If ``indexing`` is another word.

    Examples
    --------
    >>> from rnnx import ops
    >>> a, b = ops.meshgrid([1, 2, 3], [10, 20])
    >>> print(a)
    [[1 2 3]
     [1 2 3]]
    >>> print(b)
    [[10 10 10]
     [20 20 20]]
    """
    if indexing not in ("xy", "ij"):
        raise ValueError(f"ops.meshgrid: `indexing` must be 'xy' or 'ij', got {indexing!r}")
    order = list(range(len(x)))
    if indexing == "xy" and len(x) > 1:
        order[:2] = [1, 0]
    sizes = [size(part) for part in x]
    full = tuple([sizes[order.index(axis)] for axis in range(len(x))])
    places = [tuple([-1 if axis == place else 1 for axis in range(len(x))]) for place in order]
    return [broadcast_to(reshape(part, place), full) for part, place in zip(x, places, strict=True)]


# ---- Losses of each number or row ------------------------------------------------------------------------------------


def binary_crossentropy(target: Any, output: Any, from_logits: bool = False) -> Any:
    """``-target * log(output) - (1 - target) * log(1 - output)``; of logits without overflow.

    Parameters
    ----------
    target : array of any shape
        Classes 0 and 1, or probabilities.
    output : array of the same shape
        Probabilities, or logits with ``from_logits``.
    from_logits : bool

    Returns
    -------
    array of the same shape

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.binary_crossentropy([1.0, 0.0], [0.5, 0.75]).round(4))
    [0.6931 1.3863]
    """
    target, output = convert_to_tensor(target), convert_to_tensor(output)
    if from_logits:
        return maximum(output, 0) - output * target + log1p(exp(negative(abs(output))))
    output = clip(output, EPSILON, 1 - EPSILON)
    return negative(target * log(output) + (1 - target) * log(1 - output))


def categorical_crossentropy(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> Any:
    """``-sum(target * log(output))`` along an axis, the outputs made to sum to 1 there, or those of logits.

    Parameters
    ----------
    target : array of shape (..., classes)
        Probabilities, such as one-hot rows.
    output : array of the same shape
        Probabilities, or logits with ``from_logits``.
    from_logits : bool
    axis : int
        That of the classes.

    Returns
    -------
    array without that axis

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.categorical_crossentropy([[0.0, 1.0]], [[0.5, 1.5]]).round(4))
    [0.2877]
    """
    target, output = convert_to_tensor(target), convert_to_tensor(output)
    if from_logits:
        return negative(sum(target * log_softmax(output, axis), axis))
    output = clip(output / sum(output, axis, True), EPSILON, 1 - EPSILON)
    return negative(sum(target * log(output), axis))


def sparse_categorical_crossentropy(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> Any:
    """`categorical_crossentropy` for the numbers of the classes.

    Parameters
    ----------
    target : int array of shape (...) or (..., 1)
    output : array of shape (..., classes)
        Probabilities, or logits with ``from_logits``.
    from_logits : bool
    axis : int
        That of the classes.

    Returns
    -------
    array of shape (...)

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.sparse_categorical_crossentropy([1], [[0.5, 1.5]]).round(4))
    [0.2877]
    """
    target, output = convert_to_tensor(target), convert_to_tensor(output)
    if ndim(target) == ndim(output) and shape(target)[-1] == 1:
        target = squeeze(target, -1)
    hot = one_hot(cast(target, "int32"), shape(output)[axis], axis, output.dtype)
    return categorical_crossentropy(hot, output, from_logits, axis)
