"""Small fast versions of the operators that move numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rnnx.formats.onnx._limits import MOST_AXES
from rnnx.formats.onnx._node import Array, Function, NodeInfo, Operator
from rnnx.formats.onnx._signals import joined
from rnnx.formats.onnx._sizes import (
    NOTHING,
    SAME,
    Fixed,
    Times,
    Wide,
    each,
    expand,
    few,
    full,
    gather,
    gather_nd,
    pad,
    scaled,
    span,
    tile,
)


def _axes(info: NodeInfo) -> tuple[bool, tuple[int, ...] | None]:
    """Whether the axes are known, and the axes; in older opsets an attribute, later an input."""
    found = info.constants.get(1) if info.has(1) else info.attributes.get("axes")
    return not info.has(1) or found is not None, None if found is None else few(found)


def _squeeze(info: NodeInfo) -> Function:
    known, fixed = _axes(info)
    if not known:
        return lambda x, axes: np.squeeze(x, few(axes))
    if fixed is None:
        return lambda x, *rest: np.squeeze(x)
    if len(fixed) == 1:
        return lambda x, *rest: x.squeeze(fixed[0])
    return lambda x, *rest: np.squeeze(x, fixed)


def _unsqueeze(info: NodeInfo) -> Function | None:
    known, fixed = _axes(info)
    if not known:
        return lambda x, axes: np.expand_dims(x, few(axes))
    if fixed is None:
        return None
    keys: dict[Any, Any] = {(0,): (None,), (1,): (slice(None), None), (-1,): (..., None)}
    if fixed in keys:
        key = keys[fixed]
        return lambda x, *rest: np.asarray(x)[key]
    return lambda x, *rest: np.expand_dims(x, fixed)


def _reshape(info: NodeInfo) -> Function | None:
    if info.attributes.get("allowzero", 0):
        return None
    known = info.integers(1)
    fixed = None if known is None or 0 in known else tuple(known)

    def run(x: Array, shape: Array) -> Array:
        if fixed is not None:
            return x.reshape(fixed)
        return x.reshape([int(n) if n else x.shape[k] for k, n in enumerate(shape)])

    return run


def _transpose(info: NodeInfo) -> Function:
    perm = info.attributes.get("perm")
    return lambda x: x.transpose(perm)


def _flatten(info: NodeInfo) -> Function:
    axis = info.attributes.get("axis", 1)

    def run(x: Array) -> Array:
        place = axis + x.ndim if axis < 0 else axis
        return x.reshape(math.prod(x.shape[:place]), math.prod(x.shape[place:]))

    return run


def _concat(info: NodeInfo) -> Function | None:
    axis = info.attributes.get("axis")
    return None if axis is None else lambda *parts: np.concatenate(parts, axis)


def _shape(info: NodeInfo) -> Function:
    start, end = info.attributes.get("start", 0), info.attributes.get("end")
    return lambda x: np.array(np.shape(x)[start:end], np.int64)


def _slice(info: NodeInfo) -> Function | None:
    if info.opset < 10:
        starts, ends = info.attributes.get("starts"), info.attributes.get("ends")
        axes, steps = info.attributes.get("axes"), None
    else:
        starts, ends, axes, steps = (info.integers(k) for k in (1, 2, 3, 4))
        if (info.has(3) and axes is None) or (info.has(4) and steps is None):
            return _slice_by_values
    if starts is None or ends is None:
        return _slice_by_values if info.opset >= 10 else None
    found = _slices(starts, ends, axes, steps)
    if found is None:
        return None
    if min(found) < 0:
        return lambda x, *rest: x[_key(found, x.ndim)]
    key = tuple(found.get(k, slice(None)) for k in range(max(found) + 1))
    return lambda x, *rest: x[key]


def _slices(starts: Any, ends: Any, axes: Any, steps: Any) -> dict[int, slice] | None:
    axes = range(len(starts)) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps) or not len(starts) or 0 in steps:
        return None
    if not all(-MOST_AXES <= axis < MOST_AXES for axis in axes):
        return None
    return {int(a): slice(int(s), int(e), int(k)) for a, s, e, k in zip(axes, starts, ends, steps, strict=True)}


def _key(found: dict[int, slice], ndim: int) -> tuple[slice, ...]:
    place = {axis + ndim if axis < 0 else axis: part for axis, part in found.items()}
    if not all(0 <= axis < ndim for axis in place):
        raise ValueError(f"there are no axes {sorted(found)} in an array of {ndim} axes")
    return tuple(place.get(k, slice(None)) for k in range(ndim))


def _slice_by_values(x: Array, starts: Array, ends: Array, axes: Any = None, steps: Any = None) -> Array:
    found = _slices(starts, ends, axes, steps)
    if found is None:
        raise ValueError("starts, ends, axes and steps do not fit together")
    return x[_key(found, x.ndim)]


def _gather(info: NodeInfo) -> Function:
    axis = info.attributes.get("axis", 0)
    index = info.constants.get(1)
    if index is not None and index.ndim == 0 and 0 <= axis < MOST_AXES:
        key = (*[slice(None)] * axis, int(index))
        return lambda x, *rest: np.asarray(x[key])
    return lambda x, where: np.take(x, where, axis)


def _gather_nd(info: NodeInfo) -> Function | None:
    if info.attributes.get("batch_dims", 0) != 1:
        return None

    def run(x: Array, index: Array) -> Array:
        rows = np.arange(len(x)).reshape(-1, *[1] * (index.ndim - 1))
        return x[(rows[..., 0], *np.moveaxis(index, -1, 0))]

    return run


def _top_k(info: NodeInfo) -> Function | None:
    axis, largest = info.attributes.get("axis", -1), info.attributes.get("largest", 1)

    def run(x: Array, k: Array) -> tuple[Array, Array]:
        keys = x
        if largest:
            keys = -x if x.dtype.kind == "f" else np.iinfo(x.dtype).max - x if x.dtype.kind == "u" else ~x
        order = np.argsort(keys, axis, kind="stable")
        count = int(k.reshape(-1)[0])
        if not 0 <= count <= x.shape[axis]:
            raise ValueError(f"{count} of {x.shape[axis]} elements are wanted")
        order = np.take(order, np.arange(count), axis)
        return np.take_along_axis(x, order, axis), order

    return None if info.opset < 10 else run


def _pad(info: NodeInfo) -> Function | None:
    mode = info.attributes.get("mode", "constant")
    if mode not in ("constant", "reflect", "edge"):
        return None
    if info.opset < 11:
        pads: Any = info.attributes.get("pads")
        value: Any = info.attributes.get("value", 0.0)
        return None if pads is None else lambda x: _padded(x, pads, value, mode)

    def run(x: Array, pads: Array, value: Array | None = None, axes: Array | None = None) -> Array:
        given = [int(n) for n in pads]
        if axes is not None:
            full = [0] * (2 * x.ndim)
            if len(given) != 2 * len(axes):
                raise ValueError(f"{2 * len(axes)} pads are needed, got {len(given)}")
            for k, axis in enumerate(int(a) for a in axes):
                if not -x.ndim <= axis < x.ndim:
                    raise ValueError(f"there is no axis {axis} in an array of {x.ndim} axes")
                full[axis % x.ndim], full[axis % x.ndim + x.ndim] = given[k], given[k + len(axes)]
            given = full
        return _padded(x, given, 0 if value is None else value.reshape(-1)[0], mode)

    return run


def _padded(x: Array, pads: list[int], value: Any, mode: str) -> Array:
    if len(pads) != 2 * x.ndim:
        raise ValueError(f"{2 * x.ndim} pads are needed, got {len(pads)}")
    before, after = pads[: x.ndim], pads[x.ndim :]
    if min(pads, default=0) < 0:  # negative: cut off
        x = x[tuple(slice(max(0, -b), max(0, n + min(0, a))) for b, a, n in zip(before, after, x.shape, strict=True))]
        before, after = [max(0, n) for n in before], [max(0, n) for n in after]
    if mode == "constant":
        shape = tuple(b + n + a for b, n, a in zip(before, x.shape, after, strict=True))
        y = np.full(shape, value, x.dtype)
        y[tuple(slice(b, b + n) for b, n in zip(before, x.shape, strict=True))] = x
        return y
    if mode == "reflect" and sum(map(bool, pads)) == 1 and 0 < after[-1] < x.shape[-1]:  # what spectrograms do
        return np.concatenate([x, x[..., -2 : -2 - after[-1] : -1]], axis=-1)
    pads_of: Any = list(zip(before, after, strict=True))
    how: Any = mode
    return np.pad(x, pads_of, how)


def _split(info: NodeInfo) -> Function | None:
    axis, sizes = info.attributes.get("axis", 0), info.attributes.get("split")
    if info.has(1):
        sizes = info.integers(1)
        if sizes is None:
            return None
    count = len(info.outputs)

    def run(x: Array, *rest: Any) -> tuple[Array, ...]:
        parts = sizes
        if parts is None:
            each = -(-x.shape[axis] // count)
            parts = [each] * (count - 1) + [x.shape[axis] - each * (count - 1)]
        if sum(parts) != x.shape[axis] or min(parts) < 0 or len(parts) != count:
            raise ValueError(f"{x.shape[axis]} cannot be split into {count} parts {parts}")
        return tuple(np.split(x, np.cumsum(parts)[:-1], axis))

    return run


def _constant_of_shape(info: NodeInfo) -> Function:
    value = info.attributes.get("value", np.zeros(1, np.float32))
    return lambda shape: np.full(tuple(int(n) for n in shape), value.reshape(-1)[0], value.dtype)


def _expand(info: NodeInfo) -> Function:
    def run(x: Array, shape: Array) -> Array:
        return np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(int(n) for n in shape)))

    return run


def _cumulative_sum(info: NodeInfo) -> Function | None:
    if info.attributes.get("exclusive", 0) or info.attributes.get("reverse", 0):
        return None
    return lambda x, axis: np.cumsum(x, int(axis.reshape(-1)[0]), dtype=x.dtype)


def _range(info: NodeInfo) -> Function:
    def run(start: Any, limit: Any, delta: Any) -> Any:
        return np.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)

    return run


OPERATORS = (
    Operator("Concat", _concat, joined, NOTHING, quiet=True),
    Operator("ConstantOfShape", _constant_of_shape, full, NOTHING, shape_inputs=(0,)),
    Operator("CumSum", _cumulative_sum, SAME, SAME),
    Operator("Expand", _expand, expand, NOTHING, shape_inputs=(1,)),
    Operator("Flatten", _flatten, SAME, NOTHING, quiet=True),
    Operator("Gather", _gather, gather, Times(1), quiet=True),
    Operator("GatherND", _gather_nd, gather_nd, Times(3), each(1000)),
    Operator("Pad", _pad, pad, scaled(pad, 2), scaled(pad, 10), shape_inputs=(1, 3)),
    Operator("Range", _range, span, span, shape_inputs=(0, 1, 2)),
    Operator("Reshape", _reshape, SAME, NOTHING, shape_inputs=(1,), quiet=True),
    Operator("Shape", _shape, Fixed(8 * MOST_AXES), NOTHING),
    Operator("Size", lambda info: lambda x: np.array(np.size(x), np.int64), Fixed(8), NOTHING),
    Operator("Slice", _slice, SAME, NOTHING, shape_inputs=(1, 2, 3, 4), quiet=True),
    Operator("Split", _split, SAME, NOTHING, shape_inputs=(1,), several=True, quiet=True),
    Operator("Squeeze", _squeeze, SAME, NOTHING, shape_inputs=(1,), quiet=True),
    Operator("Tile", lambda info: lambda x, repeats: np.tile(x, tuple(int(n) for n in repeats)), tile, tile,
             shape_inputs=(1,)),
    Operator("TopK", _top_k, Wide(2), Wide(4), each(100), shape_inputs=(1,), several=True),
    Operator("Transpose", _transpose, SAME, NOTHING, quiet=True),
    Operator("Unsqueeze", _unsqueeze, SAME, NOTHING, shape_inputs=(1,), quiet=True),
)  # fmt: skip
