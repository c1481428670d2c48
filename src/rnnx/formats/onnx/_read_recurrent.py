"""LSTM, GRU and RNN as layers: the mirror of `_write_recurrent`.

Which layer a node is depends on what the graph makes of its outputs: all of them or the last step, the directions side
by side or apart, the final states. So they are followed to their readers before the layer is made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnx import layers, ops
from rnnx.formats.onnx._axes import own_axis, taken
from rnnx.formats.onnx._file import attributes_of, called
from rnnx.formats.onnx._reading import FLOATS, NoLayer, Reading, spelled
from rnnx.formats.onnx._recurrent import GATES, Options
from rnnx.formats.onnx._view import DIRECTIONS, ONE, Axes, Size, View, view_of
from rnnx.formats.onnx._weights import to_keras
from rnnx.saving import FormatError

CLASSES = {"LSTM": layers.LSTM, "GRU": layers.GRU, "RNN": layers.SimpleRNN}
MERGES = {"Concat": "concat", "Add": "sum", "Mul": "mul"}


@dataclass(frozen=True)
class Use:
    """What becomes of an output of a recurrent node.

    Attributes
    ----------
    node : NodeProto or None
        The node that reads it; None if it is an output of the graph.
    name : str
        The value that is read.
    axes : str
        Letters for its axes: d(irections), t(ime), b(atch), f(eatures).
    side : int or None
        Which direction it is, if one was taken.
    """

    node: Any
    name: str
    axes: str
    side: int | None = None


def _uses(reading: Reading, name: str, axes: str, many: int) -> list[Use]:
    """The readers of an output, behind nodes that only order its axes or take one direction."""
    found: list[Use] = []
    pending = [Use(None, name, axes)]
    while pending:
        use = pending.pop()
        if use.name in reading.ends:
            found.append(use)
        for node in reading.uses.get(use.name, ()):
            after = _ordered(reading, node, use, many)
            if after is None:
                found.append(Use(node, use.name, use.axes, use.side))
            else:
                pending.append(after)
    return found


def _ordered(reading: Reading, node: Any, use: Use, many: int) -> Use | None:
    """The output of a node that only orders axes, drops that of a single direction, or takes one; None of another."""
    output, axes, attributes = node.output[0], use.axes, attributes_of(node)
    if node.op_type == "Identity":
        return Use(None, output, axes, use.side)
    if node.op_type == "Transpose":
        perm = attributes.get("perm", list(range(len(axes)))[::-1])
        if sorted(perm) != list(range(len(axes))):
            return None
        return Use(None, output, "".join(axes[k] for k in perm), use.side)
    place = axes.find("d")
    if place < 0:
        return None
    if node.op_type == "Squeeze" and many == 1:
        dropped = attributes.get("axes")
        if dropped is None and len(node.input) > 1 and node.input[1]:
            dropped = reading.known.get(node.input[1])
        if dropped is None or [int(k) % len(axes) for k in np.reshape(dropped, -1)] != [place]:
            return None
        return Use(None, output, axes.replace("d", ""), use.side)
    if node.op_type == "Gather" and node.input[0] == use.name and attributes.get("axis", 0) % len(axes) == place:
        index = reading.known.get(node.input[1])
        if index is None or index.ndim or not -many <= int(index) < many:
            return None
        return Use(None, output, axes.replace("d", ""), int(index) % many)
    return None


def _is_last_step(reading: Reading, use: Use, reverse: bool) -> bool:
    """Whether a use takes the step that the layer computes last."""
    node = use.node
    if node is None or node.op_type != "Gather" or node.input[0] != use.name or "t" not in use.axes:
        return False
    index = reading.known.get(node.input[1])
    axis = attributes_of(node).get("axis", 0) % len(use.axes)
    return index is not None and not index.ndim and use.axes[axis] == "t" and int(index) == (0 if reverse else -1)


def _merge_mode(uses: list[Use]) -> tuple[str | None, Use | None]:
    """How the two directions are joined where they are only joined, and the use that does it if it is a node for both.

    None stands for directions that are used apart.
    """
    if uses and all(use.side is None and use.node is not None and use.node.op_type == "Reshape" and "df" in use.axes
                    for use in uses):  # fmt: skip
        return "concat", None
    if len(uses) != 2 or {use.side for use in uses} != {0, 1} or uses[0].axes != uses[1].axes:
        return None, None
    first, second = sorted(uses, key=lambda use: use.side or 0)
    node = first.node
    if node is None or second.node is None or list(node.input) != [first.name, second.name]:
        return None, None
    mode = MERGES.get(node.op_type)
    if mode == "concat" and attributes_of(node)["axis"] % len(first.axes) != first.axes.index("f"):
        return None, None
    return (mode, first) if second.node.output[0] == node.output[0] else (None, None)


def _is_halved(reading: Reading, name: str) -> bool:
    """Whether a value is only used to be divided by two."""
    node = reading.only_reader(name)
    return node is not None and node.op_type == "Div" and node.input[0] == name and reading.number(node.input[1]) == 2


@dataclass(frozen=True)
class Entry:
    """The input of a recurrent node.

    Attributes
    ----------
    tensor : SymbolicTensor of shape (batch, timesteps, features), or with a second axis of the batch
    view : View
    letters : dict
        For b, t and f the axes of a value whose axes they are.
    names : list of str
        Of the sizes of the batch and the timesteps.
    """

    tensor: Any
    view: View
    letters: dict[str, tuple[int, ...]]
    names: list[str]


def _entry(reading: Reading, node: Any, options: Options) -> Entry:
    view = reading.tensor(node, 0)
    if view.rank != 3:
        raise NoLayer(f"{called(node)} takes three axes, got {view.rank}")
    letters = "btf" if options.batch_first else "tbf"
    entry = view.axes[letters.index("b")]
    if reading.batchless and len(entry) == 1 and view.size_of(entry[0]) == ONE:  # one row
        view = taken(reading, view, letters.index("b"), entry[0], 0)
    by_letter = dict(zip(letters, view.axes, strict=True))
    batch, time, features = (by_letter[letter] for letter in "btf")
    if reading.batchless and not batch and time[:2] == (0, 1):  # in place of the rows of a batch that the graph has not
        batch, time = (0,), time[1:]
    wanted: Axes = (*((k,) for k in batch), (len(batch),), (len(batch) + 1,))
    if batch not in ((0,), (0, 1)):
        order = "(batch, timesteps, features)" if options.batch_first else "(timesteps, batch, features)"
        raise NoLayer(f"{called(node)} takes {order}, but the axes are {spelled(view)}")
    found: Axes = (*((k,) for k in batch), time, features)
    own = {"b": batch, "t": wanted[-2], "f": wanted[-1]}
    if found == wanted:
        return Entry(view.single, view, own, list(view.names[:-1]))
    turned = reading.in_order(view.moved(found))
    return Entry(turned.single, turned, own, list(turned.names[:-1]))


def _cell(options: Options, node: Any, w: Any, r: Any, b: Any) -> dict[str, Any]:
    """Arguments of the layer, apart from what it returns.

    Raises
    ------
    NoLayer
        If no layer of rnnx computes this.
    """
    many, gates, hidden = len(options.reverse), GATES[options.kind], r.shape[-1]
    shapes = [(many, gates * hidden, w.shape[-1]), (many, gates * hidden, hidden), (many, 2 * gates * hidden)]
    if [w.shape, r.shape] != shapes[:2] or (b is not None and b.shape != shapes[2]) or not hidden:
        raise NoLayer(f"{called(node)} has weights of shapes {w.shape} and {r.shape}")
    if options.hidden not in (None, hidden):
        raise NoLayer(f"{called(node)}: hidden_size is {options.hidden}, but R has the shape {r.shape}")
    if w.dtype not in FLOATS:
        raise NoLayer(f"{called(node)} has weights of type {w.dtype}")
    if options.clip is not None or options.input_forget:
        raise NoLayer(f"{called(node)} has clip or input_forget, which no layer has")
    names = [activation.rnnx_name() for activation in options.activations[0]]
    if None in names or options.activations[0] != options.activations[-1]:
        raise NoLayer(f"{called(node)} has activations that no layer has")
    if options.kind == "LSTM" and names[1] != names[2]:
        raise NoLayer(f"{called(node)} has different activations of candidate and output")
    found = {"units": hidden, "use_bias": b is not None, "dtype": str(w.dtype), "activation": names[0]}
    if options.kind != "RNN":
        found.update(activation=names[1], recurrent_activation=names[0])
    if options.kind == "GRU":
        found["reset_after"] = options.linear_before_reset
    return found


def _initial(reading: Reading, node: Any, options: Options) -> list[Any] | None:
    """Initial states in rnnx' order; None if they are zeros."""
    many, count = len(options.reverse), 2 if options.kind == "LSTM" else 1
    names = [*node.input, *[""] * 8][5 : 5 + count]
    zeros = [not name or reading.is_zero(name) for name in names]
    if all(zeros):
        return None
    if any(zeros) or any(name in reading.known for name in names):
        raise NoLayer(f"{called(node)} has initial states that are constant and not zeros, or only one of them")
    wanted: Axes = ((), (0,), (1,)) if many == 1 else ((DIRECTIONS,), (0,), (1,))
    if options.batch_first:
        wanted = (wanted[1], wanted[0], wanted[2])
    states = []
    for place, _ in enumerate(names, 5):
        view = reading.view(node, place)
        if many > 1 and view.single is not None and view.width == 3:
            view = _one_by_one(reading, node, view, view.axes.index((1,)) if (1,) in view.axes else 0)
        if many == 1:
            for k, entry in enumerate(view.axes):
                if entry and entry != (0,) and wanted[k] == ():  # the axis of directions, of size 1
                    view, own = own_axis(reading, node, view, k)
                    view = taken(reading, view, k, own, 0) if own is not None and view.size_of(own) == ONE else view
        if view.axes != wanted or view.width != 2 or len(view.tensors) != many or view.flipped:
            raise NoLayer(f"{called(node)} has initial states with the axes {spelled(view)}")
        states.append(view.tensors)
    return [part[k] for k in range(many) for part in states]


