"""Operations of `rnnx.ops` between layers as ONNX nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx.formats.onnx._graph import GraphWriter, Value
from rnnx.layers.ops.arguments import Slot
from rnnx.saving import FormatError

UNARY = {
    "absolute": "Abs", "ceil": "Ceil", "cos": "Cos", "erf": "Erf", "exp": "Exp", "floor": "Floor",
    "log": "Log", "negative": "Neg", "reciprocal": "Reciprocal", "relu": "Relu", "round": "Round",
    "sigmoid": "Sigmoid", "sign": "Sign", "sin": "Sin", "softplus": "Softplus", "softsign": "Softsign", "sqrt": "Sqrt",
    "tan": "Tan", "tanh": "Tanh",
}  # fmt: skip
BINARY = {
    "add": "Add", "divide": "Div", "maximum": "Max", "minimum": "Min", "multiply": "Mul", "power": "Pow",
    "subtract": "Sub",
}  # fmt: skip
COMPARISONS = {
    "equal": "Equal", "greater": "Greater", "greater_equal": "GreaterOrEqual", "less": "Less",
    "less_equal": "LessOrEqual", "not_equal": "Equal",
}  # fmt: skip
LOGIC = {"logical_and": "And", "logical_or": "Or", "logical_xor": "Xor"}
REDUCE = {"max": "ReduceMax", "mean": "ReduceMean", "min": "ReduceMin", "prod": "ReduceProd", "sum": "ReduceSum"}
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
TRUTH = np.dtype(bool)
VERY_FIRST, VERY_LAST = -(2**62), 2**62  # ends of slices at the ends of an axis


class _Call:
    """One operation that is being written."""

    def __init__(self, graph: GraphWriter, layer: Any, values: list[Value], hint: str):
        self.graph, self.layer, self.values, self.hint = graph, layer, values, hint
        self.given: dict[str, Any] = layer.template(len(values))

    def refuse(self, why: str) -> FormatError:
        return FormatError(f"layer {self.layer.name!r} (ops.{self.layer.function}) cannot be written to ONNX: {why}")

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        return self.graph.add(operator, inputs, self.hint, **attributes)

    def integers(self, *numbers: int) -> str:
        return self.graph.constant(list(numbers))

    def floats(self, *words: str) -> list[Value]:
        """Operands as values of one type of floats: arrays and numbers as constants."""
        found = [self.given[word] for word in words]
        known = [self.values[leaf.index] for leaf in found if isinstance(leaf, Slot)]
        dtypes = {value.dtype for value in known}
        if len(dtypes) != 1 or not dtypes <= set(FLOATS):
            raise self.refuse(f"it takes numbers of the types {sorted(map(str, dtypes))}, not of one type of floats")
        (dtype,) = dtypes
        return [self._value(leaf, dtype) for leaf in found]

    def truths(self, *words: str) -> list[Value]:
        """Operands that are truth values."""
        found = [self._value(self.given[word], TRUTH) for word in words]
        if any(value.dtype != TRUTH for value in found):
            raise self.refuse("it takes numbers as truth values")
        return found

    def _value(self, leaf: Any, dtype: Any) -> Value:
        if isinstance(leaf, Slot):
            return self.values[leaf.index]
        array = np.asarray(leaf)
        if array.dtype.kind not in "biuf":
            raise self.refuse(f"a constant of the type {array.dtype}")
        return Value(self.graph.constant(array, dtype), array.ndim, np.dtype(dtype))

    def axis(self, word: str, rank: int) -> int:
        axis = self.given[word]
        if not isinstance(axis, (int, np.integer)) or not -rank <= axis < rank:
            raise self.refuse(f"{word}={axis!r} for {rank} axes")
        return int(axis) % rank

    def axes(self, word: str, rank: int) -> list[int]:
        given = self.given[word]
        if given is None:
            return list(range(rank))
        listed = given if isinstance(given, (tuple, list)) else [given]
        if any(not isinstance(axis, (int, np.integer)) or not -rank <= axis < rank for axis in listed):
            raise self.refuse(f"{word}={given!r} for {rank} axes")
        return sorted({int(axis) % rank for axis in listed})


def _unary(call: _Call) -> Value:
    (x,) = call.floats(call.layer.record.names[0])
    return Value(call.add(UNARY[call.layer.function], x.name), x.rank, x.dtype)


def _square(call: _Call) -> Value:
    (x,) = call.floats(call.layer.record.names[0])
    return Value(call.add("Mul", x.name, x.name), x.rank, x.dtype)


def _binary(call: _Call) -> Value:
    a, b = call.floats(*call.layer.record.names)
    return Value(call.add(BINARY[call.layer.function], a.name, b.name), max(a.rank, b.rank), a.dtype)


def _compared(call: _Call) -> Value:
    a, b = call.floats(*call.layer.record.names)
    y = call.add(COMPARISONS[call.layer.function], a.name, b.name)
    y = call.add("Not", y) if call.layer.function == "not_equal" else y
    return Value(y, max(a.rank, b.rank), TRUTH)


def _logic(call: _Call) -> Value:
    a, b = call.truths(*call.layer.record.names)
    return Value(call.add(LOGIC[call.layer.function], a.name, b.name), max(a.rank, b.rank), TRUTH)


def _not(call: _Call) -> Value:
    (x,) = call.truths(call.layer.record.names[0])
    return Value(call.add("Not", x.name), x.rank, TRUTH)


def _where(call: _Call) -> Value:
    condition, first, second = call.layer.record.names
    (truth,), (a, b) = call.truths(condition), call.floats(first, second)
    return Value(call.add("Where", truth.name, a.name, b.name), max(truth.rank, a.rank, b.rank), a.dtype)


def _reduced(call: _Call) -> Value:
    (x,) = call.floats("x")
    extra = [word for word in call.given if word not in ("x", "axis", "keepdims")]
    if any(call.given[word] is not None for word in extra):
        raise call.refuse(f"it has {', '.join(extra)}")
    axes, keep = call.axes("axis", x.rank), bool(call.given["keepdims"])
    y = call.add(REDUCE[call.layer.function], x.name, call.integers(*axes), keepdims=int(keep))
    return Value(y, x.rank if keep else x.rank - len(axes), x.dtype)


def _softmax(call: _Call) -> Value:
    (x,) = call.floats("x")
    operator = "Softmax" if call.layer.function == "softmax" else "LogSoftmax"
    return Value(call.add(operator, x.name, axis=call.axis("axis", x.rank)), x.rank, x.dtype)


def _matmul(call: _Call) -> Value:
    a, b = call.floats(*call.layer.record.names)
    if min(a.rank, b.rank) < 2:
        raise call.refuse("a product of vectors")
    return Value(call.add("MatMul", a.name, b.name), max(a.rank, b.rank), a.dtype)


def _listed(call: _Call, word: str) -> list[Value]:
    """The operands of a list, all of them values of one type."""
    leaves = call.given[word]
    if not all(isinstance(leaf, Slot) for leaf in leaves):
        raise call.refuse("it joins constants")
    values = [call.values[leaf.index] for leaf in leaves]
    if len({(value.dtype, value.rank) for value in values}) != 1:
        raise call.refuse("it joins values of several types")
    return values


def _concatenate(call: _Call) -> Value:
    values = _listed(call, "xs")
    axis = call.axis("axis", values[0].rank)
    return Value(call.add("Concat", *[v.name for v in values], axis=axis), values[0].rank, values[0].dtype)


def _stack(call: _Call) -> Value:
    values = _listed(call, "x")
    axis = call.axis("axis", values[0].rank + 1)
    parts = [call.add("Unsqueeze", value.name, call.integers(axis)) for value in values]
    return Value(call.add("Concat", *parts, axis=axis), values[0].rank + 1, values[0].dtype)


def _expand_dims(call: _Call) -> Value:
    x = _only(call)
    given = call.given["axis"]
    listed = list(given) if isinstance(given, (tuple, list)) else [given]
    rank = x.rank + len(listed)
    axes = sorted(int(axis) % rank for axis in listed)
    return Value(call.add("Unsqueeze", x.name, call.integers(*axes)), rank, x.dtype)


def _squeeze(call: _Call) -> Value:
    x = _only(call)
    if call.given["axis"] is None:
        raise call.refuse("which axes it drops depends on their sizes; give axis=")
    axes = call.axes("axis", x.rank)
    return Value(call.add("Squeeze", x.name, call.integers(*axes)), x.rank - len(axes), x.dtype)


def _transpose(call: _Call) -> Value:
    x = _only(call)
    axes = call.given["axes"]
    perm = list(range(x.rank))[::-1] if axes is None else [int(k) % x.rank for k in axes]
    return Value(call.add("Transpose", x.name, perm=perm), x.rank, x.dtype)


def _flip(call: _Call) -> Value:
    x = _only(call)
    axes = call.axes("axis", x.rank)
    ends = [[-1] * len(axes), [VERY_FIRST] * len(axes), axes, [-1] * len(axes)]
    return Value(call.add("Slice", x.name, *[call.integers(*part) for part in ends]), x.rank, x.dtype)


def _clip(call: _Call) -> Value:
    x, low, high = call.floats("x", "x_min", "x_max")
    if low.rank or high.rank:
        raise call.refuse("bounds that are no numbers")
    return Value(call.add("Clip", x.name, low.name, high.name), x.rank, x.dtype)


def _get_item(call: _Call) -> Value:
    """Numbers, slices, an ellipsis and new axes."""
    x = _only(call)
    key = call.given["key"]
    parts = list(key) if isinstance(key, tuple) else [key]
    taken = sum(part is not None and part is not Ellipsis for part in parts)
    if any(part is Ellipsis for part in parts):
        place = next(k for k, part in enumerate(parts) if part is Ellipsis)
        parts[place : place + 1] = [slice(None)] * (x.rank - taken)
    name, dropped, new, axis, at = x.name, [], [], 0, 0
    for part in parts:
        if part is None:
            new.append(at)
            at += 1
            continue
        if isinstance(part, slice) and all(n is None or isinstance(n, int) for n in (part.start, part.stop, part.step)):
            step = 1 if part.step is None else part.step
            start = (0 if step > 0 else VERY_LAST) if part.start is None else part.start
            stop = (VERY_LAST if step > 0 else VERY_FIRST) if part.stop is None else part.stop
            if part != slice(None):
                name = call.add("Slice", name, *[call.integers(n) for n in (start, stop, axis, step)])
            at += 1
        elif isinstance(part, (int, np.integer)) and not isinstance(part, bool):
            end = VERY_LAST if part == -1 else int(part) + 1
            name = call.add("Slice", name, *[call.integers(n) for n in (int(part), end, axis, 1)])
            dropped.append(axis)
        else:
            raise call.refuse(f"places {part!r}")
        axis += 1
    name = call.add("Squeeze", name, call.integers(*dropped)) if dropped else name
    name = call.add("Unsqueeze", name, call.integers(*new)) if new else name
    if name == x.name:
        name = call.add("Identity", name)
    return Value(name, x.rank - len(dropped) + len(new), x.dtype)


def _only(call: _Call) -> Value:
    """The single operand, of any type."""
    leaf = call.given[call.layer.record.names[0]]
    if not isinstance(leaf, Slot) or len(call.values) != 1:
        raise call.refuse("it takes other things than one value")
    return call.values[leaf.index]


WRITERS: dict[str, Callable[[_Call], Value]] = {
    **dict.fromkeys(UNARY, _unary), **dict.fromkeys(BINARY, _binary), **dict.fromkeys(COMPARISONS, _compared),
    **dict.fromkeys(LOGIC, _logic), **dict.fromkeys(REDUCE, _reduced), "square": _square, "logical_not": _not,
    "where": _where, "softmax": _softmax, "log_softmax": _softmax, "matmul": _matmul, "concatenate": _concatenate,
    "stack": _stack, "expand_dims": _expand_dims, "squeeze": _squeeze, "transpose": _transpose, "flip": _flip,
    "clip": _clip, "get_item": _get_item,
}  # fmt: skip


def write_operation(graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str) -> list[Value]:
    """The nodes of an operation; its result has no mask."""
    call = _Call(graph, layer, values, hint)
    writer = WRITERS.get(layer.function)
    if writer is None:
        raise call.refuse("there is no node for it")
    return [writer(call)]
