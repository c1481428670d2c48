"""Small fast versions of the operators that stand around recurrent ones: elementwise, products, reductions.

Each maker turns a node into a function of arrays, or gives None where the reference evaluator of the package `onnx` has
to do it. The specification of every operator is at https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx import _kernels, activations
from rnnx.formats.onnx._node import Array, Function, Maker, NodeInfo

ENGINE_TYPES = (np.dtype(np.float32), np.dtype(np.float64))


def _plain(function: Callable[..., Any]) -> Maker:
    """An operator without attributes."""
    return lambda info: function


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
    if a.dtype.kind == "f":
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


def _hard_sigmoid(info: NodeInfo) -> Function:
    alpha, beta = info.attributes.get("alpha", 0.2), info.attributes.get("beta", 0.5)

    def run(x: Array) -> Array:
        return np.clip(x * np.asarray(alpha, x.dtype) + np.asarray(beta, x.dtype), 0, 1).astype(x.dtype, copy=False)

    return run


def _leaky_relu(info: NodeInfo) -> Function:
    alpha = info.attributes.get("alpha", 0.01)
    return lambda x: np.where(x < 0, x * np.asarray(alpha, x.dtype), x)


def _elu(info: NodeInfo) -> Function:
    alpha = info.attributes.get("alpha", 1.0)
    return lambda x: np.where(x < 0, np.asarray(alpha, x.dtype) * np.expm1(np.minimum(x, 0)), x)


def _clip(info: NodeInfo) -> Function:
    low, high = info.attributes.get("min"), info.attributes.get("max")

    def run(x: Array, low: Any = low, high: Any = high) -> Array:
        if low is None and high is None:
            return x
        if low is not None:
            x = np.maximum(x, np.asarray(low, x.dtype))
        return x if high is None else np.minimum(x, np.asarray(high, x.dtype))

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
    if dtype.kind not in "fiub":
        return None

    def run(x: Array) -> Array:
        if x.dtype == dtype:
            return x
        if x.dtype.kind not in "fiubV":
            raise ValueError(f"cannot cast {x.dtype} to {dtype}")
        return x.astype(dtype)

    return run


def _product(constant: Array | None) -> Callable[[Array, Array], Array]:
    """A matrix product, with a constant second factor laid out for the engine once.

    Unlike those of BLAS, products of the engine do not wake threads for the few rows of a recurrent network's inputs.
    """
    packed: Any = None
    if constant is not None and constant.ndim == 2 and constant.size and constant.dtype in ENGINE_TYPES:
        packed = _kernels.PackedDense(np.ascontiguousarray(constant), None)

    def run(a: Array, b: Array) -> Array:
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
    axes = None if axes is None else tuple(axes)
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
    return None if info.attributes.get("approximate", "none") != "none" else activations.get("gelu")


def _selu(info: NodeInfo) -> Function:
    alpha, gamma = info.attributes.get("alpha", 1.6732632), info.attributes.get("gamma", 1.050701)
    return lambda x: (
        np.asarray(gamma, x.dtype) * np.where(x < 0, np.asarray(alpha, x.dtype) * np.expm1(np.minimum(x, 0)), x)
    )


MAKERS: dict[str, Maker] = {
    "Abs": _plain(np.abs),
    "Add": _plain(np.add),
    "And": _plain(np.logical_and),
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "Clip": _clip,
    "Div": _plain(_divide),
    "Dropout": _dropout,
    "Elu": _elu,
    "Equal": _plain(np.equal),
    "Exp": _float_only(np.exp),
    "Gelu": _gelu,
    "Gemm": _gemm,
    "Greater": _plain(np.greater),
    "GreaterOrEqual": _plain(np.greater_equal),
    "HardSigmoid": _hard_sigmoid,
    "LayerNormalization": _layer_normalization,
    "LeakyRelu": _leaky_relu,
    "Less": _plain(np.less),
    "LessOrEqual": _plain(np.less_equal),
    "Log": _float_only(np.log),
    "LogSoftmax": _softmax,
    "MatMul": lambda info: _product(info.constants.get(1)),
    "Max": _plain(_extreme(np.maximum)),
    "Mean": _plain(_mean),
    "Min": _plain(_extreme(np.minimum)),
    "Mul": _plain(np.multiply),
    "Neg": _plain(np.negative),
    "Not": _plain(np.logical_not),
    "Or": _plain(np.logical_or),
    "Pow": _plain(_power),
    "Reciprocal": _plain(lambda x: np.asarray(1, x.dtype) / x),
    "ReduceMax": _reduce,
    "ReduceMean": _reduce,
    "ReduceMin": _reduce,
    "ReduceSum": _reduce,
    "Relu": _plain(lambda x: np.maximum(x, 0)),
    "Selu": _selu,
    "Sigmoid": _engine("sigmoid"),
    "Softmax": _softmax,
    "Softplus": _float_only(activations.get("softplus")),
    "Softsign": _float_only(activations.get("softsign")),
    "Sqrt": _float_only(np.sqrt),
    "Sub": _plain(np.subtract),
    "Sum": _plain(_sum),
    "Tanh": _engine("tanh"),
    "Where": _plain(np.where),
}


def broadcast_elements(*shapes: tuple[int, ...]) -> int:
    """Elements of arrays of these shapes when they are broadcast against each other; 0 if they cannot be."""
    try:
        return math.prod(np.broadcast_shapes(*shapes))
    except ValueError:
        return 0
