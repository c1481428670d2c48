"""The graph of a model as plain data, and back."""

from __future__ import annotations

import json
from typing import Any

from rnnx.layers import nested
from rnnx.layers.call import record_again
from rnnx.layers.graph import SymbolicTensor, enter, split_states
from rnnx.layers.layer import LAYER_CLASSES, layer_config, layer_from_config
from rnnx.layers.plan import Plan


def graph_config(model: Any) -> dict[str, Any]:
    """Layers of a model, what each was called on, inputs and outputs."""
    plan: Plan = model.plan
    origins = [list(origin) for origin in plan.origins()]
    calls: dict[str, list[Any]] = {layer.name: [] for layer in model.layers}
    for step in plan.steps:
        calls[step.layer.name].append(
            {
                "inputs": [origins[place] for place in (*step.inputs, *step.states)],
                "single": step.single,
                "states": len(step.states),
                "call": step.call,
            }
        )
    templates = {"input_form": model.input_template, "output_form": model.output_template}
    forms = {name: nested.to_plain(template) for name, template in templates.items() if template is not None}
    return {
        "name": model.name,
        "trainable": model.trainable,
        "layers": [{**layer_config(layer), "calls": calls[layer.name]} for layer in model.layers],
        "inputs": [origins[place][0] for place in plan.inputs],
        "outputs": [origins[place] for place in plan.outputs],
        "several_inputs": model.several_inputs,
        "several_outputs": model.several_outputs,
        **forms,
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
            values, states = split_states(inputs, call["states"])
            arguments = dict(call["call"])
            if states:
                arguments["initial_state"] = states
            if "structure" in arguments:  # of the arguments of a layer of one's own
                y = record_again(layers[name], values, arguments)
            else:
                y = layers[name](inputs[0] if call["single"] else values, **arguments)
            tensors[(name, k)] = nested.leaves(y)
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
    ends = []
    for word, several, tensors_of in (
        ("input_form", config["several_inputs"], inputs),
        ("output_form", config["several_outputs"], outputs),
    ):
        template = nested.from_plain(config.get(word))
        if template is not None and sorted(nested.leaves(template)) != list(range(len(tensors_of))):
            raise ValueError(f"Model: `{word}` must number {len(tensors_of)} tensors")
        plain = tensors_of if several else tensors_of[0]
        ends.append(plain if template is None else nested.packed(template, tensors_of))
    return ends[0], ends[1]


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
