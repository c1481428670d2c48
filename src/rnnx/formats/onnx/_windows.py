"""Rules for what looks at windows or regions: convolutions, pools, resized and sampled images; see `_sizes`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rnnx.formats.onnx._node import Array, NodeInfo, Size
from rnnx.formats.onnx._sizes import STEP, extent, integers, of_shape
from rnnx.saving import FormatError


@dataclass(frozen=True)
class Windows:
    """What a convolution or a pool looks at, along each axis.

    Attributes
    ----------
    reach : list of int
        Elements from the first to the last of a window.
    size : list of int
        Elements in it.
    places : list of int
        Windows, at most.
    padded : list of int
        Elements of the padded input.
    """

    reach: list[int]
    size: list[int]
    places: list[int]
    padded: list[int]


def windows(info: NodeInfo, x: Array, w: Any = None) -> Windows:
    """The windows of a node over its input, with weights or without.

    Raises
    ------
    FormatError
        If an attribute has another number of entries than the input has axes.
    """
    axes = max(0, x.ndim - 2)

    def numbers(name: str, count: int, default: int) -> list[int]:
        found = [int(n) for n in info.attributes.get(name) or []] or [default] * count
        if len(found) != count:
            raise FormatError(f"{name} must have {count} entries for an input of shape {x.shape}, got {len(found)}")
        return found

    size = [max(1, n) for n in numbers("kernel_shape", axes, 1)]
    if w is not None:
        if w.ndim != x.ndim:
            raise FormatError(f"an input of shape {x.shape} needs weights of {x.ndim} axes, got {w.ndim}")
        size = [max(n, m) for n, m in zip(size, w.shape[2:], strict=True)]
    dilations = [max(1, n) for n in numbers("dilations", axes, 1)]
    strides, pads = [max(1, n) for n in numbers("strides", axes, 1)], numbers("pads", 2 * axes, 0)
    reach = [(n - 1) * d + 1 for n, d in zip(size, dilations, strict=True)]
    ends = [max(0, pads[k]) + max(0, pads[k + axes]) for k in range(axes)]
    given = str(info.attributes.get("auto_pad", "NOTSET"))
    places = [
        -(-n // step) if given.startswith("SAME") else max(0, n + more - far) // step + 2
        for n, more, far, step in zip(x.shape[2:], ends, reach, strides, strict=True)
    ]
    padded = [n + more + far for n, more, far in zip(x.shape[2:], ends, reach, strict=True)]
    return Windows(reach, size, places, padded)


def convolution(info: NodeInfo, x: Array, w: Array, *rest: Any) -> int:
    """The result of a convolution."""
    found = windows(info, x, w)
    return max(1, len(x)) * max(1, len(w)) * math.prod(found.places) * max(4, x.itemsize, w.itemsize)


def _columns(info: NodeInfo, x: Array, w: Array) -> int:
    """Elements of all windows; the evaluator fills dilated ones with zeros."""
    found = windows(info, x, w)
    channels = x.shape[1] if x.ndim > 1 else 1
    return max(1, channels) * math.prod(found.reach if info.evaluated else found.size) * math.prod(found.places)


def convolution_workspace(info: NodeInfo, x: Array, w: Array, *rest: Any) -> int:
    """The padded input, the windows side by side; for the evaluator also their indices, and the weights with zeros."""
    found = windows(info, x, w)
    item = max(4, x.itemsize, w.itemsize)
    padded = extent(x.shape[:2]) * math.prod(found.padded) * item
    columns = _columns(info, x, w)
    if not info.evaluated:  # over two axes one row of the batch after the other
        return 3 * padded + columns * (max(1, len(x)) * item + 16 if x.ndim < 4 else item)
    weights = extent(w.shape[:2]) * math.prod(found.reach) * item
    return 2 * padded + 2 * weights + columns * (16 * max(1, x.ndim - 2) + 3 * max(1, len(x)) * item)


def convolution_work(info: NodeInfo, x: Array, w: Array, *rest: Any) -> int:
    """A multiplication for each element of a window and each filter."""
    group = max(1, int(info.attributes.get("group", 1)))
    many = _columns(info, x, w) * max(1, len(x)) * max(1, len(w)) // group
    return many // 10 if x.dtype.char in "fd" and w.dtype.char in "fd" else 10 * many


def causal(rule: Size) -> Size:
    """A rule of convolution for CausalConvWithState, whose input is padded to the left by a window."""

    def run(info: NodeInfo, x: Array, w: Array, *rest: Any) -> int:
        return 2 * rule(replace(info, attributes={}), np.broadcast_to(x[..., :1], (*x.shape[:-1], _padded(x, w))), w)

    return run


def _padded(x: Array, w: Array) -> int:
    return x.shape[-1] + w.shape[-1]


def quantized_convolution(rule: Size) -> Size:
    """A rule of convolution for QLinearConv, whose weights are its fourth input; it computes in eight bytes."""
    return lambda info, x, s, z, w, *rest: 8 * rule(info, x, w)


def _grown(info: NodeInfo, x: Array, w: Array) -> list[int]:
    """Sizes of the result of a ConvTranspose."""
    found = windows(info, x, w)
    axes = len(found.size)
    attributes = info.attributes
    strides = list(attributes.get("strides") or [1] * axes)
    more = list(attributes.get("output_padding") or [0] * axes)
    pads = list(attributes.get("pads") or [0] * (2 * axes))
    sizes = [
        max(1, abs(strides[k])) * x.shape[2 + k] + abs(more[k]) + found.reach[k] + abs(pads[k]) + abs(pads[k + axes])
        for k in range(axes)
    ]
    given = list(attributes.get("output_shape") or [])
    return [max(n, m) for n, m in zip(sizes, given, strict=True)] if given else sizes


def transposed(info: NodeInfo, x: Array, w: Array, *rest: Any) -> int:
    """The result of a ConvTranspose."""
    filters = (w.shape[1] if w.ndim > 1 else 1) * max(1, int(info.attributes.get("group", 1)))
    return max(1, len(x)) * filters * math.prod(_grown(info, x, w)) * 8


def transposed_workspace(info: NodeInfo, x: Array, w: Array, *rest: Any) -> int:
    """Products of inputs and weights before they are summed: all of them for the evaluator."""
    if not info.evaluated:  # those with one element of the filters at a time, and the weights in another order
        return 2 * transposed(info, x, w) + 8 * extent(w.shape)
    return transposed(info, x, w) + 16 * extent(w.shape[1:]) * extent(x.shape[2:])


def transposed_work(info: NodeInfo, x: Array, w: Array, *rest: Any) -> int:
    """A multiplication for each element of a filter and each place; the evaluator sums in Python."""
    taps = extent(w.shape[2:])
    if not info.evaluated:
        return taps * STEP + extent(w.shape) * max(1, len(x)) * extent(x.shape[2:]) // 10
    return transposed(info, x, w) // 8 * taps * STEP + extent(w.shape) * extent(x.shape)


def col2im(info: NodeInfo, x: Array, image: Array, block: Array) -> int:
    """Blocks summed into an image."""
    return extent(x.shape[:2]) * of_shape(image, 8)


def col2im_work(info: NodeInfo, x: Array, image: Array, block: Array) -> int:
    """The evaluator looks at every element of a block at every place, in Python."""
    pads = sum([abs(int(n)) for n in info.attributes.get("pads") or []])
    sizes = [n + pads for n in integers(image)]
    return extent(x.shape[:2]) * extent(integers(block)) * extent(sizes) * STEP


def pool(info: NodeInfo, x: Array, *rest: Any) -> int:
    """The result of a pool, and indices."""
    return extent(x.shape[:2]) * math.prod(windows(info, x).places) * (x.itemsize + 8)


def pool_workspace(info: NodeInfo, x: Array, *rest: Any) -> int:
    """The padded input, with the numbers of its elements where they are asked for, or all windows side by side."""
    found = windows(info, x)
    taps = math.prod(found.size) * math.prod(found.places)
    side = 0 if info.evaluated or x.ndim != 3 else taps * (24 + 3 * extent(x.shape[:2]) * x.itemsize)
    numbers = 4 if any(info.outputs[1:]) else 0  # where the maxima lie
    return side + (3 + numbers) * extent(x.shape[:2]) * math.prod(found.padded) * 8


def pool_work(info: NodeInfo, x: Array, *rest: Any) -> int:
    """An operation for each element of a window; the evaluator looks at every one in Python."""
    found = windows(info, x)
    if not info.evaluated:
        return extent(x.shape[:2]) * math.prod(found.places) * math.prod(found.size)
    return extent(x.shape[:2]) * math.prod(found.places) * (40_000 + 700 * math.prod(found.size))


def unpool(info: NodeInfo, x: Array, index: Array, shape: Any = None) -> int:
    """The result of a MaxUnpool."""
    found = windows(info, x)
    strides = list(info.attributes.get("strides") or [1] * len(found.size))
    sizes = [n * max(1, s) + r for n, s, r in zip(x.shape[2:], strides, found.reach, strict=True)]
    return extent(x.shape[:2]) * math.prod(sizes) * x.itemsize + (0 if shape is None else of_shape(shape, x.itemsize))


def rois(info: NodeInfo, x: Array, boxes: Array, *rest: Any) -> int:
    """A small image for each region."""
    height, width = (max(1, int(info.attributes.get(name, 1))) for name in ("output_height", "output_width"))
    return max(1, len(boxes)) * (x.shape[1] if x.ndim > 1 else 1) * height * width * 8


def rois_work(info: NodeInfo, x: Array, boxes: Array, *rest: Any) -> int:
    """The evaluator samples in Python, as often as the attribute says, or as the region is large."""
    ratio = int(info.attributes.get("sampling_ratio", 0))
    if ratio <= 0:
        reach = float(np.abs(boxes).max(initial=1.0)) * abs(info.attributes.get("spatial_scale", 1.0))
        ratio = 2 * math.ceil(reach) + 1
    return rois(info, x, boxes) * ratio * ratio * STEP


def grid_sample(info: NodeInfo, x: Array, grid: Array) -> int:
    """A value for each place of the grid."""
    return extent(x.shape[:2]) * extent(grid.shape[1:-1]) * 8


def affine_grid(info: NodeInfo, theta: Array, size: Array) -> int:
    """Coordinates of every place."""
    return of_shape(size, 4 * 8)


def deformed(info: NodeInfo, x: Array, w: Array, *rest: Any) -> int:
    """Every element of a window is interpolated in Python."""
    return _columns(info, x, w) * max(1, len(x)) * max(1, len(w)) * 20_000


def norm_of_channels(info: NodeInfo, x: Array) -> int:
    """A sum over neighbouring channels for each, in Python."""
    channels = x.shape[1] if x.ndim > 1 else 1
    near = min(channels, max(1, int(info.attributes.get("size", 1))))
    return extent(x.shape) * near + extent(x.shape[:2]) * 20_000


# ---- Images ----------------------------------------------------------------------------------------------------------


def _resized(info: NodeInfo, x: Array, rest: Sequence[Any]) -> tuple[list[int], list[int]]:
    """The sizes of a Resize, none below that of its input, and how far it looks along each axis."""
    attributes = info.attributes
    axes = list(attributes.get("axes") or range(x.ndim))
    shape, reach = list(x.shape), [4] * x.ndim
    for part in (*rest, np.array(attributes.get("scales", []), np.float64)):
        if part is None or part.ndim != 1 or part.size != len(axes):
            continue
        for axis, n in zip(axes, part.tolist(), strict=True):
            place = axis % max(1, x.ndim)
            new = n if part.dtype.kind in "iu" else x.shape[place] * n
            shape[place] = max(shape[place], math.ceil(new))
            reach[place] = max(reach[place], math.ceil(4 * x.shape[place] / new) if new > 0 else 1)
    if attributes.get("keep_aspect_ratio_policy", "stretch") != "stretch":  # the others grow by the largest factor
        most = max([new / max(1, old) for new, old in zip(shape, x.shape, strict=True)], default=1.0)
        shape = [max(new, math.ceil(old * most)) for new, old in zip(shape, x.shape, strict=True)]
    return shape, reach


def resize(info: NodeInfo, x: Array, *rest: Any) -> int:
    """An array of other sizes, given or by factors."""
    return extent(_resized(info, x, rest)[0]) * x.itemsize


def resize_workspace(info: NodeInfo, x: Array, *rest: Any) -> int:
    """The result in eight bytes, and what is looked at for one row of it."""
    shape, reach = _resized(info, x, rest)
    return 16 * extent(shape) * max(8, x.itemsize) // 2 + 64 * sum(
        [n * far for n, far in zip(shape, reach, strict=True)]
    )


def resize_work(info: NodeInfo, x: Array, *rest: Any) -> int:
    """The evaluator looks for the neighbours of each place along an axis in Python, for each row beside the axes."""
    shape, reach = _resized(info, x, rest)
    axes = info.attributes.get("axes")
    beside = (
        1 if axes is None else extent([n for k, n in enumerate(x.shape) if k not in axes and k - x.ndim not in axes])
    )
    rows = sum([n * (10_000 + 500 * far) for n, far in zip(shape, reach, strict=True)])
    return beside * rows + 40 * extent(shape) * max(reach, default=1)
