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
from rnnx.formats.onnx._graph_values import GATES, GraphValues
from rnnx.formats.onnx._limits import MOST_AXES
from rnnx.formats.onnx._node import NodeInfo, Unsupported
from rnnx.formats.onnx._registry import fold, guard_of, operator_of

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
FAILURES = (ArithmeticError, AttributeError, LookupError, MemoryError, NotSaid, RuntimeError, TypeError, ValueError)
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
        self.thin: dict[str, tuple[str, int, int | str]] = {}  # one step, with its axis: of which value, and which
        self.same: dict[str, str] = {}  # of choices that are always the same: what is chosen
        self.places = {name: place for place, node in enumerate(self.nodes) for name in node.output if name}
        for node in self.nodes:
            self._read(node)
        self._names: dict[int, list[str]] = {}
        for name in (name for node in self.nodes for name in node.output if name in self.of):
            self._names.setdefault(id(self.of[name]), []).append(name)

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
        try:
            operator = operator_of(node.op_type)
            function = None if operator.make is None else operator.make(info)
        except Unsupported:
            return False
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

    def _constant(self, attributes: dict[str, Any]) -> Array:
        ((kind, value),) = attributes.items()
        if kind == "value":
            return self.source.array(value)
        if kind in ("value_float", "value_floats"):
            return np.asarray(value, np.float32)
        if kind in ("value_int", "value_ints"):
            return np.asarray(value, np.int64)
        raise NotSaid


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
    place = 0 if arrays[0] is not None else 1
    array = arrays[place]
    if array is not None and array.ndim > 1 and not isinstance(own.value(names[1 - place]), Linear):
        array = None  # a state that was trained
    if array is None:
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
