"""Resize, Upsample and GridSample: arrays at other places than their own, as ONNX Runtime computes them.

Along each axis every place of a result is a sum of a few places of the input, so that a resize is one such sum for each
axis. Coordinates are computed in float32: what lies on the border between two places depends on it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.formats.onnx._node import Function, NodeInfo, Operator
from rnnx.formats.onnx._sizes import integers, scaled
from rnnx.formats.onnx._windows import grid_sample, resize, resize_work, resize_workspace
from rnnx.saving import FormatError

FLOAT = np.float32
HALF = FLOAT(0.5)
TIE = FLOAT(2**-22)
MODES = {"bilinear": "linear", "bicubic": "cubic"}  # of GridSample before opset 20
REACH = {"linear": 1.0, "cubic": 2.0}  # of a filter, in places to either side


# ---- Resize ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Taps:
    """Where the places of a result along an axis come from.

    Attributes
    ----------
    index : array of shape (places, taps)
    weight : array of the same shape or None
        None for one tap of weight 1.
    outside : array of shape (places,) or None
        Which places lie beyond the input and have a value of their own.
    """

    index: Array
    weight: Array | None = None
    outside: Array | None = None


def _cubic(ratio: Array, coefficient: float) -> list[Array]:
    """Weights of the four places around, of which the second is below by this much."""
    a = FLOAT(coefficient)

    def inner(x: Array) -> Array:
        return np.asarray(((a + 2) * x - (a + 3)) * x * x + 1)

    def outer(x: Array) -> Array:
        return np.asarray(((a * x - 5 * a) * x + 8 * a) * x - 4 * a)

    return [outer(ratio + 1), inner(ratio), inner(1 - ratio), outer(2 - ratio)]


def _nearest(x: Array, how: str, smaller: bool) -> Array:
    if how == "simple":
        return np.ceil(x) if smaller else np.trunc(x)
    if how == "floor":
        return np.floor(x)
    if how == "ceil":
        return np.ceil(x)
    whole = np.trunc(x)
    half = whole + np.copysign(HALF, x)
    tie = np.abs(x - half) <= TIE * np.maximum(np.abs(x), 1)  # what rounding made of a tie is one
    rounded = np.where(x < 0, np.ceil(x - HALF), np.floor(x + HALF))  # away from zero
    return np.where(tie, np.floor(x) if how == "round_prefer_floor" else np.ceil(x), rounded)


class _Resize:
    """The options of a node."""

    def __init__(self, info: NodeInfo):
        attributes, self.old = info.attributes, info.operator == "Upsample" or info.opset < 11
        self.mode = attributes.get("mode", "nearest")
        self.how = "asymmetric" if self.old else attributes.get("coordinate_transformation_mode", "half_pixel")
        self.choice = "simple" if self.old else attributes.get("nearest_mode", "round_prefer_floor")
        self.a = float(attributes.get("cubic_coeff_a", -0.75))
        self.exclude = bool(attributes.get("exclude_outside", 0))
        self.beyond = float(attributes.get("extrapolation_value", 0.0))
        self.smooth = bool(attributes.get("antialias", 0))
        self.axes, self.policy = attributes.get("axes"), attributes.get("keep_aspect_ratio_policy", "stretch")
        self.scales = attributes.get("scales")
        if self.mode not in ("nearest", "linear", "cubic") or (self.smooth and self.mode == "nearest"):
            raise FormatError(f"mode {self.mode!r}{' with antialias' if self.smooth else ''} is not known")
        if self.how not in TRANSFORMS:
            raise FormatError(f"coordinate_transformation_mode {self.how!r} is not known")

    def sizes(self, x: Array, scales: Array | None, sizes: Array | None) -> tuple[list[int], list[Any]]:
        """The size of each axis of the result, and its scale."""
        axes = [k % max(1, x.ndim) for k in self.axes or range(x.ndim)]
        given = self.scales if scales is None or not scales.size else scales.reshape(-1).tolist()
        new, factors = list(x.shape), [FLOAT(1)] * x.ndim
        if sizes is not None and sizes.size:
            wanted = integers(sizes)
            if len(wanted) != len(axes):
                raise FormatError(f"{len(wanted)} sizes for {len(axes)} axes")
            ratios = [FLOAT(n) / FLOAT(max(1, x.shape[k])) for k, n in zip(axes, wanted, strict=True)]
            if self.policy != "stretch":
                ratios = [(min if self.policy == "not_larger" else max)(ratios)] * len(axes)
                wanted = [math.floor(float(r * FLOAT(x.shape[k])) + 0.5) for k, r in zip(axes, ratios, strict=True)]
            for k, n, ratio in zip(axes, wanted, ratios, strict=True):
                new[k], factors[k] = n, ratio
        elif given is not None:
            if len(given) != len(axes):
                raise FormatError(f"{len(given)} scales for {len(axes)} axes")
            for k, scale in zip(axes, given, strict=True):
                new[k], factors[k] = math.floor(FLOAT(scale) * FLOAT(x.shape[k])), FLOAT(scale)
        else:
            raise FormatError("neither scales nor sizes are given")
        if min(new, default=0) < 0 or not all(math.isfinite(f) and f > 0 for f in factors) or 0 in x.shape:
            raise FormatError(f"an input of shape {x.shape} cannot have the sizes {new}")
        return new, factors

    def taps(self, old: int, new: int, scale: Any, ends: tuple[Any, Any]) -> Taps:
        """Along an axis of this size."""
        places = np.arange(new, dtype=FLOAT)
        x = places if scale == 1 else TRANSFORMS[self.how](places, scale, old, new, ends).astype(FLOAT)
        outside = None
        if self.how == "tf_crop_and_resize":
            outside = (x < 0) | (x > old - 1)
        if self.mode == "nearest":
            found = np.clip(_nearest(x, self.choice, bool(scale < 1)), 0, old - 1)
            return Taps(found.astype(np.int64)[:, None], None, outside)
        if self.smooth:
            return self._filtered(x, old, scale, outside)
        if self.mode == "linear":
            x = np.clip(x, 0, old - 1)
            low = np.floor(x)
            index = np.stack([low, np.minimum(low + 1, old - 1)], 1).astype(np.int64)
            return Taps(index, np.stack([1 - (x - low), x - low], 1), outside)
        low = np.floor(x)
        index = (low[:, None] + np.arange(-1, 3)).astype(np.int64)
        return self._bounded(index, np.stack(_cubic(x - low, self.a), 1), old, outside)

    def _bounded(self, index: Array, weight: Array, old: int, outside: Array | None) -> Taps:
        """Places beyond the ends are those at the ends, or do not count."""
        if self.exclude:
            weight = np.where((index >= 0) & (index < old), weight, FLOAT(0))
            weight = weight / weight.sum(1, keepdims=True)
        return Taps(np.clip(index, 0, old - 1), weight.astype(FLOAT), outside)

    def _filtered(self, x: Array, old: int, scale: Any, outside: Array | None) -> Taps:
        """With a filter as wide as what becomes one place, where there are fewer places than before."""
        wide = max(FLOAT(1), FLOAT(1) / scale)
        support, center = FLOAT(REACH[self.mode]) * wide, x + HALF
        first, end = np.floor(center - support + HALF), np.floor(center + support + HALF)
        index = first[:, None] + np.arange(int((end - first).max(initial=1)), dtype=FLOAT)
        far = np.abs((index - center[:, None] + HALF) / wide)
        if self.mode == "linear":
            weight = np.maximum(1 - far, FLOAT(0))
        else:
            a = FLOAT(self.a)
            outer = (((far - 5) * far + 8) * far - 4) * a
            weight = np.where(far < 1, ((a + 2) * far - (a + 3)) * far * far + 1, np.where(far < 2, outer, FLOAT(0)))
        weight = np.where(index < end[:, None], weight, FLOAT(0))
        whole = self._bounded(index.astype(np.int64), weight, old, outside)
        assert whole.weight is not None
        return Taps(whole.index, whole.weight / whole.weight.sum(1, keepdims=True), outside)


def _aligned(x: Array, scale: Any, old: int, new: int, ends: Any) -> Array:
    return np.zeros_like(x) if new == 1 else x * FLOAT(old - 1) / FLOAT(new - 1)


def _half(x: Array, scale: Any, old: int, new: int, ends: Any) -> Array:
    return (x + HALF) / scale - HALF


def _torch_half(x: Array, scale: Any, old: int, new: int, ends: Any) -> Array:
    return _half(x, scale, old, new, ends) if new > 1 else np.zeros_like(x)


def _symmetric(x: Array, scale: Any, old: int, new: int, ends: Any) -> Array:
    offset = FLOAT(old) / 2 * (1 - FLOAT(new) / (scale * FLOAT(old)))
    return float(offset) + (x.astype(np.float64) + 0.5) / float(scale) - 0.5  # in ONNX Runtime this sum has more bits


def _cropped(x: Array, scale: Any, old: int, new: int, ends: Any) -> Array:
    start, end = ends
    if new == 1:
        return np.full_like(x, HALF * (start + end) * FLOAT(old - 1))
    return start * FLOAT(old - 1) + x * (end - start) * FLOAT(old - 1) / FLOAT(new - 1)


TRANSFORMS: dict[str, Callable[..., Array]] = {
    "align_corners": _aligned, "asymmetric": lambda x, scale, old, new, ends: x / scale, "half_pixel": _half,
    "half_pixel_symmetric": _symmetric, "pytorch_half_pixel": _torch_half, "tf_crop_and_resize": _cropped,
}  # fmt: skip


def _resize(info: NodeInfo) -> Function:
    options = _Resize(info)

    def run(x: Array, *rest: Array | None) -> Array:
        given = [*rest, None, None, None]
        roi, scales, sizes = (None, given[0], None) if options.old else given[:3]
        if x.dtype.kind != "f" and options.mode != "nearest":
            raise FormatError(f"mode {options.mode!r} of numbers of type {x.dtype} is not computed")
        new, factors = options.sizes(x, scales, sizes)
        axes = [k % max(1, x.ndim) for k in options.axes or range(x.ndim)]
        bounds = _bounds(roi, axes, options.how)
        outside: list[tuple[int, Array]] = []
        y = x
        for axis, (size, factor) in enumerate(zip(new, factors, strict=True)):
            if factor == 1 and size == x.shape[axis] and options.how != "tf_crop_and_resize":
                continue
            found = options.taps(x.shape[axis], size, factor, bounds.get(axis, (FLOAT(0), FLOAT(1))))
            y = _summed(y, found, axis)
            if found.outside is not None and found.outside.any():
                outside.append((axis, found.outside))
        for axis, places in outside:
            y[(slice(None),) * axis + (places,)] = options.beyond
        return y

    return run


def _bounds(roi: Array | None, axes: list[int], how: str) -> dict[int, tuple[Any, Any]]:
    """The part of each axis that is taken, where the node takes parts."""
    if how != "tf_crop_and_resize":
        return {}
    if roi is None or roi.size != 2 * len(axes):
        raise FormatError(f"roi must have {2 * len(axes)} numbers, a start and an end for each axis")
    numbers = roi.reshape(-1).astype(FLOAT)
    return {axis: (numbers[k], numbers[k + len(axes)]) for k, axis in enumerate(axes)}


def _summed(x: Array, found: Taps, axis: int) -> Array:
    """The places of a result along an axis."""
    if found.weight is None:
        return x.take(found.index[:, 0], axis)
    shape = [-1 if k == axis else 1 for k in range(x.ndim)]
    y: Array | None = None
    for index, weight in zip(found.index.T, found.weight.T.astype(x.dtype if x.itemsize > 4 else FLOAT), strict=True):
        part = x.take(index, axis) * weight.reshape(shape)
        y = part if y is None else np.add(y, part, out=y)
    assert y is not None
    return y.astype(x.dtype, copy=False)


# ---- GridSample ------------------------------------------------------------------------------------------------------


def _reflected(x: Array, low: Any, high: Any) -> Array:
    """Coordinates beyond the ends, mirrored there as often as it takes."""
    width = high - low
    if width <= 0:
        return np.full_like(x, low)
    below = x < low
    beyond = np.where(below, low - x, np.maximum(x - high, 0))
    times = np.trunc(beyond / width)
    rest = beyond - times * width
    even = times % 2 == 0
    mirrored = np.where(below == even, low + rest, high - rest)
    return np.where(below | (x > high), mirrored, x)


def _grid_sample(info: NodeInfo) -> Function:
    attributes = info.attributes
    mode = attributes.get("mode", "bilinear" if info.opset < 20 else "linear")
    mode, padding = MODES.get(mode, mode), attributes.get("padding_mode", "zeros")
    aligned = bool(attributes.get("align_corners", 0))
    if mode not in ("nearest", "linear", "cubic") or padding not in ("zeros", "border", "reflection"):
        raise FormatError(f"mode {mode!r} with padding_mode {padding!r} is not known")

    def run(x: Array, grid: Array) -> Array:
        axes = x.ndim - 2
        if axes < 1 or grid.ndim != x.ndim or grid.shape[-1] != axes or len(grid) != len(x):
            raise FormatError(f"an input of shape {x.shape} and a grid of shape {grid.shape} do not fit")
        if x.dtype.kind != "f" or (mode == "cubic" and axes != 2):
            raise FormatError(f"mode {mode!r} of {x.dtype} along {axes} axes is not computed")
        if 0 in x.shape:
            raise FormatError(f"an input of shape {x.shape} has no places")
        places = [grid[..., axes - 1 - k].reshape(len(x), -1).astype(x.dtype) for k in range(axes)]
        limits = [(0, n - 1) if aligned else (-0.5, n - 0.5) for n in x.shape[2:]]
        taps = []  # for each axis the index of each tap and its weight
        for n, (low, high), place in zip(x.shape[2:], limits, places, strict=True):
            where = (place + 1) / 2 * (n - 1) if aligned else ((place + 1) * n - 1) / 2
            where = np.where(np.isfinite(where), where, -100).astype(x.dtype)  # as far outside as any
            where = np.rint(where) if mode == "nearest" else where
            if mode == "cubic":  # of which each tap is brought inside
                pass
            elif padding == "border":
                where = np.where((where < low) | (where > high), np.clip(where, 0, n - 1), where)
            elif padding == "reflection":
                where = _reflected(where, low, high)
            whole = np.floor(where)
            ratio = where - whole
            if mode == "nearest":
                taps.append([(where, np.ones_like(where))])
            elif mode == "linear":
                taps.append([(whole, 1 - ratio), (whole + 1, ratio)])
            else:
                taps.append([(whole + k - 1, weight) for k, weight in enumerate(_cubic(ratio, -0.75))])
        flat = x.reshape(*x.shape[:2], -1)
        y: Array = np.zeros((*x.shape[:2], places[0].shape[1]), x.dtype)
        for chosen in itertools.product(*taps):
            index, weight = _address(x.shape[2:], chosen, limits, padding)
            y += np.take_along_axis(flat, index[:, None], 2) * weight[:, None]
        return y.reshape(*x.shape[:2], *grid.shape[1:-1])

    return run


def _address(
    shape: Sequence[int], chosen: Sequence[tuple[Array, Array]], limits: Sequence[tuple[float, float]], padding: str
) -> tuple[Array, Array]:
    """Where one tap of every axis lies in the input, and its weight, which is 0 beyond it."""
    index: Any = 0
    total: Any = None
    for n, (place, weight), (low, high) in zip(shape, chosen, limits, strict=True):
        if padding == "reflection":
            place = np.trunc(_reflected(place, low, high))
        elif padding == "zeros":
            weight = np.where((place >= 0) & (place <= n - 1), weight, 0).astype(weight.dtype)
        index = index * n + np.clip(place, 0, n - 1).astype(np.int64)
        total = weight if total is None else total * weight
    return index, total


def _grid_workspace(info: NodeInfo, x: Array, grid: Array) -> int:
    """Coordinates, indices and weights of a few taps of each axis, and the sums."""
    return 4 * grid_sample(info, x, grid) + 160 * max(1, grid.size)


def _grid_work(info: NodeInfo, x: Array, grid: Array) -> int:
    """Up to four taps along each of two axes, or two along each of more."""
    return (grid_sample(info, x, grid) + 8 * max(1, grid.size)) * 2 ** max(4, x.ndim)


OPERATORS = (
    Operator("GridSample", _grid_sample, grid_sample, _grid_workspace, _grid_work),
    Operator("Resize", _resize, resize, resize_workspace, resize_work, shape_inputs=(1, 2, 3)),
    Operator("Upsample", _resize, resize, scaled(resize, 4), resize_work, shape_inputs=(1,)),
)
