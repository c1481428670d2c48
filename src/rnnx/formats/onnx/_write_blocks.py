"""Building blocks of convolutional and attention models as ONNX nodes."""

from __future__ import annotations

from typing import Any

import numpy as np

from rnnx import layers
from rnnx.formats.onnx._graph import GraphWriter, Value
from rnnx.formats.onnx._write_values import Writer, same
from rnnx.functional._norms import SHORTEST
from rnnx.layers.normalization import axes_of


def _leaky_relu(graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str) -> list[Value]:
    return same(values[0], graph.add("LeakyRelu", [values[0].name], hint, alpha=layer.negative_slope))


def _elu(graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str) -> list[Value]:
    return same(values[0], graph.add("Elu", [values[0].name], hint, alpha=layer.alpha))


def _prelu(graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str) -> list[Value]:
    slope = graph.own(f"{layer.name}/alpha", layer.weights[0])
    return same(values[0], graph.add("PRelu", [values[0].name, slope], hint))


def _identity(graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str) -> list[Value]:
    return same(values[0], graph.add("Identity", [values[0].name], hint))


def _dot(graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str) -> list[Value]:
    """A product of (batch, rest, n) and (batch, n, rest), and the axes of both rests apart again."""
    first, second = layer._axes_of([(None,) * value.rank for value in values])
    names, rests = [], []
    for value, axis, last in zip(values, (first, second), (True, False), strict=True):
        name = _of_length_one(graph, layer, value.name, [axis], hint) if layer.normalize else value.name
        others = [a for a in range(1, value.rank) if a != axis]
        order = [0, *others, axis] if last else [0, axis, *others]
        if order != list(range(value.rank)):
            name = graph.add("Transpose", [name], hint, perm=order)
        start, end = (1, value.rank - 1) if last else (2, value.rank)
        rests.append(graph.add("Shape", [name], hint, start=start, end=end))
        own = graph.add("Shape", [name], hint, start=value.rank - 1 if last else 1, end=value.rank if last else 2)
        parts = [graph.constant([0]), *([graph.constant([-1]), own] if last else [own, graph.constant([-1])])]
        names.append(graph.add("Reshape", [name, graph.add("Concat", parts, hint, axis=0)], hint))
    y = graph.add("MatMul", names, hint)
    rank = max(2, values[0].rank + values[1].rank - 2 - 1)
    batch = graph.add("Shape", [y], hint, start=0, end=1)
    tail = [graph.constant([1])] if values[0].rank == values[1].rank == 2 else []
    sizes = graph.add("Concat", [batch, *rests, *tail], hint, axis=0)
    return [Value(graph.add("Reshape", [y, sizes], hint), rank, values[0].dtype)]


def _of_length_one(graph: GraphWriter, layer: Any, x: str, axes: list[int], hint: str) -> str:
    """Vectors along axes divided by their lengths."""
    length = graph.add("ReduceL2", [x, graph.constant(axes)], hint)
    return graph.add("Div", [x, graph.add("Max", [length, graph.constant(SHORTEST, layer.dtype)], hint)], hint)


def _unit(graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str) -> list[Value]:
    axes = list(axes_of(layer, (None,) * values[0].rank))
    return same(values[0], _of_length_one(graph, layer, values[0].name, axes, hint))


def _rms(graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str) -> list[Value]:
    x, rank, weight = values[0].name, values[0].rank, layer.weights[0]
    axes = axes_of(layer, (None,) * rank)
    scale = graph.own(f"{layer.name}/scale", weight, layer._sizes(_sizes_along(rank, axes, weight.shape)))
    y = graph.add("Div", [x, _root_of_square(graph, layer, x, axes, hint)], hint)
    return [Value(graph.add("Mul", [y, scale], hint), rank, values[0].dtype)]


def _sizes_along(rank: int, axes: tuple[int, ...], sizes: tuple[int, ...]) -> list[Any]:
    shape: list[Any] = [None] * rank
    for axis, size in zip(axes, sizes, strict=True):
        shape[axis] = size
    return shape


