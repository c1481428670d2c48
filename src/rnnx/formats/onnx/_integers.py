"""Arithmetic in bytes: QuantizeLinear, DynamicQuantizeLinear, MatMulInteger, QLinearMatMul and ConvInteger; and what
ONNX Runtime makes of some of them together, MatMulIntegerToFloat and DynamicQuantizeMatMul.

Products with a constant matrix run in integers, on the tiles that the engine has for weights of 8 bits. All others are
exact because floats hold their sums: a product of two bytes is below 2**16, so float32 holds the sums of 258 of them,
or more of smaller ones, and float64 those of any length; BLAS takes a tenth of the time that integers take in NumPy.
Longer sums of constant weights are cut into such parts, whose sums are added as integers.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from rnnx._kernels import ISA, PackedBytes, activate, ranged_bytes, rounded_floats, rounded_sums
from rnnx._typing import Array
from rnnx.formats.onnx._convolutions import convolution_of
from rnnx.formats.onnx._node import Function, NodeInfo, Operator
from rnnx.formats.onnx._sizes import by_channel, measure, product, product_shape, scaled
from rnnx.formats.onnx._windows import convolution, convolution_work, convolution_workspace
from rnnx.saving import FormatError

BYTES = (np.dtype(np.int8), np.dtype(np.uint8))
WORDS = (np.dtype(np.int16), np.dtype(np.uint16))
ACTIVATIONS = {"Relu": "relu", "Sigmoid": "sigmoid", "Softsign": "softsign", "Tanh": "tanh"}  # of float32, alike
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
    return exact_product(info.constants.get(1), info.constants.get(3), not info.has(3))


def exact_product(right: Array | None, zero: Array | None, without_zero: bool) -> Function:
    """The exact product of bytes less their zero points; ``right`` and ``zero`` of it are None unless constant."""
    ready = right is not None and (zero is not None or without_zero)
    parts: list[tuple[slice, Array]] = []
    packed = packed_bytes(right, zero, without_zero)
    if packed is not None:
        return _in_integers(packed)
    if ready and right is not None and right.ndim and right.size:
        parts = _parts(_shifted(right, zero, -1, np.float32))

    def run(a: Array, b: Array, of_a: Array | None = None, of_b: Array | None = None) -> Array:
        axis = -2 if a.ndim > 1 else -1
        _check_terms(a, b)
        if not parts or not a.ndim or a.shape[-1] != parts[-1][0].stop:
            dtype = _exact(a.shape[-1] if a.ndim else 1)
            return np.asarray(_shifted(a, of_a, axis, dtype) @ _shifted(b, of_b, -1, dtype)).astype(np.int32)
        left = _shifted(a, of_a, axis, np.float32)
        sums = [np.asarray(left[..., place] @ weights).astype(np.int32) for place, weights in parts]
        return sums[0] if len(sums) == 1 else np.add.reduce(sums, dtype=np.int32)

    return run


def _check_terms(a: Array, b: Array) -> None:
    if a.ndim and b.ndim and a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise ValueError(f"A of shape {a.shape} does not fit B of {b.shape}")


def packed_bytes(right: Array | None, zero: Array | None, without_zero: bool) -> PackedBytes | None:
    """A constant matrix of bytes on the engine, which takes weights from -128 on; None if it has to be otherwise.

    Zero points are one byte, or one for each column; those of the engine's bytes that are then left are taken off the
    products.
    """
    if right is None or not on_engine(right, zero, without_zero):
        return None
    weights = right if right.dtype == np.int8 else (right ^ np.uint8(128)).view(np.int8)
    rest = np.zeros(1, np.int32) if zero is None else zero.astype(np.int32).reshape(-1)
    if right.dtype == np.uint8:
        rest = rest - np.int32(128)
    return PackedBytes(weights, rest if rest.any() else None)


def on_engine(right: Array, zero: Array | None, without_zero: bool) -> bool:
    """Whether a constant matrix is one that `packed_bytes` takes."""
    if (zero is None and not without_zero) or ISA == "generic":
        return False
    return right.ndim == 2 and right.size > 0 and right.dtype in BYTES and _one_for_columns(right, zero)


def _one_for_columns(right: Array, zero: Array | None) -> bool:
    """Whether a zero point is one byte, or one for each column of a matrix."""
    return zero is None or (zero.dtype == right.dtype and (zero.size == 1 or zero.shape == (right.shape[1],)))


def zero_of(a: Array, zero: Array | None) -> int:
    """The zero point of an array of bytes, one of its type.

    Raises
    ------
    TypeError
        If it is none.
    """
    if zero is None:
        return 0
    if zero.dtype != a.dtype or zero.size != 1:
        raise TypeError(f"the zero point of A must be one {a.dtype}, as A, got {zero.dtype} of shape {zero.shape}")
    return int(zero.item())


def _in_integers(packed: PackedBytes) -> Function:
    def run(a: Array, b: Array, of_a: Array | None = None, of_b: Array | None = None) -> Array:
        if of_a is not None and of_a.dtype != a.dtype:
            raise TypeError(f"the zero point of A must be {a.dtype}, as A, got {of_a.dtype}")
        return packed.sums(a, _zeros_of_rows(a, of_a))

    return run


def _zeros_of_rows(a: Array, zero: Array | None) -> int | Array:
    """The zero point of A: one, or one for each of its rows, in the order in which they lie."""
    if zero is None or zero.size == 1:
        return 0 if zero is None else int(zero.item())
    whole = zero.reshape(-1, 1) if zero.ndim < 2 else zero
    return np.ascontiguousarray(np.broadcast_to(whole, (*a.shape[:-1], 1)), np.int32).reshape(-1)


def _parts(weights: Array) -> list[tuple[slice, Array]]:
    """Weights in parts of rows for which float32 holds the sums of products with bytes."""
    rows = weights.shape[0 if weights.ndim == 1 else -2]
    most = 2**24 // (255 * max(1, int(np.abs(weights).max(initial=0))))
    places = [slice(start, min(start + most, rows)) for start in range(0, rows, most)]
    return [(p, np.ascontiguousarray(weights[p] if weights.ndim == 1 else weights[..., p, :])) for p in places]


def _constant_scale(info: NodeInfo, scale: int, zero: int) -> tuple[Array, Array] | None:
    """Scale and zero point, which tells the type of the result; None unless they are constants of usual types."""
    factor, shift = info.constants.get(scale), info.constants.get(zero)
    if factor is None or factor.dtype != np.float32 or (shift is None and info.has(zero)):
        return None
    shift = np.zeros(factor.shape, np.uint8) if shift is None else shift
    return (factor, shift) if shift.dtype in (*BYTES, *WORDS) and shift.size == factor.size else None


def saturated(values: Array, zero: Array, kind: Any) -> Array:
    """Rounded to even, shifted and bounded, in place; values of float32."""
    info = np.iinfo(kind)
    np.rint(values, out=values)
    with np.errstate(invalid="ignore"):
        values += zero.astype(np.float32)
        return np.clip(values, info.min, info.max, out=values).astype(kind)


def _quantize_linear(info: NodeInfo) -> Function | None:
    """``x / scale`` rounded, plus the zero point; blocks and narrow floats are for the evaluator."""
    found = _constant_scale(info, 1, 2)
    if found is None or info.attributes.get("block_size", 0) or info.attributes.get("precision", 0):
        return None
    if info.attributes.get("output_dtype", 0) and not info.has(2):
        return None
    scale, zero = found
    axis = info.attributes.get("axis", 1)

    one = (float(scale.reshape(-1)[0]), int(zero.reshape(-1)[0])) if scale.size == 1 and zero.dtype in BYTES else None

    def run(x: Array, y_scale: Array, y_zero: Array | None = None) -> Array:
        if one is not None and x.dtype == np.float32:
            return rounded_floats(x, *one, zero.dtype == np.int8)
        shape: tuple[int, ...] = ()
        if scale.size != 1:
            if not -x.ndim <= axis < x.ndim or scale.shape != (x.shape[axis],):
                raise ValueError(f"y_scale must have one number, or one for each place of axis {axis} of {x.shape}")
            shape = (-1, *[1] * (x.ndim - 1 - axis % x.ndim))
        with np.errstate(all="ignore"):
            values = np.asarray(x.astype(np.float32, copy=False) / scale.reshape(shape))
            return saturated(values, zero.reshape(shape), zero.dtype)

    return run


def _qlinear_matmul(info: NodeInfo) -> Function | None:
    """A product of bytes whose sums are rounded to bytes again, in float32 as ONNX Runtime does it."""
    found = _constant_scale(info, 6, 7)
    factors = [info.constants.get(place) for place in (1, 4)]
    if found is None or any(factor is None or factor.dtype != np.float32 for factor in factors):
        return None
    (y_scale, y_zero), (of_a, of_b) = found, factors
    assert of_a is not None and of_b is not None
    if y_zero.dtype not in BYTES or y_scale.size != 1 or of_b.ndim > 1:
        return None
    kind, zero = y_zero.dtype, int(y_zero.item())
    packed = packed_bytes(info.constants.get(3), info.constants.get(5), not info.has(5))
    if packed is not None and of_a.size == 1 and of_b.size in (1, packed.columns):
        with np.errstate(all="ignore"):
            scale = of_a.reshape(()) * of_b / y_scale.reshape(())
        return _rounded_product(packed, scale, zero, kind == np.int8)
    inner = exact_product(info.constants.get(3), info.constants.get(5), not info.has(5))
    by_row = of_a.reshape(-1, 1) if of_a.ndim == 1 and of_a.size > 1 else of_a

    def run(a: Array, a_scale: Array, a_zero: Array, b: Array, b_scale: Array, b_zero: Array, *_: Array) -> Array:
        sums = inner(a, b, a_zero, b_zero)
        columns = sums.shape[-1] if sums.ndim else 1
        if of_b.size not in (1, columns):
            raise ValueError(f"b_scale must have one number, or one for each of {columns} columns, got {of_b.size}")
        with np.errstate(all="ignore"):
            if of_a.size == 1:
                factors: Any = (of_a.reshape(()) * of_b / y_scale.reshape(())).reshape(-1)
                flat = sums.reshape(math.prod(sums.shape[:-1]), columns)
                return rounded_sums(flat, factors, zero, kind == np.int8).reshape(sums.shape)
            if by_row.shape[-1] != 1 or np.broadcast_shapes(by_row.shape, sums.shape) != sums.shape:
                raise ValueError(f"a_scale must have one number, or one for each row of A, got {of_a.shape}")
            by_both = by_row * of_b / y_scale.reshape(())
            return saturated(np.asarray(sums.astype(np.float32) * by_both), y_zero.reshape(()), kind)

    return run


def _rounded_product(packed: PackedBytes, scale: Any, zero: int, with_sign: bool) -> Function:
    """A product with constant weights and scales, in one call of the engine."""
    factors: Array = np.asarray(scale, np.float32).reshape(-1)
    general = _in_integers(packed)

    def run(a: Array, a_scale: Array, a_zero: Array, *_: Array) -> Array:
        if a_zero is None or a_zero.size == 1:
            return packed.rounded(a, zero_of(a, a_zero), factors, zero, with_sign)
        sums = general(a, a, a_zero)
        return rounded_sums(sums.reshape(-1, packed.columns), factors, zero, with_sign).reshape(sums.shape)

    return run


def _scaled_product(info: NodeInfo) -> Function:
    """MatMulIntegerToFloat: a product of bytes times both scales, and a bias; then an activation that was behind it."""
    activation = _activation(info)
    packed = packed_bytes(info.constants.get(1), info.constants.get(5), not info.has(5))
    inner = exact_product(info.constants.get(1), info.constants.get(5), not info.has(5))

    def run(a: Array, b: Array, a_scale: Array, b_scale: Array, a_zero: Any = None, b_zero: Any = None,
            bias: Array | None = None) -> Array:  # fmt: skip
        columns = b.shape[-1] if b.ndim > 1 else 1
        _check_scales(a_scale, b_scale, bias, columns)
        scale = a_scale.reshape(()) * b_scale.reshape(-1)
        if packed is not None and (a_zero is None or a_zero.size == 1):
            return packed.floats(a, zero_of(a, a_zero), scale, bias, None, activation)
        y = inner(a, b, a_zero, b_zero).astype(np.float32) * scale
        y = np.asarray(y if bias is None else y + bias)
        return y if activation is None else activate(activation, y)

    return run


def _activation(info: NodeInfo) -> str | None:
    """The attribute that `_fusions` writes, as the name of an activation of the engine."""
    name = info.attributes.get("activation")
    if name is not None and name not in ACTIVATIONS:
        raise ValueError(f"the activation must be one of {', '.join(ACTIVATIONS)}, got {name!r}")
    return None if name is None else ACTIVATIONS[name]


def _check_scales(a_scale: Array, b_scale: Array, bias: Array | None, columns: int) -> None:
    if a_scale.size != 1 or b_scale.size not in (1, columns):
        sizes = f"{a_scale.size} and {b_scale.size}"
        raise ValueError(f"a_scale must have one number and b_scale one or {columns}, got {sizes}")
    if bias is not None and bias.shape != (columns,):
        raise ValueError(f"the bias must have the shape {(columns,)}, got {bias.shape}")
    if any(part.dtype != np.float32 for part in (a_scale, b_scale, bias) if part is not None):
        raise TypeError("scales and bias must be float32")


def _ranged_product(info: NodeInfo) -> Function:
    """DynamicQuantizeMatMul: floats become bytes by their own range, and these are multiplied."""
    packed = packed_bytes(info.constants.get(1), info.constants.get(3), not info.has(3))
    quantize, activation = _quantize(info), _activation(info)
    inner = _scaled_product(
        replace(info, constants={place: info.constants[k] for k, place in ((1, 1), (3, 5)) if k in info.constants},
                inputs=(True, info.has(1), True, True, True, info.has(3)))
    )  # fmt: skip

    def run(a: Array, b: Array, b_scale: Array, b_zero: Any = None, bias: Array | None = None) -> Array:
        if a.dtype != np.float32:
            raise TypeError(f"A must be float32, got {a.dtype}")
        if packed is None:
            with np.errstate(all="ignore"):
                whole, scale, zero = quantize(a)
                return np.asarray(inner(whole, b, np.asarray(scale), b_scale, np.asarray(zero), b_zero, bias))
        columns = packed.columns
        if b_scale.size not in (1, columns) or (bias is not None and bias.shape != (columns,)):
            _check_scales(np.ones(1, np.float32), b_scale, bias, columns)
        return packed.of_floats(a, b_scale.reshape(-1), bias, activation)

    return run


def _quantize(info: NodeInfo) -> Function:
    def run(x: Array) -> tuple[Array, Array, Array]:
        """Bytes, the scale that gives the range of the input and 0 all of them, and the byte of 0."""
        if x.dtype == np.float32:
            whole, step, place = ranged_bytes(x)
            return whole, np.asarray(step, np.float32), np.asarray(place, np.uint8)
        low, high = np.float32(x.min(initial=0)), np.float32(x.max(initial=0))
        with np.errstate(invalid="ignore", over="ignore"):  # what is no number becomes some byte, as elsewhere
            scale = np.float32(1 if high == low else high - low) / np.float32(255)
            zero = np.rint(min(np.float32(255), max(np.float32(0), -low / scale)))
            values = np.rint(x / scale)
            values += zero
            return np.clip(values, 0, 255, out=values).astype(np.uint8), scale.astype(x.dtype), zero.astype(np.uint8)

    return run


def _conv_sums(info: NodeInfo, place: int) -> Function:
    """The exact sums of a convolution of bytes, as floats, whose filters are this input and made ready once."""
    weights, zero = info.constants.get(place), info.constants.get(place + 2)

    def ready(w: Array, of_w: Array | None) -> tuple[Function, Array]:
        dtype = _exact(int(np.prod(w.shape[1:])))
        floats = _shifted(w, of_w, 0, dtype)
        made = convolution_of(replace(info, constants={1: floats}, inputs=(True, True)))
        if made is None:
            raise FormatError(f"filters of shape {w.shape} with {info.attributes} are not supported")
        return made, floats

    fixed = None if weights is None or (zero is None and info.has(place + 2)) else ready(weights, zero)

    def sums(x: Array, w: Array, of_x: Array | None, of_w: Array | None) -> Array:
        inner, floats = fixed or ready(w, of_w)
        return np.asarray(inner(_shifted(x, of_x, 1, floats.dtype), floats))

    return sums


def _conv(info: NodeInfo) -> Function:
    inner = _conv_sums(info, 1)

    def run(x: Array, w: Array, of_x: Array | None = None, of_w: Array | None = None) -> Array:
        return np.asarray(inner(x, w, of_x, of_w)).astype(np.int32)

    return run


def qlinear_conv(info: NodeInfo) -> Function:
    """A convolution of bytes whose sums become bytes by the scales of both sides and of the result."""
    inner = _conv_sums(info, 3)

    def run(
        x: Array, x_scale: Array, x_zero: Array | None, w: Array, w_scale: Array, w_zero: Array | None, y_scale: Array,
        y_zero: Array | None = None, bias: Array | None = None,
    ) -> Array:  # fmt: skip
        kind = x.dtype if y_zero is None else y_zero.dtype
        if kind not in BYTES or x_scale.size != 1 or y_scale.size != 1 or w_scale.size not in (1, len(w)):
            raise FormatError(
                f"expected bytes with one scale for the input and the result, and one or {len(w)} for the filters, got "
                f"{kind} and {x_scale.size}, {y_scale.size} and {w_scale.size}"
            )
        sums = inner(x, w, x_zero, w_zero)
        wide = (-1, *[1] * (x.ndim - 2))
        if bias is not None:
            sums += bias.astype(sums.dtype).reshape(wide)
        factor = (x_scale.reshape(()) * w_scale.reshape(-1) / y_scale.reshape(())).astype(np.float32).reshape(wide)
        values = np.asarray(sums.astype(np.float32) * factor)
        return saturated(values, np.zeros((), kind) if y_zero is None else y_zero.reshape(()), kind)

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


def _quantized_product(info: NodeInfo, a: Array, a_scale: Any, a_zero: Any, b: Array, *rest: Any) -> int:
    """The sums, which become bytes in the end."""
    return product(info, a, b)


def _quantized_workspace(info: NodeInfo, a: Array, a_scale: Any, a_zero: Any, b: Array, *rest: Any) -> int:
    """That of the product, whose weights are constant or not, and its sums as integers and floats."""
    return 8 * 2 * (measure(a) + measure(b)) + (_most_parts(info, a) + 6) * product(info, a, b)


def _quantized_work(info: NodeInfo, a: Array, a_scale: Any, a_zero: Any, b: Array, *rest: Any) -> int:
    """As of a product of bytes; the evaluator has NumPy's of integers."""
    return 10 * math.prod(product_shape(a, b)) if info.evaluated else _product_work(info, a, b)


