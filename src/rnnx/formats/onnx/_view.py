"""A value of an ONNX graph as a symbolic tensor of rnnx and the order in which ONNX has its axes.

rnnx has the batch first and the features last; transpositions, squeezes and most reshapes of a graph only say where
ONNX has which axis. They are followed, not carried out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rnnx.layers.graph import SymbolicTensor

DIRECTIONS = -1  # in place of an axis of a tensor: the axis along which several tensors lie
Axes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Size:
    """A product of a number and of sizes that are not known, by their names."""

    number: int
    names: tuple[str, ...] = ()

    def __mul__(self, other: Size) -> Size:
        return Size(self.number * other.number, tuple(sorted(self.names + other.names)))


ONE = Size(1)


@dataclass(frozen=True)
class Sizes:
    """Sizes as a value of the graph.

    Attributes
    ----------
    sizes : tuple of Size
    scalar : bool
        Whether it is a single one without an axis.
    """

    sizes: tuple[Size, ...]
    scalar: bool = False


@dataclass(frozen=True)
class Zeros:
    """A value that is zero everywhere.

    Attributes
    ----------
    sizes : tuple of Size or None
        Of its axes; None where they are not followed.
    """

    sizes: tuple[Size, ...] | None = None


@dataclass(frozen=True)
class Truths:
    """Truth values of sizes.

    Attributes
    ----------
    truths : tuple of bool
    """

    truths: tuple[bool, ...]


@dataclass(frozen=True, eq=False)
class Count:
    """One whole number that follows from sizes which are not known.

    Attributes
    ----------
    tensor : SymbolicTensor
        Of shape (batch,): the same number for every row.
    """

    tensor: SymbolicTensor


@dataclass(frozen=True, eq=False)
class View:
    """A value of the graph.

    Attributes
    ----------
    tensors : tuple of SymbolicTensor
        One; several that lie along the axis `DIRECTIONS`; or none if the two directions are there side by side only.
    axes : tuple
        For each axis of the value the axes of the tensor that are in it, the slowest first; none for an axis of size 1.
    names : tuple of str
        For each axis of the tensor what its size is called if it is not known.
    flipped : bool
        Whether the value has the timesteps in the other order.
    joined : SymbolicTensor or None
        Both directions side by side.
    """

    tensors: tuple[SymbolicTensor, ...]
    axes: Axes
    names: tuple[str, ...]
    flipped: bool = False
    joined: SymbolicTensor | None = None

    @property
    def rank(self) -> int:
        return len(self.axes)

    @property
    def single(self) -> SymbolicTensor | None:
        """The tensor if there is one; None if there are several."""
        return self.tensors[0] if len(self.tensors) == 1 else None

    @property
    def dtype(self) -> Any:
        return self._some.dtype

    @property
    def _some(self) -> SymbolicTensor:
        found = self.tensors[0] if self.tensors else self.joined
        assert found is not None
        return found

    @property
    def width(self) -> int:
        """How many axes a tensor has."""
        return len(self._some.shape)

    @property
    def is_plain(self) -> bool:
        """Whether the axes are those of the tensor in their order."""
        return self.single is not None and not self.flipped and self.axes == whole(self.width)

    def size_of(self, axis: int) -> Size:
        """Of an axis of the tensor."""
        if axis == DIRECTIONS:
            return Size(len(self.tensors) or 2)
        n = self._some.shape[axis]
        if n is None:
            return Size(1, (self.names[axis],))
        return Size(int(n) // (2 if not self.tensors and axis == self.width - 1 else 1))

    def sizes(self) -> tuple[Size, ...]:
        """Of the axes of the value."""
        return tuple(product(self.size_of(k) for k in entry) for entry in self.axes)

    def moved(self, axes: Axes) -> View:
        """The same with other axes."""
        return replace(self, axes=axes)


def product(sizes: Iterable[Size]) -> Size:
    found = ONE
    for size in sizes:
        found = found * size
    return found


def whole(rank: int) -> Axes:
    """The axes of a tensor in their order."""
    return tuple((k,) for k in range(rank))


def view_of(tensor: SymbolicTensor, axes: Axes | None, names: Sequence[str], flipped: bool = False) -> View:
    """A view of one tensor; without axes it has those of the tensor."""
    return View((tensor,), whole(len(tensor.shape)) if axes is None else axes, tuple(names), flipped)


def reshaped(view: View, target: Sequence[Size | None]) -> Axes | None:
    """The axes after a reshape to these sizes, one of which may be None for the rest; None if an axis is cut in two."""
    atoms = [k for entry in view.axes for k in entry]
    sizes = [view.size_of(k) for k in atoms]
    front, back, first, last = [], [], 0, len(atoms)
    middle = target.index(None) if None in target else len(target)

    def take(wanted: Size, places: Iterable[int]) -> int | None:
        """How many of the axes at these places make this size."""
        found, count = ONE, 0
        for place in places:
            if count and found == wanted:
                break
            if wanted == ONE and sizes[place] != ONE:
                break
            found, count = found * sizes[place], count + 1
        return count if found == wanted else None

    for wanted in target[:middle]:
        assert wanted is not None
        count = take(wanted, range(first, last))
        if count is None:
            return None
        front.append(tuple(atoms[first : first + count]))
        first += count
    for wanted in reversed(target[middle + 1 :]):
        assert wanted is not None
        count = take(wanted, range(last - 1, first - 1, -1))
        if count is None:
            return None
        back.append(tuple(atoms[last - count : last]))
        last -= count
    rest = tuple(atoms[first:last])
    if None not in target:
        return tuple(front) if not rest else None
    return (*front, rest, *reversed(back))


def number_of(shape: Sequence[int | None]) -> int | None:
    """The product of sizes; None if one is not known."""
    return None if None in shape else math.prod(n for n in shape if n is not None)
