"""What the gates of a recurrent core do over a sequence, under the names people call them by."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.reference import gru, lstm, simple_rnn

CORES = {"lstm": lstm, "gru": gru, "simple_rnn": simple_rnn}
# What a step saves, and its name.
SAVED = {
    "lstm": (("i", "input gate i"), ("f", "forget gate f"), ("n", "candidate"), ("o", "output gate o")),
    "gru": (("z", "update gate z"), ("r", "reset gate r"), ("n", "candidate")),
    "simple_rnn": (),
}


def gate_values(
    cell_kind: str, params: Any, x: Array, *, initial_state: Any = None, go_backwards: bool = False
) -> dict[str, Array]:
    """Gates, memory and output of the first row of a batch.

    Parameters
    ----------
    cell_kind : str
        ``"lstm"``, ``"gru"`` or ``"simple_rnn"``.
    params : LSTMParams, GRUParams or RNNParams
    x : array of shape (batch, timesteps, features)
    initial_state : tuple of arrays of shape (batch, units), optional
    go_backwards : bool

    Returns
    -------
    dict of str to float64 array of shape (timesteps, units)
        In the order in which the steps are read.
    """
    run = CORES[cell_kind].forward(params, x, initial_state=initial_state, go_backwards=go_backwards, training=True)
    steps = [saved for _, _, saved in run.cache.steps]
    values = {title: np.stack([getattr(s, name)[0] for s in steps]) for name, title in SAVED[cell_kind]}
    if cell_kind == "lstm":
        values["memory cell c"] = np.stack([s.c_new[0] for s in steps])
    values["output h"] = run.outputs[0]
    return values
