"""Convolutions and pooling as ONNX nodes, whose features stand before the places."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx import layers
from rnnx._typing import Array
from rnnx.formats.onnx._graph import GraphWriter, Value
from rnnx.formats.onnx._write_values import Writer, activation
from rnnx.layers.places import each


def _first(graph: GraphWriter, layer: Any, value: Value, hint: str) -> str:
    """An input with the features first."""
    if layer.channels_first:
        return value.name
    return graph.add("Transpose", [value.name], hint, perm=[0, value.rank - 1, *range(1, value.rank - 1)])


def _given(graph: GraphWriter, layer: Any, y: str, hint: str) -> str:
    """An output with the features where the layer has them."""
    rank = layer.rank + 2
    return y if layer.channels_first else graph.add("Transpose", [y], hint, perm=[0, *range(2, rank), 1])


def padding_of(layer: Any, spans: tuple[int, ...]) -> dict[str, Any]:
    """The padding as attributes of a node; ``spans`` are places that a window covers."""
    if layer.padding == "causal":
        return {"pads": [spans[0] - 1, 0]}
    if layer.padding == "valid":
        return {}
    if max(each(layer.strides)) == 1:
        before = [(span - 1) // 2 for span in spans]
        return {"pads": [*before, *(span - 1 - start for span, start in zip(spans, before, strict=True))]}
    return {"auto_pad": "SAME_UPPER"}  # depends on the number of places


def _finished(graph: GraphWriter, layer: Any, y: str, hint: str) -> list[Value]:
    y = activation(graph, layer.activation.name, layer, _given(graph, layer, y, hint), hint)
    return [Value(y, layer.rank + 2, layer.dtype)]


def windows_of(layer: Any) -> dict[str, Any]:
    """Sizes, dilations and strides of windows as attributes of a node."""
    return {
        "kernel_shape": list(each(layer.kernel_size)),
        "dilations": list(each(layer.dilation_rate)),
        "strides": list(each(layer.strides)),
    }


def filters_first(graph: GraphWriter, layer: Any, weight: Any, name: str) -> str:
    """A kernel whose last two axes come first, in the other order."""
    rank = layer.rank
    order, back = (rank + 1, rank, *range(rank)), (*range(2, rank + 2), 1, 0)
    return graph.weight(f"{layer.name}/{name}", weight.array.transpose(order), lambda w: [(weight, w.transpose(back))])


def _conv(graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str) -> list[Value]:
    inputs = [_first(graph, layer, values[0], hint), filters_first(graph, layer, layer.weights[0], "W")]
    if layer.use_bias:
        inputs.append(graph.own(f"{layer.name}/B", layer.weights[1]))
    y = graph.add("Conv", inputs, hint, group=layer.groups, **windows_of(layer), **padding_of(layer, layer.spans))
    return _finished(graph, layer, y, hint)


def _each_feature(graph: GraphWriter, layer: Any, x: str, bias: list[str], hint: str) -> str:
    """A kernel for each feature: a convolution with as many groups."""
    weight, rank = layer.weights[0], layer.rank
    features, multiplier = weight.shape[-2:]

    def turned(kernel: Array) -> Array:
        return kernel.transpose(rank, rank + 1, *range(rank)).reshape(features * multiplier, 1, *kernel.shape[:rank])

    def back(kernel: Array) -> list[tuple[Any, Array]]:
        apart = kernel.reshape(features, multiplier, *kernel.shape[2:])
        return [(weight, apart.transpose(*range(2, rank + 2), 0, 1))]

    kernel = graph.weight(f"{layer.name}/D", turned(weight.array), back)
    return graph.add(
        "Conv", [x, kernel, *bias], hint, group=features, **windows_of(layer), **padding_of(layer, layer.spans)
    )


def _depthwise(graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str) -> list[Value]:
    bias = [graph.own(f"{layer.name}/B", layer.weights[1])] if layer.use_bias else []
    y = _each_feature(graph, layer, _first(graph, layer, values[0], hint), bias, hint)
    return _finished(graph, layer, y, hint)


def _separable(graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str) -> list[Value]:
    y = _each_feature(graph, layer, _first(graph, layer, values[0], hint), [], hint)
    inputs = [y, filters_first(graph, layer, layer.weights[1], "P")]
    if layer.use_bias:
        inputs.append(graph.own(f"{layer.name}/B", layer.weights[2]))
    return _finished(graph, layer, graph.add("Conv", inputs, hint), hint)


def _transposed(graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str) -> list[Value]:
    inputs = [_first(graph, layer, values[0], hint), filters_first(graph, layer, layer.weights[0], "W")]
    if layer.use_bias:
        inputs.append(graph.own(f"{layer.name}/B", layer.weights[1]))
    before, after, more = [], [], []
    for span, stride, (start, beyond) in zip(layer.spans, each(layer.strides), layer._edges(), strict=True):
        end = span - stride - start - beyond
        before.append(start)
        after.append(max(end, 0))
        more.append(max(-end, 0))
    y = graph.add("ConvTranspose", inputs, hint, pads=before + after, output_padding=more, **windows_of(layer))
    return _finished(graph, layer, y, hint)


def _pool(operator: str, **attributes: Any) -> Writer:
    def write(graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str) -> list[Value]:
        x, sizes = _first(graph, layer, values[0], hint), each(layer.pool_size)
        y = graph.add(
            operator, [x], hint, kernel_shape=list(sizes), strides=list(each(layer.strides)), **attributes,
            **padding_of(layer, sizes),
        )  # fmt: skip
        return [Value(_given(graph, layer, y, hint), values[0].rank, layer.dtype)]

    return write


def _places(layer: Any) -> list[int]:
    """Axes of the input that a global pooling joins."""
    start = 2 if layer.channels_first else 1
    return list(range(start, start + layer.rank))


def _pooled(layer: Any, y: str) -> list[Value]:
    return [Value(y, layer.rank + 2 if layer.keepdims else 2, layer.dtype)]


def _global_max(graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str) -> list[Value]:
    axes = graph.constant(_places(layer))
    return _pooled(layer, graph.add("ReduceMax", [values[0].name, axes], hint, keepdims=int(layer.keepdims)))


def _global_average(graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str) -> list[Value]:
    from onnx import helper

    x, axes, keep = values[0], graph.constant(_places(layer)), int(layer.keepdims)
    if x.mask is None or layer.rank > 1:
        return _pooled(layer, graph.add("ReduceMean", [x.name, axes], hint, keepdims=keep))
    used = graph.add("Unsqueeze", [x.mask, graph.constant([3 - _places(layer)[0]])], hint)
    zero, one = graph.constant(0, layer.dtype), graph.constant(1, layer.dtype)
    total = graph.add("ReduceSum", [graph.add("Where", [used, x.name, zero], hint), axes], hint, keepdims=keep)
    steps = graph.add("Cast", [used], hint, to=helper.np_dtype_to_tensor_dtype(np.dtype(layer.dtype)))
    steps = graph.add("ReduceSum", [steps, axes], hint, keepdims=keep)
    return _pooled(layer, graph.add("Div", [total, graph.add("Max", [steps, one], hint)], hint))


_max_pool, _average_pool = _pool("MaxPool"), _pool("AveragePool", count_include_pad=0)
WRITERS: dict[type, Writer] = {
    layers.AveragePooling1D: _average_pool,
    layers.AveragePooling2D: _average_pool,
    layers.AveragePooling3D: _average_pool,
    layers.Conv1D: _conv,
    layers.Conv1DTranspose: _transposed,
    layers.Conv2D: _conv,
    layers.Conv3D: _conv,
    layers.Conv2DTranspose: _transposed,
    layers.Conv3DTranspose: _transposed,
    layers.DepthwiseConv1D: _depthwise,
    layers.DepthwiseConv2D: _depthwise,
    layers.GlobalAveragePooling1D: _global_average,
    layers.GlobalAveragePooling2D: _global_average,
    layers.GlobalAveragePooling3D: _global_average,
    layers.GlobalMaxPooling1D: _global_max,
    layers.GlobalMaxPooling2D: _global_max,
    layers.GlobalMaxPooling3D: _global_max,
    layers.MaxPooling1D: _max_pool,
    layers.MaxPooling2D: _max_pool,
    layers.MaxPooling3D: _max_pool,
    layers.SeparableConv1D: _separable,
    layers.SeparableConv2D: _separable,
}
