"""The loop as functions of arrays, for backends whose compiled programs call Python back.

Such a program hands over arrays on its own memory, which are gone when the call returns. What a gradient needs besides
them stays here under a number, the ticket, which travels through the program. Where the ticket was lost, because a
program asks for gradients in another order or more than once, the forward pass is run again.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rnnx import _kernels
from rnnx._typing import Array
from rnnx.keras._loop import Form, noise_of

_KEPT = 2  # calls of a site whose gradient has not been asked for; what a program drops is never heard of
_tickets = itertools.count(1)


class Memo:
    """Packed weights of a layer, kept as long as the numbers are the same."""

    def __init__(self) -> None:
        self._made: tuple[Any, Any, Any] | None = None

    def __call__(self, form: Form, weights: Sequence[Array]) -> tuple[Any, Any]:
        """Parameters and packed weights."""
        key = form, [(weight.shape, weight.dtype) for weight in weights], _kernels.fingerprint(weights)
        made = self._made
        if made is None or made[0] != key:
            params = form.params(*(weight.copy() for weight in weights))
            self._made = made = key, params, form.core.pack(params)
        return made[1], made[2]


_memos: weakref.WeakKeyDictionary[Any, Memo] = weakref.WeakKeyDictionary()


def memo_of(layer: Any) -> weakref.ref[Memo]:
    """The packed weights of a layer."""
    return weakref.ref(_memos.setdefault(layer, Memo()))


@dataclass(frozen=True)
class Layout:
    """How many arrays of each kind a call is given: x, states, weights, then a mask and dropout masks, if any."""

    states: int
    weights: int
    masked: bool
    of_inputs: int
    of_states: int

    @property
    def differentiable(self) -> int:
        """Arrays that have gradients; they come first."""
        return 1 + self.states + self.weights


@dataclass(eq=False)
class Site:
    """A call of a layer in a program: run for every batch, and differentiated."""

    form: Form
    layout: Layout
    memo: weakref.ref[Memo]  # programs keep a site longer than the layer lives
    kept: OrderedDict[int, Any] = field(default_factory=OrderedDict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def forward(self, *arrays: Any) -> tuple[Array, ...]:
        """Outputs and final states."""
        return self._run(arrays, False)[0]

    def forward_to_differentiate(self, *arrays: Any) -> tuple[Array, ...]:
        """Outputs, final states and a ticket for `backward`."""
        results, kept = self._run(arrays, True)
        ticket = next(_tickets) & 0x7FFFFFFF
        with self.lock:
            self.kept[ticket] = kept
            while len(self.kept) > _KEPT:
                self.kept.popitem(last=False)
        return *results, np.array(ticket, np.int32)

    def backward(
        self, ticket: Any, doutputs: Any, dstates: Sequence[Any], need_dx: bool, arrays: Sequence[Any]
    ) -> tuple[Array, ...]:
        """Gradients of x, if wanted, of the states and of the weights; what is None counts as zero."""
        with self.lock:
            kept = self.kept.pop(int(ticket), None)
        cache, lead = self._run(arrays, True)[1] if kept is None else kept
        dy = None if doutputs is None else np.asarray(doutputs)
        dfinal = [None if part is None else np.asarray(part) for part in dstates]
        state: Any = None
        if any(part is not None for part in dfinal):
            state = tuple(dfinal) if self.form.cell == "lstm" else dfinal[0]
        grads = self.form.core.backward(cache, dy, state, need_dx=need_dx)
        first = grads.dinitial_state if isinstance(grads.dinitial_state, tuple) else (grads.dinitial_state,)
        if lead is not None and dy is not None:
            first = (first[0] + _through(lead, dy), *first[1:])
        params = grads.dparams
        weights = [params.kernel, params.recurrent_kernel, *([params.bias] if self.layout.weights == 3 else [])]
        return *([grads.dx] if need_dx else []), *first, *weights

    def _run(self, arrays: Sequence[Any], keep: bool) -> tuple[tuple[Array, ...], Any]:
        layout, form = self.layout, self.form
        given = iter([np.asarray(array) for array in arrays])
        x, *states = itertools.islice(given, 1 + layout.states)
        weights = [np.ascontiguousarray(weight) for weight in itertools.islice(given, layout.weights)]
        mask = next(given).astype(bool).reshape(x.shape[:2]) if layout.masked else None
        drawn = list(itertools.islice(given, layout.of_inputs)), list(given)
        noise = noise_of(form, x, weights[1].shape[0], *drawn)
        if keep:
            x, states = x.copy(), [state.copy() for state in states]
        memo = self.memo() or Memo()
        run = form.forward(*memo(form, weights), x, states, mask, noise, keep)
        final = run.state if isinstance(run.state, tuple) else (run.state,)
        outputs, lead = run.outputs, None
        if form.leads_with_state and mask is not None and not form.zero_output_for_mask:
            lead = _before_the_first(mask, form)
            if lead is not None:
                outputs = np.where(lead[..., None], states[0][:, None] if form.return_sequences else states[0], outputs)
        return (outputs, *final), (run.cache, lead) if keep else None


def _before_the_first(mask: Array, form: Form) -> Array | None:
    """The outputs that come before the first valid step of their row, or None."""
    lead: Array
    if form.return_sequences:
        lead = np.logical_not(np.logical_or.accumulate(mask[:, ::-1] if form.go_backwards else mask, axis=1))
    else:
        lead = np.logical_not(mask.any(axis=1))
    return lead if lead.any() else None


def _through(lead: Array, doutputs: Array) -> Array:
    """The gradient that outputs before the first valid step hand to the initial state."""
    through: Array = np.where(lead[..., None], doutputs, np.zeros((), doutputs.dtype))
    return through.sum(axis=1) if through.ndim == 3 else through
