"""A node, and the record of an operator: how it is made, and what its result and its workspace cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rnnx._typing import Array
from rnnx.formats.onnx._limits import MOST_SIZES
from rnnx.saving import FormatError

Function = Callable[..., Any]  # arrays (None for missing inputs) in; an array, or a tuple of several outputs


class Unsupported(FormatError):
    """An operator that nobody here runs; others may be missing too."""


@dataclass(frozen=True, eq=False)
class NodeInfo:
    """A node as the makers of functions and the rules of sizes see it.

    Attributes
    ----------
    operator : str
    opset : int
        Of the operator's domain.
    attributes : dict
    constants : dict
        Inputs with values known beforehand, by their place.
    inputs : tuple of bool
        Which inputs are there.
    outputs : tuple of bool
        Which outputs are used.
    evaluated : bool
        Whether it runs on the reference evaluator, for want of a version here.
    """

    operator: str
    opset: int
    attributes: dict[str, Any]
    constants: dict[int, Array]
    inputs: tuple[bool, ...]
    outputs: tuple[bool, ...]
    evaluated: bool = False

    def has(self, place: int) -> bool:
        """Whether this input is there."""
        return place < len(self.inputs) and self.inputs[place]

    def integers(self, place: int) -> list[int] | None:
        """A constant input as a list of integers; None if it is not constant."""
        array = self.constants.get(place)
        if array is None:
            return None
        if array.size > MOST_SIZES:
            raise FormatError(f"{array.size:,} numbers in place of axes or sizes, at most {MOST_SIZES:,} are read")
        return [int(n) for n in array.reshape(-1)]


Maker = Callable[[NodeInfo], Function | None]  # None: the reference evaluator has to do it
Size = Callable[..., int]  # the node and its inputs in; a number of bytes, or of nanoseconds, out


@dataclass(frozen=True, eq=False)
class Operator:
    """All that is known of an operator; the registries and the guards are derived from it.

    Attributes
    ----------
    name : str
        Behind its domain, unless that is ONNX' own.
    make : callable or None
        Makes its function; None if only the reference evaluator has it.
    result : callable
        At least the bytes of its results.
    workspace : callable
        At least the bytes that it takes beside them while it runs.
    work : callable or None
        Nanoseconds, roughly, beside one for each of these bytes.
    shape_inputs : tuple of int
        Inputs by whose values it chooses the shapes of its results.
    several : bool
        Whether its function returns a tuple also for a single output.
    quiet : bool
        Whether its function makes NumPy say nothing of numbers that are too large or none.
    """

    name: str
    make: Maker | None
    result: Size
    workspace: Size
    work: Size | None = None
    shape_inputs: tuple[int, ...] = ()
    several: bool = False
    quiet: bool = False
