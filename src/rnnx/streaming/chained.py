"""Models whose step is one chain of recurrent and Dense layers, which compiled steps can follow without Python."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rnnx import _kernels
from rnnx._typing import Array
from rnnx.functional._engine import engine_activation
from rnnx.layers.activation import Activation
from rnnx.layers.base_call import BaseCall
from rnnx.layers.dense import Dense
from rnnx.layers.embedding import Embedding
from rnnx.layers.noise import NoiseLayer
from rnnx.layers.plan import Plan
from rnnx.layers.rnn.sequence import Recurrent
from rnnx.layers.traced_call import TracedCall


@dataclass
class Chained:
    """What a step of a layer or model goes through.

    Attributes
    ----------
    links : list
        In order: None for the next of its recurrent layers or cells, ``(PackedDense, activation)`` for a Dense layer.
    embedding : Embedding or None
        What makes the input of the first link, a recurrent one, out of ids.
    table : array or None
        What that link's weights make of all embeddings.
    last : function or None
        An activation behind the last link.
    """

    links: list[tuple[_kernels.PackedDense, str] | None] = field(default_factory=list)
    embedding: Any = None
    table: Array | None = None
    last: Callable[[Array], Array] | None = None


def chained(layer: Any, recurrent: int) -> Chained | None:
    """The chain that a layer or model is; None if a step needs more.

    Parameters
    ----------
    layer : layer or model
    recurrent : int
        Recurrent layers and cells in it, all of which have a compiled step.
    """
    if not recurrent or (layer.overrides_call and not hasattr(layer, "plan")):
        return None
    if not hasattr(layer, "plan"):
        return Chained([None] * recurrent)
    plan: Plan = layer.plan
    if layer.several_inputs or layer.several_outputs or not plan.is_chain() or plan.outputs[0] != len(plan.steps):
        return None
    found = Chained()
    for number, call in enumerate(plan.steps):
        own = call.layer.layer if isinstance(call.layer, BaseCall) else call.computation
        if type(own) is Embedding and not number and not call.call:
            found.embedding = own
            continue
        if found.last is not None or call.call or isinstance(own, TracedCall):
            return None
        if own.dtype != plan.tensors[call.inputs[0]].dtype:
            return None
        if isinstance(own, Recurrent):
            if found.embedding is not None and not found.links:
                found.table = own.table_of(found.embedding, found.embedding.input_dim, own.packed()[1])
                if found.table is None:
                    return None
            found.links.append(None)
        elif type(own) is Dense and (found.links or found.embedding is None):
            name = engine_activation(own.activation)
            if name is None:  # softmax and the like end the chain
                name, found.last = "linear", own.activation
            found.links.append((own.packed(), name))
        elif type(own) is Activation:
            found.last = own.activation
        elif not isinstance(own, NoiseLayer):
            return None
    return found if found.links else None
