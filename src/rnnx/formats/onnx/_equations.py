"""The nodes of a graph as equations between its values.

What is neither a product with constant weights, nor a sum or product of numbers, nor an activation is a value of which
nothing but its number of axes is known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.formats.onnx._activations import DEFAULTS
from rnnx.formats.onnx._algebra import (
    Atoms,
    Linear,
    NotSaid,
    Place,
    Poly,
    Value,
    added,
    as_factor,
    columns,
    joined,
    multiplied,
    product,
    single,
    summed,
    width_of,
    with_bias,
)
from rnnx.formats.onnx._file import Source, attributes_of
from rnnx.formats.onnx._limits import MOST_AXES, MOST_SIZES
from rnnx.formats.onnx._node import NodeInfo, Unsupported
from rnnx.formats.onnx._registry import guard_of, operator_of

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
GATES = ("Elu", "HardSigmoid", "LeakyRelu", "Relu", "Sigmoid", "Softplus", "Softsign", "Tanh")
FAILURES = (ArithmeticError, AttributeError, LookupError, MemoryError, NotSaid, RuntimeError, TypeError, ValueError)
FOLDED = frozenset({  # that move weights, or compute places
    "Add", "And", "Cast", "Concat", "ConstantOfShape", "Div", "Equal", "Expand", "Gather", "Greater",
    "GreaterOrEqual", "Identity", "Less", "LessOrEqual", "Mul", "Neg", "Not", "Or", "Reshape", "Shape", "Slice",
    "Split", "Squeeze", "Sub", "Transpose", "Unsqueeze",
})  # fmt: skip
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


class Equations:
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
    nodes : list of NodeProto
    places : dict
        Their numbers by their ids.
    ends : set of str
        Outputs of the graph.
    """

    def __init__(
        self,
        source: Source,
        graph: Any,
        outer: Equations | None = None,
        counters: frozenset[str] = frozenset(),
        constants: dict[str, Array] | None = None,
    ):
        self.source, self.outer, self.counters = source, outer, counters
        self.atoms = Atoms(budget=source.budget)
        self.of: dict[str, Value] = {}
        self.arrays: dict[str, Array] = dict(constants or {})
        self.sizes: dict[str, tuple[list[int | None], bool]] = {}  # shapes, and whether it is a single number
        self.thin: dict[str, tuple[str, int, int | str]] = {}  # one step, with its axis: of which value, and which
        self.same: dict[str, str] = {}  # of choices that are always the same: what is chosen
        self.ranks: dict[str, int | None] = {}
        self.nodes = list(graph.node)
        self.ends = {value.name for value in graph.output}
        self.places = {id(node): place for place, node in enumerate(self.nodes)}
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
        for node in self.nodes:
            self._read(node)
        self._names: dict[int, list[str]] = {}
        for name in (name for node in self.nodes for name in node.output if name in self.of):
            self._names.setdefault(id(self.of[name]), []).append(name)

    # ---- What is known of a value ------------------------------------------------------------------------------------

    def array(self, name: str) -> Array | None:
        """A constant; None if it is none."""
        if name in self.arrays:
            return self.arrays[name]
        if name in self._tensors:
            found = self.arrays[name] = self.source.array(self._tensors[name])
            return found
        if self.outer is None or name in self.makers or name in self.ranks or name in self.of:
            return None
        return self.outer.array(name)

    def rank(self, name: str) -> int | None:
        """The number of axes of a value, if it is known."""
        array = self.array(name)
        if array is not None:
            return array.ndim
        if name in self.ranks or name in self.makers or self.outer is None:
            return self.ranks.get(name)
        return self.outer.rank(name)

    def value(self, name: str) -> Value:
        """A value by its name."""
        found = self.of.get(name)
        if found is None:
            array = self.array(name)
            width = self._widths.get(name) if array is None else array.shape[-1] if array.ndim else None
            found = self.of[name] = self.atoms.value(name, width)
        return found

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

    def names_of(self, value: Value) -> list[str]:
        """Its names, those first that nodes compute and do not only pass on."""
        return self._names.get(id(value), [])

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
                others = [part for part in node.input if self.array(part) is not None]
                if len(sides) != 1 or len(others) != 1 or self.rank(sides[0]) != rank or self.array(others[0]).ndim > 1:  # type: ignore[union-attr]
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
            elif node.op_type == "Gather" and self.array(node.input[0]) is not None and self.rank(node.input[1]):
                if axis >= self.rank(node.input[1]) or attributes_of(node).get("axis", 0):  # type: ignore[operator]
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

    # ---- Nodes -------------------------------------------------------------------------------------------------------

    def _read(self, node: Any) -> None:
        outputs = [name for name in node.output if name]
        try:
            if node.domain in ("", "ai.onnx"):
                attributes = attributes_of(node)
                if self._fold(node, attributes):
                    return
                for name, rank in zip(node.output, self._ranks_of(node, attributes), strict=False):
                    if name and name not in self.ranks:
                        self.ranks[name] = rank
                reader = READERS.get(node.op_type)
                if reader is not None:
                    reader(self, node, attributes)
        except FAILURES:
            pass
        for name in outputs:
            self.ranks.setdefault(name, None)

    def _fold(self, node: Any, attributes: dict[str, Any]) -> bool:
        """Compute a node all of whose inputs are constants; False if there are others, or it would take much."""
        if node.op_type == "Constant":
            if len(attributes) == 1:
                self.arrays[node.output[0]] = self._constant(attributes)
            return node.output[0] in self.arrays
        if node.op_type not in FOLDED:
            return False
        arrays = [self.array(name) if name else None for name in node.input]
        if not node.input or any(name and array is None for name, array in zip(node.input, arrays, strict=True)):
            return False
        if node.op_type == "Identity":
            self.arrays[node.output[0]] = arrays[0]  # type: ignore[assignment]
            return True
        given = {k: array for k, array in enumerate(arrays) if array is not None}
        plain = {k: self.source.array(v) if hasattr(v, "data_type") else v for k, v in attributes.items()}
        info = NodeInfo(
            node.op_type, self.source.opsets.get("", 1), plain, given, tuple(map(bool, node.input)),
            tuple(map(bool, node.output)),
        )  # fmt: skip
        try:
            operator = operator_of(node.op_type)
            function = None if operator.make is None else operator.make(info)
        except Unsupported:
            return False
        if function is None:
            return False
        size, time = guard_of(operator, info)(*arrays)
        if size > self.atoms.budget or time > self.source.loading:
            return False
        self.source.loading -= time
        with np.errstate(all="ignore"):
            results = function(*arrays)
        results = results if isinstance(results, tuple) else (results,)
        for name, result in zip(node.output, results, strict=False):
            if name:
                self.arrays[name] = np.asarray(result)
                self.atoms.budget -= 0 if np.asarray(result).base is not None else np.asarray(result).nbytes
        return True

    def _constant(self, attributes: dict[str, Any]) -> Array:
        ((kind, value),) = attributes.items()
        if kind == "value":
            return self.source.array(value)
        if kind in ("value_float", "value_floats"):
            return np.asarray(value, np.float32)
        if kind in ("value_int", "value_ints"):
            return np.asarray(value, np.int64)
        raise NotSaid

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

    def _ranks_of(self, node: Any, attributes: dict[str, Any]) -> list[int | None]:
        ranks = [self.rank(name) if name else None for name in node.input]
        first, kind, count = (ranks[0] if ranks else None), node.op_type, len(node.output)
        if kind in SAME_AXES or kind in ("Concat", "Split"):
            known = [rank for rank in ranks if rank is not None]
            return [known[0] if kind == "Concat" and known else first] * count
        if kind in BROADCAST:
            return [None if None in ranks else max(rank for rank in ranks if rank is not None)]
        if kind == "MatMul":
            return [None if None in ranks[:2] else max(2, *ranks[:2])]  # type: ignore[type-var]
        if kind in ("Gemm", "Flatten"):
            return [2]
        if kind in ("Shape", "Size"):
            return [1 if kind == "Shape" else 0]
        if kind == "Gather":
            return [None if None in ranks[:2] else ranks[0] + ranks[1] - 1]  # type: ignore[operator]
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


