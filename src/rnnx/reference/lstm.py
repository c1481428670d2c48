"""The LSTM of the reference."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx import activations
from rnnx.dropout import DropoutMasks
from rnnx.functional._types import Array, Grads, LSTMParams, Run, State
from rnnx.reference import _sequence
from rnnx.reference._sequence import Float, StepMasks, Weights, products, products_back

__all__ = ["backward", "forward"]


def step(p: Any, x: Float, state: tuple[Float, ...], m: StepMasks) -> tuple[tuple[Float, ...], dict[str, Any]]:
    """One step; gates i f c o."""
    h, c = state
    act, rec = activations.get(p.activation), activations.get(p.recurrent_activation)
    a = products(p, x, h, m, range(4), 4, p.bias)
    i, f, n, o = rec(a[0]), rec(a[1]), act(a[2]), rec(a[3])
    c_new = (f * c + i * n * m.update) * m.cell
    y = act(c_new)
    saved = dict(x=x, h=h, c=c, a=a, i=i, f=f, n=n, o=o, c_new=c_new, y=y)
    h_next = m.zone_hidden * h + (1 - m.zone_hidden) * o * y
    c_next = m.zone_cell * c + (1 - m.zone_cell) * c_new
    return (h_next, c_next), saved


def step_back(
    p: Any, s: dict[str, Any], dstate: tuple[Float, ...], m: StepMasks, dweights: Weights
) -> tuple[Float, tuple[Float, ...]]:
    """The way back through `step`."""
    dh_next, dc_next = dstate
    act, rec = activations.get(p.activation), activations.get(p.recurrent_activation)
    dh = (1 - m.zone_hidden) * dh_next
    dc = (1 - m.zone_cell) * dc_next + act.vjp(s["c_new"], s["y"], dh * s["o"])
    dc = dc * m.cell
    da = [
        rec.vjp(s["a"][0], s["i"], dc * s["n"] * m.update),
        rec.vjp(s["a"][1], s["f"], dc * s["c"]),
        act.vjp(s["a"][2], s["n"], dc * s["i"] * m.update),
        rec.vjp(s["a"][3], s["o"], dh * s["y"]),
    ]
    if p.bias is not None:
        dweights["bias"] += np.concatenate(da, axis=1).sum(axis=0)
    dx, dh_old = products_back(p, s["x"], s["h"], m, range(4), 4, da, dweights)
    return dx, (dh_old + m.zone_hidden * dh_next, dc * s["f"] + m.zone_cell * dc_next)


def forward(
    params: LSTMParams,
    x: Array,
    *,
    initial_state: State | None = None,
    mask: Array | None = None,
    lengths: Array | None = None,
    masks: DropoutMasks | None = None,
    go_backwards: bool = False,
    training: bool = False,
    threads: int | None = None,
    out: Array | None = None,
    return_sequences: bool = True,
    zero_output_for_mask: bool = False,
) -> Run:
    """As ``rnnx.functional.lstm.forward``, in float64; ``threads`` has no effect."""
    run = _sequence.forward(
        step,
        2,
        params,
        x,
        initial_state,
        mask,
        lengths,
        masks,
        go_backwards,
        training,
        return_sequences,
        zero_output_for_mask,
    )
    if out is None:
        return run
    out[...] = run.outputs
    return Run(out, run.state, run.cache)


def backward(
    cache: Any, doutputs: Array | None, dstate: Any = None, *, need_dx: bool = True, need_dparams: bool = True
) -> Grads:
    """As ``rnnx.functional.lstm.backward``, in float64."""
    return _sequence.backward(step_back, 2, cache, doutputs, dstate, need_dx, need_dparams)
