"""What stands in a pool for a layer with a memory: a step of chosen rows, and the states of all."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx import _kernels
from rnnx._typing import Array
from rnnx.layers.convolution import Conv1D
from rnnx.layers.rnn.cell import Cell
from rnnx.streaming.steppers import ConvolutionStepper, RecurrentStepper


class Rows:
    """The rows that advance now, and with how many threads: what the layers of a pool have in common.

    Attributes
    ----------
    of_now : intp array
    threads : int
    """

    def __init__(self) -> None:
        self.of_now: Any = np.zeros(0, np.intp)
        self.threads = 1


class HeldRows:
    """One layer with a memory in a pool.

    Parameters
    ----------
    rows : Rows

    Attributes
    ----------
    initial : tuple of array, or None
        States of one row at the beginning; None stands for zeros.
    """

    initial: tuple[Array, ...] | None = None

    def __init__(self, rows: Rows):
        self.rows = rows

    def reserve(self, capacity: int) -> None:
        """Make room for so many rows."""
        raise NotImplementedError

    def read(self, rows: Any) -> tuple[Array, ...]:
        """Copies of the states of some rows."""
        raise NotImplementedError

    def write(self, rows: Any, parts: Any) -> None:
        """Assign the states of some rows."""
        raise NotImplementedError

    def begin(self, rows: Any) -> None:
        """The state at the beginning, in some rows."""
        raise NotImplementedError

    def step(self, x: Array) -> Array:
        """The outputs of the rows of now, which advance."""
        raise NotImplementedError

    def masked_step(self, x: Array, valid: Array | None) -> Array:
        """As `step`, of rows none of which is masked."""
        if valid is not None and not valid.all():
            raise ValueError("step: `x` has a step that is padding (masked); leave its stream out of the call")
        return self.step(x)


class CompiledRows(HeldRows):
    """A recurrent layer or cell whose step is compiled.

    Attributes
    ----------
    link : tuple
        For a `RowChain`.
    """

    def __init__(self, rows: Rows, packed: Any, masks: Any):
        super().__init__(rows)
        self._states = _kernels.RowStates(packed)
        self.link = (packed, self._states, masks)
        self._alone: Any = None
        self.reserve, self.read, self.write = self._states.reserve, self._states.read, self._states.write  # type: ignore[method-assign]
        self.begin = self._states.clear  # type: ignore[method-assign]

    def step(self, x: Array) -> Array:
        if self._alone is None:
            self._alone = _kernels.RowChain([self.link])
        y: Array = self._alone.step(self.rows.of_now, x, None, self.rows.threads)
        return y


class PlainRows(HeldRows):
    """Anything else: a step in Python, which finds the states of its rows in ``stepper.parts`` and leaves them there.

    Parameters
    ----------
    rows : Rows
    stepper : stepper of one row
    """

    def __init__(self, rows: Rows, stepper: Any):
        super().__init__(rows)
        self._stepper = stepper
        self.initial = stepper.initial
        self._parts: list[Array] = [np.array(part) for part in stepper.parts]

    def reserve(self, capacity: int) -> None:
        grown = []
        for part in self._parts:
            more = np.zeros((capacity, *part.shape[1:]), part.dtype)
            more[: len(part)] = part
            grown.append(more)
        self._parts = grown

    def read(self, rows: Any) -> tuple[Array, ...]:
        return tuple(part[rows] for part in self._parts)

    def write(self, rows: Any, parts: Any) -> None:
        for own, part in zip(self._parts, parts, strict=True):
            own[rows] = part

    def begin(self, rows: Any) -> None:
        self.write(rows, self.initial)

    def step(self, x: Array) -> Array:
        self._stepper.parts = self.read(self.rows.of_now)
        y: Array = self._stepper.advance(x)
        self.write(self.rows.of_now, self._stepper.parts)
        return y


def recurrent_rows(rows: Rows, cell: Any, dtype: Any, turn: _kernels.Turn) -> HeldRows:
    """The rows of a recurrent layer or cell."""
    if hasattr(cell, "packed") and not (isinstance(cell, Cell) and cell.overrides_call):
        packed = cell.packed()[1]
        if packed is not None:
            return CompiledRows(rows, packed, cell.sample_masks(_kernels.ROWS_TOGETHER, 1, training=False))
    return PlainRows(rows, RecurrentStepper(cell, 1, dtype, turn).stepper)


def convolution_rows(rows: Rows, layer: Conv1D) -> HeldRows:
    """The rows of a causal convolution."""
    return PlainRows(rows, ConvolutionStepper(layer, 1))