# ---- Readers of operators --------------------------------------------------------------------------------------------

Reader = Callable[[Equations, Any, dict[str, Any]], None]


def _pass(own: Equations, node: Any, attributes: dict[str, Any]) -> None:
    """Identity, and Cast of what has the type of the weights already."""
    name, target = node.input[0], node.output[0]
    if name in own.sizes:
        own.sizes[target] = own.sizes[name]
    if name in own.thin and node.op_type == "Identity":
        own.thin[target] = own.thin[name]
    if node.op_type == "Identity":
        own.of[target] = own.value(name)
        return
    from onnx import helper

    if own.dtype(name) == helper.tensor_dtype_to_np_dtype(attributes["to"]):
        own.of[target] = own.value(name)


def _sum(own: Equations, node: Any, attributes: dict[str, Any]) -> None:
    """Add and Sub."""
    names, sign = list(node.input), -1.0 if node.op_type == "Sub" else 1.0
    if _of_sizes(own, node):
        return
    arrays = [own.array(name) for name in names]
    place = next((k for k, array in enumerate(arrays) if array is not None), None)
    array = None if place is None else arrays[place]
    if array is not None and array.ndim > 1 and not isinstance(own.value(names[1 - place]), Linear):  # type: ignore[operator]
        array = None  # a state that was trained
    if array is None or place is None:
        value = added(own.atoms, own.value(names[0]), own.value(names[1]), (names[0], names[1]), sign)
        own.of[node.output[0]] = summed(own.atoms, value)
        return
    other = own.value(names[1 - place])
    if array.dtype not in FLOATS:
        raise NotSaid
    if isinstance(other, Linear) and sign == 1.0:
        own.of[node.output[0]] = with_bias(other, array)
        return
    if array.size != 1 or array.ndim > 1:
        raise NotSaid
    number = Poly({(): float(array.reshape(()))})
    first, second = (number, other) if place == 0 else (other, number)
    own.of[node.output[0]] = added(own.atoms, first, second, (names[0], names[1]), sign)


