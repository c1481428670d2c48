"""A step of some rows of a stream, which costs what these rows cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx import _kernels
from rnnx._typing import Array
from rnnx.streaming.chained import Chained
from rnnx.streaming.steppers import RecurrentStepper, check_out


class ChosenRows:
    """The masked step of a stream whose model is a chain of compiled steps.

    The rows that advance are gathered out of the states of the stream. What the others repeat is kept from step to
    step, and made again of their states if anything else has changed these meanwhile.

    Parameters
    ----------
    steppers : list of RecurrentStepper
    found : Chained
    batch_size : int
    cast : callable
        Makes an array of the right type out of any input.
    """

    def __init__(self, steppers: list[RecurrentStepper], found: Chained, batch_size: int, cast: Callable[[Any], Array]):
        self._steppers, self._batch, self._cast, self._last = steppers, batch_size, cast, found.last
        self._compiled: list[Any] = [stepper.compiled for stepper in steppers]
        self._states = [_kernels.RowStates(stepper.packed) for stepper in self._compiled]
        own = iter(zip(steppers, self._states, strict=True))
        links: list[tuple[Any, ...]] = []
        for link in found.links:
            if link is None:
                stepper, states = next(own)
                links.append((states.packed, states, stepper.still_masks(_kernels.ROWS_TOGETHER)))
            else:
                links.append(link)
        self._chain = _kernels.RowChain(links, found.table)
        behind = len(links) - found.links[::-1].index(None)
        self._behind = _kernels.RowChain(links[behind:]) if links[behind:] else None
        self._shape = (batch_size,) if found.table is not None else (batch_size, self._chain.features)
        self._embedding = found.embedding
        self._kept: Any = None
        self._changes: list[int] = []

    def step(self, x: Any, out: Array | None, valid: Array) -> Array | None:
        """Advance the valid rows; the others keep their state and repeat their output.

        None, and nothing has happened, if an Embedding masks one of the rows.

        Parameters
        ----------
        x : array of shape (batch, features), or (batch,) of ids
        out : array of shape (batch, units) or None
        valid : bool array of shape (batch,)
        """
        x = self._cast(x)
        if self._embedding is not None:
            x = self._embedding.cast(x)
        if x.shape != self._shape:
            axes = "(batch,)" if self._embedding is not None else "(batch, features)"
            raise ValueError(f"step: `x` must have shape {axes} = {self._shape}, got {x.shape}")
        if self._embedding is not None and self._embedding.mask_zero and not x[valid].all():
            return None
        if out is not None:
            check_out(out, (self._batch, self._chain.units), self._chain.dtype)
        for compiled, states in zip(self._compiled, self._states, strict=True):
            states.look_at(compiled)
        changes = [compiled.changes for compiled in self._compiled]
        if self._kept is None or changes != self._changes:
            self._kept, self._changes = self._repeated(), changes
        rows = np.flatnonzero(valid)
        found: Array = np.empty_like(self._kept) if out is None else out
        found[...] = self._kept
        if not len(rows):
            return found
        y = self._chain.step(rows, x[rows], None, 1, self._cast)
        for stepper in self._steppers:
            stepper.started = stepper.started | valid
        found[rows] = y if self._last is None else self._last(y)
        if not self._steppers[-1].zero_output:
            self._kept[rows] = found[rows]
        return found

    def _repeated(self) -> Array:
        """What rows give that do not advance."""
        every = np.arange(self._batch)
        y = self._states[-1].read(every)[0]
        if self._steppers[-1].zero_output:
            y = np.zeros_like(y)
        if self._behind is not None:
            y = self._behind.step(every, y)
        return y if self._last is None else self._last(y)
