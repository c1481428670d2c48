"""Calls of every operation: functions of arrays of which the first axis is the batch, with example arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnx import ops

RNG = np.random.default_rng(29)


def normal(*shape: int) -> Any:
    return RNG.normal(size=shape)


def positive(*shape: int) -> Any:
    return RNG.random(shape) + 0.3


def apart(*shape: int) -> Any:
    """Numbers of which no two are close to each other or to 0, so that differences cross no edge."""
    count = int(np.prod(shape))
    return (RNG.permutation(count) - count / 2 + 0.25).reshape(shape) * 0.3


def integers(*shape: int, below: int = 4) -> Any:
    return RNG.integers(0, below, shape)


@dataclass
class Case:
    """One call.

    Attributes
    ----------
    name : str
        The operation's first.
    call : callable
        Of arrays or symbolic tensors.
    inputs : list of arrays
        Their first axis is the batch, the second one may be of any length too.
    smooth : bool
        Whether there is a gradient.
    """

    name: str
    call: Callable[..., Any]
    inputs: list[Any]
    smooth: bool = True


X, Y = apart(3, 5, 4), apart(3, 5, 4) + 0.05
CASES: list[Case] = []


def case(name: str, call: Callable[..., Any], *inputs: Any, smooth: bool = True) -> None:
    CASES.append(Case(name, call, list(inputs), smooth))


for name in (
    "negative absolute square exp expm1 sin cos sinh cosh arctan erf tanh sigmoid relu relu6 hard_sigmoid softplus "
    "softsign selu silu elu leaky_relu gelu stop_gradient sign floor ceil trunc round isnan isinf isfinite logical_not "
    "zeros_like ones_like"
).split():
    smooth = name not in (
        "stop_gradient sign floor ceil trunc round isnan isinf isfinite logical_not zeros_like ones_like".split()
    )
    case(name, getattr(ops, name), X / 3, smooth=smooth)
for name in "log log2 log10 log1p sqrt rsqrt reciprocal".split():
    case(name, getattr(ops, name), positive(3, 5, 4))
for name in "arcsin arccos tan".split():
    case(name, getattr(ops, name), normal(3, 5, 4) / 6)
case("elu alpha", lambda x: ops.elu(x, alpha=0.5), X)
case("leaky_relu slope", lambda x: ops.leaky_relu(x, negative_slope=0.3), X)
case("gelu exact", lambda x: ops.gelu(x, approximate=False), X)
case("round decimals", lambda x: ops.round(x, 1), X, smooth=False)
for name in "add subtract multiply divide maximum minimum arctan2 logaddexp floor_divide".split():
    function = getattr(ops, name)
    smooth = name != "floor_divide"
    case(f"{name} both", function, X, Y, smooth=smooth)
    case(f"{name} spread", function, X, Y[:, :1], smooth=smooth)
    case(f"{name} number", lambda x, f=function: f(x, 1.7), X, smooth=smooth)
    case(f"{name} of a number", lambda x, f=function: f(2, x), X, smooth=smooth)
    case(f"{name} vector", lambda x, f=function: f(x, np.array([1.1, -2.2, 3.3, 0.7])), X, smooth=smooth)
    case(f"{name} with its mean", lambda x, f=function: f(x, ops.mean(x) + 0.01), X, smooth=smooth)
case("mod both", ops.mod, normal(3, 5, 4), positive(3, 5, 4))
case("mod spread", ops.mod, normal(3, 5, 4), positive(3, 1, 4))
case("mod number", lambda x: ops.mod(x, -0.7), normal(3, 5, 4))
case("power both", ops.power, positive(3, 5, 4), Y)
case("power spread", ops.power, positive(3, 5, 4), Y[:, :, :1])
case("power number", lambda x: ops.power(x, 3), X)
case("power zero", lambda x: ops.power(x, 0), X)
case("power of a number", lambda x: ops.power(2.5, x), X / 3)
case("operators", lambda a, b: -(a**2) % 1.5 + abs(a / b) // 2 - (3 - a) * (a > b) + a * ~(a <= 0.1), X, Y)
case("operators matrices", lambda a, b: a @ b, normal(3, 5, 4), normal(3, 4, 2))
case("operators constants", lambda a: np.ones((5, 4)) * a - a / np.array([1.0, 2, 3, 4]), X)
case("clip", lambda x: ops.clip(x, -1.0, 2.0), X)
case("clip below", lambda x: ops.clip(x, 0.1, None), X)
case("clip limits", ops.clip, X, Y[:, :1] - 2, Y[:, :1] + 2)
case("where", lambda x, y: ops.where(x > y, x, y * 2), X, Y)
case("where spread", lambda x, y: ops.where(x > 0, x, y), X, Y[:, :, :1])
case("where number", lambda x: ops.where(x > 0, x, 0.0), X)
for name in "greater greater_equal less less_equal equal not_equal logical_and logical_or logical_xor".split():
    case(name, getattr(ops, name), integers(3, 5, 4), integers(3, 5, 4), smooth=False)
case("cast int", lambda x: ops.cast(x, "int32"), X, smooth=False)
case("cast bool", lambda x: ops.cast(x > 0, "float32") * 2, X, smooth=False)
case("cast wide", lambda x: ops.cast(x, "float64"), X)

for name in "sum mean var max min prod logsumexp norm std".split():
    function = getattr(ops, name)
    case(f"{name} all", function, X / 2)
    case(f"{name} last", lambda x, f=function: f(x, axis=-1), X / 2)
    case(f"{name} steps", lambda x, f=function: f(x, axis=1, keepdims=True), X / 2)
    case(f"{name} two", lambda x, f=function: f(x, axis=(1, 2)), X / 2)
case("prod zero", lambda x: ops.prod(x * (x > 0.5), axis=-1), np.array([[1.0, 2, 0, 3], [0, 1, 0, 2], [1, 2, 3, 4]]))
case("max initial", lambda x: ops.max(x, axis=1, initial=0.5), X)
case("norm ones", lambda x: ops.norm(x, ord=1, axis=-1), X)
case("norm inf", lambda x: ops.norm(x, ord=np.inf, axis=-1), X)
for name in "any all count_nonzero argmax argmin".split():
    function = getattr(ops, name)
    case(f"{name} all", function, integers(3, 5, 4), smooth=False)
    case(f"{name} steps", lambda x, f=function: f(x, axis=1), integers(3, 5, 4), smooth=False)
case("argmax keepdims", lambda x: ops.argmax(x, axis=-1, keepdims=True), X, smooth=False)
case("sum of integers", lambda x: ops.sum(x, axis=1), integers(3, 5), smooth=False)
case("sum of truths", lambda x: ops.sum(x > 0, axis=1), X, smooth=False)
case("softmax", lambda x: ops.softmax(x, axis=1), X)
case("softmax two", lambda x: ops.softmax(x, axis=(1, 2)), X)
case("log_softmax", ops.log_softmax, X)
case("cumsum", lambda x: ops.cumsum(x, axis=1), X)
case("cumsum all", ops.cumsum, X)

case("concatenate", lambda a, b: ops.concatenate([a, b, a], axis=-1), X, Y)
case("concatenate steps", lambda a, b: ops.concatenate([a, b[:, :2]], axis=1), X, Y)
case("hstack", lambda a, b: ops.hstack([a, b]), X, Y)
case("vstack", lambda a, b: ops.vstack([a, b]), X, Y)
case("stack", lambda a, b: ops.stack([a, b], axis=1), X, Y)
case("stack last", lambda a, b: ops.stack([a, b], axis=-1), X, Y)
case("split", lambda x: ops.split(x, 2, axis=-1)[1] * 3, X)
case("split ends", lambda x: ops.split(x, [1, 3], axis=-1), X)
case("unstack", lambda x: ops.unstack(x, axis=-1)[2], X)
case("reshape", lambda x: ops.reshape(x, (-1, 2, 2)), X)
case("reshape sizes", lambda x: ops.reshape(x, (ops.shape(x)[0], ops.shape(x)[1], 2, 2)), X)
case("reshape batch", lambda x: ops.reshape(x[:, :2], (ops.shape(x)[0], -1)), X)
case("reshape product", lambda x: ops.reshape(x, (ops.shape(x)[0] * ops.shape(x)[1], 4)), X)
case("ravel", ops.ravel, X)
case("transpose", ops.transpose, X)
case("transpose axes", lambda x: ops.transpose(x, (0, 2, 1)), X)
case("swapaxes", lambda x: ops.swapaxes(x, 1, -1), X)
case("moveaxis", lambda x: ops.moveaxis(x, -1, 1), X)
case("moveaxis two", lambda x: ops.moveaxis(x, [0, 1], [-1, 0]), X)
case("expand_dims", lambda x: ops.expand_dims(x, -1), X)
case("expand_dims two", lambda x: ops.expand_dims(x, (1, -1)), X)
case("squeeze", lambda x: ops.squeeze(x[:, :, :1], -1), X)
case("flip", lambda x: ops.flip(x, 1), X)
case("flip all", ops.flip, X)
case("roll", lambda x: ops.roll(x, 2, axis=1), X)
case("roll all", lambda x: ops.roll(x, -3), X)
case("repeat", lambda x: ops.repeat(x, 3, axis=1), X)
case("repeat each", lambda x: ops.repeat(x, [2, 0, 1, 3], axis=-1), X)
case("repeat all", lambda x: ops.repeat(x, 2), X)
case("tile", lambda x: ops.tile(x, (1, 2, 3)), X)
case("tile sizes", lambda x: ops.tile(ops.ones((1, 1, 2)) * ops.mean(x), (ops.shape(x)[0], ops.shape(x)[1], 1)), X)
case("broadcast_to", lambda x: ops.broadcast_to(x[:, :1], (ops.shape(x)[0], 6, 4)), X)
case("broadcast_to front", lambda x: ops.broadcast_to(ops.mean(x, axis=(0, 1)), (2, 3, 4)), X)
case("pad", lambda x: ops.pad(x, ((0, 0), (2, 1), (0, 0))), X)
case("pad value", lambda x: ops.pad(x, ((0, 0), (1, 0), (0, 2)), constant_values=1.5), X)
for mode in ("reflect", "symmetric", "edge"):
    case(f"pad {mode}", lambda x, m=mode: ops.pad(x, ((0, 0), (3, 2), (1, 0)), mode=m), X)

case("get_item last", lambda x: x[:, -1, :], X)
case("get_item columns", lambda x: x[:, :, :3], X)
case("get_item new", lambda x: x[..., None], X)
case("get_item back", lambda x: x[:, ::-2, 1:], X)
case("get_item array", lambda x: x[:, :, [0, 2, 2]], X)
case("get_item arrays", lambda x: x[:, [0, 1, 1], [0, 2, 2]], X)
case("get_item arrays apart", lambda x: x[[0, 1], :, [0, 2]], X)
case("get_item array beside a number", lambda x: x[0, :, [0, 2]], X)
case("get_item symbolic", lambda x, k: x[:, :, k[0, 0]], X, integers(3, 5))
case("get_item to a size", lambda x: x[:, : ops.shape(x)[1] - 2], X)
case("slice", lambda x: ops.slice(x, (0, 1, 1), (2, 3, 2)), X)
case("take", lambda x: ops.take(x, [0, 3, 3], axis=-1), X)
case("take grid", lambda x: ops.take(x, np.array([[0, 1], [2, 2]]), axis=1), X)
case("take all", lambda x: ops.take(x, [3, 7]), X)
case("take ids", lambda k: ops.take(np.arange(8.0).reshape(4, 2), k, axis=0), integers(3, 5), smooth=False)
case("take by", lambda x, k: ops.take(x, k[0], axis=2), X, integers(3, 5))
case("take_along_axis", lambda x, k: ops.take_along_axis(x, k, axis=-1), X, integers(3, 5, 6))
case("take_along_axis spread", lambda x, k: ops.take_along_axis(x[:, :1], k, axis=-1), X, integers(3, 5, 2))
case("one_hot", lambda k: ops.one_hot(k, 4), integers(3, 5), smooth=False)
case("one_hot axis", lambda k: ops.one_hot(k, 4, axis=1, dtype="int32"), integers(3, 5, below=6), smooth=False)
case("tril", ops.tril, X)
case("triu", lambda x: ops.triu(x, 1), X)
case("diag", lambda x: ops.diag(x[0], 1), X)
case("diag vector", lambda x: ops.diag(x[0, 0], -1), X)
case("sort", lambda x: ops.sort(x, axis=1), X)
case("argsort", ops.argsort, integers(3, 5, 4), smooth=False)
case("top_k", lambda x: ops.top_k(x, 2)[0], X)
case("top_k places", lambda x: ops.top_k(x, 2)[1], integers(3, 5, 4), smooth=False)

case("matmul", ops.matmul, normal(3, 5, 4), normal(3, 4, 2))
case("matmul kernel", lambda x: ops.matmul(x, np.arange(8.0).reshape(4, 2) - 3), normal(3, 5, 4))
case("matmul vector", lambda x: ops.matmul(x, np.arange(4.0)), normal(3, 5, 4))
case("matmul of a vector", lambda x: ops.matmul(np.arange(5.0), x), normal(3, 5, 4))
case("matmul spread", lambda a, b: ops.matmul(a[:, None], b), normal(3, 5, 4), normal(3, 2, 4, 2))
case("matmul rows", lambda a, b: ops.matmul(a[0], b[0, 0]), normal(3, 5, 4), normal(3, 5, 4))
case("dot", lambda a: ops.dot(a, np.arange(8.0).reshape(4, 2) - 3), normal(3, 5, 4))
case("dot stack", lambda a: ops.dot(a, np.arange(24.0).reshape(2, 4, 3) / 9), normal(3, 5, 4))
case("dot number", lambda a: ops.dot(a, 2.0), normal(3, 5, 4))
case("inner", lambda a, b: ops.inner(a, b[:, 0]), normal(3, 5, 4), normal(3, 2, 4))
case("outer", lambda a, b: ops.outer(a[0, 0], b[0, 1]), normal(3, 5, 4), normal(3, 5, 4))
case("tensordot", lambda a, b: ops.tensordot(a, b[0], axes=1), normal(3, 5, 4), normal(3, 4, 2))
case("tensordot axes", lambda a, b: ops.tensordot(a, b, axes=([1, 2], [1, 2])), normal(3, 5, 4), normal(3, 5, 4))
case("einsum", lambda a, b: ops.einsum("btf,fu->btu", a, b[0]), normal(3, 5, 4), normal(3, 4, 2))
case("einsum batch", lambda a, b: ops.einsum("bqf,bkf->bqk", a, b), normal(3, 5, 4), normal(3, 2, 4))
case("einsum order", lambda a, b: ops.einsum("btf, bsf -> fsbt", a, b), normal(3, 5, 4), normal(3, 2, 4))
case("einsum dots", lambda a, b: ops.einsum("...f,fu->u...", a, b[0]), normal(3, 5, 4), normal(3, 4, 2))
case("einsum sums", lambda a, b: ops.einsum("bt,bu->b", a, b), normal(3, 5), normal(3, 2))
case("einsum one", lambda a: ops.einsum("btf->fb", a), normal(3, 5, 4))
case("einsum implicit", lambda a, b: ops.einsum("tb,bu", a, b), normal(3, 5)[:, :3], normal(3, 2))
case("einsum three", lambda a, b, c: ops.einsum("bt,btf,bf->bf", a, b, c), normal(3, 5), normal(3, 5, 4), normal(3, 4))
case("einsum spread", lambda a, b: ops.einsum("btf,btf->bt", a, b), normal(3, 5, 4), normal(3, 1, 4))

case("zeros", lambda x: ops.zeros((ops.shape(x)[0], 3)) + ops.sum(x, axis=(1, 2))[:, None], X)
case("ones", lambda x: ops.ones(ops.shape(x)[:2], dtype="int32"), X, smooth=False)
case("full", lambda x: ops.full((2, ops.shape(x)[1]), ops.mean(x)), X)
case("full_like", lambda x: ops.full_like(x, 2.5), X, smooth=False)
case("arange", lambda x: ops.cast(ops.arange(ops.shape(x)[1]), "float32")[:, None] * x, X)
case("arange steps", lambda x: ops.arange(1, ops.shape(x)[1], 2), X, smooth=False)
case("arange floats", lambda x: ops.arange(ops.shape(x)[0], dtype="float32"), X, smooth=False)
case("size", lambda x: x / ops.cast(ops.size(x), "float32"), X)
case(
    "causal",
    lambda x: ops.where(
        ops.tril(ops.ones((ops.shape(x)[1], ops.shape(x)[1]))) > 0, ops.einsum("bqf,bkf->bqk", x, x), -1.0
    ),
    X,
)

# ---- Labels without places -------------------------------------------------------------------------------------------


def lengths(x: Any, length: Any) -> Any:
    return ops.full((ops.shape(x)[0],), length)


case(
    "ctc_loss",
    lambda x, k: ops.ctc_loss(k, x, lengths(k, 1), lengths(x, ops.shape(x)[1])),
    normal(3, 5, 4),
    integers(3, 2, below=3) + 1,
)
case(
    "ctc_loss blank",
    lambda x, k: ops.ctc_loss(k, x, lengths(k, 2), lengths(x, 4), mask_index=-1),
    normal(3, 5, 4),
    np.array([[1, 0], [2, 2], [0, 1]]),
)
