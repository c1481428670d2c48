"""Operators of ONNX Runtime on bytes with scale and zero point: QLinearAdd, QLinearMul, QLinearSigmoid and QGemm.

Its static quantization writes them around QLinearMatMul. All compute in float32 and round to even, as it does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.formats.onnx._integers import BYTES, exact_product, saturated
from rnnx.formats.onnx._node import Function, NodeInfo, Operator
from rnnx.formats.onnx._sizes import SAME, Times, broadcast, gemm, gemm_work
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


def _add(info: NodeInfo) -> Function:
    def run(a: Array, a_scale: Array, a_zero: Any, b: Array, b_scale: Array, b_zero: Any, scale: Array,
            zero: Any = None) -> Array:  # fmt: skip
        kind = _kind(zero, a)
        (of_a, of_b), (one, other, whole) = _ends(a, a_zero, b, b_zero), _scales(a_scale, b_scale, scale)
        with np.errstate(all="ignore"):
            one, other = one / whole, other / whole
            shift = _one(zero, "the zero point of C", kind) - (one * of_a + other * of_b)
            sums = np.asarray(a.astype(np.float32) * one + (b.astype(np.float32) * other + shift))
            return saturated(sums, np.zeros((), kind), kind)

    return run


def _mul(info: NodeInfo) -> Function:
    def run(a: Array, a_scale: Array, a_zero: Any, b: Array, b_scale: Array, b_zero: Any, scale: Array,
            zero: Any = None) -> Array:  # fmt: skip
        kind = _kind(zero, a)
        (of_a, of_b), (one, other, whole) = _ends(a, a_zero, b, b_zero), _scales(a_scale, b_scale, scale)
        shift = np.asarray(_one(zero, "the zero point of C", kind), kind)
        with np.errstate(all="ignore"):
            factor = one * other / whole
            products = (a.astype(np.float32) - of_a) * (b.astype(np.float32) - of_b)
            return saturated(np.asarray(products * factor), shift, kind)

    return run


def _looked_up(function: Callable[[Array], Array]) -> Callable[[NodeInfo], Function]:
    """A function of bytes: what it makes of all 256 of them, and a look at each."""

    def make(info: NodeInfo) -> Function:
        def run(x: Array, x_scale: Array, x_zero: Any, scale: Array, zero: Any = None) -> Array:
            kind = _kind(zero, x)
            of_x, (one, whole) = _one(x_zero, "the zero point of X", x.dtype), _scales(x_scale, scale)
            every = np.arange(256, dtype=np.uint8).view(x.dtype)
            with np.errstate(all="ignore"):
                values = function((every.astype(np.float32) - of_x) * one) / whole
                shift = np.asarray(_one(zero, "the zero point of Y", kind), kind)
                return saturated(np.asarray(values, np.float32), shift, kind)[x.view(np.uint8)]

        return run

    return make


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

    def run(a: Array, a_scale: Array, a_zero: Any, b: Array, b_scale: Array, b_zero: Any, c: Any = None,
            scale: Any = None, zero: Any = None) -> Array:  # fmt: skip
        if a.ndim != 2 or b.ndim != 2:
            raise FormatError(f"A and B must have two axes, got shapes {a.shape} and {b.shape}")
        sums = inner(a.T if trans_a else a, b.T if trans_b else b, a_zero, b_zero)
        columns = sums.shape[1]
        if a_scale.size != 1 or b_scale.size not in (1, columns):
            sizes = f"{a_scale.size} and {b_scale.size}"
            raise FormatError(f"a_scale must have one number and b_scale one or {columns}, got {sizes}")
        if c is not None:
            sums = sums + c
        with np.errstate(all="ignore"):
            factor = alpha * a_scale.reshape(()) * b_scale.reshape(-1)
            if scale is None:
                return np.asarray(sums.astype(np.float32) * factor)
            kind = _kind(zero, a)
            values = sums.astype(np.float32) * (factor / scale.reshape(()))
            return saturated(np.asarray(values), np.asarray(_one(zero, "the zero point of Y", kind), kind), kind)

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
    return 16 * (a.nbytes + b.nbytes) + (8 + a.size // 258) * gemm(info, a, b, c)


def _gemm_work(info: NodeInfo, a: Array, a_scale: Any, a_zero: Any, b: Array, *rest: Any) -> int:
    return gemm_work(info, a, b)


OPERATORS = (
    Operator("com.microsoft.QGemm", _qgemm, _gemm, _gemm_workspace, _gemm_work),
    Operator("com.microsoft.QLinearAdd", _add, _pair, _pair_workspace, _pair_workspace),
    Operator("com.microsoft.QLinearMul", _mul, _pair, _pair_workspace, _pair_workspace),
    Operator("com.microsoft.QLinearSigmoid", _looked_up(_sigmoid), SAME, Times(4)),
)
