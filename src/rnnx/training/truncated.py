"""Chunks of a long sequence, for truncated back-propagation through time."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array


def tbptt_batches(sequence: Any, batch_size: int, timesteps: int, targets: Any = None) -> list[tuple[Array, Array]]:
    """Cut one long sequence into chunks for truncated back-propagation with a stateful model.

    The sequence is laid out as ``batch_size`` parallel rows; row k of each batch continues row k of the one before.
    ``fit(batches)`` keeps their order and carries the states of a stateful model from chunk to chunk, and on
    into the next epoch: with ``LambdaCallback(on_epoch_begin=lambda epoch, logs: model.reset_states())`` every epoch
    starts from zeros. A validation does so by itself. Gradients end at the borders of the chunks.

    Parameters
    ----------
    sequence : array of shape (steps,) or (steps, features)
    batch_size, timesteps : int
    targets : array of the same number of steps, optional
        By default the sequence itself, one step ahead.

    Returns
    -------
    list of (x, y)
        x and y of shape (batch_size, timesteps, ...).

    Raises
    ------
    ValueError
        If the sequence is too short for one chunk.
    """
    if batch_size < 1 or timesteps < 1:
        raise ValueError(f"`batch_size` and `timesteps` must be positive, got {batch_size} and {timesteps}")
    sequence = np.asarray(sequence)
    x, y = (sequence[:-1], sequence[1:]) if targets is None else (sequence, np.asarray(targets))
    if len(x) != len(y):
        raise ValueError(f"`sequence` has {len(x)} steps but `targets` has {len(y)}")
    steps = len(x) // batch_size // timesteps * timesteps
    if steps < 1:
        raise ValueError(f"{len(x)} steps are too few for batches of {batch_size} x {timesteps}")
    rows = [a[: batch_size * steps].reshape(batch_size, steps, *a.shape[1:]) for a in (x, y)]
    return [(rows[0][:, t : t + timesteps], rows[1][:, t : t + timesteps]) for t in range(0, steps, timesteps)]