def _times(own: Equations, node: Any, attributes: dict[str, Any]) -> None:
    names = list(node.input)
    if _of_sizes(own, node):
        return
    values: list[Value] = []
    for name in names:
        array = own.array(name)
        if array is not None and array.dtype not in FLOATS:
            raise NotSaid
        alone = array is not None and array.size == 1 and array.ndim < 2
        values.append(Poly({(): float(array.reshape(()))}) if alone and array is not None else own.value(name))
    own.of[node.output[0]] = multiplied(own.atoms, values[0], values[1], (names[0], names[1]))


def _negative(own: Equations, node: Any, attributes: dict[str, Any]) -> None:
    name = node.input[0]
    own.of[node.output[0]] = multiplied(own.atoms, Poly({(): -1.0}), own.value(name), ("", name))


def _matmul(own: Equations, node: Any, attributes: dict[str, Any]) -> None:
    matrix = own.array(node.input[1])
    if matrix is None or matrix.ndim != 2 or matrix.dtype not in FLOATS or not own.rank(node.input[0]):
        raise NotSaid
    own.of[node.output[0]] = product(own.atoms, own.value(node.input[0]), matrix, node.input[0])


def _gemm(own: Equations, node: Any, attributes: dict[str, Any]) -> None:
    matrix = own.array(node.input[1])
    plain = attributes.get("alpha", 1.0) == 1.0 == attributes.get("beta", 1.0) and not attributes.get("transA", 0)
    if matrix is None or matrix.ndim != 2 or matrix.dtype not in FLOATS or not plain:
        raise NotSaid
    matrix = matrix.T if attributes.get("transB", 0) else matrix
    found = product(own.atoms, own.value(node.input[0]), matrix, node.input[0])
    if len(node.input) > 2 and node.input[2]:
        bias = own.array(node.input[2])
        if bias is None:
            raise NotSaid
        found = with_bias(found, bias)
    own.of[node.output[0]] = found


