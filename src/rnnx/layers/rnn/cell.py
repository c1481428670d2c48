"""One step at a time: the call of a single cell, and what `RNN` and `StackedRNNCells` need of any cell."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx._changes import Changes
from rnnx._nested import leaves
from rnnx._typing import Array
from rnnx.dropout import DropoutMasks
from rnnx.layers.base_call import BaseCall
from rnnx.layers.graph import call as graph_call
from rnnx.layers.graph import is_symbolic, tracing
from rnnx.layers.layer import Gradients, Layer, Pullback, Weight
from rnnx.layers.registry import layer_config
from rnnx.layers.rnn.sequence import FLAGS
from rnnx.layers.rnn.weights import RecurrentWeights, constructor_arguments

SEQUENCE_ARGUMENTS = frozenset({*FLAGS, "use_cudnn", "activity_regularizer", "recompute"})


def constructor_of_cell(layer: type) -> Callable[..., None]:
    """The constructor of a cell: the arguments of its layer's constructor but for those that concern sequences.

    Parameters
    ----------
    layer : type
        The layer over sequences, whose ``__init__`` says the names, their order and their defaults. In a cell, ``seed``
        is the last that may be given by position.
    """
    every = inspect.signature(vars(layer)["__init__"]).parameters.values()
    parameters = [parameter for parameter in every if parameter.name not in SEQUENCE_ARGUMENTS]
    seed = next(p for p in parameters if p.name == "seed")
    parameters.remove(seed)
    by_position = sum(p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)
    signature = inspect.Signature([*parameters[:by_position], seed, *parameters[by_position:]])

    def __init__(self: Cell, *args: Any, **kwargs: Any) -> None:
        given = signature.bind(self, *args, **kwargs)
        given.apply_defaults()
        super(Cell, self).__init__(**constructor_arguments(given.arguments))

    vars(__init__)["__signature__"] = signature
    return __init__


class Cell(RecurrentWeights):
    """One step at a time: ``output, states = cell(x, states)``.

    Notes
    -----
    Arguments of a call:

    x : array of shape (batch, features), or in the ``call`` of another class symbolic tensor
    states : array or list of arrays of shape (batch, units), optional
        Zeros if not given. Symbolic tensors in a symbolic call.
    training : bool
        Whether noise is applied. Every call draws anew; for masks that last, draw them with
        ``cell.sample_masks(batch)`` and give them to every step.
    dropout_masks : DropoutMasks, optional
        Used in training instead of drawing.

    A call gives the output, an array of shape (batch, units), and the list of states, likewise. It raises a TypeError
    or ValueError if an argument does not fit.
    """

    call_arguments = frozenset({"states", "training", "dropout_masks"})
    positional_arguments = ("states", "training")

    def _call(self, x: Any, call: dict[str, Any]) -> tuple[Array, list[Array]]:
        if not call.keys() <= self.call_arguments:
            self._refuse_arguments(call)
        states, training = call.get("states"), call.get("training", False)
        if is_symbolic(x):
            if tracing.get() is None:
                raise TypeError(f"{self.name}: a cell takes one step of arrays; in a model use RNN(cell)")
            return StepOfCell(self).follow(x, states, training)
        output, after, _ = self._step(x, states, training, call.get("dropout_masks"), False)
        return output, after

    def vjp(self, *args: Any, **call: Any) -> tuple[Any, Pullback]:
        """The same call, differentiable.

        Returns
        -------
        (output, states)
        pullback : callable
            ``pullback(doutput, dstates=None, need_dx=True)`` gives the `Gradients`; entries may be None (zero).
        """
        if self.overrides_call:
            return super().vjp(*args, **call)
        x, call = self._by_name(args, call)
        if not call.keys() <= self.call_arguments:
            self._refuse_arguments(call)
        states, training = call.get("states"), call.get("training", False)
        output, after, run = self._step(x, states, training, call.get("dropout_masks"), True)
        return (output, after), self.pullback_of(run)

    def pullback_of(self, run: Any) -> Pullback:
        """The pullback of a step that was kept."""

        def pullback(dy: Any, dstates: Any = None, *, need_dx: bool = True) -> Gradients:
            dstate = None if dstates is None else tuple(None if d is None else self.cast(d) for d in dstates)
            doutputs = None if dy is None else self.cast(dy)[:, None]
            grads = self.core.backward(run.cache, doutputs, dstate, need_dx=need_dx, need_dparams=self.trainable)
            dx = None if grads.dx is None else grads.dx[:, 0]
            return Gradients(dx, self.weight_gradients(grads.dparams), grads.dinitial_state)

        return pullback

    def _step(
        self, x: Any, states: Any, training: bool, dropout_masks: DropoutMasks | None, keep: bool
    ) -> tuple[Array, list[Array], Any]:
        x = self.cast(x)
        if x.ndim != 2:
            raise ValueError(f"{self.name}: the input must have shape (batch, features), got {x.shape}")
        self.build(x.shape)
        with Changes():
            run, _ = self.run(
                x[:, None], initial_state=states, training=training, keep=keep, dropout_masks=dropout_masks
            )
        return run.outputs[:, 0], list(run.state) if isinstance(run.state, tuple) else [run.state], run

    def sample_masks(self, batch: int, timesteps: int = 1, *, training: bool = True) -> DropoutMasks | None:
        return super().sample_masks(batch, timesteps, training=training)

    def get_initial_state(self, batch_size: int) -> list[Array]:
        """States of zeros, of shape (batch_size, units)."""
        return [np.zeros((batch_size, self.units), self.dtype) for _ in range(self.state_count)]


class StepOfCell(Layer):
    """One step of a cell in a graph: its inputs are those of the step and the states, its outputs likewise.

    Parameters
    ----------
    cell : Cell
    """

    def __init__(self, cell: Cell):
        super().__init__(name=cell.name, dtype=cell.dtype)
        self.cell = cell
        self.built = True

    @property
    def inner_layers(self) -> list[Layer]:
        return [self.cell]

    @property
    def weights(self) -> list[Weight]:
        return BaseCall(self.cell).weights

    def weight_is_trained(self) -> list[bool]:
        return BaseCall(self.cell).weight_is_trained()

    def follow(self, x: Any, states: Any, training: Any) -> tuple[Any, list[Any]]:
        """The symbolic output and states of a step."""
        given = [] if states is None else leaves(states)
        self.cell.build(x.shape)
        call = {} if training is None else {"training": bool(training)}
        output, *after = graph_call(self, [x, *given], call)
        return output, after

    def takes_list(self, x: Any) -> bool:
        return True

    def forward(
        self, x: Any, *, mask: Any = None, training: bool = False, keep: bool = False, **call: Any
    ) -> tuple[Any, Pullback | None]:
        output, after, run = self.cell._step(x[0], x[1:] or None, training, None, keep)
        back = self.cell.pullback_of(run) if keep else None

        def pullback(dy: Any, *, need_dx: bool = True) -> Gradients:
            assert back is not None
            grads = back(dy[0], dy[1:], need_dx=need_dx)
            states = grads.dinitial_state
            dstates = list(states) if isinstance(states, (list, tuple)) else [states]
            return Gradients([grads.dx, *dstates][: len(x)], grads.dweights)

        return [output, *after], pullback if keep else None

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        return [None] * (1 + self.cell.state_count)

    def compute_output_shape(self, input_shape: Any) -> Any:
        batch, wanted = input_shape[0][0], [self.cell.units] * self.cell.state_count
        if len(input_shape) > 1 and [shape[-1] for shape in input_shape[1:]] != wanted:
            raise ValueError(
                f"{self.name}: `states` must have {len(wanted)} part(s) of shape (batch, {self.cell.units}), got "
                f"{', '.join(str(tuple(shape)) for shape in input_shape[1:])}"
            )
        return [(batch, self.cell.units)] * (1 + len(wanted))

    def get_config(self) -> dict[str, Any]:
        raise ValueError(f"{self.name}: a cell that is called step by step is saved inside a layer with `call` alone")


# ---- What `RNN` and `StackedRNNCells` need of any cell --------------------------------------------------------------


def check_cell(who: str, cell: Any) -> None:
    """Refuse what cannot be a cell."""
    if not callable(cell_function(cell)) or not hasattr(cell, "state_size"):
        raise ValueError(f"{who}: a cell must be callable and have `state_size`, got {type(cell).__name__}")


def cell_function(cell: Any) -> Callable[..., Any]:
    """The step of a cell: its ``call`` if it has one of its own for arrays, as Keras' cells do, or itself."""
    itself = isinstance(cell, Layer) and (cell.overrides_call or type(cell).call is Layer.call)
    step: Callable[..., Any] = cell if itself else getattr(cell, "call", cell)
    return step


