"""Recurrent layers that graphs spell out, in the ways of several exporters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.formats.onnx.graphs import Graph

FEATURES, UNITS = 3, 4
FLOAT, INT, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


class Cells:
    """Nodes of steps with weights of their own.

    Parameters
    ----------
    g : Graph
    features : int
    """

    def __init__(self, g: Graph, features: int = FEATURES, units: int = UNITS):
        self.g, self.features, self.units = g, features, units
        self.names: dict[str, str] = {}

    def weight(self, name: str, *shape: int) -> str:
        if name not in self.names:
            self.names[name] = self.g.weight(*shape)
        return self.names[name]

    def number(self, value: float) -> str:
        return self.g.const(value, np.float32)

    # ---- LSTM --------------------------------------------------------------------------------------------------------

    def lstm_beside(self, x: str, h: str, c: str, act: str = "Tanh") -> tuple[str, str]:
        """As TensorFlow has it: x and h side by side times one kernel, gates i c f o, a bias of the forget gate."""
        g, n = self.g, self.units
        both = g.add("Concat", x, h, axis=1)
        gates = g.add("MatMul", both, self.weight("k", self.features + n, 4 * n))
        gates = g.add("Add", gates, self.weight("b", 4 * n))
        i, j, f, o = g.add("Split", gates, outputs=4, axis=1)
        f = g.add("Sigmoid", g.add("Add", f, self.number(1.0)))
        new = g.add("Mul", g.add("Sigmoid", i), g.add(act, j))
        c = g.add("Add", g.add("Mul", c, f), new)
        return g.add("Mul", g.add(act, c), g.add("Sigmoid", o)), c

    def lstm_gemm(self, x: str, h: str, c: str) -> tuple[str, str]:
        """As PyTorch's LSTMCell: two Gemm, gates i f g o."""
        g, n = self.g, self.units
        a = g.add("Gemm", x, self.weight("w", 4 * n, self.features), self.weight("b", 4 * n), transB=1)
        b = g.add("Gemm", h, self.weight("r", 4 * n, n), self.weight("c", 4 * n), transB=1)
        i, f, j, o = g.add("Split", g.add("Add", a, b), outputs=4, axis=-1)
        new = g.add("Mul", g.add("Sigmoid", i), g.add("Tanh", j))
        c = g.add("Add", new, g.add("Mul", g.add("Sigmoid", f), c))
        return g.add("Mul", g.add("Sigmoid", o), g.add("Tanh", c)), c

    def lstm_apart(self, x: str, h: str, c: str) -> tuple[str, str]:
        """A product for every gate, and the hard sigmoid of Keras 2 by a bound line."""
        g, n = self.g, self.units

        def gate(name: str) -> str:
            a = g.add("MatMul", x, self.weight(f"w{name}", self.features, n))
            b = g.add("MatMul", h, self.weight(f"r{name}", n, n))
            return str(g.add("Add", g.add("Add", a, self.weight(f"b{name}", n)), b))

        def hard(y: str) -> str:
            line = g.add("Add", g.add("Mul", y, self.number(0.2)), self.number(0.5))
            return str(g.add("Clip", line, self.number(0.0), self.number(1.0)))

        i, f, o = hard(gate("i")), hard(gate("f")), hard(gate("o"))
        c = g.add("Add", g.add("Mul", f, c), g.add("Mul", i, g.add("Tanh", gate("g"))))
        return g.add("Mul", o, g.add("Tanh", c)), c

    # ---- GRU ---------------------------------------------------------------------------------------------------------

    def gru_after(self, x: str, h: str) -> str:
        """As PyTorch's GRUCell: gates r z n, ``(h - n) * z + n``."""
        g, n = self.g, self.units
        a = g.add("Gemm", x, self.weight("w", 3 * n, self.features), self.weight("b", 3 * n), transB=1)
        b = g.add("Gemm", h, self.weight("r", 3 * n, n), self.weight("c", 3 * n), transB=1)
        (ar, az, an), (br, bz, bn) = (g.add("Split", part, outputs=3, axis=1) for part in (a, b))
        r, z = g.add("Sigmoid", g.add("Add", ar, br)), g.add("Sigmoid", g.add("Add", az, bz))
        new = g.add("Tanh", g.add("Add", an, g.add("Mul", r, bn)))
        return str(g.add("Add", g.add("Mul", g.add("Sub", h, new), z), new))

    def gru_before(self, x: str, h: str) -> str:
        """The reset gate before the product, and an update gate that lets the new state in."""
        g, n = self.g, self.units
        gates = g.add("MatMul", g.add("Concat", x, h, axis=-1), self.weight("k", self.features + n, 2 * n))
        gates = g.add("Sigmoid", g.add("Add", gates, self.weight("b", 2 * n)))
        ends = [self.g.const([k]) for k in (0, n, 2 * n, 1)]
        r = g.add("Slice", gates, ends[0], ends[1], ends[3])
        u = g.add("Slice", gates, ends[1], ends[2], ends[3])
        both = g.add("Concat", x, g.add("Mul", r, h), axis=-1)
        new = g.add("Tanh", g.add("Add", g.add("MatMul", both, self.weight("n", self.features + n, n)),
                                  self.weight("m", n)))  # fmt: skip
        rest = g.add("Sub", self.number(1.0), u)
        return str(g.add("Add", g.add("Mul", u, new), g.add("Mul", rest, h)))

    def simple(self, x: str, h: str) -> str:
        g, n = self.g, self.units
        a = g.add("MatMul", x, self.weight("w", self.features, n))
        b = g.add("Add", g.add("MatMul", h, self.weight("r", n, n)), self.weight("b", n))
        return str(g.add("Relu", g.add("Add", a, b)))

    def step(self, way: str, x: str, states: list[str]) -> list[str]:
        found = getattr(self, way)(x, *states)
        return list(found) if isinstance(found, tuple) else [found]


