"""Small fast versions of the operators that move numbers, and of the convolution in front of recurrent networks."""

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
    full,
    gather,
    gather_nd,
    pad,
    scaled,
    span,
    tile,
)
from rnnx.formats.onnx._windows import (
    convolution,
    convolution_work,
    convolution_workspace,
    pool,
    pool_work,
    pool_workspace,
)

SMALL_WINDOWS = 2**16
MOST_INDICES = 16
PADDINGS = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")


def _axes(info: NodeInfo) -> tuple[bool, list[int] | None]:
    """Whether the axes are known, and the axes; in older opsets an attribute, later an input."""
    if info.has(1):
        axes = info.integers(1)
        return axes is not None, axes
    return True, info.attributes.get("axes")


def _squeeze(info: NodeInfo) -> Function | None:
    known, axes = _axes(info)
    if not known:
        return None
    if axes is None:
        return lambda x, *rest: np.squeeze(x)
    fixed = tuple(axes)
    if len(fixed) == 1:
        return lambda x, *rest: x.squeeze(fixed[0])
    return lambda x, *rest: np.squeeze(x, fixed)


def _unsqueeze(info: NodeInfo) -> Function | None:
    known, axes = _axes(info)
    if not known or axes is None:
        return None
    fixed = tuple(axes)
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


