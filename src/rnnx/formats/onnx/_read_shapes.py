"""Nodes that move numbers or compute shapes; most are followed without a layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx import layers, ops
from rnnx.formats.onnx import _axes, _read_operations
from rnnx.formats.onnx._axes import cut, dropped, own_axis, quotient, side_by_side, taken
from rnnx.formats.onnx._file import attributes_of, called
from rnnx.formats.onnx._limits import MOST_AXES
from rnnx.formats.onnx._reading import FLOATS, NoLayer, Reading
from rnnx.formats.onnx._recurrent import GATES
from rnnx.formats.onnx._view import (
    DIRECTIONS,
    ONE,
    Size,
    Sizes,
    Truths,
    View,
    Zeros,
    number_of,
    product,
    reshaped,
    view_of,
)

TIME = 1  # axis of a tensor
LARGEST = 2**31  # of a size that is multiplied
MOST_NAMES = 8  # sizes that are not known, in a product of sizes


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
        elif wanted != own and not (
            wanted.kind == own.kind == "i" and (wanted.itemsize >= own.itemsize or _only_lengths(reading, node))
        ):
            raise NoLayer(f"{called(node)} to {wanted}")
    reading.give(node.output[0], found)


def _only_lengths(reading: Reading, node: Any) -> bool:
    """Whether a value only says how many steps of a recurrent node are valid: no size is too large for that."""
    name = node.output[0]
    readers = reading.uses.get(name, ())
    return name not in reading.ends and all(
        reader.op_type in GATES and list(reader.input).index(name) == 4 for reader in readers
    )


def _transpose(reading: Reading, node: Any) -> None:
    found = reading.value(node.input[0])
    if isinstance(found, View):
        perm = attributes_of(node).get("perm", list(range(found.rank))[::-1])
        if sorted(perm) != list(range(found.rank)):
            raise NoLayer(f"{called(node)} of {found.rank} axes by {perm}")
        found = found.moved(tuple(found.axes[k] for k in perm))
    elif isinstance(found, Zeros) and found.sizes is not None:
        perm = attributes_of(node).get("perm", list(range(len(found.sizes)))[::-1])
        fits = sorted(perm) == list(range(len(found.sizes)))
        found = Zeros(tuple(found.sizes[k] for k in perm) if fits else None)
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
        places = [k for k, size in enumerate(found.sizes()) if size == ONE]
        if axes is not None:
            places = [k % found.rank for k in axes if -found.rank <= k < found.rank]
        if any(found.sizes()[k] != ONE for k in places):
            raise NoLayer(f"{called(node)} drops an axis that is not of size 1")
        for place in sorted(set(places), reverse=True):
            if found.axes[place]:
                found, own = own_axis(reading, node, found, place)
                found = found if own is None else taken(reading, found, place, own, 0)
            found = dropped(found, place)
    elif isinstance(found, Zeros) and found.sizes is not None:
        sizes = found.sizes
        gone = {k for k, size in enumerate(sizes) if size == ONE} if axes is None else {k % len(sizes) for k in axes}
        found = Zeros(tuple(size for k, size in enumerate(sizes) if k not in gone))
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
    elif isinstance(found, Zeros) and found.sizes is not None:
        sizes = list(found.sizes)
        for place in sorted(k % (len(found.sizes) + len(axes)) for k in axes):
            sizes.insert(place, ONE)
        found = Zeros(tuple(sizes))
    reading.give(node.output[0], found)


def _shape(reading: Reading, node: Any) -> None:
    attributes, found = attributes_of(node), reading.value(node.input[0])
    if isinstance(found, Sizes):
        sizes: tuple[Size, ...] = () if found.scalar else (Size(len(found.sizes)),)
    elif isinstance(found, Zeros) and found.sizes is not None:
        sizes = found.sizes
    else:
        sizes = reading.view(node, 0).sizes()
    reading.give(node.output[0], Sizes(sizes[attributes.get("start", 0) : attributes.get("end", len(sizes))]))


def _reshape(reading: Reading, node: Any) -> None:
    found, target = reading.value(node.input[0]), reading.sizes(node.input[1])
    if isinstance(found, Sizes) and target is not None and len(target.sizes) < 2:
        reading.give(node.output[0], Sizes(found.sizes, not target.sizes))
        return
    if isinstance(found, Zeros) and target is not None:
        free = any(size in (Size(0), Size(-1)) for size in target.sizes)
        found = Zeros(None if free else target.sizes)
    if not isinstance(found, View):
        reading.give(node.output[0], _moved(node, found))
        return
    if target is None or (attributes_of(node).get("allowzero", 0) and Size(0) in target.sizes):
        raise NoLayer(f"{called(node)} to a shape that is not known")
    given = found.sizes()
    wanted = [given[k] if size == Size(0) else size for k, size in enumerate(target.sizes)]
    entries = [None if size == Size(-1) else size for size in wanted]
    if entries.count(None) > 1 or any(size is not None and size.number < 0 for size in entries):
        raise NoLayer(f"{called(node)} to sizes that are negative")
    joined = None
    if reading.fixed and reading.batch is not None:
        for k in [k for k, size in enumerate(entries) if size == Size(reading.batch)]:
            joined = joined or _reshaped_axes(reading, found, [*entries[:k], found.size_of(0), *entries[k + 1 :]])
    joined = joined or _reshaped_axes(reading, found, entries)
    if joined is None:
        joined = _reshaped_by_layer(reading, node, reading.in_order(found), entries)
    reading.give(node.output[0], joined)


def _reshaped_axes(reading: Reading, found: View, entries: list[Size | None]) -> View | None:
    """A value in another shape, where axes are only joined, or cut; None if numbers go from one axis to another."""
    axes = reshaped(found, entries)
    joined = None if axes is None else reading.side_by_side(found, axes)
    if joined is not None:
        return joined
    definite = _definite(found.sizes(), entries)
    parts = None if definite is None else cut(reading, found, definite)
    if parts is None or definite is None:
        return None
    axes = reshaped(parts, definite)
    return None if axes is None else parts.moved(axes)


def _definite(given: tuple[Size, ...], entries: list[Size | None]) -> list[Size] | None:
    """The sizes of a reshape with the one that is left to it; None if that is none."""
    rest = quotient(product(given), product(size for size in entries if size is not None))
    found = [rest if size is None else size for size in entries]
    known = [size for size in found if size is not None]
    return known if len(known) == len(found) and product(known) == product(given) else None


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
        reading.give(node.output[0], _zeros_gathered(found, index, axis))
        return
    if index is None or any(size.names for size in index.sizes):
        raise NoLayer(f"{called(node)} by places that are not constant")
    places = [size.number for size in index.sizes]
    if isinstance(found, Sizes):
        reading.give(node.output[0], Sizes(tuple(found.sizes[k] for k in places), index.scalar))
        return
    array = np.asarray(places).reshape(()) if index.scalar else np.asarray(places)
    reading.give(node.output[0], _read_operations.taken_by(reading, node, found, axis, array))


def _zeros_gathered(zeros: Zeros, index: Sizes | None, axis: int) -> Zeros:
    sizes = zeros.sizes
    if sizes is None or index is None or not -len(sizes) <= axis < len(sizes):
        return Zeros()
    new = () if index.scalar else (Size(len(index.sizes)),)
    axis %= len(sizes)
    return Zeros((*sizes[:axis], *new, *sizes[axis + 1 :]))


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


def _concat(reading: Reading, node: Any) -> None:
    axis = attributes_of(node)["axis"]
    if all(reading.is_zero(name) for name in node.input):
        reading.give(node.output[0], _zeros_joined(reading, node, axis))
        return
    sizes = [reading.sizes(name) for name in node.input]
    if None not in sizes:
        parts = [part.sizes for part in sizes if part is not None]
        if (count := sum(map(len, parts))) > MOST_AXES:  # each node may join two of the one before it
            raise NoLayer(f"{called(node)} of {count} numbers, a shape has at most {MOST_AXES}")
        reading.give(node.output[0], Sizes(tuple(size for part in parts for size in part)))
        return
    views = [_axes.view(reading, node, k) for k in range(len(node.input)) if not _is_empty(reading, node, k, axis)]
    if len(views) == 1:
        reading.give(node.output[0], views[0])
        return
    if all(view.axes[axis] in ((), (DIRECTIONS,)) for view in views):
        reading.give(node.output[0], _stack(node, views, axis))
        return
    views = aligned(reading, node, views)
    if len(views[0].axes[axis]) > 1:
        views = [reading.in_order(view) for view in views]
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


def _is_empty(reading: Reading, node: Any, place: int, axis: int) -> bool:
    """Whether an input has no places along an axis, and adds nothing to what it is joined to."""
    name = node.input[place]
    if name in reading.known:
        shape = reading.known[name].shape
        return -len(shape) <= axis < len(shape) and shape[axis] == 0
    zeros = reading.values.get(name)
    sizes = zeros.sizes if isinstance(zeros, Zeros) else None
    return sizes is not None and -len(sizes) <= axis < len(sizes) and sizes[axis] == Size(0)


def _zeros_joined(reading: Reading, node: Any, axis: int) -> Zeros:
    parts = []
    for name in node.input:
        zeros = reading.values.get(name)
        own = zeros.sizes if isinstance(zeros, Zeros) else None
        parts.append(tuple(map(Size, reading.known[name].shape)) if name in reading.known else own)
    known = [part for part in parts if part is not None and -len(part) <= axis < len(part)]
    if len(known) < len(parts) or len({len(part) for part in known}) > 1 or any(part[axis].names for part in known):
        return Zeros()
    total = Size(sum(part[axis].number for part in known))
    return Zeros(tuple(total if k == axis % len(known[0]) else size for k, size in enumerate(known[0])))


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
    views = [reading.stacked(view) for view in views]
    first = views[0]
    if all(v.axes == first.axes and v.width == first.width and v.flipped == first.flipped for v in views):
        return views
    tensors, axes, names = side_by_side(reading, node, views)
    return [view_of(tensor, axes, names) for tensor in tensors]


def names_of(views: list[View]) -> list[str]:
    """What the sizes of a result are called whose inputs were repeated along axes of size 1."""
    return [next((view.names[k] for view in views if view.names[k]), "") for k in range(views[0].width)]


def _tile(reading: Reading, node: Any) -> None:
    found = reading.value(node.input[0])
    if isinstance(found, View):
        repeats = reading.sizes(node.input[1])
        if repeats is None or len(repeats.sizes) != found.rank:
            raise NoLayer(f"{called(node)} as often as is not known")
        target = [product(pair) for pair in zip(found.sizes(), repeats.sizes, strict=True)]
        found = _axes.repeated(reading, node, found, target)
    reading.give(node.output[0], _moved(node, found))


def _expand(reading: Reading, node: Any) -> None:
    name, target = node.input[0], reading.sizes(node.input[1])
    zeros = reading.is_zero(name)
    known = np.zeros(1) if zeros and name not in reading.known else reading.known.get(name)
    if known is not None and target is not None:
        whole = isinstance(reading.values.get(name), Zeros)  # of sizes that need not be followed
        sizes = None if whole else _expanded_sizes(known.shape, target.sizes)
        if zeros:
            reading.give(node.output[0], Zeros(sizes))
            return
        if sizes is not None:  # such as initial states that were trained
            made = _axes.filled(reading, node, Zeros(sizes))
            made, array = _axes.constant_beside(reading, node, made, known)
            y = reading.operate(ops.add, made.single, array)
            reading.give(node.output[0], view_of(y, made.axes, made.names))
            return
    if zeros:
        reading.give(node.output[0], Zeros())
        return
    if target is None:
        raise NoLayer(f"{called(node)} to a shape that is not known")
    found = _axes.repeated(reading, node, reading.view(node, 0), list(target.sizes))
    reading.give(node.output[0], found)


def _expanded_sizes(shape: tuple[int, ...], target: tuple[Size, ...]) -> tuple[Size, ...]:
    """The sizes of a constant that is repeated."""
    rank = max(len(shape), len(target))
    own = [ONE] * (rank - len(shape)) + [Size(n) for n in shape]
    wanted = [ONE] * (rank - len(target)) + list(target)
    return tuple(b if a == ONE else a for a, b in zip(own, wanted, strict=True))


def _constant_of_shape(reading: Reading, node: Any) -> None:
    value = attributes_of(node).get("value")
    array = None if value is None else reading.source.array(value)
    if array is not None and array.any():
        shape = reading.sizes(node.input[0])
        if shape is not None and Size(0) in shape.sizes:  # of no numbers, which is as good as zeros
            reading.give(node.output[0], Zeros(shape.sizes))
            return
        length = None if shape is None or len(shape.sizes) != 1 or shape.sizes[0].names else shape.sizes[0].number
        if length is None or length > MOST_AXES or array.dtype.kind not in "iu":
            raise NoLayer(f"{called(node)} makes what are not zeros")
        reading.give(node.output[0], Sizes((Size(int(array.reshape(()))),) * length))
        return
    shape = reading.sizes(node.input[0])
    reading.give(node.output[0], Zeros(None if shape is None else shape.sizes))


def computed_sizes(reading: Reading, node: Any) -> Sizes | None:
    """Arithmetic with sizes; None if it is another one."""
    if not any(isinstance(reading.values.get(name), Sizes) for name in node.input):
        return None
    parts = [reading.sizes(name) for name in node.input]
    if node.op_type not in ARITHMETIC or len(parts) != 2 or None in parts:
        raise NoLayer(f"{called(node)} of sizes and other values")
    one, two = (part for part in parts if part is not None)
    length = max(len(one.sizes), len(two.sizes))
    if any(len(part.sizes) not in (1, length) for part in (one, two)):
        raise NoLayer(f"{called(node)} of {len(one.sizes)} and {len(two.sizes)} sizes")
    pairs = zip(one.sizes * (length // len(one.sizes)), two.sizes * (length // len(two.sizes)), strict=True)
    found = tuple(ARITHMETIC[node.op_type](node, *pair) for pair in pairs)
    return Sizes(found, one.scalar and two.scalar)


def _product(node: Any, one: Size, two: Size) -> Size:
    if len(one.names) + len(two.names) > MOST_NAMES or max(one.number, two.number) > LARGEST:
        raise NoLayer(f"{called(node)} makes a size that no array has")  # squared again and again, it outgrows memory
    return product((one, two))


def _plain(operation: Callable[[int, int], int]) -> Callable[[Any, Size, Size], Size]:
    """Of numbers, and of an unknown size with 0."""

    def run(node: Any, one: Size, two: Size) -> Size:
        if two == Size(0):
            return one
        if one.names or two.names:
            raise NoLayer(f"{called(node)} of sizes that are not known")
        return Size(operation(one.number, two.number))

    return run


def _divided(node: Any, one: Size, two: Size) -> Size:
    found = quotient(one, two)
    if found is not None:
        return found
    if one.names or two.names or two.number == 0:
        raise NoLayer(f"{called(node)} of sizes that are not known")
    return Size(int(one.number / two.number))  # towards 0


ARITHMETIC: dict[str, Callable[[Any, Size, Size], Size]] = {
    "Add": _plain(lambda a, b: a + b), "Sub": _plain(lambda a, b: a - b), "Mul": _product, "Div": _divided,
}  # fmt: skip


def _equal(reading: Reading, node: Any) -> None:
    """Which of several sizes are equal, where that can be said; or of other values."""
    if not any(isinstance(reading.values.get(name), Sizes) for name in node.input):
        _read_operations.binary(reading, node)
        return
    parts = [reading.sizes(name) for name in node.input]
    if None in parts:
        raise NoLayer(f"{called(node)} of sizes and other values")
    one, two = (part.sizes for part in parts if part is not None)
    length = max(len(one), len(two))
    if any(len(part) not in (1, length) for part in (one, two)):
        raise NoLayer(f"{called(node)} of {len(one)} and {len(two)} sizes")
    found = []
    for a, b in zip(one * (length // len(one)), two * (length // len(two)), strict=True):
        if a != b and (a.names or b.names) and a.number * b.number > 0:
            raise NoLayer(f"{called(node)} of sizes that are not known")
        found.append(a == b)
    reading.give(node.output[0], Truths(tuple(found)))


def chosen_sizes(reading: Reading, node: Any) -> Sizes | None:
    """Where of sizes; None if it is another one."""
    truths = reading.values.get(node.input[0])
    if not isinstance(truths, Truths):
        return None
    one, two = (reading.sizes(name) for name in list(node.input)[1:3])
    if one is None or two is None or {len(one.sizes), len(two.sizes)} - {1, len(truths.truths)}:
        raise NoLayer(f"{called(node)} of sizes and other values")
    length = len(truths.truths)
    a, b = (part.sizes * (length // len(part.sizes)) for part in (one, two))
    return Sizes(tuple(x if truth else y for truth, x, y in zip(truths.truths, a, b, strict=True)))


READERS: dict[str, Callable[[Reading, Any], None]] = {
    "Cast": _cast,
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "Equal": _equal,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Identity": _identity,
    "Reshape": _reshape,
    "Shape": _shape,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
