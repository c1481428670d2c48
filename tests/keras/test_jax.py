"""What is particular to the JAX backend: transformations of a call."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from keras import layers

import rnnx.keras
from rnnx.keras import _callback, _jax, _loop, _xla

pytestmark = [pytest.mark.keras, pytest.mark.filterwarnings("ignore")]
MASK = np.array([[0, 0, 1, 1, 0], [0, 0, 0, 0, 0], [1, 0, 1, 1, 1]], bool)


def arrays(*shapes: tuple[int, ...]) -> list[Any]:
    random = np.random.default_rng(3)
    return [jnp.asarray(random.normal(size=shape).astype("float32")) for shape in shapes]


def others(layer: Any) -> list[Any]:
    """What a layer has besides its weights."""
    return [variable.value for variable in layer.non_trainable_variables]


def close(found: Any, wanted: Any) -> None:
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("cell, count", [("LSTM", 2), ("GRU", 1), ("SimpleRNN", 1)])
def test_gradients(cell, count, sequences, masked):
    """Of the input, the initial states and the weights, with masked steps before the first valid one."""
    layer = getattr(layers, cell)(4, return_sequences=sequences, return_state=True)
    x, *states = arrays((3, 5, 3), *[(3, 4)] * count)
    layer.build(x.shape)
    weights = [weight.value for weight in layer.trainable_weights]

    def loss(weights: Any, x: Any, states: Any) -> Any:
        found, _ = layer.stateless_call(weights, others(layer), x, initial_state=states, mask=MASK if masked else None)
        return sum((k + 1) * jnp.square(part).sum() for k, part in enumerate(found))

    def gradients() -> Any:
        return jax.jit(jax.grad(loss, (0, 1, 2)))(weights, x, states), jax.grad(loss)(weights, x, states)

    wanted = gradients()
    rnnx.keras.accelerate(layer)
    close(gradients(), wanted)


def test_functions_of_a_call():
    layer = layers.GRU(4)
    (x,) = arrays((6, 3, 5, 2))
    layer.build(x.shape[1:])
    weights = [weight.value for weight in layer.trainable_weights]

    def run(weights: Any, x: Any) -> Any:
        return layer.stateless_call(weights, others(layer), x)[0]

    def loss(weights: Any, x: Any) -> Any:
        return jnp.square(run(weights, x)).sum()

    def results() -> Any:
        rows = jax.vmap(functools.partial(run, weights))(x)
        return (
            rows,
            jax.jit(jax.vmap(jax.grad(loss), (None, 0)))(weights, x),  # six gradients after six calls
            jax.grad(jax.checkpoint(loss))(weights, x[0]),
            jax.lax.map(functools.partial(run, weights), x),
        )

    wanted = results()
    rnnx.keras.accelerate(layer)
    close(results(), wanted)
    with pytest.raises(ValueError, match="(?i)jvp|different"):
        jax.grad(lambda x: jax.grad(loss, 1)(weights, x).sum())(x[0])
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(functools.partial(loss, weights), (x[0],), (x[0],))


def test_jax_calls_python_where_xla_does_not_take_the_handler(monkeypatch):
    assert _xla._works()
    monkeypatch.setattr(_xla, "_works", lambda: False)
    test_gradients("LSTM", 2, True, True)


def test_errors_inside_of_a_program(monkeypatch):
    layer = layers.GRU(4)
    (x,) = arrays((3, 5, 2))
    layer.build(x.shape)
    rnnx.keras.accelerate(layer)

    def fail(*_: Any) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(_callback.Site, "forward", fail)
    with pytest.raises(jax.errors.JaxRuntimeError, match="MemoryError: no room"):
        jax.jit(layer)(x).block_until_ready()
    with pytest.raises(LookupError, match="another process"):
        _xla._known(-1)


def test_small_calls_are_left_to_keras(monkeypatch):
    monkeypatch.undo()
    assert set(_jax.FEWEST_PRODUCTS) == set(_loop.CELLS.values())
    monkeypatch.delattr(_jax, "loop")
    small, large = arrays((3, 5, 2), (32, 50, 2))
    layer = layers.GRU(32)
    layer(small)
    rnnx.keras.accelerate(layer)
    layer(small)
    with pytest.raises(AttributeError, match="loop"):
        layer(large)
    other = layers.LSTM(32)  # of which XLA's loop runs more before a call of Python is worth it
    other(large)
    rnnx.keras.accelerate(other)
    other(large)


def test_gradients_may_be_asked_for_twice_or_never():
    layer = layers.LSTM(4)
    (x,) = arrays((3, 5, 2))
    rnnx.keras.accelerate(layer)
    sites: list[Any] = []

    def noted(*given: Any) -> Any:
        sites.append(_callback.Site(*given))
        return sites[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_jax, "Site", noted)
        layer(x)
        _, pullback = jax.vjp(jax.jit(layer), x)
        (site,) = [site for site in sites if site.kept]
        first = pullback(jnp.ones((3, 4)))
        assert not site.kept
        close(pullback(jnp.ones((3, 4))), first)
        for _ in range(5):
            jax.vjp(jax.jit(layer), x)
        assert all(len(site.kept) <= 2 for site in sites)
