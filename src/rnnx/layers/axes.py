"""The axes that a layer goes over, as its constructor is given them and as they stand in an input."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Shape


def given_axes(who: str, axis: Any, *, in_order: bool = True) -> int | list[int]:
    """An axis, or several as a list, from what a constructor was given.

    Parameters
    ----------
    who : str
    axis : int, or list or tuple of int
    in_order : bool
        Whether the list is to go up.

    Raises
    ------
    ValueError
        If one is no integer, or the batch axis.
    """
    axes = list(axis) if isinstance(axis, (list, tuple)) else [axis]
    if not axes or any(isinstance(a, bool) or not isinstance(a, (int, np.integer)) or a == 0 for a in axes):
        raise ValueError(f"{who}: `axis` must be an axis other than 0 (the batch), or several, got {axis!r}")
    numbers = [int(a) for a in axes]
    return numbers[0] if len(axes) == 1 else sorted(numbers) if in_order else numbers


def axes_of(layer: Any, shape: Any) -> tuple[int, ...]:
    """The axes that a layer goes over, in its order and counted from the first one, in an input of this shape.

    Raises
    ------
    ValueError
        If the input does not have one of them.
    """
    given = layer.axis if isinstance(layer.axis, (list, tuple)) else (layer.axis,)
    if not all(-len(shape) < axis < len(shape) for axis in given):
        raise ValueError(f"{layer.name}: there is no axis {layer.axis} in samples of an input of shape {tuple(shape)}")
    axes = tuple(axis % len(shape) for axis in given)
    if len(set(axes)) < len(axes):
        raise ValueError(f"{layer.name}: an axis is twice in {layer.axis} of an input of shape {tuple(shape)}")
    return axes


def sizes_along(layer: Any, shape: Shape) -> tuple[int, ...]:
    """The sizes of these axes, to build for.

    Raises
    ------
    ValueError
        If one is not known.
    """
    sizes = [shape[axis] for axis in axes_of(layer, shape)]
    known = tuple([int(size) for size in sizes if size is not None])
    if len(known) < len(sizes):
        raise ValueError(
            f"{layer.name}: the size of axis {layer.axis} must be known, got an input of shape {tuple(shape)}"
        )
    return known