def _one_by_one(reading: Reading, node: Any, view: View, axis: int) -> View:
    """The states of two directions, which are one tensor, as two."""
    if view.size_of(1) != Size(2) or view.flipped or len(view.axes[axis]) != 1:
        return view
    parts = [taken(reading, view, axis, 1, k) for k in range(2)]
    axes = tuple((DIRECTIONS,) if k == axis else entry for k, entry in enumerate(parts[0].axes))
    return View(tuple(tensor for part in parts for tensor in part.tensors), axes, parts[0].names)


def _mask(reading: Reading, node: Any, entry: Entry) -> Any:
    """The mask of the valid steps, from how many there are in every row."""
    if node.input[4] in reading.known:
        raise NoLayer(f"{called(node)} has constant sequence_lens, one for each row of the batch")
    lengths = reading.tensor(node, 4)
    if lengths.axes != ((0,),) or np.dtype(lengths.dtype).kind != "i" or entry.view.flipped:
        raise NoLayer(f"{called(node)} has sequence_lens with the axes {spelled(lengths)}")
    first = reading.operate(ops.get_item, entry.tensor, (slice(None), slice(None), 0))
    ones = reading.operate(ops.ones_like, first, np.dtype(lengths.dtype).name)
    steps = reading.operate(ops.cumsum, ones, 1)
    return reading.operate(ops.less_equal, steps, reading.operate(ops.expand_dims, lengths.single, 1))


