"""Operators on bytes with scale and zero point: QLinearConv, and ONNX Runtime's own QLinearAdd, QLinearMul,
QLinearSigmoid, QLinearConcat and QGemm.

Its static quantization writes them around QLinearMatMul, or pairs of QuantizeLinear and DequantizeLinear, which become
these here (`_fusions`). All compute in float32 and round to even, as it does. `TABLE` is a function of a byte.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx._kernels import combined_bytes, looked_up
from rnnx._typing import Array
from rnnx.formats.onnx._byte_windows import byte_windows
from rnnx.formats.onnx._integers import BYTES, exact_product, packed_bytes, qlinear_conv, saturated, zero_of
from rnnx.formats.onnx._node import Function, NodeInfo, Operator
from rnnx.formats.onnx._sizes import SAME, Times, broadcast, elements, gemm, gemm_work, product, product_shape
from rnnx.formats.onnx._windows import convolution, convolution_work, convolution_workspace, quantized_convolution
from rnnx.saving import FormatError


def _one(value: Array | None, what: str, kind: Any) -> np.float32:
    """A scale or a zero point as a number; the zero point that is not there is 0."""
    if value is None:
        return np.float32(0)
    if value.size != 1 or value.dtype != kind:
        raise FormatError(f"{what} must be one number of type {kind}, got {value.dtype} of shape {value.shape}")
    return np.float32(value.reshape(-1)[0])


def _kind(zero: Array | None, like: Array) -> Any:
    """The type of a result, which its zero point has."""
    kind = like.dtype if zero is None else zero.dtype
    if kind not in BYTES or like.dtype not in BYTES:
        raise FormatError(f"expected bytes, got {like.dtype} and a zero point of {kind}")
    return kind


def _ends(a: Array, of_a: Any, b: Array, of_b: Any) -> tuple[np.float32, np.float32]:
    return _one(of_a, "the zero point of A", a.dtype), _one(of_b, "the zero point of B", b.dtype)


def _scales(*scales: Array) -> list[np.float32]:
    return [_one(scale, "a scale", np.dtype(np.float32)) for scale in scales]


def _pairs(a: Array, b: Array) -> tuple[Array, Array]:
    """Two arrays that are broadcast against each other, the second of which ends the shape of the first."""
    if b.ndim <= a.ndim and a.shape[a.ndim - b.ndim :] == b.shape:
        return a, b
    one, other = np.broadcast_arrays(a, b)
    return one, other


def _fixed(info: NodeInfo, *places: int) -> bool:
    """Whether these inputs are constants, or not there."""
    return all(place in info.constants or not info.has(place) for place in places)


def _add(info: NodeInfo) -> Function:
    known: dict[Any, Any] = {}
    fixed = _fixed(info, 1, 2, 4, 5, 6, 7)

    def run(a: Array, a_scale: Array, a_zero: Any, b: Array, b_scale: Array, b_zero: Any, scale: Array,
            zero: Any = None) -> Array:  # fmt: skip
        numbers = known.get((a.dtype, b.dtype))
        if numbers is None:
            kind = _kind(zero, a)
            (of_a, of_b), (one, other, whole) = _ends(a, a_zero, b, b_zero), _scales(a_scale, b_scale, scale)
            with np.errstate(all="ignore"):
                one, other = one / whole, other / whole
                shift = _one(zero, "the zero point of C", kind) - (one * of_a + other * of_b)
            in_one = bool(kind == a.dtype == b.dtype and np.isfinite(shift))
            numbers = kind, float(one), float(other), float(shift), in_one
            if fixed:
                known[a.dtype, b.dtype] = numbers
        kind, by_a, by_b, plus, in_one = numbers
        if in_one:
            return combined_bytes(*_pairs(a, b), False, by_a, by_b, plus, 0, 0, 0, kind == np.int8)
        with np.errstate(all="ignore"):
            scaled = b.astype(np.float32) * np.float32(by_b) + np.float32(plus)
            sums = np.asarray(a.astype(np.float32) * np.float32(by_a) + scaled)
            return saturated(sums, np.zeros((), kind), kind)

    return run


def _mul(info: NodeInfo) -> Function:
    known: dict[Any, Any] = {}
    fixed = _fixed(info, 1, 2, 4, 5, 6, 7)

    def run(a: Array, a_scale: Array, a_zero: Any, b: Array, b_scale: Array, b_zero: Any, scale: Array,
            zero: Any = None) -> Array:  # fmt: skip
        numbers = known.get((a.dtype, b.dtype))
        if numbers is None:
            kind = _kind(zero, a)
            ends, (one, other, whole) = _ends(a, a_zero, b, b_zero), _scales(a_scale, b_scale, scale)
            shift = np.asarray(_one(zero, "the zero point of C", kind), kind)
            with np.errstate(all="ignore"):
                factor = one * other / whole
            in_one = bool(kind == a.dtype == b.dtype and np.isfinite(factor))
            numbers = kind, float(factor), (int(ends[0]), int(ends[1]), int(shift)), in_one
            if fixed:
                known[a.dtype, b.dtype] = numbers
        kind, by, zeros, in_one = numbers
        if in_one:
            of_a, of_b, of_y = zeros
            return combined_bytes(*_pairs(a, b), True, by, 0.0, 0.0, of_a, of_b, of_y, kind == np.int8)
        with np.errstate(all="ignore"):
            products = (a.astype(np.float32) - np.float32(zeros[0])) * (b.astype(np.float32) - np.float32(zeros[1]))
            return saturated(np.asarray(products * np.float32(by)), np.asarray(zeros[2], kind), kind)

    return run


EVERY = np.arange(256, dtype=np.uint8)


def _looked_up(function: Callable[[Array], Array]) -> Callable[[NodeInfo], Function]:
    """A function of bytes: what it makes of all 256 of them, and a look at each."""

    def make(info: NodeInfo) -> Function:
        known: dict[Any, Array] = {}

        def run(x: Array, x_scale: Array, x_zero: Any, scale: Array, zero: Any = None) -> Array:
            if (table := known.get(x.dtype)) is None:
                table = _table(function, x.dtype, x_scale, x_zero, scale, zero, _kind(zero, x))
                if _fixed(info, 1, 2, 3, 4):
                    known[x.dtype] = table
            return looked_up(x, table)

        return run

    return make


def _table(
    function: Callable[[Array], Array] | None,
    of: Any,
    x_scale: Array,
    x_zero: Any,
    scale: Array,
    zero: Any,
    kind: Any,
) -> Array:
    """What a function, or none, makes of every byte."""
    of_x, (one, whole) = _one(x_zero, "the zero point of X", of), _scales(x_scale, scale)
    with np.errstate(all="ignore"):
        values = (EVERY.view(of).astype(np.float32) - of_x) * one
        values = (values if function is None else function(values)) / whole
        shift = np.asarray(_one(zero, "the zero point of Y", kind), kind)
        return saturated(np.asarray(values, np.float32), shift, kind)


def _concat(info: NodeInfo) -> Function:
    """Bytes of several scales in a row, with one scale."""
    axis = info.attributes.get("axis", 1)

    def run(scale: Array, zero: Array, *parts: Any) -> Array:
        if len(parts) % 3 or not parts:
            raise FormatError(f"expected bytes, scale and zero point of each part, got {len(parts)} inputs for them")
        found = []
        for x, x_scale, x_zero in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
            same = x_scale.size == scale.size == 1 and x_scale.item() == scale.item() and x_zero.dtype == zero.dtype
            if not (same and x.dtype == zero.dtype and x_zero.item() == zero.item()):
                x = looked_up(x, _table(None, x.dtype, x_scale, x_zero, scale, zero, _kind(zero, x)))
            found.append(x)
        return np.concatenate(found, axis=axis)

    return run


def _conv_in_rows(info: NodeInfo) -> Function | None:
    """Convolution over one axis or two with constant filters: windows of bytes times the filters; None in groups."""
    weights, zero = info.constants.get(3), info.constants.get(5)
    fixed = [info.constants.get(place) for place in (1, 4, 6, 7)]
    if weights is None or weights.ndim not in (3, 4) or (zero is None and info.has(5)):
        return None
    if any(array is None for array in fixed) or (info.has(8) and 8 not in info.constants):
        return None
    x_scale, w_scale, y_scale, y_zero = fixed
    assert x_scale is not None and w_scale is not None and y_scale is not None and y_zero is not None
    filters, axes = weights.shape[0], weights.ndim - 2
    found = byte_windows(info.attributes, weights.shape)
    last = np.moveaxis(weights, 1, -1)  # channels, as the windows have them
    packed = packed_bytes(np.ascontiguousarray(last.reshape(filters, -1).T), zero, not info.has(5))
    added = info.constants.get(8)
    if found is None or packed is None or x_scale.size != 1 or y_scale.size != 1 or y_zero.size != 1:
        return None
    if w_scale.size not in (1, filters) or y_zero.dtype not in BYTES or (added is not None and added.size != filters):
        return None
    if any(array.dtype != np.float32 for array in (x_scale, w_scale, y_scale)):
        return None
    with np.errstate(all="ignore"):
        scale = (x_scale.reshape(()) * w_scale / y_scale.reshape(())).reshape(-1)
    shift, with_sign = int(y_zero.item()), y_zero.dtype == np.int8

    def run(x: Array, s: Array, x_zero: Any, *_: Any) -> Array:
        if x.ndim != axes + 2 or x.shape[1] != weights.shape[1]:
            raise ValueError(f"X must have {axes + 2} axes and {weights.shape[1]} channels, got shape {x.shape}")
        rows, places = found(x, of_x := zero_of(x, x_zero))
        y = packed.rounded(rows, of_x, scale, shift, with_sign, added)
        return np.moveaxis(y.reshape(len(x), *places, filters), -1, 1)

    return run


def _conv(info: NodeInfo) -> Function:
    """Convolution, as products of bytes where it can be, or by exact sums of floats."""
    return _conv_in_rows(info) or qlinear_conv(info)


def _sigmoid(x: Array) -> Array:
    found: Array = 1 / (1 + np.exp(-x))
    return found


def _qgemm(info: NodeInfo) -> Function:
    """``alpha A B + C``, C in steps of both scales; bytes with a scale of the result, or floats."""
    alpha = np.float32(info.attributes.get("alpha", 1.0))
    trans_a, trans_b = info.attributes.get("transA", 0), info.attributes.get("transB", 0)
    right = info.constants.get(3)
    if right is not None and trans_b and right.ndim == 2:
        right = np.ascontiguousarray(right.T)
    inner = exact_product(right, info.constants.get(5), not info.has(5))
    packed = None if trans_a else packed_bytes(right, info.constants.get(5), not info.has(5))
    known: dict[Any, Any] = {}

    def numbers_of(a: Array, a_scale: Array, b_scale: Array, scale: Any, zero: Any, columns: int) -> Any:
        if a_scale.size != 1 or b_scale.size not in (1, columns):
            sizes = f"{a_scale.size} and {b_scale.size}"
            raise FormatError(f"a_scale must have one number and b_scale one or {columns}, got {sizes}")
        with np.errstate(all="ignore"):
            factor = alpha * a_scale.reshape(()) * b_scale.reshape(-1)
            if scale is None:
                return factor, None, 0
            kind = _kind(zero, a)
            return factor / scale.reshape(()), kind, int(_one(zero, "the zero point of Y", kind))

    def run(a: Array, a_scale: Array, a_zero: Any, b: Array, b_scale: Array, b_zero: Any, c: Any = None,
            scale: Any = None, zero: Any = None) -> Array:  # fmt: skip
        if a.ndim != 2 or b.ndim != 2:
            raise FormatError(f"A and B must have two axes, got shapes {a.shape} and {b.shape}")
        columns = b.shape[0 if trans_b else 1]
        numbers = known.get(a.dtype)
        if numbers is None:
            numbers = numbers_of(a, a_scale, b_scale, scale, zero, columns)
            if _fixed(info, 1, 3, 4, 7, 8):
                known[a.dtype] = numbers
        factor, kind, shift = numbers
        if packed is not None and (c is None or (c.size in (1, columns) and c.dtype == np.int32)):
            of_a, added = zero_of(a, a_zero), None if c is None else c.reshape(-1)
            if kind is None:
                return packed.floats(a, of_a, factor, None, added)
            return packed.rounded(a, of_a, factor, shift, kind == np.int8, added)
        sums = inner(a.T if trans_a else a, b.T if trans_b else b, a_zero, b_zero)
        with np.errstate(all="ignore"):
            values = np.asarray((sums if c is None else sums + c).astype(np.float32) * factor)
            return values if kind is None else saturated(values, np.asarray(shift, kind), kind)

    return run


# ---- What they take --------------------------------------------------------------------------------------------------


def _pair(info: NodeInfo, a: Array, a_scale: Any, a_zero: Any, b: Array, *rest: Any) -> int:
    """A byte, or a few floats, for each pair of two arrays that are broadcast."""
    return broadcast(info, a, b)


def _pair_workspace(info: NodeInfo, a: Array, a_scale: Any, a_zero: Any, b: Array, *rest: Any) -> int:
    """Both inputs and up to three results as floats."""
    return 20 * broadcast(info, a, b)


def _gemm(info: NodeInfo, a: Array, a_scale: Any, a_zero: Any, b: Array, b_scale: Any, b_zero: Any, c: Any = None,
          *rest: Any) -> int:  # fmt: skip
    """The sums, as integers or floats."""
    return gemm(info, a, b, c)


def _gemm_workspace(info: NodeInfo, a: Array, a_scale: Any, a_zero: Any, b: Array, b_scale: Any, b_zero: Any,
                    c: Any = None, *rest: Any) -> int:  # fmt: skip
    """Both sides as floats of eight bytes and the sums in parts of 258 terms, as such, as integers and as floats."""
    terms = a.shape[0 if info.attributes.get("transA", 0) else -1] if a.ndim else 1
    return 16 * (a.nbytes + b.nbytes) + (8 + terms // 258) * gemm(info, a, b, c)


def _gemm_work(info: NodeInfo, a: Array, a_scale: Any, a_zero: Any, b: Array, *rest: Any) -> int:
    """Bytes are multiplied at least as fast as floats, beside what makes them floats where they must be."""
    floats = [np.broadcast_to(np.float32(0), part.shape) for part in (a, b)]
    return gemm_work(info, *floats) + 10 * (a.size + b.size)


def _conv_workspace(info: NodeInfo, x: Array, s: Any, z: Any, w: Array, *rest: Any) -> int:
    """All windows as floats of eight bytes, and filters that are not constant as such."""
    return 8 * convolution_workspace(info, x, w) + 32 * w.nbytes


def _conv_work(info: NodeInfo, x: Array, s: Any, z: Any, w: Array, *rest: Any) -> int:
    """A multiplication for each element of a window and each filter, and every window side by side."""
    return convolution_work(info, x, w) // 50 + 10 * convolution_workspace(info, x, w)


def _table_of_bytes(info: NodeInfo) -> Function:
    def run(x: Array, table: Array) -> Array:
        return looked_up(x, table)

    return run


def _joined(info: NodeInfo, scale: Array, zero: Array, *parts: Any) -> int:
    """All parts in a row, and each with other steps."""
    return sum([elements(part) for part in parts])


def _dense(info: NodeInfo) -> Function | None:
    """QLinearMatMul, QLinearAdd of a constant row to its result and a table for that, in one call of the engine.

    The inputs are those of the first, then of the second from the row on, then the table; the last two may be missing.
    """
    constants = info.constants
    packed = packed_bytes(constants.get(3), constants.get(5), not info.has(5))
    if packed is None or not {1, 4, 6, 7} <= set(constants) or not _fixed(info, *range(8, 14)):
        return None
    of_a, of_b, y_scale = _scales(constants[1])[0], constants[4], _scales(constants[6])[0]
    kind = constants[7].dtype
    y_zero = _one(constants[7], "the zero point of Y", kind)
    if of_b.size not in (1, packed.columns) or of_b.dtype != np.float32 or kind not in BYTES:
        return None
    then = None
    with np.errstate(all="ignore"):
        scale = (of_a * of_b / y_scale).reshape(-1)
        if info.has(8):
            (by_b, whole), of_row = _scales(constants[9], constants[11]), constants[8].dtype
            by_a, by_b = y_scale / whole, by_b / whole
            zeros = by_a * y_zero + by_b * _one(constants.get(10), "the zero point of B", of_row)
            shift = _one(constants.get(12), "the zero point of C", kind) - zeros
            if not np.isfinite(shift) or constants[8].shape != (packed.columns,) or of_row != kind:
                return None
            then = constants[8], float(by_a), float(by_b), float(shift)
    table, zero, with_sign = constants.get(13), int(y_zero), kind == np.int8

    def run(a: Array, a_scale: Array, a_zero: Any, *_: Any) -> Array:
        return packed.rounded(a, zero_of(a, a_zero), scale, zero, with_sign, None, then, table)

    return run


def _dense_result(info: NodeInfo, a: Array, a_scale: Any, a_zero: Any, b: Array, *rest: Any) -> int:
    return product(info, a, b)


def _dense_workspace(info: NodeInfo, a: Array, a_scale: Any, a_zero: Any, b: Array, *rest: Any) -> int:
    return 2 * a.nbytes + product(info, a, b)


def _dense_work(info: NodeInfo, a: Array, a_scale: Any, a_zero: Any, b: Array, *rest: Any) -> int:
    return math.prod(product_shape(a, b)) // 10


DENSE, TABLE = "rnnx.QLinearDense", "rnnx.Table"
OPERATORS = (
    Operator(DENSE, _dense, _dense_result, _dense_workspace, _dense_work, quiet=True),
    Operator(TABLE, _table_of_bytes, SAME, Times(1), quiet=True),
    Operator(
        "QLinearConv",
        _conv,
        quantized_convolution(convolution),
        _conv_workspace,
        _conv_work,
        quiet=True,
    ),
    Operator("com.microsoft.QLinearConcat", _concat, _joined, _joined, quiet=True),
    Operator("com.microsoft.QGemm", _qgemm, _gemm, _gemm_workspace, _gemm_work, quiet=True),
    Operator("com.microsoft.QLinearAdd", _add, _pair, _pair_workspace, _pair_workspace, quiet=True),
    Operator("com.microsoft.QLinearMul", _mul, _pair, _pair_workspace, _pair_workspace, quiet=True),
    Operator("com.microsoft.QLinearSigmoid", _looked_up(_sigmoid), SAME, Times(4), quiet=True),
)
