"""How much memory an operator will ask for, known before it is run.

A file of a hundred bytes can ask for any amount: a constant of a given shape, an array repeated a million times. Every
operator whose result can be much larger than its inputs has a rule here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx.formats.onnx._node import Array, NodeInfo
from rnnx.formats.onnx._operators import broadcast_elements

SMALL = 2**24  # bytes that are not counted
Guard = Callable[..., int]  # the inputs of a node in; bytes of its result out
BROADCAST = {
    "Add", "And", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Div", "Equal", "Greater", "GreaterOrEqual", "Less",
    "LessOrEqual", "Max", "Mean", "Min", "Mod", "Mul", "Or", "Pow", "PRelu", "Sub", "Sum", "Where", "Xor",
}  # fmt: skip
POOLS = {"AveragePool", "LpPool", "MaxPool"}


def _integers(array: Any) -> list[int]:
    return [int(n) for n in np.asarray(array).reshape(-1)]


def _broadcast(*parts: Array) -> int:
    if math.prod(part.size for part in parts) < SMALL // 8:
        return 0
    return broadcast_elements(*(part.shape for part in parts)) * max(part.itemsize for part in parts)


def _product(a: Array, b: Array, *rest: Any) -> int:
    if a.size * b.size < SMALL // 8 or a.ndim < 2 or b.ndim < 2:
        return 0
    batch = max(1, broadcast_elements(a.shape[:-2], b.shape[:-2]))
    return batch * max(a.shape[-2:]) * max(b.shape[-2:]) * 8


def _sum_of_parts(*parts: Array) -> int:
    return sum(part.nbytes for part in parts)


def _gather(info: NodeInfo) -> Guard:
    axis = info.attributes.get("axis", 0)
    return lambda x, index: x.nbytes // max(1, x.shape[axis]) * index.size if x.ndim else 0


def _gather_nd(x: Array, index: Array) -> int:
    depth = index.shape[-1] if index.ndim else 0
    return math.prod(index.shape[:-1]) * math.prod(x.shape[depth:]) * x.itemsize


def _pad(info: NodeInfo) -> Guard:
    def guard(x: Array, pads: Any = None, value: Any = None, axes: Any = None) -> int:
        given = _integers(info.attributes.get("pads", []) if pads is None else pads)
        places = range(x.ndim) if axes is None else [a % max(1, x.ndim) for a in _integers(axes)]
        shape, half = list(x.shape), len(given) // 2
        for k, axis in enumerate(list(places)[:half]):
            shape[axis] += max(0, given[k]) + max(0, given[k + half])
        return math.prod(shape) * x.itemsize

    return guard


def _windows(info: NodeInfo) -> Guard:
    """Convolutions and pools: the padded input, once for every place of the window."""
    attributes = info.attributes

    def guard(x: Array, w: Any = None, *rest: Any) -> int:
        axes = x.ndim - 2
        pads = list(attributes.get("pads", [])) or [0] * (2 * axes)
        strides = list(attributes.get("strides", [])) or [1] * axes
        window = list(attributes.get("kernel_shape", [])) or (list(w.shape[2:]) if w is not None else [1] * axes)
        dilations = list(attributes.get("dilations", [])) or [1] * axes
        size = x.shape[0]
        for k in range(axes):
            reach = window[k] * max(1, dilations[k])
            padded = x.shape[2 + k] + max(0, pads[k]) + max(0, pads[k + axes]) + reach
            size *= padded * (strides[k] if info.operator == "ConvTranspose" else 1)
        places = math.prod(window) if w is not None else 1
        filters = 0 if w is None else max(w.shape[:2]) * attributes.get("group", 1)
        return int(size * max(x.shape[1] * places, filters) * x.itemsize)

    return guard


def _resize(x: Array, *rest: Any) -> int:
    scales = next((part for part in rest if part is not None and part.dtype.kind == "f" and part.size == x.ndim), None)
    sizes = next((part for part in rest if part is not None and part.dtype.kind == "i"), None)
    if sizes is not None and sizes.size:
        return math.prod(_integers(sizes)) * x.itemsize
    return int(x.nbytes * float(np.prod(scales))) if scales is not None else 0


def _einsum(info: NodeInfo) -> Guard:
    terms, _, result = str(info.attributes.get("equation", "")).replace(" ", "").partition("->")

    def guard(*parts: Array) -> int:
        sizes: dict[str, int] = {}
        for term, part in zip(terms.split(","), parts, strict=False):
            sizes.update(zip(term, part.shape, strict=False))
        letters = result or "".join(sizes)
        return math.prod(sizes.get(letter, 1) for letter in letters) * 8

    return guard


def _of_shape(values: Any, itemsize: int = 8) -> int:
    return math.prod(max(0, n) for n in _integers(values)) * itemsize


def guard_of(info: NodeInfo) -> Guard | None:
    """The rule of an operator; None if its result is about as large as its inputs."""
    name, attributes = info.operator, info.attributes
    if name in BROADCAST:
        return _broadcast
    if name in POOLS or name in ("Conv", "ConvTranspose"):
        return _windows(info)
    rules: dict[str, Guard] = {
        "AffineGrid": lambda theta, size: _of_shape(size, 4 * 8),
        "BlackmanWindow": lambda size: _of_shape(size),
        "CenterCropPad": lambda x, shape: _of_shape(shape),
        "Concat": _sum_of_parts,
        "ConstantOfShape": lambda shape: _of_shape(shape),
        "DFT": lambda x, length=None, axis=None: x.nbytes * max(1, int(length.max()) if length is not None else 1),
        "Einsum": _einsum(info) if name == "Einsum" else _sum_of_parts,
        "Expand": lambda x, shape: max(1, broadcast_elements(x.shape, tuple(_integers(shape)))) * x.itemsize,
        "EyeLike": lambda x: x.size * 8,
        "Gather": _gather(info),
        "GatherND": _gather_nd,
        "Gemm": _product,
        "HammingWindow": lambda size: _of_shape(size),
        "HannWindow": lambda size: _of_shape(size),
        "MatMul": _product,
        "MatMulInteger": _product,
        "MaxUnpool": lambda x, index, shape=None: 0 if shape is None else _of_shape(shape),
        "MelWeightMatrix": lambda bins, length, *rest: int(bins.item()) * int(length.item()) * 8,
        "Multinomial": lambda x: x.shape[0] * int(attributes.get("sample_size", 1)) * 8,
        "OneHot": lambda x, depth, values: x.size * max(0, int(depth.reshape(-1)[0])) * values.itemsize,
        "Pad": _pad(info),
        "QLinearMatMul": lambda a, *rest: _product(a, rest[2]),
        "RandomNormal": lambda: _of_shape(attributes.get("shape", [])),
        "RandomUniform": lambda: _of_shape(attributes.get("shape", [])),
        "Range": lambda start, limit, delta: int(
            max(0.0, (float(limit.item()) - float(start.item())) / (float(delta.item()) or 1.0)) * 8
        ),
        "Resize": _resize,
        "RoiAlign": lambda x, rois, *rest: (
            len(rois) * x.shape[1] * attributes.get("output_height", 1) * attributes.get("output_width", 1) * 8
        ),
        "Tile": lambda x, repeats: x.nbytes * max(0, math.prod(_integers(repeats))),
        "Upsample": _resize,
    }
    return rules.get(name)
