"""Keras on JAX: stateless calls, compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from peer_keras import KerasPeer


def variables(layer: Any) -> tuple[list[Any], list[Any]]:
    """The values of the weights and of the other variables (those of the seed)."""
    return [v.value for v in layer.trainable_variables], [v.value for v in layer.non_trainable_variables]


class Peer(KerasPeer):
    """Results are waited for."""

    def __init__(self, threads: int):
        pass

    def versions(self) -> dict[str, str]:
        return {**super().versions(), "jax": jax.__version__}

    def inference(self, layer: Any, x: Any, **call: Any) -> Callable[[], Any]:
        weights, others = variables(layer)
        run = jax.jit(lambda weights, others, x, call: layer.stateless_call(weights, others, x, **call)[0])
        return lambda: run(weights, others, x, call).block_until_ready()

    def steps(self, cell: Any, x: Any, states: list[Any]) -> Callable[[], Any]:
        weights, others = variables(cell)
        run = jax.jit(lambda weights, others, x, states: cell.stateless_call(weights, others, x, states)[0])

        def step() -> Any:
            nonlocal states
            y, states = jax.block_until_ready(run(weights, others, x, states))
            return y

        return step

    def gradient(self, layer: Any, x: Any, dy: Any, **call: Any) -> Callable[[], tuple[Any, Any]]:
        weights, others = variables(layer)

        @jax.jit
        def run(weights: Any, others: Any, x: Any, dy: Any, call: Any) -> Any:
            def forward(weights: Any, x: Any) -> Any:
                return layer.stateless_call(weights, others, x, training=True, **call)

            y, pull, after = jax.vjp(forward, weights, x, has_aux=True)
            dweights, dx = pull(dy)
            return y, (dx, *dweights), after

        def step() -> tuple[Any, Any]:
            nonlocal others
            y, grads, others = jax.block_until_ready(run(weights, others, x, dy, call))
            return y, grads

        return step
