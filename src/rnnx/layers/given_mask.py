"""The time mask that a graph computes: ``layer(x, mask=tensor)`` with a symbolic mask."""

from __future__ import annotations

from typing import Any

from rnnx._typing import Array
from rnnx.layers.graph import SymbolicTensor
from rnnx.layers.layer import Gradients, Layer, Pullback
from rnnx.layers.names import unique_name


class GivenMask(Layer):
    """The first of two inputs, with the second as its time mask: a step is used where that is not zero.

    It stands in front of a layer that was called with a symbolic ``mask=``, and takes the place of the mask that the
    input had.
    """

    makes_mask = True
    _call = Layer._call_making_mask

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.built = True

    def prepare(self, x: Any) -> Any:
        if not isinstance(x, (list, tuple)) or len(x) != 2:
            raise ValueError(f"{self.name}: expected an input and its mask, got {type(x).__name__}")
        return super().prepare(x)

    def forward(
        self, x: list[Array], *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Array, Pullback | None]:
        def pullback(dy: Array, *, need_dx: bool = True) -> Gradients:
            return Gradients([self.cast(dy), None] if need_dx else None)

        return x[0], pullback if keep else None

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        return x[1] != 0

    def compute_output_shape(self, input_shape: Any) -> Any:
        """That of the first input.

        Raises
        ------
        ValueError
            If the mask has other axes than the first of the input.
        """
        shape, own = input_shape
        fits = 1 < len(own) < len(shape) or len(own) == len(shape) == 2
        if not fits or not all(None in pair or pair[0] == pair[1] for pair in zip(own, shape, strict=False)):
            raise ValueError(f"{self.name}: `mask` must have the first axes of the input, {shape[:2]}, got {own}")
        return shape


def with_mask(layer: Any, x: Any, mask: Any) -> Any:
    """A symbolic tensor with a symbolic mask, for a layer."""
    if not isinstance(x, SymbolicTensor) or not isinstance(mask, SymbolicTensor):
        raise TypeError(f"{layer.name}: a symbolic `mask` needs one symbolic input, got {type(x).__name__}")
    return GivenMask(name=unique_name("GivenMask"), dtype=layer.dtype)([x, mask])
