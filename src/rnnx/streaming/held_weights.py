"""Layers with the weights of now, for streams: those of a stream stay as they were when it was made."""

from __future__ import annotations

import copy
from typing import Any

from rnnx.layers.base_call import BaseCall
from rnnx.layers.traced_call import TracedCall


def layer_of(computation: Any) -> Any:
    """The layer whose computation this is."""
    return computation.layer if isinstance(computation, (BaseCall, TracedCall)) else computation


def of_now(computation: Any) -> Any:
    """The same layer, or what computes the outputs of one, with weights that stay as they are.

    Raises
    ------
    ValueError
        If a layer of one's own cannot be copied.
    """
    layer = layer_of(computation)
    if not getattr(layer, "weights", None):  # a cell may be any object
        return computation
    try:
        copied = copy.deepcopy(layer, {id(weight): weight.still() for weight in layer.weights})
    except TypeError as error:
        raise ValueError(
            f"stream: layer {layer.name!r} ({type(layer).__name__}) cannot be copied with its weights ({error}); "
            "keep what cannot be copied out of its attributes"
        ) from error
    if isinstance(computation, BaseCall):
        return copied.base_call()
    return copied.computation if isinstance(computation, TracedCall) else copied