WAYS = {  # how many states, and the operator
    "lstm_beside": (2, "LSTM"), "lstm_gemm": (2, "LSTM"), "lstm_apart": (2, "LSTM"),
    "gru_after": (1, "GRU"), "gru_before": (1, "GRU"), "simple": (1, "RNN"),
}  # fmt: skip


def value(name: str, kind: int, *shape: Any) -> Any:
    return helper.make_tensor_value_info(name, kind, list(shape))


def states_of(g: Graph, way: str) -> list[str]:
    """Initial states that are inputs."""
    names = ["h0", "c0"][: WAYS[way][0]]
    g.inputs += [value(name, FLOAT, "batch", UNITS) for name in names]
    return names


def one_step(way: str) -> Any:
    g = Graph({"x": ("batch", FEATURES)})
    ends = Cells(g).step(way, "x", states_of(g, way))
    return g.model(*[(name, 2) for name in ends])


def unrolled(
    way: str, *, steps: int = 5, batch_first: bool = True, backwards: bool = False, joined: bool = True
) -> Any:
    """Cells in a loop of Python."""
    g = Graph({"x": ("batch", steps, FEATURES) if batch_first else (steps, "batch", FEATURES)})
    cells, states, outputs = Cells(g), states_of(g, way), []
    for t in range(steps)[:: -1 if backwards else 1]:
        x = g.add("Gather", "x", g.const(t), axis=1 if batch_first else 0)
        states = cells.step(way, x, states)
        outputs.append(states[0])
    ends = [(name, 2) for name in states]
    if joined:
        axis = 1 if batch_first else 0
        y = g.add("Concat", *[g.add("Unsqueeze", h, g.const([axis])) for h in outputs], axis=axis)
        ends.insert(0, (g.add("Tanh", y), 3))
    return g.model(*ends)


