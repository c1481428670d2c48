"""The equations between the values of a graph, and what of it is constant; `_read_equations` reads them.

What is neither a product with constant weights, nor a sum or product of numbers, nor an activation is a value of which
nothing but its number of axes is known.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.formats.onnx._algebra import Atoms, NotSaid, Value
from rnnx.formats.onnx._file import Source
from rnnx.formats.onnx._graph_values import GraphValues
from rnnx.formats.onnx._node import NodeInfo
from rnnx.formats.onnx._registry import fold, guard_of, operator_of

FOLDED = frozenset({  # that move weights, or compute places
    "Add", "And", "Cast", "Concat", "ConstantOfShape", "Div", "Equal", "Expand", "Gather", "Greater",
    "GreaterOrEqual", "Identity", "Less", "LessOrEqual", "Mul", "Neg", "Not", "Or", "Reshape", "Shape", "Slice",
    "Split", "Squeeze", "Sub", "Transpose", "Unsqueeze",
})  # fmt: skip


class Equations(GraphValues):
    """The equations of a graph.

    Parameters
    ----------
    source : Source
    graph : GraphProto
    outer : Equations, optional
        Of the graph around it.
    counters : set of str
        Values that count the rounds of the loop whose body the graph is.
    constants : dict
        Values that are constant although the graph does not say so: what a loop passes on unchanged.

    Attributes
    ----------
    of : dict
        Values by their names.
    atoms : Atoms
    slices : dict
        For each value that is one step of another and still has its axis: that value, the axis, and the step.
    same : dict
        For each choice that is always the same, what is chosen.
    places : dict
        For each value, the number of the node that computes it.
    """

    def __init__(
        self,
        source: Source,
        graph: Any,
        outer: Equations | None = None,
        counters: frozenset[str] = frozenset(),
        constants: dict[str, Array] | None = None,
    ):
        super().__init__(source, graph, outer, constants)
        self.counters = counters
        self.atoms = Atoms(budget=source.budget)
        self.of: dict[str, Value] = {}
        self.slices: dict[str, tuple[str, int, int | str]] = {}
        self.same: dict[str, str] = {}
        self.places = {name: place for place, node in enumerate(self.nodes) for name in node.output if name}
        self._names: dict[int, list[str]] = {}

    def value(self, name: str) -> Value:
        """A value by its name."""
        found = self.of.get(name)
        if found is None:
            array = self.array(name)
            width = self._widths.get(name) if array is None else array.shape[-1] if array.ndim else None
            found = self.of[name] = self.atoms.value(name, width)
        return found

    def _is_own(self, name: str) -> bool:
        return super()._is_own(name) or name in self.of

    def names_of(self, value: Value) -> list[str]:
        """Its names, those first that nodes compute and do not only pass on."""
        return self._names.get(id(value), [])

    def note_names(self) -> None:
        """Note the names of all values, once they are read."""
        for name in (name for node in self.nodes for name in node.output if name in self.of):
            self._names.setdefault(id(self.of[name]), []).append(name)

    def fold(self, node: Any, attributes: dict[str, Any]) -> bool:
        """Compute a node all of whose inputs are constants; False if there are others, or it would take much."""
        if node.op_type == "Constant":
            if len(attributes) == 1:
                self.arrays[node.output[0]] = self.constant(attributes)
            return node.output[0] in self.arrays
        if node.op_type not in FOLDED:
            return False
        arrays = [self.array(name) if name else None for name in node.input]
        given = {k: array for k, array in enumerate(arrays) if array is not None}
        if not node.input or any(name and k not in given for k, name in enumerate(node.input)):
            return False
        if node.op_type == "Identity":
            self.arrays[node.output[0]] = given[0]
            return True
        plain = {k: self.source.array(v) if hasattr(v, "data_type") else v for k, v in attributes.items()}
        info = NodeInfo(
            node.op_type, self.source.opsets.get("", 1), plain, given, tuple(map(bool, node.input)),
            tuple(map(bool, node.output)),
        )  # fmt: skip
        operator = operator_of(node.op_type)
        function = None if operator.make is None else operator.make(info)
        if function is None:
            return False
        results = fold(function, guard_of(operator, info), arrays, self.atoms.budget, self.source)
        if results is None:
            return False
        for name, result in zip(node.output, results, strict=False):
            if name:
                self.arrays[name] = np.asarray(result)
                self.atoms.budget -= 0 if np.asarray(result).base is not None else np.asarray(result).nbytes
        return True

    def constant(self, attributes: dict[str, Any]) -> Array:
        """The array of a Constant."""
        ((kind, value),) = attributes.items()
        if kind == "value":
            return self.source.array(value)
        if kind in ("value_float", "value_floats"):
            return np.asarray(value, np.float32)
        if kind in ("value_int", "value_ints"):
            return np.asarray(value, np.int64)
        raise NotSaid
