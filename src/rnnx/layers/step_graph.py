"""The graph of a ``call`` that a stream runs step by step."""

from __future__ import annotations

import numpy as np

from rnnx.layers.input import entry
from rnnx.layers.plan import Plan
from rnnx.layers.traced_call import TracedCall
from rnnx.layers.tracing import Traced


class StepGraph:
    """What a stream needs of a model, of a graph that ``call`` has left: not the losses that it adds."""

    def __init__(self, name: str, traced: Traced):
        self.name, self.plan = name, traced.plan
        if traced.changed:
            raise ValueError(f"stream: layer {name!r} cannot be streamed: its `call` changes weights")
        if traced.losses:
            self.plan = Plan([self.plan.tensors[place] for place in self.plan.inputs], traced.output_tensors())
        self.several_inputs, self.several_outputs = len(self.plan.inputs) > 1, len(self.plan.outputs) > 1


def step_graph(computation: TracedCall) -> StepGraph:
    """The graph of a ``call`` for sequences of any length, which a stream runs step by step.

    Raises
    ------
    ValueError
        If the layer was called with several inputs, or ``call`` needs to know the number of steps.
    """
    structure, signature = vars(computation.layer)["_built_for"]
    if len(signature) > 1:
        raise ValueError(f"stream: layer {computation.name!r} has several inputs")
    ((dtype, shape),) = signature
    wanted = np.dtype(dtype)
    free = (None, None, *shape[2:]) if len(shape) > 2 or wanted.kind in "iu" else shape
    try:
        traced = computation.graph_without_values(structure, [entry(computation.name, free, wanted)], False)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(
            f"stream: layer {computation.name!r} cannot be streamed: its `call` needs to know the number of steps "
            f"({error})"
        ) from error
    return StepGraph(computation.name, traced)
