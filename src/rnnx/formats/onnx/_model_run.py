"""A session's graph as the model that it is.

A call of a recurrent layer takes some microseconds less than the nodes around it in a program; a call of any other
layer takes one or two more, and convolutions and pooling are faster in a program. So a graph runs as its model if at
least half of the calls of its layers are recurrent (docs/onnx.md has the measures) and the others are layers proper, no
operations of `rnnx.ops`. Graphs with ids do not: ONNX has negative ones.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rnnx._nested import is_shape, leaves
from rnnx._typing import Array
from rnnx.formats.onnx._file import Source, reason
from rnnx.formats.onnx._program import FAILURES, RUN, STEP
from rnnx.formats.onnx._read_graph import ReadGraph, read_graph
from rnnx.formats.onnx._view import View
from rnnx.layers.ops.operation import Operation
from rnnx.layers.rnn.sequence import SequenceLayer
from rnnx.layers.rnn.time_distributed import TimeDistributed
from rnnx.saving import FormatError

RECURRENT = {"LSTM", "GRU", "RNN"}
BY_PROGRAM = {
    "AveragePool", "Conv", "GlobalAveragePool", "GlobalMaxPool", "MaxPool", "ReduceMax", "ReduceMean",
}  # fmt: skip
MOST_NODES = 2_000  # of a graph that is read as layers
MOST_SHAPES = 256  # whose costs are kept
OF_A_STEP = 1_000  # nanoseconds of a step of a recurrent layer, beside its products


def run_as_model(source: Source) -> ModelRun | None:
    """The graph as a model; None if it is none, or the program is faster."""
    nodes = source.proto.graph.node
    operators = {node.op_type for node in nodes}
    if len(nodes) > MOST_NODES or not operators & RECURRENT or operators & BY_PROGRAM:
        return None
    before = source.budget, source.loading
    try:
        read = read_graph(source, exact=True)
    except FormatError:
        source.budget, source.loading = before
        return None
    steps = read.model.plan.steps
    recurrent = [_is_recurrent(step.layer) for step in steps]
    by_nodes = 2 * sum(recurrent) < len(recurrent) or any(isinstance(step.layer, Operation) for step in steps)
    if by_nodes or any(np.dtype(t.dtype).kind == "i" for t in read.model.inputs):
        source.budget, source.loading = before
        return None
    return ModelRun(source, read)


def _is_recurrent(layer: Any) -> bool:
    return isinstance(layer.layer if isinstance(layer, TimeDistributed) else layer, SequenceLayer)


class ModelRun:
    """Runs a graph as its model.

    Parameters
    ----------
    source : Source
    read : ReadGraph
    """

    evaluated: frozenset[str] = frozenset()
    quiet = False

    def __init__(self, source: Source, read: ReadGraph):
        self.name, self.meter, self.model = source.name, source.meter, read.model
        self._entries = [_into(view) for view in read.inputs]
        self._ends = [_out_of(view) for view in read.outputs]
        self._nothing = [None] * len(read.inputs)
        self._costs: dict[Any, tuple[int, int]] = {}

    def run(self, *arrays: Array) -> list[Array]:
        """The outputs for these inputs.

        Raises
        ------
        FormatError
            If a layer fails, or more memory or work would be needed than a run may take.
        """
        model, plan = self.model, self.model.plan
        try:
            inputs = []
            for array, (index, perm) in zip(arrays, self._entries, strict=True):
                if index is not None:
                    array = array[index]
                inputs.append(array if perm is None else array.transpose(perm))
            inputs = model.prepare(inputs if model.several_inputs else inputs[0])
            inputs = inputs if model.several_inputs else [inputs]
            shapes = tuple([array.shape for array in inputs])
            cost = self._costs.get(shapes)
            if cost is None:
                if len(self._costs) >= MOST_SHAPES:
                    self._costs.clear()
                cost = self._costs[shapes] = self._cost(shapes)
            self.meter.ask(*cost)
            outputs, _, _ = plan.forward(model, inputs, self._nothing, False, False)
            self.meter.spend(cost[1])
            results = []
            for array, (perm, index) in zip(outputs, self._ends, strict=True):
                if perm is not None:
                    array = array.transpose(perm)
                results.append(array if index is None else array[index])
            return results
        except FAILURES as error:
            if isinstance(error, FormatError) and str(error).startswith(self.name):
                raise
            raise FormatError(f"{self.name}: run: {reason(error)}") from error

    def _cost(self, shapes: Any) -> tuple[int, int]:
        """Bytes that are held at once at most, and nanoseconds, for inputs of these shapes."""
        plan = self.model.plan
        found: list[Any] = [None] * len(plan.tensors)
        sizes = [0] * len(plan.tensors)
        for place, shape in zip(plan.inputs, shapes, strict=True):
            found[place] = shape
        held, most, work = 0, 0, RUN
        for step in plan.steps:
            given = [found[place] for place in step.inputs]
            made = step.computation.call_output_shapes(given[0] if step.single else given, step.call)
            for place, shape in zip(step.outputs, leaves(made, is_shape), strict=True):
                found[place] = shape
                sizes[place] = math.prod(shape) * np.dtype(plan.tensors[place].dtype).itemsize
            new = sum([sizes[place] for place in step.outputs])
            most = max(
                most, held + 3 * new + sum([sizes[place] for place in step.inputs])
            )  # in another order, and back
            held += new - sum([sizes[place] for place in step.frees])
            work += STEP + new + self._work(step.layer, given[0], found[step.outputs[0]])
        return most, work

    @staticmethod
    def _work(layer: Any, given: Any, made: Any) -> int:
        """Nanoseconds of the products of a layer, ten of which take one, and of the steps of a recurrent one."""
        rows = max(math.prod(given[:-1]), math.prod(made[:-1]))
        steps = given[-2] if _is_recurrent(layer) else 0
        return int(rows * sum([w.array.size for w in layer.weights]) // 10 + steps * OF_A_STEP)


def _into(view: View) -> tuple[Any, Any]:
    """How an array of the graph becomes one of the model: an index for axes of size 1, and an order of the others."""
    index = tuple(slice(None) if entry else 0 for entry in view.axes)
    kept = [entry[0] for entry in view.axes if entry]
    perm = [kept.index(k) for k in range(len(kept))]
    return (index if len(kept) < len(index) else None), (None if perm == sorted(perm) else perm)


def _out_of(view: View) -> tuple[Any, Any]:
    """How an array of the model becomes one of the graph: an order of axes, and an index that adds those of size 1."""
    perm = [entry[0] for entry in view.axes if entry]
    index = tuple(slice(None) if entry else None for entry in view.axes)
    return (None if perm == sorted(perm) else perm), (index if len(perm) < len(index) else None)
