"""Single cells: one step of an LSTM, GRU or SimpleRNN, alone or stacked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx.dropout import DropoutMasks
from rnnx.layers.base import Array, Gradients, Layer, Pullback, layer_config, layer_from_config
from rnnx.layers.graph import is_symbolic
from rnnx.layers.recurrent_weights import (
    GRUWeights,
    LSTMWeights,
    RecurrentWeights,
    SimpleRNNWeights,
    constructor_arguments,
)
from rnnx.layers.undo import undone_on_failure


class Cell(RecurrentWeights):
    """One step at a time: ``output, states = cell(x, states)``."""

    call_arguments = frozenset({"states", "training", "dropout_masks"})

    def __call__(
        self,
        x: Any,
        states: Any = None,
        training: bool = False,
        *,
        dropout_masks: DropoutMasks | None = None,
        **call: Any,
    ) -> tuple[Array, list[Array]]:
        """Advance by one step.

        Parameters
        ----------
        x : array of shape (batch, features)
        states : array or list of arrays of shape (batch, units), optional
            Zeros if not given.
        training : bool
            Whether noise is applied. Every call draws anew; for masks that last, draw them with
            ``cell.sample_masks(batch)`` and give them to every step.
        dropout_masks : DropoutMasks, optional
            Used in training instead of drawing.

        Returns
        -------
        output : array of shape (batch, units)
        states : list of arrays of shape (batch, units)

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit.
        """
        if call:
            self._refuse_arguments(call)
        output, after, _ = self._step(x, states, training, dropout_masks, False)
        return output, after

    def vjp(
        self,
        x: Any,
        states: Any = None,
        training: bool = False,
        *,
        dropout_masks: DropoutMasks | None = None,
        **call: Any,
    ) -> tuple[tuple[Array, list[Array]], Pullback]:
        """The same call, differentiable.

        Returns
        -------
        (output, states)
        pullback : callable
            ``pullback(doutput, dstates=None, need_dx=True)`` gives the `Gradients`; entries may be None (zero).
        """
        if call:
            self._refuse_arguments(call)
        output, after, run = self._step(x, states, training, dropout_masks, True)

        def pullback(dy: Any, dstates: Any = None, *, need_dx: bool = True) -> Gradients:
            dstate = None if dstates is None else tuple(None if d is None else self.cast(d) for d in dstates)
            doutputs = None if dy is None else self.cast(dy)[:, None]
            grads = self.core.backward(run.cache, doutputs, dstate, need_dx=need_dx, need_dparams=self.trainable)
            dx = None if grads.dx is None else grads.dx[:, 0]
            return Gradients(dx, self.weight_gradients(grads.dparams), grads.dinitial_state)

        return (output, after), pullback

    def _step(
        self, x: Any, states: Any, training: bool, dropout_masks: DropoutMasks | None, keep: bool
    ) -> tuple[Array, list[Array], Any]:
        if is_symbolic(x):
            raise TypeError(f"{self.name}: a cell takes one step of arrays; in a model use RNN(cell)")
        x = self.cast(x)
        if x.ndim != 2:
            raise ValueError(f"{self.name}: the input must have shape (batch, features), got {x.shape}")
        self.build(x.shape)
        with undone_on_failure(self):
            run, _ = self.run(
                x[:, None], initial_state=states, training=training, keep=keep, dropout_masks=dropout_masks
            )
        return run.outputs[:, 0], list(run.state) if isinstance(run.state, tuple) else [run.state], run

    def sample_masks(self, batch: int, timesteps: int = 1, *, training: bool = True) -> DropoutMasks | None:
        return super().sample_masks(batch, timesteps, training=training)

    def get_initial_state(self, batch_size: int) -> list[Array]:
        """States of zeros, of shape (batch_size, units)."""
        return [np.zeros((batch_size, self.units), self.dtype) for _ in range(self.state_count)]


class LSTMCell(Cell, LSTMWeights):
    """One step of an LSTM.

    Parameters
    ----------
    units : int
    activation, recurrent_activation, use_bias, unit_forget_bias, dropout, recurrent_dropout, seed, ...
        As for `LSTM`, with its further arguments about noise.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> cell = rnnx.layers.LSTMCell(4)
    >>> y, (h, c) = cell(np.ones((2, 3)))
    >>> y, (h, c) = cell(np.ones((2, 3)), [h, c])
    >>> y.shape
    (2, 4)
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**constructor_arguments(locals()))


