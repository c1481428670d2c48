"""The LSTM of the reference; gates i f c o.

Equations, with ``*`` element-wise, gate by gate g and with the masks m (1 where there are none)::

    a_g = (x * mx_g) W_g + (h * mh_g) R_g + b_g
    i, f, n = rec(a_i + p_i * c), rec(a_f + p_f * c), act(a_c)     with the peepholes p (0 where there are none)
    c^ = (f * c + i * n * m_update) * m_cell                       f = 1 - i if the gates are coupled
    o = rec(a_o + p_o * c^)
    h^ = o * act(c^)
    c' = zc * c + (1 - zc) * c^
    h' = zh * h + (1 - zh) * h^

A clipped cell bounds what rec and act of the gates take.
"""

from __future__ import annotations

from types import SimpleNamespace as Saved

import numpy as np

from rnnx.functional._products import product
from rnnx.reference._sequence import Float, Recurrence, States, StepMasks, Weights

__all__ = ["backward", "forward"]


def step(w: Weights, x: Float, state: States, m: StepMasks) -> tuple[States, Saved]:
    """One step: the new state, and what `step_back` needs."""
    h, c = state
    a = [product(x * m.x[g], w.W[g]) + product(h * m.h[g], w.R[g]) + w.b[g] for g in range(4)]
    a[0], a[1] = a[0] + w.peepholes[0] * c, a[1] + w.peepholes[1] * c
    i, n = w.rec(w.clipped(a[0])), w.act(w.clipped(a[2]))
    f = 1 - i if w.coupled else w.rec(w.clipped(a[1]))
    c_new = (f * c + i * n * m.update) * m.cell
    a[3] = a[3] + w.peepholes[2] * c_new
    o = w.rec(w.clipped(a[3]))
    y = w.act(c_new)
    h_next = m.zone_h * h + (1 - m.zone_h) * o * y
    c_next = m.zone_c * c + (1 - m.zone_c) * c_new
    return (h_next, c_next), Saved(x=x, h=h, c=c, a=a, i=i, f=f, n=n, o=o, c_new=c_new, y=y)


def step_back(w: Weights, dw: Weights, s: Saved, dstate: States, m: StepMasks) -> tuple[Float, States]:
    """Backward of `step`: gradients of x and the old state; those of the weights are added to ``dw``."""
    dh_next, dc_next = dstate
    dh_new = (1 - m.zone_h) * dh_next
    dao = w.vjp(w.rec, s.a[3], s.o, dh_new * s.y)
    dc_new = (1 - m.zone_c) * dc_next + w.act.vjp(s.c_new, s.y, dh_new * s.o) + dao * w.peepholes[2]
    dsum = dc_new * m.cell
    di, df = dsum * s.n * m.update, dsum * s.c
    if w.coupled:
        di, df = di - df, np.zeros_like(df)
    dai, daf = w.vjp(w.rec, s.a[0], s.i, di), w.vjp(w.rec, s.a[1], s.f, df)
    da = [dai, daf, w.vjp(w.act, s.a[2], s.n, dsum * s.i * m.update), dao]
    dx, dh = np.zeros_like(s.x), m.zone_h * dh_next
    dc = m.zone_c * dc_next + dsum * s.f + dai * w.peepholes[0] + daf * w.peepholes[1]
    for dp, dgate, c in zip(dw.peepholes, (dai, daf, dao), (s.c, s.c, s.c_new), strict=True):
        dp += (dgate * c).sum(axis=0)
    for g in range(4):
        dw.W[g] += product((s.x * m.x[g]).T, da[g])
        dw.R[g] += product((s.h * m.h[g]).T, da[g])
        dw.b[g] += da[g].sum(axis=0)
        dx = dx + product(da[g], w.W[g].T) * m.x[g]
        dh = dh + product(da[g], w.R[g].T) * m.h[g]
    return dx, (dh, dc)


_lstm = Recurrence(step, step_back, gates=4, states=2)
forward, backward = _lstm.forward, _lstm.backward
