"""Small fast versions of the operators that stand around recurrent ones: elementwise, products, reductions.

Each maker turns a node into a function of arrays, or gives None where the reference evaluator of the package `onnx` has
to do it. The specification of every operator is at https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx import _kernels, activations
from rnnx.formats.onnx._activations import DEFAULTS, FUNCTIONS
from rnnx.formats.onnx._node import Array, Function, Maker, NodeInfo, Operator
from rnnx.formats.onnx._sizes import (
    NOTHING,
    SAME,
    Floats,
    Times,
    broadcast,
    broadcast_floats,
    by_channel,
    each,
    elements,
    few,
    gemm,
    gemm_work,
    product,
    product_work,
    scaled,
    sum_of,
)

STRING = 8  # TensorProto.STRING
TEXT_OF_NUMBER = 256  # bytes
ENGINE_TYPES = (np.dtype(np.float32), np.dtype(np.float64))


def _plain(function: Callable[..., Any]) -> Maker:
    """An operator without attributes."""
    return lambda info: function


def _is_float(x: Array) -> bool:
    """Whether numbers are floating-point ones, those of ml_dtypes (bfloat16, float8) too."""
    return x.dtype.kind == "f" or "float" in x.dtype.name


def _as_float32(x: Any) -> Any:
    """An array of bfloat16, or another type that NumPy lacks, in float32; others as they are."""
    return x.astype(np.float32) if x is not None and x.dtype.kind == "V" else x


def _in_float32(make: Maker) -> Maker:
    """An operator that computes bfloat16 in float32 and rounds once: sums of bfloat16 itself end at 256 ones."""

    def maker(info: NodeInfo) -> Function | None:
        inner: Any = make(info)
        if inner is None:
            return None

        def run(*parts: Any) -> Array:
            if parts[0].dtype.kind != "V":
                return np.asarray(inner(*parts))
            return np.asarray(inner(*map(_as_float32, parts))).astype(parts[0].dtype)

        return run

    return maker


def _float_only(function: Callable[[Array], Array]) -> Maker:
    """An activation, which keeps the type of its argument."""

    def run(x: Array) -> Array:
        return function(x) if x.dtype.kind == "f" else function(x.astype(np.float64)).astype(x.dtype)

    return lambda info: run


def _engine(name: str) -> Maker:
    """An activation of the engine, for the types that it has."""
    plain = activations.get(name)

    def run(x: Array) -> Array:
        if x.dtype == np.float32 or x.dtype == np.float64:
            return _kernels.activate(name, x)
        return plain(x) if x.dtype.kind == "f" else plain(x.astype(np.float64)).astype(x.dtype)

    return lambda info: run


def _divide(a: Array, b: Array) -> Array:
    if _is_float(a):
        return a / b
    if a.dtype.kind == "u":
        return a // b
    return (np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))).astype(a.dtype)  # towards zero, as in C


def _power(a: Array, b: Array) -> Array:
    if b.ndim == 0 and b == 2:
        return a * a
    return np.power(a, b).astype(a.dtype, copy=False)


def _sum(*parts: Array) -> Array:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _mean(*parts: Array) -> Array:
    return _sum(*parts) / np.asarray(len(parts), parts[0].dtype)


def _extreme(function: Any) -> Function:
    def run(*parts: Array) -> Array:
        best = parts[0]
        for part in parts[1:]:
            best = function(best, part)
        return best

    return run


def _numbers(info: NodeInfo) -> list[float]:
    """The numbers of an activation; none of them has to be given."""
    return [float(info.attributes.get(name, default) or 0.0) for name, default in DEFAULTS[info.operator].items()]


def _numbered(info: NodeInfo) -> Function:
    """An activation with numbers, such as alpha."""
    function = FUNCTIONS[info.operator]
    alpha, beta = [*_numbers(info), 0.0][:2]

    def run(x: Array) -> Array:
        return function(x, alpha, beta).astype(x.dtype, copy=False)

    return run


def _clip(info: NodeInfo) -> Function:
    low, high = info.attributes.get("min"), info.attributes.get("max")

    def run(x: Array, low: Any = low, high: Any = high) -> Array:
        if low is None and high is None:
            return x
        if low is not None:
            x = np.maximum(x, np.asarray(low, x.dtype))
        return x if high is None else np.minimum(x, np.asarray(high, x.dtype))

    return run


def _norm_of_one(info: NodeInfo) -> Function:
    """LpNormalization; zeros stay zeros."""
    axis, p = info.attributes.get("axis", -1), info.attributes.get("p", 2)

    def run(x: Array) -> Array:
        norm = (np.abs(x) ** p).sum(axis=axis, keepdims=True) ** (1 / p)
        return np.asarray(x / np.where(norm == 0, 1, norm), x.dtype)

    return run


def _softmax(info: NodeInfo) -> Function:
    old = info.opset < 13
    axis = info.attributes.get("axis", 1 if old else -1)
    log = info.operator == "LogSoftmax"

    def run(x: Array) -> Array:
        axes: Any = tuple(range(axis % x.ndim, x.ndim)) if old else axis
        shifted = x - x.max(axis=axes, keepdims=True)
        e = np.exp(shifted)
        total = e.sum(axis=axes, keepdims=True)
        y: Array = shifted - np.log(total) if log else e / total
        return y

    return run


def _cast(info: NodeInfo) -> Function | None:
    from onnx import helper

    try:
        dtype = helper.tensor_dtype_to_np_dtype(info.attributes["to"])
    except (KeyError, TypeError, ValueError):
        return None
    if dtype.kind not in "fiub" or dtype.isbuiltin != 1:  # float8_e5m2 says that it is an "f", and may saturate
        return None

    def run(x: Array) -> Array:
        if x.dtype == dtype:
            return x
        if x.dtype.kind not in "fiubV":
            raise ValueError(f"cannot cast {x.dtype} to {dtype}")
        return x.astype(dtype)

    return run


def _cast_bytes(info: NodeInfo, x: Array, *rest: Any) -> int:
    """At most 16 bytes for an element; a text may get longer than any number is."""
    return elements(x) * (TEXT_OF_NUMBER if info.attributes.get("to") == STRING else 16)


def _cast_work(info: NodeInfo, x: Array, *rest: Any) -> int:
    """Texts and types that NumPy lacks are turned one by one."""
    return elements(x) * 1000 if info.evaluated else 0


def _product(constant: Array | None) -> Callable[[Array, Array], Array]:
    """A matrix product, with a constant second factor laid out for the engine once.

    Unlike those of BLAS, products of the engine do not wake threads for the few rows of a recurrent network's inputs.
    """
    packed: Any = None
    if constant is not None and constant.ndim == 2 and constant.size and constant.dtype in ENGINE_TYPES:
        packed = _kernels.PackedDense(np.ascontiguousarray(constant), None)

    def run(a: Array, b: Array) -> Array:
        if a.dtype.kind == "V":
            return (_as_float32(a) @ _as_float32(b)).astype(a.dtype)
        if b.ndim != 2 or a.ndim < 2 or a.shape[-1] != b.shape[0]:
            return a @ b
        rows = a.reshape(-1, a.shape[-1])
        if packed is None or a.dtype != b.dtype or not rows.size:
            y = rows @ b
        else:
            y = packed.apply(np.ascontiguousarray(rows))
        return y.reshape(*a.shape[:-1], b.shape[1])

    return run


def _gemm(info: NodeInfo) -> Function:
    alpha, beta = info.attributes.get("alpha", 1.0), info.attributes.get("beta", 1.0)
    over_a, over_b = info.attributes.get("transA", 0), info.attributes.get("transB", 0)
    constant = info.constants.get(1)
    product = _product(constant.T if constant is not None and over_b else constant)

    def run(a: Array, b: Array, c: Array | None = None) -> Array:
        if a.dtype.kind == "V":  # rounded once, at the end
            return run(*map(_as_float32, (a, b, c))).astype(a.dtype)
        y = product(a.T if over_a else a, b.T if over_b else b)
        if alpha != 1:
            y = y * np.asarray(alpha, y.dtype)
        if c is None:
            return y
        return y + (c if beta == 1 else c * np.asarray(beta, y.dtype))

    return run


def _reduce(info: NodeInfo) -> Function | None:
    name = info.operator
    keep = bool(info.attributes.get("keepdims", 1))
    empty_is_identity = bool(info.attributes.get("noop_with_empty_axes", 0))
    axes: Any = info.attributes.get("axes")
    if info.has(1):
        axes = info.integers(1)
        if axes is None:
            return None
    if not axes:
        if empty_is_identity:
            return lambda x, *rest: x
        axes = None
    axes = None if axes is None else few(axes)
    over: Any = {"ReduceMean": np.mean, "ReduceSum": np.sum, "ReduceMax": np.max, "ReduceMin": np.min}[name]
    if name == "ReduceMean":

        def run(x: Array, *rest: Any) -> Array:
            if x.dtype.kind != "f":
                return np.asarray(np.mean(x, axis=axes, keepdims=keep)).astype(x.dtype)
            total = x.sum(axis=axes, keepdims=keep)
            y: Array = total / np.asarray(x.size // max(1, np.size(total)), x.dtype)
            return y

        return run
    return lambda x, *rest: np.asarray(over(x, axis=axes, keepdims=keep)).astype(x.dtype, copy=False)


def _global_pool(info: NodeInfo) -> Function:
    """Over all axes but the first two; the evaluator of the package onnx takes two, however many there are."""
    over = np.max if info.operator == "GlobalMaxPool" else np.mean

    def run(x: Array) -> Array:
        y: Array = over(x, axis=tuple(range(2, x.ndim)), keepdims=True)
        return y

    return run


def _batch_normalization(info: NodeInfo) -> Function | None:
    if info.attributes.get("training_mode", 0) or any(info.outputs[1:]) or info.attributes.get("spatial", 1) != 1:
        return None
    epsilon = info.attributes.get("epsilon", 1e-5)

    def run(x: Array, scale: Array, bias: Array, mean: Array, variance: Array) -> Array:
        shape = (1, -1, *[1] * (x.ndim - 2))
        factor = scale / np.sqrt(variance + np.asarray(epsilon, variance.dtype))
        y: Array = (x - mean.reshape(shape)) * factor.reshape(shape) + bias.reshape(shape)
        return y.astype(x.dtype, copy=False)

    return run


def _layer_normalization(info: NodeInfo) -> Function | None:
    if any(info.outputs[1:]):
        return None
    axis, epsilon = info.attributes.get("axis", -1), info.attributes.get("epsilon", 1e-5)

    def run(x: Array, scale: Array, bias: Array | None = None) -> Array:
        axes = tuple(range(axis % x.ndim, x.ndim))
        centred = x - x.mean(axis=axes, keepdims=True)
        variance = np.square(centred).mean(axis=axes, keepdims=True)
        y: Array = centred / np.sqrt(variance + np.asarray(epsilon, x.dtype)) * scale
        return y if bias is None else y + bias

    return run


def _dropout(info: NodeInfo) -> Function | None:
    if any(info.outputs[1:]) or (info.has(2) and (2 not in info.constants or info.constants[2].any())):
        return None
    return lambda x, *rest: x


def _gelu(info: NodeInfo) -> Function | None:
    if info.attributes.get("approximate", "none") != "none":
        return None
    gelu = activations.get("gelu")

    def run(x: Array) -> Array:
        if x.dtype in ENGINE_TYPES:
            return gelu(x)
        return gelu(x.astype(np.float32)).astype(x.dtype)

    return run


def _dequantize(info: NodeInfo) -> Function | None:
    """``(x - zero_point) * scale``, for all of x or for each place of an axis; blocks are for the evaluator."""
    if info.attributes.get("block_size", 0) or info.attributes.get("output_dtype", 0):
        return None
    axis = info.attributes.get("axis", 1)
    one = info.constants.get(1)
    fixed = one is not None and one.dtype == np.float32 and one.size == 1 and (2 in info.constants or not info.has(2))
    quick = fixed and bool(one is not None and np.abs(one.astype(np.float64)).item() < 1e30)  # no product is infinite

    def run(x: Array, scale: Array, zero: Array | None = None) -> Array:
        if quick and x.dtype.itemsize == 1 and x.dtype.kind in "iu":
            if zero is None or (zero.size == 1 and zero.dtype == x.dtype):
                y = x.astype(np.float32)  # which holds bytes and what lies between them
                if zero is not None:
                    y -= np.float32(zero.item())
                y *= scale.reshape(())
                return y
        with np.errstate(all="ignore"):
            return slow(x, scale, zero)

    def slow(x: Array, scale: Array, zero: Array | None) -> Array:
        shape: tuple[int, ...] = ()
        if scale.size != 1:
            if not -x.ndim <= axis < x.ndim or scale.shape != (x.shape[axis],):
                raise ValueError(f"x_scale must have one number, or one for each place of axis {axis} of {x.shape}")
            shape = (-1, *[1] * (x.ndim - 1 - axis % x.ndim))
        if zero is not None and (zero.size != scale.size or zero.dtype != x.dtype):
            raise ValueError(f"x_zero_point must be like x_scale, of type {x.dtype}, got {zero.dtype} {zero.shape}")
        kind = scale.dtype
        if zero is None or _is_float(x):  # the zero of float8 is 0
            return x.astype(kind) * scale.reshape(shape)
        return (x.astype(np.int64) - zero.astype(np.int64).reshape(shape)).astype(kind) * scale.reshape(shape)

    return run


def _widened(info: NodeInfo, *parts: Any) -> int:
    """What `_as_float32` makes of the inputs."""
    return sum(4 * elements(part) for part in parts if getattr(getattr(part, "dtype", None), "kind", "") == "V")


def _selu(info: NodeInfo) -> Function:
    alpha, gamma = _numbers(info)
    elu = FUNCTIONS["Elu"]
    return lambda x: (gamma * elu(x, alpha, 0.0)).astype(x.dtype, copy=False)


OPERATORS = (
    Operator("Abs", _plain(np.abs), SAME, NOTHING),
    Operator("Add", _plain(np.add), broadcast, NOTHING),
    Operator("And", _plain(np.logical_and), broadcast, NOTHING),
    Operator("BatchNormalization", _in_float32(_batch_normalization), by_channel, scaled(by_channel, 4), each(10)),
    Operator("Cast", _cast, _cast_bytes, Floats(1), _cast_work),
    Operator("Clip", _clip, broadcast, broadcast),
    Operator("DequantizeLinear", _dequantize, by_channel, scaled(by_channel, 8), scaled(by_channel, 10), quiet=True),
    Operator("Div", _plain(_divide), broadcast, scaled(broadcast, 6)),
    Operator("Dropout", _dropout, Floats(2), Floats(2)),
    Operator("Elu", _numbered, SAME, Times(4)),
    Operator("Equal", _plain(np.equal), broadcast, NOTHING),
    Operator("Exp", _float_only(np.exp), SAME, Floats(3)),
    Operator("Gelu", _gelu, SAME, Floats(8)),
    Operator("Gemm", _gemm, gemm, sum_of(scaled(gemm, 2), SAME, _widened), gemm_work),
    Operator("GlobalAveragePool", _in_float32(_global_pool), SAME, Floats(1)),
    Operator("GlobalMaxPool", _in_float32(_global_pool), SAME, Floats(1)),
    Operator("Greater", _plain(np.greater), broadcast, NOTHING),
    Operator("GreaterOrEqual", _plain(np.greater_equal), broadcast, NOTHING),
    Operator("HardSigmoid", _numbered, SAME, Floats(3)),
    Operator("LayerNormalization", _in_float32(_layer_normalization), broadcast, scaled(broadcast, 4), each(10)),
    Operator("LeakyRelu", _numbered, SAME, Times(2)),
    Operator("Less", _plain(np.less), broadcast, NOTHING),
    Operator("LessOrEqual", _plain(np.less_equal), broadcast, NOTHING),
    Operator("Log", _float_only(np.log), SAME, Floats(3)),
    Operator("LogSoftmax", _in_float32(_softmax), SAME, Floats(4)),
    Operator("LpNormalization", _in_float32(_norm_of_one), SAME, Floats(6)),
    Operator("MatMul", lambda info: _product(info.constants.get(1)), product, sum_of(SAME, _widened), product_work),
    Operator("Max", _plain(_extreme(np.maximum)), broadcast, broadcast),
    Operator("Mean", _in_float32(_plain(_mean)), broadcast_floats, broadcast_floats),
    Operator("Min", _plain(_extreme(np.minimum)), broadcast, broadcast),
    Operator("Mul", _plain(np.multiply), broadcast, NOTHING),
    Operator("Neg", _plain(np.negative), SAME, NOTHING),
    Operator("Not", _plain(np.logical_not), SAME, NOTHING),
    Operator("Or", _plain(np.logical_or), broadcast, NOTHING),
    Operator("Pow", _plain(_power), broadcast, broadcast_floats, each(20)),
    Operator("Reciprocal", _plain(lambda x: np.asarray(1, x.dtype) / x), Floats(1), NOTHING),
    Operator("ReduceMax", _reduce, SAME, Floats(1), shape_inputs=(1,)),
    Operator("ReduceMean", _in_float32(_reduce), Floats(1), Floats(1), shape_inputs=(1,)),
    Operator("ReduceMin", _reduce, SAME, Floats(1), shape_inputs=(1,)),
    Operator("ReduceSum", _in_float32(_reduce), SAME, Floats(1), shape_inputs=(1,)),
    Operator("Relu", _plain(lambda x: np.maximum(x, 0)), SAME, NOTHING, quiet=True),
    Operator("Selu", _selu, SAME, Times(5)),
    Operator("Sigmoid", _engine("sigmoid"), SAME, Floats(4), quiet=True),
    Operator("Softmax", _in_float32(_softmax), SAME, Floats(4)),
    Operator("Softplus", _float_only(activations.get("softplus")), SAME, Floats(6)),
    Operator("Softsign", _float_only(activations.get("softsign")), SAME, Floats(4)),
    Operator("Sqrt", _float_only(np.sqrt), SAME, Floats(3)),
    Operator("Sub", _plain(np.subtract), broadcast, NOTHING),
    Operator("Sum", _in_float32(_plain(_sum)), broadcast, broadcast),
    Operator("Tanh", _engine("tanh"), SAME, Floats(4), quiet=True),
    Operator("Where", _plain(np.where), broadcast, NOTHING),
)
