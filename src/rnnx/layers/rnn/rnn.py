"""The layer that runs any cell, or a stack of cells, over a sequence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rnnx._nested import leaves
from rnnx._typing import Array
from rnnx.functional._validate import check_reset, check_validity
from rnnx.layers.checks import check_sequence_shape
from rnnx.layers.input import entry
from rnnx.layers.layer import Gradients, Layer, Pullback
from rnnx.layers.registry import layer_from_config
from rnnx.layers.rnn.cell import (
    Cell,
    call_cell,
    cell_config,
    check_cell,
    is_custom,
    output_size,
    state_widths,
    takes_training,
    zero_state,
)
from rnnx.layers.rnn.sequence import FLAGS, check_gradients
from rnnx.layers.rnn.stacked import ListsOfStates, StackedRNNCells, as_cells_say, in_one_list

Back = Callable[[Any, Any, bool], Gradients]
CellRun = tuple[Array, list[Array], Any, Back]  # outputs, final states, dropout masks, their gradients


class RNN(ListsOfStates):
    """A cell, or a list of cells, run over a sequence.

    The cells of this package run at full speed, one after the other over the whole sequence, which gives the same
    numbers as all of them step by step.

    Parameters
    ----------
    cell : cell or list of cells
        A cell of one's own has ``state_size`` (an integer, or a list of them), perhaps ``output_size`` and
        ``get_initial_state(batch_size)``, and is called ``cell.call(x, states)`` (or ``cell(x, states)``), with
        ``training=`` if it has that argument: x of shape (batch, features), ``states`` a list of arrays of shape
        (batch, size). It returns ``(output, new states)``. To be trained it also needs ``cell.vjp(x, states)`` (and
        ``training=`` if it has that argument), which returns ``((output, new states), pullback)`` with
        ``pullback(doutput, dstates) -> Gradients``. Its weights are known if it is a `Layer`.
    return_sequences : bool
        All outputs instead of the last one.
    return_state : bool
        Also return the final states after the output: of a cell one after the other, of a list of cells one entry for
        each cell, its state or the list of them.
    go_backwards : bool
        Read the steps from the last to the first; outputs come in that order.
    stateful : bool
        Start each batch from the final states of the batch before, until `reset_state`.
    unroll : bool
        Accepted for Keras.
    zero_output_for_mask : bool
        Outputs at masked steps are 0 instead of repeating the output before them.
    **kwargs
        ``name``, ``trainable``, ``dtype`` (by default that of the cell), ``input_shape``.

    Raises
    ------
    ValueError
        If the cell is none.

    Notes
    -----
    In a call ``initial_state`` is a list of the states of all cells; ``dropout_masks`` and what ``return_masks``
    returns are lists with an entry for each cell.

    Examples
    --------
    >>> import numpy as np, rnnx
    >>> from rnnx.layers import GRUCell, LSTMCell
    >>> rnnx.layers.RNN([LSTMCell(4), GRUCell(5)])(np.ones((2, 7, 3))).shape
    (2, 5)
    >>> class Average:
    ...     state_size = 3
    ...     def call(self, x, states):
    ...         mean = 0.9 * states[0] + 0.1 * x
    ...         return mean, [mean]
    >>> rnnx.layers.RNN(Average(), return_sequences=True)(np.ones((2, 7, 3))).shape
    (2, 7, 3)
    """

    fixed_when_built = ListsOfStates.fixed_when_built | {"cell"}

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
        cell = StackedRNNCells(cell) if isinstance(cell, (list, tuple)) else cell
        check_cell("RNN", cell)
        kwargs.setdefault("dtype", getattr(cell, "dtype", "float32"))
        super().__init__(**kwargs)
        self.cell = cell
        self.return_sequences, self.return_state = bool(return_sequences), bool(return_state)
        self.go_backwards, self.stateful, self.unroll = bool(go_backwards), bool(stateful), bool(unroll)
        self.zero_output_for_mask = bool(zero_output_for_mask)
        self.states = None

    @property
    def cells(self) -> list[Any]:
        """The cells, from the input to the output."""
        return _flat_cells(self.cell)

    @property
    def inner_layers(self) -> list[Layer]:
        return [self.cell] if isinstance(self.cell, Layer) else []

    def state_widths(self) -> list[int]:
        return state_widths(self.cell)

    def build(self, input_shape: Any) -> None:
        check_sequence_shape(self, input_shape)
        if hasattr(self.cell, "build"):
            self.cell.build((input_shape[0], input_shape[-1]))
        self._trace_cells(int(input_shape[-1]))

    def _trace_cells(self, features: int) -> None:
        """Let layers inside cells of one's own be built."""
        for cell in self.cells:
            if isinstance(cell, Layer) and cell.overrides_call:
                widths = [features, *state_widths(cell)]
                x, *states = [entry(f"{cell.name}_{k}", (None, width), cell.dtype) for k, width in enumerate(widths)]
                call_cell(cell, x, states, False)
            features = output_size(cell)

    def sample_masks(self, batch: int, timesteps: int, *, training: bool = True) -> list[Any]:
        """Draw the dropout masks of one call: a `DropoutMasks` or None for each cell."""
        return [
            None if is_custom(cell) else cell.sample_masks(batch, timesteps, training=training) for cell in self.cells
        ]

    def forward(
        self,
        x: Array,
        *,
        mask: Any = None,
        training: bool = False,
        keep: bool = False,
        initial_state: Any = None,
        lengths: Any = None,
        dropout_masks: Any = None,
        return_masks: bool = False,
        reset: Any = None,
        **call: Any,
    ) -> tuple[Any, Pullback | None]:
        """Outputs, as `SequenceLayer` says; the second result is the pullback."""
        cells, last = self.cells, len(self.cells) - 1
        mask = check_validity(self.name, x.shape[0], x.shape[1], mask, lengths)
        reset = None if reset is None else check_reset(self.name, x.shape[:2], reset)
        given = self._by_cell(self.start(initial_state, len(x)), "`initial_state`")
        chosen = [None] * len(cells) if dropout_masks is None else dropout_masks
        if not isinstance(chosen, (list, tuple)) or len(chosen) != len(cells):
            raise TypeError(f"{self.name}: `dropout_masks` must be a list with an entry for each of {len(cells)} cells")
        states: list[Array] = []
        masks: list[Any] = []
        backs: list[Back] = []
        for k, cell in enumerate(cells):
            run_over = _run_custom if is_custom(cell) else _run_known
            x, after, drawn, back = run_over(
                cell,
                x,
                mask=mask,
                initial_state=given[k],
                training=training,
                keep=keep,
                go_backwards=self.go_backwards,
                return_sequences=self.return_sequences or k < last,
                zero_output_for_mask=self.zero_output_for_mask,  # of no matter below the last cell
                dropout_masks=chosen[k],
                reset=reset,
            )
            if self.go_backwards and k < last:
                x = x[:, ::-1]  # the next cell turns it again
            states += after
            masks.append(drawn)
            backs.append(back)
        self.carry(states)
        y: Any = [x, *states] if self.return_state else x
        pullback = self._pullback(backs, len(states)) if keep else None
        return ((y, masks) if return_masks else y), pullback

    def _pullback(self, backs: list[Back], state_count: int) -> Pullback:
        def pullback(dy: Any, *, need_dx: bool = True) -> Gradients:
            dstates: list[Any] = []
            if self.return_state:
                dy, *dstates = check_gradients(self.name, dy, 1 + state_count)
            given = self._by_cell(dstates or None, "the gradient")
            dweights: list[Any] = []
            dinitial: list[Any] = []
            for k in range(len(backs) - 1, -1, -1):
                if self.go_backwards and k < len(backs) - 1 and dy is not None:
                    dy = dy[:, ::-1]
                grads = backs[k](dy, given[k], need_dx or k > 0)
                own = grads.dinitial_state
                dinitial = (list(own) if isinstance(own, (list, tuple)) else [own]) + dinitial
                dweights = list(grads.dweights) + dweights
                dy = grads.dx
            if not self.trainable:
                dweights = [None] * len(dweights)
            return Gradients(dy if need_dx else None, dweights, tuple(dinitial))

        return pullback

    @property
    def gives_lists(self) -> bool:
        """Whether a call gives the states of each cell in a list of its own."""
        return self.return_state and isinstance(self.cell, StackedRNNCells)

    def by_cell(self, y: list[Any]) -> list[Any]:
        return [y[0], *as_cells_say(self.cell, y[1:])]

    def flat_again(self, dy: list[Any]) -> list[Any]:
        return [dy[0], *in_one_list(self.cell, dy[1:])] if len(dy) == 1 + len(self.cell.cells) else dy

    def reset_states(self, states: Any = None) -> None:
        """Forget the state of a stateful layer, or set it: in one list, or with a list for each cell."""
        super().reset_states(None if states is None else leaves(states))

    def _by_cell(self, states: Any, what: str) -> list[list[Any] | None]:
        """A list of states (of arrays, or of lists of them) as one list for each cell."""
        counts = [len(state_widths(cell)) for cell in self.cells]
        if states is None:
            return [None] * len(counts)
        parts = leaves(states)
        if len(parts) != sum(counts):
            raise ValueError(f"{self.name}: {what} must have {sum(counts)} part(s), got {len(parts)}")
        ends = np.cumsum([0, *counts])
        return [parts[a:b] for a, b in zip(ends[:-1], ends[1:], strict=True)]

    def compute_output_shape(self, input_shape: Any) -> Any:
        first = self.cells[0]
        known = first.weights[0].shape[0] if isinstance(first, Cell) and first.built else None
        check_sequence_shape(self, input_shape, known)
        batch, timesteps = input_shape[0], input_shape[1]
        width = output_size(self.cells[-1])
        output = (batch, timesteps, width) if self.return_sequences else (batch, width)
        if not self.return_state:
            return output
        states = [(batch, size) for size in self.state_widths()]
        return [output, *(as_cells_say(self.cell, states) if self.gives_lists else states)]

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        output = mask if self.return_sequences else None
        return [output] + [None] * len(self.state_widths()) if self.return_state else output

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "cell": cell_config(self.cell),
            **{name: getattr(self, name) for name in FLAGS},
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(**{**config, "cell": layer_from_config(config["cell"])})


