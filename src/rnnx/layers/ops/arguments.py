"""The arguments of an operation as a tree: tensors, arrays and numbers in lists, tuples and slices."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnx._nested import mapped
from rnnx._typing import Array, Shape
from rnnx.layers.graph import SymbolicTensor

MOST_NUMBERS = 65_536  # of an array that stands in a configuration


@dataclass(frozen=True)
class Slot:
    """The place of an input of the layer among the arguments.

    Attributes
    ----------
    index : int
        Which input it is.
    """

    index: int


@dataclass(frozen=True)
class Sketch:
    """What is known of an array before it is there.

    Attributes
    ----------
    shape : tuple
        Unknown sizes are None.
    dtype : dtype
    """

    shape: Shape
    dtype: Any

    @property
    def ndim(self) -> int:
        return len(self.shape)


def replaced(tree: Any, change: Callable[[Any], Any]) -> Any:
    """The same tree with every leaf changed, those inside slices too."""

    def changed(leaf: Any) -> Any:
        if isinstance(leaf, slice):
            return slice(*[mapped(change, part) for part in (leaf.start, leaf.stop, leaf.step)])
        return change(leaf)

    return mapped(changed, tree)


def leaves(tree: Any) -> list[Any]:
    """Every leaf, in order."""
    found: list[Any] = []
    replaced(tree, found.append)
    return found


def taken_out(arguments: Any) -> tuple[Any, list[SymbolicTensor]]:
    """The arguments with slots in place of the symbolic tensors, and these, each once."""
    places: dict[int, int] = {}
    tensors: list[SymbolicTensor] = []

    def slot(leaf: Any) -> Any:
        if not isinstance(leaf, SymbolicTensor):
            return leaf
        if id(leaf) not in places:
            places[id(leaf)] = len(tensors)
            tensors.append(leaf)
        return Slot(places[id(leaf)])

    if isinstance(arguments, dict):  # the inputs have the order of the parameters
        return {name: replaced(part, slot) for name, part in arguments.items()}, tensors
    return replaced(arguments, slot), tensors


def as_size(value: Any) -> int | None:
    """A size, or an index, as an integer; None for one that is not known yet."""
    if value is None or isinstance(value, Sketch):
        return None
    try:
        size = operator.index(value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value)
    except TypeError:
        raise TypeError(f"sizes must be integers, got {value!r}") from None
    if not -(1 << 63) <= size < 1 << 63:  # the product of many such numbers would take long
        raise ValueError("sizes must be integers of 64 bits")
    return size


def as_sizes(values: Any) -> tuple[int | None, ...]:
    """Several sizes; one number is a list of one."""
    return tuple([as_size(value) for value in (values if isinstance(values, (list, tuple, np.ndarray)) else [values])])


def encoded(who: str, tree: Any) -> Any:
    """The tree in lists, numbers and words, for a configuration.

    Raises
    ------
    ValueError
        If an array has more than `MOST_NUMBERS` numbers.
    """
    if isinstance(tree, (list, tuple)):
        return [encoded(who, part) for part in tree]
    if isinstance(tree, slice):
        return {"slice": [encoded(who, part) for part in (tree.start, tree.stop, tree.step)]}
    if isinstance(tree, Slot):
        return {"input": tree.index}
    if tree is Ellipsis:
        return {"ellipsis": True}
    if isinstance(tree, (type, np.dtype)):
        return np.dtype(tree).name
    if isinstance(tree, np.ndarray):
        if tree.size > MOST_NUMBERS:
            raise ValueError(
                f"{who}: a constant of shape {tree.shape} among its arguments is too large for a configuration (at "
                f"most {MOST_NUMBERS:,} numbers); make it an input or a weight"
            )
        return {"array": tree.ravel().tolist(), "shape": list(tree.shape), "dtype": tree.dtype.name}
    return tree.item() if isinstance(tree, np.generic) else tree


def decoded(tree: Any) -> Any:
    """The tree of an `encoded` one; lists are tuples then."""
    if isinstance(tree, (list, tuple)):
        return tuple([decoded(part) for part in tree])
    if not isinstance(tree, dict):
        return tree
    if "array" in tree:
        dtype = np.dtype(str(tree["dtype"])) if str(tree["dtype"]).isalnum() else None
        if dtype is None or dtype.kind not in "fiub":
            raise ValueError(f"a constant of numbers must have a dtype of numbers, got {tree['dtype']!r}")
        array: Array = np.array(tree["array"], dtype).reshape([int(n) for n in tree["shape"]])
        return array
    if "slice" in tree:
        return slice(*map(decoded, tree["slice"]))
    if "input" in tree:
        return Slot(operator.index(tree["input"]))
    if "ellipsis" in tree:
        return Ellipsis
    raise ValueError(f"an argument must be a number, a list, a slice or an array, got {tree!r}")