class GRUCell(Cell, GRUWeights):
    """One step of a GRU.

    Parameters
    ----------
    units : int
    activation, recurrent_activation, use_bias, dropout, recurrent_dropout, reset_after, seed, ...
        As for `GRU`, with its further arguments about noise.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> cell = rnnx.layers.GRUCell(4, recurrent_dropout=0.5, seed=1)
    >>> x, states = np.ones((2, 3)), None
    >>> _ = cell(x)    # builds
    >>> masks = cell.sample_masks(batch=2)
    >>> for _ in range(3):
    ...     y, states = cell(x, states, training=True, dropout_masks=masks)
    >>> y.shape
    (2, 4)
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        reset_after: bool = True,
        seed: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**constructor_arguments(locals()))


class SimpleRNNCell(Cell, SimpleRNNWeights):
    """One step of a simple recurrent network.

    Parameters
    ----------
    units : int
    activation, use_bias, dropout, recurrent_dropout, seed, ...
        As for `SimpleRNN`, with its further arguments about noise.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> y, [h] = rnnx.layers.SimpleRNNCell(4)(np.ones((2, 3)))
    >>> y.shape
    (2, 4)
    """

    def __init__(
        self,
        units: int,
        activation: Any = "tanh",
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        recurrent_initializer: Any = "orthogonal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        recurrent_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        recurrent_constraint: Any = None,
        bias_constraint: Any = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**constructor_arguments(locals()))


class StackedRNNCells(Layer):
    """Cells on top of each other, run as one.

    Parameters
    ----------
    cells : list of cells
        The output of each is the input of the next.

    Raises
    ------
    ValueError
        If there is no cell or one of them is none.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> from rnnx.layers import GRUCell, LSTMCell, StackedRNNCells
    >>> y, states = StackedRNNCells([LSTMCell(4), GRUCell(5)])(np.ones((2, 3)))
    >>> y.shape, [len(own) for own in states]
    ((2, 5), [2, 1])
    """

    call_arguments = frozenset({"states", "training"})

    def __init__(self, cells: Any, **kwargs: Any):
        cells = list(cells)
        if not cells:
            raise ValueError("StackedRNNCells: give at least one cell")
        for cell in cells:
            check_cell("StackedRNNCells", cell)
        kwargs.setdefault("dtype", getattr(cells[0], "dtype", "float32"))
        super().__init__(**kwargs)
        self.cells = cells

    @property
    def sublayers(self) -> list[Layer]:
        return [cell for cell in self.cells if isinstance(cell, Layer)]

    @property
    def state_size(self) -> list[Any]:
        """What each cell says."""
        return [cell.state_size for cell in self.cells]

    @property
    def output_size(self) -> int:
        return output_size(self.cells[-1])

    def __call__(self, x: Any, states: Any = None, training: bool = False, **call: Any) -> tuple[Array, list[Any]]:
        """Advance all cells by one step; ``states`` is a list with the list of states of each cell."""
        if call:
            self._refuse_arguments(call)
        if states is not None and len(states) != len(self.cells):
            raise ValueError(f"{self.name}: `states` must have an entry for each of {len(self.cells)} cells")
        new: list[Any] = []
        for cell, own in zip(self.cells, states or [None] * len(self.cells), strict=True):
            if own is None:
                own = zero_state(cell, len(x), self.dtype)
            x, after = call_cell(cell, x, own, training)
            new.append(after if isinstance(after, list) else [after])
        return x, new

    def get_initial_state(self, batch_size: int) -> list[Any]:
        """States of zeros for each cell."""
        return [zero_state(cell, batch_size, self.dtype) for cell in self.cells]

    def build(self, input_shape: Any) -> None:
        for cell in self.cells:
            if hasattr(cell, "build"):
                cell.build(input_shape)
            input_shape = (input_shape[0], output_size(cell))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cells": [cell_config(cell) for cell in self.cells]}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**{**config, "cells": [layer_from_config(entry) for entry in config["cells"]]})


# ---- What `RNN` and `StackedRNNCells` need of any cell --------------------------------------------------------------


def check_cell(who: str, cell: Any) -> None:
    """Refuse what cannot be a cell."""
    if not callable(cell_function(cell)) or not hasattr(cell, "state_size"):
        raise ValueError(f"{who}: a cell must be callable and have `state_size`, got {type(cell).__name__}")


def cell_function(cell: Any) -> Callable[..., Any]:
    """The step of a cell: its ``call`` if it has one, as Keras' cells do, or itself."""
    step: Callable[..., Any] = getattr(cell, "call", cell)
    return step


def state_widths(cell: Any) -> list[int]:
    """Width of each part of the state, in one flat list."""
    if isinstance(cell, StackedRNNCells):
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
    import inspect

    parameters = inspect.signature(function).parameters
    return "training" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def call_cell(cell: Any, x: Array, states: Any, training: bool) -> tuple[Any, Any]:
    """Advance any cell by one step, telling it about training only if it wants to know."""
    function = cell_function(cell)
    result: tuple[Any, Any] = function(x, states, **({"training": training} if takes_training(function) else {}))
    return result


def cell_config(cell: Any) -> dict[str, Any]:
    """Class name and configuration of a cell that is a layer."""
    if not isinstance(cell, Layer):
        raise ValueError(f"cell {type(cell).__name__} is not a layer: it cannot be saved")
    return layer_config(cell)
