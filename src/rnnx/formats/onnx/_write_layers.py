"""The other layers as ONNX nodes, one function for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rnnx import layers
from rnnx.formats.onnx._graph import GraphWriter, Value
from rnnx.formats.onnx._write_attention import CALL_WORDS
from rnnx.formats.onnx._write_attention import WRITERS as ATTENTION
from rnnx.formats.onnx._write_blocks import WRITERS as BLOCKS
from rnnx.formats.onnx._write_blocks import centred_over
from rnnx.formats.onnx._write_conv_lstm import WRITERS as CONV_LSTM
from rnnx.formats.onnx._write_operations import write_operation
from rnnx.formats.onnx._write_recurrent import write_bidirectional, write_sequence
from rnnx.formats.onnx._write_values import Writer, activation, same
from rnnx.formats.onnx._write_windows import WRITERS as WINDOWS
from rnnx.layers.noise import NoiseLayer, SpatialDropout
from rnnx.layers.normalization import axes_of
from rnnx.layers.plan import Plan
from rnnx.models import Model
from rnnx.saving import FormatError

ARITHMETIC = {
    "add": "Add", "subtract": "Sub", "multiply": "Mul", "divide": "Div", "maximum": "Max", "minimum": "Min",
}  # fmt: skip


def _dense(graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str) -> list[Value]:
    y = graph.add("MatMul", [values[0].name, graph.own(f"{layer.name}/kernel", layer.weights[0])], hint)
    if layer.use_bias:
        y = graph.add("Add", [y, graph.own(f"{layer.name}/bias", layer.weights[1])], hint)
    return same(values[0], activation(graph, layer.activation.name, layer, y, hint))


def _activation(graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str) -> list[Value]:
    return same(values[0], activation(graph, layer.activation.name, layer, values[0].name, hint))


def _relu(graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str) -> list[Value]:
    x, dtype = values[0].name, layer.dtype
    threshold = graph.constant(layer.threshold, dtype)
    below = graph.add("Sub", [x, threshold], hint)
    below = graph.add("Mul", [below, graph.constant(layer.negative_slope, dtype)], hint)
    y = graph.add("Where", [graph.add("Greater", [x, threshold], hint), x, below], hint)
    if layer.max_value is not None:
        y = graph.add("Min", [y, graph.constant(layer.max_value, dtype)], hint)
    return same(values[0], y)


def _softmax(graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str) -> list[Value]:
    x, axis = values[0].name, layer.axis
    if not isinstance(axis, tuple):
        return same(values[0], graph.add("Softmax", [x], hint, axis=axis))
    axes = graph.constant(list(axis))
    shares = graph.add("Exp", [graph.add("Sub", [x, graph.add("ReduceMax", [x, axes], hint)], hint)], hint)
    return same(values[0], graph.add("Div", [shares, graph.add("ReduceSum", [shares, axes], hint)], hint))


def _embedding(graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str) -> list[Value]:
    from onnx import TensorProto

    x, mask = values[0], values[0].mask
    ids = x.name if x.dtype == np.int64 else graph.add("Cast", [x.name], hint, to=TensorProto.INT64)
    y = graph.add("Gather", [graph.own(f"{layer.name}/embeddings", layer.weights[0]), ids], hint, axis=0)
    if layer.mask_zero:
        mask = graph.add("Not", [graph.add("Equal", [ids, graph.constant(0)], hint)], hint)
    return [Value(y, x.rank + 1, layer.dtype, mask, x.rank if layer.mask_zero else x.mask_rank)]


def _masking(graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str) -> list[Value]:
    from onnx import TensorProto

    x = values[0]
    equal = graph.add("Equal", [x.name, graph.constant(layer.mask_value, layer.dtype)], hint)
    differs = graph.add("Cast", [graph.add("Not", [equal], hint)], hint, to=TensorProto.FLOAT)
    used = graph.add("ReduceMax", [differs, graph.constant([-1])], hint, keepdims=1)
    used = graph.add("Cast", [used], hint, to=TensorProto.BOOL)
    y = graph.add("Where", [used, x.name, graph.constant(0, layer.dtype)], hint)
    mask = graph.add("Squeeze", [used, graph.constant([-1])], hint)
    return [Value(y, x.rank, x.dtype, mask, x.rank - 1)]


def _noise(graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str) -> list[Value]:
    """Noise layers do nothing outside training; the rates of those that drop stand in the file."""
    if isinstance(layer, (layers.Dropout, SpatialDropout)) and layer.rate < 1:
        rate = graph.constant(layer.rate, np.float32)
        return same(values[0], graph.add("Dropout", [values[0].name, rate], hint))
    return same(values[0], graph.add("Identity", [values[0].name], hint))


def _batch_normalization(
    graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str
) -> list[Value]:
    own = _spread_weights(graph, layer, values[0].rank)
    epsilon = graph.constant(layer.epsilon, layer.dtype)
    y = graph.add("Sub", [values[0].name, own["moving_mean"]], hint)
    spread = graph.add("Sqrt", [graph.add("Add", [own["moving_variance"], epsilon], hint)], hint)
    y = graph.add("Div", [y, spread], hint)
    if "gamma" in own:
        y = graph.add("Mul", [y, own["gamma"]], hint)
    if "beta" in own:
        y = graph.add("Add", [y, own["beta"]], hint)
    return same(values[0], y)


def _layer_normalization(
    graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str
) -> list[Value]:
    axes = axes_of(layer, (None,) * values[0].rank)
    if axes != (values[0].rank - 1,):
        own = _spread_weights(graph, layer, values[0].rank)
        y = centred_over(graph, layer, values[0].name, axes, hint)
        for name, operator in (("gamma", "Mul"), ("beta", "Add")):
            y = graph.add(operator, [y, own[name]], hint) if name in own else y
        return same(values[0], y)
    own = {weight.name: graph.own(f"{layer.name}/{weight.name}", weight) for weight in layer.weights}
    scale = own.get("gamma") or graph.constant(np.ones(layer.sizes), layer.dtype)
    inputs = [values[0].name, scale, own.get("beta", "")]
    return same(values[0], graph.add("LayerNormalization", inputs, hint, axis=-1, epsilon=layer.epsilon))


def _spread_weights(graph: GraphWriter, layer: Any, rank: int) -> dict[str, str]:
    """The weights of a normalization in the shapes in which they broadcast to its input, by their names."""
    return {
        weight.name: graph.own(f"{layer.name}/{weight.name}", weight, layer.along(weight.array, rank).shape)
        for weight in layer.weights
    }


def _flatten(graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str) -> list[Value]:
    x, rank = values[0].name, values[0].rank
    if layer.data_format == "channels_first" and rank > 2:
        x = graph.add("Transpose", [x], hint, perm=[0, *range(2, rank), 1])
    return [Value(graph.add("Flatten", [x], hint, axis=1), 2, values[0].dtype)]


def _reshape(graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str) -> list[Value]:
    if 0 in layer.target_shape:
        raise FormatError(f"layer {layer.name!r}: target_shape {layer.target_shape}; a size of 0 cannot be written")
    y = graph.add("Reshape", [values[0].name, graph.constant([0, *layer.target_shape])], hint)
    return [Value(y, 1 + len(layer.target_shape), values[0].dtype)]


def _permute(graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str) -> list[Value]:
    return [
        Value(graph.add("Transpose", [values[0].name], hint, perm=[0, *layer.dims]), values[0].rank, values[0].dtype)
    ]


def _repeat(graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str) -> list[Value]:
    y = graph.add("Unsqueeze", [values[0].name, graph.constant([1])], hint)
    return [Value(graph.add("Tile", [y, graph.constant([1, layer.n, 1])], hint), 3, values[0].dtype)]


def _merge(operator: str) -> Writer:
    def write(graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str) -> list[Value]:
        names, used = [value.name for value in values], None
        if isinstance(layer, layers.Maximum) and any(value.mask is not None for value in values):
            y = _by_masks(graph, operator, values, hint)
            return [Value(y, values[0].rank, values[0].dtype, _any_mask(graph, values, hint), values[0].mask_rank)]
        if isinstance(layer, layers.Multiply):
            names, used = _ones_at_masked_steps(graph, layer, values, hint)
        y = names[0]
        for name in names[1:]:
            y = graph.add(operator, [y, name], hint)
        if isinstance(layer, layers.Average):
            y = graph.add("Div", [y, graph.constant(len(values), layer.dtype)], hint)
        if used is not None:
            y = graph.add("Where", [used, y, graph.constant(0, layer.dtype)], hint)
        return [Value(y, values[0].rank, values[0].dtype, _any_mask(graph, values, hint), values[0].mask_rank)]

    return write


def _by_masks(graph: GraphWriter, operator: str, values: list[Value], hint: str) -> str:
    """The largest or smallest of inputs, of which those that are masked at a step do not count there."""
    masks: list[str | None] = []
    for value in values:
        axes = graph.constant(list(range(value.mask_rank, value.rank)))
        masks.append(None if value.mask is None else graph.add("Unsqueeze", [value.mask, axes], hint))
    y, used = values[0].name, masks[0]
    for value, own in zip(values[1:], masks[1:], strict=True):
        right = value.name if own is None else graph.add("Where", [own, value.name, y], hint)
        left = y if used is None else graph.add("Where", [used, y, right], hint)
        used = None if own is None or used is None else graph.add("Or", [used, own], hint)
        y = graph.add(operator, [left, right], hint)
    return y


def _ones_at_masked_steps(
    graph: GraphWriter, layer: Any, values: list[Value], hint: str
) -> tuple[list[str], str | None]:
    """Factors that are 1 where they are masked, and where any of them is not, if all have masks."""
    names: list[str] = []
    used: str | None = None
    for value in values:
        if value.mask is None:
            names.append(value.name)
            continue
        axes = graph.constant(list(range(value.mask_rank, value.rank)))
        own = graph.add("Unsqueeze", [value.mask, axes], hint)
        names.append(graph.add("Where", [own, value.name, graph.constant(1, layer.dtype)], hint))
        used = own if used is None else graph.add("Or", [used, own], hint)
    return names, used if all(value.mask is not None for value in values) else None


def _arithmetic(graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str) -> list[Value]:
    numbers = [[] if n is None else [graph.constant(n, layer.dtype)] for n in (layer.left, layer.right)]
    y = graph.add(ARITHMETIC[layer.operator], [*numbers[0], *(value.name for value in values), *numbers[1]], hint)
    return [Value(y, values[0].rank, values[0].dtype, None)]


def _any_mask(graph: GraphWriter, values: list[Value], hint: str) -> str | None:
    """Steps that are valid in any input; None if an input has no mask."""
    mask = values[0].mask
    for value in values[1:]:
        if mask is None or value.mask is None:
            return None
        mask = graph.add("Or", [mask, value.mask], hint)
    return mask


def _concatenate(graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str) -> list[Value]:
    y = graph.add("Concat", [value.name for value in values], hint, axis=layer.axis)
    mask: str | None = None
    masked = [value for value in values if value.mask is not None]
    rank = max((value.mask_rank for value in masked), default=2)
    if masked:
        if any(value.mask_rank != rank for value in masked):
            raise FormatError(f"layer {layer.name!r}: masks of different numbers of axes cannot be written to ONNX")
        full = [Value("", 0, None, value.mask or _all_valid(graph, value, rank, hint)) for value in values]
        if (axis := layer.axis % values[0].rank) < rank:
            mask = graph.add("Concat", [str(value.mask) for value in full], hint, axis=axis)
        else:
            mask = _any_mask(graph, full, hint)
    return [Value(y, values[0].rank, values[0].dtype, mask, rank)]


def _all_valid(graph: GraphWriter, value: Value, rank: int, hint: str) -> str:
    from onnx import numpy_helper

    shape = graph.add("Shape", [value.name], hint, start=0, end=rank)
    return graph.add("ConstantOfShape", [shape], hint, value=numpy_helper.from_array(np.ones(1, bool)))


def _time_distributed(
    graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str
) -> list[Value]:
    """The steps become rows of one batch, and back, and so does a mask that says more than which steps are valid."""
    from onnx import TensorProto

    x = values[0]
    words = x.mask if x.mask_rank > 2 else None
    before = graph.add("Shape", [x.name], hint)
    rest = graph.add("Shape", [x.name], hint, start=2)
    flat = graph.add("Concat", [graph.constant([-1]), rest], hint, axis=0)
    inside: str | None = None
    if words is not None:
        sizes = graph.add("Concat", [graph.constant([-1]), graph.add("Shape", [words], hint, start=2)], hint, axis=0)
        inside = graph.add("Reshape", [words, sizes], hint)
    rows = Value(graph.add("Reshape", [x.name, flat], hint), x.rank - 1, x.dtype, inside, x.mask_rank - 1)
    (y,) = write_layer(graph, layer.layer, [rows], [], f"{hint}/{layer.layer.name}")
    leading = graph.add("Slice", [before, graph.constant([0]), graph.constant([2])], hint)
    after = graph.add("Concat", [leading, graph.add("Shape", [y.name], hint, start=1)], hint, axis=0)
    mask, rank = x.mask, x.mask_rank
    if words is not None and y.mask is None:  # the steps in which anything is valid
        axes = graph.constant(list(range(2, rank)))
        numbers = graph.add("Cast", [words], hint, to=TensorProto.INT64)
        most = graph.add("ReduceMax", [numbers, axes], hint, keepdims=0)
        mask, rank = graph.add("Cast", [most], hint, to=TensorProto.BOOL), 2
    return [Value(graph.add("Reshape", [y.name, after], hint), y.rank + 1, y.dtype, mask, rank)]


def cells_of(layer: Any) -> list[Any]:
    """The cells of a recurrent layer, from the input to the output."""
    return list(layer.cells) if isinstance(layer, layers.RNN) else [layer]


def _recurrent(graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str) -> list[Value]:
    return write_sequence(graph, layer, cells_of(layer), values, states, hint)


def _bidirectional(graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str) -> list[Value]:
    return write_bidirectional(graph, layer, values, states, hint, cells_of)


WRITERS: dict[type, Writer] = {
    **BLOCKS,
    **CONV_LSTM,
    **WINDOWS,
    layers.Activation: _activation,
    layers.Add: _merge("Add"),
    layers.Arithmetic: _arithmetic,
    layers.Average: _merge("Add"),
    layers.BatchNormalization: _batch_normalization,
    layers.Bidirectional: _bidirectional,
    layers.Concatenate: _concatenate,
    layers.Dense: _dense,
    layers.Embedding: _embedding,
    layers.Flatten: _flatten,
    layers.GRU: _recurrent,
    layers.LayerNormalization: _layer_normalization,
    layers.LSTM: _recurrent,
    layers.Masking: _masking,
    layers.Maximum: _merge("Max"),
    layers.Minimum: _merge("Min"),
    layers.Multiply: _merge("Mul"),
    layers.Operation: write_operation,
    layers.Permute: _permute,
    layers.ReLU: _relu,
    layers.RepeatVector: _repeat,
    layers.Reshape: _reshape,
    layers.RNN: _recurrent,
    layers.SimpleRNN: _recurrent,
    layers.Softmax: _softmax,
    layers.Subtract: _merge("Sub"),
    layers.TimeDistributed: _time_distributed,
    layers.ReversibleEmbedding: _embedding,
    layers.SpectralNormalization: lambda graph, layer, values, states, hint: write_layer(
        graph, layer.layer, values, states, f"{hint}/{layer.layer.name}"
    ),
}


def write_graph(graph: GraphWriter, model: Any, values: list[Value], hint: str = "") -> list[Value]:
    """The nodes of all layers of a model, given the values of its inputs; the values of its outputs."""
    plan: Plan = model.plan
    known: list[Any] = [None] * len(plan.tensors)  # by places
    for place, value in zip(plan.inputs, values, strict=True):
        known[place] = value
    for step in plan.steps:
        layer = step.layer
        if step.call.get("training"):
            raise FormatError(f"layer {layer.name!r} is called with training=True: ONNX has no such noise")
        if given := sorted(set(step.call) - (CALL_WORDS if type(layer) in ATTENTION else {"training"})):
            raise FormatError(
                f"layer {layer.name!r} is called with {', '.join(given)}, which cannot be written to ONNX"
            )
        inputs, states = ([known[place] for place in places] for places in (step.inputs, step.states))
        outputs = write_layer(graph, layer, inputs, states, f"{hint}{layer.name}", step.call)
        for place, value in zip(step.outputs, outputs, strict=True):
            known[place] = value
    return [known[place] for place in plan.outputs]


def write_layer(
    graph: GraphWriter,
    layer: Any,
    values: list[Value],
    states: list[Value],
    hint: str,
    call: Mapping[str, Any] | None = None,
) -> list[Value]:
    """The nodes of one call of a layer; ``call`` has what else it was called with.

    Raises
    ------
    FormatError
        If ONNX cannot express it; the layer is named.
    """
    from onnx import helper

    if layer.overrides_call and not isinstance(layer, Model):
        raise FormatError(f"layer {layer.name!r} ({type(layer).__name__}) has a `call` of its own, which ONNX has not")
    if isinstance(layer, Model):
        return write_graph(graph, layer, values, f"{hint}/")
    writer = _noise if isinstance(layer, NoiseLayer) else WRITERS.get(type(layer))
    attending = ATTENTION.get(type(layer))
    if writer is None and attending is None:
        raise FormatError(f"layer {layer.name!r} ({type(layer).__name__}) cannot be written to ONNX")
    if not isinstance(layer, (layers.Embedding, layers.Operation)):
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(layer.dtype))
        values = [
            v
            if v.dtype == layer.dtype
            else Value(graph.add("Cast", [v.name], hint, to=kind), v.rank, layer.dtype, v.mask, v.mask_rank)
            for v in values
        ]
    if attending is not None:
        return attending(graph, layer, values, call or {}, hint)
    assert writer is not None
    return writer(graph, layer, values, states, hint)
