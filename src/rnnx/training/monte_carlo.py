"""Monte Carlo dropout: many passes with the noise on, their mean and spread."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.layers.normalization import normalization_at_rest
from rnnx.training.batches import pad
from rnnx.training.forms import inputs_of, is_ragged


def sample(model: Any, x: Any, samples: int, share_masks: bool, batch_size: int | None) -> tuple[Any, Any]:
    """Mean and standard deviation over passes; see `rnnx.training.Trainer.predict_mc`."""
    if isinstance(samples, bool) or not isinstance(samples, (int, np.integer)) or samples < 1:
        raise ValueError(f"predict_mc: `samples` must be a positive integer, got {samples!r}")
    if model.several_inputs or model.several_outputs:
        raise ValueError("predict_mc: models with one input and one output only")
    lengths: Any = None
    x = inputs_of(model, x)
    if is_ragged(x):
        x, lengths = pad(x)
    x = np.asarray(x)
    rows = max(1, len(x) if batch_size is None else batch_size)
    mean: Any = 0.0
    squares: Any = 0.0
    with normalization_at_rest():
        for k in range(samples):
            y = _one_by_one(model, x, lengths) if share_masks else _pass(model, x, lengths, rows)
            change = y.astype(np.float64) - mean
            mean = mean + change / (k + 1)
            squares = squares + change * (y - mean)
        found: list[Any] = [mean.astype(y.dtype), np.sqrt(squares / samples).astype(y.dtype)]
        if lengths is not None:
            mask = model.forward_with_mask(x[:1], lengths=lengths[:1])[1]
            if mask is not None and mask.shape[1:] == y.shape[1:2]:  # an output for each step
                found = [[row[:n] for row, n in zip(part, lengths, strict=True)] for part in found]
    return found[0], found[1]


def _pass(model: Any, x: Array, lengths: Any, rows: int) -> Array:
    starts = range(0, max(1, len(x)), rows)
    return np.concatenate([_noisy(model, x, lengths, slice(k, k + rows)) for k in starts])


def _noisy(model: Any, x: Array, lengths: Any, which: slice) -> Array:
    valid = {} if lengths is None else {"lengths": lengths[which]}
    y: Array = model(x[which], training=True, **valid)
    return y


def _one_by_one(model: Any, x: Array, lengths: Any) -> Array:
    """Every row alone from the same state of the noise, so that all rows see the same masks."""
    generators = model.seed_generators()
    states = [generator.state for generator in generators]
    rows = []
    for k in range(max(1, len(x))):
        for generator, state in zip(generators, states, strict=True):
            generator.state = state
        rows.append(_noisy(model, x, lengths, slice(k, k + 1)))
    return np.concatenate(rows)
