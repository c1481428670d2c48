"""Recurrent layers that a graph spells out, as nodes of LSTM, GRU and RNN: loops, and steps one behind the other.

They are found by their equations (`_steps`), and what is written in their place is run beside the nodes of the graph on
random numbers: only where both agree it is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.formats.onnx._chains import chains
from rnnx.formats.onnx._equations import Equations
from rnnx.formats.onnx._file import Source, attributes_of, subgraphs, walk
from rnnx.formats.onnx._layer_nodes import VERY_FIRST, Found, Unproven, Writer, put_nodes
from rnnx.formats.onnx._limits import LOADING, MEMORY
from rnnx.formats.onnx._loops import loop
from rnnx.formats.onnx._read_equations import FAILURES, equations_of

PREFIX = "recurrence"
MOST_PASSES = 16  # loops that take what others make
MOST_WEIGHTS = 2**24  # bytes, and twice the file
MOST_WRITTEN = 100  # layers in place of others: each is run once
MOST_NODES = 8_000  # of a file in which they are sought
CONTROL = ("If", "Loop", "Scan")
STEPS_OF = frozenset({"Sigmoid", "HardSigmoid", "Tanh", "Relu", "Clip", "Max", "Min", "Softsign", "Elu"})


def written_as_layers(source: Source) -> None:
    """Put nodes of LSTM, GRU and RNN in place of loops and chains of nodes that compute the same.

    The graph of the source changes; what is not certain stays as it is.
    """
    if source.recurrences_sought:
        return
    source.recurrences_sought = True
    graph = source.proto.graph
    if sum(len(inner.node) for inner, _ in walk(graph)) > MOST_NODES:
        return
    kinds = {node.op_type for inner, _ in walk(graph) for node in inner.node}
    if not kinds & {"Loop", "ReverseSequence", "Scan"} and not (kinds & {"MatMul", "Gemm"} and kinds & STEPS_OF):
        return
    prefix = PREFIX
    names = {name for inner, _ in walk(graph) for node in inner.node for name in (*node.output, node.name)}
    names |= {value.name for inner, _ in walk(graph) for value in (*inner.input, *inner.initializer)}
    while any(name.startswith(prefix) for name in names):
        prefix += "_"
    writer = Writer(prefix, MOST_WEIGHTS + 2 * source.size)
    loading = source.loading
    try:
        _rewrite(source, graph, writer, None)
    except (RecursionError, *FAILURES):
        return
    finally:
        source.loading = loading
        source.meter.begin(MEMORY, LOADING, 0)


def _rewrite(source: Source, graph: Any, writer: Writer, outer: Equations | None) -> None:
    """Rewrite a graph and those inside it."""
    for _ in range(MOST_PASSES):  # what a layer makes is known better than what a loop makes
        equations = equations_of(source, graph, outer)
        found = _Found(equations, writer)
        for place, node in enumerate(equations.nodes):
            if node.op_type in ("Loop", "Scan"):
                found.try_(partial(loop, source, equations, writer, place))
            elif node.op_type == "ReverseSequence":
                found.try_(partial(_flip, source, equations, writer, place))
        if not found.instead:
            break
        found.replace(graph)
    else:
        equations = equations_of(source, graph, outer)
    found = _Found(equations, writer)
    for make in chains(source, equations, writer):
        found.try_(make)
    if found.instead:
        found.replace(graph)
    for node in graph.node:
        if node.op_type in CONTROL:
            for inner in subgraphs(node):
                _rewrite(source, inner, writer, equations)


class _Found:
    """What stands in place of nodes of a graph."""

    def __init__(self, equations: Equations, writer: Writer):
        self.equations, self.writer = equations, writer
        self.instead: dict[int, list[Any]] = {}  # nodes, by the number of the one before which they stand
        self.gone: set[int] = set()
        self.arrays: dict[str, Array] = {}

    def try_(self, make: Callable[[], Found]) -> None:
        """Take what is made, unless it is not certain."""
        if self.writer.written >= MOST_WRITTEN:
            return
        try:
            places, arrays, gone = make()
        except (Unproven, *FAILURES):
            return
        for place, nodes in places:
            self.instead.setdefault(place, []).extend(nodes)
        self.arrays.update(arrays)
        self.gone.update(gone)
        self.writer.written += 1

    def replace(self, graph: Any) -> None:
        """Give the graph these nodes, and drop those that nobody needs any more."""
        from onnx import helper, numpy_helper

        nodes = []
        for place, node in enumerate(self.equations.nodes):
            nodes += self.instead.get(place, [])
            name = node.output[0] if node.output else ""
            if name in self.equations.same:
                nodes.append(helper.make_node("Identity", [self.equations.same[name]], [name], name=node.name))
            elif place not in self.gone:
                nodes.append(node)
        needed = put_nodes(graph, nodes, {value.name for value in (*graph.output, *graph.input)})
        for place in reversed(range(len(graph.initializer))):
            if graph.initializer[place].name not in needed:
                del graph.initializer[place]
        for name, array in self.arrays.items():
            graph.initializer.append(numpy_helper.from_array(np.asarray(array, order="C"), name))


def _flip(source: Source, equations: Equations, writer: Writer, place: int) -> Found:
    """A slice in place of a ReverseSequence of all steps."""
    node = equations.nodes[place]
    attributes = attributes_of(node)
    time, batch = attributes.get("time_axis", 0), attributes.get("batch_axis", 1)
    lengths = equations.makers.get(node.input[1])
    rank = equations.rank(node.input[0])
    if rank is None or rank <= max(time, batch) or lengths is None or lengths.op_type != "Expand":
        raise Unproven
    size = equations.size_of(lengths.input[0])
    if size is None or size != equations.origin(node.input[0], time):
        raise Unproven
    begin = len(writer.nodes)
    found = writer.part(node.input[0], -1, VERY_FIRST, time, source.opsets.get("", 1), -1)
    writer.add("Identity", [found], node.output[0])
    nodes = writer.nodes[begin:]
    return [(place, nodes)], writer.used(nodes), {place}
