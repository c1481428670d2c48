"""The graph of a model as plain data, and back."""

from __future__ import annotations

import json
from typing import Any

from rnnx.layers.base import LAYER_CLASSES, layer_config, layer_from_config
from rnnx.layers.graph import SymbolicTensor, enter


def graph_config(model: Any) -> dict[str, Any]:
    """Layers of a model, what each was called on, inputs and outputs."""
    places = {id(tensor.node): (tensor.node.layer.name, 0) for tensor in model.inputs}
    calls: dict[str, list[Any]] = {layer.name: [] for layer in model.layers}
    for node in model.nodes:
        own = calls[node.layer.name]
        places[id(node)] = (node.layer.name, len(own))
        own.append(
            {
                "inputs": [[*places[id(t.node)], t.index] for t in node.inputs],
                "single": node.single,
                "states": node.states,
                "call": node.call,
            }
        )
    return {
        "name": model.name,
        "trainable": model.trainable,
        "layers": [{**layer_config(layer), "calls": calls[layer.name]} for layer in model.layers],
        "inputs": [tensor.node.layer.name for tensor in model.inputs],
        "outputs": [[*places[id(t.node)], t.index] for t in model.outputs],
        "several_inputs": model.several_inputs,
        "several_outputs": model.several_outputs,
    }


def graph_from_config(config: dict[str, Any]) -> tuple[Any, Any]:
    """Symbolic inputs and outputs of a `graph_config`, with fresh layers.

    Raises
    ------
    ValueError
        If the calls do not connect.
    """
    layers = {entry["config"]["name"]: layer_from_config(entry) for entry in config["layers"]}
    tensors: dict[tuple[str, int], list[SymbolicTensor]] = {(n, 0): [enter(layers[n])] for n in config["inputs"]}
    waiting = [(entry["config"]["name"], k, c) for entry in config["layers"] for k, c in enumerate(entry["calls"])]
    while waiting:
        ready = [w for w in waiting if all((n, k) in tensors for n, k, _ in w[2]["inputs"])]
        if not ready:
            raise ValueError(f"Model: the calls of {', '.join(sorted({w[0] for w in waiting}))} do not connect")
        for name, k, call in ready:
            inputs = [tensors[(n, j)][i] for n, j, i in call["inputs"]]
            ends = len(inputs) - call["states"]
            arguments = dict(call["call"])
            if call["states"]:
                arguments["initial_state"] = inputs[ends:]
            y = layers[name](inputs[0] if call["single"] else inputs[:ends], **arguments)
            tensors[(name, k)] = y if isinstance(y, list) else [y]
        waiting = [w for w in waiting if w not in ready]
    inputs = [tensors[(name, 0)][0] for name in config["inputs"]]
    outputs = [tensors[(n, k)][i] for n, k, i in config["outputs"]]
    return inputs if config["several_inputs"] else inputs[0], outputs if config["several_outputs"] else outputs[0]


def model_from_json(text: str, custom_objects: dict[str, Any] | None = None) -> Any:
    """The model of ``model.to_json()``, with fresh weights.

    Parameters
    ----------
    text : str
    custom_objects : dict, optional
        Layer classes by name. Classes of one's own are known by themselves once they are defined.
    """
    LAYER_CLASSES.update(custom_objects or {})
    return layer_from_config(json.loads(text))


def clone_model(model: Any) -> Any:
    """A model of the same structure, with fresh weights."""
    return type(model).from_config(model.get_config())