def _root_of_square(graph: GraphWriter, layer: Any, x: str, axes: tuple[int, ...], hint: str) -> str:
    """The root of the mean square along axes, with the layer's epsilon."""
    square = graph.add("ReduceMean", [graph.add("Mul", [x, x], hint), graph.constant(list(axes))], hint)
    return graph.add("Sqrt", [graph.add("Add", [square, graph.constant(layer.epsilon, layer.dtype)], hint)], hint)


def centred_over(graph: GraphWriter, layer: Any, x: str, axes: tuple[int, ...], hint: str) -> str:
    """Numbers of mean 0 and variance 1 along axes."""
    centred = graph.add("Sub", [x, graph.add("ReduceMean", [x, graph.constant(list(axes))], hint)], hint)
    return graph.add("Div", [centred, _root_of_square(graph, layer, centred, axes, hint)], hint)


def _group(graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str) -> list[Value]:
    x, rank = values[0], values[0].rank
    (axis,) = axes_of(layer, (None,) * rank)
    count = layer.sizes[0] if layer.groups == -1 else layer.groups
    before = graph.add("Shape", [x.name], hint, start=0, end=axis)
    parts = [before, graph.constant([count, layer.sizes[0] // count])]
    if axis < rank - 1:
        parts.append(graph.add("Shape", [x.name], hint, start=axis + 1))
    apart = graph.add("Reshape", [x.name, graph.add("Concat", parts, hint, axis=0)], hint)
    axes = tuple(a for a in range(1, rank + 1) if a != axis)
    y = centred_over(graph, layer, apart, axes, hint)
    y = graph.add("Reshape", [y, graph.add("Shape", [x.name], hint)], hint)
    for weight in layer.weights:
        shape = layer.along(weight.array, rank).shape
        own = graph.own(f"{layer.name}/{weight.name}", weight, shape)
        y = graph.add("Mul" if weight.name == "gamma" else "Add", [y, own], hint)
    return same(x, y)


def _padding(graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str) -> list[Value]:
    rank = values[0].rank
    pads = np.zeros((2, rank), int)
    for axis, edges in zip(layer.places, layer.edges, strict=True):
        pads[:, axis] = edges
    y = graph.add("Pad", [values[0].name, graph.constant(pads.ravel()), graph.constant(0, layer.dtype)], hint)
    return [Value(y, rank, values[0].dtype)]


def _cropping(graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str) -> list[Value]:
    starts = [before for before, _ in layer.edges]
    ends = [-after if after else np.iinfo(np.int64).max for _, after in layer.edges]
    given = [graph.constant(part) for part in (starts, ends, list(layer.places))]
    return [Value(graph.add("Slice", [values[0].name, *given], hint), values[0].rank, values[0].dtype)]


def _up_sampling(graph: GraphWriter, layer: Any, values: list[Value], states: list[Value], hint: str) -> list[Value]:
    x, rank = values[0].name, values[0].rank
    turned = layer.data_format == "channels_last"  # ONNX has the features second
    if turned:
        x = graph.add("Transpose", [x], hint, perm=[0, rank - 1, *range(1, rank - 1)])
    linear = getattr(layer, "interpolation", "nearest") == "bilinear"
    mode: dict[str, Any] = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    if not linear:
        mode = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    scales = graph.constant([1.0, 1.0, *map(float, layer.factors)], np.float32)
    y = graph.add("Resize", [x, "", scales], hint, **mode)
    if turned:
        y = graph.add("Transpose", [y], hint, perm=[0, *range(2, rank), 1])
    return [Value(y, rank, values[0].dtype)]


WRITERS: dict[type, Writer] = {
    layers.ActivityRegularization: _identity,
    layers.Cropping1D: _cropping,
    layers.Cropping2D: _cropping,
    layers.Cropping3D: _cropping,
    layers.Dot: _dot,
    layers.ELU: _elu,
    layers.GroupNormalization: _group,
    layers.Identity: _identity,
    layers.LeakyReLU: _leaky_relu,
    layers.PReLU: _prelu,
    layers.RMSNormalization: _rms,
    layers.UnitNormalization: _unit,
    layers.UpSampling1D: _up_sampling,
    layers.UpSampling2D: _up_sampling,
    layers.UpSampling3D: _up_sampling,
    layers.ZeroPadding1D: _padding,
    layers.ZeroPadding2D: _padding,
    layers.ZeroPadding3D: _padding,
}
