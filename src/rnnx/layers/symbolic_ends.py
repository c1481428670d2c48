"""The symbolic input and output of a layer: those of its first symbolic call."""

from __future__ import annotations

from typing import Any

from rnnx.layers.graph import Node


class SymbolicEnds:
    """Something that is called with symbolic tensors; a base of `Layer`."""

    name: str
    _node: Node | None = None  # the first symbolic call

    @property
    def input(self) -> Any:
        """Symbolic input(s) of the first symbolic call, to make a `Model` of a part of a graph."""
        node = self._called()
        inputs = node.values or node.outputs
        return inputs[0] if node.single else inputs

    @property
    def output(self) -> Any:
        """Symbolic output(s) of the first symbolic call."""
        outputs = self._called().outputs
        return outputs[0] if len(outputs) == 1 else list(outputs)

    def get_input_at(self, node_index: int) -> Any:
        """`input`, by the name that it had in Keras 2; only the first call is kept.

        Raises
        ------
        ValueError
            If another call is asked for.
        """
        return self._at(node_index, "input")

    def get_output_at(self, node_index: int) -> Any:
        """`output`, likewise."""
        return self._at(node_index, "output")

    def get_input_shape_at(self, node_index: int) -> Any:
        """The shape of `input`, or a list of several."""
        found = self._at(node_index, "input")
        return [tensor.shape for tensor in found] if isinstance(found, list) else found.shape

    def get_output_shape_at(self, node_index: int) -> Any:
        """The shape of `output`, or a list of several."""
        found = self._at(node_index, "output")
        return [tensor.shape for tensor in found] if isinstance(found, list) else found.shape

    def _at(self, node_index: int, end: str) -> Any:
        if node_index != 0:
            raise ValueError(f"{self.name}: only the {end} of the first call is kept, number 0, not {node_index!r}")
        return getattr(self, end)

    def _called(self) -> Node:
        if self._node is None:
            raise AttributeError(f"{self.name}: no symbolic input and output yet; call it on a symbolic tensor first")
        return self._node
