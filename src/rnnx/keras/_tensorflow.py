"""The loop on the TensorFlow backend, eager and in graphs."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.eager import record
from tensorflow.python.ops import control_flow_util

from rnnx.keras._callback import Layout, Site, memo_of
from rnnx.keras._loop import Form

FEWEST_PRODUCTS: dict[str, int] = {}  # Keras' loop takes more time for a single step than a call of the engine


def runs(x: Any, states: list[Any]) -> bool:
    """Whether the engine can run a call on these tensors, or on what a graph has in their place; XLA cannot call it."""
    if not tf.executing_eagerly() and control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()):
        return False
    on_cpu = not tf.config.list_logical_devices("GPU") and keras.distribution.distribution() is None
    return bool(on_cpu and x.shape.rank == 3 and 0 not in x.shape)


def loop(
    layer: Any, form: Form, x: Any, states: list[Any], weights: list[Any], mask: Any, masks: tuple[list[Any], list[Any]]
) -> tuple[Any, Any, list[Any]]:
    """The last output, all outputs and the final states, as Keras' own loop gives them."""
    layout = Layout(len(states), len(weights), mask is not None, len(masks[0]), len(masks[1]))
    site = Site(form, layout, memo_of(layer))
    arrays = tuple(tf.convert_to_tensor(part) for part in (x, *states, *weights))  # also of variables
    y, *final = _loop(site, arrays, (*(() if mask is None else (mask,)), *masks[0], *masks[1]))
    if form.return_sequences:
        return y[:, -1], y, final
    return y, y[:, None], final


def _loop(site: Site, arrays: tuple[Any, ...], others: tuple[Any, ...]) -> Any:
    @tf.custom_gradient
    def run(*arrays: Any) -> Any:
        x, recurrent_kernel = arrays[0], arrays[2 + site.layout.states]
        units = recurrent_kernel.shape[0]
        shape = (*x.shape[:2], units) if site.form.return_sequences else (x.shape[0], units)
        shapes = [shape, *[(x.shape[0], units)] * site.layout.states]
        if record.could_possibly_record():  # else a gradient that is asked for all the same repeats the forward pass
            *results, ticket = _called(site.forward_to_differentiate, (*arrays, *others), [*shapes, ()])
        else:
            results, ticket = _called(site.forward, (*arrays, *others), shapes), tf.constant(0)

        def pullback(*gradients: Any) -> Any:
            return _gradients(site, ticket, gradients, arrays, others)

        return tuple(results), pullback

    return run(*arrays)


def _gradients(site: Site, ticket: Any, gradients: Any, arrays: tuple[Any, ...], others: tuple[Any, ...]) -> Any:
    count = len(gradients)

    def backward(ticket: Any, *given: Any) -> Any:
        return site.backward(ticket, given[0], given[1:count], True, given[count:])

    @tf.custom_gradient
    def run(*operands: Any) -> Any:
        return tuple(_called(backward, (ticket, *operands, *others), [array.shape for array in arrays])), _refuse

    return run(*gradients, *arrays)


def _refuse(*_: Any) -> Any:
    raise NotImplementedError("rnnx has no second derivatives of recurrent layers: run this model on Keras' own code")


def _called(function: Any, operands: Any, shapes: list[Any]) -> list[Any]:
    """What a function of arrays gives, all of the dtype of x but the ticket, which is a scalar."""
    floats = next(part.dtype for part in operands if part.dtype.is_floating)
    types = [floats if len(shape) else tf.int32 for shape in shapes]
    results = tf.numpy_function(function, operands, types)
    for result, shape in zip(results, shapes, strict=True):
        result.set_shape(shape)
    return list(results)
