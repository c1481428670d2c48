"""Nodes that move numbers or compute shapes; most are followed without a layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx import layers
from rnnx.formats.onnx._file import attributes_of, called
from rnnx.formats.onnx._limits import MOST_AXES
from rnnx.formats.onnx._reading import FLOATS, NoLayer, Reading
from rnnx.formats.onnx._view import DIRECTIONS, Size, Sizes, View, Zeros, number_of, product, reshaped, view_of

TIME = 1  # axis of a tensor
LARGEST = 2**31  # of a size that is multiplied
MOST_NAMES = 8  # sizes that are not known, in a product of sizes
VERY_FIRST = -(2**31)  # ends of a slice at or below it are before the first step


def _identity(reading: Reading, node: Any) -> None:
    reading.give(node.output[0], reading.value(node.input[0]))


def _cast(reading: Reading, node: Any) -> None:
    from onnx import helper

    found = reading.value(node.input[0])
    if isinstance(found, View):
        wanted = np.dtype(helper.tensor_dtype_to_np_dtype(attributes_of(node)["to"]))
        own = np.dtype(found.dtype)
        if wanted in FLOATS and wanted != own:
            view = reading.tensor(node, 0)
            layer = layers.Activation("linear", dtype=wanted.name)
            found = reading.after(view, reading.call(layer, view.single))
        elif wanted != own and not (wanted.kind == own.kind == "i" and wanted.itemsize >= own.itemsize):
            raise NoLayer(f"{called(node)} to {wanted}")
    reading.give(node.output[0], found)


def _transpose(reading: Reading, node: Any) -> None:
    found = reading.value(node.input[0])
    if isinstance(found, View):
        perm = attributes_of(node).get("perm", list(range(found.rank))[::-1])
        if sorted(perm) != list(range(found.rank)):
            raise NoLayer(f"{called(node)} of {found.rank} axes by {perm}")
        found = found.moved(tuple(found.axes[k] for k in perm))
    reading.give(node.output[0], _moved(node, found))


def _moved(node: Any, found: Any) -> Any:
    """A view or zeros; sizes are not moved."""
    if isinstance(found, Sizes):
        raise NoLayer(f"{called(node)} of a shape")
    return found


def _squeeze(reading: Reading, node: Any) -> None:
    found = reading.value(node.input[0])
    axes = reading.integers(node, 1, "axes")
    if isinstance(found, Sizes):
        found = Sizes(found.sizes, True) if len(found.sizes) == 1 else _moved(node, found)
    elif isinstance(found, View):
        places = [k for k, size in enumerate(found.sizes()) if size == Size(1)]
        if axes is not None:
            places = [k % found.rank for k in axes if -found.rank <= k < found.rank]
        if any(found.axes[k] for k in places):
            raise NoLayer(f"{called(node)} drops an axis that is not of size 1")
        found = found.moved(tuple(entry for k, entry in enumerate(found.axes) if k not in places))
    reading.give(node.output[0], found)


def _unsqueeze(reading: Reading, node: Any) -> None:
    found = reading.value(node.input[0])
    axes = reading.integers(node, 1, "axes") or []
    if isinstance(found, Sizes):
        found = Sizes(found.sizes) if found.scalar else _moved(node, found)
    elif isinstance(found, View):
        rank = found.rank + len(axes)
        entries = list(found.axes)
        for place in sorted(k % rank for k in axes):
            entries.insert(place, ())
        found = found.moved(tuple(entries))
    reading.give(node.output[0], found)


def _shape(reading: Reading, node: Any) -> None:
    attributes = attributes_of(node)
    sizes = reading.view(node, 0).sizes()
    reading.give(node.output[0], Sizes(sizes[attributes.get("start", 0) : attributes.get("end", len(sizes))]))


def _reshape(reading: Reading, node: Any) -> None:
    found, target = reading.value(node.input[0]), reading.sizes(node.input[1])
    if not isinstance(found, View):
        reading.give(node.output[0], _moved(node, found))
        return
    if target is None or attributes_of(node).get("allowzero", 0):
        raise NoLayer(f"{called(node)} to a shape that is not known")
    given = found.sizes()
    wanted = [given[k] if size == Size(0) else size for k, size in enumerate(target.sizes)]
    entries = [None if size == Size(-1) else size for size in wanted]
    if entries.count(None) > 1 or any(size is not None and size.number < 0 for size in entries):
        raise NoLayer(f"{called(node)} to sizes that are negative")
    axes = reshaped(found, entries)
    joined = None if axes is None else reading.side_by_side(found, axes)
    if joined is None:
        joined = _reshaped_by_layer(reading, node, reading.in_order(found), entries)
    reading.give(node.output[0], joined)


def _reshaped_by_layer(reading: Reading, node: Any, view: View, entries: list[Size | None]) -> View:
    first, rest = entries[0], [-1 if size is None or size.names else size.number for size in entries[1:]]
    tensor = view.single
    assert tensor is not None
    inner = number_of(tensor.shape[1:])
    keeps = first == view.size_of(0) or (first is None and inner is not None and inner == number_of(rest))
    if not keeps or rest.count(-1) > 1:
        raise NoLayer(f"{called(node)} does not keep the batch apart")
    y = reading.call(layers.Reshape(rest, dtype=np.dtype(tensor.dtype).name), tensor)
    return view_of(y, None, [view.names[0], *("" if n is not None else reading.new_name() for n in y.shape[1:])])


def _flatten(reading: Reading, node: Any) -> None:
    view = reading.tensor(node, 0)
    axis = attributes_of(node).get("axis", 1)
    axis += view.rank if axis < 0 else 0
    parts = view.axes[:axis], view.axes[axis:]
    reading.give(node.output[0], view.moved(tuple(tuple(k for entry in part for k in entry) for part in parts)))


def _gather(reading: Reading, node: Any) -> None:
    axis = attributes_of(node).get("axis", 0)
    if node.input[0] in reading.known:
        _embedding(reading, node, axis)
        return
    found, index = reading.value(node.input[0]), reading.sizes(node.input[1])
    if isinstance(found, Zeros):
        reading.give(node.output[0], found)
        return
    if index is None or any(size.names for size in index.sizes):
        raise NoLayer(f"{called(node)} by places that are not constant")
    places = [size.number for size in index.sizes]
    if isinstance(found, Sizes):
        reading.give(node.output[0], Sizes(tuple(found.sizes[k] for k in places), index.scalar))
        return
    entry = found.axes[axis]
    if not index.scalar or entry not in ((), (DIRECTIONS,)):
        raise NoLayer(f"{called(node)} takes a part of its input")
    axes = tuple(other for k, other in enumerate(found.axes) if k != axis % found.rank)
    if entry:
        if not found.tensors:
            raise NoLayer(f"{called(node)}: the outputs of both directions are used apart and side by side")
        found = view_of(found.tensors[places[0]], axes, found.names, found.flipped)
    reading.give(node.output[0], found.moved(axes))


def _embedding(reading: Reading, node: Any, axis: int) -> None:
    table, ids = reading.known[node.input[0]], reading.tensor(node, 1)
    if table.ndim != 2 or table.dtype not in FLOATS or axis != 0 or np.dtype(ids.dtype).kind != "i":
        raise NoLayer(f"{called(node)} is not the one of an embedding")
    y = reading.weighted(
        ("Embedding", node.input[0]),
        lambda: layers.Embedding(*table.shape, dtype=table.dtype.name),
        lambda: [table],
        ids.single,
    )
    reading.give(node.output[0], view_of(y, (*ids.axes, (ids.width,)), [*ids.names, ""], ids.flipped))


def _slice(reading: Reading, node: Any) -> None:
    found = reading.value(node.input[0])
    if isinstance(found, Zeros):
        reading.give(node.output[0], found)
        return
    starts, ends, axes, steps = (
        reading.integers(node, k + 1, name) for k, name in enumerate(("starts", "ends", "axes", "steps"))
    )
    if starts is None or ends is None:
        raise NoLayer(f"{called(node)} needs starts and ends")
    if isinstance(found, Sizes):
        reading.give(node.output[0], Sizes(found.sizes[starts[0] : ends[0] : steps[0] if steps else 1]))
        return
    backwards = steps == [-1] and starts == [-1] and ends[0] <= VERY_FIRST
    if not backwards or axes is None or found.axes[axes[0]] != (TIME,) or found.width < 3:
        raise NoLayer(f"{called(node)} takes a part of its input")
    reading.give(node.output[0], View(found.tensors, found.axes, found.names, not found.flipped, found.joined))


def _concat(reading: Reading, node: Any) -> None:
    axis = attributes_of(node)["axis"]
    if all(reading.is_zero(name) for name in node.input):
        reading.give(node.output[0], Zeros())
        return
    sizes = [reading.sizes(name) for name in node.input]
    if None not in sizes:
        parts = [part.sizes for part in sizes if part is not None]
        if (count := sum(map(len, parts))) > MOST_AXES:  # each node may join two of the one before it
            raise NoLayer(f"{called(node)} of {count} numbers, a shape has at most {MOST_AXES}")
        reading.give(node.output[0], Sizes(tuple(size for part in parts for size in part)))
        return
    views = [reading.view(node, k) for k in range(len(node.input))]
    if len(views) == 1:
        reading.give(node.output[0], views[0])
        return
    if all(view.axes[axis] in ((), (DIRECTIONS,)) for view in views):
        reading.give(node.output[0], _stack(node, views, axis))
        return
    views = aligned(reading, node, [reading.tensor(node, k) for k in range(len(node.input))])
    first, entry = views[0], views[0].axes[axis]
    if len(entry) != 1 or entry == (0,) or (first.flipped and entry == (TIME,)):
        raise NoLayer(f"{called(node)} is over the batch, or more than one axis")
    dtype = np.dtype(first.dtype)
    if dtype not in FLOATS:
        raise NoLayer(f"{called(node)} of numbers of type {dtype}")
    y = reading.call(layers.Concatenate(axis=entry[0], dtype=dtype.name), [view.single for view in views])
    names = list(first.names)
    names[entry[0]] = reading.new_name() if y.shape[entry[0]] is None else ""
    reading.give(node.output[0], view_of(y, first.axes, names, first.flipped))


def _stack(node: Any, views: list[View], axis: int) -> View:
    """States of several layers or directions as one value."""
    first = views[0]
    place = axis % first.rank
    axes = [tuple(entry for k, entry in enumerate(view.axes) if k != place) for view in views]
    if any(other != axes[0] or view.flipped != first.flipped for other, view in zip(axes, views, strict=True)):
        raise NoLayer(f"{called(node)} joins values with different axes")
    if any(not view.tensors for view in views):
        raise NoLayer(f"{called(node)}: the outputs of both directions are used apart and side by side")
    if len({view.tensors[0].shape for view in views}) > 1:
        raise NoLayer(f"{called(node)} joins values of different shapes")
    joined = (*axes[0][:place], (DIRECTIONS,), *axes[0][place:])
    tensors = tuple(tensor for view in views for tensor in view.tensors)
    return View(tensors, joined, first.names, first.flipped)


def aligned(reading: Reading, node: Any, views: list[View]) -> list[View]:
    """Views of single tensors whose axes are the same, so that a layer can join the tensors."""
    first = views[0]
    if all(v.axes == first.axes and v.width == first.width and v.flipped == first.flipped for v in views):
        return views
    if any(view.rank != first.rank for view in views):
        raise NoLayer(f"{called(node)} joins values with different numbers of axes")
    return [reading.in_order(view) for view in views]


def names_of(views: list[View]) -> list[str]:
    """What the sizes of a result are called whose inputs were repeated along axes of size 1."""
    return [next((view.names[k] for view in views if view.names[k]), "") for k in range(views[0].width)]


def _tile(reading: Reading, node: Any) -> None:
    found = reading.value(node.input[0])
    if isinstance(found, View):
        view, repeats = reading.tensor(node, 0), reading.integers(node, 1, "repeats") or []
        if view.axes != ((0,), (), (1,)) or repeats[::2] != [1, 1] or len(repeats) != 3 or repeats[1] < 1:
            raise NoLayer(f"{called(node)} repeats its input, but not as steps")
        layer = layers.RepeatVector(repeats[1], dtype=np.dtype(view.dtype).name)
        found = view_of(reading.call(layer, view.single), None, [view.names[0], "", view.names[1]])
    reading.give(node.output[0], _moved(node, found))


def _expand(reading: Reading, node: Any) -> None:
    if not reading.is_zero(node.input[0]):
        raise NoLayer(f"{called(node)} repeats what are not zeros")
    reading.give(node.output[0], Zeros())


def _constant_of_shape(reading: Reading, node: Any) -> None:
    value = attributes_of(node).get("value")
    if value is not None and reading.source.array(value).any():
        raise NoLayer(f"{called(node)} makes what are not zeros")
    reading.give(node.output[0], Zeros())


def product_of_sizes(reading: Reading, node: Any) -> Sizes | None:
    """Mul of sizes; None if it is another one."""
    parts = [reading.sizes(name) for name in node.input]
    if any(part is None or len(part.sizes) != 1 for part in parts) or not any(n in reading.values for n in node.input):
        return None
    factors = [part.sizes[0] for part in parts if part]
    if sum(len(size.names) for size in factors) > MOST_NAMES or any(size.number > LARGEST for size in factors):
        raise NoLayer(f"{called(node)} makes a size that no array has")  # squared again and again, it outgrows memory
    return Sizes((product(factors),), all(part.scalar for part in parts if part))


READERS: dict[str, Callable[[Reading, Any], None]] = {
    "Cast": _cast,
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Identity": _identity,
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