def stacked(way: str, steps: int = 4) -> Any:
    """Two cells in one loop of Python."""
    g = Graph({"x": ("batch", steps, FEATURES)})
    first, second = Cells(g), Cells(g, UNITS)
    a, b = states_of(g, way), states_of(g, way)
    g.inputs[-len(b) :] = [value(f"{name}_2", FLOAT, "batch", UNITS) for name in b]
    b = [f"{name}_2" for name in b]
    for t in range(steps):
        a = first.step(way, g.add("Gather", "x", g.const(t), axis=1), a)
        b = second.step(way, a[0], b)
    return g.model((b[0], 2))


class Inner(Graph):
    """The nodes of a round; weights stand in the graph around it."""

    def __init__(self, outer: Graph):
        super().__init__({})
        self.outer = outer

    def const(self, value: Any, dtype: Any = np.int64) -> str:
        return self.outer.const(value, dtype)

    def add(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"in{len(self.nodes)}_{k}" for k in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, names, **attributes))
        return names[0] if outputs == 1 else names

    def weight(self, *shape: int) -> str:
        return self.outer.weight(*shape)


def looped(way: str, *, counted: str = "rounds", batch_first: bool = True, listed: bool = False, off: int = 0) -> Any:
    """A Loop over all steps of x.

    Parameters
    ----------
    counted : {"rounds", "condition"}
        Whether ONNX counts the rounds, as PyTorch writes it, or the graph, as tf2onnx does.
    listed : bool
        Whether the outputs are put into a list.
    off : int
        How many rounds more there are than steps.
    """
    g = Graph({"x": ("batch", "time", FEATURES) if batch_first else ("time", "batch", FEATURES)})
    axis = 1 if batch_first else 0
    many = g.add("Gather", g.add("Shape", "x"), g.const(axis), axis=0)
    if off:
        many = g.add("Add", many, g.const(off))
    starts = states_of(g, way)
    inner = Inner(g)
    names = ["h", "c"][: len(starts)]
    by_condition = counted == "condition"
    index = "k" if by_condition else "round"
    x = inner.add("Gather", "x", index, axis=axis)
    ends = Cells(inner).step(way, x, names)
    carried = [value(name, FLOAT, None, UNITS) for name in names]
    after = list(ends)
    made = [value(name, FLOAT, None, UNITS) for name in ends]
    if by_condition:
        more = inner.add("Add", "k", inner.const(1))
        goes_on = inner.add("Less", inner.add("Cast", more, to=FLOAT), inner.add("Cast", "limit", to=FLOAT))
        carried += [value("k", INT), value("limit", INT)]
        after += [more, "limit"]
        made += [value(more, INT), value("limit", INT)]
        starts = [*starts, g.const(0), many]
        first = g.add("Less", g.const(0.0, np.float32), g.add("Cast", many, to=FLOAT))
        control = ["", first]
    else:
        goes_on = inner.add("Identity", "go")
        control = [many, g.const(True, np.bool_)]
    if listed:
        carried.append(helper.make_tensor_sequence_value_info("list", FLOAT, None))
        after.append(inner.add("SequenceInsert", "list", ends[0]))
        made.append(helper.make_tensor_sequence_value_info(after[-1], FLOAT, None))
        starts = [*starts, g.add("SequenceEmpty")]
    scans = [] if listed else [inner.add("Identity", ends[0])]
    body = helper.make_graph(
        inner.nodes, "body", [value("round", INT), value("go", BOOL), *carried],
        [value(goes_on, BOOL), *made, *[value(name, FLOAT, None, UNITS) for name in scans]],
    )  # fmt: skip
    found = g.add("Loop", *control, *starts, outputs=len(after) + len(scans), body=body)
    whole = g.add("ConcatFromSequence", found[-1], axis=axis, new_axis=1) if listed else found[-1]
    if not listed and batch_first:
        whole = g.add("Transpose", whole, perm=[1, 0, 2])
    return g.model((whole, 3), *[(name, 2) for name in found[: WAYS[way][0]]])


