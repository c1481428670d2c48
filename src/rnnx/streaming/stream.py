"""Streaming: a layer or model that is fed step by step, its state outside of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx import _kernels
from rnnx._typing import Array
from rnnx.layers.convolution import Conv1D
from rnnx.layers.input import InputLayer
from rnnx.layers.weight import settled
from rnnx.streaming.chained import chained
from rnnx.streaming.chosen_rows import ChosenRows
from rnnx.streaming.compiled import short_way
from rnnx.streaming.step_functions import StepFunctions
from rnnx.streaming.steppers import ConvolutionStepper, RecurrentStepper, check_out


class Stream:
    """A layer or model that is fed step by step.

    The results equal those of the whole sequence; a model whose last recurrent layer returns one output gives at each
    step what it would give if the sequence ended there. A step that `Masking` or ``mask_zero`` masks changes nothing.
    Any number of streams may share a model, in any number of threads. Threads that share one stream take turns: a call
    waits until the one at hand is done, and the steps of a `run` stay together. Weights are those at the time the
    stream was made: make a new one after they have changed. A stream that is made while another thread changes them
    takes them again when that is done.

    Parameters
    ----------
    layer : Layer or Model
        Built.
    batch_size : int
        Streams that advance together.
    noise : StepNoise, optional
        Of `MonteCarloStream`; without it nothing is dropped.

    Raises
    ------
    ValueError
        If the layer, or one in the model, needs more than the steps so far; it is named.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> layer = rnnx.layers.GRU(4, return_sequences=True)
    >>> x = np.ones((1, 3, 2), np.float32)
    >>> y = layer(x)
    >>> s = layer.stream()
    >>> bool(np.array_equal(np.stack([s.step(x[:, t]) for t in range(3)], 1), y))
    True
    """

    def __init__(self, layer: Any, batch_size: int = 1, noise: Any = None):
        if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
            raise ValueError(f"stream: `batch_size` must be a positive integer, got {batch_size!r}")
        if not layer.built:
            raise ValueError(f"stream: {layer.name!r} is not built yet; call it once or give it an input shape")
        self.batch_size = int(batch_size)
        self._layer, self._noise = layer, noise
        self._turn = _kernels.Turn()  # every method takes one, the compiled steps take it themselves
        self._make_steps()

    # ---- Making the function of a step -------------------------------------------------------------------------------

    def _make_steps(self) -> None:
        """Take the weights as they are now; while another thread changes them, only until the next step."""
        versions = settled(self._layer.weights)
        self._chosen: Any = None  # what steps some rows, or how to make it
        if self._noise is not None:
            self._noise.start()
        steps = StepFunctions(self._layer, self._recurrent_stepper, self._convolution_stepper, self._noise)
        self._functions = steps
        self._run, self._many = steps.make(self._layer.computation)
        self._steppers: list[Any] = steps.steppers
        self._settled = versions is not None and versions == settled(self._layer.weights)
        self._short = None
        if self._noise is not None:
            self._noise.finish()
        elif self._settled:
            self._short = self._short_way()

    def _short_way(self) -> Any:
        compiled = [getattr(stepper, "compiled", None) for stepper in self._steppers]
        found = None if None in compiled else chained(self._layer, len(compiled))
        if found is None:
            return None
        self._chosen = lambda: ChosenRows(self._steppers, found, self.batch_size, self._cast)
        return short_way(self._layer, found, compiled, self.batch_size, self._turn, self._cast, self._unmasked_long_way)

    def _recurrent_stepper(self, cell: Any, dtype: Any, zero_output: bool) -> Any:
        return RecurrentStepper(cell, self.batch_size, dtype, self._turn, zero_output, self._noise)

    def _convolution_stepper(self, layer: Conv1D) -> Any:
        return ConvolutionStepper(layer, self.batch_size)

    # ---- Running ----------------------------------------------------------------------------------------------------

    def step(self, x: Any, out: Array | None = None, *, mask: Any = None, reset: Any = None) -> Array:
        """Advance by one step.

        Parameters
        ----------
        x : array of shape (batch, features), or (batch,) of ids
        out : array of shape (batch, units), optional
            Where to put the output.
        mask : bool array of shape (batch,), optional
            Rows that advance (True); the others keep their state and repeat their output.
        reset : bool array of shape (batch,), optional
            Rows in which a new sequence begins with this step (True).

        Returns
        -------
        array of shape (batch, ...)

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit; the state is unchanged then.
        """
        if mask is None and reset is None and self._short is not None:
            return self._short(x, out)
        with self._turn:
            if reset is not None:
                return self._step_of_new(x, out, mask, reset)
            if not self._settled:
                memory = self._memory()
                self._make_steps()
                self._remember(memory)
                if self._settled:
                    return self.step(x, out, mask=mask)
            if mask is None or self._short is None:
                return self._long_way(x, out, mask)
            valid = self._valid(mask)
            if valid.all():
                return self._short(x, out)
            if not isinstance(self._chosen, ChosenRows):
                self._chosen = self._chosen()
            y = self._chosen.step(x, out, valid)
            return self._long_way(x, out, mask) if y is None else y

    def _valid(self, mask: Any) -> Array:
        """A mask of rows, if it is one."""
        rows = np.asarray(mask)
        if rows.dtype != np.bool_ or rows.shape != (self.batch_size,):
            raise ValueError(
                f"step: `mask` must be boolean of shape ({self.batch_size},), got {rows.dtype} of {rows.shape}"
            )
        return rows

    def _step_of_new(self, x: Any, out: Array | None, mask: Any, reset: Any) -> Array:
        """A step before which some rows start again."""
        rows = np.asarray(reset)
        if rows.dtype != np.bool_ or rows.shape != (self.batch_size,):
            raise ValueError(
                f"step: `reset` must be boolean of shape ({self.batch_size},), got {rows.dtype} of {rows.shape}"
            )
        if not rows.any():
            return self.step(x, out, mask=mask)
        before = self._memory()
        try:
            self.reset(rows)
            return self.step(x, out, mask=mask)
        except BaseException:
            self._remember(before)
            raise

    def _unmasked_long_way(self, x: Any, out: Array | None) -> Array:
        with self._turn:
            return self._long_way(x, out, None)

    def _long_way(self, x: Any, out: Array | None, mask: Any) -> Array:
        x = self._cast(x)
        if x.shape[:1] != (self.batch_size,):
            raise ValueError(f"step: `x` must have {self.batch_size} row(s), got shape {x.shape}")
        valid = None if mask is None else self._valid(mask)
        self._functions.advancing = valid
        mask = None if valid is None else valid[:, None]
        before = self._memory() if len(self._steppers) > 1 or out is not None else []
        try:
            return self._output(x, out, mask)
        except BaseException:
            self._remember(before)
            raise

    def _output(self, x: Array, out: Array | None, mask: Any) -> Array:
        """The output of a step, in ``out`` if that is given; the states have moved on."""
        y: Array = self._run(x[:, None], mask)[0]
        y = y[:, 0] if self._many else y
        if out is None:
            return y
        check_out(out, y.shape, y.dtype)
        out[...] = y
        return out

    def _cast(self, x: Any) -> Array:
        entry = self._layer.inputs[0].node.layer if hasattr(self._layer, "inputs") else self._layer
        array: Array = entry.cast(x)
        if isinstance(entry, InputLayer):
            width = len(self._layer.inputs[0].shape) - 1
            if array.ndim != width:
                way = {width - 1: "; one row alone is x[None]", width + 1: "; several steps go to run"}.get(
                    array.ndim, ""
                )
                raise ValueError(
                    f"step: `x` must have {width} axes (batch first, no time axis), got shape {array.shape}{way}"
                )
        return array

    def run(self, block: Any, *, mask: Any = None, reset: Any = None) -> Array:
        """Advance by several steps.

        Parameters
        ----------
        block : array of shape (batch, timesteps, features), or (batch, timesteps) of ids
        mask, reset : bool array of shape (batch, timesteps), optional
            As in `step`.

        Returns
        -------
        array of shape (batch, timesteps, ...)
            The output of every step.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit, or a step of the block; the state is that before the block then.
        """
        block = np.asarray(block)
        if block.ndim < 2 or block.shape[0] != self.batch_size:
            raise ValueError(f"run: `block` must have shape ({self.batch_size}, timesteps, ...), got {block.shape}")
        for name, rows in (("mask", mask), ("reset", reset)):
            if rows is not None and np.shape(rows) != block.shape[:2]:
                raise ValueError(f"run: `{name}` must have shape {block.shape[:2]}, got {np.shape(rows)}")
        steps = range(block.shape[1])
        valid, fresh = (None if rows is None else np.asarray(rows).T for rows in (mask, reset))
        with self._turn:
            before = self._memory()
            try:
                outputs = [
                    self.step(
                        np.ascontiguousarray(block[:, t]),
                        mask=None if valid is None else valid[t],
                        reset=None if fresh is None else fresh[t],
                    )
                    for t in steps
                ]
            except BaseException:
                self._remember(before)
                raise
        if not outputs:
            raise ValueError("run: the block has no steps")
        return np.stack(outputs, axis=1)

    def _memory(self) -> list[tuple[Any, Any]]:
        return [(stepper.state, stepper.started) for stepper in self._steppers]

    def _remember(self, memory: list[tuple[Any, Any]]) -> None:
        for stepper, (state, started) in zip(self._steppers, memory, strict=False):
            stepper.state = state
            stepper.started = started

    @property
    def state(self) -> list[tuple[Array, ...]]:
        """For each layer with a memory a tuple of arrays; assignable.

        ``(h,)`` or ``(h, c)`` of shape (batch, units) for a recurrent layer or cell, and the last inputs of shape
        (batch, steps, features) for a causal convolution.
        """
        with self._turn:
            return [tuple(part.copy() for part in stepper.state) for stepper in self._steppers]

    @state.setter
    def state(self, value: Any) -> None:
        if len(value) != len(self._steppers):
            raise ValueError(f"state: {len(self._steppers)} layer(s) with a state, got {len(value)} states")
        with self._turn:
            before = self._memory()
            try:
                for stepper, own in zip(self._steppers, value, strict=True):
                    stepper.state = own
            except BaseException:
                self._remember(before)
                raise

    def reset(self, rows: Any = None) -> None:
        """Start again, with all rows or with some.

        Parameters
        ----------
        rows : int, slice, list or bool array, optional
        """
        chosen = slice(None) if rows is None else rows
        with self._turn:
            numbers = np.atleast_1d(np.arange(self.batch_size)[chosen])
            for stepper in self._steppers:
                stepper.begin(numbers)

    def copy(self) -> Stream:
        """An independent stream of the same layer or model that goes on from here, with its weights of now."""
        return _going_on(self._layer, self.batch_size, self._copied_memory())

    def _copied_memory(self) -> list[tuple[Any, Any]]:
        with self._turn:
            return [(tuple(part.copy() for part in state), started) for state, started in self._memory()]

    __copy__ = copy

    def __reduce__(self) -> Any:
        """What is pickled, or copied deeply: the layer or model, and where the stream is."""
        return _going_on, (self._layer, self.batch_size, self._copied_memory())


def _going_on(layer: Any, batch_size: int, memory: list[tuple[Any, Any]]) -> Stream:
    """A stream with the states of another one."""
    stream = Stream(layer, batch_size)
    stream._remember(memory)
    return stream


def stream(layer: Any, batch_size: int = 1, mc: int | None = None) -> Any:
    """A stream of a layer or model; the same as ``layer.stream(batch_size, mc)``."""
    return layer.stream(batch_size, mc)
