"""Single cells, and the layer that runs any cell over a sequence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx.functional._validate import check_validity
from rnnx.layers.arguments import check_sequence_shape
from rnnx.layers.base import Array, Gradients, Layer, Pullback, layer_config, layer_from_config
from rnnx.layers.recurrent_weights import GRUWeights, LSTMWeights, RecurrentWeights, SimpleRNNWeights
from rnnx.layers.undo import undone_on_failure


class Cell(RecurrentWeights):
    """One step at a time: ``outputs, states = cell(x, states)``."""

    def __call__(self, x: Any, states: Any = None, training: bool = False, **call: Any) -> tuple[Array, list[Array]]:
        """Advance by one step.

        Parameters
        ----------
        x : array of shape (batch, features)
        states : array or list of arrays of shape (batch, units), optional
            Zeros if not given.
        training : bool
            Whether noise is applied; every call draws anew.

        Returns
        -------
        output : array of shape (batch, units)
        states : list of arrays of shape (batch, units)
        """
        x = self.cast(x)
        if x.ndim != 2:
            raise ValueError(f"{self.name}: the input must have shape (batch, features), got {x.shape}")
        self.build(x.shape)
        with undone_on_failure(self):
            run, _ = self.run(x[:, None], initial_state=states, training=training)
        return run.outputs[:, 0], list(run.state) if isinstance(run.state, tuple) else [run.state]

    def get_initial_state(self, batch_size: int) -> list[Array]:
        """States of zeros."""
        return [np.zeros((batch_size, self.units), self.dtype) for _ in range(self.state_count)]


class LSTMCell(Cell, LSTMWeights):
    """One step of an LSTM; arguments as for `LSTM`."""


class GRUCell(Cell, GRUWeights):
    """One step of a GRU; arguments as for `GRU`."""


class SimpleRNNCell(Cell, SimpleRNNWeights):
    """One step of a simple recurrent network; arguments as for `SimpleRNN`."""


class StackedRNNCells(Layer):
    """Cells on top of each other, run as one.

    Parameters
    ----------
    cells : list of cells
    """

    def __init__(self, cells: Any, **kwargs: Any):
        super().__init__(**kwargs)
        self.cells = list(cells)
        if not self.cells:
            raise ValueError("StackedRNNCells: give at least one cell")
        for cell in self.cells:
            _check_cell("StackedRNNCells", cell)

    @property
    def sublayers(self) -> list[Layer]:
        return [cell for cell in self.cells if isinstance(cell, Layer)]

    @property
    def state_size(self) -> list[Any]:
        return [cell.state_size for cell in self.cells]

    @property
    def output_size(self) -> Any:
        return _output_size(self.cells[-1])

    def __call__(self, x: Any, states: Any = None, training: bool = False, **call: Any) -> tuple[Array, list[Any]]:
        """Advance all cells by one step; ``states`` is a list with an entry for each cell."""
        new: list[Any] = []
        for cell, state in zip(self.cells, states or [None] * len(self.cells), strict=True):
            x, after = _call_cell(cell, x, state, training)
            new.append(after)
        return x, new

    def build(self, input_shape: Any) -> None:
        for cell in self.cells:
            if isinstance(cell, Layer):
                cell.build(input_shape)
            input_shape = (input_shape[0], _output_size(cell))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cells": [_cell_config(cell) for cell in self.cells]}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**{**config, "cells": [layer_from_config(entry) for entry in config["cells"]]})


class RNN(Layer):
    """A cell, or a list of cells, run over a sequence.

    The cells of this package run at full speed, one after the other over the whole sequence, which gives the same
    numbers as step by step. A cell of one's own needs ``state_size`` and ``cell(x, states) -> (output, states)`` (and
    ``training=`` if it wants to know); for training also ``cell.vjp(x, states) -> ((output, states), pullback)``.

    Parameters
    ----------
    cell : cell or list of cells
    return_sequences, return_state, go_backwards, stateful, unroll, zero_output_for_mask : bool
        As in Keras 3.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> from rnnx.layers import GRUCell, LSTMCell
    >>> rnnx.layers.RNN([LSTMCell(4), GRUCell(5)])(np.zeros((2, 7, 3))).shape
    (2, 5)
    """

    call_arguments = frozenset({"mask", "training", "initial_state", "lengths"})

    def __init__(
        self,
        cell: Any,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.cell = StackedRNNCells(cell) if isinstance(cell, (list, tuple)) else cell
        _check_cell("RNN", self.cell)
        self.return_sequences, self.return_state = bool(return_sequences), bool(return_state)
        self.go_backwards, self.stateful, self.unroll = bool(go_backwards), bool(stateful), bool(unroll)
        self.zero_output_for_mask = bool(zero_output_for_mask)
        self.states: Any = None

    @property
    def cells(self) -> list[Any]:
        """The cells, from the input to the output."""
        return self.cell.cells if isinstance(self.cell, StackedRNNCells) else [self.cell]

    @property
    def sublayers(self) -> list[Layer]:
        return [self.cell] if isinstance(self.cell, Layer) else []

    def build(self, input_shape: Any) -> None:
        check_sequence_shape(self, input_shape)
        if isinstance(self.cell, Layer):
            self.cell.build((input_shape[0], input_shape[-1]))

    def prepare(self, x: Any) -> Any:
        x = self.cast(x)
        if x.ndim != 3:
            raise ValueError(f"{self.name}: the input must have shape (batch, timesteps, features), got {x.shape}")
        self.build((None, *x.shape[1:]))
        return x

    def forward(
        self,
        x: Array,
        *,
        mask: Any = None,
        training: bool = False,
        keep: bool = False,
        initial_state: Any = None,
        lengths: Any = None,
        **call: Any,
    ) -> tuple[Any, Pullback | None]:
        """Run over the sequence; ``initial_state`` is a flat list of the states of all cells."""
        mask = check_validity(self.name, x.shape[0], x.shape[1], mask, lengths)
        if initial_state is None and self.stateful:
            initial_state = self.states
        given = self._by_cell(initial_state)
        walk = self._run_known if all(isinstance(cell, Cell) for cell in self.cells) else self._run_steps
        outputs, states, back = walk(x, mask, given, training, keep)
        if self.stateful:
            self.states = [state.copy() for state in states]
        y = [outputs, *states] if self.return_state else outputs

        def pullback(dy: Any, *, need_dx: bool = True) -> Gradients:
            doutputs, *dstates = dy if self.return_state else [dy]
            return back(doutputs, self._by_cell(dstates or None), need_dx)

        return y, pullback if keep else None

    def _by_cell(self, flat: Any) -> list[list[Any] | None]:
        """A flat list of states as one list for each cell."""
        if flat is None:
            return [None] * len(self.cells)
        flat = list(flat) if isinstance(flat, (list, tuple)) else [flat]
        counts = [len(_sizes(cell)) for cell in self.cells]
        if len(flat) != sum(counts):
            raise ValueError(f"{self.name}: `initial_state` must have {sum(counts)} part(s), got {len(flat)}")
        ends = np.cumsum([0, *counts])
        return [flat[a:b] for a, b in zip(ends[:-1], ends[1:], strict=True)]

    def _run_known(self, x: Array, mask: Any, given: list[Any], training: bool, keep: bool) -> Any:
        """Cell after cell, each over the whole sequence."""
        runs, states, last = [], [], len(self.cells) - 1
        for k, (cell, state) in enumerate(zip(self.cells, given, strict=True)):
            run, _ = cell.run(
                x,
                mask=mask,
                initial_state=state,
                training=training,
                keep=keep,
                go_backwards=self.go_backwards and k == 0,
                return_sequences=self.return_sequences or k < last,
                zero_output_for_mask=self.zero_output_for_mask and k == last,
            )
            if self.go_backwards and k == 0 and mask is not None:
                mask = np.asarray(mask)[:, ::-1]
            x = run.outputs
            runs.append(run)
            states += list(run.state) if isinstance(run.state, tuple) else [run.state]

        def back(dy: Any, dstates: list[Any], need_dx: bool) -> Gradients:
            dweights: list[Any] = []
            dinitial: list[Any] = []
            for k in range(last, -1, -1):
                cell, dstate = self.cells[k], dstates[k]
                dy = None if dy is None else cell.cast(dy)
                wanted = need_dx or k > 0
                grads = cell.core.backward(
                    runs[k].cache,
                    dy,
                    None if dstate is None else tuple(dstate),
                    need_dx=wanted,
                    need_dparams=cell.trainable and self.trainable,
                )
                own = grads.dinitial_state
                dinitial = (list(own) if isinstance(own, tuple) else [own]) + dinitial
                dweights = cell.weight_gradients(grads.dparams) + dweights
                dy = grads.dx
            return Gradients(dy if need_dx else None, dweights, tuple(dinitial))

        return x, states, back

    def _run_steps(self, x: Array, mask: Any, given: list[Any], training: bool, keep: bool) -> Any:
        """Step by step, for cells of one's own."""
        batch, timesteps, _ = x.shape
        if timesteps == 0:
            raise ValueError(f"{self.name}: a cell of one's own needs at least one step")
        state: list[Any] = [
            [np.zeros((batch, n), self.dtype) for n in _sizes(cell)] if own is None else [self.cast(s) for s in own]
            for cell, own in zip(self.cells, given, strict=True)
        ]
        times = list(range(timesteps))[:: -1 if self.go_backwards else 1]
        outputs, tape, emitted = [], [], None
        for t in times:
            use = None if mask is None else np.asarray(mask)[:, t, None]
            h, backs, new = x[:, t], [], []
            for cell, own in zip(self.cells, state, strict=True):
                (h, after), cell_back = (
                    _vjp_cell(cell, h, own, training) if keep else (_call_cell(cell, h, own, training), None)
                )
                after = after if isinstance(after, (list, tuple)) else [after]
                new.append([a if use is None else np.where(use, a, s) for a, s in zip(after, own, strict=True)])
                backs.append(cell_back)
            before = np.zeros_like(h) if emitted is None or self.zero_output_for_mask else emitted
            emitted = h if use is None else np.where(use, h, before)
            state = new
            outputs.append(emitted)
            tape.append((t, use, backs))
        y = np.stack(outputs, axis=1) if self.return_sequences else outputs[-1]

        def back(dy: Any, dstates: list[Any], need_dx: bool) -> Gradients:
            return self._steps_back(x, y, state, tape, dy, dstates, need_dx)

        return y, [part for own in state for part in own], back

    def _steps_back(
        self, x: Array, y: Array, state: list[Any], tape: list[Any], dy: Any, dstates: list[Any], need_dx: bool
    ) -> Gradients:
        dstate = [
            [np.zeros_like(s) if given is None or given[k] is None else self.cast(given[k]) for k, s in enumerate(own)]
            for own, given in zip(state, dstates, strict=True)
        ]
        dx = np.zeros_like(x)
        carried: Any = 0.0
        dweights: list[Any] = [[None] * (len(c.weights) if isinstance(c, Layer) else 0) for c in self.cells]
        for position in range(len(tape) - 1, -1, -1):
            t, use, backs = tape[position]
            d = carried
            if dy is not None and (self.return_sequences or position == len(tape) - 1):
                d = d + (dy[:, position] if self.return_sequences else dy)
            carried = 0.0 if use is None or self.zero_output_for_mask else np.where(use, 0.0, d)
            dh = np.zeros(y[:, 0].shape if self.return_sequences else y.shape, self.dtype) + d
            dh = dh if use is None else np.where(use, dh, 0)
            for k in range(len(self.cells) - 1, -1, -1):
                into = [s if use is None else np.where(use, s, 0) for s in dstate[k]]
                grads = backs[k](dh, into)
                old = (
                    grads.dinitial_state if isinstance(grads.dinitial_state, (list, tuple)) else [grads.dinitial_state]
                )
                dstate[k] = [o if use is None else np.where(use, o, s) for o, s in zip(old, dstate[k], strict=True)]
                dweights[k] = [
                    b if a is None else a if b is None else a + b
                    for a, b in zip(dweights[k], grads.dweights or dweights[k], strict=True)
                ]
                dh = grads.dx
            dx[:, t] = dh if use is None else np.where(use, dh, 0)
        flat = [part for own in dstate for part in own]
        return Gradients(dx if need_dx else None, [d for own in dweights for d in own], tuple(flat))

    def compute_output_shape(self, input_shape: Any) -> Any:
        check_sequence_shape(self, input_shape)
        batch, timesteps = input_shape[0], input_shape[1]
        width = _output_size(self.cells[-1])
        output = (batch, timesteps, width) if self.return_sequences else (batch, width)
        if not self.return_state:
            return output
        return [output] + [(batch, size) for cell in self.cells for size in _sizes(cell)]

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        return mask if self.return_sequences else None

    def reset_state(self) -> None:
        """Forget the state of a stateful layer."""
        self.states = None

    reset_states = reset_state

    def get_config(self) -> dict[str, Any]:
        config = {**super().get_config(), "cell": _cell_config(self.cell)}
        for name in ("return_sequences", "return_state", "go_backwards", "stateful", "unroll", "zero_output_for_mask"):
            config[name] = getattr(self, name)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**{**config, "cell": layer_from_config(config["cell"])})


