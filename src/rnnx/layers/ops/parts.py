"""Operations that join arrays, take them apart, repeat them and put margins around them."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array, Shape
from rnnx.layers.ops import shapes, steps
from rnnx.layers.ops.arguments import Sketch, as_size, as_sizes
from rnnx.layers.ops.arrangement import ndim
from rnnx.layers.ops.operation import gradient_of, operation

_numpy_pad: Any = np.pad  # whose types know modes by their words alone

MOST_PARTS = 65_536  # of a split: so many layers of a file, each with its outputs, must have an end

# ---- Joints and parts ------------------------------------------------------------------------------------------------


def _joined(xs: Any, axis: int) -> Shape:
    if not xs:
        raise ValueError("there is nothing to join")
    first, axis = xs[0].shape, shapes.axis_in(axis, xs[0].ndim)
    if any(x.ndim != len(first) for x in xs):
        raise ValueError(f"the shapes must have the same number of axes, got {[tuple(x.shape) for x in xs]}")
    found = []
    for k, sizes in enumerate(zip(*[x.shape for x in xs], strict=True)):
        known = {n for n in sizes if n is not None}
        if k != axis and len(known) > 1:
            raise ValueError(f"shapes {[tuple(x.shape) for x in xs]} do not fit together along axis {axis}")
        found.append((None if None in sizes else sum(sizes)) if k == axis else known.pop() if known else None)
    return tuple(found)


def _joint_steps(xs: Any, axis: int) -> str:
    if any(not isinstance(x, Sketch) for x in xs):
        return "it has a constant for each step"
    return steps.apart(axis, xs[0].ndim, new=True)


@operation("*xs", shape=_joined, steps=_joint_steps)
def concatenate(xs: Any, axis: int = 0) -> Any:
    """Arrays one behind the other along an axis.

    Parameters
    ----------
    xs : list of arrays
        Of the same sizes along all other axes.
    axis : int

    Returns
    -------
    array

    Raises
    ------
    ValueError
        If there are none, or their shapes do not fit.

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.concatenate([[[1, 2]], [[3, 4]]], axis=1))
    [[1 2 3 4]]
    """
    return np.concatenate(xs, axis)


@gradient_of(concatenate)
def _concatenate_gradient(k: int, dy: Array, y: Array, xs: Any, axis: int) -> Array:
    axis = axis % dy.ndim
    start = sum(x.shape[axis] for x in xs[:k])
    return dy[(slice(None),) * axis + (slice(start, start + xs[k].shape[axis]),)]


def hstack(xs: Any) -> Any:
    """Arrays side by side: along the second axis, vectors along their only one.

    Parameters
    ----------
    xs : list of arrays

    Returns
    -------
    array

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.hstack([[1, 2], [3]]))
    [1 2 3]
    """
    return concatenate(xs, 0 if ndim(xs[0]) == 1 else 1)


def vstack(xs: Any) -> Any:
    """Arrays below each other: along the first axis, vectors as rows.

    Parameters
    ----------
    xs : list of arrays

    Returns
    -------
    array

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.vstack([[1, 2], [3, 4]]))
    [[1 2]
     [3 4]]
    """
    return stack(xs, 0) if ndim(xs[0]) == 1 else concatenate(xs, 0)


def _stacked(x: Any, axis: int) -> Shape:
    sizes = _joined([Sketch((1, *one.shape), None) for one in x], 0)[1:]
    place = shapes.axis_in(axis, len(sizes) + 1)
    return (*sizes[:place], len(x), *sizes[place:])


@operation("*x", shape=_stacked,
           steps=lambda x, axis: _joint_steps([Sketch((None,) * (x[0].ndim + 1), None) for one in x], axis)
           if x[0].ndim > 1 and all(isinstance(one, Sketch) for one in x) else steps.JOINED)  # fmt: skip
def stack(x: Any, axis: int = 0) -> Any:
    """Arrays of one shape along a new axis, at this place of the result.

    Parameters
    ----------
    x : list of arrays of one shape
    axis : int

    Returns
    -------
    array with one axis more

    Raises
    ------
    ValueError
        If there are none, or their shapes differ.

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.stack([[1, 2], [3, 4]], axis=1))
    [[1 3]
     [2 4]]
    """
    return np.stack(x, axis)


@gradient_of(stack)
def _stack_gradient(k: int, dy: Array, y: Array, x: Any, axis: int) -> Array:
    return np.take(dy, k, axis)


def _ends(x: Any, sections: Any, axis: int) -> list[int] | None:
    """Where the parts of a split end; None if the size is not known."""
    size = x.shape[shapes.axis_in(axis, x.ndim)]
    if isinstance(sections, (list, tuple, np.ndarray)):
        return [int(n) for n in sections]
    parts = as_size(sections)
    if parts is None or not 1 <= parts <= MOST_PARTS:
        raise ValueError(
            f"`indices_or_sections` must be a number of parts, 1 to {MOST_PARTS:,}, or a list of ends, got {sections!r}"
        )
    if size is None:
        return None
    if size % parts:
        raise ValueError(f"{size} numbers along axis {axis} cannot be split into {parts} equal parts")
    return [size // parts * k for k in range(1, parts)]


def _split_shapes(x: Any, indices_or_sections: Any, axis: int) -> list[Shape]:
    ends, place = _ends(x, indices_or_sections, axis), shapes.axis_in(axis, x.ndim)
    if ends is None:
        return [shapes.replaced_axis(x.shape, place, None)] * int(indices_or_sections)
    cuts = [slice(a, b) for a, b in zip([None, *ends], [*ends, None], strict=True)]
    return [shapes.replaced_axis(x.shape, place, shapes.sliced(x.shape[place], cut)) for cut in cuts]


@operation("x", alike=(), shape=_split_shapes, steps=lambda x, indices_or_sections, axis: steps.apart(axis, x.ndim))
def split(x: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    """A list of parts along an axis: so many equal ones, or those that end at these places and the rest.

    Parameters
    ----------
    x : array
    indices_or_sections : int or list of int
    axis : int

    Returns
    -------
    list of arrays

    Raises
    ------
    ValueError
        If there is no such axis, or it has no parts of the same size.

    Examples
    --------
    >>> from rnnx import ops
    >>> [part.tolist() for part in ops.split([1, 2, 3, 4, 5, 6], 3)]
    [[1, 2], [3, 4], [5, 6]]
    >>> [part.tolist() for part in ops.split([1, 2, 3, 4, 5, 6], [1, 4])]
    [[1], [2, 3, 4], [5, 6]]
    """
    return np.split(x, _ends(x, indices_or_sections, axis) or [], axis)


@gradient_of(split)
def _split_gradient(k: int, dy: Any, y: Any, x: Array, indices_or_sections: Any, axis: int) -> Array:
    if isinstance(indices_or_sections, int):
        return np.concatenate(dy, axis)
    dx = np.zeros(x.shape, dy[0].dtype)  # ends may leave numbers out or take them twice
    for part, d in zip(np.split(dx, _ends(x, indices_or_sections, axis) or [], axis), dy, strict=True):
        part += d
    return dx


def _unstacked_shapes(x: Any, num: Any, axis: int) -> list[Shape]:
    place = shapes.axis_in(axis, x.ndim)
    size = x.shape[place]
    if size is None and num is None:
        raise ValueError(f"give `num`: the size of axis {axis} of shape {x.shape} is not known yet")
    if None not in (size, num) and size != num:
        raise ValueError(f"`num` must be {size}, the size of axis {axis} of shape {x.shape}, got {num}")
    parts = size if num is None else num
    if parts > MOST_PARTS:
        raise ValueError(f"there are {parts:,} parts along axis {axis}, the most is {MOST_PARTS:,}")
    return [shapes.replaced_axis(x.shape, place)] * parts


@operation("x", alike=(), shape=_unstacked_shapes,
           steps=lambda x, num, axis: steps.apart(axis, x.ndim))  # fmt: skip
def unstack(x: Any, num: int | None = None, axis: int = 0) -> Any:
    """A list of what stands along an axis.

    Parameters
    ----------
    x : array
    num : int, optional
        How many there are, where the size of the axis is not known.
    axis : int

    Returns
    -------
    list of arrays with one axis less

    Raises
    ------
    ValueError
        If there is no such axis, its size is not known, or ``num`` is another one.

    Examples
    --------
    >>> from rnnx import ops
    >>> [part.tolist() for part in ops.unstack([[1, 2], [3, 4]])]
    [[1, 2], [3, 4]]
    """
    return list(np.moveaxis(x, axis, 0))


@gradient_of(unstack)
def _unstack_gradient(k: int, dy: Any, y: Any, x: Array, num: Any, axis: int) -> Array:
    return np.stack(dy, axis)


# ---- Copies ----------------------------------------------------------------------------------------------------------


def _broadcast_sizes(x: Any, shape: Any) -> Shape:
    sizes, behind = as_sizes(shape), len(shape) - x.ndim
    if behind < 0:
        raise ValueError(f"shape {x.shape} cannot be broadcast to fewer axes, {tuple(shape)}")
    found: list[int | None] = []
    for k, n in enumerate(sizes):
        own = x.shape[k - behind] if k >= behind else 1
        if n is not None and own not in (None, 1, n):
            raise ValueError(f"shape {x.shape} cannot be broadcast to {tuple(shape)}")
        found.append(own if n is None and own != 1 else n)
    return tuple(found)


def _broadcast_steps(x: Any, shape: Any) -> str:
    return steps.EACH if len(shape) == x.ndim > 1 and shape[0] is None and shape[1] is None else steps.JOINED


@operation("x", alike=(), shape=_broadcast_sizes, steps=_broadcast_steps)
def broadcast_to(x: Any, shape: Any) -> Any:
    """The numbers repeated along new axes in front and along axes of size 1; None is the size that is there.

    Parameters
    ----------
    x : array
    shape : tuple of int or None

    Returns
    -------
    array of this shape

    Raises
    ------
    ValueError
        If the shape of ``x`` cannot become this one.

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.broadcast_to([1, 2], (3, 2)))
    [[1 2]
     [1 2]
     [1 2]]
    """
    sizes = list(as_sizes(shape))
    behind = len(sizes) - x.ndim
    return np.broadcast_to(x, [x.shape[k - behind] if n is None else n for k, n in enumerate(sizes)])


@gradient_of(broadcast_to)
def _broadcast_gradient(k: int, dy: Array, y: Array, x: Array, shape: Any) -> Array:
    return dy  # summed up by whoever asked


def _tiled(x: Any, repeats: Any) -> Shape:
    times = as_sizes(repeats)
    rank = max(x.ndim, len(times))
    full, times = (1,) * (rank - x.ndim) + tuple(x.shape), (1,) * (rank - len(times)) + times
    return tuple([None if n is None or m is None else n * m for n, m in zip(full, times, strict=True)])


def _tile_steps(x: Any, repeats: Any) -> str:
    times = as_sizes(repeats)
    return steps.EACH if len(times) == x.ndim > 1 and times[:2] == (1, 1) else steps.JOINED


@operation("x", alike=(), shape=_tiled, steps=_tile_steps)
def tile(x: Any, repeats: Any) -> Any:
    """The whole array so many times along each axis.

    Parameters
    ----------
    x : array
    repeats : int or tuple of int

    Returns
    -------
    array

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.tile([[1, 2]], (2, 2)))
    [[1 2 1 2]
     [1 2 1 2]]
    """
    return np.tile(x, [int(n) for n in as_sizes(repeats) if n is not None])


@gradient_of(tile)
def _tile_gradient(k: int, dy: Array, y: Array, x: Array, repeats: Any) -> Array:
    times = as_sizes(repeats)
    rank = max(x.ndim, len(times))
    full, times = (1,) * (rank - x.ndim) + x.shape, (1,) * (rank - len(times)) + times
    pairs = [(m or 0, n) for m, n in zip(times, full, strict=True)]
    apart = dy.reshape([size for pair in pairs for size in pair])
    return apart.sum(axis=tuple(range(0, 2 * rank, 2))).reshape(x.shape)


def gathered_back(dy: Array, index: Array, axis: int, shape: tuple[int, ...]) -> Array:
    """The gradient of ``np.take(x, index, axis)``, where ``x`` has this shape."""
    dx = np.zeros(shape, dy.dtype)
    places = tuple(range(axis, axis + index.ndim))
    np.add.at(np.moveaxis(dx, axis, 0), index, np.moveaxis(dy, places, tuple(range(index.ndim))))
    return dx


def _repeat_counts(x: Any, repeats: Any, axis: int | None) -> Any:
    counts = as_sizes(repeats)
    return counts[0] if len(counts) == 1 else counts


def _repeated(x: Any, repeats: Any, axis: int | None) -> Shape:
    counts = _repeat_counts(x, repeats, axis)
    place = 0 if axis is None else shapes.axis_in(axis, x.ndim)
    size = shapes.count(x.shape) if axis is None else x.shape[place]
    total: int | None
    if isinstance(counts, tuple):
        if size not in (None, len(counts)):
            raise ValueError(f"`repeats` must be one number or {size} of them, got {len(counts)}")
        total = None if None in counts else sum(counts)
    else:
        total = None if counts is None or size is None else size * counts
    return (total,) if axis is None else shapes.replaced_axis(x.shape, place, total)


@operation("x", alike=(), shape=_repeated, steps=lambda x, repeats, axis: steps.apart(axis, x.ndim, new=True))
def repeat(x: Any, repeats: Any, axis: int | None = None) -> Any:
    """Each number so many times along an axis; None is all numbers in one row.

    Parameters
    ----------
    x : array
    repeats : int or list of int
        How many times all numbers, or each.
    axis : int, optional

    Returns
    -------
    array

    Raises
    ------
    ValueError
        If there is no such axis, or not as many ``repeats`` as numbers.

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.repeat([1, 2, 3], [2, 0, 1]))
    [1 1 3]
    """
    return np.repeat(x, _repeat_counts(x, repeats, axis), axis)


@gradient_of(repeat)
def _repeat_gradient(k: int, dy: Array, y: Array, x: Array, repeats: Any, axis: int | None) -> Array:
    given = x.reshape(-1) if axis is None else x
    along = 0 if axis is None else axis % x.ndim
    index = np.repeat(np.arange(given.shape[along]), _repeat_counts(x, repeats, axis))
    return gathered_back(dy, index, along, given.shape).reshape(x.shape)


# ---- Margins ---------------------------------------------------------------------------------------------------------

MODES = ("constant", "reflect", "symmetric", "edge")


def _margins(x: Any, pad_width: Any) -> list[tuple[int, int]]:
    """Before and after each axis."""
    try:
        full = np.broadcast_to(np.asarray(pad_width), (x.ndim, 2))
    except ValueError:
        raise ValueError(f"`pad_width` must be a pair for each of {x.ndim} axes, got {pad_width!r}") from None
    if full.dtype.kind not in "iu" or (full < 0).any():
        raise ValueError(f"`pad_width` must hold integers from 0, got {pad_width!r}")
    return [(int(before), int(after)) for before, after in full]


def _padded(x: Any, pad_width: Any, mode: str, constant_values: Any) -> Shape:
    if mode not in MODES:
        raise ValueError(f"`mode` must be one of {', '.join(map(repr, MODES))}, got {mode!r}")
    if constant_values is not None and mode != "constant":
        raise ValueError(f"`constant_values` is of mode 'constant' only, not of {mode!r}")
    pairs = zip(x.shape, _margins(x, pad_width), strict=True)
    return tuple([None if n is None else n + before + after for n, (before, after) in pairs])


def _pad_steps(x: Any, pad_width: Any, mode: str, constant_values: Any) -> str:
    margins = _margins(x, pad_width)
    return steps.EACH if len(margins) > 1 and margins[:2] == [(0, 0), (0, 0)] else "it adds steps"


@operation("x", alike=(), shape=_padded, steps=_pad_steps)
def pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: Any = None) -> Any:
    """More numbers around the array: one value (0 by default), or ("reflect", "symmetric", "edge") those inside.

    Parameters
    ----------
    x : array
    pad_width : int, pair or list of pairs
        Numbers before and after, everywhere or for each axis.
    mode : {"constant", "reflect", "symmetric", "edge"}
    constant_values : number, optional

    Returns
    -------
    array

    Raises
    ------
    ValueError
        If the margins do not fit, the mode is another word, or a value comes with another mode.

    Examples
    --------
    >>> from rnnx import ops
    >>> print(ops.pad([1, 2, 3], (1, 2)))
    [0 1 2 3 0 0]
    >>> print(ops.pad([1, 2, 3], 2, mode="reflect"))
    [3 2 1 2 3 2 1]
    """
    value = {} if mode != "constant" else {"constant_values": 0 if constant_values is None else constant_values}
    return _numpy_pad(x, _margins(x, pad_width), mode, **value)


@gradient_of(pad)
def _pad_gradient(k: int, dy: Array, y: Array, x: Array, pad_width: Any, mode: str, constant_values: Any) -> Array:
    for axis, margin in enumerate(_margins(x, pad_width)):
        size = x.shape[axis]
        if mode == "constant":
            dy = dy[(slice(None),) * axis + (slice(margin[0], margin[0] + size),)]
        elif margin != (0, 0):
            index = _numpy_pad(np.arange(size), margin, mode)
            dy = gathered_back(dy, index, axis, shapes.replaced_axis(dy.shape, axis, size))
    return dy