def _same(automatic: str, length: int, window: int, stride: int) -> tuple[int, int] | None:
    """Padding that makes an output for every stride; None if the node says how much there is."""
    if not automatic.startswith("SAME"):
        return None
    total = max(0, (-(-length // stride) - 1) * stride + window - length)
    less, more = total // 2, total - total // 2
    return (less, more) if automatic == "SAME_UPPER" else (more, less)


def convolution_of(info: NodeInfo) -> Function | None:
    """Convolution over one axis or two; more are left to the evaluator."""
    weights = info.constants.get(1)
    attributes, automatic = info.attributes, info.attributes.get("auto_pad", "NOTSET")
    if weights is not None and weights.ndim == 4 and automatic in PADDINGS:
        return _conv_of_planes(info, weights, automatic)
    if weights is None or weights.ndim != 3 or automatic not in PADDINGS:
        return None
    groups, (stride,) = attributes.get("group", 1), attributes.get("strides", [1])
    (dilation,), (before, after) = attributes.get("dilations", [1]), attributes.get("pads", [0, 0])
    filters, channels, size = weights.shape
    if min(stride, dilation, size, groups) < 1 or min(before, after) < 0 or filters % groups:
        return None
    window = (size - 1) * dilation + 1
    indices: dict[int, Array] = {}  # for a few short inputs: where each element of their windows lies
    matrices = np.ascontiguousarray(weights.reshape(groups, filters // groups, channels * size))
    if groups == 1:
        matrices = matrices[0]

    def run(x: Array, w: Array, bias: Array | None = None) -> Array:
        if x.ndim != 3 or x.shape[1] != channels * groups:
            raise ValueError(f"the input must have the shape (batch, {channels * groups}, steps), got {x.shape}")
        front, back = _same(automatic, x.shape[2], window, stride) or (before, after)
        if front or back:
            padded = np.zeros((*x.shape[:2], front + x.shape[2] + back), x.dtype)
            padded[:, :, front : front + x.shape[2]] = x
            x = padded
        x = np.ascontiguousarray(x)
        batch, _, length = x.shape
        steps = (length - window) // stride + 1
        if steps < 1:
            raise ValueError(f"{length} steps are fewer than the window of {window}")
        rows, row, item = x.strides
        if batch == groups == 1 and x.size * size < SMALL_WINDOWS:
            if length not in indices:
                if len(indices) >= MOST_INDICES:
                    indices.clear()
                taps = np.arange(size)[:, None] * dilation + np.arange(steps) * stride
                indices[length] = (np.arange(channels)[:, None, None] * length + taps).reshape(-1, steps)
            y = (matrices @ x.reshape(-1)[indices[length]])[None]
            if bias is not None:
                y += bias[:, None]
            return y
        if size == 1 and stride == 1:
            columns = x.reshape(batch, groups, channels, steps)
        else:
            shape = (batch, groups, channels, size, steps)
            strides = (rows, row * channels, row, item * dilation, item * stride)
            columns = np.ndarray(shape, x.dtype, x, 0, strides).reshape(batch, groups, channels * size, steps)
        if groups == 1:
            y = matrices @ columns[:, 0] if batch != 1 else (matrices @ columns[0, 0])[None]
        else:
            y = (matrices @ columns).reshape(batch, filters, steps)
        if bias is not None:
            y += bias[:, None]
        return y

    return run


def _conv_of_planes(info: NodeInfo, weights: Array, automatic: str) -> Function | None:
    """Convolution over two axes: the windows of a row of the batch side by side, times the filters."""
    attributes = info.attributes
    groups, strides = attributes.get("group", 1), list(attributes.get("strides", [1, 1]))
    dilations, pads = list(attributes.get("dilations", [1, 1])), list(attributes.get("pads", [0, 0, 0, 0]))
    filters, channels, *size = weights.shape
    if len(strides) != 2 or len(dilations) != 2 or len(pads) != 4 or filters % groups:
        return None
    if min(*strides, *dilations, *size, groups) < 1 or min(pads) < 0:
        return None
    reach = [(n - 1) * d + 1 for n, d in zip(size, dilations, strict=True)]
    matrices = np.ascontiguousarray(weights.reshape(groups, filters // groups, -1))

    def run(x: Array, w: Array, bias: Array | None = None) -> Array:
        if x.ndim != 4 or x.shape[1] != channels * groups:
            raise ValueError(
                f"the input must have the shape (batch, {channels * groups}, rows, columns), got {x.shape}"
            )
        edges = [_same(automatic, x.shape[2 + k], reach[k], strides[k]) or (pads[k], pads[2 + k]) for k in range(2)]
        if any(map(any, edges)):
            x = np.pad(x, [(0, 0), (0, 0), *edges])
        x = np.ascontiguousarray(x)
        places = [(x.shape[2 + k] - reach[k]) // strides[k] + 1 for k in range(2)]
        if min(places) < 1:
            raise ValueError(f"an input of shape {x.shape} is smaller than the window of {reach}")
        y = np.empty((len(x), groups, filters // groups, *places), np.result_type(x, weights))
        each = (groups, channels, *size, *places)
        steps = [x.strides[2 + k] for k in range(2)]
        moves = [x.strides[1] * channels, x.strides[1], *(s * d for s, d in zip(steps, dilations, strict=True))]
        moves += [s * n for s, n in zip(steps, strides, strict=True)]
        for one, result in zip(x, y, strict=True):
            if reach == [1, 1] and strides == [1, 1]:
                columns = one.reshape(groups, channels, -1)
            else:
                columns = np.ndarray(each, x.dtype, one, 0, moves).reshape(groups, -1, places[0] * places[1])
            np.matmul(matrices, columns, out=result.reshape(groups, filters // groups, -1))
        y = y.reshape(len(x), filters, *places)
        if bias is not None:
            y += bias[:, None, None]
        return y

    return run


def _pool(info: NodeInfo) -> Function | None:
    """Pooling over one axis or two."""
    attributes, best = info.attributes, info.operator == "MaxPool"
    kernel, pads = attributes.get("kernel_shape", []), attributes.get("pads", [0, 0])
    automatic = attributes.get("auto_pad", "NOTSET")
    if len(kernel) == 2 and automatic in PADDINGS and not any(info.outputs[1:]):
        return _pool_of_planes(info, list(kernel), automatic)
    if len(kernel) != 1 or automatic not in PADDINGS or any(info.outputs[1:]) or attributes.get("ceil_mode", 0):
        return None
    size, (stride,), (dilation,) = kernel[0], attributes.get("strides", [1]), attributes.get("dilations", [1])
    counted = bool(attributes.get("count_include_pad", 0))
    if min(size, stride, dilation) < 1 or min(pads) < 0 or max(pads) >= size * dilation:
        return None
    window = (size - 1) * dilation + 1

    def run(x: Array) -> Array:
        before, after = _same(automatic, x.shape[2], window, stride) or pads
        steps = (x.shape[2] + before + after - window) // stride + 1
        if steps < 1:
            raise ValueError(f"{x.shape[2]} steps are fewer than the window of {window}")
        index = np.arange(steps)[:, None] * stride + np.arange(size) * dilation - before
        exists = (index >= 0) & (index < x.shape[2])
        values = x[:, :, np.clip(index, 0, max(0, x.shape[2] - 1))]
        if best:
            low = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
            return np.where(exists, values, np.asarray(low, x.dtype)).max(axis=-1)
        count = size if counted else np.maximum(1, exists.sum(axis=-1))
        total_of = np.where(exists, values, np.zeros((), x.dtype)).sum(axis=-1)
        return total_of / np.asarray(count, x.dtype)

    return run


def _pool_of_planes(info: NodeInfo, size: list[int], automatic: str) -> Function | None:
    """Pooling over two axes, element by element of the window."""
    attributes, best = info.attributes, info.operator == "MaxPool"
    strides, dilations = list(attributes.get("strides", [1, 1])), list(attributes.get("dilations", [1, 1]))
    pads, ceil = list(attributes.get("pads", [0, 0, 0, 0])), bool(attributes.get("ceil_mode", 0))
    if len(strides) != 2 or len(dilations) != 2 or len(pads) != 4 or min(*size, *strides, *dilations) < 1:
        return None
    reach = [(n - 1) * d + 1 for n, d in zip(size, dilations, strict=True)]
    if min(pads) < 0 or any(pads[k] >= reach[k % 2] for k in range(4)) or (ceil and not best):
        return None
    counted = bool(attributes.get("count_include_pad", 0))

    def run(x: Array) -> Array:
        places, edges = [], []
        for k, length in enumerate(x.shape[2:]):
            before, after = _same(automatic, length, reach[k], strides[k]) or (pads[k], pads[2 + k])
            rest = length + before + after - reach[k]
            count = -(-rest // strides[k]) + 1 if ceil else rest // strides[k] + 1
            if ceil and (count - 1) * strides[k] >= length + before:  # a window of padding alone
                count -= 1
            if count < 1:
                raise ValueError(f"an input of shape {x.shape} is smaller than the window of {reach}")
            places.append(count)
            edges.append((before, max(after, (count - 1) * strides[k] + reach[k] - length - before)))
        low = (-np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min) if best else 0
        combine = np.maximum if best else np.add
        y = _over_windows(combine, _edged(x, edges, low), places)
        if best:
            return y
        there = (
            size[0] * size[1]
            if counted
            else _over_windows(np.add, _edged(np.ones((1, 1, *x.shape[2:]), x.dtype), edges, 0), places)
        )
        return y / np.asarray(there, x.dtype)

    def _edged(x: Array, edges: Any, value: Any) -> Array:
        return np.pad(x, [(0, 0), (0, 0), *edges], constant_values=value) if any(map(any, edges)) else x

    def _over_windows(combine: Any, x: Array, places: list[int]) -> Array:
        y: Array | None = None
        for i in range(size[0]):
            for j in range(size[1]):
                starts = i * dilations[0], j * dilations[1]
                ends = [s + (n - 1) * step + 1 for s, n, step in zip(starts, places, strides, strict=True)]
                part = x[..., starts[0] : ends[0] : strides[0], starts[1] : ends[1] : strides[1]]
                y = part.copy() if y is None else combine(y, part, out=y)
        assert y is not None
        return y

    return run


def _range(info: NodeInfo) -> Function:
    def run(start: Any, limit: Any, delta: Any) -> Any:
        return np.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)

    return run


OPERATORS = (
    Operator("AveragePool", _pool, pool, pool_workspace, pool_work),
    Operator("Concat", _concat, joined, NOTHING),
    Operator("ConstantOfShape", _constant_of_shape, full, NOTHING, shape_inputs=(0,)),
    Operator("Conv", convolution_of, convolution, convolution_workspace, convolution_work),
    Operator("CumSum", _cumulative_sum, SAME, SAME),
    Operator("Expand", _expand, expand, NOTHING, shape_inputs=(1,)),
    Operator("Flatten", _flatten, SAME, NOTHING),
    Operator("Gather", _gather, gather, Times(1)),
    Operator("GatherND", _gather_nd, gather_nd, Times(3), each(1000)),
    Operator("MaxPool", _pool, pool, pool_workspace, pool_work),
    Operator("Pad", _pad, pad, scaled(pad, 2), scaled(pad, 10), shape_inputs=(1, 3)),
    Operator("Range", _range, span, span, shape_inputs=(0, 1, 2)),
    Operator("Reshape", _reshape, SAME, NOTHING, shape_inputs=(1,)),
    Operator("Shape", _shape, Fixed(8 * MOST_AXES), NOTHING),
    Operator("Size", lambda info: lambda x: np.array(np.size(x), np.int64), Fixed(8), NOTHING),
    Operator("Slice", _slice, SAME, NOTHING, shape_inputs=(1, 2, 3, 4)),
    Operator("Split", _split, SAME, NOTHING, shape_inputs=(1,), several=True),
    Operator("Squeeze", _squeeze, SAME, NOTHING, shape_inputs=(1,)),
    Operator("Tile", lambda info: lambda x, repeats: np.tile(x, tuple(int(n) for n in repeats)), tile, tile,
             shape_inputs=(1,)),
    Operator("TopK", _top_k, Wide(2), Wide(4), each(100), shape_inputs=(1,), several=True),
    Operator("Transpose", _transpose, SAME, NOTHING),
    Operator("Unsqueeze", _unsqueeze, SAME, NOTHING, shape_inputs=(1,)),
)  # fmt: skip
