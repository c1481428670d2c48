"""The short way through a stream: compiled steps, one after the other, with every buffer made beforehand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rnnx import _kernels
from rnnx._typing import Array
from rnnx.streaming.chained import Chained
from rnnx.streaming.steppers import check_out

Step = Callable[[Array, "Array | None"], Array]


def short_way(
    layer: Any,
    found: Chained,
    steppers: list[Any],
    batch_size: int,
    turn: _kernels.Turn,
    cast: Callable[[Any], Array],
    long_way: Step,
) -> Step:
    """The function of an unmasked step of a layer, or of a model that is one chain of recurrent and Dense layers.

    Parameters
    ----------
    layer : layer or model
    found : Chained
        What it goes through.
    steppers : list of Stepper
        The compiled step of each layer with a memory, in the order of the model.
    batch_size : int
    turn : Turn
        Of the stream, which its steppers have.
    cast : callable
        Makes an array of the right type out of any other input.
    long_way : function of (x, out)
        For steps that an Embedding masks.

    Returns
    -------
    function of (x, out)
    """
    own_steppers, embedding = iter(steppers), found.embedding
    links = [
        next(own_steppers) if link is None else _kernels.DenseStepper(*link, batch_size, turn) for link in found.links
    ]
    if found.table is not None:
        steppers[0].look_up(found.table)
    chain: Any = links[0]
    if hasattr(layer, "plan") or len(links) > 1:
        masked = embedding is not None and embedding.mask_zero
        chain = _kernels.Chain(links, 0 if embedding is None else embedding.input_dim, masked)
    chain.cast = cast if embedding is None else lambda x: embedding.cast(cast(x))
    step: Step = chain.step
    if found.last is not None:
        step = _then(step, found.last, (batch_size, layer.output_shape[-1]), layer.outputs[0].dtype)
    return _or(step, long_way) if embedding is not None and embedding.mask_zero else step


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
