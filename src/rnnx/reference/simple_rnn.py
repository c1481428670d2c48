"""The simple (Elman) recurrent network of the reference.

Equations, with ``*`` element-wise and with the masks m (1 where there are none)::

    n = act((x * mx) W + (h * mh) R + b)
    h' = zh * h + (1 - zh) * n * m_update * m_cell

A clipped cell bounds what act takes.
"""

from __future__ import annotations

from types import SimpleNamespace as Saved

from rnnx.functional._products import product
from rnnx.reference._sequence import Float, Recurrence, States, StepMasks, Weights

__all__ = ["backward", "forward"]


def step(w: Weights, x: Float, state: States, m: StepMasks) -> tuple[States, Saved]:
    """One step: the new state, and what `step_back` needs."""
    (h,) = state
    a = product(x * m.x[0], w.W[0]) + product(h * m.h[0], w.R[0]) + w.b[0]
    n = w.act(w.clipped(a))
    h_next = m.zone_h * h + (1 - m.zone_h) * n * m.update * m.cell
    return (h_next,), Saved(x=x, h=h, a=a, n=n)


def step_back(w: Weights, dw: Weights, s: Saved, dstate: States, m: StepMasks) -> tuple[Float, States]:
    """Backward of `step`: gradients of x and the old state; those of the weights are added to ``dw``."""
    (dh_next,) = dstate
    da = w.vjp(w.act, s.a, s.n, (1 - m.zone_h) * dh_next * m.update * m.cell)
    dw.W[0] += product((s.x * m.x[0]).T, da)
    dw.R[0] += product((s.h * m.h[0]).T, da)
    dw.b[0] += da.sum(axis=0)
    return product(da, w.W[0].T) * m.x[0], (m.zone_h * dh_next + product(da, w.R[0].T) * m.h[0],)


_simple_rnn = Recurrence(step, step_back, gates=1, states=1)
forward, backward = _simple_rnn.forward, _simple_rnn.backward
