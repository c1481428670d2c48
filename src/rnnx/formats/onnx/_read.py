"""Reading an ONNX file as a rnnx model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from rnnx import initializers
from rnnx.formats._limits import parse_json, warn_of
from rnnx.formats.onnx._branches import choose_outputs, fix_inputs
from rnnx.formats.onnx._dequantized import dequantize
from rnnx.formats.onnx._file import Source, reason
from rnnx.formats.onnx._limits import MOST_DESCRIBED
from rnnx.formats.onnx._read_graph import notes_of_axes, read_graph
from rnnx.formats.onnx._write import DESCRIPTION, exported
from rnnx.layers.layer import Layer
from rnnx.layers.limits import weights_limited
from rnnx.layers.registry import layer_from_config
from rnnx.saving import FormatError

ROUNDED = (
    "its products of 8 bits are products of floats in the model, of the same weights; the outputs of the file differ "
    "by its rounding, rnnx.formats.onnx.Session(path) has them"
)
UNMADE = (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError)


def load_model(
    path: Any,
    *,
    compile: bool = True,
    inputs: Mapping[str, Any] | None = None,
    sizes: Mapping[str, int | Sequence[int | None]] | None = None,
    outputs: Sequence[str] | None = None,
) -> Any:
    """A rnnx model of an ONNX file.

    A file that rnnx wrote gives the model that was written, also with what ONNX itself cannot hold, such as the rates
    of dropout inside recurrent layers. Any other file gives a `Model` if layers compute all its nodes, and a
    `Sequential` if they are a chain.

    Parameters
    ----------
    path : path, bytes or ModelProto
    compile : bool
        Without effect: there is no state of training in an ONNX file.
    inputs : dict, optional
        Values of inputs of the graph, which are constants of the model: such as the sampling rate that chooses between
        two networks in one file.
    sizes : dict, optional
        Sizes of axes where the nodes of the graph depend on them: by the names that it has for them, or for an input
        the sizes of all its axes, None for those that stay open.
    outputs : sequence of str, optional
        Names of the outputs that are wanted, in the order of the model; all if not given.

    Returns
    -------
    Model

    Warns
    -----
    UserWarning
        If arrays of the model have other axes than those of the file, or products of 8 bits are products of floats in
        the model.

    Raises
    ------
    FormatError
        If the file is damaged, or a node of its graph is nothing that layers compute; `Session` runs any graph.
    OSError
        If it cannot be read.
    """
    source = Source(path)
    model = None if inputs or sizes or outputs is not None else _described(source)
    if model is not None:
        return model
    fix_inputs(source, inputs or {}, sizes or {})
    choose_outputs(source, outputs)
    try:
        rounded = dequantize(source)
    except UNMADE as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{source.name}: its products of 8 bits cannot be read: {reason(error)}") from error
    read = read_graph(source)
    if notes := [*([ROUNDED] if rounded else []), *notes_of_axes(source, read)]:
        warn_of(source.name, notes)
    return read.model


def load_weights(model: Any, path: Any) -> None:
    """Refused: the weights of an ONNX file belong to its own graph.

    Raises
    ------
    FormatError
    """
    raise FormatError(f"{path}: an ONNX file holds a whole model, not weights of another; use rnnx.load_model(path)")


def _described(source: Source) -> Any | None:
    """The model that the file says it was written from, if writing it again gives the same graph; else None."""
    texts = [entry.value for entry in source.proto.metadata_props if entry.key == "rnnx"]
    if len(texts) != 1:
        return None
    arrays = {tensor.name: tensor for tensor in source.proto.graph.initializer}
    try:
        description = parse_json(source.name, texts[0], "the description", most_bytes=MOST_DESCRIBED)
        if description["format"] != DESCRIPTION:
            return None
        config = description["model"]
        plain = json.loads(texts[0])["model"]  # a copy: twenty times as fast as copying
        _start_from_zeros(plain)
        with weights_limited(source.stored(arrays.values())):
            model = layer_from_config(plain)
        made, graph = exported(model)
        _restore_initializers(config, model)
    except UNMADE:
        return None
    own, found = made.graph, source.proto.graph
    same = (
        [node.SerializeToString(deterministic=True) for node in own.node]
        == [node.SerializeToString(deterministic=True) for node in found.node]
        and [value.SerializeToString(deterministic=True) for value in (*own.input, *own.output)]
        == [value.SerializeToString(deterministic=True) for value in (*found.input, *found.output)]
        and {tensor.name for tensor in own.initializer} == set(arrays)
        and made.opset_import[0].version == source.opsets[""]
    )
    if not same:
        return None
    values = {name: source.array(tensor) for name, tensor in arrays.items()}
    for name, array in {**graph.constants, **graph.weights}.items():
        if values[name].dtype != array.dtype or values[name].shape != array.shape:
            return None
    if not all(np.array_equal(values[name], array) for name, array in graph.constants.items()):
        return None
    for name, back in graph.backs.items():
        for weight, value in back(values[name]):
            weight.assign(np.asarray(value, order="C"))
    return model


def _configs(entry: Any) -> Iterator[dict[str, Any]]:
    """The configurations of a layer or model and of all layers inside."""
    pending = [entry]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            if "class_name" in value and isinstance(value.get("config"), dict):
                yield value["config"]
            pending += value.values()
        elif isinstance(value, list):
            pending += value


def _start_from_zeros(entry: Any) -> None:
    for config in list(_configs(entry)):
        for key in config:
            if key.endswith("_initializer"):
                config[key] = "zeros"


def _restore_initializers(entry: Any, model: Any) -> None:
    """Give the layers the initializers of the description, which a clone of the model starts from."""
    by_name: dict[str, dict[str, Any]] = {}
    for config in _configs(entry):
        if isinstance(config.get("name"), str):
            by_name[config["name"]] = config
    for layer in _layers(model):
        choices: Any = getattr(layer, "choices", {})  # of all projections of a MultiHeadAttention
        for key, value in by_name.get(layer.name, {}).items():
            if key.endswith("_initializer") and key in choices:
                choices[key] = initializers.get(value)
            elif key.endswith("_initializer") and hasattr(layer, key):
                setattr(layer, key, initializers.get(value))


def _layers(layer: Layer) -> Iterator[Layer]:
    yield layer
    for inner in layer.sublayers:
        yield from _layers(inner)
