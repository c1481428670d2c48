"""The GRU of the reference."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx import activations
from rnnx.dropout import DropoutMasks
from rnnx.functional._types import Array, Grads, GRUParams, Run, State
from rnnx.reference import _sequence
from rnnx.reference._sequence import Float, StepMasks, Weights, gate, products, products_back

__all__ = ["backward", "forward"]


def step(p: Any, x: Float, state: tuple[Float, ...], m: StepMasks) -> tuple[tuple[Float, ...], dict[str, Any]]:
    """One step; gates z r h."""
    (h,) = state
    act, rec = activations.get(p.activation), activations.get(p.recurrent_activation)
    bias_x, bias_h = _biases(p)
    a = products(p, x, h, m, range(2), 3, bias_x + bias_h)
    z, r = rec(a[0]), rec(a[1])
    x_n = (x * m.inputs(2)) @ gate(p.kernel, 2, 3) + gate(bias_x, 2, 3)
    operand = h * m.state(2) if p.reset_after else r * h * m.state(2)
    q = operand @ gate(p.recurrent_kernel, 2, 3) + gate(bias_h, 2, 3)
    a_n = x_n + (r * q if p.reset_after else q)
    n = act(a_n)
    h_new = (z * h * m.blend + (1 - z) * n * m.update) * m.cell
    saved = dict(x=x, h=h, a=a, z=z, r=r, q=q, a_n=a_n, n=n, operand=operand)
    return (m.zone_hidden * h + (1 - m.zone_hidden) * h_new,), saved


def step_back(
    p: Any, s: dict[str, Any], dstate: tuple[Float, ...], m: StepMasks, dweights: Weights
) -> tuple[Float, tuple[Float, ...]]:
    """The way back through `step`."""
    (dh_next,) = dstate
    act, rec = activations.get(p.activation), activations.get(p.recurrent_activation)
    x, h, z, r, n = s["x"], s["h"], s["z"], s["r"], s["n"]
    dh_new = (1 - m.zone_hidden) * dh_next * m.cell
    dh = m.zone_hidden * dh_next + dh_new * z * m.blend
    dz = dh_new * (h * m.blend - n * m.update)
    da_n = act.vjp(s["a_n"], n, dh_new * (1 - z) * m.update)
    dq = da_n * r if p.reset_after else da_n
    doperand = dq @ gate(p.recurrent_kernel, 2, 3).T
    if p.reset_after:
        dr, dh = da_n * s["q"], dh + doperand * m.state(2)
    else:
        dr, dh = doperand * h * m.state(2), dh + doperand * r * m.state(2)
    da = [rec.vjp(s["a"][0], z, dz), rec.vjp(s["a"][1], r, dr)]
    gate(dweights["kernel"], 2, 3)[...] += (x * m.inputs(2)).T @ da_n
    gate(dweights["recurrent_kernel"], 2, 3)[...] += s["operand"].T @ dq
    if p.bias is not None:
        of_x, of_h = (np.concatenate([*da, d], axis=1).sum(axis=0) for d in (da_n, dq))
        dweights["bias"] += np.stack([of_x, of_h]) if p.reset_after else of_x
    dx, dh_gates = products_back(p, x, h, m, range(2), 3, da, dweights)
    return dx + m.inputs(2) * (da_n @ gate(p.kernel, 2, 3).T), (dh + dh_gates,)


def _biases(p: Any) -> tuple[Float, Float]:
    """Input and recurrent bias; the reset-before GRU has no recurrent one."""
    zeros = np.zeros(p.kernel.shape[1])
    if p.bias is None:
        return zeros, zeros
    return (p.bias[0], p.bias[1]) if p.reset_after else (p.bias, zeros)


def forward(
    params: GRUParams,
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
    """As ``rnnx.functional.gru.forward``, in float64; ``threads`` has no effect."""
    run = _sequence.forward(
        step,
        1,
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
    """As ``rnnx.functional.gru.backward``, in float64."""
    return _sequence.backward(step_back, 1, cache, doutputs, dstate, need_dx, need_dparams)
