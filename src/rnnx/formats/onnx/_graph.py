"""An ONNX graph that is being written, and where each of its weights comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnx._typing import Array

Back = Callable[[Array], list[tuple[Any, Array]]]
OPSET = 22
IR_VERSION = 10  # the first that has opset 22


@dataclass(frozen=True)
class Value:
    """A value of the graph as a layer sees it.

    Attributes
    ----------
    name : str
    rank : int
    dtype : dtype
    mask : str or None
        Name of its boolean time mask of shape (batch, timesteps), or with more of the axes.
    mask_rank : int
        How many axes the mask has.
    """

    name: str
    rank: int
    dtype: Any
    mask: str | None = None
    mask_rank: int = 2


class GraphWriter:
    """Nodes, constants and weights, in the order in which they are added.

    Attributes
    ----------
    nodes : list of NodeProto
    constants : dict
        Arrays that are not weights, by name.
    weights : dict
        Arrays that are, by name.
    backs : dict
        For each weight array a function that turns such an array into pairs of a layer's weight and its value.
    """

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, Array] = {}
        self.weights: dict[str, Array] = {}
        self.backs: dict[str, Back] = {}
        self._known: dict[Any, str] = {}
        self._used: set[str] = set()

    def inside(self) -> GraphWriter:
        """A writer for the graph inside of a node: its nodes are its own, names and arrays those of this one."""
        made = GraphWriter()
        vars(made).update({name: part for name, part in vars(self).items() if name != "nodes"})
        return made

    def unique(self, hint: str) -> str:
        """A name that nothing has yet."""
        name, number = hint, 1
        while name in self._used:
            name, number = f"{hint}_{number}", number + 1
        self._used.add(name)
        return name

    def add(self, operator: str, inputs: Sequence[str], hint: str, **attributes: Any) -> str:
        """Append a node of one output; the name of the output."""
        return self.add_several(operator, inputs, hint, (True,), **attributes)[0]

    def add_several(
        self, operator: str, inputs: Sequence[str], hint: str, outputs: Sequence[bool], **attributes: Any
    ) -> list[str]:
        """Append a node; the names of its outputs, empty for those that are not wanted."""
        from onnx import helper

        name = self.unique(f"{hint}/{operator}")
        names = [(name if k == 0 else f"{name}:{k}") if wanted else "" for k, wanted in enumerate(outputs)]
        given = list(inputs)
        while given and not given[-1]:
            given.pop()
        self.nodes.append(helper.make_node(operator, given, names, name=name, **attributes))
        return names

    def constant(self, value: Any, dtype: Any = np.int64) -> str:
        """The name of a constant; equal ones are one."""
        array = np.asarray(value, dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            name = self.unique(f"constant_{len(self._known)}")
            self._known[key], self.constants[name] = name, array
        return self._known[key]

    def weight(self, name: str, array: Array, back: Back) -> str:
        """The name of a weight array; a layer that is called again uses the same."""
        if name not in self.weights:
            self._used.add(name)
            self.weights[name], self.backs[name] = np.asarray(array, order="C"), back
        return name

    def own(self, name: str, weight: Any, shape: Sequence[int] | None = None) -> str:
        """The name of a layer's weight that stands in the file as it is, or in another shape."""
        value = weight.array if shape is None else weight.array.reshape(shape)
        return self.weight(name, value, lambda array: [(weight, array.reshape(weight.shape))])
