"""What the writers of layers share: their type, values with the mask of another one, and activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rnnx.formats.onnx._activations import node_of_activation
from rnnx.formats.onnx._graph import GraphWriter, Value
from rnnx.saving import FormatError

Writer = Callable[[GraphWriter, Any, list[Value], list[Value], str], list[Value]]


def activation(graph: GraphWriter, name: str, layer: Any, x: str, hint: str) -> str:
    """An activation of rnnx as nodes."""
    if name == "linear":
        return x
    if name == "silu":
        return graph.add("Mul", [x, graph.add("Sigmoid", [x], hint)], hint)
    if name == "relu6":
        return graph.add("Clip", [x, graph.constant(0, layer.dtype), graph.constant(6, layer.dtype)], hint)
    known = node_of_activation(name)
    if known is None:
        raise FormatError(f"layer {layer.name!r}: activation {name!r} cannot be written to ONNX")
    last = {"axis": -1} if name in ("softmax", "log_softmax") else {}
    return graph.add(known.operator, [x], hint, **known.numbers, **last)


def same(value: Value, name: str) -> list[Value]:
    """A value of the shape, dtype and mask of another one."""
    return [Value(name, value.rank, value.dtype, value.mask, value.mask_rank)]