def _conv_workspace(info: NodeInfo, x: Array, w: Array, *rest: Any) -> int:
    """As of a convolution in floats of eight bytes, and the input as such."""
    return 16 * measure(x) + 8 * measure(w) + 2 * convolution_workspace(info, x, w) + 2 * convolution(info, x, w)


def _conv_work(info: NodeInfo, x: Array, w: Array, *rest: Any) -> int:
    return convolution_work(info, x, w) // 50


def _scaled_workspace(info: NodeInfo, a: Array, b: Array, *rest: Any) -> int:
    """That of the product, its sums as integers and floats, and rounded operands."""
    return _product_workspace(info, a, b) + 4 * product(info, a, b) + measure(a)


OPERATORS = (
    Operator(
        "com.microsoft.DynamicQuantizeMatMul", _ranged_product, product, _scaled_workspace, _product_work, quiet=True
    ),
    Operator("com.microsoft.MatMulIntegerToFloat", _scaled_product, product, _scaled_workspace, _product_work),
    Operator("ConvInteger", _conv, convolution, _conv_workspace, _conv_work),
    Operator("DynamicQuantizeLinear", _quantize, _quantize_result, _quantize_workspace, several=True, quiet=True),
    Operator("MatMulInteger", _matmul, product, _product_workspace, _product_work, quiet=True),
    Operator("QLinearMatMul", _qlinear_matmul, _quantized_product, _quantized_workspace, _quantized_work, quiet=True),
    Operator("QuantizeLinear", _quantize_linear, by_channel, scaled(by_channel, 8), scaled(by_channel, 10), quiet=True),
)
