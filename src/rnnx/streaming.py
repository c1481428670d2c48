"""Streaming: a layer or model that is fed step by step, its state outside of it."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnx import _kernels
from rnnx.layers.cells import Cell
from rnnx.layers.convolution import GlobalPooling1D, Pooling1D
from rnnx.layers.core import Activation, Dense, Embedding, InputLayer, Masking, ReLU, Softmax
from rnnx.layers.noise import NoiseLayer
from rnnx.layers.normalization import Normalization
from rnnx.layers.recurrent_base import Recurrent
from rnnx.layers.rnn import RNN
from rnnx.layers.shaping import Add, Concatenate, Flatten, Multiply
from rnnx.layers.wrappers import Bidirectional, TimeDistributed

Array = NDArray[Any]
STEPWISE = (Activation, Dense, Embedding, Masking, ReLU, Softmax, NoiseLayer, Normalization, TimeDistributed)
MERGES = (Add, Concatenate, Multiply)
WHY_NOT = {
    Bidirectional: "it reads the sequence from its end too",
    Flatten: "it joins all steps",
    Pooling1D: "it joins several steps",
    GlobalPooling1D: "it joins all steps",
}


class RecurrentStepper:
    """One recurrent layer in a stream, on the compiled stepper.

    Parameters
    ----------
    layer : recurrent layer or cell
    batch_size : int
    """

    def __init__(self, layer: Any, batch_size: int):
        params, packed = layer.packed()
        masks = layer.sample_masks(batch_size, 1, training=False)
        if packed is None:
            self._stepper: Any = _SlowStepper(layer, params, batch_size, masks)
        else:
            self._stepper = _kernels.Stepper(packed, batch_size, masks)
        self.step = self._stepper.step

    @property
    def state(self) -> tuple[Array, ...]:
        """A copy of the state: ``(h,)`` or ``(h, c)``."""
        return tuple(self._stepper.state)

    @state.setter
    def state(self, value: Any) -> None:
        self._stepper.state = value


class _SlowStepper:
    """The same for activations that only the reference has."""

    def __init__(self, layer: Any, params: Any, batch_size: int, masks: Any):
        self._core, self._params, self._masks = layer.core, params, masks
        self.state: tuple[Array, ...] = tuple(
            np.zeros((batch_size, layer.units), layer.dtype) for _ in range(layer.state_count)
        )

    def step(self, x: Array, out: Array | None = None) -> Array:
        given = self.state if len(self.state) > 1 else self.state[0]
        run = self._core.forward(self._params, x[:, None], initial_state=given, masks=self._masks)
        self.state = run.state if isinstance(run.state, tuple) else (run.state,)
        if out is None:
            return run.outputs[:, 0]
        out[...] = run.outputs[:, 0]
        return out


class _Chain:
    """Cells on top of each other."""

    def __init__(self, steppers: list[RecurrentStepper]):
        self.steppers = steppers

    def step(self, x: Array) -> Array:
        for stepper in self.steppers:
            x = stepper.step(x)
        return x


class Stream:
    """A layer or model that is fed step by step.

    The results equal those of the whole sequence; a model whose last recurrent layer returns one output gives at each
    step what it would give if the sequence ended there. Weights are those at the time the stream was made; any number
    of streams may share a model. There is no padding in a stream: `Masking` and ``mask_zero`` have no effect.

    Parameters
    ----------
    layer : Layer or Model
        Built.
    batch_size : int
        Streams that advance together.

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

    def __init__(self, layer: Any, batch_size: int = 1):
        if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
            raise ValueError(f"stream: `batch_size` must be a positive integer, got {batch_size!r}")
        if not layer.built:
            raise ValueError(f"stream: {layer.name!r} is not built yet; call it once or give it an input shape")
        self.batch_size = int(batch_size)
        self._layer = layer
        self._steppers: list[RecurrentStepper] = []
        self._run = self._make(layer)
        # A lone recurrent layer is called without any detour.
        if isinstance(layer, Recurrent) and self._steppers:
            self._direct: Any = self._steppers[0].step
        else:
            self._direct = None

    def _make(self, layer: Any) -> Any:
        """A function from the input of a step to its output."""
        if isinstance(layer, (Recurrent, Cell, RNN)):
            return self._make_recurrent(layer)
        if hasattr(layer, "nodes"):
            return self._make_graph(layer)
        if reason := next((reason for kind, reason in WHY_NOT.items() if isinstance(layer, kind)), None):
            raise ValueError(f"stream: layer {layer.name!r} ({type(layer).__name__}) cannot be streamed: {reason}")
        if isinstance(layer, (Softmax, Concatenate)) and layer.axis in (1, -2):
            raise ValueError(f"stream: layer {layer.name!r} cannot be streamed: axis {layer.axis} joins the steps")
        if isinstance(layer, Softmax) and layer.axis > 1:
            raise ValueError(f"stream: layer {layer.name!r} counts its axis with the steps: use axis=-1 instead")
        if isinstance(layer, Concatenate) and layer.axis > 1:  # there is no axis of steps in a step
            return lambda x: np.concatenate(x, axis=layer.axis - 1)
        if isinstance(layer, (*STEPWISE, *MERGES)):
            inner = layer.layer if isinstance(layer, TimeDistributed) else layer
            if isinstance(inner, Embedding):  # ids must be looked at: a negative one would count from the end
                return lambda x: inner.forward(inner.cast(x))[0]
            return lambda x: inner.forward(x)[0]
        raise ValueError(f"stream: layer {layer.name!r} ({type(layer).__name__}) cannot be streamed step by step")

    def _make_recurrent(self, layer: Any) -> Any:
        if getattr(layer, "go_backwards", False):
            raise ValueError(f"stream: layer {layer.name!r} cannot be streamed: it goes backwards")
        if getattr(layer, "return_state", False) and layer is not self._layer:
            raise ValueError(f"stream: layer {layer.name!r} cannot be streamed in a model: it returns its state")
        cells = layer.cells if isinstance(layer, RNN) else [layer]
        if not all(hasattr(cell, "packed") for cell in cells):
            raise ValueError(f"stream: layer {layer.name!r} cannot be streamed: it has a cell of your own")
        own = [RecurrentStepper(cell, self.batch_size) for cell in cells]
        self._steppers += own
        return own[0].step if len(own) == 1 else _Chain(own).step

    def _make_graph(self, model: Any) -> Any:
        if model.several_inputs or model.several_outputs:
            raise ValueError(f"stream: model {model.name!r} must have one input and one output")
        names: dict[int, int] = {id(model.inputs[0]): 0}
        plan: list[tuple[Any, list[int], bool]] = []
        sequences = {id(model.inputs[0])}
        for node in model.nodes:
            layer = node.layer
            if node.states or len(node.outputs) > 1:
                raise ValueError(f"stream: layer {layer.name!r} cannot be streamed: it passes states around")
            if any(id(t) not in sequences for t in node.inputs) and isinstance(layer, (Recurrent, RNN)):
                raise ValueError(f"stream: layer {layer.name!r} cannot be streamed: its input is not a sequence")
            plan.append((self._make(layer), [names[id(t)] for t in node.inputs], node.single))
            names[id(node.outputs[0])] = len(plan)
            if len(node.outputs[0].shape) == len(model.inputs[0].shape) or isinstance(layer, Embedding):
                sequences.add(id(node.outputs[0]))

        last = names[id(model.outputs[0])]

        def run(x: Array) -> Array:
            values = [x]
            for function, sources, single in plan:
                values.append(function(values[sources[0]] if single else [values[k] for k in sources]))
            return values[last]

        return run

    def step(self, x: Any, out: Array | None = None) -> Array:
        """Advance by one step.

        Parameters
        ----------
        x : array of shape (batch, features), or (batch,) of ids
        out : array of shape (batch, units), optional
            For a recurrent layer: where to put the output.

        Returns
        -------
        array of shape (batch, ...)

        Raises
        ------
        TypeError, ValueError
            If the input does not fit; the state is unchanged then.
        """
        if self._direct is not None:
            if type(x) is np.ndarray and x.dtype == self._layer.dtype:
                return self._direct(x, out)
            return self._direct(self._layer.cast(x), out)
        x = self._cast(x)
        if x.shape[:1] != (self.batch_size,):
            raise ValueError(f"step: `x` must have {self.batch_size} row(s), got shape {x.shape}")
        before = [stepper.state for stepper in self._steppers] if len(self._steppers) > 1 else []
        try:
            y: Array = self._run(x)
        except BaseException:
            for stepper, state in zip(self._steppers, before, strict=False):
                stepper.state = state
            raise
        if out is None:
            return y
        out[...] = y
        return out

    def _cast(self, x: Any) -> Array:
        entry = self._layer.inputs[0].node.layer if hasattr(self._layer, "inputs") else self._layer
        array: Array = entry.cast(x)
        if isinstance(entry, InputLayer):
            width = len(self._layer.inputs[0].shape) - 1
            if array.ndim != width:
                raise ValueError(
                    f"step: `x` must have {width} axes (batch first, no time axis), got shape {array.shape}"
                )
        return array

    def run(self, block: Any) -> Array:
        """Advance by several steps.

        Parameters
        ----------
        block : array of shape (batch, timesteps, features), or (batch, timesteps) of ids

        Returns
        -------
        array of shape (batch, timesteps, ...)
            The output of every step.
        """
        block = np.asarray(block)
        if block.ndim < 2 or block.shape[0] != self.batch_size:
            raise ValueError(f"run: `block` must have shape ({self.batch_size}, timesteps, ...), got {block.shape}")
        outputs = [self.step(np.ascontiguousarray(block[:, t])) for t in range(block.shape[1])]
        if not outputs:
            raise ValueError("run: the block has no steps")
        return np.stack(outputs, axis=1)

    @property
    def state(self) -> list[tuple[Array, ...]]:
        """For each recurrent layer a tuple ``(h,)`` or ``(h, c)`` of arrays of shape (batch, units); assignable."""
        return [stepper.state for stepper in self._steppers]

    @state.setter
    def state(self, value: Any) -> None:
        if len(value) != len(self._steppers):
            raise ValueError(f"state: {len(self._steppers)} recurrent layer(s), got {len(value)} states")
        before = self.state
        try:
            for stepper, own in zip(self._steppers, value, strict=True):
                stepper.state = own
        except BaseException:
            for stepper, own in zip(self._steppers, before, strict=True):
                stepper.state = own
            raise

    def reset(self, rows: Any = None) -> None:
        """Start again, with all rows or with some.

        Parameters
        ----------
        rows : int, slice, list or bool array, optional
        """
        fresh = []
        for parts in self.state:
            for part in parts:
                part[slice(None) if rows is None else rows] = 0
            fresh.append(parts)
        self.state = fresh

    def copy(self) -> Stream:
        """An independent stream that goes on from here."""
        other = Stream(self._layer, self.batch_size)
        other.state = copy.deepcopy(self.state)
        return other


def stream(layer: Any, batch_size: int = 1) -> Stream:
    """A stream of a layer or model; the same as ``layer.stream(batch_size)``."""
    return Stream(layer, batch_size)
