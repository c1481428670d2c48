"""Writing a model: its graph, layer by layer, and a description from which rnnx makes the same model again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from rnnx import __version__
from rnnx.formats.onnx._file import require_onnx
from rnnx.formats.onnx._graph import IR_VERSION, OPSET, GraphWriter, Value
from rnnx.formats.onnx._write_layers import write_graph
from rnnx.layers.registry import layer_config
from rnnx.saving import FormatError, write_whole

DESCRIPTION = 1  # version of what stands in the metadata under "rnnx"


def exported(model: Any) -> tuple[Any, GraphWriter]:
    """A model as ModelProto, without a description, and the writer that knows its weights.

    Raises
    ------
    FormatError
        If the model is not built, or a layer cannot be expressed.
    """
    onnx = require_onnx()
    helper = onnx.helper
    if not model.built:
        raise FormatError(f"{model.name}: not built yet, there are no weights to save; call it once first")
    graph = GraphWriter()
    inputs, values = [], []
    for tensor in model.inputs:
        name = graph.unique(tensor.name)
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
        inputs.append(helper.make_tensor_value_info(name, kind, _sizes(tensor.shape, name)))
        values.append(Value(name, len(tensor.shape), np.dtype(tensor.dtype)))
    found = write_graph(graph, model, values)
    outputs = []
    for tensor, value in zip(model.outputs, found, strict=True):
        name = graph.unique(f"{tensor.name}_output")
        graph.nodes.append(helper.make_node("Identity", [value.name], [name], name=name))
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(value.dtype))
        outputs.append(helper.make_tensor_value_info(name, kind, _sizes(tensor.shape, name)))
    arrays = {**graph.weights, **graph.constants}
    initializers = [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()]
    made = helper.make_graph(graph.nodes, model.name, inputs, outputs, initializers)
    proto = helper.make_model(
        made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="rnnx"
    )
    proto.producer_version = __version__
    return proto, graph


def _sizes(shape: Any, name: str) -> list[int | str]:
    """Sizes of a value for its description; unknown ones get names."""
    rest = [f"{name}_axis{k}" if n is None else int(n) for k, n in enumerate(shape[1:], 1)]
    return ["batch" if shape[0] is None else int(shape[0]), *rest]


def save_model(model: Any, path: Any, *, include_optimizer: bool | None = None, overwrite: bool = True) -> None:
    """Write a model as an ONNX file at opset 22, with any batch size and number of steps.

    Parameters
    ----------
    model : Model
    path : path
    include_optimizer : bool, optional
        Must not be True: ONNX has no place for the state of training.
    overwrite : bool

    Raises
    ------
    FormatError
        If the model has something that ONNX cannot express; the layer is named.
    OSError
        If the file cannot be written; an old one is still there.
    """
    if include_optimizer:
        raise FormatError(f"{path}: an ONNX file has no place for an optimizer; save it as .safetensors")
    try:
        proto, _ = exported(model)
        description = {"format": DESCRIPTION, "rnnx": __version__, "model": layer_config(model)}
        require_onnx().helper.set_model_props(proto, {"rnnx": json.dumps(description)})
        data = proto.SerializeToString(deterministic=True)
    except (FormatError, TypeError, ValueError) as error:
        raise FormatError(f"{path}: {error}") from error

    def write(part: Path) -> None:
        part.write_bytes(data)

    write_whole(path, write, overwrite=overwrite)


def check(model: Any, path: Any, *, weights_only: bool = False) -> None:
    """See `rnnx.saving.check_kind`."""
    if weights_only:
        save_weights(model, path)
    if model is not None:
        exported(model)


def save_weights(model: Any, path: Any, *, overwrite: bool = True) -> None:
    """Refused: an ONNX file is a whole model.

    Raises
    ------
    FormatError
    """
    raise FormatError(
        f"{path}: an ONNX file holds a whole model; use model.save(path), or save_weights to .safetensors"
    )
