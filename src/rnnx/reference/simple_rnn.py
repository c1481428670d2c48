"""The simple recurrent network of the reference."""

from __future__ import annotations

from typing import Any

from rnnx import activations
from rnnx.dropout import DropoutMasks
from rnnx.functional._types import Array, Grads, RNNParams, Run, State
from rnnx.reference import _sequence
from rnnx.reference._sequence import Float, StepMasks, Weights, products, products_back

__all__ = ["backward", "forward"]


def step(p: Any, x: Float, state: tuple[Float, ...], m: StepMasks) -> tuple[tuple[Float, ...], dict[str, Any]]:
    """One step."""
    (h,) = state
    (a,) = products(p, x, h, m, range(1), 1, p.bias)
    n = activations.get(p.activation)(a)
    return (m.zone_hidden * h + (1 - m.zone_hidden) * n * m.update * m.cell,), dict(x=x, h=h, a=a, n=n)


def step_back(
    p: Any, s: dict[str, Any], dstate: tuple[Float, ...], m: StepMasks, dweights: Weights
) -> tuple[Float, tuple[Float, ...]]:
    """The way back through `step`."""
    (dh_next,) = dstate
    dn = (1 - m.zone_hidden) * dh_next * m.update * m.cell
    da = activations.get(p.activation).vjp(s["a"], s["n"], dn)
    if p.bias is not None:
        dweights["bias"] += da.sum(axis=0)
    dx, dh = products_back(p, s["x"], s["h"], m, range(1), 1, [da], dweights)
    return dx, (dh + m.zone_hidden * dh_next,)


def forward(
    params: RNNParams,
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
    """As ``rnnx.functional.simple_rnn.forward``, in float64; ``threads`` has no effect."""
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
    """As ``rnnx.functional.simple_rnn.backward``, in float64."""
    return _sequence.backward(step_back, 1, cache, doutputs, dstate, need_dx, need_dparams)
