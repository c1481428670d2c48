"""Attention layers as ONNX nodes, with masked scores as Keras has them: lowered by, or set to, a large number."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rnnx import layers
from rnnx.formats.onnx._graph import GraphWriter, Value
from rnnx.layers.attention import LEFT_OUT
from rnnx.layers.multi_head_attention import MASKED

Call = Mapping[str, Any]
CALL_WORDS = frozenset({"training", "use_causal_mask", "return_attention_scores"})  # that are written


def _apart(graph: GraphWriter, query: str, value: str, hint: str) -> tuple[str, str]:
    """The places of steps of the query as a column, and of the value as a row."""
    found = []
    for name, axis in ((query, 1), (value, 0)):
        steps = graph.add("Gather", [graph.add("Shape", [name], hint), graph.constant(1)], hint)
        places = graph.add("Range", [graph.constant(0), steps, graph.constant(1)], hint)
        found.append(graph.add("Unsqueeze", [places, graph.constant([axis])], hint))
    return found[0], found[1]


def _together(graph: GraphWriter, parts: Sequence[str], hint: str) -> str | None:
    """Where all of these hold; None if there are none."""
    seen: str | None = None
    for part in parts:
        seen = part if seen is None else graph.add("And", [seen, part], hint)
    return seen


def _unsqueezed(graph: GraphWriter, name: str, axes: Sequence[int], hint: str) -> str:
    return graph.add("Unsqueeze", [name, graph.constant(list(axes))], hint)


def _results(values: list[Value], y: str, weights: str, rank: int, call: Call) -> list[Value]:
    query = values[0]
    made = [Value(y, 3, query.dtype, query.mask, query.mask_rank)]
    return [*made, Value(weights, rank, query.dtype)] if call.get("return_attention_scores") else made


# ---- Attention and AdditiveAttention ---------------------------------------------------------------------------------


def _joined(graph: GraphWriter, query: str, key: str, hint: str) -> str:
    """The sum of each query and each key."""
    return graph.add("Add", [_unsqueezed(graph, query, [2], hint), _unsqueezed(graph, key, [1], hint)], hint)


def _summed(graph: GraphWriter, x: str, hint: str) -> str:
    return graph.add("ReduceSum", [x, graph.constant([-1])], hint, keepdims=0)


def _scores(graph: GraphWriter, layer: Any, query: str, key: str, hint: str) -> str:
    own = {w.name.rpartition("/")[2]: graph.own(f"{layer.name}/{w.name}", w) for w in layer.weights}
    if isinstance(layer, layers.AdditiveAttention):
        bent = graph.add("Tanh", [_joined(graph, query, key, hint)], hint)
        return _summed(graph, graph.add("Mul", [bent, own["scale"]], hint) if own else bent, hint)
    if layer.score_mode == "dot":
        raw = graph.add("MatMul", [query, graph.add("Transpose", [key], hint, perm=[0, 2, 1])], hint)
        return graph.add("Mul", [raw, own["scale"]], hint) if layer.use_scale else raw
    joined = _joined(graph, query, key, hint)
    bent = graph.add("Tanh", [graph.add("Mul", [joined, own["scale"]], hint) if layer.use_scale else joined], hint)
    return graph.add("Mul", [_summed(graph, bent, hint), own["concat_score_weight"]], hint)


def _attention(graph: GraphWriter, layer: Any, values: list[Value], call: Call, hint: str) -> list[Value]:
    query, value, key = values[0], values[1], values[-1]
    scores = _scores(graph, layer, query.name, key.name, hint)
    parts = [] if value.mask is None else [_unsqueezed(graph, value.mask, [1], hint)]
    if call.get("use_causal_mask"):
        parts.append(graph.add("GreaterOrEqual", _apart(graph, query.name, value.name, hint), hint))
    if seen := _together(graph, parts, hint):
        lowered = graph.add("Sub", [scores, graph.constant(LEFT_OUT, layer.dtype)], hint)
        scores = graph.add("Where", [seen, scores, lowered], hint)
    weights = graph.add("Softmax", [scores], hint, axis=-1)
    y = graph.add("MatMul", [weights, value.name], hint)
    if query.mask is not None:
        used = _unsqueezed(graph, query.mask, [-1], hint)
        y = graph.add("Where", [used, y, graph.constant(0, layer.dtype)], hint)
    return _results(values, y, weights, 3, call)


# ---- MultiHeadAttention ----------------------------------------------------------------------------------------------


def _projected(graph: GraphWriter, layer: Any, name: str, x: str, hint: str) -> str:
    """A projection of the features to those of all heads, side by side, or of these to those of the output."""
    dense = layer.projections[name]
    kernel, *bias = dense.weights
    first = kernel.shape[:2] if name == "output_dense" else kernel.shape[:1]
    sizes = (math.prod(first), math.prod(kernel.shape[len(first) :]))
    y = graph.add("MatMul", [x, graph.own(f"{layer.name}/{dense.name}/kernel", kernel, sizes)], hint)
    if bias:
        y = graph.add("Add", [y, graph.own(f"{layer.name}/{dense.name}/bias", bias[0], (sizes[1],))], hint)
    return graph.add("Sigmoid", [y], hint) if name == "gate_dense" else y


def _shown_to(graph: GraphWriter, layer: Any, values: list[Value], call: Call, hint: str) -> str | None:
    """Which values each query sees, as it broadcasts to (batch, heads, query steps, value steps); None for all."""
    from onnx import TensorProto

    query, value = values[0], values[1]
    parts = [] if query.mask is None else [_unsqueezed(graph, query.mask, [1, 3], hint)]
    known = [value, *values[2:]] if len(values) < 4 else [value]
    parts += [_unsqueezed(graph, own.mask, [1, 2], hint) for own in known if own.mask is not None]
    if call.get("use_causal_mask") or layer.sliding_window is not None:
        places = _apart(graph, query.name, value.name, hint)
        if call.get("use_causal_mask"):
            parts.append(graph.add("GreaterOrEqual", places, hint))
        if layer.sliding_window is not None:
            apart = graph.add("Abs", [graph.add("Sub", places, hint)], hint)
            parts.append(graph.add("Less", [apart, graph.constant(layer.sliding_window)], hint))
    if len(values) == 4:
        shown = graph.add("Cast", [values[3].name], hint, to=TensorProto.BOOL)
        parts.append(_unsqueezed(graph, shown, [1], hint) if values[3].rank == 3 else shown)
    return _together(graph, parts, hint)


def _multi_head(graph: GraphWriter, layer: Any, values: list[Value], call: Call, hint: str) -> list[Value]:
    query, value, key = values[0], values[1], values[min(2, len(values) - 1)]
    key = value if len(values) == 2 else key
    given = {"query_dense": query, "key_dense": key, "gate_dense": query, "value_dense": value}
    heads: dict[str, str] = {}
    for name, x in given.items():
        if name in layer.projections:
            size = layer.key_dim if name in ("query_dense", "key_dense") else layer.value_dim
            y = _projected(graph, layer, name, x.name, hint)
            y = graph.add("Reshape", [y, graph.constant([0, 0, layer.num_heads, size])], hint)
            order = [0, 2, 3, 1] if name == "key_dense" else [0, 2, 1, 3]
            heads[name] = graph.add("Transpose", [y], hint, perm=order)
    scale = graph.constant(1 / math.sqrt(layer.key_dim), layer.dtype)
    scores = graph.add("MatMul", [graph.add("Mul", [heads["query_dense"], scale], hint), heads["key_dense"]], hint)
    seen = _shown_to(graph, layer, values, call, hint)
    if seen is not None:
        scores = graph.add("Where", [seen, scores, graph.constant(MASKED, layer.dtype)], hint)
    weights = graph.add("Softmax", [scores], hint, axis=-1)
    if seen is not None:
        weights = graph.add("Where", [seen, weights, graph.constant(0, layer.dtype)], hint)
    mixed = graph.add("MatMul", [weights, heads["value_dense"]], hint)
    if "gate_dense" in heads:
        mixed = graph.add("Mul", [mixed, heads["gate_dense"]], hint)
    mixed = graph.add("Transpose", [mixed], hint, perm=[0, 2, 1, 3])
    mixed = graph.add("Reshape", [mixed, graph.constant([0, 0, layer.num_heads * layer.value_dim])], hint)
    return _results(values, _projected(graph, layer, "output_dense", mixed, hint), weights, 4, call)


WRITERS: dict[type, Callable[[GraphWriter, Any, list[Value], Call, str], list[Value]]] = {
    layers.AdditiveAttention: _attention,
    layers.Attention: _attention,
    layers.MultiHeadAttention: _multi_head,
}
