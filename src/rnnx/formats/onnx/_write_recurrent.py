"""Recurrent layers as ONNX nodes.

The operators of ONNX know only rows that are valid up to a length. Any mask is written out: the valid steps of each row
are moved to its front, the operator runs over them, and every step takes the output of the last valid step before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnx._cells import CELLS
from rnnx._typing import Array
from rnnx.formats.onnx._activations import gate_of_activation
from rnnx.formats.onnx._graph import GraphWriter, Value
from rnnx.formats.onnx._recurrent import DEFAULT_ACTIVATIONS
from rnnx.formats.onnx._weights import bias_to_keras, bias_to_onnx, matrix_to_keras, matrix_to_onnx
from rnnx.functional import dense_kernel, kernel_of_blocks
from rnnx.layers.rnn.cell import Cell
from rnnx.layers.rnn.gru import GRUWeights
from rnnx.layers.rnn.lstm import LSTMWeights
from rnnx.layers.rnn.sequence import Recurrent
from rnnx.layers.rnn.weights import RecurrentWeights
from rnnx.saving import FormatError

FIRST_INT64 = -(2**63)


@dataclass(frozen=True)
class Masked:
    """What a mask is turned into.

    Attributes
    ----------
    mask, steps : str
        The mask, and the same as integers; (batch, timesteps).
    count : str
        Valid steps up to and with each step; (batch, timesteps).
    lengths : str
        Valid steps of each row, int32.
    order : str
        Steps of each row, the valid ones first; (batch, timesteps, 1).
    """

    mask: str
    steps: str
    count: str
    lengths: str
    order: str


@dataclass(frozen=True)
class Ran:
    """What a recurrent node gave: for each direction its outputs, which are empty if not wanted, and its states."""

    outputs: list[str]
    states: list[list[str]]


def refuse_what_onnx_lacks(layer: Any) -> None:
    """Refuse, by name, what a recurrent layer has that ONNX cannot express."""
    if getattr(layer, "stateful", False):
        raise FormatError(f"layer {layer.name!r}: stateful=True; ONNX has no state between calls")
    zoneout = layer.zoneout if isinstance(layer, RecurrentWeights) else 0
    if any(np.atleast_1d(np.asarray(zoneout, float))):
        raise FormatError(f"layer {layer.name!r}: zoneout={layer.zoneout}; ONNX has no zoneout")


def _activations(layer: RecurrentWeights, kind: str) -> tuple[list[str], list[float], list[float]]:
    names = [layer.activation.name]
    if isinstance(layer, (LSTMWeights, GRUWeights)):
        names = [layer.recurrent_activation.name] + names * (2 if kind == "LSTM" else 1)
    found: list[str] = []
    alphas: list[float] = []
    betas: list[float] = []
    for name in names:
        known = gate_of_activation(name)
        if known is None:
            raise FormatError(f"layer {layer.name!r}: activation {name!r}; ONNX has none such in recurrent operators")
        found.append(known.operator)
        alphas += [number for word, number in known.numbers.items() if word == "alpha"]
        betas += [number for word, number in known.numbers.items() if word == "beta"]
    return found, alphas, betas


def _weights(graph: GraphWriter, layers: Sequence[Any], kind: str, prefix: str) -> list[str]:
    """Names of W, R and B (empty without a bias)."""

    def add(place: int, name: str, forth: Any, back: Any) -> str:
        weights = [layer.weights[place] for layer in layers]
        array = np.stack([forth(kind, weight.array) for weight in weights])
        return graph.weight(
            f"{prefix}/{name}", array, lambda given: [(w, back(w, g)) for w, g in zip(weights, given, strict=True)]
        )

    def matrix_back(weight: Any, given: Array) -> Array:
        return matrix_to_keras(kind, given)

    def recurrent(kind: str, value: Array) -> Array:
        return matrix_to_onnx(kind, dense_kernel(value, blocks))

    def recurrent_back(weight: Any, given: Array) -> Array:
        return kernel_of_blocks(matrix_to_keras(kind, given), blocks)

    def bias_back(weight: Any, given: Array) -> Array:
        return bias_to_keras(kind, given, weight.ndim == 2)

    blocks = layers[0].recurrent_blocks
    names = [add(0, "W", matrix_to_onnx, matrix_back), add(1, "R", recurrent, recurrent_back)]
    return [*names, add(2, "B", bias_to_onnx, bias_back) if layers[0].use_bias else ""]


def masked(graph: GraphWriter, mask: str, hint: str) -> Masked:
    """Everything about a mask that the nodes below need."""
    from onnx import TensorProto

    steps = graph.add("Cast", [mask], hint, to=TensorProto.INT64)
    count = graph.add("CumSum", [steps, graph.constant(1)], hint)
    total = graph.add("ReduceSum", [steps, graph.constant([1])], hint, keepdims=0)
    lengths = graph.add("Cast", [total], hint, to=TensorProto.INT32)
    timesteps = graph.add("Gather", [graph.add("Shape", [mask], hint), graph.constant(1)], hint)
    invalid = graph.add("Sub", [graph.constant(1), steps], hint)
    behind = graph.add("Mul", [invalid, timesteps], hint)
    places = graph.add("Range", [graph.constant(0), timesteps, graph.constant(1)], hint)
    keys = graph.add("Add", [behind, places], hint)
    wanted = graph.add("Unsqueeze", [timesteps, graph.constant([0])], hint)
    _, order = graph.add_several("TopK", [keys, wanted], hint, (True, True), axis=1, largest=0, sorted=1)
    return Masked(mask, steps, count, lengths, graph.add("Unsqueeze", [order, graph.constant([-1])], hint))


def _spread(graph: GraphWriter, y: str, about: Masked, reverse: bool, zero: bool, dtype: Any, hint: str) -> str:
    """Outputs of the valid steps, which stand in front, at their own places and repeated at masked steps."""
    place = about.count
    if reverse:
        before = graph.add("Sub", [about.count, about.steps], hint)
        total = graph.add("ReduceMax", [about.count, graph.constant([1])], hint, keepdims=1)
        some = graph.add("Less", [before, total], hint)
        next_one = graph.add("Add", [before, graph.constant(1)], hint)
        place = graph.add("Where", [some, next_one, graph.constant(0)], hint)
    table = graph.add("Pad", [y, graph.constant([0, 1, 0, 0, 0, 0])], hint)  # row 0: before the first valid step
    index = graph.add("Unsqueeze", [place, graph.constant([-1])], hint)
    spread = graph.add("GatherND", [table, index], hint, batch_dims=1)
    if not zero:
        return spread
    used = graph.add("Unsqueeze", [about.mask, graph.constant([-1])], hint)
    return graph.add("Where", [used, spread, graph.constant(0, dtype)], hint)


def run(
    graph: GraphWriter,
    layers: Sequence[Any],
    reverse: Sequence[bool],
    x: Value,
    about: Masked | None,
    states: Sequence[Sequence[str]] | None,
    sequences: bool,
    zero: bool,
    prefix: str,
    hint: str,
) -> Ran:
    """One node for one layer, or for the two alike layers of both directions.

    Parameters
    ----------
    layers : sequence of layers or cells
    reverse : sequence of bool
    x : Value of shape (batch, timesteps, features)
    about : Masked or None
    states : for each direction names of the initial states of shape (batch, units); or None
    sequences : bool
        Whether the outputs are wanted.
    zero : bool
        Whether outputs at masked steps are 0.
    prefix, hint : str
        Of the names of the weights, and of the nodes.

    Returns
    -------
    Ran
        Outputs of shape (batch, timesteps, units) in the order of time.
    """
    kind = CELLS[layers[0].cell_kind].elsewhere
    for layer in layers:
        refuse_what_onnx_lacks(layer)
    weights = _weights(graph, layers, kind, prefix)
    steps = x.name
    if about is not None:
        steps = graph.add("GatherND", [steps, about.order], hint, batch_dims=1)
    steps = graph.add("Transpose", [steps], hint, perm=[1, 0, 2])
    initial = ["", ""]
    if states is not None:
        for k in range(layers[0].state_count):
            rows = [graph.add("Unsqueeze", [own[k], graph.constant([0])], hint) for own in states]
            initial[k] = rows[0] if len(rows) == 1 else graph.add("Concat", rows, hint, axis=0)
    attributes: dict[str, Any] = {"hidden_size": layers[0].units}
    direction = "bidirectional" if len(layers) == 2 else "reverse" if reverse[0] else "forward"
    if direction != "forward":
        attributes["direction"] = direction
    if kind == "GRU":
        attributes["linear_before_reset"] = int(layers[0].reset_after)
    found = [_activations(layer, kind) for layer in layers]
    names, alphas, betas = (sum((one[k] for one in found), []) for k in range(3))
    if names != DEFAULT_ACTIVATIONS[kind] * len(layers):
        attributes["activations"] = names
        if alphas:
            attributes["activation_alpha"] = alphas
        if betas:
            attributes["activation_beta"] = betas
    lengths = "" if about is None else about.lengths
    wanted = (sequences, True, True)[: 1 + layers[0].state_count]
    outputs = graph.add_several(kind, [steps, *weights, lengths, *initial], hint, wanted, **attributes)
    ends: list[list[str]] = []
    for k in range(len(layers)):
        own = []
        for number, whole in enumerate(outputs[1:]):
            end = graph.add("Gather", [whole, graph.constant(k)], hint, axis=0)
            if states is not None and about is not None:  # a row without a valid step keeps its initial state
                some = graph.add("Greater", [about.lengths, graph.constant(0, np.int32)], hint)
                some = graph.add("Unsqueeze", [some, graph.constant([-1])], hint)
                end = graph.add("Where", [some, end, states[k][number]], hint)
            own.append(end)
        ends.append(own)
    if not sequences:
        return Ran([], ends)
    by_direction: list[str] = []
    for k in range(len(layers)):
        y = graph.add("Gather", [outputs[0], graph.constant(k)], hint, axis=1)
        y = graph.add("Transpose", [y], hint, perm=[1, 0, 2])
        if about is not None:
            y = _spread(graph, y, about, reverse[k], zero, x.dtype, hint)
        by_direction.append(y)
    return Ran(by_direction, ends)


def flipped(graph: GraphWriter, y: str, hint: str, axis: int = 1) -> str:
    """The steps, which stand along ``axis``, from the last to the first."""
    ends = [graph.constant([n]) for n in (-1, FIRST_INT64, axis, -1)]
    return graph.add("Slice", [y, *ends], hint)


def _last_output(
    graph: GraphWriter, ran: Ran, k: int, about: Masked | None, reverse: bool, zero: bool, hint: str
) -> str:
    """The output of the step that is read last; 0 in rows without a valid step."""
    if about is not None and zero:
        return graph.add("Gather", [ran.outputs[k], graph.constant(0 if reverse else -1)], hint, axis=1)
    return ran.states[k][0]


def write_sequence(
    graph: GraphWriter, layer: Any, cells: Sequence[Any], values: list[Value], states: list[Value], hint: str
) -> list[Value]:
    """A recurrent layer, or an RNN layer with its cells from the input to the output."""
    refuse_what_onnx_lacks(layer)
    x, back, zero = values[0], layer.go_backwards, layer.zero_output_for_mask
    about = None if x.mask is None else masked(graph, x.mask, hint)
    given, ends, last = [s.name for s in states], [], len(cells) - 1
    ran, y = Ran([], []), x
    for k, cell in enumerate(cells):
        if not isinstance(cell, RecurrentWeights):
            raise FormatError(f"layer {layer.name!r}: cell {type(cell).__name__} is not one of rnnx' own")
        own = [given[: cell.state_count]] if states else None
        given = given[cell.state_count :]
        sequences = k < last or layer.return_sequences or (zero and about is not None)
        prefix = f"{layer.name}/{cell.name}" if isinstance(cell, Cell) else layer.name
        if states and about is not None and not layer.return_sequences and not zero and k == last:
            sequences = True  # in rows without a valid step the output is 0, the state is not
        ran = run(graph, [cell], [back], y, about, own, sequences, zero and k == last, prefix, hint)
        ends += ran.states[0]
        if ran.outputs:
            y = Value(ran.outputs[0], 3, x.dtype)
    if layer.return_sequences:
        name = flipped(graph, y.name, hint) if back else y.name
        output = Value(name, 3, x.dtype, x.mask)
    else:
        keeps_state = bool(states) and about is not None
        name = _last_output(graph, ran, 0, about, back, zero or keeps_state, hint)
        output = Value(name, 2, x.dtype)
    return [output, *(Value(e, 2, x.dtype) for e in ends)] if layer.return_state else [output]


def _alike(a: Any, b: Any) -> bool:
    """Whether two layers can be the directions of one node."""
    if not isinstance(a, Recurrent) or type(a) is not type(b) or a.units != b.units:
        return False
    if getattr(a, "reset_after", None) != getattr(b, "reset_after", None):
        return False
    return a.use_bias == b.use_bias and a.zero_output_for_mask == b.zero_output_for_mask


def write_bidirectional(
    graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str, cells_of: Any
) -> list[Value]:
    """Both directions, merged."""
    a, b = layer.forward_layer, layer.backward_layer
    x, half = values[0], len(states) // 2
    halves = [[s.name for s in states[:half]], [s.name for s in states[half:]]] if states else None
    sequences = layer.return_sequences
    if _alike(a, b) and not (states and x.mask is not None and not sequences):
        about = None if x.mask is None else masked(graph, x.mask, hint)
        zero = a.zero_output_for_mask
        ran = run(graph, [a, b], [False, True], x, about, halves, sequences or (zero and about is not None), zero,
                  layer.name, hint)  # fmt: skip
        if sequences:
            outputs = ran.outputs
        else:
            outputs = [_last_output(graph, ran, k, about, k == 1, zero, hint) for k in range(2)]
        ends = ran.states
        _refuse_stateful(layer)
    else:
        outputs, ends = [], []
        for k, side in enumerate((a, b)):
            start = states[:half] if k == 0 else states[half:]
            first, *rest = write_sequence(graph, side, cells_of(side), values, start, f"{hint}/{side.name}")
            outputs.append(flipped(graph, first.name, hint) if sequences and k == 1 else first.name)
            ends.append([r.name for r in rest])
    rank, mask = (3, x.mask) if sequences else (2, None)
    if layer.merge_mode is None:
        merged = outputs
    elif layer.merge_mode == "concat":
        merged = [graph.add("Concat", outputs, hint, axis=-1)]
    else:
        merged = [graph.add("Mul" if layer.merge_mode == "mul" else "Add", outputs, hint)]
        if layer.merge_mode == "ave":
            merged = [graph.add("Div", [merged[0], graph.constant(2, x.dtype)], hint)]
    found = [Value(name, rank, x.dtype, mask) for name in merged]
    if layer.return_state:
        found += [Value(name, 2, x.dtype) for own in ends for name in own]
    return found


def _refuse_stateful(layer: Any) -> None:
    if layer.stateful:
        raise FormatError(f"layer {layer.name!r}: stateful=True; ONNX has no state between calls")