def read_recurrent(reading: Reading, node: Any) -> None:
    """One recurrent node."""
    try:
        options = Options.read(node.op_type, attributes_of(node))
    except FormatError as error:
        raise NoLayer(f"{called(node)}: {error}") from error
    inputs = [*node.input, *[""] * 8][:8]
    if inputs[7]:
        raise NoLayer(f"{called(node)} has peepholes, which no layer has")
    w, r = reading.constant(node, 1), reading.constant(node, 2)
    b = reading.constant(node, 3) if inputs[3] else None
    arguments = _cell(options, node, w, r, b)
    entry, states = _entry(reading, node, options), _initial(reading, node, options)
    run = _Run(reading, node, options, entry)
    if states is not None and len(entry.letters["b"]) == 2:
        raise NoLayer(f"{called(node)} has initial states for a batch of two axes")
    arguments.update(return_sequences=run.sequences, return_state=run.state or states is not None)
    mask = None
    if inputs[4]:
        if states is not None or len(entry.letters["b"]) == 2:
            raise NoLayer(f"{called(node)} has sequence_lens beside initial states, or for a batch of two axes")
        mask = _mask(reading, node, entry)
        arguments["zero_output_for_mask"] = run.sequences
    if len(options.reverse) == 1:
        arguments["go_backwards"] = options.reverse[0] != entry.view.flipped
    elif entry.view.flipped:
        raise NoLayer(f"{called(node)} reads both ways what is backwards itself")
    after = options.kind == "GRU" and options.linear_before_reset

    def make() -> Any:
        layer: Any = CLASSES[options.kind](**arguments)
        if len(options.reverse) == 2:
            layer = layers.Bidirectional(layer, merge_mode=run.mode)
        return layer if len(entry.letters["b"]) == 1 else layers.TimeDistributed(layer)

    def weights() -> list[Any]:
        of_each = [to_keras(options.kind, w[k], r[k], None if b is None else b[k], after) for k in range(len(w))]
        return [part for one in of_each for part in one]

    if len(entry.letters["b"]) == 2 and (arguments["return_state"] or (len(options.reverse) == 2 and not run.mode)):
        raise NoLayer(f"{called(node)} gives several values for a batch of two axes")
    key = (options.kind, *inputs[1:4], options.reverse, run.mode, len(entry.letters["b"]), *map(str, arguments.items()))
    call: dict[str, Any] = {} if states is None else {"initial_state": states}
    if mask is not None:
        call["mask"] = mask
    results = reading.weighted(key, make, weights, entry.tensor, **call)
    run.give(results if isinstance(results, list) else [results], arguments["return_state"])


