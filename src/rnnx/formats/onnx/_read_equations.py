"""The nodes of a graph as equations between its values, one reader for each operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.formats.onnx._activations import DEFAULTS
from rnnx.formats.onnx._algebra import (
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
from rnnx.formats.onnx._equations import Equations
from rnnx.formats.onnx._file import Source, attributes_of
from rnnx.formats.onnx._graph_values import GATES
from rnnx.formats.onnx._limits import MOST_AXES

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
FAILURES = (  # a damaged file may break what is taken for granted
    ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, NotSaid, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip
Reader = Callable[[Equations, Any, dict[str, Any]], None]


def equations_of(
    source: Source,
    graph: Any,
    outer: Equations | None = None,
    counters: frozenset[str] = frozenset(),
    constants: dict[str, Array] | None = None,
) -> Equations:
    """The equations of a graph; arguments as of `Equations`."""
    equations = Equations(source, graph, outer, counters, constants)
    for node in equations.nodes:
        _read(equations, node)
    equations.note_names()
    return equations


def _read(equations: Equations, node: Any) -> None:
    outputs = [name for name in node.output if name]
    try:
        if node.domain in ("", "ai.onnx"):
            attributes = attributes_of(node)
            if equations.fold(node, attributes):
                return
            for name, rank in zip(node.output, equations.ranks_of(node, attributes), strict=False):
                if name and name not in equations.ranks:
                    equations.ranks[name] = rank
            reader = READERS.get(node.op_type)
            if reader is not None:
                reader(equations, node, attributes)
    except FAILURES:
        pass
    for name in outputs:
        equations.ranks.setdefault(name, None)


def _pass(equations: Equations, node: Any, attributes: dict[str, Any]) -> None:
    """Identity, and Cast of what has the type of the weights already."""
    name, target = node.input[0], node.output[0]
    if name in equations.sizes:
        equations.sizes[target] = equations.sizes[name]
    if name in equations.slices and node.op_type == "Identity":
        equations.slices[target] = equations.slices[name]
    if node.op_type == "Identity":
        equations.of[target] = equations.value(name)
        return
    from onnx import helper

    if equations.dtype(name) == helper.tensor_dtype_to_np_dtype(attributes["to"]):
        equations.of[target] = equations.value(name)


def _sum(equations: Equations, node: Any, attributes: dict[str, Any]) -> None:
    """Add and Sub."""
    names, sign = list(node.input), -1.0 if node.op_type == "Sub" else 1.0
    if _of_sizes(equations, node):
        return
    arrays = [equations.array(name) for name in names]
    place = 0 if arrays[0] is not None else 1
    array = arrays[place]
    if array is not None and array.ndim > 1 and not isinstance(equations.value(names[1 - place]), Linear):
        array = None  # a state that was trained
    if array is None:
        value = added(equations.atoms, equations.value(names[0]), equations.value(names[1]), (names[0], names[1]), sign)
        equations.of[node.output[0]] = summed(equations.atoms, value)
        return
    other = equations.value(names[1 - place])
    if array.dtype not in FLOATS:
        raise NotSaid
    if isinstance(other, Linear) and sign == 1.0:
        equations.of[node.output[0]] = with_bias(other, array)
        return
    if array.size != 1 or array.ndim > 1:
        raise NotSaid
    number = Poly({(): float(array.reshape(()))})
    first, second = (number, other) if place == 0 else (other, number)
    equations.of[node.output[0]] = added(equations.atoms, first, second, (names[0], names[1]), sign)


def _times(equations: Equations, node: Any, attributes: dict[str, Any]) -> None:
    names = list(node.input)
    if _of_sizes(equations, node):
        return
    values: list[Value] = []
    for name in names:
        array = equations.array(name)
        if array is not None and array.dtype not in FLOATS:
            raise NotSaid
        alone = array is not None and array.size == 1 and array.ndim < 2
        values.append(Poly({(): float(array.reshape(()))}) if alone and array is not None else equations.value(name))
    equations.of[node.output[0]] = multiplied(equations.atoms, values[0], values[1], (names[0], names[1]))


def _negative(equations: Equations, node: Any, attributes: dict[str, Any]) -> None:
    name = node.input[0]
    equations.of[node.output[0]] = multiplied(equations.atoms, Poly({(): -1.0}), equations.value(name), ("", name))


def _matmul(equations: Equations, node: Any, attributes: dict[str, Any]) -> None:
    matrix = equations.array(node.input[1])
    if matrix is None or matrix.ndim != 2 or matrix.dtype not in FLOATS or not equations.rank(node.input[0]):
        raise NotSaid
    equations.of[node.output[0]] = product(equations.atoms, equations.value(node.input[0]), matrix, node.input[0])


def _gemm(equations: Equations, node: Any, attributes: dict[str, Any]) -> None:
    matrix = equations.array(node.input[1])
    plain = attributes.get("alpha", 1.0) == 1.0 == attributes.get("beta", 1.0) and not attributes.get("transA", 0)
    if matrix is None or matrix.ndim != 2 or matrix.dtype not in FLOATS or not plain:
        raise NotSaid
    matrix = matrix.T if attributes.get("transB", 0) else matrix
    found = product(equations.atoms, equations.value(node.input[0]), matrix, node.input[0])
    if len(node.input) > 2 and node.input[2]:
        bias = equations.array(node.input[2])
        if bias is None:
            raise NotSaid
        found = with_bias(found, bias)
    equations.of[node.output[0]] = found


def _gate(equations: Equations, node: Any, attributes: dict[str, Any]) -> None:
    name, operator = node.input[0], node.op_type
    argument = summed(equations.atoms, equations.value(name))
    if not isinstance(argument, Linear) and not (isinstance(argument, Poly) and _mixed(equations, argument)):
        argument = as_factor(equations.atoms, argument, name)
    defaults = DEFAULTS.get(operator, {})
    numbers = tuple(float(attributes.get(key, default or 0.0)) for key, default in defaults.items())
    equations.of[node.output[0]] = equations.atoms.gate(operator, numbers, argument, node.output[0])


def _mixed(equations: Equations, poly: Poly) -> bool:
    """Whether it is a sum with products with matrices in it, as a new state of a GRU has inside."""
    return any(isinstance(equations.atoms.kinds[k], Linear) for monomial in poly.terms for k in monomial)


def _clip(equations: Equations, node: Any, attributes: dict[str, Any]) -> None:
    """A line between 0 and 1 is a hard sigmoid."""
    bounds = [attributes.get("min"), attributes.get("max")]
    for k, name in enumerate(list(node.input)[1:3]):
        array = equations.array(name) if name else None
        bounds[k] = None if array is None or array.size != 1 else float(array.reshape(()))
    _hard_sigmoid(equations, node, bounds)


def _between(equations: Equations, node: Any, attributes: dict[str, Any]) -> None:
    """Min and Max, one behind the other, as tf2onnx writes a line between 0 and 1."""
    arrays = [equations.array(name) for name in node.input]
    if len(arrays) != 2 or (arrays[0] is None) == (arrays[1] is None):
        raise NotSaid
    place = 0 if arrays[0] is None else 1
    bound, name = arrays[1 - place], node.input[place]
    assert bound is not None
    if bound.size != 1:
        raise NotSaid
    before = equations.makers.get(name)
    other = "Min" if node.op_type == "Max" else "Max"
    if before is None or before.op_type != other or len(before.input) != 2:
        raise NotSaid
    inner = [equations.array(part) for part in before.input]
    at = 0 if inner[0] is None else 1
    first = inner[1 - at]
    if first is None or first.size != 1 or inner[at] is not None:
        raise NotSaid
    pair = [float(first.reshape(())), float(bound.reshape(()))]
    _hard_sigmoid(equations, node, pair if other == "Max" else pair[::-1], before.input[at])


def _hard_sigmoid(equations: Equations, node: Any, bounds: list[Any], name: str | None = None) -> None:
    name = name or node.input[0]
    poly = equations.of.get(name)
    if bounds != [0.0, 1.0] or not isinstance(poly, Poly):
        raise NotSaid
    offset = poly.terms.get((), 0.0)
    rest = [(monomial, factor) for monomial, factor in poly.terms.items() if monomial]
    if len(rest) != 1 or len(rest[0][0]) != 1:
        raise NotSaid
    argument = equations.atoms.kinds[rest[0][0][0]]
    if not isinstance(argument, Linear):
        raise NotSaid
    equations.of[node.output[0]] = equations.atoms.gate("HardSigmoid", (rest[0][1], offset), argument, node.output[0])


def _split(equations: Equations, node: Any, attributes: dict[str, Any]) -> None:
    name, count = node.input[0], len(node.output)
    rank, axis = equations.rank(name), attributes.get("axis", 0)
    if rank is None or not -rank <= axis < rank:
        raise NotSaid
    axis %= rank
    counts = equations.integers(node, 1, attributes, "split")
    value = equations.value(name)
    size = width_of(value) if axis == rank - 1 else equations.extent(name, axis)
    if counts is None:
        if size is None or size % count:
            raise NotSaid
        counts = [size // count] * count
    start = 0
    for output, each in zip(node.output, counts, strict=False):
        if output and axis == rank - 1 and each:
            equations.of[output] = columns(equations.atoms, value, start, start + each, output)
        elif output and each == 1:
            equations.slices[output] = (name, axis, start)
        start += each


def _slice(equations: Equations, node: Any, attributes: dict[str, Any]) -> None:
    name, target = node.input[0], node.output[0]
    starts, ends = (equations.integers(node, k + 1, attributes, key) for k, key in enumerate(("starts", "ends")))
    axes, steps = (equations.integers(node, k + 3, attributes, key) for k, key in enumerate(("axes", "steps")))
    if starts is None or ends is None or len(starts) != len(ends) or (steps and set(steps) != {1}):
        raise NotSaid
    if name in equations.sizes and not equations.sizes[name][1] and len(starts) == 1:
        equations.sizes[target] = equations.sizes[name][0][slice(starts[0], ends[0])], False
        return
    rank = equations.rank(name)
    if rank is None:
        raise NotSaid
    value = equations.value(name)
    cuts = []
    for k, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis = (axes[k] if axes else k) % rank
        size = width_of(value) if axis == rank - 1 else equations.extent(name, axis)
        if start == 0 and (end >= 2**31 - 1 or end == size):
            continue
        if start < 0 and size is not None:
            start += size
        if end < 0 and size is not None:
            end += size
        cuts.append((axis, start, end if size is None else min(end, size)))
    if not cuts:
        equations.of[target] = value
        return
    ((axis, start, end),) = cuts
    if axis == rank - 1:
        equations.of[target] = columns(equations.atoms, value, start, end, target)
    elif end == start + 1:
        equations.slices[target] = (name, axis, start)


def _squeeze(equations: Equations, node: Any, attributes: dict[str, Any]) -> None:
    name, target = node.input[0], node.output[0]
    axes = equations.integers(node, 1, attributes, "axes")
    if name in equations.sizes:
        sizes, scalar = equations.sizes[name]
        if len(sizes) == 1:
            _give_sizes(equations, target, sizes, True)
        return
    rank = equations.rank(name)
    if name in equations.slices and rank is not None and axes is not None and len(axes) == 1:
        source, axis, index = equations.slices[name]
        if axes[0] % rank == axis:
            equations.of[target] = _taken(equations, source, axis, index, target)


def _unsqueeze(equations: Equations, node: Any, attributes: dict[str, Any]) -> None:
    name = node.input[0]
    if name in equations.sizes and equations.sizes[name][1]:
        _give_sizes(equations, node.output[0], equations.sizes[name][0], False)


def _taken(equations: Equations, source: str, axis: int, index: int | str, name: str) -> Value:
    """One step of a value: of products with weights those of that step."""
    value, rank = equations.value(source), equations.rank(source)
    if isinstance(index, int) and index < 0:
        size = equations.extent(source, axis)
        index = index if size is None else index + size
    if isinstance(value, Linear) and all(_is_value(equations, monomial, rank) for monomial in value.parts):
        parts = {}
        for monomial, matrix in value.parts.items():
            place = Place(equations.atoms.names[monomial[0]], axis, index)
            step = equations.atoms.place(place, "", matrix.shape[0])
            parts[next(iter(step.terms))] = matrix
        return Linear(parts, value.bias, value.width)
    number = single(value)
    if number is not None and _is_value(equations, (number,), rank):
        source = equations.atoms.names[number]
    return equations.atoms.place(Place(source, axis, index), name, width_of(value))


def _is_value(equations: Equations, monomial: tuple[int, ...], rank: int | None) -> bool:
    """Whether it is one value of which nothing is known, with so many axes."""
    if len(monomial) != 1 or not isinstance(equations.atoms.kinds[monomial[0]], str):
        return False
    return equations.rank(equations.atoms.names[monomial[0]]) == rank


def _gather(equations: Equations, node: Any, attributes: dict[str, Any]) -> None:
    name, index = node.input[0], node.input[1]
    array = equations.array(index)
    if name in equations.sizes:
        if array is None or array.ndim > 1 or attributes.get("axis", 0):
            raise NotSaid
        sizes = equations.sizes[name][0]
        found = [sizes[int(k)] for k in array.reshape(-1)]
        _give_sizes(equations, node.output[0], found, array.ndim == 0)
        return
    rank = equations.rank(name)
    counted = index in equations.counters
    if rank is None or (array is None and not counted) or (array is not None and array.size != 1):
        raise NotSaid
    axis = attributes.get("axis", 0) % rank
    if axis == rank - 1:
        raise NotSaid
    if array is None:
        equations.of[node.output[0]] = _taken(equations, name, axis, "", node.output[0])
    elif array.ndim:
        equations.slices[node.output[0]] = (name, axis, int(array.reshape(())))
    else:
        equations.of[node.output[0]] = _taken(equations, name, axis, int(array), node.output[0])


def _concat(equations: Equations, node: Any, attributes: dict[str, Any]) -> None:
    names = list(node.input)
    if any(name in equations.sizes for name in names):
        found: list[int | None] = []
        for name in names:
            array = equations.array(name)
            found += equations.sizes[name][0] if array is None else [int(n) for n in array.reshape(-1)]
        _give_sizes(equations, node.output[0], found, False)
        return
    rank = next((equations.rank(name) for name in names if equations.rank(name) is not None), None)
    if rank is None or attributes["axis"] % rank != rank - 1 or len(names) > MOST_AXES:
        raise NotSaid
    equations.of[node.output[0]] = joined(equations.atoms, [(equations.value(name), name) for name in names])


def _shape(equations: Equations, node: Any, attributes: dict[str, Any]) -> None:
    rank = equations.rank(node.input[0])
    if rank is None:
        raise NotSaid
    sizes = [equations.extent(node.input[0], axis) for axis in range(rank)]
    if rank:
        sizes[-1] = sizes[-1] or width_of(equations.value(node.input[0]))
    start, end = attributes.get("start", 0), attributes.get("end", rank)
    equations.sizes[node.output[0]] = sizes[start:end], False


def _give_sizes(equations: Equations, name: str, sizes: list[int | None], scalar: bool) -> None:
    """Note a shape; one that is known is a constant."""
    equations.sizes[name] = sizes, scalar
    if None not in sizes and len(sizes) <= MOST_AXES:
        array = np.array(sizes, np.int64)
        equations.arrays[name] = array.reshape(()) if scalar else array


def _of_sizes(equations: Equations, node: Any) -> bool:
    """Arithmetic with sizes; False if it is none."""
    names = list(node.input)
    if len(names) != 2 or not any(name in equations.sizes for name in names):
        return False
    sides: list[list[int | None]] = []
    scalar = True
    for name in names:
        array = equations.array(name)
        if array is None:
            sides.append(equations.sizes[name][0])
            scalar &= equations.sizes[name][1]
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
    _give_sizes(equations, node.output[0], found, scalar)
    return True


def _where(equations: Equations, node: Any, attributes: dict[str, Any]) -> None:
    """A choice that is always the same."""
    condition = equations.array(node.input[0])
    if condition is None or condition.size != 1 or equations.rank(node.input[1]) != equations.rank(node.input[2]):
        raise NotSaid
    equations.same[node.output[0]] = node.input[1 if condition.item() else 2]
    equations.of[node.output[0]] = equations.value(equations.same[node.output[0]])


def _quotient(equations: Equations, node: Any, attributes: dict[str, Any]) -> None:
    _of_sizes(equations, node)


READERS: dict[str, Reader] = {
    "Add": _sum, "Cast": _pass, "Clip": _clip, "Concat": _concat, "Div": _quotient, "Gather": _gather, "Gemm": _gemm,
    "Identity": _pass, "MatMul": _matmul, "Max": _between, "Min": _between, "Mul": _times, "Neg": _negative,
    "Shape": _shape, "Slice": _slice, "Split": _split, "Squeeze": _squeeze, "Sub": _sum, "Unsqueeze": _unsqueeze,
    "Where": _where,
    **dict.fromkeys(GATES, _gate),
}  # fmt: skip
