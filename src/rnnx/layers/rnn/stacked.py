"""Cells on top of each other."""

from __future__ import annotations

from typing import Any

from rnnx._typing import Array
from rnnx.layers.graph import flat
from rnnx.layers.layer import Layer, layer_from_config
from rnnx.layers.rnn.cell import call_cell, cell_config, check_cell, output_size, state_widths, zero_state


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
    return [None] * len(state_widths(cell)) if states is None else flat(states)


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
