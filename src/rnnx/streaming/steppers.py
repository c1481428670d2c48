"""What stands in a stream for a layer with a memory: something with a step and a state."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx import _kernels
from rnnx._typing import Array
from rnnx.layers.convolution import Conv1D
from rnnx.layers.rnn.cell import Cell, call_cell, zero_state
from rnnx.streaming.held_weights import of_now


def check_out(out: Any, shape: tuple[int, ...], dtype: Any) -> None:
    """Refuse an array for the output of a step that the output does not fit exactly."""
    if not isinstance(out, np.ndarray):
        raise TypeError(f"step: `out` must be a numpy array, got {type(out).__name__}")
    if out.shape != shape or out.dtype != dtype or not out.flags.writeable:
        kind = "" if out.flags.writeable else "read-only "
        raise ValueError(
            f"step: `out` must be a writable {dtype} array of shape {shape}, got {kind}{out.dtype} of {out.shape}"
        )


class RecurrentStepper:
    """One recurrent layer or cell in a stream.

    Parameters
    ----------
    cell : LSTM, GRU, SimpleRNN, one of their cells, or a cell of one's own
    batch_size : int
    dtype : dtype
    turn : Turn
        Of the stream.
    zero_output_for_mask : bool
    noise : StepNoise, optional
        Draws the dropout masks, which stay.
    """

    def __init__(
        self,
        cell: Any,
        batch_size: int,
        dtype: Any,
        turn: _kernels.Turn,
        zero_output_for_mask: bool = False,
        noise: Any = None,
    ):
        self._stepper: Any = _stepper(cell, batch_size, dtype, turn, noise)
        self.zero_output = zero_output_for_mask
        self._cell = cell
        self.step = self._stepper.step
        self.compiled = self._stepper if isinstance(self._stepper, _kernels.Stepper) else None
        self._all_started = False
        self._started = np.zeros(batch_size, bool)

    def masked_step(self, x: Array, valid: Array | None) -> Array:
        """Advance the valid rows; the others keep their state and repeat their output."""
        if valid is None or valid.all():
            self._all_started = True
            y: Array = self.step(x)
            return y
        before, started = self.state, self.started | valid
        y = self.step(np.where(valid[:, None], x, np.zeros((), x.dtype)))
        after = self._stepper.state
        self._stepper.state = [np.where(valid[:, None], new, old) for new, old in zip(after, before, strict=True)]
        self.started = started
        emitted = valid if self.zero_output else started
        repeated = np.where(valid[:, None], y, before[0])
        return np.where(emitted[:, None], repeated, np.zeros((), y.dtype))

    def begin(self, rows: Any) -> None:
        """Start again in some rows, an intp array."""
        started = np.full(len(self._started), self.started)
        started[rows] = False
        if self.compiled is not None:
            self.compiled.clear(rows)
        else:
            self._stepper.begin(rows)
        self.started = started

    def still_masks(self, batch: int) -> Any:
        """The masks of so many rows where nothing is drawn: the expectation of zoneout, or None."""
        return self._cell.sample_masks(batch, 1, training=False)

    @property
    def started(self) -> Any:
        """Rows that have seen a valid step: a bool array, or True for all."""
        return self._all_started or (self.compiled is not None and self.compiled.moved) or self._started

    @started.setter
    def started(self, value: Any) -> None:
        self._all_started = value is True
        if value is not True:
            self._started = value

    @property
    def stepper(self) -> Any:
        """What has the step and the state."""
        return self._stepper

    @property
    def initial(self) -> tuple[Array, ...] | None:
        """The state at the beginning; None stands for zeros."""
        found: tuple[Array, ...] | None = getattr(self._stepper, "initial", None)
        return found

    @property
    def state(self) -> tuple[Array, ...]:
        """The state: ``(h,)`` or ``(h, c)``."""
        state: tuple[Array, ...] = self._stepper.state
        return state

    @state.setter
    def state(self, value: Any) -> None:
        self._stepper.state = value
        self._all_started = True


def _stepper(cell: Any, batch_size: int, dtype: Any, turn: _kernels.Turn, noise: Any) -> Any:
    """Something with a ``step`` and a ``state``: compiled if it can be."""
    if not hasattr(cell, "packed") or (isinstance(cell, Cell) and cell.overrides_call):
        return _OwnStepper(of_now(cell), batch_size, dtype)
    params, packed = cell.packed()
    masks = cell.sample_masks(batch_size, 1, training=False) if noise is None else noise.masks(cell)
    if packed is None:
        return _SlowStepper(cell, of_now(cell).packed()[0], batch_size, masks)
    return _kernels.Stepper(packed, batch_size, masks, turn)


class _PlainStepper:
    """A step in Python."""

    def __init__(self, state: Any):
        self.parts: tuple[Array, ...] = tuple(state)
        self.initial = self.parts  # steps make new arrays

    @property
    def state(self) -> tuple[Array, ...]:
        return self.parts

    @state.setter
    def state(self, value: Any) -> None:
        parts = tuple(np.array(part, own.dtype) for part, own in zip(value, self.parts, strict=False))
        shapes = [np.shape(part) for part in value]
        if shapes != [own.shape for own in self.parts]:
            raise ValueError(f"state: expected arrays of shapes {[own.shape for own in self.parts]}, got {shapes}")
        self.parts = parts

    def begin(self, rows: Any) -> None:
        """The state at the beginning, in some rows."""
        parts = tuple(part.copy() for part in self.parts)
        for part, initial in zip(parts, self.initial, strict=True):
            part[rows] = initial[rows]
        self.parts = parts

    def advance(self, x: Array) -> Array:
        """Change the state; the output."""
        raise NotImplementedError

    def step(self, x: Array, out: Array | None = None) -> Array:
        before = self.parts
        y = self.advance(x)
        if out is None:
            return y
        try:
            check_out(out, y.shape, y.dtype)
        except BaseException:
            self.parts = before
            raise
        out[...] = y
        return out


class _SlowStepper(_PlainStepper):
    """For activations that only the reference has."""

    def __init__(self, layer: Any, params: Any, batch_size: int, masks: Any):
        super().__init__(np.zeros((batch_size, layer.units), layer.dtype) for _ in range(layer.state_count))
        self._core, self._params, self._masks = layer.core, params, masks

    def advance(self, x: Array) -> Array:
        given = self.parts if len(self.parts) > 1 else self.parts[0]
        run = self._core.forward(self._params, x[:, None], initial_state=given, masks=self._masks)
        self.parts = run.state if isinstance(run.state, tuple) else (run.state,)
        y: Array = run.outputs[:, 0]
        return y


class _OwnStepper(_PlainStepper):
    """For a cell of one's own."""

    def __init__(self, cell: Any, batch_size: int, dtype: Any):
        super().__init__(np.asarray(part, dtype) for part in zero_state(cell, batch_size, dtype))
        self._cell = cell

    def advance(self, x: Array) -> Array:
        y, after = call_cell(self._cell, x, list(self.parts), False)
        parts = after if isinstance(after, (list, tuple)) else (after,)
        self.parts = tuple(np.array(part) for part in parts)  # what is given out may be one of them
        return np.asarray(y)


