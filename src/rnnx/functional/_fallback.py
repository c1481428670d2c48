"""Calls that the engine does not run go to the float64 twin; what a forward call keeps for its backward call."""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass, field, replace
from typing import Any

from rnnx._typing import Array
from rnnx.functional._types import Grads, GRUParams, LSTMParams, Params, RNNParams, Run


@dataclass(frozen=True, eq=False)
class Cache:
    """What a forward call keeps for ``backward``; opaque to callers."""

    params: Params
    kept: Any  # of the engine, or of the reference for activations that the engine does not know
    weight_mask: Array | None
    shape: tuple[int, int, int]
    return_sequences: bool
    last_is_output: Array | None  # rows whose last output is their state; None: all
    rows: int | None = None  # of packed data
    threads: int = 1
    # The engine works in what was kept, and makes it again for a second backward pass: one at a time.
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)


def reference_of(params: Params) -> Any:
    """The float64 twin of a cell, which also knows the activations that the engine lacks."""
    from rnnx import reference

    return {LSTMParams: reference.lstm, GRUParams: reference.gru, RNNParams: reference.simple_rnn}[type(params)]


def forward_reference(
    params: Params, x: Array, out: Array | None, dtype: Any, weight_mask: Array | None, **call: Any
) -> Run:
    """A forward call on the twin, with its results in the dtype of the weights."""
    run = reference_of(params).forward(params, x, **call)
    outputs = run.outputs.astype(dtype)
    if out is not None:
        out[...] = outputs
        outputs = out
    state = _cast(run.state, dtype)
    if not call["training"]:
        return Run(outputs, state)
    rows = None if call["batch_sizes"] is None else len(x)
    kept = Cache(params, run.cache, weight_mask, run.cache.shape, call["return_sequences"], None, rows)
    return Run(outputs, state, kept)


def _cast(value: Any, dtype: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_cast(part, dtype) for part in value)
    return None if value is None else value.astype(dtype)


def cast_grads(grads: Grads, dtype: Any, weight_mask: Array | None) -> Grads:
    """Gradients of the twin in the dtype of the weights."""
    cast = functools.partial(_cast, dtype=dtype)
    dparams = grads.dparams
    if dparams is not None:
        drecurrent = dparams.recurrent_kernel if weight_mask is None else dparams.recurrent_kernel * weight_mask
        arrays = {"kernel": dparams.kernel, "recurrent_kernel": drecurrent, "bias": dparams.bias}
        if isinstance(dparams, LSTMParams):
            arrays["peepholes"] = dparams.peepholes
        dparams = replace(dparams, **{name: cast(array) for name, array in arrays.items()})
    return Grads(cast(grads.dx), cast(grads.dinitial_state), dparams)
