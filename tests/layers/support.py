"""What the tests of the recurrent layers share: asymmetric weights, masks of every kind, and finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

B, T, F, U = 5, 6, 3, 4
STEP = 1e-6
MASK = np.array(
    [[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1], [0, 1, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0]], dtype=bool
)
LENGTHS = np.array([6, 1, 3, 0, 5])


def data(rng: np.random.Generator, *shape: int) -> Any:
    return rng.normal(size=shape or (B, T, F))


def randomize(layer: Any, rng: np.random.Generator, x: Any = None) -> Any:
    """Build a layer and give it asymmetric weights."""
    if x is not None:
        layer(x)
    layer.set_weights([rng.normal(size=w.shape) * 0.5 for w in layer.weights])
    return layer


def flat(value: Any) -> list[Any]:
    """The arrays of a possibly nested result in order."""
    if isinstance(value, (list, tuple)):
        return [part for inner in value for part in flat(inner)]
    return [] if value is None else [value]


def same(a: Any, b: Any, tolerance: float = 1e-12) -> None:
    """Two (nested) results are equal."""
    a, b = flat(a), flat(b)
    assert len(a) == len(b)
    for one, two in zip(a, b, strict=True):
        np.testing.assert_allclose(one, two, rtol=tolerance, atol=tolerance)


def check_gradient(call: Callable[[], Any], array: Any, gradient: Any, slopes: list[Any], samples: int = 5) -> None:
    """Central differences of a projection of all outputs of a call with respect to some entries of an array."""
    assert gradient.shape == array.shape
    rng = np.random.default_rng(3)

    def value() -> float:
        return sum(float((s * y).sum()) for s, y in zip(slopes, flat(call()), strict=True))

    for number in rng.choice(array.size, min(samples, array.size), replace=False):
        place = np.unravel_index(number, array.shape)
        kept, ends = array[place], []
        for sign in (1, -1):
            array[place] = kept + sign * STEP
            ends.append(value())
        array[place] = kept
        np.testing.assert_allclose(gradient[place], (ends[0] - ends[1]) / (2 * STEP), rtol=2e-6, atol=2e-8)


def check_all_gradients(layer: Any, x: Any, states: list[Any], inputs: bool = True, **call: Any) -> None:
    """The pullback of a call against finite differences: input, initial states and weights."""
    if states:
        call["initial_state"] = states
    y, pullback = layer.vjp(x, **call)
    rng = np.random.default_rng(4)
    slopes = [rng.normal(size=part.shape) for part in flat(y)]
    grads = pullback(slopes if isinstance(y, list) else slopes[0])

    def run() -> Any:
        return layer(x, **call)

    if inputs:
        check_gradient(run, x, grads.dx, slopes)
    for state, gradient in zip(states, flat(grads.dinitial_state), strict=bool(states)):
        check_gradient(run, state, gradient, slopes)
    for weight, gradient in zip(layer.weights, grads.dweights, strict=True):
        before = weight.value.copy()

        def with_weight(weight: Any = weight) -> Any:
            weight.version += 1  # changed in place
            return layer(x, **call)

        check_gradient(with_weight, weight.value, gradient, slopes)
        weight.assign(before)