def is_custom(cell: Any) -> bool:
    """Whether a cell says itself what a step is, in ``call`` or in any other way."""
    return not isinstance(cell, Cell) or cell.overrides_call


def state_widths(cell: Any) -> list[int]:
    """Width of each part of the state, in one flat list."""
    if hasattr(cell, "cells"):  # a stack of them
        return [width for inner in cell.cells for width in state_widths(inner)]
    return list(cell.state_size) if isinstance(cell.state_size, (list, tuple)) else [cell.state_size]


def output_size(cell: Any) -> int:
    """Width of the output."""
    return int(getattr(cell, "output_size", None) or state_widths(cell)[0])


def zero_state(cell: Any, batch: int, dtype: Any) -> list[Any]:
    """The initial states of a cell that was given none."""
    if hasattr(cell, "get_initial_state"):
        states = cell.get_initial_state(batch_size=batch)
        return list(states) if isinstance(states, (list, tuple)) else [states]
    return [np.zeros((batch, width), dtype) for width in state_widths(cell)]


def takes_training(function: Callable[..., Any]) -> bool:
    """Whether a function wants to know about training."""
    parameters = inspect.signature(function).parameters
    return "training" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def call_cell(cell: Any, x: Any, states: Any, training: bool) -> tuple[Any, Any]:
    """Advance any cell by one step, telling it about training only if it wants to know."""
    function = cell_function(cell)
    result: tuple[Any, Any] = function(x, states, **({"training": training} if takes_training(function) else {}))
    return result


def cell_config(cell: Any) -> dict[str, Any]:
    """Class name and configuration of a cell that is a layer."""
    if not isinstance(cell, Layer):
        raise ValueError(f"cell {type(cell).__name__} is not a layer: it cannot be saved")
    return layer_config(cell)
