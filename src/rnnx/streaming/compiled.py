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
from rnnx.layers.noise import NoiseLayer
from rnnx.layers.plan import Plan
from rnnx.layers.rnn.sequence import Recurrent
from rnnx.layers.traced_call import TracedCall
from rnnx.streaming.steppers import check_out

Step = Callable[[Array, "Array | None"], Array]


def short_way(
    layer: Any, steppers: list[Any], batch_size: int, turn: _kernels.Turn, cast: Callable[[Any], Array]
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
    for call in plan.steps:
        own = call.layer.layer if isinstance(call.layer, BaseCall) else call.computation
        if last is not None or call.call or isinstance(own, TracedCall):
            return None
        if own.dtype != plan.tensors[call.inputs[0]].dtype:
            return None
        if isinstance(own, Recurrent):
            links.append(next(own_steppers))
        elif type(own) is Dense:
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
    chain = _kernels.Chain(links)
    chain.cast = cast
    if last is None:
        return chain.step
    return _then(chain, last, (batch_size, layer.output_shape[-1]), layer.outputs[0].dtype)


def _then(chain: _kernels.Chain, activation: Callable[[Array], Array], shape: tuple[int, ...], dtype: Any) -> Step:
    """The steps of a chain and an activation behind them."""

    def step(x: Array, out: Array | None) -> Array:
        if out is not None:
            check_out(out, shape, dtype)
        y = activation(chain.step(x))
        if out is None:
            return y
        out[...] = y
        return out

    return step
