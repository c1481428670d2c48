"""What the implementation of an operator is told about its node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
Function = Callable[..., Any]  # arrays (None for missing inputs) in; an array, or a tuple of several outputs


@dataclass(frozen=True, eq=False)
class NodeInfo:
    """A node as the makers of functions see it.

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
    """

    operator: str
    opset: int
    attributes: dict[str, Any]
    constants: dict[int, Array]
    inputs: tuple[bool, ...]
    outputs: tuple[bool, ...]

    def has(self, place: int) -> bool:
        """Whether this input is there."""
        return place < len(self.inputs) and self.inputs[place]

    def integers(self, place: int) -> list[int] | None:
        """A constant input as a list of integers; None if it is not constant."""
        array = self.constants.get(place)
        return None if array is None else [int(n) for n in array.reshape(-1)]


Maker = Callable[[NodeInfo], Function | None]  # None: the reference evaluator has to do it
