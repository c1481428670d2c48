"""Symbolic tensors: a record of which layer was called on what, from which a model is made."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rnnx._config import on_demand
from rnnx._nested import is_shape, leaves
from rnnx.layers.limits import budget

tracing: ContextVar[Any] = ContextVar("tracing", default=None)  # whose `call` is being traced; `rnnx.layers.tracing`


@dataclass(eq=False)
class Node:
    """One call of a layer.

    Attributes
    ----------
    layer : Layer
    inputs : list of SymbolicTensor
        The inputs, then (``states`` of them) initial states.
    single : bool
        Whether the layer is called with one tensor (True) or with a list.
    states : int
        How many of the inputs are initial states.
    call : dict
        Constant arguments of the call, such as ``training=True``.
    outputs : list of SymbolicTensor
    """

    layer: Any
    inputs: list[SymbolicTensor]
    single: bool
    states: int
    call: dict[str, Any]
    outputs: list[SymbolicTensor] = field(default_factory=list)

    @property
    def values(self) -> list[SymbolicTensor]:
        """The inputs without the initial states."""
        return split_states(self.inputs, self.states)[0]

    @property
    def initial_states(self) -> list[SymbolicTensor]:
        return split_states(self.inputs, self.states)[1]


@dataclass(eq=False)
class SymbolicTensor:
    """A value that a model will compute.

    Attributes
    ----------
    shape : tuple
        With the batch axis first; unknown sizes are None.
    dtype : dtype
    node : Node
        The call that makes it.
    index : int
        Which output of that call it is.
    """

    shape: tuple[int | None, ...]
    dtype: Any
    node: Node
    index: int = 0

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def name(self) -> str:
        return str(self.node.layer.name)

    def activated(self, activation: Any) -> Any:
        """What an activation makes of it: `rnnx.activations` knows no layers, so the tensor makes one."""
        return on_demand("Activation")(activation)(self)

    # Operators, indices and functions of NumPy come from `rnnx.layers.ops.symbols`, which needs layers.

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            "a symbolic tensor has no values: in a `call` use rnnx.ops, elsewhere make a Model of it and call that "
            "with arrays"
        )

    def __repr__(self) -> str:
        return f"<SymbolicTensor shape={self.shape}, dtype={np.dtype(self.dtype)}, from {self.name}>"


def split_states(inputs: list[SymbolicTensor], states: int) -> tuple[list[SymbolicTensor], list[SymbolicTensor]]:
    """The inputs of a call without the initial states at their end, and these."""
    first = len(inputs) - states
    return inputs[:first], inputs[first:]


def is_symbolic(x: Any) -> bool:
    """Whether this is a symbolic tensor or a list with one in it, also in lists inside that."""
    if isinstance(x, (list, tuple)):
        return any(isinstance(part, SymbolicTensor) or (type(part) is list and is_symbolic(part)) for part in x)
    return isinstance(x, SymbolicTensor)


def enter(layer: Any) -> SymbolicTensor:
    """The symbolic tensor of an input layer, in a new graph."""
    if (left := budget()) is not None:
        left.check_shape(layer.name, layer.batch_shape)
    node = Node(layer, [], True, 0, {})
    node.outputs.append(SymbolicTensor(layer.batch_shape, layer.value_dtype, node))
    if layer._node is None:
        vars(layer)["_node"] = node
    return node.outputs[0]


def call(layer: Any, x: Any, arguments: dict[str, Any]) -> Any:
    """Record the call of a layer; symbolic tensors come back in the structure the layer would return."""
    arguments = dict(arguments)
    if isinstance(x, (list, tuple)) and len(x) == 1 and getattr(layer, "several_inputs", None) is False:
        x = x[0]  # to a model of one input a list of one is that one
    if "mask" in arguments and is_symbolic(arguments["mask"]):
        x = on_demand("with_mask")(layer, x, arguments.pop("mask"))
    if arguments.get("reset") is not None:
        raise ValueError(
            f"{layer.name}: `reset` can be given with arrays only, not in a graph; call the layer itself, or its `vjp`"
        )
    single = isinstance(x, SymbolicTensor)
    inputs = [x] if single else list(x)
    given = arguments.pop("initial_state", None)
    states = [] if given is None else leaves(given)
    for tensor in [*inputs, *states]:
        if not isinstance(tensor, SymbolicTensor):
            raise TypeError(f"{layer.name}: symbolic tensors and arrays cannot be mixed in one call")
    if arguments.get("mask") is not None:
        arguments["mask"] = layer.given_mask(x, arguments["mask"])
    if states and hasattr(layer, "state_count"):
        wanted = [layer.units] * layer.state_count
        if [tensor.shape[-1] for tensor in states] != wanted:
            raise ValueError(
                f"{layer.name}: `initial_state` must have {len(wanted)} part(s) of shape (batch, {layer.units}), "
                f"got {', '.join(str(tensor.shape) for tensor in states)}"
            )
    shape = inputs[0].shape if single else [tensor.shape for tensor in inputs]
    if (left := budget()) is not None:
        left.take_calls(layer.name, calls_of(layer, len(inputs) + len(states)))
    layer.build(shape)
    made = layer.base_call() if layer.overrides_call else layer
    if not (layer.records_inference or arguments.get("training")):
        arguments.pop("training", None)
    node = Node(made, inputs + states, single, len(states), {k: v for k, v in arguments.items() if v is not None})
    plain = layer.output_template is None and not layer.outputs_by_call
    shapes = layer.compute_output_shape(shape) if plain else layer.call_output_shapes(shape, arguments)
    several = isinstance(shapes, list)
    if left is not None and several:
        left.take_calls(layer.name, len(shapes) // 8)
    dtypes = layer.dtype
    if layer.makes_other_types:
        dtypes = layer.compute_output_dtype(shape, [tensor.dtype for tensor in inputs])
    for index, output in enumerate(leaves(shapes, is_shape) if several else [shapes]):
        if left is not None:
            left.check_shape(layer.name, output)
        dtype = dtypes[index] if isinstance(dtypes, list) else dtypes
        node.outputs.append(SymbolicTensor(tuple(output), dtype, node, index))
    if made._node is None:
        vars(made)["_node"] = node
    return node.outputs if several else node.outputs[0]


def calls_of(layer: Any, inputs: int) -> int:
    """The work of a call: itself and all calls inside, and its inputs if there are many."""
    return int(1 + inputs // 8 + layer.calls_inside)


def topological_order(outputs: list[SymbolicTensor]) -> list[Node]:
    """Every node the outputs depend on, each after those it needs."""
    order: list[Node] = []
    done: set[int] = set()
    stack: list[tuple[Node, bool]] = [(tensor.node, False) for tensor in reversed(outputs)]
    while stack:
        node, finished = stack.pop()
        if finished:
            order.append(node)
        elif id(node) not in done:
            done.add(id(node))
            stack.append((node, True))
            for tensor in reversed(node.inputs):
                if id(tensor.node) not in done:
                    stack.append((tensor.node, False))
    return order
