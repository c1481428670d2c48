"""Operations along axes: sums, extremes, softmax."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.layers.ops import dtypes, shapes, steps
from rnnx.layers.ops.elementwise import _float_of
from rnnx.layers.ops.operation import gradient_of, operation

Axis = int | tuple[int, ...] | None


def _reduced(x: Any, axis: Axis = None, keepdims: bool = False, **options: Any) -> Any:
    return shapes.without(x.shape, shapes.axes_in(axis, x.ndim), keepdims)


def _reduced_steps(x: Any, axis: Axis = None, keepdims: bool = False, **options: Any) -> str:
    return steps.apart(axis, x.ndim)


def _kept(x: Any, **options: Any) -> Any:
    shapes.axes_in(options["axis"], x.ndim)
    return x.shape


def _kept_steps(x: Any, axis: Any, **options: Any) -> str:
    return steps.apart(axis, x.ndim)


def _axes(x: Array, axis: Axis) -> tuple[int, ...]:
    return shapes.axes_in(axis, x.ndim)


def _spread(part: Array, x: Array, axis: Axis, keepdims: bool) -> Array:
    """What stands for each group, next to the numbers of the groups again."""
    return part if keepdims else np.expand_dims(part, _axes(x, axis))


def _members(x: Array, axis: Axis) -> int:
    return math.prod([x.shape[k] for k in _axes(x, axis)])


_along: dict[str, Any] = {"shape": _reduced, "steps": _reduced_steps}
_sums: dict[str, Any] = {**_along, "result": lambda own, arguments: dtypes.summed(own)}


@operation("x", **_sums)
def sum(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The sum along axes; None is all of them.

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
    >>> print(ops.sum([[1.0, 2.0], [3.0, 6.0]], axis=1))
    [3. 9.]
    """
    return np.sum(x, _axes(x, axis), keepdims=keepdims)


@gradient_of(sum)
def _sum_gradient(k: int, dy: Array, y: Array, x: Array, axis: Axis, keepdims: bool) -> Array:
    return np.broadcast_to(_spread(dy, x, axis, keepdims), x.shape)


