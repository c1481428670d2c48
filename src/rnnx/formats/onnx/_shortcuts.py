"""Programs for inputs of one shape.

Exported graphs compute with the shapes of their values: they ask for the number of axes, and choose a branch by it; the
rules of `_limits` look at shapes, too. For inputs whose shapes are known all that is constant. A graph that is run with
small inputs of the same shapes again and again, such as a network that hears one frame at a time, therefore gets a
second, shorter program for these shapes. It is made by running the graph once, noting which shapes follow from those of
the inputs alone.
"""

from __future__ import annotations

from typing import Any

from rnnx.formats.onnx import _operators, _shapes
from rnnx.formats.onnx._node import NodeInfo

WORTH_IT = 3  # runs with the same shapes before a program is made for them
MOST_PROGRAMS = 8
MOST_SHAPES = 256  # different shapes that are counted
LARGEST = 2**20  # bytes of the inputs: with larger ones the shapes cost nothing beside the numbers
# Inputs by whose values an operator chooses the shape of its result: they must be constants.
BY_VALUE: dict[str, tuple[int, ...]] = {
    "ConstantOfShape": (0,), "Expand": (1,), "Pad": (1, 3), "Range": (0, 1, 2), "ReduceMax": (1,), "ReduceMean": (1,),
    "ReduceMin": (1,), "ReduceSum": (1,), "Reshape": (1,), "Slice": (1, 2, 3, 4), "Split": (1,), "Squeeze": (1,),
    "Tile": (1,), "TopK": (1,), "Unsqueeze": (1,),
}  # fmt: skip
KNOWN = {*_operators.MAKERS, *_shapes.MAKERS, "LSTM", "GRU", "RNN", "com.microsoft.DynamicQuantizeLSTM"}


def shape_follows(info: NodeInfo) -> bool:
    """Whether the shapes of a node's results follow from the shapes of its inputs and from those that are constant."""
    decisive = BY_VALUE.get(info.operator, ())
    return info.operator in KNOWN and all(place in info.constants or not info.has(place) for place in decisive)


class Shortcuts:
    """The programs of a graph for particular shapes.

    Parameters
    ----------
    make : callable
        Makes a program from examples of all inputs and captured values, by name.
    names : list of str
        Of the inputs and captured values.
    """

    def __init__(self, make: Any, names: list[str]):
        self.make, self.names = make, names
        self.counts: dict[Any, int] = {}
        self.programs: dict[Any, Any] = {}

    def find(self, arrays: tuple[Any, ...]) -> Any | None:
        """A program for these arrays and the places of those that it takes; None if there is none (yet)."""
        try:
            key = tuple([array.shape for array in arrays])
        except AttributeError:  # a sequence, or a missing value
            return None
        found = self.programs.get(key)
        if found is not None or key in self.programs:
            return found
        if len(self.counts) >= MOST_SHAPES or len(self.programs) >= MOST_PROGRAMS:
            return None
        self.counts[key] = count = self.counts.get(key, 0) + 1
        if count < WORTH_IT:
            return None
        found = None
        if sum(array.nbytes for array in arrays) <= LARGEST:
            program = self.make(dict(zip(self.names, arrays, strict=True)))
            wanted = [*program.inputs, *program.captured]
            found = (program, [self.names.index(name) for name in wanted])
        self.programs[key] = found
        return found
