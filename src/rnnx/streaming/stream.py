"""Streaming: a layer or model that is fed step by step, its state outside of it.

Inside a stream a step is a sequence of one step, of shape (batch, 1, ...), so that every layer without a memory is used
as it is. Layers with a memory are replaced by steppers.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx import _kernels
from rnnx._changes import Changes
from rnnx._typing import Array
from rnnx.layers.activation import ELU, Activation, PReLU, Rectifier, Softmax
from rnnx.layers.base_call import BaseCall
from rnnx.layers.convolution import Conv1D, Convolving
from rnnx.layers.dense import Dense
from rnnx.layers.dot import Dot
from rnnx.layers.embedding import Embedding, Masking
from rnnx.layers.group_normalization import GroupNormalization, RMSNormalization, UnitNormalization
from rnnx.layers.identity import Identity
from rnnx.layers.input import InputLayer
from rnnx.layers.merging import Concatenate, Merge
from rnnx.layers.noise import NoiseLayer
from rnnx.layers.normalization import Normalization
from rnnx.layers.ops import EACH, LAST, Operation
from rnnx.layers.plan import Plan, Step
from rnnx.layers.pooling import GlobalPooling, Pooling
from rnnx.layers.preprocessing.scaling import Normalization as Standardization
from rnnx.layers.preprocessing.scaling import Scaling
from rnnx.layers.resizing import Resizing
from rnnx.layers.rnn.bidirectional import Bidirectional
from rnnx.layers.rnn.cell import Cell
from rnnx.layers.rnn.rnn import RNN
from rnnx.layers.rnn.sequence import Recurrent, SequenceLayer
from rnnx.layers.rnn.time_distributed import TimeDistributed
from rnnx.layers.shaping import Flatten
from rnnx.layers.traced_call import TracedCall
from rnnx.layers.weight import settled
from rnnx.streaming.compiled import short_way
from rnnx.streaming.steppers import ConvolutionStepper, RecurrentStepper, check_out

Function = Callable[[Any, Any], tuple[Any, Any]]  # (value(s), mask(s)) of a step -> (value, mask)
STEPWISE = (
    Activation, Dense, ELU, Embedding, Identity, Masking, NoiseLayer, Normalization, PReLU, RMSNormalization, Rectifier,
    Scaling, Softmax, TimeDistributed, UnitNormalization,
)  # fmt: skip
ALONG_AXES = (Softmax, Concatenate, Normalization, RMSNormalization, Standardization, UnitNormalization)
WHY_NOT = {
    Bidirectional: "it reads the sequence from its end too",
    Flatten: "it joins all steps",
    Pooling: "it joins several steps",
    GlobalPooling: "it joins all steps",
    GroupNormalization: "it joins all steps",
    Dot: "it joins all steps",
    Resizing: "it changes the number of steps",
    Convolving: "only causal convolutions with strides=1 need no later steps",
}


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
        self._steppers: list[Any] = []
        if self._noise is not None:
            self._noise.start()
        self._run, self._many = self._make(self._layer.computation)
        self._settled = versions is not None and versions == settled(self._layer.weights)
        self._short = None
        if self._noise is not None:
            self._noise.finish()
        elif self._settled:
            self._short = self._short_way()

    def _short_way(self) -> Any:
        compiled = [getattr(stepper, "compiled", None) for stepper in self._steppers]
        return short_way(self._layer, compiled, self.batch_size, self._turn, self._cast, self._unmasked_long_way)

    def _make(self, computation: Any) -> tuple[Function, bool]:
        """The function of a step, and whether its output is again a step (or what the sequence so far gives)."""
        layer = _layer_of(computation)
        if isinstance(computation, TracedCall):
            if hasattr(layer, "state_size") and not isinstance(layer, SequenceLayer):  # a cell
                return self._recurrent(layer, [layer], True, False)
            return self._graph(computation.step_graph())
        if isinstance(layer, Cell):
            return self._recurrent(layer, [layer], True, False)
        if isinstance(layer, (Recurrent, RNN)):
            if layer.go_backwards:
                raise ValueError(f"stream: layer {layer.name!r} cannot be streamed: it goes backwards")
            if layer.return_state and layer is not self._layer:
                raise ValueError(f"stream: layer {layer.name!r} cannot be streamed in a model: it returns its state")
            cells = layer.cells if isinstance(layer, RNN) else [layer]
            return self._recurrent(layer, cells, layer.return_sequences, layer.zero_output_for_mask)
        if hasattr(layer, "plan"):
            return self._graph(layer)
        causal = isinstance(layer, Conv1D) and (layer.padding == "causal" or layer.window == 1)
        if causal and layer.strides == 1 and not layer.channels_first:
            stepper = self._convolution_stepper(_of_now(layer))
            self._steppers.append(stepper)
            return lambda x, mask: (stepper.step(x[:, 0])[:, None], None), True
        if reason := next((reason for kind, reason in WHY_NOT.items() if isinstance(layer, kind)), None):
            raise ValueError(f"stream: layer {layer.name!r} ({type(layer).__name__}) cannot be streamed: {reason}")
        if isinstance(layer, ALONG_AXES) and _reaches_over_steps(layer.axis):
            raise ValueError(f"stream: layer {layer.name!r} cannot be streamed: axis {layer.axis} joins the steps")
        if isinstance(layer, PReLU) and 1 not in (layer.shared_axes or ()):
            raise ValueError(f"stream: layer {layer.name!r} cannot be streamed: each step has weights of its own")
        if self._noise is not None and isinstance(layer, NoiseLayer):
            return self._noise.function(layer), True
        if isinstance(layer, (*STEPWISE, Merge)):
            return _stepwise(layer), True
        raise ValueError(f"stream: layer {layer.name!r} ({type(layer).__name__}) cannot be streamed step by step")

    def _recurrent(self, layer: Any, cells: list[Any], many: bool, zero_output: bool) -> tuple[Function, bool]:
        own = [
            self._recurrent_stepper(cell, layer.dtype, zero_output and k == len(cells) - 1)
            for k, cell in enumerate(cells)
        ]
        self._steppers += own

        def advance(x: Any, mask: Any) -> tuple[Any, Any]:
            y, valid = x[:, 0], None if mask is None else mask[:, 0]
            for stepper in own:
                y = stepper.masked_step(y, valid)
            return (y[:, None], mask) if many else (y, None)

        return advance, many

    def _recurrent_stepper(self, cell: Any, dtype: Any, zero_output: bool) -> Any:
        return RecurrentStepper(cell, self.batch_size, dtype, self._turn, zero_output, self._noise)

    def _convolution_stepper(self, layer: Conv1D) -> Any:
        return ConvolutionStepper(layer, self.batch_size)

    def _graph(self, model: Any) -> tuple[Function, bool]:
        if model.several_inputs or model.several_outputs:
            raise ValueError(f"stream: model {model.name!r} must have one input and one output")
        plan: Plan = model.plan
        of_steps = set(plan.inputs)  # places of values that have a time axis; the others are of the sequence so far
        fixed = {place: weight.still().value for place, weight in plan.weights.items()}  # those of now
        constants = set(fixed)  # places that do not depend on the input
        functions: list[tuple[Function, Step]] = []
        for step in plan.steps:
            layer, name = step.computation, step.layer.name
            if step.states or (len(step.outputs) > 1 and not isinstance(layer, Operation)):
                raise ValueError(f"stream: layer {name!r} cannot be streamed: it passes states around")
            needed = set(step.inputs) - constants
            if not needed:
                function, many = _whole(layer), False
                constants.update(step.outputs)
            elif of_steps.issuperset(needed) and isinstance(layer, Operation):
                function, many = _operation(layer, plan, step, constants)
            elif of_steps.issuperset(needed):
                function, many = self._make(layer)
            elif not of_steps.isdisjoint(needed):
                raise ValueError(f"stream: layer {name!r} cannot be streamed: it joins steps with a value of all steps")
            elif self._noise is not None and isinstance(_layer_of(layer), NoiseLayer):
                function, many = self._noise.function(_layer_of(layer)), False
            else:
                function, many = _whole(layer), False
            if step.call.get("training"):
                if not isinstance(_layer_of(layer), NoiseLayer):
                    raise ValueError(f"stream: layer {name!r} cannot be streamed: it is called with training=True")
                function = _noisy(layer) if self._noise is None else function
            given = plan.tensors[step.inputs[0]].dtype
            if step.single and given != layer.dtype and not isinstance(layer, Embedding):
                function = _after_cast(layer, function)
            functions.append((function, step))
            if many:
                of_steps.update(step.outputs)
        (first,), (last,), count = plan.inputs, plan.outputs, len(plan.tensors)

        def run(x: Any, mask: Any) -> tuple[Any, Any]:
            values: list[Any] = [None] * count
            masks: list[Any] = [None] * count
            values[first], masks[first] = x, mask
            for place, value in fixed.items():
                values[place] = value
            for function, step in functions:
                x, mask = values[step.inputs[0]], masks[step.inputs[0]]
                if not step.single:
                    x, mask = [values[place] for place in step.inputs], [masks[place] for place in step.inputs]
                y, mask = function(x, mask)
                if len(step.outputs) > 1:
                    for place, part in zip(step.outputs, y, strict=True):
                        values[place] = part
                else:
                    values[step.outputs[0]], masks[step.outputs[0]] = y, mask
            return values[last], masks[last]

        return run, last in of_steps

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
            return self._long_way(x, out, mask)

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
        if mask is not None:
            mask = np.asarray(mask)
            if mask.dtype != np.bool_ or mask.shape != (self.batch_size,):
                raise ValueError(
                    f"step: `mask` must be boolean of shape ({self.batch_size},), got {mask.dtype} of {mask.shape}"
                )
            mask = mask[:, None]
        before = self._memory() if len(self._steppers) > 1 or out is not None else []
        try:
            y = self._run(x[:, None], mask)[0]
            y = y[:, 0] if self._many else y
            if out is None:
                return y
            check_out(out, y.shape, y.dtype)
            out[...] = y
        except BaseException:
            self._remember(before)
            raise
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
            memory = []
            for stepper in self._steppers:
                parts = [part.copy() for part in stepper.state]
                for k, part in enumerate(parts):
                    part[chosen] = 0 if stepper.initial is None else stepper.initial[k][chosen]
                started = np.full(self.batch_size, stepper.started)
                started[chosen] = False
                memory.append((parts, started))
            self._remember(memory)

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


def _reaches_over_steps(axis: Any) -> bool:
    """Whether an axis, or one of several, may be that of the steps."""
    return any(part in (1, -2) for part in (axis if isinstance(axis, (list, tuple)) else (axis,)))


def _going_on(layer: Any, batch_size: int, memory: list[tuple[Any, Any]]) -> Stream:
    """A stream with the states of another one."""
    stream = Stream(layer, batch_size)
    stream._remember(memory)
    return stream


def _layer_of(computation: Any) -> Any:
    """The layer whose computation this is."""
    return computation.layer if isinstance(computation, (BaseCall, TracedCall)) else computation


def _of_now(layer: Any) -> Any:
    """The same layer with weights that stay as they are; what has a ``call`` of its own is left as it is."""
    if isinstance(layer, (BaseCall, TracedCall)) or not layer.weights:
        return layer
    return copy.deepcopy(layer, {id(weight): weight.still() for weight in layer.weights})


def _stepwise(layer: Any) -> Function:
    """The function of a layer without a memory."""
    if type(layer) is Dense:
        return _product(layer)
    layer = _of_now(layer)
    makes_mask = isinstance(layer, (Masking, Merge)) or (isinstance(layer, Embedding) and layer.mask_zero)

    def one(x: Any, mask: Any) -> tuple[Any, Any]:
        if not makes_mask and mask is None:
            return layer.forward(x)[0], None
        y, mask, _ = layer.forward_masked(x, mask=mask)
        return y, mask

    product: Function | None = None

    def inside(x: Any, mask: Any) -> tuple[Any, Any]:
        if mask is not None and mask.ndim > 2:
            return one(x, mask)
        inner = layer.layer.computation
        prepared = inner.prepare(x[:, 0])
        return (product(prepared, None) if product else inner.forward(prepared))[0][:, None], mask

    if isinstance(layer, TimeDistributed):
        nested: Any = layer.layer.computation
        product = _product(nested) if type(nested) is Dense else None
        return inside
    if isinstance(layer, Embedding):  # ids must be looked at: a negative one would count from the end
        return _after_cast(layer, one)
    return one


def _product(layer: Dense) -> Function:
    """The function of a Dense layer by the tiles of the engine: the bits of a row do not depend on other rows."""
    packed, activation = layer.packed(), layer.activation

    def one(x: Any, mask: Any) -> tuple[Any, Any]:
        if x.ndim < 2 or x.shape[-1] != packed.features:
            raise ValueError(f"{layer.name}: the input must have shape (batch, ..., {packed.features}), got {x.shape}")
        y = packed.apply(x.reshape(-1, packed.features))
        return activation(y.reshape(*x.shape[:-1], packed.units)), mask

    return one


def _noisy(layer: Any) -> Function:
    """The function of a layer that draws noise in every call."""

    def draw(x: Any, mask: Any) -> tuple[Any, Any]:
        with Changes():
            y, mask, _ = layer.forward_masked(x, mask=mask, training=True)
        return y, mask

    return draw


def _operation(layer: Operation, plan: Plan, step: Step, constants: set[int]) -> tuple[Function, bool]:
    """The function of an operation on steps and constants; see `Stream._make`."""
    use = layer.steps([plan.tensors[place].shape for place in step.inputs], [p in constants for p in step.inputs])
    if use not in (EACH, LAST):
        raise ValueError(f"stream: layer {layer.name!r} (ops.{layer.function}) cannot be streamed: {use}")
    return _whole(layer), use == EACH


def _whole(layer: Any) -> Function:
    """The function of any layer behind the last output of the sequence so far."""
    if type(layer) is Dense:
        return _product(layer)
    layer = _of_now(layer)
    return lambda x, mask: (layer.forward(x)[0], None)


def _after_cast(layer: Any, function: Function) -> Function:
    """A function whose input comes from a layer of another dtype."""
    return lambda x, mask: function(layer.cast(x), mask)


def stream(layer: Any, batch_size: int = 1, mc: int | None = None) -> Any:
    """A stream of a layer or model; the same as ``layer.stream(batch_size, mc)``."""
    return layer.stream(batch_size, mc)