def scanned(way: str, *, backwards: bool = False, turned: bool = False) -> Any:
    g = Graph({"x": ("time", "batch", FEATURES)})
    starts = states_of(g, way)
    inner, names = Inner(g), ["h", "c"][: len(starts)]
    ends = Cells(inner).step(way, "step", names)
    body = helper.make_graph(
        [*inner.nodes, helper.make_node("Identity", [ends[0]], ["y"])], "body",
        [*[value(name, FLOAT, None, UNITS) for name in names], value("step", FLOAT, None, FEATURES)],
        [*[value(name, FLOAT, None, UNITS) for name in ends], value("y", FLOAT, None, UNITS)],
    )  # fmt: skip
    found = g.add(
        "Scan", *starts, "x", outputs=len(ends) + 1, body=body, num_scan_inputs=1,
        scan_input_directions=[int(backwards)], scan_output_directions=[int(turned)],
    )  # fmt: skip
    return g.model((found[-1], 3), *[(name, 2) for name in found[:-1]])


def chosen(way: str) -> Any:
    """A cell in both branches of an If."""
    g = Graph({"x": ("batch", FEATURES), "s": (1,)})
    states = states_of(g, way)
    branches = []
    for _ in range(2):
        inner = Inner(g)
        ends = Cells(inner).step(way, "x", states)
        shift = len(branches)
        for node in inner.nodes:
            node.input[:] = [f"b{shift}{n}" if n.startswith("in") else n for n in node.input]
            node.output[:] = [f"b{shift}{n}" for n in node.output]
        branches.append(helper.make_graph(inner.nodes, "branch", [], [value(f"b{shift}{ends[0]}", FLOAT, None, UNITS)]))
    go = g.add("Greater", g.add("ReduceSum", "s", keepdims=0), g.const(0.0, np.float32))
    return g.model((g.add("If", go, then_branch=branches[0], else_branch=branches[1]), 2))


SPELLED: dict[str, Callable[[], Any]] = {
    **{f"{way}, one step": lambda way=way: one_step(way) for way in WAYS if way != "simple"},
    **{f"{way}, unrolled": lambda way=way: unrolled(way) for way in WAYS},
    **{f"{way}, loop": lambda way=way: looped(way) for way in WAYS},
    **{f"{way}, scan": lambda way=way: scanned(way) for way in WAYS},
    "unrolled, time first": lambda: unrolled("lstm_gemm", batch_first=False),
    "unrolled, backwards": lambda: unrolled("gru_after", backwards=True),
    "unrolled, last only": lambda: unrolled("lstm_gemm", joined=False),
    "stacked": lambda: stacked("lstm_gemm"), "stacked GRU": lambda: stacked("gru_after"),
    "loop with a condition": lambda: looped("gru_before", counted="condition"),
    "loop with a condition, time first": lambda: looped("lstm_gemm", counted="condition", batch_first=False),
    "loop with a list": lambda: looped("lstm_gemm", listed=True),
    "loop with a list, time first": lambda: looped("gru_after", listed=True, batch_first=False),
    "scan backwards": lambda: scanned("gru_after", backwards=True),
    "scan backwards and turned": lambda: scanned("lstm_gemm", backwards=True, turned=True),
    "branches": lambda: chosen("lstm_gemm"),
}  # fmt: skip


def feeds_of(proto: Any, batch: int = 2, steps: int = 5) -> dict[str, Any]:
    """Numbers for the inputs."""
    random, sizes = np.random.default_rng(5), {"batch": batch, "time": steps}
    feeds = {}
    for one in proto.graph.input:
        shape = [sizes.get(dim.dim_param, dim.dim_value) for dim in one.type.tensor_type.shape.dim]
        feeds[one.name] = random.normal(size=shape).astype(np.float32)
    return feeds


def with_weights(proto: Any, change: Callable[[str, Any], Any]) -> Any:
    """The same graph with other constants."""
    for tensor in proto.graph.initializer:
        array = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(change(tensor.name, array), tensor.name))
    return proto
