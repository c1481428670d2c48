"""Label sequences from what a network says at each step."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.layers.graph import is_symbolic

NO_LABEL = -1


def ctc_decode(
    inputs: Any,
    sequence_lengths: Any,
    strategy: str = "greedy",
    beam_width: int = 100,
    top_paths: int = 1,
    merge_repeated: bool = True,
    mask_index: int = 0,
) -> tuple[Array, Array]:
    """The most likely class of each step, without repeats and blanks: the greedy decoding of a network with `CTC`.

    Parameters
    ----------
    inputs : array of shape (batch, timesteps, classes)
        Logits or logarithms of probabilities.
    sequence_lengths : int array of shape (batch,)
        How many steps of each row count.
    strategy : {"greedy"}
    beam_width, top_paths : int
        Accepted as in Keras, where they belong to the search with beams.
    merge_repeated : bool
        Whether a class that is the most likely at several steps in a row is one label.
    mask_index : int
        The class that is the blank.

    Returns
    -------
    labels : int32 array of shape (1, batch, timesteps)
        With -1 behind the last label.
    scores : array of shape (batch, 1)
        Minus the sum of what was the largest at each step.

    Raises
    ------
    TypeError
        If the inputs are symbolic: decode what the model gave.
    ValueError
        If the strategy is another one, or the shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnx import ops
    >>> logits = np.eye(3)[None, [1, 1, 0, 1, 2]]
    >>> ops.ctc_decode(logits, np.array([5]))[0].tolist()
    [[[1, 1, 2, -1, -1]]]
    """
    if is_symbolic(inputs):
        raise TypeError("ctc_decode: arrays are needed, got a symbolic tensor; decode what the model predicts")
    if strategy != "greedy":
        raise ValueError(f"ctc_decode: `strategy` must be 'greedy', there is no search with beams; got {strategy!r}")
    x, lengths = np.asarray(inputs), np.asarray(sequence_lengths)
    if x.ndim != 3 or lengths.shape != x.shape[:1]:
        raise ValueError(
            "ctc_decode: `inputs` must have shape (batch, timesteps, classes) and `sequence_lengths` (batch,), got "
            f"{x.shape} and {lengths.shape}"
        )
    if not -x.shape[2] <= mask_index < x.shape[2]:
        raise ValueError(f"ctc_decode: `mask_index` must be one of {x.shape[2]} classes, got {mask_index}")
    there = np.arange(x.shape[1]) < lengths[:, None]
    best = x.argmax(axis=2).astype(np.int32)
    kept = there & (best != mask_index % x.shape[2])
    if merge_repeated:
        kept[:, 1:] &= best[:, 1:] != best[:, :-1]
    labels = np.full((1, *best.shape), NO_LABEL, np.int32)
    rows, steps = np.nonzero(kept)
    labels[0, rows, (kept.cumsum(axis=1) - 1)[rows, steps]] = best[rows, steps]
    return labels, -np.where(there, x.max(axis=2), 0).sum(axis=1, keepdims=True)
