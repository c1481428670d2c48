"""The short way through a stream: compiled steps, one after the other, with every buffer made beforehand."""

from __future__ import annotations

from collections.abc import Callable
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
from rnnx.streaming.steppers import check_out

Step = Callable[[Array, "Array | None"], Array]


def short_way(
    layer: Any,
    steppers: list[Any],
    batch_size: int,
    turn: _kernels.Turn,
    cast: Callable[[Any], Array],
    long_way: Step,
) -> Step | None:
    """The function of an unmasked step of a layer, or of a model that is one chain of recurrent and Dense layers.

    Parameters
    ----------
    layer : layer or model
    steppers : list of Stepper or None
        The compiled step of each layer with a memory, in the order of the model; None for one that has none.
    batch_size : int
    turn : Turn
        Of the stream, which its steppers have.
    cast : callable
        Makes an array of the right type out of any other input.
    long_way : function of (x, out)
        For steps that an Embedding masks.

    Returns
    -------
    function of (x, out) or None
        None if a step needs more than compiled steps and an activation behind them.
    """
    if None in steppers or not steppers or (layer.overrides_call and not hasattr(layer, "plan")):
        return None
    if not hasattr(layer, "plan"):
        alone: Any = _kernels.Chain(steppers) if len(steppers) > 1 else steppers[0]
        alone.cast = cast
        step: Step = alone.step
        return step
    plan: Plan = layer.plan
    if layer.several_inputs or layer.several_outputs or not plan.is_chain() or plan.outputs[0] != len(plan.steps):
        return None
    links: list[Any] = []
    own_steppers, last = iter(steppers), None
    embedding: Any = None
    for number, call in enumerate(plan.steps):
        own = call.layer.layer if isinstance(call.layer, BaseCall) else call.computation
        if type(own) is Embedding and not number and not call.call:
            embedding = own
            continue
        if last is not None or call.call or isinstance(own, TracedCall):
            return None
        if own.dtype != plan.tensors[call.inputs[0]].dtype:
            return None
        if isinstance(own, Recurrent):
            if embedding is not None and not links:
                table = own.table_of(embedding, embedding.input_dim, own.packed()[1])
                if table is None:
                    return None
                steppers[0].look_up(table)
            links.append(next(own_steppers))
        elif type(own) is Dense and (links or embedding is None):
            name = engine_activation(own.activation)
            if name is None:  # softmax and the like end the chain
                name, last = "linear", own.activation
            links.append(_kernels.DenseStepper(own.packed(), name, batch_size, turn))
        elif type(own) is Activation:
            last = own.activation
        elif not isinstance(own, NoiseLayer):
            return None
    if not links:
        return None
    masked = embedding is not None and embedding.mask_zero
    chain = _kernels.Chain(links, 0 if embedding is None else embedding.input_dim, masked)
    chain.cast = cast if embedding is None else lambda x: embedding.cast(cast(x))
    found: Step = chain.step
    if last is not None:
        found = _then(found, last, (batch_size, layer.output_shape[-1]), layer.outputs[0].dtype)
    return _or(found, long_way) if masked else found


def _then(chain: Step, activation: Callable[[Array], Array], shape: tuple[int, ...], dtype: Any) -> Step:
    """The steps of a chain and an activation behind them."""

    def step(x: Array, out: Array | None) -> Array:
        if out is not None:
            check_out(out, shape, dtype)
        y = chain(x, None)
        if y is None:
            return y
        y = activation(y)
        if out is None:
            return y
        out[...] = y
        return out

    return step


def _or(step: Step, long_way: Step) -> Step:
    """A step, or the long way for one that has padding."""

    def either(x: Array, out: Array | None) -> Array:
        y = step(x, out)
        return long_way(x, out) if y is None else y

    return either
