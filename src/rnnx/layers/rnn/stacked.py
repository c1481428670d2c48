"""Cells on top of each other."""

from __future__ import annotations

from typing import Any

from rnnx._nested import leaves
from rnnx._typing import Array
from rnnx.layers.layer import Gradients, Layer, Pullback
from rnnx.layers.registry import layer_from_config
from rnnx.layers.rnn.cell import call_cell, cell_config, check_cell, output_size, state_widths, zero_state
from rnnx.layers.rnn.sequence import SequenceLayer


def as_cells_say(cell: Any, states: list[Any]) -> list[Any]:
    """States of the cells of a stack, from one flat list: for each cell its state, or the list of them."""
    rest = list(states)

    def taken(inner: Any) -> Any:
        if isinstance(inner, StackedRNNCells):
            return [taken(part) for part in inner.cells]
        if not isinstance(inner.state_size, (list, tuple)):
            return rest.pop(0)
        return [rest.pop(0) for _ in inner.state_size]

    found: list[Any] = taken(cell)
    return found


def in_one_list(cell: Any, states: Any) -> list[Any]:
    """The states of a stack in one flat list; None stands for all of a cell, or for one."""
    if isinstance(cell, StackedRNNCells) and isinstance(states, (list, tuple)) and len(states) == len(cell.cells):
        return [part for inner, own in zip(cell.cells, states, strict=True) for part in in_one_list(inner, own)]
    return [None] * len(state_widths(cell)) if states is None else leaves(states)


class StackedRNNCells(Layer):
    """Cells on top of each other, run as one.

    Parameters
    ----------
    cells : list of cells
        The output of each is the input of the next. A call ``cells(x, states)`` advances all by one step; ``states``
        is a list with the list of states of each cell.

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
    positional_arguments = ("states", "training")

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
    def inner_layers(self) -> list[Layer]:
        return [cell for cell in self.cells if isinstance(cell, Layer)]

    @property
    def state_size(self) -> list[Any]:
        """What each cell says."""
        return [cell.state_size for cell in self.cells]

    @property
    def output_size(self) -> int:
        return output_size(self.cells[-1])

    def _call(self, x: Any, call: dict[str, Any]) -> tuple[Array, list[Any]]:
        if not call.keys() <= self.call_arguments:
            self._refuse_arguments(call)
        states, training = call.get("states"), call.get("training", False)
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


class ListsOfStates(SequenceLayer):
    """A layer whose calls give the states of a stack in a list for each cell; inside, all states are one flat list."""

    @property
    def gives_lists(self) -> bool:
        """Whether a call gives the states of each cell in a list of its own."""
        raise NotImplementedError(f"{type(self).__name__} does not say whether its states are of a stack")

    def by_cell(self, y: list[Any]) -> list[Any]:
        """Outputs and states, these with an entry for each cell."""
        raise NotImplementedError(f"{type(self).__name__} does not say which states are of which cell")

    def flat_again(self, dy: list[Any]) -> list[Any]:
        """The inverse for gradients; such as are flat already stay."""
        raise NotImplementedError(f"{type(self).__name__} does not say which states are of which cell")

    def _as_given(self, y: Any, call: dict[str, Any]) -> Any:
        return (self.by_cell(y[0]), y[1]) if call.get("return_masks") else self.by_cell(y)

    def _call(self, x: Any, call: dict[str, Any]) -> Any:
        y = super()._call(x, call)
        return self._as_given(y, call) if self.gives_lists else y

    def vjp(self, *args: Any, **call: Any) -> tuple[Any, Pullback]:
        y, pullback = super().vjp(*args, **call)
        if self.overrides_call or not self.gives_lists:
            return y, pullback

        def back(dy: Any, *, need_dx: bool = True) -> Gradients:
            return pullback(self.flat_again(list(dy)) if isinstance(dy, (list, tuple)) else dy, need_dx=need_dx)

        return self._as_given(y, call), back
