"""The operators LSTM, GRU and RNN on rnnx' engine, and on NumPy where the engine lacks an option."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnx._cells import CELLS
from rnnx._typing import Array
from rnnx.activations import get as get_activation
from rnnx.formats.onnx._activations import GateActivation, gate_activations
from rnnx.formats.onnx._cells import NumpyCell
from rnnx.formats.onnx._node import NodeInfo, Operator
from rnnx.formats.onnx._sizes import measure
from rnnx.formats.onnx._weights import to_keras
from rnnx.functional import GRUParams, LSTMParams, RNNParams, gru, lstm, simple_rnn
from rnnx.saving import FormatError

GATES = {cell.elsewhere: cell.gates for cell in CELLS.values()}
CORES = {"LSTM": lstm, "GRU": gru, "RNN": simple_rnn}
DEFAULT_ACTIVATIONS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
KNOWN = {
    "activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size", "input_forget", "layout",
    "linear_before_reset", "output_sequence",
}  # fmt: skip


@dataclass(frozen=True)
class Options:
    """Attributes of a recurrent operator, checked.

    Attributes
    ----------
    kind : {"LSTM", "GRU", "RNN"}
    reverse : tuple of bool
        For each direction whether it goes backwards.
    activations : tuple of tuples of GateActivation
        For each direction.
    hidden : int or None
        ``hidden_size`` if it is given.
    clip : float or None
    input_forget, linear_before_reset, batch_first : bool
    """

    kind: str
    reverse: tuple[bool, ...]
    activations: tuple[tuple[GateActivation, ...], ...]
    hidden: int | None = None
    clip: float | None = None
    input_forget: bool = False
    linear_before_reset: bool = False
    batch_first: bool = False

    @classmethod
    def read(cls, kind: str, attributes: dict[str, Any]) -> Options:
        """From the attributes of a node.

        Raises
        ------
        FormatError
            If one is unknown or does not fit.
        """
        if unknown := sorted(set(attributes) - KNOWN):
            raise FormatError(f"unknown attribute(s) {', '.join(unknown)[:200]}")
        direction = str(attributes.get("direction", "forward")).lower()
        if direction not in DIRECTIONS:
            raise FormatError(f"direction must be one of {', '.join(DIRECTIONS)}, got {direction!r}")
        reverse = DIRECTIONS[direction]
        each = len(DEFAULT_ACTIVATIONS[kind])
        names = [str(n) for n in attributes.get("activations", [])] or DEFAULT_ACTIVATIONS[kind] * len(reverse)
        if len(names) != each * len(reverse):
            raise FormatError(f"there must be {each * len(reverse)} activations, got {len(names)}")
        found = gate_activations(
            names, list(attributes.get("activation_alpha", [])), list(attributes.get("activation_beta", []))
        )
        hidden = attributes.get("hidden_size")
        layout = attributes.get("layout", 0)
        if layout not in (0, 1):
            raise FormatError(f"layout must be 0 or 1, got {layout!r}")
        clip = attributes.get("clip")
        if clip is not None and not clip >= 0:
            raise FormatError(f"clip must not be negative, got {clip!r}")
        return cls(
            kind,
            reverse,
            tuple(tuple(found[k * each : (k + 1) * each]) for k in range(len(reverse))),
            None if hidden is None else int(hidden),
            None if not clip else float(clip),  # 0 stands for no bound, as in ONNX Runtime
            bool(attributes.get("input_forget", 0)),
            bool(attributes.get("linear_before_reset", 0)),
            bool(layout),
        )


class Direction:
    """One direction of an operator with its weights laid out for the engine, or for NumPy.

    Parameters
    ----------
    options : Options
    number : int
    w, r : arrays of shape (gates*hidden, features) and (gates*hidden, hidden)
    b : array of shape (2*gates*hidden,) or None
    p : array of shape (3*hidden,) or None
    """

    def __init__(self, options: Options, number: int, w: Array, r: Array, b: Array | None, p: Array | None):
        self.kind, self.reverse = options.kind, options.reverse[number]
        self.core = CORES[options.kind]
        activations = options.activations[number]
        names = [activation.rnnx_name() for activation in activations]
        plain = None in names
        if options.kind == "LSTM" and names[1] != names[2]:
            plain = True
        self.cell: NumpyCell | None = None
        if plain:
            bias = np.zeros(2 * len(r), w.dtype) if b is None else b
            pair = (bias[: len(r)], bias[len(r) :])
            self.cell = NumpyCell(
                options.kind, w, r, pair, p, activations, options.clip, options.input_forget,
                options.linear_before_reset,
            )  # fmt: skip
            return
        self.params = _params(options, w, r, b, p, [str(name) for name in names])
        self.packed = self.core.pack(self.params)

    def run(
        self, x: Array, lengths: Array | None, h: Array | None, c: Array | None, out: Array | None
    ) -> tuple[Array, Array | None]:
        """Final states; the outputs go into ``out``.

        Parameters
        ----------
        x : array of shape (batch, timesteps, features)
        lengths : int array of shape (batch,) or None
        h, c : arrays of shape (batch, hidden) or None for zeros
        out : array of shape (batch, timesteps, hidden), or None if the outputs are not wanted
        """
        if self.cell is not None:
            return self._run_cell(self.cell, x, lengths, h, c, out)
        _, *last = self.engine(
            x, h, c, lengths, out is not None, out if out is None or not self.reverse else out[:, ::-1]
        )
        if lengths is not None and (h is not None or c is not None) and not lengths.all():
            some = (lengths > 0)[:, None]  # a row without steps ends in zeros, as in ONNX Runtime
            last = [None if part is None else np.where(some, part, np.zeros((), x.dtype)) for part in last]
        return last[0], last[1]

    def engine(
        self, x: Array, h: Array | None, c: Array | None, lengths: Array | None, sequences: bool, out: Any = None
    ) -> Any:
        """Outputs, in the order of the steps unless they go into ``out``, and final states, of a call of the engine."""
        state: Any = None
        if h is not None or c is not None:
            hidden = self.packed.units
            h = np.zeros((len(x), hidden), x.dtype) if h is None else h
            state = h
            if self.kind == "LSTM":
                state = (h, np.zeros((len(x), hidden), x.dtype) if c is None else c)
        run = self.core.forward(
            self.params, x, initial_state=state, lengths=lengths, go_backwards=self.reverse, out=out,
            return_sequences=sequences, zero_output_for_mask=True, packed=self.packed,
        )  # fmt: skip
        y = run.outputs[:, ::-1] if self.reverse and out is None and sequences else run.outputs
        return (y, *run.state) if isinstance(run.state, tuple) else (y, run.state, None)

    def _run_cell(
        self, cell: NumpyCell, x: Array, lengths: Array | None, h: Array | None, c: Array | None, out: Array | None
    ) -> tuple[Array, Array | None]:
        zeros = np.zeros((len(x), cell.recurrent.shape[1]), x.dtype)
        c = (zeros if c is None else c) if self.kind == "LSTM" else None
        with np.errstate(all="ignore"):
            y, h, c = cell.run(x.swapaxes(0, 1), lengths, zeros if h is None else h, c, self.reverse)
        if out is not None:
            out[...] = y.swapaxes(0, 1)
        return h, c


def _params(options: Options, w: Array, r: Array, b: Array | None, p: Array | None, names: list[str]) -> Any:
    """Weights as rnnx has them."""
    clip = options.clip
    after = options.linear_before_reset and options.kind == "GRU"
    kernel, recurrent, *rest = to_keras(options.kind, w, r, b, after)
    bias = rest[0] if rest else None
    known = [get_activation(name) for name in names]
    if options.kind == "GRU":
        return GRUParams(kernel, recurrent, bias, known[1], known[0], after, clip)
    if options.kind == "LSTM":
        if p is not None:
            of_i, of_o, of_f = np.split(p, 3)
            p = np.concatenate([of_i, of_f, of_o])
        return LSTMParams(kernel, recurrent, bias, known[1], known[0], p, clip, options.input_forget)
    return RNNParams(kernel, recurrent, bias, known[0], clip)


class Recurrent:
    """A recurrent operator, to be called with its inputs in ONNX' order (None for those that are missing).

    Parameters
    ----------
    options : Options
    wanted : tuple of bool
        Which of the outputs Y, Y_h, Y_c are used.
    w, r, b, p : arrays or None
        Those that are constants of the graph: with ``w`` and ``r`` given the weights are packed here, once.
    who : str
        For error messages.

    References
    ----------
    .. [1] https://onnx.ai/onnx/operators/onnx__LSTM.html, GRU and RNN beside it.
    """

    def __init__(
        self,
        options: Options,
        wanted: tuple[bool, ...],
        w: Array | None = None,
        r: Array | None = None,
        b: Array | None = None,
        p: Array | None = None,
    ):
        self.options, self.wanted = options, (*wanted, False, False, False)[:3]
        self.fixed: list[Direction] | None = None
        if w is not None and r is not None:
            self.fixed = self._directions(w, r, b, p)

    def _directions(self, w: Array, r: Array, b: Array | None, p: Array | None) -> list[Direction]:
        options = self.options
        many, gates = len(options.reverse), GATES[options.kind]
        if r.ndim != 3 or w.ndim != 3:
            raise FormatError(f"W and R must have three axes, got shapes {w.shape} and {r.shape}")
        hidden = r.shape[2]
        if hidden < 1 or (options.hidden is not None and options.hidden != hidden):
            raise FormatError(f"hidden_size is {options.hidden}, but R has the shape {r.shape}")
        wanted = {
            "W": (w, (many, gates * hidden, w.shape[2])),
            "R": (r, (many, gates * hidden, hidden)),
            "B": (b, (many, 2 * gates * hidden)),
            "P": (p, (many, 3 * hidden)),
        }
        for name, (array, shape) in wanted.items():
            if array is not None and array.shape != shape:
                raise FormatError(f"{name} must have the shape {shape}, got {array.shape}")
        dtype = _computed(w.dtype)

        def of_direction(array: Array, k: int) -> Array:
            return array[k].astype(dtype, copy=False)

        return [
            Direction(
                options,
                k,
                of_direction(w, k),
                of_direction(r, k),
                None if b is None else of_direction(b, k),
                None if p is None else of_direction(p, k),
            )
            for k in range(many)
        ]

    def __call__(
        self,
        x: Array,
        w: Array | None = None,
        r: Array | None = None,
        b: Array | None = None,
        lengths: Array | None = None,
        h: Array | None = None,
        c: Array | None = None,
        p: Array | None = None,
    ) -> Any:
        directions = self.fixed
        if directions is None:
            if w is None or r is None:
                raise FormatError("W and R are needed")
            directions = self._directions(w, r, b, p)
        if x.ndim != 3:
            raise FormatError(f"X must have three axes, got shape {x.shape}")
        if lengths is None and len(directions) == 1 and directions[0].cell is None and 1 in x.shape[:2]:
            direction = directions[0]
            if x.dtype is direction.packed.dtype and x.shape[2] == direction.packed.features:
                return self._one(direction, x, h, c)
        dtype = x.dtype
        if dtype != (inner := _computed(dtype)):
            x = x.astype(inner)
            h, c = (None if part is None else part.astype(inner) for part in (h, c))
        first = self.options.batch_first
        x = x if first else x.swapaxes(0, 1)
        batch, steps, _ = x.shape
        many, hidden = len(directions), self._hidden(directions[0])
        if lengths is not None:
            lengths = self._lengths(lengths, batch, steps)
        states = [self._state(part, many, batch, hidden, name) for part, name in ((h, "initial_h"), (c, "initial_c"))]
        y: Array | None = None
        if self.wanted[0]:
            y = np.empty((batch, steps, many, hidden) if first else (steps, many, batch, hidden), inner)
        ends: list[tuple[Array, Array | None]] = []
        for k, direction in enumerate(directions):
            out = None
            if y is not None:
                out = y[:, :, k] if first else y[:, k].swapaxes(0, 1)
            start_h, start_c = (None if state is None else state[k] for state in states)
            ends.append(direction.run(x, lengths, start_h, start_c, out))
        results: list[Any] = [y]
        for part in range(2):
            if self.wanted[1 + part]:
                both = [state for end in ends if (state := end[part]) is not None]
                stacked = both[0][None] if many == 1 else np.stack(both)
                results.append(stacked.swapaxes(0, 1) if first else stacked)
            else:
                results.append(None)
        if dtype != inner:
            results = [None if part is None else part.astype(dtype) for part in results]
        return tuple(results)

    def _one(self, direction: Direction, x: Array, h: Array | None, c: Array | None) -> Any:
        """One direction on the engine, of one row or one step, whose outputs lie alike in either order of the axes."""
        first = self.options.batch_first
        x = x if first else x.swapaxes(0, 1)
        batch, steps, _ = x.shape
        hidden = direction.packed.units
        h = self._state(h, 1, batch, hidden, "initial_h")
        c = self._state(c, 1, batch, hidden, "initial_c")
        all_outputs, end_h, end_c = self.wanted
        y, last_h, last_c = direction.engine(
            x, None if h is None else h[0], None if c is None else c[0], None, all_outputs
        )
        shape = (batch, 1, hidden) if first else (1, batch, hidden)
        return (
            y.reshape((batch, steps, 1, hidden) if first else (steps, 1, batch, hidden)) if all_outputs else None,
            last_h.reshape(shape) if end_h else None,
            last_c.reshape(shape) if end_c and last_c is not None else None,
        )

    def _hidden(self, direction: Direction) -> int:
        cell = direction.cell
        return int(cell.recurrent.shape[1] if cell is not None else direction.params.recurrent_kernel.shape[0])

    def _lengths(self, lengths: Array, batch: int, steps: int) -> Array | None:
        if lengths.shape != (batch,) or lengths.dtype.kind not in "iu":
            raise FormatError(f"sequence_lens must be {batch} integers, got {lengths.dtype} of shape {lengths.shape}")
        if batch and (lengths.min() < 0 or lengths.max() > steps):
            raise FormatError(f"sequence_lens must lie in 0..{steps}, got {lengths.min()}..{lengths.max()}")
        return None if (lengths == steps).all() else lengths

    def _state(self, state: Array | None, many: int, batch: int, hidden: int, name: str) -> Array | None:
        if state is None:
            return None
        if self.options.batch_first:
            state = state.swapaxes(0, 1)
        if state.shape != (many, batch, hidden):
            raise FormatError(f"{name} must hold states of shape {(many, batch, hidden)}, got {state.shape}")
        return state


def _computed(dtype: Any) -> Any:
    """The type that a network of this type is computed in: half precision in float32."""
    return np.dtype(np.float64) if dtype == np.float64 else np.dtype(np.float32)


# ---- What they take --------------------------------------------------------------------------------------------------


def _extents(info: NodeInfo, x: Array, r: Any) -> tuple[int, int, int]:
    """Rows of all directions, steps, and units; zeros for what will be refused."""
    if r is None or x.ndim != 3 or r.ndim != 3:
        return 0, 0, 0
    batch, steps = x.shape[:2] if info.attributes.get("layout", 0) else x.shape[1::-1]
    return max(1, batch) * len(r), max(1, steps), r.shape[2]


def outputs_bytes(rows: int, steps: int, units: int, itemsize: int) -> int:
    """Bytes of the outputs of so many steps, and of two states."""
    return rows * (steps + 2) * units * max(4, itemsize)


def _result(info: NodeInfo, x: Array, w: Any = None, r: Any = None, *rest: Any) -> int:
    return outputs_bytes(*_extents(info, x, r), x.itemsize)


def _workspace(info: NodeInfo, x: Array, w: Any = None, r: Any = None, *rest: Any) -> int:
    """The input in another order and type; weights that are no constants in the engine's order, which is one of tiles;
    in NumPy the products of all steps with the input."""
    rows, steps, units = _extents(info, x, r)
    weights = 0 if {1, 2} <= set(info.constants) else 6 * (measure(w) + measure(r))
    outputs = _gates(info) * outputs_bytes(rows, steps, units, x.itemsize)
    return 2 * max(1, 4 // x.itemsize) * measure(x) + weights + outputs


def _gates(info: NodeInfo) -> int:
    """How often the outputs of all steps are held beside them: in NumPy three times for each gate."""
    return 3 * GATES[info.operator] if info.attributes.get("activations") else 1


def _work(info: NodeInfo, x: Array, w: Any = None, r: Any = None, *rest: Any) -> int:
    """Ten multiplications take a nanosecond, and every step some, in NumPy many."""
    rows, steps, units = _extents(info, x, r)
    products = rows * steps * GATES[info.operator] * units * ((x.shape[2] if x.ndim == 3 else 0) + units)
    return products // 10 + steps * (1_000 if _gates(info) == 1 else 50_000)


def recurrent(info: NodeInfo) -> Recurrent:
    """A node as a function, with its weights packed if they are constants."""
    options = Options.read(info.operator, info.attributes)
    weights = {"w": 1, "r": 2, "b": 3, "p": 7}
    if not all(place in info.constants or not info.has(place) for place in weights.values()):
        return Recurrent(options, info.outputs)
    return Recurrent(options, info.outputs, *(info.constants.get(place) for place in weights.values()))


OPERATORS = tuple(Operator(kind, recurrent, _result, _workspace, _work, several=True, quiet=True) for kind in GATES)
