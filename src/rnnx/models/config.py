"""The graph of a model as plain data, and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from rnnx import _nested as nested
from rnnx._config import custom_object_scope
from rnnx.layers.graph import SymbolicTensor, enter, split_states, topological_order
from rnnx.layers.input import InputLayer
from rnnx.layers.layer import Layer
from rnnx.layers.names import unique_name
from rnnx.layers.plan import Plan
from rnnx.layers.registry import layer_config, layer_from_config
from rnnx.layers.traced_call import record_again


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
        "layers": [{**_entry(layer), "calls": calls[layer.name]} for layer in model.layers],
        "inputs": [origins[place][0] for place in plan.inputs],
        "outputs": [origins[place] for place in plan.outputs],
        "several_inputs": model.several_inputs,
        "several_outputs": model.several_outputs,
        **forms,
    }


def _entry(layer: Layer) -> dict[str, Any]:
    """The configuration of a layer, with its name beside it where a `get_config` of one's own leaves that out."""
    entry = layer_config(layer)
    return entry if entry["config"].get("name") == layer.name else {**entry, "name": layer.name}


def _name(entry: dict[str, Any]) -> Any:
    return entry["name"] if "name" in entry else entry["config"]["name"]


def _made(entry: dict[str, Any]) -> Any:
    """The layer of an entry, under the name by which the calls know it."""
    layer = layer_from_config(entry)
    if "name" in entry:
        vars(layer)["name"] = str(entry["name"])
    return layer


def graph_from_config(config: dict[str, Any]) -> tuple[Any, Any]:
    """Symbolic inputs and outputs of a `graph_config`, with fresh layers.

    Raises
    ------
    ValueError
        If the calls do not connect.
    """
    layers = {_name(entry): _made(entry) for entry in config["layers"]}
    tensors: dict[tuple[str, int], list[SymbolicTensor]] = {(n, 0): [enter(layers[n])] for n in config["inputs"]}
    calls = [(_name(entry), k, c) for entry in config["layers"] for k, c in enumerate(entry["calls"])]
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


