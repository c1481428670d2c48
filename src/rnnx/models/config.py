"""The graph of a model as plain data, and back."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from rnnx.layers.graph import Node, SymbolicTensor, enter, topological_order
from rnnx.layers.input import InputLayer
from rnnx.layers.layer import LAYER_CLASSES, Layer, layer_config, layer_from_config


def checked_graph(inputs: list[Any], outputs: list[Any]) -> tuple[list[Node], list[Layer]]:
    """The calls between inputs and outputs, each after those it needs, and the layers with those of the inputs first.

    Raises
    ------
    TypeError
        If one is not a symbolic tensor.
    ValueError
        If the outputs need other inputs, or two layers have one name.
    """
    for tensor in [*inputs, *outputs]:
        if not isinstance(tensor, SymbolicTensor):
            raise TypeError(f"Model: inputs and outputs must be symbolic tensors, got {type(tensor).__name__}")
    nodes = topological_order(outputs)
    for tensor in inputs:
        if not isinstance(tensor.node.layer, InputLayer):
            raise ValueError(f"Model: inputs must come from Input(...), got {tensor!r}")
    known = {id(tensor.node) for tensor in inputs}
    for node in nodes:
        if not node.inputs and id(node) not in known:
            raise ValueError(f"Model: the outputs depend on {node.layer.name!r}, which is not among the inputs")
    nodes = [node for node in nodes if node.inputs]
    called = [tensor.node.layer for tensor in inputs] + [node.layer for node in nodes]
    layers: list[Layer] = list({id(layer): layer for layer in called}.values())
    names = Counter(layer.name for layer in layers)
    if twice := [name for name, count in names.items() if count > 1]:
        raise ValueError(f"Model: every layer needs a name of its own, used twice: {', '.join(sorted(twice))}")
    return nodes, layers


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
    calls = [(entry["config"]["name"], k, c) for entry in config["layers"] for k, c in enumerate(entry["calls"])]
    needs = [{(n, k) for n, k, _ in call["inputs"]} - tensors.keys() for _, _, call in calls]
    users: dict[tuple[str, int], list[int]] = {}
    for place, needed in enumerate(needs):
        for other in needed:
            users.setdefault(other, []).append(place)
    ready = [place for place, needed in enumerate(needs) if not needed]
    done = len(ready)
    while ready:  # in rounds, so that layers are built in the order of their depth, then in that of the file
        reached: list[int] = []
        for name, k, call in (calls[place] for place in ready):
            inputs = [tensors[(n, j)][i] for n, j, i in call["inputs"]]
            ends = len(inputs) - call["states"]
            arguments = dict(call["call"])
            if call["states"]:
                arguments["initial_state"] = inputs[ends:]
            y = layers[name](inputs[0] if call["single"] else inputs[:ends], **arguments)
            tensors[(name, k)] = y if isinstance(y, list) else [y]
            for user in users.pop((name, k), []):
                needs[user].discard((name, k))
                if not needs[user]:
                    reached.append(user)
        ready = sorted(reached)
        done += len(ready)
    if done < len(calls):
        unconnected = sorted({calls[place][0] for place, needed in enumerate(needs) if needed})
        more = f" and {len(unconnected) - 10:,} others" if len(unconnected) > 10 else ""
        raise ValueError(f"Model: the calls of {', '.join(unconnected[:10])}{more} do not connect")
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
