"""Functions that are traced: called once with symbolic tensors, for the graphs they leave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx._changes import change
from rnnx._nested import flatten
from rnnx._typing import Array
from rnnx.layers import graph
from rnnx.layers.base_call import BaseCall
from rnnx.layers.gradients import Gradients
from rnnx.layers.graph import Node, SymbolicTensor
from rnnx.layers.plan import GraphPullback, Penalties, Plan
from rnnx.layers.trained import TrainedWeights
from rnnx.layers.weight import Weight


class Tracing:
    """A function that is being traced.

    Attributes
    ----------
    owner : object
        Whose function it is.
    losses : list of SymbolicTensor
        What it adds to the loss.
    changed : dict of SymbolicTensor by Weight
        New values of weights.
    """

    def __init__(self, owner: Any):
        self.owner = owner
        self.losses: list[SymbolicTensor] = []
        self.changed: dict[Weight, SymbolicTensor] = {}
        self._tensors: dict[Weight, SymbolicTensor] = {}

    def tensor_of(self, weight: Weight) -> SymbolicTensor:
        """The value of a weight, as the function has changed it so far."""
        if weight in self.changed:
            return self.changed[weight]
        if weight not in self._tensors:
            node = Node(weight, [], True, 0, {})
            node.outputs.append(SymbolicTensor(weight.shape, weight.dtype, node))
            self._tensors[weight] = node.outputs[0]
        return self._tensors[weight]

    def operand(self, leaf: Any) -> Any:
        """What an argument stands for: a weight for its tensor, and so does the array that is its value."""
        if isinstance(leaf, Weight):
            return self.tensor_of(leaf)
        if isinstance(leaf, np.ndarray):
            for weight in self.owner.weights:
                if weight.gave(leaf):
                    return self.tensor_of(weight)
        return leaf


class Traced:
    """The graph that a function has left.

    Parameters
    ----------
    owner : object with ``name``, ``weights`` and ``weight_is_trained``
    inputs : list of SymbolicTensor
        The arguments, then masks of them.
    arguments : int
        How many inputs are arguments.
    y : tensors in lists, tuples and dicts
        What the function has returned.
    tracing : Tracing

    Attributes
    ----------
    plan : Plan
        Its outputs are those of the function, then the losses it adds, then the new values of weights.
    arguments, outputs : int
        How many of the inputs are arguments and not masks, and how many outputs are those of the function.
    structure : tuple
        Of what it returned.
    """

    several_inputs = several_outputs = True

    def __init__(self, owner: Any, inputs: list[SymbolicTensor], arguments: int, y: Any, tracing: Tracing):
        self.owner, self.name, self.arguments = owner, owner.name, arguments
        found: list[Any] = []
        what = f"{self.name}: what its function returns"
        try:
            self.structure = flatten(y, lambda leaf: isinstance(leaf, (SymbolicTensor, Weight, np.ndarray)), found)
        except TypeError as error:
            raise TypeError(f"{what} must be tensors: {error}") from None
        if not found:
            raise TypeError(f"{what} must be tensors, got {y!r}")
        outputs = [_symbolic(self.name, leaf, tracing) for leaf in found]
        self.outputs, self.losses, self.changed = len(outputs), len(tracing.losses), list(tracing.changed)
        self.plan = Plan(inputs, [*outputs, *tracing.losses, *tracing.changed.values()])
        self.weights: list[Weight] = owner.weights
        for step in self.plan.steps:  # what the class below the owner's computes is penalised as the whole
            step.penalised = not (isinstance(step.layer, BaseCall) and step.layer.layer is owner)
        self._check_weights()
        self._trained: tuple[Any, TrainedWeights] | None = None

    def output_tensors(self) -> list[SymbolicTensor]:
        """What stands for the outputs of the function in the graph."""
        return [self.plan.tensors[place] for place in self.plan.outputs[: self.outputs]]

    def _check_weights(self) -> None:
        """Refuse weights that nobody would train or save."""
        known = set(self.weights)
        for weight in self.plan.weights.values():
            if weight not in known:
                raise ValueError(
                    f"{self.name}: its function computes with the weight {weight.name!r} of a layer that it does not "
                    "keep; make that layer an attribute in `__init__`, so that its weights are trained and saved"
                )
        for step in self.plan.steps:
            if any(weight not in known for weight in step.computation.weights):
                raise ValueError(
                    f"{self.name}: its function calls the layer {step.layer.name!r} ({type(step.layer).__name__}), "
                    "which it does not keep; make it an attribute in `__init__` or `build`, so that its weights are "
                    "trained and saved"
                )

    def weight_is_trained(self) -> list[bool]:
        flags: list[bool] = self.owner.weight_is_trained()
        return flags

    def trained_weights(self, known: Any = None) -> TrainedWeights:
        """The weights, and which of them are trained, as things stand, or as they stood when ``known`` was made.

        Parameters
        ----------
        known : TrainedWeights, optional
            Those of the owner. One training gives the same in every batch, so the last answer is kept.
        """
        if known is None:
            return TrainedWeights(self)
        if self._trained is None or self._trained[0] is not known:
            self._trained = (known, TrainedWeights(self))
        return self._trained[1]

    def run(
        self, arrays: list[Any], masks: list[Any], training: bool, keep: bool
    ) -> tuple[list[Any], list[Any], TracedPullback]:
        """Outputs of the function, their time masks and the pullback.

        Parameters
        ----------
        arrays : list of array
            For every input.
        masks : list of array or None
            Time masks of the first of them.
        training, keep : bool
        """
        masks = masks + [None] * (len(arrays) - len(masks))
        found, output_masks, back = self.plan.forward(self, arrays, masks, training, keep)
        n = self.outputs
        ones = [np.ones_like(value) for value in found[n : n + self.losses]]
        pullback = TracedPullback(self, back, ones)
        pullback.activity_loss = back.activity_loss
        pullback.adds_loss = back.adds_loss or self.losses > 0
        for value in found[n : n + self.losses]:
            pullback.activity_loss += float(np.sum(value))
        for weight, value in zip(self.changed, found[n + self.losses :], strict=True):
            change(weight, value, weight.assign)
        return found[:n], output_masks[:n], pullback


class TracedPullback(Penalties):
    """The backward pass through a graph of a function.

    Parameters
    ----------
    traced : Traced
        Its arguments have a gradient that is asked for, its outputs one that is given.
    back : GraphPullback
    ones : list of array
        Gradients of the losses that the function adds.
    """

    def __init__(self, traced: Traced, back: GraphPullback, ones: list[Array]):
        self._traced, self._back, self._ones = traced, back, ones
        self._arguments, self._outputs, self._changed = traced.arguments, traced.outputs, len(traced.changed)
        self.single_input = False

    def __call__(self, dy: Any, *, need_dx: bool = True, trained: Any = None) -> Gradients:
        """Gradients for the gradient of the output, or for the list of those of several.

        ``trained`` is of the owner, if it is known.
        """
        dys = list(dy) if self._outputs > 1 else [dy]
        if len(dys) != self._outputs:
            raise ValueError(f"the gradient must be a list of {self._outputs}, one for each output, got {len(dys)}")
        given = [None if d is None else np.asarray(d) for d in dys]
        weights = self._traced.trained_weights(trained)
        grads = self._back([*given, *self._ones, *[None] * self._changed], need_dx=need_dx, trained=weights)
        dx = grads.dx[: self._arguments] if need_dx else None
        return Gradients(dx[0] if dx is not None and self.single_input else dx, grads.dweights)


def _symbolic(who: str, leaf: Any, tracing: Tracing) -> SymbolicTensor:
    if isinstance(leaf, Weight):
        return tracing.tensor_of(leaf)
    if isinstance(leaf, np.ndarray):
        raise TypeError(f"{who}: its function returns an array of numbers that do not depend on its inputs")
    tensor: SymbolicTensor = leaf
    return tensor


def trace(
    owner: Any, entries: list[SymbolicTensor], function: Callable[[], Any], arguments: int | None = None
) -> Traced:
    """The graph that a function leaves.

    Parameters
    ----------
    owner : object with ``name``, ``weights`` and ``weight_is_trained``
    entries : list of SymbolicTensor
        What it is called with.
    arguments : int, optional
        How many of them are no masks; all if it is not given.
    function : callable without arguments
    """
    tracing = Tracing(owner)
    token = graph.tracing.set(tracing)
    try:
        y = function()
    finally:
        graph.tracing.reset(token)
    return Traced(owner, entries, len(entries) if arguments is None else arguments, y, tracing)


class Weightless:
    """Whose function is traced: something without weights."""

    def __init__(self, name: str):
        self.name = name
        self.weights: list[Weight] = []

    def weight_is_trained(self) -> list[bool]:
        return []
