"""JAX: the cells written in its operations, with ``lax.scan`` over time, compiled."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from problem import DROPOUT, GATES, RECURRENT_DROPOUT, Problem, Results, Work, gradients, several_steps

NO_MASKS = (None, None)


def product(operand: Any, weight: Any, masks: Any) -> Any:
    """The products of all gates side by side; ``masks`` (gates or 1, batch, width) apply to the operand."""
    if masks is None:
        return operand @ weight
    parts = jnp.split(weight, len(masks), axis=-1)
    return jnp.concatenate([(operand * mask) @ part for mask, part in zip(masks, parts, strict=True)], axis=-1)


def lstm(weights: Any, state: Any, a: Any, masks: Any) -> Any:
    """The new state from the input's products."""
    h, c = state
    i, f, g, o = jnp.split(a + product(h, weights[1], masks), 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def gru(weights: Any, state: Any, a: Any, masks: Any) -> Any:
    """The same for a GRU."""
    (h,) = state
    xz, xr, xn = jnp.split(a, 3, axis=-1)
    hz, hr, hn = jnp.split(product(h, weights[1], masks) + weights[2][1], 3, axis=-1)
    z = jax.nn.sigmoid(xz + hz)
    n = jnp.tanh(xn + jax.nn.sigmoid(xr + hr) * hn)
    return (z * h + (1 - z) * n,)


def scan(
    kind: str, weights: Any, x: Any, masks: Any = None, valid: Any = None, reverse: bool = False
) -> tuple[Any, Any]:
    """All outputs (timesteps, batch, units) and the last one; steps that are not ``valid`` (timesteps, batch) keep the
    state. ``masks`` is a pair for the input and the state, for training.

    The input's product is taken for all steps at once in training and for single rows, and step by step otherwise: what
    is faster on the CPU.
    """
    cell, bias = (lstm, weights[2]) if kind == "lstm" else (gru, weights[2][0])
    x_masks, h_masks = masks or (None, None)
    batch = x.shape[1]
    at_once = masks is not None or batch == 1
    zero = jnp.zeros((batch, weights[1].shape[0]), x.dtype)

    def product_of(x: Any) -> Any:
        return product(x, weights[0], x_masks) + bias

    def body(state: Any, step: Any) -> Any:
        a, own = step
        after = cell(weights, state, a if at_once else product_of(a), h_masks)
        if own is not None:
            after = tuple(jnp.where(own[:, None], new, old) for new, old in zip(after, state, strict=True))
        return after, after[0]

    inputs = (product_of(x) if at_once else x, valid)
    state, outputs = lax.scan(body, (zero,) * (2 if kind == "lstm" else 1), inputs, reverse=reverse)
    return outputs, state[0]


class Peer:
    """Time-major, everything on the device, results waited for."""

    def __init__(self, threads: int):
        pass

    def versions(self) -> dict[str, str]:
        return {"jax": jax.__version__}

    def prepare(self, p: Problem) -> Work:
        c, weights = p.cell, [jnp.asarray(w) for w in p.weights()]
        if c.work == "step":
            return self.step(p, weights)
        x = jnp.asarray(p.by_time("x"))
        if c.work == "bidirectional":
            return self.bidirectional(p, x)
        if c.work == "training":
            return self.training(p, weights, x, lambda w, x, masks: scan(c.kind, w, x, masks)[0])
        if c.work == "dropout":
            return self.dropout(p, weights, x)
        valid = jnp.asarray(p.valid.T)
        if c.work == "ragged-training":
            return self.training(p, weights, x, lambda w, x, masks: scan(c.kind, w, x, masks, valid)[1])
        if c.work == "ragged":
            last = jax.jit(lambda w, x, valid: scan(c.kind, w, x, valid=valid)[1])
            return Work(
                lambda: last(weights, x, valid).block_until_ready(), lambda: {"y": np.array(last(weights, x, valid))}
            )
        run = jax.jit(lambda w, x: scan(c.kind, w, x)[0])
        return Work(
            lambda: run(weights, x).block_until_ready(), lambda: {"y": np.array(run(weights, x)).swapaxes(0, 1)}
        )

    def step(self, p: Problem, weights: Any) -> Work:
        c, x = p.cell, jnp.asarray(p.x[:, 0])
        bias = weights[2] if c.kind == "lstm" else weights[2][0]
        cell = lstm if c.kind == "lstm" else gru
        run = jax.jit(lambda w, state, x: cell(w, state, x @ w[0] + bias, None))
        state = (jnp.zeros((c.batch, c.units), jnp.float32),) * (2 if c.kind == "lstm" else 1)

        def call() -> Any:
            nonlocal state
            state = jax.block_until_ready(run(weights, state, x))
            return state[0]

        return several_steps(call, np.asarray)

    def bidirectional(self, p: Problem, x: Any) -> Work:
        stack = [[[jnp.asarray(w) for w in p.weights(k, d)] for d in range(2)] for k in range(2)]

        @jax.jit
        def run(stack: Any, x: Any) -> Any:
            for pair in stack:
                both = [scan(p.cell.kind, w, x, reverse=bool(d))[0] for d, w in enumerate(pair)]
                x = jnp.concatenate(both, axis=-1)
            return x

        return Work(lambda: run(stack, x).block_until_ready(), lambda: {"y": np.array(run(stack, x)).swapaxes(0, 1)})

    def training(self, p: Problem, weights: Any, x: Any, forward: Any) -> Work:
        dy = jnp.asarray(p.dy if p.cell.work == "ragged-training" else p.by_time("dy"))
        run = jax.jit(partial(step_of, forward))

        def results() -> Results:
            return in_keras_layout(*run(weights, x, dy, NO_MASKS))

        return Work(lambda: jax.block_until_ready(run(weights, x, dy, NO_MASKS)), results)

    def dropout(self, p: Problem, weights: Any, x: Any) -> Work:
        c, dy = p.cell, jnp.asarray(p.by_time("dy"))
        own = GATES[c.kind] if c.masks == "per gate" else 1
        step = partial(step_of, lambda w, x, masks: scan(c.kind, w, x, masks)[0])

        @jax.jit
        def run(weights: Any, x: Any, dy: Any, key: Any) -> Any:
            key, *keys = jax.random.split(key, 3)
            masks = [
                jax.random.bernoulli(k, 1 - rate, (own, c.batch, c.units)).astype(x.dtype) / (1 - rate)
                for k, rate in zip(keys, (DROPOUT, RECURRENT_DROPOUT), strict=True)
            ]
            return key, step(weights, x, dy, masks)

        key = jax.random.key(1)

        def call() -> None:
            nonlocal key
            key, _ = jax.block_until_ready(run(weights, x, dy, key))

        def results() -> Results:
            given = (jnp.asarray(p.x_masks), jnp.asarray(p.h_masks))
            return in_keras_layout(*jax.jit(step)(weights, x, dy, given))

        return Work(call, results)


def step_of(forward: Any, weights: Any, x: Any, dy: Any, masks: Any) -> Any:
    """Outputs and gradients."""
    y, pull = jax.vjp(lambda w, x: forward(w, x, masks), weights, x)
    return y, pull(dy)


def in_keras_layout(y: Any, grads: Any) -> Results:
    """The results of a training step; outputs with a time axis have it first."""
    dweights, dx = grads
    y = np.array(y)
    return gradients(y.swapaxes(0, 1) if y.ndim == 3 else y, np.array(dx).swapaxes(0, 1), *map(np.array, dweights))
