"""Calls that PyTorch's own code runs faster, by their sizes: they stay with it.

The numbers are those of ``python bench/in_pytorch.py --policy``. What surrounds the engine costs a call about the same
whatever its size: with a gradient, it takes some steps until the engine has won that back. Without one, weights are
read once more to see whether they are those that were packed, which counts where they are many and read only once or
twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple


class Bounds(NamedTuple):
    """From which sizes on a kind of module runs on rnnx.

    Attributes
    ----------
    training : int
        Fewest steps of a call with a gradient.
    inference : int
        Fewest steps of a call without one, if a direction has at least so many ``weights``.
    weights : int
    """

    training: int
    inference: int
    weights: int


BOUNDS = {
    "LSTM": Bounds(training=16, inference=1, weights=0),
    "GRU": Bounds(training=8, inference=3, weights=100_000),
    "RNN_TANH": Bounds(training=8, inference=3, weights=100_000),
    "RNN_RELU": Bounds(training=8, inference=3, weights=100_000),
}
GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}

_active = True


def reason(mode: str, training: bool, timesteps: int, features: int, units: int) -> str | None:
    """Why a call of these sizes stays with PyTorch, or None.

    Parameters
    ----------
    mode : {"LSTM", "GRU", "RNN_TANH", "RNN_RELU"}
    training : bool
        Whether it has a gradient.
    timesteps, features, units : int
    """
    bounds = BOUNDS[mode]
    if not _active:
        return None
    if training:
        return "a gradient of few steps" if timesteps < bounds.training else None
    if timesteps < bounds.inference and GATES[mode] * units * (features + units) >= bounds.weights:
        return "few steps of many weights"
    return None


@contextmanager
def everything_on_rnnx() -> Iterator[None]:
    """For benches and tests: no call stays with PyTorch for its size."""
    global _active
    before, _active = _active, False
    try:
        yield
    finally:
        _active = before
