"""DynamicQuantizeLinear, MatMulInteger and ConvInteger: products of bytes, exact because floats hold their sums.

A product of two bytes is below 2**16, so float32 holds the sums of 258 of them, or more of smaller ones, and float64
those of any length; BLAS takes a tenth of the time that integers take in NumPy. Longer sums of constant weights are cut
into such parts, whose sums are added as integers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.formats.onnx._convolutions import convolution_of
from rnnx.formats.onnx._node import Function, NodeInfo, Operator
from rnnx.formats.onnx._sizes import measure, product, product_shape
from rnnx.formats.onnx._windows import convolution, convolution_work, convolution_workspace

BYTES = (np.dtype(np.int8), np.dtype(np.uint8))
MOST_SINGLE = 2**24 // 255**2  # products that float32 adds without rounding


def _shifted(values: Array, zero: Array | None, axis: int, dtype: Any) -> Array:
    """Bytes as floats from their zero point, which is one, or one for each place of an axis."""
    if values.dtype not in BYTES:
        raise TypeError(f"expected bytes, got {values.dtype}")
    found = values.astype(dtype)
    if zero is not None:
        shape = [1] * values.ndim
        if zero.size > 1:
            shape[axis] = zero.size
        found -= zero.astype(dtype).reshape(shape if zero.ndim < 2 else zero.shape)
    return found


def _exact(terms: int) -> Any:
    """A type of floats that holds a sum of so many products of bytes."""
    return np.float32 if terms <= MOST_SINGLE else np.float64


def _matmul(info: NodeInfo) -> Function:
    right, zero = info.constants.get(1), info.constants.get(3)
    ready = right is not None and (zero is not None or not info.has(3))
    parts: list[tuple[slice, Array]] = []
    if ready and right is not None and right.ndim and right.size:
        parts = _parts(_shifted(right, zero, -1, np.float32))

    def run(a: Array, b: Array, of_a: Array | None = None, of_b: Array | None = None) -> Array:
        axis = -2 if a.ndim > 1 else -1
        if not parts or not a.ndim or a.shape[-1] != parts[-1][0].stop:
            dtype = _exact(a.shape[-1] if a.ndim else 1)
            return np.asarray(_shifted(a, of_a, axis, dtype) @ _shifted(b, of_b, -1, dtype)).astype(np.int32)
        left = _shifted(a, of_a, axis, np.float32)
        sums = [np.asarray(left[..., place] @ weights).astype(np.int32) for place, weights in parts]
        return sums[0] if len(sums) == 1 else np.add.reduce(sums, dtype=np.int32)

    return run


def _parts(weights: Array) -> list[tuple[slice, Array]]:
    """Weights in parts of rows for which float32 holds the sums of products with bytes."""
    rows = weights.shape[0 if weights.ndim == 1 else -2]
    most = 2**24 // (255 * max(1, int(np.abs(weights).max(initial=0))))
    places = [slice(start, min(start + most, rows)) for start in range(0, rows, most)]
    return [(p, np.ascontiguousarray(weights[p] if weights.ndim == 1 else weights[..., p, :])) for p in places]


def _quantize(info: NodeInfo) -> Function:
    def run(x: Array) -> tuple[Array, Array, Array]:
        """Bytes, the scale that gives the range of the input and 0 all of them, and the byte of 0."""
        low, high = np.float32(x.min(initial=0)), np.float32(x.max(initial=0))
        with np.errstate(invalid="ignore", over="ignore"):  # what is no number becomes some byte, as elsewhere
            scale = np.float32(1 if high == low else high - low) / np.float32(255)
            zero = np.rint(min(np.float32(255), max(np.float32(0), -low / scale)))
            values = np.rint(x / scale)
            values += zero
            return np.clip(values, 0, 255, out=values).astype(np.uint8), scale.astype(x.dtype), zero.astype(np.uint8)

    return run


def _conv(info: NodeInfo) -> Function | None:
    weights, zero = info.constants.get(1), info.constants.get(3)
    if weights is None or (zero is None and info.has(3)) or weights.ndim < 3:
        return None
    dtype = _exact(int(np.prod(weights.shape[1:])))
    floats = _shifted(weights, zero, 0, dtype)
    inner = convolution_of(replace(info, constants={1: floats}, inputs=(True, True)))
    if inner is None:
        return None

    def run(x: Array, w: Array, of_x: Array | None = None, of_w: Array | None = None) -> Array:
        return np.asarray(inner(_shifted(x, of_x, 1, dtype), floats)).astype(np.int32)

    return run


# ---- What they take --------------------------------------------------------------------------------------------------


def _quantize_result(info: NodeInfo, x: Array, *rest: Any) -> int:
    """A byte for each number, the scale and the zero point."""
    return x.size + x.itemsize + 1


def _quantize_workspace(info: NodeInfo, x: Array, *rest: Any) -> int:
    """Twice the input as numbers."""
    return 2 * measure(x)


def _product_workspace(info: NodeInfo, a: Array, b: Array, *rest: Any) -> int:
    """Both sides as floats of eight bytes, and the product as such; of parts each has one, and a part of the left."""
    return 8 * 2 * (measure(a) + (0 if 1 in info.constants else measure(b))) + _most_parts(info, a) * product(
        info, a, b
    )


def _most_parts(info: NodeInfo, a: Array) -> int:
    terms = a.shape[-1] if a.ndim else 1
    return 2 + (terms // MOST_SINGLE + 1 if 1 in info.constants else 0)


def _product_work(info: NodeInfo, a: Array, b: Array, *rest: Any) -> int:
    batch, rows, columns, terms = product_shape(a, b)
    return batch * rows * columns * terms // (10 if info.evaluated or terms <= MOST_SINGLE else 5)


def _conv_workspace(info: NodeInfo, x: Array, w: Array, *rest: Any) -> int:
    """As of a convolution in floats of eight bytes, and the input as such."""
    return 16 * measure(x) + 2 * convolution_workspace(info, x, w) + 2 * convolution(info, x, w)


def _conv_work(info: NodeInfo, x: Array, w: Array, *rest: Any) -> int:
    many = convolution_work(info, x, w)
    return many if info.evaluated else many // 50


OPERATORS = (
    Operator("ConvInteger", _conv, convolution, _conv_workspace, _conv_work),
    Operator("DynamicQuantizeLinear", _quantize, _quantize_result, _quantize_workspace, several=True),
    Operator("MatMulInteger", _matmul, product, _product_workspace, _product_work),
)
