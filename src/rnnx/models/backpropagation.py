"""The way back through the graph of a model."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.layers.graph import Node, SymbolicTensor
from rnnx.layers.layer import Gradients


class GraphPullback:
    """The way back through one forward pass of a model.

    Attributes
    ----------
    activity_loss : float
        Penalties of activity regularizers in this pass.
    """

    def __init__(self, model: Any):
        self._model = model
        self._steps: list[tuple[Node, Any, Any]] = []  # node, its pullback, its outputs if their activity is penalised
        self.activity_loss = 0.0

    def record(self, node: Node, pullback: Any, y: Any, keep: bool) -> None:
        """Remember one call; `y` is its first output."""
        regularizer = node.layer.activity_regularizer
        if regularizer is not None:
            self.activity_loss += regularizer(y) / max(1, len(y))
        if keep:
            self._steps.append((node, pullback, y if regularizer is not None else None))

    def __call__(self, dy: Any, *, need_dx: bool = True) -> Gradients:
        """Gradients for the gradient of the output (a list for several outputs; None entries count as zero)."""
        model = self._model
        flowing: dict[int, Array] = {}
        passes = self._passes()
        for tensor, d in zip(model.outputs, dy if model.several_outputs else [dy], strict=True):
            _add(flowing, tensor, d)
        sums: dict[int, Array] = {}
        for node, pullback, penalised in reversed(self._steps):
            given: list[Any] = [flowing.get(id(t)) for t in node.outputs]
            if penalised is not None:
                penalty = node.layer.activity_regularizer.grad(penalised) / np.asarray(
                    max(1, len(penalised)), penalised.dtype
                )
                given[0] = penalty if given[0] is None else given[0] + penalty
            if all(d is None for d in given):
                continue
            wanted = need_dx or any(id(t) in passes for t in node.inputs)
            if not wanted and not any(node.layer.weight_is_trained()):
                continue
            several = len(node.outputs) > 1
            grads = pullback(given if several else given[0], need_dx=wanted)
            for weight, d in zip(node.layer.weights, grads.dweights, strict=True):
                if d is not None:
                    sums[id(weight)] = sums[id(weight)] + d if id(weight) in sums else d
            ends = len(node.inputs) - node.states
            dx = [grads.dx] if node.single else (grads.dx or [None] * ends)
            for tensor, d in zip(node.inputs[:ends], dx, strict=True):
                _add(flowing, tensor, d)
            if node.states:
                states = grads.dinitial_state
                for tensor, d in zip(
                    node.inputs[ends:], states if isinstance(states, (list, tuple)) else [states], strict=True
                ):
                    _add(flowing, tensor, d)
        dinputs = [flowing.get(id(tensor)) for tensor in model.inputs] if need_dx else [None] * len(model.inputs)
        trained = model.weight_is_trained()
        dweights = [
            (sums.get(id(w), np.zeros_like(w.value)) if flag else None)
            for w, flag in zip(model.weights, trained, strict=True)
        ]
        return Gradients(dinputs if model.several_inputs else dinputs[0], dweights)

    def _passes(self) -> set[int]:
        """Which tensors depend on trained weights: gradients need not flow to the others."""
        found: set[int] = set()
        for node, _, _ in self._steps:
            if any(id(t) in found for t in node.inputs) or any(node.layer.weight_is_trained()):
                found.update(id(t) for t in node.outputs)
        return found


def _add(flowing: dict[int, Array], tensor: SymbolicTensor, d: Array | None) -> None:
    if d is not None:
        known = flowing.get(id(tensor))
        flowing[id(tensor)] = d if known is None else known + d
