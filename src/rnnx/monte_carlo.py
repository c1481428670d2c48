"""Monte Carlo dropout: many passes with the noise on, their mean and spread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnx.layers.undo import walk

Array = NDArray[Any]


def sample(model: Any, x: Any, samples: int, share_masks: bool, batch_size: int | None) -> tuple[Array, Array]:
    """Mean and standard deviation over passes; see `rnnx.training.Trainer.predict_mc`."""
    if isinstance(samples, bool) or not isinstance(samples, (int, np.integer)) or samples < 1:
        raise ValueError(f"predict_mc: `samples` must be a positive integer, got {samples!r}")
    if model.several_inputs or model.several_outputs:
        raise ValueError("predict_mc: models with one input and one output only")
    x = np.asarray(x)
    rows = max(1, len(x) if batch_size is None else batch_size)
    mean: Any = 0.0
    squares: Any = 0.0
    with normalization_at_rest(model):
        for k in range(samples):
            y = _one_by_one(model, x) if share_masks else _pass(model, x, rows)
            change = y.astype(np.float64) - mean
            mean = mean + change / (k + 1)
            squares = squares + change * (y - mean)
    return mean.astype(y.dtype), np.sqrt(squares / samples).astype(y.dtype)


def _pass(model: Any, x: Array, rows: int) -> Array:
    parts = [model(x[k : k + rows], training=True) for k in range(0, max(1, len(x)), rows)]
    return np.concatenate(parts)


def _one_by_one(model: Any, x: Array) -> Array:
    """Every row alone from the same state of the noise, so that all rows see the same masks."""
    generators = model.seed_generators()
    states = [generator.state for generator in generators]
    rows = []
    for k in range(max(1, len(x))):
        for generator, state in zip(generators, states, strict=True):
            generator.state = state
        rows.append(model(x[k : k + 1], training=True))
    return np.concatenate(rows)


@contextmanager
def normalization_at_rest(model: Any) -> Iterator[None]:
    """Batch normalization uses and keeps its moving averages inside this block."""
    from rnnx.layers import BatchNormalization

    found = [layer for layer in walk(model) if isinstance(layer, BatchNormalization)]
    before = [layer.trainable for layer in found]
    for layer in found:
        layer.trainable = False
    try:
        yield
    finally:
        for layer, trainable in zip(found, before, strict=True):
            layer.trainable = trainable