def _check_cell(who: str, cell: Any) -> None:
    if not callable(cell) or not hasattr(cell, "state_size"):
        raise ValueError(f"{who}: a cell must be callable and have `state_size`, got {type(cell).__name__}")


def _sizes(cell: Any) -> list[int]:
    return list(cell.state_size) if isinstance(cell.state_size, (list, tuple)) else [cell.state_size]


def _output_size(cell: Any) -> int:
    return int(getattr(cell, "output_size", None) or _sizes(cell)[0])


def _call_cell(cell: Any, x: Array, states: Any, training: bool) -> tuple[Any, Any]:
    """Call a cell, telling it about training only if it wants to know."""
    if isinstance(cell, (Cell, StackedRNNCells)) or getattr(cell, "takes_training", False):
        return cell(x, states, training=training)
    return cell(x, states)


def _vjp_cell(cell: Any, x: Array, states: Any, training: bool) -> tuple[tuple[Any, Any], Callable[..., Gradients]]:
    """Call a cell differentiably."""
    if isinstance(cell, Cell):
        run, _ = cell.run(x[:, None], initial_state=states, training=training, keep=True)

        def back(dy: Array, dstates: list[Array]) -> Gradients:
            grads = cell.core.backward(run.cache, dy[:, None], tuple(dstates), need_dparams=cell.trainable)
            return Gradients(grads.dx[:, 0], cell.weight_gradients(grads.dparams), grads.dinitial_state)

        return (run.outputs[:, 0], run.state), back
    if not hasattr(cell, "vjp"):
        raise TypeError(f"cell {type(cell).__name__} has no `vjp(x, states)`: it can be run but not trained")
    y, custom_back = cell.vjp(x, states)
    return y, custom_back


def _cell_config(cell: Any) -> dict[str, Any]:
    if not isinstance(cell, Layer):
        raise ValueError(f"cell {type(cell).__name__} is not a layer: it cannot be saved")
    return layer_config(cell)