class _Run:
    """What a node's layer returns, and which values of the graph that is."""

    def __init__(self, reading: Reading, node: Any, options: Options, entry: Entry):
        self.reading, self.node, self.options, self.entry = reading, node, options, entry
        self.many = len(options.reverse)
        first = options.batch_first
        self.axes = ("btdf", "bdf", "bdf") if first else ("tdbf", "dbf", "dbf")
        outputs = [*node.output, "", "", ""][:3]
        self.outputs = [name if name and reading.is_used(name) else "" for name in outputs]
        if not any(self.outputs):
            raise NoLayer(f"{called(node)} has no output that is used")
        uses = _uses(reading, self.outputs[0], self.axes[0], self.many) if self.outputs[0] else []
        whole = self.many == 1 and not (len(node.input) > 4 and node.input[4])  # the last step is that of every row
        self.last = [use for use in uses if whole and _is_last_step(reading, use, options.reverse[0])]
        taken = {use.node.output[0] for use in self.last}
        uses = [use for use in uses if use.node is None or use.node.output[0] not in taken]
        self.sequences = bool(uses)
        self.mode: str | None = "concat"
        self.merging: Use | None = None
        if self.many == 2:
            if not self.sequences:
                uses = _uses(reading, self.outputs[1], self.axes[1], 2) if self.outputs[1] else []
            self.mode, self.merging = _merge_mode(uses)
            if self.mode == "sum" and self.merging is not None and _is_halved(reading, self.merging.node.output[0]):
                self.mode = "ave"
        # a final state is the output of the last step, so a layer of outputs alone can give it
        self.state = bool(self.outputs[2]) or (self.sequences and bool(self.outputs[1] or self.last))

    def _axes(self, letters: str, directions: tuple[int, ...], last: int) -> Axes:
        own = {**self.entry.letters, "d": directions, "f": (last,)}
        return tuple(own[letter] for letter in letters)

    def _view(self, tensors: list[Any], letters: str, flipped: bool = False) -> View:
        """A view of one tensor, or of those of both directions."""
        names = [*self.entry.names, ""][: len(tensors[0].shape) - 1]
        axes = self._axes(letters, () if len(tensors) == 1 else (DIRECTIONS,), len(tensors[0].shape) - 1)
        return View(tuple(tensors), axes, (*names, ""), flipped)

    def _joined(self, tensor: Any, letters: str) -> View:
        """Both directions side by side, as an axis for them and one for the features."""
        names = [*self.entry.names, ""][: len(tensor.shape) - 1]
        axes = self._axes(letters, (DIRECTIONS,), len(tensor.shape) - 1)
        return View((), axes, (*names, ""), False, tensor)

    def give(self, results: list[Any], with_state: bool) -> None:
        """Note what the values of the graph are, given the outputs of the layer."""
        reading, options = self.reading, self.options
        count = 2 if self.many == 2 and self.mode is None else 1
        outputs, states = results[:count], results[count:]
        each = len(states) // self.many
        ends = [[states[k * each + part] for k in range(self.many)] for part in range(each)]
        if not ends and not self.sequences:
            ends = [outputs]
        whole = self.outputs[0] if self.sequences else self.outputs[1]
        if whole:
            letters = self.axes[0 if self.sequences else 1]
            if self.merging is not None:
                joined = self.merging.node.output[0]
                axes = self._axes(self.merging.axes, (), len(outputs[0].shape) - 1)
                names = [*self.entry.names, ""][: len(outputs[0].shape) - 1]
                if self.mode == "ave":
                    joined = reading.uses[joined][0].output[0]
                reading.give(joined, view_of(outputs[0], axes, [*names, ""]))
            elif self.many == 2 and self.mode is not None:
                reading.give(whole, self._joined(outputs[0], letters))
            else:
                reading.give(whole, self._view(outputs, letters, self.sequences and options.reverse == (True,)))
        for place, name in enumerate(self.outputs[1:]):
            if name and name not in reading.values and place < len(ends) and not (name == whole and self.merging):
                reading.give(name, self._view(ends[place], self.axes[1]))
        for use in self.last:
            reading.give(use.node.output[0], self._view(ends[0], use.axes.replace("t", "")))


READERS: dict[str, Callable[[Reading, Any], None]] = {kind: read_recurrent for kind in CLASSES}