def _gate(own: Equations, node: Any, attributes: dict[str, Any]) -> None:
    name, operator = node.input[0], node.op_type
    argument = summed(own.atoms, own.value(name))
    if not isinstance(argument, Linear) and not (isinstance(argument, Poly) and _mixed(own, argument)):
        argument = as_factor(own.atoms, argument, name)
    defaults = DEFAULTS.get(operator, {})
    numbers = tuple(float(attributes.get(key, default or 0.0)) for key, default in defaults.items())
    own.of[node.output[0]] = own.atoms.gate(operator, numbers, argument, node.output[0])


def _mixed(own: Equations, poly: Poly) -> bool:
    """Whether it is a sum with products with matrices in it, as a new state of a GRU has inside."""
    return any(isinstance(own.atoms.kinds[k], Linear) for monomial in poly.terms for k in monomial)


def _clip(own: Equations, node: Any, attributes: dict[str, Any]) -> None:
    """A line between 0 and 1 is a hard sigmoid."""
    bounds = [attributes.get("min"), attributes.get("max")]
    for k, name in enumerate(list(node.input)[1:3]):
        array = own.array(name) if name else None
        bounds[k] = None if array is None or array.size != 1 else float(array.reshape(()))
    _hard_sigmoid(own, node, bounds)


def _between(own: Equations, node: Any, attributes: dict[str, Any]) -> None:
    """Min and Max, one behind the other, as tf2onnx writes a line between 0 and 1."""
    arrays = [own.array(name) for name in node.input]
    if len(arrays) != 2 or (arrays[0] is None) == (arrays[1] is None):
        raise NotSaid
    place = 0 if arrays[0] is None else 1
    bound, name = arrays[1 - place], node.input[place]
    assert bound is not None
    if bound.size != 1:
        raise NotSaid
    before = own.makers.get(name)
    other = "Min" if node.op_type == "Max" else "Max"
    if before is None or before.op_type != other or len(before.input) != 2:
        raise NotSaid
    inner = [own.array(part) for part in before.input]
    at = 0 if inner[0] is None else 1
    first = inner[1 - at]
    if first is None or first.size != 1 or inner[at] is not None:
        raise NotSaid
    pair = [float(first.reshape(())), float(bound.reshape(()))]
    _hard_sigmoid(own, node, pair if other == "Max" else pair[::-1], before.input[at])


def _hard_sigmoid(own: Equations, node: Any, bounds: list[Any], name: str | None = None) -> None:
    name = name or node.input[0]
    poly = own.of.get(name)
    if bounds != [0.0, 1.0] or not isinstance(poly, Poly):
        raise NotSaid
    offset = poly.terms.get((), 0.0)
    rest = [(monomial, factor) for monomial, factor in poly.terms.items() if monomial]
    if len(rest) != 1 or len(rest[0][0]) != 1:
        raise NotSaid
    argument = own.atoms.kinds[rest[0][0][0]]
    if not isinstance(argument, Linear):
        raise NotSaid
    own.of[node.output[0]] = own.atoms.gate("HardSigmoid", (rest[0][1], offset), argument, node.output[0])


