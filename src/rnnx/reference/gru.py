"""The GRU of the reference; gates z r h.

Equations, with ``*`` element-wise, gate by gate g and with the masks m (1 where there are none)::

    z = rec((x * mx_z) W_z + b_z + (h * mh_z) R_z + br_z)
    r = rec((x * mx_r) W_r + b_r + (h * mh_r) R_r + br_r)
    n = act((x * mx_h) W_h + b_h + r * ((h * mh_h) R_h + br_h))      reset_after
    n = act((x * mx_h) W_h + b_h + (r * h * mh_h) R_h)               reset before
    h^ = (z * h * m_blend + (1 - z) * n * m_update) * m_cell
    h' = zh * h + (1 - zh) * h^

The state that z keeps is not masked; only the masked blend of old Keras has ``m_blend = mh_z``.
A clipped cell bounds what rec and act take.
"""

from __future__ import annotations

from types import SimpleNamespace as Saved

import numpy as np

from rnnx.functional._products import product
from rnnx.reference._sequence import Float, Recurrence, States, StepMasks, Weights

__all__ = ["backward", "forward"]


def step(w: Weights, x: Float, state: States, m: StepMasks) -> tuple[States, Saved]:
    """One step: the new state, and what `step_back` needs."""
    (h,) = state
    ax = [product(x * m.x[g], w.W[g]) + w.b[g] for g in range(3)]
    operand = [h * m.h[g] for g in range(3)]
    az, ar = (ax[g] + product(operand[g], w.R[g]) + w.br[g] for g in range(2))
    z, r = w.rec(w.clipped(az)), w.rec(w.clipped(ar))
    if not w.reset_after:
        operand[2] = r * operand[2]
    q = product(operand[2], w.R[2]) + w.br[2]
    an = ax[2] + r * q if w.reset_after else ax[2] + q
    n = w.act(w.clipped(an))
    h_new = (z * h * m.blend + (1 - z) * n * m.update) * m.cell
    h_next = m.zone_h * h + (1 - m.zone_h) * h_new
    return (h_next,), Saved(x=x, h=h, operand=operand, az=az, ar=ar, an=an, z=z, r=r, n=n, q=q)


def step_back(w: Weights, dw: Weights, s: Saved, dstate: States, m: StepMasks) -> tuple[Float, States]:
    """Backward of `step`: gradients of x and the old state; those of the weights are added to ``dw``."""
    (dh_next,) = dstate
    dh_new = (1 - m.zone_h) * dh_next * m.cell
    dx, dh = np.zeros_like(s.x), m.zone_h * dh_next + dh_new * s.z * m.blend
    dan = w.vjp(w.act, s.an, s.n, dh_new * (1 - s.z) * m.update)
    dq = dan * s.r if w.reset_after else dan
    doperand = product(dq, w.R[2].T)
    dr = dan * s.q if w.reset_after else doperand * s.h * m.h[2]
    dh = dh + (doperand if w.reset_after else doperand * s.r) * m.h[2]
    daz = w.vjp(w.rec, s.az, s.z, dh_new * (s.h * m.blend - s.n * m.update))
    dar = w.vjp(w.rec, s.ar, s.r, dr)
    for g, da in enumerate((daz, dar)):
        dh = dh + product(da, w.R[g].T) * m.h[g]
    for g, dax, dah in ((0, daz, daz), (1, dar, dar), (2, dan, dq)):
        dw.W[g] += product((s.x * m.x[g]).T, dax)
        dw.b[g] += dax.sum(axis=0)
        dw.R[g] += product(s.operand[g].T, dah)
        dw.br[g] += dah.sum(axis=0)
        dx = dx + product(dax, w.W[g].T) * m.x[g]
    return dx, (dh,)


_gru = Recurrence(step, step_back, gates=3, states=1)
forward, backward = _gru.forward, _gru.backward
