"""Calls of ``keras.ops`` that Keras computed for ``keras_ops.npz``: functions of the module, floats and integers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Call = Callable[[Any, Any, Any], Any]  # ops, x of shape (2, 5, 4), k of shape (2, 5) -> result(s)
KERNEL = (np.arange(8, dtype=np.float32) - 3).reshape(4, 2) / 4
VECTOR = np.array([0.5, -1.0, 2.0, 3.0], np.float32)
UNARY = (
    "absolute arctan ceil cos cosh erf exp expm1 floor gelu hard_sigmoid hard_silu hard_tanh isfinite isinf isnan "
    "log_sigmoid logical_not negative relu relu6 selu sigmoid sign silu sin sinh softplus softsign square tan tanh "
    "tanh_shrink trunc soft_shrink ones_like zeros_like leaky_relu elu celu log_softmax softmax flip normalize"
)
POSITIVE = "log log10 log1p log2 rsqrt sqrt reciprocal"
REDUCTIONS = "sum mean max min prod var std logsumexp norm any all argmax argmin"
BINARY = (
    "add subtract multiply divide true_divide maximum minimum greater greater_equal less less_equal equal not_equal "
    "logical_and logical_or logical_xor arctan2 logaddexp mod floor_divide"
)
CALLS: dict[str, Call] = {
    **{name: lambda ops, x, k, name=name: getattr(ops, name)(x) for name in UNARY.split()},
    **{name: lambda ops, x, k, name=name: getattr(ops, name)(ops.absolute(x) + 0.5) for name in POSITIVE.split()},
    **{name: lambda ops, x, k, name=name: getattr(ops, name)(x, axis=1) for name in REDUCTIONS.split()},
    **{name: lambda ops, x, k, name=name: getattr(ops, name)(x, x[:, :1] + 0.25) for name in BINARY.split()},
    **{f"{name} number": lambda ops, x, k, name=name: getattr(ops, name)(x, 2) for name in BINARY.split()[:7]},
    "arcsin": lambda ops, x, k: ops.arcsin(x / 4),
    "arccos": lambda ops, x, k: ops.arccos(x / 4),
    "mean axes": lambda ops, x, k: ops.mean(x, axis=(1, 2), keepdims=True),
    "mean of integers": lambda ops, x, k: ops.mean(k, axis=1),
    "sum of integers": lambda ops, x, k: ops.sum(k, axis=1),
    "max initial": lambda ops, x, k: ops.max(x, axis=-1, initial=0.5),
    "argmax keepdims": lambda ops, x, k: ops.argmax(x, axis=-1, keepdims=True),
    "norm 1": lambda ops, x, k: ops.norm(x, ord=1, axis=-1),
    "normalize 1": lambda ops, x, k: ops.normalize(x, axis=1, order=1),
    "cumsum": lambda ops, x, k: ops.cumsum(x, axis=1),
    "integers": lambda ops, x, k: ops.add(ops.multiply(k, 2), 1),
    "integers divided": lambda ops, x, k: ops.divide(k, 2),
    "integers and floats": lambda ops, x, k: ops.multiply(x, ops.expand_dims(k, -1)),
    "power": lambda ops, x, k: ops.power(x, 3),
    "operators": lambda ops, x, k: (-x + 2) ** 2 % 1.5 - abs(x) * (x > 0.3) + 3 // (x * x + 1),
    "round": lambda ops, x, k: ops.round(x, 1),
    "clip": lambda ops, x, k: ops.clip(x, -0.5, 1.0),
    "where": lambda ops, x, k: ops.where(x > 0.2, x, -1.0),
    "cast": lambda ops, x, k: ops.cast(x * 3, "int32"),
    "elu alpha": lambda ops, x, k: ops.elu(x, alpha=0.3),
    "leaky_relu slope": lambda ops, x, k: ops.leaky_relu(x, negative_slope=0.4),
    "gelu exact": lambda ops, x, k: ops.gelu(x, approximate=False),
    "threshold": lambda ops, x, k: ops.threshold(x, 0.3, -2.0),
    "glu": lambda ops, x, k: ops.glu(x),
    "softmax steps": lambda ops, x, k: ops.softmax(x, axis=1),
    "concatenate": lambda ops, x, k: ops.concatenate([x, 2 * x], axis=-1),
    "stack": lambda ops, x, k: ops.stack([x, 2 * x], axis=1),
    "split": lambda ops, x, k: ops.split(x, 2, axis=-1)[1],
    "split ends": lambda ops, x, k: ops.split(x, [1, 3], axis=1)[1],
    "unstack": lambda ops, x, k: ops.unstack(x, axis=1)[3],
    "reshape": lambda ops, x, k: ops.reshape(x, (-1, 20)),
    "transpose": lambda ops, x, k: ops.transpose(x, (0, 2, 1)),
    "swapaxes": lambda ops, x, k: ops.swapaxes(x, 1, 2),
    "moveaxis": lambda ops, x, k: ops.moveaxis(x, 2, 1),
    "expand_dims": lambda ops, x, k: ops.expand_dims(x, 1),
    "squeeze": lambda ops, x, k: ops.squeeze(x[:, :1], 1),
    "roll": lambda ops, x, k: ops.roll(x, 2, axis=1),
    "repeat": lambda ops, x, k: ops.repeat(x, 2, axis=1),
    "tile": lambda ops, x, k: ops.tile(x, (1, 2, 1)),
    "broadcast_to": lambda ops, x, k: ops.broadcast_to(x[:, :1], (2, 5, 4)),
    "pad": lambda ops, x, k: ops.pad(x, ((0, 0), (2, 1), (0, 0))),
    "pad reflect": lambda ops, x, k: ops.pad(x, ((0, 0), (2, 1), (0, 0)), mode="reflect"),
    "get_item last": lambda ops, x, k: x[:, -1],
    "get_item part": lambda ops, x, k: x[:, 1:4:2, ..., None],
    "slice": lambda ops, x, k: ops.slice(x, (0, 1, 1), (2, 3, 2)),
    "take": lambda ops, x, k: ops.take(x, [3, 0, 3], axis=-1),
    "take ids": lambda ops, x, k: ops.take(KERNEL, k, axis=0),
    "take_along_axis": lambda ops, x, k: ops.take_along_axis(x, ops.argsort(x, axis=-1), axis=-1),
    "one_hot": lambda ops, x, k: ops.one_hot(k, 4),
    "tril": lambda ops, x, k: ops.tril(x, -1),
    "triu": lambda ops, x, k: ops.triu(x, 1),
    "sort": lambda ops, x, k: ops.sort(x, axis=1),
    "top_k": lambda ops, x, k: ops.top_k(x, 2)[0],
    "top_k places": lambda ops, x, k: ops.top_k(x, 2)[1],
    "matmul": lambda ops, x, k: ops.matmul(x, ops.transpose(x, (0, 2, 1))),
    "matmul kernel": lambda ops, x, k: x @ KERNEL,
    "dot": lambda ops, x, k: ops.dot(x, KERNEL),
    "tensordot": lambda ops, x, k: ops.tensordot(x, KERNEL, axes=1),
    "einsum": lambda ops, x, k: ops.einsum("btf,bsf->bts", x, x),
    "einsum kernel": lambda ops, x, k: ops.einsum("...f,fu->...u", x, KERNEL),
    "constant": lambda ops, x, k: x * VECTOR - VECTOR[:1],
    "binary_crossentropy": lambda ops, x, k: ops.binary_crossentropy(ops.cast(x > 0, "float32"), ops.sigmoid(3 * x)),
    "categorical_crossentropy": lambda ops, x, k: ops.categorical_crossentropy(ops.one_hot(k, 4), ops.softmax(x)),
    "sparse_categorical_crossentropy": lambda ops, x, k: ops.sparse_categorical_crossentropy(k, x, from_logits=True),
}
