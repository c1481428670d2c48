"""Graphs of other programs with branches, states and several inputs and outputs, made by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import helper, numpy_helper

from rnnx.formats.onnx._recurrent import GATES

FEATURES, HIDDEN = 3, 4


class Graph:
    """A graph with random weights.

    Parameters
    ----------
    inputs : dict
        Shapes by their names; names of sizes for those that may be any.
    """

    def __init__(self, inputs: dict[str, Any], opset: int = 17):
        self.nodes: list[Any] = []
        self.arrays: dict[str, Any] = {}
        self.random, self.opset = np.random.default_rng(3), opset
        self.inputs = [helper.make_tensor_value_info(name, 1, list(shape)) for name, shape in inputs.items()]

    def const(self, value: Any, dtype: Any = np.int64) -> str:
        name = f"k{len(self.arrays)}"
        self.arrays[name] = np.asarray(value, dtype)
        return name

    def weight(self, *shape: int) -> str:
        return self.const(self.random.normal(0, 0.5, shape), np.float32)

    def add(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"v{len(self.nodes)}_{k}" for k in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, names, name=f"n{len(self.nodes)}", **attributes))
        return names[0] if outputs == 1 else names

    def recurrent(self, kind: str, x: str, features: int, *states: str, **attributes: Any) -> Any:
        many = 2 if attributes.get("direction") == "bidirectional" else 1
        rows = GATES[kind] * HIDDEN
        weights = [self.weight(many, rows, features), self.weight(many, rows, HIDDEN), self.weight(many, 2 * rows)]
        count = 3 if kind == "LSTM" else 2
        return self.add(kind, x, *weights, "", *states, outputs=count, hidden_size=HIDDEN, **attributes)

    def squeezed(self, x: str, axis: int) -> Any:
        return self.add("Squeeze", x, self.const([axis]))

    def model(self, *outputs: tuple[str, int]) -> Any:
        ends = [helper.make_tensor_value_info(name, 1, [None] * rank) for name, rank in outputs]
        arrays = [numpy_helper.from_array(array, name) for name, array in self.arrays.items()]
        graph = helper.make_graph(self.nodes, "graph", self.inputs, ends, arrays)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)


def _skip() -> Any:
    """A product beside a GRU, summed; time first."""
    g = Graph({"x": ("time", "batch", FEATURES)})
    y = g.squeezed(g.recurrent("GRU", "x", FEATURES)[0], 1)
    return g.model((g.add("Add", y, g.add("MatMul", "x", g.weight(FEATURES, HIDDEN))), 3))


def _all_outputs() -> Any:
    g = Graph({"x": ("time", "batch", FEATURES)})
    y, h, c = g.recurrent("LSTM", "x", FEATURES)
    return g.model((g.squeezed(y, 1), 3), (g.squeezed(h, 0), 2), (g.squeezed(c, 0), 2))


def _states() -> Any:
    """As torch exports ``nn.LSTM(batch_first=True)`` called with its states."""
    g = Graph({"x": ("batch", "time", FEATURES), "h0": (1, "batch", HIDDEN), "c0": (1, "batch", HIDDEN)})
    y, h, c = g.recurrent("LSTM", g.add("Transpose", "x", perm=[1, 0, 2]), FEATURES, "h0", "c0")
    return g.model((g.add("Transpose", g.squeezed(y, 1), perm=[1, 0, 2]), 3), (h, 3), (c, 3))


def _two_layers_with_states() -> Any:
    """Final states of two layers as one array."""
    g = Graph({"x": ("batch", "time", FEATURES)})
    y, h, _ = g.recurrent("LSTM", g.add("Transpose", "x", perm=[1, 0, 2]), FEATURES)
    y, h2, _ = g.recurrent("LSTM", g.squeezed(y, 1), HIDDEN)
    return g.model((g.add("Transpose", g.squeezed(y, 1), perm=[1, 0, 2]), 3), (g.add("Concat", h, h2, axis=0), 3))


def _frame() -> Any:
    """One step, with the state of the last one."""
    g = Graph({"x": ("batch", FEATURES), "h": ("batch", HIDDEN)})
    h = g.recurrent("GRU", g.add("Unsqueeze", "x", g.const([0])), FEATURES, g.add("Unsqueeze", "h", g.const([0])))[1]
    h = g.squeezed(h, 0)
    return g.model((g.add("Sigmoid", g.add("Gemm", h, g.weight(1, HIDDEN), transB=1)), 2), (h, 2))


def _both_ways(*, joined: bool, apart: bool) -> Any:
    g = Graph({"x": ("time", "batch", FEATURES)})
    y = g.recurrent("LSTM", "x", FEATURES, direction="bidirectional")[0]
    ends = []
    if joined:
        ends.append((g.add("Reshape", g.add("Transpose", y, perm=[0, 2, 1, 3]), g.const([0, 0, -1])), 3))
    if apart:
        ends += [(g.add("Tanh", g.add("Gather", y, g.const(k), axis=1)), 3) for k in (1, 0)]
    return g.model(*ends)


def _both_states() -> Any:
    """Final states of both directions beside the outputs side by side."""
    g = Graph({"x": ("time", "batch", FEATURES)})
    y, h = g.recurrent("GRU", "x", FEATURES, direction="bidirectional")
    y = g.add("Reshape", g.add("Transpose", y, perm=[0, 2, 1, 3]), g.const([0, 0, -1]))
    h = g.add("Reshape", g.add("Transpose", h, perm=[1, 0, 2]), g.const([0, -1]))
    return g.model((y, 3), (h, 2))


def _both_with_states() -> Any:
    """Four initial states, all different, of both directions."""
    g = Graph({"x": ("time", "batch", FEATURES), **{name: (1, "batch", HIDDEN) for name in ("hf", "hb", "cf", "cb")}})
    states = g.add("Concat", "hf", "hb", axis=0), g.add("Concat", "cf", "cb", axis=0)
    y, h, c = g.recurrent("LSTM", "x", FEATURES, *states, direction="bidirectional")
    y = g.add("Reshape", g.add("Transpose", y, perm=[0, 2, 1, 3]), g.const([0, 0, -1]))
    y = g.squeezed(g.add("Reshape", y, g.const([0, 0, 1, 2 * HIDDEN])), 2)
    return g.model((y, 3), (h, 3), (g.add("Gather", c, g.const(1), axis=0), 2))


def _arithmetic() -> Any:
    g = Graph({"x": ("batch", "time", FEATURES), "z": ("batch", "time", FEATURES)})
    a, b = g.add("Tanh", "x"), g.add("Softplus", "z")
    found = [g.add(name, a, b) for name in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean")]
    found.append(g.add("Mean", a, b, "x"))
    found.append(g.add("Sub", g.const(1, np.float32), a))
    found.append(g.add("Div", b, g.const([2.5], np.float32)))
    found.append(g.add("Clip", a, g.const(-0.25, np.float32), g.const(0.5, np.float32)))
    found.append(g.add("Clip", a, "", g.const(0.5, np.float32)))
    y = g.add("Concat", *found, axis=-1)
    both = g.add("Transpose", g.add("Concat", a, y, axis=2), perm=[1, 0, 2])
    h = g.recurrent("RNN", both, (len(found) + 1) * FEATURES)[1]
    return g.model((y, 3), (g.squeezed(h, 0), 2))


def _shared() -> Any:
    """The same weights at two places."""
    g = Graph({"x": ("time", "batch", HIDDEN)})
    y = g.squeezed(g.recurrent("LSTM", "x", HIDDEN)[0], 1)
    y = g.add("LSTM", y, *g.nodes[0].input[1:4], outputs=3, hidden_size=HIDDEN)[0]
    return g.model((g.squeezed(y, 1), 3))


def _convolutions() -> Any:
    """Channels before steps, as PyTorch has them, with normalization and pooling, then a GRU."""
    g = Graph({"x": ("batch", FEATURES, "time")})
    y = g.add("Conv", "x", g.weight(6, FEATURES, 3), g.weight(6), kernel_shape=[3], pads=[1, 1])
    positive = g.const(np.abs(g.random.normal(size=6)) + 0.5, np.float32)
    y = g.add("BatchNormalization", y, g.weight(6), g.weight(6), g.weight(6), positive, epsilon=1e-4)
    y = g.add("MaxPool", g.add("Relu", y), kernel_shape=[2], strides=[2])
    h = g.squeezed(g.recurrent("GRU", g.add("Transpose", y, perm=[2, 0, 1]), 6)[1], 0)
    return g.model((g.add("Flatten", g.add("GlobalAveragePool", y)), 2), (h, 2))


def _reads_backwards() -> Any:
    """A recurrent node of the other direction, whose outputs are turned around again, and a last step."""
    g = Graph({"x": ("time", "batch", FEATURES)})
    y = g.squeezed(g.recurrent("GRU", "x", FEATURES, direction="reverse")[0], 1)
    back = g.add("Slice", y, g.const([-1]), g.const([-(2**63)]), g.const([0]), g.const([-1]))
    again = g.squeezed(g.recurrent("RNN", y, HIDDEN)[1], 0)
    return g.model((back, 3), (g.add("Gather", y, g.const(0), axis=0), 2), (again, 2))


def _log_softmax() -> Any:
    """As PyTorch exports ``log_softmax`` of a tagger and of the axis of steps behind it."""
    g = Graph({"x": ("batch", "time", FEATURES)})
    y = g.squeezed(g.recurrent("GRU", g.add("Transpose", "x", perm=[1, 0, 2]), FEATURES)[0], 1)
    y = g.add("MatMul", g.add("Transpose", y, perm=[1, 0, 2]), g.weight(HIDDEN, 2))
    return g.model((g.add("LogSoftmax", g.add("Add", y, g.weight(2)), axis=-1), 3))


def _pooled_and_squeezed() -> Any:
    """As PyTorch exports ``adaptive_max_pool1d(y.transpose(1, 2), 1).squeeze(2)``."""
    g = Graph({"x": ("batch", "time", FEATURES)})
    y = g.squeezed(g.recurrent("GRU", g.add("Transpose", "x", perm=[1, 0, 2]), FEATURES)[0], 1)
    y = g.squeezed(g.add("GlobalMaxPool", g.add("Transpose", y, perm=[1, 2, 0])), 2)
    return g.model((g.add("Gemm", y, g.weight(HIDDEN, 2), g.weight(2)), 2))


GRAPHS: dict[str, Callable[[], Any]] = {
    "skip": _skip,
    "all_outputs": _all_outputs,
    "states": _states,
    "two_layers_with_states": _two_layers_with_states,
    "frame": _frame,
    "both_joined": lambda: _both_ways(joined=True, apart=False),
    "both_apart": lambda: _both_ways(joined=False, apart=True),
    "both_joined_and_apart": lambda: _both_ways(joined=True, apart=True),
    "both_states": _both_states,
    "both_with_states": _both_with_states,
    "arithmetic": _arithmetic,
    "shared": _shared,
    "convolutions": _convolutions,
    "reads_backwards": _reads_backwards,
    "log_softmax": _log_softmax,
    "pooled_and_squeezed": _pooled_and_squeezed,
}
SIZES = {"batch": 2, "time": 6}


def feeds_of(proto: Any) -> dict[str, Any]:
    """Random arrays for a graph."""
    random = np.random.default_rng(1)
    found = {}
    for value in proto.graph.input:
        tensor = value.type.tensor_type
        shape = [dim.dim_value or SIZES.get(dim.dim_param, SIZES["time"]) for dim in tensor.shape.dim]
        found[value.name] = random.normal(size=shape).astype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    return found