def _flat_cells(cell: Any) -> list[Any]:
    if isinstance(cell, StackedRNNCells):
        return [part for inner in cell.cells for part in _flat_cells(inner)]
    return [cell]


def _run_known(cell: Cell, x: Array, *, keep: bool, **options: Any) -> CellRun:
    """Run a cell of this package over the whole sequence."""
    run, masks = cell.run(x, keep=keep, **options)

    def back(dy: Any, dstates: Any, need_dx: bool) -> Gradients:
        dstate = None if dstates is None else tuple(None if d is None else cell.cast(d) for d in dstates)
        dy = None if dy is None else cell.cast(dy)
        grads = cell.core.backward(run.cache, dy, dstate, need_dx=need_dx, need_dparams=cell.trainable)
        return Gradients(grads.dx, cell.weight_gradients(grads.dparams), grads.dinitial_state)

    return run.outputs, list(run.state) if isinstance(run.state, tuple) else [run.state], masks, back


def _run_custom(
    cell: Any,
    x: Array,
    *,
    mask: Any,
    initial_state: Any,
    training: bool,
    keep: bool,
    go_backwards: bool,
    return_sequences: bool,
    zero_output_for_mask: bool,
    dropout_masks: Any,
    reset: Array | None,
) -> CellRun:
    """Run a cell of one's own step by step."""
    batch, timesteps, _ = x.shape
    if dropout_masks is not None:
        raise TypeError(f"cell {type(cell).__name__} draws its own noise: its entry of `dropout_masks` must be None")
    state = zero_state(cell, batch, x.dtype) if initial_state is None else list(initial_state)
    state = [np.asarray(part, x.dtype) for part in state]
    shapes = [(batch, width) for width in state_widths(cell)]
    if [part.shape for part in state] != shapes:
        raise ValueError(
            f"cell {type(cell).__name__}: `initial_state` must have shapes {shapes}, got {[s.shape for s in state]}"
        )
    outputs = np.zeros((batch, timesteps, output_size(cell)), x.dtype)
    emitted = np.zeros((batch, output_size(cell)), x.dtype)
    tape: list[tuple[int, Any, Any, Any]] = []
    start = zero_state(cell, batch, x.dtype) if reset is not None else []
    for position in range(timesteps):
        t = timesteps - 1 - position if go_backwards else position
        fresh = None
        if reset is not None and (position or not go_backwards):  # backwards, a part ends where it began
            fresh = reset[:, t + go_backwards, None]
            state = [np.where(fresh, np.asarray(new, x.dtype), old) for new, old in zip(start, state, strict=True)]
            emitted = np.where(fresh, np.zeros_like(emitted), emitted)
        use = None if mask is None else mask[:, t, None]
        step = x[:, t] if use is None else np.where(use, x[:, t], 0)  # padding may hold anything
        (h, after), cell_back = _vjp_cell(cell, step, state, training, keep)
        after = after if isinstance(after, (list, tuple)) else [after]
        if use is None:
            emitted, state = h, list(after)
        else:
            emitted = np.where(use, h, np.zeros_like(h) if zero_output_for_mask else emitted)
            state = [np.where(use, new, old) for new, old in zip(after, state, strict=True)]
        outputs[:, position] = emitted
        tape.append((t, use, fresh, cell_back))
    y = outputs if return_sequences else outputs[:, -1].copy() if timesteps else emitted

    def back(dy: Any, dstates: Any, need_dx: bool) -> Gradients:
        if dy is not None:
            dy = np.asarray(dy, x.dtype)
            if dy.shape != y.shape:
                raise ValueError(f"RNN: the gradient must have the shape of the output {y.shape}, got {dy.shape}")
        dstate = [
            np.zeros_like(s) if dstates is None or dstates[k] is None else np.asarray(dstates[k], x.dtype)
            for k, s in enumerate(state)
        ]
        dx, carried = np.zeros_like(x), np.zeros_like(emitted)
        weights = len(cell.weights) if isinstance(cell, Layer) else 0
        dweights: list[Any] = [None] * weights
        for position in range(timesteps - 1, -1, -1):
            t, use, fresh, cell_back = tape[position]
            dh = carried  # from the masked steps behind, which repeat this output
            if dy is not None and return_sequences:
                dh = dh + dy[:, position]
            elif dy is not None and position == timesteps - 1:
                dh = dh + dy
            if use is None:
                grads = cell_back(dh, dstate)
                dstate = _listed(grads.dinitial_state)
                dx[:, t], carried = grads.dx, np.zeros_like(emitted)
            else:
                carried = np.zeros_like(dh) if zero_output_for_mask else np.where(use, 0, dh)
                grads = cell_back(np.where(use, dh, 0), [np.where(use, d, 0) for d in dstate])
                old = _listed(grads.dinitial_state)
                dstate = [np.where(use, d, kept) for d, kept in zip(old, dstate, strict=True)]
                dx[:, t] = np.where(use, grads.dx, 0)
            if fresh is not None:
                carried = np.where(fresh, 0, carried)
                dstate = [np.where(fresh, 0, d) for d in dstate]
            if weights:
                dweights = [_sum(a, b) for a, b in zip(dweights, grads.dweights, strict=True)]
        return Gradients(dx if need_dx else None, dweights, tuple(dstate))

    return y, state, None, back


