"""Which graph of an `If` runs, where constants and sizes decide it, and what is computed of truth values for that."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx.formats.onnx import _read_operations, _read_shapes
from rnnx.formats.onnx._file import attributes_of, called
from rnnx.formats.onnx._read_shapes import LARGEST, MOST_NAMES
from rnnx.formats.onnx._reading import NoLayer, Reading
from rnnx.formats.onnx._view import Size, Sizes, Truths, View, Zeros, product

COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "Greater": operator.gt, "GreaterOrEqual": operator.ge, "Less": operator.lt, "LessOrEqual": operator.le,
}  # fmt: skip
JOINED: dict[str, Callable[[Any, Any], bool]] = {"And": operator.and_, "Or": operator.or_, "Xor": operator.xor}


def truths_of(reading: Reading, name: str) -> tuple[bool, ...] | None:
    """Truth values that are known; None if it is something else."""
    if name in reading.known:
        array = reading.known[name]
        return (bool(array.reshape(())),) if array.size == 1 and array.dtype.kind in "biu" else None
    found = reading.values.get(name)
    return found.truths if isinstance(found, Truths) else None


def _if(reading: Reading, node: Any) -> None:
    """Note which graph runs; it takes the place of the node before the graph is read again."""
    truths = truths_of(reading, node.input[0])
    if truths is not None and len(truths) == 1 and not reading.exact:
        reading.chosen.update((name, truths[0]) for name in node.output if name)
        reading.by_sizes |= node.input[0] not in reading.known
        raise NoLayer(f"{called(node)} chooses one of its graphs")
    found = reading.values.get(node.input[0])
    why = f": {found}" if isinstance(found, NoLayer) else ""
    way = "" if not why else "; sizes={...} of rnnx.formats.onnx.load_model gives sizes that the file leaves open"
    raise NoLayer(f"which of its graphs {called(node)} runs is not known{why}{way}")


def _not(reading: Reading, node: Any) -> None:
    truths = truths_of(reading, node.input[0])
    if truths is None:
        _read_operations.READERS["Not"](reading, node)
        return
    reading.give(node.output[0], Truths(tuple(not truth for truth in truths)))


def _logic(reading: Reading, node: Any) -> None:
    sides = [truths_of(reading, name) for name in node.input]
    if len(sides) != 2 or None in sides or not any(isinstance(reading.values.get(n), Truths) for n in node.input):
        _read_operations.binary(reading, node)
        return
    one, two = (side for side in sides if side is not None)
    if len(one) != len(two):
        raise NoLayer(f"{called(node)} of {len(one)} and {len(two)} truth values")
    function = JOINED[node.op_type]
    reading.give(node.output[0], Truths(tuple(function(a, b) for a, b in zip(one, two, strict=True))))


def _compared(reading: Reading, node: Any) -> None:
    """Sizes, where all are numbers, or other values."""
    if not any(isinstance(reading.values.get(name), Sizes) for name in node.input):
        _read_operations.binary(reading, node)
        return
    parts = [reading.sizes(name) for name in node.input]
    known = [part.sizes for part in parts if part is not None]
    if len(known) < 2 or any(size.names for sizes in known for size in sizes) or len(known[0]) != len(known[1]):
        raise NoLayer(f"{called(node)} of sizes that are not known")
    function = COMPARED[node.op_type]
    reading.give(node.output[0], Truths(tuple(function(a.number, b.number) for a, b in zip(*known, strict=True))))


def _cast(reading: Reading, node: Any) -> None:
    """Sizes as truth values, or another cast."""
    from onnx import helper

    found = reading.value(node.input[0])
    if isinstance(found, Sizes) and np.dtype(helper.tensor_dtype_to_np_dtype(attributes_of(node)["to"])) == np.bool_:
        # what is not known is the batch or the timesteps, of which there is one at least
        reading.give(node.output[0], Truths(tuple(size.number != 0 for size in found.sizes)))
        return
    _read_shapes.READERS["Cast"](reading, node)


def _size(reading: Reading, node: Any) -> None:
    """How many numbers a value has."""
    found = reading.value(node.input[0])
    if isinstance(found, (Sizes, Truths)):
        length = len(found.sizes if isinstance(found, Sizes) else found.truths)
        reading.give(node.output[0], Sizes((Size(length),), True))
        return
    sizes = found.sizes() if isinstance(found, View) else found.sizes if isinstance(found, Zeros) else None
    total = None if sizes is None else product(sizes)
    if total is None or len(total.names) > MOST_NAMES or total.number > LARGEST:
        raise NoLayer(f"{called(node)} makes a size that is not followed")
    reading.give(node.output[0], Sizes((total,), True))


READERS: dict[str, Callable[[Reading, Any], None]] = {
    **dict.fromkeys(COMPARED, _compared),
    **dict.fromkeys(JOINED, _logic),
    "Cast": _cast,
    "If": _if,
    "Not": _not,
    "Size": _size,
}
