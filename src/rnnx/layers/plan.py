"""The graph of a model as numbered steps, made once: all that follows a model from inputs to outputs walks them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnx._changes import seen
from rnnx._nested import is_shape, leaves
from rnnx._typing import Array
from rnnx.layers.embedding import Embedding
from rnnx.layers.graph import Node, SymbolicTensor, calls_of, split_states, topological_order
from rnnx.layers.input import InputLayer
from rnnx.layers.layer import Gradients, Layer
from rnnx.layers.rnn.sequence import SequenceLayer
from rnnx.layers.trained import TrainedWeights
from rnnx.layers.weight import Weight

PLAIN_PREPARE = (Layer.prepare, SequenceLayer.prepare)  # these ask for the dtype and the number of axes alone
PLAIN_MASKED = (Layer.forward_masked, SequenceLayer.forward_masked)  # `forward`, and the mask of `compute_mask`


@dataclass(eq=False, slots=True)
class Step:
    """One call of a layer.

    Attributes
    ----------
    node : Node
        The symbolic call.
    layer : Layer
    computation : Layer, TracedCall or BaseCall
        What computes the outputs.
    inputs, states, outputs : tuple of int
        Places of its inputs, initial states and outputs.
    single : bool
        Whether the layer is called with one value (True) or with a list.
    call : dict
        Constant arguments of the call.
    axes : int
        An array of the layer's dtype with so many axes needs no `Layer.prepare`; -1 if every input needs it.
    frees : tuple of int
        Places that nobody needs after this step.
    penalised : bool
        Whether a penalty on the activity of the layer counts.
    straight : bool
        Whether ``forward(x)`` is all there is to a call in inference without a mask: the layer takes one value, makes
        one, and no mask where there was none.
    """

    node: Node
    layer: Any
    computation: Any
    inputs: tuple[int, ...]
    states: tuple[int, ...]
    outputs: tuple[int, ...]
    single: bool
    call: dict[str, Any]
    axes: int
    frees: tuple[int, ...] = ()
    penalised: bool = True
    straight: bool = False


class Plan:
    """The steps of a graph. Every value has a place, a number; first come those of the inputs.

    Parameters
    ----------
    inputs, outputs : list of SymbolicTensor

    Attributes
    ----------
    tensors : list of SymbolicTensor
        By their places.
    inputs, outputs : list of int
        Places.
    weights : dict of Weight by int
        What stands in a place by itself: weights of a layer of one's own that its ``call`` computes with.
    steps : list of Step
        Each after those it needs.
    known_sizes : list of list of (int, int)
        For each input the axes, but for that of the batch, whose sizes are known, and these.

    Raises
    ------
    TypeError
        If an input or output is not a symbolic tensor.
    ValueError
        If the outputs need other inputs.
    """

    def __init__(self, inputs: Sequence[Any], outputs: Sequence[Any]):
        for tensor in [*inputs, *outputs]:
            if not isinstance(tensor, SymbolicTensor):
                raise TypeError(f"Model: inputs and outputs must be symbolic tensors, got {type(tensor).__name__}")
        nodes = topological_order(list(outputs))
        self.tensors: list[SymbolicTensor] = []
        self.steps: list[Step] = []
        self.weights: dict[int, Weight] = {}
        self._calls: int | None = None
        self._straight: bool | None = None  # whether all is a chain of straight steps; known from the first run on
        self._places: dict[SymbolicTensor, int] = {}
        for tensor in inputs:
            if not isinstance(tensor.node.layer, InputLayer):
                raise ValueError(f"Model: inputs must come from Input(...), got {tensor!r}")
            if tensor not in self._places:
                self._places[tensor] = len(self.tensors)
                self.tensors.append(tensor)
        for node in nodes:
            if node.inputs:
                self._add(node)
            elif isinstance(node.layer, Weight):
                self.weights[len(self.tensors)] = node.layer
                self._places[node.outputs[0]] = len(self.tensors)
                self.tensors.append(node.outputs[0])
            elif node.outputs[0] not in self._places:
                raise ValueError(f"Model: the outputs depend on {node.layer.name!r}, which is not among the inputs")
        self.inputs = [self._places[tensor] for tensor in inputs]
        self.outputs = [self._places[tensor] for tensor in outputs]
        self.known_sizes = [
            [(axis, size) for axis, size in enumerate(tensor.shape) if axis and size is not None] for tensor in inputs
        ]
        needed = set(self.outputs)
        for step in reversed(self.steps):
            step.frees = tuple({*step.inputs, *step.states, *step.outputs} - needed)
            needed.update(step.frees)

    def _is_straight(self) -> bool:
        """See which steps are straight; whether all are, from the only input to the only output."""
        for step in self.steps:
            alone = step.single and not step.states and not step.call and len(step.outputs) == 1
            step.straight = alone and _may_be_straight(type(step.computation))
        ends = [self.steps[-1].outputs[0]] if self.steps else self.inputs
        chain = len(self.inputs) == 1 and self.outputs == ends and self.is_chain()
        return chain and all(step.straight for step in self.steps)

    def _add(self, node: Node) -> Step:
        for tensor in node.outputs:
            self._places[tensor] = len(self.tensors)
            self.tensors.append(tensor)
        layer = node.layer
        computation = layer.computation if layer.overrides_call else layer
        kind = type(computation)
        plain = node.single and kind.prepare in PLAIN_PREPARE and kind.cast is Layer.cast
        (values, states), place = split_states(node.inputs, node.states), self._places.__getitem__
        step = Step(
            node,
            layer,
            computation,
            tuple(map(place, values)),
            tuple(map(place, states)),
            tuple(map(place, node.outputs)),
            node.single,
            node.call,
            len(node.inputs[0].shape) if plain else -1,
        )
        self.steps.append(step)
        return step

    def append(self, node: Node) -> None:
        """Add a call on the only output; its own output is the output then, and the steps before are as they were."""
        step = self._add(node)
        self.outputs, step.frees = list(step.outputs), tuple(self.outputs)
        self._straight = None
        if self._calls is not None:
            self._calls += calls_of(step.layer, len(node.inputs))

    # ---- What is in it -----------------------------------------------------------------------------------------------

    @property
    def calls(self) -> int:
        """How many calls of layers a run leads to."""
        if self._calls is None:
            calls = len(self.outputs)
            for step in self.steps:
                calls += calls_of(step.layer, len(step.inputs) + len(step.states))
            self._calls = calls
        return self._calls

    def layers(self) -> list[Layer]:
        """The layers, those of the inputs first, in the order of their first calls.

        Raises
        ------
        ValueError
            If two have one name.
        """
        found: dict[Layer, None] = {}
        for place in self.inputs:
            found[self.tensors[place].node.layer] = None
        for step in self.steps:
            found[step.layer] = None
        if self.weights:
            names_of = ", ".join(sorted({weight.name for weight in self.weights.values()}))
            raise ValueError(f"Model: a graph cannot hold weights ({names_of}) outside of a layer's `call`")
        names = Counter([layer.name for layer in found])
        if twice := [name for name, count in names.items() if count > 1]:
            raise ValueError(f"Model: every layer needs a name of its own, used twice: {', '.join(sorted(twice))}")
        return list(found)

    def is_chain(self) -> bool:
        """Whether every step takes the first output of the step before it, or the first input, and nothing else."""
        place = self.inputs[0]
        for step in self.steps:
            if step.states or step.inputs != (place,):
                return False
            place = step.outputs[0]
        return True

    def origins(self) -> list[tuple[str, int, int]]:
        """For each place the name of the layer that fills it, in which of its calls, as which output."""
        found = [(tensor.name, 0, tensor.index) for tensor in self.tensors]
        calls: Counter[str] = Counter()
        for step in self.steps:
            number = calls[step.layer.name]
            calls[step.layer.name] += 1
            for index, place in enumerate(step.outputs):
                found[place] = (step.layer.name, number, index)
        return found

    def draws_noise(self) -> bool:
        """Whether a layer is called with ``training=True`` in every call of the model."""
        return any(step.call.get("training") for step in self.steps)

    def shapes(self, inputs: Sequence[Any]) -> list[Any]:
        """The shapes of the outputs, given those of the inputs."""
        found: list[Any] = [None] * len(self.tensors)
        for place, shape in zip(self.inputs, inputs, strict=True):
            found[place] = shape
        for step in self.steps:
            given = found[step.inputs[0]] if step.single else [found[place] for place in step.inputs]
            made = step.computation.call_output_shapes(given, step.call)
            for place, shape in zip(step.outputs, leaves(made, is_shape), strict=True):
                found[place] = shape
        return [found[place] for place in self.outputs]

    # ---- Running -----------------------------------------------------------------------------------------------------

    def forward(
        self, model: Any, inputs: Sequence[Any], input_masks: Sequence[Any], training: bool, keep: bool
    ) -> tuple[list[Any], list[Any], Any]:
        """Outputs, their time masks, and the pullback; without ``keep`` the penalties alone.

        Parameters
        ----------
        model : Model
            Whose plan this is.
        inputs, input_masks : list of arrays, and of arrays or None
            The inputs are prepared.
        training, keep : bool
            As for `Layer.forward`.
        """
        straight = not (keep or training)
        if self._straight is None:
            self._straight = self._is_straight()
        if straight and self._straight and input_masks[0] is None:
            y, penalties = self._along(inputs[0])
            return [y], [None], penalties
        values: list[Any] = [None] * len(self.tensors)
        masks: list[Any] = [None] * len(self.tensors)
        for place, value, mask in zip(self.inputs, inputs, input_masks, strict=True):
            values[place], masks[place] = value, mask
        for place, weight in self.weights.items():
            values[place] = seen(weight, weight.array)
        pullback: Any = GraphPullback(model) if keep else NO_PENALTIES
        looked_up: Any = None  # the last Embedding, its ids and its output, which layers without noise hand on as it is
        for step in self.steps:
            layer, x, mask = step.computation, values[step.inputs[0]], masks[step.inputs[0]]
            if not step.single:
                x, mask = [values[place] for place in step.inputs], [masks[place] for place in step.inputs]
            if type(x) is not np.ndarray or x.ndim != step.axes or x.dtype is not layer.dtype:
                x = layer.prepare(x)
            if straight and step.straight and mask is None and (looked_up is None or x is not looked_up[2]):
                y, back = layer.forward(x)
            else:
                call = {"mask": mask, "training": training, **step.call}
                if step.states:
                    call["initial_state"] = [values[place] for place in step.states]
                if looked_up is not None and x is looked_up[2] and layer.takes_lookups:
                    call["looked_up"] = looked_up[:2]
                y, mask, back = layer.forward_masked(x, keep=keep, **call)
                if type(layer) is Embedding and not keep:
                    looked_up = (layer, x, y)
            if len(step.outputs) > 1:
                for place, value in zip(step.outputs, y, strict=True):
                    values[place] = value
            else:
                values[step.outputs[0]] = y
            penalised = None
            if (regularizer := step.layer.activity_regularizer) is not None and step.penalised:
                penalised = values[step.outputs[0]]
                pullback = pullback.with_loss(regularizer(penalised) / max(1, len(penalised)))
            if back is not None and isinstance(back, Penalties) and back.adds_loss:
                pullback = pullback.with_loss(back.activity_loss)
            if keep:
                pullback.steps.append((back, penalised))
            if mask is not None:
                for place, own in zip(step.outputs, mask if isinstance(mask, list) else [mask], strict=False):
                    masks[place] = own
            for place in step.frees:
                values[place] = masks[place] = None
        return [values[place] for place in self.outputs], [masks[place] for place in self.outputs], pullback

    def _along(self, x: Any) -> tuple[Any, Penalties]:
        """The output of a chain of straight steps, which needs no places, and penalties."""
        penalties: Penalties = NO_PENALTIES
        for step in self.steps:
            layer = step.computation
            if type(x) is not np.ndarray or x.ndim != step.axes or x.dtype is not layer.dtype:
                x = layer.prepare(x)
            x, _ = layer.forward(x)
            if (regularizer := step.layer.activity_regularizer) is not None and step.penalised:
                penalties = penalties.with_loss(regularizer(x) / max(1, len(x)))
        return x, penalties


def _may_be_straight(kind: Any) -> bool:
    """Whether calls of layers of this class may be straight; those of an Embedding also say which ids it looked up."""
    if kind.forward_masked not in PLAIN_MASKED or kind.makes_mask is not False or issubclass(kind, Embedding):
        return False
    return bool(kind.compute_mask.__module__.split(".")[0] == "rnnx")


class Penalties:
    """A pullback of layers inside, which knows what the penalties of their activities add to the loss, if anything."""

    activity_loss = 0.0
    adds_loss = False

    def with_loss(self, penalty: Any) -> Penalties:
        """The same with one penalty more."""
        self.activity_loss += penalty
        self.adds_loss = True
        return self


class NoPenalties(Penalties):
    """What a pass without pullback and penalties leaves; one for all of them."""

    def with_loss(self, penalty: Any) -> Penalties:
        return Penalties().with_loss(penalty)


NO_PENALTIES = NoPenalties()


class GraphPullback(Penalties):
    """The backward pass through one forward pass of a model.

    Attributes
    ----------
    steps : list of (pullback, output or None)
        For each step its pullback, and its first output if its activity is penalised.
    activity_loss : float
        Penalties of activity regularizers in this pass.
    """

    def __init__(self, model: Any):
        self._model = model
        self._outputs = model.plan.outputs  # of now: layers may be added before the backward pass
        self.steps: list[tuple[Any, Any]] = []
        self.activity_loss = 0.0

    def __call__(self, dy: Any, *, need_dx: bool = True, trained: TrainedWeights | None = None) -> Gradients:
        """Gradients for the gradient of the output.

        Parameters
        ----------
        dy : array, or list of arrays for several outputs
            None entries count as zero.
        need_dx : bool
        trained : TrainedWeights, optional
            Those of the model, if they are known.
        """
        model, plan = self._model, self._model.plan
        if trained is None:
            trained = model.trained_weights()
        flowing: list[Array | None] = [None] * len(plan.tensors)
        _add(flowing, self._outputs, dy if model.several_outputs else [dy])
        sums: list[Array | None] = [None] * len(trained.weights)
        for number in range(len(self.steps) - 1, -1, -1):
            step, (pullback, penalised) = plan.steps[number], self.steps[number]
            several = len(step.outputs) > 1
            first = flowing[step.outputs[0]]
            if penalised is not None:
                rows = np.asarray(max(1, len(penalised)), penalised.dtype)
                penalty = step.layer.activity_regularizer.grad(penalised) / rows
                first = penalty if first is None else first + penalty
            given = [first, *(flowing[place] for place in step.outputs[1:])] if several else first
            wanted = need_dx or trained.step_passes[number]
            nothing = all(d is None for d in given) if several else given is None
            if nothing or not (wanted or trained.step_trained[number]):
                continue
            inside = trained.inside[number]
            known = {} if inside is None else {"trained": inside}
            grads = pullback(given, need_dx=wanted, **known)
            _add(sums, trained.of_step[number], grads.dweights)
            if wanted:
                _add(flowing, step.inputs, [grads.dx] if step.single else grads.dx or [None] * len(step.inputs))
                if step.states:
                    states = grads.dinitial_state
                    _add(flowing, step.states, states if isinstance(states, (list, tuple)) else [states])
        for place, index in trained.of_place:
            if trained.trained[index]:
                _add(sums, [index], [flowing[place]])
        dinputs = [flowing[place] if need_dx else None for place in plan.inputs]
        dweights: list[Array | None] = [None] * len(sums)
        for k, (weight, flag) in enumerate(zip(trained.weights, trained.trained, strict=True)):
            if flag:
                d = sums[k]
                dweights[k] = np.zeros_like(weight.array) if d is None else d
        return Gradients(dinputs if model.several_inputs else dinputs[0], dweights)


def _add(values: list[Array | None], places: Sequence[int], gradients: Sequence[Array | None]) -> None:
    for place, d in zip(places, gradients, strict=True):
        if d is not None:
            known = values[place]
            values[place] = d if known is None else known + d