def _split(own: Equations, node: Any, attributes: dict[str, Any]) -> None:
    name, count = node.input[0], len(node.output)
    rank, axis = own.rank(name), attributes.get("axis", 0)
    if rank is None or not -rank <= axis < rank:
        raise NotSaid
    axis %= rank
    counts = own.integers(node, 1, attributes, "split")
    value = own.value(name)
    size = width_of(value) if axis == rank - 1 else own.extent(name, axis)
    if counts is None:
        if size is None or size % count:
            raise NotSaid
        counts = [size // count] * count
    start = 0
    for output, each in zip(node.output, counts, strict=False):
        if output and axis == rank - 1 and each:
            own.of[output] = columns(own.atoms, value, start, start + each, output)
        elif output and each == 1:
            own.thin[output] = (name, axis, start)
        start += each


def _slice(own: Equations, node: Any, attributes: dict[str, Any]) -> None:
    name, target = node.input[0], node.output[0]
    starts, ends = (own.integers(node, k + 1, attributes, key) for k, key in enumerate(("starts", "ends")))
    axes, steps = (own.integers(node, k + 3, attributes, key) for k, key in enumerate(("axes", "steps")))
    if starts is None or ends is None or len(starts) != len(ends) or (steps and set(steps) != {1}):
        raise NotSaid
    if name in own.sizes and not own.sizes[name][1] and len(starts) == 1:
        own.sizes[target] = own.sizes[name][0][slice(starts[0], ends[0])], False
        return
    rank = own.rank(name)
    if rank is None:
        raise NotSaid
    value = own.value(name)
    cuts = []
    for k, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis = (axes[k] if axes else k) % rank
        size = width_of(value) if axis == rank - 1 else own.extent(name, axis)
        if start == 0 and (end >= 2**31 - 1 or end == size):
            continue
        if start < 0 and size is not None:
            start += size
        if end < 0 and size is not None:
            end += size
        cuts.append((axis, start, end if size is None else min(end, size)))
    if not cuts:
        own.of[target] = value
        return
    ((axis, start, end),) = cuts
    if axis == rank - 1:
        own.of[target] = columns(own.atoms, value, start, end, target)
    elif end == start + 1:
        own.thin[target] = (name, axis, start)


def _squeeze(own: Equations, node: Any, attributes: dict[str, Any]) -> None:
    name, target = node.input[0], node.output[0]
    axes = own.integers(node, 1, attributes, "axes")
    if name in own.sizes:
        sizes, scalar = own.sizes[name]
        if len(sizes) == 1:
            _give_sizes(own, target, sizes, True)
        return
    rank = own.rank(name)
    if name in own.thin and rank is not None and axes is not None and len(axes) == 1:
        source, axis, index = own.thin[name]
        if axes[0] % rank == axis:
            own.of[target] = _taken(own, source, axis, index, target)


def _unsqueeze(own: Equations, node: Any, attributes: dict[str, Any]) -> None:
    name = node.input[0]
    if name in own.sizes and own.sizes[name][1]:
        _give_sizes(own, node.output[0], own.sizes[name][0], False)


def _taken(own: Equations, source: str, axis: int, index: int | str, name: str) -> Value:
    """One step of a value: of products with weights those of that step."""
    value, rank = own.value(source), own.rank(source)
    if isinstance(index, int) and index < 0:
        size = own.extent(source, axis)
        index = index if size is None else index + size
    if isinstance(value, Linear) and all(_is_value(own, monomial, rank) for monomial in value.parts):
        parts = {}
        for monomial, matrix in value.parts.items():
            place = Place(own.atoms.names[monomial[0]], axis, index)
            step = own.atoms.place(place, "", matrix.shape[0])
            parts[next(iter(step.terms))] = matrix
        return Linear(parts, value.bias, value.width)
    number = single(value)
    if number is not None and _is_value(own, (number,), rank):
        source = own.atoms.names[number]
    return own.atoms.place(Place(source, axis, index), name, width_of(value))


def _is_value(own: Equations, monomial: tuple[int, ...], rank: int | None) -> bool:
    """Whether it is one value of which nothing is known, with so many axes."""
    if len(monomial) != 1 or not isinstance(own.atoms.kinds[monomial[0]], str):
        return False
    return own.rank(own.atoms.names[monomial[0]]) == rank


def _gather(own: Equations, node: Any, attributes: dict[str, Any]) -> None:
    name, index = node.input[0], node.input[1]
    array = own.array(index)
    if name in own.sizes:
        if array is None or array.ndim > 1 or attributes.get("axis", 0):
            raise NotSaid
        sizes = own.sizes[name][0]
        found = [sizes[int(k)] for k in array.reshape(-1)]
        _give_sizes(own, node.output[0], found, array.ndim == 0)
        return
    rank = own.rank(name)
    counted = index in own.counters
    if rank is None or (array is None and not counted) or (array is not None and array.size != 1):
        raise NotSaid
    axis = attributes.get("axis", 0) % rank
    if axis == rank - 1:
        raise NotSaid
    if array is None:
        own.of[node.output[0]] = _taken(own, name, axis, "", node.output[0])
    elif array.ndim:
        own.thin[node.output[0]] = (name, axis, int(array.reshape(())))
    else:
        own.of[node.output[0]] = _taken(own, name, axis, int(array), node.output[0])


def _concat(own: Equations, node: Any, attributes: dict[str, Any]) -> None:
    names = list(node.input)
    if any(name in own.sizes for name in names):
        found: list[int | None] = []
        for name in names:
            array = own.array(name)
            found += own.sizes[name][0] if array is None else [int(n) for n in array.reshape(-1)]
        _give_sizes(own, node.output[0], found, False)
        return
    rank = next((own.rank(name) for name in names if own.rank(name) is not None), None)
    if rank is None or attributes["axis"] % rank != rank - 1 or len(names) > MOST_AXES:
        raise NotSaid
    own.of[node.output[0]] = joined(own.atoms, [(own.value(name), name) for name in names])


def _shape(own: Equations, node: Any, attributes: dict[str, Any]) -> None:
    rank = own.rank(node.input[0])
    if rank is None:
        raise NotSaid
    sizes = [own.extent(node.input[0], axis) for axis in range(rank)]
    if rank:
        sizes[-1] = sizes[-1] or width_of(own.value(node.input[0]))
    start, end = attributes.get("start", 0), attributes.get("end", rank)
    own.sizes[node.output[0]] = sizes[start:end], False


def _give_sizes(own: Equations, name: str, sizes: list[int | None], scalar: bool) -> None:
    """Note a shape; one that is known is a constant."""
    own.sizes[name] = sizes, scalar
    if None not in sizes and len(sizes) <= MOST_AXES:
        array = np.array(sizes, np.int64)
        own.arrays[name] = array.reshape(()) if scalar else array


def _of_sizes(own: Equations, node: Any) -> bool:
    """Arithmetic with sizes; False if it is none."""
    names = list(node.input)
    if len(names) != 2 or not any(name in own.sizes for name in names):
        return False
    sides: list[list[int | None]] = []
    scalar = True
    for name in names:
        array = own.array(name)
        if array is None:
            sides.append(own.sizes[name][0])
            scalar &= own.sizes[name][1]
        else:
            sides.append([int(n) for n in array.reshape(-1)])
            scalar &= array.ndim == 0
    count = max(map(len, sides))
    if {len(side) for side in sides} - {1, count}:
        raise NotSaid
    a, b = (side * count if len(side) == 1 else side for side in sides)
    work = {
        "Add": lambda m, n: m + n, "Sub": lambda m, n: m - n, "Mul": lambda m, n: m * n,
        "Div": lambda m, n: m // n if m >= 0 < n else None,
    }[node.op_type]  # fmt: skip
    found = [None if m is None or n is None else work(m, n) for m, n in zip(a, b, strict=True)]
    _give_sizes(own, node.output[0], found, scalar)
    return True


def _where(own: Equations, node: Any, attributes: dict[str, Any]) -> None:
    """A choice that is always the same."""
    condition = own.array(node.input[0])
    if condition is None or condition.size != 1 or own.rank(node.input[1]) != own.rank(node.input[2]):
        raise NotSaid
    own.same[node.output[0]] = node.input[1 if condition.item() else 2]
    own.of[node.output[0]] = own.value(own.same[node.output[0]])


def _quotient(own: Equations, node: Any, attributes: dict[str, Any]) -> None:
    _of_sizes(own, node)


READERS: dict[str, Reader] = {
    "Add": _sum, "Cast": _pass, "Clip": _clip, "Concat": _concat, "Div": _quotient, "Gather": _gather, "Gemm": _gemm,
    "Identity": _pass, "MatMul": _matmul, "Max": _between, "Min": _between, "Mul": _times, "Neg": _negative,
    "Shape": _shape, "Slice": _slice, "Split": _split, "Squeeze": _squeeze, "Sub": _sum, "Unsqueeze": _unsqueeze,
    "Where": _where,
    **dict.fromkeys(GATES, _gate),
}  # fmt: skip
