"""Nodes as operations of `rnnx.ops`, where no layer does the same: functions of each number, parts, sums along axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx import layers, ops
from rnnx._typing import Array
from rnnx.formats.onnx import _axes
from rnnx.formats.onnx._axes import (
    constant_beside,
    dropped,
    own_axis,
    side_by_side,
    taken,
    without,
)
from rnnx.formats.onnx._file import attributes_of, called
from rnnx.formats.onnx._limits import MOST_REPEATED
from rnnx.formats.onnx._reading import NoLayer, Reading
from rnnx.formats.onnx._view import DIRECTIONS, ONE, Size, Sizes, View, Zeros, product, view_of

TIME = 1  # axis of a tensor
VERY_FIRST, VERY_LAST = -(2**31) + 1, 2**31 - 1  # ends of slices at or beyond them are those of the axis
MOST_UNKNOWN = 8  # sizes that are not known, in a product of sizes
PADDINGS = ("constant", "edge", "reflect")
UNARY: dict[str, Any] = {
    "Abs": ops.abs, "Ceil": ops.ceil, "Cos": ops.cos, "Erf": ops.erf, "Floor": ops.floor, "IsInf": ops.isinf,
    "IsNaN": ops.isnan, "Log": ops.log, "Neg": ops.negative, "Not": ops.logical_not, "Reciprocal": ops.reciprocal,
    "Round": ops.round, "Sign": ops.sign, "Sin": ops.sin, "Sqrt": ops.sqrt,
}  # fmt: skip
BINARY: dict[str, Any] = {
    "Add": ops.add, "Sub": ops.subtract, "Mul": ops.multiply, "Div": ops.divide, "Max": ops.maximum,
    "Min": ops.minimum, "Pow": ops.power, "And": ops.logical_and, "Or": ops.logical_or, "Xor": ops.logical_xor,
    "Equal": ops.equal, "Greater": ops.greater, "GreaterOrEqual": ops.greater_equal, "Less": ops.less,
    "LessOrEqual": ops.less_equal,
}  # fmt: skip
REDUCE: dict[str, Any] = {
    "ReduceMax": ops.max, "ReduceMean": ops.mean, "ReduceMin": ops.min, "ReduceProd": ops.prod, "ReduceSum": ops.sum,
    "ReduceL2": ops.norm, "ReduceLogSumExp": ops.logsumexp,
}  # fmt: skip


def each(reading: Reading, view: View, function: Any, *arguments: Any) -> View:
    """An operation on every number of a value."""
    tensors = tuple(reading.operate(function, tensor, *arguments) for tensor in view.tensors)
    joined = None if view.joined is None else reading.operate(function, view.joined, *arguments)
    return View(tensors, view.axes, view.names, view.flipped, joined)


def _unary(reading: Reading, node: Any) -> None:
    reading.give(node.output[0], each(reading, reading.view(node, 0), UNARY[node.op_type]))


def binary(reading: Reading, node: Any) -> None:
    """An operation with two values, or with one and a constant."""
    function, names = BINARY[node.op_type], list(node.input)
    if len(names) != 2:
        raise NoLayer(f"{called(node)} of {len(names)} values")
    known = [k for k, name in enumerate(names) if name in reading.known]
    if not known:
        tensors, axes, sizes = side_by_side(reading, node, [_axes.view(reading, node, k) for k in range(2)])
        reading.give(node.output[0], view_of(reading.operate(function, *tensors), axes, sizes))
        return
    place = known[0]
    view, array = constant_beside(reading, node, _axes.view(reading, node, 1 - place), reading.known[names[place]])
    operand = array.item() if array.size == 1 and array.dtype.kind == "f" else array
    tensors = [view.single, view.single]
    tensors[place] = operand
    y = reading.operate(function, *tensors)
    reading.give(node.output[0], view_of(y, view.axes, view.names, view.flipped))


def where(reading: Reading, node: Any) -> None:
    """A choice between two values, or constants, by a third."""
    places = [k for k in range(3) if node.input[k] not in reading.known]
    tensors, axes, sizes = side_by_side(reading, node, [_axes.view(reading, node, k) for k in places])
    operands: list[Any] = [None] * 3
    for k, tensor in zip(places, tensors, strict=True):
        operands[k] = tensor
    whole = view_of(tensors[0], axes, sizes)
    for k in range(3):
        if operands[k] is None:
            operands[k] = constant_beside(reading, node, whole, reading.known[node.input[k]])[1]
    reading.give(node.output[0], view_of(reading.operate(ops.where, *operands), axes, sizes))


def prelu(reading: Reading, node: Any) -> None:
    """A PReLU, its slopes shared along the axes of size 1."""
    view, slope = constant_beside(reading, node, reading.view(node, 0), reading.constant(node, 1))
    shared = [k for k in range(1, view.width) if slope.shape[k] == 1]
    y = reading.weighted(
        ("PRelu", node.input[1], view.width, *slope.shape),
        lambda: layers.PReLU(shared_axes=shared, dtype=slope.dtype.name),
        lambda: [slope.reshape(slope.shape[1:])],
        view.single,
    )
    reading.give(node.output[0], view_of(y, view.axes, view.names, view.flipped))


# ---- Parts -----------------------------------------------------------------------------------------------------------


def _ends(reading: Reading, node: Any, place: int, attribute: str) -> list[Size] | None:
    """Where slices begin or end: numbers, or sizes."""
    given = attributes_of(node).get(attribute)
    if given is not None:
        return [Size(int(n)) for n in given]
    if place >= len(node.input) or not node.input[place]:
        return None
    found = reading.sizes(node.input[place])
    if found is None:
        raise NoLayer(f"input {place} of {called(node)} is not a constant")
    return list(found.sizes)


def slice_(reading: Reading, node: Any) -> None:
    """Parts of a value, of a shape, or of zeros."""
    found = reading.value(node.input[0])
    starts, ends = (_ends(reading, node, k + 1, name) for k, name in enumerate(("starts", "ends")))
    axes, steps = (reading.integers(node, k + 3, name) for k, name in enumerate(("axes", "steps")))
    if starts is None or ends is None or len(starts) != len(ends):
        raise NoLayer(f"{called(node)} needs starts and ends")
    if isinstance(found, Sizes):
        if len(starts) != 1 or starts[0].names or ends[0].names:
            raise NoLayer(f"{called(node)} of a shape by places that are not constant")
        part = slice(starts[0].number, ends[0].number, steps[0] if steps else 1)
        reading.give(node.output[0], Sizes(found.sizes[part]))
        return
    if isinstance(found, Zeros):
        reading.give(node.output[0], _zeros_sliced(found, starts, ends, axes, steps))
        return
    for k, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis = (axes[k] if axes else k) % found.rank
        found = _sliced(reading, node, found, axis, start, end, steps[k] if steps else 1)
    reading.give(node.output[0], found)


def _zeros_sliced(zeros: Zeros, starts: list[Size], ends: list[Size], axes: Any, steps: Any) -> Zeros:
    sizes = None if zeros.sizes is None else list(zeros.sizes)
    for k, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis = axes[k] if axes else k
        if sizes is None or not -len(sizes) <= axis < len(sizes) or sizes[axis].names or start.names or end.names:
            return Zeros()
        part = slice(start.number, end.number, steps[k] if steps else 1)
        sizes[axis] = Size(len(range(sizes[axis].number)[part]))
    return Zeros(None if sizes is None else tuple(sizes))


def _sliced(reading: Reading, node: Any, view: View, axis: int, start: Size, end: Size, step: int) -> View:
    if axis >= view.rank:
        raise NoLayer(f"{called(node)}: there is no axis {axis}")
    size = view.sizes()[axis]
    begin = _place(node, start, size)
    stop = _place(node, end, size)
    if step == -1 and begin == -1 and (stop is None or (stop <= VERY_FIRST)) and view.axes[axis] == (TIME,):
        if view.width > 2:
            return View(view.tensors, view.axes, view.names, not view.flipped, view.joined)
    if step < 0 and stop is not None and stop <= VERY_FIRST:
        stop = None
    elif step > 0 and stop is not None and stop >= VERY_LAST:
        stop = None
    if step > 0 and begin is not None and begin <= VERY_FIRST:
        begin = None
    known = None if size.names else size.number
    if step == 1 and (begin in (None, 0) or (known is not None and begin is not None and begin <= -known)):
        if stop is None or (known is not None and stop >= known):
            return view
    count = None if known is None else len(range(*slice(begin, stop, step).indices(known)))
    if known is None and step == 1 and begin is not None:  # one step, of however many there are
        last = begin == -1 if stop is None else stop == begin + 1 != 0
    else:
        last = False
    if not view.axes[axis]:
        if count != 1:
            raise NoLayer(f"{called(node)} takes nothing of an axis of size 1")
        return view
    if count == 0:
        raise NoLayer(f"{called(node)} takes nothing")
    view, own = own_axis(reading, node, view, axis)
    assert own is not None
    if (count == 1 or last) and own != view.width - 1:
        first = begin if begin is not None else (0 if step > 0 else -1)
        first = first if known is None or first < known else known - 1  # a slice backwards may begin behind the end
        return taken(reading, view, axis, own, first)
    return taken(reading, view, axis, own, slice(begin, stop, step))


def _place(node: Any, end: Size, size: Size) -> int | None:
    """Where a slice begins or ends; None is the end of the axis."""
    if end.names:
        if end == size:
            return None
        raise NoLayer(f"{called(node)} by places that are not constant")
    return end.number


def taken_by(reading: Reading, node: Any, view: View, axis: int, places: Array) -> View:
    """What stands at constant places of an axis: one, which has no axis then, or several."""
    places = np.asarray(places, np.int64)
    size = view.sizes()[axis % view.rank] if -view.rank <= axis < view.rank else ONE
    axis %= max(1, view.rank)
    if not size.names and places.size and not (-size.number <= places.min() <= places.max() < size.number):
        raise NoLayer(f"{called(node)} takes places that are not there")
    view, own = own_axis(reading, node, view, axis)
    if places.ndim > 1 or places.size == 0:
        raise NoLayer(f"{called(node)} by places of shape {places.shape}")
    scalar = places.ndim == 0
    if own is None:  # of size 1
        if places.size > 1:
            raise NoLayer(f"{called(node)} takes one place several times")
        return dropped(view, axis) if scalar else view
    if places.size == 1:
        found = taken(reading, view, axis, own, int(places.reshape(())))
        return dropped(found, axis) if scalar else found
    if own == DIRECTIONS:
        return View(tuple(view.tensors[k] for k in places), view.axes, view.names, view.flipped)
    if not size.names:
        reading.repeat(node, -(-places.size // max(1, size.number)))
    y = reading.operate(ops.take, view.single, places, own)
    names = [name if k != own else "" for k, name in enumerate(view.names)]
    return view_of(y, view.axes, names, view.flipped)


def _split(reading: Reading, node: Any) -> None:
    view, attributes = reading.view(node, 0), attributes_of(node)
    axis = attributes.get("axis", 0)
    if not -view.rank <= axis < view.rank:
        raise NoLayer(f"{called(node)}: there is no axis {axis}")
    axis %= view.rank
    size = view.sizes()[axis]
    if size.names:
        raise NoLayer(f"{called(node)} cuts an axis of any size")
    counts = reading.integers(node, 1, "split")
    if counts is None:
        each_one = -(-size.number // max(1, len(node.output)))
        counts = [min(each_one, size.number - k * each_one) for k in range(len(node.output))]
    if len(counts) != len(node.output) or min(counts, default=0) < 1 or sum(counts) != size.number:
        raise NoLayer(f"{called(node)} cuts {size.number} into {counts}")
    if len(counts) == 1:
        reading.give(node.output[0], view)
        return
    view, own = own_axis(reading, node, view, axis)
    assert own is not None
    start = 0
    for name, count in zip(node.output, counts, strict=True):
        if name and reading.is_used(name):
            one = count == 1 and own != view.width - 1
            part = start if one else slice(start, start + count)
            reading.give(name, taken(reading, view, axis, own, part))
        start += count


def _pad(reading: Reading, node: Any) -> None:
    view, attributes = reading.view(node, 0), attributes_of(node)
    pads, mode = reading.integers(node, 1, "pads"), attributes.get("mode", "constant")
    value = attributes.get("value", 0.0)
    if len(node.input) > 2 and node.input[2]:
        value = reading.number(node.input[2])
    axes = reading.integers(node, 3, "") if len(node.input) > 3 and node.input[3] else list(range(view.rank))
    if pads is None or axes is None or value is None or len(pads) != 2 * len(axes) or mode not in PADDINGS:
        raise NoLayer(f"{called(node)} with {attributes}")
    if min(pads, default=0) < 0 or max(pads, default=0) > MOST_REPEATED:
        raise NoLayer(f"{called(node)} with pads {pads[:8]}")
    for axis, before, after in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        if not (before or after):
            continue
        view, own = own_axis(reading, node, reading.stacked(view), axis)
        if own is None or own < 0:
            raise NoLayer(f"{called(node)} of an axis of size 1")
        margins = [(before, after) if k == own else (0, 0) for k in range(view.width)]
        more = {"constant_values": value} if mode == "constant" else {}
        y = reading.operate(ops.pad, view.single, margins, mode, **more)
        names = list(view.names)
        names[own] = reading.new_name() if y.shape[own] is None else ""
        view = view_of(y, view.axes, names, view.flipped)
    reading.give(node.output[0], view)


# ---- Along axes ------------------------------------------------------------------------------------------------------


def reduced(reading: Reading, node: Any) -> None:
    """A sum, mean, maximum, ... along axes, or the product of sizes."""
    sizes = reading.values.get(node.input[0])
    if isinstance(sizes, Sizes) and node.op_type == "ReduceProd":
        total = product(sizes.sizes)
        if len(total.names) > MOST_UNKNOWN or total.number > VERY_LAST:
            raise NoLayer(f"{called(node)} makes a size that no array has")
        reading.give(node.output[0], Sizes((total,), not attributes_of(node).get("keepdims", 1)))
        return
    view, attributes = reading.view(node, 0), attributes_of(node)
    axes, keep = reading.integers(node, 1, "axes"), bool(attributes.get("keepdims", 1))
    if not axes:
        if attributes.get("noop_with_empty_axes", 0):
            reading.give(node.output[0], view)
            return
        raise NoLayer(f"{called(node)} is along the batch")
    for axis in sorted({k % view.rank for k in axes}, reverse=True):
        view, own = own_axis(reading, node, view, axis)
        if own is None:
            view = each(reading, view, ops.abs) if node.op_type == "ReduceL2" else view
            view = view if keep else dropped(view, axis)
            continue
        if own == DIRECTIONS:
            view = reading.stacked(view)
            (own,) = view.axes[axis]
        given = (2,) if node.op_type == "ReduceL2" else ()  # the norm
        y = reading.operate(REDUCE[node.op_type], view.single, *given, axis=own)
        view = without(view, axis, own, y, keep=keep)
    reading.give(node.output[0], view)


def _argument(reading: Reading, node: Any) -> None:
    view, attributes = reading.tensor(node, 0), attributes_of(node)
    if attributes.get("select_last_index", 0):
        raise NoLayer(f"{called(node)} takes the last of equal ones")
    axis = attributes.get("axis", 0)
    view, own = own_axis(reading, node, view, axis)
    if own is None:
        raise NoLayer(f"{called(node)} is along an axis of size 1")
    function = ops.argmax if node.op_type == "ArgMax" else ops.argmin
    y = reading.operate(function, view.single, axis=own)
    reading.give(node.output[0], without(view, axis % view.rank, own, y, keep=bool(attributes.get("keepdims", 1))))


def normalized(reading: Reading, node: Any, view: View, axis: int) -> View:
    """Softmax or LogSoftmax along any axis."""
    view, own = own_axis(reading, node, view, axis)
    if own is None or own == DIRECTIONS:
        raise NoLayer(f"{called(node)} is along an axis that no layer has")
    function = ops.softmax if node.op_type == "Softmax" else ops.log_softmax
    return view_of(reading.operate(function, view.single, axis=own), view.axes, view.names, view.flipped)


def matmul(reading: Reading, node: Any) -> None:
    """The product of two values; the axes before the last two are those of a stack of matrices."""
    views = [_axes.view(reading, node, k) for k in range(2)]
    if any(view.rank < 2 for view in views):
        raise NoLayer(f"{called(node)} of vectors")
    tensors, axes, names = side_by_side(reading, node, views, kept=2)
    y = reading.operate(ops.matmul, *tensors)
    # the last two sizes are those of the rows of the first and the columns of the second
    for place, view in ((-2, views[0]), (-1, views[1])):
        entry = view.axes[place]
        names[place] = view.names[entry[0]] if entry and entry[0] >= 0 else ""
    reading.give(node.output[0], view_of(y, axes, names))


READERS: dict[str, Callable[[Reading, Any], None]] = {
    **dict.fromkeys(UNARY, _unary),
    **dict.fromkeys(("Pow", "And", "Or", "Xor", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"), binary),
    **dict.fromkeys(REDUCE, reduced),
    "ArgMax": _argument,
    "ArgMin": _argument,
    "PRelu": prelu,
    "Pad": _pad,
    "Slice": slice_,
    "Split": _split,
    "Where": where,
}