@operation("x", floats=True, **_along)
def mean(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The mean along axes, in floats.

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
    >>> print(ops.mean([[1.0, 2.0], [3.0, 6.0]], axis=1))
    [1.5 4.5]
    """
    return np.mean(x, _axes(x, axis), keepdims=keepdims)


@gradient_of(mean)
def _mean_gradient(k: int, dy: Array, y: Array, x: Array, axis: Axis, keepdims: bool) -> Array:
    return np.broadcast_to(_spread(dy, x, axis, keepdims) / _float_of(x, _members(x, axis)), x.shape)


@operation("x", floats=True, **_along)
def var(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The variance along axes: the mean of the squared distances from the mean.

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
    >>> print(ops.var([[1.0, 2.0], [3.0, 6.0]], axis=1))
    [0.25 2.25]
    """
    return np.var(x, _axes(x, axis), keepdims=keepdims)


@gradient_of(var)
def _var_gradient(k: int, dy: Array, y: Array, x: Array, axis: Axis, keepdims: bool) -> Array:
    centred = x - np.mean(x, _axes(x, axis), keepdims=True)
    return _spread(dy, x, axis, keepdims) * centred * _float_of(x, 2 / _members(x, axis))


def _prod_types(own: Any, arguments: dict[str, Any]) -> Any:
    wanted = arguments["dtype"]
    return dtypes.summed(own) if wanted is None else dtypes.named(wanted)


@operation("x", **{**_along, "result": _prod_types})
def prod(x: Any, axis: Axis = None, keepdims: bool = False, dtype: Any = None) -> Any:
    """The product along axes.

    Parameters
    ----------
    x : array of any shape
    axis : int or tuple of int, optional
        All axes if it is not given.
    keepdims : bool
        The axes stay, of size 1.
    dtype : str, optional

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
    >>> print(ops.prod([[1.0, 2.0], [3.0, 6.0]], axis=1))
    [ 2. 18.]
    """
    return np.prod(x, _axes(x, axis), keepdims=keepdims, dtype=None if dtype is None else dtypes.named(dtype))


@gradient_of(prod)
def _prod_gradient(k: int, dy: Array, y: Array, x: Array, axis: Axis, keepdims: bool, dtype: Any) -> Array:
    """The product of the others, for each number; a group with one 0 has one that is not 0."""
    zero, axes = x == 0, _axes(x, axis)
    others = np.where(zero, np.ones((), x.dtype), x)
    product = np.prod(others, axes, keepdims=True) / others
    zeros = np.sum(zero, axes, keepdims=True) - zero
    return np.where(zeros == 0, _spread(dy, x, axis, keepdims) * product, np.zeros((), x.dtype))


def _extreme_shape(x: Any, axis: Axis, keepdims: bool, initial: Any) -> Any:
    axes = shapes.axes_in(axis, x.ndim)
    if initial is None and 0 in [x.shape[k] for k in axes]:
        raise ValueError(f"there is no largest or smallest of no numbers, along axes {axes} of shape {x.shape}")
    return _reduced(x, axis, keepdims)


_extreme: dict[str, Any] = {"shape": _extreme_shape, "steps": _reduced_steps}


@operation("x", **_extreme)
def max(x: Any, axis: Axis = None, keepdims: bool = False, initial: Any = None) -> Any:
    """The largest number along axes, and not below ``initial``; NaN if there is one.

    Parameters
    ----------
    x : array of any shape
    axis : int or tuple of int, optional
        All axes if it is not given.
    keepdims : bool
        The axes stay, of size 1.
    initial : float, optional
        What the result is of no numbers at all, and at the least.

    Returns
    -------
    array without these axes

    Raises
    ------
    ValueError
        If there is no such axis, or no number along one and no ``initial``.

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.max([[1.0, 2.0], [3.0, 6.0]], axis=0))
    [3. 6.]
    """
    return np.max(x, _axes(x, axis), keepdims=keepdims, **({} if initial is None else {"initial": initial}))


@operation("x", **_extreme)
def min(x: Any, axis: Axis = None, keepdims: bool = False, initial: Any = None) -> Any:
    """The smallest number along axes, and not above ``initial``; NaN if there is one.

    Parameters
    ----------
    x : array of any shape
    axis : int or tuple of int, optional
        All axes if it is not given.
    keepdims : bool
        The axes stay, of size 1.
    initial : float, optional
        What the result is of no numbers at all, and at the most.

    Returns
    -------
    array without these axes

    Raises
    ------
    ValueError
        If there is no such axis, or no number along one and no ``initial``.

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.min([[1.0, 2.0], [3.0, 6.0]], axis=0))
    [1. 2.]
    """
    return np.min(x, _axes(x, axis), keepdims=keepdims, **({} if initial is None else {"initial": initial}))


@gradient_of(max, min)
def _extreme_gradient(k: int, dy: Array, y: Array, x: Array, axis: Axis, keepdims: bool, initial: Any) -> Array:
    """Equal ones share it evenly, as in PyTorch's ``amax``."""
    chosen = (x == _spread(y, x, axis, keepdims)).astype(x.dtype)
    among = np.maximum(chosen.sum(_axes(x, axis), keepdims=True), _float_of(x, 1))
    return chosen * (_spread(dy, x, axis, keepdims) / among)


amax, amin = max, min


@operation("x", alike=(), result=dtypes.BOOL, **_along)
def any(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Whether a number along axes is not 0.

    Parameters
    ----------
    x : array of any shape
    axis : int or tuple of int, optional
        All axes if it is not given.
    keepdims : bool
        The axes stay, of size 1.

    Returns
    -------
    bool array without these axes

    Raises
    ------
    ValueError
        If there is no such axis.

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.any([[0, 1], [2, 3], [0, 0]], axis=1))
    [ True  True False]
    """
    return np.any(x, _axes(x, axis), keepdims=keepdims)


@operation("x", alike=(), result=dtypes.BOOL, **_along)
def all(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Whether no number along axes is 0.

    Parameters
    ----------
    x : array of any shape
    axis : int or tuple of int, optional
        All axes if it is not given.
    keepdims : bool
        The axes stay, of size 1.

    Returns
    -------
    bool array without these axes

    Raises
    ------
    ValueError
        If there is no such axis.

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.all([[0, 1], [2, 3], [0, 0]], axis=1))
    [False  True False]
    """
    return np.all(x, _axes(x, axis), keepdims=keepdims)


@operation("x", alike=(), result=dtypes.INDEX, shape=lambda x, axis: _reduced(x, axis),
           steps=lambda x, axis: steps.apart(axis, x.ndim))  # fmt: skip
def count_nonzero(x: Any, axis: Axis = None) -> Any:
    """How many numbers along axes are not 0.

    Parameters
    ----------
    x : array of any shape
    axis : int or tuple of int, optional
        All axes if it is not given.

    Returns
    -------
    int32 array without these axes

    Raises
    ------
    ValueError
        If there is no such axis.

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.count_nonzero([[0, 1], [2, 3], [0, 0]], axis=1))
    [1 2 0]
    """
    return np.count_nonzero(x, _axes(x, axis))


def _place_shape(x: Any, axis: Any, keepdims: bool) -> Any:
    if axis is not None and isinstance(axis, (list, tuple)):
        raise ValueError(f"`axis` must be one axis or None, got {axis!r}")
    return _extreme_shape(x, axis, keepdims, None)


_places: dict[str, Any] = {"shape": _place_shape, "steps": _reduced_steps, "result": dtypes.INDEX}


@operation("x", **_places)
def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """Where the largest number along an axis stands, the first of equal ones; None counts through all axes.

    Parameters
    ----------
    x : array of any shape
    axis : int, optional
        All numbers in one row if it is not given.
    keepdims : bool
        The axis stays, of size 1.

    Returns
    -------
    int32 array without this axis

    Raises
    ------
    ValueError
        If there is no such axis, or several are given, or there is no number along it.

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.argmax([[1, 5, 5], [9, 3, 9]], axis=1))
    [1 0]
    """
    return np.argmax(x, axis, keepdims=keepdims)


@operation("x", **_places)
def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """Where the smallest number along an axis stands, the first of equal ones; None counts through all axes.

    Parameters
    ----------
    x : array of any shape
    axis : int, optional
        All numbers in one row if it is not given.
    keepdims : bool
        The axis stays, of size 1.

    Returns
    -------
    int32 array without this axis

    Raises
    ------
    ValueError
        If there is no such axis, or several are given, or there is no number along it.

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.argmin([[1, 5, 5], [9, 3, 9]], axis=1))
    [0 1]
    """
    return np.argmin(x, axis, keepdims=keepdims)


# ---- Exponentials ----------------------------------------------------------------------------------------------------


@operation("x", floats=True, **_along)
def logsumexp(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """``log(sum(exp(x)))`` along axes, without overflow.

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
    >>> print(ops.logsumexp([[100.0, 100.0], [0.0, 0.0]], axis=1).round(4))
    [100.6931   0.6931]
    """
    axes = _axes(x, axis)
    most = np.max(x, axes, keepdims=True)
    most = np.where(np.isfinite(most), most, np.zeros((), x.dtype))
    found = np.log(np.sum(np.exp(x - most), axes, keepdims=True)) + most
    return found if keepdims else np.squeeze(found, axes)


@gradient_of(logsumexp)
def _logsumexp_gradient(k: int, dy: Array, y: Array, x: Array, axis: Axis, keepdims: bool) -> Array:
    return _spread(dy, x, axis, keepdims) * np.exp(x - _spread(y, x, axis, keepdims))


_normalised: dict[str, Any] = {"shape": _kept, "steps": _kept_steps, "floats": True}


@operation("x", **_normalised)
def softmax(x: Any, axis: Any = -1) -> Any:
    """``exp(x)`` over its sum along an axis or several.

    Parameters
    ----------
    x : array of any shape
    axis : int or tuple of int

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
    >>> print(ops.softmax([[0.0, 0.0], [0.0, 1.0]]).round(4))
    [[0.5    0.5   ]
     [0.2689 0.7311]]
    """
    axes = _axes(x, axis)
    e = np.exp(x - np.max(x, axes, keepdims=True))
    return e / np.sum(e, axes, keepdims=True)


@gradient_of(softmax)
def _softmax_gradient(k: int, dy: Array, y: Array, x: Array, axis: Any) -> Array:
    return y * (dy - np.sum(dy * y, _axes(x, axis), keepdims=True))


@operation("x", **_normalised)
def log_softmax(x: Any, axis: Any = -1) -> Any:
    """The logarithm of `softmax`, without overflow.

    Parameters
    ----------
    x : array of any shape
    axis : int or tuple of int

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
    >>> print(ops.log_softmax([[0.0, 0.0], [0.0, 1.0]]).round(4))
    [[-0.6931 -0.6931]
     [-1.3133 -0.3133]]
    """
    axes = _axes(x, axis)
    below = x - np.max(x, axes, keepdims=True)
    return below - np.log(np.sum(np.exp(below), axes, keepdims=True))


@gradient_of(log_softmax)
def _log_softmax_gradient(k: int, dy: Array, y: Array, x: Array, axis: Any) -> Array:
    return dy - np.exp(y) * np.sum(dy, _axes(x, axis), keepdims=True)


# ---- Running sums ----------------------------------------------------------------------------------------------------


def _running_shape(x: Any, axis: Any, dtype: Any) -> Any:
    if axis is None:
        return (shapes.count(x.shape),)
    shapes.axis_in(axis, x.ndim)
    return x.shape


@operation("x", shape=_running_shape, steps=_kept_steps, result=_prod_types)
def cumsum(x: Any, axis: int | None = None, dtype: Any = None) -> Any:
    """The sums so far along an axis; None is all numbers in one row.

    Parameters
    ----------
    x : array of any shape
    axis : int, optional
        All numbers in one row if it is not given.
    dtype : str, optional

    Returns
    -------
    array of the shape of ``x``, or a vector of all numbers

    Raises
    ------
    ValueError
        If there is no such axis.

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.cumsum([[1, 2], [3, 4]], axis=1))
    [[1 3]
     [3 7]]
    """
    return np.cumsum(x, axis, None if dtype is None else dtypes.named(dtype))


@gradient_of(cumsum)
def _cumsum_gradient(k: int, dy: Array, y: Array, x: Array, axis: int | None, dtype: Any) -> Array:
    along = 0 if axis is None else axis
    return np.flip(np.cumsum(np.flip(dy, along), along), along).reshape(x.shape)


# ---- Lengths of vectors ----------------------------------------------------------------------------------------------


def _norm_shape(x: Any, ord: Any, axis: Any, keepdims: bool) -> Any:
    if ord not in (None, 1, 2, "fro", "euclidean", math.inf):
        raise ValueError(f"`ord` must be None, 1, 2, inf, 'fro' or 'euclidean', got {ord!r}")
    if ord in (1, 2, math.inf) and len(shapes.axes_in(axis, x.ndim)) != 1:
        raise ValueError(f"`ord={ord!r}` is of vectors: give one axis, got axis={axis!r} of {x.ndim} axes")
    return _reduced(x, axis, keepdims)


@operation("x", shape=_norm_shape, floats=True, steps=lambda x, ord, axis, keepdims: steps.apart(axis, x.ndim))
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """The length of vectors along axes: the root of the sum of squares (None, 2, "fro"), the sum (1) or the largest
    (inf) of the numbers without signs.

    Parameters
    ----------
    x : array of any shape
    ord : {None, 1, 2, inf, "fro", "euclidean"}
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
        If there is no such axis, or ``ord`` is of vectors and there are several axes.

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.norm([[3.0, 4.0], [6.0, 8.0]], axis=1))
    [ 5. 10.]
    """
    axes = _axes(x, axis)
    if ord == 1:
        return np.sum(np.abs(x), axes, keepdims=keepdims)
    if ord == math.inf:
        return np.max(np.abs(x), axes, keepdims=keepdims)
    return np.sqrt(np.sum(x * x, axes, keepdims=keepdims))


@gradient_of(norm)
def _norm_gradient(k: int, dy: Array, y: Array, x: Array, ord: Any, axis: Any, keepdims: bool) -> Array:
    """0 for a vector of length 0."""
    slope, length = _spread(dy, x, axis, keepdims), _spread(y, x, axis, keepdims)
    if ord == 1:
        return slope * np.sign(x)
    if ord == math.inf:
        return np.sign(x) * _extreme_gradient(0, slope, length, np.abs(x), axis, True, None)
    return slope * (x / np.where(length == 0, _float_of(x, 1), length))
