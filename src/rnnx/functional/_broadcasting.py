"""Operands that are broadcast against each other: the shape of the result, and the way back of its gradient."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rnnx._typing import Array, Shape


def meet(sizes: Sequence[int | None]) -> int | None:
    """The size of an axis of operands that are broadcast against each other; None is one that is not known.

    Raises
    ------
    ValueError
        If the sizes do not fit together.
    """
    known = {n for n in sizes if n is not None and n != 1}
    if len(known) > 1:
        raise ValueError(f"sizes {tuple(sizes)} do not fit together")
    return known.pop() if known else (None if None in sizes else 1)


def broadcast(*shapes: Shape) -> Shape:
    """The shape of operands that are broadcast against each other.

    Raises
    ------
    ValueError
        If the shapes do not fit together.
    """
    rank = max(map(len, shapes))
    full = [(1,) * (rank - len(shape)) + tuple(shape) for shape in shapes]
    try:
        return tuple([meet(sizes) for sizes in zip(*full, strict=True)])
    except ValueError:
        given = ", ".join(str(tuple(shape)) for shape in shapes)
        raise ValueError(f"operands of shapes {given} do not fit together") from None


def fold(dy: Array, shape: tuple[int, ...]) -> Array:
    """Sum the gradient of a result over the axes along which an operand was broadcast.

    Parameters
    ----------
    dy : array
        Of the shape of the result, or with 1 in place of sizes of the operand.
    shape : tuple of int
        That of the operand.

    Returns
    -------
    array of this shape
        ``dy`` itself if it has it.
    """
    if dy.shape == shape:
        return dy
    if dy.ndim > len(shape):
        dy = dy.sum(axis=tuple(range(dy.ndim - len(shape))))
    axes = tuple([k for k, (got, want) in enumerate(zip(dy.shape, shape, strict=True)) if got != want and want == 1])
    dy = dy.sum(axis=axes, keepdims=True) if axes else dy
    return dy if dy.shape == shape else np.broadcast_to(dy, shape)
