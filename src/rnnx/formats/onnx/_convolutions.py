"""Convolution, ConvTranspose and pooling; filters that are not constant are left to the evaluator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from rnnx.formats.onnx._node import Array, Function, NodeInfo, Operator
from rnnx.formats.onnx._sizes import SAME, Wide
from rnnx.formats.onnx._windows import (
    convolution,
    convolution_work,
    convolution_workspace,
    norm_of_channels,
    pool,
    pool_work,
    pool_workspace,
    transposed,
    transposed_work,
    transposed_workspace,
)

SMALL_WINDOWS = 2**16
MOST_INDICES = 16
PADDINGS = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")


def _same(automatic: str, length: int, window: int, stride: int) -> tuple[int, int] | None:
    """Padding that makes an output for every stride; None if the node says how much there is."""
    if not automatic.startswith("SAME"):
        return None
    total = max(0, (-(-length // stride) - 1) * stride + window - length)
    less, more = total // 2, total - total // 2
    return (less, more) if automatic == "SAME_UPPER" else (more, less)


def convolution_of(info: NodeInfo) -> Function | None:
    """Convolution with constant filters; others are left to the evaluator."""
    weights = info.constants.get(1)
    attributes, automatic = info.attributes, info.attributes.get("auto_pad", "NOTSET")
    if weights is not None and weights.ndim == 4 and automatic in PADDINGS:
        return _conv_of_planes(info, weights, automatic)
    if weights is not None and weights.ndim > 4 and automatic in PADDINGS:
        return _conv_of_spaces(info, weights, automatic)
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


def _conv_of_spaces(info: NodeInfo, weights: Array, automatic: str) -> Function | None:
    """Convolution over three axes or more, element by element of the filters."""
    attributes, axes = info.attributes, weights.ndim - 2
    groups, filters, channels, size = attributes.get("group", 1), *weights.shape[:2], weights.shape[2:]
    strides, dilations = (list(attributes.get(name) or [1] * axes) for name in ("strides", "dilations"))
    pads = list(attributes.get("pads") or [0] * 2 * axes)
    if {len(strides), len(dilations), len(pads) / 2} != {axes} or min(pads) < 0:
        return None
    if min(*strides, *dilations, *size, groups) < 1 or filters % groups:
        return None
    reach = [(n - 1) * d + 1 for n, d in zip(size, dilations, strict=True)]
    taps = np.ascontiguousarray(np.moveaxis(weights.reshape(groups, filters // groups, channels, -1), 3, 0))

    def run(x: Array, w: Array, bias: Array | None = None) -> Array:
        if x.ndim != axes + 2 or x.shape[1] != channels * groups:
            raise ValueError(f"the input must have {axes + 2} axes and {channels * groups} channels, got {x.shape}")
        edges = [
            _same(automatic, x.shape[2 + k], reach[k], strides[k]) or (pads[k], pads[axes + k]) for k in range(axes)
        ]
        if any(map(any, edges)):
            x = np.pad(x, [(0, 0), (0, 0), *edges])
        places = [(x.shape[2 + k] - reach[k]) // strides[k] + 1 for k in range(axes)]
        if min(places) < 1:
            raise ValueError(f"an input of shape {x.shape} is smaller than the window of {reach}")
        y = np.zeros((len(x), groups, filters // groups, math.prod(places)), np.result_type(x, weights))
        for element, matrices in zip(np.ndindex(*size), taps, strict=True):
            part = x[_steps(element, dilations, strides, places)]
            y += matrices @ part.reshape(len(x), groups, channels, -1)
        y = y.reshape(len(x), filters, *places)
        if bias is not None:
            y += bias.reshape(-1, *[1] * axes)
        return y

    return run


def _pool(info: NodeInfo) -> Function | None:
    """Pooling."""
    attributes, best = info.attributes, info.operator == "MaxPool"
    kernel, pads = attributes.get("kernel_shape", []), attributes.get("pads", [0, 0])
    automatic = attributes.get("auto_pad", "NOTSET")
    if automatic not in PADDINGS or not kernel:
        return None
    if len(kernel) > 1 or attributes.get("ceil_mode", 0) or any(info.outputs[1:]) or info.operator == "LpPool":
        return _pool_of_places(info, list(kernel), automatic)
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


def _pool_of_places(info: NodeInfo, size: list[int], automatic: str) -> Function | None:
    """Pooling over any number of axes, element by element of the window."""
    attributes, best, axes = info.attributes, info.operator == "MaxPool", len(size)
    strides, dilations = list(attributes.get("strides", [1] * axes)), list(attributes.get("dilations", [1] * axes))
    pads, ceil = list(attributes.get("pads", [0] * 2 * axes)), bool(attributes.get("ceil_mode", 0))
    if len(strides) != axes or len(dilations) != axes or len(pads) != 2 * axes or min(*size, *strides, *dilations) < 1:
        return None
    reach = [(n - 1) * d + 1 for n, d in zip(size, dilations, strict=True)]
    if min(pads) < 0 or any(pads[k] >= reach[k % axes] for k in range(2 * axes)):
        return None
    counted, indices = bool(attributes.get("count_include_pad", 0)), any(info.outputs[1:])
    power = attributes.get("p", 2) if info.operator == "LpPool" else None
    by_columns = bool(attributes.get("storage_order", 0))

    def run(x: Array) -> Any:
        if x.ndim != axes + 2:
            raise ValueError(f"the input must have {axes + 2} axes, got shape {x.shape}")
        places, padding, edges = [], [], []
        for k, length in enumerate(x.shape[2:]):
            before, after = _same(automatic, length, reach[k], strides[k]) or (pads[k], pads[axes + k])
            rest = length + before + after - reach[k]
            count = -(-rest // strides[k]) + 1 if ceil else rest // strides[k] + 1
            if ceil and (count - 1) * strides[k] >= length + before:  # a window of padding alone
                count -= 1
            if count < 1:
                raise ValueError(f"an input of shape {x.shape} is smaller than the window of {reach}")
            places.append(count)
            padding.append((before, after))
            edges.append((before, max(after, (count - 1) * strides[k] + reach[k] - length - before)))
        low = (-np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min) if best else 0
        combine = np.maximum if best else np.add
        values = x if power is None else np.abs(x) ** power
        y = _over_windows(combine, _edged(values, edges, low), places)
        if best:
            return (y, _first_at(x, y, edges, places)) if indices else y
        if power is not None:
            return np.asarray(y ** (1 / power), x.dtype)
        there = np.ones((1, 1, *x.shape[2:]), x.dtype)
        if counted:  # not what a window has beyond the padding
            there = _edged(there, padding, 1)
            edges = [(0, end - after) for (_, end), (_, after) in zip(edges, padding, strict=True)]
        return y / _over_windows(np.add, _edged(there, edges, 0), places)

    def _edged(x: Array, edges: Any, value: Any) -> Array:
        return np.pad(x, [(0, 0), (0, 0), *edges], constant_values=value) if any(map(any, edges)) else x

    def _first_at(x: Array, y: Array, edges: Any, places: list[int]) -> Array:
        """Where the maxima lie, counted from the first element of the input."""
        numbers = np.arange(x.size).reshape(x.shape)
        if by_columns:
            backwards = np.arange(math.prod(x.shape[2:])).reshape(x.shape[:1:-1])
            numbers = numbers.reshape(*x.shape[:2], -1)[..., :1].reshape(*x.shape[:2], *[1] * axes) + backwards.T
        values, numbers = _edged(x, edges, 0), _edged(numbers, edges, -1)
        found = np.full(y.shape, -1)
        for element in np.ndindex(*size):
            where = _steps(element, dilations, strides, places)
            first = (found < 0) & (numbers[where] >= 0) & (values[where] == y)
            found[first] = numbers[where][first]
        return found

    def _over_windows(combine: Any, x: Array, places: list[int]) -> Array:
        y: Array | None = None
        for element in np.ndindex(*size):
            part = x[_steps(element, dilations, strides, places)]
            y = part.copy() if y is None else combine(y, part, out=y)
        assert y is not None
        return y

    return run


def _steps(element: Sequence[int], dilations: list[int], strides: list[int], places: Sequence[int]) -> Any:
    """The index of an element of the windows, for all windows."""
    starts = [n * dilation for n, dilation in zip(element, dilations, strict=True)]
    return ..., *(
        slice(start, start + (count - 1) * stride + 1, stride)
        for start, stride, count in zip(starts, strides, places, strict=True)
    )


def _transposed(info: NodeInfo) -> Function | None:
    """ConvTranspose, element by element of the filters; padding that follows from the output is for the evaluator."""
    attributes, weights = info.attributes, info.constants.get(1)
    if weights is None or weights.ndim < 3 or attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return None
    axes, groups = weights.ndim - 2, attributes.get("group", 1)
    strides, dilations, more = (
        list(attributes.get(name) or [default] * axes)
        for name, default in (("strides", 1), ("dilations", 1), ("output_padding", 0))
    )
    pads = list(attributes.get("pads") or [0] * 2 * axes)
    if "output_shape" in attributes or {len(strides), len(dilations), len(more), len(pads) / 2} != {axes}:
        return None
    if min(*strides, *dilations, groups, *weights.shape) < 1 or min(*pads, *more) < 0 or len(weights) % groups:
        return None
    channels, filters, size = len(weights) // groups, weights.shape[1], weights.shape[2:]
    reach = [(n - 1) * d + 1 for n, d in zip(size, dilations, strict=True)]
    taps = np.ascontiguousarray(np.moveaxis(weights.reshape(groups, channels, filters, -1), (3, 2), (0, 2)))

    def run(x: Array, w: Array, bias: Array | None = None) -> Array:
        if x.ndim != axes + 2 or x.shape[1] != channels * groups:
            raise ValueError(f"the input must have {axes + 2} axes and {channels * groups} channels, got {x.shape}")
        places, batch = x.shape[2:], len(x)
        whole = [
            (n - 1) * stride + far + extra for n, stride, far, extra in zip(places, strides, reach, more, strict=True)
        ]
        ends = [n - after for n, after in zip(whole, pads[axes:], strict=True)]
        if min(places) < 1 or any(end <= first for end, first in zip(ends, pads, strict=False)):
            raise ValueError(f"nothing is left of an input of shape {x.shape} without the pads {pads}")
        y = np.zeros((batch, groups * filters, *whole), np.result_type(x, weights))
        flat = x.reshape(batch, groups, channels, -1)
        for element, matrices in zip(np.ndindex(*size), taps, strict=True):
            part = (matrices @ flat).reshape(batch, groups * filters, *places)
            y[_steps(element, dilations, strides, places)] += part
        inside: Any = (..., *map(slice, pads[:axes], ends))
        y = np.ascontiguousarray(y[inside])
        if bias is not None:
            y += bias.reshape(-1, *[1] * axes)
        return y

    return run


def _norm_of_channels(info: NodeInfo) -> Function:
    """LRN: a sum of squares over neighbouring channels."""
    attributes = info.attributes
    size, bias = attributes.get("size", 1), attributes.get("bias", 1.0)
    alpha, beta = attributes.get("alpha", 1e-4), attributes.get("beta", 0.75)
    before = (size - 1) // 2

    def run(x: Array) -> Array:
        squares = np.zeros_like(x)
        for near in range(-before, size - before):
            start, stop = max(0, -near), min(x.shape[1], x.shape[1] - near)
            if start < stop:
                squares[:, start:stop] += np.square(x[:, start + near : stop + near])
        return np.asarray(x / (bias + alpha / size * squares) ** beta, x.dtype)

    return run


OPERATORS = (
    Operator("AveragePool", _pool, pool, pool_workspace, pool_work),
    Operator("Conv", convolution_of, convolution, convolution_workspace, convolution_work),
    Operator("ConvTranspose", _transposed, transposed, transposed_workspace, transposed_work),
    Operator("LRN", _norm_of_channels, SAME, Wide(4), norm_of_channels),
    Operator("LpPool", _pool, pool, pool_workspace, pool_work),
    Operator("MaxPool", _pool, pool, pool_workspace, pool_work),
)
