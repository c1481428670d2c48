"""Shapes of results from shapes of operands, where sizes may be unknown (None)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

from rnnx._typing import Shape
from rnnx.functional._broadcasting import broadcast
from rnnx.layers.ops.arguments import as_size

Size = TypeVar("Size", bound="int | None")


def axis_in(axis: Any, ndim: int) -> int:
    """An axis counted from the front.

    Raises
    ------
    ValueError
        If there is no such axis.
    """
    found = as_size(axis)
    if found is None or isinstance(axis, bool) or not -ndim <= found < ndim:
        raise ValueError(f"there is no axis {axis!r} in {ndim} axes")
    return found % ndim


def axes_in(axis: Any, ndim: int) -> tuple[int, ...]:
    """One or several axes counted from the front, in order; None is all of them."""
    if axis is None:
        return tuple(range(ndim))
    found = sorted(axis_in(one, ndim) for one in (axis if isinstance(axis, (list, tuple)) else (axis,)))
    if len(set(found)) < len(found):
        raise ValueError(f"an axis stands twice in {axis!r}")
    return tuple(found)


def without(shape: Shape, axes: Sequence[int], keepdims: bool) -> Shape:
    """The shape after these axes have become one number."""
    if keepdims:
        return tuple([1 if k in axes else n for k, n in enumerate(shape)])
    return tuple([n for k, n in enumerate(shape) if k not in axes])


def replaced_axis(shape: tuple[Size, ...], axis: int, *sizes: Size) -> tuple[Size, ...]:
    """The shape with other axes in place of one."""
    return (*shape[:axis], *sizes, *shape[axis + 1 :])


def count(shape: Shape) -> int | None:
    """How many numbers an array has."""
    return None if None in shape else math.prod([n for n in shape if n is not None])


def product(a: Shape, b: Shape) -> Shape:
    """The shape of a product of matrices, or of stacks of them; one axis is a vector."""
    if not a or not b:
        raise ValueError(f"a product needs operands with axes, got shapes {a} and {b}")
    inner = (a[-1], b[-2] if len(b) > 1 else b[0])
    if None not in inner and inner[0] != inner[1]:
        raise ValueError(f"shapes {a} and {b} do not fit: {inner[0]} columns and {inner[1]} rows")
    stack = broadcast(a[:-2], b[:-2]) if len(a) > 2 or len(b) > 2 else ()
    return (*stack, *a[-2:-1], *(b[-1:] if len(b) > 1 else ()))


def sliced(size: int | None, part: slice) -> int | None:
    """How many numbers of an axis a slice takes; None if that depends on sizes that are not known."""
    start, stop, step = as_size(part.start), as_size(part.stop), as_size(part.step)
    dynamic = [own is None and given is not None for own, given in zip((start, stop, step), _ends(part), strict=True)]
    if step == 0:
        raise ValueError("the step of a slice must not be 0")
    if any(dynamic):
        return None
    return None if size is None else len(range(*slice(start, stop, step).indices(size)))


def _ends(part: slice) -> tuple[Any, Any, Any]:
    return part.start, part.stop, part.step