def _vjp_cell(cell: Any, x: Array, states: Any, training: bool, keep: bool) -> tuple[tuple[Any, Any], Any]:
    """Advance a cell of one's own by one step, differentiably if it is wanted and the cell can."""
    if not keep:
        return call_cell(cell, x, states, training), None
    if isinstance(cell, Layer) and cell.overrides_call:
        return _vjp_traced(cell, x, states, training)
    if getattr(cell, "vjp", None) is None or getattr(type(cell), "vjp", None) is Layer.vjp:
        return call_cell(cell, x, states, training), _refuse_gradient(cell)
    result: tuple[tuple[Any, Any], Any] = cell.vjp(
        x, states, **({"training": training} if takes_training(cell.vjp) else {})
    )
    return result


def _vjp_traced(cell: Any, x: Array, states: Any, training: bool) -> tuple[tuple[Any, Any], Any]:
    """The same of a cell whose ``call`` is traced."""
    y, pullback = cell.vjp(x, states, training=training)

    def back(dy: Any, dstates: Any) -> Gradients:
        grads = pullback((dy, list(dstates)))
        return Gradients(grads.dx[0], grads.dweights, tuple(grads.dx[1:]))

    return y, back


def _refuse_gradient(cell: Any) -> Callable[..., Gradients]:
    def back(*_: Any) -> Gradients:
        raise TypeError(f"cell {type(cell).__name__} has no `vjp(x, states)`: it can be run but not trained")

    return back


def _listed(states: Any) -> list[Any]:
    return list(states) if isinstance(states, (list, tuple)) else [states]


def _sum(a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else a + b
