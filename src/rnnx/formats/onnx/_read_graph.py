"""The graph of another program as a rnnx model.

Every node is a call of a layer on symbolic tensors, or only says where an axis lies. What no layer computes is refused
with the node's name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnx import layers
from rnnx.formats._limits import MOST_SHOWN
from rnnx.formats.onnx import (
    _read_branches,
    _read_layers,
    _read_operations,
    _read_recurrent,
    _read_rows,
    _read_shapes,
    _read_windows,
)  # fmt: skip
from rnnx.formats.onnx._axes import in_time
from rnnx.formats.onnx._branches import inline
from rnnx.formats.onnx._file import Source, attributes_of, reason
from rnnx.formats.onnx._limits import DEEPEST, LOADING, MEMORY, MOST_LAYERS
from rnnx.formats.onnx._program import Program
from rnnx.formats.onnx._reading import UNFIT, NoLayer, Reading, TooManyLayers, read_node, spelled
from rnnx.formats.onnx._recurrences import written_as_layers
from rnnx.formats.onnx._view import ONE, View, view_of
from rnnx.layers import Operation
from rnnx.layers.limits import MOST_AXES, weights_limited
from rnnx.saving import FormatError

READERS = {
    **_read_operations.READERS, **_read_layers.READERS, **_read_windows.READERS, **_read_shapes.READERS,
    **_read_recurrent.READERS, **_read_branches.READERS, **_read_rows.READERS,
}  # fmt: skip
BATCH = "batch"  # what its size is called
MOST_COPIES = 4  # of a constant: PyTorch writes equal weights of a normalization once
MOST_ORIGINS = 64  # inputs of the graph that are told apart in one value
PARTS = ("Gather", "Slice", "Split", "Squeeze", "Unsqueeze")
MOST_ROUNDS = 2 * DEEPEST  # of reading, where each follows the graphs that the one before it chose
MOST_PHASES = 4  # in which layers that chosen graphs spell out are sought
MOST_READ = 60_000  # nodes in all rounds
INPUT_TYPES = ("float32", "float64", "int32", "int64")


@dataclass(frozen=True)
class ReadGraph:
    """A model, and how its inputs and outputs lie in the graph.

    Attributes
    ----------
    model : Model
    inputs, outputs : list of View
        In the order of the graph's.
    """

    model: Any
    inputs: list[View]
    outputs: list[View]


def read_graph(source: Source, *, exact: bool = False) -> ReadGraph:
    """A model of the layers of a graph.

    Parameters
    ----------
    source : Source
        Its graph changes: layers that it spells out are nodes afterwards, and chosen graphs of `If` nodes stand in
        their places.
    exact : bool
        Whether the model takes and returns the arrays of the graph, for all that they may be; see `Reading`.

    Raises
    ------
    FormatError
        If the graph does something that no layer does; the node is named.
    """
    rounds = _Rounds(source, exact)
    try:
        for _ in range(MOST_PHASES):
            written_as_layers(source)
            try:
                read = rounds.read()
            except UNFIT:
                if source.recurrences_sought:
                    raise
                continue
            if source.recurrences_sought:
                return read
        raise NoLayer(f"layers are spelled out in graphs that are chosen {MOST_PHASES} times")
    except UNFIT as error:
        if isinstance(error, FormatError) and str(error).startswith(source.name):
            raise
        raise FormatError(
            f"{source.name}: not a graph of layers that rnnx has: {reason(error)}; "
            "rnnx.formats.onnx.Session(path) runs any graph"
        ) from error


class _Rounds:
    """Rounds of reading, each with the graphs in the places of `If` nodes that the one before it chose."""

    def __init__(self, source: Source, exact: bool):
        self.source, self.exact, self.fixed = source, exact, False
        self.budget, self.nodes, self.count = source.budget, 0, 0

    def read(self) -> ReadGraph:
        """The graph as a model.

        Raises
        ------
        NoLayer
            If it is none, or more choices follow from each other than are followed.
        """
        source = self.source
        while True:
            found = _read(source, self.exact, self.fixed)
            if isinstance(found, ReadGraph):
                return found
            self.nodes, self.count = self.nodes + len(source.proto.graph.node), self.count + 1
            if self.count > MOST_ROUNDS or self.nodes > MOST_READ:
                most = f"{MOST_ROUNDS} rounds and {MOST_READ:,} nodes"
                raise TooManyLayers(f"more choices of its graphs follow from each other than {most} are followed")
            inline(source, found.chosen)
            self.fixed = found.fixed or found.by_sizes
            source.recurrences_sought, source.budget = False, self.budget
            source.meter.begin(MEMORY, LOADING, 0)


def _read(source: Source, exact: bool, fixed: bool) -> ReadGraph | Reading:
    """The graph as a model, or a reading that has met `If` nodes and knows which of their graphs run."""
    program = Program(source, source.proto.graph, runs=False)
    known = {name: program.known[place] for name, place in program.places.items() if place in program.known}
    reading = Reading(source, known, fixed, exact)
    try:
        return _read_nodes(reading)
    except UNFIT:
        if reading.chosen:
            return reading
        if fixed or not _has_fixed_times(source):
            raise
        reading = Reading(source, known, True, exact)
        try:  # a layer of all steps side by side, such as a Dense behind Flatten, needs to know how many they are
            return _read_nodes(reading)
        except UNFIT:
            if reading.chosen:
                return reading
        raise


def _has_fixed_times(source: Source) -> bool:
    """Whether an axis of an input, other than the first and the last, has a size."""
    dims = [value.type.tensor_type.shape.dim for value in source.proto.graph.input]
    return any(dim.HasField("dim_value") for own in dims for dim in list(own)[:-1])


def _read_nodes(reading: Reading) -> ReadGraph:
    source = reading.source
    floats = sum(array.size for array in {id(array): array for array in reading.known.values()}.values())
    with weights_limited(MOST_COPIES * floats):
        inputs = _inputs(reading)
        for node in reading.nodes:
            if not any(name in reading.values for name in node.output):
                read_node(reading, READERS, node)
        try:
            outputs = [_output(reading, value.name) for value in source.proto.graph.output]
        except NoLayer as error:
            reasons = list(dict.fromkeys([str(error), *_obstacles(reading)]))
            more = f"; and {len(reasons) - MOST_SHOWN:,} more" if len(reasons) > MOST_SHOWN else ""
            raise NoLayer(f"{'; '.join(reasons[:MOST_SHOWN])}{more}") from error
        return ReadGraph(_model(source, inputs, outputs), inputs, outputs)


def _obstacles(reading: Reading) -> list[str]:
    """Why nodes that the outputs of the graph need are no layers, in the order of the graph."""
    makers = {name: node for node in reading.nodes for name in node.output}
    waiting = [value.name for value in reading.source.proto.graph.output]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in seen and name in makers and isinstance(reading.values.get(name), NoLayer):
            seen.add(name)
            waiting += makers[name].input
    return [str(reading.values[name]) for node in reading.nodes for name in node.output if name in seen]


def _output(reading: Reading, name: str) -> View:
    """An output of the graph; its axes are in order if the batch is the first of them."""
    view = reading.value(name)
    if not isinstance(view, View):
        raise NoLayer(f"its output {name[:80]!r} is not made by a layer")
    view = reading.stacked(in_time(reading, view))
    if reading.batchless:
        order = [k for entry in view.axes for k in entry if view.size_of(k) != ONE]
        if order == sorted(order):
            return view
    if view.axes and view.axes[0] == (0,):
        return reading.in_order(view)
    order = [k for entry in view.axes for k in entry]
    if any(len(entry) > 1 for entry in view.axes) or sorted(order) != list(range(view.width)):
        raise NoLayer(f"its output {name[:80]!r} has the axes {spelled(view)}")
    return view


def _model(source: Source, inputs: list[View], outputs: list[View]) -> Any:
    """A chain of layers as a Sequential, anything else, with operations too, as a Model."""
    from rnnx.models import Model, Sequential

    name = layer_name(source.proto.graph.name)
    entries, ends = ([view.single for view in views] for views in (inputs, outputs))
    if not entries:
        raise NoLayer("it has no input")
    single = len(entries) == 1, len(ends) == 1
    first = entries[0]
    assert first is not None
    model = Model(first if single[0] else entries, ends[0] if single[1] else ends, name=name)
    steps = model.plan.steps
    if all(single) and steps and model.plan.is_chain() and len({id(step.layer) for step in steps}) == len(steps):
        if all(step.single and len(step.outputs) == 1 and not isinstance(step.layer, Operation) for step in steps):
            return Sequential([first.node.layer, *(step.layer for step in steps)], name=name)
    return model


def layer_name(name: str) -> str:
    """A name that a layer or model may have."""
    return name.strip("/").replace("/", "_") or "onnx"


def notes_of_axes(source: Source, read: ReadGraph) -> list[str]:
    """What there is to say if the arrays of the file have other axes than those of the model."""
    graph = source.proto.graph
    if any(len(entry) > 1 and 0 in entry for view in read.inputs for entry in view.axes):
        return [
            "the file has no axis for a batch beside the timesteps, a rnnx model has (batch, timesteps, features): "
            "give it x[None], its results are y[0]"
        ]
    turned = [any(not view.is_plain for view in views) for views in (read.inputs, read.outputs)]
    if not any(turned):
        return []
    ends = " and ".join(word for word, there in zip(("inputs", "outputs"), turned, strict=True) if there)
    given = {tensor.name for tensor in graph.initializer}
    names = [value.name for value in graph.input if value.name not in given], [value.name for value in graph.output]
    states = [
        name for k, views in enumerate((read.inputs, read.outputs)) for name, view in zip(names[k], views, strict=True)
        if () in view.axes
    ]  # fmt: skip
    text = f"the file's {ends} have the timesteps first; swap the axes of the arrays: x.swapaxes(0, 1)"
    if states:
        text += f"; {', '.join(states)[:200]} have no axis of directions in the model: x[0]"
    return [f"a rnnx model has (batch, timesteps, features), {text}"]


# ---- Inputs ----------------------------------------------------------------------------------------------------------


@dataclass
class _Axis:
    """What the graph says of an axis of an input."""

    is_batch: bool = False
    is_time: bool = False
    is_direction: bool = False
    size: int | None = None
    width: int | None = None


def _inputs(reading: Reading) -> list[View]:
    graph = reading.source.proto.graph
    given = {tensor.name for tensor in graph.initializer}
    entries = [value for value in graph.input if value.name not in given]
    if len(entries) > MOST_LAYERS:
        raise NoLayer(f"it has {len(entries):,} inputs, the most is {MOST_LAYERS:,}")
    reading.entries.update(layer_name(value.name) for value in entries)
    axes: dict[str, list[_Axis]] = {}
    for value in entries:
        tensor = value.type.tensor_type
        if not value.type.HasField("tensor_type") or not tensor.HasField("shape") or len(tensor.shape.dim) > MOST_AXES:
            raise NoLayer(f"the shape of its input {value.name[:80]!r} is not given")
        axes[value.name] = [_Axis(size=dim.dim_value or None) for dim in tensor.shape.dim]
    _follow(reading, axes)
    batch = _batch_name(entries, axes)
    alone = _has_one_row(reading) or any(axis.is_batch and axis.size == 1 for own in axes.values() for axis in own)
    views = []
    for value in entries:
        own = axes[value.name]
        if alone and not reading.exact and any(axis.is_time for axis in own) and not any(axis.is_batch for axis in own):
            views.append(_input_of_one(reading, value, own))
        else:
            views.append(_input(reading, value, own, batch))
    for value, view in zip(entries, views, strict=True):
        reading.give(value.name, view)
    reading.first = next((view for view in views if view.single is not None), None)
    return views


def _follow(reading: Reading, axes: dict[str, list[_Axis]]) -> None:
    """Note which axes of the inputs recurrent nodes and products take as batch, timesteps and features."""
    places: dict[str, list[list[_Axis]]] = {name: [own] for name, own in axes.items()}  # a value may come of several
    for node in reading.nodes:
        if node.op_type in _read_recurrent.CLASSES:
            w, first = reading.known.get(node.input[1]), bool(attributes_of(node).get("layout", 0))
            width = None if w is None or w.ndim != 3 else w.shape[2]
            for own in places.get(node.input[0], ()):
                _note_input(own, first, width)
            for own in [own for name in list(node.input)[5:7] for own in places.get(name, ())]:
                _note_state(own, first)
            continue
        found = [own for name in dict.fromkeys(node.input) for own in places.get(name, ())][:MOST_ORIGINS]
        after = [_after(reading, node, own) for own in found]
        if kept := [own for own in after if own is not None]:
            for name in node.output if node.op_type == "Split" else node.output[:1]:
                places[name] = kept


def _has_one_row(reading: Reading) -> bool:
    """Whether constant initial states say that the batch of the graph is one row."""
    for node in reading.nodes:
        if node.op_type in _read_recurrent.CLASSES:
            place = 0 if attributes_of(node).get("layout", 0) else 1
            for name in list(node.input)[5:7]:
                state = reading.known.get(name)
                if state is not None and state.ndim == 3 and state.shape[place] == 1:
                    return True
    return False


def _after(reading: Reading, node: Any, own: list[_Axis]) -> list[_Axis] | None:
    """The axes of the output of a node; None if it is not known which is which."""
    if node.op_type == "Transpose":
        perm = attributes_of(node).get("perm", list(range(len(own)))[::-1])
        return [own[k] for k in perm] if sorted(perm) == list(range(len(own))) else None
    if node.op_type in ("MatMul", "Gemm") and own:
        kernel = reading.known.get(node.input[1])
        if kernel is None or kernel.ndim != 2:
            return None
        place = 1 if node.op_type == "Gemm" and attributes_of(node).get("transB", 0) else 0
        own[-1].width = own[-1].width or kernel.shape[place]
        return [*own[:-1], _Axis()]
    if node.op_type == "Gather" and node.input[0] in reading.known:
        return [*own, _Axis()]
    if node.op_type in PARTS:
        return _after_part(reading, node, own)
    if node.op_type == "Conv" or "Pool" in node.op_type:
        return [own[0], *(_Axis() for _ in own[1:])] if own else None
    follows = node.op_type not in _read_shapes.READERS or node.op_type in ("Cast", "Concat", "Identity")
    return own if follows else None


def _after_part(reading: Reading, node: Any, own: list[_Axis]) -> list[_Axis] | None:
    """The axes of a part, or of a value with axes of size 1 more or less."""
    attributes, found = attributes_of(node), list(own)
    place = 3 if node.op_type == "Slice" else 1
    given = reading.known.get(node.input[place]) if place < len(node.input) else None
    axes: Any = attributes.get("axes")
    if node.op_type in ("Gather", "Split"):
        axes = [attributes.get("axis", 0)]
    elif axes is None:
        axes = [] if given is None else np.reshape(given, -1).tolist()
    rank = len(own) + (len(axes) if node.op_type == "Unsqueeze" else 0)
    if any(not -rank <= k < rank for k in axes) or len(axes) > MOST_AXES:
        return None
    for k in sorted(k % rank for k in axes):
        if node.op_type == "Unsqueeze":
            found.insert(k, _Axis())
        elif found[k].size != 1:
            found[k] = _Axis()
    if node.op_type == "Squeeze" or (node.op_type == "Gather" and given is not None and given.ndim == 0):
        return [axis for k, axis in enumerate(found) if k not in [one % rank for one in axes]]
    return found


def _note_input(own: list[_Axis], first: bool, width: int | None) -> None:
    """What a recurrent node takes the axes of its input for."""
    if len(own) == 3:
        batch, time = own[:2] if first else own[1::-1]
        if not (time.is_batch or batch.is_time):
            time.is_time = batch.is_batch = True
        own[2].width = own[2].width or width


def _note_state(own: list[_Axis], first: bool) -> None:
    """What it takes the axes of an initial state for."""
    if len(own) == 3:
        batch, directions = own[:2] if first else own[1::-1]
        batch.is_batch = directions.is_direction = True


def _batch_name(entries: list[Any], axes: dict[str, list[_Axis]]) -> str:
    """What the file calls the size of the batch; nothing if that is not certain."""
    known = [
        dim.dim_param
        for value in entries
        for axis, dim in zip(axes[value.name], value.type.tensor_type.shape.dim, strict=True)
        if axis.is_batch and dim.dim_param
    ]
    if known or not entries:
        return known[0] if len(set(known)) == 1 else ""
    dims = list(entries[0].type.tensor_type.shape.dim)
    names = [dim.dim_param for dim in dims if dim.dim_param]
    if dims and not dims[0].dim_param and dims[0].dim_value > 1 and len(names) == 1:
        return str(names[0])  # of a file whose number of timesteps is fixed, and comes first
    return str(dims[0].dim_param) if dims else ""


def _input(reading: Reading, value: Any, axes: list[_Axis], batch_name: str) -> View:
    """The symbolic tensor of an input of the graph."""
    from onnx import helper

    tensor = value.type.tensor_type
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    name = value.name[:80]
    if not axes:
        raise NoLayer(
            f"its input {name!r} is a single number, and a model has a row for each of a batch; "
            f"rnnx.formats.onnx.load_model(path, inputs={{{name!r}: ...}}) makes it a constant"
        )
    if dtype.name not in INPUT_TYPES:
        raise NoLayer(f"its input {name!r} is of type {dtype} with {len(axes)} axes")
    named = [k for k, dim in enumerate(tensor.shape.dim) if batch_name and dim.dim_param == batch_name]
    batch = next((k for k, axis in enumerate(axes) if axis.is_batch), named[0] if len(named) == 1 else 0)
    if tensor.shape.dim[batch].dim_value:
        reading.batch = int(tensor.shape.dim[batch].dim_value)
    kept = [k for k, axis in enumerate(axes) if k != batch and not _is_one(axis, tensor.shape.dim[k])]
    sizes: list[int | None] = []
    names = [BATCH]
    for k in kept:
        dim = tensor.shape.dim[k]
        free = axes[k].is_time and not reading.fixed
        known = int(dim.dim_value) if dim.HasField("dim_value") and not free else axes[k].width
        sizes.append(None if known is None or known < 1 else known)
        names.append("" if sizes[-1] is not None else f"{dim.dim_param or value.name}/{dim.dim_param or k}")
    entry = layers.Input(tuple(sizes), dtype=dtype.name, name=layer_name(value.name))
    order = {batch: 0, **{k: place for place, k in enumerate(kept, 1)}}
    return view_of(entry, tuple((order[k],) if k in order else () for k in range(len(axes))), names)


def _input_of_one(reading: Reading, value: Any, axes: list[_Axis]) -> View:
    """The symbolic tensor of an input that has timesteps and no batch, because the batch of the graph is one row."""
    from onnx import helper

    tensor = value.type.tensor_type
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    if dtype.name not in INPUT_TYPES or not axes[0].is_time:
        raise NoLayer(f"its input {value.name[:80]!r} of type {dtype} has other axes before its timesteps")
    sizes: list[int | None] = []
    names = [BATCH]
    for k, dim in enumerate(tensor.shape.dim):
        known = int(dim.dim_value) if dim.HasField("dim_value") and (k or reading.fixed) else axes[k].width
        sizes.append(None if known is None or known < 1 else known)
        names.append("" if sizes[-1] is not None else f"{dim.dim_param or value.name}/{dim.dim_param or k}")
    entry = layers.Input(tuple(sizes), dtype=dtype.name, name=layer_name(value.name))
    reading.batchless = True
    return view_of(entry, ((0, 1), *((k,) for k in range(2, len(axes) + 1))), names)


def _is_one(axis: _Axis, dim: Any) -> bool:
    """Whether it is the axis of directions of a state for a single one."""
    return axis.is_direction and (not dim.HasField("dim_value") or dim.dim_value == 1)
