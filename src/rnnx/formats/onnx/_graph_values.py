"""What a graph says of its values: constants, types, how many axes they have, and where these come from."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.formats.onnx._algebra import NotSaid
from rnnx.formats.onnx._file import Source, attributes_of
from rnnx.formats.onnx._limits import MOST_AXES, MOST_SIZES

GATES = ("Elu", "HardSigmoid", "LeakyRelu", "Relu", "Sigmoid", "Softplus", "Softsign", "Tanh")
SAME_AXES = frozenset({
    "Abs", "BatchNormalization", "Cast", "Ceil", "Celu", "Clip", "CumSum", "Dropout", "Elu", "Erf", "Exp", "Floor",
    "Gelu", "HardSigmoid", "HardSwish", "Identity", "InstanceNormalization", "LayerNormalization", "LeakyRelu", "Log",
    "LogSoftmax", "Mish", "Neg", "Not", "PRelu", "Pad", "Pow", "Reciprocal", "Relu", "ReverseSequence", "Round",
    "Selu", "Sigmoid", "Sign", "Slice", "Softmax", "Softplus", "Softsign", "Sqrt", "Tanh", "Tile", "Transpose",
    "Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool",
})  # fmt: skip
KEEPS_TYPE = frozenset({
    "Add", "Clip", "Concat", "Conv", "Div", "Dropout", "Elu", "Expand", "Flatten", "GRU", "Gather", "Gemm",
    "HardSigmoid", "Identity", "LSTM", "LayerNormalization", "LeakyRelu", "MatMul", "Max", "MaxPool", "Min", "Mul",
    "Neg", "Pad", "RNN", "ReduceMean", "ReduceSum", "Relu", "Reshape", "ReverseSequence", "Sigmoid", "Slice",
    "Softmax", "Softplus", "Softsign", "Split", "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze", "Where",
})  # fmt: skip
BROADCAST = frozenset({"Add", "Div", "Equal", "Greater", "Less", "Max", "Mean", "Min", "Mul", "Sub", "Sum", "Where"})


class GraphValues:
    """The values of a graph by their names.

    Parameters
    ----------
    source : Source
    graph : GraphProto
    outer : GraphValues, optional
        Of the graph around it.
    constants : dict
        Values that are constant although the graph does not say so: what a loop passes on unchanged.

    Attributes
    ----------
    nodes : list of NodeProto
    makers : dict
        For each value, the node that computes it.
    arrays : dict
        Constants.
    ranks : dict
        Numbers of axes, None where they are not known.
    sizes : dict
        What is known of values that are shapes, and whether such a value is a single number.
    shapes : dict
        Of the inputs of the outermost graph.
    ends : set of str
        Outputs of the graph.
    """

    def __init__(
        self, source: Source, graph: Any, outer: GraphValues | None = None, constants: dict[str, Array] | None = None
    ):
        self.source, self.outer = source, outer
        self.arrays: dict[str, Array] = dict(constants or {})
        self.sizes: dict[str, tuple[list[int | None], bool]] = {}
        self.ranks: dict[str, int | None] = {}
        self.nodes = list(graph.node)
        self.ends = {value.name for value in graph.output}
        self.makers = {name: node for node in self.nodes for name in node.output if name}
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        self._widths: dict[str, int] = {}
        self._types: dict[str, int] = {}  # ONNX' numbers of them
        self.shapes: dict[str, list[int | None]] = {}
        for value in [*graph.value_info, *graph.input]:
            tensor = value.type.tensor_type
            if tensor.elem_type:
                self._types[value.name] = tensor.elem_type
            if value.type.HasField("tensor_type") and tensor.HasField("shape") and len(tensor.shape.dim) <= MOST_AXES:
                self.ranks[value.name] = len(tensor.shape.dim)
                if tensor.shape.dim and tensor.shape.dim[-1].dim_value > 0:
                    self._widths[value.name] = int(tensor.shape.dim[-1].dim_value)
        for value in graph.input if outer is None else ():  # those of other values may be older than these
            dims = value.type.tensor_type.shape.dim
            if len(dims) <= MOST_AXES:
                self.shapes[value.name] = [int(d.dim_value) if d.HasField("dim_value") else None for d in dims]

    # ---- What is known of a value ------------------------------------------------------------------------------------

    def array(self, name: str) -> Array | None:
        """A constant; None if it is none."""
        if name in self.arrays:
            return self.arrays[name]
        if name in self._tensors:
            found = self.arrays[name] = self.source.array(self._tensors[name])
            return found
        return None if self.outer is None or self._is_own(name) else self.outer.array(name)

    def _is_own(self, name: str) -> bool:
        """Whether a value is one of this graph, and not of one around it."""
        return name in self.makers or name in self.ranks

    def rank(self, name: str) -> int | None:
        """The number of axes of a value, if it is known."""
        array = self.array(name)
        if array is not None:
            return array.ndim
        if name in self.ranks or name in self.makers or self.outer is None:
            return self.ranks.get(name)
        return self.outer.rank(name)

    def dtype(self, name: str) -> Any:
        """The type of a value, if it is known."""
        from onnx import helper

        while True:
            array, node = self.array(name), self.makers.get(name)
            if array is not None:
                return array.dtype
            if name in self._types:
                return helper.tensor_dtype_to_np_dtype(self._types[name])
            if node is None:
                return None if self.outer is None else self.outer.dtype(name)
            if node.op_type == "Cast":
                return np.dtype(helper.tensor_dtype_to_np_dtype(attributes_of(node)["to"]))
            if node.op_type not in KEEPS_TYPE or not node.input:
                return None
            name = node.input[1 if node.op_type == "Where" else 0]

    def extent(self, name: str, axis: int) -> int | None:
        """How long an axis of a value is, if the inputs of the graph say so."""
        root = self.origin(name, axis)
        shape = self._shape_of(root[0])
        if shape is None or not 0 <= root[1] < len(shape):
            return None
        return shape[root[1]] or None

    def _shape_of(self, name: str) -> list[int | None] | None:
        array = self.array(name)
        if array is not None:
            return list(array.shape)
        if name in self.shapes:
            return self.shapes[name]
        return None if self.outer is None or name in self.makers else self.outer._shape_of(name)

    def origin(self, name: str, axis: int) -> tuple[str, int]:
        """The first value that has this axis, and where it is there."""
        while True:
            node = self.makers.get(name)
            if node is None:
                if self.outer is not None and name not in self.ranks and name not in self.arrays:
                    return self.outer.origin(name, axis)
                return name, axis
            rank = self.rank(name)
            if node.op_type in ("Identity", "Cast", "Dropout", "LayerNormalization", *GATES):
                name = node.input[0]
            elif node.op_type == "ReverseSequence":
                name = node.input[0]
            elif node.op_type == "Slice" and self._turns(node):
                name = node.input[0]
            elif node.op_type == "Concat" and rank is not None and axis != attributes_of(node)["axis"] % rank:
                name = node.input[0]
            elif node.op_type == "Transpose":
                perm = attributes_of(node).get("perm")
                if rank is None or (perm is not None and len(perm) != rank) or not 0 <= axis < rank:
                    return name, axis
                axis, name = (rank - 1 - axis if perm is None else int(perm[axis])), node.input[0]
            elif node.op_type == "MatMul" and rank is not None and axis < rank - 1:
                matrix = self.array(node.input[1])
                if matrix is None or matrix.ndim != 2:
                    return name, axis
                name = node.input[0]
            elif node.op_type in ("Add", "Mul", "Sub", "Div"):
                sides = [part for part in node.input if self.array(part) is None]
                others = [array for part in node.input if (array := self.array(part)) is not None]
                if len(sides) != 1 or len(others) != 1 or self.rank(sides[0]) != rank or others[0].ndim > 1:
                    return name, axis
                name = sides[0]
            elif node.op_type in ("LSTM", "GRU", "RNN") and name == node.output[0] and axis in (0, 2):
                if attributes_of(node).get("layout", 0):
                    return name, axis
                name, axis = node.input[0], axis // 2
            elif node.op_type in ("Squeeze", "Unsqueeze") and rank is not None:
                axes = self.integers(node, 1, attributes_of(node), "axes")
                inner = self.rank(node.input[0])
                if axes is None or inner is None:
                    return name, axis
                longer = max(rank, inner)
                kept = [k for k in range(longer) if k not in [n % longer for n in axes]]
                if node.op_type == "Squeeze":
                    name, axis = node.input[0], kept[axis]
                elif axis in kept:
                    name, axis = node.input[0], kept.index(axis)
                else:
                    return name, axis
            elif (
                node.op_type == "Gather" and self.array(node.input[0]) is not None and (ids := self.rank(node.input[1]))
            ):
                if axis >= ids or attributes_of(node).get("axis", 0):
                    return name, axis
                name = node.input[1]
            else:
                return name, axis

    def size_of(self, name: str) -> tuple[str, int] | None:
        """The axis whose size a value is, as `origin` has it."""
        part: int | None = None
        while (node := self.makers.get(name)) is not None:
            attributes = attributes_of(node)
            if node.op_type in ("Cast", "Identity", "Squeeze", "Unsqueeze", "Reshape"):
                name = node.input[0]
            elif node.op_type == "Gather" and part is None:
                index = self.array(node.input[1])
                if index is None or index.size != 1:
                    return None
                part, name = int(index.reshape(())), node.input[0]
            elif node.op_type == "Slice" and part is None:
                starts, ends = (self.integers(node, k, attributes, key) for k, key in ((1, "starts"), (2, "ends")))
                if starts is None or ends is None or len(starts) != 1 or ends[0] != starts[0] + 1 or starts[0] < 0:
                    return None
                part, name = starts[0], node.input[0]
            elif node.op_type == "Shape":
                rank, start = self.rank(node.input[0]), attributes.get("start", 0)
                if part is None and attributes.get("end") == start + 1:
                    part = 0
                if rank is None or part is None or start < 0 or not -rank <= part < rank:
                    return None
                return self.origin(node.input[0], start + part if part >= 0 else rank + part)
            else:
                return None
        return None

    def zeros_like(self, name: str, source: str, axis: int) -> bool:
        """Whether a value is zeros, a row for each row of another value: these lie along that axis of it."""
        node = self.makers.get(name)
        while node is not None and node.op_type in ("Cast", "Identity"):
            node = self.makers.get(node.input[0])
        if node is None or node.op_type not in ("ConstantOfShape", "Expand"):
            return False
        if node.op_type == "Expand":
            value = self.array(node.input[0])
            if value is None or value.any():
                return False
        else:
            filled = attributes_of(node).get("value")
            if filled is not None and self.source.array(filled).any():
                return False
        shape = self.makers.get(node.input[-1])
        while shape is not None and shape.op_type in ("Cast", "Identity"):
            shape = self.makers.get(shape.input[0])
        if shape is None or shape.op_type != "Concat":
            return False
        return self.size_of(shape.input[0]) == self.origin(source, axis)

    def _turns(self, node: Any) -> bool:
        """Whether a Slice only turns axes around."""
        attributes = attributes_of(node)
        keys = ((1, "starts"), (2, "ends"), (4, "steps"))
        starts, ends, steps = (self.integers(node, place, attributes, key) or [0] for place, key in keys)
        return set(starts) == {-1} == set(steps) and max(ends) < -(2**30)

    def integers(self, node: Any, place: int, attributes: dict[str, Any], name: str) -> list[int] | None:
        """Integers of an attribute or a constant input; None if they are not given."""
        found = attributes.get(name)
        if found is None and place < len(node.input) and node.input[place]:
            array = self.array(node.input[place])
            if array is None or array.dtype.kind not in "iu":
                raise NotSaid
            found = array.reshape(-1)
        if found is not None and len(found) > MOST_SIZES:
            raise NotSaid
        return None if found is None else [int(n) for n in found]

    # ---- How many axes a result has ----------------------------------------------------------------------------------

    def ranks_of(self, node: Any, attributes: dict[str, Any]) -> list[int | None]:
        ranks = [self.rank(name) if name else None for name in node.input]
        first, kind, count = (ranks[0] if ranks else None), node.op_type, len(node.output)
        if kind in SAME_AXES or kind in ("Concat", "Split"):
            known = [rank for rank in ranks if rank is not None]
            return [known[0] if kind == "Concat" and known else first] * count
        if kind in BROADCAST:
            return [None if None in ranks else max(rank for rank in ranks if rank is not None)]
        if kind == "MatMul":
            known = [rank for rank in ranks[:2] if rank is not None]
            return [max(2, *known) if len(known) == 2 else None]
        if kind in ("Gemm", "Flatten"):
            return [2]
        if kind in ("Shape", "Size"):
            return [1 if kind == "Shape" else 0]
        if kind == "Gather":
            known = [rank for rank in ranks[:2] if rank is not None]
            return [sum(known) - 1 if len(known) == 2 else None]
        if kind in ("Squeeze", "Unsqueeze") and first is not None:
            axes = self.integers(node, 1, attributes, "axes")
            return [None if axes is None else first + (-len(axes) if kind == "Squeeze" else len(axes))]
        if kind in ("LSTM", "GRU", "RNN"):
            return [4, 3, 3]
        if kind in ("ConstantOfShape", "Expand", "Reshape"):
            length = self._length(node.input[0 if kind == "ConstantOfShape" else 1])
            if kind == "Expand":
                return [None if length is None or first is None else max(length, first)]
            return [length]
        if kind.startswith("Reduce") and first is not None:
            if attributes.get("keepdims", 1):
                return [first]
            axes = self.integers(node, 1, attributes, "axes")
            return [0 if axes is None else first - len(axes)]
        return [None] * count

    def _length(self, name: str) -> int | None:
        """How many sizes a shape has."""
        array = self.array(name)
        if array is not None:
            return array.size if array.ndim == 1 else None
        found = self.sizes.get(name)
        return len(found[0]) if found is not None and not found[1] else None
