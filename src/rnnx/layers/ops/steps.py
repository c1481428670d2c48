"""What operations do to the steps of a sequence (axis 1), for streams: "each", "last", or why not."""

from __future__ import annotations

from typing import Any

from rnnx.layers.ops.arguments import Sketch
from rnnx.layers.ops.shapes import axes_in

EACH, LAST = "each", "last"
JOINED = "it joins or moves the steps"


def each(x: Any, **options: Any) -> str:
    """Of an operation that treats all numbers alike and keeps the axes."""
    return EACH if x.ndim > 1 else JOINED


def beside(*operands: Any) -> str:
    """Of operands that are broadcast against each other: the steps must meet steps, or what is the same for all."""
    rank = max(part.ndim for part in operands)
    for part in operands:
        axis = 1 - (rank - part.ndim)
        if isinstance(part, Sketch) and 0 < part.ndim != rank:
            return "its operands have their steps on different axes"
        if not isinstance(part, Sketch) and axis >= 0 and part.shape[axis] != 1:
            return "it has a constant for each step"
    return EACH if rank > 1 else JOINED


def apart(axis: Any, ndim: int, *, new: bool = False) -> str:
    """Of an operation along one or several axes: the first two must not be among them."""
    if axis is None:
        return "it joins all steps"
    axes = axes_in(axis, ndim)
    if 1 in axes:
        return "it joins all steps" if not new else JOINED
    return EACH if 0 not in axes and ndim > 1 else JOINED