class ConvolutionStepper(_PlainStepper):
    """A causal convolution; its state are the last inputs, and ``started`` is what rows repeat that do not advance."""

    def __init__(self, layer: Conv1D, batch_size: int):
        features = layer.weights[0].shape[1] * layer.groups
        super().__init__([np.zeros((batch_size, layer.window - 1, features), layer.dtype)])
        self._layer = layer
        self.started: Any = None  # zeros

    def masked_step(self, x: Array, valid: Array | None) -> Array:
        """Advance the valid rows; the others keep their state and repeat their output."""
        before = self.parts
        y = self.advance(x)
        if valid is not None:
            self.parts = tuple(
                np.where(valid[:, None, None], new, old) for new, old in zip(self.parts, before, strict=True)
            )
            y = np.where(valid[:, None], y, np.zeros((), y.dtype) if self.started is None else self.started)
        self.started = y.copy()  # the caller may write into what he gets
        return y

    def begin(self, rows: Any) -> None:
        super().begin(rows)
        if self.started is not None:
            self.started = self.started.copy()
            self.started[rows] = 0

    def advance(self, x: Array) -> Array:
        window = np.concatenate([self.parts[0], x[:, None]], axis=1)
        y: Array = self._layer.forward(window)[0][:, -1]
        self.parts = (window[:, 1:],)
        return y
