"""Operations that give the same numbers another shape or another order."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rnnx._typing import Array, Shape
from rnnx.layers.graph import SymbolicTensor
from rnnx.layers.limits import MOST_AXES
from rnnx.layers.ops import dtypes, shapes, steps
from rnnx.layers.ops.arguments import as_size
from rnnx.layers.ops.operation import Operation, gradient_of, operation
from rnnx.layers.ops.origins import same_size

# ---- Sizes -----------------------------------------------------------------------------------------------------------


@operation("x", alike=(), shape=lambda x, axis: (), result=dtypes.INDEX)
def _axis_size(x: Any, axis: int) -> Any:
    return x.shape[axis]


def shape(x: Any) -> tuple[Any, ...]:
    """The sizes of an array; of a symbolic tensor symbolic numbers stand for those that are not known yet.

    They may be given wherever an operation takes sizes, be added and multiplied, and cast to floats.

    Parameters
    ----------
    x : array of any shape

    Returns
    -------
    tuple of int and symbolic tensors

    Examples
    --------
    >>> import rnnx
    >>> x = rnnx.Input((None, 6))
    >>> batch, steps, features = rnnx.ops.shape(x)
    >>> features
    6
    >>> rnnx.ops.reshape(x, (batch * steps, 2, 3)).shape
    (None, 2, 3)
    """
    if isinstance(x, SymbolicTensor):
        return tuple([_axis_size(x, k) if n is None else n for k, n in enumerate(x.shape)])
    return tuple(np.shape(x))


def size(x: Any) -> Any:
    """How many numbers there are; symbolic if sizes are.

    Parameters
    ----------
    x : array of any shape

    Returns
    -------
    int, or a symbolic tensor of shape ()

    Examples
    --------
    >>> from rnnx import ops
    >>> ops.size([[1, 2, 3], [4, 5, 6]])
    6
    """
    return math.prod(shape(x))


def ndim(x: Any) -> int:
    """How many axes there are.

    Parameters
    ----------
    x : array of any shape

    Returns
    -------
    int

    Examples
    --------
    >>> from rnnx import ops
    >>> ops.ndim([[1, 2, 3], [4, 5, 6]])
    2
    """
    return x.ndim if isinstance(x, SymbolicTensor) else np.ndim(x)


def _is_size_of(value: Any, x: SymbolicTensor, axis: int) -> bool:
    """Whether a symbolic number is the size of this axis."""
    if not isinstance(value, SymbolicTensor) or axis >= x.ndim or x.shape[axis] is not None:
        return False
    layer = value.node.layer
    is_size = isinstance(layer, Operation) and layer.function == "axis_size"
    return is_size and same_size(value.node.inputs[0], layer.arguments["axis"], x, axis)


# ---- Other shapes ----------------------------------------------------------------------------------------------------


def _reshaped(x: Any, newshape: Any) -> Shape:
    """The new shape; None in `newshape` is the size that the axis has."""
    kept = [k for k, n in enumerate(newshape) if n is None]
    if len(newshape) > MOST_AXES:
        raise ValueError(f"`newshape` must have at most {MOST_AXES} axes, got {len(newshape):,}")
    if any(k >= x.ndim for k in kept):
        raise ValueError(f"a size of None is that of the same axis, got newshape={newshape} for shape {x.shape}")
    sizes = [None if n is None else as_size(n) for n in newshape]
    rest = [n for k, n in enumerate(x.shape) if k not in kept]
    own = [n for k, n in enumerate(sizes) if k not in kept and n != -1]
    free = [k for k, n in enumerate(sizes) if n == -1]
    if len(free) > 1 or any(n is not None and n < -1 for n in own):
        raise ValueError(f"`newshape` must hold sizes and at most one -1, got {tuple(newshape)}")
    total, known = shapes.count(tuple(rest)), shapes.count(tuple(own))
    if total is not None and known is not None:
        if (total % known if known else total) if free else total != known:
            raise ValueError(f"{total} numbers of shape {x.shape} cannot take the shape {tuple(newshape)}")
    found = [x.shape[k] if k in kept else n for k, n in enumerate(sizes)]
    for k in free:
        found[k] = None if total is None or known is None else total // known if known else 0
    return tuple(found)


def _reshape_steps(x: Any, newshape: Any) -> str:
    return steps.EACH if len(newshape) > 1 and newshape[0] is None and newshape[1] is None else steps.JOINED


@operation("x", alike=(), shape=_reshaped, steps=_reshape_steps)
def _reshape(x: Any, newshape: Any) -> Any:
    return np.reshape(x, [x.shape[k] if n is None else as_size(n) for k, n in enumerate(newshape)])


def reshape(x: Any, newshape: Any) -> Any:
    """The numbers in the same order in another shape.

    Parameters
    ----------
    x : array
    newshape : tuple
        Sizes, those of `shape` among them; one may be -1: what is left. None, as in ``x.shape``, is -1 where it is the
        only one of the two, else the size of the same axis of ``x``.

    Returns
    -------
    array of the new shape

    Raises
    ------
    ValueError
        If there are not as many numbers.

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.reshape([1, 2, 3, 4, 5, 6], (2, -1)))
    [[1 2 3]
     [4 5 6]]
    """
    sizes = list(newshape) if isinstance(newshape, (list, tuple, np.ndarray)) else [newshape]
    open_sizes = [k for k, n in enumerate(sizes) if n is None or (not isinstance(n, SymbolicTensor) and n == -1)]
    if len(open_sizes) == 1:
        sizes[open_sizes[0]] = -1
    if isinstance(x, SymbolicTensor):
        sizes = [None if _is_size_of(n, x, k) else n for k, n in enumerate(sizes)]
    return _reshape(x, tuple(sizes))


@gradient_of(_reshape)
def _back_in_shape(k: int, dy: Array, y: Array, x: Array, *args: Any, **options: Any) -> Array:
    return dy.reshape(x.shape)


def ravel(x: Any) -> Any:
    """All numbers in one row.

    Parameters
    ----------
    x : array of any shape

    Returns
    -------
    vector

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.ravel([[1, 2], [3, 4]]))
    [1 2 3 4]
    """
    return reshape(x, (-1,))


def _expanded_axes(x: Any, axis: Any) -> tuple[int, ...]:
    several = axis if isinstance(axis, (list, tuple)) else (axis,)
    return shapes.axes_in(tuple(several), x.ndim + len(several))


def _expanded(x: Any, axis: Any) -> Shape:
    axes, sizes = _expanded_axes(x, axis), iter(x.shape)
    return tuple([1 if k in axes else next(sizes) for k in range(x.ndim + len(axes))])


def _expand_steps(x: Any, axis: Any) -> str:
    return steps.EACH if x.ndim > 1 and min(_expanded_axes(x, axis)) > 1 else steps.JOINED


@operation("x", alike=(), shape=_expanded, steps=_expand_steps)
def expand_dims(x: Any, axis: Any) -> Any:
    """New axes of size 1, at these places of the result.

    Parameters
    ----------
    x : array of any shape
    axis : int or tuple of int

    Returns
    -------
    array with more axes

    Raises
    ------
    ValueError
        If there is no such place.

    Examples
    --------
    >>> from rnnx import ops
    >>> ops.expand_dims([1, 2, 3], axis=-1).shape
    (3, 1)
    """
    return np.expand_dims(x, _expanded_axes(x, axis))


def _squeezed_axes(x: Any, axis: Any) -> tuple[int, ...]:
    if axis is None:
        if None in x.shape:
            raise ValueError(f"give `axis`: which sizes of shape {x.shape} are 1 is not known yet")
        return tuple([k for k, n in enumerate(x.shape) if n == 1])
    axes = shapes.axes_in(axis, x.ndim)
    if wide := [k for k in axes if x.shape[k] not in (1, None)]:
        raise ValueError(f"axis {wide[0]} of shape {x.shape} is not of size 1")
    return axes


@operation("x", alike=(), shape=lambda x, axis: shapes.without(x.shape, _squeezed_axes(x, axis), False),
           steps=lambda x, axis: steps.apart(_squeezed_axes(x, axis) or 2, max(x.ndim, 3)))  # fmt: skip
def squeeze(x: Any, axis: Any = None) -> Any:
    """Without axes of size 1; None is all of them.

    Parameters
    ----------
    x : array
    axis : int or tuple of int, optional

    Returns
    -------
    array with fewer axes

    Raises
    ------
    ValueError
        If there is no such axis, or it is not of size 1.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnx import ops
    >>> ops.squeeze(np.ones((2, 1, 3, 1)), axis=-1).shape
    (2, 1, 3)
    """
    return np.squeeze(x, _squeezed_axes(x, axis))


gradient_of(expand_dims, squeeze)(_back_in_shape)


# ---- Other orders ----------------------------------------------------------------------------------------------------


def _order(x: Any, axes: Any) -> tuple[int, ...]:
    if axes is None:
        return tuple(range(x.ndim))[::-1]
    found = tuple([shapes.axis_in(axis, x.ndim) for axis in axes])
    if sorted(found) != list(range(x.ndim)):
        raise ValueError(f"`axes` must be the {x.ndim} axes in some order, got {axes}")
    return found


@operation("x", alike=(), shape=lambda x, axes: tuple([x.shape[k] for k in _order(x, axes)]),
           steps=lambda x, axes: steps.EACH if _order(x, axes)[:2] == (0, 1) else steps.JOINED)  # fmt: skip
def transpose(x: Any, axes: Any = None) -> Any:
    """The axes in another order; None is the reverse one.

    Parameters
    ----------
    x : array
    axes : tuple of int, optional

    Returns
    -------
    array

    Raises
    ------
    ValueError
        If these are not all the axes.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnx import ops
    >>> ops.transpose(np.ones((2, 3, 4)), (0, 2, 1)).shape
    (2, 4, 3)
    """
    return np.transpose(x, _order(x, axes))


@gradient_of(transpose)
def _transpose_gradient(k: int, dy: Array, y: Array, x: Array, axes: Any) -> Array:
    return np.transpose(dy, np.argsort(_order(x, axes)))


def swapaxes(x: Any, axis1: int, axis2: int) -> Any:
    """Two axes in each other's place.

    Parameters
    ----------
    x : array
    axis1, axis2 : int

    Returns
    -------
    array

    Raises
    ------
    ValueError
        If there is no such axis.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnx import ops
    >>> ops.swapaxes(np.ones((2, 3, 4)), 1, 2).shape
    (2, 4, 3)
    """
    order = list(range(ndim(x)))
    one, two = shapes.axis_in(axis1, len(order)), shapes.axis_in(axis2, len(order))
    order[one], order[two] = two, one
    return transpose(x, tuple(order))


def moveaxis(x: Any, source: Any, destination: Any) -> Any:
    """Axes at other places, the rest in its order.

    Parameters
    ----------
    x : array
    source, destination : int or tuple of int
        Where the axes are, and where they come to be.

    Returns
    -------
    array

    Raises
    ------
    ValueError
        If there is no such axis, or there are not as many places as axes.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnx import ops
    >>> ops.moveaxis(np.ones((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    rank = ndim(x)
    moved, places = ([shapes.axis_in(k, rank) for k in (axes if isinstance(axes, (list, tuple)) else [axes])]
                     for axes in (source, destination))  # fmt: skip
    if len(moved) != len(places) or len(set(moved)) < len(moved) or len(set(places)) < len(places):
        raise ValueError(f"ops.moveaxis: `source` and `destination` must match, got {source!r} and {destination!r}")
    order = [k for k in range(rank) if k not in moved]
    for place, axis in sorted(zip(places, moved, strict=True)):
        order.insert(place, axis)
    return transpose(x, tuple(order))


def _same(x: Any, **options: Any) -> Any:
    shapes.axes_in(options["axis"], x.ndim)
    return x.shape


def _kept_steps(x: Any, axis: Any, **options: Any) -> str:
    return steps.apart(axis, x.ndim, new=True)


@operation("x", alike=(), shape=_same, steps=_kept_steps)
def flip(x: Any, axis: Any = None) -> Any:
    """The numbers along axes in reverse order; None is all axes.

    Parameters
    ----------
    x : array of any shape
    axis : int or tuple of int, optional

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
    >>> print(ops.flip([[1, 2], [3, 4]], axis=1))
    [[2 1]
     [4 3]]
    """
    return np.flip(x, shapes.axes_in(axis, x.ndim))


@gradient_of(flip)
def _flip_gradient(k: int, dy: Array, y: Array, x: Array, axis: Any) -> Array:
    return np.flip(dy, shapes.axes_in(axis, x.ndim))


@operation("x", alike=(), shape=lambda x, shift, axis: _same(x, axis=axis),
           steps=lambda x, shift, axis: steps.apart(axis, x.ndim, new=True))  # fmt: skip
def roll(x: Any, shift: Any, axis: Any = None) -> Any:
    """The numbers moved on along axes, those at the end to the beginning; None counts through all axes.

    Parameters
    ----------
    x : array of any shape
    shift : int or tuple of int
    axis : int or tuple of int, optional

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
    >>> print(ops.roll([1, 2, 3, 4], 1))
    [4 1 2 3]
    """
    return np.roll(x, shift, axis)


@gradient_of(roll)
def _roll_gradient(k: int, dy: Array, y: Array, x: Array, shift: Any, axis: Any) -> Array:
    return np.roll(dy, np.negative(shift), axis)
