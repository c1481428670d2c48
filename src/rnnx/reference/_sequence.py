"""What the three cells share: the walk over time, and the masks of one step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnx.dropout import DropoutMasks
from rnnx.functional._types import Array, Grads, Params, Run

Float = NDArray[np.float64]
Weights = dict[str, Any]
Step = Callable[[Any, Float, tuple[Float, ...], "StepMasks"], tuple[tuple[Float, ...], dict[str, Any]]]
StepBack = Callable[[Any, dict[str, Any], tuple[Float, ...], "StepMasks", Weights], tuple[Float, tuple[Float, ...]]]


@dataclass(frozen=True, eq=False)
class StepMasks:
    """The masks of one time step; every access gives something that broadcasts over (batch, width)."""

    masks: DropoutMasks
    time: int

    def _at(self, mask: Array | None, gate: int, absent: float) -> Any:
        if mask is None:
            return absent
        by_gate = mask if mask.ndim == 4 else mask[None]
        of_gate = by_gate[min(gate, by_gate.shape[0] - 1)]
        return of_gate[:, min(self.time, of_gate.shape[1] - 1)].astype(np.float64)

    def inputs(self, gate: int) -> Any:
        return self._at(self.masks.inputs, gate, 1.0)

    def _mode(self, mode: str, gate: int) -> Any:
        return self._at(self.masks.recurrent if self.masks.recurrent_mode == mode else None, gate, 1.0)

    def state(self, gate: int) -> Any:
        return self._mode("state", gate)

    @property
    def update(self) -> Any:
        return self._mode("update", 0)

    @property
    def cell(self) -> Any:
        return self._mode("cell", 0)

    @property
    def blend(self) -> Any:
        return self.state(0) if self.masks.masked_blend else 1.0

    @property
    def zone_hidden(self) -> Any:
        return self._at(self.masks.zoneout_hidden, 0, 0.0)

    @property
    def zone_cell(self) -> Any:
        return self._at(self.masks.zoneout_cell, 0, 0.0)


@dataclass(frozen=True, eq=False)
class Cache:
    """Every intermediate value of a forward call."""

    params: Any
    weight_mask: Any
    masks: DropoutMasks
    times: list[int]
    valid: NDArray[np.bool_]
    zero_output: bool
    return_sequences: bool
    saved: list[dict[str, Any]]
    x_shape: tuple[int, ...]


def gate(weights: Array, g: int, gates: int) -> Array:
    """The columns of one gate."""
    width = weights.shape[-1] // gates
    return weights[..., g * width : (g + 1) * width]


def _float64(params: Params) -> Any:
    values: dict[str, Any] = {f.name: getattr(params, f.name) for f in fields(params)}
    values = {n: v.astype(np.float64) if isinstance(v, np.ndarray) else v for n, v in values.items()}
    return type(params)(**values)


def forward(
    step: Step,
    states: int,
    params: Params,
    x: Array,
    initial_state: Any,
    mask: Any,
    lengths: Any,
    masks: DropoutMasks | None,
    go_backwards: bool,
    training: bool,
    return_sequences: bool,
    zero_output: bool,
) -> Run:
    """Walk over the steps in processing order; a masked row keeps its states and its last output."""
    weights, x = _float64(params), x.astype(np.float64)
    masks = masks or DropoutMasks()
    weight_mask: Any = 1.0
    if masks.recurrent_mode == "weights" and masks.recurrent is not None:
        weight_mask = masks.recurrent.astype(np.float64)
        weights = replace(weights, recurrent_kernel=weights.recurrent_kernel * weight_mask)
    batch, timesteps, _ = x.shape
    units = weights.recurrent_kernel.shape[0]
    valid = np.ones((batch, timesteps), bool)
    if mask is not None:
        valid = np.asarray(mask)
    if lengths is not None:
        valid = np.arange(timesteps) < np.asarray(lengths)[:, None]
    x = np.where(valid[:, :, None], x, 0.0)
    given = initial_state if isinstance(initial_state, (tuple, list)) else (initial_state,) * states
    state = tuple(np.zeros((batch, units)) if s is None else s.astype(np.float64) for s in given)
    times = list(range(timesteps))[:: -1 if go_backwards else 1]
    outputs, saved = np.zeros((batch, timesteps, units)), []
    output = np.zeros((batch, units))
    for position, t in enumerate(times):
        new, kept = step(weights, x[:, t], state, StepMasks(masks, t))
        use = valid[:, t, None]
        output = np.where(use, new[0], 0.0 if zero_output else output)
        state = tuple(np.where(use, n, s) for n, s in zip(new, state, strict=True))
        outputs[:, position] = output
        saved.append(kept)
    cache = (
        Cache(weights, weight_mask, masks, times, valid, zero_output, return_sequences, saved, x.shape)
        if training
        else None
    )
    return Run(outputs if return_sequences else output, state if states > 1 else state[0], cache)


def backward(
    step_back: StepBack,
    states: int,
    cache: Cache,
    doutputs: Array | None,
    dstate: Any,
    need_dx: bool,
    need_dparams: bool,
) -> Grads:
    """Walk back; `step_back` adds to the gradients of the weights and returns those of input and states."""
    batch, timesteps, _ = cache.x_shape
    units = cache.params.recurrent_kernel.shape[0]
    dy = np.zeros((batch, timesteps, units))
    if doutputs is not None and cache.return_sequences:
        dy += doutputs
    elif doutputs is not None and timesteps:
        dy[:, -1] = doutputs
    given = dstate if isinstance(dstate, (tuple, list)) else (dstate,) * states
    dnext = tuple(np.zeros((batch, units)) if d is None else d.astype(np.float64) for d in given)
    dweights = {f.name: getattr(cache.params, f.name) for f in fields(cache.params)}
    dweights = {n: np.zeros_like(v) if isinstance(v, np.ndarray) else v for n, v in dweights.items()}
    dx = np.zeros(cache.x_shape)
    carried = np.zeros((batch, units))  # gradient of an output that later masked steps repeated
    for position in range(timesteps - 1, -1, -1):
        t = cache.times[position]
        use = cache.valid[:, t, None]
        doutput = dy[:, position] + carried
        carried = np.where(use, 0.0, 0.0 if cache.zero_output else doutput)
        dnew = tuple(np.where(use, d + (doutput if k == 0 else 0.0), 0.0) for k, d in enumerate(dnext))
        dx[:, t], dold = step_back(cache.params, cache.saved[position], dnew, StepMasks(cache.masks, t), dweights)
        dnext = tuple(np.where(use, new, old) for new, old in zip(dold, dnext, strict=True))
    dweights["recurrent_kernel"] = dweights["recurrent_kernel"] * cache.weight_mask
    dparams = type(cache.params)(**dweights) if need_dparams else None
    return Grads(dx if need_dx else None, dnext if states > 1 else dnext[0], dparams)


def products(
    params: Any,
    x: Float,
    h: Float,
    m: StepMasks,
    gates: range,
    total: int,
    bias: Any,
) -> list[Float]:
    """``(x * mx) W + (h * mh) R + b`` for some gates."""
    return [
        (x * m.inputs(g)) @ gate(params.kernel, g, total)
        + (h * m.state(g)) @ gate(params.recurrent_kernel, g, total)
        + (0.0 if bias is None else gate(bias, g, total))
        for g in gates
    ]


def products_back(
    params: Any,
    x: Float,
    h: Float,
    m: StepMasks,
    gates: range,
    total: int,
    da: list[Float],
    dweights: Weights,
) -> tuple[Float, Float]:
    """Gradients of `products` with respect to x and h; those of the kernels are added to ``dweights``."""
    dx, dh = np.zeros_like(x), np.zeros_like(h)
    for g, d in zip(gates, da, strict=True):
        gate(dweights["kernel"], g, total)[...] += (x * m.inputs(g)).T @ d
        gate(dweights["recurrent_kernel"], g, total)[...] += (h * m.state(g)).T @ d
        dx += m.inputs(g) * (d @ gate(params.kernel, g, total).T)
        dh += m.state(g) * (d @ gate(params.recurrent_kernel, g, total).T)
    return dx, dh
