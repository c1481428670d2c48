"""Programs for inputs of one shape.

Exported graphs compute with the shapes of their values: they ask for the number of axes, and choose a branch by it; the
rules of `_sizes` look at shapes, too. For inputs whose shapes are known all that is constant. A graph that is run with
small inputs of the same shapes again and again, such as a network that hears one frame at a time, therefore gets a
second, shorter program for these shapes. It is made by running the graph once, noting which shapes follow from those of
the inputs alone.
"""

from __future__ import annotations

from typing import Any

from rnnx.formats.onnx._limits import Meter

WORTH_IT = 3  # runs with the same shapes before a program is made for them
MOST_PROGRAMS = 8
MOST_SHAPES = 256  # different shapes that are counted
LARGEST = 2**20  # bytes of the inputs: with larger ones the shapes cost nothing beside the numbers


class Shortcuts:
    """The programs of a graph for particular shapes.

    Parameters
    ----------
    make : callable
        Makes a program from examples of all inputs and captured values, by name.
    names : list of str
        Of the inputs and captured values.
    meter : Meter
        A run makes no more programs than it has time for: a graph in a loop could ask for one in every round.
    cost : int
        Nanoseconds for making one.
    """

    def __init__(self, make: Any, names: list[str], meter: Meter, cost: int):
        self.make, self.places = make, {name: k for k, name in enumerate(names)}
        self.meter, self.cost = meter, cost
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
        if count < WORTH_IT or self.meter.specialising < self.cost:
            return None
        self.meter.specialising -= self.cost
        found = None
        if sum(array.nbytes for array in arrays) <= LARGEST:
            program = self.make(dict(zip(self.places, arrays, strict=True)))
            wanted = [*program.inputs, *program.captured]
            found = (program, [self.places[name] for name in wanted])
        self.programs[key] = found
        return found
