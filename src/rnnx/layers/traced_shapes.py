"""Shapes and types of what a ``call`` returns, as its graph says them."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._nested import unflatten
from rnnx.layers.call_arguments import SIMPLE, list_structure
from rnnx.layers.call_signature import CallSignature
from rnnx.layers.input import entry
from rnnx.layers.tracing import Traced


class Sketch:
    """Shape and dtype of an array."""

    def __init__(self, shape: Any, dtype: Any):
        self.shape, self.dtype = tuple(shape), dtype


def sketches_of(signature: Any) -> list[Any]:
    """Arguments of these types, by their names, and shapes."""
    return [Sketch(shape, np.dtype(dtype)) for dtype, shape in signature]


class TracedShapes:
    """What `rnnx.layers.traced_call.TracedCall` says of shapes and types; its base."""

    layer: Any
    signature: CallSignature

    @property
    def name(self) -> str:
        return str(self.layer.name)

    @property
    def dtype(self) -> Any:
        return self.layer.dtype

    def build_for(self, structure: Any, shapes: list[Any]) -> None:
        """Build the layer for arguments of these shapes."""
        raise NotImplementedError(f"{type(self).__name__} does not say how to build")

    def graph_without_values(self, structure: Any, tensors: list[Any], training: bool) -> Traced:
        """The graph of a call of which nobody knows yet whether its inputs will have masks."""
        raise NotImplementedError(f"{type(self).__name__} has no graphs")

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Shape of the output for an input of this shape, as the class or else the graph says it."""
        if self.signature.says_shape:
            return self.layer.compute_output_shape(input_shape)
        return self.graph_output_shape(input_shape)

    def call_output_shapes(self, input_shape: Any, call: dict[str, Any]) -> Any:
        """Shape of the output, or a list of those of several, of a call with these arguments."""
        return self.compute_output_shape(input_shape)

    def graph_output_shape(self, input_shape: Any) -> Any:
        """Shape of the output for an input of this shape, as the graph says it."""
        several = isinstance(input_shape, list) and input_shape and isinstance(input_shape[0], (list, tuple))
        shapes = input_shape if several else [input_shape]
        traced = self._traced_for(shapes, [self.dtype] * len(shapes), bool(several))
        batch = shapes[0][0]
        found = [tensor.shape for tensor in traced.output_tensors()]
        found = [(batch, *shape[1:]) if shape and shape[0] is None else shape for shape in found]
        return unflatten(traced.structure, found)

    def compute_output_dtype(self, input_shape: Any, input_dtype: list[Any]) -> Any:
        """The type of the output(s) for inputs of these shapes and types."""
        several = isinstance(input_shape, list)
        traced = self._traced_for(input_shape if several else [input_shape], input_dtype, several)
        found = [tensor.dtype for tensor in traced.output_tensors()]
        return found if len(found) > 1 else found[0]

    def _traced_for(self, shapes: list[Any], types: list[Any], several: bool) -> Traced:
        structure = list_structure(self.layer, len(shapes)) if several else SIMPLE
        self.build_for(structure, shapes)
        pairs = enumerate(zip(shapes, types, strict=True))
        tensors = [entry(f"{self.name}_{k}", (None, *shape[1:]), dtype) for k, (shape, dtype) in pairs]
        return self.graph_without_values(structure, tensors, False)
