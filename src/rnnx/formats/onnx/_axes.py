"""Views with other axes, where an order alone does not say it: parts, steps turned around, values side by side."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import numpy as np

from rnnx import layers, ops
from rnnx.formats.onnx._file import called
from rnnx.formats.onnx._limits import MOST_REPEATED
from rnnx.formats.onnx._reading import FLOATS, NoLayer, Reading
from rnnx.formats.onnx._view import DIRECTIONS, ONE, Axes, Size, View, Zeros, view_of

TIME = 1  # axis of a tensor
BATCH = (0,)  # the axes of the batch in a view
ROWS = (0, 1)  # and of the batch and the timesteps as one axis


def own_axis(reading: Reading, node: Any, view: View, axis: int) -> tuple[View, int | None]:
    """The axis of the tensor that an axis of a value is, and the value with its axes so that it is one.

    None stands for an axis of size 1 that the tensor does not have.

    Raises
    ------
    NoLayer
        If it is the batch.
    """
    if not -view.rank <= axis < view.rank:
        raise NoLayer(f"{called(node)}: there is no axis {axis} in {view.rank} axes")
    entry = view.axes[axis]
    if entry == (DIRECTIONS,):
        return apart(reading, view), DIRECTIONS
    if len(entry) > 1 or (entry and view.single is None):
        view = reading.in_order(view)
        entry = view.axes[axis]
    if entry == BATCH:
        raise NoLayer(f"{called(node)} is along the batch")
    if entry == (TIME,) and view.flipped:
        view = in_time(reading, view)
    return view, entry[0] if entry else None


def view(reading: Reading, node: Any, place: int) -> View:
    """An input of a node as a view; zeros are made of the first input of the graph."""
    found = reading.values.get(node.input[place]) if place < len(node.input) else None
    return filled(reading, node, found) if isinstance(found, Zeros) else reading.view(node, place)


def filled(reading: Reading, node: Any, zeros: Zeros) -> View:
    """Zeros as a tensor.

    Raises
    ------
    NoLayer
        If it has no axis for the batch, or it is not known which.
    """
    sizes, source = zeros.sizes or (), reading.first
    batch = [k for k, size in enumerate(sizes) if source is not None and size == source.size_of(0)]
    if len(batch) != 1 or source is None:
        raise NoLayer(f"{called(node)} of zeros whose batch is not known")
    if math.prod(size.number for size in sizes) > MOST_REPEATED:
        raise NoLayer(f"{called(node)} of more than {MOST_REPEATED:,} zeros for each row")
    if sizes in reading.made_zeros:
        return reading.made_zeros[sizes]
    rows = reading.operate(ops.get_item, source.single, (slice(None), *[0] * (source.width - 1)))
    rows = reading.operate(ops.zeros_like, rows, "float32" if rows.dtype not in FLOATS else np.dtype(rows.dtype).name)
    made = view_of(rows, tuple(BATCH if k in batch else () for k in range(len(sizes))), [source.names[0]])
    for axis, size in enumerate(sizes):
        if size not in (ONE, sizes[batch[0]]):
            made = _widened(reading, node, made, axis, size)
    reading.made_zeros[sizes] = made
    return made


def apart(reading: Reading, view: View) -> View:
    """Both directions as tensors of their own."""
    if view.tensors or view.joined is None:
        return view
    units = (view.joined.shape[-1] or 0) // 2
    parts = [reading.operate(ops.get_item, view.joined, (..., part)) for part in (slice(units), slice(units, None))]
    return View(tuple(parts), view.axes, view.names, view.flipped)


def in_time(reading: Reading, view: View) -> View:
    """The same value of tensors that have the timesteps in its order."""
    if not view.flipped:
        return view
    tensors = tuple(reading.operate(ops.flip, tensor, TIME) for tensor in view.tensors)
    joined = None if view.joined is None else reading.operate(ops.flip, view.joined, TIME)
    return View(tensors, view.axes, view.names, False, joined)


def taken(reading: Reading, view: View, axis: int, own: int, key: Any) -> View:
    """A part of a value along an axis, by a slice or, so that it has size 1 then, a number."""
    if own == DIRECTIONS:
        tensors = view.tensors[key] if isinstance(key, slice) else (view.tensors[key],)
        entry = (DIRECTIONS,) if len(tensors) > 1 else ()
        axes = tuple(entry if k == axis else other for k, other in enumerate(view.axes))
        return View(tensors, axes, view.names, view.flipped)
    y = reading.operate(ops.get_item, view.single, (*[slice(None)] * own, key))
    if isinstance(key, slice):
        names = list(view.names)
        names[own] = reading.new_name() if y.shape[own] is None else ""
        return view_of(y, view.axes, names, view.flipped)
    return without(view, axis, own, y, keep=True)


def without(view: View, axis: int, own: int, y: Any, *, keep: bool) -> View:
    """A view of what is left of a value where a layer dropped one axis of its tensor."""
    entries = [tuple(k - (k > own) for k in entry) for entry in view.axes]
    entries[axis : axis + 1] = [()] if keep else []
    names = [name for k, name in enumerate(view.names) if k != own]
    return view_of(y, tuple(entries), names, view.flipped)


def dropped(view: View, axis: int) -> View:
    """The same without an axis of size 1."""
    return view.moved(tuple(entry for k, entry in enumerate(view.axes) if k != axis))


def arranged(reading: Reading, view: View, atoms: list[int | None]) -> Any:
    """The tensor of a view with its axes in this order; None is a new axis of size 1."""
    tensor = view.single
    order = [k for k in atoms if k is not None]
    assert tensor is not None
    if order != sorted(order):
        tensor = (
            reading.call(layers.Permute(order[1:], dtype=np.dtype(tensor.dtype).name), tensor)
            if (np.dtype(tensor.dtype) in FLOATS and order[0] == 0)
            else reading.operate(ops.transpose, tensor, order)
        )
    places = [k for k, atom in enumerate(atoms) if atom is None]
    return reading.operate(ops.expand_dims, tensor, places) if places else tensor


def channels_last(reading: Reading, node: Any, view: View) -> View:
    """A value (batch, channels, ...) of a tensor that has the channels last and the others in order.

    Its first axis may be the batch and the timesteps: a row for each step.
    """
    view = in_time(reading, reading.stacked(view))
    rows = view.axes[0] if view.axes[0] == ROWS else BATCH
    if any(len(entry) > 1 for entry in (view.axes if rows == BATCH else view.axes[1:])):
        if rows == ROWS:
            raise NoLayer(f"{called(node)}: it has the axes of several values beside a row for each step")
        view = reading.in_order(view)
    if view.axes[0] != rows:
        raise NoLayer(f"{called(node)}: the batch must be the first axis")
    atoms: list[int | None] = [*rows, *(entry[0] if entry else None for entry in (*view.axes[2:], view.axes[1]))]
    y = arranged(reading, view, atoms)
    names = ["" if k is None else view.names[k] for k in atoms]
    last = len(atoms) - 1
    return view_of(y, (rows, (last,), *((k,) for k in range(len(rows), last))), names)


def side_by_side(reading: Reading, node: Any, views: list[View], kept: int = 0) -> tuple[list[Any], Axes, list[str]]:
    """Tensors of several values with the same axes in the same order, the batch first.

    Parameters
    ----------
    kept : int
        How many axes at the end need not be alike and stay at the end, such as those of a product of matrices.

    Returns
    -------
    tensors : list of SymbolicTensor
    axes : tuple
        Those of a value that is made of them.
    names : list of str
    """
    views = [reading.stacked(view) for view in views]
    if any(view.flipped for view in views):
        views = [in_time(reading, view) for view in views]
    rank = max(view.rank for view in views)
    views = [view.moved(((),) * (rank - view.rank) + view.axes) for view in views]
    groups: list[int] = []  # how many axes of the tensors each axis is
    for k in range(rank):
        sizes = {len(view.axes[k]) for view in views if view.axes[k]}
        if len(sizes) > 1 or (k >= rank - kept and sizes and sizes != {1}):
            raise NoLayer(f"{called(node)} joins values with different axes")
        groups.append(max(sizes, default=1 if k >= rank - kept else 0))
    batch = {next((k for k, entry in enumerate(view.axes) if 0 in entry), rank) for view in views}
    (place,) = batch if len(batch) == 1 else (rank,)
    if place >= rank - kept or any(view.axes[place][0] != 0 for view in views):
        raise NoLayer(f"{called(node)} joins values with the batch on different axes")
    order = [place, *(k for k in range(rank) if k != place)]
    tensors = []
    for view in views:
        atoms: list[int | None] = []
        for k in order:
            atoms += view.axes[k] or [None] * groups[k]
        tensors.append(arranged(reading, view, atoms))
    found: list[tuple[int, ...]] = [()] * rank
    count = 0
    for k in order:
        found[k] = tuple(range(count, count + groups[k]))
        count += groups[k]
    names = [""] * count
    for view in views:
        for entry, own in zip(found, view.axes, strict=True):
            for atom, k in zip(entry, own, strict=False):
                names[atom] = names[atom] or view.names[k]
    return tensors, tuple(found), names


def constant_beside(reading: Reading, node: Any, view: View, array: Any) -> tuple[View, Any]:
    """A constant with its axes as those of a tensor, for an operation that broadcasts them.

    Raises
    ------
    NoLayer
        If it has a number for each row of the batch.
    """
    if array.ndim > view.rank:
        if any(n != 1 for n in array.shape[: array.ndim - view.rank]):
            raise NoLayer(f"{called(node)} takes a constant of shape {array.shape}, with more axes than there are")
        array = array.reshape(array.shape[array.ndim - view.rank :])
    shape = (1,) * (view.rank - array.ndim) + array.shape
    wide = [k for k, n in enumerate(shape) if n != 1]
    view = in_time(reading, view) if any(view.axes[k] == (TIME,) for k in wide) else view
    if view.single is None or any(len(view.axes[k]) != 1 for k in wide):
        view = reading.in_order(view)
    if any(view.axes[k] == BATCH for k in wide):
        raise NoLayer(f"{called(node)} takes a constant of shape {array.shape}, with a number for each row")
    width = view.width
    wanted = [1] * width
    for k in wide:
        wanted[view.axes[k][0]] = shape[k]
    order = sorted(wide, key=lambda k: view.axes[k])
    moved = array.reshape([shape[k] for k in wide]).transpose([wide.index(k) for k in order])
    return view, np.ascontiguousarray(moved.reshape(wanted))


def cut(reading: Reading, view: View, target: list[Size]) -> View | None:
    """A value whose axes are cut where a reshape to these sizes cuts one; None if it joins parts of several axes."""
    view = in_time(reading, reading.stacked(view))
    tensor = view.single
    assert tensor is not None
    pieces = deque((k, view.size_of(k)) for entry in view.axes for k in entry)
    parts: dict[int, list[Size]] = {}
    for size in target:
        left = size
        while left != ONE:
            if not pieces:
                return None
            k, own = pieces.popleft()
            rest = quotient(left, own)
            if rest is not None:
                left = rest
            elif not own.names and not left.names and left.number and own.number % left.number == 0:
                pieces.appendleft((k, Size(own.number // left.number)))
                own, left = left, ONE
            else:
                return None
            parts.setdefault(k, []).append(own)
    if 0 in parts and len(parts[0]) > 1 or any(size != ONE for _, size in pieces):
        return None
    shape: list[int] = []
    places = {}
    for k, n in enumerate(tensor.shape):
        own_parts = [size for size in parts.get(k, []) if size != ONE] if len(parts.get(k, [])) > 1 else []
        places[k] = tuple(range(len(shape), len(shape) + max(1, len(own_parts))))
        shape += [size.number for size in own_parts] or [-1 if n is None else n]
    if shape[1:].count(-1) > 1:
        return None
    names = [view.names[k] if len(new) == 1 else "" for k, new in places.items() for _ in new]
    y = reading.call(layers.Reshape(shape[1:], dtype=np.dtype(tensor.dtype).name), tensor)
    return view_of(y, tuple(tuple(place for k in entry for place in places[k]) for entry in view.axes), names)


def quotient(one: Size, two: Size) -> Size | None:
    """The size that two must be multiplied by to be one; None if there is none."""
    left = list(one.names)
    for name in two.names:
        if name not in left:
            return None
        left.remove(name)
    if two.number == 0 or one.number % two.number:
        return None
    return Size(one.number // two.number, tuple(left))


# ---- Repeated --------------------------------------------------------------------------------------------------------


def repeated(reading: Reading, node: Any, view: View, target: list[Size]) -> View:
    """A value repeated along axes of size 1 to these sizes; those that it has otherwise are kept.

    Raises
    ------
    NoLayer
        If another axis would be repeated.
    """
    view = reading.stacked(view)
    view = view.moved(((),) * (len(target) - view.rank) + view.axes)
    sizes = view.sizes()
    target = [ONE] * (view.rank - len(target)) + target
    wide = [k for k, (own, size) in enumerate(zip(sizes, target, strict=True)) if size not in (ONE, own)]
    if any(sizes[k] != ONE or len(view.axes[k]) > 1 for k in wide):
        raise NoLayer(f"{called(node)} repeats an axis that is not of size 1")
    for axis in wide:
        reading.repeat(node, target[axis].number)
        view = _widened(reading, node, view, axis, target[axis])
    return view


def _widened(reading: Reading, node: Any, view: View, axis: int, size: Size) -> View:
    if view.axes == ((0,), (), (1,)) and axis == 1 and not size.names and not view.flipped:
        layer = layers.RepeatVector(size.number, dtype=np.dtype(view.dtype).name)
        return view_of(reading.call(layer, view.single), None, [view.names[0], "", view.names[1]])
    view = in_time(reading, view)
    if view.axes[axis]:
        (own,) = view.axes[axis]
        y, entries = view.single, list(view.axes)
        assert y is not None
    else:  # behind the axes that come before it in the value
        own = 1 + max((k for entry in view.axes[:axis] for k in entry), default=0)
        y = reading.operate(ops.expand_dims, view.single, own)
        entries = [tuple(k + (k >= own) for k in entry) for entry in view.axes]
        entries[axis] = (own,)
    names = list(view.names) if view.axes[axis] else [*view.names[:own], "", *view.names[own:]]
    width = len(y.shape)
    if not size.names:
        y = reading.operate(ops.broadcast_to, y, [*[None] * own, size.number, *[None] * (width - own - 1)])
    else:
        like, place = reading.of_size(node, size)
        ones = reading.operate(ops.get_item, like, tuple(
            slice(None) if k in (0, place) else 0 for k in range(len(like.shape))))  # fmt: skip
        ones = reading.operate(ops.ones_like, ones, np.dtype(y.dtype).name)
        ones = reading.operate(ops.expand_dims, ones, [k for k in range(1, width) if k != own])
        y = reading.operate(ops.multiply, y, ones)
        names[own] = size.names[0]
    return view_of(y, tuple(entries), names)
