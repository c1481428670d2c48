"""MatMulInteger and ConvInteger: products of bytes, exact because floats hold their sums.

A product of two bytes is below 2**16, so float32 holds the sums of 258 of them and float64 those of any length; BLAS
takes a tenth of the time that integers take in NumPy.
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
    packed = None
    if ready and right is not None:
        packed = _shifted(right, zero, -1, _exact(right.shape[0 if right.ndim == 1 else -2]))

    def run(a: Array, b: Array, of_a: Array | None = None, of_b: Array | None = None) -> Array:
        dtype = _exact(a.shape[-1] if a.ndim else 1) if packed is None else packed.dtype
        other = _shifted(b, of_b, -1, dtype) if packed is None else packed
        return np.asarray(_shifted(a, of_a, -2 if a.ndim > 1 else -1, dtype) @ other).astype(np.int32)

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


def _product_workspace(info: NodeInfo, a: Array, b: Array, *rest: Any) -> int:
    """Both sides as floats of eight bytes, and the product as such."""
    return 8 * 2 * (measure(a) + (0 if 1 in info.constants else measure(b))) + 2 * product(info, a, b)


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
    Operator("MatMulInteger", _matmul, product, _product_workspace, _product_work),
)
