"""The loop on the JAX backend."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import jax
import keras
from jax import ShapeDtypeStruct as Shape
from jax.custom_derivatives import SymbolicZero

from rnnx.keras._callback import Layout, Site, memo_of
from rnnx.keras._loop import Form
from rnnx.keras._xla import call_back

# Below, XLA's own loop takes less time than a call of Python, which in `fit` also waits for the thread that prepares
# the next batch. A call and its gradient took as long on both from 4 million (LSTM, simple RNN) and 50,000 (GRU) on.
FEWEST_PRODUCTS = {"lstm": 8_000_000, "gru": 1_000_000, "simple_rnn": 8_000_000}


def runs(x: Any, states: list[Any]) -> bool:
    """Whether the engine can run a call on these arrays, or on what a trace has in their place."""
    on_cpu = jax.default_backend() == "cpu" and keras.distribution.distribution() is None
    return bool(on_cpu and x.ndim == 3 and x.size > 0)


def loop(
    layer: Any, form: Form, x: Any, states: list[Any], weights: list[Any], mask: Any, masks: tuple[list[Any], list[Any]]
) -> tuple[Any, Any, list[Any]]:
    """The last output, all outputs and the final states, as Keras' own loop gives them."""
    layout = Layout(len(states), len(weights), mask is not None, len(masks[0]), len(masks[1]))
    site = Site(form, layout, memo_of(layer))
    y, *final = _loop(site, (x, *states, *weights, *(() if mask is None else (mask,)), *masks[0], *masks[1]))
    if form.return_sequences:
        return y[:, -1], y, final
    return y, y[:, None], final


def _results(site: Site, arrays: tuple[Any, ...]) -> tuple[Shape, ...]:
    x, states = arrays[0], arrays[1 : 1 + site.layout.states]
    units = states[0].shape[1]
    shape = (*x.shape[:2], units) if site.form.return_sequences else (x.shape[0], units)
    return Shape(shape, x.dtype), *(Shape(state.shape, x.dtype) for state in states)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _loop(site: Site, arrays: tuple[Any, ...]) -> Any:
    return tuple(call_back(site.forward, _results(site, arrays), *arrays))


@jax.tree_util.register_static
@dataclass(frozen=True)
class _Wish:
    """What is known when a call is traced: whether anything asks for the gradient of x."""

    dx: bool


def _forward(site: Site, marked: tuple[Any, ...]) -> Any:
    arrays = tuple(part.value for part in marked)
    shapes = *_results(site, arrays), Shape((), "int32")
    *results, ticket = call_back(site.forward_to_differentiate, shapes, *arrays)
    return tuple(results), (arrays, ticket, _Wish(marked[0].perturbed))


def _backward(site: Site, residuals: Any, cotangents: tuple[Any, ...]) -> Any:
    arrays, ticket, wish = residuals
    count = site.layout.differentiable
    there = [not isinstance(part, SymbolicZero) for part in cotangents]

    def gradients(ticket: Any, *given: Any) -> Any:
        rest = iter(given)
        doutputs, *dstates = [next(rest) if known else None for known in there]
        return site.backward(ticket, doutputs, dstates, wish.dx, tuple(rest))

    shapes = tuple(Shape(part.shape, part.dtype) for part in arrays[0 if wish.dx else 1 : count])
    operands = [part for part, known in zip(cotangents, there, strict=True) if known]
    found = call_back(gradients, shapes, ticket, *operands, *arrays)
    return ((*(() if wish.dx else (None,)), *found, *(None,) * (len(arrays) - count)),)  # masks have no gradient


_loop.defvjp(_forward, _backward, symbolic_zeros=True)