def begun_at(inputs: Sequence[Any], outputs: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Inputs and outputs of a graph that begins at these tensors; those inside another graph become inputs.

    The layers are called again, from the inputs on; their weights are the same.
    """
    fresh: dict[SymbolicTensor, SymbolicTensor] = {}
    for tensor in inputs:
        if isinstance(tensor, SymbolicTensor) and not isinstance(tensor.node.layer, InputLayer):
            batch_size, *shape = tensor.shape
            fresh[tensor] = enter(InputLayer(shape, batch_size, tensor.dtype, name=unique_name("InputLayer")))
    if not fresh or not all(isinstance(tensor, SymbolicTensor) for tensor in outputs):
        return list(inputs), list(outputs)
    for node in topological_order(list(outputs)):
        if not any(tensor in fresh for tensor in node.inputs) or all(tensor in fresh for tensor in node.outputs):
            continue
        values, states = split_states([fresh.get(tensor, tensor) for tensor in node.inputs], node.states)
        again = _called(node.layer, node.layer, values, states, node.single, node.call)
        for tensor, new in zip(node.outputs, nested.leaves(again), strict=True):
            fresh.setdefault(tensor, new)
    return [fresh.get(tensor, tensor) for tensor in inputs], [fresh.get(tensor, tensor) for tensor in outputs]


def _called(layer: Any, function: Any, values: list[Any], states: list[Any], single: bool, call: dict[str, Any]) -> Any:
    """What the call of a layer gives that a graph describes; ``function`` is the layer, or what calls it."""
    if "structure" in call:  # of the arguments of a layer of one's own
        return record_again(layer, values, call)
    arguments = {**call, "initial_state": states} if states else call
    return function(values[0] if single else values, **arguments)


def model_from_json(text: str, custom_objects: dict[str, Any] | None = None) -> Any:
    """The model of ``model.to_json()``, with fresh weights.

    Parameters
    ----------
    text : str
    custom_objects : dict, optional
        Layer classes by name. Classes of one's own are known by themselves once they are defined.
    """
    with custom_object_scope(custom_objects or {}):
        return layer_from_config(json.loads(text))


def clone_model(
    model: Any,
    input_tensors: Any = None,
    clone_function: Callable[[Any], Any] | None = None,
    call_function: Callable[..., Any] | None = None,
    recursive: bool = False,
) -> Any:
    """A model of the same structure, with fresh weights, and compiled as the first one is.

    Parameters
    ----------
    model : Model
    input_tensors : SymbolicTensor or list of SymbolicTensor, optional
        The inputs of the new model; new ones if not given.
    clone_function : callable, optional
        Gives the new layer for each layer but the inputs: ``from_config`` of its configuration if not given.
    call_function : callable, optional
        ``call_function(layer, x, **arguments)`` calls a new layer, for example with another one behind it. For graphs,
        not for a `Sequential`.
    recursive : bool
        Models inside are cloned in the same way, not by ``clone_function``.

    Raises
    ------
    ValueError
        If a `Sequential` is to be cloned with a ``call_function``, or there are more or fewer inputs than it has.
    TypeError
        If ``clone_function`` gives something else than a layer.
    """
    if input_tensors is None and clone_function is None and call_function is None and not recursive:
        made = type(model).from_config(model.get_config())
    else:
        made = _cloned(model, input_tensors, clone_function, call_function, recursive)
    if model.compiled:
        made.compile_like(model)
    return made


def _cloned(model: Any, input_tensors: Any, clone_function: Any, call_function: Any, recursive: bool) -> Any:
    """The clone of a model with what its layers are replaced by."""
    chain = hasattr(model, "add")
    if chain and call_function is not None:
        raise ValueError(f"clone_model: `call_function` is for graphs, {model.name!r} is a Sequential")
    given = None if input_tensors is None else nested.leaves(input_tensors)
    if given is not None and len(given) != (len(model.inputs) if model.built else 1):
        count = len(model.inputs) if model.built else 1
        raise ValueError(f"clone_model: {model.name!r} needs {count} `input_tensors`, got {len(given)}")

    def cloned(layer: Any) -> Any:
        if recursive and hasattr(layer, "plan"):
            call = None if hasattr(layer, "add") else call_function
            return clone_model(layer, None, clone_function, call, True)
        made = layer_from_config(layer_config(layer)) if clone_function is None else clone_function(layer)
        if not isinstance(made, Layer):
            raise TypeError(f"clone_model: `clone_function` must return a layer, got {type(made).__name__}")
        return made

    if chain:
        model.check_chain("clone_model")
        start = given or []
        if given is None and model._entry is not None:
            old = model._entry.node.layer
            start = [type(old).from_config(old.get_config())]
        return type(model)([*start, *map(cloned, model.layers)], name=model.name, trainable=model.trainable)
    plan: Plan = model.plan
    layers: dict[int, Any] = {}
    tensors: list[Any] = [None] * len(plan.tensors)
    for k, place in enumerate(plan.inputs):
        old = plan.tensors[place].node.layer
        tensors[place] = given[k] if given is not None else enter(type(old).from_config(old.get_config()))
    for step in plan.steps:
        layer = layers.setdefault(id(step.layer), None) or cloned(step.layer)
        layers[id(step.layer)] = layer
        values, states = ([tensors[place] for place in places] for places in (step.inputs, step.states))
        function = layer if call_function is None else partial(call_function, layer)
        y = _called(layer, function, values, states, step.single, step.call)
        for place, tensor in zip(step.outputs, nested.leaves(y), strict=True):
            tensors[place] = tensor
    ends = []
    for template, several, places in (
        (model.input_template, model.several_inputs, plan.inputs),
        (model.output_template, model.several_outputs, plan.outputs),
    ):
        found = [tensors[place] for place in places]
        ends.append(nested.packed(template, found) if template is not None else found if several else found[0])
    return type(model)(*ends, name=model.name, trainable=model.trainable)
