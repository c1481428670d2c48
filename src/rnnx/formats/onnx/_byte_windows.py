"""The windows of a convolution over bytes, side by side as the rows of a product."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rnnx._typing import Array

PADDINGS = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")
Windows = Callable[[Array, int], tuple[Array, tuple[int, ...]]]


def byte_windows(attributes: dict[str, Any], shape: Sequence[int]) -> Windows | None:
    """A function of an input of shape (batch, channels, ...) and what pads it, for weights of this shape.

    It gives all windows, of shape (batch, places, elements of a window * channels), and the number of places along each
    axis. None for what is not supported, which is groups.
    """
    size = list(shape[2:])
    axes = len(size)
    automatic = attributes.get("auto_pad", "NOTSET")
    strides, dilations = list(attributes.get("strides", [1] * axes)), list(attributes.get("dilations", [1] * axes))
    pads = list(attributes.get("pads", [0] * 2 * axes))
    if automatic not in PADDINGS or attributes.get("group", 1) != 1:
        return None
    if len(strides) != axes or len(dilations) != axes or len(pads) != 2 * axes:
        return None
    if min(*size, *strides, *dilations) < 1 or min(pads) < 0:
        return None
    reach = [(n - 1) * d + 1 for n, d in zip(size, dilations, strict=True)]

    def run(x: Array, zero: int) -> tuple[Array, tuple[int, ...]]:
        given = zip(pads[:axes], pads[axes:], strict=True)
        edges = [_edges(automatic, *sizes) for sizes in zip(x.shape[2:], reach, strides, given, strict=True)]
        if any(map(any, edges)):
            x = np.pad(x, [(0, 0), (0, 0), *edges], constant_values=np.asarray(zero, x.dtype))
        x = np.ascontiguousarray(np.moveaxis(x, 1, -1))  # so that a window lies in long pieces
        places = [(x.shape[1 + k] - reach[k]) // strides[k] + 1 for k in range(axes)]
        if min(places) < 1:
            raise ValueError(f"an input of {x.shape[1:-1]} is smaller than the window of {reach}")
        moves = [*(s * n for s, n in zip(x.strides[1:], strides, strict=False)),
                 *(s * d for s, d in zip(x.strides[1:], dilations, strict=False)), x.strides[-1]]  # fmt: skip
        if dilations == [1] and size[0]:  # one piece, which nobody has to copy
            shape = (len(x), *places, size[0] * x.shape[-1])
            return np.ndarray(shape, x.dtype, x, 0, (*x.strides[:1], moves[0], x.itemsize)), tuple(places)
        view = np.ndarray((len(x), *places, *size, x.shape[-1]), x.dtype, x, 0, (x.strides[0], *moves))
        return view.reshape(len(x), math.prod(places), x.shape[-1] * math.prod(size)), tuple(places)

    return run


def _edges(automatic: str, length: int, reach: int, stride: int, given: tuple[int, int]) -> tuple[int, int]:
    """What an axis is padded by, before and after."""
    if not automatic.startswith("SAME"):
        return given if automatic == "NOTSET" else (0, 0)
    total = max(0, (-(-length // stride) - 1) * stride + reach - length)
    less, more = total // 2, total - total // 2
    return (less, more) if automatic == "SAME_UPPER" else (more, less)
