"""Which layers can be fed step by step, and what each does with a step.

Inside a stream a step is a sequence of one step, of shape (batch, 1, ...), so that every layer without a memory is used
as it is. Layers with a memory are replaced by steppers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rnnx._changes import Changes
from rnnx.layers.activation import ELU, Activation, PReLU, Rectifier, Softmax
from rnnx.layers.convolution import Conv1D, Convolving
from rnnx.layers.dense import Dense
from rnnx.layers.dot import Dot
from rnnx.layers.embedding import Embedding, Masking
from rnnx.layers.group_normalization import GroupNormalization, RMSNormalization, UnitNormalization
from rnnx.layers.identity import Identity
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
from rnnx.layers.spectral import SpectralNormalization
from rnnx.layers.step_graph import step_graph
from rnnx.layers.traced_call import TracedCall
from rnnx.streaming.held_weights import layer_of, of_now

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


class StepFunctions:
    """The functions of a step of a layer or model, and the steppers in them.

    Parameters
    ----------
    layer : Layer or Model
    recurrent_stepper : callable
        ``(cell, dtype, zero_output)``: what stands for a recurrent cell.
    convolution_stepper : callable
        ``(layer)``: what stands for a causal convolution.
    noise : StepNoise, optional

    Attributes
    ----------
    steppers : list
        In the order of the layers.
    advancing : bool array of shape (batch,) or None
        Rows that advance in the step that is next: those of all layers with a memory, whatever mask comes to them.
    """

    def __init__(
        self,
        layer: Any,
        recurrent_stepper: Callable[[Any, Any, bool], Any],
        convolution_stepper: Callable[[Conv1D], Any],
        noise: Any = None,
    ):
        self.layer, self.noise = layer, noise
        self.recurrent_stepper, self.convolution_stepper = recurrent_stepper, convolution_stepper
        self.steppers: list[Any] = []
        self.advancing: Any = None

    def make(self, computation: Any) -> tuple[Function, bool]:
        """The function of a step, and whether its output is again a step (or what the sequence so far gives)."""
        layer = layer_of(computation)
        if isinstance(layer, SpectralNormalization):  # which divides in training alone
            return self.make(layer.layer.computation)
        if isinstance(computation, TracedCall):
            if hasattr(layer, "state_size") and not isinstance(layer, SequenceLayer):  # a cell
                return self._recurrent(layer, [layer], True, False)
            return self._graph(step_graph(computation))
        if isinstance(layer, Cell):
            return self._recurrent(layer, [layer], True, False)
        if isinstance(layer, (Recurrent, RNN)):
            if layer.go_backwards:
                raise ValueError(f"stream: layer {layer.name!r} cannot be streamed: it goes backwards")
            if layer.return_state and layer is not self.layer:
                raise ValueError(f"stream: layer {layer.name!r} cannot be streamed in a model: it returns its state")
            cells = layer.cells if isinstance(layer, RNN) else [layer]
            return self._recurrent(layer, cells, layer.return_sequences, layer.zero_output_for_mask)
        if hasattr(layer, "plan"):
            return self._graph(layer)
        causal = isinstance(layer, Conv1D) and (layer.padding == "causal" or layer.window == 1)
        if causal and layer.strides == 1 and not layer.channels_first:
            stepper = self.convolution_stepper(of_now(layer))
            self.steppers.append(stepper)
            return lambda x, mask: (stepper.masked_step(x[:, 0], self.advancing)[:, None], None), True
        if reason := next((reason for kind, reason in WHY_NOT.items() if isinstance(layer, kind)), None):
            raise ValueError(f"stream: layer {layer.name!r} ({type(layer).__name__}) cannot be streamed: {reason}")
        if isinstance(layer, ALONG_AXES) and _reaches_over_steps(layer.axis):
            raise ValueError(f"stream: layer {layer.name!r} cannot be streamed: axis {layer.axis} joins the steps")
        if isinstance(layer, PReLU) and 1 not in (layer.shared_axes or ()):
            raise ValueError(f"stream: layer {layer.name!r} cannot be streamed: each step has weights of its own")
        if self.noise is not None and isinstance(layer, NoiseLayer):
            return self.noise.function(layer), True
        if isinstance(layer, (*STEPWISE, Merge)):
            return _stepwise(layer), True
        raise ValueError(f"stream: layer {layer.name!r} ({type(layer).__name__}) cannot be streamed step by step")

    def _recurrent(self, layer: Any, cells: list[Any], many: bool, zero_output: bool) -> tuple[Function, bool]:
        own = [
            self.recurrent_stepper(cell, layer.dtype, zero_output and k == len(cells) - 1)
            for k, cell in enumerate(cells)
        ]
        self.steppers += own

        def advance(x: Any, mask: Any) -> tuple[Any, Any]:
            y, valid = x[:, 0], self.advancing
            if mask is not None:
                valid = mask[:, 0] if valid is None else mask[:, 0] & valid
            for stepper in own:
                y = stepper.masked_step(y, valid)
            return (y[:, None], mask) if many else (y, None)

        return advance, many

    def _graph(self, model: Any) -> tuple[Function, bool]:
        if model.several_inputs or model.several_outputs:
            raise ValueError(f"stream: model {model.name!r} must have one input and one output")
        plan: Plan = model.plan
        of_steps = set(plan.inputs)  # places of values that have a time axis; the others are of the sequence so far
        fixed = {place: weight.still().array for place, weight in plan.weights.items()}  # those of now
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
                function, many = _backwards(layer) if step.call.get("reverse") else self.make(layer)
            elif not of_steps.isdisjoint(needed):
                raise ValueError(f"stream: layer {name!r} cannot be streamed: it joins steps with a value of all steps")
            elif self.noise is not None and isinstance(layer_of(layer), NoiseLayer):
                function, many = self.noise.function(layer_of(layer)), False
            else:
                function, many = _whole(layer), False
            if step.call.get("training"):
                if not isinstance(layer_of(layer), NoiseLayer):
                    raise ValueError(f"stream: layer {name!r} cannot be streamed: it is called with training=True")
                function = _noisy(layer) if self.noise is None else function
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


def _reaches_over_steps(axis: Any) -> bool:
    """Whether an axis, or one of several, may be that of the steps."""
    return any(part in (1, -2) for part in (axis if isinstance(axis, (list, tuple)) else (axis,)))


def _stepwise(layer: Any) -> Function:
    """The function of a layer without a memory."""
    if type(layer) is Dense:
        return _product(layer)
    layer = of_now(layer)
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


def _backwards(layer: Any) -> tuple[Function, bool]:
    """The function of an embedding that goes from rows to ids."""
    held = of_now(layer)
    return lambda x, mask: (held.forward(held.prepare(x), reverse=True)[0], None), True


def _noisy(layer: Any) -> Function:
    """The function of a layer that draws noise in every call."""

    def draw(x: Any, mask: Any) -> tuple[Any, Any]:
        with Changes():
            y, mask, _ = layer.forward_masked(x, mask=mask, training=True)
        return y, mask

    return draw


def _operation(layer: Operation, plan: Plan, step: Step, constants: set[int]) -> tuple[Function, bool]:
    """The function of an operation on steps and constants; see `StepFunctions.make`."""
    use = layer.steps([plan.tensors[place].shape for place in step.inputs], [p in constants for p in step.inputs])
    if use not in (EACH, LAST):
        raise ValueError(f"stream: layer {layer.name!r} (ops.{layer.function}) cannot be streamed: {use}")
    return _whole(layer), use == EACH


def _whole(layer: Any) -> Function:
    """The function of any layer behind the last output of the sequence so far."""
    if type(layer) is Dense:
        return _product(layer)
    layer = of_now(layer)
    return lambda x, mask: (layer.forward(x)[0], None)


def _after_cast(layer: Any, function: Function) -> Function:
    """A function whose input comes from a layer of another dtype."""
    return lambda x, mask: function(layer.cast(x), mask)
