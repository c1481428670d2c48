"""Which unknown size is which: followed back through the graph, as far as it is certain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rnnx.layers.graph import SymbolicTensor
from rnnx.layers.input import InputLayer

MARK = 1 << 61  # a size that nothing else has


def origin(tensor: SymbolicTensor, axis: int) -> tuple[SymbolicTensor, int]:
    """The first tensor with the size of this axis: layers hand on the batch, operations what their shapes tell."""
    while True:
        node = tensor.node
        if not node.inputs or hasattr(node.layer, "plan"):  # a model may do anything to the batch
            return tensor, axis
        if not hasattr(node.layer, "record"):
            if axis != 0:
                return tensor, axis
            tensor = node.inputs[0]
            continue
        found = next((place for place in _open_axes(node.inputs) if _reaches(node, *place, tensor.index, axis)), None)
        if found is None:
            return tensor, axis
        tensor, axis = node.inputs[found[0]], found[1]


def _open_axes(inputs: Sequence[SymbolicTensor]) -> list[tuple[int, int]]:
    """The axes of inputs whose sizes are not known."""
    return [(k, axis) for k, tensor in enumerate(inputs) for axis, n in enumerate(tensor.shape) if n is None]


def _reaches(node: Any, number: int, own: int, index: int, axis: int) -> bool:
    """Whether the size of an axis of an input is that of an axis of an output."""
    shapes = [list(tensor.shape) for tensor in node.inputs]
    shapes[number][own] = MARK
    try:
        given = tuple(shapes[0]) if node.single else [tuple(shape) for shape in shapes]
        made = node.layer.computation.compute_output_shape(given)
    except (OverflowError, ValueError):  # the mark does not fit to other sizes
        return False
    return bool((made[index] if isinstance(made, list) else made)[axis] == MARK)


def same_size(one: SymbolicTensor, its: int, two: SymbolicTensor, own: int) -> bool:
    """Whether two unknown sizes are certainly one."""
    (first, a), (second, b) = origin(one, its), origin(two, own)
    return first is second and a == b


def is_batch(tensor: SymbolicTensor) -> bool:
    """Whether the first axis is that of an input."""
    source, axis = origin(tensor, 0)
    return axis == 0 and tensor.shape[0] is None and isinstance(source.node.layer, InputLayer)


def check_ranks(who: str, operands: Sequence[Any]) -> None:
    """Refuse operands of which one's batch would stand beside another axis of the other.

    Raises
    ------
    ValueError
        If there are any.
    """
    tensors = [part for part in operands if isinstance(part, SymbolicTensor)]
    longest = max(tensor.ndim for tensor in tensors)
    for tensor in tensors:
        if 0 < tensor.ndim < longest and is_batch(tensor):
            shapes = ", ".join(str(part.shape) for part in tensors)
            raise ValueError(
                f"{who}: operands of shapes {shapes} must have the same number of axes: the batch of one would stand "
                "beside another axis; use ops.expand_dims"
            )
