"""Convolutional LSTMs as ONNX nodes: the convolution of all inputs, and a Scan over the steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx import layers
from rnnx.formats.onnx._graph import GraphWriter, Value
from rnnx.formats.onnx._write_recurrent import flipped, refuse_what_onnx_lacks
from rnnx.formats.onnx._write_values import Writer, activation
from rnnx.formats.onnx._write_windows import filters_first, padding_of, windows_of
from rnnx.layers.places import each

GATES = 4  # i f c o


def _moved(graph: GraphWriter, name: str, start: int, rank: int, back: bool, hint: str) -> str:
    """An array whose features move from the end to the axis behind ``start``, or back."""
    order = list(range(rank))
    order.insert(rank - 1 if back else start, order.pop(start if back else rank - 1))
    return graph.add("Transpose", [name], hint, perm=order)


def _sizes(graph: GraphWriter, name: str, start: int, end: int, hint: str) -> str:
    return graph.add("Shape", [name], hint, start=start, end=end)


def _inputs(graph: GraphWriter, layer: Any, x: Value, hint: str) -> str:
    """What the inputs of all steps give the gates: (timesteps, batch, 4 * filters, places...)."""
    name, rank = x.name, layer.rank
    if x.mask is not None:
        used = graph.add("Unsqueeze", [x.mask, graph.constant(list(range(2, rank + 3)))], hint)
        name = graph.add("Where", [used, name, graph.constant(0, layer.dtype)], hint)
    if not layer.channels_first:
        name = _moved(graph, name, 2, rank + 3, False, hint)
    name = graph.add("Transpose", [name], hint, perm=[1, 0, *range(2, rank + 3)])
    leading, rest = _sizes(graph, name, 0, 2, hint), _sizes(graph, name, 2, rank + 3, hint)
    flat = graph.add("Reshape", [name, graph.add("Concat", [graph.constant([-1]), rest], hint, axis=0)], hint)
    given = [flat, filters_first(graph, layer, layer.weights[0], "W")]
    if layer.use_bias:
        given.append(graph.own(f"{layer.name}/B", layer.weights[2]))
    y = graph.add("Conv", given, hint, **windows_of(layer), **padding_of(layer, layer.spans))
    after = graph.add("Concat", [leading, _sizes(graph, y, 1, rank + 2, hint)], hint, axis=0)
    return graph.add("Reshape", [y, after], hint)


def _starts(graph: GraphWriter, layer: Any, a: str, states: list[Value], hint: str) -> list[str]:
    """Hidden and cell state before the first step, features first."""
    from onnx import numpy_helper

    rank = layer.rank
    if states:
        return [s.name if layer.channels_first else _moved(graph, s.name, 1, rank + 2, False, hint) for s in states]
    parts = [_sizes(graph, a, 1, 2, hint), graph.constant([layer.filters]), _sizes(graph, a, 3, rank + 3, hint)]
    zeros = numpy_helper.from_array(np.zeros(1, layer.dtype))
    return [graph.add("ConstantOfShape", [graph.add("Concat", parts, hint, axis=0)], hint, value=zeros)] * 2


def _step(body: GraphWriter, layer: Any, h: str, c: str, a: str, hint: str) -> tuple[str, str]:
    """The states after a step."""
    sizes = each(layer.kernel_size)
    before = [(size - 1) // 2 for size in sizes]
    pads = [*before, *(size - 1 - start for size, start in zip(sizes, before, strict=True))]
    seen = body.add("Conv", [h, filters_first(body, layer, layer.weights[1], "R")], hint, pads=pads)
    gates = body.add_several(
        "Split", [body.add("Add", [a, seen], hint)], hint, (True,) * GATES, axis=1, num_outputs=GATES
    )
    kinds = [layer.recurrent_activation, layer.recurrent_activation, layer.activation, layer.recurrent_activation]
    i, f, g, o = (activation(body, kind.name, layer, x, hint) for kind, x in zip(kinds, gates, strict=True))
    after = body.add("Add", [body.add("Mul", [f, c], hint), body.add("Mul", [i, g], hint)], hint)
    return body.add("Mul", [o, activation(body, layer.activation.name, layer, after, hint)], hint), after


def _body(graph: GraphWriter, layer: Any, masked: bool, hint: str) -> Any:
    """The graph of a step, from states, with a mask the last output, and what the inputs give, to states and output."""
    from onnx import TensorProto, helper

    body, hint = graph.inside(), f"{hint}/step"
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(layer.dtype))
    h, c, last, a, valid = (body.unique(f"{hint}/{name}") for name in ("h", "c", "last", "a", "valid"))
    fresh, cell = _step(body, layer, h, c, a, hint)
    if masked:
        used = body.add("Unsqueeze", [valid, body.constant(list(range(1, layer.rank + 2)))], hint)
        zero = body.constant(0, layer.dtype)
        parts = [(fresh, h), (cell, c), (fresh, zero if layer.zero_output_for_mask else last)]
        after = [body.add("Where", [used, new, old], hint) for new, old in parts]
        given = [(h, kind), (c, kind), (last, kind), (a, kind), (valid, TensorProto.BOOL)]
    else:
        after, given = [fresh, cell], [(h, kind), (c, kind), (a, kind)]
    output = body.add("Identity", [after[-1] if masked else fresh], hint)
    inputs = [helper.make_tensor_value_info(name, own, None) for name, own in given]
    outputs = [helper.make_tensor_value_info(name, kind, None) for name in (*after, output)]
    return helper.make_graph(body.nodes, hint, inputs, outputs)


def _conv_lstm(graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str) -> list[Value]:
    refuse_what_onnx_lacks(layer)
    x, rank, masked = values[0], layer.rank, values[0].mask is not None
    a = _inputs(graph, layer, x, hint)
    h, c = _starts(graph, layer, a, states, hint)
    given, scanned = [h, c], [a]
    if masked:
        zeros = graph.add("Mul", [h, graph.constant(0, layer.dtype)], hint) if states else h
        given.append(zeros)
        scanned.append(graph.add("Transpose", [str(x.mask)], hint, perm=[1, 0]))
    if layer.go_backwards:
        scanned = [flipped(graph, name, hint, axis=0) for name in scanned]
    wanted = (True,) * (len(given) + 1)
    *ends, steps = graph.add_several(
        "Scan", [*given, *scanned], hint, wanted, body=_body(graph, layer, masked, hint), num_scan_inputs=len(scanned)
    )
    if layer.return_sequences:
        y = graph.add("Transpose", [steps], hint, perm=[1, 0, *range(2, rank + 3)])
        y = y if layer.channels_first else _moved(graph, y, 2, rank + 3, True, hint)
        output = Value(y, rank + 3, x.dtype, x.mask, x.mask_rank)
    else:
        output = Value(_turned(graph, layer, ends[-1] if masked else ends[0], hint), rank + 2, x.dtype)
    if not layer.return_state:
        return [output]
    return [output, *(Value(_turned(graph, layer, end, hint), rank + 2, x.dtype) for end in ends[:2])]


def _turned(graph: GraphWriter, layer: Any, name: str, hint: str) -> str:
    """A state with the features where the layer has them."""
    return name if layer.channels_first else _moved(graph, name, 1, layer.rank + 2, True, hint)


WRITERS: dict[type, Writer] = {
    layers.ConvLSTM1D: _conv_lstm,
    layers.ConvLSTM2D: _conv_lstm,
    layers.ConvLSTM3D: _conv_lstm,
}
