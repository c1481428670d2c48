"""Layers in the order of a file of Keras, and the paths of the groups that their arrays are in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from rnnx.layers import (
    RNN,
    Bidirectional,
    GroupedQueryAttention,
    MultiHeadAttention,
    SpectralNormalization,
    StackedRNNCells,
    TimeDistributed,
)
from rnnx.layers.plan import Plan
from rnnx.layers.rnn.conv_lstm import ConvLSTM
from rnnx.layers.rnn.sequence import Recurrent
from rnnx.models import Model, Sequential

Order = list[tuple[str, Any]]  # layers of a model as a file orders them, each with the name of its class there

CLASSES = {"GroupQueryAttention": "GroupedQueryAttention"}  # of public names that are not those of the classes


def snake_case(name: str) -> str:
    """``GlobalMaxPooling1D`` -> ``global_max_pooling1d``, as Keras names the groups of its files."""
    name = re.sub(r"\W+", "", CLASSES.get(name, name))
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def order_of(model: Any, orders: dict[int, Order]) -> Order:
    """The layers of a model in the order of the file it was read from, else in that which Keras has them in."""
    found = orders.get(id(model))
    if found is None:
        layers = list(model.layers) if isinstance(model, Sequential) else _keras_order(model)
        found = [(class_in_keras(layer), layer) for layer in layers]
    return found


def _keras_order(model: Any) -> list[Any]:
    """The layers of a graph as Keras sorts them: by their distance from the outputs, then as a search finds them."""
    plan: Plan = model.plan
    needs: list[tuple[int, ...]] = [()] * len(plan.tensors)  # by places, like the next
    calls = list(range(len(plan.tensors)))  # the first output stands for all outputs of a call
    for step in plan.steps:
        for place in step.outputs:
            needs[place], calls[place] = step.inputs + step.states, step.outputs[0]
    names = [name for name, _, _ in plan.origins()]
    found: dict[str, int] = {}
    stack = [calls[place] for place in reversed(plan.outputs)]
    seen: set[int] = set()
    while stack:
        call = stack.pop()
        if call in seen:
            continue
        seen.add(call)
        found.setdefault(names[call], len(found))
        stack += [calls[place] for place in reversed(needs[call])]
    depths: dict[str, int] = {}
    call_depths = [0] * len(plan.tensors)
    for call in [step.outputs[0] for step in reversed(plan.steps)] + [place for place in plan.inputs if place in seen]:
        depth = max(call_depths[call], depths.get(names[call], 0))
        depths[names[call]] = call_depths[call] = depth
        for place in needs[call]:
            call_depths[calls[place]] = max(depth + 1, call_depths[calls[place]])
    return sorted(model.layers, key=lambda layer: (-depths.get(layer.name, 0), found.get(layer.name, len(found))))


def class_in_keras(layer: Any) -> str:
    """The name that Keras has for the class of a layer."""
    return "Functional" if type(layer) is Model else type(layer).__name__


def parts(
    layer: Any, orders: dict[int, Order], root: str = "layers", *, twice: bool = False
) -> Iterator[tuple[str, Any]]:
    """Paths of the groups of what is inside a layer; ``twice``: layers with weights are counted so."""
    if layer.overrides_call:
        yield from _inside_own(layer)
    elif isinstance(layer, Model):
        order = order_of(layer, orders)
        steps = [2 if twice and inner.weights else 1 for _, inner in order]
        for key, (_, inner) in zip(keys([name for name, _ in order], steps), order, strict=True):
            yield f"{root}/{key}", inner
    elif isinstance(layer, Bidirectional):
        yield "forward_layer", layer.forward_layer
        yield "backward_layer", layer.backward_layer
    elif isinstance(layer, (SpectralNormalization, TimeDistributed)):
        yield "layer", layer.layer
    elif isinstance(layer, RNN):
        yield "cell", layer.cell
    elif isinstance(layer, MultiHeadAttention):
        private = set(layer.projections) if isinstance(layer, GroupedQueryAttention) else {"gate_dense"}
        for key, inner in layer.projections.items():
            yield (f"_{key}" if key in private else key), inner
    elif isinstance(layer, StackedRNNCells):
        for key, cell in zip(keys([type(cell).__name__ for cell in layer.cells]), layer.cells, strict=True):
            yield f"cells/{key}", cell


def _inside_own(layer: Any) -> Iterator[tuple[str, Any]]:
    """What is inside a layer of one's own, as Keras finds it: by the names of attributes, in their order, each once.

    A model also has all its layers in the list ``layers``, which stands for the attributes behind it in the alphabet.
    """
    inside, seen = {id(inner) for inner in layer.sublayers}, set()
    attributes = {**vars(layer), **({"layers": list(layer.sublayers)} if isinstance(layer, Model) else {})}
    for name, value in sorted(attributes.items()):
        named = [(name, value)] if id(value) in inside else []
        if isinstance(value, (list, tuple, dict)):
            found = [part for part in (value.values() if isinstance(value, dict) else value) if id(part) in inside]
            own_keys = keys([type(part).__name__ for part in found])
            named = [(f"{name}/{key}", part) for key, part in zip(own_keys, found, strict=True)]
        for path, part in named:
            if id(part) not in seen:
                seen.add(id(part))
                yield path, part


def keys(classes: list[str], steps: list[int] | None = None) -> list[str]:
    """``lstm``, ``dense``, ``lstm_1``: the class in snake case with a counter, which goes on by 1 or by ``steps``."""
    counts: dict[str, int] = {}
    found = []
    for name, step in zip(classes, steps or [1] * len(classes), strict=True):
        stem = snake_case(name)
        found.append(f"{stem}_{counts[stem]}" if stem in counts else stem)
        counts[stem] = counts.get(stem, 0) + step
    return found


def variables(layer: Any) -> str:
    """The path of a layer's own arrays inside its group: those of a recurrent layer are in its cell."""
    return "cell/vars" if isinstance(layer, (Recurrent, ConvLSTM)) else "vars"
