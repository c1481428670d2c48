"""A place of its own for each row of the batch: Gather, GatherND and GatherElements, and what counts the places.

``x[arange(batch), lengths - 1]`` of PyTorch is a Gather from all rows below each other, at the number of the row times
the steps plus the place, or a GatherND of pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx import ops
from rnnx.formats.onnx import _read_layers, _read_shapes
from rnnx.formats.onnx._axes import arranged
from rnnx.formats.onnx._file import attributes_of, called
from rnnx.formats.onnx._reading import FLOATS, NoLayer, Reading
from rnnx.formats.onnx._view import Count, Size, Sizes, View, view_of

COUNTED = {"Add": ops.add, "Sub": ops.subtract, "Mul": ops.multiply}
MOVES = ("Cast", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
WHOLE = "int64"  # the type of sizes and places


# ---- Numbers that follow from sizes ----------------------------------------------------------------------------------


def _number(reading: Reading, node: Any, name: str) -> Any:
    """A size as a number for each row of the batch, or a constant; None if it is something else."""
    if name in reading.known:
        array = reading.known[name]
        return int(array.reshape(())) if array.size == 1 and array.dtype.kind in "iu" else None
    found = reading.values.get(name)
    if isinstance(found, Count):
        return found.tensor
    if not isinstance(found, Sizes) or len(found.sizes) != 1:
        return None
    size = found.sizes[0]
    return size.number if not size.names else _counted(reading, node, size)


def _counted(reading: Reading, node: Any, size: Size) -> Any:
    """A size that is not known as a tensor, of shape (batch,)."""
    like, place = reading.of_size(node, size)
    key = tuple(slice(None) if k in (0, place) else 0 for k in range(len(like.shape)))
    line = reading.operate(ops.get_item, like, key)
    return reading.operate(ops.sum, reading.operate(ops.ones_like, line, WHOLE), 1)


def _arithmetic(reading: Reading, node: Any) -> None:
    """Arithmetic with sizes that are not known, where their product does not say what comes of it."""
    values = [reading.values.get(name) for name in node.input]
    if node.op_type in COUNTED and len(values) == 2 and any(isinstance(value, (Count, Sizes)) for value in values):
        found = _with_sizes(reading, node, values)
        if found is not None:
            reading.give(node.output[0], found)
            return
    _read_layers.READERS[node.op_type](reading, node)


def _with_sizes(reading: Reading, node: Any, values: list[Any]) -> Any:
    function = COUNTED[node.op_type]
    places = [k for k, value in enumerate(values) if isinstance(value, View)]
    if not places:
        known: NoLayer | None = None
        if not any(isinstance(value, Count) for value in values):
            try:
                return _read_shapes.computed_sizes(reading, node)
            except NoLayer as error:
                known = error
        try:
            numbers = [_number(reading, node, name) for name in node.input]
        except NoLayer:
            numbers = [None]
        if None in numbers or all(isinstance(number, int) for number in numbers):
            if known is not None:
                raise known
            return None
        return Count(reading.operate(function, *numbers))
    view, other = reading.stacked(values[places[0]]), node.input[1 - places[0]]
    if len(places) > 1 or np.dtype(view.dtype).kind not in "iu":
        return None
    number = _number(reading, node, other)
    if number is None:
        return None
    if not isinstance(number, int):
        number = reading.operate(ops.cast, number, np.dtype(view.dtype).name)
        if view.width > 1:
            number = reading.operate(ops.expand_dims, number, list(range(1, view.width)))
    sides = [view.single, number] if not places[0] else [number, view.single]
    return view_of(reading.operate(function, *sides), view.axes, view.names, view.flipped)


# ---- Rows ------------------------------------------------------------------------------------------------------------


def _is_numbers_of_rows(reading: Reading, name: str, batch: Size) -> bool:
    """Whether a value is 0, 1, 2, ... for the rows of the batch."""
    node = reading.makers.get(name)
    while node is not None and node.op_type in MOVES:
        node = reading.makers.get(node.input[0])
    if node is None:
        return False
    if node.op_type == "Range":
        start, step = reading.number(node.input[0]), reading.number(node.input[2])
        end = reading.sizes(node.input[1])
        return (start, step) == (0, 1) and end is not None and end.sizes == (batch,)
    ones = reading.makers.get(node.input[0])
    if node.op_type != "NonZero" or ones is None or ones.op_type != "ConstantOfShape":
        return False
    value, shape = attributes_of(ones).get("value"), reading.sizes(ones.input[0])
    return value is not None and bool(reading.source.array(value).all()) and shape is not None and (
        shape.sizes == (batch,)
    )  # fmt: skip


def _places(reading: Reading, name: str) -> Any:
    """A place for each row, of shape (batch,); None if it is something else."""
    view = reading.values.get(name)
    if not isinstance(view, View) or view.single is None or np.dtype(view.dtype).kind not in "iu":
        return None
    kept = [entry for entry in view.axes if entry]
    return view.single if kept == [(0,)] and view.width == 1 else None


def _taken(reading: Reading, x: Any, places: Any) -> Any:
    """What stands at a place of the second axis, another one for each row."""
    width = len(x.shape)
    index = reading.operate(ops.expand_dims, places, list(range(1, width)))
    y = reading.operate(ops.take_along_axis, x, index, 1)
    return reading.operate(ops.get_item, y, (slice(None), 0))


def _gather(reading: Reading, node: Any) -> None:
    found = reading.values.get(node.input[0])
    by_rows = isinstance(found, View) and found.rank > 1 and found.axes[0][:2] == (0, 1) and found.width > 2
    if not (by_rows and attributes_of(node).get("axis", 0) == 0 and node.input[1] not in reading.known):
        _read_shapes.READERS["Gather"](reading, node)
        return
    assert isinstance(found, View)
    below = _below_each_other(reading, node.input[1], found.size_of(0))
    if below is None or below[1] != found.size_of(1) or found.flipped or found.axes[0] != (0, 1):
        raise NoLayer(f"{called(node)} by places in all rows of the batch")
    rest: Any = tuple((k,) for k in range(2, found.width))
    if found.axes[1:] != rest:
        raise NoLayer(f"{called(node)} of a value whose axes are in another order")
    found = reading.side_by_side(found, found.axes) or found
    x = found.single if found.single is not None else found.joined
    places = _places(reading, below[0])
    reading.give(node.output[0], view_of(_taken(reading, x, places), None, [found.names[0], *found.names[2:]]))


def _below_each_other(reading: Reading, name: str, batch: Size) -> tuple[str, Size] | None:
    """A value that is a place for each row, counted through all rows below each other: the place in the row, and how
    many a row has."""
    for one, other in _sides(reading, name, "Add"):
        for rows, size in _sides(reading, other, "Mul"):
            times = reading.sizes(size)
            if times is not None and len(times.sizes) == 1 and _places(reading, one) is not None:
                if _is_numbers_of_rows(reading, rows, batch):
                    return one, times.sizes[0]
    return None


def _shape(reading: Reading, node: Any) -> None:
    """The shape of a value, also of places that are counted through all rows."""
    first = reading.first
    if isinstance(reading.values.get(node.input[0]), NoLayer) and first is not None and not attributes_of(node):
        below = _below_each_other(reading, node.input[0], first.size_of(0))
        if below is not None:
            reading.give(node.output[0], Sizes(reading.value(below[0]).sizes()))
            return
    _read_shapes.READERS["Shape"](reading, node)


def _sides(reading: Reading, name: str, operator: str) -> list[tuple[str, str]]:
    """The inputs of the node that makes a value, both ways round; nothing if it is another node."""
    node = reading.makers.get(name)
    while node is not None and node.op_type in ("Cast", "Identity"):
        node = reading.makers.get(node.input[0])
    if node is None or node.op_type != operator or len(node.input) != 2:
        return []
    one, two = node.input
    return [(one, two), (two, one)]


def _gather_nd(reading: Reading, node: Any) -> None:
    """A place for each row: pairs of the row and the place, or the place alone with the batch as such."""
    view, apart = reading.in_order(reading.tensor(node, 0)), attributes_of(node).get("batch_dims", 0)
    places = None
    if apart == 1:
        places = _places(reading, node.input[1])
    elif not apart:
        pair = reading.makers.get(node.input[1])
        if pair is not None and pair.op_type == "Concat" and len(pair.input) == 2:
            index = reading.values.get(pair.input[1])
            last = isinstance(index, View) and attributes_of(pair)["axis"] in (-1, index.rank - 1)
            if last and _is_numbers_of_rows(reading, pair.input[0], view.size_of(0)):
                places = _places(reading, pair.input[1])
    if places is None or view.width < 2:
        raise NoLayer(f"{called(node)} by other places than one for each row of the batch")
    y = _taken(reading, view.single, places)
    reading.give(node.output[0], view_of(y, None, [view.names[0], *view.names[2:]]))


def _gather_elements(reading: Reading, node: Any) -> None:
    view, index = reading.tensor(node, 0), reading.tensor(node, 1)
    axis = attributes_of(node).get("axis", 0) % max(1, view.rank)
    same = all(a == b or k == axis for k, (a, b) in enumerate(zip(view.sizes(), index.sizes(), strict=False)))
    single = all(len(entry) <= 1 for entry in (*view.axes, *index.axes)) and not (view.flipped or index.flipped)
    if view.rank != index.rank or not (same and single) or view.axes[axis] == (0,) or not view.axes[axis]:
        raise NoLayer(f"{called(node)} from axes of {spelled_sizes(view)} by {spelled_sizes(index)} places")
    if np.dtype(index.dtype).kind not in "iu" or np.dtype(view.dtype) not in FLOATS:
        raise NoLayer(f"{called(node)} of {view.dtype} by {index.dtype}")
    order = sorted(range(view.rank), key=lambda k: (view.axes[k] != (0,), k))
    if view.axes[order[0]] != (0,) or index.axes[order[0]] != (0,):
        raise NoLayer(f"{called(node)} of values with the batch on different axes")
    x, places = (
        arranged(reading, part, [part.axes[k][0] if part.axes[k] else None for k in order]) for part in (view, index)
    )
    y = reading.operate(ops.take_along_axis, x, places, order.index(axis))
    found = tuple((order.index(k),) for k in range(view.rank))
    names = ["" if n is not None else reading.new_name() for n in y.shape]
    for place, k in enumerate(order):
        own = index if k == axis else view
        if own.axes[k]:
            names[place] = own.names[own.axes[k][0]]
    reading.give(node.output[0], view_of(y, found, names))


def spelled_sizes(view: View) -> str:
    return " x ".join("?" if size.names else str(size.number) for size in view.sizes())


READERS: dict[str, Callable[[Reading, Any], None]] = {
    **dict.fromkeys(COUNTED, _arithmetic),
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "Shape": _shape,
}
