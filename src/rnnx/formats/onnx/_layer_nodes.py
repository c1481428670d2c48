"""Nodes of LSTM, GRU and RNN that are written in place of others, and the proof that they compute the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.formats.onnx._equations import Equations
from rnnx.formats.onnx._file import Source, subgraphs
from rnnx.formats.onnx._limits import LOADING, MEMORY
from rnnx.formats.onnx._program import Program
from rnnx.formats.onnx._steps import Step

CLOSE = 2e-5  # of the largest number: what rounding makes of two orders of the same sums
VERY_FIRST = -(2**31)  # the end of a slice backwards
Found = tuple[
    list[tuple[int, list[Any]]], dict[str, Array], set[int]
]  # nodes by the number of the one before which they
# stand, their constants, and the numbers of those that they replace


class Unproven(Exception):
    """It is not certain that a layer computes what the nodes do."""


class Writer:
    """Nodes and constants in place of others.

    Parameters
    ----------
    prefix : str
        No name of the file begins with it.
    size : int
        Bytes that weights may take in another order.
    """

    def __init__(self, prefix: str, size: int):
        self.prefix, self.count = prefix, 0
        self.nodes: list[Any] = []
        self.arrays: dict[str, Array] = {}
        self.left = LOADING  # nanoseconds for checks
        self.written = 0
        self.bytes = size
        self._known: dict[Any, tuple[Step, list[str]]] = {}  # weights, and the step that holds them

    def name(self) -> str:
        self.count += 1
        return f"{self.prefix}_{self.count}"

    def constant(self, value: Any, dtype: Any = np.int64) -> str:
        name = self.name()
        self.arrays[name] = np.asarray(value, dtype)
        return name

    def weights(self, step: Step) -> list[str]:
        """The names of W, R and B; steps with the same weights have the same."""
        key = step.key()
        if key not in self._known:
            size = sum(matrix.nbytes for gate in step.gates for matrix in gate.parts.values())
            self.bytes -= size
            if self.bytes < 0:
                raise Unproven
            self._known[key] = step, [self.constant(array[None], array.dtype) for array in step.weights()]
        return self._known[key][1]

    def used(self, nodes: Iterable[Any]) -> dict[str, Array]:
        """The constants of nodes by their names."""
        return {name: self.arrays[name] for node in nodes for name in node.input if name in self.arrays}

    def add(self, operator: str, inputs: Iterable[str], output: str | None = None, **attributes: Any) -> str:
        """Append a node of one output; its name."""
        return self.several(operator, inputs, [output or self.name()], **attributes)[0]

    def several(self, operator: str, inputs: Iterable[str], outputs: list[str], **attributes: Any) -> list[str]:
        from onnx import helper

        given = list(inputs)
        while given and not given[-1]:
            given.pop()
        self.nodes.append(helper.make_node(operator, given, outputs, name=self.name(), **attributes))
        return outputs

    def moved(self, operator: str, name: str, axes: list[int], opset: int, output: str | None = None) -> str:
        """Squeeze or Unsqueeze."""
        if opset < 13:
            return self.add(operator, [name], output, axes=axes)
        return self.add(operator, [name, self.constant(axes)], output)

    def part(self, name: str, start: int, end: int, axis: int, opset: int, step: int = 1) -> str:
        """A slice."""
        if opset < 10 and step == 1:
            return self.add("Slice", [name], starts=[start], ends=[end], axes=[axis])
        return self.add("Slice", [name, *(self.constant([n]) for n in (start, end, axis, step))])


def written(
    writer: Writer, step: Step, x: str, states: list[str], opset: int, *, reverse: bool, wanted: tuple[bool, ...]
) -> list[str]:
    """Append the node of a layer; the names of Y, without its axis of directions, and of the final states.

    Parameters
    ----------
    writer : Writer
    step : Step
    x : str
        Of shape (timesteps, batch, features).
    states : list of str
        h, and c of an LSTM, of shape (batch, units); empty for zeros.
    opset : int
    reverse : bool
        Whether the last timestep comes first.
    wanted : tuple of bool
        Which of Y, Y_h, Y_c.
    """
    names = writer.weights(step)
    begin = [writer.moved("Unsqueeze", name, [0], opset) if name else "" for name in states]
    attributes: dict[str, Any] = {"hidden_size": step.units}
    if reverse:
        attributes["direction"] = "reverse"
    if step.kind == "GRU":
        attributes["linear_before_reset"] = int(step.inner is not None)
    if not step.default_activations():
        attributes["activations"] = [name for name, _ in step.activations]
        pairs = [numbers for _, numbers in step.activations]
        for key, place in (("activation_alpha", 0), ("activation_beta", 1)):
            if numbers := [pair[place] for pair in pairs if len(pair) > place]:
                attributes[key] = numbers
    outputs = [writer.name() if there else "" for there in wanted]
    writer.several(step.kind, [x, *names, "", *begin], outputs, **attributes)
    found = []
    for k, name in enumerate(outputs):
        found.append(writer.moved("Squeeze", name, [0 if k else 1], opset) if name else "")
    return found


def read_by(node: Any) -> set[str]:
    """The values that a node reads, those that graphs inside it capture among them."""
    found = set(node.input)
    for inner in subgraphs(node):
        made = {value.name for value in inner.input} | {tensor.name for tensor in inner.initializer}
        own: set[str] = {value.name for value in inner.output}
        for part in inner.node:
            own |= read_by(part)
            made.update(part.output)
        found |= own - made
    return found - {""}


def put_nodes(
    graph: Any, nodes: list[Any], needed: set[str], may_go: Callable[[Any], bool] = lambda _: True
) -> set[str]:
    """Make nodes those of a graph, in their order, without those that may go and of which nothing reads a result.

    ``needed`` are the values that are read by other than nodes; all that are read come back.
    """
    needed, kept = set(needed), []
    for node in reversed(nodes):
        if may_go(node) and needed.isdisjoint(node.output):
            continue
        needed |= read_by(node)
        kept.append(node)
    copies = []
    for node in reversed(kept):
        copy = type(node)()
        copy.CopyFrom(node)
        copies.append(copy)
    del graph.node[:]
    graph.node.extend(copies)
    return needed


# ---- Proof by numbers ------------------------------------------------------------------------------------------------


def proven(
    source: Source,
    equations: Equations,
    writer: Writer,
    nodes: list[Any],
    arrays: dict[str, Array],
    feeds: dict[str, Array],
    outputs: list[str],
) -> None:
    """Run both ways on the same numbers.

    Parameters
    ----------
    source : Source
    equations : Equations
        Of the graph.
    writer : Writer
    nodes, arrays : list and dict
        What stands in place of the graph's own nodes.
    feeds : dict
        Values that both are given.
    outputs : list of str
        Values that both make.

    Raises
    ------
    Unproven
        If they differ, or a node takes other values than these.
    """  # fmt: skip
    before, constants = _needed_for(equations, outputs, set(feeds))
    source.meter.begin(MEMORY, writer.left, 0)
    results = []
    for inner, given in ((before, constants), (nodes, {**constants, **arrays})):
        constants_of = _Constants(given)
        graph = _graph(inner, given, feeds, outputs)
        results.append(Program(source, graph, base=constants_of).execute(*feeds.values()))
        writer.left = source.meter.left
    for a, b in zip(*results, strict=True):
        if a.shape != b.shape or a.dtype != b.dtype or not np.isfinite(a).all():
            raise Unproven
        if np.abs(a - b).max(initial=0) > CLOSE * max(1.0, float(np.abs(a).max(initial=0))):
            raise Unproven


def _needed_for(equations: Equations, outputs: list[str], given: set[str]) -> tuple[list[Any], dict[str, Array]]:
    """The nodes between some values and others, and the constants that they take."""
    waiting, seen = list(outputs), set(given)
    places: set[int] = set()
    constants: dict[str, Array] = {}
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        array = equations.array(name)
        if array is not None:
            constants[name] = array
            continue
        node = equations.makers.get(name)
        if node is None:
            raise Unproven(name)
        places.add(equations.places[name])
        waiting += read_by(node)
    return [equations.nodes[place] for place in sorted(places)], constants


class _Constants:
    """Constants as a program has them, so that they need not be written into a graph."""

    def __init__(self, arrays: dict[str, Array]):
        self.places = {name: place for place, name in enumerate(arrays, 1)}
        self.known = dict(enumerate(arrays.values(), 1))
        self.functions: dict[str, Any] = {}


def _graph(nodes: list[Any], arrays: dict[str, Array], feeds: dict[str, Array], outputs: list[str]) -> Any:
    from onnx import TensorProto, helper

    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in feeds.items()
    ]
    names = [TensorProto(name=name) for name in arrays]
    return helper.make_graph(nodes, "check", inputs, [helper.make_empty_tensor_value_info(n) for n in outputs], names)
